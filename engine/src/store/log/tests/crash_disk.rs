//! A disk that remembers what is not synced, and loses some of it.

use crate::env::{Disk, DiskError, DiskFailure, DiskFile, FileName, OpenMode, Volume};
use crate::id::EngineRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

/// Which of the unsynced changes outlive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// Each sector, length and directory entry by a coin of this seed; some sectors are torn in the middle.
    Some(u8),
    /// The same, and what is torn is noise.
    Noise(u8),
}

/// What the disk does at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It stops for good, half way through a write.
    Crash,
    /// Writes: it stops for good before one.
    Stop,
    /// Writes: a part is written, then the disk is full.
    Full,
    /// Syncs: nothing becomes durable, now or by later syncs.
    FailSync,
    /// Syncs: nothing becomes durable, and the disk is gone until something else is planned.
    FailSyncAndLeave,
    /// Syncs: everything becomes durable, and still it is said that it did not.
    DenySync,
    /// Reads, once.
    FailRead,
    /// So many reads, one after the other.
    FailReads(usize),
    /// Reads, once: the byte after so many of 64 parts is another one.
    Misread(usize),
    /// Reads, once: there was nothing left to ask the disk with.
    ExhaustRead,
    /// Removals of files, once.
    FailRemove,
    /// Opening a file to write to it, and cutting it off, once.
    FailTouch,
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    durable_names: BTreeMap<FileName, usize>,
    names: BTreeMap<FileName, usize>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    hit: bool,
    crashed: bool,
    away: bool,
    /// Bytes that all files together may have.
    capacity: Option<usize>,
    /// Sectors of files that were written to, in order.
    written: Vec<(String, usize)>,
    /// Sectors of files that are refused to every read.
    unreadable: BTreeSet<(String, usize)>,
    /// Bytes that were read.
    read: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct CrashDisk(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct CrashFile {
    disk: CrashDisk,
    inode: usize,
    name: String,
}

impl CrashDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Plans a fault at the `at`-th mutating operation from now on (reads count for those of reads only).
    pub(super) fn plan(&self, at: usize, fault: Fault) {
        let mut state = self.lock();
        state.operations = 0;
        (state.hit, state.away) = (false, false);
        state.fault = Some((at, fault));
    }

    pub(super) fn limit(&self, capacity: Option<usize>) {
        self.lock().capacity = capacity;
    }

    /// A sector of a file cannot be read any more.
    pub(super) fn spoil(&self, file: &str, sector: usize) {
        self.lock().unreadable.insert((file.to_owned(), sector));
    }

    /// It can be read again.
    pub(super) fn mend(&self, file: &str, sector: usize) {
        self.lock().unreadable.remove(&(file.to_owned(), sector));
    }

    pub(super) fn used(&self) -> usize {
        let state = self.lock();
        state.names.values().map(|inode| state.inodes[*inode].current.len()).sum()
    }

    /// Whether the planned fault happened.
    pub(super) fn hit(&self) -> bool {
        self.lock().hit
    }

    /// The sectors that were written to since this was last asked.
    pub(super) fn take_written(&self) -> Vec<(String, usize)> {
        core::mem::take(&mut self.lock().written)
    }

    /// How many bytes were read since this was last asked.
    pub(super) fn take_read(&self) -> usize {
        core::mem::take(&mut self.lock().read)
    }

    /// The disk after the machine comes up again.
    pub(super) fn after_crash(&self, survival: Survival) -> Self {
        let state = self.lock();
        let seed = if let Survival::Some(seed) | Survival::Noise(seed) = survival { seed } else { 0 };
        let mut rng = EngineRng::from_seed([seed; 32]);
        let mut coin = |keep: Survival| match keep {
            Survival::Nothing => 0,
            Survival::Everything => 1,
            Survival::Some(_) | Survival::Noise(_) => rng.next_u64() % 5,
        };
        let mut after = State::default();
        let mut names = state.durable_names.clone();
        let all: BTreeSet<&FileName> = state.durable_names.keys().chain(state.names.keys()).collect();
        for name in all {
            if state.durable_names.get(name) != state.names.get(name) && coin(survival) % 2 == 1 {
                names.remove(name);
                names.extend(state.names.get(name).map(|inode| (name.clone(), *inode)));
            }
        }
        for (name, inode) in names {
            let inode = &state.inodes[inode];
            let mut content = inode.durable.clone();
            if inode.current.len() != content.len() && coin(survival) % 2 == 1 {
                content.resize(inode.current.len(), 0);
            }
            for sector in &inode.dirty {
                let start = sector * SECTOR;
                let Some(new) = inode.current.get(start..) else { continue };
                let len = new.len().min(SECTOR);
                let kept = match coin(survival) {
                    1 | 3 => len,
                    4 => len / 2,
                    _ => 0,
                };
                if kept > 0 && content.len() < start + kept {
                    content.resize(start + kept, 0);
                }
                if kept > 0 {
                    content[start..start + kept].copy_from_slice(&new[..kept]);
                }
                if kept < len && kept > 0 && matches!(survival, Survival::Noise(_)) {
                    content.resize(content.len().max(start + len), 0);
                    content[start..start + len].fill(0xa5);
                }
            }
            after.names.insert(name.clone(), after.inodes.len());
            after.inodes.push(Inode { durable: content.clone(), current: content, dirty: BTreeSet::new() });
        }
        after.durable_names = after.names.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    /// All files, by name.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        state.names.iter().map(|(name, inode)| (name.to_string(), state.inodes[*inode].current.clone())).collect()
    }

    fn step(&self, operation: &'static str, name: &str, can: fn(Fault) -> bool) -> Result<Option<Fault>, DiskError> {
        let mut state = self.lock();
        if state.crashed {
            return Err(error(operation, name, DiskFailure::Crashed));
        }
        if state.away {
            return Err(error(operation, name, DiskFailure::Io("no such device".into())));
        }
        let Some((at, fault)) = state.fault.filter(|(_, fault)| can(*fault)) else { return Ok(None) };
        state.operations += 1;
        let count = if let Fault::FailReads(count) = fault { count } else { 1 };
        if !(at..at.saturating_add(count)).contains(&(state.operations - 1)) {
            return Ok(None);
        }
        state.hit = true;
        state.crashed = matches!(fault, Fault::Crash | Fault::Stop);
        state.away = fault == Fault::FailSyncAndLeave;
        Ok(Some(fault))
    }
}

fn error(operation: &'static str, name: &str, failure: DiskFailure) -> DiskError {
    DiskError { operation, volume: Volume::Blocks, file: name.to_owned(), failure }
}

fn only_crash(fault: Fault) -> bool {
    fault == Fault::Crash
}

impl Disk for CrashDisk {
    type File = CrashFile;

    fn open(&self, _: Volume, name: &FileName, mode: OpenMode) -> Result<CrashFile, DiskError> {
        let text = name.as_str();
        if mode == OpenMode::CreateNew {
            match self.step("open", text, |fault| matches!(fault, Fault::Crash | Fault::Full))? {
                Some(Fault::Full) => return Err(error("open", text, DiskFailure::Full)),
                Some(_) => return Err(error("open", text, DiskFailure::Crashed)),
                None => {}
            }
        }
        if mode == OpenMode::Write && self.step("open", text, |fault| fault == Fault::FailTouch)?.is_some() {
            return Err(error("open", text, DiskFailure::Io("planned".into())));
        }
        let mut state = self.lock();
        if state.crashed {
            return Err(error("open", text, DiskFailure::Crashed));
        }
        let inode = match (state.names.get(name).copied(), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(error("open", text, DiskFailure::AlreadyExists)),
            (Some(inode), _) => inode,
            (None, OpenMode::CreateNew) => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.names.insert(name.clone(), inode);
                inode
            }
            (None, _) => return Err(error("open", text, DiskFailure::NotFound)),
        };
        Ok(CrashFile { disk: self.clone(), inode, name: text.to_owned() })
    }

    fn list(&self, _: Volume) -> Result<Vec<FileName>, DiskError> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn rename(&self, _: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        if self.step("rename", from.as_str(), only_crash)?.is_some() {
            return Err(error("rename", from.as_str(), DiskFailure::Crashed));
        }
        let mut state = self.lock();
        let inode = state.names.remove(from).ok_or_else(|| error("rename", from.as_str(), DiskFailure::NotFound))?;
        state.names.insert(to.clone(), inode);
        Ok(())
    }

    fn remove(&self, _: Volume, name: &FileName) -> Result<(), DiskError> {
        match self.step("remove", name.as_str(), |fault| matches!(fault, Fault::Crash | Fault::FailRemove))? {
            Some(Fault::Crash) => return Err(error("remove", name.as_str(), DiskFailure::Crashed)),
            Some(_) => return Err(error("remove", name.as_str(), DiskFailure::Io("planned".into()))),
            None => {}
        }
        let removed = self.lock().names.remove(name);
        removed.map(|_| ()).ok_or_else(|| error("remove", name.as_str(), DiskFailure::NotFound))
    }

    fn sync_directory(&self, _: Volume) -> Result<(), DiskError> {
        let fault =
            self.step("sync", ".", |fault| matches!(fault, Fault::Crash | Fault::FailSync | Fault::DenySync))?;
        if matches!(fault, None | Some(Fault::DenySync)) {
            let mut state = self.lock();
            state.durable_names = state.names.clone();
        }
        match fault {
            Some(Fault::Crash) => Err(error("sync", ".", DiskFailure::Crashed)),
            Some(_) => Err(error("sync", ".", DiskFailure::Io("planned".into()))),
            None => Ok(()),
        }
    }
}

impl CrashFile {
    fn put(&self, offset: usize, bytes: &[u8]) -> usize {
        let mut state = self.disk.lock();
        let used: usize = state.names.values().map(|inode| state.inodes[*inode].current.len()).sum();
        let free = state.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used));
        let inode = &mut state.inodes[self.inode];
        let room = inode.current.len().saturating_sub(offset).saturating_add(free);
        let count = bytes.len().min(room);
        if count > 0 && inode.current.len() < offset + count {
            inode.current.resize(offset + count, 0);
        }
        if count > 0 {
            inode.current[offset..offset + count].copy_from_slice(&bytes[..count]);
            let sectors = offset / SECTOR..(offset + count).div_ceil(SECTOR);
            inode.dirty.extend(sectors.clone());
            state.written.extend(sectors.map(|sector| (self.name.clone(), sector)));
        }
        count
    }
}

impl DiskFile for CrashFile {
    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.disk.lock().inodes[self.inode].current.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let of_reads =
            |fault| matches!(fault, Fault::FailRead | Fault::FailReads(_) | Fault::ExhaustRead | Fault::Misread(_));
        let fault = self.disk.step("read", &self.name, of_reads)?;
        match fault {
            None | Some(Fault::Misread(_)) => {}
            Some(Fault::ExhaustRead) => {
                return Err(error("read", &self.name, DiskFailure::Exhausted("planned".into())));
            }
            Some(_) => return Err(error("read", &self.name, DiskFailure::Io("planned".into()))),
        }
        let mut state = self.disk.lock();
        let content = state.inodes[self.inode].current.get(offset as usize..).unwrap_or_default();
        let count = content.len().min(buffer.len());
        let sectors = offset as usize / SECTOR..(offset as usize + count).div_ceil(SECTOR);
        if state.unreadable.iter().any(|(file, sector)| *file == self.name && sectors.contains(sector)) {
            return Err(error("read", &self.name, DiskFailure::Io("unreadable".into())));
        }
        buffer[..count].copy_from_slice(&content[..count]);
        if let Some(Fault::Misread(parts)) = fault
            && count > 0
        {
            buffer[count * parts / 64] ^= 4;
        }
        state.read += count;
        Ok(count)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let bytes = parts.concat();
        let fault =
            self.disk.step("write", &self.name, |fault| matches!(fault, Fault::Crash | Fault::Stop | Fault::Full));
        let failure = match fault? {
            None if self.put(offset as usize, &bytes) == bytes.len() => return Ok(()),
            None => DiskFailure::Full,
            Some(Fault::Stop) => DiskFailure::Crashed,
            Some(fault) => {
                self.put(offset as usize, &bytes[..bytes.len() / 2]);
                if fault == Fault::Full { DiskFailure::Full } else { DiskFailure::Crashed }
            }
        };
        Err(error("write", &self.name, failure))
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        match self.disk.step("truncate", &self.name, |fault| matches!(fault, Fault::Crash | Fault::FailTouch))? {
            Some(Fault::Crash) => return Err(error("truncate", &self.name, DiskFailure::Crashed)),
            Some(_) => return Err(error("truncate", &self.name, DiskFailure::Io("planned".into()))),
            None => {}
        }
        self.disk.lock().inodes[self.inode].current.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let can = |fault| matches!(fault, Fault::Crash | Fault::FailSync | Fault::FailSyncAndLeave | Fault::DenySync);
        let fault = self.disk.step("sync", &self.name, can)?;
        if fault == Some(Fault::Crash) {
            return Err(error("sync", &self.name, DiskFailure::Crashed));
        }
        let mut state = self.disk.lock();
        let inode = &mut state.inodes[self.inode];
        let dirty = core::mem::take(&mut inode.dirty);
        let denied = || Err(error("sync", &self.name, DiskFailure::Io("planned".into())));
        if matches!(fault, Some(Fault::FailSync | Fault::FailSyncAndLeave)) {
            return denied();
        }
        inode.durable.resize(inode.current.len(), 0);
        for sector in dirty {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(inode.current.len());
            if range.start < range.end {
                inode.durable[range.clone()].copy_from_slice(&inode.current[range]);
            }
        }
        if fault.is_some() { denied() } else { Ok(()) }
    }
}
