//! Crashes at every operation find the bugs that lose what was acknowledged, although most stores are only looked over.

use ouroboros_engine::planted::{Bug, plant};
use ouroboros_sim::crash::{Crashes, Depth, Script, enumerate_crashes_while};

/// Nothing is read in full but the first disk of each crash point, and that is left out below.
const LIGHT: Depth = Depth { full_every: 0, deep_every: 0, first_in_full: false, ..Depth::EXHAUSTIVE };

/// The bugs that a crash alone brings to light, and where the index has to be for it.
const BUGS: [(Bug, bool); 11] = [
    (Bug::CommitWithoutSync, true),
    (Bug::SyncBeforeWrite, true),
    (Bug::DirectoryNotSynced, true),
    (Bug::CommitUnpadded, true),
    (Bug::LastBatchTrusted, true),
    (Bug::TornBatchTaken, true),
    (Bug::SegmentGoesFirst, true),
    (Bug::AckBeforeCommit, true),
    (Bug::TombstoneForgotten, true),
    (Bug::CheckpointTooEarly, false),
    (Bug::StaleIndexBelieved, false),
];

/// Crash points that are tried for each bug, at most.
const POINTS: u64 = 600;

/// On this thread, where the bug is planted.
fn crashes(index_in_memory: bool) -> Result<Crashes, String> {
    let script = Script::tiny(7, index_in_memory);
    // Nothing but first crashes: what a crash of the recovery leaves is left by fewer bugs.
    let depth = Depth { again_every: 0, ..LIGHT };
    enumerate_crashes_while(&script, &depth, None, 0, &|found| found.violations.is_empty() && found.tried < POINTS)
}

#[test]
fn every_bug_that_a_crash_brings_to_light_is_seen_by_looking_a_store_over() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for (bug, index_in_memory) in BUGS {
        let planting = plant(bug);
        let found = crashes(index_in_memory);
        drop(planting);
        match &found {
            Ok(found) if found.violations.is_empty() => missed.push(bug.name()),
            Ok(found) => {
                assert_eq!((found.full, found.deep), (0, 0));
                println!("{:<20} {:>6} recoveries: {:.110}", bug.name(), found.recoveries, found.violations[0]);
            }
            // It shows without any crash: another's find.
            Err(why) => missed.push(Box::leak(format!("{} ({why:.80})", bug.name()).into_boxed_str())),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
    for index_in_memory in [true, false] {
        let found = crashes(index_in_memory).unwrap();
        assert!(found.violations.is_empty() && found.light() == found.recoveries, "{found}");
    }
}
