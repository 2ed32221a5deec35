//! Which seals are still needed: the definition, kept simple, that every index of counts is held against.

use super::Tombstone;
use crate::blob::{Header, RefPage};
use crate::id::{BlobId, RefPageId, SealId};
use std::collections::{BTreeMap, BTreeSet};

/// Reference pages that live versions name but nobody has shown: as long as one is missing, any seal may be in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} reference pages of live versions are missing; nothing can be collected until they are found", pages.len())]
pub struct Unaccounted {
    /// The missing pages.
    pub pages: BTreeSet<RefPageId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    seals: Vec<SealId>,
    pages: Vec<RefPageId>,
}

/// Everything known of who refers to what. Facts may come in any order and any number of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    blobs: BTreeMap<BlobId, Named>,
    pages: BTreeMap<RefPageId, Vec<SealId>>,
    removed: BTreeSet<BlobId>,
}

impl References {
    /// Nothing known.
    #[must_use]
    pub const fn new() -> Self {
        Self { blobs: BTreeMap::new(), pages: BTreeMap::new(), removed: BTreeSet::new() }
    }

    /// There is a version with this header.
    pub fn add_blob(&mut self, id: BlobId, header: &Header) {
        self.blobs.insert(id, Named { seals: header.seals.clone(), pages: header.ref_pages.clone() });
    }

    /// There is this page.
    pub fn add_page(&mut self, page: &RefPage) {
        self.pages.insert(page.id(), page.seals.clone());
    }

    /// These versions are deleted.
    pub fn add_tombstone(&mut self, tombstone: &Tombstone) {
        self.removed.extend(tombstone.versions.iter().map(|purged| purged.id));
    }

    /// Whether a version is there and not deleted.
    #[must_use]
    pub fn is_live(&self, id: BlobId) -> bool {
        self.blobs.contains_key(&id) && !self.removed.contains(&id)
    }

    /// How many live versions refer to each seal that is referred to at all. A version counts once, however often its
    /// header and pages name the seal.
    ///
    /// # Errors
    /// [`Unaccounted`] when a live version's page is missing: then nothing may be concluded.
    pub fn counts(&self) -> Result<BTreeMap<SealId, u32>, Unaccounted> {
        // PA
        let mut counts = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for (_, named) in self.live() {
            let mut seals: BTreeSet<SealId> = named.seals.iter().copied().collect();
            for page in &named.pages {
                match self.pages.get(page) {
                    Some(more) => seals.extend(more),
                    None => {
                        missing.insert(*page);
                    }
                }
            }
            for seal in seals {
                *counts.entry(seal).or_insert(0u32) += 1;
            }
        }
        if missing.is_empty() { Ok(counts) } else { Err(Unaccounted { pages: missing }) }
    }

    /// The seals that a live version refers to.
    ///
    /// # Errors
    /// [`Unaccounted`] as for [`Self::counts`].
    pub fn live_seals(&self) -> Result<BTreeSet<SealId>, Unaccounted> {
        Ok(self.counts()?.into_keys().collect())
    }

    /// The pages that a live version refers to.
    #[must_use]
    pub fn live_pages(&self) -> BTreeSet<RefPageId> {
        self.live().flat_map(|(_, named)| named.pages.iter().copied()).collect()
    }

    /// Which of `stored` may be collected: those that no live version refers to. None at all when a page is missing.
    #[must_use]
    pub fn collectable(&self, stored: impl IntoIterator<Item = SealId>) -> BTreeSet<SealId> {
        // PA
        match self.live_seals() {
            Ok(live) => stored.into_iter().filter(|seal| !live.contains(seal)).collect(),
            Err(_) => BTreeSet::new(),
        }
    }

    fn live(&self) -> impl Iterator<Item = (&BlobId, &Named)> {
        self.blobs.iter().filter(|(id, _)| !self.removed.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tombstone::tests::tombstone;
    use super::*;
    use crate::blob::sample::{self, blob, seal};
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Fact {
        Blob(u32, Vec<u32>, Option<usize>),
        Page(usize),
        Tombstone(u32),
    }

    fn pages() -> Vec<RefPage> {
        vec![
            RefPage { seals: vec![seal(1), seal(2)] },
            RefPage { seals: vec![seal(2), seal(7)] },
            RefPage { seals: vec![seal(8)] },
        ]
    }

    fn tell(references: &mut References, fact: &Fact) {
        match fact {
            Fact::Blob(n, seals, page) => {
                let mut header = sample::header();
                header.seals = seals.iter().map(|n| seal(*n)).collect();
                header.ref_pages = page.iter().map(|n| pages()[*n].id()).collect();
                references.add_blob(blob(*n), &header);
            }
            Fact::Page(n) => references.add_page(&pages()[*n]),
            Fact::Tombstone(n) => references.add_tombstone(&tombstone(&[*n])),
        }
    }

    fn any_facts() -> impl Strategy<Value = Vec<Fact>> {
        // An id fixes its header: what a blob names follows from its number.
        let blob = (0u32..6).prop_map(|n| {
            let seals: Vec<u32> = (0..4).filter(|s| (n + 1) & (1 << s) != 0).collect();
            Fact::Blob(n, seals, (n % 2 == 0).then_some(n as usize / 2))
        });
        let fact =
            prop_oneof![3 => blob, 2 => (0usize..3).prop_map(Fact::Page), 1 => (0u32..6).prop_map(Fact::Tombstone)];
        prop::collection::vec(fact, 0..16)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn facts_may_come_in_any_order_and_often(facts in any_facts()) {
            let (mut one, mut other) = (References::new(), References::new());
            for fact in &facts { tell(&mut one, fact); }
            for fact in facts.iter().rev().chain(&facts) { tell(&mut other, fact); }
            prop_assert_eq!(&one, &other);
        }

        #[test]
        fn what_a_live_version_refers_to_is_never_collected(facts in any_facts()) {
            let mut references = References::new();
            for fact in &facts { tell(&mut references, fact); }
            let collectable = references.collectable((0..10).map(seal));
            for fact in &facts {
                let Fact::Blob(n, seals, page) = fact else { continue };
                if !references.is_live(blob(*n)) { continue; }
                let paged = page.iter().flat_map(|page| pages()[*page].seals.clone());
                for needed in seals.iter().map(|n| seal(*n)).chain(paged) {
                    prop_assert!(!collectable.contains(&needed), "blob {} needs {:?}", n, needed);
                }
            }
        }

        #[test]
        fn with_every_page_known_all_that_is_unreferenced_is_collected(facts in any_facts()) {
            let mut references = References::new();
            for page in 0..3 { tell(&mut references, &Fact::Page(page)); }
            for fact in &facts { tell(&mut references, fact); }
            let live = references.live_seals().unwrap();
            let all: BTreeSet<SealId> = (0..10).map(seal).collect();
            let collectable = references.collectable(all.iter().copied());
            prop_assert_eq!(collectable.union(&live).copied().collect::<BTreeSet<_>>(), all);
            prop_assert!(collectable.is_disjoint(&live));
        }
    }

    #[test]
    fn a_shared_seal_outlives_one_of_its_versions() {
        let mut references = References::new();
        tell(&mut references, &Fact::Blob(1, vec![1, 2], None));
        tell(&mut references, &Fact::Blob(2, vec![2, 3], None));
        assert_eq!(references.counts().unwrap().get(&seal(2)), Some(&2));
        tell(&mut references, &Fact::Tombstone(1));
        assert_eq!(references.collectable((1..4).map(seal)), BTreeSet::from([seal(1)]));
        tell(&mut references, &Fact::Tombstone(2));
        assert_eq!(references.collectable((1..4).map(seal)), BTreeSet::from([seal(1), seal(2), seal(3)]));
    }

    #[test]
    fn a_missing_page_of_a_live_version_stops_all_collection() {
        let mut references = References::new();
        tell(&mut references, &Fact::Blob(1, vec![1], Some(1)));
        assert_eq!(references.live_seals().unwrap_err().pages, BTreeSet::from([pages()[1].id()]));
        assert!(references.collectable((0..10).map(seal)).is_empty());
        tell(&mut references, &Fact::Page(1));
        assert_eq!(references.live_seals(), Ok(BTreeSet::from([seal(1), seal(2), seal(7)])));
        assert_eq!(references.live_pages(), BTreeSet::from([pages()[1].id()]));
        tell(&mut references, &Fact::Tombstone(1));
        assert!(references.live_pages().is_empty());
    }
}
