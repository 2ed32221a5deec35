//! How much the world may destroy.
//!
//! What one disk promises: damage to one place of the log at rest heals (decisions 2 and 11), as soon as the log is
//! settled, which an orderly end does, and a deletion. So one strike is allowed at a time, of what was settled then, and
//! the next only after a scrub healed it, and what healed it is durable. The index is a cache and may be damaged, lost or
//! replaced at any time.

use crate::disk::Fault;
use ouroboros_engine::env::Volume;

/// Asked before anything is destroyed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    /// There is none: then the only demand is a clear error, and never wrong bytes.
    pub(crate) beyond: bool,
}

impl Budget {
    /// Whether a fault may strike while a node works.
    ///
    /// * Bytes of the log that were just written have no parity yet: what destroys them, or lies about them, is beyond.
    pub(crate) const fn permits(self, volume: Volume, fault: Fault) -> bool {
        self.beyond || matches!(volume, Volume::Index) || !fault.may_destroy()
    }

    /// How many reads of the log may return other bytes than the next would. Nothing but another look tells them from rot of
    /// the log's end, which no parity covers yet: while a store opens, one.
    pub(crate) const fn misreads(self, opening: bool) -> Option<u32> {
        if opening && !self.beyond { Some(1) } else { None }
    }

    /// Whether a place of the log may be destroyed at rest.
    pub(crate) const fn permits_rot(self, rotten: bool) -> bool {
        self.beyond || !rotten
    }
}
