//! The crash points of one moment: every disk that a crash may leave there, and that a crash of the recovery from it may.

use super::depth::{Depth, Subsets};
use super::images::{Digest, Images, digest};
use super::recording::{CrashPoint, NextOperation, Recording};
use super::recovery::{Recovered, Recovery, Scrutiny, Sights};
use super::tally::{Crashes, Violation};
use crate::disk::CrashVariant;
use core::fmt;
use core::ops::Range;
use std::sync::Arc;

/// Violations after which no more are looked for.
pub(super) const ENOUGH: usize = 12;

/// Whose crash it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// The script's.
    First,
    /// The recovery's.
    Again,
    /// That of the recovery from the recovery's.
    Twice,
}

/// One crash, and those before it.
struct Trail {
    before: Option<Arc<Self>>,
    operation: Arc<NextOperation>,
    variant: CrashVariant,
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.before {
            Some(before) => write!(f, "{before}: crash of the recovery ")?,
            None => f.write_str("crash ")?,
        }
        write!(f, "at operation {}, {:?}", self.operation, self.variant)
    }
}

/// Where a recovery can crash, and how it came to that recovery.
struct Inner {
    point: CrashPoint,
    trail: Arc<Trail>,
}

/// What was tried at one moment.
pub(super) struct Explorer<'a> {
    recording: &'a Recording,
    depth: &'a Depth,
    images: Images,
    sights: Sights,
    tally: Crashes,
}

impl<'a> Explorer<'a> {
    /// Tries these crash points, all of one moment. `tell` is told what came of each, and says whether to go on.
    pub(super) fn explore(
        recording: &'a Recording,
        depth: &'a Depth,
        points: Range<usize>,
        tell: &dyn Fn(Crashes) -> bool,
    ) -> bool {
        let (images, sights, tally) = (Images::default(), Sights::of(recording), Crashes::default());
        let mut explorer = Self { recording, depth, images, sights, tally };
        points.into_iter().all(|number| {
            if let Some(point) = recording.points.get(number) {
                explorer.point(number, point);
            }
            tell(core::mem::take(&mut explorer.tally))
        })
    }

    fn is_enough(&self) -> bool {
        self.tally.violations.len() >= ENOUGH
    }

    fn point(&mut self, number: usize, point: &CrashPoint) {
        let units = point.disk.undecided_units();
        self.tally.tried += 1;
        self.tally.exhaustive += u64::from(self.depth.first.is_exhaustive(units));
        self.tally.most_units = self.tally.most_units.max(units);
        let depth = self.depth;
        // One after the other, so that what a crash of the script may leave is recovered as such.
        let mut again = Vec::new();
        self.crash(number, Level::First, point, None, &depth.first, &mut again);
        let mut twice = Vec::new();
        self.tally.nested_points += again.len() as u64;
        for inner in again {
            self.crash(number, Level::Again, &inner.point, Some(&inner.trail), &depth.again, &mut twice);
        }
        self.tally.twice_points += twice.len() as u64;
        for inner in twice {
            self.crash(number, Level::Twice, &inner.point, Some(&inner.trail), &depth.twice, &mut Vec::new());
        }
    }

    /// Recovers from every crash at one point that is to be tried, and collects where these recoveries can crash.
    fn crash(
        &mut self,
        number: usize,
        level: Level,
        point: &CrashPoint,
        before: Option<&Arc<Trail>>,
        subsets: &Subsets,
        inner: &mut Vec<Inner>,
    ) {
        let variants = subsets.variants(number as u64, point.disk.undecided_units());
        // Many recoveries come to the same: then all that a crash leaves of one was left of the other.
        if level != Level::First && !self.images.is_new_crash(&point.disk, level as u8) {
            self.tally.disks += variants.len() as u64;
            return;
        }
        let operation = Arc::new(point.operation.clone());
        for (place, variant) in variants.into_iter().enumerate() {
            if self.is_enough() {
                return;
            }
            let disk = point.disk.after_crash(variant);
            self.tally.disks += 1;
            let digest = digest(&disk);
            if !self.images.is_new(digest) {
                continue;
            }
            let is_first = self.depth.first_in_full && level == Level::First && place == 0;
            let recovery = self.recovery(point, level, &digest, is_first);
            self.count(level, recovery.scrutiny);
            let trail = Trail { before: before.cloned(), operation: operation.clone(), variant };
            match recovery.run(&disk, &mut self.sights) {
                Ok(Recovered { opened, points }) => {
                    self.tally.rebuilt += u64::from(opened.index_rebuilt);
                    self.tally.torn += u64::from(opened.torn);
                    let trail = Arc::new(trail);
                    inner.extend(points.into_iter().map(|point| Inner { point, trail: trail.clone() }));
                }
                Err(why) => {
                    self.tally.violations.push(Violation { point: number, text: format!("{trail}: {why}") });
                }
            }
        }
    }

    fn recovery(&self, point: &CrashPoint, level: Level, digest: &Digest, is_first: bool) -> Recovery<'a> {
        let depth = self.depth;
        let scrutiny = match () {
            () if digest.is_one_in(depth.deep_every, 1) => Scrutiny::Deep,
            () if is_first || digest.is_one_in(depth.full_every, 2) => Scrutiny::Full,
            () => Scrutiny::Light,
        };
        let watched = match level {
            Level::First => digest.is_one_in(depth.again_every, 3),
            Level::Again => digest.is_one_in(depth.twice_every, 4),
            Level::Twice => false,
        };
        let script = &self.recording.script;
        Recovery {
            recording: self.recording,
            at: point.at,
            // The same for all crashes of a level, so that recoveries which do the same leave the same. No two processes of
            // one history have the same, nor do `seed ^ 1` and `seed ^ 2`.
            seed: script.seed.wrapping_mul(256).wrapping_add(200 + 4 * level as u64),
            draw: digest.number(5),
            scrutiny,
            keyless: script.keyless && digest.is_one_in(2, 6),
            watched,
        }
    }

    fn count(&mut self, level: Level, scrutiny: Scrutiny) {
        self.tally.recoveries += 1;
        self.tally.nested += u64::from(level == Level::Again);
        self.tally.twice += u64::from(level == Level::Twice);
        self.tally.full += u64::from(scrutiny == Scrutiny::Full);
        self.tally.deep += u64::from(scrutiny == Scrutiny::Deep);
    }
}
