//! Bytes rot; parity brings them back: a store is damaged behind its back, found, read all the same, and healed.
//!
//! `cargo run -p ouroborosdb --example scrub`
#![allow(clippy::print_stdout)]

use ouroborosdb::Db;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::{Keyring, MasterSecret};
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::PutOptions;
use ouroborosdb::entropy::os_seed;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let mut rng = EngineRng::from_seed(os_seed()?);
    let master = MasterSecret::generate(&mut rng);
    let open = || Db::builder().directory(directory.path()).keyring(Keyring::from_master(master.clone()));

    let db = open().create()?;
    let value: Vec<u8> = (0..1024).flat_map(|_| rng.bytes::<4096>()).collect();
    let key = KeyName::new("photos/wedding.jpg")?;
    db.put(&key, value.clone(), PutOptions::default())?;
    let blocks = db.directories()[1].clone();
    db.close()?;

    // A hundred kilobytes of noise in the middle of the log: a scratch on the disk.
    let mut files = std::fs::read_dir(&blocks)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_segment = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "log");
    let segment = files.find(is_segment).ok_or("no segment")?;
    let file = std::fs::File::options().write(true).open(&segment)?;
    let middle = file.metadata()?.len() / 2;
    let noise: Vec<u8> = (0..25).flat_map(|_| rng.bytes::<4096>()).collect();
    file.write_all_at(&noise, middle)?;
    println!("overwrote {} bytes of {}", noise.len(), segment.file_name().unwrap_or_default().display());

    let db = open().open()?;
    let report = db.scrub(false)?;
    println!("a scrub that only looks read {} records of {} bytes and found:", report.records, report.bytes);
    for damage in report.damage.iter().take(5) {
        println!("  {:?}: {}", damage.outcome, damage.place);
    }
    println!("  {} places in all, {} versions lost", report.damage.len(), report.lost.len());

    println!("the value reads back all the same: {}", db.get_bytes(&key)? == value);

    let healed = db.scrub(true)?.damage.len();
    println!("a scrub that repairs healed what reading did not: {healed} places");
    println!("the next one finds {} damaged places", db.scrub(false)?.damage.len());
    Ok(())
}
