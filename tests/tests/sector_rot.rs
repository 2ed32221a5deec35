//! Rot, by enumeration (promise P2): for every sector of every file of a store, zeroed, one bit flipped, replaced by
//! another sector of the file, unreadable. Every read gives the exact bytes or an error that names what is damaged, and
//! a scrub makes the log what it was, byte for byte.
//!
//! The tests without mark take every n-th case; the one marked `ignore` takes them all, and `.ci/long` runs it:
//! `cargo test --profile sim -p ouroboros-tests --test sector_rot -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rot;
mod shelf;

use ouroboros_engine::env::Volume;
use rot::{Case, Demand, Kind, Store, run};
use shelf::Size;

const SIZE: Size = Size { spread_len: 300_000, middle_len: 30_000, small: 40 };

/// Every sector of a volume's files, in every way.
fn singles(store: &Store, volume: Volume, without_index: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, first) in store.sectors(volume) {
        for kind in Kind::ALL {
            cases.push(Case { volume, file: file.clone(), first, count: 1, kind, without_index });
        }
    }
    cases
}

/// Every n-th, another kind of damage each time.
fn thinned(cases: Vec<Case>, step: usize) -> Vec<Case> {
    cases.into_iter().step_by(step).collect()
}

fn check(what: &str, store: &Store, cases: &[Case], demand: Demand) {
    let sectors = cases.iter().map(|case| (&case.file, case.first)).collect::<std::collections::BTreeSet<_>>().len();
    let outcome = run(store, cases, demand);
    println!("{what}: sectors: {sectors}, cases: {}, {outcome}", cases.len());
    for (remark, count) in &outcome.remarks {
        println!("    {count} x {remark}");
    }
    for violation in outcome.violations.iter().take(200) {
        println!("    VIOLATION {violation}");
    }
    assert!(
        std::env::var("ROT_LOOK").is_ok() || outcome.violations.is_empty(),
        "{what}: {} violations",
        outcome.violations.len()
    );
}

#[test]
fn one_rotten_sector_anywhere_costs_nothing() {
    let store = Store::make(SIZE, shelf::limits(), true);
    for ((volume, name), bytes) in &store.files {
        println!("{volume}/{name}: {} bytes", bytes.len());
    }
    let cases = thinned(singles(&store, Volume::Blocks, false), 23);
    check("log", &store, &cases, Demand::Whole);
    let cases = thinned(singles(&store, Volume::Blocks, true), 47);
    check("log without index", &store, &cases, Demand::Whole);
    let cases = thinned(singles(&store, Volume::Index, false), 29);
    check("index", &store, &cases, Demand::Whole);
}
