//! A store that is opened without its keys: what it answers, what it leaves, and what those with keys find afterwards.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ouroboros_engine::blob::BlobRecord;
use ouroboros_engine::env::{Disk as _, DiskFile as _, FileName, MemoryDisk, OpenMode, Volume};
use ouroboros_engine::id::{BlobId, Dot, EngineRng};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    Access, CompactReport, DamageOutcome, Failure, Limits, ListRequest, OpenError, Opened, PurgeTarget, Put,
    PutOptions, PutSource, Reply, Request, Select, Stats,
};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use ouroboros_engine::store::index::IndexName;
use ouroboros_engine::store::log::{Log, LogOptions, RecordFlags, RecordKind};
use ouroboros_sim::local::{Local, config, keyring};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

type Node = Local<MemoryDisk>;

fn limits() -> Limits {
    Limits { segment_len: 256 << 10, window_len: 96 << 10, upkeep_step_len: 48 << 10, ..Limits::default() }
}

fn create(disk: &MemoryDisk) -> Node {
    let keys = keyring(1);
    let chunker = ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 2048, avg_len: 8192, max_len: 32768 };
    let config = config(&keys, Coding::default(), chunker);
    Local::create(disk.clone(), config, keys, limits(), 7).unwrap()
}

fn open(disk: &MemoryDisk) -> (Node, Opened) {
    // No two openings draw alike.
    static SEED: AtomicU64 = AtomicU64::new(100);
    Local::open(disk.clone(), keyring(1), limits(), SEED.fetch_add(1, Ordering::Relaxed)).unwrap()
}

fn open_keyless(disk: &MemoryDisk) -> Node {
    let (node, opened) = Local::open_with(disk.clone(), Access::Keyless, limits(), 9).unwrap();
    assert!(!opened.index_rebuilt && opened.damaged.is_empty(), "{opened:?}");
    node
}

fn name(key: usize) -> KeyName {
    KeyName::new(format!("dir{}/key {key}", key % 3)).unwrap()
}

fn content(key: usize) -> Bytes {
    let mut out = vec![0; [10, 5_000, 40_000, 90_000][key % 4]];
    blake3::Hasher::new().update(&key.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

fn put(node: &mut Node, key: usize, source: PutSource) -> BlobId {
    let options = PutOptions::default();
    match node.ask(Request::Put(vec![Put { key: name(key), source, options }])).unwrap() {
        Reply::Put(mut results) => results.pop().unwrap().unwrap().id,
        other => panic!("{other:?}"),
    }
}

fn get(node: &mut Node, key: usize) -> Result<Bytes, Failure> {
    let Reply::Got(mut results) = node.ask(Request::Get(vec![(name(key), Select::Winner)]))? else { panic!("not got") };
    let got = results.pop().unwrap()?;
    match got.inline {
        Some(inline) => Ok(inline),
        None => match node.ask(Request::Read { blob: got.version.id, range: 0..got.version.len })? {
            Reply::Data(pieces) => Ok(pieces.concat().into()),
            other => panic!("{other:?}"),
        },
    }
}

fn stats(node: &mut Node) -> Stats {
    match node.ask(Request::Stats).unwrap() {
        Reply::Stats(stats) => stats,
        other => panic!("{other:?}"),
    }
}

fn compact(node: &mut Node) -> CompactReport {
    match node.ask(Request::Compact).unwrap() {
        Reply::Compacted(report) => report,
        other => panic!("{other:?}"),
    }
}

fn index_files(disk: &MemoryDisk) -> Vec<String> {
    disk.list(Volume::Index).unwrap().iter().map(|name| name.as_str().to_owned()).collect()
}

/// Keys below `keys`, of which every third is purged, and every third from the first on shares its chunks with another.
fn fill(node: &mut Node, keys: usize) -> Vec<BlobId> {
    let mut purged = Vec::new();
    for key in 0..keys {
        let id = put(node, key, PutSource::Value(content(key)));
        match key % 3 {
            0 => purged.push(id),
            1 => drop(put(node, key + 1000, PutSource::Value(content(key - 1)))),
            _ => {}
        }
    }
    for key in (0..keys).step_by(3) {
        let Reply::Purged { versions: 1 } = node.ask(Request::Purge(PurgeTarget::Key(name(key)))).unwrap() else {
            panic!("not purged")
        };
    }
    purged
}

fn check(node: &mut Node, keys: usize, purged: &[BlobId]) {
    for key in 0..keys {
        match key % 3 {
            0 => assert!(matches!(get(node, key), Err(Failure::NoSuchKey(_))), "{key} was purged"),
            1 => assert_eq!(get(node, key + 1000).unwrap(), content(key - 1), "{key} shares its chunks"),
            _ => {}
        }
        if key % 3 != 0 {
            assert_eq!(get(node, key).unwrap(), content(key), "{key}");
        }
    }
    let Reply::Exist(there) = node.ask(Request::Exist(purged.to_vec())).unwrap() else { panic!("no answer") };
    assert!(there.iter().all(|there| !there));
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: false }).unwrap() else { panic!("no report") };
    assert!(report.damage.is_empty() && report.lost.is_empty(), "{report:?}");
}

#[test]
fn without_keys_everything_but_upkeep_is_refused() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let id = put(&mut node, 3, PutSource::Value(content(3)));
    node.close().unwrap();
    let mut node = open_keyless(&disk);
    let (key, options) = (name(3), PutOptions::default());
    let new = |source| Put { key: key.clone(), source, options: options.clone() };
    let stream = node.send(Request::PutOpen(Box::new(new(PutSource::Stream))));
    node.settle();
    assert!(matches!(node.take(stream), Some(Reply::Failed(Failure::NoKeys))));
    for request in [
        Request::Put(vec![new(PutSource::Gone)]),
        Request::PutData { stream, data: Bytes::new() },
        Request::PutEnd { stream },
        Request::Get(vec![(key.clone(), Select::Winner)]),
        Request::Exist(vec![id]),
        Request::GetVersion(id),
        Request::Read { blob: id, range: 0..10 },
        Request::Heads(key.clone()),
        Request::Log { key: key.clone(), after: None, limit: 10 },
        Request::MergeBases(vec![id]),
        Request::Diff { from: id, to: id },
        Request::List(ListRequest { limit: 10, ..ListRequest::default() }),
        Request::Purge(PurgeTarget::Key(key.clone())),
        Request::Purge(PurgeTarget::Version(id)),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(node.ask(request).err(), Some(Failure::NoKeys), "{shown}");
    }
    let figures = stats(&mut node);
    assert_eq!((figures.keys, figures.versions, figures.logical_bytes), (1, 1, None), "{figures:?}");
    assert!(figures.seals > 0 && figures.sealed_bytes > 0 && figures.degraded_seals == 0, "{figures:?}");
    node.close().unwrap();
    assert_eq!(get(&mut open(&disk).0, 3).unwrap(), content(3));
}

#[test]
fn who_has_keys_finds_everything_after_a_recoding_and_a_compaction_without_them() {
    const KEYS: usize = 40;
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let mut purged = fill(&mut node, KEYS);
    purged.push(put(&mut node, 2003, PutSource::Value(content(2003))));
    node.close().unwrap();
    // Killed right after a purge: the index on disk still knows its chunks as stored.
    let (mut node, _) = open(&disk);
    node.ask(Request::Purge(PurgeTarget::Key(name(2003)))).unwrap();
    drop(node);

    let mut node = open_keyless(&disk);
    let seals_before = stats(&mut node).seals;
    let Reply::Recoded(report) = node.ask(Request::Recode(Coding::new(4, 2).unwrap())).unwrap() else {
        panic!("no report")
    };
    assert!(report.recoded > 20 && report.damaged.is_empty(), "{report:?}");
    let log_before = stats(&mut node).log_bytes;
    let report = compact(&mut node);
    // By the compaction, or before it with the commit of the recoding.
    let seals = stats(&mut node).seals;
    assert!(report.segments_removed > 0 && seals < seals_before, "{report:?}, {seals} of {seals_before} seals");
    let again = compact(&mut node);
    assert_eq!(again.seals_collected, 0, "{again:?}");
    assert_eq!(
        index_files(&disk),
        [IndexName::Passing.name()],
        "an index that may point into what is gone is gone too"
    );
    node.close().unwrap();
    assert!(index_files(&disk).is_empty());

    let (mut node, opened) = open(&disk);
    assert!(opened.index_rebuilt && opened.damaged.is_empty(), "{opened:?}");
    check(&mut node, KEYS, &purged);
    let figures = stats(&mut node);
    assert!(figures.degraded_seals == 0 && figures.log_bytes < log_before, "{figures:?}");
    // What was collected without keys is not taken for stored when the same bytes come again.
    let figures = {
        put(&mut node, 2003, PutSource::Value(content(2003)));
        assert_eq!(get(&mut node, 2003).unwrap(), content(2003));
        stats(&mut node)
    };
    // New seals follow the coding that was set without keys: 4+2 stores half again as much, 8+1 an eighth.
    put(&mut node, 9_003, PutSource::Value(content(9_003)));
    let after = stats(&mut node);
    let (log, sealed) = (after.live_bytes - figures.live_bytes, after.sealed_bytes - figures.sealed_bytes);
    assert!(log * 10 > sealed * 14, "{log} bytes for {sealed}");
}

#[test]
fn an_index_that_is_still_right_is_used_after_a_process_without_keys() {
    const KEYS: usize = 12;
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let purged = fill(&mut node, KEYS);
    node.close().unwrap();
    let mut node = open_keyless(&disk);
    stats(&mut node);
    node.close().unwrap();
    let (node, opened) = open(&disk);
    assert_eq!(opened, Opened::default(), "nothing was touched");
    node.close().unwrap();

    let mut node = open_keyless(&disk);
    node.ask(Request::Recode(Coding::new(2, 1).unwrap())).unwrap();
    // Killed: its index stays behind until the next opening.
    drop(node);
    assert_eq!(index_files(&disk).len(), 2);
    let (mut node, opened) = open(&disk);
    assert!(!opened.index_rebuilt && opened.replayed > 0, "{opened:?}");
    assert_eq!(index_files(&disk), [IndexName::Lasting.name()]);
    check(&mut node, KEYS, &purged);
}

#[test]
fn the_keyring_of_another_realm_is_refused_and_leaves_the_index_as_it_is() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let purged = fill(&mut node, 12);
    node.close().unwrap();
    let refused = Local::open(disk.clone(), keyring(2), limits(), 9).map(|(_, opened)| opened);
    assert!(matches!(refused, Err(OpenError::WrongKeys { .. })), "{refused:?}");
    let (mut node, opened) = open(&disk);
    assert_eq!(opened, Opened::default(), "nothing was touched");
    check(&mut node, 12, &purged);
    // Nor does anything appear where there is no store.
    let nothing = MemoryDisk::new();
    let refused = Local::open(nothing.clone(), keyring(1), limits(), 9).map(|(_, opened)| opened);
    assert_eq!(refused.err(), Some(OpenError::NoStore));
    assert!(index_files(&nothing).is_empty());
}

/// Every dot that stands in the log, with the version that it names.
fn dots(disk: &MemoryDisk) -> BTreeMap<Dot, BlobId> {
    let mut dots = BTreeMap::new();
    let mut rng = EngineRng::from_seed([3; 32]);
    let options = LogOptions { leave_end: true, ..LogOptions::default() };
    Log::open(disk.clone(), options, None, &mut rng, |_, _| true, &mut |record| {
        if record.kind == RecordKind::Blob {
            let blob = BlobRecord::decode(&Bytes::copy_from_slice(record.payload)).unwrap();
            let id = blob.header.id();
            assert_eq!(*dots.entry(blob.dot).or_insert(id), id, "two versions have one name");
        }
        Ok(())
    })
    .unwrap();
    dots
}

#[test]
fn names_of_records_go_on_only_where_the_log_ends_as_it_was_left() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    put(&mut node, 1, PutSource::Value(content(1)));
    node.close().unwrap();
    let (mut node, _) = open(&disk);
    put(&mut node, 1, PutSource::Value(content(5)));
    node.close().unwrap();
    let lives = |disk| dots(disk).keys().map(|dot| dot.incarnation).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((dots(&disk).len(), lives(&disk)), (2, 1));
    let mut node = open_keyless(&disk);
    node.ask(Request::Recode(Coding::new(2, 1).unwrap())).unwrap();
    node.close().unwrap();
    let (mut node, _) = open(&disk);
    put(&mut node, 1, PutSource::Value(content(9)));
    node.close().unwrap();
    assert_eq!((dots(&disk).len(), lives(&disk)), (3, 2), "what is not known to be free is not given again");

    // The beginning of a batch, which may have had names, is cut off by somebody who has no keys.
    let segments = disk.list(Volume::Blocks).unwrap();
    let file = disk.open(Volume::Blocks, segments.iter().max().unwrap(), OpenMode::Write).unwrap();
    file.write_at(file.len().unwrap(), &[&[7; 1000]]).unwrap();
    open_keyless(&disk).close().unwrap();
    let (mut node, opened) = open(&disk);
    assert_eq!((opened.replayed, opened.torn), (0, false), "{opened:?}");
    put(&mut node, 1, PutSource::Value(content(2)));
    node.close().unwrap();
    assert_eq!((dots(&disk).len(), lives(&disk)), (4, 3));
}

/// Appends a record of a newer program, intact and of a form that nobody knows here; returns its segment's file.
fn append_strange(disk: &MemoryDisk) -> FileName {
    let mut rng = EngineRng::from_seed([4; 32]);
    let opened = Log::open(disk.clone(), LogOptions::default(), None, &mut rng, |_, _| true, &mut |_| Ok(()));
    let (mut log, recovery) = opened.unwrap();
    let strange = log.append(RecordKind::Blob, RecordFlags::NONE, &[&[0xee; 300]]).unwrap();
    log.commit(&recovery.note).unwrap();
    log.close().unwrap();
    FileName::new(format!("seg-{}.log", strange.segment)).unwrap()
}

#[test]
fn what_is_not_understood_keeps_its_segment_and_whatever_it_may_refer_to() {
    const KEYS: usize = 40;
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    let purged = fill(&mut node, KEYS);
    node.close().unwrap();
    let file = append_strange(&disk);

    let (mut node, opened) = Local::open_with(disk.clone(), Access::Keyless, limits(), 9).unwrap();
    assert_eq!(opened.damaged.len(), 1, "{opened:?}");
    node.ask(Request::Recode(Coding::new(4, 2).unwrap())).unwrap();
    let report = compact(&mut node);
    assert_eq!(report.seals_collected, 0, "what nothing refers to may be what the strange record refers to");
    assert!(disk.list(Volume::Blocks).unwrap().contains(&file), "{report:?}");
    node.close().unwrap();
    let (mut node, _) = open(&disk);
    for key in (0..KEYS).filter(|key| key % 3 != 0) {
        assert_eq!(get(&mut node, key).unwrap(), content(key));
    }
    drop(purged);
}

/// Who has keys does not forget it either, when another opening begins behind it.
#[test]
fn what_is_not_understood_is_kept_by_later_processes() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    fill(&mut node, 40);
    node.close().unwrap();
    let file = append_strange(&disk);
    for _ in 0..3 {
        let (mut node, _) = open(&disk);
        let report = compact(&mut node);
        assert_eq!(report.seals_collected, 0);
        assert!(disk.list(Volume::Blocks).unwrap().contains(&file), "{report:?}");
        node.close().unwrap();
    }
}

/// What a newer program has written may be a version of the key, which that program would find again.
#[test]
fn a_key_is_not_said_to_be_purged_while_something_is_not_understood() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk);
    fill(&mut node, 4);
    node.close().unwrap();
    append_strange(&disk);
    for _ in 0..2 {
        let (mut node, _) = open(&disk);
        let refused = node.ask(Request::Purge(PurgeTarget::Key(name(1)))).unwrap_err();
        assert!(matches!(&refused, Failure::Damaged { place } if place.contains("not understood")), "{refused}");
        assert_eq!(get(&mut node, 1).unwrap(), content(1));
        node.close().unwrap();
    }
}

/// Where records of these kinds have their payload, in the only segment.
fn payloads(bytes: &[u8], kinds: &[u8]) -> Vec<usize> {
    let at = (8192..bytes.len() - 24).step_by(8);
    at.filter(|at| bytes[*at..].starts_with(b"oRec") && kinds.contains(&bytes[at + 4])).map(|at| at + 24).collect()
}

/// A store of two values whose index is gone, and in whose log the second version cannot be read, nor the parity that could
/// heal it; and what turns the damage over, and back.
fn hidden_version(disk: &MemoryDisk) -> impl Fn() {
    let mut node = create(disk);
    put(&mut node, 0, PutSource::Value(content(0)));
    put(&mut node, 2, PutSource::Value(content(2)));
    node.close().unwrap();
    let segment = disk.list(Volume::Blocks).unwrap().into_iter().next().unwrap();
    let file = disk.open(Volume::Blocks, &segment, OpenMode::Write).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    let mut places = payloads(&bytes, &[18, 19]);
    places.push(payloads(&bytes, &[2])[1] + 100);
    let turn_over = move || {
        for at in &places {
            let mut byte = [0];
            file.read_at(*at as u64, &mut byte).unwrap();
            file.write_at(*at as u64, &[&[byte[0] ^ 0xff]]).unwrap();
        }
    };
    turn_over();
    disk.remove(Volume::Index, &FileName::new(IndexName::Lasting.name()).unwrap()).unwrap();
    turn_over
}

/// With keys too, an index that was made while a version could not be read knew nothing of what that version refers to.
#[test]
fn what_a_version_refers_to_is_kept_while_it_cannot_be_read() {
    let disk = MemoryDisk::new();
    let turn_over = hidden_version(&disk);
    let (mut node, _) = open(&disk);
    let report = compact(&mut node);
    assert_eq!(report.seals_collected, 0, "{report:?}");
    // What shares its chunks is purged, which collects what nothing refers to right away.
    let sharing = put(&mut node, 7, PutSource::Value(content(2)));
    node.ask(Request::Purge(PurgeTarget::Version(sharing))).unwrap();
    node.close().unwrap();
    turn_over();
    let (mut node, _) = open(&disk);
    assert_eq!(get(&mut node, 2).unwrap(), content(2));
    assert_eq!(get(&mut node, 0).unwrap(), content(0));
}

/// A version of which nobody knows yet whose it is would survive the purge of its key, and be back when it is healed.
#[test]
fn a_key_is_not_purged_while_some_of_its_versions_may_be_unread() {
    let disk = MemoryDisk::new();
    let turn_over = hidden_version(&disk);
    let (mut node, _) = open(&disk);
    put(&mut node, 2, PutSource::Value(content(7)));
    let purge = || Request::Purge(PurgeTarget::Key(name(2)));
    let refused = node.ask(purge());
    assert!(matches!(refused, Err(Failure::Damaged { .. })), "{refused:?}");
    assert_eq!(get(&mut node, 2).unwrap(), content(7), "a refusal leaves everything as it is");
    // Healed while somebody else had the store: both go.
    node.close().unwrap();
    turn_over();
    let (mut node, _) = open(&disk);
    assert!(matches!(node.ask(purge()), Ok(Reply::Purged { versions: 2 })));
    assert!(matches!(get(&mut node, 2), Err(Failure::NoSuchKey(_))));
}

#[test]
fn a_key_is_purged_when_a_scrub_has_called_lost_what_cannot_be_read() {
    let disk = MemoryDisk::new();
    let _damage = hidden_version(&disk);
    let (mut node, _) = open(&disk);
    put(&mut node, 2, PutSource::Value(content(7)));
    node.ask(Request::Scrub { repair: true }).unwrap();
    assert!(matches!(node.ask(Request::Purge(PurgeTarget::Key(name(2)))), Ok(Reply::Purged { versions: 1 })));
}

#[test]
fn what_a_scrub_names_as_lost_is_not_waited_for() {
    let disk = MemoryDisk::new();
    let _damage = hidden_version(&disk);
    let (mut node, _) = open(&disk);
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: true }).unwrap() else { panic!() };
    assert!(report.damage.iter().any(|damage| damage.outcome == DamageOutcome::Lost), "{report:?}");
    assert!(!report.damage.iter().any(|damage| damage.outcome == DamageOutcome::Healable), "{report:?}");
    node.close().unwrap();
    // Another process knows it too.
    let (mut node, _) = open(&disk);
    let report = compact(&mut node);
    assert!(report.seals_collected > 0, "{report:?}");
    assert_eq!(get(&mut node, 0).unwrap(), content(0));
}

#[test]
fn what_could_not_be_read_once_is_found_when_it_can_be() {
    let disk = MemoryDisk::new();
    let turn_over = hidden_version(&disk);
    let (mut node, opened) = open(&disk);
    assert!(!opened.damaged.is_empty());
    assert!(matches!(get(&mut node, 2), Err(Failure::Damaged { .. })), "it may be where nothing can be read");
    node.close().unwrap();
    let (mut node, opened) = open(&disk);
    assert!(!opened.index_rebuilt, "nothing has changed");
    assert!(matches!(get(&mut node, 2), Err(Failure::Damaged { .. })));
    node.close().unwrap();
    // Healed while somebody else had the store.
    turn_over();
    let (mut node, opened) = open(&disk);
    assert!(opened.index_rebuilt, "{opened:?}");
    assert_eq!(get(&mut node, 2).unwrap(), content(2));
    assert_eq!(get(&mut node, 0).unwrap(), content(0));
}
