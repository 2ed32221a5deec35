//! What may happen to a node as a whole.

/// What happens to a node during a round of operations or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disruption {
    /// The power fails at one of the next operations of the disk.
    PowerLoss,
    /// The process is killed at one of them.
    Kill,
    /// The store is closed and opened.
    Reopen,
    /// The same, and the index is deleted in between.
    LoseIndex,
    /// The same, and the index is as it was at some opening before.
    OldIndex,
    /// A process without keys does the upkeep in between.
    Keyless,
    /// The wall clock jumps.
    WallJump,
    /// Nothing is asked for a while.
    Rest,
    /// Some sectors of the closed store rot, before it is opened or after.
    Rot,
    /// The disk has little room left for a while.
    TightDisk,
    /// The process gets no turn for a while.
    Pause,
    /// The node is gone for longer than tombstones are kept.
    Gone,
    /// The node is installed anew, under the same identity, with an empty disk.
    Reinstall,
    /// The disk is gone, and the node is installed anew.
    LoseDisk,
    /// The disk is what it was at an earlier moment.
    RollBack,
}

impl Disruption {
    /// All of them. New ones stand at the end: schedules name them by their place.
    pub const ALL: [Self; 15] = [
        Self::PowerLoss,
        Self::Kill,
        Self::Reopen,
        Self::LoseIndex,
        Self::OldIndex,
        Self::Keyless,
        Self::WallJump,
        Self::Rest,
        Self::Rot,
        Self::TightDisk,
        Self::Pause,
        Self::Gone,
        Self::Reinstall,
        Self::LoseDisk,
        Self::RollBack,
    ];

    /// The name in tables and stories.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerLoss => "power-loss",
            Self::Kill => "kill",
            Self::Reopen => "reopen",
            Self::LoseIndex => "lose-index",
            Self::OldIndex => "old-index",
            Self::Keyless => "keyless-upkeep",
            Self::WallJump => "wall-jump",
            Self::Rest => "rest",
            Self::Rot => "rot-at-rest",
            Self::TightDisk => "tight-disk",
            Self::Pause => "pause",
            Self::Gone => "gone-for-long",
            Self::Reinstall => "reinstall",
            Self::LoseDisk => "lose-disk",
            Self::RollBack => "roll-back-disk",
        }
    }

    /// What it is, in one line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::PowerLoss => "the power fails between two operations of the disk",
            Self::Kill => "the process is killed; what it wrote lives on in the system's cache",
            Self::Reopen => "the store is closed and opened",
            Self::LoseIndex => "the index is deleted while no process runs",
            Self::OldIndex => "the index is replaced by an old copy while no process runs",
            Self::Keyless => "a process without keys scrubs, compacts or recodes the store",
            Self::WallJump => "the wall clock jumps, forth or back, by up to 400 days",
            Self::Rest => "nothing is asked for up to half a minute",
            Self::Rot => "some sectors of the log rot: of a closed store, or where a deletion was just written",
            Self::TightDisk => "the disk has little room left for a while, or none",
            Self::Pause => "the process gets no turn for up to an hour, and then all at once",
            Self::Gone => "the node is down for 40 to 400 days, longer than tombstones are kept",
            Self::Reinstall => "the node is installed anew: the same identity, an empty disk",
            Self::LoseDisk => "the whole disk is gone: opening says so, and the node is installed anew",
            Self::RollBack => "the whole disk is replaced by an old copy, as a backup of the machine would",
        }
    }

    pub(super) const fn rate(self) -> u32 {
        match self {
            Self::PowerLoss => 300,
            Self::Kill => 150,
            Self::Reopen => 60,
            // Where there is a file that it could befall.
            Self::LoseIndex | Self::OldIndex => 200,
            Self::Keyless => 40,
            Self::WallJump => 120,
            Self::Rest => 100,
            Self::Rot => 200,
            Self::TightDisk => 160,
            Self::Pause => 120,
            Self::Gone => 20,
            Self::Reinstall => 30,
            Self::LoseDisk => 20,
            Self::RollBack => 40,
        }
    }

    /// Whether what a node has acknowledged is gone with it, and its oracle is told.
    pub(crate) const fn takes_the_store(self) -> bool {
        matches!(self, Self::Reinstall | Self::LoseDisk | Self::RollBack)
    }
}
