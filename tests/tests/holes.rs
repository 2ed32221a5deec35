//! Purged versions leave holes in the history of their key; what lies on both sides stays connected.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod shelf;

use ouroboros_engine::env::{Disk, MemoryDisk, Volume};
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::{Failure, PurgeTarget, Put, PutOptions, PutSource, Reply, Request};
use ouroboros_sim::local::{Local, keyring};

fn put(node: &mut Local<MemoryDisk>, seed: u32) -> BlobId {
    let source = PutSource::Value(shelf::content(5000, seed));
    let put = Put { key: shelf::key("k"), source, options: PutOptions::default() };
    let Reply::Put(mut results) = node.ask(Request::Put(vec![put])).unwrap() else { panic!("no put") };
    results.pop().unwrap().unwrap().id
}

fn heads(node: &mut Local<MemoryDisk>) -> Vec<BlobId> {
    let Reply::Versions(found) = node.ask(Request::Heads(shelf::key("k"))).unwrap() else { panic!("no heads") };
    found.into_iter().map(|version| version.id).collect()
}

#[test]
fn a_purged_version_in_the_middle_makes_no_heads_even_when_its_record_and_the_index_are_gone() {
    let disk = MemoryDisk::new();
    let mut node = shelf::create(&disk, shelf::limits());
    let versions: Vec<BlobId> = (0..5).map(|seed| put(&mut node, seed)).collect();
    for purged in [versions[1], versions[2]] {
        node.ask(Request::Purge(PurgeTarget::Version(purged))).unwrap();
    }
    assert_eq!(heads(&mut node), [versions[4]]);
    node.ask(Request::Compact).unwrap();
    assert_eq!(heads(&mut node), [versions[4]]);
    node.close().unwrap();
    for name in disk.list(Volume::Index).unwrap() {
        disk.remove(Volume::Index, &name).unwrap();
    }
    let (mut node, opened) = Local::open(disk, keyring(shelf::KEYRING), shelf::limits(), 8).unwrap();
    assert!(opened.index_rebuilt);
    assert_eq!(heads(&mut node), [versions[4]]);
    node.ask(Request::Purge(PurgeTarget::Version(versions[4]))).unwrap();
    assert_eq!(heads(&mut node), [versions[3]]);
    node.ask(Request::Purge(PurgeTarget::Version(versions[3]))).unwrap();
    assert_eq!(heads(&mut node), [versions[0]], "what stands before the hole is the newest now");
}

#[test]
fn a_removal_is_not_purged_while_that_would_bring_content_back() {
    let disk = MemoryDisk::new();
    let mut node = shelf::create(&disk, shelf::limits());
    let remove = |node: &mut Local<MemoryDisk>| {
        let put = Put { key: shelf::key("k"), source: PutSource::Gone, options: PutOptions::default() };
        let Reply::Put(mut results) = node.ask(Request::Put(vec![put])).unwrap() else { panic!("no put") };
        results.pop().unwrap().unwrap().id
    };
    let purge = |id| Request::Purge(PurgeTarget::Version(id));
    let first = put(&mut node, 0);
    let removal = remove(&mut node);
    assert_eq!(node.ask(purge(removal)).err(), Some(Failure::WouldReturn { removal, version: first }));
    assert_eq!(heads(&mut node), [removal]);
    // Nothing returns through another removal, nor through one that something follows.
    let second = remove(&mut node);
    node.ask(purge(second)).unwrap();
    assert_eq!(heads(&mut node), [removal]);
    let back = put(&mut node, 1);
    node.ask(purge(removal)).unwrap();
    assert_eq!(heads(&mut node), [back]);
    // Through the hole, too.
    let removal = remove(&mut node);
    node.ask(purge(back)).unwrap();
    assert_eq!(node.ask(purge(removal)).err(), Some(Failure::WouldReturn { removal, version: first }));
    // What goes in the same commit does not come back, and does not hold the removal down either.
    let value = put(&mut node, 2);
    let asked = [value, removal, first, removal].map(|id| node.send(purge(id)));
    node.settle();
    let answers = asked.map(|id| node.take(id));
    assert!(matches!(answers[0], Some(Reply::Purged { versions: 1 })), "{answers:?}");
    assert!(matches!(answers[1], Some(Reply::Failed(Failure::WouldReturn { .. }))), "{answers:?}");
    assert!(matches!(answers[2], Some(Reply::Purged { versions: 1 })), "{answers:?}");
    assert!(matches!(answers[3], Some(Reply::Purged { versions: 1 })), "{answers:?}");
}
