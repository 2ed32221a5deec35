//! The adapters under madsim: a random ready task goes on next, every poll takes a little time, and clocks and entropy of
//! the system are virtual. `sim/adapters/run madsim`.
#![cfg(all(madsim, planted))]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use core::future::Future;
use core::time::Duration;
use madsim::runtime::Runtime;
use madsim::time::TimeHandle;
use ouroboros_sim_adapters::memory::MemoryFiles;
use ouroboros_sim_adapters::{World, Wrong, clients};
use ouroborosdb::engine::env::{Clock, Instant, Now, WallTime};
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::entropy::NoEntropy;
use ouroborosdb::env::{Env, Notice, Task};
use ouroborosdb::lock::LockError;
use ouroborosdb::planted::{Mistake, plant};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Seeds of a clean run.
const SEEDS: u64 = 300;
/// Seeds after which a mistake counts as not found.
const ENOUGH: u64 = 100;
/// Not madsim's: a time that was not asked of the world shows.
const EPOCH_MILLIS: u64 = 4_102_444_800_000;

#[derive(Clone, Debug)]
struct Simulated {
    files: MemoryFiles,
    held: Arc<Mutex<BTreeSet<PathBuf>>>,
    random: Arc<Mutex<EngineRng>>,
    wrong: Wrong,
}

impl Simulated {
    fn new(seed: u64) -> Self {
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = Arc::new(Mutex::new(EngineRng::from_seed(bytes)));
        Self { files: MemoryFiles::default(), held: Arc::default(), random, wrong: Wrong::default() }
    }
}

impl Clock for Simulated {
    fn now(&self) -> Now {
        let elapsed = TimeHandle::current().elapsed();
        let wall = WallTime::from_unix_millis(EPOCH_MILLIS + elapsed.as_millis() as u64);
        Now { instant: Instant::from_nanos(elapsed.as_nanos() as u64), wall }
    }
}

/// Notes when the store is let go of while its engine still has files open.
#[derive(Debug)]
struct Held(Simulated, PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.lock().unwrap().remove(&self.1);
        let open = self.0.files.open_files();
        if open > 0 && !std::thread::panicking() {
            self.0.wrong.note(format!("the store was let go of with {open} of its files open"));
        }
    }
}

struct Spawned;

impl Task for Spawned {
    fn join(self) -> bool {
        true
    }
}

impl Env for Simulated {
    type Files = MemoryFiles;
    type Lock = Held;
    type Task = Spawned;

    const THREADS: bool = false;
    const MAILBOX_LEN: usize = 2;

    fn files(&self) -> MemoryFiles {
        self.files.clone()
    }

    fn lock(&self, directory: &Path) -> Result<Held, LockError> {
        if !self.held.lock().unwrap().insert(directory.to_owned()) {
            return Err(LockError::InUse { store: directory.to_owned(), process: None });
        }
        Ok(Held(self.clone(), directory.to_owned()))
    }

    fn seed(&self) -> Result<[u8; 32], NoEntropy> {
        Ok(self.random.lock().unwrap().bytes())
    }

    fn spawn(&self, _name: String, task: impl Future<Output = ()> + Send + 'static) -> std::io::Result<Spawned> {
        drop(madsim::task::spawn(task));
        Ok(Spawned)
    }

    async fn wait(&self, notice: Notice, due: Option<Instant>) {
        let Some(due) = due else { return notice.await };
        let _none_if_the_time_came = madsim::time::timeout(due.since(self.now().instant), notice).await;
    }

    async fn before_job(&self) {
        self.rest(Duration::from_nanos(self.draw(1 << 20))).await;
    }
}

impl World for Simulated {
    async fn rest(&self, duration: Duration) {
        madsim::time::sleep(duration).await;
    }

    fn draw(&self, below: u64) -> u64 {
        self.random.lock().unwrap().next_u64() % below.max(1)
    }

    fn wrong(&self) -> &Wrong {
        &self.wrong
    }
}

/// One world: what clients saw, or what went wrong.
fn run(seed: u64) -> Result<String, String> {
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    let world = Simulated::new(seed);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async move {
            let seen = clients::life(&world).await;
            seen.map(|seen| format!("{seen}{:?}", TimeHandle::current().elapsed()))
        })
    }));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".into()))
    })
}

/// A seed runs on a thread of its own: madsim's virtual entropy belongs to threads.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// The first seed that finds a mistake, and how it shows; also when a seed runs differently the second time, or nobody's
/// clock was asked.
fn find(mistake: Mistake) -> Option<(u64, String)> {
    (0..ENOUGH).find_map(|seed| {
        let run = move || {
            let _planting = plant(mistake);
            run(seed)
        };
        let (once, twice) = (on_a_thread(run), on_a_thread(run));
        match once {
            Err(wrong) => Some((seed, wrong)),
            Ok(_) if once != twice => Some((seed, "the same seed runs differently".to_owned())),
            Ok(_) => None,
        }
    })
}

#[test]
fn adapters_keep_their_promises_in_any_order_of_tasks() {
    let begun = std::time::Instant::now();
    for seed in 0..SEEDS {
        if let Err(wrong) = on_a_thread(|| run(seed)) {
            panic!("seed {seed}: {wrong}");
        }
    }
    println!("madsim: {SEEDS} seeds, nothing wrong, {:.1?}", begun.elapsed());
}

#[test]
fn the_same_seed_is_the_same_run() {
    let runs: Vec<_> = (0..20).map(|seed| (on_a_thread(|| run(seed)), on_a_thread(|| run(seed)))).collect();
    assert!(runs.iter().all(|(once, twice)| once.is_ok() && once == twice));
    assert!(runs.windows(2).all(|pair| pair[0] != pair[1]), "seeds differ");
}

#[test]
fn mistakes_are_found() {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = MISTAKES.iter().map(|(mistake, expected)| (*mistake, *expected, find(*mistake))).collect();
    std::panic::set_hook(silent);
    for (mistake, _, how) in &found {
        match how {
            Some((seed, how)) => println!("madsim finds {mistake:?} at seed {seed}: {:.160}", how),
            None => println!("madsim does not find {mistake:?} in {ENOUGH} seeds"),
        }
    }
    for (mistake, expected, how) in found {
        assert_eq!(how.is_some(), expected, "{mistake:?}");
    }
}

/// Every mistake, and whether it shows here.
const MISTAKES: &[(Mistake, bool)] = &[
    (Mistake::OpeningForgotten, true),
    (Mistake::EndForgotten, true),
    (Mistake::PieceLost, true),
    (Mistake::PlaceKept, true),
    (Mistake::OneIsTold, true),
    (Mistake::EndNotAwaited, true),
    // Any task that is ready may go on next: what usually is there a turn later, at times is not.
    (Mistake::EndAssumed, true),
    (Mistake::AnswerAssumed, true),
    (Mistake::OwnClock, true),
    // The system's entropy is madsim's here, and follows from the seed.
    (Mistake::OwnEntropy, false),
    // Nothing is ever lost from these files.
    (Mistake::DirectoryNotSynced, false),
    (Mistake::ParentNotSynced, false),
    (Mistake::RenamedUnsynced, false),
    (Mistake::RenameNotSynced, false),
    (Mistake::GrowthNotSynced, false),
];
