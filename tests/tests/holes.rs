//! Purged versions leave holes in the history of their key; what lies on both sides stays connected.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod shelf;

use ouroboros_engine::env::{Disk, MemoryDisk, Volume};
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::{Base, Failure, PurgeTarget, Put, PutOptions, PutSource, Reply, Request};
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

fn remove(node: &mut Local<MemoryDisk>) -> BlobId {
    let put = Put { key: shelf::key("k"), source: PutSource::Gone, options: PutOptions::default() };
    let Reply::Put(mut results) = node.ask(Request::Put(vec![put])).unwrap() else { panic!("no put") };
    results.pop().unwrap().unwrap().id
}

fn purge(id: BlobId) -> Request {
    Request::Purge(PurgeTarget::Version(id))
}

#[test]
fn a_removal_is_not_purged_while_what_it_removed_is_there() {
    let disk = MemoryDisk::new();
    let mut node = shelf::create(&disk, shelf::limits());
    let first = put(&mut node, 0);
    let removal = remove(&mut node);
    let refused = |removal| Some(Failure::WouldReturn { removal, version: first });
    assert_eq!(node.ask(purge(removal)).err(), refused(removal));
    assert_eq!(heads(&mut node), [removal]);
    // Another removal on top hides nothing itself.
    let second = remove(&mut node);
    node.ask(purge(second)).unwrap();
    assert_eq!(heads(&mut node), [removal]);
    // Something that follows it does not help: it may be purged, too.
    let back = put(&mut node, 1);
    assert_eq!(node.ask(purge(removal)).err(), refused(removal));
    node.ask(purge(back)).unwrap();
    assert_eq!(heads(&mut node), [removal]);
    // Through the hole, too.
    let again = remove(&mut node);
    node.ask(purge(again)).unwrap();
    assert_eq!(node.ask(purge(removal)).err(), refused(removal));
    // What goes in the same commit does not come back, and does not hold the removal down either.
    let value = put(&mut node, 2);
    let asked = [value, removal, first, removal].map(|id| node.send(purge(id)));
    node.settle();
    let answers = asked.map(|id| node.take(id));
    assert!(matches!(answers[0], Some(Reply::Purged { versions: 1 })), "{answers:?}");
    assert!(matches!(answers[1], Some(Reply::Failed(Failure::WouldReturn { .. }))), "{answers:?}");
    assert!(matches!(answers[2], Some(Reply::Purged { versions: 1 })), "{answers:?}");
    assert!(matches!(answers[3], Some(Reply::Purged { versions: 1 })), "{answers:?}");
    assert!(matches!(node.ask(Request::Heads(shelf::key("k"))), Err(Failure::NoSuchKey(_))));
}

/// Content (true) or a removal (false), and the places of what it follows.
type Shape = &'static [(bool, &'static [usize])];

const SHAPES: [Shape; 4] = [
    // Removed, and written again.
    &[(true, &[]), (false, &[0]), (true, &[1])],
    // Twice.
    &[(true, &[]), (false, &[0]), (true, &[1]), (false, &[2])],
    // Removed by one while another went on, and merged.
    &[(true, &[]), (false, &[0]), (true, &[0]), (true, &[1, 2])],
    // A removal of two heads, and something on it.
    &[(true, &[]), (true, &[]), (false, &[0, 1]), (true, &[2])],
];

fn permutations(of: usize) -> Vec<Vec<usize>> {
    let Some(last) = of.checked_sub(1) else { return vec![Vec::new()] };
    let insert = |rest: Vec<usize>| {
        (0..of).map(move |at| {
            let mut order = rest.clone();
            order.insert(at, last);
            order
        })
    };
    permutations(last).into_iter().flat_map(insert).collect()
}

fn grow(node: &mut Local<MemoryDisk>, shape: Shape) -> Vec<BlobId> {
    let mut ids: Vec<BlobId> = Vec::new();
    for (seed, (content, parents)) in (0..).zip(shape) {
        let source = if *content { PutSource::Value(shelf::content(100, seed)) } else { PutSource::Gone };
        let base = Base::Versions(parents.iter().map(|place| ids[*place]).collect());
        let put = Put { key: shelf::key("k"), source, options: PutOptions { base, ..PutOptions::default() } };
        let Reply::Put(mut results) = node.ask(Request::Put(vec![put])).unwrap() else { panic!("no put") };
        ids.push(results.pop().unwrap().unwrap().id);
    }
    ids
}

/// The places of what a removal anywhere above hides.
fn removed(shape: Shape) -> Vec<usize> {
    let mut hidden = Vec::new();
    for (_, parents) in shape.iter().filter(|(content, _)| !content) {
        let mut below = parents.to_vec();
        while let Some(place) = below.pop() {
            below.extend(shape[place].1);
            hidden.extend(shape[place].0.then_some(place));
        }
    }
    hidden
}

#[test]
fn whatever_is_purged_in_whatever_order_what_was_removed_is_never_a_head_again() {
    for shape in SHAPES {
        for order in permutations(shape.len()) {
            let disk = MemoryDisk::new();
            let mut node = shelf::create(&disk, shelf::limits());
            let ids = grow(&mut node, shape);
            let hidden: Vec<BlobId> = removed(shape).into_iter().map(|place| ids[place]).collect();
            for (step, place) in order.iter().enumerate() {
                match node.ask(purge(ids[*place])) {
                    Ok(Reply::Purged { versions: 1 }) => {}
                    Err(Failure::WouldReturn { removal, version }) => {
                        assert!(removal == ids[*place] && hidden.contains(&version), "{shape:?} {order:?}");
                    }
                    other => panic!("{other:?}"),
                }
                // The state is the log's alone: half of the time the index is made anew in between.
                if step % 2 == 0 {
                    node.ask(Request::Compact).unwrap();
                    node.close().unwrap();
                    for name in disk.list(Volume::Index).unwrap() {
                        disk.remove(Volume::Index, &name).unwrap();
                    }
                    node = Local::open(disk.clone(), keyring(shelf::KEYRING), shelf::limits(), 8).unwrap().0;
                }
                let heads = match node.ask(Request::Heads(shelf::key("k"))) {
                    Ok(Reply::Versions(heads)) => heads.into_iter().map(|version| version.id).collect(),
                    Err(Failure::NoSuchKey(_)) => Vec::new(),
                    other => panic!("{other:?}"),
                };
                assert!(!heads.iter().any(|head| hidden.contains(head)), "{shape:?} {order:?} at step {step}");
            }
            // What was refused is possible once what it hid is gone, and then nothing is left, in every order.
            for id in ids.iter().chain(&ids) {
                match node.ask(purge(*id)) {
                    Ok(Reply::Purged { .. }) | Err(Failure::NoSuchVersion(_) | Failure::WouldReturn { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(matches!(node.ask(Request::Heads(shelf::key("k"))), Err(Failure::NoSuchKey(_))), "{shape:?}");
        }
    }
}
