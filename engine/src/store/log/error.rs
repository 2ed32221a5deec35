//! What can go wrong at the log.

use super::{Location, LogPosition, RecordKind, SegmentId, StoreId};
use crate::codec::DecodeError;
use crate::env::DiskError;

/// Why the log refused, or could not do, what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk refused. When it is full, nothing was appended and the call may be repeated once space is free.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A sync failed, now or earlier. Nothing written since the last commit may be trusted; open the log anew.
    #[error("the log stopped accepting writes because a sync failed ({0}); reopen the store")]
    Poisoned(DiskError),
    /// The directory holds no log that was ever committed.
    #[error("there is no log here; create one, or check the path")]
    NoLog,
    /// No header of any segment can be read, nor a list that says the same. Nothing was changed: segments that do not know it
    /// would be written, and headers made good with what is not so.
    #[error("no segment says how the log is configured: try again, or bring a segment file back from a backup")]
    NoHeader,
    /// `create` found segments in the directory.
    #[error("a log exists here already (segment {0}); open it, or choose an empty directory")]
    AlreadyExists(SegmentId),
    /// A segment belongs to another store.
    #[error("segment {segment} belongs to store {found}, not to {expected}; remove the file that was copied here")]
    Foreign {
        /// The segment.
        segment: SegmentId,
        /// The store it names.
        found: StoreId,
        /// The store that the other segments name.
        expected: StoreId,
    },
    /// A structure of the log is of a version that this build does not read, or malformed.
    #[error("segment {segment}: {error}")]
    Format {
        /// The segment.
        segment: SegmentId,
        /// What the decoder said.
        error: DecodeError,
    },
    /// A record's bytes are not what was written.
    #[error("record at {location} is damaged ({what}); repair the segment or fetch the record from a peer")]
    Damaged {
        /// The record.
        location: Location,
        /// Which check failed.
        what: &'static str,
    },
    /// Bytes that were intact a moment ago are not any more.
    #[error("segment {segment} changed or failed at offset {offset} while the log was being opened; try again")]
    Unstable {
        /// The segment.
        segment: SegmentId,
        /// Where, in bytes.
        offset: u32,
    },
    /// So many segments are missing that the directory cannot be all there: more than this. Nothing was changed.
    #[error(
        "more than {0} of the log's segment files are missing: bring back the whole directory, or mount what it lies on"
    )]
    TooManyMissing(usize),
    /// The segment is not part of the log.
    #[error("segment {0} is not in the log: it was removed or its file is missing")]
    NoSegment(SegmentId),
    /// Records are still being written to the segment.
    #[error("segment {0} is still being written to and cannot be removed")]
    Active(SegmentId),
    /// A record, note or configuration is longer than the format allows.
    #[error("{what}: {len} bytes exceed the limit of {limit}")]
    TooLong {
        /// What was too long.
        what: &'static str,
        /// Its length, in bytes.
        len: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Only the log itself writes records of this kind.
    #[error("records of kind {0:?} are written by the log itself")]
    ReservedKind(RecordKind),
    /// The checkpoint names a commit that the log does not have: the index is from a later state or another log.
    #[error("the checkpoint {0} lies beyond the end of the log; discard the index and replay the whole log")]
    CheckpointAhead(LogPosition),
    /// The visitor refused a record.
    #[error("replaying the log: {0}")]
    Visitor(String),
}
