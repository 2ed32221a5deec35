//! A node on a disk in memory, with little memory of its own and short segments, and what tests ask of it.
// Each test that shares this uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use bytes::Bytes;
use ouroboros_engine::env::{Disk, MemoryDisk, Volume};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Failure, Limits, Put, PutOptions, PutSource, Reply, Request, Select, Written};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use ouroboros_sim::local::{Local, config, keyring};

pub type Node = Local<MemoryDisk>;

/// Chunks as short as they may be: 2 MiB are more than a page of references.
pub const CHUNKER: ChunkerParams =
    ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 1024, avg_len: 2048, max_len: 4096 };
/// More than 1,024 chunks.
pub const PAGED: usize = 3 << 20;

pub fn key(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

pub fn noise(seed: u8, len: usize) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out.into()
}

/// Little memory and short segments.
pub fn tight() -> Limits {
    Limits {
        inflight_len: 200_000,
        window_len: 100_000,
        segment_len: 512 << 10,
        batch_len: 1 << 20,
        index_overlay_len: 100_000,
        index_cache_len: 1 << 20,
        read_len: 8 << 20,
        upkeep_step_len: 50_000,
        ..Limits::default()
    }
}

pub fn create(disk: &MemoryDisk, limits: Limits) -> Node {
    let keys = keyring(1);
    let config = config(&keys, Coding::new(2, 1).unwrap(), CHUNKER);
    Local::create(disk.clone(), config, keys, limits, 7).unwrap()
}

/// Opens what is on the disk, with nothing but the log.
pub fn open_without_index(disk: &MemoryDisk) -> Node {
    for name in disk.list(Volume::Index).unwrap() {
        disk.remove(Volume::Index, &name).unwrap();
    }
    let (node, opened) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    assert!(opened.index_rebuilt && opened.damaged.is_empty(), "{opened:?}");
    node
}

pub fn value(name: &str, source: PutSource) -> Put {
    Put { key: key(name), source, options: PutOptions::default() }
}

pub fn put<D: Disk>(node: &mut Local<D>, name: &str, bytes: Bytes) -> Written {
    let Reply::Put(results) = node.ask(Request::Put(vec![value(name, PutSource::Value(bytes))])).unwrap() else {
        panic!("no put")
    };
    results.into_iter().next().unwrap().unwrap()
}

pub fn get<D: Disk>(node: &mut Local<D>, name: &str) -> Result<Bytes, Failure> {
    let Reply::Got(results) = node.ask(Request::Get(vec![(key(name), Select::Winner)]))? else { panic!("not got") };
    let got = results.into_iter().next().unwrap()?;
    if let Some(inline) = got.inline {
        return Ok(inline);
    }
    let mut out = Vec::new();
    let step = node.engine().limits().read_len;
    while (out.len() as u64) < got.version.len {
        let start = out.len() as u64;
        let Reply::Data(pieces) = node.ask(Request::Read { blob: got.version.id, range: start..start + step })? else {
            panic!("no data")
        };
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    }
    Ok(out.into())
}

pub fn everything_is_there(node: &mut Node, expected: &[(&str, &Bytes)]) {
    for (name, bytes) in expected {
        assert!(get(node, name).unwrap() == *bytes, "{name} holds other bytes");
    }
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: false }).unwrap() else { panic!() };
    assert!(report.damage.is_empty() && report.lost.is_empty(), "{report:?}");
}

/// What is there is also there for an index made anew, and after a compaction by it, and for one made anew from that.
pub fn everything_lasts(disk: &MemoryDisk, expected: &[(&str, &Bytes)]) {
    for _ in 0..2 {
        let mut node = open_without_index(disk);
        everything_is_there(&mut node, expected);
        node.ask(Request::Compact).unwrap();
        everything_is_there(&mut node, expected);
        node.close().unwrap();
    }
}
