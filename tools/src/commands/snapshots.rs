//! `ouroboros snapshots`

use super::Session;
use crate::exit::Outcome;
use crate::output::{Report, rfc3339, short, table, thousands, time};
use crate::tree::snapshot;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What `snapshots` takes.
#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {}

#[derive(Serialize)]
struct Line {
    snapshot: String,
    created: String,
    name: String,
    entries: u64,
}

impl Report for Line {
    const TYPE: &'static str = "snapshot";
    fn human(&self, _page: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn run(session: &mut Session<'_>, _args: SnapshotsArgs) -> Outcome {
    let snapshots = snapshot::all(&session.open()?)?;
    if session.out.is_json() {
        return snapshots.iter().try_for_each(|s| {
            session.out.emit(&Line {
                snapshot: s.id().to_string(),
                created: rfc3339(s.created()),
                name: s.name.clone(),
                entries: s.entries,
            })
        });
    }
    if snapshots.is_empty() {
        session.out.note("there is no snapshot; `ouroboros import` makes one");
        return Ok(());
    }
    let rows = snapshots.iter().map(|s| [short(s.id()), time(s.created()), thousands(s.entries), s.name.clone()]);
    session.out.say(table(["snapshot", "created", ">entries", "name"], rows))
}
