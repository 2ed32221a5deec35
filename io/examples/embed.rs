//! The least that a program does: make a store, put a value under a key, get it back, and find it again after a restart.
//!
//! `cargo run -p ouroborosdb --example embed`
#![allow(clippy::print_stdout)]

use ouroborosdb::Db;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::{KdfParams, Keyring, Vault};
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{PutOptions, Select};
use ouroborosdb::entropy::os_seed;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;

    // The keyring is the store's lock and key: whoever loses it loses the data. It is kept sealed under a passphrase, apart
    // from the store; its 24 words bring it back.
    let mut rng = EngineRng::from_seed(os_seed()?);
    let keyring = Keyring::generate(&mut rng);
    let keyring_file = directory.path().join("keyring");
    std::fs::write(&keyring_file, Vault::seal(&keyring, b"correct horse", KdfParams::MOBILE, &mut rng)?)?;
    println!(
        "24 words on paper bring the keys back; the first: {}",
        keyring.phrase().words().next().unwrap_or_default()
    );

    let db = Db::builder().directory(directory.path().join("store")).keyring(keyring).create()?;
    let key = KeyName::new("haiku/old pond")?;
    let written =
        db.put(&key, "an old silent pond\na frog jumps into the pond\nsplash! silence again\n", PutOptions::default())?;
    println!("{key} is durable as version {:.12}…", written.id.to_string());
    db.close()?;

    // Another day: the keyring's file and its passphrase open the store.
    let keyring = Vault::open(&std::fs::read(&keyring_file)?, b"correct horse")?;
    let db = Db::builder().directory(directory.path().join("store")).keyring(keyring).open()?;
    let got = db.get(&key, Select::Winner)?;
    let value = db.read(&got, 0..got.version.len)?;
    println!("\n{}", String::from_utf8_lossy(&value));
    println!("the first line alone, by range: {}", String::from_utf8_lossy(&db.read(&got, 0..18)?));
    Ok(())
}
