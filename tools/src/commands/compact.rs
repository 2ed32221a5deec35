//! `ouroboros compact`

use super::Session;
use crate::exit::Outcome;
use crate::interrupt;
use crate::output::{Report, size, thousands};
use crate::progress::{Bar, Unit};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What `compact` takes.
#[derive(Debug, Args)]
pub(crate) struct CompactArgs {}

#[derive(Serialize)]
struct Compacted {
    freed_bytes: u64,
    moved_bytes: u64,
    segments: u64,
}

impl Report for Compacted {
    const TYPE: &'static str = "compact";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(
            page,
            "gave {} back, moved {}, from {} segments",
            size(self.freed_bytes),
            size(self.moved_bytes),
            thousands(self.segments)
        )
    }
}

pub(super) fn run(session: &mut Session<'_>, _args: CompactArgs) -> Outcome {
    let db = session.open()?;
    interrupt::watch()?;
    let mut bar = Bar::new(session.out, "compact", Unit::Bytes);
    let report = db.compact(&mut |progress| {
        bar.set(progress.done, Some(progress.total));
        interrupt::flow()
    });
    drop(bar);
    let report = report?;
    db.close()?;
    let (freed_bytes, moved_bytes, segments) = (report.freed_bytes, report.moved_bytes, report.segments);
    session.out.emit(&Compacted { freed_bytes, moved_bytes, segments })?;
    interrupt::check("interrupted; what was given back so far stays so")
}
