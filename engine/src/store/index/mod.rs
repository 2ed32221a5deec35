//! The index: a cache of what the log says.
//!
//! redb (a copy-on-write B-tree) over encrypted pages, under an in-memory overlay of updates that are not flushed yet.
//! The index may be deleted at any time; the log is replayed from [`Index::checkpoint`] on, or whole. That decides every
//! question here: whatever looks wrong is [`IndexError::Damaged`], never repaired and never guessed.
//!
//! * [`PagedBackend`] encrypts and authenticates each page, and knows which version of it is the right one.
//! * A flush is one transaction: the pending updates and the checkpoint become durable together or not at all.
//! * After an unclean end, the whole B-tree is verified against its checksums before anything is answered. It then
//!   stands at its last flush, and says so by its checkpoint.
//! * While the disk has no room for a new file, the index lives in memory alone, whole: a full disk is read all the same.
//!   Every flush tries again to make the file.

mod backend;
mod cipher;
mod error;
mod file;
mod merge;
mod names;
mod overlay;
mod paged;
mod rows;
mod slot;
mod stored;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod unwritable;

pub use backend::PagedBackend;
pub use error::IndexError;
pub use merge::Direction;
pub use names::LevelEntry;
pub use rows::{BlobRow, ChunkRow, KeyRow, RefPageRow, SealRow, TombstoneRow};
pub use stored::{StoredRow, Symbols};
pub use table::{
    Blobs, Child, Children, ChunkKey, Chunks, Keys, Meta, Names, Owner, RefPages, Reference, References, Row, Seals,
    SymbolNumber, SymbolTable, Table, TableId, TableKey, Target, Tombstones, VersionKey, Versions,
};

use crate::env::{Disk, DiskError, DiskFailure, FileName, OpenMode, Volume};
use crate::id::{EngineRng, Secret};
use core::ops::Bound;
use file::{IndexFile, Wanted};
use merge::Merged;
use overlay::Overlay;
use paged::{Mode, PagedFile};
use std::sync::Arc;
use tree::Tree;

/// Which of the indexes that may stand beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexName {
    /// The store's own, which is kept from one opening to the next.
    #[default]
    Lasting,
    /// That of a process without keys, which is thrown away when it ends.
    Passing,
}

impl IndexName {
    /// The file's name on [`Volume::Index`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lasting => "index.ouroboros",
            Self::Passing => "keyless.ouroboros",
        }
    }

    fn file_name(self) -> Result<FileName, IndexError> {
        FileName::new(self.name()).map_err(|error| IndexError::damaged(error.to_string()))
    }
}

/// Where an index stands, and its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexOptions {
    /// Its file.
    pub file: IndexName,
    /// Memory for pages, in bytes. A flush that dirties more than half of it writes and reads pages twice: random keys
    /// dirty one page each, until every page is.
    pub cache_bytes: usize,
    /// Memory for updates that wait for a flush, in bytes; see [`Index::needs_flush`].
    pub overlay_bytes: usize,
    /// No file: the index is in memory, whole, and gone when it is dropped. It has no limit then.
    pub in_memory: bool,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { file: IndexName::default(), cache_bytes: 64 << 20, overlay_bytes: 32 << 20, in_memory: false }
    }
}

/// How far [`Index::verify`] has come: a table, and the last key seen in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(usize, Vec<u8>);

/// The index of one store.
pub struct Index<D: Disk> {
    stored: Stored<D>,
    overlay: Overlay,
    symbols: Symbols,
    checkpoint: Vec<u8>,
    options: IndexOptions,
    /// Pending bytes from which on a flush is due.
    flush_at: usize,
    /// Pending bytes when a flush first failed, unless one has succeeded since; see [`Index::backlog`].
    refused_at: Option<usize>,
}

/// The rows under the overlay.
enum Stored<D: Disk> {
    /// There are none: the disk has had no room for the file.
    Nowhere(Box<Wanted<D>>),
    /// There are none, and none are wanted: [`IndexOptions::in_memory`].
    Memory,
    /// As of the last flush. Without a tree after a failure.
    File(IndexFile<D::File>),
}

impl<D: Disk> core::fmt::Debug for Index<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Index").field("pending_bytes", &self.overlay.bytes()).finish_non_exhaustive()
    }
}

fn malformed<T: Table>() -> IndexError {
    IndexError::damaged(format!("a row of table {:?} does not decode", T::NAME))
}

fn decode<T: Table>(row: &[u8], symbols: &Symbols) -> Result<T::Value, IndexError> {
    T::Value::load(row, symbols).ok_or_else(malformed::<T>)
}

impl<D: Disk> Index<D> {
    /// Creates an empty index, whose checkpoint is empty. `secret` is the key that its page key is derived from; `rng`
    /// must come from a fresh seed at every start of the process.
    ///
    /// A full disk is no error: the index is then in memory, and in a file after the first flush for which there is room.
    ///
    /// # Errors
    /// [`IndexError::Disk`], with `AlreadyExists` when there is one: destroy it first.
    pub fn create(disk: &D, options: IndexOptions, secret: &Secret, rng: &mut EngineRng) -> Result<Self, IndexError> {
        // PA
        if options.in_memory {
            return Ok(Self::over(Stored::Memory, Vec::new(), options));
        }
        let stored = match file::make(disk, &options.file.file_name()?, options.cache_bytes, secret, rng) {
            Ok(file) => Stored::File(file),
            Err(IndexError::Disk(refusal)) if refusal.failure == DiskFailure::Full => {
                tracing::warn!("the index is kept in memory: the disk has no room for its file");
                Stored::Nowhere(Box::new(Wanted::new(disk, secret, rng, refusal)))
            }
            Err(error) => return Err(error),
        };
        Ok(Self::over(stored, Vec::new(), options))
    }

    fn over(stored: Stored<D>, checkpoint: Vec<u8>, options: IndexOptions) -> Self {
        let (overlay, symbols) = (Overlay::default(), Symbols::default());
        Self { stored, overlay, symbols, checkpoint, options, flush_at: options.overlay_bytes, refused_at: None }
    }

    /// Opens the index. After an unclean end this reads all of it, to verify it; after a clean one, next to nothing.
    ///
    /// # Errors
    /// [`IndexError::Missing`]; [`IndexError::Damaged`] when it cannot be believed, also under another `secret`: the
    /// caller then destroys and rebuilds it; [`IndexError::Disk`].
    pub fn open(disk: &D, options: IndexOptions, secret: &Secret, rng: &mut EngineRng) -> Result<Self, IndexError> {
        // PA
        let missing = |error: DiskError| match error.failure {
            DiskFailure::NotFound => IndexError::Missing,
            _ => IndexError::Disk(error),
        };
        let file = disk.open(Volume::Index, &options.file.file_name()?, OpenMode::Write).map_err(missing)?;
        let (paged, clean) = PagedFile::open(file, secret, rng)?;
        let paged = Arc::new(paged);
        let tree = Tree::open(&paged, options.cache_bytes, clean)?;
        let checkpoint = tree.checkpoint().map_err(|error| tree::explain(&paged, error))?;
        let file = IndexFile { paged, tree: Some(tree), repaired: !clean };
        let mut index = Self::over(Stored::File(file), checkpoint, options);
        index.symbols = index.load_symbols()?;
        Ok(index)
    }

    fn load_symbols(&self) -> Result<Symbols, IndexError> {
        // PA
        let mut long = Vec::new();
        let rows = self.range::<SymbolTable>(Bound::Unbounded, Bound::Unbounded, Direction::Forward, usize::MAX)?;
        for (number, symbol) in rows {
            if number.0 != long.len() as u64 || long.len() >= stored::SYMBOLS_LEN {
                return Err(malformed::<SymbolTable>());
            }
            long.push(symbol);
        }
        Ok(Symbols::loaded(long))
    }

    /// Removes an index's file, whatever state it is in. Nothing happens if there is none.
    ///
    /// # Errors
    /// [`IndexError::Disk`].
    pub fn destroy(disk: &D, file: IndexName) -> Result<(), IndexError> {
        match disk.remove(Volume::Index, &file.file_name()?) {
            Err(error) if error.failure != DiskFailure::NotFound => Err(error.into()),
            // Should it come back after a crash, nobody reads it.
            _ if file == IndexName::Passing => Ok(()),
            _ => Ok(disk.sync_directory(Volume::Index)?),
        }
    }

    /// Closes the index so that opening it is quick. Updates that were not flushed are dropped: flush first.
    ///
    /// # Errors
    /// [`IndexError`] when the clean mark could not be made durable. The index is then as after a crash.
    pub fn close(mut self) -> Result<(), IndexError> {
        // PA
        let file = match &mut self.stored {
            Stored::Nowhere(wanted) => return Err(wanted.refusal.clone().into()),
            Stored::Memory => return Ok(()),
            Stored::File(file) => file,
        };
        if file.paged.sync_failed() {
            return Err(IndexError::Unsynced);
        }
        file.paged.set_mode(Mode::Closing);
        drop(file.tree.take());
        if file.paged.closed_cleanly() {
            return Ok(());
        }
        Err(file.paged.failure().map_or_else(|| IndexError::damaged("the B-tree did not close"), IndexError::from))
    }

    /// What was given to the last flush that succeeded; empty if there was none.
    #[must_use]
    pub fn checkpoint(&self) -> &[u8] {
        &self.checkpoint
    }

    /// Memory held by updates that wait for a flush, in bytes, estimated.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// Bytes of updates that have come together since the disk first refused to take what was pending; 0 while it takes it.
    /// Nothing is refused here, since a half-applied record would be worse: whoever lets records in asks before.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.refused_at.map_or(0, |refused_at| self.overlay.bytes().saturating_sub(refused_at))
    }

    /// Whether the last flush failed.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.refused_at.is_some()
    }

    /// What is pending now has to be in memory, because the store could not be read without it: the backlog begins here.
    pub fn excuse_backlog(&mut self) {
        if self.refused_at.is_some() {
            self.refused_at = Some(self.overlay.bytes());
        }
    }

    /// Whether a sync of the file has failed, or it was given up: then no flush will succeed any more, and only another file can be
    /// believed.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        matches!(&self.stored, Stored::File(file) if file.paged.sync_failed())
    }

    /// Whether the disk has refused to read a page again that it had refused before, and that was not read since: no chance,
    /// but a page that cannot be read any more.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(&self.stored, Stored::File(file) if file.paged.stays_refused())
    }

    /// What the disk has refused to write so far says nothing of what it takes from here on.
    pub fn forget_refused_writes(&self) {
        if let Stored::File(file) = &self.stored {
            file.paged.forget_refused_writes();
        }
    }

    /// Whether the disk has refused a write since [`Self::forget_refused_writes`], and may take it the next time.
    #[must_use]
    pub fn is_refused_a_write(&self) -> bool {
        matches!(&self.stored, Stored::File(file) if file.paged.is_refused_write())
    }

    /// Whether it has refused it again at the same place: no chance, but one that cannot be written any more, as where a part of a
    /// physical sector cannot be read.
    #[must_use]
    pub fn is_unwritable(&self) -> bool {
        matches!(&self.stored, Stored::File(file) if file.paged.stays_unwritable())
    }

    /// Gives the file up, which may be gone from its directory from here on: as after a failed sync no flush succeeds any more, and
    /// reading goes on.
    pub fn give_up_file(&self) {
        // PA
        if let Stored::File(file) = &self.stored {
            file.paged.give_up();
        }
    }

    /// Lets the next flush wait until as much more is pending as usually comes together between two.
    pub fn put_off_flush(&mut self) {
        self.flush_at = self.overlay.bytes().saturating_add(self.options.overlay_bytes);
    }

    /// Whether the pending updates have reached [`IndexOptions::overlay_bytes`], or, since a flush that found the disk
    /// full, so much more than then: to try again with every record would make no room. Nothing is refused beyond
    /// that: whoever applies records asks after each, and whoever lets them in asks for [`Self::backlog`] before.
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        !self.options.in_memory && self.overlay.bytes() >= self.flush_at
    }

    /// The B-tree, unless nothing was ever stored.
    fn tree(&self) -> Result<Option<&Tree>, IndexError> {
        match &self.stored {
            Stored::Nowhere(_) | Stored::Memory => Ok(None),
            Stored::File(file) => file.tree().map(Some),
        }
    }

    fn checked<T>(&self, result: Result<T, redb::StorageError>) -> Result<T, IndexError> {
        result.map_err(|error| match &self.stored {
            Stored::Nowhere(_) | Stored::Memory => IndexError::damaged(error.to_string()),
            Stored::File(file) => tree::explain(&file.paged, error.into()),
        })
    }

    /// One row.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, IndexError> {
        self.get_bytes::<T>(key.to_bytes().as_ref())
    }

    /// One row, by the bytes of its key.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn get_bytes<T: Table>(&self, key: &[u8]) -> Result<Option<T::Value>, IndexError> {
        if let Some(update) = self.overlay.table(T::ID).get(key) {
            return update.as_deref().map(|row| decode::<T>(row, &self.symbols)).transpose();
        }
        let Some(tree) = self.tree()? else { return Ok(None) };
        match self.checked(tree.table(T::ID)?.get(key))? {
            Some(row) => decode::<T>(row.value(), &self.symbols).map(Some),
            None => Ok(None),
        }
    }

    /// Stores a row: at once visible, durable after the next flush.
    pub fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) {
        let row = value.store(&mut self.symbols);
        // They go with the row, into the same flush.
        while let Some((number, symbol)) = self.symbols.unsaved() {
            let symbol = symbol.store(&mut self.symbols);
            self.overlay.set(SymbolTable::ID, &SymbolNumber(number).to_bytes(), Some(symbol));
        }
        self.overlay.set(T::ID, key.to_bytes().as_ref(), Some(row));
    }

    /// Removes a row, if there is one.
    pub fn remove<T: Table>(&mut self, key: &T::Key) {
        self.overlay.set(T::ID, key.to_bytes().as_ref(), None);
    }

    /// Up to `limit` rows between two keys.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn range<T: Table>(
        &self,
        from: Bound<&T::Key>,
        to: Bound<&T::Key>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row<T>>, IndexError> {
        let (from, to) = (from.map(T::Key::to_bytes), to.map(T::Key::to_bytes));
        self.range_bytes::<T>(from.as_ref().map(AsRef::as_ref), to.as_ref().map(AsRef::as_ref), direction, limit)
    }

    /// Up to `limit` rows between two keys given by their bytes, or by a prefix of them.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn range_bytes<T: Table>(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row<T>>, IndexError> {
        let mut out = Vec::new();
        let Some(mut rows) = self.merged(T::ID, from, to, direction)? else {
            return Ok(out);
        };
        while out.len() < limit {
            let Some((key, row)) = self.checked(rows.next())? else {
                break;
            };
            out.push((T::Key::from_bytes(&key).ok_or_else(malformed::<T>)?, decode::<T>(&row, &self.symbols)?));
        }
        Ok(out)
    }

    /// Visits the rows between two keys until `visit` says `false`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn scan<T: Table>(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
        visit: &mut dyn FnMut(T::Key, T::Value) -> bool,
    ) -> Result<(), IndexError> {
        let Some(mut rows) = self.merged(T::ID, from, to, direction)? else {
            return Ok(());
        };
        while let Some((key, row)) = self.checked(rows.next())? {
            if !visit(T::Key::from_bytes(&key).ok_or_else(malformed::<T>)?, decode::<T>(&row, &self.symbols)?) {
                break;
            }
        }
        Ok(())
    }

    fn merged(
        &self,
        table: TableId,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Option<Merged<'_>>, IndexError> {
        if merge::is_empty_range(from, to) {
            return Ok(None);
        }
        let stored = match self.tree()? {
            Some(tree) => Some(self.checked(tree.table(table)?.range::<&[u8]>((from, to)))?),
            None => None,
        };
        self.checked(Merged::new(self.overlay.table(table), stored, from, to, direction)).map(Some)
    }

    /// Reads up to `limit` rows behind `after` (all tables, one after the other) for no other purpose than to see that
    /// they can be read; returns where to go on, or `None` at the end.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn verify(&self, after: Option<Place>, limit: usize) -> Result<Option<Place>, IndexError> {
        // PA
        let Place(table, key) = after.unwrap_or_default();
        let Some(tree) = self.tree()? else { return Ok(None) };
        if table >= table::TABLES {
            return Ok(None);
        }
        let from = if key.is_empty() { Bound::Unbounded } else { Bound::Excluded(key.as_slice()) };
        let stored = self.checked(tree.table(TableId(table))?.range::<&[u8]>((from, Bound::Unbounded)))?;
        let mut last = None;
        for row in stored.take(limit) {
            last = Some(self.checked(row)?.0.value().to_vec());
        }
        Ok(Some(last.map_or(Place(table + 1, Vec::new()), |key| Place(table, key))))
    }

    /// Writes all pending updates, together with `checkpoint`, in one transaction, and makes it durable.
    ///
    /// # Errors
    /// [`IndexError::Disk`]: the updates are still pending, reads go on, and another flush may be tried, when space is
    /// free. [`IndexError::Unsynced`] once a sync has failed. [`IndexError::Damaged`].
    pub fn flush(&mut self, checkpoint: &[u8]) -> Result<(), IndexError> {
        // PA
        let flushed = self.try_flush(checkpoint);
        self.flush_at = match &flushed {
            Err(IndexError::Disk(error)) if error.failure == DiskFailure::Full => {
                self.overlay.bytes().saturating_add(self.options.overlay_bytes)
            }
            _ => self.options.overlay_bytes,
        };
        self.refused_at = match &flushed {
            Ok(()) => None,
            Err(_) => self.refused_at.or(Some(self.overlay.bytes())),
        };
        flushed
    }

    fn try_flush(&mut self, checkpoint: &[u8]) -> Result<(), IndexError> {
        // PA
        if let Stored::Nowhere(wanted) = &mut self.stored {
            self.stored = Stored::File(wanted.make(&self.options.file.file_name()?, self.options.cache_bytes)?);
        }
        let Stored::File(file) = &mut self.stored else {
            self.checkpoint = checkpoint.to_vec();
            return Ok(());
        };
        if file.paged.sync_failed() {
            return Err(IndexError::Unsynced);
        }
        if file.tree.is_none() || file.paged.failure().is_some() {
            file.reload(self.options.cache_bytes)?;
        }
        if self.overlay.is_empty() && self.checkpoint == checkpoint {
            return Ok(());
        }
        file.commit(&self.overlay, checkpoint, self.options.cache_bytes)?;
        self.overlay.clear();
        self.checkpoint = checkpoint.to_vec();
        Ok(())
    }

    /// Goes back to the last flush after the disk refused something; pending updates stay. Reads that failed because
    /// of the disk can then be tried again.
    ///
    /// # Errors
    /// [`IndexError`]; the index then answers nothing but this.
    pub fn reload(&mut self) -> Result<(), IndexError> {
        match &mut self.stored {
            Stored::Nowhere(_) | Stored::Memory => Ok(()),
            Stored::File(file) => file.reload(self.options.cache_bytes),
        }
    }
}

impl<D: Disk> Drop for Index<D> {
    fn drop(&mut self) {
        // Only `close` closes: dropping must not write, least of all in a process that is failing.
        if let Stored::File(file) = &mut self.stored
            && file.tree.is_some()
        {
            file.paged.set_mode(Mode::Abandoned);
        }
    }
}
