//! What a run is given, and what it leaves.

use super::trace::{TraceEvent, TraceHash};
use crate::disk::FaultCounts;
use crate::network::NetworkCounts;
use crate::probe::ledger::ProbeCounts;
use crate::scenario::{At, Step};
use crate::sometimes::{Sometimes, SometimesCounts};
use crate::story::Entry;
use crate::table::FaultTable;
use ouroboros_engine::planted::Bug;
use std::collections::BTreeMap;

/// Counts of what the world did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) operations: u64,
    pub(crate) faults: FaultCounts,
    pub(crate) table: FaultTable,
    pub(crate) sometimes: SometimesCounts,
    pub(crate) network: NetworkCounts,
    pub(crate) probe: ProbeCounts,
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
    pub(crate) nodes: u8,
    /// Nothing goes wrong but what the steps say.
    pub(crate) calm: bool,
    pub(crate) steps: Vec<(At, Step)>,
    pub(crate) beyond: bool,
    pub(crate) canary: bool,
    pub(crate) told: bool,
    pub(crate) logged: bool,
    /// The bug that is planted.
    pub(crate) planted: Option<Bug>,
    /// A planted nondeterminism: the oracle asks in the order of a hash map.
    #[cfg(feature = "planted")]
    pub(crate) disorder: bool,
    /// A planted mistake of the probes.
    #[cfg(feature = "planted")]
    pub(crate) flaw: Option<crate::probe::ProbeFlaw>,
}

impl Setting {
    pub(crate) const fn new(seed: u64, operations: u32) -> Self {
        Self {
            seed,
            operations,
            nodes: 1,
            calm: false,
            steps: Vec::new(),
            beyond: false,
            canary: false,
            told: false,
            logged: false,
            planted: None,
            #[cfg(feature = "planted")]
            disorder: false,
            #[cfg(feature = "planted")]
            flaw: None,
        }
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
