//! Delta debugging of schedules: the fewest choices that still break the same promise.
//!
//! Nodes are left out first, and steps of a scenario. Entries are cleared in groups, never moved: first whole slots of the workload and of the world, then faults, then what
//! only delays, then single entries; at last the values that are left are made smaller.

use crate::oracle::Promise;
use crate::run::Sim;
use crate::schedule::Schedule;
use crate::tape::{Choices, Purpose, StreamId};

type Entry = (StreamId, u64);

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest schedule that was found.
    pub schedule: Schedule,
    /// Runs it took.
    pub runs: u64,
}

/// Shrinks a schedule that breaks `promise`, in at most `limit` runs.
#[must_use]
pub fn shrink(schedule: &Schedule, promise: Promise, limit: u64) -> Shrunk {
    let mut shrinker = Shrinker { best: schedule.clone(), promise, runs: 0, limit };
    shrinker.fewer_nodes();
    shrinker.fewer_slots();
    shrinker.fewer_steps();
    loop {
        let before = shrinker.best.choices.len();
        for purposes in [
            &[Purpose::Workload, Purpose::World][..],
            &[Purpose::Fault, Purpose::FaultDetail, Purpose::Crash],
            &[Purpose::Job, Purpose::Network],
            &[Purpose::Swarm],
        ] {
            shrinker.clear_groups(purposes);
        }
        shrinker.smaller_values();
        if shrinker.best.choices.len() >= before || shrinker.runs >= limit {
            break;
        }
    }
    Shrunk { schedule: shrinker.best, runs: shrinker.runs }
}

struct Shrinker {
    best: Schedule,
    promise: Promise,
    runs: u64,
    limit: u64,
}

/// Entries that belong together: the choices of one slot, or of one strike.
const fn group(entry: Entry) -> (StreamId, u64) {
    let (stream, position) = entry;
    match stream.purpose {
        Purpose::Workload => (stream, position / 64),
        Purpose::World | Purpose::FaultDetail => (stream, position / 8),
        Purpose::Crash => (stream, position / 2),
        _ => entry,
    }
}

impl Shrinker {
    /// Whether it still breaks; then it is the best.
    fn accept(&mut self, candidate: Schedule) -> bool {
        if self.runs >= self.limit {
            return false;
        }
        self.runs += 1;
        let report = Sim::replay(&candidate).run();
        let same = report.violation.as_ref().is_some_and(|violation| violation.promise == self.promise);
        if same {
            // What the run never asked for is of no matter, and its own record leaves it out.
            self.best = report.schedule;
        }
        same
    }

    fn without(&self, entries: &[Entry]) -> Schedule {
        let mut choices: Choices = self.best.choices.clone();
        for entry in entries {
            choices.remove(entry);
        }
        Schedule { choices, ..self.best.clone() }
    }

    /// Leaves the last nodes out: the streams of the others stay what they are, and so do their slots.
    fn fewer_nodes(&mut self) {
        let (all, slots) = (self.best.nodes, self.best.operations.div_ceil(u32::from(self.best.nodes.max(1))));
        for nodes in 1..all {
            let steps = self.best.steps.iter().filter(|(_, step)| step.nodes().iter().all(|node| node.0 < nodes));
            let steps = steps.cloned().collect();
            let operations = slots.saturating_mul(u32::from(nodes));
            if self.accept(Schedule { nodes, operations, steps, ..self.best.clone() }) {
                return;
            }
        }
    }

    /// Leaves steps of a scenario out.
    fn fewer_steps(&mut self) {
        let mut at = 0;
        while at < self.best.steps.len() {
            let mut steps = self.best.steps.clone();
            steps.remove(at);
            if !self.accept(Schedule { steps, ..self.best.clone() }) {
                at += 1;
            }
        }
    }

    /// Ends the run as early as it may.
    fn fewer_slots(&mut self) {
        let (mut works, mut fails) = (self.best.operations, 0);
        while works > fails + 1 {
            let middle = fails + (works - fails) / 2;
            let candidate = Schedule { operations: middle, ..self.best.clone() };
            if self.accept(candidate) {
                works = middle;
            } else {
                fails = middle;
            }
        }
    }

    /// ddmin over the groups of some purposes, then over the entries.
    fn clear_groups(&mut self, purposes: &[Purpose]) {
        for grouped in [true, false] {
            let mut size = usize::MAX;
            loop {
                let groups = self.groups(purposes, grouped);
                if groups.is_empty() || self.runs >= self.limit {
                    break;
                }
                size = size.min(groups.len());
                let mut cleared = false;
                for chunk in groups.chunks(size) {
                    let entries: Vec<Entry> = chunk.iter().flatten().copied().collect();
                    let present = entries.iter().any(|entry| self.best.choices.contains_key(entry));
                    if present && self.accept(self.without(&entries)) {
                        cleared = true;
                    }
                }
                match (size, cleared) {
                    (1, false) => break,
                    (1, true) => {}
                    (_, _) => size = size.div_ceil(2),
                }
            }
        }
    }

    fn groups(&self, purposes: &[Purpose], grouped: bool) -> Vec<Vec<Entry>> {
        let mut out: Vec<Vec<Entry>> = Vec::new();
        let mut last = None;
        for entry in self.best.choices.keys().filter(|(stream, _)| purposes.contains(&stream.purpose)) {
            let name = if grouped { group(*entry) } else { *entry };
            if last != Some(name) {
                out.push(Vec::new());
                last = Some(name);
            }
            if let Some(group) = out.last_mut() {
                group.push(*entry);
            }
        }
        out
    }

    /// Halves what values are left.
    fn smaller_values(&mut self) {
        let entries: Vec<(Entry, u64)> = self.best.choices.iter().map(|(entry, value)| (*entry, *value)).collect();
        for (entry, mut value) in entries {
            while value > 1 && self.best.choices.get(&entry) == Some(&value) {
                let smaller = if value > 4 { value / 2 } else { value - 1 };
                let mut candidate = self.best.clone();
                candidate.choices.insert(entry, smaller);
                if !self.accept(candidate) {
                    break;
                }
                value = smaller;
            }
        }
    }
}
