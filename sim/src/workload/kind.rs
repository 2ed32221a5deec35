//! The kinds of operations.

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One version, its value with the request.
    Put,
    /// One request for many versions.
    PutMany,
    /// A value in pieces, perhaps given up.
    Stream,
    /// The content of another version, of this key or another: copying and restoring.
    Copy,
    /// A version that follows all heads.
    Merge,
    /// A version that says "gone".
    Remove,
    /// Every version of a key is destroyed.
    PurgeKey,
    /// One version is destroyed.
    PurgeVersion,
    /// Versions by key: the winner, one of many, or as of a time.
    Get,
    /// A version by its id.
    GetVersion,
    /// Whether versions are there.
    Exist,
    /// A range of a version.
    Read,
    /// A key's heads.
    Heads,
    /// A key's history.
    Log,
    /// The best common ancestors.
    Bases,
    /// What differs between two versions.
    Diff,
    /// Keys.
    List,
    /// A scrub, with or without healing.
    Scrub,
    /// A compaction.
    Compact,
    /// A recoding.
    Recode,
    /// The store's figures.
    Stats,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Put,
        Self::PutMany,
        Self::Stream,
        Self::Copy,
        Self::Merge,
        Self::Remove,
        Self::PurgeKey,
        Self::PurgeVersion,
        Self::Get,
        Self::GetVersion,
        Self::Exist,
        Self::Read,
        Self::Heads,
        Self::Log,
        Self::Bases,
        Self::Diff,
        Self::List,
        Self::Scrub,
        Self::Compact,
        Self::Recode,
        Self::Stats,
    ];

    /// The name in stories and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::PutMany => "put-many",
            Self::Stream => "stream",
            Self::Copy => "copy",
            Self::Merge => "merge",
            Self::Remove => "remove",
            Self::PurgeKey => "purge-key",
            Self::PurgeVersion => "purge-version",
            Self::Get => "get",
            Self::GetVersion => "get-version",
            Self::Exist => "exist",
            Self::Read => "read",
            Self::Heads => "heads",
            Self::Log => "log",
            Self::Bases => "bases",
            Self::Diff => "diff",
            Self::List => "list",
            Self::Scrub => "scrub",
            Self::Compact => "compact",
            Self::Recode => "recode",
            Self::Stats => "stats",
        }
    }

    pub(crate) const fn weight(self) -> u32 {
        match self {
            Self::Put => 10,
            Self::Get | Self::Stream => 6,
            Self::Copy | Self::Merge | Self::PurgeVersion | Self::Read => 3,
            Self::PutMany | Self::Remove | Self::Compact | Self::List => 2,
            _ => 1,
        }
    }
}
