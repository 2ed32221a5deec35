//! Where a record lies in the log.

use borsh::{BorshDeserialize, BorshSerialize};

/// Names one segment of the log. Ids rise with age, and are never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SegmentId(pub u64);

impl core::fmt::Display for SegmentId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where one record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Location {
    /// The segment.
    pub segment: SegmentId,
    /// Where the record's header starts in the segment, in bytes.
    pub offset: u32,
    /// Length of the payload, in bytes.
    pub len: u32,
}

impl core::fmt::Display for Location {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "segment {} offset {} ({} bytes)", self.segment, self.offset, self.len)
    }
}
