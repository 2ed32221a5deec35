//! One node of the world: its machine's disk and clocks, and the process that runs on it, if it does.

use super::machine::OldDisk;
use super::rot::Rot;
use super::strikes::Looming;
use crate::disk::{Fault, FaultyDisk};
use crate::oracle::bounds::Moment;
use crate::oracle::{Oracle, Walls};
use crate::probe::Probe;
use crate::state::{State, StateCell};
use crate::tape::place::{ERRANDS, OPERATIONS};
use crate::workload::Task;
use ouroboros_engine::env::{Clock, Driver, Host, Input, Instant, Network, Now, Step, Volume, WallTime};
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::{Activity, Event, Job, JobId, PeerId, Reply, RequestId};
use ouroboros_engine::seal::Scratch;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The driver's clock: the world turns it before every turn.
#[derive(Debug, Default)]
pub(super) struct NodeClock(Cell<Now>);

impl Clock for NodeClock {
    fn now(&self) -> Now {
        self.0.get()
    }
}

/// Takes the frames of one turn; the world carries them.
#[derive(Clone, Debug, Default)]
pub(super) struct Port(Rc<RefCell<Vec<(PeerId, bytes::Bytes)>>>);

impl Network for Port {
    fn send(&mut self, peer: PeerId, frame: bytes::Bytes) {
        self.0.borrow_mut().push((peer, frame));
    }
}

/// Takes what one turn brings.
#[derive(Debug)]
pub(super) struct TurnHost {
    disk: FaultyDisk,
    state: StateCell,
    /// What the process was ever seen doing, a bit for each.
    pub(super) seen: u32,
    pub(super) jobs: Vec<(JobId, Job)>,
    pub(super) replies: Vec<(RequestId, Reply)>,
    pub(super) events: Vec<Event>,
}

impl Host for TurnHost {
    fn run(&mut self, id: JobId, job: Job) {
        self.jobs.push((id, job));
    }

    fn reply(&mut self, id: RequestId, reply: Reply) {
        // Nobody hears a machine without power.
        if self.disk.is_powered() {
            let done = match &reply {
                // Of one that was done in part, that part may have been done long ago.
                Reply::Put(results) => !results.is_empty() && results.iter().all(Result::is_ok),
                Reply::Purged { .. } | Reply::Recoded(_) => true,
                _ => false,
            };
            self.disk.tell_anything();
            if done {
                self.disk.tell_done();
            }
            self.replies.push((id, reply));
        }
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn before(&mut self, step: Step<'_>, doing: impl FnOnce() -> Activity) {
        let state = State::of_step(step, doing());
        self.seen |= 1 << state.index();
        self.state.set(state);
    }
}

/// A process.
pub(super) struct Process {
    pub(super) driver: Driver<NodeClock, FaultyDisk, Port>,
    pub(super) host: TurnHost,
    port: Port,
}

impl Process {
    pub(super) fn new(engine: ouroboros_engine::node::Engine<FaultyDisk>, it: &Node, now: Now) -> Self {
        let (disk, state) = (it.disk.clone(), it.state.clone());
        let host = TurnHost { disk, state, seen: 0, jobs: Vec::new(), replies: Vec::new(), events: Vec::new() };
        let port = Port::default();
        Self { driver: Driver::new(engine, NodeClock(Cell::new(now)), port.clone()), host, port }
    }

    /// The frames of the last turn.
    pub(super) fn frames(&self) -> Vec<(PeerId, bytes::Bytes)> {
        self.port.0.take()
    }

    /// What the node holds and does between two turns.
    pub(super) fn moment(&self) -> Moment {
        let engine = self.driver.engine();
        Moment { held: engine.held(), doing: engine.activity() }
    }

    pub(super) fn turn(&mut self, now: Now, inputs: Vec<Input>) -> Option<Instant> {
        self.driver.clock().0.set(now);
        self.driver.turn(inputs, &mut self.host)
    }
}

impl core::fmt::Debug for Process {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

/// The wall clock at the beginning of every run, in milliseconds since the Unix epoch.
const EPOCH_MILLIS: u64 = 1_700_000_000_000;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: u8,
    pub(super) disk: FaultyDisk,
    pub(super) process: Option<Process>,
    /// Counts the processes; events for an earlier one are dropped.
    pub(super) life: u64,
    /// The slot under way, and how often something began in it that draws as it goes.
    pub(super) errand: (u64, u64),
    pub(super) oracle: Oracle,
    pub(super) inbox: Vec<Input>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) replies: BTreeMap<RequestId, Reply>,
    /// Requests without an answer yet.
    pub(super) open: BTreeSet<RequestId>,
    pub(super) scratch: Scratch,
    pub(super) busy_until: u64,
    pub(super) turn_at: Option<u64>,
    /// Since the last errand began.
    pub(super) jobs_started: u64,
    /// Parts per million.
    pub(super) drift: i64,
    wall_offset: i64,
    pub(super) walls: Walls,
    /// How many faults had struck when the process was started.
    pub(super) faults_before: u64,
    /// Of these, those of the medium.
    pub(super) damage_before: u64,
    /// The disk refused to read something of the index then, and the opening need not have read it.
    pub(super) refused_index: bool,
    /// How many faults had struck when its disk was new.
    pub(super) harm_before: u64,
    /// How many syncs had failed when the process was started.
    pub(super) syncs_before: u64,
    /// Something was destroyed that is not healed yet, or no longer: what was healed comes back where the sync after it failed.
    pub(super) rotten: bool,
    /// Where that was.
    pub(super) rot: Option<Rot>,
    /// Where something was destroyed before that.
    pub(super) former_rot: Vec<Rot>,
    /// Something was destroyed at some time.
    pub(super) rotted_before: bool,
    /// Places that a scrub left as they were, for nothing would refer to them any more: until they are collected they may be
    /// called harmless, and be healed.
    pub(super) left_rot: Vec<Rot>,
    /// Places that were healed. They are rotten again where the sync after that failed.
    pub(super) healed_rot: Vec<Rot>,
    /// How often the oracle has asked for a scrub, and asked again.
    pub(super) asked_again: u64,
    /// Rounds for which the disk has little room left.
    pub(super) tight: u64,
    /// Rounds for which the index's volume has little room left.
    pub(super) tight_index: u64,
    /// The power failed since the last scrub that healed: what nobody was told of may lie about torn, and is called
    /// damaged by who finds it.
    pub(super) torn: bool,
    /// The process answered that its disk failed: it takes no more writes.
    pub(super) read_only: bool,
    /// Versions whose bytes were read back once.
    pub(super) read_back: BTreeSet<BlobId>,
    /// The index's volume as it was at an earlier opening.
    pub(super) old_index: Option<FaultyDisk>,
    /// What it is doing: its disk looks here when a fault strikes.
    pub(super) state: StateCell,
    /// What befalls it after so many of its turns.
    pub(super) looming: Option<Looming>,
    /// Openings in a row that the power did not outlast.
    pub(super) cut_openings: u32,
    /// A write was refused for want of space, and none accepted since.
    pub(super) was_full: bool,
    /// The wall clock went back, and nothing was written since.
    pub(super) wall_went_back: bool,
    /// The process has taken no turn yet.
    pub(super) fresh: bool,
    /// Its index may lack something until the next opening: faults struck while it was opened, or the index was made anew since.
    pub(super) blind: bool,
    /// Something of its log could not be read when it was opened, and no scrub of the world's has healed it since.
    pub(super) unread: bool,
    /// The present process has no keys.
    pub(super) keyless: bool,
    /// The present process was asked to compact.
    pub(super) asked_to_compact: bool,
    /// Everything is mended and tidied up: what there is now is what there will be.
    pub(super) over: bool,
    /// Its part of the round under way.
    pub(super) tasks: Vec<Task>,
    /// How much of what is to happen is its own: when nothing is, nothing will come of it any more.
    pub(super) pending: usize,
    /// The process gets no turn until this moment.
    pub(super) paused_until: u64,
    /// Nobody starts it until a scenario says so, or the faults stop.
    pub(super) held: bool,
    /// How long it is to be gone, in nanoseconds.
    pub(super) gone_for: u64,
    /// What may take the place of its disk.
    pub(super) old_disk: Option<OldDisk>,
    /// Speaks to its peers, if it has any.
    pub(super) probe: Option<Probe>,
    pub(super) probe_at: Option<u64>,
    /// Frames that came while it got no turn, and whether each was forged.
    pub(super) mail: Vec<(bytes::Bytes, bool)>,
}

impl Node {
    pub(super) fn new(number: u8, disk: FaultyDisk, oracle: Oracle, drift: i64) -> Self {
        let state = StateCell::new(State::AtRest);
        disk.account_to(state.clone());
        Self {
            number,
            disk,
            process: None,
            life: 0,
            errand: (0, 0),
            oracle,
            inbox: Vec::new(),
            jobs: BTreeMap::new(),
            replies: BTreeMap::new(),
            open: BTreeSet::new(),
            scratch: Scratch::default(),
            busy_until: 0,
            turn_at: None,
            jobs_started: 0,
            drift,
            wall_offset: 0,
            walls: Walls { least: EPOCH_MILLIS, highest: EPOCH_MILLIS },
            faults_before: 0,
            damage_before: 0,
            refused_index: false,
            harm_before: 0,
            syncs_before: 0,
            rotten: false,
            rot: None,
            former_rot: Vec::new(),
            rotted_before: false,
            left_rot: Vec::new(),
            healed_rot: Vec::new(),
            asked_again: 0,
            tight: 0,
            tight_index: 0,
            torn: false,
            read_only: false,
            read_back: BTreeSet::new(),
            old_index: None,
            state,
            looming: None,
            cut_openings: 0,
            was_full: false,
            wall_went_back: false,
            fresh: false,
            blind: true,
            unread: false,
            keyless: false,
            asked_to_compact: false,
            over: false,
            tasks: Vec::new(),
            pending: 0,
            paused_until: 0,
            held: false,
            gone_for: 0,
            old_disk: None,
            probe: None,
            probe_at: None,
            mail: Vec::new(),
        }
    }

    /// Something begins that draws as it goes: a round, an opening, a rest. What is drawn there stands at positions of
    /// its own, so that what other slots are spared moves none of it.
    pub(super) fn begin(&mut self, slot: Option<u64>) {
        let (last, errands) = self.errand;
        self.errand = match slot {
            Some(slot) if slot != last => (slot, 0),
            _ => (last, (errands + 1).min(ERRANDS - 1)),
        };
        self.jobs_started = 0;
        self.disk.mark(self.place() * OPERATIONS);
    }

    /// The number of the errand under way, over all slots.
    pub(super) const fn place(&self) -> u64 {
        self.errand.0 * ERRANDS + self.errand.1
    }

    /// What the node is doing, asked between two turns.
    pub(super) fn doing(&self) -> State {
        match &self.process {
            Some(process) if self.disk.is_powered() => State::Doing(process.driver.engine().activity()),
            _ => self.state.get(),
        }
    }

    /// What this node's clocks say at a moment of the world.
    pub(super) fn now(&self, world_nanos: u64) -> Now {
        let (instant, wall) = (Instant::from_nanos(self.local(world_nanos)), self.wall_millis(world_nanos));
        Now { instant, wall: WallTime::from_unix_millis(wall) }
    }

    /// What its wall clock says, in milliseconds since the Unix epoch.
    pub(super) fn wall_millis(&self, world_nanos: u64) -> u64 {
        (EPOCH_MILLIS + self.local(world_nanos) / 1_000_000).saturating_add_signed(self.wall_offset)
    }

    /// The wall clock is set, forward or back.
    pub(super) fn jump(&mut self, world_nanos: u64, millis: i64) {
        self.walls.say(self.wall_millis(world_nanos));
        self.wall_offset = self.wall_offset.saturating_add(millis);
        self.walls.say(self.wall_millis(world_nanos));
        self.wall_went_back = millis < 0;
    }

    fn local(&self, world_nanos: u64) -> u64 {
        let scaled = u128::from(world_nanos) * (1_000_000 + i128::from(self.drift)).unsigned_abs() / 1_000_000;
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// The moment of the world at which this node's monotonic clock has reached an instant.
    pub(super) fn world_nanos(&self, instant: Instant) -> u64 {
        let rate = (1_000_000 + i128::from(self.drift)).unsigned_abs();
        u64::try_from((u128::from(instant.as_nanos()) * 1_000_000).div_ceil(rate)).unwrap_or(u64::MAX)
    }

    /// The process ends, whatever it was doing.
    pub(super) fn stop(&mut self) {
        self.process = None;
        self.looming = None;
        self.life += 1;
        self.inbox.clear();
        self.jobs.clear();
        self.open.clear();
        self.turn_at = None;
        self.busy_until = 0;
        self.read_only = false;
        self.paused_until = 0;
        self.probe = None;
        self.probe_at = None;
        self.mail.clear();
    }

    /// Whether there may be damage that is no defect of the node's: by faults, by rot, or by a power failure that tore what
    /// nobody was told of.
    pub(super) fn is_excused(&self) -> bool {
        self.rotten || self.torn || self.has_damage()
    }

    /// Whether its index may hold what faults of an earlier life have spoiled, or left half written: a page that nobody has read
    /// since, not even the opening, is found by the first who does.
    pub(super) fn has_spoiled_index(&self) -> bool {
        self.harm() > self.harm_before
    }

    /// Whether the disk refuses to read something of the index, on its volume.
    pub(super) fn refuses_index(&self) -> bool {
        self.disk.damaged_sectors().iter().any(|(volume, _, _)| *volume == Volume::Index)
    }

    /// Whether faults that an answer may be about have struck since the process was started.
    pub(super) fn has_faults(&self) -> bool {
        self.harm() > self.faults_before
    }

    /// Whether among them are faults that may be called damage: not to have been asked says nothing of a disk.
    pub(super) fn has_damage(&self) -> bool {
        self.damage() > self.damage_before
    }

    /// What strikes from here on strikes the process that is started.
    pub(super) fn note_faults(&mut self) {
        (self.faults_before, self.damage_before, self.syncs_before) = (self.harm(), self.damage(), self.failed_syncs());
        self.refused_index = self.refuses_index();
    }

    /// How many syncs have failed, of files and of directories.
    pub(super) fn failed_syncs(&self) -> u64 {
        let counts = self.disk.fault_counts();
        let kinds = [Fault::SyncFailure, Fault::SyncFailureDroppingCache, Fault::DirectorySyncFailure];
        kinds.into_iter().map(|kind| counts.of(kind)).sum()
    }

    /// How many faults have struck that answers may be about.
    pub(super) fn harm(&self) -> u64 {
        let counts = self.disk.fault_counts();
        counts.total() - counts.of(Fault::Slow) - counts.of(Fault::Crash)
    }

    pub(super) fn damage(&self) -> u64 {
        self.harm() - self.disk.fault_counts().of(Fault::Exhausted)
    }
}
