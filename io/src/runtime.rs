//! The engine thread: runs the one driver loop over the real clock, disk and thread pool.

use crate::clock::SystemClock;
use crate::disk::FileDisk;
use crate::mailbox::Mailbox;
use crate::pool::{JobPanicked, JobPool, Refused, guarded};
use ouroboros_engine::env::{Driver, Host, Input, NoNetwork};
use ouroboros_engine::node::{Engine, Event, Job, JobDone, JobId, JobOutcome, Reply, Request, RequestId};
use ouroboros_engine::seal::Scratch;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
            // Whoever turns the loop finds the result in the mailbox before going to sleep.
            let result = guarded(&mut self.scratch, job, &|scratch: &mut Scratch, job: Job| job.run(scratch));
            return self.mailbox.keep(done(id, result));
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

/// All that a turn of the loop needs.
struct Loop {
    driver: Driver<SystemClock, FileDisk, NoNetwork>,
    host: ThreadHost,
    mailbox: Arc<Mailbox>,
    inputs: Vec<Input>,
}

impl Loop {
    /// Handles everything that has arrived, and then `last`.
    fn turn(&mut self, last: Option<Input>) {
        self.mailbox.take(&mut self.inputs);
        self.inputs.extend(last);
        self.host.feed();
        let due = self.driver.turn(self.inputs.drain(..), &mut self.host);
        let now = self.driver.clock().now().instant;
        self.mailbox.set_due(due.map(|due| std::time::Instant::now() + due.since(now)));
    }

    /// Whether there is nothing more to turn for.
    fn is_over(&self) -> bool {
        self.host.closed || self.mailbox.is_hung_up()
    }
}

/// The loop, where whoever has it turns it: the engine thread when something arrives, or a client that finds it at rest
/// and so spares two changes of threads, which cost ten times what the answer costs.
///
/// Who turns it takes what has arrived before anything of his own, under the same lock: requests are handled in the order in
/// which they were sent, whoever handles them.
#[derive(Clone)]
pub(crate) struct SharedLoop(Arc<Mutex<Option<Loop>>>);

impl std::fmt::Debug for SharedLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedLoop")
    }
}

impl SharedLoop {
    /// Handles a question on this thread if nobody else is at work; else gives it back.
    pub(crate) fn try_ask(&self, id: RequestId, request: Request) -> Result<(), Request> {
        let Ok(mut shared_loop) = self.0.try_lock() else { return Err(request) };
        let Some(at_rest) = shared_loop.as_mut().filter(|at_rest| !at_rest.is_over()) else { return Err(request) };
        let mailbox = at_rest.mailbox.clone();
        let turned = catch_unwind(AssertUnwindSafe(|| {
            at_rest.turn(Some(Input::Request(id, request)));
            // Light jobs are done already; the turn that takes them has the answer.
            while mailbox.has_finished() && !at_rest.is_over() {
                at_rest.turn(None);
            }
        }));
        if turned.is_err() {
            // A defect, and the client's thread is not to pay for it: the engine ends as if its own thread had panicked.
            tracing::error!("the engine panicked");
            *shared_loop = None;
        }
        if shared_loop.as_ref().is_none_or(Loop::is_over) {
            mailbox.hang_up();
        }
        Ok(())
    }

    /// Turns until the engine has closed.
    fn turn_on(&self, mailbox: &Mailbox) {
        loop {
            mailbox.wait();
            let mut shared_loop = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mine) = shared_loop.as_mut() else {
                // So that who closes the store hears of it.
                std::panic::resume_unwind(Box::new("the engine panicked in a client's turn"));
            };
            mine.turn(None);
            if !mine.is_over() {
                continue;
            }
            let over = shared_loop.take();
            drop(shared_loop);
            if let Some(Loop { driver, .. }) = over
                && let Err(failure) = driver.into_parts().0.shut_down()
            {
                tracing::warn!(%failure, "the store was not closed cleanly; nothing is lost");
            }
            return;
        }
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
) -> std::io::Result<(JoinHandle<()>, SharedLoop)> {
    let results = mailbox.clone();
    let deliver = move |id, result: Result<JobOutcome, JobPanicked>| {
        results.finish(done(JobId(id), result));
    };
    let run = |scratch: &mut Scratch, job: Job| job.run(scratch);
    let pool = JobPool::new(threads, threads.get() * JOBS_AHEAD, run, deliver)?;
    let (backlog, scratch) = (VecDeque::new(), Scratch::new());
    let ending = Ending { mailbox: mailbox.clone(), waiting: waiting.clone() };
    let host = ThreadHost { pool, backlog, waiting, events, closed: false, mailbox: mailbox.clone(), scratch };
    let driver = Driver::new(engine, clock, NoNetwork);
    let shared_loop =
        SharedLoop(Arc::new(Mutex::new(Some(Loop { driver, host, mailbox: mailbox.clone(), inputs: Vec::new() }))));
    let turned = shared_loop.clone();
    let thread = std::thread::Builder::new().name("ouroboros-engine".into()).spawn(move || {
        // Also when the engine panics, nobody waits for a thread that is gone.
        let _ending = ending;
        turned.turn_on(&mailbox);
    })?;
    Ok((thread, shared_loop))
}
