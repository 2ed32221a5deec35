//! Each planted bug breaks its promise, and nothing is found where none is planted.
//!
//! `cargo test --profile sim -p ouroboros-sim --features planted --test planted -- --nocapture`; with `PLANTED=Name,Name`
//! only those.
#![cfg(feature = "planted")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod crashes;
mod probe;
mod rules;

use ouroboros_engine::planted::{Bug, plant};
use ouroboros_sim::schedule::Schedule;
use ouroboros_sim::shrink::shrink;
use ouroboros_sim::{Sim, scenarios};
use std::panic::catch_unwind;

/// Seeds within which the simulator's own world finds a bug that has no scenario of its own.
const SEEDS: u64 = 3000;

/// What breaks in the world of a seed.
fn broken(seed: u64) -> Option<String> {
    Sim::new(seed).run().violation.map(|violation| format!("{} {}", violation.promise, violation.what))
}

#[test]
fn every_planted_bug_breaks_its_promise() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    let only = std::env::var("PLANTED").unwrap_or_default();
    for &bug in Bug::ALL.iter().filter(|bug| only.is_empty() || only.split(',').any(|name| name == bug.name())) {
        let found = match scenarios::of(bug) {
            Some(scenario) => {
                let sound = catch_unwind(scenario).unwrap_or_else(|_| Err("panic".into()));
                if let Err(why) = sound {
                    println!("{:<22} broken without it: {why:.150}", bug.name());
                    missed.push(bug.name());
                    continue;
                }
                let planting = plant(bug);
                let outcome = catch_unwind(scenario).unwrap_or_else(|_| Err("panic".into()));
                drop(planting);
                outcome.err().map(|why| (0, why))
            }
            None => {
                let with_bug = |seed| {
                    let planting = plant(bug);
                    let why = broken(seed);
                    drop(planting);
                    why
                };
                // Only what is the bug's doing counts.
                let found = |seed| with_bug(seed).filter(|_| broken(seed).is_none()).map(|why| (seed, why));
                (0..SEEDS).find_map(found)
            }
        };
        match found {
            Some((seed, why)) => println!("{:<22} P{:<2} seed {seed:>3}: {why:.90}", bug.name(), bug.promise()),
            None => missed.push(bug.name()),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// A story that somebody can read, and that anybody can see again.
#[test]
fn a_minimised_schedule_is_short_and_breaks_the_same_promise_from_its_text() {
    for bug in [Bug::AckBeforeCommit, Bug::ForgottenParent, Bug::CompactionDropsLive] {
        let mut reports = (0..50).map(|seed| Sim::new(seed).planted(bug).run());
        let report = reports.find(|report| report.violation.is_some()).unwrap();
        let promise = report.violation.unwrap().promise;
        let shrunk = shrink(&report.schedule, promise, 4000).schedule;
        assert!(shrunk.choices.len() <= 12, "{}: {shrunk}", bug.name());
        let text = shrunk.to_string();
        assert!(text.contains(&format!("planted {}", bug.name())));
        let again = Sim::replay(&Schedule::parse(&text).unwrap()).run();
        assert_eq!(again.violation.map(|violation| violation.promise), Some(promise), "{}", bug.name());
        let sound = Sim::replay(&Schedule { planted: None, ..shrunk }).run();
        assert_eq!(sound.violation, None, "{} breaks it, and not the world", bug.name());
    }
}

/// Who compares traces must see a run that depends on more than its seed.
#[test]
fn a_planted_nondeterminism_is_caught_within_ten_seeds_and_its_first_event_named() {
    let run = |seed| Sim::new(seed).operations(20).disorder(true).logged(true).run();
    let found = (0..10).map(|seed| (run(seed), run(seed))).find(|(one, other)| one.trace != other.trace);
    let (one, other) = found.unwrap();
    println!("seed {} differs from itself", one.seed);
    let first = one.log.iter().zip(&other.log).position(|(one, other)| one != other).unwrap();
    assert_eq!(one.log[..first], other.log[..first]);
    assert!(one.log[first..].iter().zip(&other.log[first..]).all(|(one, other)| one.so_far != other.so_far));
}
