//! A store whose directory was given as a relative path. Alone in its process, whose current directory changes.
#![allow(clippy::unwrap_used)]

use ouroborosdb::Db;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{Limits, PutOptions};
use std::env::set_current_dir;
use std::fs;

fn key(number: u8) -> KeyName {
    KeyName::new(format!("key {number}")).unwrap()
}

/// What it writes stays with it, though another store lies where the path leads now.
#[test]
fn a_store_stays_where_it_was_opened() {
    let root = tempfile::tempdir().unwrap();
    let (here, there) = (root.path().join("here"), root.path().join("there"));
    fs::create_dir_all(&here).unwrap();
    fs::create_dir_all(&there).unwrap();
    let keyring = || Keyring::generate(&mut EngineRng::from_seed([5; 32]));
    // Each value begins a segment.
    let limits = Limits { segment_len: 64 << 10, ..Limits::default() };
    let store = || Db::builder().directory("store").keyring(keyring()).limits(limits.clone());
    let value = |number: u8| vec![number; 200_000];
    set_current_dir(&there).unwrap();
    store().create().unwrap().close().unwrap();
    let files = || fs::read_dir(there.join("store/blocks")).unwrap().count();
    let of_the_other = files();

    set_current_dir(&here).unwrap();
    let db = store().create().unwrap();
    assert!(db.directories().iter().all(|directory| directory.is_absolute()), "{:?}", db.directories());
    db.put(&key(0), value(0), PutOptions::default()).unwrap();
    set_current_dir(&there).unwrap();
    for number in 1..6 {
        let random: Vec<u8> = value(number).iter().enumerate().map(|(at, byte)| (at * at / 7) as u8 ^ byte).collect();
        db.put(&key(number), random, PutOptions::default()).unwrap();
    }
    db.close().unwrap();
    assert_eq!(files(), of_the_other, "the other store got a segment");
    set_current_dir(&here).unwrap();
    let db = store().open().unwrap();
    assert_eq!(db.get_bytes(&key(0)).unwrap(), value(0));
    assert_eq!(db.get_bytes(&key(5)).unwrap().len(), 200_000);
    // A store may also be where one is.
    db.close().unwrap();
    set_current_dir(here.join("store")).unwrap();
    let db = Db::builder().directory("").keyring(keyring()).open().unwrap();
    set_current_dir(&there).unwrap();
    assert_eq!(db.get_bytes(&key(5)).unwrap().len(), 200_000);
    db.close().unwrap();
}
