//! Common ancestors by painting: every side paints its ancestors downwards in its own colour, newest first; where all
//! colours meet is a merge base, and what lies below one is stale.
//!
//! The idea is git's (`commit-reach.c`, `paint_down_to_common`). Unlike there, the answer does not lean on stamps: when
//! they cannot be trusted ([`Ancestry::is_monotone`]), several candidates are told apart by walking on until ancestry
//! itself decides.

use super::{Ancestry, Parents};
use crate::id::{BlobId, Hlc};
use crate::planted::{Bug, planted};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Most versions whose common base can be asked for: as many as a merger may have parents.
pub const MAX_SIDES: usize = 64;

/// Why no merge base was looked for, or the search broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BasesError<E> {
    /// More versions than [`MAX_SIDES`] were to be joined at once.
    #[error("{0} versions cannot be joined at once, at most 64 can; join some of them first")]
    TooManySides(usize),
    /// A look-up failed.
    #[error("{0}")]
    Ancestry(E),
}

/// Every side's colour and, above them, whether a base was found further up.
#[derive(Clone)]
struct Painted {
    parents: Parents,
    colours: u64,
    stale: bool,
}

/// A walk downwards in `(created, id)` order, remembering what it has seen.
struct Painting<'a, A> {
    ancestry: &'a A,
    seen: BTreeMap<BlobId, Painted>,
    queue: BinaryHeap<(Hlc, BlobId)>,
    /// Which of the queue's versions are not stale.
    fresh: BTreeSet<BlobId>,
}

impl<'a, A: Ancestry> Painting<'a, A> {
    const fn new(ancestry: &'a A) -> Self {
        Self { ancestry, seen: BTreeMap::new(), queue: BinaryHeap::new(), fresh: BTreeSet::new() }
    }

    /// Adds colours to a version and queues it if that changed anything. Unknown versions are dead ends.
    fn paint(&mut self, id: BlobId, colours: u64, stale: bool) -> Result<(), A::Error> {
        let painted = match self.seen.get_mut(&id) {
            Some(painted) => {
                if painted.colours | colours == painted.colours && painted.stale | stale == painted.stale {
                    return Ok(());
                }
                painted.colours |= colours;
                painted.stale |= stale;
                painted
            }
            None => {
                let Some(parents) = self.ancestry.parents(id)? else { return Ok(()) };
                self.seen.entry(id).or_insert(Painted { parents, colours, stale })
            }
        };
        self.queue.push((painted.parents.created, id));
        if painted.stale {
            self.fresh.remove(&id);
        } else {
            self.fresh.insert(id);
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<(BlobId, Painted)> {
        let (_, id) = self.queue.pop()?;
        self.fresh.remove(&id);
        Some((id, self.seen.get(&id)?.clone()))
    }
}

/// The best common ancestors of all `sides`: live versions that are ancestors of (or are) every side, and of which none is
/// an ancestor of another. Several after a criss-cross; none when the histories are unrelated or the common part is
/// unknown or purged. Sorted, highest `(created, id)` first.
///
/// # Errors
/// [`BasesError`].
pub fn merge_bases<A: Ancestry>(ancestry: &A, sides: &[BlobId]) -> Result<Vec<(Hlc, BlobId)>, BasesError<A::Error>> {
    // PA
    let sides: BTreeSet<BlobId> = sides.iter().copied().collect();
    if sides.len() > MAX_SIDES {
        return Err(BasesError::TooManySides(sides.len()));
    }
    paint_to_bases(ancestry, &sides).map_err(BasesError::Ancestry)
}

fn paint_to_bases<A: Ancestry>(ancestry: &A, sides: &BTreeSet<BlobId>) -> Result<Vec<(Hlc, BlobId)>, A::Error> {
    // PA
    let mut painting = Painting::new(ancestry);
    let mut all = 0u64;
    for (number, side) in sides.iter().enumerate() {
        all |= 1 << number;
        painting.paint(*side, 1 << number, false)?;
    }
    if sides.is_empty() || sides.iter().any(|side| !painting.seen.contains_key(side)) {
        return Ok(Vec::new());
    }
    let monotone = ancestry.is_monotone();
    let mut candidates: BTreeMap<BlobId, Hlc> = BTreeMap::new();
    loop {
        if painting.fresh.is_empty() {
            // Every common ancestor is now a candidate or lies below one. A single candidate is the answer; of several,
            // one may still lie below another by a way not yet walked.
            if candidates.len() <= 1 {
                break;
            }
            let oldest = candidates.values().min().copied().unwrap_or_default();
            let newest_way = painting.queue.peek().map(|(created, _)| *created);
            if newest_way.is_none_or(|newest| monotone && newest < oldest) {
                break;
            }
        }
        let Some((id, painted)) = painting.pop() else { break };
        let is_base = painted.colours == all && !painted.parents.purged;
        if painted.stale && !planted(Bug::BaseBelowAnother) {
            candidates.remove(&id);
        } else if is_base {
            candidates.insert(id, painted.parents.created);
        }
        for parent in painted.parents.ids {
            painting.paint(parent, painted.colours, painted.stale || is_base)?;
        }
    }
    let mut bases: Vec<(Hlc, BlobId)> = candidates.into_iter().map(|(id, created)| (created, id)).collect();
    bases.sort_unstable_by(|a, b| b.cmp(a));
    Ok(bases)
}

/// Whether `ancestor` is an ancestor of `descendant`, or is that version itself.
///
/// # Errors
/// Those of `ancestry`.
pub fn is_ancestor<A: Ancestry>(ancestry: &A, ancestor: BlobId, descendant: BlobId) -> Result<bool, A::Error> {
    // PA
    Ok(ancestor == descendant || !covered_by(ancestry, [descendant], [ancestor])?.is_empty())
}

/// Which of `wanted` are proper ancestors of any of `from`. Known or not, purged or not.
pub(super) fn covered_by<A: Ancestry>(
    ancestry: &A,
    from: impl IntoIterator<Item = BlobId>,
    wanted: impl IntoIterator<Item = BlobId>,
) -> Result<BTreeSet<BlobId>, A::Error> {
    let mut missing: BTreeSet<BlobId> = wanted.into_iter().collect();
    let mut found = BTreeSet::new();
    let mut oldest = None;
    if ancestry.is_monotone() {
        let stamps = missing.iter().map(|id| Ok(ancestry.parents(*id)?.map(|parents| parents.created)));
        // Nothing is known of when an unknown version was made, so the search for one cannot be cut short.
        oldest = stamps.collect::<Result<Option<Vec<Hlc>>, _>>()?.and_then(|stamps| stamps.into_iter().min());
    }
    let mut seen = BTreeSet::new();
    let mut queue = BinaryHeap::new();
    for id in from {
        if seen.insert(id)
            && let Some(parents) = ancestry.parents(id)?
        {
            queue.push((parents.created, id, parents.ids));
        }
    }
    while let Some((created, _, ids)) = queue.pop() {
        if missing.is_empty() || oldest.is_some_and(|oldest| created <= oldest) {
            break;
        }
        for id in ids {
            if missing.remove(&id) {
                found.insert(id);
            }
            if seen.insert(id)
                && let Some(parents) = ancestry.parents(id)?
            {
                queue.push((parents.created, id, parents.ids));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sample::blob;
    use crate::dag::{MemoryAncestry, naive};
    use proptest::prelude::*;

    fn bases(graph: &impl Ancestry<Error = core::convert::Infallible>, sides: &[u32]) -> Vec<BlobId> {
        let sides: Vec<BlobId> = sides.iter().map(|n| blob(*n)).collect();
        merge_bases(graph, &sides).unwrap().into_iter().map(|(_, id)| id).collect()
    }

    fn graph(edges: &[(u32, &[u32])]) -> MemoryAncestry {
        let mut graph = MemoryAncestry::new();
        for (n, parents) in edges {
            let ids = parents.iter().map(|n| blob(*n)).collect();
            graph.insert(blob(*n), Parents { created: Hlc(u64::from(*n)), ids, purged: false });
        }
        graph
    }

    /// Found by the fuzzer: a version stamped with zero was taken to be as old as one that is not known.
    #[test]
    fn an_unknown_version_is_found_below_one_of_any_stamp() {
        let unknown = blob(9);
        for stamp in [0, 1, 7] {
            let mut graph = MemoryAncestry::new();
            graph.insert(blob(1), Parents { created: Hlc(stamp), ids: vec![unknown], purged: false });
            graph.insert(blob(2), Parents { created: Hlc(stamp + 1), ids: vec![blob(1)], purged: false });
            for descendant in [1, 2] {
                assert!(is_ancestor(&graph, unknown, blob(descendant)).unwrap(), "{stamp}, {descendant}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn bases_are_those_of_the_definition(graph in naive::any_graph(), picks in prop::collection::vec(any::<prop::sample::Index>(), 1..5)) {
            let all: Vec<BlobId> = graph.iter().map(|(id, _)| id).collect();
            prop_assume!(!all.is_empty());
            let sides: Vec<BlobId> = picks.iter().map(|pick| all[pick.index(all.len())]).collect();
            let found = merge_bases(&graph, &sides).unwrap();
            prop_assert_eq!(&found, &naive::merge_bases(&graph, &sides));
            // Doubting stamps that are in fact good changes the cost, not the answer.
            let doubting = naive::Counting::new(graph.clone());
            prop_assert_eq!(found, merge_bases(&doubting, &sides).unwrap());
        }

        #[test]
        fn ancestry_is_that_of_the_definition(graph in naive::any_graph(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
            let all: Vec<BlobId> = graph.iter().map(|(id, _)| id).collect();
            prop_assume!(!all.is_empty());
            let (a, b) = (all[a.index(all.len())], all[b.index(all.len())]);
            prop_assert_eq!(is_ancestor(&graph, a, b).unwrap(), naive::ancestors(&graph, b).contains(&a));
            let doubting = naive::Counting::new(graph.clone());
            prop_assert_eq!(is_ancestor(&doubting, a, b).unwrap(), naive::ancestors(&graph, b).contains(&a));
        }
    }

    #[test]
    fn a_criss_cross_has_two_bases() {
        let graph = graph(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 3]), (5, &[2, 3])]);
        assert_eq!(bases(&graph, &[4, 5]), vec![blob(3), blob(2)]);
    }

    #[test]
    fn a_purged_base_gives_way_to_what_lies_below_it() {
        let mut graph = graph(&[(1, &[]), (2, &[1]), (3, &[2]), (4, &[2])]);
        assert_eq!(bases(&graph, &[3, 4]), vec![blob(2)]);
        graph.purge(blob(2));
        assert_eq!(bases(&graph, &[3, 4]), vec![blob(1)]);
    }

    #[test]
    fn an_ancestor_of_the_other_side_is_the_base() {
        let graph = graph(&[(1, &[]), (2, &[1]), (3, &[2])]);
        assert_eq!(bases(&graph, &[1, 3]), vec![blob(1)]);
        assert_eq!(bases(&graph, &[3, 3]), vec![blob(3)]);
        assert_eq!(bases(&graph, &[3, 9]), Vec::new());
        assert_eq!(bases(&graph, &[]), Vec::new());
    }

    #[test]
    fn sixty_four_sides_are_joined_and_no_more() {
        let mut edges: Vec<(u32, &[u32])> = vec![(1, &[])];
        edges.extend((2..=66).map(|n| (n, &[1u32][..])));
        let graph = graph(&edges);
        let sides: Vec<u32> = (2..=65).collect();
        assert_eq!(bases(&graph, &sides), vec![blob(1)]);
        let sides: Vec<BlobId> = (2..=66).map(blob).collect();
        assert_eq!(merge_bases(&graph, &sides), Err(BasesError::TooManySides(65)));
    }

    #[test]
    fn the_base_of_two_near_tips_of_a_long_history_costs_their_distance() {
        for distance in [1u32, 10, 100] {
            let mut graph = naive::chain(100_000);
            let fork = 100_000 - distance;
            let mut parent = fork;
            for n in 0..distance {
                let id = 200_000 + n;
                let ids = vec![blob(parent)];
                graph.insert(blob(id), Parents { created: Hlc(u64::from(fork + n + 1)), ids, purged: false });
                parent = id;
            }
            let graph = naive::Counting::new(graph);
            assert_eq!(bases(&graph, &[100_000, parent]), vec![blob(fork)]);
            assert!(graph.look_ups() <= 2 * distance as usize + 4, "{} for {distance}", graph.look_ups());
        }
    }

    #[test]
    fn good_stamps_keep_a_failed_search_short() {
        let mut graph = naive::chain(10_000);
        graph.insert(blob(20_000), Parents { created: Hlc(9_990), ids: vec![blob(9_000)], purged: false });
        let graph = naive::Counting::trusting(graph);
        assert_eq!(is_ancestor(&graph, blob(20_000), blob(10_000)), Ok(false));
        assert!(graph.look_ups() < 20, "{}", graph.look_ups());
    }
}
