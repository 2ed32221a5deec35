//! One process per store, and per directory that a store keeps anything in.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The name of the lock file inside each directory of a store. The engine leaves it alone: no file of its own is called so.
pub const LOCK_FILE: &str = "lock";

/// Why a store could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "the store {} is in use by {}: end it or wait for it, then try again",
        store.display(),
        process.map_or_else(|| "another process".to_owned(), |process| format!("process {process}"))
    )]
    InUse {
        /// The store's directory.
        store: PathBuf,
        /// The other process, as far as it has said.
        process: Option<u32>,
    },
    /// Another process has a directory of the store, through the description of another store.
    #[error(
        "the store {} cannot be opened: {}, which its description names, is in use for another store by {}. Two stores cannot \
         share a directory: end that process, and if both are to stay, give each a directory of its own in its ouroboros.toml",
        store.display(),
        directory.display(),
        process.map_or_else(|| "another process".to_owned(), |process| format!("process {process}"))
    )]
    Shared {
        /// The store's own directory.
        store: PathBuf,
        /// The one that is in use.
        directory: PathBuf,
        /// The other process, as far as it has said.
        process: Option<u32>,
    },
    /// The lock file could not be opened, or its file system knows no locks.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LockError {
    /// What it means that one of a store's further directories is in use, though the store itself is not.
    pub(crate) fn shared_by(self, store: &Path) -> Self {
        match self {
            Self::InUse { store: directory, process } => Self::Shared { store: store.to_owned(), directory, process },
            error => error,
        }
    }
}

/// The right to be the only process that uses a directory for a store. Given back on drop, and by the system if the process dies.
#[derive(Debug)]
pub struct StoreLock {
    file: File,
}

impl StoreLock {
    /// Locks a store's `directory`, which must exist.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        // PA: two writers destroy a log. The lock is on the file's inode, so the file is never removed or replaced: a
        // second process could then lock a new file of the same name while the first still holds the old one.
        let path = directory.join(LOCK_FILE);
        let failed = |source| LockError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::InUse { store: directory.to_owned(), process: read_process(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Only a courtesy to whoever is refused: the lock holds without it, so a full disk does not keep a store shut.
        let _courtesy = write_process(&mut file);
        Ok(Self { file })
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // The next holder may be slow to write its own number, and must not be taken for this process.
        let _courtesy = self.file.set_len(0);
        let _closing_does_it_too = self.file.unlock();
    }
}

fn write_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn read_process(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn private(_options: &mut OpenOptions) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let lock = StoreLock::acquire(directory.path()).unwrap();
        let refused = StoreLock::acquire(directory.path()).unwrap_err();
        assert!(matches!(refused, LockError::InUse { process: Some(process), .. } if process == std::process::id()));
        assert!(refused.to_string().contains(&format!("is in use by process {}", std::process::id())), "{refused}");
        drop(lock);
        let again = StoreLock::acquire(directory.path()).unwrap();
        drop(again);
        assert!(directory.path().join(LOCK_FILE).exists());
    }

    #[test]
    fn a_stale_lock_file_does_not_lock() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(LOCK_FILE), "4000000000\n").unwrap();
        StoreLock::acquire(directory.path()).unwrap();
    }

    #[test]
    fn a_store_that_is_not_there_is_named() {
        let error = StoreLock::acquire(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().starts_with("cannot lock /nowhere/at/all/lock: "), "{error}");
    }
}
