//! What a crash would decide about, told.

use super::directory::{self, FileId};
use super::file;
use super::machine::Machine;
use core::fmt;
use ouroboros_engine::env::{FileName, Volume};
use std::sync::Arc;

/// One unit that is visible, not durable, and survives a crash or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// A file's creation.
    Created {
        /// The directory.
        volume: Volume,
        /// The file.
        name: Arc<FileName>,
    },
    /// A file's renaming.
    Renamed {
        /// The directory.
        volume: Volume,
        /// The name before.
        from: Arc<FileName>,
        /// The name after.
        to: Arc<FileName>,
    },
    /// A file's removal.
    Removed {
        /// The directory.
        volume: Volume,
        /// The file.
        name: Arc<FileName>,
    },
    /// The content of a sector as of one write.
    Sector {
        /// The file; none when only handles know it.
        file: Option<(Volume, Arc<FileName>)>,
        /// The sector's index.
        sector: u64,
    },
    /// A file's growth.
    Length {
        /// The file; none when only handles know it.
        file: Option<(Volume, Arc<FileName>)>,
        /// To how many bytes.
        len: u64,
    },
    /// A file's being cut.
    Cut {
        /// The file; none when only handles know it.
        file: Option<(Volume, Arc<FileName>)>,
        /// To how many bytes.
        len: u64,
    },
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |file: &Option<(Volume, Arc<FileName>)>| match file {
            Some((volume, name)) => format!("{volume}/{name}"),
            None => "a removed file".to_owned(),
        };
        match self {
            Self::Created { volume, name } => write!(f, "create {volume}/{name}"),
            Self::Renamed { volume, from, to } => write!(f, "rename {volume}/{from} to {to}"),
            Self::Removed { volume, name } => write!(f, "remove {volume}/{name}"),
            Self::Sector { file, sector } => write!(f, "sector {sector} of {}", named(file)),
            Self::Length { file, len } => write!(f, "length {len} of {}", named(file)),
            Self::Cut { file, len } => write!(f, "cut of {} to {len}", named(file)),
        }
    }
}

impl Machine {
    pub(super) fn list_undecided(&self) -> Vec<Undecided> {
        let mut out = Vec::new();
        for volume in [Volume::Blocks, Volume::Index] {
            out.extend(self.directory(volume).changes().iter().cloned().map(|change| match change {
                directory::Change::Create { name, .. } => Undecided::Created { volume, name },
                directory::Change::Rename { from, to, .. } => Undecided::Renamed { volume, from, to },
                directory::Change::Remove { name } => Undecided::Removed { volume, name },
            }));
        }
        for (id, file) in &self.files {
            let named = self.name_of(*id);
            out.extend(file.changes().map(|change| match change {
                file::Change::Sector { sector, .. } => Undecided::Sector { file: named.clone(), sector: *sector },
                file::Change::Length(len) => Undecided::Length { file: named.clone(), len: *len },
                file::Change::Cut(len) => Undecided::Cut { file: named.clone(), len: *len },
            }));
        }
        out
    }

    fn name_of(&self, id: FileId) -> Option<(Volume, Arc<FileName>)> {
        [Volume::Blocks, Volume::Index].into_iter().find_map(|volume| {
            let mut names = self.directory(volume).names();
            names.find(|(_, other)| *other == id).map(|(name, _)| (volume, name.clone()))
        })
    }
}
