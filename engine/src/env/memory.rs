//! A disk in memory, without faults: for tests, for embedding without files, and for throw-away indexes.

use super::disk::{Disk, DiskError, DiskFailure, DiskFile, FileName, OpenMode, Volume};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Content = Arc<Mutex<Vec<u8>>>;

/// Files in memory. Clones share the same files.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<(Volume, FileName), Content>>>,
}

/// An open file of a [`MemoryDisk`].
#[derive(Clone, Debug)]
pub struct MemoryFile {
    content: Content,
    volume: Volume,
    name: FileName,
    writable: bool,
}

// A poisoned lock means that another thread panicked between two plain assignments: the bytes are still bytes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held in all files of a directory.
    #[must_use]
    pub fn used_bytes(&self, volume: Volume) -> u64 {
        lock(&self.files).iter().filter(|((v, _), _)| *v == volume).map(|(_, content)| lock(content).len() as u64).sum()
    }
}

fn error(operation: &'static str, volume: Volume, name: &FileName, failure: DiskFailure) -> DiskError {
    DiskError { operation, volume, file: name.to_string(), failure }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, volume: Volume, name: &FileName, mode: OpenMode) -> Result<MemoryFile, DiskError> {
        let mut files = lock(&self.files);
        let key = (volume, name.clone());
        let content = match (files.get(&key), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(error("open", volume, name, DiskFailure::AlreadyExists)),
            (None, OpenMode::Read | OpenMode::Write) => {
                return Err(error("open", volume, name, DiskFailure::NotFound));
            }
            (Some(content), _) => content.clone(),
            (None, OpenMode::CreateNew) => files.entry(key).or_default().clone(),
        };
        Ok(MemoryFile { content, volume, name: name.clone(), writable: mode != OpenMode::Read })
    }

    fn list(&self, volume: Volume) -> Result<Vec<FileName>, DiskError> {
        Ok(lock(&self.files).keys().filter(|(v, _)| *v == volume).map(|(_, name)| name.clone()).collect())
    }

    fn rename(&self, volume: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        let mut files = lock(&self.files);
        let content = files
            .remove(&(volume, from.clone()))
            .ok_or_else(|| error("rename", volume, from, DiskFailure::NotFound))?;
        files.insert((volume, to.clone()), content);
        Ok(())
    }

    fn remove(&self, volume: Volume, name: &FileName) -> Result<(), DiskError> {
        match lock(&self.files).remove(&(volume, name.clone())) {
            Some(_) => Ok(()),
            None => Err(error("remove", volume, name, DiskFailure::NotFound)),
        }
    }

    fn sync_directory(&self, _volume: Volume) -> Result<(), DiskError> {
        Ok(())
    }
}

impl MemoryFile {
    fn writable(&self, operation: &'static str) -> Result<(), DiskError> {
        if self.writable { Ok(()) } else { Err(self.refuse(operation, "the file was opened for reading only")) }
    }

    fn refuse(&self, operation: &'static str, why: &str) -> DiskError {
        error(operation, self.volume, &self.name, DiskFailure::Io(why.to_owned()))
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> Result<u64, DiskError> {
        Ok(lock(&self.content).len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let content = lock(&self.content);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let available = &content[start..];
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        self.writable("write")?;
        let mut content = lock(&self.content);
        let mut at = usize::try_from(offset).map_err(|_| self.refuse("write", "offset exceeds memory"))?;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let end = at.checked_add(part.len()).ok_or_else(|| self.refuse("write", "offset exceeds memory"))?;
            if at == content.len() {
                content.extend_from_slice(part);
            } else {
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[at..end].copy_from_slice(part);
            }
            at = end;
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.writable("truncate")?;
        let len = usize::try_from(len).map_err(|_| self.refuse("truncate", "length exceeds memory"))?;
        lock(&self.content).resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_claims_of_every_disk() {
        crate::env::conformance::check(MemoryDisk::new);
    }

    #[test]
    fn a_file_keeps_what_was_written_across_handles_and_renames() -> Result<(), Box<dyn std::error::Error>> {
        let disk = MemoryDisk::new();
        let (a, b) = (FileName::new("a")?, FileName::new("b")?);
        let file = disk.open(Volume::Blocks, &a, OpenMode::CreateNew)?;
        file.write_at(0, &[b"hello", b" world"])?;
        file.write_at(20, &[b"!"])?;
        disk.rename(Volume::Blocks, &a, &b)?;
        let mut buffer = [0; 64];
        let read = disk.open(Volume::Blocks, &b, OpenMode::Read)?.read_at(6, &mut buffer)?;
        assert_eq!(&buffer[..read], b"world\0\0\0\0\0\0\0\0\0!");
        assert!(disk.open(Volume::Blocks, &a, OpenMode::Read).is_err());
        assert!(disk.open(Volume::Index, &b, OpenMode::Write).is_err());
        Ok(())
    }

    #[test]
    fn hostile_file_names_are_refused() {
        for name in ["", ".", "..", "a/b", ".hidden", "A", "nul\0", &"x".repeat(65)] {
            assert!(FileName::new(name).is_err(), "{name:?}");
        }
    }
}
