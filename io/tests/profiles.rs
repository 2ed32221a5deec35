//! Each profile for small machines under a hard limit: an allocator that refuses to hand out more than the profile names.
//! A store that asks for one byte too many aborts this test.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use cap::Cap;
use ouroborosdb::Db;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{ListRequest, Profile, PurgeTarget, Put, PutOptions, PutSource, Select};
use ouroborosdb::engine::seal::Coding;
use std::alloc::System;
use std::io::{Read, Write};
use std::num::NonZeroUsize;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MIB: usize = 1 << 20;
/// Stacks, the program's code and what the harness of tests holds are no business of the allocator's; they get this much.
const ASIDE: usize = 2 * MIB;

/// Random bytes, the same every time for reads of at least 4 KiB each, and never in memory as a whole.
struct Content {
    rng: EngineRng,
    left: u64,
}

impl Content {
    fn new(len: u64) -> Self {
        Self { rng: EngineRng::from_seed([7; 32]), left: len }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(4096).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        buffer[..len].copy_from_slice(&self.rng.bytes::<4096>()[..len]);
        self.left -= len as u64;
        Ok(len)
    }
}

/// The hash of what is written to it.
#[derive(Default)]
struct Sum(blake3::Hasher);

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn small(number: usize) -> (KeyName, Vec<u8>) {
    let value = format!("value {number} ").repeat(1 + number % 200).into_bytes();
    (KeyName::new(format!("settings/{}/{number}", number % 10)).unwrap(), value)
}

fn read_back(db: &Db, len: u64, count: usize) {
    let film = KeyName::new("film").unwrap();
    let got = db.get(&film, Select::Winner).unwrap();
    let (mut stored, mut read) = (Sum::default(), Sum::default());
    assert_eq!(db.write_to(&got, 0..got.version.len, &mut read).unwrap(), len);
    std::io::copy(&mut Content::new(len), &mut stored).unwrap();
    assert!(read.0.finalize() == stored.0.finalize(), "other bytes than were stored");
    for first in (0..count).step_by(50) {
        let keys = (first..first + 50).map(|number| (small(number).0, Select::Winner)).collect();
        for (number, got) in (first..).zip(db.get_many(keys).unwrap()) {
            let got = got.unwrap();
            assert!(db.read(&got, 0..got.version.len).unwrap() == small(number).1, "value {number}");
        }
    }
    let mut request = ListRequest { recursive: true, ..ListRequest::default() };
    let mut listed = 0;
    loop {
        let page = db.list(request.clone()).unwrap();
        listed += page.entries.len();
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    assert_eq!(listed, count + 1);
}

/// A node's life under `limit` bytes: a value longer than all memory, many small ones, and all kinds of upkeep.
fn live(profile: Profile, limit: usize, count: usize) {
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::generate(&mut EngineRng::from_seed([3; 32]));
    let copy = Keyring::generate(&mut EngineRng::from_seed([3; 32]));
    let builder = || Db::builder().directory(directory.path()).profile(profile).threads(NonZeroUsize::new(2).unwrap());
    let len = limit as u64 * 5 / 4 + 12_345;
    let mut at = 0;
    ALLOCATOR.set_limit(limit - ASIDE).unwrap();
    let mut report = |what: &str| {
        let total = ALLOCATOR.max_allocated();
        if total > at {
            println!("{profile:?}: peak {:.1} MiB of {} at {what}", total as f64 / MIB as f64, limit / MIB);
        }
        at = total;
    };

    let db = builder().keyring(keyring).create().unwrap();
    report("making a store");
    let film = KeyName::new("film").unwrap();
    db.put_reader(&film, &mut Content::new(len), PutOptions::default()).unwrap();
    report("a long value");
    db.put_reader(&KeyName::new("again").unwrap(), &mut Content::new(len), PutOptions::default()).unwrap();
    report("the same once more");
    for first in (0..count).step_by(50) {
        let puts = (first..first + 50).map(|number| {
            let (key, value) = small(number);
            Put { key, source: PutSource::Value(value.into()), options: PutOptions::default() }
        });
        for written in db.put_many(puts.collect()).unwrap() {
            written.unwrap();
        }
    }
    report("small values");
    db.purge(PurgeTarget::Key(KeyName::new("again").unwrap())).unwrap();
    read_back(&db, len, count);
    report("reading all of it");
    db.scrub(true).unwrap();
    report("scrub");
    db.recode(Coding::new(4, 2).unwrap()).unwrap();
    report("recode");
    db.compact().unwrap();
    report("compaction");
    db.close().unwrap();
    drop(db);

    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    let db = builder().keyring(copy).open().unwrap();
    report("an index made anew");
    read_back(&db, len, count);
    report("reading all of it again");
    db.close().unwrap();
    ALLOCATOR.set_limit(usize::MAX).unwrap();
}

// One test: the limit is the whole process's.
#[test]
fn profiles_hold_under_a_hard_limit() {
    live(Profile::Background, 24 * MIB, 3_000);
    live(Profile::Mobile, 128 * MIB, 6_000);
}
