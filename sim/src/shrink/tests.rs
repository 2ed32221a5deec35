//! The laws of shrinking, on runs that are rules about which choices it takes.

use super::*;
use crate::tape::place::{ERRANDS, OPERATIONS};

const WORK: StreamId = StreamId::new(Purpose::Workload, 0);
const FAULT: StreamId = StreamId::new(Purpose::Fault, 0);
const SWARM: StreamId = StreamId::new(Purpose::Swarm, 0);

const fn fault(slot: u64, operation: u64) -> Entry {
    (FAULT, slot * ERRANDS * OPERATIONS + operation)
}

/// A schedule of fifty slots, with five choices in each, a fault in every second, and all knobs turned.
fn full() -> Schedule {
    let mut schedule = Schedule { operations: 50, ..Schedule::default() };
    for slot in 0..50 {
        for field in 0..5 {
            schedule.choices.insert((WORK, slot * FIELDS + field), 7 + field);
        }
        if slot % 2 == 0 {
            schedule.choices.insert(fault(slot, slot), 3);
        }
    }
    for knob in 0..20 {
        schedule.choices.insert((SWARM, knob), 2);
    }
    schedule
}

/// A run that breaks as long as all these are there, in slots that are reached; it asks for nothing of others.
fn needs(needed: &[Entry]) -> impl FnMut(&Schedule) -> Option<Schedule> {
    move |candidate: &Schedule| {
        let mut asked = candidate.clone();
        let reached = u64::from(candidate.operations);
        asked.choices.retain(|(stream, position), _| slot_of(*stream, *position).is_none_or(|slot| slot < reached));
        needed.iter().all(|entry| asked.choices.contains_key(entry)).then_some(asked)
    }
}

fn minimum(needed: &[Entry], limit: u64) -> Shrunk {
    minimise(&full(), &mut |runs| runs < limit, &mut needs(needed))
}

#[test]
fn what_is_left_is_what_it_takes_wherever_that_stands() {
    let needed = [(WORK, 3 * FIELDS), (WORK, 3 * FIELDS + 2), (WORK, 31 * FIELDS + 1), fault(8, 8), (SWARM, 11)];
    let shrunk = minimum(&needed, 5000);
    let mut left: Vec<Entry> = shrunk.schedule.choices.keys().copied().collect();
    left.sort_unstable();
    let mut needed = needed.to_vec();
    needed.sort_unstable();
    assert_eq!(left, needed);
    assert_eq!(shrunk.schedule.operations, 32);
    assert!(shrunk.schedule.choices.values().all(|value| *value == 1), "{}", shrunk.schedule);
    // Of nearly three hundred choices, in a few runs for each of those that matter.
    assert!(shrunk.runs < 250, "{} runs", shrunk.runs);
}

#[test]
fn what_is_left_breaks_and_breaks_no_more_without_any_of_it() {
    // Any two of three faults, or one with a knob.
    let mut breaks = |candidate: &Schedule| {
        let faults = [fault(2, 2), fault(20, 20), fault(40, 40)];
        let there = faults.iter().filter(|entry| candidate.choices.contains_key(entry)).count();
        let knob = candidate.choices.contains_key(&(SWARM, 5));
        (there >= 2 || there == 1 && knob).then(|| candidate.clone())
    };
    let shrunk = minimise(&full(), &mut |_| true, &mut breaks).schedule;
    assert!(breaks(&shrunk).is_some());
    for entry in shrunk.choices.keys() {
        let mut less = shrunk.clone();
        less.choices.remove(entry);
        assert!(breaks(&less).is_none(), "{entry:?} was not needed");
    }
    assert_eq!(shrunk.choices.len(), 2);
}

#[test]
fn of_two_choices_neither_of_which_can_go_alone_both_go() {
    let mut breaks = |candidate: &Schedule| {
        let (one, other) = ((WORK, 5 * FIELDS + 1), (WORK, 9 * FIELDS + 3));
        let alike = candidate.choices.contains_key(&one) == candidate.choices.contains_key(&other);
        (alike && candidate.choices.contains_key(&(SWARM, 0))).then(|| candidate.clone())
    };
    let shrunk = minimise(&full(), &mut |_| true, &mut breaks).schedule;
    assert_eq!(shrunk.choices.keys().copied().collect::<Vec<_>>(), [(SWARM, 0)]);
}

#[test]
fn values_are_lowered_as_far_as_they_may_be() {
    let entry = (WORK, 4 * FIELDS + 4);
    let mut breaks = |candidate: &Schedule| {
        candidate.choices.get(&entry).is_some_and(|value| *value >= 4).then(|| candidate.clone())
    };
    let shrunk = minimise(&full(), &mut |_| true, &mut breaks).schedule;
    assert_eq!(shrunk.choices.into_iter().collect::<Vec<_>>(), [(entry, 5)]);
}

#[test]
fn it_ends_when_it_is_told_to_with_something_that_breaks() {
    for limit in [0, 1, 7, 30] {
        let needed = [(WORK, 3 * FIELDS), fault(8, 8)];
        let shrunk = minimum(&needed, limit);
        assert!(shrunk.runs <= limit);
        assert!(needs(&needed)(&shrunk.schedule).is_some());
    }
}

#[test]
fn nothing_is_left_of_what_breaks_by_itself() {
    let shrunk = minimise(&full(), &mut |_| true, &mut |candidate| Some(candidate.clone())).schedule;
    assert!(shrunk.choices.is_empty());
    assert_eq!(shrunk.operations, 1);
}
