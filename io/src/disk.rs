//! The engine's disk over real directories and files.

use ouroboros_engine::env::{Disk, DiskError, DiskFailure, DiskFile, FileName, OpenMode, Volume};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod positioned;

/// Two directories of real files. Clones name the same ones.
///
/// Files are made readable by their owner alone (0600), directories too (0700).
#[derive(Clone, Debug)]
pub struct FileDisk {
    directories: Arc<[PathBuf; 2]>,
}

/// An open file of a [`FileDisk`].
#[derive(Debug)]
pub struct RealFile {
    file: File,
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
        _ => DiskFailure::Io(explain(error)),
    }
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
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl FileDisk {
    /// The disk in two directories that exist. They may be the same only if the caller's names never clash.
    #[must_use]
    pub fn new(blocks: PathBuf, index: PathBuf) -> Self {
        Self { directories: Arc::new([blocks, index]) }
    }

    /// Makes the directories where they are missing, for their owner alone, and makes their names durable.
    ///
    /// # Errors
    /// [`DiskError`] of the directory that could not be made.
    pub fn create(blocks: PathBuf, index: PathBuf) -> Result<Self, DiskError> {
        let disk = Self::new(blocks, index);
        for volume in [Volume::Blocks, Volume::Index] {
            create_directory(disk.directory(volume)).map_err(|error| disk_error("open", volume, ".", &error))?;
        }
        Ok(disk)
    }

    /// The directory of a volume.
    #[must_use]
    pub fn directory(&self, volume: Volume) -> &Path {
        &self.directories[volume as usize]
    }

    fn path(&self, volume: Volume, name: &FileName) -> PathBuf {
        self.directory(volume).join(name.as_str())
    }
}

/// Makes `path` and what is missing above it, each 0700, each name made durable.
fn create_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for directory in missing.into_iter().rev().filter(|directory| !directory.as_os_str().is_empty()) {
        let mut builder = DirBuilder::new();
        private_directory(&mut builder);
        match builder.create(directory) {
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => result?,
        }
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_directory(parent)?;
    }
    if path.is_dir() { Ok(()) } else { Err(io::Error::from(ErrorKind::NotADirectory)) }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    uninterrupted(|| File::open(path)?.sync_all())
}

// Directories cannot be opened as files elsewhere; NTFS journals their entries by itself.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn private_directory(builder: &mut DirBuilder) {
    use std::os::unix::fs::DirBuilderExt;
    builder.mode(0o700);
}

#[cfg(unix)]
fn private_file(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn private_directory(_builder: &mut DirBuilder) {}

#[cfg(not(unix))]
fn private_file(_options: &mut OpenOptions) {}

impl Disk for FileDisk {
    type File = RealFile;

    fn open(&self, volume: Volume, name: &FileName, mode: OpenMode) -> Result<RealFile, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create_new(mode == OpenMode::CreateNew);
        private_file(&mut options);
        let file = uninterrupted(|| options.open(self.path(volume, name)))
            .map_err(|error| disk_error("open", volume, name, &error))?;
        Ok(RealFile { file, volume, name: name.clone(), resized: AtomicBool::new(false) })
    }

    fn list(&self, volume: Volume) -> Result<Vec<FileName>, DiskError> {
        let list = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.directory(volume))? {
                let entry = entry?;
                let name = entry.file_name().into_string().ok().and_then(|name| FileName::new(name).ok());
                if let Some(name) = name
                    && entry.file_type()?.is_file()
                {
                    names.push(name);
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        uninterrupted(list).map_err(|error| disk_error("list", volume, ".", &error))
    }

    fn rename(&self, volume: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        uninterrupted(|| fs::rename(self.path(volume, from), self.path(volume, to)))
            .map_err(|error| disk_error("rename", volume, from, &error))
    }

    fn remove(&self, volume: Volume, name: &FileName) -> Result<(), DiskError> {
        uninterrupted(|| fs::remove_file(self.path(volume, name)))
            .map_err(|error| disk_error("remove", volume, name, &error))
    }

    fn sync_directory(&self, volume: Volume) -> Result<(), DiskError> {
        sync_directory(self.directory(volume)).map_err(|error| disk_error("sync", volume, ".", &error))
    }
}

impl RealFile {
    fn error(&self, operation: &'static str, error: &io::Error) -> DiskError {
        disk_error(operation, self.volume, &self.name, error)
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> Result<u64, DiskError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.error("len", &error))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        // PA
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            match uninterrupted(|| positioned::read(&self.file, at, &mut buffer[done..])) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) => return Err(self.error("read", &error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        positioned::write_all(&self.file, offset, parts).map_err(|error| self.error("write", &error))
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
        let sync = if resized { File::sync_all } else { File::sync_data };
        uninterrupted(|| sync(&self.file)).map_err(|error| {
            self.resized.store(true, Ordering::SeqCst);
            self.error("sync", &error)
        })
    }
}

#[cfg(test)]
mod tests;
