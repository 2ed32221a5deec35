//! What is removed, and what may come in. Pure functions over what a holder knows.

use super::Tombstone;
use crate::id::{BlobId, TombstoneId};
use std::collections::BTreeSet;

/// What becomes of a version that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is new: log it.
    Insert,
    /// It is here already: nothing to do.
    Present,
    /// It was deleted: refuse it, and send the tombstone back.
    Deleted(TombstoneId),
    /// Its dot was seen before, but neither the version nor a tombstone is here: deleted and forgotten, or lost. The other
    /// holders must be asked which it is. Absence alone never deletes anybody's copy.
    Ghost,
}

/// Decides over an offered version: `live` if it is here, the `tombstone` that names it if one is, and whether its dot is
/// in the partition's causal context (`dot_seen`).
///
/// A tombstone stands above everything: even what is still here is as good as gone.
#[must_use]
pub const fn accept(live: bool, tombstone: Option<TombstoneId>, dot_seen: bool) -> Acceptance {
    // PA
    match (tombstone, live, dot_seen) {
        (Some(tombstone), _, _) => Acceptance::Deleted(tombstone),
        (None, true, _) => Acceptance::Present,
        (None, false, true) => Acceptance::Ghost,
        (None, false, false) => Acceptance::Insert,
    }
}

/// Which of `live` a tombstone removes: those that it names, and no other. Their descendants, their siblings and versions that
/// nobody had seen when it was made all stay.
#[must_use]
pub fn removed_by(tombstone: &Tombstone, live: &BTreeSet<BlobId>) -> BTreeSet<BlobId> {
    // PA
    tombstone.versions.iter().map(|purged| purged.id).filter(|id| live.contains(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tombstone::tests::tombstone;
    use super::*;
    use crate::blob::sample::{blob, dot};
    use crate::id::{Dot, TombstoneId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// One holder, as the rules see it. Ghosts are refused: nobody else has them.
    #[derive(Default, Clone, Debug, PartialEq)]
    struct Holder {
        live: BTreeSet<BlobId>,
        seen: BTreeSet<Dot>,
        tombstones: BTreeMap<BlobId, TombstoneId>,
    }

    impl Holder {
        fn offer(&mut self, n: u32) -> Acceptance {
            let (id, dot) = (blob(n), dot(u64::from(n)));
            let answer = accept(self.live.contains(&id), self.tombstones.get(&id).copied(), self.seen.contains(&dot));
            if answer == Acceptance::Insert {
                self.live.insert(id);
                self.seen.insert(dot);
            }
            answer
        }

        fn delete(&mut self, text: &Tombstone) {
            for id in removed_by(text, &self.live) {
                self.live.remove(&id);
            }
            for purged in &text.versions {
                let by = self.tombstones.entry(purged.id).or_insert(text.id());
                *by = text.id().min(*by);
                self.seen.insert(purged.dot);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        Offer(u32),
        Delete(Vec<u32>),
    }

    fn any_events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (0u32..8).prop_map(Event::Offer),
            prop::collection::btree_set(0u32..8, 1..3).prop_map(|ids| Event::Delete(ids.into_iter().collect())),
        ];
        prop::collection::vec(event, 0..14)
    }

    fn run(events: &[Event]) -> Holder {
        let mut holder = Holder::default();
        for event in events {
            match event {
                Event::Offer(n) => {
                    holder.offer(*n);
                }
                Event::Delete(ids) => holder.delete(&tombstone(ids)),
            }
        }
        holder
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn holders_agree_whatever_the_order_of_arrival(events in any_events(), order in any::<prop::sample::Index>()) {
            let mut turned = events.clone();
            turned.reverse();
            if !turned.is_empty() {
                let by = order.index(turned.len());
                turned.rotate_left(by);
            }
            let twice: Vec<Event> = events.iter().chain(&turned).cloned().collect();
            prop_assert_eq!(run(&events), run(&turned));
            prop_assert_eq!(run(&events), run(&twice));
        }

        #[test]
        fn what_is_named_goes_and_never_returns_and_nothing_else_goes(events in any_events()) {
            let holder = run(&events);
            let named: BTreeSet<u32> = events.iter().flat_map(|event| match event {
                Event::Delete(ids) => ids.clone(),
                Event::Offer(_) => Vec::new(),
            }).collect();
            for n in 0..8 {
                let offered = events.iter().any(|event| matches!(event, Event::Offer(m) if *m == n));
                prop_assert_eq!(holder.live.contains(&blob(n)), offered && !named.contains(&n));
                let mut later = holder.clone();
                if named.contains(&n) {
                    prop_assert!(matches!(later.offer(n), Acceptance::Deleted(_)));
                    // Once the tombstone is forgotten, the context alone refuses to take it on trust.
                    later.tombstones.clear();
                    prop_assert_eq!(later.offer(n), Acceptance::Ghost);
                }
            }
        }
    }

    #[test]
    fn every_case_has_its_answer() {
        let stone = tombstone(&[1]).id();
        for live in [false, true] {
            for seen in [false, true] {
                assert_eq!(accept(live, Some(stone), seen), Acceptance::Deleted(stone));
            }
        }
        assert_eq!(accept(true, None, false), Acceptance::Present);
        assert_eq!(accept(true, None, true), Acceptance::Present);
        assert_eq!(accept(false, None, true), Acceptance::Ghost);
        assert_eq!(accept(false, None, false), Acceptance::Insert);
    }
}
