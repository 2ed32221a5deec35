//! The world: virtual time, nodes with their disks and clocks, and everything that befalls them.
//!
//! A discrete-event scheduler: a heap of moments, nothing is polled. Clients send *rounds* of operations, one operation or
//! several that overlap; when a round has ended, the oracle looks at what it has done (with no fault striking
//! meanwhile) and the world may do something to the node. A process that dies ends its round.

mod budget;
mod check;
mod detail;
mod network;
mod node;
mod restart;
mod rounds;
mod strikes;
mod trace;

pub(crate) use budget::Budget;
pub use network::{Arrival, Link, SimNetwork};
pub use trace::{CHECKPOINT, TraceEvent, TraceHash};

use crate::disk::{Fault, FaultCounts, FaultPlan, FaultyDisk};
use crate::oracle::{Broken, Oracle, Plaintext, Promise, Violation, bounds};
use crate::sometimes::{Sometimes, SometimesCounts};
use crate::story::{Entry, Told};
use crate::swarm::Swarm;
use crate::table::FaultTable;
use crate::tape::{Purpose, StreamId, Tape};
use crate::workload::{Task, Workload, keyring};
use node::Node;
use ouroboros_engine::env::{Input, Volume};
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::node::{
    DamageOutcome, Event, Failure, JobDone, JobId, PeerId, Reply, Request, RequestId, StoreConfig,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use trace::{Trace, What};

/// Events within one round after which the node is taken for one that is never idle.
const MAX_EVENTS: u64 = 2_000_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A process takes its turn.
    Turn { node: u8, life: u64 },
    /// A job's time is over.
    JobDone { node: u8, life: u64, job: JobId },
    /// A client's next message of a task of the round.
    Send { node: u8, life: u64, task: usize },
    /// A frame arrives.
    Arrive { arrival: usize },
}

/// Why the world stopped to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pumped {
    /// What was waited for is there.
    Done,
    /// The node's machine has lost its power.
    Down,
    /// Nothing will ever happen again.
    Still,
}

/// Counts of what the world did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) operations: u64,
    pub(crate) faults: FaultCounts,
    pub(crate) table: FaultTable,
    pub(crate) sometimes: SometimesCounts,
    pub(crate) done: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    pub(crate) const fn reached(&mut self, what: Sometimes) {
        self.sometimes.reached(what);
    }
}

/// What a run is given.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) operations: u32,
    pub(crate) beyond: bool,
    pub(crate) canary: bool,
    pub(crate) told: bool,
    pub(crate) logged: bool,
    /// A planted nondeterminism: the oracle asks in the order of a hash map.
    #[cfg(feature = "planted")]
    pub(crate) disorder: bool,
}

impl Setting {
    pub(crate) const fn new(seed: u64, operations: u32) -> Self {
        Self {
            seed,
            operations,
            beyond: false,
            canary: false,
            told: false,
            logged: false,
            #[cfg(feature = "planted")]
            disorder: false,
        }
    }
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
    arrivals: Vec<Arrival>,
    /// The faults have stopped for good.
    healed: bool,
    /// The round under way.
    tasks: Vec<Task>,
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

/// What a run leaves.
pub(crate) struct Ending {
    pub(crate) trace: TraceHash,
    pub(crate) checkpoints: Vec<TraceHash>,
    pub(crate) log: Vec<TraceEvent>,
    pub(crate) events: u64,
    pub(crate) virtual_ns: u64,
    pub(crate) counts: Counts,
    pub(crate) story: Vec<Entry>,
}

impl World {
    pub(crate) fn new(setting: Setting, tape: Tape) -> Self {
        let swarm = Swarm::draw(&tape);
        let keys = keyring(swarm.signatures);
        let config = crate::local::config(&keys, swarm.coding, swarm.chunker);
        let latency = Link { latency: 200_000, jitter: 2_000_000, ..Link::default() };
        Self {
            workload: Workload::new(setting.seed),
            budget: Budget { beyond: setting.beyond },
            network: SimNetwork::new(tape.clone(), latency),
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
            arrivals: Vec::new(),
            healed: false,
            tasks: Vec::new(),
            next_request: 1,
            counts: Counts::default(),
            story: Vec::new(),
        }
    }

    /// Runs everything, and says what broke.
    pub(crate) fn run(&mut self) -> Option<Violation> {
        let node = 0;
        let plan = FaultPlan::new(0).latency(self.swarm.disk_nanos, self.swarm.slow_nanos).burst(self.swarm.burst);
        let disk = FaultyDisk::new(plan);
        disk.limit_log(0);
        disk.choose_by(self.tape.clone(), node as u8);
        if !self.setting.beyond {
            disk.hold_to_rules();
        }
        let mut oracle = Oracle::new(self.keys.author(), self.setting.canary);
        oracle.beyond = self.setting.beyond;
        self.nodes.push(Node::new(node as u8, disk, oracle, self.swarm.drift));
        let result = self.play(node);
        self.account(node);
        if let Some(node) = self.nodes.first() {
            self.counts.faults.add(&node.disk.fault_counts());
        }
        result.err().map(|broken| {
            self.tell(node, Told::Broken, || format!("BROKEN: {} {}", broken.promise, broken.what));
            let Broken { promise, what } = broken;
            Violation { promise, what, at_virtual_ns: self.now, node: node as u8 }
        })
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
        self.heap.push(Reverse((at, self.scheduled, happening)));
        self.scheduled += 1;
    }

    /// Lets a process take its turn, not before a moment and not while its disk is at work.
    fn wake(&mut self, node: usize, at: u64) {
        let it = &mut self.nodes[node];
        let at = at.max(it.busy_until);
        if it.turn_at.is_none_or(|planned| planned > at) {
            it.turn_at = Some(at);
            let happening = Happening::Turn { node: it.number, life: it.life };
            self.schedule(at, happening);
        }
    }

    fn is_up(&self, node: usize) -> bool {
        self.nodes[node].process.is_some() && self.nodes[node].disk.is_powered()
    }

    /// Lets the world go on until something is so.
    fn pump(&mut self, node: usize, mut until: impl FnMut(&mut Self) -> bool) -> Result<Pumped, Broken> {
        let first = self.trace.events();
        loop {
            if until(self) {
                return Ok(Pumped::Done);
            }
            if !self.is_up(node) {
                return Ok(Pumped::Down);
            }
            let Some(Reverse((at, _, happening))) = self.heap.pop() else { return Ok(Pumped::Still) };
            self.now = self.now.max(at);
            self.happen(at, happening)?;
            if self.trace.events() - first > MAX_EVENTS {
                return Err(Broken::new(Promise::P6, format!("after {MAX_EVENTS} events the node is not idle")));
            }
        }
    }

    /// Whether anything will come of what is to happen.
    fn is_due(&self, at: u64, happening: &Happening) -> bool {
        let of = |node: u8| &self.nodes[usize::from(node)];
        match happening {
            Happening::Turn { node, life } => of(*node).life == *life && of(*node).turn_at == Some(at),
            Happening::JobDone { node, life, job } => of(*node).life == *life && of(*node).jobs.contains_key(job),
            Happening::Send { node, life, task } => of(*node).life == *life && *task < self.tasks.len(),
            Happening::Arrive { .. } => true,
        }
    }

    fn happen(&mut self, at: u64, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::Turn { node, life } => {
                let node = usize::from(node);
                if self.nodes[node].life == life && self.nodes[node].turn_at == Some(at) {
                    self.nodes[node].turn_at = None;
                    self.turn(node)?;
                }
            }
            Happening::JobDone { node, life, job } => self.job_done(usize::from(node), life, job)?,
            Happening::Send { node, life, task } => self.send_next(usize::from(node), life, task),
            Happening::Arrive { arrival } => {
                let Some(Arrival { from, to, frame, .. }) = self.arrivals.get(arrival).cloned() else { return Ok(()) };
                self.trace.event(self.now, to, What::Frame, &[u64::from(from), frame.len() as u64]);
                let to = usize::from(to);
                if to < self.nodes.len() && self.is_up(to) {
                    self.nodes[to].inbox.push(Input::Message(PeerId(u64::from(from)), frame));
                    self.wake(to, self.now);
                }
            }
        }
        Ok(())
    }

    fn job_done(&mut self, node: usize, life: u64, id: JobId) -> Result<(), Broken> {
        let it = &mut self.nodes[node];
        if it.life != life {
            return Ok(());
        }
        let Some(job) = it.jobs.remove(&id) else { return Ok(()) };
        let scratch = &mut it.scratch;
        let outcome =
            catch_unwind(AssertUnwindSafe(|| job.run(scratch))).map_err(|panic| panicked(&*panic, "a job"))?;
        it.inbox.push(Input::JobDone(JobDone { id, outcome }));
        self.trace.event(self.now, node as u8, What::JobDone, &[id.0]);
        self.wake(node, self.now);
        Ok(())
    }

    /// One turn of a node's loop.
    fn turn(&mut self, node: usize) -> Result<(), Broken> {
        let it = &mut self.nodes[node];
        let now = it.now(self.now);
        let Some(process) = &mut it.process else { return Ok(()) };
        let inputs = std::mem::take(&mut it.inbox);
        let count = inputs.len() as u64;
        let busy = it.disk.busy_nanos();
        let before = process.moment();
        let due = catch_unwind(AssertUnwindSafe(|| process.turn(now, inputs)))
            .map_err(|panic| panicked(&*panic, "the node"))?;
        let took = it.disk.busy_nanos() - busy;
        let jobs = std::mem::take(&mut process.host.jobs);
        let replies = std::mem::take(&mut process.host.replies);
        let events = std::mem::take(&mut process.host.events);
        let frames = process.frames();
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
            let eighth = self.tape.below_at(StreamId::new(Purpose::Job, number), it.jobs_started, 8);
            let mean = self.swarm.job_nanos;
            let takes = [mean, mean / 8, mean / 4, mean / 2, mean, mean * 2, mean * 4, mean * 16][eighth as usize];
            self.schedule(ends + takes, Happening::JobDone { node: number, life, job: id });
        }
        for (id, reply) in replies {
            self.trace.event(ends, number, What::Answered, &[id.0]);
            self.trace.reply(&reply);
            self.answered(node, id, reply);
        }
        for event in events {
            self.noted(node, &event)?;
        }
        self.nodes[node].fresh = false;
        for (peer, frame) in frames {
            for arrival in self.network.send(self.now, number, peer.0 as u8, &frame) {
                let at = arrival.at;
                self.arrivals.push(arrival);
                self.schedule(at, Happening::Arrive { arrival: self.arrivals.len() - 1 });
            }
        }
        if let Some(due) = due {
            self.wake(node, due);
        }
        self.loom(node);
        Ok(())
    }

    fn answered(&mut self, node: usize, id: RequestId, reply: Reply) {
        let it = &mut self.nodes[node];
        it.open.remove(&id);
        let disk_failed = |failure: &Failure| matches!(failure, Failure::Disk(_));
        it.read_only |= match &reply {
            Reply::Failed(failure) => disk_failed(failure),
            Reply::Put(results) => results.iter().any(|result| result.as_ref().is_err_and(disk_failed)),
            _ => false,
        };
        let mut ready = None;
        for (at, task) in self.tasks.iter_mut().enumerate() {
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
                self.tasks[at].reply = Some(reply);
                return;
            }
            if task.awaited.remove(&id) {
                if let Reply::Failed(failure) = &reply {
                    task.stumbled.get_or_insert_with(|| failure.clone());
                }
                if task.patient && task.awaited.is_empty() && !task.sends.is_empty() {
                    self.counts.reached(Sometimes::StreamWaited);
                    ready = Some(at);
                    break;
                }
                return;
            }
        }
        match ready {
            Some(task) => {
                let happening = Happening::Send { node: it.number, life: it.life, task };
                self.schedule(self.now + 1, happening);
            }
            None => {
                it.replies.insert(id, reply);
            }
        }
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
            let excused = it.is_excused() || self.budget.beyond;
            if !excused {
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
        for volume in [Volume::Blocks, Volume::Index] {
            for fault in Fault::ALL {
                let may = !self.healed && self.budget.permits(volume, fault, opening);
                let rate = |rate: u32| if may { rate } else { 0 };
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

    /// Whether faults that an answer may be about have struck since the process was started.
    fn has_faults(&self) -> bool {
        self.harm() > self.faults_before
    }

    fn harm(&self) -> u64 {
        let counts = self.disk.fault_counts();
        counts.total() - counts.of(Fault::Slow) - counts.of(Fault::Crash)
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
