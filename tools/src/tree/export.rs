//! Writing a snapshot's files anew: one thread reads the snapshot, several write files, then come the further names of
//! files and, from the deepest up, the modes and times of directories.

use super::place::{Placed, Placer, Style, Trouble, sort_out};
use super::rooted::Rooted;
use super::{Problem, writers};
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::store::{Db, Error, Got, KeyName, Select};
use ouroboros_engine::id::BlobId;
use rustix::fd::OwnedFd;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Entries of one batch.
const BATCH: usize = 64;
/// How often the watcher is told, at least.
const TICK: Duration = Duration::from_millis(100);

/// How to export.
pub(crate) struct Options {
    /// What.
    pub(crate) snapshot: Got,
    /// Where to.
    pub(crate) directory: PathBuf,
    /// Only keys that are this, or below it.
    pub(crate) prefix: Vec<u8>,
    /// Write into a directory that is not empty, and replace files there.
    pub(crate) overwrite: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) symlinks: u64,
    pub(crate) hard_links: u64,
    pub(crate) bytes: u64,
    pub(crate) problems: u64,
    /// Of the problems, those where data is damaged beyond repair.
    pub(crate) damaged: u64,
}

/// What the watcher hears.
pub(crate) enum Event<'a> {
    /// Entries and bytes so far.
    Progress(u64, u64),
    /// Something was left out.
    Problem(&'a Problem),
}

enum Report {
    Placed(Placed),
    Made(Vec<Vec<u8>>),
    Problem(Problem),
    Failed(Failure),
}

type Batch = Vec<(KeyName, BlobId)>;

/// Exports a snapshot.
pub(crate) fn export(db: &Db, options: &Options, watch: &mut dyn FnMut(Event<'_>)) -> Outcome<Counts> {
    // PA
    let root = Arc::new(open(&options.directory, options.overwrite)?);
    let style = Style { overwrite: options.overwrite, owners: rustix::process::geteuid().is_root(), umask: umask() };
    let (written, number, helped) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let placer = || Placer {
        db: db.clone(),
        rooted: Rooted::new(root.clone()),
        root: root.clone(),
        style: style.clone(),
        written: &written,
        number: &number,
        helped: &helped,
    };
    let mut tally = Tally::default();
    let (batches_in, batches_out) = mpsc::sync_channel::<Batch>(8);
    let batches_out = Mutex::new(Some(batches_out));
    let (reports_in, reports_out) = mpsc::channel::<Report>();
    std::thread::scope(|scope| {
        let planner_reports = reports_in.clone();
        scope.spawn(move || plan(db, options, &batches_in, &planner_reports));
        for _ in 0..writers() {
            let (mut placer, reports, batches) = (placer(), reports_in.clone(), &batches_out);
            scope.spawn(move || {
                while let Some(batch) = next(batches) {
                    for report in write(&mut placer, batch) {
                        if matches!(report, Report::Failed(_)) {
                            drop(batches.lock().unwrap_or_else(PoisonError::into_inner).take());
                        }
                        drop(reports.send(report));
                    }
                }
            });
        }
        drop(reports_in);
        tally.collect(&reports_out, watch, &written);
    });
    tally.check()?;
    tally.finish(db, placer(), watch)?;
    // One sync for all: files that were written and renamed singly would take one each.
    rustix::fs::syncfs(&root).map_err(|e| Failure::file("sync", &options.directory, e))?;
    Ok(tally.counts)
}

fn next<T>(batches: &Mutex<Option<Receiver<T>>>) -> Option<T> {
    batches.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.recv().ok()
}

fn open(directory: &Path, overwrite: bool) -> Outcome<OwnedFd> {
    std::fs::create_dir_all(directory).map_err(|e| Failure::file("make the directory", directory, e))?;
    let mut there = std::fs::read_dir(directory).map_err(|e| Failure::file("read the directory", directory, e))?;
    if there.next().is_some() && !overwrite {
        return Err(Failure::new(crate::exit::Exit::Failed, format!("{} is not empty", directory.display()))
            .advise("export to a new directory, or let files be replaced: --overwrite"));
    }
    Ok(File::open(directory).map_err(|e| Failure::file("open the directory", directory, e))?.into())
}

fn umask() -> u32 {
    // It can only be read by setting it; no other thread makes files yet.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::umask(umask);
    umask.as_raw_mode()
}

fn plan(db: &Db, options: &Options, batches: &SyncSender<Batch>, reports: &Sender<Report>) {
    let mut batch = Batch::with_capacity(BATCH);
    let read = db.snapshot_entries(&options.snapshot, &mut |entry| {
        if !is_below(&entry.name, &options.prefix) {
            return Ok(());
        }
        match KeyName::new(entry.name.as_slice()) {
            Ok(key) => batch.push((key, entry.id)),
            Err(error) => {
                let problem = Problem::of(&entry.name, format!("left out, its name is no key: {error}"));
                drop(reports.send(Report::Problem(problem)));
            }
        }
        if batch.len() < BATCH {
            return Ok(());
        }
        // Nobody takes any more: a writer failed and has said so.
        let stopped = interrupt::asked() || batches.send(std::mem::take(&mut batch)).is_err();
        if stopped { Err(Error::Closed) } else { Ok(()) }
    });
    match read {
        Ok(()) => drop(batches.send(batch)),
        Err(Error::Closed) => {}
        Err(error) => drop(reports.send(Report::Failed(error.into()))),
    }
}

fn is_below(key: &[u8], prefix: &[u8]) -> bool {
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    prefix.is_empty() || key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn write(placer: &mut Placer<'_>, batch: Batch) -> Vec<Report> {
    let mut reports = Vec::with_capacity(batch.len() + 1);
    let wanted = batch.iter().map(|(key, id)| (key.clone(), Select::Version(*id))).collect();
    let found = match placer.db.get_many(wanted) {
        Ok(found) => found,
        Err(error) => return vec![Report::Failed(error.into())],
    };
    for ((key, _), got) in batch.into_iter().zip(found) {
        if interrupt::asked() {
            break;
        }
        let report = match got.map_err(Trouble::from).and_then(|got| placer.place(&key, &got, true)) {
            Ok(placed) => Report::Placed(placed),
            Err(trouble) => sort_out(&key, trouble).map_or_else(Report::Failed, Report::Problem),
        };
        let failed = matches!(report, Report::Failed(_));
        reports.push(report);
        if failed {
            break;
        }
    }
    let made = placer.rooted.take_made();
    if !made.is_empty() {
        reports.push(Report::Made(made));
    }
    reports
}

#[derive(Default)]
struct Tally {
    counts: Counts,
    directories: Vec<(KeyName, super::entry::Entry)>,
    links: Vec<(KeyName, BlobId, Vec<u8>)>,
    /// Files with several names that are there, by the name of their group.
    leaders: BTreeMap<Vec<u8>, KeyName>,
    made: BTreeSet<Vec<u8>>,
    failed: Option<Failure>,
    entries: u64,
}

impl Tally {
    fn collect(&mut self, reports: &Receiver<Report>, watch: &mut dyn FnMut(Event<'_>), written: &AtomicU64) {
        loop {
            match reports.recv_timeout(TICK) {
                Ok(report) => self.add(report, watch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            watch(Event::Progress(self.entries, written.load(Ordering::Relaxed)));
        }
    }

    fn add(&mut self, report: Report, watch: &mut dyn FnMut(Event<'_>)) {
        self.entries += 1;
        match report {
            Report::Placed(Placed::Done { word, len, leads }) => {
                self.leaders.extend(leads.map(|key| (key.as_bytes().to_vec(), key)));
                self.counts.bytes += len;
                *(if word == "file" { &mut self.counts.files } else { &mut self.counts.symlinks }) += 1;
            }
            Report::Placed(Placed::Directory { key, entry }) => self.directories.push((key, entry)),
            Report::Placed(Placed::Link { key, id, group }) => self.links.push((key, id, group)),
            Report::Made(made) => {
                self.entries -= 1;
                self.made.extend(made);
            }
            Report::Problem(problem) => {
                self.counts.problems += 1;
                self.counts.damaged += u64::from(problem.damaged);
                watch(Event::Problem(&problem));
            }
            Report::Failed(failure) => self.failed = self.failed.take().or(Some(failure)),
        }
    }

    fn check(&mut self) -> Outcome {
        let stopped = "interrupted; what was written so far is complete, the rest is missing";
        interrupt::check(stopped).map_err(|f| f.advise("export again with --overwrite"))?;
        self.failed.take().map_or(Ok(()), Err)
    }

    fn finish(&mut self, db: &Db, mut placer: Placer<'_>, watch: &mut dyn FnMut(Event<'_>)) -> Outcome {
        for (key, id, group) in std::mem::take(&mut self.links) {
            interrupt::check("interrupted")?;
            // Only a name that this export wrote may lead: what stood there before is another file.
            if let Some(leader) = self.leaders.get(&group)
                && placer.link(&key, leader.as_bytes()).is_ok()
            {
                self.counts.hard_links += 1;
                continue;
            }
            let got = db.get(&key, Select::Version(id)).map_err(Trouble::from);
            match got.and_then(|got| placer.place(&key, &got, false)) {
                Ok(placed) => {
                    self.leaders.insert(group, key);
                    self.add(Report::Placed(placed), watch);
                }
                Err(trouble) => {
                    let problem = sort_out(&key, trouble)?;
                    self.add(Report::Problem(problem), watch);
                }
            }
        }
        let mut directories = std::mem::take(&mut self.directories);
        self.made.extend(placer.rooted.take_made());
        for (key, _) in &directories {
            self.made.remove(key.as_bytes());
        }
        for key in &self.made {
            // The owner can use it as it is.
            drop(placer.open_up(key));
        }
        // In reverse, what is in a directory comes before it.
        directories.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        for (key, entry) in &directories {
            match placer.finish_directory(key, entry) {
                Ok(()) => self.counts.directories += 1,
                Err(trouble) => {
                    let problem = sort_out(key, trouble)?;
                    self.add(Report::Problem(problem), watch);
                }
            }
        }
        Ok(())
    }
}
