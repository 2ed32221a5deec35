//! `ouroboros recode`

use super::Session;
use crate::exit::Outcome;
use crate::interrupt;
use crate::output::{Report, thousands};
use crate::progress::{Bar, Unit};
use crate::store::Coding;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What `recode` takes.
#[derive(Debug, Args)]
pub(crate) struct RecodeArgs {
    /// Data and parity slices for each chunk, for example 8+1 or 4+2.
    #[arg(value_name = "K+M")]
    coding: Coding,
}

#[derive(Serialize)]
struct Recoded {
    coding: String,
    seals: u64,
}

impl Report for Recoded {
    const TYPE: &'static str = "recode";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let seals = thousands(self.seals);
        writeln!(page, "{seals} chunks are coded {} now, and so will new ones be", self.coding)
    }
}

pub(super) fn run(session: &mut Session<'_>, args: RecodeArgs) -> Outcome {
    let db = session.open()?;
    interrupt::watch()?;
    let mut bar = Bar::new(session.out, "recode", Unit::Bytes);
    let seals = db.recode(args.coding, &mut |progress| {
        bar.set(progress.done, Some(progress.total));
        interrupt::flow()
    });
    drop(bar);
    let seals = seals?;
    db.close()?;
    interrupt::check("interrupted; what was recoded so far stays so, the rest is as it was")?;
    session.place()?.remember_redundancy(args.coding)?;
    session.out.emit(&Recoded { coding: args.coding.to_string(), seals })
}
