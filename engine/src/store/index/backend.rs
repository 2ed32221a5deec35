//! The B-tree's view of the index file.

use super::error::PageFailure;
use super::paged::PagedFile;
use crate::env::DiskFile;
use redb::StorageBackend;
use std::io;
use std::sync::Arc;

/// redb's [`StorageBackend`] over a [`DiskFile`]: its byte space in encrypted, authenticated 4 KiB pages.
///
/// Every read is verified: that the page is authentic, that it belongs where it was found, and that it is the version
/// written there last. Every failure is an [`io::Error`], upon which redb refuses all further use.
pub struct PagedBackend<F>(Arc<PagedFile<F>>);

impl<F> PagedBackend<F> {
    pub(super) fn new(paged: Arc<PagedFile<F>>) -> Self {
        Self(paged)
    }
}

impl<F> core::fmt::Debug for PagedBackend<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PagedBackend")
    }
}

fn refuse(failure: PageFailure) -> io::Error {
    io::Error::other(failure)
}

impl<F: DiskFile> StorageBackend for PagedBackend<F> {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out).map_err(refuse)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len).map_err(refuse)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync().map_err(refuse)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write(offset, data).map_err(refuse)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.0.close().map_err(refuse)
    }
}
