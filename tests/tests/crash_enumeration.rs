//! P7 and P10, by enumeration: a crash, and a full disk, at every operation that changes the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use ouroboros_tests::crash::{Depth, Script, enumerate_crashes, enumerate_fills};

const SLICE: Script = Script { seed: 1, stages: 2, groups: 10, keys: 6, longest: 120_000 };
const FULL: Script = Script { seed: 7, stages: 6, groups: 25, keys: 16, longest: 300_000 };

fn crashes(script: &Script, depth: &Depth) {
    let found = enumerate_crashes(script, depth).unwrap();
    println!("{found}");
    assert!(found.violations.is_empty(), "{found}");
}

#[test]
fn acknowledged_versions_survive_a_crash_at_every_operation_and_purged_ones_stay_gone() {
    crashes(&SLICE, &Depth::SLICE);
}

#[test]
#[ignore = "takes minutes: .ci/long runs it"]
fn acknowledged_versions_survive_a_crash_at_every_operation_in_full() {
    crashes(&FULL, &Depth::FULL);
}

#[test]
fn a_disk_that_fills_at_any_operation_refuses_clearly_keeps_reading_and_goes_on() {
    let found = enumerate_fills(&SLICE, false).unwrap();
    println!("{found}");
    assert!(found.violations.is_empty(), "{found}");
}

#[test]
#[ignore = "takes minutes: .ci/long runs it"]
fn a_disk_that_fills_at_any_operation_in_full() {
    let found = enumerate_fills(&FULL, true).unwrap();
    println!("{found}");
    assert!(found.violations.is_empty(), "{found}");
}
