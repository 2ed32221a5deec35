//! One node, the whole way, on a disk in memory: put, version, find, delete, heal, reopen.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ouroboros_engine::env::MemoryDisk;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    Base, EntryKind, Failure, Limits, ListRequest, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, Select,
};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use ouroboros_sim::local::{Local, config, keyring};

fn key(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

fn chunker() -> ChunkerParams {
    ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 2048, avg_len: 8192, max_len: 32768 }
}

fn create(disk: &MemoryDisk) -> Local<MemoryDisk> {
    let keys = keyring(1);
    let config = config(&keys, Coding::default(), chunker());
    Local::create(disk.clone(), config, keys, Limits::default(), 7).unwrap()
}

fn open(disk: &MemoryDisk) -> Local<MemoryDisk> {
    Local::open(disk.clone(), keyring(1), Limits::default(), 8).unwrap().0
}

fn content(len: usize, seed: u8) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out.into()
}

fn put(node: &mut Local<MemoryDisk>, name: &str, value: Bytes) -> ouroboros_engine::node::Written {
    put_with(node, name, PutSource::Value(value), PutOptions::default()).unwrap()
}

fn put_with(
    node: &mut Local<MemoryDisk>,
    name: &str,
    source: PutSource,
    options: PutOptions,
) -> Result<ouroboros_engine::node::Written, Failure> {
    match node.ask(Request::Put(vec![Put { key: key(name), source, options }]))? {
        Reply::Put(mut results) => results.pop().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn get(node: &mut Local<MemoryDisk>, name: &str, select: Select) -> Result<Bytes, Failure> {
    let Reply::Got(mut results) = node.ask(Request::Get(vec![(key(name), select)]))? else { panic!("not got") };
    let got = results.pop().unwrap()?;
    if let Some(inline) = got.inline {
        return Ok(inline);
    }
    let mut out = Vec::new();
    while (out.len() as u64) < got.version.len {
        let start = out.len() as u64;
        let range = start..(start + 100_000).min(got.version.len);
        let Reply::Data(pieces) = node.ask(Request::Read { blob: got.version.id, range })? else { panic!("no data") };
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    }
    Ok(out.into())
}

#[test]
fn who_only_reads_leaves_the_log_as_it_was() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    put(&mut node, "a", content(100, 1));
    put(&mut node, "b", content(100_000, 2));
    node.close().unwrap();
    let log_len = |node: &mut Local<MemoryDisk>| match node.ask(Request::Stats).unwrap() {
        Reply::Stats(stats) => stats.log_bytes,
        other => panic!("{other:?}"),
    };
    let mut node = open(&disk);
    let before = log_len(&mut node);
    for _ in 0..3 {
        assert_eq!(get(&mut node, "b", Select::Winner).unwrap(), content(100_000, 2));
        node.close().unwrap();
        node = open(&disk);
        assert_eq!(log_len(&mut node), before);
    }
}

#[test]
fn a_value_that_compresses_to_little_lives_in_its_body_and_needs_no_seal() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let text = |len: usize, word: &str| Bytes::from(word.repeat(len / word.len() + 1).into_bytes()).slice(..len);
    // Below the trial's length and above it, in one piece and streamed, and one that does not compress.
    let small = [(1500, "the same "), (30_000, "and again "), (32_768, "and more ")];
    for (len, word) in small {
        put(&mut node, &format!("small/{len}"), text(len, word));
    }
    let Reply::Stats(stats) = node.ask(Request::Stats).unwrap() else { panic!("no stats") };
    assert_eq!(stats.seals, 0, "{stats:?}");
    assert!(stats.live_bytes < 10_000, "{stats:?}");
    put(&mut node, "large", text(32_769, "one byte more than the longest chunk "));
    put(&mut node, "noise", content(30_000, 1));
    let Reply::Stats(stats) = node.ask(Request::Stats).unwrap() else { panic!("no stats") };
    assert!(stats.seals > 1, "{stats:?}");
    node.close().unwrap();
    let mut node = open(&disk);
    for (len, word) in small {
        assert_eq!(get(&mut node, &format!("small/{len}"), Select::Winner).unwrap(), text(len, word));
        let Reply::Got(got) = node.ask(Request::Get(vec![(key(&format!("small/{len}")), Select::Winner)])).unwrap()
        else {
            panic!("not got")
        };
        let got = got.into_iter().next().unwrap().unwrap();
        assert_eq!(got.version.len, len as u64);
        let read = Request::Read { blob: got.version.id, range: 1000..1400 };
        let Reply::Data(pieces) = node.ask(read).unwrap() else { panic!("no data") };
        assert_eq!(pieces.concat(), text(len, word)[1000..1400]);
        // A copy of it is stored as it was.
        let source = PutSource::SameAs(got.version.id);
        put_with(&mut node, "copy", source, PutOptions::default()).unwrap();
        assert_eq!(get(&mut node, "copy", Select::Winner).unwrap(), text(len, word));
    }
    assert_eq!(get(&mut node, "noise", Select::Winner).unwrap(), content(30_000, 1));
}

#[test]
fn values_of_every_size_come_back_also_after_reopening_and_without_an_index() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let sizes = [0, 1, 100, 4095, 4096, 4097, 10_000, 100_000, 1_000_000, 9_000_000];
    for (n, len) in sizes.into_iter().enumerate() {
        put(&mut node, &format!("size/{len}"), content(len, n as u8));
    }
    let check = |node: &mut Local<MemoryDisk>| {
        for (n, len) in sizes.into_iter().enumerate() {
            assert_eq!(get(node, &format!("size/{len}"), Select::Winner).unwrap(), content(len, n as u8), "{len}");
        }
        assert!(matches!(get(node, "size/none", Select::Winner), Err(Failure::NoSuchKey(_))));
    };
    check(&mut node);
    node.close().unwrap();
    let mut node = open(&disk);
    check(&mut node);
    // Dropped without closing: what the index lacks is replayed.
    put(&mut node, "late", content(50_000, 99));
    drop(node);
    let mut node = open(&disk);
    check(&mut node);
    assert_eq!(get(&mut node, "late", Select::Winner).unwrap(), content(50_000, 99));
    node.close().unwrap();
    // The index is a cache.
    use ouroboros_engine::env::{Disk, Volume};
    for name in disk.list(Volume::Index).unwrap() {
        disk.remove(Volume::Index, &name).unwrap();
    }
    let (mut node, opened) = Local::open(disk.clone(), keyring(1), Limits::default(), 9).unwrap();
    assert!(opened.index_rebuilt);
    check(&mut node);
    assert_eq!(get(&mut node, "late", Select::Winner).unwrap(), content(50_000, 99));
}

#[test]
fn versions_follow_each_other_diverge_and_can_be_restored() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let first = put(&mut node, "k", content(10, 1));
    let second = put(&mut node, "k", content(20_000, 2));
    assert_eq!(second.heads, vec![second.id]);
    let based = PutOptions { base: Base::Versions(vec![first.id]), ..PutOptions::default() };
    let rival = put_with(&mut node, "k", PutSource::Value(content(30, 3)), based).unwrap();
    assert_eq!(rival.heads.len(), 2);
    assert_eq!(get(&mut node, "k", Select::Winner).unwrap(), content(30, 3));
    assert_eq!(get(&mut node, "k", Select::Version(second.id)).unwrap(), content(20_000, 2));
    let Reply::Versions(bases) = node.ask(Request::MergeBases(vec![second.id, rival.id])).unwrap() else { panic!() };
    assert_eq!(bases.iter().map(|version| version.id).collect::<Vec<_>>(), vec![first.id]);
    let both = PutOptions { base: Base::Versions(rival.heads.clone()), ..PutOptions::default() };
    let merged = put_with(&mut node, "k", PutSource::SameAs(second.id), both).unwrap();
    assert_eq!(merged.heads, vec![merged.id]);
    assert_eq!(get(&mut node, "k", Select::Winner).unwrap(), content(20_000, 2));
    let gone = put_with(&mut node, "k", PutSource::Gone, PutOptions::default()).unwrap();
    assert!(matches!(get(&mut node, "k", Select::Winner), Err(Failure::Gone { version, .. }) if version == gone.id));
    let Reply::Versions(log) = node.ask(Request::Log { key: key("k"), after: None, limit: 100 }).unwrap() else {
        panic!()
    };
    assert_eq!(log.len(), 5);
    assert_eq!(log.first().map(|version| version.id), Some(gone.id));
    assert_eq!(get(&mut node, "k", Select::At(second.created)).unwrap(), content(20_000, 2));
    put_with(&mut node, "k", PutSource::SameAs(first.id), PutOptions::default()).unwrap();
    assert_eq!(get(&mut node, "k", Select::Winner).unwrap(), content(10, 1));
}

#[test]
fn names_are_listed_in_order_and_by_level() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    for name in ["b", "a/x", "a/y/deep", "a/y/deeper", "c"] {
        put(&mut node, name, content(5, 1));
    }
    let mut list = |prefix: &str, recursive| {
        let request = ListRequest { prefix: prefix.into(), recursive, limit: 2, ..ListRequest::default() };
        let mut names = Vec::new();
        let mut after = None;
        loop {
            let request = ListRequest { after, ..request.clone() };
            let Reply::Listing(page) = node.ask(Request::List(request)).unwrap() else { panic!() };
            names.extend(page.entries.into_iter().map(|entry| {
                assert_eq!(entry.name.ends_with(b"/"), entry.kind == EntryKind::Directory);
                String::from_utf8(entry.name).unwrap()
            }));
            after = page.next;
            if after.is_none() {
                return names;
            }
        }
    };
    assert_eq!(list("", false), ["a/", "b", "c"]);
    assert_eq!(list("a/", false), ["a/x", "a/y/"]);
    assert_eq!(list("", true), ["a/x", "a/y/deep", "a/y/deeper", "b", "c"]);
}

#[test]
fn a_scrub_counts_every_byte_of_the_log_once() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    put(&mut node, "large", content(2_000_000, 6));
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: false }).unwrap() else { panic!() };
    let Reply::Stats(stats) = node.ask(Request::Stats).unwrap() else { panic!() };
    assert!(report.seals > 10 && report.bytes > 2_000_000, "{report:?}");
    assert!(report.bytes <= stats.log_bytes, "{} of {} bytes were read", report.bytes, stats.log_bytes);
}

#[test]
fn purged_versions_are_destroyed_and_what_others_share_survives() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let shared = content(300_000, 5);
    put(&mut node, "keep", shared.clone());
    let doomed = put(&mut node, "doomed", shared.clone());
    put(&mut node, "unique", content(2_000_000, 6));
    let Reply::Purged { versions } = node.ask(Request::Purge(PurgeTarget::Key(key("doomed")))).unwrap() else {
        panic!()
    };
    assert_eq!(versions, 1);
    node.ask(Request::Purge(PurgeTarget::Key(key("unique")))).unwrap();
    let Reply::Compacted(report) = node.ask(Request::Compact).unwrap() else { panic!() };
    assert!(report.bytes_before > report.bytes_after + 1_900_000, "{report:?}");
    let check = |node: &mut Local<MemoryDisk>| {
        assert_eq!(get(node, "keep", Select::Winner).unwrap(), shared);
        assert!(matches!(get(node, "doomed", Select::Winner), Err(Failure::NoSuchKey(_))));
        assert!(matches!(node.ask(Request::GetVersion(doomed.id)).unwrap(), Reply::Got(got) if got[0].is_err()));
        assert!(matches!(get(node, "unique", Select::Winner), Err(Failure::NoSuchKey(_))));
    };
    check(&mut node);
    drop(node);
    let mut node = open(&disk);
    check(&mut node);
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: true }).unwrap() else { panic!() };
    assert!(report.damage.is_empty() && report.lost.is_empty(), "{report:?}");
}

#[test]
fn recoding_keeps_every_byte() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    for n in 0..10 {
        put(&mut node, &format!("r/{n}"), content(50_000 * (n + 1), n as u8));
    }
    let Reply::Recoded(report) = node.ask(Request::Recode(Coding::new(4, 2).unwrap())).unwrap() else { panic!() };
    assert!(report.recoded > 0 && report.damaged.is_empty(), "{report:?}");
    let Reply::Compacted(_) = node.ask(Request::Compact).unwrap() else { panic!() };
    drop(node);
    let mut node = open(&disk);
    for n in 0..10 {
        let found = get(&mut node, &format!("r/{n}"), Select::Winner).unwrap();
        assert_eq!(found, content(50_000 * (n + 1), n as u8));
    }
    let Reply::Recoded(again) = node.ask(Request::Recode(Coding::new(4, 2).unwrap())).unwrap() else { panic!() };
    assert_eq!(again.recoded, 0);
}

#[test]
fn an_index_in_memory_leaves_no_file_and_is_there_again_after_opening() {
    use ouroboros_engine::env::{Disk as _, Volume};
    let (disk, keys) = (MemoryDisk::new(), keyring(1));
    let limits = || Limits { index_in_memory: true, ..Limits::default() };
    let config = config(&keys, Coding::default(), chunker());
    let mut node = Local::create(disk.clone(), config, keys.clone(), limits(), 7).unwrap();
    let value = content(100_000, 1);
    put(&mut node, "a", value.clone());
    node.close().unwrap();
    assert_eq!(disk.list(Volume::Index).unwrap(), Vec::new());
    let (mut node, opened) = Local::open(disk.clone(), keys.clone(), limits(), 8).unwrap();
    assert!(!opened.index_rebuilt, "there was none to rebuild");
    assert_eq!(get(&mut node, "a", Select::Winner), Ok(value.clone()));
    drop(node);
    // And with a file again, as after a loss of the index.
    let (mut node, opened) = Local::open(disk, keys, Limits::default(), 9).unwrap();
    assert!(opened.index_rebuilt);
    assert_eq!(get(&mut node, "a", Select::Winner), Ok(value));
}

#[test]
fn a_node_says_what_it_is_doing() {
    use ouroboros_engine::node::Activity;
    let mut node = create(&MemoryDisk::new());
    assert_eq!(node.engine().activity(), Activity::Idle);
    let options = PutOptions::default();
    let stream = Put { key: key("a"), source: PutSource::Stream, options };
    let id = node.send(Request::PutOpen(Box::new(stream)));
    assert_eq!(node.engine().activity(), Activity::Uploading);
    node.send(Request::PutAbort { stream: id });
    put(&mut node, "a", content(10, 1));
    assert_eq!(node.engine().activity(), Activity::Unsettled);
    node.send(Request::Scrub { repair: false });
    assert_eq!(node.engine().activity(), Activity::ScrubbingLog);
    node.settle();
    assert_eq!(node.engine().activity(), Activity::Unsettled);
    node.ask(Request::Close).unwrap();
    assert_eq!(node.engine().activity(), Activity::Closed);
}

/// More than a page of answers holds (1,000), and than a tombstone names.
const MANY: usize = 1_100;

#[test]
fn no_answer_is_longer_than_a_page_and_a_purge_has_none() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let put = |name: String, value: usize| Put {
        key: key(&name),
        source: PutSource::Value(Bytes::from(value.to_string())),
        options: PutOptions::default(),
    };
    for first in (0..MANY).step_by(100) {
        let range = || first..first + 100;
        node.ask(Request::Put(range().map(|n| put(format!("{n:04}"), n)).collect())).unwrap();
        node.ask(Request::Put(range().map(|n| put("one key".to_owned(), n)).collect())).unwrap();
    }
    let log = Request::Log { key: key("one key"), after: None, limit: usize::MAX };
    let Reply::Versions(page) = node.ask(log.clone()).unwrap() else { panic!("no history") };
    assert_eq!(page.len(), 1000);
    let list = ListRequest { recursive: true, limit: usize::MAX, ..ListRequest::default() };
    let Reply::Listing(page) = node.ask(Request::List(list)).unwrap() else { panic!("no listing") };
    assert!(page.entries.len() == 1000 && page.next.is_some(), "{}", page.entries.len());
    let Reply::Purged { versions } = node.ask(Request::Purge(PurgeTarget::Key(key("one key")))).unwrap() else {
        panic!("not purged")
    };
    assert_eq!(versions, MANY as u64);
    assert!(matches!(node.ask(log), Err(Failure::NoSuchKey(_))));
}
