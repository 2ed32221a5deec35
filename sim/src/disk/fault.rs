//! The kinds of faults, and how often each struck.

use super::operation::Operation;
use crate::state::State;
use core::fmt;

/// A fault that strikes one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The power fails during the operation: what it changes is undecided, and nothing works any more.
    Crash,
    /// A listing, opening, renaming, removing, truncating or asking for a length fails; a change may have been made.
    MetadataError,
    /// A sector in the range read becomes unreadable, and stays so until it is wholly written anew.
    ReadError,
    /// A write fails after a drawn part of it was done.
    WriteError,
    /// A bit in the range read has flipped at rest.
    FlippedBit,
    /// A sector in the range read has become zeros at rest.
    ZeroedSector,
    /// A sector in the range read has been overwritten at rest by another of the same file.
    ReplacedSector,
    /// A bit flips on its way from the disk; the next read is right.
    FlippedRead,
    /// A write lands at another place of the same file and is reported as done. Its target keeps the old bytes.
    MisdirectedWrite,
    /// A write lands in another file of the same volume and is reported as done. Its target keeps the old bytes.
    MisdirectedWriteElsewhere,
    /// A write is reported as done and never was.
    LostWrite,
    /// A read returns the bytes of another place of the same file.
    MisdirectedRead,
    /// A read returns the bytes from before the last sync that changed the file.
    StaleRead,
    /// The system returns fewer bytes and then an error. As the contract has the adapter go on after short reads, all
    /// that can be seen above is the error.
    ShortRead,
    /// A read returns fewer bytes although the file goes on. The contract forbids this; it strikes only where it is
    /// asked for, to show that the layer above compares what it got with what it knows to be there.
    EarlyEnd,
    /// A write, an extension or a creation is refused for want of space, a write perhaps half done. The next may do.
    Full,
    /// The disk is full from here on, until something is removed or cut, or its capacity is raised.
    FillsUp,
    /// A sync of a file fails: what it covered may or may not be durable, no later sync revives it, yet reads still
    /// show it (ext4 and XFS in Rebello et al., ATC'20).
    SyncFailure,
    /// A sync of a file fails, and reads show the file as it was at the last sync that did not (btrfs in the same).
    SyncFailureDroppingCache,
    /// A sync of a file is reported as done and does nothing.
    LyingSync,
    /// A sync of a directory fails and does nothing; a later one may do.
    DirectorySyncFailure,
    /// A sync of a directory is reported as done and does nothing.
    LyingDirectorySync,
    /// The operation takes long.
    Slow,
    /// The process or the machine has no handle, or no memory, for an opening, a listing or a read. Of the disk this says
    /// nothing.
    Exhausted,
    /// The disk does not answer: this operation and those after it fail, until it is plugged in again. Syncs
    /// fail meanwhile, and the process whose sync that was cannot mark what is not durable. One in eight syncs that fail begins it, too.
    Away,
    /// With a sync of a file one of its sectors goes bad, wherever in it: it cannot be read, nor written to with less than is
    /// written at once.
    BadSector,
}

impl Fault {
    /// Every kind, in the order of their streams.
    pub const ALL: [Self; 26] = [
        Self::Crash,
        Self::MetadataError,
        Self::ReadError,
        Self::WriteError,
        Self::FlippedBit,
        Self::ZeroedSector,
        Self::ReplacedSector,
        Self::FlippedRead,
        Self::MisdirectedWrite,
        Self::MisdirectedWriteElsewhere,
        Self::LostWrite,
        Self::MisdirectedRead,
        Self::StaleRead,
        Self::ShortRead,
        Self::EarlyEnd,
        Self::Full,
        Self::FillsUp,
        Self::SyncFailure,
        Self::SyncFailureDroppingCache,
        Self::LyingSync,
        Self::DirectorySyncFailure,
        Self::LyingDirectorySync,
        Self::Slow,
        Self::Exhausted,
        Self::Away,
        Self::BadSector,
    ];

    /// The name in tables, plans and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::MetadataError => "metadata-error",
            Self::ReadError => "read-error",
            Self::WriteError => "write-error",
            Self::FlippedBit => "flipped-bit",
            Self::ZeroedSector => "zeroed-sector",
            Self::ReplacedSector => "replaced-sector",
            Self::FlippedRead => "flipped-read",
            Self::MisdirectedWrite => "misdirected-write",
            Self::MisdirectedWriteElsewhere => "misdirected-write-elsewhere",
            Self::LostWrite => "lost-write",
            Self::MisdirectedRead => "misdirected-read",
            Self::StaleRead => "stale-read",
            Self::ShortRead => "short-read",
            Self::EarlyEnd => "early-end",
            Self::Full => "full",
            Self::FillsUp => "fills-up",
            Self::SyncFailure => "sync-failure",
            Self::SyncFailureDroppingCache => "sync-failure-dropping-cache",
            Self::LyingSync => "lying-sync",
            Self::DirectorySyncFailure => "directory-sync-failure",
            Self::LyingDirectorySync => "lying-directory-sync",
            Self::Slow => "slow",
            Self::Exhausted => "exhausted",
            Self::Away => "away",
            Self::BadSector => "bad-sector",
        }
    }

    /// What it does, in one line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Crash => "the power fails during the operation: what it changes is undecided",
            Self::MetadataError => {
                "an open, list, rename, remove, truncate or length fails; the change may have been made"
            }
            Self::ReadError => "a sector becomes unreadable, until it is written anew",
            Self::WriteError => "a write fails, half done",
            Self::FlippedBit => "a bit of a sector has flipped at rest",
            Self::ZeroedSector => "a sector has become zeros at rest",
            Self::ReplacedSector => "a sector has become a copy of another at rest",
            Self::FlippedRead => "a bit flips on its way from the disk; the next read is right",
            Self::MisdirectedWrite => "a write lands elsewhere in the same file and is reported as done",
            Self::MisdirectedWriteElsewhere => "a write lands in another file and is reported as done",
            Self::LostWrite => "a write is reported as done and never was",
            Self::MisdirectedRead => "a read returns another place of the same file",
            Self::StaleRead => "a read returns what stood there before the last sync",
            Self::ShortRead => "a read breaks off with an error",
            Self::EarlyEnd => "a read ends early and calls it the end of the file",
            Self::Full => "one change is refused for want of space, perhaps half done",
            Self::FillsUp => "the disk is full from here on, until something is removed",
            Self::SyncFailure => "a sync fails for good; reads still show what is not durable",
            Self::SyncFailureDroppingCache => "a sync fails for good, and reads show the file as it was before",
            Self::LyingSync => "a sync of a file is reported as done and does nothing",
            Self::DirectorySyncFailure => "a sync of a directory fails and does nothing",
            Self::LyingDirectorySync => "a sync of a directory is reported as done and does nothing",
            Self::Slow => "the operation takes long",
            Self::Exhausted => "there is no handle, or no memory, to open, list or read; the disk was not asked",
            Self::Away => "the disk does not answer, to this operation and those after it",
            Self::BadSector => {
                "a sector anywhere in a file that is synced becomes unreadable, until it is written anew"
            }
        }
    }

    /// Whether a read returns other bytes than the next would.
    #[must_use]
    pub const fn is_misread(self) -> bool {
        matches!(self, Self::FlippedRead | Self::MisdirectedRead | Self::StaleRead)
    }

    /// Whether an engine that keeps the disk's contract may lose acknowledged data to this fault, on this one disk.
    #[must_use]
    pub const fn may_destroy(self) -> bool {
        matches!(
            self,
            Self::ReadError
                | Self::FlippedBit
                | Self::ZeroedSector
                | Self::ReplacedSector
                | Self::MisdirectedWrite
                | Self::MisdirectedWriteElsewhere
                | Self::LostWrite
                | Self::LyingSync
                | Self::LyingDirectorySync
                | Self::BadSector
        )
    }

    /// Whether the fault has a meaning for the operation.
    #[must_use]
    pub const fn fits(self, operation: &Operation) -> bool {
        match self {
            Self::Crash | Self::Slow => true,
            // A sync that fails for that is one that fails.
            Self::Away => !operation.is_sync(),
            Self::MetadataError => matches!(
                operation,
                Operation::Open { .. }
                    | Operation::List { .. }
                    | Operation::Rename { .. }
                    | Operation::Remove { .. }
                    | Operation::Len { .. }
                    | Operation::Truncate { .. }
            ),
            Self::ReadError
            | Self::FlippedBit
            | Self::ZeroedSector
            | Self::ReplacedSector
            | Self::FlippedRead
            | Self::MisdirectedRead
            | Self::StaleRead
            | Self::ShortRead
            | Self::EarlyEnd => matches!(operation, Operation::Read { .. }),
            Self::WriteError | Self::MisdirectedWrite | Self::MisdirectedWriteElsewhere | Self::LostWrite => {
                matches!(operation, Operation::Write { .. })
            }
            Self::Exhausted => {
                matches!(operation, Operation::Open { .. } | Operation::List { .. } | Operation::Read { .. })
            }
            Self::Full => match operation {
                Operation::Write { .. } | Operation::Truncate { .. } => true,
                Operation::Open { mode, .. } => matches!(mode, ouroboros_engine::env::OpenMode::CreateNew),
                _ => false,
            },
            Self::FillsUp => matches!(operation, Operation::Write { .. } | Operation::Truncate { .. }),
            Self::SyncFailure | Self::SyncFailureDroppingCache | Self::LyingSync | Self::BadSector => {
                matches!(operation, Operation::Sync { .. })
            }
            Self::DirectorySyncFailure | Self::LyingDirectorySync => {
                matches!(operation, Operation::SyncDirectory { .. })
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One strike, for whoever [asked for an account](super::FaultyDisk::account_to).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The operation's number.
    pub number: u64,
    /// The operation.
    pub operation: Operation,
    /// What struck it.
    pub fault: Fault,
    /// What was being done.
    pub state: State,
}

/// How often each kind of fault struck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl FaultCounts {
    /// How often `fault` struck.
    #[must_use]
    pub const fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// How often any fault struck.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The kinds that struck, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// Adds another disk's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    pub(super) const fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }
}
