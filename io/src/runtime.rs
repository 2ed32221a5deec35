//! The engine thread: runs the one driver loop over the real clock, disk and thread pool.

use crate::clock::SystemClock;
use crate::disk::FileDisk;
use crate::mailbox::Mailbox;
use crate::pool::{JobPanicked, JobPool, Refused, guarded};
use ouroboros_engine::env::{Driver, Host, Input, Instant, NoNetwork};
use ouroboros_engine::node::{Engine, Event, Job, JobDone, JobId, JobOutcome, Reply, RequestId};
use ouroboros_engine::seal::Scratch;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Jobs queued for each worker: enough that none waits for the engine thread.
const JOBS_AHEAD: usize = 16;

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
pub(crate) type EventSink = Box<dyn FnMut(&Event) + Send>;

struct ThreadHost {
    pool: JobPool<Job>,
    /// Jobs that the pool has no room for; the engine's own limits bound them.
    backlog: VecDeque<(JobId, Job)>,
    waiting: Arc<Waiting>,
    events: EventSink,
    closed: bool,
    mailbox: Arc<Mailbox>,
    scratch: Scratch,
}

impl ThreadHost {
    /// Gives the pool as many jobs as it takes.
    fn feed(&mut self) {
        while let Some((id, job)) = self.backlog.pop_front() {
            if let Err(Refused(job)) = self.pool.try_submit(id.0, job) {
                return self.backlog.push_front((id, job));
            }
        }
    }
}

impl Host for ThreadHost {
    fn run(&mut self, id: JobId, job: Job) {
        if job.is_light() {
            // The engine thread finds the result in its mailbox without going to sleep.
            let result = guarded(&mut self.scratch, job, &|scratch: &mut Scratch, job: Job| job.run(scratch));
            return self.mailbox.finish(done(id, result));
        }
        self.backlog.push_back((id, job));
        self.feed();
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

fn done(id: JobId, result: Result<JobOutcome, JobPanicked>) -> Input {
    let outcome = result.unwrap_or_else(|panic| JobOutcome::Panicked(panic.message));
    Input::JobDone(JobDone { id, outcome })
}

/// The end of the engine thread: nothing is taken any more, and nobody waits in vain.
struct Ending {
    mailbox: Arc<Mailbox>,
    waiting: Arc<Waiting>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // In this order: who is too late for the second is refused by the first.
        self.mailbox.close();
        self.waiting.clear();
    }
}

/// Starts the engine thread; it ends when the engine has closed.
pub(crate) fn start(
    engine: Engine<FileDisk>,
    clock: SystemClock,
    threads: NonZeroUsize,
    mailbox: Arc<Mailbox>,
    waiting: Arc<Waiting>,
    events: EventSink,
) -> std::io::Result<JoinHandle<()>> {
    let results = mailbox.clone();
    let deliver = move |id, result: Result<JobOutcome, JobPanicked>| {
        results.finish(done(JobId(id), result));
    };
    let run = |scratch: &mut Scratch, job: Job| job.run(scratch);
    let pool = JobPool::new(threads, threads.get() * JOBS_AHEAD, run, deliver)?;
    let (backlog, scratch) = (VecDeque::new(), Scratch::new());
    let mut host = ThreadHost { pool, backlog, waiting, events, closed: false, mailbox: mailbox.clone(), scratch };
    std::thread::Builder::new().name("ouroboros-engine".into()).spawn(move || {
        // First, so that it is dropped last, also when the engine panics: nobody waits for a thread that is gone.
        let _ending = Ending { mailbox: mailbox.clone(), waiting: host.waiting.clone() };
        let mut driver = Driver::new(engine, clock, NoNetwork);
        let mut inputs = Vec::new();
        let mut due: Option<Instant> = None;
        while !host.closed && !mailbox.is_hung_up() {
            let deadline = due.map(|due| std::time::Instant::now() + due.since(driver.clock().now().instant));
            mailbox.take(deadline, &mut inputs);
            host.feed();
            due = driver.turn(inputs.drain(..), &mut host);
        }
        if let Err(failure) = driver.into_parts().0.shut_down() {
            tracing::warn!(%failure, "the store was not closed cleanly; nothing is lost");
        }
    })
}
