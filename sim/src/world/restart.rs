//! The end of a process and the beginning of the next.

use super::detail::Detail;
use super::node::Process;
use super::rot::Rot;
use super::trace::What;
use super::{World, panicked};
use crate::disk::{CrashVariant, Fault};
use crate::oracle::reindex::Extent;
use crate::oracle::{Broken, Excuse, Promise, Recoding, demand, reindex};
use crate::sometimes::Sometimes;
use crate::state::State;
use crate::story::{Told, words};
use crate::swarm::Disruption;
use crate::tape::place::REMAINS;
use crate::tape::{Purpose, StreamId};
use ouroboros_engine::env::{DiskFailure, Volume};
use ouroboros_engine::node::{
    Access, Activity, Damage, DamageOutcome, Engine, Failure, OpenError, OpenOptions, Opened, Reply, Request,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// After so many lives the disk is looked through for what must not be there.
const LOOKED_THROUGH_EVERY: u64 = 4;
/// One of so many worlds has it looked through after each.
const ALWAYS_LOOKED_THROUGH: u64 = 16;
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
        // What a compaction or a new index takes away must not have been there either.
        let always = self.setting.seed.is_multiple_of(ALWAYS_LOOKED_THROUGH);
        if always || self.nodes[node].life.is_multiple_of(LOOKED_THROUGH_EVERY) {
            self.plaintext.check_markers(&self.nodes[node].disk)?;
        }
        self.reindex(node)?;
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

    /// Where nothing has struck, the index stands as the log says after every end of a process.
    fn reindex(&self, node: usize) -> Result<(), Broken> {
        let it = &self.nodes[node];
        let strikes = it.harm() > 0 || it.rotten || it.rotted_before || self.budget.beyond;
        if strikes || self.swarm.limits.index_in_memory {
            return Ok(());
        }
        reindex::check(&it.disk, &self.keys, &self.swarm.limits, Extent::Referenced)
    }

    pub(super) fn start(&mut self, node: usize, between: Option<Disruption>) -> Result<(), Broken> {
        let mut attempts = 0;
        let opened = loop {
            attempts += 1;
            let calm = attempts > ATTEMPTS;
            self.set_rates(node, true);
            let it = &mut self.nodes[node];
            it.rotten |= it.healed_rot.iter().any(|place| place.is_there(&it.disk));
            // Or it is there again with an old copy of the disk.
            let former = it.former_rot.iter().flat_map(Rot::places);
            it.left_rot = former.filter(|place| place.is_there(&it.disk)).cloned().collect();
            it.begin(None);
            it.disk.pause(calm);
            if calm || attempts > 1 || it.disk.fault_counts().of(Fault::FillsUp) > 0 {
                it.disk.set_capacity(None);
                it.disk.set_index_capacity(None);
                (it.tight, it.tight_index) = (0, 0);
            }
            it.note_faults();
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
                    let excused = it.has_faults() || it.tight > 0 || it.tight_index > 0 || self.budget.beyond;
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
        self.tell(node, Told::Open, || format!("the store is open: {}", words::opened(opened)));
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
        it.blind = faulted;
        it.unread = !opened.damaged.is_empty();
        // Whatever filled up before nobody would be excused for now.
        it.disk.set_capacity(None);
        it.disk.set_index_capacity(None);
        (it.tight, it.tight_index) = (0, 0);
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
        if !excused {
            self.coding_in_force(node, true)?;
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
        let harm = self.nodes[node].harm();
        let closed = self.close(node)?;
        let mut rot = None;
        if closed {
            match between {
                Disruption::Keyless => self.keyless(node, slot)?,
                // A disk that refuses something takes the parity of the last batches: a store is closed without it.
                Disruption::Rot if self.nodes[node].harm() == harm => {
                    rot = self.choose_rot(node, slot);
                }
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
        (it.faults_before, it.damage_before) = (it.harm(), it.damage());
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
        let recodes = matches!(request, Request::Recode(_));
        let reply = self.ask_through(node, request)?;
        if recodes {
            let (outcome, coding) = (Recoding::of(reply.as_ref(), self.is_sound(node)), self.config.coding);
            self.nodes[node].oracle.recoded(coding, outcome, true);
        }
        match reply {
            None => return Ok(()),
            Some(Reply::Failed(failure)) if self.excuse(node, 1).covers(&failure) => {}
            Some(Reply::Failed(failure)) => {
                return Err(Broken::new(Promise::P2, format!("upkeep without keys failed: {failure}")));
            }
            Some(reply) => {
                let struck = self.nodes[node].has_faults() || self.budget.beyond;
                let gave_up = match &reply {
                    Reply::Scrubbed(report) => {
                        let is_lost = |damage: &Damage| damage.outcome == DamageOutcome::Lost;
                        !report.lost.is_empty() || report.damage.iter().any(is_lost)
                    }
                    Reply::Recoded(report) => !report.damaged.is_empty(),
                    Reply::Compacted(_) => false,
                    other => {
                        return Err(Broken::new(Promise::P2, format!("{other:.200?} is no answer to upkeep")));
                    }
                };
                demand!(P1, struck || !gave_up, "upkeep without keys gave up what the redundancy covers: {reply:?}");
                self.counts.reached(Sometimes::KeylessUpkeep);
            }
        }
        match self.ask_through(node, Request::Get(Vec::new()))? {
            None | Some(Reply::Failed(Failure::NoKeys)) => Ok(()),
            // Nor is it an answer that the index cannot be made anew on a disk that fails.
            Some(Reply::Failed(failure)) if self.excuse(node, 1).covers(&failure) => Ok(()),
            other => Err(Broken::new(Promise::P8, format!("a node without keys answers a question: {other:?}"))),
        }
    }
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
