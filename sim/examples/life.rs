//! What a small life of a node costs, by its parts: how many seeds a second the simulator can run follows from it.
//!
//! `cargo run --profile sim -p ouroboros-sim --example life -- [lives] [memory] [real] [noindex]`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that prints")]

use bytes::Bytes;
use ouroboros_engine::env::{Disk, DiskFile, FileName, MemoryDisk, OpenMode, Volume};
use ouroboros_engine::id::Secret;
use ouroboros_engine::keys::{Keyring, MasterSecret};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Limits, Profile, Put, PutOptions, PutSource, Reply, Request, Select};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use ouroboros_engine::store::index::IndexName;
use ouroboros_sim::crypto::cheap_keyring;
use ouroboros_sim::disk::{CrashVariant, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, config};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PUTS: u32 = 50;

fn small(in_memory: bool) -> Limits {
    Limits {
        index_in_memory: in_memory,
        index_cache_len: 1 << 20,
        index_overlay_len: 256 << 10,
        segment_len: 64 << 10,
        window_len: 64 << 10,
        replay_len: 64 << 10,
        ..Profile::Background.limits()
    }
}

/// What each part took, in all lives together.
#[derive(Default)]
struct Parts(Vec<(&'static str, Duration)>);

impl Parts {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let out = work();
        let took = start.elapsed();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += took,
            None => self.0.push((name, took)),
        }
        out
    }
}

fn key(number: u32) -> KeyName {
    KeyName::new(format!("k/{}", number % 8)).unwrap()
}

fn put(number: u32, content: Bytes) -> Put {
    Put { key: key(number), source: PutSource::Value(content), options: PutOptions::default() }
}

fn read_all<D: Disk>(node: &mut Local<D>) {
    for number in 0..8 {
        assert!(matches!(node.ask(Request::Get(vec![(key(number), Select::Winner)])), Ok(Reply::Got(_))));
    }
}

fn life<D: Disk>(parts: &mut Parts, keys: &Arc<Keyring>, seed: u64, in_memory: bool, disk: &D, copy: impl Fn(&D) -> D) {
    let chunker = ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 1024, avg_len: 2048, max_len: 4096 };
    let config = config(keys, Coding::new(2, 1).unwrap(), chunker);
    let mut node =
        parts.time("create", || Local::create(disk.clone(), config, keys.clone(), small(in_memory), seed)).unwrap();
    for number in 0..PUTS {
        let content = Bytes::from(format!("{seed} {number} {}", "x".repeat(number as usize * 8)));
        parts.time("50 puts", || node.ask(Request::Put(vec![put(number, content)]))).unwrap();
    }
    let crashed = copy(disk);
    let bare = copy(disk);
    if !in_memory {
        bare.remove(Volume::Index, &FileName::new(IndexName::Lasting.name()).unwrap()).unwrap();
    }
    parts.time("close", || node.close()).unwrap();
    let (mut node, opened) =
        parts.time("open after close", || Local::open(disk.clone(), keys.clone(), small(in_memory), seed)).unwrap();
    assert!(!opened.index_rebuilt);
    parts.time("8 reads", || read_all(&mut node));
    parts.time("drop", || drop(node));
    let open = |disk: D| Local::open(disk, keys.clone(), small(in_memory), seed).unwrap();
    let (mut node, opened) = parts.time("open after crash", || open(crashed));
    assert!(!opened.index_rebuilt);
    read_all(&mut node);
    let (mut node, opened) = parts.time("open without index", || open(bare));
    assert_eq!(opened.index_rebuilt, !in_memory);
    read_all(&mut node);
}

fn copy_memory(disk: &MemoryDisk) -> MemoryDisk {
    let copy = MemoryDisk::new();
    for volume in [Volume::Blocks, Volume::Index] {
        for name in disk.list(volume).unwrap() {
            let file = disk.open(volume, &name, OpenMode::Read).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_at(0, &mut bytes).unwrap();
            copy.open(volume, &name, OpenMode::CreateNew).unwrap().write_at(0, &[&bytes]).unwrap();
        }
    }
    copy
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let lives: u64 = args.first().map_or(200, |count| count.parse().unwrap());
    let word = |wanted: &str| args.iter().any(|arg| arg == wanted);
    let mut parts = Parts::default();
    let start = Instant::now();
    for seed in 0..lives {
        let keys = parts.time("keyring", || match word("real") {
            true => Keyring::from_master(MasterSecret::new(Secret::new([7; 32]))),
            false => cheap_keyring([7; 32]),
        });
        let keys = Arc::new(keys);
        match word("memory") {
            true => life(&mut parts, &keys, seed, word("noindex"), &MemoryDisk::new(), copy_memory),
            false => {
                let disk = FaultyDisk::new(FaultPlan::new(seed));
                disk.limit_log(0);
                life(&mut parts, &keys, seed, word("noindex"), &disk, |disk| disk.after_crash(CrashVariant::AllLost));
            }
        }
    }
    let total = start.elapsed();
    for (name, took) in &parts.0 {
        println!("{name:<20} {:>9.1} us", took.as_secs_f64() * 1e6 / lives as f64);
    }
    println!("{:<20} {:>9.1} us", "all", total.as_secs_f64() * 1e6 / lives as f64);
}
