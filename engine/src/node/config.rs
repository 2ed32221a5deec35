//! What a store is (part of the format) and how much a node may use (not part of it).

use crate::codec::{Canonical, DecodeError};
use crate::id::RealmId;
use crate::seal::{ChunkerParams, Coding, Compression};
use borsh::{BorshDeserialize, BorshSerialize};

/// What was decided when the store was made. Written into every segment of the log, so that any one of them tells.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StoreConfig {
    /// The realm whose secrets open what is stored here.
    pub realm: RealmId,
    /// Where contents are cut.
    pub chunker: ChunkerParams,
    /// How chunks are compressed. Chunks already stored keep their form.
    pub compression: Compression,
    /// How new seals are coded. A storage policy: `recode` changes it.
    pub coding: Coding,
    /// The realm has 2^this partitions.
    pub partition_bits: u8,
}

impl StoreConfig {
    /// Partitions of a personal realm: 2^8.
    pub const PERSONAL_PARTITION_BITS: u8 = 8;
    /// Partitions of a large realm: 2^12.
    pub const MAX_PARTITION_BITS: u8 = 12;
}

impl Canonical for StoreConfig {
    const WHAT: &'static str = "store configuration";
    const MAX_LEN: usize = 1024;

    fn validate(&self) -> Result<(), DecodeError> {
        self.chunker.validate().map_err(|error| DecodeError::malformed(Self::WHAT, error.to_string()))?;
        if self.partition_bits > Self::MAX_PARTITION_BITS {
            return Err(DecodeError::malformed(Self::WHAT, format!("2^{} partitions", self.partition_bits)));
        }
        Ok(())
    }
}

/// How much a node may use at once. Reaching a limit is answered with back-pressure or a clear failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Questions that are read for, or wait for that, before [`Failure::Busy`](super::Failure::Busy); and tasks of upkeep that wait.
    pub requests: usize,
    /// Versions on their way in before [`Failure::Busy`](super::Failure::Busy).
    pub uploads: usize,
    /// Bytes of contents on their way out before questions wait for each other: one that is larger is read for alone. And, beside
    /// that, bytes of contents on their way in before streams are asked to wait. Each open stream may hold one piece and the
    /// beginning of one chunk beyond, or those that wait for each other's memory would wait for ever.
    pub inflight_len: usize,
    /// Bytes of one [`Request::Read`](super::Request::Read). Who has a version written elsewhere holds one of them beside what the
    /// engine counts, until it is written; the library reads three more ahead, for all of them together. At least one.
    pub read_len: u64,
    /// Bytes of one version that takes part in a merge.
    pub merge_len: u64,
    /// Bytes appended to the log before it is committed although nobody waits for it.
    pub batch_len: u64,
    /// Bytes of sealed chunks gathered so that the slices of each can be laid apart.
    pub window_len: usize,
    /// Bytes of opened bodies kept.
    pub body_cache_len: usize,
    /// Bytes of index pages kept.
    pub index_cache_len: usize,
    /// Bytes of index updates gathered in memory before they are written. While the index's disk does not take them, as many
    /// more may wait before versions are refused ([`Failure::Full`](super::Failure::Full), or
    /// [`Disk`](super::Failure::Disk)), and twice as many before deletions and upkeep are.
    pub index_overlay_len: usize,
    /// Keeps the index in memory alone, all of it, for a store so small that an opening may read its whole log: nothing is
    /// written then but the log. No profile asks for it.
    pub index_in_memory: bool,
    /// Bytes of log written since the last checkpoint before the next is taken: what an opening after a crash re-reads.
    pub replay_len: u64,
    /// Bytes of one segment of the log.
    pub segment_len: u32,
    /// Bytes that maintenance handles before it lets requests in.
    pub upkeep_step_len: u64,
    /// Damaged places of the log that are named one by one, and remembered where the index could not be told what stands there.
    /// While there are more, what lies behind them is neither collected nor compacted.
    pub damaged_places: u32,
}

/// The budgets of a kind of machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// 4 GB of memory, two cores.
    #[default]
    Server,
    /// 128 MB of memory, one core.
    Mobile,
    /// 24 MB of memory.
    Background,
}

impl Profile {
    /// The limits of this profile.
    #[must_use]
    pub const fn limits(self) -> Limits {
        const MIB: usize = 1 << 20;
        match self {
            Self::Server => Limits {
                requests: 4096,
                uploads: 65_536,
                inflight_len: 32 * MIB,
                read_len: 4 << 20,
                merge_len: 64 << 20,
                batch_len: 256 << 20,
                window_len: 8 * MIB,
                body_cache_len: 8 * MIB,
                index_cache_len: 32 * MIB,
                index_overlay_len: 24 * MIB,
                index_in_memory: false,
                replay_len: 1 << 30,
                segment_len: 64 << 20,
                upkeep_step_len: 8 << 20,
                damaged_places: 4096,
            },
            Self::Mobile => Limits {
                requests: 512,
                uploads: 4096,
                inflight_len: 12 * MIB,
                read_len: 1 << 20,
                merge_len: 16 << 20,
                batch_len: 32 << 20,
                window_len: 3 * MIB,
                body_cache_len: 2 * MIB,
                index_cache_len: 8 * MIB,
                index_overlay_len: 4 * MIB,
                index_in_memory: false,
                replay_len: 64 << 20,
                segment_len: 32 << 20,
                upkeep_step_len: 2 << 20,
                damaged_places: 1024,
            },
            Self::Background => Limits {
                requests: 32,
                uploads: 256,
                inflight_len: 3 * MIB,
                read_len: 512 << 10,
                merge_len: 4 << 20,
                batch_len: 8 << 20,
                window_len: MIB,
                body_cache_len: MIB / 2,
                index_cache_len: 2 * MIB,
                index_overlay_len: MIB,
                index_in_memory: false,
                replay_len: 16 << 20,
                segment_len: 16 << 20,
                upkeep_step_len: 512 << 10,
                damaged_places: 256,
            },
        }
    }
}

impl Limits {
    /// These, without those by which nothing would ever come to an end: a read of no bytes brings nobody further.
    #[must_use]
    pub(super) fn sane(self) -> Self {
        Self { read_len: self.read_len.max(1), ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Profile::Server.limits()
    }
}
