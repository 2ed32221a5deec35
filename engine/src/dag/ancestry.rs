//! Where versions come from, as the algorithms see it.

use crate::id::{BlobId, Hlc};
use core::convert::Infallible;
use std::collections::BTreeMap;

/// What is known of one version's descent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parents {
    /// When it was made.
    pub created: Hlc,
    /// The versions it was based on.
    pub ids: Vec<BlobId>,
    /// It was purged: only its tombstone is left, which keeps the parents.
    pub purged: bool,
}

/// Looks versions up.
pub trait Ancestry {
    /// Why a look-up failed.
    type Error;

    /// One version's descent; none when the version is not known here.
    ///
    /// # Errors
    /// Whatever the store behind it reports; every algorithm passes it on unchanged.
    fn parents(&self, id: BlobId) -> Result<Option<Parents>, Self::Error>;

    /// Whether no known version is stamped before (or at) any of its parents. When true, searches stop as soon as the
    /// stamps prove the answer, and cost follows the distance; when false they go on until ancestry itself does. A wrong
    /// `true` gives wrong answers, so the default doubts.
    fn is_monotone(&self) -> bool {
        false
    }
}

/// Ancestry in memory: what a caller already holds, or a test makes up.
#[derive(Clone, Debug, Default)]
pub struct MemoryAncestry {
    versions: BTreeMap<BlobId, Parents>,
}

impl MemoryAncestry {
    /// No versions.
    #[must_use]
    pub const fn new() -> Self {
        Self { versions: BTreeMap::new() }
    }

    /// Adds or replaces a version.
    pub fn insert(&mut self, id: BlobId, parents: Parents) {
        self.versions.insert(id, parents);
    }

    /// Makes a hole of a version; whether it was known.
    pub fn purge(&mut self, id: BlobId) -> bool {
        self.versions.get_mut(&id).map(|version| version.purged = true).is_some()
    }

    /// Every version, by id.
    pub fn iter(&self) -> impl Iterator<Item = (BlobId, &Parents)> {
        self.versions.iter().map(|(id, parents)| (*id, parents))
    }

    /// The ids of all that are not purged.
    pub fn live(&self) -> impl Iterator<Item = BlobId> {
        self.versions.iter().filter(|(_, parents)| !parents.purged).map(|(id, _)| *id)
    }
}

impl Ancestry for MemoryAncestry {
    type Error = Infallible;

    fn parents(&self, id: BlobId) -> Result<Option<Parents>, Infallible> {
        Ok(self.versions.get(&id).cloned())
    }

    fn is_monotone(&self) -> bool {
        self.versions.values().all(|version| {
            let parents = version.ids.iter().filter_map(|id| self.versions.get(id));
            parents.into_iter().all(|parent| parent.created < version.created)
        })
    }
}
