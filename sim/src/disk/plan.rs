//! Which faults a disk has, and when.

use super::fault::Fault;
use super::operation::Operation;
use super::stream::Stream;
use crate::state::State;
use crate::tape::place::FAULT_DETAILS;
use crate::tape::{Purpose, StreamId, Tape};
use ouroboros_engine::env::Volume;

/// A fault at a given operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The first operation it may strike; it strikes the first from there on that it has a meaning for, once.
    pub operation: u64,
    /// The fault.
    pub fault: Fault,
}

/// What goes wrong, decided beforehand: rates in parts per million of the operations that a fault fits, and single
/// injections. The default is a disk on which nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    seed: u64,
    rates: [u32; Fault::ALL.len()],
    injections: Vec<Injection>,
    capacity: Option<u64>,
    latency_nanos: u64,
    slow_nanos: u64,
    burst: u64,
    physical: u64,
}

impl FaultPlan {
    /// A plan without faults whose later draws come from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Lets `fault` strike at this rate, in parts per million of the operations that it fits.
    #[must_use]
    pub const fn rate(mut self, fault: Fault, per_million: u32) -> Self {
        self.rates[fault as usize] = per_million;
        self
    }

    /// Lets `fault` strike once, at operation `operation` or the first after it that it fits.
    #[must_use]
    pub fn inject(mut self, operation: u64, fault: Fault) -> Self {
        self.injections.push(Injection { operation, fault });
        self
    }

    /// Limits the sum of all files' lengths, in bytes.
    #[must_use]
    pub const fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// How long an operation takes, and how much longer a slow one, in virtual nanoseconds.
    #[must_use]
    pub const fn latency(mut self, nanos: u64, slow_nanos: u64) -> Self {
        self.latency_nanos = nanos;
        self.slow_nanos = slow_nanos;
        self
    }

    /// Lets drawn rot and read errors hit up to so many neighbouring sectors at once: on real disks they cluster
    /// (Bairavasundaram et al., FAST'08).
    #[must_use]
    pub const fn burst(mut self, sectors: u64) -> Self {
        self.burst = sectors;
        self
    }

    /// Lets the disk read so many sectors at once, or none of them, as those do whose physical sectors are longer than what they
    /// tell: a write that covers a part of them fails where the rest cannot be read.
    #[must_use]
    pub const fn physical(mut self, sectors: u64) -> Self {
        self.physical = sectors;
        self
    }

    fn has(&self, fault: Fault) -> bool {
        self.rates[fault as usize] > 0 || self.injections.iter().any(|injection| injection.fault == fault)
    }
}

/// Openings, listings and reads that a shortage of handles lasts, at most.
const SHORTAGE_LEN: u64 = 24;

/// Operations that a disk stays away for, at most.
const AWAY_LEN: u64 = 400;

/// A plan under way: one stream per kind of fault, so that no kind moves another's draws.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    /// By volume.
    rates: [[u32; Fault::ALL.len()]; 2],
    /// And while the storm lasts.
    storm_rates: [[u32; Fault::ALL.len()]; 2],
    /// While what is done there is a storm.
    pub(super) storm: Option<State>,
    /// Where choices come from, if not from streams of this disk's own.
    tape: Option<Taped>,
    // One per fault that has a rate, and made when first needed for one that was injected.
    streams: [Option<Stream>; Fault::ALL.len()],
    injections: Vec<Injection>,
    /// Injected, too, and waiting until each has struck.
    awaited: Vec<Fault>,
    /// For so many operations more there are no handles.
    short_for: u64,
    /// For so many more the disk does not answer.
    away_for: u64,
    seed: u64,
    pub(super) capacity: Option<u64>,
    pub(super) latency_nanos: u64,
    pub(super) slow_nanos: u64,
    pub(super) burst: u64,
    /// Sectors that are read at once.
    pub(super) physical: u64,
    pub(super) keeps_history: bool,
    /// Syncs of files of the log until the power fails at one.
    power_at_sync: Option<u64>,
    /// Reads of the log that may be misread still, if that is limited.
    pub(super) misreads_left: Option<u32>,
}

/// The choices of one disk on a tape.
#[derive(Clone, Debug)]
struct Taped {
    tape: Tape,
    faults: StreamId,
    details: Stream,
    paused: bool,
    /// Where the tape's positions count from, and the operation that stands there.
    from: (u64, u64),
}

/// A fault chosen for an operation, not yet struck.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) fault: Fault,
    injection: Option<Injection>,
    is_awaited: bool,
}

impl Chosen {
    /// By chance, and by nobody's plan.
    const fn drawn(fault: Fault) -> Self {
        Self { fault, injection: None, is_awaited: false }
    }
}

impl Dice {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self {
            keeps_history: plan.has(Fault::StaleRead),
            rates: [plan.rates; 2],
            storm_rates: [plan.rates; 2],
            storm: None,
            tape: None,
            streams: [const { None }; Fault::ALL.len()],
            injections: plan.injections,
            awaited: Vec::new(),
            short_for: 0,
            away_for: 0,
            power_at_sync: None,
            misreads_left: None,
            seed: plan.seed,
            capacity: plan.capacity,
            latency_nanos: plan.latency_nanos,
            slow_nanos: plan.slow_nanos,
            burst: plan.burst.max(1),
            physical: plan.physical.max(1),
        }
    }

    pub(super) fn inject(&mut self, injection: Injection) {
        self.keeps_history |= injection.fault == Fault::StaleRead;
        self.injections.push(injection);
    }

    pub(super) fn set_rate(&mut self, fault: Fault, per_million: u32) {
        for volume in [Volume::Blocks, Volume::Index] {
            self.set_rate_on(volume, fault, per_million);
        }
    }

    pub(super) fn set_rate_on(&mut self, volume: Volume, fault: Fault, per_million: u32) {
        self.keeps_history |= fault == Fault::StaleRead && per_million > 0;
        self.rates[volume as usize][fault as usize] = per_million;
    }

    pub(super) const fn set_storm_rate_on(&mut self, volume: Volume, fault: Fault, per_million: u32) {
        self.keeps_history |= matches!(fault, Fault::StaleRead) && per_million > 0;
        self.storm_rates[volume as usize][fault as usize] = per_million;
    }

    pub(super) fn choose_by(&mut self, tape: Tape, node: u8) {
        let details = Stream::of_tape(tape.clone(), StreamId::new(Purpose::FaultDetail, node), 0);
        self.tape =
            Some(Taped { tape, faults: StreamId::new(Purpose::Fault, node), details, paused: false, from: (0, 0) });
    }

    pub(super) const fn mark(&mut self, place: u64, number: u64) {
        if let Some(taped) = &mut self.tape {
            taped.from = (place, number);
        }
    }

    pub(super) const fn pause(&mut self, paused: bool) {
        if let Some(taped) = &mut self.tape {
            taped.paused = paused;
        }
    }

    pub(super) const fn fail_power_at_sync(&mut self, after: u64) {
        self.power_at_sync = Some(after);
    }

    /// Whether the power fails at this operation, because it is the sync that was waited for.
    fn power_fails(&mut self, operation: &Operation) -> bool {
        let waited = self.power_at_sync.filter(|_| operation.is_sync() && operation.volume() == Volume::Blocks);
        match waited {
            Some(0) => {
                self.power_at_sync = None;
                true
            }
            Some(more) => {
                self.power_at_sync = Some(more - 1);
                false
            }
            None => false,
        }
    }

    pub(super) fn forget_injections(&mut self) {
        self.injections.clear();
        self.power_at_sync = None;
    }

    pub(super) fn calm(&mut self) {
        self.rates = [[0; Fault::ALL.len()]; 2];
        self.storm = None;
        self.injections.clear();
        self.awaited.clear();
        self.short_for = 0;
        self.away_for = 0;
        self.power_at_sync = None;
    }

    /// The stream of one kind of fault, for the details of its strikes.
    pub(super) fn stream(&mut self, fault: Fault) -> &mut Stream {
        let seed = self.seed;
        if let Some(taped) = &mut self.tape {
            return &mut taped.details;
        }
        self.streams[fault as usize].get_or_insert_with(|| Stream::new(seed, fault.name()))
    }

    /// The fault of this operation: an injected one before a drawn one, and of several drawn the first of the list.
    pub(super) fn choose(&mut self, number: u64, operation: &Operation, storm: bool) -> Option<Chosen> {
        let mut chosen = None;
        let rates = if storm { self.storm_rates } else { self.rates }[operation.volume() as usize];
        if let Some(taped) = &mut self.tape {
            chosen = taped.choose(number, operation, rates);
        }
        let taped = self.tape.is_some();
        for fault in Fault::ALL.into_iter().filter(|_| !taped) {
            let rate = rates[fault as usize];
            // Every stream is drawn from, so that a strike of one kind does not shift the others.
            if rate > 0 && fault.fits(operation) && self.stream(fault).strikes(rate) && chosen.is_none() {
                chosen = Some(Chosen::drawn(fault));
            }
        }
        let due = |injection: &Injection| injection.operation <= number && injection.fault.fits(operation);
        if let Some(place) = self.injections.iter().position(due) {
            let injection = self.injections.swap_remove(place);
            chosen = Some(Chosen { injection: Some(injection), ..Chosen::drawn(injection.fault) });
        }
        if chosen.is_none()
            && let Some(fault) = self.awaited.iter().find(|fault| fault.fits(operation))
        {
            chosen = Some(Chosen { is_awaited: true, ..Chosen::drawn(*fault) });
        }
        if self.misreads_left == Some(0)
            && operation.volume() == Volume::Blocks
            && let Some(other) = chosen.take_if(|chosen| chosen.fault.is_misread())
        {
            self.put_back(other);
        }
        if self.tape.as_ref().is_some_and(|taped| taped.paused) {
            self.short_for = 0;
            self.away_for = 0;
        }
        match chosen {
            Some(Chosen { fault: Fault::Away, .. }) => {
                self.away_for = self.stream(Fault::Away).below(AWAY_LEN);
            }
            Some(Chosen { fault: Fault::Crash, .. }) => {}
            _ if self.away_for > 0 => {
                self.away_for -= 1;
                let fault = match operation {
                    Operation::Sync { .. } => Fault::SyncFailure,
                    Operation::SyncDirectory { .. } => Fault::DirectorySyncFailure,
                    _ => Fault::Away,
                };
                if let Some(other) = chosen.replace(Chosen::drawn(fault)) {
                    self.put_back(other);
                }
            }
            // Handles are short, and stay so for a while.
            Some(Chosen { fault: Fault::Exhausted, .. }) => {
                self.short_for = self.stream(Fault::Exhausted).below(SHORTAGE_LEN);
            }
            None if self.short_for > 0 && Fault::Exhausted.fits(operation) => {
                self.short_for -= 1;
                chosen = Some(Chosen::drawn(Fault::Exhausted));
            }
            _ => {}
        }
        if self.power_fails(operation) {
            chosen = Some(Chosen::drawn(Fault::Crash));
        }
        chosen
    }

    pub(super) fn await_fault(&mut self, fault: Fault) {
        self.keeps_history |= fault == Fault::StaleRead;
        self.awaited.push(fault);
    }

    /// The disk of a world does not answer any more, for a while; others do what they were told.
    pub(super) fn leave(&mut self) {
        if self.away_for == 0 && self.tape.is_some() {
            self.away_for = self.stream(Fault::Away).below(AWAY_LEN);
        }
    }

    /// The chosen fault has struck.
    pub(super) fn struck(&mut self, chosen: Chosen) {
        if chosen.is_awaited
            && let Some(place) = self.awaited.iter().position(|fault| *fault == chosen.fault)
        {
            self.awaited.remove(place);
        }
    }

    /// The chosen fault found nothing to strike: an injected one waits for the next operation.
    pub(super) fn put_back(&mut self, chosen: Chosen) {
        self.injections.extend(chosen.injection);
    }
}

impl Taped {
    /// One choice for an operation, whatever kinds may strike it.
    fn choose(&mut self, number: u64, operation: &Operation, mut rates: [u32; Fault::ALL.len()]) -> Option<Chosen> {
        let position = self.from.0.wrapping_add(number.wrapping_sub(self.from.1));
        // Where the details of an injected fault are drawn, too.
        self.details.enter(position.wrapping_mul(FAULT_DETAILS));
        if self.paused {
            return None;
        }
        for fault in Fault::ALL {
            if rates[fault as usize] > 0 && !fault.fits(operation) {
                rates[fault as usize] = 0;
            }
        }
        if rates.iter().all(|rate| *rate == 0) {
            return None;
        }
        let place = self.tape.rare_at(self.faults, position, &rates).checked_sub(1)?;
        // A schedule may name a kind that does not fit what is now the operation of that number.
        let fault = *Fault::ALL.get(usize::try_from(place).ok()?)?;
        (rates[fault as usize] > 0).then_some(Chosen::drawn(fault))
    }
}
