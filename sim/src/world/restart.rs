//! The end of a process and the beginning of the next.

use super::detail::Detail;
use super::node::Process;
use super::trace::What;
use super::{World, panicked};
use crate::disk::{CrashVariant, Damage, Fault, FaultyDisk};
use crate::oracle::{Broken, Excuse, Promise};
use crate::sometimes::Sometimes;
use crate::state::State;
use crate::story::Told;
use crate::swarm::Disruption;
use crate::tape::place::REMAINS;
use crate::tape::{Purpose, StreamId};
use ouroboros_engine::env::{DiskFailure, FileName, Volume};
use ouroboros_engine::node::{Access, Activity, Engine, Failure, OpenError, OpenOptions, Opened, Reply, Request};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Openings that may fail one after the other before the disk is left in peace.
const ATTEMPTS: u64 = 4;

impl World {
    pub(super) fn options(&self, node: usize, access: Access) -> OpenOptions {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.setting.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&self.nodes[node].life.to_le_bytes());
        seed[16] = node as u8;
        OpenOptions { access, limits: self.limits(), seed }
    }

    /// Makes the node's store. Nothing was promised to anybody yet, so no fault strikes.
    pub(super) fn create(&mut self, node: usize) -> Result<(), Broken> {
        let options = self.options(node, Access::Keys(self.keys.clone()));
        let it = &mut self.nodes[node];
        it.disk.pause(true);
        let now = it.now(self.now);
        let engine = Engine::create(it.disk.clone(), self.config.clone(), options, now)
            .map_err(|error| Broken::new(Promise::P2, format!("a store cannot be made: {error}")))?;
        let engine = self.swarm.humoured(engine);
        it.disk.serve(true);
        it.process = Some(Process::new(engine, it, now));
        self.trace.event(self.now, node as u8, What::Opened, &[0]);
        self.give_probe(node);
        Ok(())
    }

    /// The power fails, or the process alone ends.
    pub(super) fn stop(&mut self, node: usize, power_loss: bool) {
        self.account(node);
        self.seen(node);
        let it = &mut self.nodes[node];
        let state = it.doing();
        let ended_by_itself = it.process.is_none();
        it.stop();
        it.keyless = false;
        let (number, place) = (it.number, it.place());
        if power_loss {
            it.oracle.crashes += 1;
            it.torn = true;
            let stream = StreamId::new(Purpose::Crash, number);
            let detail = self.tape.below_at(stream, place * REMAINS + 1, 1 << 16);
            let variant = match self.tape.below_at(stream, place * REMAINS, 8) {
                0 => CrashVariant::AllKept,
                1 => CrashVariant::AllLost,
                2 | 3 | 6 | 7 => CrashVariant::Torn(detail),
                _ => CrashVariant::Subset(detail),
            };
            let it = &mut self.nodes[node];
            let units = it.disk.undecided_units();
            it.disk.crash(variant);
            it.disk = it.disk.recover();
            it.state.set(State::Dead);
            self.trace.event(self.now, number, What::Stopped, &[1, units, detail]);
            self.counts.count("crash");
            self.remains(node, state, variant, units);
        } else {
            it.disk = it.disk.restart();
            let rests = ended_by_itself && !matches!(state, State::Dead | State::Recovering);
            it.state.set(if rests { State::AtRest } else { State::Dead });
            if !ended_by_itself {
                self.tell(node, Told::Down, || "the process ends".to_owned());
            }
            self.trace.event(self.now, number, What::Stopped, &[0]);
        }
    }

    /// Ends the process and starts the next, as often as that takes.
    pub(super) fn stop_and_restart(
        &mut self,
        node: usize,
        power_loss: bool,
        between: Option<Disruption>,
    ) -> Result<(), Broken> {
        self.stop(node, power_loss);
        self.pass(self.now + 1_000_000)?;
        match between {
            Some(Disruption::LoseIndex) => {
                self.disrupted(node, Disruption::LoseIndex, || "the index is deleted".to_owned());
                self.nodes[node].disk.lose_volume(Volume::Index);
            }
            Some(Disruption::OldIndex) => {
                if let Some(old) = self.nodes[node].old_index.clone() {
                    self.disrupted(node, Disruption::OldIndex, || "the index is what it was once".to_owned());
                    self.nodes[node].disk.restore_volume(Volume::Index, &old);
                }
            }
            Some(Disruption::Gone) => self.be_gone(node)?,
            Some(Disruption::RollBack) => self.roll_back(node),
            _ => {}
        }
        self.start(node, between)
    }

    pub(super) fn start(&mut self, node: usize, between: Option<Disruption>) -> Result<(), Broken> {
        let mut attempts = 0;
        let opened = loop {
            attempts += 1;
            let calm = attempts > ATTEMPTS;
            self.set_rates(node, true);
            let it = &mut self.nodes[node];
            it.begin(None);
            it.disk.pause(calm);
            if calm || attempts > 1 || it.disk.fault_counts().of(Fault::FillsUp) > 0 {
                it.disk.set_capacity(None);
                it.disk.set_index_capacity(None);
                (it.tight, it.tight_index) = (false, 0);
            }
            it.faults_before = it.harm();
            it.state.set(if it.state.get() == State::AtRest { State::Opening } else { State::Recovering });
            let (busy, now) = (it.disk.busy_nanos(), it.now(self.now));
            let options = self.options(node, Access::Keys(self.keys.clone()));
            let it = &mut self.nodes[node];
            let disk = it.disk.clone();
            let result = catch_unwind(AssertUnwindSafe(|| Engine::open(disk, options, now)))
                .map_err(|panic| panicked(&*panic, "opening"))?;
            let busy = it.disk.busy_nanos() - busy;
            self.pass(self.now + busy)?;
            let it = &mut self.nodes[node];
            match result {
                Ok((engine, opened)) if it.disk.is_powered() => {
                    let engine = self.swarm.humoured(engine);
                    it.disk.serve(true);
                    let now = it.now(self.now);
                    it.process = Some(Process::new(engine, it, now));
                    it.cut_openings = 0;
                    break opened;
                }
                Err(error) if it.disk.is_powered() => {
                    let excused = it.has_faults() || it.tight || it.tight_index > 0 || self.budget.beyond;
                    self.account(node);
                    self.tell(node, Told::OpenFailed, || format!("opening fails: {error}"));
                    if !excused || calm && !self.budget.beyond {
                        return Err(Broken::new(Promise::P7, format!("the store cannot be opened: {error}")));
                    }
                    if calm {
                        return self.is_clear(&error);
                    }
                    self.counts.reached(Sometimes::OpeningFailed);
                    self.stop(node, false);
                }
                _ => {
                    it.cut_openings += 1;
                    if it.cut_openings > 1 {
                        self.counts.reached(Sometimes::RecoveryCutTwice);
                    }
                    self.counts.count("crash-in-recovery");
                    self.stop(node, true);
                }
            }
        };
        self.account(node);
        self.opened(node, &opened, between)
    }

    /// Beyond the budget an error that says what is wrong is all that is asked.
    fn is_clear(&self, error: &OpenError) -> Result<(), Broken> {
        let crashed = error.to_string().contains(&DiskFailure::Crashed.to_string());
        if crashed { Err(Broken::new(Promise::P2, "a disk with power is called crashed")) } else { Ok(()) }
    }

    fn opened(&mut self, node: usize, opened: &Opened, between: Option<Disruption>) -> Result<(), Broken> {
        let details = [1, u64::from(opened.index_rebuilt), opened.replayed, u64::from(opened.torn)];
        self.trace.event(self.now, node as u8, What::Opened, &details);
        self.tell(node, Told::Open, || format!("the store is open: {opened:?}"));
        let faulted = self.nodes[node].has_faults();
        let reached = [
            (opened.torn, Sometimes::TornEndDropped),
            (opened.kept_in_place, Sometimes::KeptInPlace),
            (opened.replayed > 0 && !opened.index_rebuilt, Sometimes::TailReplayed),
            (opened.index_rebuilt && between == Some(Disruption::OldIndex), Sometimes::StaleIndexDiscarded),
            (opened.index_rebuilt && between == Some(Disruption::LoseIndex), Sometimes::LostIndexMade),
            (opened.index_rebuilt && between.is_none() && faulted, Sometimes::BadIndexDiscarded),
        ];
        for (_, what) in reached.into_iter().filter(|(reached, _)| *reached) {
            self.counts.reached(what);
        }
        let it = &mut self.nodes[node];
        let excused = it.is_excused() || self.budget.beyond;
        it.disk.pause(true);
        it.fresh = true;
        // Whatever filled up before nobody would be excused for now.
        it.disk.set_capacity(None);
        it.disk.set_index_capacity(None);
        it.tight_index = 0;
        if let Some(why) = it.disk.take_broken_rule() {
            return Err(Broken::new(Promise::P7, format!("opening breaks a rule of the disk: {why}")));
        }
        if it.old_index.is_none() || it.life.is_multiple_of(3) {
            it.old_index = Some(it.disk.snapshot());
        }
        if !opened.damaged.is_empty() && !excused {
            let what = format!("a store on a sound disk is called damaged: {:?}", opened.damaged);
            return Err(Broken::new(Promise::P7, what));
        }
        let now = self.now;
        self.wake(node, now);
        self.give_probe(node);
        Ok(())
    }

    /// An orderly end, something in between, and the next process.
    pub(super) fn reopen(&mut self, node: usize, slot: u32, between: Disruption) -> Result<(), Broken> {
        if matches!(between, Disruption::Reopen | Disruption::Keyless) {
            self.disrupted(node, between, || format!("{} begins", between.name()));
        }
        self.set_rates(node, false);
        self.nodes[node].begin(None);
        self.nodes[node].disk.pause(false);
        let closed = self.close(node)?;
        let mut rot = None;
        if closed {
            match between {
                Disruption::Keyless => self.keyless(node, slot)?,
                Disruption::Rot => rot = self.choose_rot(node, slot),
                _ => {}
            }
        }
        let at_rest = |rot: &mut Rot| rot.ends_the_log || self.detail(node, slot, Detail::RotInService, 3) == 0;
        let at_rest = rot.take_if(at_rest);
        self.rot(node, at_rest);
        let power_loss = !self.nodes[node].disk.is_powered();
        self.stop_and_restart(node, power_loss, Some(between))?;
        // What was at rest has its parity still, unless the opening wrote over it.
        if self.nodes[node].doing() == State::Doing(Activity::Idle) {
            self.rot(node, rot.filter(|rot| rot.is_as_chosen(&self.nodes[node].disk)));
        }
        if between == Disruption::Rot && self.detail(node, slot, Detail::RotBrowsed, 4) > 0 {
            // Clients meet the rot before the oracle does.
            self.browse(node, slot)?;
            return Ok(());
        }
        self.look(node, &[], true, Excuse { beyond: self.budget.beyond, ..Excuse::default() })
    }

    /// Closes the store. Whether it is closed: the power may fail on the way, or the disk.
    pub(super) fn close(&mut self, node: usize) -> Result<bool, Broken> {
        match self.ask_through(node, Request::Close)? {
            None => return Ok(false),
            Some(Reply::Closed) => {}
            Some(Reply::Failed(failure)) if self.excuse(node, 1).covers(&failure) => return Ok(false),
            Some(Reply::Failed(failure)) => {
                return Err(Broken::new(Promise::P2, format!("the store cannot be closed: {failure}")));
            }
            Some(reply) => return Err(Broken::new(Promise::P2, format!("{reply:?} is no answer to closing"))),
        }
        self.seen(node);
        let it = &mut self.nodes[node];
        let Some(process) = it.process.take() else { return Ok(false) };
        it.state.set(State::Doing(Activity::Closed));
        let result = catch_unwind(AssertUnwindSafe(|| process.driver.into_parts().0.shut_down()))
            .map_err(|panic| panicked(&*panic, "closing"))?;
        self.account(node);
        let it = &self.nodes[node];
        if !it.disk.is_powered() {
            return Ok(false);
        }
        it.state.set(State::AtRest);
        match result {
            Ok(()) => {
                self.tell(node, Told::Closed, || "the store is closed".to_owned());
                Ok(true)
            }
            // Or the index holds what an earlier life has spoiled, and it is read now for the first time.
            Err(failure) if self.excuse(node, 1).covers(&failure) || self.nodes[node].has_spoiled_index() => {
                self.nodes[node].state.set(State::Dead);
                self.tell(node, Told::Down, || format!("the store cannot be left in order: {failure}"));
                Ok(false)
            }
            Err(failure) => Err(Broken::new(Promise::P2, format!("a closed store cannot be left: {failure}"))),
        }
    }

    /// A process without keys does the upkeep.
    fn keyless(&mut self, node: usize, slot: u32) -> Result<(), Broken> {
        self.stop(node, false);
        self.set_rates(node, true);
        let options = self.options(node, Access::Keyless);
        let it = &mut self.nodes[node];
        it.begin(None);
        if it.disk.fault_counts().of(Fault::FillsUp) > 0 {
            it.disk.set_capacity(None);
        }
        it.faults_before = it.harm();
        it.state.set(State::OpeningKeyless);
        let now = it.now(self.now);
        let disk = it.disk.clone();
        let result = catch_unwind(AssertUnwindSafe(|| Engine::open(disk, options, now)))
            .map_err(|panic| panicked(&*panic, "opening without keys"))?;
        self.account(node);
        let it = &mut self.nodes[node];
        if !it.disk.is_powered() {
            return Ok(());
        }
        let (engine, _) = match result {
            Ok(parts) => parts,
            Err(_) if self.budget.beyond || it.has_faults() => return Ok(()),
            Err(error) => {
                return Err(Broken::new(Promise::P7, format!("the store cannot be opened without keys: {error}")));
            }
        };
        let engine = self.swarm.humoured(engine);
        it.disk.serve(true);
        it.process = Some(Process::new(engine, it, now));
        it.keyless = true;
        self.tell(node, Told::Open, || "the store is open, without its keys".to_owned());
        self.set_rates(node, false);
        let request = match self.detail(node, slot, Detail::Upkeep, 3) {
            0 => Request::Scrub { repair: true },
            1 => Request::Compact,
            _ => Request::Recode(self.config.coding),
        };
        self.nodes[node].asked_to_compact = true;
        match self.ask_through(node, request)? {
            None => return Ok(()),
            Some(Reply::Failed(failure)) if self.excuse(node, 1).covers(&failure) => {}
            Some(Reply::Failed(failure)) => {
                return Err(Broken::new(Promise::P2, format!("upkeep without keys failed: {failure}")));
            }
            Some(_) => self.counts.reached(Sometimes::KeylessUpkeep),
        }
        match self.ask_through(node, Request::Get(Vec::new()))? {
            None | Some(Reply::Failed(Failure::NoKeys)) => Ok(()),
            // Nor is it an answer that the index cannot be made anew on a disk that fails.
            Some(Reply::Failed(failure)) if self.excuse(node, 1).covers(&failure) => Ok(()),
            other => Err(Broken::new(Promise::P8, format!("a node without keys answers a question: {other:?}"))),
        }
    }

    /// What is to rot of a store at rest: one place, unless the budget is no matter.
    fn choose_rot(&self, node: usize, slot: u32) -> Option<Rot> {
        let rests = self.nodes[node].state.get() == State::AtRest;
        let disk = &self.nodes[node].disk;
        let files: Vec<_> = disk.files(Volume::Blocks).into_iter().filter(|(_, len)| *len > 0).collect();
        let count = files.len() as u64;
        let (name, len) = files.get(self.detail(node, slot, Detail::RotFile, count) as usize)?;
        let sectors = len.div_ceil(512);
        let sector = self.detail(node, slot, Detail::RotSector, sectors);
        // At the end of a log that did not rest stands what was acknowledged and nothing covers yet: a store that
        // cannot read it stays shut, rightly. There such a sector becomes noise.
        let readable = !rests && files.last().is_some_and(|(last, _)| last == name);
        // A burst is one place, but not at either end of a segment: there the second copy of what the first says lies near.
        let inside = sector >= EDGE && sector + EDGE < sectors && !self.budget.beyond;
        let burst = 1 + self.detail(node, slot, Detail::RotBurst, 4);
        let count = if inside { burst } else { 1 };
        let damage = self.rot_damage(node, slot, sectors, readable);
        let mut rot = Rot::new(disk, name.clone(), sector..sector + count, damage);
        rot.ends_the_log = sector + EDGE >= sectors && files.last().is_some_and(|(last, _)| last == name);
        Some(rot)
    }

    /// How it rots.
    fn rot_damage(&self, node: usize, slot: u32, sectors: u64, readable: bool) -> Damage {
        let detail = self.detail(node, slot, Detail::RotNumber, 4096);
        match self.detail(node, slot, Detail::RotDamage, 5) {
            0 => Damage::FlippedBit { bit: detail as u16 },
            1 => Damage::Zeroed,
            2 => Damage::ReplacedBy { sector: detail % sectors },
            3 if !readable => Damage::Unreadable,
            _ => Damage::Garbage { seed: detail },
        }
    }

    /// It rots.
    fn rot(&mut self, node: usize, rot: Option<Rot>) {
        let Some(mut rot) = rot.filter(|_| self.budget.permits_rot(self.nodes[node].rotten)) else { return };
        // Without parity nothing may be lost.
        if !self.budget.beyond && self.swarm.codings.iter().any(|(_, parity)| *parity == 0) {
            return;
        }
        let disk = self.nodes[node].disk.clone();
        let (damage, sectors, name) = (rot.damage, rot.sectors.clone(), rot.name.clone());
        self.nodes[node].rotten = rot.strike(&disk);
        if sectors.end - sectors.start > 1 {
            self.counts.reached(Sometimes::RottedTwice);
        }
        self.nodes[node].rot = Some(rot);
        let state = self.nodes[node].doing();
        self.nodes[node].rotted_before = true;
        self.disrupted(node, Disruption::Rot, || format!("the store rots while {state}"));
        self.rotted(node, damage, || format!("sectors {sectors:?} of {name} rot: {damage:?}"));
    }

    /// The only copy of a deletion has parity as soon as the client knows of it: the process is killed, and the end of its log
    /// rots, as it was when the client was told. What upkeep has copied behind it since has no parity yet.
    pub(super) fn rot_of_a_deletion(&mut self, node: usize, slot: u32) -> Result<(), Broken> {
        let it = &self.nodes[node];
        let files = it.disk.files(Volume::Blocks);
        let Some((name, len)) = files.last().cloned().filter(|_| !it.rotten && self.may_befall(Disruption::Rot)) else {
            return Ok(());
        };
        let Some(end) = it.disk.end_when_told(&name) else { return Ok(()) };
        let sectors = len.min(end).div_ceil(512);
        if sectors < 2 * EDGE || self.detail(node, slot, Detail::RotPurged, 3) != 1 {
            return Ok(());
        }
        // But for the last: a log whose end cannot be told from a torn one.
        let sector = sectors - 2 - self.detail(node, slot, Detail::RotSector, EDGE);
        let damage = self.rot_damage(node, slot, sectors, true);
        let rot = Rot::new(&self.nodes[node].disk, name, sector..sector + 1, damage);
        self.kill(node);
        self.rot(node, Some(rot));
        self.stop_and_restart(node, false, None)?;
        self.look(node, &[], true, Excuse { beyond: self.budget.beyond, ..Excuse::default() })
    }
}

/// Sectors of a segment's ends of which but one rots at a time.
const EDGE: u64 = 24;

/// A place of the log's that rotted, or is to.
#[derive(Clone, Debug)]
pub(super) struct Rot {
    name: FileName,
    /// The file's length then.
    len: usize,
    sectors: Range<u64>,
    damage: Damage,
    /// It is where the last word of the log stands, which nothing covers, and which an opening makes good alone.
    ends_the_log: bool,
    before: Vec<u8>,
    /// What it held then; `None` if the disk refuses to read it.
    rotten: Option<Vec<u8>>,
}

impl core::fmt::Display for Rot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "sectors {} to {} of {}, which rotted", self.sectors.start, self.sectors.end - 1, self.name)
    }
}

impl Rot {
    /// The file.
    pub(super) const fn name(&self) -> &FileName {
        &self.name
    }

    /// Its first byte.
    pub(super) const fn start(&self) -> u64 {
        self.sectors.start * 512
    }

    fn new(disk: &FaultyDisk, name: FileName, sectors: Range<u64>, damage: Damage) -> Self {
        let before = bytes_of(disk, &name, &sectors);
        let len = disk.contents(Volume::Blocks, &name).map_or(0, |bytes| bytes.len());
        Self { name, len, sectors, damage, ends_the_log: false, before, rotten: None }
    }

    /// Whether nothing has been written there since.
    fn is_as_chosen(&self, disk: &FaultyDisk) -> bool {
        self.before == bytes_of(disk, &self.name, &self.sectors)
    }

    fn strike(&mut self, disk: &FaultyDisk) -> bool {
        let mut struck = false;
        for sector in self.sectors.clone() {
            let damage = match self.damage {
                Damage::Garbage { seed } => Damage::Garbage { seed: seed + sector - self.sectors.start },
                damage => damage,
            };
            struck |= disk.damage(Volume::Blocks, &self.name, sector, damage);
        }
        self.rotten = match self.damage {
            Damage::Unreadable => None,
            _ => Some(bytes_of(disk, &self.name, &self.sectors)),
        };
        struck
    }

    /// Whether the sectors that rotted still hold what they held then, or still cannot be read. Other bytes
    /// may have been written since by right: the end of a log is cut off and written anew.
    pub(super) fn is_there(&self, disk: &FaultyDisk) -> bool {
        let Some(rotten) = &self.rotten else {
            let unreadable = disk.damaged_sectors();
            return self.sectors.clone().all(|at| unreadable.contains(&(Volume::Blocks, self.name.clone(), at)));
        };
        // Parity holds zeros by right, too, and may have been written where the end of the file was cut off.
        let len = disk.contents(Volume::Blocks, &self.name).map_or(0, |bytes| bytes.len());
        if rotten.iter().all(|byte| *byte == 0) && len != self.len {
            return false;
        }
        // One byte may stand there by right again; a whole sector does not.
        *rotten != self.before && bytes_of(disk, &self.name, &self.sectors).starts_with(rotten)
    }

    /// Whether a stretch of a file holds any of it.
    pub(super) fn touches(&self, name: &FileName, bytes: &Range<u64>) -> bool {
        self.name == *name && bytes.start < self.sectors.end * 512 && self.sectors.start * 512 < bytes.end
    }
}

/// The bytes of some sectors, as far as the file goes.
fn bytes_of(disk: &FaultyDisk, name: &FileName, sectors: &Range<u64>) -> Vec<u8> {
    let bytes = disk.contents(Volume::Blocks, name).unwrap_or_default();
    let end = bytes.len().min(sectors.end as usize * 512);
    bytes[end.min(sectors.start as usize * 512)..end].to_vec()
}

/// Why a question of the oracle has no answer.
#[derive(Debug)]
pub(super) enum Stop {
    /// The node said no.
    Failed(Failure),
    /// A promise broke.
    Broken(Broken),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}
