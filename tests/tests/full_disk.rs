//! A full disk, and a store whose index has to be made anew on it (promise P10).
#![allow(clippy::unwrap_used)]

mod shelf;

use ouroboros_engine::env::{Disk, Volume};
use ouroboros_engine::node::{
    DamageOutcome, Failure, Limits, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, Written,
};
use ouroboros_sim::disk::{Fault, FaultPlan, FaultyDisk};
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

/// What did not fit is gone at once: neither what waited in the buffer nor what was written before the disk was full stands
/// in the way.
#[test]
fn after_a_write_that_did_not_fit_what_does_fit_is_written_and_deleting_makes_room() {
    for room in [60_000, 300_000, 1_500_000] {
        let disk = FaultyDisk::new(FaultPlan::new(3));
        let mut node = shelf::create(&disk, shelf::limits());
        let large = put(&mut node, 1_000_000).unwrap();
        node.close().unwrap();
        let (mut node, _) = Local::open(disk.clone(), keyring(shelf::KEYRING), shelf::limits(), 4).unwrap();
        disk.set_capacity(Some(disk.used_bytes() + room));
        for number in 0..3 {
            let before = disk.used_bytes();
            assert_eq!(put(&mut node, 2_000_000).unwrap_err(), Failure::Full, "{room} bytes of room");
            let written = put_small(&mut node, number).unwrap_or_else(|failure| panic!("{room} of room: {failure}"));
            assert_eq!(shelf::read(&mut node, written.id).unwrap().2, shelf::content(3000, number));
            let left = disk.used_bytes() - before;
            assert!(left <= 40_000, "{room} bytes of room: {left} of them are held by what was refused");
        }
        node.ask(Request::Purge(PurgeTarget::Version(large.id))).unwrap();
        node.ask(Request::Compact).unwrap();
        put(&mut node, 900_000).unwrap();
        drop(node);
        let (mut node, opened) = Local::open(disk.restart(), keyring(shelf::KEYRING), shelf::limits(), 9).unwrap();
        assert!(opened.damaged.is_empty(), "{opened:?}");
        let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: false }).unwrap() else { panic!("no scrub") };
        assert!(report.damage.is_empty(), "{room} bytes of room: {report:?}");
    }
}

const OVERLAY_LEN: usize = 16 << 10;
/// What one put brings to the index, at most.
const ROWS_LEN: usize = 8 << 10;

fn put_small(node: &mut Local<FaultyDisk>, number: u32) -> Result<Written, Failure> {
    let source = PutSource::Value(shelf::content(3000, number));
    let put = Put { key: shelf::key(&format!("small {number}")), source, options: PutOptions::default() };
    let Reply::Put(mut results) = node.ask(Request::Put(vec![put]))? else { panic!("no put") };
    results.pop().unwrap()
}

/// Puts until one is refused, while what waits for the index stays within its limits.
fn put_until_refused(node: &mut Local<FaultyDisk>) -> (Vec<Written>, Failure) {
    let mut written = Vec::new();
    for number in 0..1000 {
        match put_small(node, number) {
            Ok(version) => written.push(version),
            Err(failure) => return (written, failure),
        }
        let held = node.engine().held();
        assert!(held.backlog_len <= OVERLAY_LEN + ROWS_LEN, "{number}: {held:?}");
        assert!(held.rows_len <= 2 * OVERLAY_LEN + ROWS_LEN, "{number}: {held:?}");
    }
    panic!("a thousand versions wait for an index that does not take them");
}

fn all_are_there(node: &mut Local<FaultyDisk>, written: &[Written]) {
    for (number, version) in (0..).zip(written) {
        assert_eq!(shelf::read(node, version.id).unwrap().2, shelf::content(3000, number));
    }
}

#[test]
fn what_waits_for_an_index_whose_volume_is_full_is_bounded_and_reading_and_deleting_go_on() {
    let limits = || Limits { index_overlay_len: OVERLAY_LEN, ..shelf::limits() };
    let disk = FaultyDisk::new(FaultPlan::new(3));
    let mut node = shelf::create(&disk, limits());
    put_small(&mut node, 5000).unwrap();
    disk.set_index_capacity(Some(disk.used_bytes_of(Volume::Index)));
    let (mut written, failure) = put_until_refused(&mut node);
    assert_eq!(failure, Failure::Full);
    assert!(written.len() > 10, "{} versions were taken", written.len());
    all_are_there(&mut node, &written);
    for _ in 0..3 {
        assert_eq!(put_small(&mut node, 6000).unwrap_err(), Failure::Full);
        // Deletions are let in for longer, or nobody could make room.
        node.ask(Request::Purge(PurgeTarget::Version(written.pop().unwrap().id))).unwrap();
    }
    node.ask(Request::Compact).unwrap();
    disk.set_index_capacity(None);
    put_small(&mut node, 6000).unwrap();
    assert_eq!(node.engine().held().backlog_len, 0);
    node.close().unwrap();
    let (mut node, opened) = Local::open(disk, keyring(shelf::KEYRING), limits(), 9).unwrap();
    assert!(!opened.index_rebuilt && opened.replayed == 0, "{opened:?}");
    all_are_there(&mut node, &written);
}

#[test]
fn after_a_failed_sync_of_the_index_another_is_made_and_until_then_what_waits_for_it_is_bounded() {
    let limits = || Limits { index_overlay_len: OVERLAY_LEN, ..shelf::limits() };
    let disk = FaultyDisk::new(FaultPlan::new(3));
    let mut node = shelf::create(&disk, limits());
    put_small(&mut node, 5000).unwrap();
    // For as long as no sync succeeds no index is made.
    disk.set_rate_on(Volume::Index, Fault::SyncFailure, 1_000_000);
    let (written, failure) = put_until_refused(&mut node);
    assert!(matches!(failure, Failure::Disk(_) | Failure::Index(_)), "{failure:?}");
    assert!(written.len() > 10, "{} versions were taken", written.len());
    all_are_there(&mut node, &written);
    disk.set_rate_on(Volume::Index, Fault::SyncFailure, 0);
    let more: Vec<Written> = (0..200).map(|number| put_small(&mut node, number).unwrap()).collect();
    let held = node.engine().held();
    assert!(!held.refused && held.rows_len <= OVERLAY_LEN, "{held:?}");
    all_are_there(&mut node, &written);
    all_are_there(&mut node, &more);
    node.close().unwrap();
    let (mut node, opened) = Local::open(disk, keyring(shelf::KEYRING), limits(), 9).unwrap();
    assert!(!opened.index_rebuilt && opened.replayed == 0, "{opened:?}");
    all_are_there(&mut node, &more);
}

/// What is mended anew needs room. Where there is none it waits, and a scrub goes on.
#[test]
fn what_does_not_fit_when_it_is_mended_is_mended_when_there_is_room() {
    let disk = FaultyDisk::new(FaultPlan::new(3));
    let limits = || Limits { segment_len: 512 << 10, ..shelf::limits() };
    let mut node = shelf::create(&disk, limits());
    let large = put(&mut node, 3_000_000).unwrap();
    node.close().unwrap();
    // Slices of many seals, of which the others lie far away.
    disk.remove(Volume::Blocks, &disk.list(Volume::Blocks).unwrap()[1]).unwrap();
    let (mut node, _) = Local::open(disk.clone(), keyring(shelf::KEYRING), limits(), 4).unwrap();
    let scrub = |node: &mut Local<FaultyDisk>, repair| match node.ask(Request::Scrub { repair }) {
        Ok(Reply::Scrubbed(report)) => report,
        other => panic!("no scrub: {other:?}"),
    };
    disk.set_capacity(Some(disk.used_bytes() + 300_000));
    for start in [0, 1_000_000, 2_000_000] {
        node.ask(Request::Read { blob: large.id, range: start..start + 1_000_000 }).unwrap();
    }
    node.settle();
    eprintln!("Held {:?} {}", node.engine().held(), disk.used_bytes());
    assert!(node.engine().held().to_mend > 0);
    let report = scrub(&mut node, true);
    let healable = report.damage.iter().filter(|damage| damage.outcome == DamageOutcome::Healable).count();
    assert!(healable > 0 && report.lost.is_empty(), "{report:?}");
    disk.set_capacity(None);
    // A deletion gives hope.
    let last = put_small(&mut node, 1).unwrap();
    node.ask(Request::Purge(PurgeTarget::Version(last.id))).unwrap();
    node.settle();
    assert_eq!(node.engine().held().to_mend, 0);
    let left = scrub(&mut node, false);
    assert!(left.damage.len() < healable, "{left:?}");
    scrub(&mut node, true);
    let left = scrub(&mut node, false);
    assert!(left.damage.is_empty(), "{left:?}");
}
