//! The twin rule: two people who merged the same versions into the same value made one merger, not a new divergence.

use crate::id::BlobId;
use std::collections::BTreeMap;

/// What tells whether two mergers are twins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// The merger.
    pub id: BlobId,
    /// Its parents, strictly rising as in its header.
    pub parents: Vec<BlobId>,
    /// Its body's commitment ([`crate::blob::Body::commitment`]).
    pub commitment: [u8; 32],
}

/// Which mergers collapse into which: mergers of equal parents and equal commitment become the one of the lowest id. Gives
/// those that go, with the one that stays in their place. Commutative and idempotent: the order and repetition of `mergers`
/// do not matter, and what stays never goes.
///
/// Versions without at least two parents are no mergers and are left alone.
#[must_use]
pub fn collapse_twins(mergers: &[Twin]) -> BTreeMap<BlobId, BlobId> {
    // PA
    let mut kept: BTreeMap<(&[BlobId], &[u8; 32]), BlobId> = BTreeMap::new();
    let is_merger = |twin: &&Twin| twin.parents.len() > 1;
    for twin in mergers.iter().filter(is_merger) {
        let lowest = kept.entry((&twin.parents, &twin.commitment)).or_insert(twin.id);
        *lowest = twin.id.min(*lowest);
    }
    let staying = |twin: &Twin| kept.get(&(twin.parents.as_slice(), &twin.commitment)).copied();
    mergers
        .iter()
        .filter(is_merger)
        .filter_map(|twin| staying(twin).filter(|lowest| *lowest != twin.id).map(|lowest| (twin.id, lowest)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sample::blob;
    use proptest::prelude::*;

    prop_compose! {
        fn any_twin()(id in 0u32..12, parents in prop::collection::btree_set(0u32..3, 0..3), content in 0u8..2) -> Twin {
            // An id fixes what it names.
            let id = id * 100 + parents.iter().map(|n| n + 1).sum::<u32>() * 10 + parents.len() as u32 * 3 + u32::from(content);
            Twin { id: blob(id), parents: parents.into_iter().map(blob).collect(), commitment: [content; 32] }
        }
    }

    proptest! {
        #[test]
        fn the_rule_ignores_order_and_repetition(twins in prop::collection::vec(any_twin(), 0..12)) {
            let collapsed = collapse_twins(&twins);
            let mut other: Vec<Twin> = twins.iter().rev().cloned().collect();
            other.extend(twins.iter().cloned());
            prop_assert_eq!(&collapse_twins(&other), &collapsed);
            for (gone, stays) in &collapsed {
                prop_assert!(stays < gone);
                prop_assert!(!collapsed.contains_key(stays));
            }
            let left: Vec<Twin> = twins.iter().filter(|twin| !collapsed.contains_key(&twin.id)).cloned().collect();
            prop_assert!(collapse_twins(&left).is_empty());
        }
    }

    #[test]
    fn only_mergers_of_equal_parents_and_value_are_twins() {
        let twin = |id, parents: &[u32], content| Twin {
            id: blob(id),
            parents: parents.iter().map(|n| blob(*n)).collect(),
            commitment: [content; 32],
        };
        let versions = [
            twin(9, &[1, 2], 0),
            twin(8, &[1, 2], 0),
            twin(7, &[1, 2], 1),
            twin(6, &[1, 3], 0),
            twin(5, &[1], 0),
            twin(4, &[1], 0),
        ];
        assert_eq!(collapse_twins(&versions), BTreeMap::from([(blob(9), blob(8))]));
    }
}
