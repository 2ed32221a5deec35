//! A disk with one cut: whatever is written after it is lost, torn or kept as a coin says.

use crate::env::{Disk, DiskError, DiskFailure, DiskFile, FileName, MemoryDisk, MemoryFile, OpenMode, Volume};
use crate::store::index::IndexName;
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// What the disk does and has done.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Writes and syncs so far.
    pub(super) operations: u64,
    /// The operation at which the machine loses power.
    pub(super) crash_at: Option<u64>,
    /// Writes and new files from here on find the disk full.
    pub(super) full: bool,
    /// The disk becomes full at this operation.
    pub(super) full_at: Option<u64>,
    /// So many reads from here on are refused.
    pub(super) bad_reads: u32,
    /// Syncs from here on fail.
    pub(super) bad_sync: bool,
    /// Every write: that is how "nothing is written" is checked.
    pub(super) writes: u64,
    crashed: bool,
    /// Written since the last sync: offset, what was there before, what is there now.
    unsynced: Vec<(u64, Vec<u8>, Vec<u8>)>,
}

/// A memory disk that can lose power.
#[derive(Clone, Debug, Default)]
pub(super) struct TestDisk {
    pub(super) memory: MemoryDisk,
    pub(super) faults: Arc<Mutex<Faults>>,
}

#[derive(Debug)]
pub(super) struct TestFile {
    file: MemoryFile,
    faults: Arc<Mutex<Faults>>,
}

impl TestDisk {
    pub(super) fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap());
    }

    pub(super) fn operations(&self) -> u64 {
        self.faults.lock().unwrap().operations
    }

    /// The index file's bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let file = self.memory.open(Volume::Index, &name(), OpenMode::Read).unwrap();
        let mut out = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut out).unwrap();
        out
    }

    /// A disk whose index file holds `bytes`.
    pub(super) fn with(bytes: &[u8]) -> Self {
        let disk = Self::default();
        let file = disk.memory.open(Volume::Index, &name(), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[bytes]).unwrap();
        disk
    }

    /// What the disk holds after the crash: of the unsynced sectors, those that `keep` says, each whole or, where it
    /// says so, torn in the middle or, from 128 on, unreadable as a whole, with what is beside the write.
    pub(super) fn after_crash(&self, keep: &mut dyn FnMut() -> u8) -> Self {
        let mut bytes = self.bytes();
        let faults = self.faults.lock().unwrap();
        for (offset, before, _) in faults.unsynced.iter().rev() {
            let at = *offset as usize;
            bytes.resize(bytes.len().max(at + before.len()), 0);
            bytes[at..at + before.len()].copy_from_slice(before);
        }
        for (offset, _, after) in &faults.unsynced {
            let (mut at, end) = (*offset as usize, *offset as usize + after.len());
            while at < end {
                let next = ((at / SECTOR + 1) * SECTOR).min(end);
                let part = &after[at - *offset as usize..next - *offset as usize];
                let fate = keep();
                if fate >= 128 && fate.is_multiple_of(4) {
                    let sector = at / SECTOR * SECTOR;
                    let end = bytes.len().min(sector + SECTOR);
                    bytes[sector..end].fill(0x5a);
                }
                let kept = match fate % 4 {
                    0 => 0,
                    1 => part.len() / 2,
                    _ => part.len(),
                };
                bytes[at..at + kept].copy_from_slice(&part[..kept]);
                at = next;
            }
        }
        Self::with(&bytes)
    }
}

pub(super) fn name() -> FileName {
    FileName::new(IndexName::Lasting.name()).unwrap()
}

impl TestFile {
    fn step(&self, operation: &'static str, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let mut faults = self.faults.lock().unwrap();
        let fail = |failure| DiskError { operation, volume: Volume::Index, file: name().to_string(), failure };
        if faults.crashed {
            return Err(fail(DiskFailure::Crashed));
        }
        faults.operations += 1;
        faults.crashed = faults.crash_at == Some(faults.operations);
        faults.full |= faults.full_at == Some(faults.operations);
        if operation == "sync" {
            if faults.crashed {
                return Err(fail(DiskFailure::Crashed));
            }
            if faults.bad_sync {
                return Err(fail(DiskFailure::Io("medium error".to_owned())));
            }
            faults.unsynced.clear();
            return Ok(());
        }
        if faults.full {
            return Err(fail(DiskFailure::Full));
        }
        faults.writes += 1;
        let after = parts.concat();
        let mut before = vec![0; after.len()];
        self.file.read_at(offset, &mut before)?;
        faults.unsynced.push((offset, before, after));
        // The write under way when power fails may be on the disk in part, like all unsynced ones.
        self.file.write_at(offset, parts)?;
        if faults.crashed { Err(fail(DiskFailure::Crashed)) } else { Ok(()) }
    }
}

impl Disk for TestDisk {
    type File = TestFile;

    fn open(&self, volume: Volume, name: &FileName, mode: OpenMode) -> Result<TestFile, DiskError> {
        let faults = self.faults.clone();
        if mode == OpenMode::CreateNew && faults.lock().unwrap().full {
            return Err(DiskError { operation: "open", volume, file: name.to_string(), failure: DiskFailure::Full });
        }
        Ok(TestFile { file: self.memory.open(volume, name, mode)?, faults })
    }

    fn list(&self, volume: Volume) -> Result<Vec<FileName>, DiskError> {
        self.memory.list(volume)
    }

    fn rename(&self, volume: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        self.memory.rename(volume, from, to)
    }

    fn remove(&self, volume: Volume, name: &FileName) -> Result<(), DiskError> {
        self.memory.remove(volume, name)
    }

    fn sync_directory(&self, volume: Volume) -> Result<(), DiskError> {
        self.memory.sync_directory(volume)
    }
}

impl DiskFile for TestFile {
    fn len(&self) -> Result<u64, DiskError> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut faults = self.faults.lock().unwrap();
        if faults.bad_reads > 0 {
            faults.bad_reads -= 1;
            let failure = DiskFailure::Io("medium error".to_owned());
            return Err(DiskError { operation: "read", volume: Volume::Index, file: name().to_string(), failure });
        }
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        self.step("write", offset, parts)
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        // Truncation is not among the faults: what it cuts off is recorded as overwritten with zeros.
        let old = self.file.len()?;
        if len < old {
            self.step("write", len, &[&vec![0; (old - len) as usize]])?;
        }
        self.file.truncate(len)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.step("sync", 0, &[])
    }
}
