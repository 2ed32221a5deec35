//! What the index reports.

use crate::env::DiskError;

/// Why the index could not answer or store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// There is no index file.
    #[error("there is no index; create one and rebuild it from the log")]
    Missing,
    /// A page is damaged, stale or unreadable as what it should be. Nothing it holds may be believed.
    #[error("the index is damaged ({0}); destroy it, create a new one and rebuild it from the log")]
    Damaged(String),
    /// The disk refused. Pending updates are still in memory; after space was freed, flush again.
    #[error("the index could not use its disk: {0}")]
    Disk(#[from] DiskError),
    /// A sync failed, or the file was given up: what it holds is unknown from here on. Reads go on from what was proven durable.
    #[error(
        "an earlier sync of the index failed, or it was given up; destroy it, create a new one and rebuild it from the log"
    )]
    Unsynced,
}

impl IndexError {
    /// A [`IndexError::Damaged`].
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

/// Why the paged file refused a call of the B-tree above it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageFailure {
    /// The bytes are not what was written there last.
    #[error("{0}")]
    Damaged(String),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The handle was given up: nothing is written any more.
    #[error("the index was dropped without being closed")]
    Abandoned,
}

impl From<PageFailure> for IndexError {
    fn from(failure: PageFailure) -> Self {
        match failure {
            PageFailure::Damaged(what) => Self::Damaged(what),
            PageFailure::Disk(error) => Self::Disk(error),
            PageFailure::Abandoned => Self::damaged("used after being given up"),
        }
    }
}
