//! Worker threads for the engine's pure jobs: chunking, hashing, sealing, coding.
//!
//! A queue under one mutex with one event: a job is the work on a whole chunk, 100 microseconds and more, so that the lock
//! is free nearly always and a lock-free channel would gain nothing measurable, while the bound, the refusal and the end of
//! the queue are each one line here.

use crate::env::{Env, Notice, Task};
use crate::machine::Machine;
use event_listener::{Event, IntoNotification};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A job's run panicked. The worker goes on with a new state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker failed: {message}; this is a defect, please report it")]
pub struct JobPanicked {
    /// What the panic said.
    pub message: String,
}

/// The queue has no room, or the pool has ended. The job comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused<J>(pub J);

/// A bounded pool of threads that run jobs `J` and deliver results.
///
/// Results come in any order. Dropping the pool forgets the jobs that no worker has begun, and waits for the others.
///
/// ```
/// use ouroborosdb::pool::JobPool;
/// use std::num::NonZeroUsize;
/// use std::sync::mpsc;
///
/// let (results, inbox) = mpsc::channel();
/// let two = NonZeroUsize::MIN.saturating_add(1);
/// let pool = JobPool::new(two, 16, |scratch: &mut Vec<u8>, text: &str| {
///     scratch.clear();
///     scratch.extend(text.bytes().rev());
///     scratch.clone()
/// }, move |id, result| {
///     let _gone = results.send((id, result));
/// })?;
/// pool.try_submit(7, "abc").unwrap();
/// assert_eq!(inbox.recv()?, (7, Ok(b"cba".to_vec())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JobPool<J> {
    shared: Arc<Shared<J>>,
    workers: Vec<Worker>,
}

/// Waits for the end of a worker.
type Worker = Box<dyn FnOnce() + Send>;

struct Shared<J> {
    queue: Mutex<Queue<J>>,
    // Waited on by workers only: a submitter never waits.
    work: Event,
    limit: usize,
}

struct Queue<J> {
    jobs: VecDeque<(u64, J)>,
    running: usize,
    ended: bool,
}

impl<J> Shared<J> {
    // No user code runs under the lock, so a poisoned one holds a whole queue.
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, or what to wait for; nothing when the pool has ended.
    fn next(&self) -> Option<Result<(u64, J), Notice>> {
        let mut queue = self.lock();
        if queue.ended {
            return None;
        }
        match queue.jobs.pop_front() {
            Some(job) => {
                queue.running += 1;
                Some(Ok(job))
            }
            // Under the lock: what is submitted from here on is noticed.
            None => Some(Err(Notice(self.work.listen()))),
        }
    }

    async fn take(&self, env: &impl Env) -> Option<(u64, J)> {
        loop {
            match self.next()? {
                Ok(job) => return Some(job),
                Err(notice) => env.wait(notice, None).await,
            }
        }
    }
}

impl<J: Send + 'static> JobPool<J> {
    /// Starts `threads` workers over a queue of at most `queue_limit` jobs (at least 1) that none has begun.
    ///
    /// `run` does a job with its worker's own state, which starts as the default and is made anew after a panic.
    /// `deliver` takes each result on the worker's thread, with the number that the job was submitted under: it should
    /// put it in a channel and return.
    ///
    /// # Errors
    /// When the system refuses a thread; those already started have ended by then.
    pub fn new<S, R>(
        threads: NonZeroUsize,
        queue_limit: usize,
        run: impl Fn(&mut S, J) -> R + Send + Sync + 'static,
        deliver: impl Fn(u64, Result<R, JobPanicked>) + Send + Sync + 'static,
    ) -> io::Result<Self>
    where
        S: Default + Send,
    {
        Self::in_env(&Machine::new(), threads, queue_limit, run, deliver)
    }

    /// [`Self::new`] elsewhere than on the machine: the workers are tasks of `env`. They are waited for if those have threads.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn in_env<S, R>(
        env: &impl Env,
        threads: NonZeroUsize,
        queue_limit: usize,
        run: impl Fn(&mut S, J) -> R + Send + Sync + 'static,
        deliver: impl Fn(u64, Result<R, JobPanicked>) + Send + Sync + 'static,
    ) -> io::Result<Self>
    where
        S: Default + Send,
    {
        let queue = Queue { jobs: VecDeque::new(), running: 0, ended: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), work: Event::new(), limit: queue_limit.max(1) });
        let mut pool = Self { shared, workers: Vec::with_capacity(threads.get()) };
        let calls = Arc::new((run, deliver));
        for number in 0..threads.get() {
            let (shared, calls, its_env) = (pool.shared.clone(), calls.clone(), env.clone());
            let worker = async move { work(&its_env, &shared, &calls.0, &calls.1).await };
            let worker = env.spawn(format!("ouroboros-{number}"), worker)?;
            pool.workers.push(Box::new(move || {
                let _without_panic = worker.join();
            }));
        }
        Ok(pool)
    }

    /// Queues a job and returns at once.
    ///
    /// # Errors
    /// [`Refused`] gives the job back when the queue is full.
    pub fn try_submit(&self, id: u64, job: J) -> Result<(), Refused<J>> {
        let mut queue = self.shared.lock();
        if queue.ended || queue.jobs.len() >= self.shared.limit {
            return Err(Refused(job));
        }
        queue.jobs.push_back((id, job));
        drop(queue);
        // One more worker, also when another has been told and is not awake yet.
        self.shared.work.notify(1.additional());
        Ok(())
    }
}

impl<J> JobPool<J> {
    /// How many workers there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len()
    }

    /// How many jobs are queued or running, that is, how many deliveries are outstanding.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        let queue = self.shared.lock();
        queue.jobs.len() + queue.running
    }
}

/// Runs a job, wherever that is; a panic ends the job alone.
pub(crate) fn guarded<J, S: Default, R>(
    state: &mut S,
    job: J,
    run: &impl Fn(&mut S, J) -> R,
) -> Result<R, JobPanicked> {
    // Unwind safe: after a panic the state, all that the job could have left half changed, is made anew.
    let result = catch_unwind(AssertUnwindSafe(|| run(state, job))).map_err(|panic| {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        JobPanicked { message: message.unwrap_or_else(|| "no message".to_owned()) }
    });
    if result.is_err() {
        *state = S::default();
    }
    result
}

async fn work<J, S: Default, R>(
    env: &impl Env,
    shared: &Shared<J>,
    run: &impl Fn(&mut S, J) -> R,
    deliver: &impl Fn(u64, Result<R, JobPanicked>),
) {
    let mut state = S::default();
    while let Some((id, job)) = shared.take(env).await {
        env.before_job().await;
        let result = guarded(&mut state, job, run);
        // A delivery that panics (its receiver is broken) must not take the worker from the others' jobs.
        let _broken = catch_unwind(AssertUnwindSafe(|| deliver(id, result)));
        shared.lock().running -= 1;
    }
}

impl<J> Drop for JobPool<J> {
    fn drop(&mut self) {
        let forgotten = {
            let mut queue = self.shared.lock();
            queue.ended = true;
            std::mem::take(&mut queue.jobs)
        };
        // Outside of the lock: dropping a job is user code.
        drop(forgotten);
        self.shared.work.notify(usize::MAX);
        for wait_for in self.workers.drain(..) {
            wait_for();
        }
    }
}

impl<J> fmt::Debug for JobPool<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobPool")
            .field("threads", &self.threads())
            .field("queue_limit", &self.shared.limit)
            .field("outstanding", &self.outstanding())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const THREE: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    #[test]
    fn every_job_is_delivered_once_under_its_number() {
        let (results, inbox) = mpsc::channel();
        let pool = JobPool::new(
            THREE,
            1_000,
            |count: &mut u64, job: u64| {
                *count += 1;
                job * job
            },
            move |id, result| results.send((id, result)).unwrap(),
        )
        .unwrap();
        for job in 0..1_000 {
            pool.try_submit(job, job).unwrap();
        }
        let mut seen: Vec<_> = inbox.iter().take(1_000).collect();
        seen.sort_by_key(|(id, _)| *id);
        assert!(seen.into_iter().enumerate().all(|(i, (id, result))| id == i as u64 && result == Ok(id * id)));
    }

    #[test]
    fn a_full_queue_gives_the_job_back_at_once() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let (begun, started) = mpsc::channel();
        let pool = JobPool::new(
            NonZeroUsize::MIN,
            2,
            move |_: &mut (), job: u8| {
                begun.send(job).unwrap();
                let _closed = gate.lock().unwrap().recv();
            },
            |_, _| {},
        )
        .unwrap();
        pool.try_submit(0, 0).unwrap();
        assert_eq!(started.recv().unwrap(), 0);
        pool.try_submit(1, 1).unwrap();
        pool.try_submit(2, 2).unwrap();
        assert_eq!(pool.try_submit(3, 3), Err(Refused(3)));
        assert_eq!(pool.outstanding(), 3);
        release.send(()).unwrap();
        assert_eq!(started.recv().unwrap(), 1);
        pool.try_submit(3, 3).unwrap();
        drop(release);
    }

    #[test]
    fn a_panic_is_delivered_and_the_worker_goes_on_with_a_new_state() {
        let (results, inbox) = mpsc::channel();
        let pool = JobPool::new(
            NonZeroUsize::MIN,
            10,
            |done: &mut u32, job: u32| {
                *done += 1;
                assert!(job != 2, "job {job} is bad");
                *done
            },
            move |id, result| results.send((id, result)).unwrap(),
        )
        .unwrap();
        for job in 1..=3 {
            pool.try_submit(job.into(), job).unwrap();
        }
        let seen: Vec<_> = inbox.iter().take(3).collect();
        let panicked = JobPanicked { message: "job 2 is bad".to_owned() };
        assert_eq!(seen, [(1, Ok(1)), (2, Err(panicked)), (3, Ok(1))]);
    }

    #[test]
    fn dropping_waits_for_the_running_and_forgets_the_rest() {
        let (results, inbox) = mpsc::channel();
        let (begun, started) = mpsc::channel();
        let pool = JobPool::new(
            NonZeroUsize::MIN,
            10,
            move |_: &mut (), job: u64| {
                begun.send(job).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(30));
                job
            },
            move |id, _| results.send(id).unwrap(),
        )
        .unwrap();
        for job in 0..5 {
            pool.try_submit(job, job).unwrap();
        }
        assert_eq!(started.recv().unwrap(), 0);
        drop(pool);
        assert_eq!(inbox.iter().collect::<Vec<_>>(), [0], "the channel is closed: the workers are gone");
    }

    #[test]
    fn a_broken_delivery_does_not_stop_the_worker() {
        let (results, inbox) = mpsc::channel();
        let pool = JobPool::new(
            NonZeroUsize::MIN,
            10,
            |_: &mut (), job: u64| job,
            move |id, _| {
                assert!(id != 0);
                results.send(id).unwrap();
            },
        )
        .unwrap();
        pool.try_submit(0, 0).unwrap();
        pool.try_submit(1, 1).unwrap();
        assert_eq!(inbox.recv().unwrap(), 1);
    }
}
