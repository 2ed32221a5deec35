//! The whole disk under one lock: files, directories, power, space, and the account of what happened.

use super::directory::{Directory, FileId};
use super::fault::{Fault, FaultCounts, Strike};
use super::faulty::FaultyDisk;
use super::file::{File, Mark};
use super::image::{Damage, SECTOR_LEN};
use super::operation::{LogEntry, Operation, mix};
use super::plan::{Chosen, Dice, FaultPlan};
use super::power::Power;
use super::rules::Rules;
use super::watcher::Watcher;
use crate::state::StateCell;
use ouroboros_engine::env::{DiskError, DiskFailure, FileName, OpenMode, Volume};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Longest file, in bytes: beyond it a write is refused as on a full disk.
pub(super) const MAX_FILE_LEN: u64 = 1 << 40;

/// Entries that the operation log keeps unless told otherwise.
const LOG_LIMIT: usize = 65_536;

#[derive(Clone, Debug)]
pub(super) struct Machine {
    // Handles of an earlier life find another number here.
    pub(super) life: u64,
    pub(super) power: Power,
    pub(super) operations: u64,
    /// Which they were, and what struck them.
    pub(super) trail: u64,
    pub(super) files: BTreeMap<FileId, File>,
    pub(super) next_file: u64,
    pub(super) directories: [Directory; 2],
    pub(super) dice: Dice,
    pub(super) counts: FaultCounts,
    pub(super) log: VecDeque<LogEntry>,
    pub(super) log_limit: usize,
    pub(super) busy_nanos: u64,
    pub(super) watcher: Option<Watcher>,
    // Whether the fault of the operation under way found something to strike.
    struck: bool,
    // The disk was away while something was there that a sync had failed to make durable.
    unmarked: bool,
    /// Whoever wants to know which faults struck, and while what was done.
    pub(super) account: Option<Account>,
    /// Whoever holds every operation against the rules.
    pub(super) rules: Option<Box<Rules>>,
    /// Once the files of the index together have as many bytes, nothing more is written to them, nor over them.
    pub(super) index_capacity: Option<u64>,
}

/// Strikes since they were last asked for, and where to look what is being done.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) state: StateCell,
    pub(super) strikes: Vec<Strike>,
}

fn io(text: impl Into<String>) -> DiskFailure {
    DiskFailure::Io(text.into())
}

fn error(operation: &Operation, failure: DiskFailure) -> DiskError {
    let file = operation.file().map_or_else(|| ".".to_owned(), ToString::to_string);
    DiskError { operation: operation.verb(), volume: operation.volume(), file, failure }
}

impl Machine {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self {
            life: 0,
            power: Power::On,
            operations: 0,
            trail: 0,
            files: BTreeMap::new(),
            next_file: 0,
            directories: Default::default(),
            dice: Dice::new(plan),
            counts: FaultCounts::default(),
            log: VecDeque::new(),
            log_limit: LOG_LIMIT,
            busy_nanos: 0,
            watcher: None,
            struck: false,
            unmarked: false,
            account: None,
            rules: None,
            index_capacity: None,
        }
    }

    /// A copy that shares contents; without open handles, the operation log and the watcher.
    pub(super) fn copy(&mut self) -> Self {
        let (log, watcher, rules) = (core::mem::take(&mut self.log), self.watcher.take(), self.rules.take());
        let mut copy = self.clone();
        (self.log, self.watcher, self.rules) = (log, watcher, rules);
        copy.account = None;
        for file in copy.files.values_mut() {
            file.handles = 0;
        }
        copy
    }

    pub(super) fn directory(&self, volume: Volume) -> &Directory {
        &self.directories[volume as usize]
    }

    pub(super) fn directory_mut(&mut self, volume: Volume) -> &mut Directory {
        &mut self.directories[volume as usize]
    }

    /// Runs one operation of the engine: counts it, lets a fault strike it, logs it.
    pub(super) fn run<T>(
        &mut self,
        life: u64,
        operation: Operation,
        body: impl FnOnce(&mut Self, Option<Fault>) -> Result<T, DiskFailure>,
    ) -> Result<T, DiskError> {
        if self.life != life || self.power != Power::On {
            return Err(error(&operation, DiskFailure::Crashed));
        }
        let number = self.operations;
        if operation.changes_disk()
            && let Some(watcher) = self.watcher.clone()
        {
            watcher.show(number, &operation, FaultyDisk::of(self.copy()));
        }
        self.operations += 1;
        self.busy_nanos = self.busy_nanos.saturating_add(self.dice.latency_nanos);
        let storm =
            self.dice.storm.is_some() && self.account.as_ref().map(|account| account.state.get()) == self.dice.storm;
        let mut chosen = self.dice.choose(number, &operation, storm);
        match chosen.map(|chosen| chosen.fault) {
            Some(Fault::Away) => self.unmarked |= self.files.values().any(File::has_failed_sync),
            Some(Fault::Full | Fault::FillsUp) if self.is_unmarked() => chosen = None,
            _ => {}
        }
        self.struck = false;
        let result = match chosen.map(|chosen| chosen.fault) {
            Some(Fault::Crash) => self.lose_power(&operation, body),
            Some(Fault::MetadataError) => self.fail_metadata(body),
            Some(Fault::Exhausted) => {
                self.struck = true;
                Err(DiskFailure::Exhausted("too many files are open".to_owned()))
            }
            Some(Fault::Away) => {
                self.struck = true;
                Err(io("no such device"))
            }
            Some(Fault::Slow) => {
                self.struck = true;
                self.busy_nanos = self.busy_nanos.saturating_add(self.dice.slow_nanos);
                body(self, None)
            }
            fault => body(self, fault),
        };
        let fault = self.account(chosen);
        if operation.volume() == Volume::Blocks && fault.is_some_and(Fault::is_misread) {
            self.dice.misreads_left = self.dice.misreads_left.map(|left| left.saturating_sub(1));
        }
        self.trail = mix(mix(self.trail, operation.mark()), fault.map_or(0, |fault| 1 + fault as u64));
        if let (Some(fault), Some(account)) = (fault, &mut self.account) {
            let state = account.state.struck();
            account.strikes.push(Strike { number, operation: operation.clone(), fault, state });
        }
        let result = result.map_err(|failure| error(&operation, failure));
        if self.log_limit > 0 {
            if self.log.len() >= self.log_limit {
                self.log.pop_front();
            }
            let failure = result.as_ref().err().map(|error| error.failure.clone());
            self.log.push_back(LogEntry { number, operation, fault, failure });
        }
        result
    }

    /// Whether something may be there that a sync has failed to make durable, and whose process could not mark it, for the
    /// disk was away. Until it is written again, the disk has room: where the next process has none to copy it to, it can but
    /// believe it.
    fn is_unmarked(&mut self) -> bool {
        self.unmarked = self.unmarked && self.files.values().any(File::has_failed_sync);
        self.unmarked
    }

    fn account(&mut self, chosen: Option<Chosen>) -> Option<Fault> {
        let chosen = chosen?;
        if !self.struck {
            self.dice.put_back(chosen);
            return None;
        }
        self.counts.count(chosen.fault);
        self.dice.struck(chosen);
        Some(chosen.fault)
    }

    fn fail_metadata<T>(
        &mut self,
        body: impl FnOnce(&mut Self, Option<Fault>) -> Result<T, DiskFailure>,
    ) -> Result<T, DiskFailure> {
        if self.dice.stream(Fault::MetadataError).below(2) == 1 {
            // Half done: what fails by itself fails with its own reason. A handle that was made here is dropped by
            // the caller's error path, so it is not counted.
            body(self, None)?;
        }
        self.struck = true;
        Err(io("input/output error"))
    }

    /// Opens a file; the caller counts the handle.
    pub(super) fn open(
        &mut self,
        volume: Volume,
        name: &Arc<FileName>,
        mode: OpenMode,
        fault: Option<Fault>,
    ) -> Result<FileId, DiskFailure> {
        match (self.directory(volume).find(name), mode) {
            (Some(_), OpenMode::CreateNew) => Err(DiskFailure::AlreadyExists),
            (None, OpenMode::Read | OpenMode::Write) => Err(DiskFailure::NotFound),
            (Some(id), _) => Ok(id),
            (None, OpenMode::CreateNew) => {
                if fault == Some(Fault::Full) {
                    self.struck = true;
                    return Err(DiskFailure::Full);
                }
                let id = FileId(self.next_file);
                self.next_file += 1;
                self.files.insert(id, File::default());
                self.directory_mut(volume).create(name.clone(), id);
                if volume == Volume::Blocks
                    && let Some(rules) = &mut self.rules
                {
                    rules.created(id);
                }
                Ok(id)
            }
        }
    }

    pub(super) fn rename(
        &mut self,
        volume: Volume,
        from: &Arc<FileName>,
        to: &Arc<FileName>,
    ) -> Result<(), DiskFailure> {
        let id = self.directory(volume).find(from).ok_or(DiskFailure::NotFound)?;
        self.directory_mut(volume).rename(from.clone(), to.clone(), id);
        Ok(())
    }

    pub(super) fn remove(&mut self, volume: Volume, name: &Arc<FileName>) -> Result<(), DiskFailure> {
        let id = self.directory(volume).find(name).ok_or(DiskFailure::NotFound)?;
        self.directory_mut(volume).remove(name.clone());
        if volume == Volume::Blocks
            && let Some(rules) = &mut self.rules
        {
            rules.removed(id);
        }
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, volume: Volume, fault: Option<Fault>) -> Result<(), DiskFailure> {
        match fault {
            Some(Fault::DirectorySyncFailure) => {
                self.struck = true;
                Err(self.sync_failure())
            }
            Some(Fault::LyingDirectorySync) if self.directory(volume).undecided() > 0 => {
                self.struck = true;
                Ok(())
            }
            _ => {
                self.directory_mut(volume).sync();
                self.collect();
                if volume == Volume::Blocks
                    && let Some(rules) = &mut self.rules
                {
                    rules.directory_synced();
                }
                Ok(())
            }
        }
    }

    /// Forgets the files that nobody can reach any more, whatever a crash decides.
    pub(super) fn collect(&mut self) {
        let named: BTreeSet<FileId> = self.directories.iter().flat_map(Directory::ids).collect();
        self.files.retain(|id, file| file.handles > 0 || named.contains(id));
    }

    fn file(&mut self, id: FileId) -> Result<&mut File, DiskFailure> {
        self.files.get_mut(&id).ok_or_else(|| io("stale handle"))
    }

    pub(super) fn len(&mut self, id: FileId) -> Result<u64, DiskFailure> {
        Ok(self.file(id)?.visible().len())
    }

    /// Bytes in use: the lengths of all files that have a name or a handle.
    pub(super) fn used(&self) -> u64 {
        let visible: BTreeSet<FileId> =
            self.directories.iter().flat_map(|directory| directory.names().map(|(_, id)| id)).collect();
        let in_use = self.files.iter().filter(|(id, file)| file.handles > 0 || visible.contains(id));
        in_use.map(|(_, file)| file.visible().len()).sum()
    }

    /// Bytes in use by the files that have a name in a volume.
    pub(super) fn used_by(&self, volume: Volume) -> u64 {
        let files = self.directory(volume).names().filter_map(|(_, id)| self.files.get(&id));
        files.map(|file| file.visible().len()).sum()
    }

    // How far a file may reach when it wants to reach `end`.
    fn room_until(&mut self, id: FileId, end: u64, fault: Option<Fault>) -> Result<u64, DiskFailure> {
        let len = self.len(id)?;
        if end <= len {
            return Ok(end);
        }
        if fault == Some(Fault::FillsUp) {
            self.struck = true;
            let part = self.dice.stream(Fault::FillsUp).below(end - len);
            self.dice.capacity = Some(self.used().saturating_add(part));
        }
        let is_unmarked = self.is_unmarked();
        let Some(capacity) = self.dice.capacity.filter(|_| !is_unmarked) else { return Ok(end.min(MAX_FILE_LEN)) };
        let room = capacity.saturating_sub(self.used());
        Ok(end.min(len.saturating_add(room)).min(MAX_FILE_LEN))
    }

    pub(super) fn write(
        &mut self,
        id: FileId,
        volume: Volume,
        offset: u64,
        bytes: &[u8],
        fault: Option<Fault>,
    ) -> Result<(), DiskFailure> {
        let len = bytes.len() as u64;
        if len == 0 {
            return Ok(());
        }
        if let Some(fault @ (Fault::WriteError | Fault::Full)) = fault {
            self.struck = true;
            let part = self.dice.stream(fault).below(len) as usize;
            self.file(id)?.write(offset, &bytes[..part], Mark::Heal);
            return Err(if fault == Fault::Full { DiskFailure::Full } else { io("input/output error") });
        }
        if self.cannot_complete(id, offset, len) {
            return Err(io("input/output error"));
        }
        if volume == Volume::Index && self.index_capacity.is_some_and(|most| self.used_by(volume) >= most) {
            return Err(DiskFailure::Full);
        }
        let end = offset.saturating_add(len);
        let until = self.room_until(id, end, fault)?;
        if until < end {
            // A gap that does not fit is not made; what fits is written, as `write` does at the end of space.
            if let Ok(part @ 1..) = usize::try_from(until.saturating_sub(offset)) {
                self.file(id)?.write(offset, &bytes[..part], Mark::Heal);
            }
            return Err(DiskFailure::Full);
        }
        let misdirected = match fault {
            Some(Fault::LostWrite) => {
                self.file(id)?.write_nothing(offset, bytes.len());
                true
            }
            Some(fault @ (Fault::MisdirectedWrite | Fault::MisdirectedWriteElsewhere)) => {
                self.misdirect(id, volume, offset, bytes, fault)?
            }
            _ => false,
        };
        if misdirected {
            self.struck = true;
        } else {
            self.file(id)?.write(offset, bytes, Mark::Heal);
        }
        Ok(())
    }

    /// Whether a write covers but a part of a physical sector of which the disk refuses to read the rest.
    fn cannot_complete(&self, id: FileId, offset: u64, len: u64) -> bool {
        let physical = self.dice.physical;
        let Some(file) = self.files.get(&id).filter(|_| physical > 1) else { return false };
        let bytes = physical * SECTOR_LEN as u64;
        let end = offset.saturating_add(len);
        let file_end = end.max(file.visible().len());
        let covers = |unit: u64| offset <= unit * bytes && end >= ((unit + 1) * bytes).min(file_end);
        let edges = [offset / bytes, (end - 1) / bytes];
        edges.into_iter().any(|unit| !covers(unit) && file.visible().unreadable(unit * bytes, bytes, 1).is_some())
    }

    pub(super) fn truncate(&mut self, id: FileId, len: u64, fault: Option<Fault>) -> Result<(), DiskFailure> {
        let grows = len > self.len(id)?;
        if grows && fault == Some(Fault::Full) {
            self.struck = true;
            return Err(DiskFailure::Full);
        }
        if grows && self.room_until(id, len, fault)? < len {
            return Err(DiskFailure::Full);
        }
        self.file(id)?.truncate(len);
        Ok(())
    }

    pub(super) fn sync(&mut self, id: FileId, fault: Option<Fault>) -> Result<(), DiskFailure> {
        let keep_former = self.dice.keeps_history;
        let file = self.file(id)?;
        let failed = match fault {
            Some(Fault::SyncFailure) => {
                file.fail_sync();
                true
            }
            Some(Fault::SyncFailureDroppingCache) => {
                file.drop_cache();
                true
            }
            Some(Fault::LyingSync) if file.undecided() > 0 => {
                self.struck = true;
                return Ok(());
            }
            Some(Fault::BadSector) => {
                file.sync(keep_former);
                let sectors = file.visible().len().div_ceil(SECTOR_LEN as u64);
                let sector = self.dice.stream(Fault::BadSector).below(sectors);
                self.struck = self.file(id)?.damage(sector, Damage::Unreadable);
                false
            }
            _ => {
                file.sync(keep_former);
                false
            }
        };
        if failed {
            self.struck = true;
            return Err(self.sync_failure());
        }
        Ok(())
    }

    /// How a sync fails: where space is promised that is not there (a quota, a thin volume, a file server), by saying that the
    /// disk is full. That is no better: nobody knows what of the file is durable. Or because the disk is gone, which then
    /// takes no mark of it either.
    fn sync_failure(&mut self) -> DiskFailure {
        match self.dice.stream(Fault::SyncFailure).below(8) {
            3 | 4 => DiskFailure::Full,
            7 => {
                self.dice.leave();
                io("no such device")
            }
            _ => io("input/output error"),
        }
    }

    /// Bytes of a file as reads would see them, as far as there are so many.
    pub(super) fn visible(&self, id: FileId, offset: u64, len: u64) -> Vec<u8> {
        let Some(file) = self.files.get(&id) else { return Vec::new() };
        let len = len.min(file.visible().len().saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        if !bytes.is_empty() {
            file.visible().copy_out(offset, &mut bytes);
        }
        bytes
    }

    /// The rules for a volume, if there are any.
    pub(super) fn rules_of(&mut self, volume: Volume) -> Option<&mut Rules> {
        self.rules.as_deref_mut().filter(|_| volume == Volume::Blocks)
    }

    pub(super) const fn strike(&mut self) {
        self.struck = true;
    }
}
