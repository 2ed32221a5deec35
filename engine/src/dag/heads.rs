//! Heads: the versions that no other version was based on.

use super::Ancestry;
use super::bases::covered_by;
use crate::id::{BlobId, Hlc};
use std::collections::{BTreeMap, BTreeSet};

/// The maximal elements of `versions`: those known and not purged that no other of them descends from, highest
/// `(created, id)` first, so that the first is the winner.
///
/// Give it all live versions of a key to find its heads; that costs one look-up per version and hole. Given a part of them,
/// ancestry between its elements is found through versions outside it too.
///
/// # Errors
/// Those of `ancestry`.
pub fn heads<A: Ancestry>(
    ancestry: &A,
    versions: impl IntoIterator<Item = BlobId>,
) -> Result<Vec<(Hlc, BlobId)>, A::Error> {
    // PA
    let mut members = BTreeMap::new();
    let mut ways = Vec::new();
    for id in versions {
        if members.contains_key(&id) {
            continue;
        }
        if let Some(parents) = ancestry.parents(id)?.filter(|parents| !parents.purged) {
            members.insert(id, parents.created);
            ways.push(parents.ids);
        }
    }
    // On a path from one member to another, consider the last member before the end: nothing but outsiders lies between.
    // So it is enough to walk down from every member through outsiders, each of them once.
    let oldest = members.values().min().copied().unwrap_or_default();
    let monotone = ancestry.is_monotone();
    let mut covered = BTreeSet::new();
    let mut passed = BTreeSet::new();
    while let Some(ids) = ways.pop() {
        for id in ids {
            if members.contains_key(&id) {
                covered.insert(id);
            } else if passed.insert(id)
                && let Some(parents) = ancestry.parents(id)?
                && !(monotone && parents.created <= oldest)
            {
                ways.push(parents.ids);
            }
        }
    }
    let left = members.into_iter().filter(|(id, _)| !covered.contains(id));
    Ok(sorted(left.map(|(id, created)| (created, id)).collect()))
}

/// The deterministic winner among heads: the highest `created`, then the highest id.
#[must_use]
pub fn winner(heads: &[(Hlc, BlobId)]) -> Option<BlobId> {
    heads.iter().max().map(|(_, id)| *id)
}

/// The heads after `new` (a version, or a hole), now known to `ancestry`, was added to a key whose heads were `heads`. Right in whichever order
/// versions arrive, a parent after its child included. A version based on a head costs a look-up or two.
///
/// `has_children` says whether any known version names `new` as a parent; a store that counts children answers for free,
/// one that does not says `true`.
///
/// # Errors
/// Those of `ancestry`.
pub fn add_to_heads<A: Ancestry>(
    ancestry: &A,
    heads: &[(Hlc, BlobId)],
    new: BlobId,
    has_children: bool,
) -> Result<Vec<(Hlc, BlobId)>, A::Error> {
    // PA
    let Some(version) = ancestry.parents(new)? else { return Ok(heads.to_vec()) };
    let mut left: Vec<(Hlc, BlobId)> = heads.iter().copied().filter(|(_, id)| *id != new).collect();
    let is_below = has_children && !covered_by(ancestry, left.iter().map(|(_, id)| *id), [new])?.is_empty();
    if version.purged && !is_below {
        // A hole that nothing live descends from hides nothing.
        return Ok(sorted(left));
    }
    // When all that `new` names are heads, no other head lies below it: heads are never ancestors of each other.
    let direct: BTreeSet<BlobId> = version.ids.iter().copied().collect();
    let settled = left.iter().filter(|(_, id)| direct.contains(id)).count() == direct.len();
    left.retain(|(_, id)| !direct.contains(id));
    if !settled && !left.is_empty() {
        let below_new = covered_by(ancestry, [new], left.iter().map(|(_, id)| *id))?;
        left.retain(|(_, id)| !below_new.contains(id));
    }
    if !version.purged && !is_below {
        left.push((version.created, new));
    }
    Ok(sorted(left))
}

/// The heads after `purged` became a hole in `ancestry`. If it was a head, its nearest live ancestors come up, unless another
/// head covers them.
///
/// # Errors
/// Those of `ancestry`.
pub fn remove_from_heads<A: Ancestry>(
    ancestry: &A,
    old_heads: &[(Hlc, BlobId)],
    purged: BlobId,
) -> Result<Vec<(Hlc, BlobId)>, A::Error> {
    // PA
    if old_heads.iter().all(|(_, id)| *id != purged) {
        return Ok(sorted(old_heads.to_vec()));
    }
    let mut candidates: BTreeSet<BlobId> = old_heads.iter().map(|(_, id)| *id).filter(|id| *id != purged).collect();
    let mut passed = BTreeSet::from([purged]);
    let mut holes = vec![purged];
    while let Some(hole) = holes.pop() {
        for id in ancestry.parents(hole)?.map(|parents| parents.ids).unwrap_or_default() {
            match ancestry.parents(id)? {
                Some(parents) if !parents.purged => {
                    candidates.insert(id);
                }
                Some(_) if passed.insert(id) => holes.push(id),
                _ => {}
            }
        }
    }
    heads(ancestry, candidates)
}

fn sorted(mut heads: Vec<(Hlc, BlobId)>) -> Vec<(Hlc, BlobId)> {
    heads.sort_unstable_by(|a, b| b.cmp(a));
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sample::blob;
    use crate::dag::{MemoryAncestry, Parents, naive};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn heads_are_those_that_nothing_descends_from(graph in naive::any_graph()) {
            let found = heads(&graph, graph.live()).unwrap();
            prop_assert_eq!(&found, &naive::heads(&graph, &graph.live().collect::<Vec<_>>()));
            prop_assert_eq!(winner(&found), found.first().map(|(_, id)| *id));
        }

        #[test]
        fn heads_of_any_part_are_found_through_the_rest(graph in naive::any_graph(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let all: Vec<BlobId> = graph.iter().map(|(id, _)| id).collect();
            let part: Vec<BlobId> = picks.iter().filter(|_| !all.is_empty()).map(|pick| all[pick.index(all.len())]).collect();
            prop_assert_eq!(heads(&graph, part.iter().copied()).unwrap(), naive::heads(&graph, &part));
        }

        #[test]
        fn heads_kept_up_to_date_are_the_heads_in_any_order_of_arrival(graph in naive::any_graph(), order in any::<u64>(), told in any::<bool>()) {
            let mut arrivals: Vec<(BlobId, Parents)> = graph.iter().map(|(id, parents)| (id, parents.clone())).collect();
            naive::shuffle(&mut arrivals, order);
            let mut known = MemoryAncestry::new();
            let mut kept = Vec::new();
            for (id, parents) in arrivals {
                // Some holes come as holes: the tombstone was here before the version.
                let purge = parents.purged && parents.ids.len() % 2 == 0;
                known.insert(id, Parents { purged: parents.purged && !purge, ..parents });
                let has_children = known.iter().any(|(_, other)| other.ids.contains(&id));
                kept = add_to_heads(&known, &kept, id, told || has_children).unwrap();
                prop_assert_eq!(&kept, &naive::heads(&known, &known.live().collect::<Vec<_>>()));
                if purge {
                    known.purge(id);
                    kept = remove_from_heads(&known, &kept, id).unwrap();
                    prop_assert_eq!(&kept, &naive::heads(&known, &known.live().collect::<Vec<_>>()));
                }
            }
        }
    }

    #[test]
    fn a_hole_still_connects_what_lies_on_either_side() {
        let mut graph = MemoryAncestry::new();
        let version = |created, ids: &[u32]| Parents {
            created: Hlc(created),
            ids: ids.iter().map(|n| blob(*n)).collect(),
            purged: false,
        };
        graph.insert(blob(1), version(1, &[]));
        graph.insert(blob(2), version(2, &[1]));
        graph.insert(blob(3), version(3, &[2]));
        graph.purge(blob(2));
        assert_eq!(heads(&graph, graph.live()), Ok(vec![(Hlc(3), blob(3))]));
        graph.purge(blob(3));
        let before = [(Hlc(3), blob(3))];
        assert_eq!(remove_from_heads(&graph, &before, blob(3)), Ok(vec![(Hlc(1), blob(1))]));
    }

    #[test]
    fn adding_to_a_long_history_costs_a_constant_number_of_look_ups() {
        let mut graph = naive::Counting::new(naive::chain(100_000));
        let tip = blob(100_000);
        graph.inner.insert(blob(100_001), Parents { created: Hlc(100_001), ids: vec![tip], purged: false });
        let kept = add_to_heads(&graph, &[(Hlc(100_000), tip)], blob(100_001), false).unwrap();
        assert_eq!(kept, vec![(Hlc(100_001), blob(100_001))]);
        assert!(graph.look_ups() <= 2);
    }
}
