//! `ouroboros stats`

use super::Session;
use crate::exit::Outcome;
use crate::output::{Report, size, thousands};
use crate::store::{UpkeepArgs, figures};
use crate::tree::snapshot;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What `stats` takes.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    upkeep: UpkeepArgs,
}

#[derive(Serialize)]
struct Figures {
    store: String,
    keyring: String,
    #[serde(flatten)]
    figures: BTreeMap<&'static str, u64>,
    #[serde(skip)]
    table: Vec<(&'static str, String)>,
}

impl Report for Figures {
    const TYPE: &'static str = "stats";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "store    {}", self.store)?;
        writeln!(page, "keyring  {}", self.keyring)?;
        let name = self.table.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let value = self.table.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        self.table.iter().try_for_each(|(n, v)| writeln!(page, "{:name$}  {v:>value$}", n.replace('_', " ")))
    }
}

pub(super) fn run(session: &mut Session<'_>, args: StatsArgs) -> Outcome {
    let place = session.place()?;
    let opened = session.open_for_upkeep(args.upkeep)?;
    let snapshots = opened.db.as_ref().map(snapshot::all).transpose()?;
    let figures = figures(&opened.store.stats()?, snapshots.map(|all| all.len() as u64));
    let shown = |value: u64, is_bytes: bool| if is_bytes { size(value) } else { thousands(value) };
    session.out.emit(&Figures {
        store: place.store.display().to_string(),
        keyring: place.keyring.display().to_string(),
        table: figures.iter().map(|(name, value, is_bytes)| (*name, shown(*value, *is_bytes))).collect(),
        figures: figures.into_iter().map(|(name, value, _)| (name, value)).collect(),
    })
}
