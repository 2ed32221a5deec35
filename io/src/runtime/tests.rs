use super::*;
use crate::db::Db;
use event_listener::EventListener;
use ouroboros_engine::id::EngineRng;
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Access, Limits, OpenOptions, PutOptions, Select};

/// A loop over a store with one key, which only who asks turns.
struct AtRest {
    _directory: tempfile::TempDir,
    shared_loop: SharedLoop<Machine>,
    mailbox: Arc<Mailbox>,
    waiting: Arc<Waiting>,
}

fn key() -> KeyName {
    KeyName::new("a key").unwrap()
}

fn get() -> Request {
    Request::Get(vec![(key(), Select::Winner)])
}

impl AtRest {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = || Keyring::generate(&mut EngineRng::from_seed([5; 32]));
        let db = Db::builder().directory(directory.path()).keyring(keyring()).create().unwrap();
        db.put(&key(), "value", PutOptions::default()).unwrap();
        let [_, blocks, index] = db.directories().clone();
        db.close().unwrap();
        let machine = Machine::new();
        let access = Access::Keys(Arc::new(keyring()));
        let options = OpenOptions { access, limits: Limits::default(), seed: [6; 32] };
        let disk = FileDisk::create(blocks, index).unwrap();
        let (engine, _) = Engine::open(disk, options, machine.now()).unwrap();
        let (mailbox, waiting) = (Arc::new(Mailbox::new(16)), Arc::new(Waiting::default()));
        let events = Box::new(|_: &Event| {});
        let at_rest = Loop::new(engine, &machine, NonZeroUsize::MIN, mailbox.clone(), waiting.clone(), events).unwrap();
        Self { _directory: directory, shared_loop: SharedLoop(Mutex::new(Some(at_rest))), mailbox, waiting }
    }

    fn wait_for(&self, id: u64) -> oneshot::Receiver<Reply> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(RequestId(id), sender, None);
        receiver
    }
}

/// Whether the engine's task would have been woken.
fn is_rung(bell: EventListener) -> bool {
    bell.wait_deadline(std::time::Instant::now()).is_some()
}

#[test]
fn who_asks_goes_on_turning_until_the_answer_is_there() {
    let store = AtRest::new();
    let answer = store.wait_for(1);
    // It takes a job, whose result is taken in a second turn.
    store.shared_loop.try_ask(RequestId(1), get()).unwrap();
    assert!(matches!(answer.try_recv(), Ok(Reply::Got(_))));
    assert!(!store.mailbox.has_finished());
}

#[test]
fn who_has_the_answer_turns_no_more_for_others_and_wakes_who_does() {
    let store = AtRest::new();
    let others = store.wait_for(1);
    store.mailbox.send(Input::Request(RequestId(1), get())).unwrap();
    let (answer, bell) = (store.wait_for(2), store.mailbox.listen());
    store.shared_loop.try_ask(RequestId(2), Request::Stats).unwrap();
    assert!(matches!(answer.try_recv(), Ok(Reply::Stats(_))));
    assert!(matches!(others.try_recv(), Err(oneshot::TryRecvError::Empty)), "it was turned for somebody else");
    assert!(store.mailbox.has_finished());
    assert!(is_rung(bell), "nobody would go on");
    store.shared_loop.0.lock().unwrap().as_mut().unwrap().turn(None);
    assert!(matches!(others.try_recv(), Ok(Reply::Got(_))));
}
