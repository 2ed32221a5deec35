//! Crashes at every operation find the bugs that lose what was acknowledged, although most stores are only looked over.

use ouroboros_engine::planted::{Bug, plant};
use ouroboros_sim::crash::{Crashes, Depth, Script, enumerate_crashes_while};

/// Nothing is read in full but the first disk of each crash point, and that is left out below.
const LIGHT: Depth = Depth { full_every: 0, deep_every: 0, first_in_full: false, ..Depth::EXHAUSTIVE };

/// The bugs that it takes a crash to bring to light.
const BUGS: [Bug; 7] = [
    Bug::CommitWithoutSync,
    Bug::SyncBeforeWrite,
    Bug::DirectoryNotSynced,
    Bug::CommitUnpadded,
    Bug::LastBatchTrusted,
    Bug::TornBatchTaken,
    Bug::SegmentGoesFirst,
];

/// Those that break the script itself, which closes and opens its store and kills its process, and where the index is then.
const WITHOUT_A_CRASH: [(Bug, bool); 3] =
    [(Bug::AckBeforeCommit, true), (Bug::TombstoneForgotten, true), (Bug::CheckpointTooEarly, false)];

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
    for bug in BUGS {
        let planting = plant(bug);
        let found = crashes(true);
        drop(planting);
        match found {
            Ok(found) if !found.violations.is_empty() => {
                assert_eq!((found.full, found.deep), (0, 0));
                println!("{:<20} {:>6} recoveries: {:.110}", bug.name(), found.recoveries, found.violations[0]);
            }
            other => missed.push((bug.name(), other.err())),
        }
    }
    for (bug, index_in_memory) in WITHOUT_A_CRASH {
        let planting = plant(bug);
        let found = crashes(index_in_memory);
        drop(planting);
        match found {
            Err(why) => println!("{:<20} without a crash: {why:.110}", bug.name()),
            Ok(_) => missed.push((bug.name(), None)),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
    let sound = crashes(true).unwrap();
    assert!(sound.violations.is_empty() && sound.light() == sound.recoveries, "{sound}");
}
