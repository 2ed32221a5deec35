//! `ouroboros compact`

use super::{Session, long};
use crate::exit::Outcome;
use crate::output::{Report, count, size};
use crate::store::{self, Maintenance, UpkeepArgs};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What `compact` takes.
#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    #[command(flatten)]
    upkeep: UpkeepArgs,
}

#[derive(Serialize)]
struct Compacted {
    freed_bytes: u64,
    bytes_before: u64,
    bytes_after: u64,
    segments: u64,
    chunks: u64,
}

impl Report for Compacted {
    const TYPE: &'static str = "compact";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(
            page,
            "gave {} back ({} to {}): {} rewritten, {} dropped that nothing refers to any more",
            size(self.freed_bytes),
            size(self.bytes_before),
            size(self.bytes_after),
            count(self.segments, "segment"),
            count(self.chunks, "chunk")
        )
    }
}

pub(super) fn run(session: &mut Session<'_>, args: CompactArgs) -> Outcome {
    let store = session.open_for_upkeep(args.upkeep)?.store;
    let stopped = "interrupted; what was given back so far stays so";
    let report = long::run(session, &store, "compact", stopped, Maintenance::compact)?;
    store::close_upkeep(&store)?;
    session.out.emit(&Compacted {
        freed_bytes: report.bytes_before.saturating_sub(report.bytes_after),
        bytes_before: report.bytes_before,
        bytes_after: report.bytes_after,
        segments: report.segments_removed,
        chunks: report.seals_collected,
    })
}
