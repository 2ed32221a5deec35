//! One run, from a seed or a schedule, to its report.

use crate::disk::{Fault, FaultCounts};
use crate::network::{NetworkCounts, NetworkFault};
use crate::oracle::Violation;
pub use crate::probe::ledger::ProbeCounts;
use crate::scenario::{At, NodeId, Step};
use crate::schedule::Schedule;
use crate::sometimes::SometimesCounts;
use crate::story::Entry;
use crate::swarm::Swarm;
use crate::table::FaultTable;
use crate::tape::{Choices, Tape};
use crate::world::{self, MAX_NODES, Setting, TraceEvent, TraceHash, World};
use core::time::Duration;
use ouroboros_engine::planted::Bug;
use std::collections::BTreeMap;

/// Slots of a workload unless told otherwise.
pub const OPERATIONS: u32 = 50;

/// A run to be.
///
/// ```
/// use ouroboros_sim::Sim;
///
/// let report = Sim::new(7).operations(12).run();
/// assert_eq!(report.violation, None);
/// // The schedule holds every choice: it runs the same again, whatever the generator of choices becomes.
/// let again = Sim::replay(&report.schedule).run();
/// assert_eq!(again.trace, report.trace);
/// ```
#[derive(Clone, Debug)]
pub struct Sim {
    setting: Setting,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Seed,
    Choices(Choices),
    Bytes(Vec<u8>),
}

impl Source {
    fn tape(&self, seed: u64) -> Tape {
        match self {
            Self::Seed => Tape::random(seed),
            Self::Choices(choices) => Tape::replay(choices.clone()),
            Self::Bytes(input) => Tape::bytes(input),
        }
    }
}

/// What a run was.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The hash of everything that happened.
    pub trace: TraceHash,
    /// The hash so far, every [`CHECKPOINT`](crate::world::CHECKPOINT) events.
    pub checkpoints: Vec<TraceHash>,
    /// Every event by itself; empty unless [`Sim::logged`].
    pub log: Vec<TraceEvent>,
    /// Operations that clients asked for.
    pub operations: u64,
    /// Events.
    pub events: u64,
    /// Virtual nanoseconds.
    pub virtual_ns: u64,
    /// The promise that broke.
    pub violation: Option<Violation>,
    /// All choices that were not calm, and what else it takes to run the same again.
    pub schedule: Schedule,
    /// Which faults struck the disks, and how often.
    pub faults: FaultCounts,
    /// What struck, and while the node did what.
    pub table: FaultTable,
    /// Which of the states that must be reached were.
    pub sometimes: SometimesCounts,
    /// How many nodes there were.
    pub nodes: u8,
    /// What the network carried, and what befell it.
    pub network: NetworkCounts,
    /// What the nodes' probes said to each other.
    pub probe: ProbeCounts,
    /// How often each operation and each disruption took place.
    pub counts: BTreeMap<&'static str, u64>,
    /// What happened; empty unless [`Sim::told`].
    pub story: Vec<Entry>,
}

impl Sim {
    /// A run of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { setting: Setting::new(seed, OPERATIONS), source: Source::Seed }
    }

    /// The run that a schedule describes.
    #[must_use]
    pub fn replay(schedule: &Schedule) -> Self {
        let Schedule { seed, operations, beyond, canary, nodes, calm, .. } = *schedule;
        let nodes = nodes.clamp(1, MAX_NODES);
        let steps = schedule.steps.clone();
        let named = |bug: &&Bug| Some(bug.name()) == schedule.planted.as_deref();
        let planted = Bug::ALL.iter().find(named).copied();
        let setting = Setting { beyond, canary, nodes, calm, steps, planted, ..Setting::new(seed, operations) };
        Self { setting, source: Source::Choices(schedule.choices.clone()) }
    }

    /// A run whose choices a fuzzer makes.
    #[must_use]
    pub fn of_bytes(input: &[u8]) -> Self {
        Self { source: Source::Bytes(input.to_vec()), ..Self::new(0) }
    }

    /// How many operations clients ask for, at most. They are dealt to the nodes evenly: of three nodes each has a third as
    /// many slots, and every round of the run has a part for each node.
    #[must_use]
    pub const fn operations(mut self, operations: u32) -> Self {
        self.setting.operations = operations;
        self
    }

    /// How many nodes there are, each with a disk, clocks, clients and a store of its own. One, unless this says otherwise.
    ///
    /// # Panics
    /// When there are none, or more than [`MAX_NODES`].
    #[must_use]
    pub const fn nodes(mut self, nodes: u8) -> Self {
        assert!(nodes >= 1 && nodes <= MAX_NODES, "a world has between 1 node and MAX_NODES");
        self.setting.nodes = nodes;
        self
    }

    /// The seed draws how many nodes there are, between these, both of them included.
    #[must_use]
    pub fn any_nodes(self, least: u8, most: u8) -> Self {
        let more = crate::swarm::draw_nodes(self.setting.seed, most.saturating_sub(least));
        self.nodes(least.saturating_add(more))
    }

    /// Lets the world destroy more than the promises allow for. Then the only demand is a clear error, never wrong bytes.
    #[must_use]
    pub const fn beyond(mut self, beyond: bool) -> Self {
        self.setting.beyond = beyond;
        self
    }

    /// Lets the oracle take something right for a broken promise: to show that a simulator that finds nothing is awake.
    #[must_use]
    pub const fn canary(mut self, canary: bool) -> Self {
        self.setting.canary = canary;
        self
    }

    /// Writes the story down.
    #[must_use]
    pub const fn told(mut self, told: bool) -> Self {
        self.setting.told = told;
        self
    }

    /// Keeps every event of the trace, to find the first that differs between two runs.
    #[must_use]
    pub const fn logged(mut self, logged: bool) -> Self {
        self.setting.logged = logged;
        self
    }

    /// Plants a bug in the engine. A schedule that was recorded so says so, and plants it again.
    #[cfg(feature = "planted")]
    #[must_use]
    pub const fn planted(mut self, bug: Bug) -> Self {
        self.setting.planted = Some(bug);
        self
    }

    /// Plants a mistake in the nodes' probes. An oracle of theirs that does not see it proves nothing.
    #[cfg(feature = "planted")]
    #[must_use]
    pub const fn flaw(mut self, flaw: crate::probe::ProbeFlaw) -> Self {
        self.setting.flaw = Some(flaw);
        self
    }

    /// Plants a nondeterminism: the oracle asks in the order of a hash map with a random state. A comparison of traces that
    /// does not see it proves nothing.
    #[cfg(feature = "planted")]
    #[must_use]
    pub const fn disorder(mut self, disorder: bool) -> Self {
        self.setting.disorder = disorder;
        self
    }

    /// What the run will be like.
    #[must_use]
    pub fn swarm(&self) -> Swarm {
        world::swarm(&self.setting, &self.source.tape(self.setting.seed))
    }

    /// How far the clock of each node is off, in parts per million.
    #[must_use]
    pub fn drifts_ppm(&self) -> Vec<i64> {
        let (tape, swarm) = (self.source.tape(self.setting.seed), self.swarm());
        (0..self.setting.nodes).map(|node| swarm.drift_of(&tape, node)).collect()
    }

    /// Runs.
    #[must_use]
    pub fn run(self) -> Report {
        let Self { setting, source } = self;
        let tape = source.tape(setting.seed);
        #[cfg(feature = "planted")]
        let planting = setting.planted.map(ouroboros_engine::planted::plant);
        let mut world = World::new(setting.clone(), tape.clone());
        let violation = world.run();
        let ending = world.end();
        #[cfg(feature = "planted")]
        drop(planting);
        let schedule = Schedule {
            seed: setting.seed,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            operations: setting.operations,
            nodes: setting.nodes,
            calm: setting.calm,
            steps: setting.steps.clone(),
            beyond: setting.beyond,
            canary: setting.canary,
            planted: setting.planted.map(|bug| bug.name().to_owned()),
            breaks: violation.as_ref().map(|violation| format!("{} {}", violation.promise, violation.what)),
            choices: tape.taken(),
        };
        Report {
            seed: setting.seed,
            trace: ending.trace,
            checkpoints: ending.checkpoints,
            log: ending.log,
            operations: ending.counts.operations,
            events: ending.events,
            virtual_ns: ending.virtual_ns,
            violation,
            schedule,
            faults: ending.counts.faults,
            table: ending.counts.table,
            sometimes: ending.counts.sometimes,
            nodes: setting.nodes,
            network: ending.counts.network,
            probe: ending.counts.probe,
            counts: ending.counts.done,
            story: ending.story,
        }
    }
}

/// Scenarios: what is to happen, besides whatever the seed brings. The steps are part of the run's [schedule](Report::schedule).
///
/// ```
/// use ouroboros_sim::{At, NodeId, Sim};
/// use ouroboros_sim::network::NetworkFault;
///
/// let [a, b, c] = NodeId::first();
/// let report = Sim::new(7)
///     .nodes(3)
///     .operations(36)
///     .partition(At(2), &[a], &[b, c])
///     .crash(At(4), b)
///     .heal(At(6))
///     .restart(At(8), b)
///     .run();
/// assert_eq!(report.violation, None);
/// assert!(report.network.of(NetworkFault::Partition) >= 1);
/// ```
impl Sim {
    /// Takes away everything that goes wrong by itself: then only the steps do, and the order in which things happen.
    ///
    /// ```
    /// # use ouroboros_sim::Sim;
    /// let report = Sim::new(7).nodes(2).operations(10).calm(true).run();
    /// assert_eq!((report.violation, report.faults.total()), (None, 0));
    /// ```
    #[must_use]
    pub const fn calm(mut self, calm: bool) -> Self {
        self.setting.calm = calm;
        self
    }

    /// Adds a step; the methods below are the same in fewer words.
    ///
    /// # Panics
    /// When it names a node that is none of the world's: say how many there are first.
    #[must_use]
    pub fn step(mut self, at: At, step: Step) -> Self {
        for node in step.nodes() {
            assert!(node.0 < self.setting.nodes, "{step:?} names a node that there is not");
        }
        self.setting.steps.push((at, step));
        self
    }

    /// Two sides cannot hear each other any more, until [`heal`](Self::heal).
    #[must_use]
    pub fn partition(self, at: At, one: &[NodeId], other: &[NodeId]) -> Self {
        self.step(at, Step::Partition { one: one.to_vec(), other: other.to_vec() })
    }

    /// What `from` sends does not reach `to` any more; the other way round it does.
    #[must_use]
    pub fn partition_one_way(self, at: At, from: &[NodeId], to: &[NodeId]) -> Self {
        self.step(at, Step::PartitionOneWay { from: from.to_vec(), to: to.to_vec() })
    }

    /// The links between two sides go down and up by turns, a `period` each.
    #[must_use]
    pub fn flap(self, at: At, one: &[NodeId], other: &[NodeId], period: Duration) -> Self {
        self.step(at, Step::Flap { one: one.to_vec(), other: other.to_vec(), period })
    }

    /// What one node sends to another waits for so long, and then comes all at once.
    #[must_use]
    pub fn clog(self, at: At, from: NodeId, to: NodeId, lasts: Duration) -> Self {
        self.step(at, Step::Clog { from, to, lasts })
    }

    /// Every frame that a node sends takes so much longer, until [`heal`](Self::heal).
    #[must_use]
    pub fn slow(self, at: At, node: NodeId, by: Duration) -> Self {
        self.step(at, Step::Slow { node, by })
    }

    /// A fault of the network strikes at this rate from now on, in parts per million: of the frames, or of the slots.
    ///
    /// ```
    /// # use ouroboros_sim::{At, Sim};
    /// # use core::time::Duration;
    /// use ouroboros_sim::network::NetworkFault::{Alter, Drop};
    ///
    /// let sim = Sim::new(3).nodes(2).operations(20).calm(true);
    /// let sim = sim.weather(At(0), Drop, 200_000).weather(At(0), Alter, 200_000);
    /// let report = sim.rest(At(4), Duration::from_secs(60)).run();
    /// assert_eq!(report.violation, None);
    /// assert!(report.network.of(Drop) > 0 && report.network.of(Alter) > 0);
    /// ```
    #[must_use]
    pub fn weather(self, at: At, fault: NetworkFault, per_million: u32) -> Self {
        self.step(at, Step::Weather { fault, per_million })
    }

    /// So much time passes, and no client asks anything: a round alone may take next to none, and end before a frame arrives.
    #[must_use]
    pub fn rest(self, at: At, lasts: Duration) -> Self {
        self.step(at, Step::Rest { lasts })
    }

    /// Every link is whole again. The faults that strike single frames go on.
    #[must_use]
    pub fn heal(self, at: At) -> Self {
        self.step(at, Step::Heal)
    }

    /// The power of a node fails. It stays down until it is [restarted](Self::restart), or the faults stop at the end.
    #[must_use]
    pub fn crash(self, at: At, node: NodeId) -> Self {
        self.step(at, Step::Crash(node))
    }

    /// The process of a node is killed: what it wrote is there, synced or not. It stays down like one that
    /// [crashed](Self::crash).
    #[must_use]
    pub fn kill(self, at: At, node: NodeId) -> Self {
        self.step(at, Step::Kill(node))
    }

    /// A node that is down is started; one that is up is closed and started again.
    #[must_use]
    pub fn restart(self, at: At, node: NodeId) -> Self {
        self.step(at, Step::Restart(node))
    }

    /// A node's power fails, and it is started again at once.
    #[must_use]
    pub fn bounce(self, at: At, node: NodeId) -> Self {
        self.crash(at, node).restart(at, node)
    }

    /// A node's process gets no turn for so long, and then finds everything at once.
    #[must_use]
    pub fn pause(self, at: At, node: NodeId, lasts: Duration) -> Self {
        self.step(at, Step::Pause { node, lasts })
    }

    /// A node is down for so long, while time passes for all, and comes back.
    ///
    /// ```
    /// # use ouroboros_sim::{At, NodeId, Sim};
    /// # use core::time::Duration;
    /// let year = Duration::from_secs(365 * 86_400);
    /// let report = Sim::new(5).nodes(2).operations(20).gone(At(4), NodeId(1), year).run();
    /// assert_eq!(report.violation, None);
    /// assert!(report.virtual_ns as u128 > year.as_nanos());
    /// ```
    #[must_use]
    pub fn gone(self, at: At, node: NodeId, lasts: Duration) -> Self {
        self.step(at, Step::Gone { node, lasts })
    }

    /// A node is installed anew: the same identity and keys, an empty disk. Its oracle forgets what it had acknowledged, and
    /// nothing of that may be there.
    #[must_use]
    pub fn reinstall(self, at: At, node: NodeId) -> Self {
        self.step(at, Step::Reinstall(node))
    }

    /// A node's disk is gone: opening must say so, and the node is installed anew.
    #[must_use]
    pub fn lose_disk(self, at: At, node: NodeId) -> Self {
        self.step(at, Step::LoseDisk(node))
    }

    /// A node's disk is what it was at an earlier moment, as if somebody had restored a copy of the machine; its oracle knows.
    /// Copies are taken of every third life, soon after it was opened; without any, nothing happens.
    #[must_use]
    pub fn roll_back(self, at: At, node: NodeId) -> Self {
        self.step(at, Step::RollBack(node))
    }

    /// A node's wall clock jumps by so many milliseconds, forth or back.
    #[must_use]
    pub fn wall_jump(self, at: At, node: NodeId, millis: i64) -> Self {
        self.step(at, Step::WallJump { node, millis })
    }

    /// A fault strikes a node's disk: the first operation from then on that it has a meaning for. What
    /// [destroys](Fault::may_destroy) is more than one disk promises to bear: see [`Self::beyond`].
    #[must_use]
    pub fn fault(self, at: At, node: NodeId, fault: Fault) -> Self {
        self.step(at, Step::Fault { node, fault })
    }
}
