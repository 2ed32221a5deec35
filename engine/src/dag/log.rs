//! History in the order people read it, and what a key held at a time.

use super::{Ancestry, Parents, heads};
use crate::id::{BlobId, Hlc};
use std::collections::{BTreeSet, BinaryHeap};

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Logged {
    // The order of the fields is the order of the log.
    /// When it was made.
    pub created: Hlc,
    /// The version.
    pub id: BlobId,
    /// What it was based on, known or not.
    pub parents: Vec<BlobId>,
    /// Only its tombstone is left.
    pub purged: bool,
}

/// Walks from some versions down to their roots, newest first: always the highest `(created, id)` among those whose child
/// was already given, so every version comes after one of its children, and after all of them where stamps respect ancestry.
/// Unknown parents are passed over.
///
/// Remembers the ids it has given: 32 bytes a version, for as long as the caller keeps it.
#[derive(Clone, Debug, Default)]
pub struct LogWalk {
    queue: BinaryHeap<Logged>,
    waiting: Vec<BlobId>,
    seen: BTreeSet<BlobId>,
}

impl LogWalk {
    /// A walk down from `versions`.
    #[must_use]
    pub fn from(versions: impl IntoIterator<Item = BlobId>) -> Self {
        Self { waiting: versions.into_iter().collect(), ..Self::default() }
    }

    /// The next `limit` versions; fewer only at the end.
    ///
    /// # Errors
    /// Those of `ancestry`. The walk stays where it was before the version that could not be looked up.
    pub fn next_page<A: Ancestry>(&mut self, ancestry: &A, limit: usize) -> Result<Vec<Logged>, A::Error> {
        let mut page = Vec::new();
        while page.len() < limit {
            match self.step(ancestry) {
                Ok(Some(logged)) => page.push(logged),
                Ok(None) => break,
                // What was found is given first; the next call meets the error again.
                Err(_) if !page.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    fn step<A: Ancestry>(&mut self, ancestry: &A) -> Result<Option<Logged>, A::Error> {
        while let Some(id) = self.waiting.last().copied() {
            if !self.seen.contains(&id)
                && let Some(parents) = ancestry.parents(id)?
            {
                self.seen.insert(id);
                let Parents { created, ids, purged } = parents;
                self.queue.push(Logged { created, id, parents: ids, purged });
            }
            self.waiting.pop();
        }
        let next = self.queue.pop();
        if let Some(logged) = &next {
            self.waiting.extend(&logged.parents);
        }
        Ok(next)
    }
}

/// The version that a reader at `time` would have got: the winner among the heads of everything made by then. `current`
/// are the key's heads now; only what is younger than `time` is walked.
///
/// # Errors
/// Those of `ancestry`.
pub fn version_at<A: Ancestry>(
    ancestry: &A,
    current: impl IntoIterator<Item = BlobId>,
    time: Hlc,
) -> Result<Option<BlobId>, A::Error> {
    // PA
    let monotone = ancestry.is_monotone();
    let mut walk = LogWalk::from(current);
    let mut candidates = Vec::new();
    // A version that was there by then hides its ancestors: they are heads of nothing, whatever their stamps. So the walk
    // goes on below it no further.
    while let Some(logged) = walk.step(ancestry)? {
        if !logged.purged && logged.created <= time {
            walk.waiting.clear();
            candidates.push(logged.id);
            if monotone {
                break;
            }
        }
    }
    if candidates.len() <= 1 {
        return Ok(candidates.pop());
    }
    Ok(heads(ancestry, candidates)?.first().map(|(_, id)| *id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sample::blob;
    use crate::dag::{MemoryAncestry, naive};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_log_gives_every_known_version_once_after_a_child(graph in naive::any_graph(), limit in 1usize..5) {
            // From everything there is, so that no part is cut off by an unknown version.
            let all: BTreeSet<BlobId> = graph.iter().map(|(id, _)| id).collect();
            let mut walk = LogWalk::from(all.iter().copied());
            let mut given = Vec::new();
            loop {
                let page = walk.next_page(&graph, limit).unwrap();
                let last = page.len() < limit;
                given.extend(page.into_iter().map(|logged| (logged.created, logged.id)));
                if last { break; }
            }
            let ids: BTreeSet<BlobId> = given.iter().map(|(_, id)| *id).collect();
            prop_assert_eq!(ids.len(), given.len());
            prop_assert_eq!(ids, all);
            prop_assert!(given.is_sorted_by(|a, b| a > b), "started everywhere, the log is fully sorted");
        }

        #[test]
        fn pages_do_not_change_the_order(graph in naive::any_graph(), limit in 1usize..4) {
            let tips: Vec<BlobId> = heads(&graph, graph.live()).unwrap().into_iter().map(|(_, id)| id).collect();
            let whole = LogWalk::from(tips.clone()).next_page(&graph, usize::MAX).unwrap();
            let mut walk = LogWalk::from(tips.clone());
            let mut pieces = Vec::new();
            loop {
                let page = walk.next_page(&graph, limit).unwrap();
                if page.is_empty() { break; }
                pieces.extend(page);
            }
            prop_assert_eq!(&pieces, &whole);
            for (at, logged) in whole.iter().enumerate() {
                let has_child_before = whole[..at].iter().any(|earlier| earlier.parents.contains(&logged.id));
                prop_assert!(has_child_before || tips.contains(&logged.id));
            }
        }

        #[test]
        fn a_time_shows_the_winner_of_that_time(graph in naive::any_graph(), time in 0u64..50) {
            // Without unknown versions, every live version hangs below a head.
            let mut whole = MemoryAncestry::new();
            for (id, parents) in graph.iter() {
                let ids = parents.ids.iter().copied().filter(|id| graph.parents(*id).unwrap().is_some()).collect();
                whole.insert(id, Parents { ids, ..parents.clone() });
            }
            let tips = heads(&whole, whole.live()).unwrap();
            let found = version_at(&whole, tips.iter().map(|(_, id)| *id), Hlc(time)).unwrap();
            prop_assert_eq!(found, naive::version_at(&whole, Hlc(time)));
        }
    }

    #[test]
    fn a_recent_time_costs_only_what_came_after_it() {
        let graph = naive::Counting::trusting(naive::chain(50_000));
        assert_eq!(version_at(&graph, [blob(50_000)], Hlc(49_990)), Ok(Some(blob(49_990))));
        assert!(graph.look_ups() < 50, "{}", graph.look_ups());
    }

    /// Fails once, at a given look-up.
    struct Failing(MemoryAncestry, core::cell::Cell<u32>);

    impl Ancestry for Failing {
        type Error = &'static str;
        fn parents(&self, id: BlobId) -> Result<Option<Parents>, &'static str> {
            self.1.set(self.1.get().wrapping_sub(1));
            if self.1.get() == 0 { Err("unreadable") } else { Ok(self.0.parents(id).unwrap()) }
        }
    }

    #[test]
    fn a_failed_look_up_loses_no_line_of_the_log() {
        for at in 1..30 {
            let failing = Failing(naive::chain(10), core::cell::Cell::new(at));
            let mut walk = LogWalk::from([blob(10)]);
            let mut given = Vec::new();
            for _ in 0..8 {
                if let Ok(page) = walk.next_page(&failing, 3) {
                    given.extend(page.into_iter().map(|logged| logged.id));
                }
            }
            assert_eq!(given, (1..=10).rev().map(blob).collect::<Vec<_>>(), "failure at look-up {at}");
        }
    }
}
