//! `ouroboros scrub`

use super::Session;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{Report, size, thousands};
use crate::progress::{Bar, Unit};
use crate::store::ScrubOptions;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What `scrub` takes.
#[derive(Debug, Args)]
pub(crate) struct ScrubArgs {
    /// Heal what can be healed.
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
struct Damage {
    what: String,
    healed: bool,
}

impl Report for Damage {
    const TYPE: &'static str = "damage";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{}  {}", if self.healed { "healed " } else { "damaged" }, self.what)
    }
}

#[derive(Serialize)]
struct Scrubbed {
    records: u64,
    bytes: u64,
    damaged: u64,
    healed: u64,
    lost: u64,
}

impl Report for Scrubbed {
    const TYPE: &'static str = "scrub";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(
            page,
            "read {} records, {}: {} damaged, {} healed, {} lost",
            thousands(self.records),
            size(self.bytes),
            thousands(self.damaged),
            thousands(self.healed),
            thousands(self.lost)
        )
    }
}

pub(super) fn run(session: &mut Session<'_>, args: ScrubArgs) -> Outcome {
    let db = session.open()?;
    interrupt::watch()?;
    let mut bar = Bar::new(session.out, "scrub", Unit::Bytes);
    let report = db.scrub(ScrubOptions { repair: args.repair }, &mut |progress| {
        bar.set(progress.done, Some(progress.total));
        interrupt::flow()
    });
    drop(bar);
    let report = report?;
    db.close()?;
    for damage in &report.damaged {
        session.out.emit(&Damage { what: damage.what.clone(), healed: damage.healed })?;
    }
    session.out.emit(&Scrubbed {
        records: report.records,
        bytes: report.bytes,
        damaged: report.damaged.len() as u64,
        healed: report.healed,
        lost: report.lost,
    })?;
    interrupt::check("interrupted; what was healed so far stays healed")?;
    if report.lost > 0 {
        return Err(Failure::new(Exit::Damaged, format!("{} records are damaged beyond repair", report.lost)).advise(
            "restore them from another copy: `ouroboros log KEY` and `ouroboros snapshots` show what else there is",
        ));
    }
    let open = report.damaged.iter().filter(|damage| !damage.healed).count();
    if open > 0 {
        return Err(Failure::new(Exit::Failed, format!("{open} records are damaged and can be healed"))
            .advise("`ouroboros scrub --repair`"));
    }
    Ok(())
}
