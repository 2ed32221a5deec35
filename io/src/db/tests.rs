use super::*;
use futures_lite::future::{block_on, poll_once};
use ouroboros_engine::id::EngineRng;
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::node::{Base, Event};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A store whose engine stands still while it tells of two heads of a key: it says when, and waits until the other end is gone.
pub(super) fn standing(directory: &std::path::Path) -> (Db, Receiver<()>, Sender<()>) {
    let keyring = Keyring::generate(&mut EngineRng::from_seed([3; 32]));
    let ((stands, stood), (go, gone)) = (channel(), channel::<()>());
    let stand = move |_: &Event| {
        stands.send(()).unwrap();
        let _ = gone.recv();
    };
    let db = Db::builder().directory(directory).keyring(keyring).on_event(stand).create().unwrap();
    (db, stood, go)
}

#[test]
fn who_waits_for_room_keeps_no_turn_from_others() {
    let directory = tempfile::tempdir().unwrap();
    let (db, stood, go) = standing(directory.path());
    let key = || KeyName::new("a").unwrap();
    let beside = || PutOptions { base: Base::Versions(Vec::new()), ..PutOptions::default() };
    db.put(&key(), vec![1], beside()).unwrap();
    let all = db.client.turns.free();
    std::thread::scope(|scope| {
        scope.spawn(|| db.put(&key(), vec![2], beside()).unwrap());
        stood.recv().unwrap();
        let get = || Request::Get(vec![(key(), Select::Winner)]);
        block_on(async {
            let mut sent = Vec::new();
            while let Some(answer) = poll_once(db.client.send_async(Request::Heads(key()))).await {
                sent.push(answer);
            }
            // The mailbox is full.
            let mut waits = Box::pin(db.client.send_async(get()));
            assert!(poll_once(&mut waits).await.is_none());
            let free = db.client.turns.free();
            drop(go);
            assert_eq!(free, all, "a future that nobody polls holds a turn");
            let (_, answer) = waits.await.unwrap();
            assert!(matches!(answer.await, Ok(Reply::Got(_))));
        });
    });
}

#[test]
fn of_those_who_close_a_store_each_finds_it_free_when_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = || Keyring::generate(&mut EngineRng::from_seed([3; 32]));
    let db = Db::builder().directory(directory.path()).keyring(keyring()).create().unwrap();
    // The end of the engine takes a while.
    let ((joins, joining), (go, gone)) = (channel(), channel::<()>());
    let mut open = db.client.open.lock().unwrap();
    let Open { join, locks } = open.take().unwrap();
    let slowly = move || {
        joins.send(()).unwrap();
        let _ = gone.recv();
        join()
    };
    *open = Some(Open { join: Box::new(slowly), locks });
    drop(open);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| block_on(db.asynchronous().close()));
        joining.recv().unwrap();
        let others = [true, false].map(|waits| {
            let db = &db;
            scope.spawn(move || if waits { block_on(db.asynchronous().close()) } else { db.close() })
        });
        // Time for whoever does not wait.
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(others.iter().all(|other| !other.is_finished()), "told before the store was free");
        drop(go);
        first.join().unwrap().unwrap();
        others.into_iter().for_each(|other| other.join().unwrap().unwrap());
    });
    Db::builder().directory(directory.path()).keyring(keyring()).open().unwrap();
}
