//! `ouroboros scrub`

use super::{Session, long};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Report, count, size, thousands};
use crate::store::{self, DamageOutcome, Db, Error, Maintenance, ScrubReport, UpkeepArgs};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What `scrub` takes.
#[derive(Debug, Args)]
pub(crate) struct ScrubArgs {
    /// Heal what can be healed.
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    upkeep: UpkeepArgs,
}

#[derive(Serialize)]
struct Damage {
    what: String,
    outcome: &'static str,
}

impl Report for Damage {
    const TYPE: &'static str = "damage";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{:8}  {}", self.outcome, self.what)
    }
}

/// A version that cannot be read back in full.
#[derive(Serialize)]
pub(super) struct Lost {
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Report for Lost {
    const TYPE: &'static str = "lost";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "lost      {self}")
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = &self.version[..12];
        match &self.key {
            Some(key) => write!(f, "{key}, version {version}"),
            None => write!(f, "version {version}, whose name cannot be read"),
        }
    }
}

/// What is lost, with names where they can be read.
pub(super) fn lost(db: Option<&Db>, report: &ScrubReport) -> Vec<Lost> {
    let name = |id| db?.get_version(id).ok().map(|got| got.key.to_string());
    report.lost.iter().map(|id| Lost { version: id.to_string(), key: name(*id) }).collect()
}

#[derive(Serialize)]
struct Scrubbed {
    records: u64,
    chunks: u64,
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
            "read {} and {}, {}: {} damaged, {} healed, {} lost",
            count(self.records, "record"),
            count(self.chunks, "chunk"),
            size(self.bytes),
            count(self.damaged, "place"),
            thousands(self.healed),
            count(self.lost, "version")
        )
    }
}

/// The word for what became of a damaged place.
pub(super) const fn word(outcome: DamageOutcome) -> &'static str {
    match outcome {
        DamageOutcome::Healed => "healed",
        DamageOutcome::Healable => "damaged",
        DamageOutcome::Harmless => "harmless",
        DamageOutcome::Lost => "lost",
    }
}

/// Scrubs. A repair that leaves something open is followed by a second look, which has the last word: what the log could
/// not heal by itself, the chunks' own parity may have healed after it, and what the disk did not take is healed by a later one.
fn scrub(store: &Maintenance, repair: bool) -> Result<ScrubReport, Error> {
    let mut report = store.scrub(repair)?;
    let open = |report: &ScrubReport| report.damage.iter().any(|damage| damage.outcome == DamageOutcome::Healable);
    if repair && open(&report) {
        let after = store.scrub(false)?;
        for damage in &mut report.damage {
            let left = after.damage.iter().find(|left| left.place == damage.place);
            if damage.outcome == DamageOutcome::Healable {
                damage.outcome = left.map_or(DamageOutcome::Healed, |left| left.outcome);
            }
        }
        report.lost.extend(after.lost);
    }
    Ok(report)
}

pub(super) fn run(session: &mut Session<'_>, args: ScrubArgs) -> Outcome {
    let opened = session.open_for_upkeep(args.upkeep)?;
    let repair = args.repair;
    let stopped = "interrupted; what was healed so far stays healed";
    let report = long::run(session, &opened.store, "scrub", stopped, move |store| scrub(store, repair))?;
    let lost = lost(opened.db.as_ref(), &report);
    store::close_upkeep(&opened.store)?;
    for damage in &report.damage {
        session.out.emit(&Damage { what: damage.place.clone(), outcome: word(damage.outcome) })?;
    }
    lost.iter().try_for_each(|lost| session.out.emit(lost))?;
    let number = |outcome| report.damage.iter().filter(|damage| damage.outcome == outcome).count() as u64;
    session.out.emit(&Scrubbed {
        records: report.records,
        chunks: report.seals,
        bytes: report.bytes,
        damaged: report.damage.len() as u64,
        healed: number(DamageOutcome::Healed),
        lost: lost.len() as u64,
    })?;
    if !lost.is_empty() {
        return Err(Failure::new(
            Exit::Damaged,
            format!("{} damaged beyond repair", count(lost.len() as u64, "version")),
        )
        .advise(
            "restore them from another copy: `ouroboros import --force` reads again what was imported and still stands there; \
             `ouroboros log KEY` and `ouroboros snapshots` show what else there is",
        ));
    }
    if number(DamageOutcome::Lost) > 0 {
        let places = count(number(DamageOutcome::Lost), "place");
        let message = format!("{places} damaged beyond repair; every version that the store knows of reads back");
        return Err(Failure::new(Exit::Damaged, message).advise(
            "a version that the store has forgotten may have stood there: put again what `ouroboros ls -R` lacks",
        ));
    }
    match number(DamageOutcome::Healable) {
        0 => Ok(()),
        open => Err(Failure::new(Exit::Failed, format!("{} damaged", count(open, "place")))
            .advise("`ouroboros scrub --repair`, soon: a second fault may be one too many")),
    }
}
