//! P7: a crash at every operation that changes the disk, and what is left after it.

use super::images::Images;
use super::judge::{PROBE_KEY, Seen, judge, observe};
use super::model::{Model, Moment, key_name};
use super::parallel::{in_parallel, say};
use super::player::{Clerk, Done, Player, ask_keyless, create, open, open_keyless, put_now};
use super::script::{Script, content};
use crate::disk::{CrashVariant, FaultPlan, FaultyDisk};
use core::fmt;
use ouroboros_engine::env::{Disk as _, Volume};
use ouroboros_engine::node::{OpenError, Opened, Reply, Request};
use ouroboros_engine::store::index::IndexName;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Violations after which no more are looked for.
const ENOUGH: usize = 12;

/// How much is tried at each crash point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Up to so many undecided units, every subset of them is tried; with more, all lost and all kept.
    pub every_subset_up_to: u64,
    /// Beside these, so many drawn subsets with torn sectors,
    pub torn: u64,
    /// and, where not every subset is tried, so many drawn ones.
    pub subsets: u64,
    /// At every so many-th crash point, recovery itself crashes at each of its operations: of one of the disks that the
    /// first crash left, in turn.
    pub nested_every: usize,
    /// After every so many-th recovery, the store is compacted and scrubbed, and read once more.
    pub deep_every: usize,
}

impl Depth {
    /// A few seconds, unoptimised.
    pub const SLICE: Self = Self { every_subset_up_to: 1, torn: 1, subsets: 1, nested_every: 40, deep_every: 9 };
    /// Minutes, optimised.
    pub const FULL: Self = Self { every_subset_up_to: 1, torn: 1, subsets: 1, nested_every: 450, deep_every: 40 };
    /// As long as it takes.
    pub const DEEP: Self = Self { every_subset_up_to: 3, torn: 2, subsets: 4, nested_every: 25, deep_every: 7 };
}

/// What was tried, and what was wrong.
#[derive(Clone, Debug, Default)]
pub struct Crashes {
    /// What the script did.
    pub done: Done,
    /// Operations of the script at which it crashed.
    pub points: u64,
    /// Operations of recoveries at which those crashed.
    pub nested_points: u64,
    /// Disks that these crashes left.
    pub disks: u64,
    /// Of those, the different ones: a store was opened on each and judged. On the others there was, byte for byte and
    /// with the same promises given, what had been judged.
    pub recoveries: u64,
    /// Of the recoveries, those with the index made anew from the whole log.
    pub rebuilt: u64,
    /// Of those, in which a write under way was torn and dropped.
    pub torn: u64,
    /// What was wrong.
    pub violations: Vec<String>,
}

impl fmt::Display for Crashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; crash points: {} and {} during recovery; disks left by them: {}, different ones, each recovered and read \
             in full: {} ({} rebuilt the index, {} dropped a torn write), violations: {}",
            self.done,
            self.points,
            self.nested_points,
            self.disks,
            self.recoveries,
            self.rebuilt,
            self.torn,
            self.violations.len()
        )?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

/// The disk right before an operation.
struct CrashPoint {
    disk: FaultyDisk,
    at: Moment,
    operation: String,
}

struct Recording {
    points: Vec<CrashPoint>,
    model: Model,
    /// When the store had been made.
    made: Moment,
    keyless: bool,
}

fn record(script: &Script, tally: &mut Crashes) -> Result<Recording, String> {
    let disk = FaultyDisk::new(FaultPlan::new(script.seed));
    disk.limit_log(0);
    let clerk = Clerk::default();
    let points = Arc::new(Mutex::new(Vec::new()));
    let (shared, times) = (points.clone(), clerk.clone());
    disk.watch(move |number, operation, disk| {
        let operation = format!("{number}, {operation:?}");
        shared.lock().unwrap_or_else(PoisonError::into_inner).push(CrashPoint { disk, at: times.now(), operation });
    });
    let mut player = Player::new(disk.clone(), clerk.clone());
    let mut made = 0;
    for stage in 0..script.stages {
        player.start(script, stage).map_err(|error| format!("stage {stage}: {error}"))?;
        if stage == 0 {
            made = clerk.tick();
        }
        let mut stream = script.stream(stage);
        for _ in 0..script.groups {
            let asks = script.group(&mut stream, &player.model);
            player.play(asks)?;
            if let Some((ask, failure)) = player.failed.pop() {
                return Err(format!("{ask:?} failed on a good disk: {failure}"));
            }
        }
        let model = player.model.clone();
        judge(player.node()?, &model, Moment::MAX).map_err(|why| format!("without any crash, stage {stage}: {why}"))?;
        player.end(stage).map_err(|failure| format!("the store does not close: {failure}"))?;
        if script.keyless {
            player.visit_keyless(script, stage).map_err(|why| format!("after stage {stage}: {why}"))?;
        }
    }
    disk.unwatch();
    let mut points = core::mem::take(&mut *points.lock().unwrap_or_else(PoisonError::into_inner));
    points.push(CrashPoint { disk: player.disk.snapshot(), at: clerk.now(), operation: "the end".to_owned() });
    tally.done = player.done;
    tally.points = points.len() as u64;
    Ok(Recording { points, model: player.model, made, keyless: script.keyless })
}

impl Depth {
    fn variants(&self, seed: u64, units: u64) -> Vec<CrashVariant> {
        if units == 0 {
            return vec![CrashVariant::AllKept];
        }
        let seeds = |count: u64| (0..count).map(move |n| seed.wrapping_mul(64).wrapping_add(n));
        let torn = seeds(self.torn).map(CrashVariant::Torn);
        if units <= self.every_subset_up_to {
            return (0..1 << units).map(CrashVariant::ExactSubset).chain(torn).collect();
        }
        let mut variants = vec![CrashVariant::AllLost, CrashVariant::AllKept];
        variants.extend(torn);
        variants.extend(seeds(self.subsets).map(|seed| CrashVariant::Subset(!seed)));
        variants
    }
}

/// One recovery, and what is done with the store afterwards.
struct Recovery<'a> {
    recording: &'a Recording,
    at: Moment,
    seed: u64,
    deep: bool,
    /// A process without keys is the first to open the store.
    keyless: bool,
}

impl Recovery<'_> {
    /// Recovers, compacts and ends without keys.
    fn go_over_without_keys(&self, disk: &FaultyDisk) -> Result<(), String> {
        let (mut node, opened) = match open_keyless(disk, self.seed ^ 5) {
            Ok(opened) => opened,
            Err(OpenError::NoStore) if self.at < self.recording.made => return Ok(()),
            Err(error) => return Err(format!("it does not open without keys: {error}")),
        };
        if !opened.damaged.is_empty() {
            return Err(format!("without keys, a crash is taken for damage: {opened:?}"));
        }
        ask_keyless(&mut node, Request::Compact)?;
        if self.deep {
            ask_keyless(&mut node, Request::Scrub { repair: true })?;
        }
        if self.seed.is_multiple_of(2) {
            return Ok(());
        }
        node.close().map_err(|failure| format!("without keys, it does not close: {failure}"))
    }

    fn judge(&self, disk: &FaultyDisk) -> Result<Opened, String> {
        let model = &self.recording.model;
        if self.keyless {
            self.go_over_without_keys(disk)?;
        }
        let (mut node, opened) = match open(disk, self.seed) {
            Ok(opened) => opened,
            // Nobody had been told that there is a store.
            Err(OpenError::NoStore) if self.at < self.recording.made => {
                let node =
                    create(disk, self.seed).map_err(|error| format!("a half-made store is in the way: {error}"))?;
                (node, Opened::default())
            }
            Err(error) => return Err(format!("it does not open: {error}")),
        };
        if !opened.damaged.is_empty() {
            return Err(format!("a crash is taken for damage: {opened:?}"));
        }
        let left = disk.list(Volume::Index).map_err(|error| error.to_string())?;
        if left.iter().any(|name| name.as_str() == IndexName::Passing.name()) {
            return Err(format!("the index of a process without keys is left: {left:?}"));
        }
        let mut seen = judge(&mut node, model, self.at)?;
        let value = content(5000 + (self.seed % 9000) as usize, !self.seed);
        let probe = |node: &mut _, key: usize, seen: Seen| -> Result<Seen, String> {
            let written = put_now(node, key, self.seed, value.clone())?;
            Ok(seen.with(&key_name(key), written.id))
        };
        seen = probe(&mut node, PROBE_KEY, seen)?;
        if self.deep {
            for request in [Request::Compact, Request::Scrub { repair: false }] {
                match node.ask(request) {
                    Ok(Reply::Scrubbed(report)) if !(report.damage.is_empty() && report.lost.is_empty()) => {
                        return Err(format!("after a compaction: {report:?}"));
                    }
                    Ok(_) => {}
                    Err(failure) => return Err(format!("upkeep fails after recovery: {failure}")),
                }
            }
            if judge(&mut node, model, self.at)? != seen {
                return Err("a compaction changed what there is".to_owned());
            }
        }
        seen = probe(&mut node, PROBE_KEY, seen)?;
        node.close().map_err(|failure| format!("it does not close: {failure}"))?;
        let (mut node, again) = open(disk, self.seed ^ 1).map_err(|error| format!("it does not reopen: {error}"))?;
        if again != Opened::default() {
            return Err(format!("after a clean close: {again:?}"));
        }
        let after = if self.deep { judge(&mut node, model, self.at)? } else { observe(&mut node)? };
        if after != seen {
            return Err(format!("after a clean close there is {after:?} instead of {seen:?}"));
        }
        Ok(opened)
    }
}

fn guarded(recovery: &Recovery<'_>, disk: &FaultyDisk) -> Result<Opened, String> {
    catch_unwind(AssertUnwindSafe(|| recovery.judge(disk))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()))
    })
}

fn try_point(recording: &Recording, depth: &Depth, images: &Images, number: usize) -> Crashes {
    let mut tally = Crashes::default();
    let Some(point) = recording.points.get(number) else { return tally };
    let variants = depth.variants(number as u64, point.disk.undecided_units());
    let nested = number.is_multiple_of(depth.nested_every).then(|| (number / depth.nested_every) % variants.len());
    for (place, variant) in variants.into_iter().enumerate() {
        let seed = number as u64 * 16 + place as u64 + 2;
        let deep = (number + place * 5).is_multiple_of(depth.deep_every);
        let keyless = recording.keyless && (number + place).is_multiple_of(2);
        let recovery = Recovery { recording, at: point.at, seed, deep, keyless };
        let after = point.disk.after_crash(variant);
        let shown = |why: &str| format!("crash at operation {}, {variant:?}: {why}", point.operation);
        if nested == Some(place) {
            let inner = Mutex::new(Vec::new());
            let inner = Arc::new(inner);
            let copy = after.snapshot();
            let shared = inner.clone();
            copy.watch(move |_, operation, disk| {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push((disk, format!("{operation:?}")));
            });
            let opened = catch_unwind(AssertUnwindSafe(|| match keyless {
                true => drop(open_keyless(&copy, seed)),
                false => drop(open(&copy, seed)),
            }));
            if opened.is_err() {
                tally.violations.push(shown("opening panics"));
            }
            copy.unwatch();
            let inner = core::mem::take(&mut *inner.lock().unwrap_or_else(PoisonError::into_inner));
            for (at, (disk, operation)) in inner.into_iter().enumerate() {
                tally.nested_points += 1;
                let variants = [CrashVariant::AllLost, CrashVariant::AllKept, CrashVariant::Torn(seed + at as u64)];
                let few = if disk.undecided_units() == 0 { 1 } else { variants.len() };
                for second in variants.into_iter().take(few) {
                    let after = disk.after_crash(second);
                    let keyless = recording.keyless && at.is_multiple_of(3);
                    tally.disks += 1;
                    if !images.is_new(&after, point.at, (false, keyless)) {
                        continue;
                    }
                    let seed = seed + 1 + at as u64;
                    let recovery = Recovery { recording, at: point.at, seed, deep: false, keyless };
                    let result = guarded(&recovery, &after);
                    let why = |why: &str| shown(&format!("crash of the recovery at {operation}, {second:?}: {why}"));
                    tally.count(result, why);
                }
            }
        }
        tally.disks += 1;
        if images.is_new(&after, point.at, (deep, keyless)) {
            tally.count(guarded(&recovery, &after), shown);
        }
        if tally.violations.len() >= ENOUGH {
            break;
        }
    }
    tally
}

impl Crashes {
    fn count(&mut self, result: Result<Opened, String>, shown: impl Fn(&str) -> String) {
        self.recoveries += 1;
        match result {
            Ok(opened) => {
                self.rebuilt += u64::from(opened.index_rebuilt);
                self.torn += u64::from(opened.torn);
            }
            Err(why) => self.violations.push(shown(&why)),
        }
    }

    fn add(&mut self, other: Self) {
        self.nested_points += other.nested_points;
        self.disks += other.disks;
        self.recoveries += other.recoveries;
        self.rebuilt += other.rebuilt;
        self.torn += other.torn;
        self.violations.extend(other.violations);
    }
}

/// Plays the script once, and recovers from a crash at every operation that changes the disk.
///
/// # Errors
/// Text, when the script cannot be played even without a crash.
pub fn enumerate_crashes(script: &Script, depth: &Depth) -> Result<Crashes, String> {
    let mut tally = Crashes::default();
    let recording = record(script, &mut tally)?;
    say(&format!("{}: {} crash points", tally.done, tally.points));
    let (tally, images) = (Mutex::new(tally), Images::default());
    in_parallel("crash points", recording.points.len(), &|number| {
        let found = try_point(&recording, depth, &images, number);
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(found);
        tally.violations.len() < ENOUGH
    });
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}
