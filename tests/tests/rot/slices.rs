//! Whole slices lost: one of a seal costs nothing, two of one seal are named.

use super::{Outcome, Store, scrub};
use crate::shelf;
use ouroboros_engine::env::{Disk, DiskFile, FileName, OpenMode, Volume};
use ouroboros_engine::id::{EngineRng, SealId};
use ouroboros_engine::node::{DamageOutcome, Event};
use ouroboros_engine::seal::SliceHeader;
use ouroboros_engine::store::Location;
use ouroboros_engine::store::log::{Log, LogOptions, RecordKind};
use ouroboros_sim::disk::FaultyDisk;
use std::collections::{BTreeMap, BTreeSet};

/// Length of a record's header, in bytes (docs/FORMAT.md).
const RECORD_HEADER: u64 = 24;

/// A seal and where its slices lie.
pub struct Seal {
    pub id: SealId,
    pub data: usize,
    pub slices: BTreeMap<u8, Location>,
}

/// Every seal in the log, as the log itself tells.
pub fn seals(store: &Store) -> Vec<Seal> {
    let mut found: BTreeMap<SealId, Seal> = BTreeMap::new();
    let mut rng = EngineRng::from_seed([9; 32]);
    let opened = Log::open(store.disk.snapshot(), LogOptions::default(), None, &mut rng, |_, _| true, &mut |record| {
        if record.kind == RecordKind::Slice {
            let (header, _) = SliceHeader::decode(record.payload).unwrap();
            let seal = Seal { id: header.seal_id(), data: header.coding().data().into(), slices: BTreeMap::new() };
            let seal = found.entry(header.seal_id()).or_insert(seal);
            seal.slices.insert(header.index().0, record.location);
        }
        Ok(())
    });
    opened.unwrap();
    found.into_values().collect()
}

/// Zeros every byte of a slice: header of the record, header of the slice, payload.
fn destroy(disk: &FaultyDisk, location: Location) {
    let name = FileName::new(format!("seg-{}.log", location.segment)).unwrap();
    let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    let zeros = vec![0; (RECORD_HEADER + u64::from(location.len)) as usize];
    file.write_at(u64::from(location.offset), &[&zeros]).unwrap();
    file.sync().unwrap();
}

/// Which seals are read at all: without its slices, something is missed.
pub fn live(store: &Store, seals: &[Seal]) -> BTreeSet<SealId> {
    let is_read = |seal: &&Seal| {
        let disk = store.disk.snapshot();
        seal.slices.values().for_each(|location| destroy(&disk, *location));
        let (mut node, _) = store.open(&disk).unwrap();
        !shelf::look(&mut node, &store.shelf).is_exact()
    };
    seals.iter().filter(is_read).map(|seal| seal.id).collect()
}

/// One slice is gone: everything reads, somebody says so, and a scrub puts it back.
pub fn lose_one(store: &Store, seal: &Seal, index: u8, is_live: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let what = format!("seal {} without slice {index}", seal.id);
    let disk = store.disk.snapshot();
    destroy(&disk, seal.slices[&index]);
    let (mut node, opened) = store.open(&disk).unwrap();
    let findings = shelf::look(&mut node, &store.shelf);
    outcome.exact += findings.exact;
    if !findings.is_exact() {
        outcome.violation(format!("{what}: {findings:?}"));
    }
    let told = !opened.damaged.is_empty() || node.events().iter().any(|event| matches!(event, Event::Integrity(_)));
    if is_live && usize::from(index) < seal.data && !told {
        outcome.violation(format!("{what}: nobody said so"));
    }
    match scrub(&mut node, true) {
        Ok(report) if report.lost.is_empty() => {}
        other => outcome.violation(format!("{what}: {other:?}")),
    }
    match store.log_differs(&disk) {
        None => outcome.healed += 1,
        Some(_) if !is_live => outcome.dead += 1,
        Some(difference) => outcome.violation(format!("{what}: {difference}")),
    }
    outcome
}

/// Two slices are gone, which is more than 8+1 covers: what needs the seal says so by its name, unless the log's own parity
/// brought them back; everything else reads.
pub fn lose_two(store: &Store, seal: &Seal, pair: (u8, u8)) -> Outcome {
    let mut outcome = Outcome::default();
    let what = format!("seal {} without slices {pair:?}", seal.id);
    let disk = store.disk.snapshot();
    destroy(&disk, seal.slices[&pair.0]);
    destroy(&disk, seal.slices[&pair.1]);
    let (mut node, _) = store.open(&disk).unwrap();
    for when in ["before", "after"] {
        let findings = shelf::look(&mut node, &store.shelf);
        outcome.exact += findings.exact;
        outcome.named += findings.named.len() as u64;
        let name = seal.id.to_string();
        let unnamed = findings.named.iter().find(|text| !text.contains(&name));
        if let Some(wrong) = unnamed.or(findings.wrong.first()).or(findings.missing.first()) {
            outcome.violation(format!("{what}, {when} the scrub: {wrong}"));
        }
        let report = match scrub(&mut node, true) {
            Ok(report) => report,
            Err(why) => return outcome_with(outcome, format!("{what}: {why}")),
        };
        let lost = report.damage.iter().any(|damage| damage.outcome == DamageOutcome::Lost);
        if !findings.named.is_empty() && (!lost || report.lost.is_empty()) {
            outcome.violation(format!("{what}: a scrub does not say what is lost: {report:?}"));
        }
    }
    outcome
}

fn outcome_with(mut outcome: Outcome, violation: String) -> Outcome {
    outcome.violation(violation);
    outcome
}
