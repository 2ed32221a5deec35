//! `ouroboros export`

use super::{Session, versions};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{Report, count, size};
use crate::progress::{Bar, Unit};
use crate::store::Db;
use crate::tree::export::{self, Counts, Event, Options};
use crate::tree::snapshot::{self, Snapshot};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

/// What `export` takes.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The snapshot, by its id or the first digits of it; `latest` for the latest.
    snapshot: String,
    /// The directory to write into; it is made if it is not there.
    dir: PathBuf,
    /// Only this key and what is below it.
    #[arg(long, value_name = "P", default_value = "")]
    prefix: OsString,
    /// Write into a directory that is not empty, and replace files there.
    #[arg(long)]
    overwrite: bool,
}

#[derive(Serialize)]
struct Exported {
    snapshot: String,
    directory: String,
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
}

impl Report for Exported {
    const TYPE: &'static str = "export";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let c = &self.counts;
        writeln!(
            page,
            "{}, {}, {}, {}: {} to {} in {:.1} s",
            count(c.files, "file"),
            count(c.directories, "directory"),
            count(c.symlinks, "symlink"),
            count(c.hard_links, "hard link"),
            size(c.bytes),
            self.directory,
            self.seconds
        )
    }
}

/// The snapshot that is meant.
pub(super) fn find(db: &Db, typed: &str) -> Outcome<Snapshot> {
    let snapshots = snapshot::all(db)?;
    let none = || {
        Failure::new(Exit::NotFound, format!("there is no snapshot {typed}"))
            .advise("`ouroboros snapshots` lists them, `ouroboros import` makes one")
    };
    if typed == "latest" {
        return snapshots.into_iter().next_back().ok_or_else(none);
    }
    let id = versions::pick(snapshots.iter().map(Snapshot::id), typed, "snapshot")?;
    snapshots.into_iter().find(|s| s.id() == id).ok_or_else(none)
}

pub(super) fn run(session: &mut Session<'_>, args: ExportArgs) -> Outcome {
    let started = Instant::now();
    let prefix = session.bytes(&args.prefix)?;
    let db = session.open()?;
    interrupt::watch()?;
    let snapshot = find(&db, &args.snapshot)?;
    let (id, entries) = (snapshot.id(), snapshot.entries);
    let options =
        Options { snapshot: snapshot.got, directory: args.dir, prefix: prefix.clone(), overwrite: args.overwrite };
    let mut bar = Bar::new(session.out, "export", Unit::Items);
    let total = prefix.is_empty().then_some(entries);
    let mut printed = Ok(());
    let counts = export::export(&db, &options, &mut |event| match event {
        Event::Progress(entries, bytes) => {
            bar.set(entries, total);
            bar.tell(size(bytes));
        }
        Event::Problem(problem) => {
            let outcome = bar.aside(|| {
                if session.out.is_json() {
                    return session.out.emit(&super::import::LeftOut::new(problem));
                }
                session.out.warn(problem);
                Ok(())
            });
            if printed.is_ok() {
                printed = outcome;
            }
        }
    });
    drop(bar);
    printed?;
    let counts = counts?;
    let directory = options.directory.display().to_string();
    let seconds = started.elapsed().as_secs_f64();
    session.out.emit(&Exported { snapshot: id.to_string(), directory, counts, seconds })?;
    if counts.problems == 0 {
        return Ok(());
    }
    let exit = if counts.damaged > 0 { Exit::Damaged } else { Exit::Failed };
    Err(Failure::new(exit, format!("{} left out", count(counts.problems, "entry"))).advise("see the warnings above"))
}
