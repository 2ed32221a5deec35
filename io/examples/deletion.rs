//! Two ways to delete: `remove` says "gone" and keeps history, `purge` destroys it, and compaction gives the space back.
//!
//! `cargo run -p ouroborosdb --example deletion`
#![allow(clippy::print_stdout)]

use ouroborosdb::Db;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{PurgeTarget, PutOptions, Select};
use ouroborosdb::entropy::os_seed;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let mut rng = EngineRng::from_seed(os_seed()?);
    let keyring = Keyring::generate(&mut rng);
    let db = Db::builder().directory(directory.path()).keyring(keyring).create()?;

    let diary = KeyName::new("diary")?;
    db.put(&diary, "dear diary", PutOptions::default())?;
    db.remove(&diary)?;
    println!("removed: {}", db.get(&diary, Select::Winner).err().map_or_else(String::new, |error| error.to_string()));
    let last = db.log(&diary, None, 10)?.pop().ok_or("no version")?;
    println!("its history is there: {:?}", db.read(&db.get_version(last.id)?, 0..last.len)?);
    db.restore(&diary, last.id)?;
    println!("and back it is: {:?}\n", db.get_bytes(&diary)?);

    // Two keys that share every chunk: purging one must not harm the other.
    let megabytes: Vec<u8> = (0..2048).flat_map(|_| rng.bytes::<4096>()).collect();
    let (letter, copy) = (KeyName::new("letter")?, KeyName::new("copy of letter")?);
    let written = db.put(&letter, megabytes.clone(), PutOptions::default())?;
    db.put(&copy, megabytes.clone(), PutOptions::default())?;
    db.purge(PurgeTarget::Key(letter.clone()))?;
    println!("purged: {}", db.get(&letter, Select::Winner).err().map_or_else(String::new, |error| error.to_string()));
    println!("nor is there a version of it: {:?}", db.exist(vec![written.id])?);
    println!("its copy reads back: {}", db.get_bytes(&copy)? == megabytes);

    db.purge(PurgeTarget::Key(copy))?;
    let report = db.compact()?;
    println!("compaction: {} bytes of log before, {} after", report.bytes_before, report.bytes_after);
    Ok(())
}
