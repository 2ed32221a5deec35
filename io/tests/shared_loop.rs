//! Questions that are answered on the thread of whoever asks.
#![allow(clippy::unwrap_used)]

use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{Base, PutOptions, Select};
use ouroborosdb::{Db, Error};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn keyring() -> Keyring {
    Keyring::generate(&mut EngineRng::from_seed([5; 32]))
}

fn key(number: usize) -> KeyName {
    KeyName::new(format!("key {number}")).unwrap()
}

/// Whoever has written something reads it back, whatever the others do, and on whichever threads that happens.
#[test]
fn everybody_reads_their_own_writes() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::builder().directory(directory.path()).keyring(keyring()).create().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let upkeep = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.stats().unwrap();
                db.list(Default::default()).unwrap();
            }
        });
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let db = &db;
                scope.spawn(move || {
                    for round in 0..60 {
                        let value = format!("{writer}/{round}").repeat(if round % 10 == 0 { 5_000 } else { 5 });
                        db.put(&key(writer), value.clone(), PutOptions::default()).unwrap();
                        assert!(db.get_bytes(&key(writer)).unwrap() == value);
                        assert!(db.log(&key(writer), None, 100).unwrap().len() == round + 1);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        upkeep.join().unwrap();
    });
    db.close().unwrap();
    assert!(matches!(db.get(&key(0), Select::Winner), Err(Error::Closed)));
}

/// Turns over a byte of the first record of this kind in the log.
fn damage(store: &Path, kind: u8) {
    let files = std::fs::read_dir(store.join("blocks")).unwrap().map(|entry| entry.unwrap().path());
    let segment = files.filter(|file| file.extension().is_some_and(|extension| extension == "log")).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = (8192..bytes.len()).step_by(8).find(|at| bytes[*at..].starts_with(b"oRec") && bytes[at + 4] == kind);
    bytes[at.unwrap() + 60] ^= 0xff;
    std::fs::write(segment, bytes).unwrap();
}

/// Hears what the engine tells of in passing on this thread, and fails.
struct Deaf;

impl tracing::Subscriber for Deaf {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        assert!(*event.metadata().level() != tracing::Level::DEBUG, "{event:?}");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// A store with one damaged record: the next look at it heals it, which is an event.
fn damaged(directory: &Path) -> ouroborosdb::Builder {
    let db = Db::builder().directory(directory).keyring(keyring()).create().unwrap();
    db.put(&key(0), "value", PutOptions::default()).unwrap();
    db.close().unwrap();
    damage(directory, 2);
    Db::builder().directory(directory).keyring(keyring())
}

/// A defect that shows while a client turns the loop ends the engine, and not the client.
#[test]
fn a_panic_in_a_clients_turn_closes_the_store() {
    // The engine's own task may be at work when the question comes: it answers then, and hears nothing of the listener.
    let ask = |_: u32| {
        let directory = tempfile::tempdir().unwrap();
        let db = damaged(directory.path()).open().unwrap();
        match tracing::subscriber::with_default(Deaf, || db.get(&key(0), Select::Winner)) {
            Ok(_) => None,
            Err(error) => Some((directory, db, error)),
        }
    };
    let (directory, db, error) = (0..50).find_map(ask).unwrap();
    assert!(matches!(error, Error::Closed), "{error:?}");
    assert!(matches!(db.put(&key(0), "other", PutOptions::default()), Err(Error::Closed)));
    assert!(matches!(db.close(), Err(Error::Closed)));
    let db = Db::builder().directory(directory.path()).keyring(keyring()).open().unwrap();
    assert_eq!(db.get_bytes(&key(0)).unwrap(), "value");
}

/// Whoever listens to events has no say in what clients are told.
#[test]
fn a_listener_that_panics_is_not_called_again_and_takes_nobody_along() {
    let directory = tempfile::tempdir().unwrap();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let heard = calls.clone();
    let listener = move |event: &ouroborosdb::engine::node::Event| {
        heard.fetch_add(1, Ordering::Relaxed);
        panic!("{event:?}");
    };
    let db = damaged(directory.path()).on_event(listener).open().unwrap();
    assert_eq!(db.get_bytes(&key(0)).unwrap(), "value");
    // Two heads of a key are an event, too.
    for value in ["one", "two", "three"] {
        let options = PutOptions { base: Base::Versions(Vec::new()), ..PutOptions::default() };
        db.put(&key(1), value, options).unwrap();
    }
    assert_eq!((db.heads(&key(1)).unwrap().len(), calls.load(Ordering::Relaxed)), (3, 1));
    db.close().unwrap();
}
