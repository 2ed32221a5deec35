//! Storing a tree: one thread walks and compares, several take files, the caller watches. Then one snapshot names all.
//!
//! What is in flight is bounded: a few batches of at most [`BATCH_FILES`] files or [`BATCH_BYTES`] bytes.

use super::entry::Print;
use super::manifest::Previous;
use super::take::{Block, Fate, Planned, Report, SMALL, Taken, Taker};
use super::walk::{Found, Limits, Walk};
use super::{Problem, Root, workers};
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::store::{Db, KeyName};
use ouroboros_engine::id::BlobId;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Files in one batch, at most.
const BATCH_FILES: usize = 512;
/// Bytes of small files in one batch, about.
const BATCH_BYTES: u64 = 4 << 20;
/// How often the watcher is told, at least.
const TICK: Duration = Duration::from_millis(100);

/// How to import.
pub(crate) struct Options {
    /// What to carry.
    pub(crate) roots: Vec<Root>,
    /// What not to enter.
    pub(crate) limits: Limits,
    /// The list of the import to compare with.
    pub(crate) previous: Option<BlobId>,
    /// Whether inode and change time count in the comparison.
    pub(crate) identity: bool,
}

/// A file that is safely stored, for the snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// Its place in the walk.
    pub(crate) place: u64,
    /// Its key.
    pub(crate) key: KeyName,
    /// Its version.
    pub(crate) id: BlobId,
    /// What it looked like.
    pub(crate) print: Print,
}

/// What was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) new: u64,
    pub(crate) changed: u64,
    pub(crate) unchanged: u64,
    pub(crate) directories: u64,
    pub(crate) symlinks: u64,
    /// Bytes of all files, those left unread included.
    pub(crate) bytes: u64,
    /// Bytes of the files that were read and stored.
    pub(crate) stored_bytes: u64,
    pub(crate) problems: u64,
}

impl Counts {
    fn add(&mut self, taken: &Taken) {
        match taken.fate {
            Fate::New => self.new += 1,
            Fate::Changed => self.changed += 1,
            Fate::Unchanged => self.unchanged += 1,
        }
        self.directories += u64::from(taken.word == "directory");
        self.symlinks += u64::from(taken.word == "symlink");
        self.bytes += taken.len;
        self.stored_bytes += if taken.fate == Fate::Unchanged { 0 } else { taken.len };
    }
}

/// What the watcher hears.
pub(crate) enum Event<'a> {
    /// Bytes looked at so far; of how many, if somebody counted.
    Progress(u64, Option<u64>),
    /// A file was carried.
    Taken(&'a Taken),
    /// A file was left out.
    Problem(&'a Problem),
}

/// Imports, and returns what the snapshot should name. With `count`, a further thread counts all bytes first, for the
/// time left.
pub(crate) fn import(
    db: &Db,
    options: &Options,
    count: bool,
    watch: &mut dyn FnMut(Event<'_>),
) -> Outcome<(Vec<Carried>, Counts)> {
    let (read, total) = (AtomicU64::new(0), Mutex::new(None));
    let (batches_in, batches_out) = mpsc::sync_channel::<Vec<Planned>>(2);
    let batches_out = Mutex::new(Some(batches_out));
    let (reports_in, reports_out) = mpsc::channel::<Report>();
    std::thread::scope(|scope| {
        if count {
            scope.spawn(|| {
                let found = Walk::new(&options.roots, options.limits.clone()).take_while(|_| !interrupt::asked());
                let files = found.flatten().filter(|found| found.metadata.is_file());
                let sum = files.map(|found| found.metadata.len()).sum();
                *total.lock().unwrap_or_else(PoisonError::into_inner) = Some(sum);
            });
        }
        let planner_reports = reports_in.clone();
        scope.spawn(move || plan(db, options, &batches_in, &planner_reports));
        for _ in 0..workers() {
            let (db, reports, read, batches) = (db.clone(), reports_in.clone(), &read, &batches_out);
            scope.spawn(move || {
                let report = |report| drop(reports.send(report));
                let (identity, block) = (options.identity, Block::new());
                let mut taker = Taker { db, identity, read, report: &report, block };
                while let Some(batch) = next(batches) {
                    if let Err(failure) = taker.take(batch) {
                        // Nobody takes any more: the planner finds the channel closed and ends.
                        drop(batches.lock().unwrap_or_else(PoisonError::into_inner).take());
                        report(Report::Failed(failure));
                    }
                }
            });
        }
        drop(reports_in);
        let known = || *total.lock().unwrap_or_else(PoisonError::into_inner);
        collect(&reports_out, watch, &|| (read.load(Ordering::Relaxed), known()))
    })
}

fn next<T>(batches: &Mutex<Option<Receiver<T>>>) -> Option<T> {
    batches.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.recv().ok()
}

fn collect(
    reports: &Receiver<Report>,
    watch: &mut dyn FnMut(Event<'_>),
    progress: &dyn Fn() -> (u64, Option<u64>),
) -> Outcome<(Vec<Carried>, Counts)> {
    let mut entries = Vec::new();
    let mut counts = Counts::default();
    let mut failed: Option<Failure> = None;
    loop {
        match reports.recv_timeout(TICK) {
            Ok(Report::Taken(taken)) => {
                counts.add(&taken);
                watch(Event::Taken(&taken));
                entries.push(taken.carried);
            }
            Ok(Report::Problem(problem)) => {
                counts.problems += 1;
                watch(Event::Problem(&problem));
            }
            Ok(Report::Failed(failure)) => failed = failed.or(Some(failure)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let (done, total) = progress();
        watch(Event::Progress(done, total));
    }
    if interrupt::asked() {
        return Err(Failure::interrupted(format!(
            "interrupted; {} files are stored, no snapshot was made",
            counts.new + counts.changed + counts.unchanged
        ))
        .advise("run the same import again: what is stored already takes no more room"));
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    entries.sort_unstable_by_key(|carried: &Carried| carried.place);
    Ok((entries, counts))
}

fn plan(db: &Db, options: &Options, batches: &SyncSender<Vec<Planned>>, reports: &Sender<Report>) {
    let previous = match options.previous.map_or_else(|| Ok(Previous::none()), |list| Previous::read(db, list)) {
        Ok(previous) => previous,
        Err(failure) => return drop(reports.send(Report::Failed(failure))),
    };
    let mut planner = Planner { previous, groups: BTreeMap::new(), batch: Vec::new(), bytes: 0, place: 0 };
    for step in Walk::new(&options.roots, options.limits.clone()) {
        if interrupt::asked() {
            return;
        }
        let planned = match step {
            Ok(found) => planner.plan(found),
            Err(problem) => Err(Report::Problem(problem)),
        };
        match planned {
            Ok(planned) => {
                if planner.add(planned, batches).is_err() {
                    return;
                }
            }
            Err(report) => {
                let failed = matches!(report, Report::Failed(_));
                if reports.send(report).is_err() || failed {
                    return;
                }
            }
        }
    }
    // A closed channel means that a worker failed, and that was reported.
    drop(batches.send(planner.batch));
}

struct Planner {
    previous: Previous,
    /// The first key of each file that has several names, by device and inode.
    groups: BTreeMap<(u64, u64), Vec<u8>>,
    batch: Vec<Planned>,
    bytes: u64,
    place: u64,
}

impl Planner {
    fn plan(&mut self, found: Found) -> Result<Planned, Report> {
        let Found { key, path, metadata } = found;
        let name = KeyName::new(key.as_slice())
            .map_err(|e| Report::Problem(Problem::at(&path, format_args!("left out, its path makes no key: {e}"))))?;
        let group = (metadata.is_file() && metadata.nlink() > 1)
            .then(|| self.groups.entry((metadata.dev(), metadata.ino())).or_insert(key).clone());
        let previous = self.previous.find(&name);
        self.place += 1;
        Ok(Planned { place: self.place, key: name, path, metadata, group, previous })
    }

    fn add(&mut self, planned: Planned, batches: &SyncSender<Vec<Planned>>) -> Result<(), ()> {
        let len = if planned.metadata.is_file() { planned.metadata.len() } else { 0 };
        if len > SMALL {
            // A large file goes alone, so that it holds nobody up.
            return batches.send(vec![planned]).map_err(drop);
        }
        self.bytes += len;
        self.batch.push(planned);
        if self.batch.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.bytes = 0;
            return batches.send(std::mem::take(&mut self.batch)).map_err(drop);
        }
        Ok(())
    }
}
