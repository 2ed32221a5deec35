//! Rounds: some operations that overlap, and what comes of them.

use super::detail::Detail;
use super::rot::Rot;
use super::strikes::Looming;
use super::{Happening, Pumped, World};
use crate::disk::Fault;
use crate::oracle::{Broken, Calm, Excuse, Promise, Recoding, records};
use crate::sometimes::Sometimes;
use crate::state::State;
use crate::story::{Told, words};
use crate::swarm::Disruption;
use crate::workload::{Send, Task};
use ouroboros_engine::node::{Activity, Limits, Reply, Request};

/// Operations of one round, at most.
pub(super) const MAX_TOGETHER: usize = 6;
/// A day, in nanoseconds.
const DAY: u64 = 86_400_000_000_000;
/// Versions that a client reads of a store that has rotted.
const BROWSED: usize = 16;

impl World {
    pub(super) fn limits(&self) -> Limits {
        self.swarm.limits.clone()
    }

    /// Begins a node's part of a round: its clients send.
    pub(super) fn begin(&mut self, node: usize, slot: u32, tasks: Vec<Task>, what: Option<Disruption>) {
        self.before_round(node, slot, what);
        let count = tasks.len();
        self.counts.operations += count as u64;
        self.nodes[node].tasks = tasks;
        let life = self.nodes[node].life;
        for at in 0..count {
            let task = &self.nodes[node].tasks[at];
            self.counts.count(task.kind.name());
            let delay = self.swarm.gap_nanos / 4 * task.gap * u64::from(at > 0);
            self.schedule(self.now + delay, Happening::Send { node: node as u8, life, task: at });
        }
    }

    /// Whether a node's part of the round is over, one way or the other.
    pub(super) fn is_over(&self, node: usize) -> bool {
        self.nodes[node].tasks.iter().all(Task::is_over) || !self.is_up(node)
    }

    /// Nothing more will happen to a node whose clients still wait.
    pub(super) fn stuck(&self, node: usize) -> Broken {
        let task = self.nodes[node].tasks.iter().find(|task| !task.is_over());
        let task = task.map(|task| (task.slot, task.kind.name()));
        Broken::new(Promise::P9, format!("no answer will ever come to {task:?}"))
    }

    /// A node's part of a round is over: what came of it.
    pub(super) fn settle(&mut self, node: usize, slot: u32, disruption: Option<Disruption>) -> Result<(), Broken> {
        let mut pumped = if self.is_up(node) { Pumped::Done } else { Pumped::Down };
        if pumped == Pumped::Done && self.detail(node, slot, Detail::Finishes, 2) == 1 {
            // What the node does of its own accord is done among faults, too.
            pumped = self.pump(node, |world| !world.nodes[node].doing().is_unasked())?;
        }
        let ended = match pumped {
            // The last answer may have been given in the turn in which the power failed.
            Pumped::Done if self.is_up(node) => self.ended(node, slot, disruption),
            Pumped::Done | Pumped::Down => Some(!self.nodes[node].disk.is_powered()),
            Pumped::Still => return Err(self.stuck(node)),
        };
        self.nodes[node].disk.forget_injections();
        self.nodes[node].looming = None;
        let it = &self.nodes[node];
        let has_stopped = self.is_up(node) && it.doing() == State::Doing(Activity::ReadOnly);
        if has_stopped && it.failed_syncs() == it.syncs_before {
            return Err(Broken::new(Promise::P10, "writing has stopped for good, and no sync has failed"));
        }
        if ended.is_some() {
            self.streams_cut(node);
        }
        let tasks = std::mem::take(&mut self.nodes[node].tasks);
        self.recoded(node, &tasks);
        let excuse = self.excuse(node, tasks.len());
        let single = tasks.len() == 1;
        // A store that is closed without its parity could lose what rots then: before anything else befalls it there is room.
        let ends = disruption.is_some_and(|what| what != Disruption::TightDisk);
        let it = &mut self.nodes[node];
        let was_tight = it.tight > 0;
        if it.tight > 0 {
            it.tight = if ends { 0 } else { it.tight - 1 };
            if it.tight == 0 {
                it.disk.set_capacity(None);
                self.tell(node, Told::Note, || "there is room on the disk again".to_owned());
            }
        }
        let it = &mut self.nodes[node];
        if it.tight_index > 0 {
            it.tight_index -= 1;
            if it.process.as_ref().is_some_and(|process| process.moment().held.backlog_len > 0) {
                self.counts.reached(Sometimes::IndexBacklog);
            }
            if self.nodes[node].tight_index == 0 {
                self.nodes[node].disk.set_index_capacity(None);
                self.tell(node, Told::Note, || "there is room for the index again".to_owned());
            }
        }
        let it = &mut self.nodes[node];
        if it.disk.fault_counts().of(Fault::FillsUp) > 0 {
            it.disk.set_capacity(None);
            it.tight = 0;
        }
        if let Some(power_loss) = ended {
            let between = self.lost_with_the_process(node, slot);
            let power_loss = self.meanwhile(node, slot, power_loss);
            self.stop_and_restart(node, power_loss, between)?;
        }
        let touched = self.nodes[node].oracle.touched(&tasks);
        self.look(node, &tasks, ended.is_some(), excuse)?;
        let purged = single && matches!(tasks.first().and_then(|task| task.reply.as_ref()), Some(Reply::Purged { .. }));
        // Where nobody writes, it makes no difference when a question is answered.
        let changes = |task: &Task| !task.wants.is_empty() || task.purge.is_some();
        let exact = (single || !tasks.iter().any(changes)) && ended.is_none();
        let calm = Calm { all: exact, but: ended.is_none().then_some(touched) };
        for task in &tasks {
            self.nodes[node].oracle.check_answer(task, &calm, excuse)?;
        }
        self.coding_in_force(node, false)?;
        self.scrubbed(node, &tasks, exact && single)?;
        let mended = |task: &Task| {
            matches!(task.asked, Some(Request::Scrub { repair: true }))
                && matches!(task.reply, Some(Reply::Scrubbed(_)))
        };
        let it = &self.nodes[node];
        // Beyond the budget there is more than a scrub can heal.
        let has_room = it.tight == 0 && it.tight_index == 0;
        let unharmed = !it.has_faults() && !it.read_only && has_room && !self.budget.beyond;
        if tasks.iter().any(mended) && (it.rotten || it.torn) && ended.is_none() && unharmed {
            // It is whole again, and the next place may rot.
            self.heal(node)?;
        }
        drop(tasks);
        if purged && ended.is_none() && disruption.is_none() && !excuse.faulted && !excuse.torn && !was_tight {
            self.rot_of_a_deletion(node, slot)?;
        }
        self.after_round(node, slot, disruption, ended.is_some())?;
        // Until its next part begins nothing strikes it, whatever the others still do.
        self.nodes[node].disk.pause(true);
        Ok(())
    }

    /// Recodings were asked for.
    fn recoded(&mut self, node: usize, tasks: &[Task]) {
        let sound = self.is_sound(node) && tasks.iter().all(|task| task.to_seal.is_empty());
        let asked = tasks.iter().filter_map(|task| match (&task.asked, &task.reply) {
            (Some(Request::Recode(coding)), reply) => Some((*coding, Recoding::of(reply.as_ref(), sound))),
            _ => None,
        });
        let asked: Vec<_> = asked.collect();
        for (coding, outcome) in &asked {
            self.nodes[node].oracle.recoded(*coding, *outcome, asked.len() == 1);
        }
    }

    /// Whether nothing has struck a node that could keep a seal from being read.
    pub(super) fn is_sound(&self, node: usize) -> bool {
        let it = &self.nodes[node];
        !it.has_faults() && !it.rotten && !it.torn
    }

    /// Holds the coding in force against what was asked for.
    pub(super) fn coding_in_force(&mut self, node: usize, opened: bool) -> Result<(), Broken> {
        let it = &mut self.nodes[node];
        if let Some(process) = it.process.as_ref().filter(|_| !self.budget.beyond && !it.unread) {
            let coding = process.driver.engine().config().coding;
            it.oracle.check_coding(coding, opened)?;
        }
        Ok(())
    }

    /// Whoever only looks finds what is rotten, too.
    fn scrubbed(&self, node: usize, tasks: &[Task], alone: bool) -> Result<(), Broken> {
        let it = &self.nodes[node];
        let rot = it.rot.as_ref().filter(|_| it.rotten && alone && !it.has_faults() && !it.read_only);
        let Some(rot) = rot else { return Ok(()) };
        let overlooks = |task: &Task| match (&task.asked, &task.reply) {
            (Some(Request::Scrub { repair: false }), Some(Reply::Scrubbed(report))) => report.damage.is_empty(),
            _ => false,
        };
        let shows = |place: &Rot| {
            place.is_there(&it.disk)
                && records::shows(&it.disk, place.name(), &|bytes| place.touches(place.name(), bytes))
        };
        if tasks.iter().any(overlooks)
            && let Some(rot) = rot.places().find(|place| shows(place))
        {
            return Err(Broken::new(Promise::P2, format!("a scrub that repairs nothing overlooks {rot}")));
        }
        Ok(())
    }

    pub(super) fn excuse(&self, node: usize, tasks: usize) -> Excuse {
        let it = &self.nodes[node];
        let faulted = it.has_faults() || it.rotten;
        let torn = it.torn;
        let counts = it.disk.fault_counts();
        let misplacing = [Fault::LostWrite, Fault::MisdirectedWrite, Fault::MisdirectedWriteElsewhere];
        Excuse {
            faulted,
            damaged: it.has_damage() || it.rotten,
            struck: it.has_faults(),
            blind: it.has_faults() && it.blind,
            unread: it.unread,
            spoiled: it.has_spoiled_index(),
            refused_index: it.refused_index,
            misplaced: misplacing.into_iter().any(|fault| counts.of(fault) > 0),
            torn,
            rotted: it.rotted_before,
            full: it.tight > 0 || it.tight_index > 0 || it.has_faults(),
            full_is_final: self.swarm.limits.index_in_memory,
            crowded: tasks > 1 || self.swarm.limits.requests < 16 || self.swarm.limits.uploads < 16,
            beyond: self.budget.beyond,
        }
    }

    /// How a process ends that is to end with the round, in the middle of what it still does: whether the power fails.
    fn ended(&mut self, node: usize, slot: u32, disruption: Option<Disruption>) -> Option<bool> {
        match disruption {
            Some(Disruption::Kill) => {
                self.kill(node);
                Some(false)
            }
            // The operation was never reached.
            Some(Disruption::PowerLoss) if self.detail(node, slot, Detail::PowerByTurns, 2) == 1 => {
                self.disrupt(node, slot, Disruption::PowerLoss);
                Some(true)
            }
            _ => None,
        }
    }

    /// What becomes of the index while nobody runs, where such things happen at all.
    fn lost_with_the_process(&self, node: usize, slot: u32) -> Option<Disruption> {
        let may = |what: Disruption| self.may_befall(what).then_some(what);
        // Nothing is drawn that would be of no effect: a schedule of it would have one.
        let (lost, old) = (may(Disruption::LoseIndex)?, may(Disruption::OldIndex)?);
        match self.detail(node, slot, Detail::IndexMeanwhile, 16) {
            1 => Some(lost),
            2 => Some(old),
            _ => None,
        }
    }

    /// Whether something may happen at all in this run. What a schedule says happens.
    pub(super) fn may_befall(&self, what: Disruption) -> bool {
        self.swarm.disruptions[what as usize] > 0 || self.tape.is_replayed()
    }

    /// What else happens while nobody runs. Whether the power has failed by then.
    fn meanwhile(&mut self, node: usize, slot: u32, power_loss: bool) -> bool {
        match self.detail(node, slot, Detail::Meanwhile, 8) {
            // A machine may come back with another time than it had.
            1 if self.may_befall(Disruption::WallJump) => self.disrupt(node, slot, Disruption::WallJump),
            // What the process has left in the system's cache may go before anybody looks at it.
            2 if !power_loss => {
                self.stop(node, false);
                return true;
            }
            _ => {}
        }
        power_loss
    }

    fn before_round(&mut self, node: usize, slot: u32, disruption: Option<Disruption>) {
        self.set_rates(node, false);
        self.nodes[node].begin(Some(u64::from(slot)));
        self.nodes[node].disk.pause(false);
        match disruption {
            Some(what @ Disruption::PowerLoss)
                if self.detail(node, slot, Detail::PowerByTurns, 2) == 1 && self.later(node, slot) > 0 =>
            {
                let turns = self.later(node, slot);
                self.nodes[node].looming = Some(Looming { turns, slot, what, until: None });
            }
            Some(Disruption::PowerLoss) => {
                let near = self.detail(node, slot, Detail::PowerAfter, 40);
                let after = match self.detail(node, slot, Detail::PowerSoon, 4) {
                    0 if self.detail(node, slot, Detail::PowerLate, 4) == 3 => near * 12,
                    0 => near,
                    1 => near % 8,
                    _ => {
                        let after = near % 4;
                        self.nodes[node].disk.crash_at_sync(after);
                        self.tell(node, Told::Note, || format!("the power will fail at a sync, after {after} others"));
                        return;
                    }
                };
                let disk = &self.nodes[node].disk;
                disk.crash_at(disk.operations_so_far() + after);
                self.tell(node, Told::Note, || format!("the power will fail {after} operations of the disk from now"));
            }
            Some(what @ (Disruption::Kill | Disruption::TightDisk | Disruption::WallJump | Disruption::Pause)) => {
                let turns = self.later(node, slot);
                if turns > 0 {
                    // Where there is a storm, now and then in the middle of it.
                    let until = self.swarm.storm.filter(|state| turns == 1 && matches!(state, State::Doing(_)));
                    self.nodes[node].looming = Some(Looming { turns, slot, what, until });
                } else if what != Disruption::Kill {
                    self.disrupt(node, slot, what);
                }
            }
            _ => {}
        }
    }

    fn after_round(
        &mut self,
        node: usize,
        slot: u32,
        disruption: Option<Disruption>,
        ended: bool,
    ) -> Result<(), Broken> {
        // A process that only reads may go on for a while.
        let goes_on = self.detail(node, slot, Detail::ReadsOn, 2) == 1 && disruption.is_none();
        if self.nodes[node].read_only && !ended && !goes_on {
            self.tell(node, Told::Note, || "the disk failed: the process is started anew".to_owned());
            self.stop_and_restart(node, false, None)?;
            self.look(node, &[], true, Excuse { beyond: self.budget.beyond, ..Excuse::default() })?;
        }
        match disruption {
            Some(
                what @ (Disruption::Reopen
                | Disruption::LoseIndex
                | Disruption::OldIndex
                | Disruption::Keyless
                | Disruption::Rot),
            ) => self.reopen(node, slot, what)?,
            Some(what @ (Disruption::Reinstall | Disruption::LoseDisk | Disruption::RollBack)) => {
                let abrupt = self.detail(node, slot, Detail::Abrupt, 2) == 1;
                self.replace(node, slot, what, 0, abrupt)?;
            }
            Some(Disruption::Rest) => {
                let until = self.now + 1_000_000_000 * (1 + self.detail(node, slot, Detail::Rest, 30));
                self.disrupted(node, Disruption::Rest, || "nothing is asked for a while".to_owned());
                self.set_rates(node, false);
                self.nodes[node].begin(None);
                self.nodes[node].disk.pause(false);
                self.pump(node, |world| world.heap.peek().is_none_or(|next| next.0.0 > until))?;
                self.nodes[node].disk.set_capacity(None);
                if !self.is_up(node) {
                    self.stop_and_restart(node, true, None)?;
                    self.look(node, &[], true, Excuse { beyond: self.budget.beyond, ..Excuse::default() })?;
                }
                self.pass(until)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A node goes for longer than tombstones are kept, when everybody's part of the round is over: while weeks pass, nothing
    /// strikes the others.
    pub(super) fn leave(&mut self, node: usize, slot: u32) -> Result<(), Broken> {
        let days = 40 + self.detail(node, slot, Detail::GoneDays, 361);
        let abrupt = self.detail(node, slot, Detail::Abrupt, 2) == 1;
        self.set_rates(node, false);
        self.nodes[node].disk.pause(abrupt);
        self.replace(node, slot, Disruption::Gone, days * DAY, abrupt)?;
        self.nodes[node].disk.pause(true);
        Ok(())
    }

    /// A client reads whatever there is, among faults, and something may happen to the node meanwhile: in a store that rots,
    /// whoever reads sets mending going.
    pub(super) fn browse(&mut self, node: usize, slot: u32) -> Result<(), Broken> {
        self.set_rates(node, false);
        self.nodes[node].begin(None);
        self.nodes[node].disk.pause(false);
        let meanwhile = [
            Disruption::PowerLoss,
            Disruption::Kill,
            Disruption::PowerLoss,
            Disruption::TightDisk,
            Disruption::WallJump,
            Disruption::Pause,
        ];
        let which = self.detail(node, slot, Detail::BrowseMeanwhile, 7).checked_sub(1);
        let what = which.and_then(|which| meanwhile.get(which as usize)).copied();
        let turns = 1 + self.detail(node, slot, Detail::BrowseTurns, 3);
        let until = Some(State::Doing(Activity::Mending));
        self.nodes[node].looming = what.map(|what| Looming { turns, slot, what, until });
        let live = self.nodes[node].oracle.model.live_versions();
        let contents: Vec<_> = live.filter_map(|(id, version)| Some((*id, version.content.clone()?))).collect();
        let step = self.swarm.limits.read_len;
        let mut up = true;
        'all: for (blob, content) in contents.iter().rev().take(BROWSED) {
            let len = content.len() as u64;
            for start in [0, len / 3, len / 3 * 2] {
                let range = start..len.min(start + step);
                let expected = &content[range.start as usize..range.end as usize];
                match self.ask_through(node, Request::Read { blob: *blob, range })? {
                    None => {
                        up = false;
                        break 'all;
                    }
                    Some(Reply::Data(pieces)) if pieces.concat() != expected => {
                        return Err(Broken::new(Promise::P2, format!("version {blob} holds other bytes")));
                    }
                    Some(Reply::Data(_)) => {}
                    // Where the disk fails as well, any reason will do.
                    Some(Reply::Failed(_)) if self.nodes[node].has_faults() || self.budget.beyond => {}
                    Some(other) => {
                        let what = format!("version {blob} cannot be read within the redundancy: {other:.200?}");
                        return Err(Broken::new(Promise::P1, what));
                    }
                }
            }
        }
        if up {
            self.pump(node, |world| !world.nodes[node].doing().is_unasked())?;
            up = self.is_up(node);
        }
        let it = &mut self.nodes[node];
        (it.looming, it.tight) = (None, 0);
        it.disk.set_capacity(None);
        if up {
            return Ok(());
        }
        let power_loss = !it.disk.is_powered();
        self.stop_and_restart(node, power_loss, None)
    }

    /// A client's next message.
    pub(super) fn send_next(&mut self, node: usize, life: u64, at: usize) {
        if self.nodes[node].life != life || at >= self.nodes[node].tasks.len() {
            return;
        }
        let task = &mut self.nodes[node].tasks[at];
        let gap = 1 + self.swarm.gap_nanos / 8 * task.gap;
        if task.patient && !task.awaited.is_empty() {
            // The answer sends the next.
            return;
        }
        let Some(next) = task.sends.pop_front() else { return };
        let more = !task.sends.is_empty();
        let stream = task.stream.unwrap_or(ouroboros_engine::node::RequestId(0));
        let (slot, kind, first) = (task.slot, task.kind.name(), task.stream.is_none());
        let is_open = matches!(next, Send::Open(_));
        let is_data = matches!(next, Send::Data(_));
        if first {
            let what = if self.setting.told { words::task(task) } else { String::new() };
            self.tell(node, Told::Asked { slot }, || format!("{kind} #{slot}{what}"));
        }
        let request = match next {
            Send::Whole(request) => request,
            Send::Open(put) => Request::PutOpen(put),
            Send::Data(data) => Request::PutData { stream, data },
            Send::End => Request::PutEnd { stream },
            Send::Abort => Request::PutAbort { stream },
        };
        self.nodes[node].asked_to_compact |= matches!(request, Request::Compact);
        let id = self.send(node, request);
        let task = &mut self.nodes[node].tasks[at];
        if is_open {
            task.stream = Some(id);
        }
        if is_open || is_data {
            task.awaited.insert(id);
        } else {
            task.last = Some(id);
        }
        if more && !(self.nodes[node].tasks[at].patient && (is_open || is_data)) {
            self.schedule(self.now + gap, Happening::Send { node: node as u8, life, task: at });
        }
    }
}

impl Task {
    /// Whether nothing more will come of it.
    pub(super) fn is_over(&self) -> bool {
        // Of a stream that was refused the pieces are refused one by one.
        self.sends.is_empty() && self.reply.is_some() && self.awaited.is_empty()
    }
}
