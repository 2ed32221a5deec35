//! A large value goes in and comes out as a stream, in bounded memory; a range touches only the chunks that it needs.
//!
//! `cargo run --release -p ouroborosdb --example stream`
#![allow(clippy::print_stdout)]

use ouroborosdb::Db;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{PutOptions, Select};
use ouroborosdb::entropy::os_seed;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

const MIB: u64 = 1 << 20;
const LEN: u64 = 64 * MIB;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let mut rng = EngineRng::from_seed(os_seed()?);

    // A file that nothing compresses.
    let path = directory.path().join("film.mkv");
    let mut file = BufWriter::new(File::create(&path)?);
    for _ in 0..LEN / 4096 {
        file.write_all(&rng.bytes::<4096>())?;
    }
    file.into_inner()?.sync_all()?;

    let keyring = Keyring::generate(&mut rng);
    let db = Db::builder().directory(directory.path().join("store")).keyring(keyring).create()?;
    let key = KeyName::new("films/film.mkv")?;

    let started = Instant::now();
    db.put_reader(&key, &mut File::open(&path)?, PutOptions::default())?;
    let seconds = started.elapsed().as_secs_f64();
    println!("in:    {} MiB, {:.0} MiB/s, durable, with parity", LEN / MIB, (LEN / MIB) as f64 / seconds);

    let started = Instant::now();
    db.put_reader(&KeyName::new("films/the same.mkv")?, &mut File::open(&path)?, PutOptions::default())?;
    let stats = db.stats()?;
    println!(
        "again: {:.0} MiB/s, and the store holds {} MiB of sealed chunks for {} MiB of values",
        (LEN / MIB) as f64 / started.elapsed().as_secs_f64(),
        stats.sealed_bytes / MIB,
        stats.logical_bytes.unwrap_or_default() / MIB
    );

    let got = db.get(&key, Select::Winner)?;
    let started = Instant::now();
    let out = directory.path().join("out.mkv");
    let mut output = File::create(&out)?;
    db.write_to(&got, 0..got.version.len, &mut output)?;
    println!("out:   {:.0} MiB/s", (LEN / MIB) as f64 / started.elapsed().as_secs_f64());
    assert!(std::fs::read(&out)? == std::fs::read(&path)?, "every byte is the same");

    let started = Instant::now();
    let middle = db.read(&got, LEN / 2..LEN / 2 + 16)?.to_vec();
    println!("16 bytes from the middle: {middle:02x?}, in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
