//! Each planted bug breaks its promise, and nothing is found where none is planted.
//!
//! `cargo test --profile sim -p ouroboros-sim --features planted --test planted -- --nocapture`; with `PLANTED=Name,Name`
//! only those.
#![cfg(feature = "planted")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod direct;
mod world;

use ouroboros_engine::planted::{Bug, plant};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

const OPERATIONS: u64 = 60;
const SEEDS: u64 = 400;

/// What breaks in the world of a seed. A panic of the engine is a broken promise too.
fn broken(seed: u64) -> Option<String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(seed).run(OPERATIONS)));
    match outcome {
        Ok(outcome) => outcome.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

#[test]
fn a_world_without_a_bug_breaks_no_promise() {
    for seed in 0..SEEDS / 4 {
        assert_eq!(broken(seed), None, "seed {seed}");
    }
}

/// The log forgot that a batch had been given up once a compaction had removed the segment whose commit said so, and the next
/// replay of all of it brought the batch back.
#[test]
fn what_a_full_disk_refused_stays_away() {
    assert_eq!(World::new(77).run(OPERATIONS), Ok(()));
}

#[test]
fn every_planted_bug_breaks_its_promise() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    let only = std::env::var("PLANTED").unwrap_or_default();
    for &bug in Bug::ALL.iter().filter(|bug| only.is_empty() || only.split(',').any(|name| name == bug.name())) {
        let found = match direct::scenario(bug) {
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

/// Who compares traces must see a run that depends on more than its seed.
#[test]
fn a_planted_nondeterminism_is_caught_within_ten_seeds_and_its_first_event_named() {
    let run = |seed| ouroboros_sim::Sim::new(seed).operations(20).disorder(true).logged(true).run();
    let found = (0..10).map(|seed| (run(seed), run(seed))).find(|(one, other)| one.trace != other.trace);
    let (one, other) = found.unwrap();
    println!("seed {} differs from itself", one.seed);
    let first = one.log.iter().zip(&other.log).position(|(one, other)| one != other).unwrap();
    assert_eq!(one.log[..first], other.log[..first]);
    assert!(one.log[first..].iter().zip(&other.log[first..]).all(|(one, other)| one.so_far != other.so_far));
}
