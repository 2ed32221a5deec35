//! The engine's task: runs the one driver loop over the clock, the files and the workers of an [`Env`].

use crate::disk::FileDisk;
use crate::env::{Env, Task};
use crate::machine::Machine;
use crate::mailbox::Mailbox;
use crate::planted::{Mistake, planted};
use crate::pool::{JobPanicked, JobPool, Refused, guarded};
use crate::turns::Turn;
use event_listener::{Event as Bell, Listener};
use ouroboros_engine::env::{Clock, Driver, Host, Input, NoNetwork, Now};
use ouroboros_engine::node::{Engine, Event, Job, JobDone, JobId, JobOutcome, Reply, Request, RequestId};
use ouroboros_engine::seal::Scratch;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Jobs queued for each worker: enough that none waits for the engine thread.
const JOBS_AHEAD: usize = 16;

/// Somebody who waits for an answer.
#[derive(Debug)]
struct Waiter {
    sender: oneshot::Sender<Reply>,
    /// Ends with the answer, whoever takes that and when.
    _turn: Option<Turn>,
}

/// Who waits for which answer.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    senders: Mutex<BTreeMap<RequestId, Waiter>>,
}

impl Waiting {
    /// Who waits for the answer, and the turn that ends with it.
    pub(crate) fn insert(&self, id: RequestId, sender: oneshot::Sender<Reply>, turn: Option<Turn>) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Waiter { sender, _turn: turn });
    }

    pub(crate) fn take(&self, id: RequestId) -> Option<oneshot::Sender<Reply>> {
        let taken = self.senders.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        taken.map(|waiter| waiter.sender)
    }

    /// Whether an answer is outstanding.
    fn holds(&self, id: RequestId) -> bool {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// How many wait.
    #[cfg(planted)]
    pub(crate) fn len(&self) -> usize {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn clear(&self) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Called with every event by whoever turns the loop; must be quick.
pub(crate) type EventSink = Box<dyn FnMut(&Event) + Send>;

struct WorkerHost {
    pool: JobPool<Job>,
    /// Jobs that the pool has no room for; the engine's own limits bound them.
    backlog: VecDeque<(JobId, Job)>,
    waiting: Arc<Waiting>,
    events: EventSink,
    closed: bool,
    mailbox: Arc<Mailbox>,
    scratch: Scratch,
}

impl WorkerHost {
    /// Gives the pool as many jobs as it takes.
    fn feed(&mut self) {
        while let Some((id, job)) = self.backlog.pop_front() {
            if let Err(Refused(job)) = self.pool.try_submit(id.0, job) {
                return self.backlog.push_front((id, job));
            }
        }
    }
}

impl Host for WorkerHost {
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
        let sink = &mut self.events;
        // Who listens must not take the answers with it that are to be given next.
        if catch_unwind(AssertUnwindSafe(|| sink(&event))).is_err() {
            tracing::error!("what listens to events panicked, and is not called any more");
            self.events = Box::new(|_| {});
        }
    }
}

fn done(id: JobId, result: Result<JobOutcome, JobPanicked>) -> Input {
    let outcome = result.unwrap_or_else(|panic| JobOutcome::Panicked(panic.message));
    Input::JobDone(JobDone { id, outcome })
}

/// Whether the engine has ended, for whoever waits for that.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    how: AtomicU8,
    rung: Bell,
}

impl Ended {
    const IN_ORDER: u8 = 1;
    const PANICKED: u8 = 2;

    fn set(&self, how: u8) {
        self.how.store(how, Ordering::SeqCst);
        self.rung.notify(usize::MAX);
    }

    /// Waits for the end; whether the engine ended without a panic.
    pub(crate) async fn wait(&self) -> bool {
        while self.how.load(Ordering::SeqCst) == 0 {
            let rung = self.rung.listen();
            if self.how.load(Ordering::SeqCst) == 0 {
                rung.await;
            }
        }
        self.how.load(Ordering::SeqCst) == Self::IN_ORDER
    }

    /// The same, holding the thread.
    pub(crate) fn block(&self) -> bool {
        while self.how.load(Ordering::SeqCst) == 0 {
            let rung = self.rung.listen();
            if self.how.load(Ordering::SeqCst) == 0 {
                rung.wait();
            }
        }
        self.how.load(Ordering::SeqCst) == Self::IN_ORDER
    }
}

/// The end of the engine's task: nothing is taken any more, and nobody waits in vain.
struct Ending {
    mailbox: Arc<Mailbox>,
    waiting: Arc<Waiting>,
    ended: Arc<Ended>,
    how: u8,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // In this order: who is too late for the second is refused by the first.
        self.mailbox.close();
        self.waiting.clear();
        self.ended.set(self.how);
    }
}

/// The time that the engine is told.
#[derive(Clone, Debug)]
struct Time<E>(E);

impl<E: Env> Clock for Time<E> {
    fn now(&self) -> Now {
        if planted(Mistake::OwnClock) { Machine::new().now() } else { self.0.now() }
    }
}

/// All that a turn of the loop needs.
struct Loop<E: Env> {
    driver: Driver<Time<E>, FileDisk<E::Files>, NoNetwork>,
    host: WorkerHost,
    mailbox: Arc<Mailbox>,
    inputs: Vec<Input>,
}

impl<E: Env> Loop<E> {
    fn new(
        engine: Engine<FileDisk<E::Files>>,
        env: &E,
        threads: NonZeroUsize,
        mailbox: Arc<Mailbox>,
        waiting: Arc<Waiting>,
        events: EventSink,
    ) -> std::io::Result<Self> {
        let results = mailbox.clone();
        let deliver = move |id, result: Result<JobOutcome, JobPanicked>| {
            results.finish(done(JobId(id), result));
        };
        let run = |scratch: &mut Scratch, job: Job| job.run(scratch);
        let pool = JobPool::in_env(env, threads, threads.get() * JOBS_AHEAD, run, deliver)?;
        let (backlog, scratch) = (VecDeque::new(), Scratch::new());
        let host = WorkerHost { pool, backlog, waiting, events, closed: false, mailbox: mailbox.clone(), scratch };
        let driver = Driver::new(engine, Time(env.clone()), NoNetwork);
        Ok(Self { driver, host, mailbox, inputs: Vec::new() })
    }

    /// Handles everything that has arrived, and then `last`.
    fn turn(&mut self, last: Option<Input>) {
        self.mailbox.take(&mut self.inputs);
        self.inputs.extend(last);
        self.host.feed();
        let due = self.driver.turn(self.inputs.drain(..), &mut self.host);
        self.mailbox.set_due(due);
    }

    /// Whether there is nothing more to turn for.
    fn is_over(&self) -> bool {
        self.host.closed || self.mailbox.is_hung_up()
    }
}

/// The loop, where whoever has it turns it: the engine's task when something arrives, or a client that finds it at rest
/// and so spares two changes of threads, which cost ten times what the answer costs.
///
/// Who turns it takes what has arrived before anything of his own, under the same lock: requests are handled in the order in
/// which they were sent, whoever handles them.
struct SharedLoop<E: Env>(Mutex<Option<Loop<E>>>);

/// The way to an answer on one's own thread.
pub(crate) trait Ask: Send + Sync {
    /// Handles a question on this thread if nobody else is at work; else gives it back.
    fn try_ask(&self, id: RequestId, request: Request) -> Result<(), Request>;
}

impl<E: Env> Ask for SharedLoop<E> {
    fn try_ask(&self, id: RequestId, request: Request) -> Result<(), Request> {
        let Ok(mut shared_loop) = self.0.try_lock() else { return Err(request) };
        let Some(at_rest) = shared_loop.as_mut().filter(|at_rest| !at_rest.is_over()) else { return Err(request) };
        let mailbox = at_rest.mailbox.clone();
        let turned = catch_unwind(AssertUnwindSafe(|| {
            at_rest.turn(Some(Input::Request(id, request)));
            // Light jobs are done already; the turn that takes them has the answer. Once it is given, this thread is its
            // caller's again, however much of others' goes on.
            while at_rest.host.waiting.holds(id) && mailbox.has_finished() && !at_rest.is_over() {
                at_rest.turn(None);
            }
        }));
        // What is left was not announced, or to somebody who found the loop taken.
        if mailbox.has_finished() {
            mailbox.wake();
        }
        if turned.is_err() {
            // A defect, and the client's thread is not to pay for it: the engine ends as if its own task had panicked.
            tracing::error!("the engine panicked");
            *shared_loop = None;
        }
        if shared_loop.as_ref().is_none_or(Loop::is_over) {
            mailbox.hang_up();
        }
        Ok(())
    }
}

impl<E: Env> SharedLoop<E> {
    /// Turns until the engine has closed.
    async fn turn_on(&self, env: &E, mailbox: &Mailbox) {
        loop {
            mailbox.wait(env).await;
            let over = {
                let mut shared_loop = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(mine) = shared_loop.as_mut() else {
                    // So that who closes the store hears of it.
                    std::panic::resume_unwind(Box::new("the engine panicked in a client's turn"));
                };
                mine.turn(None);
                if !mine.is_over() {
                    continue;
                }
                shared_loop.take()
            };
            if planted(Mistake::EndAssumed) {
                futures_lite::future::yield_now().await;
            }
            if let Some(Loop { driver, .. }) = over
                && let Err(failure) = driver.into_parts().0.shut_down()
            {
                tracing::warn!(%failure, "the store was not closed cleanly; nothing is lost");
            }
            return;
        }
    }
}

/// An engine that was started.
pub(crate) struct Running {
    pub(crate) asked: Arc<dyn Ask>,
    pub(crate) ended: Arc<Ended>,
    /// Waits until nothing is left of its task, if tasks have threads.
    pub(crate) join: Box<dyn FnOnce() -> bool + Send>,
}

/// Starts the engine's task; it ends when the engine has closed.
pub(crate) fn start<E: Env>(
    engine: Engine<FileDisk<E::Files>>,
    env: E,
    threads: NonZeroUsize,
    mailbox: Arc<Mailbox>,
    waiting: Arc<Waiting>,
    events: EventSink,
) -> std::io::Result<Running> {
    let turning = Loop::new(engine, &env, threads, mailbox.clone(), waiting.clone(), events)?;
    let ended = Arc::new(Ended::default());
    let how = Ended::PANICKED;
    let ending = Ending { mailbox: mailbox.clone(), waiting, ended: ended.clone(), how };
    let shared_loop = Arc::new(SharedLoop(Mutex::new(Some(turning))));
    let (turned, its_env) = (shared_loop.clone(), env.clone());
    let task = env.spawn("ouroboros-engine".into(), async move {
        // Dropped when the engine panics, too: nobody waits for a task that is gone.
        let mut ending = ending;
        turned.turn_on(&its_env, &mailbox).await;
        ending.how = Ended::IN_ORDER;
    })?;
    Ok(Running { asked: shared_loop, ended, join: Box::new(move || task.join()) })
}

#[cfg(test)]
mod tests;
