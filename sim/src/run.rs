//! One run, from a seed or a schedule, to its report.

use crate::disk::FaultCounts;
use crate::oracle::Violation;
use crate::schedule::Schedule;
use crate::sometimes::SometimesCounts;
use crate::story::Entry;
use crate::table::FaultTable;
use crate::tape::{Choices, Tape};
use crate::world::{Setting, TraceEvent, TraceHash, World};
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
        let Schedule { seed, operations, beyond, canary, .. } = *schedule;
        let named = |bug: &&Bug| Some(bug.name()) == schedule.planted.as_deref();
        let planted = Bug::ALL.iter().find(named).copied();
        let setting = Setting { beyond, canary, planted, ..Setting::new(seed, operations) };
        Self { setting, source: Source::Choices(schedule.choices.clone()) }
    }

    /// A run whose choices a fuzzer makes.
    #[must_use]
    pub fn of_bytes(input: &[u8]) -> Self {
        Self { source: Source::Bytes(input.to_vec()), ..Self::new(0) }
    }

    /// How many operations clients ask for, at most.
    #[must_use]
    pub const fn operations(mut self, operations: u32) -> Self {
        self.setting.operations = operations;
        self
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

    /// Plants a nondeterminism: the oracle asks in the order of a hash map with a random state. A comparison of traces that
    /// does not see it proves nothing.
    #[cfg(feature = "planted")]
    #[must_use]
    pub const fn disorder(mut self, disorder: bool) -> Self {
        self.setting.disorder = disorder;
        self
    }

    /// Runs.
    #[must_use]
    pub fn run(self) -> Report {
        let Self { setting, source } = self;
        let tape = match source {
            Source::Seed => Tape::random(setting.seed),
            Source::Choices(choices) => Tape::replay(choices),
            Source::Bytes(input) => Tape::bytes(&input),
        };
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
            counts: ending.counts.done,
            story: ending.story,
        }
    }
}
