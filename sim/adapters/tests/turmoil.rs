//! The adapters under turmoil: a file system that forgets what was not synced, and hosts that lose their power.
//! `sim/adapters/run turmoil`.
#![cfg(planted)]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use core::future::Future;
use core::time::Duration;
use ouroboros_sim_adapters::known::Known;
use ouroboros_sim_adapters::{World, Wrong, clients, store};
use ouroborosdb::disk::FileDisk;
use ouroborosdb::engine::env::{Clock, Disk, DiskFile, FileName, Instant, Now, OpenMode, Volume, WallTime};
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::entropy::NoEntropy;
use ouroborosdb::env::{Env, Files, Notice, Opening, RawFile, Task};
use ouroborosdb::lock::LockError;
use ouroborosdb::planted::{Mistake, plant};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use turmoil::fs::shim::std::fs as shim;

/// Seeds after which a mistake counts as not found that does not show here.
const ENOUGH: u64 = 40;
/// And one that does: the rarest is not to be a matter of luck.
const MORE_THAN_ENOUGH: u64 = 400;
/// Power failures in the life of a store.
const FAILURES: u64 = 5;
/// Not the machine's: a time that was not asked of the world shows.
const EPOCH_MILLIS: u64 = 4_102_444_800_000;

/// turmoil's file system, and how many of its files are open.
#[derive(Clone, Debug, Default)]
struct TurmoilFiles {
    open: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct TurmoilFile {
    file: shim::File,
    open: Arc<AtomicUsize>,
}

impl Drop for TurmoilFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// turmoil finds a file by its whole path, whatever became of the directories on the way. A system does not.
fn resolve(path: &Path) -> io::Result<()> {
    let is_there = |directory: &Path| shim::metadata(directory).is_ok_and(|metadata| metadata.is_dir());
    let whole = path.ancestors().skip(1).all(is_there);
    if whole { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
}

impl Files for TurmoilFiles {
    type File = TurmoilFile;
    type Directory = PathBuf;

    fn open(&self, path: &Path, how: Opening) -> io::Result<TurmoilFile> {
        let mut options = shim::OpenOptions::new();
        match how {
            Opening::Read => options.read(true),
            Opening::Write => options.read(true).write(true),
            Opening::New => options.mode(0o600).read(true).write(true).create_new(true),
            Opening::Replace => options.write(true).create(true).truncate(true),
        };
        resolve(path)?;
        let file = options.open(path)?;
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(TurmoilFile { file, open: self.open.clone() })
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in shim::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name());
            }
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(resolve(path).is_ok() && shim::metadata(path).is_ok())
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(resolve(path).is_ok() && shim::metadata(path).is_ok_and(|metadata| metadata.is_dir()))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        resolve(path)?;
        Ok(path.to_owned())
    }

    fn create_directory(&self, path: &Path, private: bool) -> io::Result<()> {
        resolve(path)?;
        // turmoil says "other" where a system says which.
        if shim::exists(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        shim::DirBuilder::new().mode(if private { 0o700 } else { 0o755 }).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        shim::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        shim::remove_file(path)
    }

    fn open_directory(&self, path: &Path) -> io::Result<PathBuf> {
        resolve(path)?;
        Ok(path.to_owned())
    }

    fn sync_directory(&self, path: &PathBuf) -> io::Result<()> {
        shim::sync_dir(path)
    }
}

impl RawFile for TurmoilFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_some(&self, offset: u64, first: &[u8], _rest: &[&[u8]]) -> io::Result<usize> {
        self.file.write_at(first, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[derive(Clone, Debug)]
struct Simulated {
    files: TurmoilFiles,
    held: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// The power fails just now.
    failing: Arc<AtomicBool>,
    random: Arc<Mutex<EngineRng>>,
    wrong: Wrong,
}

impl Simulated {
    fn new(seed: u64) -> Self {
        let mut bytes = [5; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = Arc::new(Mutex::new(EngineRng::from_seed(bytes)));
        Self {
            files: TurmoilFiles::default(),
            held: Arc::default(),
            failing: Arc::default(),
            random,
            wrong: Wrong::default(),
        }
    }
}

impl Clock for Simulated {
    fn now(&self) -> Now {
        let elapsed = turmoil::elapsed();
        let since_epoch = turmoil::since_epoch().unwrap();
        let wall = WallTime::from_unix_millis(since_epoch.as_millis() as u64);
        Now { instant: Instant::from_nanos(elapsed.as_nanos() as u64), wall }
    }
}

/// Notes when the store is let go of while its engine still has files open, unless it was the power that failed.
#[derive(Debug)]
struct Held(Simulated, PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.lock().unwrap().remove(&self.1);
        let open = self.0.files.open.load(Ordering::SeqCst);
        if open > 0 && !std::thread::panicking() && !self.0.failing.load(Ordering::SeqCst) {
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
    type Files = TurmoilFiles;
    type Lock = Held;
    type Task = Spawned;

    const THREADS: bool = false;
    const MAILBOX_LEN: usize = 2;

    fn files(&self) -> TurmoilFiles {
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

    fn spawn(&self, _name: String, task: impl Future<Output = ()> + Send + 'static) -> io::Result<Spawned> {
        // A panic in it ends the simulation: turmoil sees to that, if built with `--cfg tokio_unstable`.
        drop(tokio::spawn(task));
        Ok(Spawned)
    }

    async fn wait(&self, notice: Notice, due: Option<Instant>) {
        let Some(due) = due else { return notice.await };
        let _none_if_the_time_came = tokio::time::timeout(due.since(self.now().instant), notice).await;
    }

    async fn before_job(&self) {
        self.rest(Duration::from_nanos(self.draw(1 << 20))).await;
    }
}

impl World for Simulated {
    async fn rest(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn draw(&self, below: u64) -> u64 {
        self.random.lock().unwrap().next_u64() % below.max(1)
    }

    fn wrong(&self) -> &Wrong {
        &self.wrong
    }
}

fn simulation(seed: u64, tick: Duration) -> turmoil::Sim<'static> {
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + Duration::from_millis(EPOCH_MILLIS))
        .simulation_duration(Duration::from_secs(100_000))
        .tick_duration(tick);
    // Of what was not synced, whole sectors may be there all the same.
    builder.fs().block_size(512);
    builder.build()
}

/// The message of a panic, if there was one.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".into()))
    })
}

/// The same life as under madsim, on turmoil's files.
fn life(seed: u64) -> Result<String, String> {
    caught(|| {
        let mut sim = simulation(seed, Duration::from_millis(10));
        let world = Simulated::new(seed);
        let seen = Arc::new(Mutex::new(None));
        let (its_world, its_seen) = (world.clone(), seen.clone());
        sim.client("store", async move {
            // A task as the engine's is one: all of them take turns in one queue.
            let lived = tokio::spawn(async move { clients::life(&its_world).await }).await;
            *its_seen.lock().unwrap() = Some(lived?);
            Ok(())
        });
        sim.run().map_err(|error| error.to_string())?;
        let lived = seen.lock().unwrap().take();
        lived.unwrap_or_else(|| Err("the simulation ended before its client".to_owned()))
    })
}

/// A store whose power fails again and again. What was acknowledged is there each time.
fn power_failures(seed: u64) -> Result<String, String> {
    caught(|| {
        let mut sim = simulation(seed, Duration::from_millis(1));
        let world = Simulated::new(seed);
        let known = Known::default();
        let made = Arc::new(AtomicBool::new(false));
        let (its_world, its_known, its_made) = (world.clone(), known.clone(), made.clone());
        sim.host("store", move || {
            let (world, known, made) = (its_world.clone(), its_known.clone(), its_made.clone());
            async move {
                if let Err(wrong) = one_life(&world, &known, &made).await {
                    world.wrong().note(wrong);
                }
                Ok(())
            }
        });
        for _ in 0..FAILURES {
            for _ in 0..20 + world.draw(100) {
                sim.step().map_err(|error| error.to_string())?;
            }
            world.wrong().first().map_or(Ok(()), Err)?;
            world.failing.store(true, Ordering::SeqCst);
            sim.crash("store");
            world.failing.store(false, Ordering::SeqCst);
            sim.bounce("store");
        }
        for _ in 0..200 {
            sim.step().map_err(|error| error.to_string())?;
        }
        // What follows is the end of the simulation, and no end of a store.
        world.failing.store(true, Ordering::SeqCst);
        world.wrong().first().map_or(Ok(format!("{known:?}")), Err)
    })
}

async fn one_life(world: &Simulated, known: &Known, made: &AtomicBool) -> Result<(), String> {
    let db = if made.load(Ordering::SeqCst) {
        store().open_in(world.clone()).map_err(|error| format!("a store that was made does not open: {error}"))?
    } else {
        store().create_in(world.clone()).map_err(|error| error.to_string())?
    };
    made.store(true, Ordering::SeqCst);
    let db = db.asynchronous();
    if let Err(wrong) = clients::check_all(world, &db, known).await {
        // Before the store is dropped, which is wrong too while its engine runs.
        world.wrong().note(wrong);
        return Ok(());
    }
    let at_work = clients::start(world, &db, known, 0..4, 1_000_000, false).map_err(|error| error.to_string())?;
    clients::join(world, &at_work).await
}

/// What the contract of `engine::env::Disk` says is on the disk of one directory: a file's name once the directory was synced,
/// its bytes once it was.
#[derive(Default)]
struct Contract {
    /// By name, the number of the file that has it, now and durably.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// By number, the bytes, now and as they were synced last.
    bytes: BTreeMap<u64, Vec<u8>>,
    durable_bytes: BTreeMap<u64, Vec<u8>>,
    /// Which were written or cut since.
    touched: BTreeSet<u64>,
}

/// Random operations on the file disk alone, then a power failure: exactly what the contract calls durable must be there, and of
/// the rest nothing that was never written.
fn contract(seed: u64) -> Result<String, String> {
    caught(|| {
        let mut sim = simulation(seed, Duration::from_millis(1));
        let world = Simulated::new(seed);
        let contract = Arc::new(Mutex::new(Contract::default()));
        let life = Arc::new(AtomicBool::new(false));
        let (its_world, its_contract) = (world.clone(), contract);
        sim.host("disk", move || {
            let (world, contract) = (its_world.clone(), its_contract.clone());
            let first = !life.swap(true, Ordering::SeqCst);
            async move {
                let worked = if first { use_disk(&world, &contract) } else { check_disk(&contract) };
                if let Err(wrong) = worked {
                    world.wrong().note(wrong);
                }
                Ok(())
            }
        });
        sim.step().map_err(|error| error.to_string())?;
        sim.crash("disk");
        sim.bounce("disk");
        sim.step().map_err(|error| error.to_string())?;
        world.wrong().first().map_or(Ok(String::new()), Err)
    })
}

fn disk() -> Result<FileDisk<TurmoilFiles>, String> {
    let place = |name: &str| PathBuf::from("/srv/deep").join(name);
    FileDisk::create_in(TurmoilFiles::default(), place("blocks"), place("index")).map_err(|error| error.to_string())
}

fn use_disk(world: &Simulated, contract: &Mutex<Contract>) -> Result<(), String> {
    let failed = |error: ouroborosdb::engine::env::DiskError| error.to_string();
    let disk = disk()?;
    let mut contract = contract.lock().unwrap();
    let contract = &mut *contract;
    let mut files = BTreeMap::new();
    for number in 0..world.draw(60) {
        let name = FileName::new(format!("file-{}", world.draw(5))).unwrap();
        let its_number = contract.names.get(name.as_str()).copied();
        match (world.draw(12), its_number) {
            (0..=3, None) => {
                let file = disk.open(Volume::Blocks, &name, OpenMode::CreateNew).map_err(failed)?;
                contract.names.insert(name.as_str().to_owned(), number);
                contract.bytes.insert(number, Vec::new());
                files.insert(number, file);
            }
            (0..=3, Some(its_number)) => {
                let bytes = vec![number as u8 + 1; 1 + world.draw(3000) as usize];
                contract.touched.insert(its_number);
                let now = contract.bytes.get_mut(&its_number).unwrap();
                let offset = world.draw(now.len() as u64 + 1);
                let (first, second) = bytes.split_at(bytes.len() / 3);
                files[&its_number].write_at(offset, &[first, second]).map_err(failed)?;
                let end = offset as usize + bytes.len();
                now.resize(now.len().max(end), 0);
                now[offset as usize..end].copy_from_slice(&bytes);
            }
            (4..=5, Some(its_number)) => {
                contract.touched.insert(its_number);
                let now = contract.bytes.get_mut(&its_number).unwrap();
                let len = world.draw(now.len() as u64 + 600);
                files[&its_number].truncate(len).map_err(failed)?;
                now.resize(len as usize, 0);
            }
            (6..=8, Some(its_number)) => {
                files[&its_number].sync().map_err(failed)?;
                contract.touched.remove(&its_number);
                contract.durable_bytes.insert(its_number, contract.bytes[&its_number].clone());
            }
            (9, Some(its_number)) => {
                // turmoil knows files by their paths: what was not synced would be written to the next of that name.
                files[&its_number].sync().map_err(failed)?;
                disk.remove(Volume::Blocks, &name).map_err(failed)?;
                contract.names.remove(name.as_str());
                files.remove(&its_number);
                disk.sync_directory(Volume::Blocks).map_err(failed)?;
                contract.durable_names = contract.names.clone();
            }
            (10..=11, _) => {
                disk.sync_directory(Volume::Blocks).map_err(failed)?;
                contract.durable_names = contract.names.clone();
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_disk(contract: &Mutex<Contract>) -> Result<(), String> {
    let contract = contract.lock().unwrap();
    let failed = |error: ouroborosdb::engine::env::DiskError| error.to_string();
    let disk = disk()?;
    let listed = disk.list(Volume::Blocks).map_err(failed)?;
    for (name, number) in &contract.durable_names {
        let name = FileName::new(name.clone()).unwrap();
        if !listed.contains(&name) {
            // A file that is durable by name and was never synced has no bytes, and in turmoil then no name either.
            if contract.durable_bytes.contains_key(number) {
                return Err(format!("{name} is gone, though its directory was synced"));
            }
            continue;
        }
        let Some(durable) = contract.durable_bytes.get(number) else { continue };
        // What came after the last sync may be there, or in part: only an untouched file must be exactly so.
        if contract.touched.contains(number) {
            continue;
        }
        let file = disk.open(Volume::Blocks, &name, OpenMode::Read).map_err(failed)?;
        let mut bytes = vec![0; file.len().map_err(failed)? as usize];
        file.read_at(0, &mut bytes).map_err(failed)?;
        if bytes != *durable {
            return Err(format!("{name} has {} bytes, not the {} that were synced", bytes.len(), durable.len()));
        }
    }
    Ok(())
}

/// What happens in one world, by its seed.
type Scenario = fn(u64) -> Result<String, String>;

/// Each with the seeds of a clean run.
const SCENARIOS: [(&str, Scenario, u64); 3] =
    [("life", life, 500), ("power failures", power_failures, 100), ("contract of the disk", contract, 1000)];

/// The first seed that finds a mistake, where, and how it shows.
fn find(mistake: Mistake, seeds: u64) -> Option<(u64, &'static str, String)> {
    (0..seeds).find_map(|seed| {
        SCENARIOS.iter().find_map(|(name, scenario, _)| {
            let _planting = plant(mistake);
            match scenario(seed) {
                Err(wrong) => Some((seed, *name, wrong)),
                Ok(seen) if scenario(seed).as_ref() != Ok(&seen) => {
                    Some((seed, *name, "the same seed runs differently".to_owned()))
                }
                Ok(_) => None,
            }
        })
    })
}

#[test]
fn adapters_keep_their_promises_when_the_power_fails() {
    for (name, scenario, seeds) in SCENARIOS {
        let begun = SystemTime::now();
        for seed in 0..seeds {
            if let Err(wrong) = scenario(seed) {
                panic!("{name}, seed {seed}: {wrong}");
            }
        }
        println!("turmoil, {name}: {seeds} seeds, nothing wrong, {:.1?}", begun.elapsed().unwrap());
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for (name, scenario, _) in SCENARIOS {
        for seed in 0..3 {
            assert_eq!(scenario(seed), scenario(seed), "{name}, seed {seed}");
        }
    }
}

#[test]
fn mistakes_are_found() {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let look = |(mistake, expected): &(Mistake, bool)| {
        let seeds = if *expected { MORE_THAN_ENOUGH } else { ENOUGH };
        (*mistake, *expected, seeds, find(*mistake, seeds))
    };
    let found: Vec<_> = MISTAKES.iter().map(look).collect();
    std::panic::set_hook(silent);
    for (mistake, _, seeds, how) in &found {
        match how {
            Some((seed, name, how)) => println!("turmoil finds {mistake:?} at seed {seed} ({name}): {:.160}", how),
            None => println!("turmoil does not find {mistake:?} in {seeds} seeds"),
        }
    }
    for (mistake, expected, _, how) in found {
        assert_eq!(how.is_some(), expected, "{mistake:?}");
    }
}

/// Every mistake, and whether it shows here.
const MISTAKES: &[(Mistake, bool)] = &[
    (Mistake::DirectoryNotSynced, true),
    (Mistake::ParentNotSynced, true),
    (Mistake::RenamedUnsynced, true),
    (Mistake::RenameNotSynced, true),
    (Mistake::GrowthNotSynced, true),
    (Mistake::OwnClock, true),
    (Mistake::OwnEntropy, true),
    (Mistake::OpeningForgotten, true),
    (Mistake::PieceLost, true),
    (Mistake::PlaceKept, true),
    (Mistake::OneIsTold, true),
    // Not listed: EndForgotten, which some sets of seeds find here and others do not.
    (Mistake::EndNotAwaited, true),
    // Tasks that are ready go on in the order in which they became so: what usually is there a turn later, always is.
    (Mistake::EndAssumed, false),
    (Mistake::AnswerAssumed, false),
];
