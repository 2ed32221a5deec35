//! What is under way: jobs that end in any order, late, or in a panic; streams that wait, share chunks and are given up;
//! versions so large that their references are pages. Every request is answered, and what was acknowledged is there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod node;

use bytes::Bytes;
use node::{
    CHUNKER, Node, PAGED, create, everything_is_there, everything_lasts, get, key, noise, open_without_index, put,
};
use node::{tight, value};
use ouroboros_engine::env::{Disk, DiskFile, MemoryDisk, OpenMode, Volume};
use ouroboros_engine::node::{
    Failure, Job, Limits, PurgeTarget, PutSource, Reply, Request, RequestId, Select, Written,
};
use ouroboros_engine::seal::{Chunker, Coding};
use ouroboros_sim::disk::{CrashVariant, FaultPlan, FaultyDisk, Operation};
use ouroboros_sim::local::{Local, config, keyring};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// A client of one stream, who sends the next piece when it is welcome.
struct Client {
    stream: RequestId,
    awaited: Option<RequestId>,
    pieces: std::vec::IntoIter<Bytes>,
    ending: bool,
    outcome: Option<Result<Written, Failure>>,
}

impl Client {
    fn open(node: &mut Node, name: &str, bytes: &Bytes, piece: usize) -> Self {
        let stream = node.send(Request::PutOpen(Box::new(value(name, PutSource::Stream))));
        let pieces: Vec<Bytes> =
            (0..bytes.len()).step_by(piece).map(|start| bytes.slice(start..(start + piece).min(bytes.len()))).collect();
        Self { stream, awaited: Some(stream), pieces: pieces.into_iter(), ending: false, outcome: None }
    }

    /// Goes on if the last answer is there.
    fn go_on(&mut self, node: &mut Node) -> bool {
        let Some(awaited) = self.awaited else { return false };
        let Some(reply) = node.take(awaited) else { return false };
        self.awaited = None;
        match reply {
            Reply::Put(results) => self.outcome = results.into_iter().next(),
            Reply::Failed(failure) => self.outcome = Some(Err(failure)),
            Reply::Ready => {
                let request = match self.pieces.next() {
                    Some(data) => Request::PutData { stream: self.stream, data },
                    None => Request::PutEnd { stream: self.stream },
                };
                self.ending = matches!(request, Request::PutEnd { .. });
                self.awaited = Some(node.send(request));
            }
            other => panic!("{other:?}"),
        }
        true
    }

    fn abort(mut self, node: &mut Node) {
        node.ask(Request::PutAbort { stream: self.stream }).unwrap();
        if let Some(awaited) = self.awaited.take() {
            let _ = node.take(awaited);
        }
    }
}

/// Turns until everybody has an outcome.
fn run(node: &mut Node, clients: &mut [Client]) {
    loop {
        let mut moved = false;
        for client in clients.iter_mut() {
            moved |= client.go_on(node);
        }
        if clients.iter().all(|client| client.outcome.is_some()) {
            return;
        }
        let more = node.step();
        let waiting: Vec<bool> = clients.iter().map(|client| client.ending).collect();
        assert!(moved || more || clients.iter_mut().any(|client| client.go_on(node)), "all wait for ever: {waiting:?}");
    }
}

#[test]
fn streams_of_the_same_and_of_like_content_come_in_together_in_any_order_of_jobs() {
    let (one, two) = (noise(1, PAGED), noise(2, 300_000));
    let both: Bytes = [&one[..1_000_000], &two[..], &one[1_000_000..]].concat().into();
    for seed in 0..3 {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, tight());
        node.disorder(seed, |_| false);
        let mut clients = [
            Client::open(&mut node, "one", &one, 70_000),
            Client::open(&mut node, "same", &one, 1_000_001),
            Client::open(&mut node, "both", &both, 33_333),
            Client::open(&mut node, "two", &two, 4_097),
        ];
        run(&mut node, &mut clients);
        assert!(clients.iter().all(|client| client.outcome.as_ref().unwrap().is_ok()));
        let expected = [("one", &one), ("same", &one), ("both", &both), ("two", &two)];
        everything_is_there(&mut node, &expected);
        drop(node);
        everything_lasts(&disk, &expected);
    }
}

#[test]
fn more_streams_than_the_memory_holds_chunks_all_come_in() {
    let limits = Limits { inflight_len: 10_000, window_len: 8000, ..tight() };
    for piece in [100, 1500, 5000] {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, limits.clone());
        let contents: Vec<Bytes> = (0..40).map(|n| noise(n, 9000)).collect();
        let mut clients: Vec<Client> =
            (0..).zip(&contents).map(|(n, bytes)| Client::open(&mut node, &format!("s/{n}"), bytes, piece)).collect();
        run(&mut node, &mut clients);
        for (n, bytes) in contents.iter().enumerate() {
            assert_eq!(get(&mut node, &format!("s/{n}")).unwrap(), bytes);
        }
    }
}

#[test]
fn a_stream_that_nobody_feeds_stops_no_other() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, Limits { inflight_len: 2000, ..tight() });
    let idle: Vec<Client> =
        (0..20).map(|n| Client::open(&mut node, &format!("idle/{n}"), &noise(n, 900), 900)).collect();
    for client in &idle {
        node.send(Request::PutData { stream: client.stream, data: noise(3, 900) });
    }
    let bytes = noise(9, 50_000);
    let mut busy = [Client::open(&mut node, "busy", &bytes, 1000)];
    run(&mut node, &mut busy);
    assert!(get(&mut node, "busy").unwrap() == bytes);
    idle.into_iter().for_each(|client| client.abort(&mut node));
}

/// While a client is silent, or has left slices behind, the last writes of others are to get their parity.
#[test]
fn a_stream_that_nobody_feeds_keeps_nothing_without_parity() {
    for aborts in [false, true] {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, tight());
        put(&mut node, "a", noise(1, 300));
        let name = disk.list(Volume::Blocks).unwrap().pop().unwrap();
        let len = disk.open(Volume::Blocks, &name, OpenMode::Read).unwrap().len().unwrap();
        let stream = node.send(Request::PutOpen(Box::new(value("stream", PutSource::Stream))));
        node.settle();
        node.send(Request::PutData { stream, data: noise(2, 90_000) });
        node.settle();
        if aborts {
            node.ask(Request::PutAbort { stream }).unwrap();
        }
        for turn in 1..4 {
            node.set_time(turn * 60_000_000_000, turn * 60_000);
            node.settle();
        }
        // In the record of the version, before its commit.
        let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
        file.write_at(len - 900, &[&[0xff; 64]]).unwrap();
        assert!(get(&mut node, "a").unwrap() == noise(1, 300));
        if !aborts {
            let Reply::Put(results) = node.ask(Request::PutEnd { stream }).unwrap() else { panic!("no put") };
            results[0].as_ref().unwrap();
            assert!(get(&mut node, "stream").unwrap() == noise(2, 90_000));
        }
    }
}

#[test]
fn a_stream_given_up_at_any_moment_leaves_nothing_and_harms_nobody() {
    let bytes = noise(1, 40_000);
    for after in 0..60 {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, tight());
        node.disorder(after, |_| false);
        // Both want the same chunks, and whoever comes first has them sealed for both.
        let mut doomed = Client::open(&mut node, "doomed", &bytes, 9000);
        let mut clients = [Client::open(&mut node, "kept", &bytes, 11_000)];
        for _ in 0..after {
            if !doomed.ending {
                doomed.go_on(&mut node);
            }
            clients[0].go_on(&mut node);
            node.step();
        }
        let ended = doomed.ending;
        doomed.abort(&mut node);
        run(&mut node, &mut clients);
        clients[0].outcome.clone().unwrap().unwrap();
        node.settle();
        assert!(get(&mut node, "kept").unwrap() == bytes);
        assert!(ended || matches!(get(&mut node, "doomed"), Err(Failure::NoSuchKey(_))));
        drop(node);
        everything_lasts(&disk, &[("kept", &bytes)]);
    }
}

#[test]
fn a_copy_outlives_its_source_whenever_that_is_purged() {
    // More seals than a header holds: they are named by pages.
    let bytes = noise(1, PAGED);
    for after in 0..4 {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, Limits::default());
        let source = put(&mut node, "source", bytes.clone());
        let copy = node.send(Request::Put(vec![value("copy", PutSource::SameAs(source.id))]));
        for _ in 0..after {
            node.step();
        }
        node.send(Request::Purge(PurgeTarget::Version(source.id)));
        node.settle();
        let Some(Reply::Put(results)) = node.take(copy) else { panic!("no answer") };
        results[0].as_ref().unwrap();
        node.ask(Request::Compact).unwrap();
        everything_is_there(&mut node, &[("copy", &bytes)]);
        drop(node);
        everything_lasts(&disk, &[("copy", &bytes)]);
    }
}

#[test]
fn a_copy_outlives_its_source_also_if_what_nobody_has_is_swept_before_it_is_made() {
    let bytes = noise(1, PAGED);
    for seed in 0..12 {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, Limits::default());
        let source = put(&mut node, "source", bytes.clone());
        node.disorder(seed, |_| false);
        let ids = node.send_all(vec![
            Request::Put(vec![value("copy", PutSource::SameAs(source.id))]),
            Request::Purge(PurgeTarget::Version(source.id)),
            Request::Compact,
        ]);
        node.settle();
        let Some(Reply::Put(results)) = node.take(ids[0]) else { panic!("no answer") };
        results[0].as_ref().unwrap();
        everything_is_there(&mut node, &[("copy", &bytes)]);
        drop(node);
        everything_lasts(&disk, &[("copy", &bytes)]);
    }
}

#[test]
fn a_removal_of_a_segment_is_counted_also_if_time_passes_during_a_compaction() {
    let (bytes, kept) = (noise(1, 700_000), noise(2, 1000));
    // Nothing but a checkpoint brings the index's file up to the log.
    let limits = Limits { index_overlay_len: 64 << 20, ..tight() };
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let keys = keyring(1);
    let config = config(&keys, Coding::new(2, 1).unwrap(), CHUNKER);
    let mut node = Local::create(disk.clone(), config, keys, limits.clone(), 7).unwrap();
    put(&mut node, "v", bytes.clone());
    put(&mut node, "kept", kept.clone());
    node.close().unwrap();
    let disk = disk.restart();
    let (mut node, _) = Local::open(disk.clone(), keyring(1), limits.clone(), 8).unwrap();
    node.ask(Request::Purge(PurgeTarget::Key(key("v")))).unwrap();
    let compact = node.send(Request::Compact);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept_by = seen.clone();
    disk.watch(move |_, operation, disk| {
        if !matches!(operation, Operation::Read { .. }) {
            kept_by.lock().unwrap().push(disk);
        }
    });
    for turn in 1.. {
        node.set_time(turn * 20_000_000_000, turn * 20_000);
        node.step();
        if node.take(compact).is_some() {
            break;
        }
    }
    disk.unwatch();
    let crashed = std::mem::take(&mut *seen.lock().unwrap());
    assert!(crashed.len() > 10);
    for disk in crashed {
        // The index may be as it was before the purge.
        let disk = disk.after_crash(CrashVariant::AllKept);
        let (mut node, _) = Local::open(disk, keyring(1), limits.clone(), 9).unwrap();
        put(&mut node, "again", bytes.clone());
        for (name, bytes) in [("again", &bytes), ("kept", &kept)] {
            assert!(get(&mut node, name).unwrap() == *bytes);
        }
    }
}

#[test]
fn a_compaction_at_any_moment_of_a_put_takes_nothing_of_it() {
    let (bytes, dead) = (noise(1, PAGED), noise(2, 600_000));
    for after in [0, 1, 2, 3, 5, 10, 20, 40] {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, tight());
        node.disorder(after, |_| false);
        put(&mut node, "dead", dead.clone());
        node.ask(Request::Purge(PurgeTarget::Key(key("dead")))).unwrap();
        let mut clients = [Client::open(&mut node, "new", &bytes, 200_000)];
        for _ in 0..after {
            clients[0].go_on(&mut node);
            node.step();
        }
        let compact = node.send(Request::Compact);
        run(&mut node, &mut clients);
        node.settle();
        assert!(matches!(node.take(compact), Some(Reply::Compacted(_))));
        clients[0].outcome.clone().unwrap().unwrap();
        everything_is_there(&mut node, &[("new", &bytes)]);
        drop(node);
        everything_lasts(&disk, &[("new", &bytes)]);
    }
}

#[test]
fn a_stream_longer_than_many_segments_survives_the_compaction_that_starts_by_itself() {
    let (bytes, dead) = (noise(1, 2_500_000), noise(2, 1_500_000));
    for seed in 0..3 {
        let disk = MemoryDisk::new();
        // Nothing commits the stream before its end.
        let mut node = create(&disk, Limits { batch_len: 1 << 30, segment_len: 256 << 10, ..tight() });
        node.disorder(seed, |_| false);
        put(&mut node, "dead", dead.clone());
        let mut clients = [Client::open(&mut node, "new", &bytes, 100_000)];
        while clients[0].pieces.len() > 5 {
            clients[0].go_on(&mut node);
            node.step();
        }
        // Most of what is committed dies, and the commit that says so begins a compaction.
        node.ask(Request::Purge(PurgeTarget::Key(key("dead")))).unwrap();
        for n in 0..3 {
            put(&mut node, &format!("small/{n}"), noise(n, 10));
        }
        run(&mut node, &mut clients);
        clients[0].outcome.clone().unwrap().unwrap();
        node.settle();
        everything_is_there(&mut node, &[("new", &bytes)]);
        drop(node);
        everything_lasts(&disk, &[("new", &bytes)]);
    }
}

/// Whether a job is of this kind.
fn is_of_kind(job: &Job, kind: usize) -> bool {
    matches!(
        (job, kind),
        (Job::Cut { .. }, 0)
            | (Job::Seal { .. }, 1)
            | (Job::MakeBlobs { .. }, 2)
            | (Job::OpenBodies { .. }, 3)
            | (Job::OpenChunk { .. }, 4)
            | (Job::Mend { .. }, 5)
            | (Job::Recode { .. }, 6)
            | (Job::Verify { .. }, 7)
    )
}

#[test]
fn a_job_that_panics_in_any_stage_fails_its_request_and_nothing_hangs() {
    let (large, small) = (noise(1, 40_000), noise(2, 100));
    for kind in 0..8 {
        for nth in [0, 1, 3, 8] {
            let disk = MemoryDisk::new();
            let mut node = create(&disk, tight());
            let source = put(&mut node, "source", large.clone());
            let (count, armed) = (Cell::new(0), Rc::new(Cell::new(true)));
            let trigger = armed.clone();
            node.disorder(nth, move |job| {
                if trigger.get() && is_of_kind(job, kind) {
                    count.set(count.get() + 1);
                }
                trigger.get() && is_of_kind(job, kind) && count.get() == nth + 1
            });
            let ids = node.send_all(vec![
                Request::Put(vec![
                    value("large", PutSource::Value(noise(3, 30_000))),
                    value("large", PutSource::Value(noise(4, 30_000))),
                    value("small", PutSource::Value(small.clone())),
                    value("same", PutSource::Value(noise(3, 30_000))),
                ]),
                Request::Put(vec![value("copy", PutSource::SameAs(source.id))]),
                Request::Get(vec![(key("source"), Select::Winner)]),
                Request::GetVersion(source.id),
                Request::Read { blob: source.id, range: 5..39_000 },
                Request::Diff { from: source.id, to: source.id },
                Request::Scrub { repair: true },
                Request::Recode(Coding::new(3, 2).unwrap()),
                Request::Compact,
                Request::Purge(PurgeTarget::Key(key("nothing"))),
            ]);
            let mut clients = [Client::open(&mut node, "stream", &noise(5, 50_000), 7000)];
            run(&mut node, &mut clients);
            node.settle();
            for id in ids {
                assert!(node.take(id).is_some(), "kind {kind}, {nth}: request {id:?} was never answered");
            }
            armed.set(false);
            // Whatever failed can be done again, and everything else is as it was.
            for (name, bytes) in [("large", noise(4, 30_000)), ("stream", noise(5, 50_000)), ("small", small.clone())] {
                put(&mut node, name, bytes.clone());
                assert!(get(&mut node, name).unwrap() == bytes);
            }
            node.ask(Request::Recode(Coding::new(3, 2).unwrap())).unwrap();
            node.ask(Request::Compact).unwrap();
            let expected = [("source", &large), ("large", &noise(4, 30_000)), ("stream", &noise(5, 50_000))];
            everything_is_there(&mut node, &expected);
            node.close().unwrap();
            everything_lasts(&disk, &expected);
        }
    }
}

#[test]
fn many_versions_of_one_key_at_once_follow_each_other() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    node.disorder(5, |_| false);
    let puts = (0..100).map(|n| Request::Put(vec![value("k", PutSource::Value(noise(n, 1 + usize::from(n) * 60)))]));
    let ids = node.send_all(puts.collect());
    node.settle();
    let mut created = Vec::new();
    for id in ids {
        let Some(Reply::Put(results)) = node.take(id) else { panic!("no answer") };
        let written = results[0].as_ref().unwrap();
        created.push(written.created);
        assert_eq!(written.heads, [written.id]);
    }
    let Reply::Versions(log) = node.ask(Request::Log { key: key("k"), after: None, limit: 1000 }).unwrap() else {
        panic!()
    };
    assert_eq!(log.len(), 100);
    assert!(log.windows(2).all(|pair| pair[0].parents == [pair[1].id]), "each follows the one before");
}

/// A block that the chunker cuts off whole when it is repeated, as short as can be found.
fn block() -> Bytes {
    let keys = keyring(1).scope_keys(&ouroboros_engine::keys::DedupScope::Realm);
    let chunker = Chunker::new(&CHUNKER, &keys);
    let blocks = (0..200u8).map(|seed| {
        let bytes = noise(seed, 4096);
        let len = chunker.cut(&bytes, true).unwrap();
        bytes.slice(..len)
    });
    blocks.min_by_key(Bytes::len).unwrap()
}

#[test]
#[ignore = "minutes: part of `cargo long`"]
fn a_value_whose_pages_need_pages_is_read_at_any_place() {
    let block = block();
    // A page of pages, and a bit: 1,024 * 1,024 chunks.
    let blocks = (1 << 20) + 3000;
    let piece: Bytes = block.repeat(4000).into();
    let disk = MemoryDisk::new();
    let mut node = create(&disk, Limits { inflight_len: 48 << 20, ..tight() });
    let stream = node.send(Request::PutOpen(Box::new(value("large", PutSource::Stream))));
    let mut left = blocks * block.len();
    while left > 0 {
        let data = piece.slice(..piece.len().min(left));
        left -= data.len();
        node.ask(Request::PutData { stream, data }).unwrap();
    }
    let tail = noise(77, 10_000);
    node.ask(Request::PutData { stream, data: tail.clone() }).unwrap();
    let Reply::Put(results) = node.ask(Request::PutEnd { stream }).unwrap() else { panic!() };
    let written = results[0].clone().unwrap();
    drop(node);
    let mut node = open_without_index(&disk);
    let end = (blocks * block.len()) as u64;
    for at in [0, 1, 5_000_000, end / 2, end - 2_000_000, end - 5] {
        let Reply::Data(pieces) = node.ask(Request::Read { blob: written.id, range: at..at + 9000 }).unwrap() else {
            panic!()
        };
        let expected: Vec<u8> = (at..at + 9000)
            .map(|place| match place.checked_sub(end) {
                Some(behind) => tail[behind as usize],
                None => block[(place % block.len() as u64) as usize],
            })
            .collect();
        assert!(pieces.concat() == expected, "other bytes at {at}");
    }
    let Reply::Data(pieces) = node.ask(Request::Read { blob: written.id, range: end..end + (1 << 20) }).unwrap() else {
        panic!()
    };
    assert!(pieces.concat() == tail);
}

/// Whoever restores a version while its key is purged either comes first, and what is restored is purged as well, or too late.
#[test]
fn what_is_copied_while_it_is_purged_is_not_there_afterwards() {
    for late in [false, true] {
        let mut node = create(&MemoryDisk::new(), tight());
        let id = put(&mut node, "k", noise(1, 50_000)).id;
        // Nobody knows yet that it was purged.
        let early = late.then(|| node.send(Request::Purge(PurgeTarget::Key(key("k")))));
        let copy = node.send(Request::Put(vec![value("k", PutSource::SameAs(id))]));
        let purge = early.unwrap_or_else(|| node.send(Request::Purge(PurgeTarget::Key(key("k")))));
        let (mut copied, mut purged) = (None, None);
        while copied.is_none() || purged.is_none() {
            copied = copied.or_else(|| node.take(copy));
            purged = purged.or_else(|| node.take(purge));
            node.step();
        }
        assert!(matches!(purged, Some(Reply::Purged { versions: 1 })), "{purged:?}");
        let Some(Reply::Put(results)) = copied else { panic!("{copied:?}") };
        assert_eq!(results.into_iter().next().unwrap(), Err(Failure::NoSuchVersion(id)));
        let Reply::Got(got) = node.ask(Request::Get(vec![(key("k"), Select::Winner)])).unwrap() else {
            panic!("no get")
        };
        assert!(got[0].is_err(), "{got:?}");
    }
}
