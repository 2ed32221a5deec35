//! `ouroboros import`

use super::{Session, versions};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{Report, count, size, thousands};
use crate::progress::{Bar, Unit};
use crate::store::{self, Db, escape};
use crate::tree::import::{Carried, Counts, Event, Options};
use crate::tree::{import, snapshot, walk};
use clap::Args;
use ouroboros_engine::id::BlobId;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Instant;

/// What `import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files and directories. Each goes to its own last name; of a path that ends in `/.`, only what is in it does.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Put everything below this key.
    #[arg(long, value_name = "P", default_value = "")]
    prefix: OsString,
    /// Call the snapshot this [default: the paths].
    #[arg(long)]
    name: Option<String>,
    /// Compare with this snapshot [default: the latest of the same name].
    #[arg(long, value_name = "ID", conflicts_with = "force")]
    parent: Option<String>,
    /// Read every file, also those that seem unchanged.
    #[arg(long)]
    force: bool,
    /// Compare by size and modification time alone, for file systems whose inodes mean nothing.
    #[arg(long)]
    ignore_inode: bool,
    /// Stay on the file systems of the paths.
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

#[derive(Serialize)]
struct Imported {
    snapshot: String,
    name: String,
    entries: u64,
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
}

impl Report for Imported {
    const TYPE: &'static str = "import";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let c = &self.counts;
        writeln!(
            page,
            "{}: {} new, {} changed, {} unchanged; {} read of {} in {:.1} s",
            count(self.entries, "entry"),
            thousands(c.new),
            thousands(c.changed),
            thousands(c.unchanged),
            size(c.stored_bytes),
            size(c.bytes),
            self.seconds
        )?;
        writeln!(page, "snapshot {}  {}", &self.snapshot[..12], self.name)
    }
}

/// A file that was left out.
#[derive(Serialize)]
pub(super) struct LeftOut {
    what: String,
    why: String,
}

impl LeftOut {
    pub(super) fn new(problem: &crate::tree::Problem) -> Self {
        Self { what: problem.what.clone(), why: problem.why.clone() }
    }
}

impl Report for LeftOut {
    const TYPE: &'static str = "left_out";
    fn human(&self, _page: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn run(session: &mut Session<'_>, args: ImportArgs) -> Outcome {
    let started = Instant::now();
    let prefix = session.bytes(&args.prefix)?;
    let roots = walk::roots(&args.paths, &prefix)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.paths, &prefix)?,
    };
    let db = session.open_or_create()?;
    interrupt::watch()?;
    let options = Options {
        limits: walk::Limits { one_file_system: args.one_file_system, ..walk::Limits::excluding(db.directories()) },
        previous: previous_of(&db, &args, &name)?,
        identity: !args.ignore_inode,
        roots,
    };
    let (entries, counts) = carry(session, &db, &options)?;
    let carried = entries.len() as u64;
    let snapshot = snapshot::make(&db, &name, &entries)?;
    store::close(&db)?;
    let seconds = started.elapsed().as_secs_f64();
    session.out.emit(&Imported { snapshot: snapshot.to_string(), name, entries: carried, counts, seconds })?;
    if counts.problems == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failed,
        format!("{} left out; the snapshot holds the others", count(counts.problems, "file")),
    )
    .advise("see the warnings above; special files are never stored"))
}

/// The list of the import before, if there is one.
fn previous_of(db: &Db, args: &ImportArgs, name: &str) -> Outcome<Option<BlobId>> {
    if args.force {
        return Ok(None);
    }
    let mut snapshots = snapshot::all(db)?;
    let chosen = match &args.parent {
        Some(typed) => {
            let id = versions::pick(snapshots.iter().map(snapshot::Snapshot::id), typed, "snapshot")?;
            snapshots.retain(|snapshot| snapshot.id() == id);
            snapshots.pop()
        }
        None => snapshot::choose(snapshots, name, !args.ignore_inode),
    };
    Ok(chosen.and_then(|snapshot| snapshot.list()))
}

fn carry(session: &mut Session<'_>, db: &Db, options: &Options) -> Outcome<(Vec<Carried>, Counts)> {
    let mut bar = Bar::new(session.out, "import", Unit::Bytes);
    let count = bar.is_wanted();
    let mut printed = Ok(());
    let result = import::import(db, options, count, &mut |event| match event {
        Event::Progress(done, total) => bar.set(done, total),
        Event::Taken(taken) => {
            tracing::debug!(key = %taken.carried.key, fate = ?taken.fate, len = taken.len, "taken");
            bar.tell(taken.carried.key.to_string());
        }
        Event::Problem(problem) => {
            let report = |out: &mut crate::output::Output| {
                if out.is_json() {
                    return out.emit(&LeftOut::new(problem));
                }
                out.warn(problem);
                Ok(())
            };
            let outcome = bar.aside(|| report(session.out));
            if printed.is_ok() {
                printed = outcome;
            }
        }
    });
    printed.and(result)
}

/// What an import is called: its paths in full, so that the same import finds its predecessor.
fn name_of(paths: &[PathBuf], prefix: &[u8]) -> Outcome<String> {
    let mut names = Vec::new();
    for path in paths {
        let full = std::path::absolute(path).map_err(|e| Failure::file("find", path, e))?;
        names.push(escape(full.as_os_str().as_bytes()));
    }
    names.sort();
    let into = if prefix.is_empty() { String::new() } else { format!(" to {}", escape(prefix)) };
    Ok(names.join(", ") + &into)
}
