//! What a node is doing, in one word: for whoever watches it, and for tables of what was going on when something failed.

use super::{Engine, Health, JobContext};
use crate::env::Disk;

/// What a node is doing between two calls. Of several things at once it is the one that stands first here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// It was closed and takes no more requests.
    Closed,
    /// The disk failed it: it reads, and writes no more.
    ReadOnly,
    /// Its index cannot be believed, and is made anew from the log before the next answer.
    RebuildingIndex,
    /// It brings everything to rest before it closes.
    Closing,
    /// A compaction collects what nothing refers to.
    Sweeping,
    /// A compaction chooses segments.
    ChoosingSegments,
    /// A compaction moves what is alive out of a segment.
    MovingRecords,
    /// A scrub reads the log's own structures.
    ScrubbingLog,
    /// A scrub reads the slices of all seals.
    ScrubbingSeals,
    /// A scrub reads the records of all versions.
    ScrubbingVersions,
    /// A scrub reads the index.
    ScrubbingIndex,
    /// Seals are coded anew.
    Recoding,
    /// Seals that were found damaged are written again.
    Mending,
    /// Versions are on their way in.
    Uploading,
    /// Something was appended that is not yet durable.
    Committing,
    /// Versions are being read.
    Reading,
    /// Nothing is under way, and something has no parity yet.
    Unsettled,
    /// Nothing is under way.
    Idle,
}

impl Activity {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 18] = [
        Self::Closed,
        Self::ReadOnly,
        Self::RebuildingIndex,
        Self::Closing,
        Self::Sweeping,
        Self::ChoosingSegments,
        Self::MovingRecords,
        Self::ScrubbingLog,
        Self::ScrubbingSeals,
        Self::ScrubbingVersions,
        Self::ScrubbingIndex,
        Self::Recoding,
        Self::Mending,
        Self::Uploading,
        Self::Committing,
        Self::Reading,
        Self::Unsettled,
        Self::Idle,
    ];

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ReadOnly => "read-only",
            Self::RebuildingIndex => "rebuilding the index",
            Self::Closing => "closing",
            Self::Sweeping => "compacting: sweeping",
            Self::ChoosingSegments => "compacting: choosing segments",
            Self::MovingRecords => "compacting: moving records",
            Self::ScrubbingLog => "scrubbing the log",
            Self::ScrubbingSeals => "scrubbing seals",
            Self::ScrubbingVersions => "scrubbing versions",
            Self::ScrubbingIndex => "scrubbing the index",
            Self::Recoding => "recoding",
            Self::Mending => "mending",
            Self::Uploading => "uploading",
            Self::Committing => "committing",
            Self::Reading => "reading",
            Self::Unsettled => "unsettled",
            Self::Idle => "idle",
        }
    }
}

impl core::fmt::Display for Activity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl<D: Disk> Engine<D> {
    /// What the node is doing. Costs next to nothing.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match self.health {
            Health::Closed => return Activity::Closed,
            Health::ReadOnly(_) => return Activity::ReadOnly,
            Health::Good => {}
        }
        if !self.index_is_sound() {
            return Activity::RebuildingIndex;
        }
        if let Some(upkeep) = self.upkeep.activity() {
            return upkeep;
        }
        let reads = |context: &JobContext| {
            !matches!(
                context,
                JobContext::Cut { .. } | JobContext::Seal { .. } | JobContext::Make(_) | JobContext::Copy(_)
            )
        };
        if !self.puts.uploads.is_empty() {
            Activity::Uploading
        } else if !self.batch.is_empty() || !self.window.is_empty() {
            Activity::Committing
        } else if self.jobs.values().any(reads) {
            Activity::Reading
        } else if self.is_covered() {
            Activity::Idle
        } else {
            Activity::Unsettled
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;
    use std::collections::BTreeSet;

    #[test]
    fn each_activity_is_listed_once_and_has_a_name_of_its_own() {
        assert!(Activity::ALL.is_sorted());
        let names: BTreeSet<&str> = Activity::ALL.iter().map(|activity| activity.name()).collect();
        assert_eq!(names.len(), Activity::ALL.len());
    }
}
