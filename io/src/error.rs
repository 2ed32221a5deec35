//! Everything that can go wrong for a user of the library.

use crate::entropy::NoEntropy;
use crate::lock::LockError;
use ouroboros_engine::dag::merge::Conflict;
use ouroboros_engine::env::DiskError;
use ouroboros_engine::names::NameError;
use ouroboros_engine::node::{Failure, OpenError};
use std::path::PathBuf;

/// Why an operation was not carried out. Nothing that was acknowledged is lost by any of these.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no store in the directory.
    #[error("there is no store in {}; `ouroboros init` or a first write makes one", .0.display())]
    NoStore(PathBuf),
    /// There is a store, but its log is not where its description says.
    #[error(
        "the log of the store {} is not in {}: if that lies on a disk of its own, the disk may not be mounted; mount it, or put \
         the log back, or say in {} where it is now. Nothing was made in its place",
        store.display(),
        blocks.display(),
        store.join("ouroboros.toml").display()
    )]
    LogMissing {
        /// The store's own directory.
        store: PathBuf,
        /// The directory of its log.
        blocks: PathBuf,
    },
    /// There are files of a log, and none of them says what log that is.
    #[error(
        "{} holds files of the log of the store {}, and none of them can be read as one: check the disk, or bring them back from \
         a backup",
        blocks.display(),
        store.display()
    )]
    LogUnreadable {
        /// The store's own directory.
        store: PathBuf,
        /// The directory of its log.
        blocks: PathBuf,
    },
    /// There is a store in the directory already.
    #[error("there is a store in {} already", .0.display())]
    StoreExists(PathBuf),
    /// A store cannot be made where there is a log already: it may be another store's, whose description lies elsewhere.
    #[error(
        "{} holds a log already, and nothing in {} says that it is this store's: open the store that it belongs to, or choose \
         another directory for the log of this one; if the description of the log's store is lost, write that anew, as {}, in three \
         lines: format = 1, blocks = {:?}, index = \"index\"",
        blocks.display(),
        store.display(),
        store.join("ouroboros.toml").display(),
        blocks.to_string_lossy()
    )]
    LogExists {
        /// The directory of the log.
        blocks: PathBuf,
        /// The directory of the store that was to be made.
        store: PathBuf,
    },
    /// Another process has the store open, or one of its directories.
    #[error(transparent)]
    InUse(#[from] LockError),
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The engine refused the request.
    #[error(transparent)]
    Request(Failure),
    /// A key name that no store accepts.
    #[error(transparent)]
    KeyName(#[from] NameError),
    /// The disk below the store failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file of the caller, or the store's description, could not be read or written.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store's description is not understood.
    #[error("{}: {why}", file.display())]
    Description {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No keyring was given to the builder.
    #[error("a store cannot be opened without its keyring")]
    NoKeyring,
    /// The operating system gave no randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The resolver leaves the merge to people.
    #[error(transparent)]
    Conflict(Conflict),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            // The engine was closed a moment before the store was.
            Failure::Closed => Self::Closed,
            failure => Self::Request(failure),
        }
    }
}

impl Error {
    /// An [`Error::Io`].
    pub(crate) fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}
