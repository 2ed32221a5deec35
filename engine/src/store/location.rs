//! Where a record lies in the log.

use borsh::{BorshDeserialize, BorshSerialize};

/// A segment of the log; segments are numbered in the order of their creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SegmentId(pub u64);

/// A record in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Location {
    /// The segment.
    pub segment: SegmentId,
    /// Bytes from the segment's start to the record's.
    pub offset: u32,
    /// The record's payload length, in bytes.
    pub len: u32,
}
