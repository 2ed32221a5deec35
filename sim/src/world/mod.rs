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
mod machine;
mod node;
mod restart;
mod rot;
mod rounds;
mod setting;
mod strikes;
mod trace;
mod traffic;

pub(crate) use budget::Budget;
pub use cluster::MAX_NODES;
pub(crate) use setting::{Counts, Ending, Setting};
pub use trace::{CHECKPOINT, TraceEvent, TraceHash};

use crate::disk::Fault;
use crate::network::{Arrival, Port, SimNetwork};
use crate::oracle::{Broken, Plaintext, Promise, bounds};
use crate::probe::ledger::Ledger;
use crate::scenario::{At, Step};
use crate::sometimes::Sometimes;
use crate::story::{Entry, Told};
use crate::swarm::{Disruption, Swarm};
use crate::tape::place::OPERATIONS;
use crate::tape::{Purpose, StreamId, Tape};
use crate::workload::{Workload, keyring};
use node::Node;
use ouroboros_engine::env::{Input, Volume};
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::node::{DamageOutcome, Event, Failure, JobDone, JobId, Reply, Request, RequestId, StoreConfig};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use trace::{Trace, What};

/// Events within one round after which the node is taken for one that is never idle.
const MAX_EVENTS: u64 = 2_000_000;
/// Events while time passes for a node that is gone or started anew, after which the others are taken for the same.
const MAX_MEANWHILE: u64 = 200_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A process takes its turn.
    Turn { node: u8, life: u64 },
    /// A job's time is over.
    JobDone { node: u8, life: u64, job: JobId },
    /// A client's next message of a task of the round.
    Send { node: u8, life: u64, task: usize },
    /// A frame arrives.
    Arrive { arrival: u64 },
    /// A probe is to say something again.
    Probe { node: u8, life: u64 },
    /// A process that got no turn finds its frames.
    Mail { node: u8, life: u64 },
}

impl Happening {
    /// Whose answer, or whose rest, waits for it.
    fn of(&self) -> Option<usize> {
        match self {
            Self::Turn { node, .. } | Self::JobDone { node, .. } | Self::Send { node, .. } => Some(usize::from(*node)),
            // Engines neither send nor await frames yet.
            Self::Arrive { .. } | Self::Probe { .. } | Self::Mail { .. } => None,
        }
    }
}

/// Why the world stopped to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pumped {
    /// What was waited for is there.
    Done,
    /// The node's machine has lost its power.
    Down,
    /// Nothing will ever happen to it again.
    Still,
}

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
        let swarm = cluster::swarm(&setting, &tape);
        let mut steps = setting.steps.clone();
        steps.sort_by_key(|(at, _)| *at);
        let rolls_back = swarm.disruptions[Disruption::RollBack as usize] > 0;
        let keeps_copies = rolls_back || steps.iter().any(|(_, step)| matches!(step, Step::RollBack(_)));
        let keys = keyring(swarm.signatures);
        let config = crate::local::config(&keys, swarm.coding, swarm.chunker);
        Self {
            workload: Workload::new(setting.seed),
            budget: Budget { beyond: setting.beyond },
            network: SimNetwork::new(tape.clone(), setting.nodes, swarm.network),
            trace: Trace::new(setting.logged),
            setting,
            tape,
            swarm,
            keys,
            config,
            plaintext: Plaintext::default(),
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

    fn schedule(&mut self, at: u64, happening: Happening) {
        if let Some(node) = happening.of() {
            self.nodes[node].pending += 1;
        }
        self.heap.push(Reverse((at, self.scheduled, happening)));
        self.scheduled += 1;
    }

    /// Lets a process take its turn, not before a moment and not while its disk is at work or it gets none.
    fn wake(&mut self, node: usize, at: u64) {
        let it = &mut self.nodes[node];
        let at = at.max(it.busy_until).max(it.paused_until);
        if it.turn_at.is_none_or(|planned| planned > at) {
            it.turn_at = Some(at);
            let happening = Happening::Turn { node: it.number, life: it.life };
            self.schedule(at, happening);
        }
    }

    fn is_up(&self, node: usize) -> bool {
        self.nodes[node].process.is_some() && self.nodes[node].disk.is_powered()
    }

    /// Lets the world go on until something is so of a node.
    fn pump(&mut self, node: usize, mut until: impl FnMut(&mut Self) -> bool) -> Result<Pumped, Broken> {
        let first = self.trace.events();
        loop {
            if until(self) {
                return Ok(Pumped::Done);
            }
            if !self.is_up(node) {
                return Ok(Pumped::Down);
            }
            if self.nodes[node].pending == 0 {
                return Ok(Pumped::Still);
            }
            self.next(first)?;
        }
    }

    /// Lets the next thing happen, and says to whom.
    fn next(&mut self, first: u64) -> Result<Option<usize>, Broken> {
        let Some(Reverse((at, _, happening))) = self.heap.pop() else { return Ok(None) };
        let whose = happening.of();
        if let Some(node) = whose {
            self.nodes[node].pending -= 1;
        }
        self.now = self.now.max(at);
        self.happen(at, happening)?;
        if self.trace.events() - first > MAX_EVENTS {
            return Err(Broken::new(Promise::P6, format!("after {MAX_EVENTS} events the node is not idle")));
        }
        Ok(whose)
    }

    /// Lets time pass, and what happens meanwhile.
    fn pass(&mut self, until: u64) -> Result<(), Broken> {
        let first = self.trace.events();
        while self.heap.peek().is_some_and(|next| next.0.0 <= until) {
            self.next(first)?;
            if self.trace.events() - first > MAX_MEANWHILE {
                let what = format!("{MAX_MEANWHILE} events happen while nobody asks anything");
                return Err(Broken::new(Promise::P6, what));
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Whether anything will come of what is to happen.
    fn is_due(&self, at: u64, happening: &Happening) -> bool {
        let of = |node: u8| &self.nodes[usize::from(node)];
        match happening {
            Happening::Turn { node, life } => of(*node).life == *life && of(*node).turn_at == Some(at),
            Happening::JobDone { node, life, job } => of(*node).life == *life && of(*node).jobs.contains_key(job),
            Happening::Send { node, life, task } => of(*node).life == *life && *task < of(*node).tasks.len(),
            Happening::Probe { node, life } => of(*node).life == *life && of(*node).probe_at == Some(at),
            Happening::Mail { node, life } => of(*node).life == *life,
            Happening::Arrive { .. } => true,
        }
    }

    fn happen(&mut self, at: u64, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::Turn { node, life } => {
                let node = usize::from(node);
                if self.nodes[node].life == life && self.nodes[node].turn_at == Some(at) {
                    self.nodes[node].turn_at = None;
                    if self.is_paused(node) {
                        self.wake(node, at);
                    } else {
                        self.turn(node)?;
                    }
                }
            }
            Happening::JobDone { node, life, job } => self.job_done(usize::from(node), life, job)?,
            Happening::Send { node, life, task } => self.send_next(usize::from(node), life, task),
            Happening::Arrive { arrival } => self.arrive(arrival)?,
            Happening::Probe { node, life } => self.probe_due(usize::from(node), life, at)?,
            Happening::Mail { node, life } => self.open_mail(usize::from(node), life)?,
        }
        Ok(())
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
        let held = process.driver.engine().incoming_len();
        let after = process.moment();
        let broken_rule = it.disk.take_broken_rule();
        let operations = it.disk.operations_so_far();
        let ends = self.now + took;
        it.busy_until = ends;
        let due = due.map(|due| it.world_nanos(due).max(ends + 1));
        let (number, life) = (it.number, it.life);
        if it.state.take_struck() {
            self.account(node);
        }
        self.trace.event(self.now, number, What::Turn, &[count, operations, took]);
        if let Some(why) = broken_rule {
            return Err(Broken::new(Promise::P7, format!("a rule of the disk is broken: {why}")));
        }
        if self.nodes[node].disk.is_powered() {
            bounds::check(before, after, &self.swarm.limits)?;
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
        for event in events {
            self.noted(node, &event)?;
        }
        self.nodes[node].fresh = false;
        for (peer, frame) in frames {
            self.transmit(node, peer.0 as u8, Port::Engine, &frame);
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
        let bound = limit + self.nodes[node].tasks.iter().map(|task| task.holds).sum::<usize>();
        if held <= bound {
            return Ok(());
        }
        Err(Broken::new(Promise::P9, format!("{held} B of contents are held, and {bound} B at most may be")))
    }

    fn answered(&mut self, node: usize, id: RequestId, reply: Reply) -> Result<(), Broken> {
        let it = &mut self.nodes[node];
        it.open.remove(&id);
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
                    let text = format!("{kind} #{slot} -> {}", brief(&reply));
                    self.tell(node, Told::Answered { slot, refused }, || text);
                }
                self.nodes[node].tasks[at].reply = Some(reply);
                if self.settling.is_some_and(|other| other != node) {
                    self.counts.reached(Sometimes::AnsweredMeanwhile);
                }
                return Ok(());
            }
            if task.awaited.remove(&id) {
                if let Reply::Failed(failure) = &reply {
                    task.stumbled.get_or_insert_with(|| failure.clone());
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
            let it = &self.nodes[node];
            let of_index = damage.place.starts_with("the index");
            // What rotted and nothing refers to stays as it is until a compaction.
            let harmless = damage.outcome == DamageOutcome::Harmless && it.rotted_before;
            let excused = it.is_excused() || of_index && it.has_spoiled_index() || harmless || self.budget.beyond;
            if !excused {
                self.about = node;
                let what = format!("damage is reported where nothing is damaged: {damage:?}");
                return Err(Broken::new(Promise::P2, what));
            }
        }
        Ok(())
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
                let may = !self.healed && self.budget.permits(volume, fault, opening) && fault != Fault::EarlyEnd;
                let rate = |rate: u32| if may { rate.max(least) } else { 0 };
                disk.set_rate_on(volume, fault, rate(self.swarm.faults[fault as usize]));
                if self.swarm.storm.is_some() {
                    disk.set_storm_rate_on(volume, fault, rate(self.swarm.storm_rate(fault)));
                }
            }
        }
        disk.set_storm(self.swarm.storm.filter(|_| !self.healed));
    }
}

impl Node {
    /// Whether there may be damage that is no defect of the node's: by faults, by rot, or by a power failure that tore what
    /// nobody was told of.
    fn is_excused(&self) -> bool {
        self.rotten || self.torn || self.has_faults()
    }

    /// Whether its index may hold what faults of an earlier life have spoiled, or left half written: a page that nobody has read
    /// since, not even the opening, is found by the first who does.
    fn has_spoiled_index(&self) -> bool {
        self.harm() > 0
    }

    /// Whether faults that an answer may be about have struck since the process was started.
    fn has_faults(&self) -> bool {
        self.harm() > self.faults_before
    }

    fn harm(&self) -> u64 {
        let counts = self.disk.fault_counts();
        counts.total() - counts.of(Fault::Slow) - counts.of(Fault::Crash)
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

fn brief(reply: &Reply) -> String {
    match reply {
        Reply::Put(results) => {
            let words = results.iter().map(|result| match result {
                Ok(written) => format!("durable {:.8}", written.id.to_string()),
                Err(failure) => format!("refused: {failure}"),
            });
            words.collect::<Vec<_>>().join(", ")
        }
        Reply::Got(results) => {
            let words = results.iter().map(|result| match result {
                Ok(got) => format!("{:.8} of {} B", got.version.id.to_string(), got.version.len),
                Err(failure) => failure.to_string(),
            });
            words.collect::<Vec<_>>().join(", ")
        }
        Reply::Data(pieces) => format!("{} B", pieces.iter().map(bytes::Bytes::len).sum::<usize>()),
        Reply::Versions(versions) => format!("{} versions", versions.len()),
        Reply::Failed(failure) => format!("failed: {failure}"),
        other => format!("{other:.120?}"),
    }
}
