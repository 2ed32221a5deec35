//! `ouroboros doctor`

use super::{Session, long, scrub, versions};
use crate::exit::{Exit, Failure, Outcome};
use crate::keyring_file;
use crate::output::{Report, count, size, thousands};
use crate::store::{self, DamageOutcome, Db, Maintenance, Opened, Place, Stats, UpkeepArgs};
use crate::tree::snapshot;
use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;

/// Less free space than this is worth a word.
const TIGHT: u64 = 1 << 30;
/// So many of a kind are named one by one; `scrub` names them all.
const NAMED: usize = 10;

/// What `doctor` takes.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Do not read everything again; say only what is known already.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    upkeep: UpkeepArgs,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Good,
    Note,
    Warning,
    Lost,
}

#[derive(Serialize)]
struct Finding {
    severity: Severity,
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

impl Report for Finding {
    const TYPE: &'static str = "finding";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let (word, style) = match self.severity {
            Severity::Good => ("good", AnsiColor::Green.on_default()),
            Severity::Note => ("note", Style::new()),
            Severity::Warning => ("warning", AnsiColor::Yellow.on_default().bold()),
            Severity::Lost => ("lost", AnsiColor::Red.on_default().bold()),
        };
        writeln!(page, "{style}{word:>7}{style:#}  {}", self.text)?;
        if self.advice.is_empty() { Ok(()) } else { writeln!(page, "         what to do: {}", self.advice) }
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, text: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { severity, text: text.into(), advice: advice.into() });
    }
}

pub(super) fn run(session: &mut Session<'_>, args: DoctorArgs) -> Outcome {
    let place = session.place()?;
    let opened = session.open_for_upkeep(args.upkeep)?;
    let mut findings = Findings::default();
    opening(&opened.store, &mut findings);
    figures(&opened, &mut findings)?;
    if !args.quick {
        reading(session, &opened, &mut findings)?;
    }
    let is_damaged = findings.0.iter().any(|finding| finding.severity >= Severity::Warning);
    surroundings(&opened.store, &place, &mut findings);
    store::close_upkeep(&opened.store)?;
    findings.0.iter().try_for_each(|finding| session.out.emit(finding))?;
    if findings.0.iter().any(|finding| finding.severity == Severity::Lost) {
        return Err(
            Failure::new(Exit::Damaged, "data is damaged beyond repair").advise("see the findings marked `lost`")
        );
    }
    if is_damaged {
        return Err(Failure::new(Exit::Failed, "the store is damaged").advise("`ouroboros scrub --repair`"));
    }
    Ok(())
}

/// What opening the store has shown.
fn opening(store: &Maintenance, findings: &mut Findings) {
    let opened = store.opened();
    if opened.torn {
        findings.add(
            Severity::Note,
            "the last write was cut short by a crash, and is gone; nothing acknowledged is missing, unless the very end of the log \
             has rotted since",
            "",
        );
    }
    if opened.index_rebuilt {
        let records = thousands(opened.replayed);
        findings.add(Severity::Note, format!("the index was made anew from {records} records of the log"), "");
    }
    for damage in &opened.damaged {
        let text = format!("found while opening: {damage}");
        findings.add(Severity::Warning, text, "`ouroboros scrub --repair` heals what can be healed");
    }
}

/// What the store says of itself.
fn figures(opened: &Opened, findings: &mut Findings) -> Outcome {
    let stats = opened.store.stats()?;
    let what = match &opened.db {
        Some(db) => with_names(db, &stats)?,
        None => {
            let (keys, versions) = (count(stats.keys, "key"), count(stats.versions, "version"));
            format!(
                "{keys} with {versions}, the store's own snapshots among them, in {} on disk",
                size(stats.log_bytes)
            )
        }
    };
    findings.add(Severity::Good, what, "");
    if opened.db.is_none() {
        let text = "looked at without keys: whether names and contents open, and how the index is, was not seen";
        findings.add(Severity::Note, text, "run it again with the keyring to see the rest");
    }
    health(&stats, findings);
    Ok(())
}

/// The figures that need keys: snapshots are known by their names.
fn with_names(db: &Db, stats: &Stats) -> Outcome<String> {
    let all = snapshot::all(db)?;
    let snapshots = all.len() as u64;
    // A snapshot is a key of the store's own, with its list of entries as a version beside it.
    let mut own_versions = 0;
    for snapshot in &all {
        own_versions += versions::log(db, &snapshot.got.key)?.len() as u64;
    }
    Ok(format!(
        "{} with {} and {}: {} of values in {} on disk",
        count(stats.keys.saturating_sub(snapshots), "key"),
        count(stats.versions.saturating_sub(own_versions), "version"),
        count(snapshots, "snapshot"),
        size(stats.logical_bytes.unwrap_or_default()),
        size(stats.log_bytes)
    ))
}

/// What the figures say of the store's health.
fn health(stats: &Stats, findings: &mut Findings) {
    if stats.conflicts > 0 {
        findings.add(
            Severity::Note,
            format!("keys with more than one head, from writes that did not know of each other: {}", stats.conflicts),
            "`ouroboros ls -R --long` shows them, `ouroboros merge KEY` joins them",
        );
    }
    if stats.degraded_seals > 0 {
        findings.add(
            Severity::Warning,
            format!("chunks that have lost a part of their redundancy: {}", thousands(stats.degraded_seals)),
            "`ouroboros scrub --repair` makes it anew",
        );
    }
    let dead = stats.log_bytes.saturating_sub(stats.live_bytes);
    if dead > stats.log_bytes / 2 && dead > 16 << 20 {
        let text = format!("{} of {} on disk belong to nothing any more", size(dead), size(stats.log_bytes));
        findings.add(Severity::Note, text, "`ouroboros compact` gives the space back");
    }
}

/// What reading everything again shows.
fn reading(session: &Session<'_>, opened: &Opened, findings: &mut Findings) -> Outcome {
    let report = long::run(session, &opened.store, "doctor", "interrupted", |store| store.scrub(false))?;
    let read = format!("{} and {}", count(report.records, "record"), count(report.seals, "chunk"));
    let number = |outcome| report.damage.iter().filter(|damage| damage.outcome == outcome).count() as u64;
    if report.damage.is_empty() && report.lost.is_empty() {
        findings.add(
            Severity::Good,
            format!("{read} were read again ({}), and every one is whole", size(report.bytes)),
            "",
        );
    }
    for damage in report.damage.iter().filter(|damage| damage.outcome == DamageOutcome::Healable).take(NAMED) {
        findings.add(Severity::Warning, format!("damaged: {}", damage.place), "");
    }
    let healable = number(DamageOutcome::Healable);
    if healable > 0 {
        let places = count(healable, "damaged place");
        let text = format!("in all, {places}; the redundancy covers one fault in each group of records and chunks");
        let advice = "`ouroboros scrub --repair`, soon: it heals all that is covered, and names the rest";
        findings.add(Severity::Warning, text, advice);
    }
    let lost = scrub::lost(opened.db.as_ref(), &report);
    for lost in lost.iter().take(NAMED) {
        findings.add(Severity::Lost, format!("damaged beyond repair: {lost}"), "");
    }
    if !lost.is_empty() {
        let versions = count(lost.len() as u64, "version");
        findings.add(
            Severity::Lost,
            format!("in all, {versions} cannot be read back; everything else is as it was"),
            "put the value again from where it came from, or `ouroboros restore` an older version that `ouroboros log KEY` \
             shows; `ouroboros scrub` lists all that is lost",
        );
    }
    Ok(())
}

/// What stands around the store.
fn surroundings(store: &Maintenance, place: &Place, findings: &mut Findings) {
    let mut seen = Vec::new();
    for directory in store.directories() {
        let (Ok(disk), Ok(file)) = (rustix::fs::statvfs(directory), std::fs::metadata(directory)) else { continue };
        if seen.contains(&file.dev()) {
            continue;
        }
        seen.push(file.dev());
        let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        if free < TIGHT && free < all / 20 {
            let text = format!("only {} are free where {} lies", size(free), directory.display());
            findings.add(Severity::Warning, text, "free some space; a full disk stops writing, and loses nothing");
        }
    }
    for (text, advice) in keyring_file::worries(&place.keyring, &place.store) {
        findings.add(Severity::Warning, text, advice);
    }
    if !keyring_file::exists(&place.keyring) {
        let text = format!("the keyring {} is not there", place.keyring.display());
        let advice = "pass it with --keyring FILE, or make it anew from the recovery phrase: `ouroboros keys recover`";
        findings.add(Severity::Note, text, advice);
    }
    findings.add(
        Severity::Note,
        format!("without the keyring {} or its recovery phrase, all of this is lost", place.keyring.display()),
        "keep the phrase that `ouroboros keys phrase` prints away from this machine",
    );
}
