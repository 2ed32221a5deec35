//! The world: virtual time, nodes with their disks and clocks, and everything that befalls them.
//!
//! A discrete-event scheduler: a heap of moments, nothing is polled. Clients send *rounds* of operations to every node, one
//! operation or several that overlap. When a node's part of a round has ended, its oracle looks at what it has done (with
//! no fault striking it meanwhile) and the world may do something to it, while the others go on. A process that dies ends
//! its part of the round.

mod budget;
mod check;
mod cluster;
mod detail;
mod ending;
mod machine;
mod node;
mod restart;
mod rot;
mod rounds;
mod scheduler;
mod setting;
mod strikes;
mod trace;
mod traffic;

pub(crate) use budget::Budget;
pub use cluster::MAX_NODES;
pub(crate) use cluster::swarm;
pub(crate) use setting::{Counts, Ending, Setting};
pub use trace::{CHECKPOINT, TraceEvent, TraceHash};

use crate::disk::Fault;
use crate::network::{Arrival, Port, SimNetwork};
use crate::oracle::{Broken, Plaintext, Promise, bounds, demand, is_of_index};
use crate::probe::ledger::Ledger;
use crate::scenario::{At, Step};
use crate::sometimes::Sometimes;
use crate::story::{Entry, Told, words};
use crate::swarm::{Disruption, Swarm};
use crate::tape::place::OPERATIONS;
use crate::tape::{Purpose, StreamId, Tape};
use crate::workload::{Workload, keyring};
use node::Node;
use ouroboros_engine::env::{Input, Volume};
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::node::{DamageOutcome, Event, Failure, JobDone, JobId, Reply, Request, RequestId, StoreConfig};
use scheduler::{Happening, Pumped};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use trace::{Trace, What};

/// See the module's text.
pub(crate) struct World {
    setting: Setting,
    tape: Tape,
    swarm: Swarm,
    workload: Workload,
    budget: Budget,
    keys: Arc<Keyring>,
    config: StoreConfig,
    plaintext: Plaintext,
    now: u64,
    heap: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    scheduled: u64,
    nodes: Vec<Node>,
    network: SimNetwork,
    /// Frames on their way.
    arrivals: BTreeMap<u64, Arrival>,
    ledger: Ledger,
    /// The faults have stopped for good.
    healed: bool,
    /// Whom it is about: who broke a promise, if one breaks now.
    about: usize,
    /// Whose part of the round is over, and who is started anew or looked at.
    settling: Option<usize>,
    /// What a scenario still asks for.
    steps: VecDeque<(At, Step)>,
    /// Whether old copies of disks are kept.
    keeps_copies: bool,
    next_request: u64,
    trace: Trace,
    pub(crate) counts: Counts,
    story: Vec<Entry>,
}

impl core::fmt::Debug for World {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(setting: Setting, tape: Tape) -> Self {
        let swarm = swarm(&setting, &tape);
        let mut steps = setting.steps.clone();
        steps.sort_by_key(|(at, _)| *at);
        let rolls_back = swarm.disruptions[Disruption::RollBack as usize] > 0;
        // What a schedule says happens, whatever the rates are.
        let keeps_copies =
            rolls_back || tape.is_replayed() || steps.iter().any(|(_, step)| matches!(step, Step::RollBack(_)));
        let keys = keyring(swarm.signatures);
        let config = crate::local::config(&keys, swarm.coding, swarm.chunker);
        let workload = Workload::new(setting.seed);
        Self {
            plaintext: Plaintext::new(&keys, &workload.scopes()),
            workload,
            budget: Budget { beyond: setting.beyond },
            network: SimNetwork::new(tape.clone(), setting.nodes, swarm.network),
            trace: Trace::new(setting.logged),
            setting,
            tape,
            swarm,
            keys,
            config,
            now: 0,
            heap: BinaryHeap::new(),
            scheduled: 0,
            nodes: Vec::new(),
            arrivals: BTreeMap::new(),
            ledger: Ledger::default(),
            healed: false,
            about: 0,
            settling: None,
            steps: steps.into(),
            keeps_copies,
            next_request: 1,
            counts: Counts::default(),
            story: Vec::new(),
        }
    }

    pub(crate) fn end(mut self) -> Ending {
        let (choices, now) = (self.tape.count(), self.now);
        self.trace.event(now, 0, What::Ended, &[choices]);
        self.nodes.iter().for_each(|node| self.trace.disk(&node.disk.digest()));
        let events = self.trace.events();
        let (trace, checkpoints, log) = self.trace.finish();
        Ending { trace, checkpoints, log, events, virtual_ns: self.now, counts: self.counts, story: self.story }
    }

    /// An entry of the story, if it is told.
    fn tell(&mut self, node: usize, told: Told, text: impl FnOnce() -> String) {
        if self.setting.told {
            self.story.push(Entry { at: self.now, node: node as u8, told, text: text() });
        }
    }

    fn is_up(&self, node: usize) -> bool {
        self.nodes[node].process.is_some() && self.nodes[node].disk.is_powered()
    }

    fn job_done(&mut self, node: usize, life: u64, id: JobId) -> Result<(), Broken> {
        if self.nodes[node].life != life {
            return Ok(());
        }
        if self.is_paused(node) {
            let until = self.nodes[node].paused_until;
            self.schedule(until, Happening::JobDone { node: node as u8, life, job: id });
            return Ok(());
        }
        let it = &mut self.nodes[node];
        let Some(job) = it.jobs.remove(&id) else { return Ok(()) };
        let scratch = &mut it.scratch;
        let result = catch_unwind(AssertUnwindSafe(|| job.run(scratch)));
        let outcome = result.map_err(|panic| self.panicked(node, &*panic, "a job"))?;
        let it = &mut self.nodes[node];
        it.inbox.push(Input::JobDone(JobDone { id, outcome }));
        self.trace.event(self.now, node as u8, What::JobDone, &[id.0]);
        self.wake(node, self.now);
        Ok(())
    }

    /// One turn of a node's loop.
    fn turn(&mut self, node: usize) -> Result<(), Broken> {
        if !self.is_up(node) {
            // Its machine waits for somebody to see that it is down, while the others go on.
            return Ok(());
        }
        let it = &mut self.nodes[node];
        let now = it.now(self.now);
        let Some(process) = &mut it.process else { return Ok(()) };
        let inputs = std::mem::take(&mut it.inbox);
        let count = inputs.len() as u64;
        if std::mem::take(&mut it.paused_until) > 0 && count > 0 {
            self.counts.sometimes.reached(Sometimes::PausedOver);
        }
        let busy = it.disk.busy_nanos();
        let before = process.moment();
        let turned = catch_unwind(AssertUnwindSafe(|| process.turn(now, inputs)));
        let due = match turned {
            Ok(due) => due,
            Err(panic) => return Err(self.panicked(node, &*panic, "the node")),
        };
        let took = it.disk.busy_nanos() - busy;
        let jobs = std::mem::take(&mut process.host.jobs);
        let replies = std::mem::take(&mut process.host.replies);
        let events = std::mem::take(&mut process.host.events);
        let frames = process.frames();
        let after = process.moment();
        let held = after.held.contents_len - after.held.given_up_len;
        let broken_rule = it.disk.take_broken_rule();
        let reused_nonce = it.disk.take_reused_nonce();
        let (operations, trail, handles) = (it.disk.operations_so_far(), it.disk.trail(), it.disk.open_handles());
        let ends = self.now + took;
        it.busy_until = ends;
        let due = due.map(|due| it.world_nanos(due).max(ends + 1));
        let (number, life) = (it.number, it.life);
        if it.state.take_struck() {
            self.account(node);
        }
        self.trace.event(self.now, number, What::Turn, &[count, operations, took, trail]);
        if let Some(why) = broken_rule {
            return Err(Broken::new(Promise::P7, format!("a rule of the disk is broken: {why}")));
        }
        if let Some(what) = reused_nonce {
            return Err(Broken::new(Promise::P8, what));
        }
        if self.nodes[node].disk.is_powered() {
            bounds::check(before, after, &self.swarm.limits)?;
            bounds::check_handles(handles)?;
        }
        for (id, job) in jobs {
            let it = &mut self.nodes[node];
            it.jobs.insert(id, job);
            it.jobs_started += 1;
            // The calm choice is the mean.
            let position = it.place() * OPERATIONS + it.jobs_started;
            let eighth = self.tape.below_at(StreamId::new(Purpose::Job, number), position, 8);
            let mean = self.swarm.job_nanos;
            let takes = [mean, mean / 8, mean / 4, mean / 2, mean, mean * 2, mean * 4, mean * 16][eighth as usize];
            self.schedule(ends + takes, Happening::JobDone { node: number, life, job: id });
        }
        for (id, reply) in replies {
            self.trace.event(ends, number, What::Answered, &[id.0]);
            self.trace.reply(&reply);
            self.answered(node, id, reply)?;
        }
        self.is_bounded(node, held)?;
        self.goes_on(node, due.is_none_or(|due| due > ends + 1))?;
        for event in events {
            self.noted(node, &event)?;
        }
        self.nodes[node].fresh = false;
        for (peer, frame) in frames {
            self.transmit(node, peer.0 as u8, Port::Engine, &frame)?;
        }
        if let Some(due) = due {
            self.wake(node, due);
        }
        self.loom(node);
        Ok(())
    }

    /// What a node holds of contents on their way in is what its limit says, and what each client may add.
    fn is_bounded(&self, node: usize, held: usize) -> Result<(), Broken> {
        let limit = self.swarm.limits.inflight_len;
        if held <= limit {
            return Ok(());
        }
        let it = &self.nodes[node];
        let last = if it.over { ending::LAST_STREAM_LEN } else { 0 };
        let bound = limit + it.tasks.iter().map(|task| task.holds).sum::<usize>() + last;
        if held <= bound {
            return Ok(());
        }
        Err(Broken::new(Promise::P9, format!("{held} B of contents are held, and {bound} B at most may be")))
    }

    /// Nobody's answer waits for the clock: where a process has nothing under way, and nothing comes from its clients, it
    /// either has answered or takes another turn at once.
    fn goes_on(&self, node: usize, waits: bool) -> Result<(), Broken> {
        let it = &self.nodes[node];
        let silent = it.jobs.is_empty() && it.inbox.is_empty() && it.tasks.iter().all(|task| task.sends.is_empty());
        let left = it.open.iter().next().filter(|_| waits && silent && it.disk.is_powered());
        let Some(request) = left else { return Ok(()) };
        Err(Broken::new(Promise::P9, format!("the answer to request {} waits for the clock", request.0)))
    }

    fn answered(&mut self, node: usize, id: RequestId, reply: Reply) -> Result<(), Broken> {
        let it = &mut self.nodes[node];
        demand!(
            P9,
            it.open.remove(&id),
            "request {} is answered, and it was before or never came: {reply:.200?}",
            id.0
        );
        let disk_failed = |failure: &Failure| matches!(failure, Failure::Disk(_));
        it.read_only |= match &reply {
            Reply::Failed(failure) => disk_failed(failure),
            Reply::Put(results) => results.iter().any(|result| result.as_ref().is_err_and(disk_failed)),
            _ => false,
        };
        let mut ready = None;
        for (at, task) in it.tasks.iter_mut().enumerate() {
            if task.last == Some(id) {
                task.awaited.remove(&id);
                let (slot, kind) = (task.slot, task.kind.name());
                let refused = match &reply {
                    Reply::Failed(_) => true,
                    Reply::Put(results) => results.iter().any(Result::is_err),
                    Reply::Got(results) => results.iter().any(Result::is_err),
                    _ => false,
                };
                self.notice(node, at, &reply);
                if self.setting.told {
                    let text = format!("{kind} #{slot} -> {}", words::reply(&reply));
                    self.tell(node, Told::Answered { slot, refused }, || text);
                }
                self.nodes[node].tasks[at].reply = Some(reply);
                if self.settling.is_some_and(|other| other != node) {
                    self.counts.reached(Sometimes::AnsweredMeanwhile);
                }
                return Ok(());
            }
            if task.awaited.remove(&id) {
                match &reply {
                    Reply::Ready => {}
                    Reply::Failed(failure) => drop(task.stumbled.get_or_insert_with(|| failure.clone())),
                    other => return Err(Broken::new(Promise::P2, format!("{other:.200?} is no answer to a stream"))),
                }
                if task.patient && task.awaited.is_empty() && !task.sends.is_empty() {
                    self.counts.reached(Sometimes::StreamWaited);
                    ready = Some(at);
                }
                if ready.is_some() {
                    break;
                }
                return Ok(());
            }
        }
        let it = &mut self.nodes[node];
        match ready {
            Some(task) => {
                let happening = Happening::Send { node: it.number, life: it.life, task };
                self.schedule(self.now + 1, happening);
            }
            None => {
                it.replies.insert(id, reply);
            }
        }
        Ok(())
    }

    fn noted(&mut self, node: usize, event: &Event) -> Result<(), Broken> {
        if matches!(event, Event::Diverged { .. }) {
            self.counts.reached(Sometimes::Diverged);
        }
        if let Event::Integrity(damage) = event {
            self.tell(node, Told::Damage, || format!("damage: {} {:?}", damage.place, damage.outcome));
            if self.nodes[node].fresh && damage.outcome == DamageOutcome::Healed {
                self.counts.reached(Sometimes::OpeningHealed);
            }
            let of_index = is_of_index(damage);
            self.nodes[node].blind |= of_index;
            let it = &self.nodes[node];
            // What rotted and nothing refers to stays as it is until a compaction, or heals with what stands beside it; and an index
            // that is made anew meanwhile may refer to it once more, until it is swept.
            let is_left = it.left_rot.iter().any(|rot| rot.is_in_segment_of(&damage.place));
            let harmless = damage.outcome == DamageOutcome::Harmless && it.rotted_before
                || matches!(damage.outcome, DamageOutcome::Healed | DamageOutcome::Healable) && is_left;
            let excused = it.is_excused() || of_index && it.has_spoiled_index() || harmless || self.budget.beyond;
            if !excused {
                self.about = node;
                let what = format!("damage is reported where nothing is damaged: {damage:?}");
                return Err(Broken::new(Promise::P2, what));
            }
        }
        Ok(())
    }

    /// What the next request will be called.
    const fn next_request(&self) -> RequestId {
        RequestId(self.next_request)
    }

    /// Puts a request into a node's mailbox.
    fn send(&mut self, node: usize, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.trace.event(self.now, node as u8, What::Asked, &[id.0]);
        let it = &mut self.nodes[node];
        it.inbox.push(Input::Request(id, request));
        it.open.insert(id);
        self.wake(node, self.now);
        id
    }

    /// Sets the rates of all faults as they are to be now.
    fn set_rates(&self, node: usize, opening: bool) {
        let disk = &self.nodes[node].disk;
        // A fault that is told to strike does so in a world that has none of its kind.
        let least = u32::from(self.tape.is_replayed());
        for volume in [Volume::Blocks, Volume::Index] {
            for fault in Fault::ALL {
                let may = !self.healed && self.budget.permits(volume, fault) && fault != Fault::EarlyEnd;
                // There is an elsewhere now.
                let more = if fault == Fault::MisdirectedWriteElsewhere && self.nodes[node].keyless { 8 } else { 1 };
                let rate = |rate: u32| if may { rate.saturating_mul(more).max(least) } else { 0 };
                disk.set_rate_on(volume, fault, rate(self.swarm.faults[fault as usize]));
                if self.swarm.storm.is_some() {
                    disk.set_storm_rate_on(volume, fault, rate(self.swarm.storm_rate(fault)));
                }
            }
        }
        disk.limit_misreads(self.budget.misreads(opening));
        disk.set_storm(self.swarm.storm.filter(|_| !self.healed));
    }
}

impl World {
    /// A panic is a broken promise of a node's.
    fn panicked(&mut self, node: usize, panic: &(dyn core::any::Any + Send), who: &str) -> Broken {
        self.about = node;
        panicked(panic, who)
    }
}

fn panicked(panic: &(dyn core::any::Any + Send), who: &str) -> Broken {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why");
    Broken::new(Promise::P2, format!("{who} panicked: {message}"))
}
