//! What clients were told, and when.

use bytes::Bytes;
use ouroboros_engine::id::{BlobId, Hlc};
use std::collections::{BTreeMap, BTreeSet};

/// A moment of a run: counts requests sent and replies delivered.
pub(super) type Moment = u64;

/// A version that was acknowledged sooner or later.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) key: usize,
    pub(super) created: Hlc,
    pub(super) parents: Vec<BlobId>,
    /// None says "gone".
    pub(super) content: Option<Bytes>,
    /// Stands in its attributes.
    pub(super) tag: u64,
    pub(super) sent: Moment,
    pub(super) told: Moment,
}

/// A purge that was acknowledged sooner or later.
#[derive(Clone, Debug)]
pub(super) struct Removal {
    pub(super) versions: BTreeSet<BlobId>,
    pub(super) sent: Moment,
    pub(super) told: Moment,
}

/// Everything that a store should hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) versions: BTreeMap<BlobId, Version>,
    pub(super) removals: Vec<Removal>,
}

/// The name of a key of the script.
pub(super) fn key_name(key: usize) -> String {
    match key % 4 {
        0 => format!("top-{key}"),
        1 => format!("a/{key}"),
        2 => format!("a/deep/er/{key}"),
        _ => format!("b/\u{fc} {key}"),
    }
}

impl Model {
    /// What was purged, and known to be, at a moment.
    pub(super) fn purged(&self, at: Moment) -> BTreeSet<BlobId> {
        let told = self.removals.iter().filter(|removal| removal.told <= at);
        told.flat_map(|removal| removal.versions.iter().copied()).collect()
    }

    /// Every version that is there in the end.
    pub(super) fn live(&self) -> BTreeSet<BlobId> {
        let purged = self.purged(Moment::MAX);
        self.versions.keys().copied().filter(|id| !purged.contains(id)).collect()
    }

    /// The live versions of a key, oldest first.
    pub(super) fn live_of(&self, key: usize) -> Vec<BlobId> {
        let live = self.live();
        let mut found: Vec<(Hlc, BlobId)> = self
            .versions
            .iter()
            .filter(|(id, version)| version.key == key && live.contains(id))
            .map(|(id, version)| (version.created, *id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// The heads of a key when exactly `present` of its versions are there: those from which no other that is there
    /// descends, be it through versions that were purged. The winner is last.
    pub(super) fn heads(&self, key: usize, present: &BTreeSet<BlobId>) -> Vec<BlobId> {
        let mut covered = BTreeSet::new();
        for id in present {
            let mut stack = self.versions.get(id).map(|version| version.parents.clone()).unwrap_or_default();
            while let Some(parent) = stack.pop() {
                if covered.insert(parent)
                    && let Some(version) = self.versions.get(&parent)
                {
                    stack.extend(&version.parents);
                }
            }
        }
        let mut heads: Vec<(Hlc, BlobId)> = present
            .iter()
            .filter(|id| !covered.contains(id))
            .filter_map(|id| self.versions.get(id).map(|version| (version, *id)))
            .filter(|(version, _)| version.key == key)
            .map(|(version, id)| (version.created, id))
            .collect();
        heads.sort_unstable();
        heads.into_iter().map(|(_, id)| id).collect()
    }

    /// Whether content lies below a version that says "gone", down to the next that says so.
    pub(super) fn hides(&self, removal: BlobId) -> bool {
        let live = self.live();
        let parents_of = |id: BlobId| self.versions.get(&id).into_iter().flat_map(|version| version.parents.clone());
        let (mut stack, mut seen): (Vec<BlobId>, _) = (parents_of(removal).collect(), BTreeSet::new());
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.versions.get(&id) {
                Some(_) if !live.contains(&id) => stack.extend(parents_of(id)),
                Some(version) if version.content.is_some() => return true,
                _ => {}
            }
        }
        false
    }

    /// The heads of a key in the end, the winner last.
    pub(super) fn heads_of(&self, key: usize) -> Vec<BlobId> {
        self.heads(key, &self.live_of(key).into_iter().collect())
    }
}
