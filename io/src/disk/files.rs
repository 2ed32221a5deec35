//! The system's own directories and files.

use super::positioned;
use crate::env::{Files, Opening, RawFile};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    type File = File;
    #[cfg(unix)]
    type Directory = File;
    #[cfg(not(unix))]
    type Directory = ();

    fn open(&self, path: &Path, how: Opening) -> io::Result<File> {
        let mut options = OpenOptions::new();
        match how {
            Opening::Read => options.read(true),
            Opening::Write => options.read(true).write(true),
            Opening::New => {
                private_file(&mut options);
                options.read(true).write(true).create_new(true)
            }
            Opening::Replace => options.write(true).create(true).truncate(true),
        };
        options.open(path)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name());
            }
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        found(fs::symlink_metadata(path)).map(|found| found.is_some())
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        found(fs::metadata(path)).map(|found| found.is_some_and(|metadata| metadata.is_dir()))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn create_directory(&self, path: &Path, private: bool) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        if private {
            private_directory(&mut builder);
        }
        builder.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn open_directory(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    #[cfg(unix)]
    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        directory.sync_all()
    }

    // Directories cannot be opened as files elsewhere; NTFS journals their entries by itself.
    #[cfg(not(unix))]
    fn open_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    #[cfg(not(unix))]
    fn sync_directory(&self, (): &()) -> io::Result<()> {
        Ok(())
    }
}

/// None if the system says that there is nothing; what else it says is no answer to that.
fn found(answer: io::Result<Metadata>) -> io::Result<Option<Metadata>> {
    // PA: who takes a disk that does not answer for an empty one makes a new store over the description of the old.
    match answer {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl RawFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        positioned::read(self, offset, buffer)
    }

    fn write_some(&self, offset: u64, first: &[u8], rest: &[&[u8]]) -> io::Result<usize> {
        positioned::write_some(self, offset, first, rest)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::sync_all(self)
    }
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
