//! Delta debugging of schedules: the fewest choices that still break the same promise.
//!
//! Choices are cleared, never moved: since each stands at a position of its own slot, what is left means what it meant.
//! First nodes are left out, the run is cut short, and steps of a scenario go; then whole slots, then what belongs together
//! in one, then single choices, faults, and what the run is like (whose calm values are the simplest, and permit
//! everything); at last the values that are left are lowered, and pairs of choices are tried of which neither can go alone.

#[cfg(test)]
mod tests;

use crate::oracle::Promise;
use crate::run::Sim;
use crate::schedule::Schedule;
use crate::tape::place::{DETAILS, FAULT_DETAILS, FIELDS, REMAINS, slot_of};
use crate::tape::{Choices, Purpose, StreamId};
use std::panic::{AssertUnwindSafe, catch_unwind};

type Entry = (StreamId, u64);

/// Choices up to which pairs are tried.
const PAIRS: usize = 32;

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
    shrink_while(schedule, promise, &mut |runs| runs < limit)
}

/// Shrinks a schedule that breaks `promise`, as long as `more`, which is told the number of runs, wants it.
#[must_use]
pub fn shrink_while(schedule: &Schedule, promise: Promise, more: &mut dyn FnMut(u64) -> bool) -> Shrunk {
    minimise(schedule, more, &mut |candidate| {
        // A run that the simulator itself does not survive is another matter.
        let report = catch_unwind(AssertUnwindSafe(|| Sim::replay(candidate).run())).ok()?;
        let same = report.violation.as_ref().is_some_and(|violation| violation.promise == promise);
        // What the run never asked for is of no matter, and its own record leaves it out.
        same.then_some(report.schedule)
    })
}

/// Shrinks a schedule: `breaks` runs one, and returns what of it was asked for if it still breaks what it is to break.
fn minimise(
    schedule: &Schedule,
    more: &mut dyn FnMut(u64) -> bool,
    breaks: &mut dyn FnMut(&Schedule) -> Option<Schedule>,
) -> Shrunk {
    let mut shrinker = Shrinker { best: schedule.clone(), runs: 0, over: false, more, breaks };
    shrinker.one_node();
    shrinker.fewer_nodes();
    shrinker.fewer_slots();
    shrinker.fewer_steps();
    // What mostly is of no matter, all of it at once.
    for purpose in [Purpose::Job, Purpose::Network, Purpose::Swarm, Purpose::Fault, Purpose::World, Purpose::Crash] {
        shrinker.clear_all(|entry| entry.0.purpose == purpose);
    }
    loop {
        let before = shrinker.best.choices.len();
        shrinker.clear_groups(|entry| slot_of(entry.0, entry.1));
        shrinker.fewer_slots();
        shrinker.clear_groups(|entry| group(entry).map(|at| (entry.0, at)));
        shrinker.clear_groups(Some);
        shrinker.lower_values();
        if shrinker.best.choices.len() >= before {
            shrinker.clear_pairs();
        }
        if shrinker.best.choices.len() >= before || shrinker.over {
            break;
        }
    }
    Shrunk { runs: shrinker.runs, schedule: shrinker.best }
}

struct Shrinker<'a> {
    best: Schedule,
    runs: u64,
    over: bool,
    more: &'a mut dyn FnMut(u64) -> bool,
    breaks: &'a mut dyn FnMut(&Schedule) -> Option<Schedule>,
}

/// What belongs together within a slot: an operation, what befalls the node, the details of a fault, what the power left.
const fn group(entry: Entry) -> Option<u64> {
    let (stream, position) = entry;
    Some(match stream.purpose {
        Purpose::Workload => position / FIELDS,
        Purpose::World => position / DETAILS,
        Purpose::FaultDetail => position / FAULT_DETAILS,
        Purpose::Crash => position / REMAINS,
        _ => return None,
    })
}

impl Shrinker<'_> {
    /// Whether it still breaks; then it is the best.
    fn accept(&mut self, candidate: &Schedule) -> bool {
        self.over = self.over || !(self.more)(self.runs);
        if self.over {
            return false;
        }
        self.runs += 1;
        let Some(asked) = (self.breaks)(candidate) else { return false };
        self.best = asked;
        true
    }

    fn without(&self, entries: &[Entry]) -> Schedule {
        let mut choices: Choices = self.best.choices.clone();
        for entry in entries {
            choices.remove(entry);
        }
        Schedule { choices, ..self.best.clone() }
    }

    fn clear(&mut self, entries: &[Entry]) -> bool {
        let present = !self.over && entries.iter().any(|entry| self.best.choices.contains_key(entry));
        present && self.accept(&self.without(entries))
    }

    fn clear_all(&mut self, which: impl Fn(Entry) -> bool) {
        let entries: Vec<Entry> = self.best.choices.keys().copied().filter(|entry| which(*entry)).collect();
        self.clear(&entries);
    }

    /// One node is enough for most findings: what befell it befalls the only one there is, and the run is like what it was.
    fn one_node(&mut self) {
        let (all, slots) = (self.best.nodes, self.best.operations.div_ceil(u32::from(self.best.nodes.max(1))));
        for node in (0..all).filter(|_| all > 1 && self.best.steps.is_empty()).collect::<Vec<_>>() {
            let of_run = |stream: &StreamId| stream.purpose == Purpose::Swarm && stream.node == 0;
            let kept = self.best.choices.iter().filter(|((stream, _), _)| of_run(stream) || stream.node == node);
            let moved = kept.map(|((stream, position), value)| ((StreamId { node: 0, ..*stream }, *position), *value));
            let choices = moved.collect();
            if self.accept(&Schedule { nodes: 1, operations: slots, choices, ..self.best.clone() }) {
                return;
            }
        }
    }

    /// Leaves the last nodes out: the streams of the others stay what they are, and so do their slots.
    fn fewer_nodes(&mut self) {
        let (all, slots) = (self.best.nodes, self.best.operations.div_ceil(u32::from(self.best.nodes.max(1))));
        for nodes in 1..all {
            let steps = self.best.steps.iter().filter(|(_, step)| step.nodes().iter().all(|node| node.0 < nodes));
            let steps = steps.cloned().collect();
            let operations = slots.saturating_mul(u32::from(nodes));
            if self.accept(&Schedule { nodes, operations, steps, ..self.best.clone() }) {
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
            if !self.accept(&Schedule { steps, ..self.best.clone() }) {
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
            if self.accept(&candidate) {
                works = middle;
            } else {
                fails = middle;
            }
        }
    }

    /// Clears groups, many at once and then fewer, the last first: what comes first is what the rest is about.
    fn clear_groups<K: PartialEq>(&mut self, name: impl Fn(Entry) -> Option<K>) {
        let mut size = usize::MAX;
        loop {
            let groups = self.groups(&name);
            if groups.is_empty() || self.over {
                return;
            }
            size = size.min(groups.len());
            let mut cleared = false;
            for chunk in groups.rchunks(size) {
                cleared |= self.clear(&chunk.concat());
            }
            match (size, cleared) {
                (1, false) => return,
                (1, true) => {}
                (_, _) => size = size.div_ceil(2),
            }
        }
    }

    /// The choices by the names of their groups; those without a name stay.
    fn groups<K: PartialEq>(&self, name: &impl Fn(Entry) -> Option<K>) -> Vec<Vec<Entry>> {
        let mut out: Vec<(K, Vec<Entry>)> = Vec::new();
        for entry in self.best.choices.keys().copied() {
            let Some(name) = name(entry) else { continue };
            match out.iter_mut().find(|(other, _)| *other == name) {
                Some((_, group)) => group.push(entry),
                None => out.push((name, vec![entry])),
            }
        }
        out.into_iter().map(|(_, group)| group).collect()
    }

    /// Lowers what values are left: to 1, which is the plainest, or by halves.
    fn lower_values(&mut self) {
        let entries: Vec<(Entry, u64)> = self.best.choices.iter().map(|(entry, value)| (*entry, *value)).collect();
        for (entry, mut value) in entries {
            let mut smaller = 1;
            while !self.over && value > 1 && smaller < value && self.best.choices.get(&entry) == Some(&value) {
                let mut candidate = self.best.clone();
                candidate.choices.insert(entry, smaller);
                if self.accept(&candidate) {
                    value = smaller;
                } else if smaller == 1 && value > 3 {
                    smaller = value / 2;
                    continue;
                } else {
                    break;
                }
                smaller = value / 2;
            }
        }
    }

    /// Two choices of which neither can go alone may go together.
    fn clear_pairs(&mut self) {
        let entries: Vec<Entry> = self.best.choices.keys().copied().collect();
        if entries.len() > PAIRS {
            return;
        }
        for (at, one) in entries.iter().enumerate() {
            for other in &entries[at + 1..] {
                let both = self.best.choices.contains_key(one) && self.best.choices.contains_key(other);
                if both && self.clear(&[*one, *other]) {
                    break;
                }
            }
        }
    }
}
