//! The index's file while it is open, and before there is one.

use super::error::{IndexError, PageFailure};
use super::overlay::Overlay;
use super::paged::{Mode, PagedFile};
use super::tree::{self, Tree};
use crate::env::{Disk, DiskError, DiskFailure, DiskFile, FileName, OpenMode, Volume};
use crate::id::{EngineRng, Secret};
use std::sync::Arc;

/// An open index file, and the B-tree in it.
pub(super) struct IndexFile<F> {
    pub(super) paged: Arc<PagedFile<F>>,
    /// None after a failure.
    pub(super) tree: Option<Tree>,
    /// The B-tree was verified after an unclean end, and nothing was flushed to it since: what it has noted down of its free
    /// pages may not be of this state, and then going back verifies it once more.
    pub(super) repaired: bool,
}

/// All that is needed to make the file as soon as the disk has room for it.
pub(super) struct Wanted<D> {
    disk: D,
    secret: Secret,
    rng: EngineRng,
    /// Why there is no file.
    pub(super) refusal: DiskError,
}

/// Makes an empty index file. Of an attempt that finds the disk full nothing is left.
pub(super) fn make<D: Disk>(
    disk: &D,
    name: &FileName,
    cache_bytes: usize,
    secret: &Secret,
    rng: &mut EngineRng,
) -> Result<IndexFile<D::File>, IndexError> {
    // PA
    let file = disk.open(Volume::Index, name, OpenMode::CreateNew)?;
    let fill = || {
        let paged = Arc::new(PagedFile::create(file, secret, rng)?);
        let tree = Tree::create(&paged, cache_bytes)?;
        disk.sync_directory(Volume::Index)?;
        Ok(IndexFile { paged, tree: Some(tree), repaired: false })
    };
    fill().inspect_err(|error| {
        if matches!(error, IndexError::Disk(error) if error.failure == DiskFailure::Full)
            && let Err(error) = disk.remove(Volume::Index, name)
        {
            tracing::warn!(%error, "a half-made index is left");
        }
    })
}

impl<D: Disk> Wanted<D> {
    /// A file that could not be made.
    pub(super) fn new(disk: &D, secret: &Secret, rng: &mut EngineRng, refusal: DiskError) -> Self {
        let rng = EngineRng::from_seed(rng.bytes());
        Self { disk: disk.clone(), secret: secret.clone(), rng, refusal }
    }

    /// Tries again.
    pub(super) fn make(&mut self, name: &FileName, cache_bytes: usize) -> Result<IndexFile<D::File>, IndexError> {
        // PA
        // What an earlier attempt may have left.
        match self.disk.remove(Volume::Index, name) {
            Err(error) if error.failure != DiskFailure::NotFound => return Err(error.into()),
            _ => {}
        }
        make(&self.disk, name, cache_bytes, &self.secret, &mut self.rng).inspect_err(|error| {
            if let IndexError::Disk(refusal) = error {
                self.refusal.clone_from(refusal);
            }
        })
    }
}

impl<F: DiskFile> IndexFile<F> {
    pub(super) fn tree(&self) -> Result<&Tree, IndexError> {
        self.tree.as_ref().ok_or_else(|| match self.paged.failure() {
            Some(failure) => failure.into(),
            None => IndexError::damaged("it could not be opened again after a failure"),
        })
    }

    /// Writes `updates` and `checkpoint` in one transaction.
    pub(super) fn commit(
        &mut self,
        updates: &Overlay,
        checkpoint: &[u8],
        cache_bytes: usize,
    ) -> Result<(), IndexError> {
        // PA
        let Some(tree) = &mut self.tree else {
            return Err(IndexError::damaged("it could not be opened again after a failure"));
        };
        let Err(error) = tree.commit(updates, checkpoint) else {
            self.repaired = false;
            return Ok(());
        };
        let error = tree::explain(&self.paged, error);
        // Whatever stopped this flush, reading goes on from the flush before.
        if !matches!(error, IndexError::Damaged(_)) {
            self.reload(cache_bytes)?;
        }
        Err(error)
    }

    /// Goes back to the last flush.
    pub(super) fn reload(&mut self, cache_bytes: usize) -> Result<(), IndexError> {
        // PA
        if let Some(failure @ PageFailure::Damaged(_)) = self.paged.failure() {
            return Err(failure.into());
        }
        self.paged.set_mode(Mode::Abandoned);
        drop(self.tree.take());
        self.paged.rewind(false);
        let mut opened = Tree::open(&self.paged, cache_bytes, true);
        if self.repaired && self.paged.failure().is_none() && matches!(opened, Err(IndexError::Damaged(_))) {
            self.paged.rewind(true);
            opened = Tree::open(&self.paged, cache_bytes, false);
        }
        self.tree = Some(opened?);
        Ok(())
    }
}
