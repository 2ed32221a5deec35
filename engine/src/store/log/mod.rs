//! The log: append-only segments of checksummed, self-describing records. The truth of the store.
//!
//! What it promises:
//!
//! * What was appended before a [`Log::commit`] that returned is there after any crash. Of a batch whose commit did not
//!   return, all is there or nothing.
//! * A read returns the bytes that were appended, or an error that names the record.
//! * Damage never shortens history: whatever lies behind a damaged place is still found.
//! * After a sync that failed nothing is written any more until the log is opened anew, and what the failed sync may
//!   have lost is not trusted (Rebello et al., ATC'20).
//!
//! It knows nothing of what the records mean, and a slice's bytes beyond its header are verified by whoever knows slices.
//!
//! Read in this order: `place`, `segment`, `record`, `commit`, `segments`, `footer` (the format), `scan`, `active`,
//! `writer`, `parity`, `upkeep`, `rest`, `repair`, `reader`, `inventory`, `create`, `tail`, `verdict`, `recovery`, `replay`, `proof`,
//! `whole`, `restart`.

mod active;
mod commit;
mod create;
mod disowned;
mod error;
mod footer;
mod handles;
mod inventory;
mod parity;
mod place;
mod proof;
mod reader;
mod reclaim;
mod record;
mod recovery;
mod repair;
mod replay;
mod rest;
mod restart;
mod restored;
mod scan;
mod sectors;
mod segment;
mod segments;
mod tail;
mod upkeep;
mod verdict;
mod whole;
mod writer;

#[cfg(any(test, feature = "conformance"))]
pub mod structures;
#[cfg(test)]
mod tests;

pub use commit::MAX_NOTE_LEN;
pub use error::LogError;
pub use place::{Damage, DamagedRange, LogPosition};
pub use reader::{RecordView, ScanReport};
pub(crate) use record::record_len;
pub use record::{RecordFlags, RecordKind};
pub use recovery::{Recovery, TornBatch};
pub use repair::RepairReport;
pub use replay::Replayed;
pub(crate) use replay::lost_whole;
pub use segment::{MAX_CONFIG_LEN, StoreId};

pub use super::{Location, SegmentId};

use crate::env::{Disk, DiskError};
use crate::id::EngineRng;
use active::Active;
use commit::Batch;
use handles::Handles;
use rest::Rest;
use segment::{Binding, FIRST_RECORD};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of a log. They may change from one open to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment is sealed when the next record would make it longer than this, in bytes. Capped at 1 GiB.
    pub segment_len: u32,
    /// How many bytes of records share one group parity.
    pub parity_group_len: u32,
    /// How many bytes of small records are gathered before they are written.
    pub write_buffer_len: u32,
    /// How many segment files are held open for reading.
    pub open_files: u32,
    /// Writes nothing to a segment that stands at opening but the proof at its end, as it stands there, and starts another. For
    /// whoever opens the log without the checkpoint that another keeps of it: what that one knows to be durable must not be under
    /// way when a crash comes.
    pub leave_end: bool,
    /// How many damaged places a look at history tells one by one, at most.
    pub damaged_places: u32,
    /// Up to here the log is known to be durable, as it is up to where an opening starts: by the checkpoint of an index that is
    /// made anew, and is told of everything once more.
    pub proven: Option<LogPosition>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_len: 64 << 20,
            parity_group_len: 1 << 20,
            write_buffer_len: 256 << 10,
            open_files: 32,
            leave_end: false,
            damaged_places: 4096,
            proven: None,
        }
    }
}

impl LogOptions {
    const MIN_SEGMENT_LEN: u32 = 16 << 10;
    const MAX_SEGMENT_LEN: u32 = 1 << 30;

    fn clamped(mut self) -> Self {
        self.segment_len = self.segment_len.clamp(Self::MIN_SEGMENT_LEN, Self::MAX_SEGMENT_LEN);
        self.write_buffer_len = self.write_buffer_len.clamp(512, 64 << 20);
        self.parity_group_len = self.parity_group_len.clamp(4 << 10, 16 << 20);
        self
    }

    /// Longest payload that fits into a segment, in bytes.
    #[must_use]
    pub fn max_payload_len(&self) -> u64 {
        u64::from(self.clamped().segment_len - FIRST_RECORD) - 4096
    }
}

/// What the log knows of one of its segments.
#[derive(Clone, Debug)]
struct Segment {
    binding: Binding,
    /// End of its last record.
    len: u32,
}

/// One segment, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its id; ids rise with age.
    pub id: SegmentId,
    /// Its length, in bytes, buffered records included.
    pub len: u32,
    /// Whether nothing will be appended to it any more.
    pub sealed: bool,
}

/// Says whether a whole payload is what was written, by the checks that it carries itself. The log's own checksum of a slice
/// ends with the slice's header. `true` for kinds that carry none.
pub type Verify = fn(RecordKind, &[u8]) -> bool;

/// The log of one store, open for reading and writing.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    options: LogOptions,
    store: StoreId,
    config: Vec<u8>,
    salts: EngineRng,
    segments: BTreeMap<SegmentId, Segment>,
    next_id: SegmentId,
    active: Option<Active<D::File>>,
    /// Whether the active segment holds anything that a roll would be worth.
    has_content: bool,
    rest: Rest,
    /// The last commit is a proof, of all before it or of a part of that.
    ends_with_proof: bool,
    /// Segments before the active one that may be without parity: there was no room to copy what stood in them, the disk
    /// refused to write it, or something in them was rotten.
    unsealed: BTreeSet<SegmentId>,
    /// Segments that were to get their parity, and of which the disk refused to read something; and how often.
    refused: BTreeMap<SegmentId, u8>,
    /// From where on this process has made sure that the parity is durable which stands in a stretch that a commit has disowned.
    sure_upkeep: BTreeSet<place::Point>,
    handles: Handles<D>,
    durable: LogPosition,
    /// Where the batch of that commit begins; or its end where nothing in it lasts, and all that it says is that what stands before
    /// it is durable.
    durable_from: place::Point,
    note: Vec<u8>,
    batch: Batch,
    /// The disk was full since the last commit: parity that is due is not to take the room that the next may need.
    short_of_room: bool,
    /// The latest Segments record.
    list: Location,
    /// The Segments record that the last commit named.
    durable_list: Location,
    /// Segments that the batch under way removes.
    removing: BTreeSet<SegmentId>,
    /// Segments of the log whose files are missing, or hold nothing that can be read now. Lists go on naming them: a file that
    /// a list does not name is taken for one that was removed.
    absent: BTreeSet<SegmentId>,
    /// Segments that are out of the log, or will be with the next commit, and whose files are to go.
    condemned: BTreeSet<SegmentId>,
    /// Whether the latest list may name condemned segments: then the next commit makes another before they go.
    list_outdated: bool,
    /// Whether the list that was committed last names what an opening has given up.
    names_given_up: bool,
    directory_dirty: bool,
    verify: Verify,
    poisoned: Option<DiskError>,
}

impl<D: Disk> Log<D> {
    /// Changes [`LogOptions::write_buffer_len`].
    pub fn set_write_buffer(&mut self, len: u32) {
        self.options = LogOptions { write_buffer_len: len, ..self.options }.clamped();
    }

    /// Changes [`LogOptions::parity_group_len`], from the next group on.
    pub fn set_parity_group(&mut self, len: u32) {
        self.options = LogOptions { parity_group_len: len, ..self.options }.clamped();
        if let Some(active) = &mut self.active {
            active.cover.set_group_len(self.options.parity_group_len);
        }
    }

    /// The last commit.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.durable
    }

    /// The disk that the log is on.
    #[must_use]
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// The configuration that the log was created with.
    #[must_use]
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// The store that the log belongs to.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Segments of the log that were missing, or could not be read at all, when it was opened.
    pub fn absent(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.absent.iter().copied()
    }

    /// Whether there is such a segment.
    #[must_use]
    pub fn has(&self, segment: SegmentId) -> bool {
        self.segments.contains_key(&segment)
    }

    /// The segments, oldest first, without those that are removed, or will be with the next commit.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let active = self.active.as_ref().map(|active| active.id);
        let info = |(id, segment): (&SegmentId, &Segment)| SegmentInfo {
            id: *id,
            len: segment.len,
            sealed: Some(*id) != active,
        };
        self.segments.iter().filter(|(id, _)| !self.condemned.contains(id)).map(info).collect()
    }
}
