//! Whose log is being made in a directory: a note beside it, there from before the log until its store has a description.
//!
//! A log outside its store's own directory may belong to any description. While one is being made none names it yet, so
//! that a making cut short could not be told from a log that is somebody else's; the note tells them apart.

use crate::disk::{read_whole, sync_names, write_all};
use crate::env::{Files, Opening, RawFile};
use crate::error::Error;
use ouroboros_engine::env::FileName;
use std::io::{self, ErrorKind};
use std::path::Path;

const FILE: &str = "making";

/// Whether there are files of a log among these.
pub(crate) fn holds_log(names: &[FileName]) -> bool {
    names.iter().any(|name| name.as_str().starts_with("seg-"))
}

/// Notes down, durably, that the log that is to come in `blocks` is made by `store`.
pub(crate) fn make(files: &impl Files, blocks: &Path, store: &Path) -> Result<(), Error> {
    // PA: without it a store whose making is cut short cannot be finished, and its directory is refused to it for ever.
    let note = blocks.join(FILE);
    let write = || -> io::Result<()> {
        let file = files.open(&note, Opening::Replace)?;
        write_all(&file, 0, &[store.as_os_str().as_encoded_bytes()])?;
        file.sync_all()?;
        sync_names(files, blocks)
    };
    write().map_err(|error| Error::io(format!("writing {}", note.display()), error))
}

/// Whether the log in `blocks` was being made by `store` when that was cut short.
pub(crate) fn is_of(files: &impl Files, blocks: &Path, store: &Path) -> Result<bool, Error> {
    // PA: who takes another store's log for its own destroys both.
    let note = blocks.join(FILE);
    match files.open(&note, Opening::Read).and_then(|file| read_whole(&file)) {
        Ok(text) => Ok(text == store.as_os_str().as_encoded_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("reading {}", note.display()), error)),
    }
}

/// Takes the note away: the store has its description.
pub(crate) fn settle(files: &impl Files, blocks: &Path) {
    // If it stays, it says nothing wrong: the log is that store's.
    let _courtesy = files.remove(&blocks.join(FILE));
}
