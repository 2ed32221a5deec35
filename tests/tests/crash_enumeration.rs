//! P7 and P10, by enumeration: a crash, and a full disk, at every operation that changes the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use ouroboros_sim::crash::{Depth, Done, Script, Store, Subsets, enumerate_crashes, enumerate_fills};

const SLICE: Script =
    Script { seed: 1, stages: 2, groups: 10, keys: 6, longest: 120_000, keyless: false, store: Store::Usual };
const FULL: Script =
    Script { seed: 7, stages: 6, groups: 23, keys: 16, longest: 64_000, keyless: false, store: Store::Usual };
const FILLS: Script =
    Script { seed: 7, stages: 6, groups: 12, keys: 10, longest: 120_000, keyless: false, store: Store::Usual };
const DEEP: Script =
    Script { seed: 11, stages: 6, groups: 25, keys: 16, longest: 300_000, keyless: false, store: Store::Usual };
const SMALL: Script =
    Script { seed: 13, stages: 6, groups: 23, keys: 5, longest: 3_000, keyless: false, store: Store::Usual };
const KEYLESS: Script =
    Script { seed: 5, stages: 2, groups: 4, keys: 4, longest: 60_000, keyless: true, store: Store::Usual };
const KEYLESS_FULL: Script =
    Script { seed: 3, stages: 3, groups: 7, keys: 6, longest: 120_000, keyless: true, store: Store::Usual };

fn crashes(script: &Script, depth: &Depth) -> Done {
    let found = enumerate_crashes(script, depth).unwrap();
    println!("{found}");
    assert!(found.violations.is_empty(), "{found}");
    found.done
}

fn in_full(script: &Script, depth: &Depth) {
    let done = crashes(script, depth);
    assert!(done.puts >= 300 && done.merges > 0 && done.purges > 0 && done.compactions > 0, "{done:?}");
}

#[test]
fn acknowledged_versions_survive_a_crash_at_every_operation_and_purged_ones_stay_gone() {
    crashes(&SLICE, &Depth::SLICE);
}

#[test]
#[ignore = "takes minutes: `cargo long` runs it"]
fn acknowledged_versions_survive_a_crash_at_every_operation_in_full() {
    in_full(&FULL, &Depth::FULL);
}

#[test]
#[ignore = "takes an hour: with larger values, more variants, and more crashes during recovery"]
fn acknowledged_versions_survive_a_crash_at_every_operation_in_depth() {
    in_full(&DEEP, &Depth::DEEP);
}

#[test]
#[ignore = "takes an hour: up to 64 disks at each crash point"]
fn small_values_survive_every_subset_of_what_was_not_synced() {
    let first = Subsets { every_up_to: 6, each: 0, drawn: 8, torn: 2 };
    in_full(&SMALL, &Depth { first, again_every: 300, deep_every: 400, ..Depth::SLICE });
}

#[test]
fn nothing_is_lost_where_a_process_without_keys_crashes() {
    let done = crashes(&KEYLESS, &Depth { again_every: 450, ..Depth::SLICE });
    assert!(done.keyless > 0 && done.purges > 0, "{done:?}");
}

#[test]
#[ignore = "takes minutes: `cargo long` runs it"]
fn nothing_is_lost_where_a_process_without_keys_crashes_at_every_operation() {
    let done = crashes(&KEYLESS_FULL, &Depth::SLICE);
    assert!(done.keyless > 0 && done.purges > 0, "{done:?}");
}

#[test]
fn a_disk_that_fills_at_any_operation_refuses_clearly_keeps_reading_and_goes_on() {
    let found = enumerate_fills(&SLICE, false).unwrap();
    println!("{found}");
    assert!(found.violations.is_empty(), "{found}");
}

#[test]
#[ignore = "takes minutes: `cargo long` runs it"]
fn a_disk_that_fills_at_any_operation_in_full() {
    let found = enumerate_fills(&FILLS, true).unwrap();
    println!("{found}");
    assert!(found.violations.is_empty(), "{found}");
}
