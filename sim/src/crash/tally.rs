//! What was tried, and what was wrong.

use super::player::Done;
use core::fmt;

/// What was tried, and what was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crashes {
    /// What the script did.
    pub done: Done,
    /// Operations of the script that change the disk, and its end: at each of them it can crash.
    pub points: u64,
    /// At so many of those it did.
    pub tried: u64,
    /// Of those tried, the ones with so few undecided units that every subset of them was tried.
    pub exhaustive: u64,
    /// Undecided units at the crash point that has most.
    pub most_units: u64,
    /// Operations of recoveries at which those crashed,
    pub nested_points: u64,
    /// and of recoveries from such a crash.
    pub twice_points: u64,
    /// Disks that these crashes left.
    pub disks: u64,
    /// Of those, the different ones: a store was opened on each and judged. On the others there was, byte for byte and
    /// with the same promises given, what had been judged.
    pub recoveries: u64,
    /// Of the recoveries, those from a crash during recovery,
    pub nested: u64,
    /// and from a crash during the recovery from that.
    pub twice: u64,
    /// Of the recoveries, those judged in full,
    pub full: u64,
    /// and those after which the store was compacted and scrubbed besides. The others were looked over.
    pub deep: u64,
    /// Of the recoveries, those with the index made anew from the whole log.
    pub rebuilt: u64,
    /// Of those, in which a write under way was torn and dropped.
    pub torn: u64,
    /// What was wrong.
    pub violations: Vec<Violation>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The crash point of the script, from 0 on.
    pub point: usize,
    /// Which operation it was, what the crash left, and what was wrong after it.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crash point {}: {}", self.point, self.text)
    }
}

impl Crashes {
    /// Of the recoveries, those that were looked over.
    #[must_use]
    pub const fn light(&self) -> u64 {
        self.recoveries - self.full - self.deep
    }

    pub(super) fn add(&mut self, other: Self) {
        let Self { done: _, points: _, tried, exhaustive, most_units, nested_points, twice_points, .. } = other;
        let Self { disks, recoveries, nested, twice, full, deep, rebuilt, torn, violations, .. } = other;
        self.tried += tried;
        self.exhaustive += exhaustive;
        self.most_units = self.most_units.max(most_units);
        self.nested_points += nested_points;
        self.twice_points += twice_points;
        self.disks += disks;
        self.recoveries += recoveries;
        self.nested += nested;
        self.twice += twice;
        self.full += full;
        self.deep += deep;
        self.rebuilt += rebuilt;
        self.torn += torn;
        self.violations.extend(violations);
    }
}

impl fmt::Display for Crashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.done)?;
        writeln!(
            f,
            "crash points: {} of {} tried, {} of them with every subset of what was undecided (at most {} units), and {} \
             during recoveries and {} during recoveries from those",
            self.tried, self.points, self.exhaustive, self.most_units, self.nested_points, self.twice_points
        )?;
        write!(
            f,
            "disks left by them: {}, different ones, each recovered: {} ({} from a crash of the script, {} of a recovery, {} \
             of a recovery from that; {} looked over, {} read in full, {} compacted and scrubbed besides; {} made the index \
             anew, {} dropped a torn write), violations: {}",
            self.disks,
            self.recoveries,
            self.recoveries - self.nested - self.twice,
            self.nested,
            self.twice,
            self.light(),
            self.full,
            self.deep,
            self.rebuilt,
            self.torn,
            self.violations.len()
        )?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
