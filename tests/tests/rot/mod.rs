//! One store, one damaged place: what reading, scrubbing and reopening make of it.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod slices;

use crate::shelf::{self, Findings, KEYRING, Shelf, Size};
use ouroboros_engine::env::{Disk, FileName, Volume};
use ouroboros_engine::node::{DamageOutcome, Event, Limits, Opened, Reply, Request, ScrubReport};
use ouroboros_sim::disk::{Damage, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, keyring};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const SECTOR: usize = 512;

/// A store at rest, and what must be read from it.
pub struct Store {
    pub disk: FaultyDisk,
    pub shelf: Shelf,
    pub limits: Limits,
    /// Every file as it was written.
    pub files: BTreeMap<(Volume, FileName), Vec<u8>>,
    /// It was closed in an orderly way: nothing in it is in doubt.
    pub closed: bool,
}

impl Store {
    /// Makes the store; unless `closed`, its process is killed when all is acknowledged.
    pub fn make(size: Size, limits: Limits, closed: bool) -> Self {
        Self::filled(limits, closed, |node| shelf::fill(node, size))
    }

    pub fn filled(limits: Limits, closed: bool, fill: impl FnOnce(&mut Local<FaultyDisk>) -> Shelf) -> Self {
        let disk = FaultyDisk::new(FaultPlan::new(1));
        disk.limit_log(0);
        let mut node = shelf::create(&disk, limits.clone());
        let shelf = fill(&mut node);
        if closed {
            node.close().unwrap();
        } else {
            drop(node);
        }
        let disk = disk.restart();
        let mut files = BTreeMap::new();
        for volume in [Volume::Blocks, Volume::Index] {
            for name in disk.list(volume).unwrap() {
                let bytes = disk.contents(volume, &name).unwrap();
                files.insert((volume, name), bytes);
            }
        }
        Self { disk, shelf, limits, files, closed }
    }

    pub fn open(&self, disk: &FaultyDisk) -> Result<(Local<FaultyDisk>, Opened), String> {
        Local::open(disk.clone(), keyring(KEYRING), self.limits.clone(), 8).map_err(|error| error.to_string())
    }

    /// Whether a disk's log is the log that was written, but for what stands behind the end of one file: parity, where what was
    /// there had rotted before anybody could say what it was of.
    pub fn only_grew(&self, disk: &FaultyDisk) -> bool {
        let mut longer = 0;
        let mut begins_as_before = |(volume, name): &(Volume, FileName), then: &Vec<u8>| {
            let now = disk.contents(*volume, name).unwrap_or_default();
            longer += usize::from(now.len() > then.len());
            now.starts_with(then)
        };
        let mut written = self.files.iter().filter(|((volume, _), _)| *volume == Volume::Blocks);
        written.all(|(file, then)| begins_as_before(file, then)) && longer == 1
    }

    /// The first difference between a disk's log and the log that was written.
    pub fn log_differs(&self, disk: &FaultyDisk) -> Option<String> {
        let mut names: Vec<FileName> = disk.list(Volume::Blocks).unwrap();
        names.extend(self.files.keys().filter(|(volume, _)| *volume == Volume::Blocks).map(|(_, name)| name.clone()));
        names.sort_unstable();
        names.dedup();
        for name in names {
            let now = disk.contents(Volume::Blocks, &name);
            let then = self.files.get(&(Volume::Blocks, name.clone()));
            match (now, then) {
                (Some(now), Some(then)) if now == *then => {}
                (Some(now), Some(then)) => {
                    let at = now.iter().zip(then).position(|(a, b)| a != b).unwrap_or(now.len().min(then.len()));
                    return Some(format!(
                        "{name} differs from byte {at} on ({} bytes, were {})",
                        now.len(),
                        then.len()
                    ));
                }
                (Some(_), None) => return Some(format!("{name} is new")),
                (None, _) => return Some(format!("{name} is gone")),
            }
        }
        None
    }

    pub fn sectors(&self, volume: Volume) -> Vec<(FileName, u64)> {
        let files = self.files.iter().filter(|((of, _), _)| *of == volume);
        files
            .flat_map(|((_, name), bytes)| {
                (0..bytes.len().div_ceil(SECTOR) as u64).map(|sector| (name.clone(), sector))
            })
            .collect()
    }
}

/// How a sector is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Zeroed,
    Flipped,
    Replaced,
    Unreadable,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Zeroed, Self::Flipped, Self::Replaced, Self::Unreadable];

    /// The damage to `sector` of a file of `len` bytes: places and bits follow from the sector's number.
    fn damage(self, sector: u64, len: usize) -> Damage {
        let sectors = len.div_ceil(SECTOR) as u64;
        let here = (len - sector as usize * SECTOR).min(SECTOR);
        match self {
            Self::Zeroed => Damage::Zeroed,
            Self::Flipped => Damage::FlippedBit { bit: (sector * 2_654_435_761 % (here as u64 * 8)) as u16 },
            Self::Replaced => Damage::ReplacedBy { sector: (sector + 1 + sector * 31 % sectors.max(2)) % sectors },
            Self::Unreadable => Damage::Unreadable,
        }
    }
}

/// One damaged place.
#[derive(Clone, Debug)]
pub struct Case {
    pub volume: Volume,
    pub file: FileName,
    pub first: u64,
    pub count: u64,
    pub kind: Kind,
    /// The index is gone as well: all of the log is read.
    pub without_index: bool,
}

impl core::fmt::Display for Case {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { volume, file, first, count, kind, without_index } = self;
        write!(f, "{volume}/{file} sectors {first}+{count} {kind:?}")?;
        if *without_index { f.write_str(" and no index") } else { Ok(()) }
    }
}

/// What is demanded beyond: never wrong bytes, never a panic, never a loss that nobody names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Every value reads before and after the scrub, and the log is byte for byte what it was.
    Whole,
    /// Errors that name the damage are fine; after a scrub with repair another finds nothing, or names what is lost.
    Named,
}

/// What became of one case.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub unchanged: u64,
    pub exact: u64,
    pub named: u64,
    pub refused: u64,
    pub healed: u64,
    pub anew: u64,
    pub dead: u64,
    pub rebuilt: u64,
    pub violations: Vec<String>,
    pub remarks: BTreeMap<String, u64>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.unchanged += other.unchanged;
        self.exact += other.exact;
        self.named += other.named;
        self.refused += other.refused;
        self.healed += other.healed;
        self.anew += other.anew;
        self.dead += other.dead;
        self.rebuilt += other.rebuilt;
        self.violations.extend(other.violations);
        for (remark, count) in other.remarks {
            *self.remarks.entry(remark).or_default() += count;
        }
    }

    fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }
}

impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { unchanged, exact, named, refused, healed, anew, dead, rebuilt, violations, .. } = self;
        write!(
            f,
            "exact: {exact}, named errors: {named}, refused to open: {refused}, healed byte for byte: {healed}, \
             clean in other bytes: {anew}, in dead bytes: {dead}, indexes rebuilt: {rebuilt}, damage that changes nothing: {unchanged}, \
             violations: {}",
            violations.len()
        )
    }
}

/// Runs every case on all cores.
pub fn run(store: &Store, cases: &[Case], demand: Demand) -> Outcome {
    run_all(cases, |case| run_one(store, case, demand))
}

/// Runs every case on all cores.
pub fn run_all<C: Sync>(cases: &[C], one: impl Fn(&C) -> Outcome + Sync) -> Outcome {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Outcome::default());
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut mine = Outcome::default();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    mine.add(one(case));
                }
                total.lock().unwrap().add(mine);
            });
        }
    });
    total.into_inner().unwrap()
}

fn run_one(store: &Store, case: &Case, demand: Demand) -> Outcome {
    let mut outcome = Outcome::default();
    let disk = store.disk.snapshot();
    let bytes = &store.files[&(case.volume, case.file.clone())];
    let mut changed = case.kind == Kind::Unreadable;
    for sector in case.first..case.first + case.count {
        assert!(disk.damage(case.volume, &case.file, sector, case.kind.damage(sector, bytes.len())), "{case}");
    }
    changed |= disk.contents(case.volume, &case.file).as_ref() != Some(bytes);
    if !changed {
        outcome.unchanged += 1;
        return outcome;
    }
    if case.without_index {
        for name in disk.list(Volume::Index).unwrap() {
            disk.remove(Volume::Index, &name).unwrap();
        }
    }
    let body = AssertUnwindSafe(|| examine(store, case, &disk, demand, &mut outcome));
    if let Err(panic) = catch_unwind(body) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        outcome.violation(format!("a panic: {}", text.unwrap_or_default()));
    }
    for violation in &mut outcome.violations {
        *violation = format!("{case}: {violation}");
    }
    outcome
}

/// Opens, reads everything, scrubs, reads everything, opens again.
fn examine(store: &Store, case: &Case, disk: &FaultyDisk, demand: Demand, outcome: &mut Outcome) {
    let (mut node, opened) = match store.open(disk) {
        Ok(opened) => opened,
        Err(why) => {
            outcome.refused += 1;
            *outcome.remarks.entry(format!("refused: {why}")).or_default() += 1;
            // Whether a write was acknowledged is not decided by a read error: where nothing but the unreadable place could
            // tell, the store says so and waits for a better day.
            let in_doubt = case.kind == Kind::Unreadable && (case.without_index || !store.closed);
            if !in_doubt || !why.contains(case.file.as_str()) {
                outcome.violation(format!("opening: {why}"));
            }
            return;
        }
    };
    outcome.rebuilt += u64::from(opened.index_rebuilt);
    let before = shelf::look(&mut node, &store.shelf);
    outcome.exact += before.exact;
    outcome.named += before.named.len() as u64;
    judge(&before, &opened, demand, outcome, "before the scrub");
    let told = node.events().iter().any(|event| matches!(event, Event::Integrity(_)));
    let report = match scrub(&mut node, true) {
        Ok(report) => report,
        Err(why) => return outcome.violation(format!("the scrub: {why}")),
    };
    let noticed =
        told || opened.index_rebuilt || opened.torn || !opened.damaged.is_empty() || !report.damage.is_empty();
    if case.volume == Volume::Blocks && !noticed {
        outcome.violation("nobody noticed");
    }
    let after = shelf::look(&mut node, &store.shelf);
    judge(&after, &opened, demand, outcome, "after the scrub");
    let lost = !report.lost.is_empty() || report.damage.iter().any(|damage| damage.outcome == DamageOutcome::Lost);
    if demand == Demand::Whole && lost {
        outcome.violation(format!("lost: {:?}", report.damage));
    }
    match store.log_differs(disk) {
        None => outcome.healed += 1,
        // Dead bytes are nobody's: what rots there is named until a compaction returns their space.
        Some(_) if report.damage.iter().any(|damage| damage.outcome == DamageOutcome::Harmless) => outcome.dead += 1,
        Some(difference) => {
            *outcome.remarks.entry(format!("not the same bytes: {difference}")).or_default() += 1;
            outcome.anew += 1;
            // Only the index knows where a commit stood that closed the log and holds nothing; without both, the log ends
            // in another way.
            if demand == Demand::Whole && store.closed && !case.without_index && !store.only_grew(disk) {
                outcome.violation(format!("after the scrub {difference}"));
            }
            match scrub(&mut node, false) {
                Ok(again) if again.damage.is_empty() || (lost && demand == Demand::Named) => {}
                Ok(again) => outcome.violation(format!("after the scrub, another finds {:?}", again.damage)),
                Err(why) => outcome.violation(format!("the second scrub: {why}")),
            }
        }
    }
    drop(node);
    match store.open(disk) {
        Ok((mut node, again)) => {
            // What was torn is gone, and was named when it went.
            let torn = opened.torn || again.torn;
            let findings = shelf::look(&mut node, &store.shelf);
            judge(&findings, &Opened { torn, ..again }, demand, outcome, "opened again");
        }
        Err(why) => outcome.violation(format!("opening again: {why}")),
    }
}

fn judge(findings: &Findings, opened: &Opened, demand: Demand, outcome: &mut Outcome, when: &str) {
    if let Some(wrong) = findings.wrong.first() {
        outcome.violation(format!("{when}: {wrong}"));
    }
    // Rot in the one batch that nothing proves durable yet is taken for a torn write: that much is said.
    if let Some(missing) = findings.missing.first()
        && !opened.torn
        && opened.damaged.is_empty()
    {
        outcome.violation(format!("{when}: {missing}, and nobody said why"));
    }
    if demand == Demand::Whole && !findings.is_exact() {
        let first = findings.named.first().or(findings.missing.first());
        outcome.violation(format!("{when}: {first:?}, {opened:?}"));
    }
}

pub fn scrub(node: &mut Local<FaultyDisk>, repair: bool) -> Result<ScrubReport, String> {
    match node.ask(Request::Scrub { repair }) {
        Ok(Reply::Scrubbed(report)) => Ok(report),
        Ok(other) => Err(format!("{other:?}")),
        Err(failure) => Err(failure.to_string()),
    }
}
