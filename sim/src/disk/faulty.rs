//! The disk that the engine is given.

use super::crash::CrashVariant;
use super::fault::{Fault, FaultCounts, Strike};
use super::image::Damage;
use super::machine::{Account, Machine};
use super::open_file::FaultyFile;
use super::operation::{LogEntry, Operation};
use super::plan::{FaultPlan, Injection};
use super::power::Power;
use super::undecided::Undecided;
use super::watcher::Watcher;
use crate::state::{State, StateCell};
use crate::tape::Tape;
use core::ops::Range;
use ouroboros_engine::env::{Disk, DiskError, DiskFailure, FileName, OpenMode, Volume};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk in memory with exact crash semantics and planned faults. Clones share it; [`FaultyDisk::snapshot`] copies.
///
/// A value stands for one *life* of the machine that the disk is in: after a [`crash`](Self::crash) or a
/// [`restart`](Self::restart), every operation on it, its clones and their open files fails with
/// [`DiskFailure::Crashed`], and [`recover`](Self::recover) gives the next life.
///
/// ```
/// use ouroboros_engine::env::{Disk, DiskFile, FileName, OpenMode, Volume};
/// use ouroboros_sim::disk::{CrashVariant, FaultPlan, FaultyDisk};
///
/// let disk = FaultyDisk::new(FaultPlan::new(1));
/// let name = FileName::new("a")?;
/// let file = disk.open(Volume::Blocks, &name, OpenMode::CreateNew)?;
/// file.write_at(0, &[b"never synced"])?;
/// let after = disk.after_crash(CrashVariant::AllLost);
/// assert!(after.list(Volume::Blocks)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    machine: Arc<Mutex<Machine>>,
    pub(super) life: u64,
}

// A panic elsewhere while the lock was held ends that test; others may still look at the disk.
fn lock(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultyDisk {
    /// An empty disk, powered, with a plan.
    #[must_use]
    pub fn new(plan: FaultPlan) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine::new(plan))), life: 0 }
    }

    /// A copy as of now, independent from here on, powered and in its first new life: contents are shared until either
    /// side writes. Counters, streams and outstanding faults go along; open files, the operation log and the watcher do
    /// not.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self::of(lock(&self.machine).copy())
    }

    pub(super) fn of(machine: Machine) -> Self {
        let life = machine.life;
        Self { machine: Arc::new(Mutex::new(machine)), life }
    }

    /// Calls `watch` before every operation that changes the disk, with the operation's number and a snapshot of the
    /// disk as it then is. These snapshots, and one of the end, hold every crash point of a run: a crash in the middle
    /// of a change leaves what a crash right behind it may leave. `watch` must not use this disk.
    pub fn watch(&self, watch: impl FnMut(u64, &Operation, Self) + Send + 'static) {
        lock(&self.machine).watcher = Some(Watcher::new(watch));
    }

    /// Ends [`watch`](Self::watch).
    pub fn unwatch(&self) {
        lock(&self.machine).watcher = None;
    }

    /// The power fails: `variant` decides what was undecided, and this life is over.
    pub fn crash(&self, variant: CrashVariant) {
        lock(&self.machine).crash(variant);
    }

    /// The power fails between two operations; [`crash`](Self::crash) decides what that left.
    pub fn cut_power(&self) {
        let mut machine = lock(&self.machine);
        if machine.power == Power::On {
            machine.power = Power::Failed;
        }
    }

    /// The process is killed and the system goes on: this life is over, and nothing is lost or decided. If the power
    /// has failed already, the same as [`recover`](Self::recover).
    #[must_use]
    pub fn restart(&self) -> Self {
        {
            let mut machine = lock(&self.machine);
            if machine.power == Power::On {
                machine.end_life();
            }
        }
        self.recover()
    }

    /// The next life, after a crash. If the power failed by a planned [`Fault::Crash`] and [`crash`](Self::crash) has
    /// not yet decided what that left, nothing undecided survives. While the power is on, this is the present life.
    #[must_use]
    pub fn recover(&self) -> Self {
        let mut machine = lock(&self.machine);
        if machine.power == Power::Failed {
            machine.crash(CrashVariant::AllLost);
        }
        machine.power = Power::On;
        Self { machine: self.machine.clone(), life: machine.life }
    }

    /// What a power loss now would leave, on a copy. This disk goes on.
    #[must_use]
    pub fn after_crash(&self, variant: CrashVariant) -> Self {
        let copy = self.snapshot();
        copy.crash(variant);
        copy.recover()
    }

    /// Whether the power is on and this life still lasts.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        let machine = lock(&self.machine);
        machine.power == Power::On && machine.life == self.life
    }

    /// How many units a crash now would decide about: [`CrashVariant::ExactSubset`] tells all their subsets apart.
    #[must_use]
    pub fn undecided_units(&self) -> u64 {
        lock(&self.machine).undecided()
    }

    /// The units that a crash now would decide about, in the order in which [`CrashVariant::ExactSubset`] numbers them.
    #[must_use]
    pub fn undecided(&self) -> Vec<Undecided> {
        lock(&self.machine).list_undecided()
    }

    /// How many operations there were, failed ones included; those after a crash are not counted.
    #[must_use]
    pub fn operations_so_far(&self) -> u64 {
        lock(&self.machine).operations
    }

    /// A number that tells which operations there were, in which order, and what struck them.
    #[must_use]
    pub fn trail(&self) -> u64 {
        lock(&self.machine).trail
    }

    /// Handles that are open.
    #[must_use]
    pub fn open_handles(&self) -> usize {
        lock(&self.machine).files.values().map(|file| file.handles as usize).sum()
    }

    /// The last operations, oldest first, up to the limit of the log.
    #[must_use]
    pub fn operation_log(&self) -> Vec<LogEntry> {
        lock(&self.machine).log.iter().cloned().collect()
    }

    /// Keeps only the last `entries` operations; 0 keeps none.
    pub fn limit_log(&self, entries: usize) {
        let mut machine = lock(&self.machine);
        machine.log_limit = entries;
        let excess = machine.log.len().saturating_sub(entries);
        machine.log.drain(..excess);
    }

    /// Which faults struck, and how often. [`damage`](Self::damage) is not counted.
    #[must_use]
    pub fn fault_counts(&self) -> FaultCounts {
        lock(&self.machine).counts.clone()
    }

    /// Keeps an account of every strike from now on, with the state that the cell says when it strikes. Copies keep none.
    pub fn account_to(&self, state: StateCell) {
        lock(&self.machine).account = Some(Account { state, strikes: Vec::new() });
    }

    /// The strikes since this was last asked, oldest first.
    #[must_use]
    pub fn take_strikes(&self) -> Vec<Strike> {
        let mut machine = lock(&self.machine);
        machine.account.as_mut().map(|account| core::mem::take(&mut account.strikes)).unwrap_or_default()
    }

    /// From now on every operation on the log's volume is held against the rules that a store must keep: what a client is
    /// told of is synced, with its name; what a failed sync has made doubtful is not trusted; nothing that a client was told
    /// of is written over or cut off. Copies keep none.
    pub fn hold_to_rules(&self) {
        lock(&self.machine).rules = Some(Box::default());
    }

    /// Says whether a process is in service, and not being opened: a rule or two is for that time only.
    pub fn serve(&self, in_service: bool) {
        if let Some(rules) = &mut lock(&self.machine).rules {
            rules.serve(in_service);
        }
    }

    /// A client is told something: the rules say that what was healed before must be durable by now.
    pub fn tell_anything(&self) {
        if let Some(rules) = &mut lock(&self.machine).rules {
            rules.answered();
        }
    }

    /// A client is told that something is done: the rules say what must be durable by now.
    pub fn tell_done(&self) {
        if let Some(rules) = &mut lock(&self.machine).rules {
            rules.told();
        }
    }

    /// Where a file of the log ended when a client was last told that something is done, if it was the newest then.
    pub(crate) fn end_when_told(&self, name: &FileName) -> Option<u64> {
        let machine = lock(&self.machine);
        let id = machine.directory(Volume::Blocks).find(name)?;
        machine.rules.as_ref()?.end_when_told(id)
    }

    /// The first rule that was broken since this was last asked, in words.
    #[must_use]
    pub fn take_broken_rule(&self) -> Option<String> {
        lock(&self.machine).rules.as_mut()?.take_broken()
    }

    /// The first nonce of the index that was used for two records, since this was last asked.
    #[must_use]
    pub fn take_reused_nonce(&self) -> Option<String> {
        lock(&self.machine).rules.as_mut()?.take_reused_nonce()
    }

    /// Virtual nanoseconds that all operations took.
    #[must_use]
    pub fn busy_nanos(&self) -> u64 {
        lock(&self.machine).busy_nanos
    }

    /// Plans one more fault.
    pub fn inject(&self, operation: u64, fault: Fault) {
        lock(&self.machine).dice.inject(Injection { operation, fault });
    }

    /// Lets a fault strike once, the first operation from now on that it has a meaning for, however long that takes.
    pub fn strike_once(&self, fault: Fault) {
        lock(&self.machine).dice.await_fault(fault);
    }

    /// Plans a power failure at operation `operation`.
    pub fn crash_at(&self, operation: u64) {
        self.inject(operation, Fault::Crash);
    }

    /// Plans a power failure at a sync of the log, after so many others: all that it covers is undecided then.
    pub fn crash_at_sync(&self, after: u64) {
        lock(&self.machine).dice.fail_power_at_sync(after);
    }

    /// Changes a fault's rate, in parts per million.
    pub fn set_rate(&self, fault: Fault, per_million: u32) {
        lock(&self.machine).dice.set_rate(fault, per_million);
    }

    /// Changes a fault's rate on one volume, in parts per million.
    pub fn set_rate_on(&self, volume: Volume, fault: Fault, per_million: u32) {
        lock(&self.machine).dice.set_rate_on(volume, fault, per_million);
    }

    /// From now on every choice is the tape's, in the streams of `node`: which fault strikes stands at the operation's
    /// number, counted from the last [`mark`](Self::mark), so that one that is left out moves no other.
    pub fn choose_by(&self, tape: Tape, node: u8) {
        lock(&self.machine).dice.choose_by(tape, node);
    }

    /// Lets faults strike at other rates while the cell of [`account_to`](Self::account_to) says this.
    pub fn set_storm(&self, state: Option<State>) {
        lock(&self.machine).dice.storm = state;
    }

    /// Changes a fault's rate on one volume while the storm lasts, in parts per million.
    pub fn set_storm_rate_on(&self, volume: Volume, fault: Fault, per_million: u32) {
        lock(&self.machine).dice.set_storm_rate_on(volume, fault, per_million);
    }

    /// So many reads of the log may return other bytes than the next would, at most.
    pub fn limit_misreads(&self, most: Option<u32>) {
        lock(&self.machine).dice.misreads_left = most;
    }

    /// Forgets the injected faults that have not struck.
    pub fn forget_injections(&self) {
        lock(&self.machine).dice.forget_injections();
    }

    /// From here on the tape's positions count from `place`, so that what is left out before moves none of them.
    pub fn mark(&self, place: u64) {
        let mut machine = lock(&self.machine);
        let number = machine.operations;
        machine.dice.mark(place, number);
    }

    /// While paused, no fault of the tape strikes. Injected ones do.
    pub fn pause(&self, paused: bool) {
        lock(&self.machine).dice.pause(paused);
    }

    /// No planned fault strikes any more. What they did stays.
    pub fn calm(&self) {
        lock(&self.machine).dice.calm();
    }

    /// Limits the sum of all files' lengths, in bytes, or lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.machine).dice.capacity = bytes;
    }

    /// Once the index's files together have so many bytes, no write to them succeeds any more, not even over what stands there:
    /// as on a full file system that writes everything to a new place. None lifts that.
    pub fn set_index_capacity(&self, bytes: Option<u64>) {
        lock(&self.machine).index_capacity = bytes;
    }

    /// Bytes in use by the files that have a name in a volume.
    #[must_use]
    pub fn used_bytes_of(&self, volume: Volume) -> u64 {
        lock(&self.machine).used_by(volume)
    }

    /// Bytes in use: the lengths of all files that have a name or a handle.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        lock(&self.machine).used()
    }

    /// Damages one sector at rest. False when there is no such file or sector.
    pub fn damage(&self, volume: Volume, name: &FileName, sector: u64, damage: Damage) -> bool {
        let mut machine = lock(&self.machine);
        let Some(id) = machine.directory(volume).find(name) else { return false };
        machine.files.get_mut(&id).is_some_and(|file| file.damage(sector, damage))
    }

    /// The sectors that do not hold what the engine wrote there, as reads see them now: rot, misdirected and lost
    /// writes. For oracles that ask whether an error was justified.
    #[must_use]
    pub fn damaged_sectors(&self) -> Vec<(Volume, FileName, u64)> {
        let machine = lock(&self.machine);
        let mut out = Vec::new();
        for volume in [Volume::Blocks, Volume::Index] {
            for (name, id) in machine.directory(volume).names() {
                let file = machine.files.get(&id);
                out.extend(file.into_iter().flat_map(|file| {
                    file.damaged().map(|sector| (volume, FileName::clone(name), sector)).collect::<Vec<_>>()
                }));
            }
        }
        out
    }

    /// The bytes of a file as reads would see them, faults aside. Not an operation.
    #[must_use]
    pub fn contents(&self, volume: Volume, name: &FileName) -> Option<Vec<u8>> {
        let machine = lock(&self.machine);
        let file = machine.files.get(&machine.directory(volume).find(name)?)?;
        let mut bytes = vec![0; usize::try_from(file.visible().len()).ok()?];
        file.visible().copy_out(0, &mut bytes);
        Some(bytes)
    }

    /// Whether a crash may undo what was written to some of a file's sectors last. Not an operation.
    #[must_use]
    pub fn is_undecided(&self, volume: Volume, name: &FileName, sectors: Range<u64>) -> bool {
        let machine = lock(&self.machine);
        let file = machine.directory(volume).find(name).and_then(|id| machine.files.get(&id));
        file.is_some_and(|file| file.dirty_sectors().range(sectors).next().is_some())
    }

    /// A hash of all that decides what a crash now may leave: disks of the same hash leave the same, whatever variant. Not an
    /// operation.
    #[must_use]
    pub fn digest_of_remains(&self) -> [u8; 32] {
        let machine = lock(&self.machine);
        let mut hasher = blake3::Hasher::new();
        for volume in [Volume::Blocks, Volume::Index] {
            machine.directory(volume).hash_into(&mut hasher, &mut |id, hasher| {
                if let Some(file) = machine.files.get(&id) {
                    file.hash_into(hasher);
                }
            });
        }
        *hasher.finalize().as_bytes()
    }

    /// A hash of all names, lengths and bytes as reads would see them, faults aside. Not an operation.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let machine = lock(&self.machine);
        let mut hasher = blake3::Hasher::new();
        for volume in [Volume::Blocks, Volume::Index] {
            for (name, id) in machine.directory(volume).names() {
                // A name has no slash, and no file that long: nothing here can be taken for anything else.
                hasher.update(volume.to_string().as_bytes()).update(b"/").update(name.as_str().as_bytes()).update(b"/");
                if let Some(file) = machine.files.get(&id) {
                    file.visible().hash_into(&mut hasher);
                }
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// The names and lengths in a volume, sorted. Not an operation.
    #[must_use]
    pub fn files(&self, volume: Volume) -> Vec<(FileName, u64)> {
        let machine = lock(&self.machine);
        let len = |id| machine.files.get(&id).map_or(0, |file| file.visible().len());
        machine.directory(volume).names().map(|(name, id)| (FileName::clone(name), len(id))).collect()
    }

    /// A whole volume is gone, with all names and bytes. Meant between two lives.
    pub fn lose_volume(&self, volume: Volume) {
        lock(&self.machine).replace_volume(volume, None);
    }

    /// A volume is replaced by that of `other`, such as an old snapshot. Meant between two lives.
    pub fn restore_volume(&self, volume: Volume, other: &Self) {
        let copy = lock(&other.machine).clone();
        lock(&self.machine).replace_volume(volume, Some(&copy));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    pub(super) fn run<T>(
        &self,
        operation: Operation,
        body: impl FnOnce(&mut Machine, Option<Fault>) -> Result<T, DiskFailure>,
    ) -> Result<T, DiskError> {
        lock(&self.machine).run(self.life, operation, body)
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn open(&self, volume: Volume, name: &FileName, mode: OpenMode) -> Result<FaultyFile, DiskError> {
        let name = Arc::new(name.clone());
        let mut machine = lock(&self.machine);
        let operation = Operation::Open { volume, name: name.clone(), mode };
        let id = machine.run(self.life, operation, |machine, fault| machine.open(volume, &name, mode, fault))?;
        if let Some(file) = machine.files.get_mut(&id) {
            file.handles += 1;
        }
        let writable = mode != OpenMode::Read;
        Ok(FaultyFile { disk: self.clone(), id, volume, name, writable })
    }

    fn list(&self, volume: Volume) -> Result<Vec<FileName>, DiskError> {
        self.run(Operation::List { volume }, |machine, _| {
            Ok(machine.directory(volume).names().map(|(name, _)| FileName::clone(name)).collect())
        })
    }

    fn rename(&self, volume: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        let (from, to) = (Arc::new(from.clone()), Arc::new(to.clone()));
        let operation = Operation::Rename { volume, from: from.clone(), to: to.clone() };
        self.run(operation, |machine, _| machine.rename(volume, &from, &to))
    }

    fn remove(&self, volume: Volume, name: &FileName) -> Result<(), DiskError> {
        let name = Arc::new(name.clone());
        self.run(Operation::Remove { volume, name: name.clone() }, |machine, _| machine.remove(volume, &name))
    }

    fn sync_directory(&self, volume: Volume) -> Result<(), DiskError> {
        self.run(Operation::SyncDirectory { volume }, |machine, fault| machine.sync_directory(volume, fault))
    }
}
