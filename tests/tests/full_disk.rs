//! A full disk, and a store whose index has to be made anew on it (promise P10).
#![allow(clippy::unwrap_used)]

mod shelf;

use ouroboros_engine::env::{Disk, Volume};
use ouroboros_engine::node::{Failure, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, Written};
use ouroboros_sim::disk::{FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, keyring};
use shelf::Size;

const SIZE: Size = Size { spread_len: 100_000, middle_len: 20_000, small: 20 };

fn put(node: &mut Local<FaultyDisk>, len: usize) -> Result<Written, Failure> {
    let source = PutSource::Value(shelf::content(len, 99));
    let put = Put { key: shelf::key("one more"), source, options: PutOptions::default() };
    let Reply::Put(mut results) = node.ask(Request::Put(vec![put]))? else { panic!("no put") };
    results.pop().unwrap()
}

#[test]
fn a_store_without_an_index_opens_and_reads_on_a_full_disk_and_goes_on_when_there_is_space() {
    let disk = FaultyDisk::new(FaultPlan::new(3));
    let mut node = shelf::create(&disk, shelf::limits());
    let shelf = shelf::fill(&mut node, SIZE);
    node.close().unwrap();
    for name in disk.list(Volume::Index).unwrap() {
        disk.remove(Volume::Index, &name).unwrap();
    }
    let open =
        |disk: &FaultyDisk, seed| Local::open(disk.clone(), keyring(shelf::KEYRING), shelf::limits(), seed).unwrap();
    // Room for nothing, for a part of an index, for an empty one, and for most of it.
    for room in [0, 1, 5_000, 30_000, 300_000, 600_000] {
        let mut disk = disk.snapshot();
        disk.set_capacity(Some(disk.used_bytes() + room));
        let full = |disk: &FaultyDisk| {
            let (mut node, opened) = open(disk, room);
            assert!(opened.index_rebuilt && opened.damaged.is_empty(), "{room} bytes of room: {opened:?}");
            let found = shelf::look(&mut node, &shelf);
            assert!(found.is_exact(), "{room} bytes of room: {found:?}");
            assert_eq!(put(&mut node, 2_000_000).unwrap_err(), Failure::Full, "{room} bytes of room");
            node
        };
        // Killed while the disk is full, and opened again.
        drop(full(&disk));
        disk = disk.restart();
        let mut node = full(&disk);
        disk.set_capacity(None);
        let written = put(&mut node, 2_000_000).unwrap();
        node.close().unwrap();
        let (mut node, opened) = open(&disk, 9);
        assert!(!opened.index_rebuilt && opened.replayed == 0, "{room} bytes of room: {opened:?}");
        assert_eq!(shelf::read(&mut node, written.id).unwrap().2, shelf::content(2_000_000, 99));
        node.ask(Request::Purge(PurgeTarget::Version(written.id))).unwrap();
        let found = shelf::look(&mut node, &shelf);
        assert!(found.is_exact(), "{room} bytes of room: {found:?}");
    }
}
