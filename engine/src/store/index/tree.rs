//! redb, opened over the paged file.

use super::backend::PagedBackend;
use super::error::{IndexError, PageFailure};
use super::overlay::Overlay;
use super::paged::{Mode, PagedFile};
use super::table::{NAMES, TABLES, TableId};
use crate::env::DiskFile;
use redb::{Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, StorageError, TableDefinition};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Stored = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const CHECKPOINT: Definition = TableDefinition::new("checkpoint");
const DEFINITIONS: [Definition; TABLES] = {
    let mut out = [CHECKPOINT; TABLES];
    let mut at = 0;
    while at < TABLES {
        out[at] = TableDefinition::new(NAMES[at]);
        at += 1;
    }
    out
};

/// An open B-tree and its tables as of the last flush.
pub(super) struct Tree {
    /// The tables as of the last flush, by [`TableId`]; empty after a flush that failed. Opened once per flush: to open
    /// them anew costs more than a read. Declared, and so dropped, before the database that they read from.
    view: Vec<Stored>,
    database: Database,
}

/// What an error of redb's means for the index.
pub(super) fn explain<F: DiskFile>(paged: &PagedFile<F>, error: redb::Error) -> IndexError {
    match paged.failure() {
        // What the disk refuses to read it may give the next time, whatever it did not sync.
        Some(PageFailure::Disk(disk)) if disk.operation != "read" && paged.sync_failed() => IndexError::Unsynced,
        Some(failure) => failure.into(),
        None => IndexError::damaged(error.to_string()),
    }
}

impl Tree {
    /// Starts an empty B-tree with all tables.
    pub(super) fn create<F: DiskFile>(paged: &Arc<PagedFile<F>>, cache_bytes: usize) -> Result<Self, IndexError> {
        let create = || {
            let database = builder(cache_bytes).create_with_backend(PagedBackend::new(paged.clone()))?;
            let mut tree = Self { view: Vec::new(), database };
            tree.write(&Overlay::default(), &[], &|_| true)?;
            tree.view = view_of(&tree.database)?;
            Ok(tree)
        };
        create().map_err(|error: redb::Error| explain(paged, error))
    }

    /// Opens the B-tree. Unless `trusted`, the paged file must have asked for verification, and this refuses to return a tree
    /// that redb has not verified from its root to its leaves.
    pub(super) fn open<F: DiskFile>(
        paged: &Arc<PagedFile<F>>,
        cache_bytes: usize,
        trusted: bool,
    ) -> Result<Self, IndexError> {
        // PA
        let verified = Arc::new(AtomicBool::new(false));
        let mut builder = builder(cache_bytes);
        if !trusted {
            let verified = verified.clone();
            builder.set_repair_callback(move |_| verified.store(true, Ordering::Relaxed));
        }
        let open = || {
            paged.set_mode(Mode::Opening);
            let database = builder.create_with_backend(PagedBackend::new(paged.clone()))?;
            paged.set_mode(Mode::Open);
            if !trusted {
                if !verified.load(Ordering::Relaxed) {
                    return Err(StorageError::Corrupted("nothing was ever flushed to it".to_owned()).into());
                }
                paged.verified();
            }
            let view = view_of(&database)?;
            Ok(Self { view, database })
        };
        open().map_err(|error: redb::Error| explain(paged, error))
    }

    /// A table as of the last flush.
    pub(super) fn table(&self, table: TableId) -> Result<&Stored, IndexError> {
        self.view.get(table.0).ok_or_else(|| IndexError::damaged("a flush failed and could not be taken back"))
    }

    /// The checkpoint of the last flush.
    pub(super) fn checkpoint(&self) -> Result<Vec<u8>, redb::Error> {
        let table = self.database.begin_read()?.open_table(CHECKPOINT)?;
        match table.get([].as_slice())? {
            Some(row) => Ok(row.value().to_vec()),
            None => Err(StorageError::Corrupted("it has no checkpoint".to_owned()).into()),
        }
    }

    /// Writes `updates` and `checkpoint` in one durable transaction.
    pub(super) fn commit(&mut self, updates: &Overlay, checkpoint: &[u8]) -> Result<(), redb::Error> {
        // PA
        // A view pins the pages that it may read; let go first, so that they are free for the flush after this one.
        self.view = Vec::new();
        // To open a table for writing costs as much as some rows, and most flushes have nothing for most of them.
        let result = self.write(updates, checkpoint, &|table| !updates.table(table).is_empty());
        if result.is_ok() {
            self.view = view_of(&self.database)?;
        }
        result
    }

    /// One transaction, which opens the tables that are `wanted`: all that `updates` has rows for.
    fn write(&self, updates: &Overlay, checkpoint: &[u8], wanted: &dyn Fn(TableId) -> bool) -> Result<(), redb::Error> {
        // PA
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        // Two syncs, and the list of free pages with every flush: the primary header is then valid at any crash point,
        // and going back to it costs nothing. Flushes are rare enough.
        transaction.set_quick_repair(true);
        for (at, definition) in DEFINITIONS.into_iter().enumerate().filter(|(at, _)| wanted(TableId(*at))) {
            let mut table = transaction.open_table(definition)?;
            for (key, row) in updates.table(TableId(at)) {
                match row {
                    Some(row) => drop(table.insert(key.as_slice(), row.as_slice())?),
                    None => drop(table.remove(key.as_slice())?),
                }
            }
        }
        transaction.open_table(CHECKPOINT)?.insert([].as_slice(), checkpoint)?;
        Ok(transaction.commit()?)
    }
}

fn view_of(database: &Database) -> Result<Vec<Stored>, redb::Error> {
    let transaction = database.begin_read()?;
    let mut tables = Vec::with_capacity(TABLES);
    for definition in DEFINITIONS {
        tables.push(transaction.open_table(definition)?);
    }
    Ok(tables)
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    // After two-phase commits redb never needs a repair of its own; where it believes it does, the file is not ours.
    builder.set_repair_callback(|session| session.abort());
    builder
}
