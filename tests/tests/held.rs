//! What a node holds for who writes and who reads: it is charged for what it takes, and there is no more of it than the limits say.
#![allow(clippy::unwrap_used)]

mod node;

use node::{Node, PAGED, create, key, noise, put, tight, value};
use ouroboros_engine::blob::Attributes;
use ouroboros_engine::env::MemoryDisk;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::{Base, Failure, Limits, Put, PutOptions, PutSource, Reply, Request, Select, Written};
use ouroboros_engine::seal::Coding;
use ouroboros_sim::local::{Local, keyring};

/// What jobs still hold of an upload that was given up is held against the budget until they are done.
#[test]
fn an_upload_that_is_given_up_pays_for_what_jobs_hold_of_it() {
    let mut node = create(&MemoryDisk::new(), tight());
    for round in 1..=3 {
        let stream = node.send(Request::PutOpen(Box::new(value("v", PutSource::Stream))));
        node.send(Request::PutData { stream, data: noise(round, 50_000) });
        node.send(Request::PutAbort { stream });
        assert_eq!(node.engine().held().contents_len, 50_000 * usize::from(round));
    }
    node.settle();
    assert_eq!(node.engine().held().contents_len, 0);
}

fn put_with(node: &mut Node, name: &str, source: PutSource, options: PutOptions) -> Written {
    let put = Put { options, ..value(name, source) };
    let Reply::Put(mut results) = node.ask(Request::Put(vec![put])).unwrap() else { panic!("no put") };
    results.pop().unwrap().unwrap()
}

/// A version is charged for by the length of its record, whether that is short or long.
#[test]
fn what_is_held_for_versions_that_are_opened_is_what_they_take() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, Limits { inflight_len: 2 << 20, ..tight() });
    let names = |kind: &str| (0..20).map(|n| format!("{kind}/{n}")).collect::<Vec<_>>();
    for (name, n) in names("short").iter().zip(0..) {
        put(&mut node, name, noise(n, 100));
    }
    for (name, n) in names("long").iter().zip(0..) {
        let mut attributes = Attributes::new();
        attributes.set("a", noise(n, 60_000)).unwrap();
        let options = PutOptions { attributes, ..PutOptions::default() };
        put_with(&mut node, name, PutSource::Value(noise(n, 100)), options);
    }
    for (kind, held) in [("short", 20 * 200..20 * 4000), ("long", 20 * 120_000..usize::MAX)] {
        let wanted = names(kind).iter().map(|name| (key(name), Select::Winner)).collect();
        let held = held.start.min(2 << 20)..held.end;
        let id = node.send(Request::Get(wanted));
        let charged = node.engine().held().reads_len;
        assert!(held.contains(&charged), "{charged} bytes for 20 {kind} versions");
        // Whoever comes meanwhile waits if there is no room.
        let other = node.send(Request::Get(vec![(key("long/0"), Select::Winner)]));
        assert!(node.engine().held().reads_len <= 2 << 20);
        node.settle();
        for (id, count) in [(id, 20), (other, 1)] {
            let Some(Reply::Got(got)) = node.take(id) else { panic!("not got") };
            assert_eq!(got.into_iter().filter(Result::is_ok).count(), count);
        }
        assert_eq!(node.engine().held().reads_len, 0);
    }
}

/// A put chooses its own coding, and all slices of a chunk may be read: as many times its length as there are.
#[test]
fn what_is_held_for_a_read_is_by_the_coding_of_what_it_reads() {
    let disk = MemoryDisk::new();
    let bytes = noise(1, 30_000);
    let limits = Limits { inflight_len: 1_000_000, ..tight() };
    let mut node = create(&disk, limits.clone());
    let options = PutOptions { coding: Some(Coding::new(1, 20).unwrap()), ..PutOptions::default() };
    let blob = put_with(&mut node, "wide", PutSource::Value(bytes.clone()), options).id;
    node.close().unwrap();
    let (mut node, _) = Local::open(disk, keyring(1), limits, 8).unwrap();
    // The second finds the body opened.
    for opened in [false, true] {
        let read = || Request::Read { blob, range: 0..20_000 };
        let ids = node.send_all(vec![read(), read()]);
        let mut most = 0;
        while node.engine().held().questions > 0 {
            node.step();
            most = most.max(node.engine().held().reads_len);
        }
        assert!(most >= 21 * 20_000, "{most} bytes for a read of 20,000 in 21 slices, opened: {opened}");
        for id in ids {
            let Some(Reply::Data(data)) = node.take(id) else { panic!("no data") };
            assert!(data.concat() == bytes[..20_000]);
        }
        assert_eq!(node.engine().held().reads_len, 0);
    }
}

/// The references of both sides are in memory, and what may be is said by the limits.
#[test]
fn no_more_chunks_are_compared_than_the_memory_holds() {
    let disk = MemoryDisk::new();
    let bytes = noise(1, 4 * PAGED);
    let mut node = create(&disk, tight());
    let from = put(&mut node, "large", bytes.clone()).id;
    let to = put(&mut node, "large", [&bytes[..1000], b"edited", &bytes[1000..]].concat().into()).id;
    let small = put(&mut node, "large", noise(2, PAGED)).id;
    let compared = node.ask(Request::Diff { from, to });
    assert!(matches!(compared, Err(Failure::TooLarge { limit: 8192, .. })), "{compared:?}");
    node.ask(Request::Diff { from: small, to: small }).unwrap();
    assert_eq!(node.engine().held().reads_len, 0);
    node.close().unwrap();
    let (mut node, _) = Local::open(disk, keyring(1), Limits { inflight_len: 64 << 20, ..tight() }, 8).unwrap();
    let Reply::Diff(diff) = node.ask(Request::Diff { from, to }).unwrap() else { panic!("no differences") };
    assert_eq!(diff.ranges.len(), 1);
}

/// Nobody else is answered while two histories are walked.
#[test]
fn histories_are_walked_as_far_as_the_limits_say() {
    let disk = MemoryDisk::new();
    let limits = Limits { inflight_len: 1, ..Limits::default() };
    let mut node = create(&disk, limits);
    let first = put(&mut node, "v", noise(0, 10)).id;
    let mut heads = [first; 2];
    let follow = |node: &mut Node, head: &mut BlobId| {
        let options = PutOptions { base: Base::Versions(vec![*head]), ..PutOptions::default() };
        *head = put_with(node, "v", PutSource::Value(noise(1, 10)), options).id;
    };
    let near = {
        let mut near = heads;
        near.iter_mut().for_each(|head| (0..400).for_each(|_| follow(&mut node, head)));
        heads = near;
        near
    };
    let Reply::Versions(bases) = node.ask(Request::MergeBases(near.to_vec())).unwrap() else { panic!("no bases") };
    assert_eq!(bases.iter().map(|base| base.id).collect::<Vec<_>>(), [first]);
    heads.iter_mut().for_each(|head| (0..200).for_each(|_| follow(&mut node, head)));
    let bases = node.ask(Request::MergeBases(heads.to_vec()));
    assert!(matches!(bases, Err(Failure::TooLarge { limit: 1024, .. })), "{bases:?}");
    node.close().unwrap();
    let (mut node, _) = Local::open(disk, keyring(1), Limits::default(), 8).unwrap();
    let Reply::Versions(bases) = node.ask(Request::MergeBases(heads.to_vec())).unwrap() else { panic!("no bases") };
    assert_eq!(bases.iter().map(|base| base.id).collect::<Vec<_>>(), [first]);
}
