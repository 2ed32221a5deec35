//! What a node does for its last writes while nobody asks anything.
#![allow(clippy::unwrap_used)]

mod shelf;

use ouroboros_engine::node::{Put, PutOptions, PutSource, Request, Select};
use ouroboros_sim::disk::{FaultPlan, FaultyDisk};
use ouroboros_sim::local::Local;

/// A node whose last write has no parity yet.
fn just_written() -> (FaultyDisk, Local<FaultyDisk>) {
    let disk = FaultyDisk::new(FaultPlan::new(7));
    let mut node = shelf::create(&disk, shelf::limits());
    node.set_time(1_000_000_000, 1_700_000_000_000);
    let source = PutSource::Value(shelf::content(500, 1));
    node.ask(Request::Put(vec![Put { key: shelf::key("last"), source, options: PutOptions::default() }])).unwrap();
    (disk, node)
}

/// They are covered by parity once the node has rested, and the log is left alone while it rests on.
#[test]
fn a_node_that_rests_covers_its_last_writes_once() {
    let (disk, mut node) = just_written();
    let before = disk.used_bytes();
    let mut rest_until = |seconds: u64| {
        node.set_time(seconds * 1_000_000_000, 1_700_000_000_000);
        node.settle();
        disk.used_bytes()
    };
    assert_eq!(rest_until(6), before, "it did not rest for long yet");
    let covered = rest_until(12);
    assert!(covered > before, "no parity was written");
    assert_eq!(rest_until(120), covered, "the log grows by itself");
}

/// Whoever only reads does not keep the last writes without parity.
#[test]
fn reading_keeps_no_write_from_its_parity() {
    let (disk, mut node) = just_written();
    let before = disk.used_bytes();
    for seconds in [6, 9, 12] {
        node.set_time(seconds * 1_000_000_000, 1_700_000_000_000);
        node.ask(Request::Get(vec![(shelf::key("last"), Select::Winner)])).unwrap();
        node.settle();
    }
    assert!(disk.used_bytes() > before, "no parity was written");
}
