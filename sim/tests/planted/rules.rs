//! The rules of the disk: what breaks them is seen as it is done, and no crash is needed.

use ouroboros_engine::planted::{Bug, plant};
use ouroboros_sim::disk::{Fault, FaultyDisk};
use ouroboros_sim::scenarios::{create, fresh, limits, noise, put};

/// What a store that is written to breaks, with `fault` at one of the disk's next operations after the first put.
fn broken(disk: &FaultyDisk, fault: Option<Fault>) -> Option<String> {
    disk.hold_to_rules();
    let mut node = create(disk, limits());
    disk.serve(true);
    let told = disk.clone();
    node.on_reply(move |_| told.tell_done());
    for number in 0..12 {
        let operation = disk.operations_so_far() + u64::from(number) % 4;
        if let Some(fault) = fault {
            disk.inject(operation, fault);
        }
        put(&mut node, number, &noise(number.into(), 9000));
        disk.forget_injections();
        if let Some(why) = disk.take_broken_rule() {
            return Some(why);
        }
    }
    None
}

#[test]
fn a_commit_that_is_not_synced_is_seen_without_a_crash() {
    assert_eq!(broken(&fresh(), None), None);
    for bug in [Bug::CommitWithoutSync, Bug::SyncBeforeWrite] {
        let planting = plant(bug);
        let why = broken(&fresh(), None);
        drop(planting);
        assert!(why.as_ref().is_some_and(|why| why.contains("was not synced")), "{bug:?}: {why:?}");
    }
}

#[test]
fn a_name_that_is_not_synced_is_seen_without_a_crash() {
    let planting = plant(Bug::DirectoryNotSynced);
    let why = broken(&fresh(), None);
    drop(planting);
    assert!(why.as_ref().is_some_and(|why| why.contains("name was not synced")), "{why:?}");
}

#[test]
fn a_failed_sync_that_is_tried_again_is_seen_without_a_crash() {
    let planting = plant(Bug::FailedSyncRetried);
    let why = broken(&fresh(), Some(Fault::SyncFailure));
    drop(planting);
    assert!(why.as_ref().is_some_and(|why| why.contains("a sync failed")), "{why:?}");
}
