//! Which faults a disk has, and when.

use super::fault::Fault;
use super::operation::Operation;
use super::stream::Stream;

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

    fn has(&self, fault: Fault) -> bool {
        self.rates[fault as usize] > 0 || self.injections.iter().any(|injection| injection.fault == fault)
    }
}

/// A plan under way: one stream per kind of fault, so that no kind moves another's draws.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    rates: [u32; Fault::ALL.len()],
    // One per fault that has a rate, and made when first needed for one that was injected.
    streams: [Option<Stream>; Fault::ALL.len()],
    injections: Vec<Injection>,
    seed: u64,
    pub(super) capacity: Option<u64>,
    pub(super) latency_nanos: u64,
    pub(super) slow_nanos: u64,
    pub(super) keeps_history: bool,
}

/// A fault chosen for an operation, not yet struck.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) fault: Fault,
    injection: Option<Injection>,
}

impl Dice {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self {
            keeps_history: plan.has(Fault::StaleRead),
            rates: plan.rates,
            streams: [const { None }; Fault::ALL.len()],
            injections: plan.injections,
            seed: plan.seed,
            capacity: plan.capacity,
            latency_nanos: plan.latency_nanos,
            slow_nanos: plan.slow_nanos,
        }
    }

    pub(super) fn inject(&mut self, injection: Injection) {
        self.keeps_history |= injection.fault == Fault::StaleRead;
        self.injections.push(injection);
    }

    pub(super) fn set_rate(&mut self, fault: Fault, per_million: u32) {
        self.keeps_history |= fault == Fault::StaleRead && per_million > 0;
        self.rates[fault as usize] = per_million;
    }

    pub(super) fn calm(&mut self) {
        self.rates = [0; Fault::ALL.len()];
        self.injections.clear();
    }

    /// The stream of one kind of fault, for the details of its strikes.
    pub(super) fn stream(&mut self, fault: Fault) -> &mut Stream {
        let seed = self.seed;
        self.streams[fault as usize].get_or_insert_with(|| Stream::new(seed, fault.name()))
    }

    /// The fault of this operation: an injected one before a drawn one, and of several drawn the first of the list.
    pub(super) fn choose(&mut self, number: u64, operation: &Operation) -> Option<Chosen> {
        let mut chosen = None;
        for fault in Fault::ALL {
            let rate = self.rates[fault as usize];
            // Every stream is drawn from, so that a strike of one kind does not shift the others.
            if rate > 0 && fault.fits(operation) && self.stream(fault).strikes(rate) && chosen.is_none() {
                chosen = Some(Chosen { fault, injection: None });
            }
        }
        let due = |injection: &Injection| injection.operation <= number && injection.fault.fits(operation);
        if let Some(place) = self.injections.iter().position(due) {
            let injection = self.injections.swap_remove(place);
            chosen = Some(Chosen { fault: injection.fault, injection: Some(injection) });
        }
        chosen
    }

    /// The chosen fault found nothing to strike: an injected one waits for the next operation.
    pub(super) fn put_back(&mut self, chosen: Chosen) {
        self.injections.extend(chosen.injection);
    }
}
