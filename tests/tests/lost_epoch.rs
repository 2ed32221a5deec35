//! Versions whose body does not open, because the keyring lacks its epoch: they are damaged, and what they refer to stays.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod shelf;

use bytes::Bytes;
use ouroboros_engine::env::{Disk, FileName, MemoryDisk, Volume};
use ouroboros_engine::id::Secret;
use ouroboros_engine::keys::{Keyring, MasterSecret};
use ouroboros_engine::node::{
    Access, CompactReport, EntryKind, Failure, ListRequest, Opened, PurgeTarget, Put, PutOptions, PutSource, Reply,
    Request, Select,
};
use ouroboros_engine::store::index::IndexName;
use ouroboros_sim::local::Local;
use std::sync::Arc;

type Node = Local<MemoryDisk>;

/// The keyring of every store here, at a later epoch of the group key or before it.
fn keys(later: bool) -> Access {
    let mut keyring = Keyring::from_master(MasterSecret::new(Secret::new([shelf::KEYRING; 32])));
    if later {
        keyring.next_group_epoch().unwrap();
    }
    Access::Keys(Arc::new(keyring))
}

fn open(disk: &MemoryDisk, later: bool) -> (Node, Opened) {
    Local::open_with(disk.clone(), keys(later), shelf::limits(), 20 + u64::from(later)).unwrap()
}

fn remove_index(disk: &MemoryDisk) {
    disk.remove(Volume::Index, &FileName::new(IndexName::Lasting.name()).unwrap()).unwrap();
}

fn put(node: &mut Node, key: &str, source: PutSource) {
    let put = Put { key: shelf::key(key), source, options: PutOptions::default() };
    let Reply::Put(results) = node.ask(Request::Put(vec![put])).unwrap() else { panic!("no put") };
    results.into_iter().for_each(|result| drop(result.unwrap()));
}

fn get(node: &mut Node, key: &str) -> Result<Bytes, Failure> {
    let wanted = vec![(shelf::key(key), Select::Winner)];
    let Reply::Got(mut results) = node.ask(Request::Get(wanted))? else { panic!("not got") };
    let got = results.pop().unwrap()?;
    let mut content = Vec::new();
    while (content.len() as u64) < got.version.len {
        let from = content.len() as u64;
        let range = from..got.version.len.min(from + 1_000_000);
        let Reply::Data(pieces) = node.ask(Request::Read { blob: got.version.id, range })? else { panic!("no data") };
        content.extend_from_slice(&pieces.concat());
    }
    Ok(content.into())
}

fn compact(node: &mut Node) -> CompactReport {
    let Reply::Compacted(report) = node.ask(Request::Compact).unwrap() else { panic!("no report") };
    report
}

fn names(node: &mut Node) -> Vec<String> {
    let request = ListRequest { limit: 100, recursive: true, ..ListRequest::default() };
    let Reply::Listing(page) = node.ask(Request::List(request)).unwrap() else { panic!("no listing") };
    let keys = page.entries.into_iter().filter(|entry| matches!(entry.kind, EntryKind::Key { .. }));
    keys.map(|entry| String::from_utf8(entry.name).unwrap()).collect()
}

/// A store with something of both epochs, and no index.
fn store() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut node = shelf::create(&disk, shelf::limits());
    for key in ["both", "early", "removed"] {
        put(&mut node, key, PutSource::Value(shelf::content(50_000, 1)));
    }
    node.close().unwrap();
    let (mut node, _) = open(&disk, true);
    put(&mut node, "both", PutSource::Value(shelf::content(70_000, 2)));
    put(&mut node, "late", PutSource::Value(shelf::content(LONG, 3)));
    put(&mut node, "empty", PutSource::Value(Bytes::new()));
    put(&mut node, "removed", PutSource::Gone);
    node.close().unwrap();
    remove_index(&disk);
    disk
}

/// So long that its chunks are named by pages.
const LONG: usize = 12 << 20;

fn check_all(node: &mut Node) {
    assert_eq!(get(node, "both").unwrap(), shelf::content(70_000, 2));
    assert_eq!(get(node, "late").unwrap(), shelf::content(LONG, 3));
    assert_eq!(get(node, "early").unwrap(), shelf::content(50_000, 1));
    assert_eq!(get(node, "empty").unwrap(), Bytes::new());
    assert!(matches!(get(node, "removed"), Err(Failure::Gone { .. })));
}

fn check_damaged(node: &mut Node) {
    for key in ["both", "late", "empty", "removed"] {
        let got = get(node, key).map(|content| content.len());
        assert!(matches!(got, Err(Failure::Damaged { .. })), "{key}: {got:?}");
    }
    assert_eq!(get(node, "early").unwrap(), shelf::content(50_000, 1));
    // The others' names are in bodies that do not open.
    assert_eq!(names(node), ["both", "early", "removed"]);
    let log = Request::Log { key: shelf::key("both"), after: None, limit: 10 };
    let Reply::Versions(versions) = node.ask(log).unwrap() else { panic!("no versions") };
    assert_eq!(versions.len(), 2);
}

#[test]
fn what_a_version_of_an_unknown_epoch_refers_to_is_not_collected() {
    let disk = store();
    let (mut node, opened) = open(&disk, false);
    assert_eq!(opened.damaged.len(), 4, "{opened:?}");
    check_damaged(&mut node);
    let report = compact(&mut node);
    assert_eq!(report.seals_collected, 0, "{report:?}");
    check_damaged(&mut node);
    node.close().unwrap();
    remove_index(&disk);
    let (mut node, opened) = open(&disk, true);
    assert!(opened.damaged.is_empty(), "{opened:?}");
    check_all(&mut node);
    assert_eq!(names(&mut node), ["both", "early", "empty", "late"]);
}

#[test]
fn a_version_of_an_unknown_epoch_is_not_purged_while_it_may_be_what_removed_something() {
    let disk = store();
    let (mut node, _) = open(&disk, false);
    let log = Request::Log { key: shelf::key("removed"), after: None, limit: 10 };
    let Reply::Versions(versions) = node.ask(log).unwrap() else { panic!("no versions") };
    let [removal, removed] = [versions[0].id, versions[1].id];
    let purge = |version| Request::Purge(PurgeTarget::Version(version));
    let refused = Failure::WouldReturn { removal, version: removed };
    assert_eq!(node.ask(purge(removal)).unwrap_err(), refused);
    node.ask(purge(removed)).unwrap();
    node.ask(purge(removal)).unwrap();
}

/// An index that was made without a removal's key does not know that it is one, nor what keys are named.
#[test]
fn a_removal_that_an_index_could_not_open_is_not_purged_by_who_has_its_key() {
    let disk = store();
    for _ in 0..2 {
        open(&disk, false).0.close().unwrap();
    }
    let (mut node, opened) = open(&disk, true);
    assert!(opened.index_rebuilt);
    assert_eq!(names(&mut node), ["both", "early", "empty", "late"]);
    let log = Request::Log { key: shelf::key("removed"), after: None, limit: 10 };
    let Reply::Versions(versions) = node.ask(log).unwrap() else { panic!("no versions") };
    let [removal, removed] = [versions[0].id, versions[1].id];
    let refused = Failure::WouldReturn { removal, version: removed };
    assert_eq!(node.ask(Request::Purge(PurgeTarget::Version(removal))).unwrap_err(), refused);
    check_all(&mut node);
    node.close().unwrap();
    assert!(!open(&disk, true).1.index_rebuilt);
}

#[test]
fn an_index_that_could_not_open_a_body_is_made_anew_once_its_key_is_there() {
    let disk = store();
    let (mut node, _) = open(&disk, false);
    check_damaged(&mut node);
    node.close().unwrap();
    let (mut node, opened) = open(&disk, true);
    assert!(opened.index_rebuilt && opened.damaged.is_empty(), "{opened:?}");
    check_all(&mut node);
    assert_eq!(names(&mut node), ["both", "early", "empty", "late"]);
}
