//! What was asked of the disk.

use super::fault::Fault;
use ouroboros_engine::env::{DiskFailure, FileName, OpenMode, Volume};
use std::sync::Arc;

/// One call of the engine. Every call counts, in order, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A file was opened or created.
    Open {
        /// The directory.
        volume: Volume,
        /// The file.
        name: Arc<FileName>,
        /// How.
        mode: OpenMode,
    },
    /// A directory was listed.
    List {
        /// The directory.
        volume: Volume,
    },
    /// A file was renamed.
    Rename {
        /// The directory.
        volume: Volume,
        /// The name before.
        from: Arc<FileName>,
        /// The name after.
        to: Arc<FileName>,
    },
    /// A file was removed.
    Remove {
        /// The directory.
        volume: Volume,
        /// The file.
        name: Arc<FileName>,
    },
    /// A directory was synced.
    SyncDirectory {
        /// The directory.
        volume: Volume,
    },
    /// A file's length was asked.
    Len {
        /// The directory.
        volume: Volume,
        /// The file, by the name under which it was opened.
        name: Arc<FileName>,
    },
    /// Bytes were read.
    Read {
        /// The directory.
        volume: Volume,
        /// The file, by the name under which it was opened.
        name: Arc<FileName>,
        /// Where, in bytes.
        offset: u64,
        /// How many bytes were asked for.
        len: u64,
    },
    /// Bytes were written.
    Write {
        /// The directory.
        volume: Volume,
        /// The file, by the name under which it was opened.
        name: Arc<FileName>,
        /// Where, in bytes.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// A file was cut or extended.
    Truncate {
        /// The directory.
        volume: Volume,
        /// The file, by the name under which it was opened.
        name: Arc<FileName>,
        /// To how many bytes.
        len: u64,
    },
    /// A file was synced.
    Sync {
        /// The directory.
        volume: Volume,
        /// The file, by the name under which it was opened.
        name: Arc<FileName>,
    },
}

impl Operation {
    /// The verb that a `DiskError` names.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::List { .. } => "list",
            Self::Rename { .. } => "rename",
            Self::Remove { .. } => "remove",
            Self::SyncDirectory { .. } | Self::Sync { .. } => "sync",
            Self::Len { .. } => "len",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Truncate { .. } => "truncate",
        }
    }

    /// The directory.
    #[must_use]
    pub const fn volume(&self) -> Volume {
        match self {
            Self::Open { volume, .. }
            | Self::List { volume }
            | Self::Rename { volume, .. }
            | Self::Remove { volume, .. }
            | Self::SyncDirectory { volume }
            | Self::Len { volume, .. }
            | Self::Read { volume, .. }
            | Self::Write { volume, .. }
            | Self::Truncate { volume, .. }
            | Self::Sync { volume, .. } => *volume,
        }
    }

    /// The file; none where the directory itself is meant.
    #[must_use]
    pub fn file(&self) -> Option<&FileName> {
        match self {
            Self::List { .. } | Self::SyncDirectory { .. } => None,
            Self::Rename { from: name, .. }
            | Self::Open { name, .. }
            | Self::Remove { name, .. }
            | Self::Len { name, .. }
            | Self::Read { name, .. }
            | Self::Write { name, .. }
            | Self::Truncate { name, .. }
            | Self::Sync { name, .. } => Some(name),
        }
    }

    /// Whether the operation changes what is visible or what is durable. A crash at one that does not leaves the same
    /// states as a crash at the next one that does, so enumerations may skip it.
    #[must_use]
    pub const fn changes_disk(&self) -> bool {
        match self {
            Self::Open { mode, .. } => matches!(mode, OpenMode::CreateNew),
            Self::List { .. } | Self::Len { .. } | Self::Read { .. } => false,
            Self::Rename { .. }
            | Self::Remove { .. }
            | Self::SyncDirectory { .. }
            | Self::Write { .. }
            | Self::Truncate { .. }
            | Self::Sync { .. } => true,
        }
    }

    /// A number that another operation hardly has.
    pub(super) fn mark(&self) -> u64 {
        let (offset, len) = match self {
            Self::Read { offset, len, .. } | Self::Write { offset, len, .. } => (*offset, *len),
            Self::Truncate { len, .. } => (0, *len),
            Self::Rename { to, .. } => (0, of_name(to)),
            _ => (0, 0),
        };
        let verb = self.verb().bytes().fold(self.volume() as u64, |mark, byte| mix(mark, byte.into()));
        [self.file().map_or(0, of_name), offset, len].into_iter().fold(verb, mix)
    }

    /// Whether the operation makes changes durable.
    #[must_use]
    pub const fn is_sync(&self) -> bool {
        matches!(self, Self::Sync { .. } | Self::SyncDirectory { .. })
    }
}

/// Two numbers as one, in which the order counts.
pub(super) const fn mix(one: u64, other: u64) -> u64 {
    (one.rotate_left(23) ^ other).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn of_name(name: &FileName) -> u64 {
    name.as_str().bytes().fold(0, |mark, byte| mix(mark, byte.into()))
}

/// One line of the operation log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The operation's number.
    pub number: u64,
    /// What was asked.
    pub operation: Operation,
    /// The fault that struck it.
    pub fault: Option<Fault>,
    /// What the engine was told; none for success.
    pub failure: Option<DiskFailure>,
}
