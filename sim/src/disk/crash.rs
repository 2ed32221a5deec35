//! What a crash leaves of the undecided units.

use super::image::SECTOR_LEN;
use super::stream::Stream;

/// Which of the undecided units survive a crash. The units are counted over the whole disk: first the directories',
/// then the files', each in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashVariant {
    /// Nothing that was not synced survives.
    AllLost,
    /// Everything survives.
    AllKept,
    /// A drawn subset survives, and some of its sectors are torn: a prefix is new, the rest old or noise.
    Torn(u64),
    /// A drawn subset survives: by coin at a drawn rate, a prefix, all but one, or just one.
    Subset(u64),
    /// Unit `i` survives if bit `i` is set; units from 64 on are lost.
    ExactSubset(u64),
    /// All survive but this one.
    AllBut(u64),
    /// This one alone survives.
    Only(u64),
    /// So many survive, in the order in which they were made, and none after.
    First(u64),
}

/// The fate of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Kept,
    /// The first `kept` bytes are new; the rest is old, or noise of a seed.
    Torn {
        kept: usize,
        noise: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Nothing,
    Everything,
    Coin { per_million: u32 },
    Prefix { len: u64 },
    AllBut { unit: u64 },
    Only { unit: u64 },
    Mask(u64),
}

/// Deals out fates, in the order of the units.
#[derive(Debug)]
pub(super) struct Fates {
    shape: Shape,
    tear_per_million: u32,
    next: u64,
    stream: Stream,
}

impl CrashVariant {
    /// Starts to deal with `units` of them to decide.
    pub(super) fn fates(self, units: u64) -> Fates {
        let mut tear_per_million = 0;
        let mut stream = Stream::new(0, "crash");
        let shape = match self {
            Self::AllLost => Shape::Nothing,
            Self::AllKept => Shape::Everything,
            Self::ExactSubset(mask) => Shape::Mask(mask),
            Self::AllBut(unit) => Shape::AllBut { unit },
            Self::Only(unit) => Shape::Only { unit },
            Self::First(len) => Shape::Prefix { len },
            Self::Subset(seed) | Self::Torn(seed) => {
                stream = Stream::new(seed, "crash");
                if matches!(self, Self::Torn(_)) {
                    tear_per_million = [125_000, 500_000, 1_000_000][stream.below(3) as usize];
                }
                match stream.below(8) {
                    0 => Shape::Coin { per_million: 125_000 },
                    1..=3 => Shape::Coin { per_million: 500_000 },
                    4 => Shape::Coin { per_million: 875_000 },
                    5 => Shape::Prefix { len: stream.below(units.saturating_add(1)) },
                    6 => Shape::AllBut { unit: stream.below(units) },
                    _ => Shape::Only { unit: stream.below(units) },
                }
            }
        };
        Fates { shape, tear_per_million, next: 0, stream }
    }
}

impl Fates {
    /// The fate of the next unit, which may be torn only if it is a sector.
    pub(super) fn next(&mut self, is_sector: bool) -> Fate {
        let unit = self.next;
        self.next += 1;
        let kept = match self.shape {
            Shape::Nothing => false,
            Shape::Everything => true,
            Shape::Coin { per_million } => self.stream.strikes(per_million),
            Shape::Prefix { len } => unit < len,
            Shape::AllBut { unit: lost } => unit != lost,
            Shape::Only { unit: only } => unit == only,
            Shape::Mask(mask) => unit < 64 && mask >> unit & 1 == 1,
        };
        if !kept {
            return Fate::Lost;
        }
        if self.tear_per_million == 0 || !is_sector || !self.stream.strikes(self.tear_per_million) {
            return Fate::Kept;
        }
        let kept = 1 + self.stream.below(SECTOR_LEN as u64 - 1) as usize;
        let noise = (self.stream.below(2) == 1).then(|| self.stream.below(u64::MAX));
        Fate::Torn { kept, noise }
    }
}
