//! One node without a world: an engine on any disk, its jobs run at once, its clock turned by hand.
//!
//! The smallest host there is of the one driver loop. Crash enumeration and model tests drive it: a call goes in, the
//! loop turns until the answer is there.

use ouroboros_engine::env::{Clock, Disk, Driver, Host, Input, Instant, NoNetwork, Now, WallTime};
use ouroboros_engine::id::{EngineRng, Secret};
use ouroboros_engine::keys::{Keyring, MasterSecret};
use ouroboros_engine::node::{
    Access, Engine, Event, Failure, Job, JobDone, JobId, JobOutcome, Limits, OpenError, OpenOptions, Opened, Reply,
    Request, RequestId, StoreConfig, Whims,
};
use ouroboros_engine::seal::{ChunkerParams, Coding, Compression, Scratch};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Turns of the loop after which a call that got no answer is taken for a livelock.
const MAX_TURNS: usize = 10_000_000;

/// A clock turned by hand.
#[derive(Debug, Default)]
pub struct HandClock {
    now: Cell<Now>,
}

impl Clock for HandClock {
    fn now(&self) -> Now {
        self.now.get()
    }
}

/// Called with every reply at the moment it is delivered.
type Told = Box<dyn FnMut(RequestId)>;

/// In which order jobs come back, and which of them fail: what a pool of threads and a defect in a job look like.
struct Disorder {
    rng: EngineRng,
    /// Whether this job is to fail as if it had panicked.
    fails: Box<dyn FnMut(&Job) -> bool>,
}

impl Disorder {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.rng.next_u64() % limit.max(1) as u64).unwrap_or(0)
    }

    /// Some of the jobs, in any order; the others take longer.
    fn pick(&mut self, jobs: &mut Vec<(JobId, Job)>) -> Vec<(JobId, Job)> {
        let count = self.below(jobs.len() + 1);
        (0..count).map(|_| jobs.swap_remove(self.below(jobs.len()))).collect()
    }
}

#[derive(Default)]
struct InlineHost {
    told: Option<Told>,
    jobs: Vec<(JobId, Job)>,
    replies: BTreeMap<RequestId, Reply>,
    events: Vec<Event>,
    scratch: Scratch,
}

impl Host for InlineHost {
    fn run(&mut self, id: JobId, job: Job) {
        self.jobs.push((id, job));
    }

    fn reply(&mut self, id: RequestId, reply: Reply) {
        if let Some(told) = &mut self.told {
            told(id);
        }
        self.replies.insert(id, reply);
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// See the module's text.
pub struct Local<D: Disk> {
    driver: Driver<HandClock, D, NoNetwork>,
    host: InlineHost,
    disorder: Option<Disorder>,
    next: u64,
}

impl<D: Disk> core::fmt::Debug for Local<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Local").field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// A keyring for tests, the same for the same number.
#[must_use]
pub fn keyring(number: u8) -> Arc<Keyring> {
    Arc::new(Keyring::from_master(MasterSecret::new(Secret::new([number; 32]))))
}

/// A store for tests: small chunks, so that small contents have many.
#[must_use]
pub fn config(keys: &Keyring, coding: Coding, chunker: ChunkerParams) -> StoreConfig {
    StoreConfig {
        realm: keys.realm_id(),
        chunker,
        compression: Compression::default(),
        coding,
        partition_bits: StoreConfig::PERSONAL_PARTITION_BITS,
    }
}

impl<D: Disk> Local<D> {
    /// Makes a store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn create(
        disk: D,
        config: StoreConfig,
        keys: Arc<Keyring>,
        limits: Limits,
        seed: u64,
    ) -> Result<Self, OpenError> {
        let clock = HandClock::default();
        let engine = Engine::create(disk, config, options(Access::Keys(keys), limits, seed), clock.now())?;
        Ok(Self::over(engine, clock))
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(disk: D, keys: Arc<Keyring>, limits: Limits, seed: u64) -> Result<(Self, Opened), OpenError> {
        Self::open_with(disk, Access::Keys(keys), limits, seed)
    }

    /// Opens a store, with its keys or without.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with(disk: D, access: Access, limits: Limits, seed: u64) -> Result<(Self, Opened), OpenError> {
        let clock = HandClock::default();
        let (engine, opened) = Engine::open(disk, options(access, limits, seed), clock.now())?;
        Ok((Self::over(engine, clock), opened))
    }

    fn over(engine: Engine<D>, clock: HandClock) -> Self {
        Self { driver: Driver::new(engine, clock, NoNetwork), host: InlineHost::default(), disorder: None, next: 1 }
    }

    /// Lets time pass, or the wall clock jump.
    pub fn set_time(&mut self, instant_nanos: u64, wall_millis: u64) {
        let now = Now { instant: Instant::from_nanos(instant_nanos), wall: WallTime::from_unix_millis(wall_millis) };
        self.driver.clock().now.set(now);
    }

    /// Calls `told` with every reply at the moment it is delivered, between two operations of the disk.
    pub fn on_reply(&mut self, told: impl FnMut(RequestId) + 'static) {
        self.host.told = Some(Box::new(told));
    }

    /// From now on jobs come back in any order, some of them late, and those fail for which `fails` says so: as on a pool of
    /// threads, but the same for the same seed.
    pub fn disorder(&mut self, seed: u64, fails: impl FnMut(&Job) -> bool + 'static) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        self.disorder = Some(Disorder { rng: EngineRng::from_seed(bytes), fails: Box::new(fails) });
    }

    /// Sends requests in one turn, as they lie in a mailbox, without waiting for their answers.
    pub fn send_all(&mut self, requests: Vec<Request>) -> Vec<RequestId> {
        let first = self.next;
        self.next += requests.len() as u64;
        let ids = (first..self.next).map(RequestId);
        let inputs: Vec<Input> = ids.clone().zip(requests).map(|(id, request)| Input::Request(id, request)).collect();
        self.turn(inputs);
        ids.collect()
    }

    /// Sends a request without waiting for its answer.
    pub fn send(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        self.turn([Input::Request(id, request)]);
        id
    }

    fn turn(&mut self, inputs: impl IntoIterator<Item = Input>) -> Option<Instant> {
        self.driver.turn(inputs, &mut self.host)
    }

    /// One turn of the loop with all jobs done, or with [disorder](Self::disorder) some of them; false when there is
    /// nothing left to do.
    pub fn step(&mut self) -> bool {
        let idle = self.host.jobs.is_empty();
        let jobs = match &mut self.disorder {
            Some(disorder) => disorder.pick(&mut self.host.jobs),
            None => std::mem::take(&mut self.host.jobs),
        };
        let mut done = Vec::with_capacity(jobs.len());
        for (id, job) in jobs {
            let fails = self.disorder.as_mut().is_some_and(|disorder| (disorder.fails)(&job));
            let outcome = match fails {
                true => JobOutcome::Panicked("planted".into()),
                false => job.run(&mut self.host.scratch),
            };
            done.push(Input::JobDone(JobDone { id, outcome }));
        }
        let due = self.turn(done);
        let is_due = due.is_some_and(|due| due <= self.driver.clock().now.get().instant);
        !idle || is_due || !self.host.jobs.is_empty()
    }

    /// Turns until nothing is left to do.
    ///
    /// # Panics
    /// When that never happens.
    pub fn settle(&mut self) {
        for _ in 0..MAX_TURNS {
            if !self.step() {
                return;
            }
        }
        panic!("the node is never idle");
    }

    /// The answer to a request, if it is there.
    pub fn take(&mut self, id: RequestId) -> Option<Reply> {
        self.host.replies.remove(&id)
    }

    /// Asks, and turns until the answer is there.
    ///
    /// # Errors
    /// The [`Failure`] that the node answered with.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        // Shown only when something is wrong: to write out every request costs more than many answers.
        let asked = request.clone();
        let id = self.send(request);
        for _ in 0..MAX_TURNS {
            match self.take(id) {
                Some(Reply::Failed(failure)) => return Err(failure),
                Some(reply) => return Ok(reply),
                None => {}
            }
            let more = self.step();
            assert!(more || self.host.replies.contains_key(&id), "no answer will ever come to {asked:.60?}");
        }
        panic!("no answer to {asked:.60?}");
    }

    /// What happened since it was last asked.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.host.events)
    }

    /// The same with whims.
    #[must_use]
    pub fn with_whims(self, whims: Whims) -> Self {
        let (mut engine, clock, network) = self.driver.into_parts();
        engine.set_whims(whims);
        Self { driver: Driver::new(engine, clock, network), ..self }
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine<D> {
        self.driver.engine()
    }

    /// Closes in an orderly way.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn close(mut self) -> Result<(), Failure> {
        self.ask(Request::Close)?;
        self.shut_down()
    }

    /// Ends a node whose [`Request::Close`] was answered.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn shut_down(self) -> Result<(), Failure> {
        self.driver.into_parts().0.shut_down()
    }
}

fn options(access: Access, limits: Limits, seed: u64) -> OpenOptions {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    OpenOptions { access, limits, seed: bytes }
}
