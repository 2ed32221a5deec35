//! The snapshot before this one, read along with the walk: both are in the order of keys.

use crate::exit::Outcome;
use crate::store::{Db, KeyName, SnapshotInfo};
use ouroboros_engine::id::BlobId;
use std::collections::VecDeque;

/// Entries fetched at a time.
const PAGE: usize = 1024;

/// A cursor over a snapshot.
pub(crate) struct Previous {
    db: Db,
    snapshot: Option<BlobId>,
    page: VecDeque<(KeyName, BlobId)>,
    after: Option<KeyName>,
}

impl Previous {
    /// From the start of a snapshot, or of none.
    pub(crate) fn new(db: Db, snapshot: Option<BlobId>) -> Self {
        Self { db, snapshot, page: VecDeque::new(), after: None }
    }

    /// The version of `key` in the snapshot. Keys are asked for in order; one out of order is not found, which costs a
    /// reading of the file and no more.
    pub(crate) fn find(&mut self, key: &KeyName) -> Outcome<Option<BlobId>> {
        loop {
            while let Some((name, id)) = self.page.front() {
                match name.cmp(key) {
                    std::cmp::Ordering::Less => drop(self.page.pop_front()),
                    std::cmp::Ordering::Equal => return Ok(Some(*id)),
                    std::cmp::Ordering::Greater => return Ok(None),
                }
            }
            let Some(snapshot) = self.snapshot else { return Ok(None) };
            let page = self.db.snapshot_entries(snapshot, self.after.as_ref(), PAGE)?;
            self.after = page.entries.last().map(|(name, _)| name.clone());
            if page.next.is_none() {
                self.snapshot = None;
            }
            self.page.extend(page.entries);
        }
    }
}

/// The snapshot to compare an import called `name` with: the latest of that name, else the latest of all. A wrong choice
/// only costs time.
pub(crate) fn choose(snapshots: &[SnapshotInfo], name: &str) -> Option<BlobId> {
    let latest = |of: &mut dyn Iterator<Item = &SnapshotInfo>| of.max_by_key(|s| (s.created, s.id)).map(|s| s.id);
    latest(&mut snapshots.iter().filter(|s| s.name == name)).or_else(|| latest(&mut snapshots.iter()))
}
