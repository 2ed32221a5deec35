//! A disk that refuses to read, or to write, what it is told to. Nothing on it is ever damaged.
// Each test that shares this uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use ouroboros_engine::env::{Disk, DiskError, DiskFailure, DiskFile, FileName, MemoryDisk, OpenMode, Volume};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const SECTOR: u64 = 512;

/// What is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Refuse {
    #[default]
    Nothing,
    /// To read anything of a file of the log.
    File(String),
    /// To read some sectors of one.
    Sectors(String, BTreeSet<u64>),
    /// To read anything of the log.
    All,
    /// To read one sector of a file of the log, so often.
    Times(String, u64, u32),
    /// To open or read any of the log's files, for want of handles or memory.
    Exhausted,
    /// To open any of them for writing, for the same reason.
    ExhaustedForWriting,
    /// The next write to the log, for want of space.
    NextWrite,
    /// One read of the index, when so many have been granted, for this reason.
    IndexRead(u32, DiskFailure),
}

#[derive(Clone, Debug, Default)]
pub struct Picky {
    pub inner: MemoryDisk,
    refuse: Arc<Mutex<Refuse>>,
}

#[derive(Debug)]
pub struct PickyFile {
    inner: <MemoryDisk as Disk>::File,
    disk: Picky,
    volume: Volume,
    name: String,
}

impl Picky {
    /// Whether what was to be refused once was.
    pub fn set(&self, refuse: Refuse) -> bool {
        std::mem::replace(&mut *self.refuse.lock().unwrap(), refuse) == Refuse::Nothing
    }

    /// The names of the log's files.
    pub fn segments(&self) -> Vec<String> {
        self.inner.list(Volume::Blocks).unwrap().iter().map(ToString::to_string).collect()
    }

    pub fn drop_index(&self) {
        for name in self.inner.list(Volume::Index).unwrap() {
            self.inner.remove(Volume::Index, &name).unwrap();
        }
    }
}

impl Disk for Picky {
    type File = PickyFile;

    fn open(&self, volume: Volume, name: &FileName, mode: OpenMode) -> Result<PickyFile, DiskError> {
        let is_refused = match *self.refuse.lock().unwrap() {
            Refuse::Exhausted => true,
            Refuse::ExhaustedForWriting => mode != OpenMode::Read,
            _ => false,
        };
        if volume == Volume::Blocks && is_refused {
            let failure = DiskFailure::Exhausted("too many files open".into());
            return Err(DiskError { operation: "open", volume, file: name.to_string(), failure });
        }
        let inner = self.inner.open(volume, name, mode)?;
        Ok(PickyFile { inner, disk: self.clone(), volume, name: name.to_string() })
    }

    fn list(&self, volume: Volume) -> Result<Vec<FileName>, DiskError> {
        self.inner.list(volume)
    }

    fn rename(&self, volume: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        self.inner.rename(volume, from, to)
    }

    fn remove(&self, volume: Volume, name: &FileName) -> Result<(), DiskError> {
        self.inner.remove(volume, name)
    }

    fn sync_directory(&self, volume: Volume) -> Result<(), DiskError> {
        self.inner.sync_directory(volume)
    }
}

impl PickyFile {
    fn error(&self, operation: &'static str, failure: DiskFailure) -> DiskError {
        DiskError { operation, volume: self.volume, file: self.name.clone(), failure }
    }
}

impl DiskFile for PickyFile {
    fn len(&self) -> Result<u64, DiskError> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let touches = |sector: u64| offset < (sector + 1) * SECTOR && sector * SECTOR < offset + buffer.len() as u64;
        let mut refuse = self.disk.refuse.lock().unwrap();
        let refused = match &mut *refuse {
            Refuse::Nothing | Refuse::NextWrite => false,
            Refuse::IndexRead(granted, failure) if self.volume == Volume::Index => match granted.checked_sub(1) {
                Some(left) => {
                    *granted = left;
                    false
                }
                None => {
                    let failure = failure.clone();
                    *refuse = Refuse::Nothing;
                    return Err(self.error("read", failure));
                }
            },
            Refuse::IndexRead(..) => false,
            Refuse::Exhausted if self.volume == Volume::Blocks => {
                return Err(self.error("read", DiskFailure::Exhausted("too many files open".into())));
            }
            Refuse::Exhausted | Refuse::ExhaustedForWriting => false,
            Refuse::All => true,
            Refuse::File(name) => *name == self.name,
            Refuse::Sectors(name, sectors) => *name == self.name && sectors.iter().any(|sector| touches(*sector)),
            Refuse::Times(name, sector, left) => {
                let hit = *name == self.name && *left > 0 && touches(*sector);
                *left -= u32::from(hit);
                hit
            }
        };
        if refused && self.volume == Volume::Blocks {
            return Err(self.error("read", DiskFailure::Io("input/output error".into())));
        }
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let mut refuse = self.disk.refuse.lock().unwrap();
        if *refuse == Refuse::NextWrite && self.volume == Volume::Blocks {
            *refuse = Refuse::Nothing;
            return Err(self.error("write", DiskFailure::Full));
        }
        drop(refuse);
        self.inner.write_at(offset, parts)
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.inner.truncate(len)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.inner.sync()
    }
}
