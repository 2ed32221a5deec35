//! The checkpoint: what an index says of the log that it is of.

use super::losses::Losses;
use super::policy::Policy;
use super::unread::Unseen;
use crate::id::{Epoch, Hlc, Incarnation, Partition, SealId, Sequence};
use crate::store::SegmentId;
use crate::store::log::LogPosition;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(any(test, feature = "conformance"))]
use crate::seal::Coding;
#[cfg(any(test, feature = "conformance"))]
use crate::store::log::structures::Structure;
#[cfg(any(test, feature = "conformance"))]
use crate::store::log::{Damage, DamagedRange};

/// What the index remembers of the log at a flush.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Checkpoint {
    pub(super) position: LogPosition,
    /// Segment removals up to here. An index that has seen fewer than the log may point into removed segments.
    pub(super) removals: u64,
    pub(super) incarnation: Incarnation,
    /// The highest stamp given or seen.
    pub(super) clock: Hlc,
    pub(super) sequences: BTreeMap<Partition, Sequence>,
    pub(super) policy: Option<Policy>,
    pub(super) content: BTreeMap<SegmentId, u64>,
    /// What the index could not be told, because it could not be read.
    pub(super) unseen: Unseen,
    pub(super) lost: Losses,
    /// Seals that may be lost, and were not looked at yet.
    pub(super) doubted: BTreeSet<SealId>,
    /// There may be something that nothing refers to any more.
    pub(super) to_sweep: bool,
    /// Segments in which something is not understood.
    pub(super) undecoded: BTreeSet<SegmentId>,
    /// Epochs of the group key without which versions could not be opened.
    pub(super) unopened: BTreeSet<Epoch>,
}

/// Its decoder, for whoever gives that hostile bytes: it stands in an index that is encrypted, and which is believed no more
/// for that.
#[cfg(any(test, feature = "conformance"))]
pub const CHECKPOINT: Structure = Structure {
    recode: |bytes| borsh::from_slice::<Checkpoint>(bytes).ok().and_then(|checkpoint| borsh::to_vec(&checkpoint).ok()),
    example: || borsh::to_vec(&example()).unwrap_or_default(),
};

#[cfg(any(test, feature = "conformance"))]
fn example() -> Checkpoint {
    let refused = DamagedRange { segment: SegmentId(7), from: 8192, to: 9000, what: Damage::Unreadable };
    let mut lost = Losses::default();
    lost.add(SealId::from_bytes([8; 32]));
    lost.told();
    Checkpoint {
        position: LogPosition { segment: SegmentId(7), commit: 9000, end: 9216 },
        removals: 3,
        incarnation: Incarnation(2),
        clock: Hlc(0x0123_4567_89ab_cdef),
        sequences: [(Partition(5), Sequence(9)), (Partition(6), Sequence(1))].into(),
        policy: Some(Policy { created: Hlc(4), coding: Coding::default() }),
        content: [(SegmentId(6), 5000), (SegmentId(7), 700)].into(),
        unseen: Unseen::of(&[refused], Some(SegmentId(7))),
        lost,
        doubted: [SealId::from_bytes([9; 32])].into(),
        to_sweep: true,
        undecoded: [SegmentId(6)].into(),
        unopened: [Epoch(3)].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_back_and_has_one_encoding() {
        let bytes = (CHECKPOINT.example)();
        assert_eq!(borsh::from_slice::<Checkpoint>(&bytes).unwrap(), example());
        assert_eq!((CHECKPOINT.recode)(&bytes), Some(bytes.clone()));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!((CHECKPOINT.recode)(&longer), None);
    }
}
