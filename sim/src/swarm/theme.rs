//! What belongs together, drawn together.

use super::Disruption;
use crate::workload::Kind;

/// What a run is about: things that seldom meet where each is drawn by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Nothing in particular.
    None,
    /// What is deleted, collected and written again.
    Deletion,
    /// What rots, is mended and rots again.
    Rot,
    /// Power that fails in the middle of writing.
    Power,
    /// Disks that are full, and are not.
    Full,
}

impl Theme {
    /// As often as each is drawn.
    pub(super) const ALL: [Self; 8] =
        [Self::None, Self::None, Self::Rot, Self::Deletion, Self::Deletion, Self::Rot, Self::Power, Self::Full];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::None => "nothing in particular",
            Self::Deletion => "what is deleted, collected and written again",
            Self::Rot => "what rots, is mended and rots again",
            Self::Power => "power that fails in the middle of writing",
            Self::Full => "disks that are full, and are not",
        }
    }

    /// Makes more of what belongs together.
    pub(super) fn set(self, mix: &mut [u32; Kind::ALL.len()], disruptions: &mut [u32; Disruption::ALL.len()]) {
        let kinds: &[(Kind, u32)] = match self {
            Self::None | Self::Power | Self::Full => &[],
            Self::Deletion => &[(Kind::PurgeKey, 30), (Kind::PurgeVersion, 30), (Kind::Compact, 40)],
            Self::Rot => &[(Kind::Scrub, 30), (Kind::PurgeVersion, 20), (Kind::Compact, 30)],
        };
        for (kind, least) in kinds {
            mix[*kind as usize] = mix[*kind as usize].max(*least);
        }
        let befall: &[(Disruption, u32)] = match self {
            Self::None => &[],
            Self::Deletion => &[(Disruption::OldIndex, 40_000)],
            Self::Rot => &[(Disruption::Rot, 80_000)],
            Self::Power => &[(Disruption::PowerLoss, 80_000)],
            Self::Full => &[(Disruption::TightDisk, 60_000), (Disruption::Kill, 10_000)],
        };
        for (what, least) in befall {
            disruptions[*what as usize] = disruptions[*what as usize].max(*least);
        }
    }
}
