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
