//! How much is tried: which of the many disks that a crash may leave, and how closely each is looked at.

use crate::disk::CrashVariant;

/// Which subsets of the undecided units of one crash are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subsets {
    /// Of up to so many units, every subset; of more, representatives: none, all,
    pub every_up_to: u64,
    /// each unit alone missing, each alone kept, and the first so many of them, up to so many of each, spread evenly,
    pub each: u64,
    /// and so many drawn ones.
    pub drawn: u64,
    /// In either case, so many drawn ones with torn sectors.
    pub torn: u64,
}

/// How much is tried at each crash point.
///
/// "One in so many" is decided by a disk's own bytes, so that the same disks are chosen whatever else is tried; 0 chooses none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// What is left of a crash of the script.
    pub first: Subsets,
    /// What is left of a crash during recovery.
    pub again: Subsets,
    /// What is left of a crash during the recovery from that.
    pub twice: Subsets,
    /// Of recoveries from the first crash, one in so many crashes itself, at each of its operations.
    pub again_every: u64,
    /// Of those from a crash during recovery, one in so many.
    pub twice_every: u64,
    /// Whether the first recovery of each crash point is judged in full: every byte is read, the store is
    /// written to, closed and opened again.
    pub first_in_full: bool,
    /// And one in so many recoveries. Of the others all keys, heads and histories are looked at, and the values that the crash
    /// endangered and an eighth of the others are read.
    pub full_every: u64,
    /// And after one in so many the store is compacted and scrubbed besides, and read once more.
    pub deep_every: u64,
}

impl Depth {
    const PLAIN: Subsets = Subsets { every_up_to: 1, each: 0, drawn: 1, torn: 1 };
    const ENDS: Subsets = Subsets { every_up_to: 1, each: 0, drawn: 0, torn: 1 };

    /// A few seconds, unoptimised.
    pub const SLICE: Self = Self {
        first: Self::PLAIN,
        again: Self::ENDS,
        twice: Self::ENDS,
        again_every: 120,
        twice_every: 0,
        first_in_full: true,
        full_every: 1,
        deep_every: 9,
    };
    /// Minutes, optimised.
    pub const FULL: Self = Self { again_every: 1500, deep_every: 40, ..Self::SLICE };
    /// As long as it takes.
    pub const DEEP: Self = Self {
        first: Subsets { every_up_to: 3, each: 0, drawn: 4, torn: 2 },
        again_every: 100,
        deep_every: 7,
        ..Self::SLICE
    };
    /// Every subset of up to six units, and each recovery crashes itself at each of its operations: for tiny stores with
    /// their index in memory.
    pub const EXHAUSTIVE: Self = Self {
        first: Subsets { every_up_to: 6, each: 24, drawn: 8, torn: 12 },
        again: Subsets { every_up_to: 6, each: 4, drawn: 2, torn: 2 },
        twice: Subsets { every_up_to: 2, each: 1, drawn: 1, torn: 2 },
        again_every: 1,
        twice_every: 1,
        first_in_full: true,
        full_every: 64,
        deep_every: 1024,
    };
    /// The same with fewer representatives, and one in so many recoveries that crashes: an index in a file has three times as
    /// many crash points, and recoveries that write it have, too.
    pub const EXHAUSTIVE_WITH_INDEX: Self = Self {
        first: Subsets { every_up_to: 6, each: 2, drawn: 2, torn: 3 },
        again: Self::ENDS,
        twice: Self::ENDS,
        again_every: 100,
        twice_every: 400,
        first_in_full: true,
        full_every: 64,
        deep_every: 1024,
    };
}

impl Subsets {
    /// The disks to be tried of so many units.
    pub(super) fn variants(&self, seed: u64, units: u64) -> Vec<CrashVariant> {
        if units == 0 {
            return vec![CrashVariant::AllKept];
        }
        let seeds = |count: u64| (0..count).map(move |n| seed.wrapping_mul(64).wrapping_add(n));
        let torn = seeds(self.torn).map(CrashVariant::Torn);
        if units <= self.every_up_to {
            return (0..1 << units).map(CrashVariant::ExactSubset).chain(torn).collect();
        }
        let mut variants = vec![CrashVariant::AllLost, CrashVariant::AllKept];
        for unit in spread(self.each, units) {
            variants.extend([CrashVariant::AllBut(unit), CrashVariant::Only(unit)]);
        }
        variants.extend(spread(self.each, units.saturating_sub(3)).map(|unit| CrashVariant::First(unit + 2)));
        variants.extend(torn);
        variants.extend(seeds(self.drawn).map(|seed| CrashVariant::Subset(!seed)));
        variants
    }

    /// Whether of so many units every subset is tried.
    pub(super) const fn is_exhaustive(&self, units: u64) -> bool {
        units <= self.every_up_to
    }
}

/// Up to `count` of the numbers below `below`, evenly spread.
fn spread(count: u64, below: u64) -> impl Iterator<Item = u64> {
    let count = count.min(below);
    (0..count).map(move |place| place * below / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_subset_of_six_units_is_tried_and_of_more_each_alone_and_each_alone_missing() {
        let first = Depth::EXHAUSTIVE.first;
        let six: BTreeSet<u64> = first
            .variants(1, 6)
            .into_iter()
            .filter_map(|variant| match variant {
                CrashVariant::ExactSubset(mask) => Some(mask),
                _ => None,
            })
            .collect();
        assert_eq!(six.len(), 64);
        let twenty = first.variants(1, 20);
        for unit in 0..20 {
            assert!(
                twenty.contains(&CrashVariant::AllBut(unit)) && twenty.contains(&CrashVariant::Only(unit)),
                "{unit}"
            );
            assert!(!(2..=18).contains(&unit) || twenty.contains(&CrashVariant::First(unit)), "{unit}");
        }
        assert!(first.is_exhaustive(6) && !first.is_exhaustive(7));
    }

    #[test]
    fn of_very_many_units_representatives_are_spread_over_all() {
        let units: Vec<u64> = spread(4, 1000).collect();
        assert_eq!(units, [0, 250, 500, 750]);
        assert!(spread(4, 3).eq(0..3) && spread(0, 9).next().is_none() && spread(3, 0).next().is_none());
    }
}
