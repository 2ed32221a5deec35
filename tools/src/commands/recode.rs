//! `ouroboros recode`

use super::{Session, long};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Report, count, thousands};
use crate::store::{self, Coding, UpkeepArgs};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What `recode` takes.
#[derive(Debug, Args)]
pub(crate) struct RecodeArgs {
    /// Data and parity slices for each chunk, for example 8+1 or 4+2.
    #[arg(value_name = "K+M")]
    coding: Coding,
    #[command(flatten)]
    upkeep: UpkeepArgs,
}

#[derive(Serialize)]
struct Recoded {
    coding: String,
    recoded: u64,
    unchanged: u64,
    damaged: u64,
}

impl Report for Recoded {
    const TYPE: &'static str = "recode";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let unchanged =
            if self.unchanged == 0 { String::new() } else { format!(", {} were so before", thousands(self.unchanged)) };
        writeln!(
            page,
            "recoded {} as {}{unchanged}; new ones will be so too",
            count(self.recoded, "chunk"),
            self.coding
        )?;
        if self.recoded > 0 {
            writeln!(page, "`ouroboros compact` gives the space of the old slices back")
        } else {
            Ok(())
        }
    }
}

pub(super) fn run(session: &mut Session<'_>, args: RecodeArgs) -> Outcome {
    let store = session.open_for_upkeep(args.upkeep)?.store;
    let coding = args.coding;
    let stopped = "interrupted; what was recoded so far stays so, the rest is as it was: recode again to finish";
    let report = long::run(session, &store, "recode", stopped, move |store| store.recode(coding))?;
    store::close_upkeep(&store)?;
    let damaged = report.damaged.len() as u64;
    let (recoded, unchanged) = (report.recoded, report.unchanged);
    session.out.emit(&Recoded { coding: coding.to_string(), recoded, unchanged, damaged })?;
    if damaged == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Damaged, format!("{} cannot be read: kept as before", count(damaged, "chunk")))
        .advise("`ouroboros scrub --repair` names what is damaged"))
}
