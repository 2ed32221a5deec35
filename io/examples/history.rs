//! Every put makes a version: the log, what changed between two of them, the value as it was at a time, and the way back.
//!
//! `cargo run -p ouroborosdb --example history`
#![allow(clippy::print_stdout)]

use ouroborosdb::Db;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{PutOptions, Select};
use ouroborosdb::entropy::os_seed;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let keyring = Keyring::generate(&mut EngineRng::from_seed(os_seed()?));
    let db = Db::builder().directory(directory.path()).keyring(keyring).create()?;
    let key = KeyName::new("recipes/bread")?;

    let first = db.put(&key, "flour 500 g\nwater 320 g\nsalt 10 g\n", PutOptions::default())?;
    let second = db.put(&key, "flour 500 g\nwater 350 g\nsalt 10 g\nyeast 3 g\n", PutOptions::default())?;
    db.put(&key, "toast\n", PutOptions::default())?;

    println!("the log, newest first:");
    for version in db.log(&key, None, 100)? {
        let head = if version.is_head { "  <- head" } else { "" };
        println!("  {:.12}  {:>3} bytes{head}", version.id.to_string(), version.len);
    }

    let (old, new) = (db.get_version(first.id)?, db.get_version(second.id)?);
    println!("\nwhat the second version changed:");
    for (from, to) in db.diff(first.id, second.id)?.ranges {
        let (was, is) = (db.read(&old, from.clone())?, db.read(&new, to)?);
        println!(
            "  at byte {:>2}: {:?} became {:?}",
            from.start,
            String::from_utf8_lossy(&was),
            String::from_utf8_lossy(&is)
        );
    }

    let then = db.get(&key, Select::At(second.created))?;
    println!("\nas it was before the toast: {:?}", String::from_utf8_lossy(&db.read(&then, 0..then.version.len)?));

    // Going back is a new version, which shares every byte with the old one. Nothing is lost, not even the toast.
    db.restore(&key, second.id)?;
    println!("restored: {} versions, and the winner is {:?}", db.log(&key, None, 100)?.len(), db.get_bytes(&key)?);
    Ok(())
}
