//! The simulator itself: it finds nothing where nothing is, it finds what is there, and it does the same again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ouroboros_sim::oracle::Promise;
use ouroboros_sim::schedule::Schedule;
use ouroboros_sim::shrink::shrink;
use ouroboros_sim::{Report, Sim};
use std::collections::BTreeMap;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 200;

fn run(seed: u64) -> Report {
    Sim::new(seed).run()
}

#[test]
fn two_hundred_seeds_break_no_promise() {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    std::thread::scope(|scope| {
        let halves = [0, 1]
            .map(|half| scope.spawn(move || (0..SEEDS).filter(|seed| seed % 2 == half).map(run).collect::<Vec<_>>()));
        for report in halves.into_iter().flat_map(|half| half.join().unwrap()) {
            assert_eq!(report.violation, None, "ouroboros-sim run --seed {}", report.seed);
            report.counts.iter().for_each(|(name, count)| *counts.entry(name).or_default() += count);
        }
    });
    // A world in which nothing happens finds nothing.
    for name in ["put", "stream", "merge", "purge-key", "purge-version", "compact", "crash", "kill", "rot-at-rest"] {
        assert!(counts.get(name).is_some_and(|count| *count > 0), "no {name} in {SEEDS} seeds");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!((one.events, one.virtual_ns), (other.events, other.virtual_ns), "seed {seed}");
        assert_eq!(one.schedule, other.schedule, "seed {seed}");
    }
    assert_ne!(run(1).trace, run(2).trace);
}

#[test]
fn a_recorded_schedule_replays_to_the_same_trace() {
    // The long ones come to every corner.
    let long = [165, 1887].map(|seed| Sim::new(seed).operations(300));
    for sim in (20..40).map(Sim::new).chain(long) {
        let report = sim.run();
        let seed = report.seed;
        let text = report.schedule.to_string();
        let again = Sim::replay(&Schedule::parse(&text).unwrap()).told(true).run();
        assert_eq!(again.trace, report.trace, "seed {seed}");
        assert_eq!(again.schedule.to_string(), text, "seed {seed}");
    }
}

/// Positions that were asked twice gave a fuzzer's run two answers, and its schedule one.
#[test]
fn the_schedule_of_a_fuzzers_run_replays_to_the_same_trace() {
    for number in 0..20u64 {
        let bytes = |at: u64| blake3::hash(&[number.to_le_bytes(), at.to_le_bytes()].concat()).as_bytes()[0];
        let input: Vec<u8> = (0..600).map(bytes).collect();
        let report = Sim::of_bytes(&input).operations(20).run();
        let again = Sim::replay(&report.schedule).run();
        assert_eq!(again.trace, report.trace, "input {number}");
    }
}

#[test]
fn a_canary_is_found_and_its_schedule_shrinks_to_a_few_choices() {
    let found = (0..50).map(|seed| Sim::new(seed).canary(true).run()).find(|report| report.violation.is_some());
    let report = found.expect("the canary is found within 50 seeds");
    assert_eq!(report.violation.as_ref().unwrap().promise, Promise::P7);
    let shrunk = shrink(&report.schedule, Promise::P7, 600).schedule;
    let again = Sim::replay(&Schedule::parse(&shrunk.to_string()).unwrap()).told(true).run();
    assert_eq!(again.violation.map(|violation| violation.promise), Some(Promise::P7));
    // A put of 1,000 bytes and more, and a crash: the rest is gone.
    assert!(shrunk.choices.len() <= 12, "{shrunk}");
    assert!(again.story.iter().any(|entry| entry.text.contains("BROKEN: P7 canary")), "{:#?}", again.story);
}

#[test]
fn a_calm_world_is_one_in_which_nothing_happens() {
    let report = Sim::of_bytes(&[]).run();
    assert_eq!(report.violation, None);
    assert_eq!((report.operations, report.faults.total()), (0, 0));
    assert!(report.schedule.choices.is_empty());
}

#[test]
fn a_fuzzers_bytes_run_a_store() {
    for input in 0..20u8 {
        let bytes: Vec<u8> = (0..600u16).map(|at| (at as u8).wrapping_mul(31).wrapping_add(input)).collect();
        let report = Sim::of_bytes(&bytes).operations(10).run();
        assert_eq!(report.violation, None, "input {input}");
    }
}

#[test]
fn beyond_the_budget_there_are_clear_errors_and_never_wrong_bytes() {
    for seed in 0..40 {
        let report = Sim::new(seed).beyond(true).run();
        assert_eq!(report.violation, None, "ouroboros-sim run --beyond --seed {seed}");
    }
}

/// What the simulator has found, each under the name of what it was.
#[test]
fn what_was_found_once_is_not_found_again() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let schedule = Schedule::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let report = Sim::replay(&schedule).run();
        assert_eq!(report.violation, None, "{}", path.display());
        count += 1;
    }
    assert!(count > 0);
}

/// `ouroboros-sim run --seeds 0..1000 --sometimes` is the same as a command.
#[test]
#[ignore = "a thousand seeds"]
fn a_thousand_seeds_reach_every_state_that_must_be_reached() {
    let mut reached = ouroboros_sim::sometimes::SometimesCounts::default();
    std::thread::scope(|scope| {
        let half = |half| move || (0..1000).filter(|seed| seed % 2 == half).map(run).collect::<Vec<_>>();
        let halves = [0, 1].map(|which| scope.spawn(half(which)));
        for report in halves.into_iter().flat_map(|half| half.join().unwrap()) {
            assert_eq!(report.violation, None, "ouroboros-sim run --seed {}", report.seed);
            reached.add(&report.sometimes);
        }
    });
    let never: Vec<&str> = reached.never(1).map(|what| what.text()).collect();
    assert!(never.is_empty(), "it never came to this: {never:#?}");
}
