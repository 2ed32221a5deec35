//! Whims: what is done late and seldom is done early and often, for simulations (what FoundationDB calls BUGGIFY).
//!
//! They change when something happens, and never what is promised or written in which format: whatever a whim brings about, a
//! store large or old enough comes to by itself. A simulator has its seed choose them. No option of the library's or of a
//! profile leads here, and without any of them all there is of this is a comparison or two with each commit.

use super::Engine;
use crate::blob::{Header, MAX_PAGE_REFS, MAX_PAGE_SEALS};
use crate::env::Disk;

/// How an engine behaves. The default is what the product does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whims {
    /// Seals that a header names itself, at most, before all of them go into pages: at most [`Header::MAX_SEALS`].
    pub header_seals: usize,
    /// Seals in one such page: 1 to [`MAX_PAGE_SEALS`].
    pub page_seals: usize,
    /// Chunks in one page of a content's list: 2 to [`MAX_PAGE_REFS`].
    pub page_refs: usize,
    /// Bytes of small records gathered before they are written; none: what the log does by itself.
    pub write_buffer_len: Option<u32>,
    /// Bytes of records that share one group of parity; none: what the log does by itself.
    pub parity_group_len: Option<u32>,
    /// Least distance between the slices of a seal for which its own parity is trusted alone, in bytes; none: 64 KiB. Not less than a
    /// burst of bad sectors, or what the window promises is not so.
    pub spread_len: Option<u64>,
    /// Rows of the index that upkeep looks at in one step, and versions in one tombstone, at most: at least 1.
    pub rows_at_once: usize,
    /// A new segment begins with every so manieth commit; 0: when the last is full.
    pub roll_every: u32,
    /// The index is brought up to the log with every so manieth commit; 0: when enough has come together.
    pub checkpoint_every: u32,
    /// A compaction of everything begins with every so manieth commit; 0: when segments are mostly dead, or somebody asks.
    pub compact_every: u32,
}

impl Default for Whims {
    fn default() -> Self {
        Self {
            header_seals: Header::MAX_SEALS,
            page_seals: MAX_PAGE_SEALS,
            page_refs: MAX_PAGE_REFS,
            write_buffer_len: None,
            parity_group_len: None,
            spread_len: None,
            rows_at_once: usize::MAX,
            roll_every: 0,
            checkpoint_every: 0,
            compact_every: 0,
        }
    }
}

/// What is due with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whim {
    Roll,
    Checkpoint,
    Compact,
}

/// The whims of an engine, and how often it has committed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Humour {
    pub(super) whims: Whims,
    commits: u32,
}

impl Humour {
    pub(super) const fn committed(&mut self) {
        self.commits = self.commits.wrapping_add(1);
    }

    /// Whether a whim's turn has come.
    pub(super) const fn is_due(&self, whim: Whim) -> bool {
        let every = match whim {
            Whim::Roll => self.whims.roll_every,
            Whim::Checkpoint => self.whims.checkpoint_every,
            Whim::Compact => self.whims.compact_every,
        };
        every > 0 && self.commits.is_multiple_of(every)
    }
}

impl<D: Disk> Engine<D> {
    /// As many rows as this at most.
    pub(super) fn rows_at_once(&self, most: usize) -> usize {
        self.humour.whims.rows_at_once.min(most)
    }

    /// Gives the node whims: see the module's text. For simulations only.
    pub fn set_whims(&mut self, whims: Whims) {
        self.humour.whims = Whims {
            header_seals: whims.header_seals.min(Header::MAX_SEALS),
            page_seals: whims.page_seals.clamp(1, MAX_PAGE_SEALS),
            page_refs: whims.page_refs.clamp(2, MAX_PAGE_REFS),
            rows_at_once: whims.rows_at_once.max(1),
            ..whims
        };
        if let Some(len) = whims.write_buffer_len {
            self.log.set_write_buffer(len);
        }
        if let Some(len) = whims.parity_group_len {
            self.log.set_parity_group(len);
        }
        if let Some(len) = whims.spread_len {
            self.window.places().set_least(len);
        }
    }
}
