//! Dots: the name of one event in a replicated history (dotted version vectors, DottedDB, SRDS'17).

use super::NodeId;
use borsh::{BorshDeserialize, BorshSerialize};

/// One life of a node's log. A fresh random value whenever the log was created, truncated, restored or rolled back,
/// so that a sequence number is never used for two different records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Incarnation(pub u64);

/// A partition of a realm; sync, repair and placement are per partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Partition(pub u16);

/// Position in one origin's history of one partition; the first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Sequence(pub u64);

/// (node, incarnation, partition, sequence): names one replicated record for ever. Durable before use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Dot {
    /// The node that first logged the record.
    pub node: NodeId,
    /// The life of that node's log.
    pub incarnation: Incarnation,
    /// The partition that the record belongs to.
    pub partition: Partition,
    /// The record's place in that history.
    pub sequence: Sequence,
}
