//! Everything that can befall a node, in one list: rows of tables.

use crate::disk::{CrashVariant, Damage, Fault};
use crate::network::NetworkFault;
use crate::swarm::Disruption;
use core::fmt;

/// What a power failure leaves of the writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remains {
    /// All of them.
    Everything,
    /// None.
    Nothing,
    /// Some, in any order.
    Some,
    /// Some, and of some sectors a part.
    Torn,
}

/// What becomes of a sector at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rot {
    /// A bit is another.
    FlippedBit,
    /// Zeros.
    Zeroed,
    /// Another sector's bytes.
    Replaced,
    /// Nothing that can be read.
    Unreadable,
    /// Noise.
    Garbage,
}

/// Something that befell a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A fault of the disk, at one of its operations.
    Disk(Fault),
    /// What the failing power left.
    Power(Remains),
    /// A sector of a closed store rotted.
    Rot(Rot),
    /// Something else happened to the node.
    Befell(Disruption),
    /// The network did something to a frame for the node, or to its links.
    Network(NetworkFault),
}

const REMAINS: [Remains; 4] = [Remains::Everything, Remains::Nothing, Remains::Some, Remains::Torn];
const ROTS: [Rot; 5] = [Rot::FlippedBit, Rot::Zeroed, Rot::Replaced, Rot::Unreadable, Rot::Garbage];

const FIRST_REMAINS: usize = Fault::ALL.len();
const FIRST_ROT: usize = FIRST_REMAINS + REMAINS.len();
const FIRST_BEFELL: usize = FIRST_ROT + ROTS.len();
const FIRST_NETWORK: usize = FIRST_BEFELL + Disruption::ALL.len();

impl Cause {
    /// How many there are.
    pub const COUNT: usize = FIRST_NETWORK + NetworkFault::COUNT;

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        let disk = Fault::ALL.into_iter().map(Self::Disk);
        let power = REMAINS.into_iter().map(Self::Power);
        let rot = ROTS.into_iter().map(Self::Rot);
        let befell = Disruption::ALL.into_iter().map(Self::Befell);
        disk.chain(power).chain(rot).chain(befell).chain(NetworkFault::ALL.into_iter().map(Self::Network))
    }

    /// Its place among all.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Disk(fault) => fault as usize,
            Self::Power(remains) => FIRST_REMAINS + remains as usize,
            Self::Rot(rot) => FIRST_ROT + rot as usize,
            Self::Befell(disruption) => FIRST_BEFELL + disruption as usize,
            Self::Network(fault) => FIRST_NETWORK + fault as usize,
        }
    }

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk(fault) => fault.name(),
            Self::Power(Remains::Everything) => "power-keeps-all",
            Self::Power(Remains::Nothing) => "power-loses-all",
            Self::Power(Remains::Some) => "power-keeps-some",
            Self::Power(Remains::Torn) => "power-tears-sectors",
            Self::Rot(Rot::FlippedBit) => "rot-flipped-bit",
            Self::Rot(Rot::Zeroed) => "rot-zeroed",
            Self::Rot(Rot::Replaced) => "rot-replaced",
            Self::Rot(Rot::Unreadable) => "rot-unreadable",
            Self::Rot(Rot::Garbage) => "rot-garbage",
            Self::Befell(disruption) => disruption.name(),
            Self::Network(fault) => fault.name(),
        }
    }

    /// What it does, in one line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Disk(fault) => fault.text(),
            Self::Power(Remains::Everything) => {
                "the power fails, and everything that was not synced is there all the same"
            }
            Self::Power(Remains::Nothing) => "the power fails, and everything that was not synced is gone",
            Self::Power(Remains::Some) => {
                "the power fails, and of what was not synced any sectors are there, in any order"
            }
            Self::Power(Remains::Torn) => "the power fails, and some of these sectors are half old, half new or noise",
            Self::Rot(Rot::FlippedBit) => "in a closed store a bit of a sector flips",
            Self::Rot(Rot::Zeroed) => "in a closed store a sector becomes zeros",
            Self::Rot(Rot::Replaced) => "in a closed store a sector becomes a copy of another",
            Self::Rot(Rot::Unreadable) => "in a closed store a sector becomes unreadable",
            Self::Rot(Rot::Garbage) => "in a closed store a sector becomes noise",
            Self::Befell(disruption) => disruption.text(),
            Self::Network(fault) => fault.text(),
        }
    }
}

impl From<CrashVariant> for Remains {
    fn from(variant: CrashVariant) -> Self {
        match variant {
            CrashVariant::AllKept => Self::Everything,
            CrashVariant::AllLost => Self::Nothing,
            CrashVariant::Torn(_) => Self::Torn,
            CrashVariant::Subset(_)
            | CrashVariant::ExactSubset(_)
            | CrashVariant::AllBut(_)
            | CrashVariant::Only(_)
            | CrashVariant::First(_) => Self::Some,
        }
    }
}

impl From<Damage> for Rot {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::FlippedBit { .. } => Self::FlippedBit,
            Damage::Zeroed => Self::Zeroed,
            Damage::ReplacedBy { .. } => Self::Replaced,
            Damage::Unreadable => Self::Unreadable,
            Damage::Garbage { .. } => Self::Garbage,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_cause_has_a_place_a_name_and_a_text_of_its_own() {
        let names: BTreeSet<&str> = Cause::all().map(Cause::name).collect();
        let texts: BTreeSet<&str> = Cause::all().map(Cause::text).collect();
        assert_eq!((names.len(), texts.len()), (Cause::COUNT, Cause::COUNT));
        for (place, cause) in Cause::all().enumerate() {
            assert_eq!(cause.index(), place);
        }
    }
}
