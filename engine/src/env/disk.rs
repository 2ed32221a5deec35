//! The disk: a synchronous trait, injected.
//!
//! Synchronous because that is what crash-point enumeration, `pread` and the browser's OPFS access handles all are.
//!
//! # The contract that implementations keep
//!
//! * What was written is visible to `read_at` at once, and durable after [`DiskFile::sync`] on that file returned `Ok`.
//!   Between two syncs any subset of the written sectors may survive a crash, in any order, some of them torn.
//! * A file's existence under its name (create, rename, remove) is durable after [`Disk::sync_directory`] returned `Ok`.
//! * After a `sync` that failed, nothing written since the last good one may be trusted, and a later `sync` on the
//!   same file proves nothing about it (Rebello et al., "Can Applications Recover from fsync Failures?", ATC'20).
//! * Every call may fail, and may fail half done.

use core::fmt::Debug;

/// One of the store's two directories, which may lie on different disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Volume {
    /// The log: the truth.
    Blocks,
    /// The index: a cache, which may be deleted at any time.
    Index,
}

impl core::fmt::Display for Volume {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Blocks => "blocks",
            Self::Index => "index",
        })
    }
}

/// A plain file name inside a [`Volume`]: lower-case letters, digits, `.`, `-` and `_`, not starting with a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// A name that no [`Volume`] can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a file name of a store")]
pub struct InvalidFileName(pub String);

impl FileName {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`InvalidFileName`] when a character outside the allowed set occurs, or the length is 0 or over the limit.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidFileName> {
        let name = name.into();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > Self::MAX_LEN || name.starts_with('.') || !name.bytes().all(allowed) {
            return Err(InvalidFileName(name));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Display for FileName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// What went wrong at the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskFailure {
    /// No such file.
    #[error("no such file")]
    NotFound,
    /// The file is there already.
    #[error("file exists already")]
    AlreadyExists,
    /// No space is left, or a quota is used up. Free some and try again.
    #[error("the disk is full")]
    Full,
    /// The process or the machine has no more open files, or no more memory, to give. Of the medium this says nothing; the text
    /// is the system's, and what can be done.
    #[error("{0}")]
    Exhausted(String),
    /// The medium or the system refused; the text is the system's.
    #[error("{0}")]
    Io(String),
    /// The simulated machine has lost power: nothing works any more until it is opened anew.
    #[error("the machine has crashed")]
    Crashed,
}

impl DiskFailure {
    /// Whether the medium was never asked: nothing may be concluded about what stands on it.
    #[must_use]
    pub const fn says_nothing(&self) -> bool {
        matches!(self, Self::Exhausted(_) | Self::Crashed)
    }
}

/// A disk failure and where it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {volume}/{file}: {failure}")]
pub struct DiskError {
    /// The operation: `open`, `read`, `append`, `write`, `truncate`, `sync`, `rename`, `remove`, `list`, `len`.
    pub operation: &'static str,
    /// The directory.
    pub volume: Volume,
    /// The file, or `.` for the directory itself.
    pub file: String,
    /// What went wrong.
    pub failure: DiskFailure,
}

/// Two directories of files.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens a file.
    ///
    /// # Errors
    /// [`DiskError`], among them `NotFound` and, for [`OpenMode::CreateNew`], `AlreadyExists`.
    fn open(&self, volume: Volume, name: &FileName, mode: OpenMode) -> Result<Self::File, DiskError>;

    /// The names in a directory, sorted. Names that are not a [`FileName`] are left out.
    ///
    /// # Errors
    /// [`DiskError`].
    fn list(&self, volume: Volume) -> Result<Vec<FileName>, DiskError>;

    /// Renames a file, replacing what had the new name.
    ///
    /// # Errors
    /// [`DiskError`]; then either name may hold.
    fn rename(&self, volume: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError>;

    /// Removes a file. Open handles go on working.
    ///
    /// # Errors
    /// [`DiskError`].
    fn remove(&self, volume: Volume, name: &FileName) -> Result<(), DiskError>;

    /// Makes the directory's entries durable.
    ///
    /// # Errors
    /// [`DiskError`].
    fn sync_directory(&self, volume: Volume) -> Result<(), DiskError>;
}

/// An open file. Methods take `&self`: positioned I/O needs no cursor.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// The length, in bytes.
    ///
    /// # Errors
    /// [`DiskError`].
    fn len(&self) -> Result<u64, DiskError>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// [`DiskError`].
    fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }

    /// Reads at `offset` until `buffer` is full or the file ends; returns how many bytes were read. Implementations
    /// go on after short reads of the system.
    ///
    /// # Errors
    /// [`DiskError`]; the buffer then holds nothing of use.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `parts`, one after the other, at `offset`; the file grows as needed.
    ///
    /// # Errors
    /// [`DiskError`]; any part of the range may then have been written.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError>;

    /// Cuts or extends (with zeros) the file to `len` bytes.
    ///
    /// # Errors
    /// [`DiskError`].
    fn truncate(&self, len: u64) -> Result<(), DiskError>;

    /// Makes everything written to this file durable.
    ///
    /// # Errors
    /// [`DiskError`]; see the contract above.
    fn sync(&self) -> Result<(), DiskError>;
}
