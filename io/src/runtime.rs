//! The engine thread: runs the one driver loop over the real clock, disk and thread pool.

use crate::clock::SystemClock;
use crate::disk::FileDisk;
use crate::mailbox::Mailbox;
use crate::pool::JobPool;
use ouroboros_engine::env::{Clock, Driver, Host, Input, Instant, NoNetwork};
use ouroboros_engine::node::{Engine, Event, Job, JobDone, JobId, Reply, Request, RequestId};
use ouroboros_engine::seal::Scratch;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Who waits for which answer.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    senders: Mutex<BTreeMap<RequestId, oneshot::Sender<Reply>>>,
}

impl Waiting {
    pub(crate) fn insert(&self, id: RequestId, sender: oneshot::Sender<Reply>) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
    }

    fn take(&self, id: RequestId) -> Option<oneshot::Sender<Reply>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    fn clear(&self) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Called with every event on the engine thread; must be quick.
pub type EventSink = Box<dyn FnMut(&Event) + Send>;

struct ThreadHost {
    pool: JobPool<(JobId, Job)>,
    waiting: Arc<Waiting>,
    events: EventSink,
    closed: bool,
}

impl Host for ThreadHost {
    fn run(&mut self, id: JobId, job: Job) {
        self.pool.submit((id, job));
    }

    fn reply(&mut self, id: RequestId, reply: Reply) {
        self.closed |= matches!(reply, Reply::Closed);
        if let Some(sender) = self.waiting.take(id) {
            // A client that no longer waits has dropped its end.
            let _ = sender.send(reply);
        }
    }

    fn event(&mut self, event: Event) {
        tracing::debug!(?event, "engine event");
        (self.events)(&event);
    }
}

/// Starts the engine thread; it ends when the engine has closed.
pub(crate) fn start(
    engine: Engine<FileDisk>,
    clock: SystemClock,
    threads: usize,
    mailbox: Arc<Mailbox>,
    waiting: Arc<Waiting>,
    events: EventSink,
) -> std::io::Result<JoinHandle<()>> {
    let results = mailbox.clone();
    let pool = JobPool::new(threads, move |scratch: &mut Scratch, (id, job): (JobId, Job)| {
        results.finish(Input::JobDone(JobDone { id, outcome: job.run(scratch) }));
    })?;
    let mut host = ThreadHost { pool, waiting, events, closed: false };
    std::thread::Builder::new().name("ouroboros-engine".into()).spawn(move || {
        let mut driver = Driver::new(engine, clock, NoNetwork);
        let mut inputs = Vec::new();
        let mut due: Option<Instant> = None;
        while !host.closed {
            let deadline = due.map(|due| std::time::Instant::now() + due.since(driver.clock().now().instant));
            mailbox.take(deadline, &mut inputs);
            due = driver.turn(inputs.drain(..), &mut host);
        }
        mailbox.close();
        host.waiting.clear();
    })
}

/// Asks the engine thread to close, whatever else is going on.
pub(crate) fn close_request() -> Request {
    Request::Close
}
