//! The engine's disk over real directories and files.

use crate::env::{Files, Opening, RawFile};
use crate::planted::{Mistake, planted};
use ouroboros_engine::env::{Disk, DiskError, DiskFailure, DiskFile, FileName, OpenMode, Volume};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod files;
mod positioned;

pub use files::RealFiles;

/// Two directories of files, those of the machine unless told otherwise. Clones name the same ones.
///
/// Files are made readable by their owner alone (0600), directories too (0700).
#[derive(Clone, Debug)]
pub struct FileDisk<F: Files = RealFiles> {
    files: F,
    // Of the log and of the index, open as long as the disk is: to open one for a sync fails when the process has too many
    // files open, and the log, which cannot go on after a sync that failed, would be given up although none has.
    directories: Arc<[Directory<F>; 2]>,
}

/// A directory, and what it takes to sync it.
#[derive(Debug)]
struct Directory<F: Files> {
    path: PathBuf,
    handle: F::Directory,
}

/// An open file of a [`FileDisk`].
#[derive(Debug)]
pub struct RealFile<H = File> {
    file: H,
    volume: Volume,
    name: FileName,
    // Cut or extended through this handle since its last good sync.
    resized: AtomicBool,
}

fn failure(error: &io::Error) -> DiskFailure {
    match error.kind() {
        ErrorKind::NotFound => DiskFailure::NotFound,
        ErrorKind::AlreadyExists => DiskFailure::AlreadyExists,
        // EFBIG too: to the store, a file that may not grow is a disk that has no room.
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => DiskFailure::Full,
        _ if is_exhausted(error) => DiskFailure::Exhausted(explain(error)),
        _ => DiskFailure::Io(explain(error)),
    }
}

/// Whether the process or the machine had nothing to ask the disk with.
fn is_exhausted(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        if let Some(Errno::MFILE | Errno::NFILE) = Errno::from_io_error(error) {
            return true;
        }
    }
    error.kind() == ErrorKind::OutOfMemory
}

#[cfg(unix)]
fn explain(error: &io::Error) -> String {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            format!("{error}: this process has too many files open; raise its limit (`ulimit -n`) or close some")
        }
        Some(Errno::NFILE) => format!("{error}: the whole system has too many files open"),
        Some(Errno::ROFS) => format!("{error}: the disk is mounted for reading only, perhaps after a fault"),
        _ => error.to_string(),
    }
}

#[cfg(not(unix))]
fn explain(error: &io::Error) -> String {
    error.to_string()
}

fn disk_error(operation: &'static str, volume: Volume, file: impl ToString, error: &io::Error) -> DiskError {
    DiskError { operation, volume, file: file.to_string(), failure: failure(error) }
}

/// Calls again while the system says that a signal came in between.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl FileDisk {
    /// Makes the directories where they are missing, for their owner alone, and makes their names durable. They may be the same
    /// only if the caller's names never clash.
    ///
    /// # Errors
    /// [`DiskError`] of the directory that could not be made.
    pub fn create(blocks: PathBuf, index: PathBuf) -> Result<Self, DiskError> {
        Self::create_in(RealFiles, blocks, index)
    }
}

impl<F: Files> FileDisk<F> {
    /// [`FileDisk::create`] in another file system than the machine's.
    ///
    /// # Errors
    /// [`DiskError`] of the directory that could not be made.
    pub fn create_in(files: F, blocks: PathBuf, index: PathBuf) -> Result<Self, DiskError> {
        for (volume, path) in [(Volume::Blocks, &blocks), (Volume::Index, &index)] {
            create_directory(&files, path, true).map_err(|error| disk_error("open", volume, ".", &error))?;
        }
        Self::over(files, blocks, index)
    }

    /// The disk in two directories that are there.
    fn over(files: F, blocks: PathBuf, index: PathBuf) -> Result<Self, DiskError> {
        let open = |volume, path: PathBuf| match uninterrupted(|| files.open_directory(&path)) {
            Ok(handle) => Ok(Directory { path, handle }),
            Err(error) => Err(disk_error("open", volume, ".", &error)),
        };
        let directories = Arc::new([open(Volume::Blocks, blocks)?, open(Volume::Index, index)?]);
        Ok(Self { files, directories })
    }

    /// The directory of a volume.
    #[must_use]
    pub fn directory(&self, volume: Volume) -> &Path {
        &self.directories[volume as usize].path
    }

    /// The disk of a store that is there: the directory of its log must be. The index's is made where it is missing, since an
    /// index directory that was deleted is a cache that was cleared.
    ///
    /// # Errors
    /// [`DiskError`] of the directory that is missing or could not be made.
    pub fn open_in(files: F, blocks: PathBuf, index: PathBuf) -> Result<Self, DiskError> {
        // PA: an empty directory in place of a log that lies on a disk not mounted looks like a store that is gone.
        let is_there = |directory: &Path| match uninterrupted(|| files.is_directory(directory))? {
            true => Ok(()),
            false => Err(io::Error::from(ErrorKind::NotFound)),
        };
        is_there(&blocks).map_err(|error| disk_error("open", Volume::Blocks, ".", &error))?;
        let made = match is_there(&index) {
            Err(error) if error.kind() == ErrorKind::NotFound => create_directory(&files, &index, true),
            there => there,
        };
        made.map_err(|error| disk_error("open", Volume::Index, ".", &error))?;
        Self::over(files, blocks, index)
    }

    fn path(&self, volume: Volume, name: &FileName) -> PathBuf {
        self.directory(volume).join(name.as_str())
    }
}

/// Makes `path` and what is missing above it, for its owner alone if `private`. Its name is made durable, and every name on the
/// way to it.
pub(crate) fn create_directory<F: Files>(files: &F, path: &Path, private: bool) -> io::Result<()> {
    // PA: a store whose directory's name was not synced is lost as a whole. That a directory is there says nothing of its
    // name: whoever made it may have been killed before the sync.
    let mut way: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty()).collect();
    let mut missing = 0;
    while missing < way.len() && !uninterrupted(|| files.exists(way[missing]))? {
        missing += 1;
    }
    way.reverse();
    let there = way.len() - missing;
    for (depth, directory) in way.into_iter().enumerate() {
        let made = depth >= there
            && match files.create_directory(directory, private) {
                // Another process was faster.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                result => result.map(|()| true)?,
            };
        let Some(parent) = directory.parent() else { continue };
        if !planted(Mistake::ParentNotSynced) {
            if made { sync_names(files, parent)? } else { sync_old_names(files, parent)? }
        }
    }
    if path.as_os_str().is_empty() || uninterrupted(|| files.is_directory(path))? {
        Ok(())
    } else {
        Err(io::Error::from(ErrorKind::NotADirectory))
    }
}

/// Makes the names in a directory durable, which nobody has open.
pub(crate) fn sync_names(files: &impl Files, directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let directory = uninterrupted(|| files.open_directory(directory))?;
    uninterrupted(|| files.sync_directory(&directory))
}

/// The same where others may have made them long ago, in a directory that may not be ours to sync.
pub(crate) fn sync_old_names(files: &impl Files, directory: &Path) -> io::Result<()> {
    use ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    match sync_names(files, directory) {
        Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported) => {
            tracing::debug!(directory = %directory.display(), %error, "a directory above a store cannot be synced");
            Ok(())
        }
        synced => synced,
    }
}

/// Reads a whole file, which is short.
pub(crate) fn read_whole(file: &impl RawFile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match uninterrupted(|| file.read_some(bytes.len() as u64, &mut piece))? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

/// Writes all of `parts` at `offset`, one after the other, in as few calls as the system allows.
pub(crate) fn write_all(file: &impl RawFile, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
    positioned::write_through(offset, parts, |at, first, rest| file.write_some(at, first, rest))
}

impl<F: Files> Disk for FileDisk<F> {
    type File = RealFile<F::File>;

    fn open(&self, volume: Volume, name: &FileName, mode: OpenMode) -> Result<RealFile<F::File>, DiskError> {
        let how = match mode {
            OpenMode::Read => Opening::Read,
            OpenMode::Write => Opening::Write,
            OpenMode::CreateNew => Opening::New,
        };
        let file = uninterrupted(|| self.files.open(&self.path(volume, name), how))
            .map_err(|error| disk_error("open", volume, name, &error))?;
        Ok(RealFile { file, volume, name: name.clone(), resized: AtomicBool::new(false) })
    }

    fn list(&self, volume: Volume) -> Result<Vec<FileName>, DiskError> {
        let names = uninterrupted(|| self.files.names(self.directory(volume)))
            .map_err(|error| disk_error("list", volume, ".", &error))?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        let mut names: Vec<FileName> = names.filter_map(|name| FileName::new(name).ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, volume: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        uninterrupted(|| self.files.rename(&self.path(volume, from), &self.path(volume, to)))
            .map_err(|error| disk_error("rename", volume, from, &error))
    }

    fn remove(&self, volume: Volume, name: &FileName) -> Result<(), DiskError> {
        uninterrupted(|| self.files.remove(&self.path(volume, name)))
            .map_err(|error| disk_error("remove", volume, name, &error))
    }

    fn sync_directory(&self, volume: Volume) -> Result<(), DiskError> {
        if planted(Mistake::DirectoryNotSynced) {
            return Ok(());
        }
        uninterrupted(|| self.files.sync_directory(&self.directories[volume as usize].handle))
            .map_err(|error| disk_error("sync", volume, ".", &error))
    }
}

impl<H> RealFile<H> {
    fn error(&self, operation: &'static str, error: &io::Error) -> DiskError {
        disk_error(operation, self.volume, &self.name, error)
    }
}

impl<H: RawFile> DiskFile for RealFile<H> {
    fn len(&self) -> Result<u64, DiskError> {
        self.file.size().map_err(|error| self.error("len", &error))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        // PA
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            match uninterrupted(|| self.file.read_some(at, &mut buffer[done..])) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) => return Err(self.error("read", &error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        write_all(&self.file, offset, parts).map_err(|error| self.error("write", &error))
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.resized.store(true, Ordering::SeqCst);
        uninterrupted(|| self.file.set_len(len)).map_err(|error| self.error("truncate", &error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        // PA: fdatasync writes the length too where reading the data needs it (POSIX; so it does when a file has
        // grown), which spares a journal commit when nothing else changed. That a *cut* counts is said by Linux's
        // manual and not by POSIX, so after one everything is written. Never called again after a failure to see
        // whether it "works now": the caller gives the file up (see the contract).
        let resized = self.resized.swap(false, Ordering::SeqCst);
        if !resized && planted(Mistake::GrowthNotSynced) {
            return Ok(());
        }
        uninterrupted(|| if resized { self.file.sync_all() } else { self.file.sync_data() }).map_err(|error| {
            self.resized.store(true, Ordering::SeqCst);
            self.error("sync", &error)
        })
    }
}

#[cfg(test)]
mod tests;
