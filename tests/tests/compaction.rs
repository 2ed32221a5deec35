//! Compaction on a disk that is nearly full, and after one that failed: what is dead goes, and its space comes back.
#![allow(clippy::unwrap_used)]

mod node;

use node::{CHUNKER, key, noise, put, tight, value};
use ouroboros_engine::env::{Disk, Volume};
use ouroboros_engine::node::{Limits, PurgeTarget, PutSource, Reply, Request, Stats, Whims};
use ouroboros_engine::seal::Coding;
use ouroboros_sim::disk::{CrashVariant, Damage, Fault, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, config, keyring};
use std::collections::BTreeMap;

fn create(disk: &FaultyDisk, limits: Limits) -> Local<FaultyDisk> {
    let config = config(&keyring(1), Coding::new(2, 1).unwrap(), CHUNKER);
    Local::create(disk.clone(), config, keyring(1), limits, 7).unwrap()
}

/// Segments of which all is dead need no room to go, and make it for those of which something is alive.
#[test]
fn what_is_wholly_dead_goes_first_where_there_is_little_room() {
    for room in [100_000, 180_000, 240_000] {
        let disk = FaultyDisk::new(FaultPlan::new(1));
        let mut node = create(&disk, tight());
        for number in 0..6 {
            put(&mut node, &format!("keep/{number}"), noise(number, 50_000));
            put(&mut node, &format!("go/{number}"), noise(number + 20, 110_000));
        }
        for number in 0..10 {
            put(&mut node, &format!("big/{number}"), noise(number + 40, 200_000));
        }
        let capacity = disk.used_bytes() + room;
        disk.set_capacity(Some(capacity));
        let going = (0..6).map(|number| format!("go/{number}")).chain((0..10).map(|number| format!("big/{number}")));
        let purges = going.map(|name| Request::Purge(PurgeTarget::Key(key(&name)))).collect();
        let ids = node.send_all(purges);
        node.settle();
        assert!(ids.into_iter().all(|id| matches!(node.take(id), Some(Reply::Purged { .. }))), "room {room}");
        for _ in 0..3 {
            let _ = node.ask(Request::Compact);
            node.settle();
        }
        let left = capacity - disk.used_bytes_of(Volume::Blocks);
        assert!(left > 5_000_000, "room {room}: {left} bytes are left");
        put(&mut node, "more", noise(200, 150_000));
        for number in 0..6 {
            assert_eq!(node::get(&mut node, &format!("keep/{number}")).unwrap(), noise(number, 50_000));
        }
    }
}

/// A compaction for which there is no room is not tried again with every commit: each time it fails, it takes what others have
/// under way along.
#[test]
fn a_compaction_that_does_not_fit_is_seldom_tried_again() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, tight());
    for number in 0..20 {
        put(&mut node, &format!("keep/{number}"), noise(number, 40_000));
        put(&mut node, &format!("go/{number}"), noise(number + 50, 60_000));
    }
    put(&mut node, "last", noise(100, 500_000));
    disk.set_capacity(Some(disk.used_bytes() + 150_000));
    let purges = (0..20).map(|number| Request::Purge(PurgeTarget::Key(key(&format!("go/{number}"))))).collect();
    let ids = node.send_all(purges);
    node.settle();
    assert!(ids.into_iter().all(|id| matches!(node.take(id), Some(Reply::Purged { .. }))));
    let mut failed = Vec::new();
    for number in 0..20 {
        let stream = node.send(Request::PutOpen(Box::new(value("stream", PutSource::Stream))));
        // Of some it has sealed a chunk or more when it is given up.
        let len = if number % 2 == 0 { 10 } else { 6000 };
        node.ask(Request::PutData { stream, data: noise(number, len) }).unwrap();
        let small = node.send(Request::Put(vec![value("small", PutSource::Value(noise(number, 10)))]));
        node.settle();
        let Some(Reply::Put(small)) = node.take(small) else { panic!("no put") };
        let streamed = node.ask(Request::PutEnd { stream });
        if small[0].is_err() || streamed.is_err() {
            failed.push(number);
        }
        node.settle();
    }
    assert!((1..6).contains(&failed.len()), "{failed:?} of 20 failed");
}

/// Copies of a compaction that ran into a full disk belong to no batch, and are in no index that is made anew.
#[test]
fn copies_that_were_given_up_do_not_outlive_a_purge() {
    let limits = || Limits { segment_len: 1 << 20, ..tight() };
    for drops_index in [false, true] {
        let disk = FaultyDisk::new(FaultPlan::new(1));
        let mut node = create(&disk, limits());
        put(&mut node, "go", noise(250, 100_000));
        let first = disk.files(Volume::Blocks).remove(0).0;
        // 64 bytes of each version's sealed body, as they stand in the log.
        let mut bodies = BTreeMap::new();
        for number in 0..150u8 {
            let before = disk.contents(Volume::Blocks, &first).unwrap().len();
            put(&mut node, &format!("secret/{number}"), noise(number, 3000));
            let piece = before + 1500..before + 1564;
            bodies.insert(number, disk.contents(Volume::Blocks, &first).unwrap()[piece].to_vec());
        }
        node.ask(Request::Purge(PurgeTarget::Key(key("go")))).unwrap();
        disk.set_capacity(Some(disk.used_bytes() + 330_000));
        node.ask(Request::Compact).unwrap_err();
        disk.set_capacity(None);
        put(&mut node, "after", noise(77, 3000));
        let second = disk.files(Volume::Blocks).remove(1).0;
        let bytes = disk.contents(Volume::Blocks, &second).unwrap();
        let place = |body: &[u8]| bytes.windows(64).position(|window| window == body);
        let mut copied: Vec<(usize, u8)> =
            bodies.iter().filter_map(|(number, body)| Some((place(body)?, *number))).collect();
        copied.sort_unstable();
        // The last of them are of the batch that was given up.
        let purged: Vec<u8> = copied.iter().rev().take(6).map(|(_, number)| *number).collect();
        assert_eq!(purged.len(), 6);
        node.close().unwrap();
        if drops_index {
            for name in disk.list(Volume::Index).unwrap() {
                disk.remove(Volume::Index, &name).unwrap();
            }
        }
        let (mut node, _) = Local::open(disk.clone(), keyring(1), limits(), 9).unwrap();
        for number in &purged {
            node.ask(Request::Purge(PurgeTarget::Key(key(&format!("secret/{number}"))))).unwrap();
        }
        node.ask(Request::Compact).unwrap();
        for (name, _) in disk.files(Volume::Blocks) {
            let bytes = disk.contents(Volume::Blocks, &name).unwrap();
            let is_there = |number: &&u8| bytes.windows(64).any(|window| window == bodies[*number].as_slice());
            let left: Vec<&u8> = purged.iter().filter(is_there).collect();
            assert!(left.is_empty(), "index dropped {drops_index}: {name} has the bodies of {left:?}");
        }
        // What was not purged is there.
        let kept = (0..150).find(|number| !purged.contains(number)).unwrap();
        let Reply::Put(results) = node.ask(Request::Put(vec![value("x", PutSource::Value(noise(1, 10)))])).unwrap()
        else {
            panic!("no put")
        };
        results[0].as_ref().unwrap();
        assert_eq!(node::get(&mut node, &format!("secret/{kept}")).unwrap(), noise(kept, 3000));
    }
}

/// What the index says of a chunk, how to open its seal among it, goes with the last version that needs it.
#[test]
fn an_index_does_not_grow_with_what_was_purged() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, tight());
    for number in 0..160 {
        put(&mut node, "k", noise(number, 60_000));
        node.ask(Request::Purge(PurgeTarget::Key(key("k")))).unwrap();
        node.ask(Request::Compact).unwrap();
    }
    // A tombstone and the place in the history that it marks are there for good. With the chunks it is 1,244,736 bytes.
    let len = disk.used_bytes_of(Volume::Index);
    assert!(len < 700_000, "{len} bytes");
}

/// What had parity where it stood before has parity where it was copied to, whichever write was refused: one rotten sector
/// must not be all it takes to lose it, or to bring back what was purged.
#[test]
fn what_a_compaction_has_moved_outlives_a_rotten_sector_whichever_write_was_refused() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, tight());
    put(&mut node, "keep", noise(1, 100));
    put(&mut node, "go", noise(2, 100_000));
    node.ask(Request::Purge(PurgeTarget::Key(key("go")))).unwrap();
    node.close().unwrap();
    let first = disk.files(Volume::Blocks).remove(0).0;
    let compacted = |refused: u64, crash_at: Option<u64>| {
        let disk = disk.snapshot();
        let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
        // Parity that is written as it is made, and does not wait in a buffer for its proof.
        node = node.with_whims(Whims { write_buffer_len: Some(2048), ..Whims::default() });
        let before = disk.operations_so_far();
        disk.inject(before + refused, Fault::WriteError);
        if let Some(operation) = crash_at {
            disk.crash_at(before + operation);
        }
        let _ = node.ask(Request::Compact);
        let operations = disk.operations_so_far() - before;
        disk.crash(CrashVariant::AllKept);
        disk.forget_injections();
        (disk.restart(), operations)
    };
    let mut removed = 0;
    let (_, most) = compacted(u64::MAX / 2, None);
    for refused in 0..most {
        // The power fails right after the segment has gone, and not yet when all that was written has its parity anyway.
        let (_, operations) = compacted(refused, None);
        let gone = (0..operations).find_map(|operation| {
            let (disk, _) = compacted(refused, Some(operation));
            disk.contents(Volume::Blocks, &first).is_none().then_some(disk)
        });
        if let Some(disk) = gone {
            removed += 1;
            one_rotten_sector_costs_nothing(&disk, &format!("write {refused} refused"));
        }
    }
    println!("removed {removed} times");
    assert!(removed > 1);
}

fn one_rotten_sector_costs_nothing(disk: &FaultyDisk, what: &str) {
    let (name, len) = disk.files(Volume::Blocks).pop().unwrap();
    for sector in 16..len / 512 {
        let disk = disk.restart();
        for (name, _) in disk.files(Volume::Index) {
            disk.remove(Volume::Index, &name).unwrap();
        }
        assert!(disk.damage(Volume::Blocks, &name, sector, Damage::FlippedBit { bit: 77 }));
        let (mut node, _) = Local::open(disk, keyring(1), tight(), 9).unwrap();
        let kept = node::get(&mut node, "keep").unwrap_or_else(|error| panic!("{what}, sector {sector}: {error:?}"));
        assert_eq!(kept, noise(1, 100));
        node::get(&mut node, "go").unwrap_err();
    }
}

/// A version that is purged alone while its key is has two deletions: each is moved, and neither keeps its segment, nor what
/// was to go with it.
#[test]
fn what_is_purged_twice_at_once_goes_with_the_first_compaction() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, Limits { upkeep_step_len: 1, ..tight() });
    for number in 0..2 {
        put(&mut node, "twice", noise(number, 3000));
    }
    let last = put(&mut node, "twice", noise(2, 3000)).id;
    let purges = [PurgeTarget::Key(key("twice")), PurgeTarget::Version(last)];
    let ids = node.send_all(purges.map(Request::Purge).into());
    node.settle();
    let purged: Vec<Reply> = ids.into_iter().filter_map(|id| node.take(id)).collect();
    assert!(matches!(purged[..], [Reply::Purged { versions: 3 }, Reply::Purged { versions: 1 }]), "{purged:?}");
    let first = disk.files(Volume::Blocks).remove(0).0;
    node.ask(Request::Compact).unwrap();
    put(&mut node, "next", noise(3, 10));
    assert!(disk.contents(Volume::Blocks, &first).is_none(), "what was purged is still there");
}

fn stats(node: &mut Local<FaultyDisk>) -> Stats {
    let Reply::Stats(stats) = node.ask(Request::Stats).unwrap() else { panic!("no figures") };
    stats
}

/// The process that purged was killed before it had collected what nothing refers to any more, and so were some that opened the
/// store after it and did nothing; the next that does something collects it unasked.
#[test]
fn what_was_purged_right_before_crashes_goes_unasked() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, tight());
    put(&mut node, "go", noise(1, 50_000));
    let id = node.send(Request::Purge(PurgeTarget::Key(key("go"))));
    // Killed with the answer.
    while node.take(id).is_none() {
        node.step();
    }
    drop(node);
    let mut disk = disk.restart();
    for _ in 0..3 {
        drop(Local::open(disk.clone(), keyring(1), tight(), 7).unwrap());
        disk = disk.restart();
    }
    let (mut node, _) = Local::open(disk, keyring(1), tight(), 8).unwrap();
    assert!(stats(&mut node).seals > 0, "the purge has collected them");
    put(&mut node, "next", noise(2, 10));
    node.settle();
    assert_eq!(stats(&mut node).seals, 0);
}

/// A compaction that nobody asked for was cut short by a crash, and so were the processes after it; the next one ends it.
#[test]
fn a_compaction_that_crashes_cut_short_is_ended_unasked() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, tight());
    put(&mut node, "go", noise(1, 4_000_000));
    put(&mut node, "keep", noise(2, 100));
    node.close().unwrap();
    let dead = disk.files(Volume::Blocks);
    let mut disk = disk.restart();
    let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    let there =
        |disk: &FaultyDisk| dead.iter().filter(|(name, _)| disk.contents(Volume::Blocks, name).is_some()).count();
    node.send(Request::Purge(PurgeTarget::Key(key("go"))));
    while there(&disk) == dead.len() {
        assert!(node.step(), "nothing is compacted");
    }
    drop(node);
    for _ in 0..2 {
        disk = disk.restart();
        drop(Local::open(disk.clone(), keyring(1), tight(), 9).unwrap());
    }
    let disk = disk.restart();
    let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 9).unwrap();
    let left = there(&disk);
    assert!(left > 2, "{left} of {} are left", dead.len());
    put(&mut node, "next", noise(3, 10));
    node.settle();
    // The last is still written to.
    assert!(there(&disk) <= 1, "{} of {left} are left", there(&disk));
}

/// What the index says of chunks, with which whoever has the keys can tell what was purged, goes with them unasked.
#[test]
fn chunks_of_what_was_purged_are_forgotten_unasked() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, tight());
    for number in 0..160 {
        put(&mut node, "k", noise(number, 60_000));
        node.ask(Request::Purge(PurgeTarget::Key(key("k")))).unwrap();
        node.settle();
    }
    let len = disk.used_bytes_of(Volume::Index);
    assert!(len < 700_000, "{len} bytes");
}

/// What was sealed for an upload that comes to nothing goes unasked.
#[test]
fn what_was_sealed_for_an_upload_that_was_given_up_goes_unasked() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, tight());
    let stream = node.send(Request::PutOpen(Box::new(value("stream", PutSource::Stream))));
    for number in 0..20 {
        node.ask(Request::PutData { stream, data: noise(number, 100_000) }).unwrap();
    }
    node.ask(Request::PutAbort { stream }).unwrap();
    for number in 0..3 {
        put(&mut node, &format!("next/{number}"), noise(number + 50, 10));
        node.settle();
    }
    assert_eq!(stats(&mut node).seals, 0);
    let len = disk.used_bytes_of(Volume::Blocks);
    assert!(len < 1_000_000, "{len} bytes");
}

/// The records of versions that were purged are dead, too: small values are nothing else.
#[test]
fn small_values_that_were_purged_make_room_unasked() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let mut node = create(&disk, Limits { segment_len: 64 << 10, ..tight() });
    for number in 0..60 {
        put(&mut node, &format!("small/{number}"), noise(number, 3000));
    }
    let mut full = disk.files(Volume::Blocks);
    // The last is still written to.
    full.pop();
    for number in 0..60 {
        node.ask(Request::Purge(PurgeTarget::Key(key(&format!("small/{number}"))))).unwrap();
    }
    node.settle();
    let left: Vec<_> = full.iter().filter(|(name, _)| disk.contents(Volume::Blocks, name).is_some()).collect();
    assert!(full.len() > 3 && left.is_empty(), "of {full:?} there are {left:?}");
}

/// What is purged while its segment is compacted is not missed there: the segment goes, and does not wait for the next write. Commits
/// and parity are more than half of it, and keep nothing alive.
#[test]
fn a_segment_of_which_more_is_purged_while_it_is_compacted_goes_all_the_same() {
    for first_kept in 5..22 {
        let disk = FaultyDisk::new(FaultPlan::new(1));
        let mut node = create(&disk, Limits { segment_len: 64 << 10, upkeep_step_len: 1, ..tight() });
        for number in 0..30 {
            put(&mut node, &format!("small/{number}"), noise(number, 3000));
        }
        node.settle();
        let first = disk.files(Volume::Blocks).remove(0).0;
        for number in 0..first_kept {
            node.ask(Request::Purge(PurgeTarget::Key(key(&format!("small/{number}"))))).unwrap();
        }
        node.settle();
        assert!(disk.contents(Volume::Blocks, &first).is_none(), "{first_kept} were purged");
        for number in first_kept..30 {
            assert_eq!(node::get(&mut node, &format!("small/{number}")).unwrap(), noise(number, 3000));
        }
    }
}
