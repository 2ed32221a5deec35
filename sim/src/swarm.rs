//! What one run is like. Every seed draws it anew, so that what is rare in general is common somewhere.

mod disruption;
mod theme;

pub use disruption::Disruption;
pub use theme::Theme;

use crate::disk::Fault;
use crate::network::{NetworkFault, Weather};
use crate::state::State;
use crate::tape::{Purpose, StreamId, Tape};
use crate::workload::Kind;
use core::fmt;
use ouroboros_engine::env::Disk;
use ouroboros_engine::node::{Activity, Engine, Limits, Whims};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};

const STREAM: StreamId = StreamId::new(Purpose::Swarm, 0);

/// Where each knob stands on the tape. Faults and kinds of operations follow behind these.
#[derive(Clone, Copy)]
enum Knob {
    Coding,
    Chunker,
    Keys,
    Together,
    Sizes,
    DiskLatency,
    SlowLatency,
    JobLatency,
    Gaps,
    Drift,
    Disruption,
    CrashRate,
    Burst,
    Inflight,
    ReadLen,
    Batch,
    Window,
    BodyCache,
    Overlay,
    Replay,
    Segment,
    UpkeepStep,
    IndexCache,
    Requests,
    IndexPlace,
    Signatures,
    Storm,
    Uploads,
    Again,
    Larger,
    Theme,
    // Of worlds with several nodes only.
    FrameLatency,
    FrameJitter,
    HeaderSeals,
    PageSeals,
    PageRefs,
    WriteBuffer,
    RollEvery,
    CheckpointEvery,
    CompactEvery,
    ParityGroup,
    SpreadLen,
    Nodes,
    DamagedPlaces,
    RowsAtOnce,
    Physical,
}

const FIRST_FAULT: u64 = 64;
const FIRST_KIND: u64 = 128;
const FIRST_NETWORK: u64 = 192;

/// How versions are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// By a keyed hash: [`crate::crypto`].
    Cheap,
    /// By ed25519.
    Real,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Swarm {
    pub(crate) signatures: Signatures,
    /// The store's coding.
    pub coding: Coding,
    /// Codings that puts and recodings ask for.
    pub codings: &'static [(u8, u8)],
    /// Where contents are cut.
    pub chunker: ChunkerParams,
    /// How many keys there are.
    pub keys: u64,
    /// The weight of each kind of operation.
    pub mix: [u32; Kind::ALL.len()],
    /// Parts per million of the operations that are sent together with the next.
    pub together: u32,
    /// The classes of sizes that values have.
    pub sizes: u64,
    /// Parts per million of the values that are those of a version before.
    pub again: u32,
    /// Parts per million of the values that are large whatever else is said of them.
    pub larger: u32,
    /// What this run is about, if anything.
    pub theme: Theme,
    /// Nanoseconds that an operation of the disk takes.
    pub disk_nanos: u64,
    /// And how much longer a slow one.
    pub slow_nanos: u64,
    /// The mean duration of a job, in nanoseconds.
    pub job_nanos: u64,
    /// The mean time between operations, in nanoseconds.
    pub gap_nanos: u64,
    /// Parts per million by which the node's clocks are fast or slow.
    pub drift: i64,
    /// Parts per million of the slots for each disruption.
    pub(crate) disruptions: [u32; Disruption::ALL.len()],
    /// Each kind of disk fault's rate in parts per million of the operations that it fits.
    pub faults: [u32; Fault::ALL.len()],
    /// While a node does this, everything that can go wrong does so often: else what is seldom done is seldom struck.
    pub storm: Option<State>,
    /// How many neighbouring sectors one strike may hit.
    pub burst: u64,
    /// Sectors that the disks read at once, or not.
    pub physical: u64,
    /// What the node may use.
    pub limits: Limits,
    /// What the network between nodes is like; calm where there is one node alone.
    pub network: Weather,
    /// What it does early and often that it would do late and seldom.
    pub whims: Whims,
}

/// When the index is flushed, in bytes of changes.
const OVERLAYS: [u64; 12] = [1 << 20, 1, 4000, 60_000, 1 << 20, 60_000, 20_000, 60_000, 20_000, 8000, 1 << 20, 20_000];
/// How often: a flush costs as much as ten operations, and after every change there is one.
const OVERLAY_WEIGHTS: [u32; 12] = [4, 1, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4];

/// Where storms are: what is done seldom, or shortly.
const STORMS: [State; 18] = [
    State::Doing(Activity::Closed),
    State::Doing(Activity::ReadOnly),
    State::Doing(Activity::RebuildingIndex),
    State::Doing(Activity::Closing),
    State::Doing(Activity::Sweeping),
    State::Doing(Activity::ScrubbingLog),
    State::Doing(Activity::ScrubbingSeals),
    State::Doing(Activity::ScrubbingVersions),
    State::Doing(Activity::ScrubbingIndex),
    State::Doing(Activity::Recoding),
    State::Doing(Activity::Mending),
    State::Doing(Activity::Reading),
    State::Doing(Activity::Unsettled),
    State::OpeningKeyless,
    State::Doing(Activity::Committing),
    // Twice, since it is over after a few operations.
    State::Doing(Activity::ScrubbingVersions),
    State::Doing(Activity::Mending),
    State::OpeningKeyless,
];

/// What brings about that a node does this, or befalls one that does it, and how often at least where there is a storm.
const fn brings_about(storm: State) -> &'static [(Disruption, u32)] {
    match storm {
        State::Doing(Activity::Mending) => &[
            (Disruption::Rot, 250_000),
            (Disruption::Reopen, 40_000),
            (Disruption::Keyless, 80_000),
            (Disruption::Rest, 80_000),
        ],
        State::Doing(Activity::RebuildingIndex) => {
            &[(Disruption::Reopen, 40_000), (Disruption::Keyless, 40_000), (Disruption::Rest, 40_000)]
        }
        State::OpeningKeyless => &[(Disruption::Keyless, 150_000)],
        State::Doing(Activity::Committing) => &[(Disruption::Pause, 60_000)],
        // Who scrubs without keys has two files that a write may be mistaken in.
        State::Doing(
            Activity::ScrubbingLog | Activity::ScrubbingSeals | Activity::ScrubbingVersions | Activity::ScrubbingIndex,
        ) => &[(Disruption::Rot, 80_000), (Disruption::Keyless, 60_000)],
        _ => &[],
    }
}

/// A distance at which the slices of values lie that are no longer than most; and so much longer than any burst of bad sectors.
const SHORT_SPREAD_LEN: u64 = 8 << 10;

/// Parts per million by which clocks are fast or slow.
const DRIFTS: [i64; 5] = [0, 50, -50, 5000, -5000];

const SAFE_CODINGS: &[(u8, u8)] = &[(2, 1), (1, 1), (4, 2), (2, 3), (8, 1), (3, 2)];
const ALL_CODINGS: &[(u8, u8)] = &[(1, 0), (2, 0), (2, 1), (1, 1), (4, 2), (8, 1)];

impl Swarm {
    /// Draws the swarm of a run with so many nodes.
    #[must_use]
    pub fn draw(tape: &Tape, nodes: u8) -> Self {
        let knob = |knob: Knob, bound: u64| tape.below_at(STREAM, knob as u64, bound);
        let pick = |name: Knob, values: &[u64]| values[knob(name, values.len() as u64) as usize];
        let storm = STORMS.get((knob(Knob::Storm, STORMS.len() as u64 * 3 / 2 + 1) as usize).wrapping_sub(1)).copied();
        let mut theme = Theme::ALL[knob(Knob::Theme, Theme::ALL.len() as u64) as usize];
        // Where nothing rots nothing is mended, and a scrub of versions finds nothing to write.
        if let Some(State::Doing(Activity::Mending | Activity::ScrubbingVersions)) = storm {
            theme = Theme::Rot;
        }
        // Where slices rot, most seals can do without several.
        let coding = match knob(Knob::Coding, 8) as usize {
            1 if theme == Theme::Rot => 3,
            coding => coding,
        };
        let codings = if coding < SAFE_CODINGS.len() { SAFE_CODINGS } else { ALL_CODINGS };
        let (data, parity) = if coding < SAFE_CODINGS.len() { SAFE_CODINGS[coding] } else { ALL_CODINGS[coding - 6] };
        let (kind, min_len, avg_len, max_len) = match knob(Knob::Chunker, 4) {
            0 => (ChunkerKind::Cdc1, 1024, 2048, 4096),
            1 => (ChunkerKind::Cdc1, 1024, 4096, 16_384),
            2 => (ChunkerKind::FastCdc, 1024, 4096, 16_384),
            _ => (ChunkerKind::Cdc1, 2048, 8192, 32_768),
        };
        let mut faults = [0; Fault::ALL.len()];
        for fault in Fault::ALL {
            // The contract forbids an early end; it strikes only where a test asks for it.
            let kinds = if matches!(fault, Fault::EarlyEnd | Fault::Crash) { 0 } else { 14 };
            let draw = tape.below_at(STREAM, FIRST_FAULT + fault as u64, kinds);
            faults[fault as usize] = [0, 100, 500, 2000, 8000][draw.saturating_sub(9) as usize] * weight(fault);
        }
        // Who only reads has seen a sync fail.
        if storm == Some(State::Doing(Activity::ReadOnly)) {
            let rate = &mut faults[Fault::SyncFailure as usize];
            *rate = (*rate).max(20_000);
        }
        faults[Fault::Crash as usize] = pick(Knob::CrashRate, &[0, 0, 0, 100, 400, 1500]) as u32;
        let mut mix = Kind::ALL.map(Kind::weight);
        for kind in Kind::ALL {
            let draw = tape.below_at(STREAM, FIRST_KIND + kind as u64, 6);
            let weight = &mut mix[kind as usize];
            *weight *= [4, 0, 1, 4, 4, 16][draw as usize];
        }
        // Without puts there is nothing to lose.
        mix[Kind::Put as usize] = mix[Kind::Put as usize].max(20);
        let scale = pick(Knob::Disruption, &[0, 20, 60, 150, 400]) as u32;
        let mut disruptions = Disruption::ALL.map(|disruption| disruption.rate() * scale);
        theme.set(&mut mix, &mut disruptions);
        for (what, least) in storm.map_or(&[][..], brings_about) {
            disruptions[*what as usize] = disruptions[*what as usize].max(*least);
        }
        if codings.iter().any(|(_, parity)| *parity == 0) {
            disruptions[Disruption::Rot as usize] = 0;
        }
        let mut again = pick(Knob::Again, &[0, 0, 150_000, 400_000]) as u32;
        let mut larger = pick(Knob::Larger, &[0, 0, 0, 200_000]) as u32;
        if theme != Theme::None {
            again = again.max(400_000);
            // Those of rot are so large that they cost more than all the rest.
            larger = if theme == Theme::Rot { 80_000 } else { larger.max(250_000) };
        }
        // An index on file costs a run five times as much as the log that is what a store is made of. Yet what was deleted
        // comes back by an index that was an old one.
        let on_file = match theme {
            Theme::Deletion => 2,
            // What waits for a full index that is in memory waits for nothing.
            Theme::Full => 4,
            _ => 1,
        };
        let on_file = match storm {
            // Most of what a process without keys writes is an index of its own.
            Some(State::OpeningKeyless) => 4,
            // Whatever is destroyed meanwhile, within the budget, is the index's.
            Some(State::Doing(Activity::Mending | Activity::ScrubbingVersions)) => 6,
            Some(State::Doing(Activity::ReadOnly)) => 8,
            _ => on_file,
        };
        // And it is not only looked at then.
        let most_overlaid = match storm {
            Some(State::Doing(Activity::Mending | Activity::ScrubbingVersions | Activity::ReadOnly)) => 8000,
            _ => usize::MAX,
        };
        // Half of them read from the disk whatever they look at: such a run costs twice as much.
        let index_caches = match storm {
            Some(State::Doing(
                Activity::Mending | Activity::ReadOnly | Activity::ScrubbingLog | Activity::ScrubbingVersions,
            )) => [1 << 20, 0],
            _ => [1 << 20, 1 << 16],
        };
        let index_in_memory = tape.leaning_at(STREAM, Knob::IndexPlace as u64, &[1, 1, 2, 2, 2, 2, 3, 3]) >= on_file;
        if index_in_memory {
            disruptions[Disruption::LoseIndex as usize] = 0;
            disruptions[Disruption::OldIndex as usize] = 0;
        }
        let least_read = if theme == Theme::Rot { 20_000 } else { 0 };
        let signatures = if knob(Knob::Signatures, 8) == 1 { Signatures::Real } else { Signatures::Cheap };
        Self {
            signatures,
            // The tables above hold none that is refused.
            coding: Coding::new(data, parity).unwrap_or_default(),
            codings,
            chunker: ChunkerParams { kind, min_len, avg_len, max_len },
            keys: 8 - knob(Knob::Keys, 8),
            mix,
            together: pick(Knob::Together, &[0, 100_000, 400_000, 700_000]) as u32,
            // A long value costs as much as a hundred short ones: most worlds have few.
            sizes: 5 - tape.leaning_at(STREAM, Knob::Sizes as u64, &[4, 8, 4, 2]),
            again,
            larger,
            theme,
            disk_nanos: pick(Knob::DiskLatency, &[1000, 20_000, 1_000_000]),
            slow_nanos: pick(Knob::SlowLatency, &[1_000_000, 100_000_000, 30_000_000_000]),
            job_nanos: pick(Knob::JobLatency, &[1000, 100_000, 5_000_000]),
            gap_nanos: pick(Knob::Gaps, &[10_000, 1_000_000, 100_000_000]),
            drift: DRIFTS[knob(Knob::Drift, DRIFTS.len() as u64) as usize],
            disruptions,
            faults,
            storm,
            burst: 1 + knob(Knob::Burst, 4),
            physical: pick(Knob::Physical, &[1, 1, 8]),
            limits: Limits {
                requests: pick(Knob::Requests, &[256, 32, 8, 2]) as usize,
                uploads: pick(Knob::Uploads, &[64, 1, 2]) as usize,
                inflight_len: pick(Knob::Inflight, &[1 << 20, 1, 5000, 100_000]) as usize,
                read_len: pick(Knob::ReadLen, &[1 << 20, 700, 10_000]).max(least_read),
                merge_len: 1 << 20,
                batch_len: pick(Knob::Batch, &[1 << 20, 1, 30_000]),
                window_len: pick(Knob::Window, &[300_000, 1, 40_000]) as usize,
                body_cache_len: pick(Knob::BodyCache, &[50_000, 0, 2000]) as usize,
                index_cache_len: pick(Knob::IndexCache, &index_caches) as usize,
                index_in_memory,
                index_overlay_len: (OVERLAYS[tape.leaning_at(STREAM, Knob::Overlay as u64, &OVERLAY_WEIGHTS) as usize]
                    as usize)
                    .min(most_overlaid),
                replay_len: [1 << 30, 1, 50_000][tape.leaning_at(STREAM, Knob::Replay as u64, &[4, 1, 4]) as usize],
                segment_len: pick(Knob::Segment, &[64 << 10, 256 << 10, 96 << 10]) as u32,
                upkeep_step_len: pick(Knob::UpkeepStep, &[1 << 20, 1, 9000]),
                damaged_places: pick(Knob::DamagedPlaces, &[4096, 1, 3]) as u32,
            },
            network: if nodes > 1 { weather(tape) } else { Weather::default() },
            whims: Whims {
                header_seals: pick(Knob::HeaderSeals, &[1024, 1024, 1024, 1024, 3, 0]) as usize,
                page_seals: pick(Knob::PageSeals, &[8192, 1, 4]) as usize,
                page_refs: pick(Knob::PageRefs, &[1024, 1024, 1024, 1024, 4, 9]) as usize,
                write_buffer_len: match pick(Knob::WriteBuffer, &[0, 0, 0, 512]) {
                    0 => None,
                    len => Some(len as u32),
                },
                parity_group_len: match pick(Knob::ParityGroup, &[0, 0, 4 << 10, 16 << 10]) {
                    0 => None,
                    len => Some(len as u32),
                },
                spread_len: match pick(Knob::SpreadLen, &[0, SHORT_SPREAD_LEN, SHORT_SPREAD_LEN, SHORT_SPREAD_LEN]) {
                    0 => None,
                    len => Some(len),
                },
                rows_at_once: match pick(Knob::RowsAtOnce, &[0, 0, 1, 3]) {
                    0 => usize::MAX,
                    rows => rows as usize,
                },
                roll_every: pick(Knob::RollEvery, &[0, 0, 0, 0, 3, 17]) as u32,
                checkpoint_every: pick(Knob::CheckpointEvery, &[0, 0, 0, 1, 5]) as u32,
                compact_every: pick(Knob::CompactEvery, &[0, 0, 0, 0, 0, 0, 9, 40]) as u32,
            },
        }
    }
}

/// How many nodes more than the fewest there are, `most` at most. It is drawn before all else, for a run has its nodes from the
/// beginning, and stands in its schedule.
pub(crate) fn draw_nodes(seed: u64, most: u8) -> u8 {
    Tape::random(seed).below_at(STREAM, Knob::Nodes as u64, u64::from(most) + 1) as u8
}

/// The fields of a structure and their values, for people.
fn fields(all: &impl fmt::Debug) -> String {
    let text = format!("{all:?}");
    let inside = text.split_once("{ ").map_or("", |(_, inside)| inside).trim_end_matches(" }");
    inside.replace(": ", " ")
}

/// How much rarer the operations are that a fault fits than reads and writes: a rate is one of these.
const fn weight(fault: Fault) -> u32 {
    match fault {
        Fault::SyncFailure | Fault::SyncFailureDroppingCache | Fault::LyingSync | Fault::BadSector => 5,
        Fault::DirectorySyncFailure | Fault::LyingDirectorySync => 10,
        Fault::WriteError | Fault::Full | Fault::FillsUp => 3,
        // It has an elsewhere in the life of a process without keys alone.
        Fault::MisdirectedWriteElsewhere => 20,
        _ => 1,
    }
}

/// What the network is like. Nothing is drawn in a world of one node.
fn weather(tape: &Tape) -> Weather {
    let pick = |position: u64, values: &[u64]| values[tape.below_at(STREAM, position, values.len() as u64) as usize];
    let mut rates = [0; NetworkFault::COUNT];
    for (place, fault) in NetworkFault::ALL.into_iter().enumerate() {
        let values: &[u64] = match place < NetworkFault::OF_FRAMES {
            true => &[0, 0, 0, 0, 1_000, 10_000, 50_000, 100_000],
            false => &[0, 0, 0, 10_000, 50_000, 150_000],
        };
        rates[fault as usize] = pick(FIRST_NETWORK + place as u64, values) as u32;
    }
    let latency = pick(Knob::FrameLatency as u64, &[200_000, 10_000, 20_000_000]);
    let jitter = latency * pick(Knob::FrameJitter as u64, &[1, 8, 40]);
    Weather { latency, jitter, rates }
}

impl Swarm {
    /// Takes away everything that goes wrong by itself.
    pub(crate) fn calm(&mut self) {
        self.faults.fill(0);
        self.disruptions.fill(0);
        self.network.rates.fill(0);
        (self.storm, self.drift) = (None, 0);
    }

    /// The drift of a node's clocks: each node has its own.
    pub(crate) fn drift_of(&self, tape: &Tape, node: u8) -> i64 {
        if node == 0 {
            return self.drift;
        }
        let stream = StreamId::new(Purpose::Swarm, node);
        DRIFTS[tape.below_at(stream, Knob::Drift as u64, DRIFTS.len() as u64) as usize]
    }

    /// An engine with the whims of this run.
    pub(crate) fn humoured<D: Disk>(&self, mut engine: Engine<D>) -> Engine<D> {
        engine.set_whims(self.whims);
        engine
    }

    /// How often a fault strikes during a storm: in parts per million of the operations that it fits, and more of them where
    /// a node does little, or writes little, while it is so.
    pub(crate) const fn storm_rate(&self, fault: Fault) -> u32 {
        let rate = match fault {
            Fault::EarlyEnd => 0,
            Fault::Crash => 3_000,
            // It stays away.
            Fault::Away => 500,
            _ if self.faults[fault as usize] > 0 => 40_000,
            _ => 4_000,
        };
        let is_seldom = match self.storm {
            // Outside of openings and uploads files are seldom made.
            Some(_) if matches!(fault, Fault::DirectorySyncFailure | Fault::LyingDirectorySync) => true,
            Some(State::Doing(Activity::Mending | Activity::ReadOnly) | State::OpeningKeyless) => true,
            Some(State::Doing(
                Activity::ScrubbingLog
                | Activity::ScrubbingSeals
                | Activity::ScrubbingVersions
                | Activity::ScrubbingIndex
                | Activity::Reading,
            )) => fault.may_destroy(),
            _ => false,
        };
        if is_seldom { rate * 8 } else { rate }
    }
}

impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "signatures {:?}", self.signatures)?;
        writeln!(f, "coding {}+{}, of {:?}", self.coding.data(), self.coding.parity(), self.codings)?;
        let ChunkerParams { kind, min_len, avg_len, max_len } = self.chunker;
        writeln!(f, "chunks {kind:?} {min_len}/{avg_len}/{max_len} B, values of {} size classes", self.sizes)?;
        writeln!(f, "{} ppm of the values are those of a version before, {} ppm are large", self.again, self.larger)?;
        if self.theme != Theme::None {
            writeln!(f, "it is about {}", self.theme.text())?;
        }
        writeln!(f, "{} keys, {} ppm of the operations together with the next", self.keys, self.together)?;
        writeln!(f, "disk {} ns, slow {} ns, jobs {} ns", self.disk_nanos, self.slow_nanos, self.job_nanos)?;
        writeln!(f, "physical sectors of {} B", self.physical * 512)?;
        writeln!(f, "operations {} ns apart, the first node's clock {} ppm off", self.gap_nanos, self.drift)?;
        writeln!(f, "limits: {}", fields(&self.limits))?;
        writeln!(f, "whims: {}", fields(&self.whims))?;
        let mix = Kind::ALL.into_iter().map(|kind| format!("{} {}", kind.name(), self.mix[kind as usize]));
        writeln!(f, "mix: {}", mix.collect::<Vec<_>>().join(", "))?;
        for fault in Fault::ALL.into_iter().filter(|fault| self.faults[*fault as usize] > 0) {
            // See `Budget::permits`.
            let of = match (fault.may_destroy(), self.limits.index_in_memory) {
                (false, _) => "",
                (true, false) => ", of the index alone unless the world is beyond its budget",
                (true, true) => ", if the world is beyond its budget",
            };
            writeln!(f, "disk fault {fault}: {} ppm{of}", self.faults[fault as usize])?;
        }
        if let Some(state) = self.storm {
            writeln!(f, "a storm of faults while {state}")?;
        }
        if self.network != Weather::default() {
            let Weather { latency, jitter, rates } = &self.network;
            writeln!(f, "frames take {latency} ns and up to {jitter} ns more")?;
            for fault in NetworkFault::ALL.into_iter().filter(|fault| rates[*fault as usize] > 0) {
                let of = if (fault as usize) < NetworkFault::OF_FRAMES { "frames" } else { "slots" };
                writeln!(f, "network fault {fault}: {} ppm of the {of}", rates[fault as usize])?;
            }
        }
        for disruption in Disruption::ALL {
            let rate = self.disruptions[disruption as usize];
            if rate > 0 {
                writeln!(f, "{}: {rate} ppm of the slots", disruption.name())?;
            }
        }
        Ok(())
    }
}
