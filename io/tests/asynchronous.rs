//! What takes several questions to the engine gives the same through both forms of the store.
#![allow(clippy::unwrap_used)]

use futures_lite::future::{block_on, poll_once};
use ouroborosdb::engine::blob::{Attributes, SnapshotEntry};
use ouroborosdb::engine::dag::merge::{Lww, Text3, UnionLines};
use ouroborosdb::engine::id::{BlobId, EngineRng};
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{Base, Failure, Got, Limits, Profile, PutOptions, Select};
use ouroborosdb::{AsyncDb, Db, Error};

fn create() -> (tempfile::TempDir, Db) {
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::generate(&mut EngineRng::from_seed([5; 32]));
    let db = Db::builder().directory(directory.path()).keyring(keyring).create().unwrap();
    (directory, db)
}

/// A key with two heads, each so long that it is read in pieces.
fn fork(db: &Db, name: &str) -> KeyName {
    let key = KeyName::new(name).unwrap();
    let line = |word: &str| format!("{word} {}\n", "x".repeat(3 << 20));
    let base = db.put(&key, line("base"), PutOptions::default()).unwrap();
    for word in ["one", "two"] {
        let options = PutOptions { base: Base::Versions(vec![base.id]), ..PutOptions::default() };
        db.put(&key, line("base") + &line(word), options).unwrap();
    }
    assert_eq!(db.heads(&key).unwrap().len(), 2);
    key
}

/// Whether a future may move between threads, as executors want.
fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn heads_are_merged_alike() {
    let (_directory, db) = create();
    let (blocking, other) = (fork(&db, "a"), fork(&db, "b"));
    db.merge(&blocking, &UnionLines).unwrap();
    let written = block_on(is_send(db.asynchronous().merge(&other, &UnionLines))).unwrap();
    assert_eq!(written.heads, [written.id]);
    let merged = db.get_bytes(&other).unwrap();
    assert_eq!(merged, db.get_bytes(&blocking).unwrap());
    let lines: usize = ["base", "one", "two"].iter().map(|word| word.len() + 2 + (3 << 20)).sum();
    assert_eq!(merged.len(), lines);
    let again = block_on(db.asynchronous().merge(&other, &Lww)).unwrap();
    assert_eq!(again.id, written.id, "there is one head");
}

/// Who looks for what versions follow in common may look at so many alone. Who needs no such version can merge all the same.
#[test]
fn heads_whose_histories_are_too_long_to_be_compared_are_merged_by_who_needs_no_base() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::generate(&mut EngineRng::from_seed([5; 32]));
    let limits = Limits { inflight_len: 64 << 10, ..Profile::Background.limits() };
    let db = Db::builder().directory(directory.path()).keyring(keyring).limits(limits).create().unwrap();
    let key = KeyName::new("long").unwrap();
    let roots = PutOptions { base: Base::Versions(Vec::new()), ..PutOptions::default() };
    for options in [roots.clone(), roots] {
        let mut last = db.put(&key, "root", options).unwrap().id;
        for number in 0..600 {
            let options = PutOptions { base: Base::Versions(vec![last]), ..PutOptions::default() };
            last = db.put(&key, format!("{number}"), options).unwrap().id;
        }
    }
    assert_eq!(db.heads(&key).unwrap().len(), 2);
    let refused = db.merge(&key, &Text3);
    assert!(matches!(refused, Err(Error::Request(Failure::TooLarge { .. }))), "{refused:?}");
    let merged = db.merge(&key, &Lww).unwrap();
    assert_eq!(merged.heads, [merged.id]);
}

#[test]
fn snapshots_are_written_and_read_alike() {
    // So many that their list takes several pieces in, and several reads out.
    const ENTRIES: usize = 60_000;
    let (_directory, db) = create();
    let asynchronous: AsyncDb = db.asynchronous();
    let value = db.put(&KeyName::new("value").unwrap(), "v", PutOptions::default()).unwrap().id;
    let name = |number: usize| KeyName::new(format!("{:0100}", number)).unwrap();
    let entries = || (0..ENTRIES).map(|number| (name(number), value));
    db.snapshot("blocking", entries(), Attributes::new()).unwrap();
    block_on(is_send(asynchronous.snapshot("other", entries(), Attributes::new()))).unwrap();
    let found = block_on(asynchronous.snapshots()).unwrap();
    let ids = |found: &[Got]| found.iter().map(|got| got.version.id).collect::<Vec<_>>();
    assert_eq!(ids(&found), ids(&db.snapshots().unwrap()));
    assert_eq!(found.len(), 2);
    for snapshot in &found {
        assert!(snapshot.version.len > 6 << 20);
        let expected: Vec<(Vec<u8>, BlobId)> = entries().map(|(key, id)| (key.into_bytes(), id)).collect();
        let mut read = Vec::new();
        let mut visit = |entry: SnapshotEntry| {
            read.push((entry.name, entry.id));
            Ok(())
        };
        db.snapshot_entries(snapshot, &mut visit).unwrap();
        block_on(asynchronous.snapshot_entries(snapshot, visit)).unwrap();
        assert!(read == [expected.as_slice(), &expected].concat(), "{} entries", read.len());
    }
    let refused = block_on(asynchronous.snapshot_entries(&found[0], |_| Err(Error::Closed)));
    assert!(matches!(refused, Err(Error::Closed)));
    // What does not rise is no snapshot, and nothing of it stays.
    let twice = [(name(1), value), (name(1), value)];
    block_on(asynchronous.snapshot("twice", twice.into_iter(), Attributes::new())).unwrap_err();
    let key = KeyName::new(".ouroboros/snapshots/twice").unwrap();
    block_on(asynchronous.get(&key, Select::Winner)).unwrap_err();
}

/// A future that nobody waits for any longer than this: until it has asked.
fn give_up<T>(future: impl Future<Output = T>) -> Option<T> {
    block_on(poll_once(future))
}

#[test]
fn a_stream_whose_opening_was_given_up_is_not_kept_open() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::generate(&mut EngineRng::from_seed([5; 32]));
    let limits = Limits { uploads: 3, ..Profile::default().limits() };
    let db = Db::builder().directory(directory.path()).keyring(keyring).limits(limits).create().unwrap();
    let (db, key) = (db.asynchronous(), KeyName::new("a").unwrap());
    for _ in 0..20 {
        drop(give_up(db.put_stream(&key, PutOptions::default())));
    }
    block_on(async {
        let mut upload = db.put_stream(&key, PutOptions::default()).await.unwrap();
        upload.send("whole".into()).await.unwrap();
        upload.finish().await.unwrap();
    });
}

#[test]
fn a_stream_of_which_a_piece_was_given_up_is_not_finished() {
    let (_directory, db) = create();
    let (db, key) = (db.asynchronous(), KeyName::new("a").unwrap());
    // The answer may be faster than who gives up: then nothing was given up.
    for _ in 0..100 {
        let mut upload = block_on(db.put_stream(&key, PutOptions::default())).unwrap();
        if give_up(upload.send("piece".into())).is_some() {
            continue;
        }
        assert!(matches!(block_on(upload.send("piece".into())), Err(Error::Request(Failure::Invalid(_)))));
        assert!(matches!(block_on(upload.finish()), Err(Error::Request(Failure::Invalid(_)))));
        assert!(matches!(block_on(db.heads(&key)), Err(Error::Request(Failure::NoSuchKey(_)))));
        return;
    }
}

#[test]
fn an_asynchronous_close_lets_go_of_the_store() {
    let (directory, db) = create();
    let key = KeyName::new("a").unwrap();
    db.put(&key, "value", PutOptions::default()).unwrap();
    let handle = db.asynchronous();
    block_on(is_send(handle.close())).unwrap();
    assert!(matches!(block_on(handle.heads(&key)), Err(Error::Closed)));
    block_on(handle.close()).unwrap();
    let keyring = Keyring::generate(&mut EngineRng::from_seed([5; 32]));
    let again = Db::builder().directory(directory.path()).keyring(keyring).open().unwrap();
    assert_eq!(again.get_bytes(&key).unwrap(), "value");
}

/// More readers than may ask at once, some of whom go away: each gets its bytes, in whatever order they are polled, and nobody is
/// told to come again.
#[test]
fn more_readers_than_may_ask_at_once_wait_for_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::generate(&mut EngineRng::from_seed([5; 32]));
    let limits = Limits { requests: 2, inflight_len: 400 << 10, ..Profile::Mobile.limits() };
    let db = Db::builder().directory(directory.path()).keyring(keyring).limits(limits).create().unwrap();
    let key = KeyName::new("long").unwrap();
    let bytes: Vec<u8> = (0..2_000_000u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
    db.put(&key, bytes.clone(), PutOptions::default()).unwrap();
    let got = db.get(&key, Select::Winner).unwrap();
    let asynchronous = db.asynchronous();
    let ranges: Vec<_> = (0..40u64).map(|number| number * 40_000..number * 40_000 + 300_000).collect();
    let reads = ranges.iter().map(|range| Box::pin(asynchronous.read(&got, range.clone())));
    let mut reads: Vec<_> = reads.map(Some).collect();
    for (number, read) in reads.iter_mut().enumerate() {
        if block_on(poll_once(read.as_mut().unwrap())).is_some() || number % 3 == 0 {
            *read = None;
        }
    }
    for (read, range) in reads.into_iter().zip(ranges).rev() {
        let Some(read) = read else { continue };
        let expected = &bytes[range.start as usize..range.end as usize];
        assert!(block_on(read).unwrap().concat() == expected, "{range:?}");
    }
}

/// Nobody's thread has to stand still for it.
#[test]
fn a_store_without_its_keys_is_closed_by_a_future() {
    let (directory, db) = create();
    db.close().unwrap();
    let store = Db::builder().directory(directory.path()).open_keyless().unwrap().asynchronous();
    block_on(async {
        assert!(store.scrub(false).await.unwrap().damage.is_empty());
        store.close().await.unwrap();
        assert!(matches!(store.stats().await, Err(Error::Closed)));
    });
    Db::builder().directory(directory.path()).open_keyless().unwrap().close().unwrap();
}
