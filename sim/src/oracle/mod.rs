//! What clients were told, and whether the node may say what it says.

mod answers;
pub(crate) mod bounds;
mod learn;
pub(crate) mod leftovers;
pub mod model;
mod plaintext;
pub(crate) mod records;
pub(crate) mod reindex;

mod sealing;

pub(crate) use answers::{Calm, is_of_index};
pub(crate) use learn::{Held, Shown, Sight, Walls};
pub use model::Model;
pub(crate) use plaintext::Plaintext;
pub(crate) use sealing::Recoding;
use sealing::{AskedCodings, Scopes};

use bytes::Bytes;
use core::fmt;
use ouroboros_engine::blob::{Attributes, BlobKind};
use ouroboros_engine::id::{AuthorId, BlobId};
use ouroboros_engine::keys::DedupScope;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Failure, PurgeTarget};
use ouroboros_engine::seal::Coding;
use std::collections::{BTreeMap, BTreeSet};

/// A promise of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// An acknowledged write is never lost while the redundancy covers what failed.
    P1,
    /// A read returns the exact bytes that were written, or a clear error; never a panic.
    P2,
    /// What was deleted never comes back.
    P3,
    /// What is still referenced is never collected.
    P4,
    /// Concurrent writes all survive as heads.
    P5,
    /// When faults stop, everything heals and all work ends.
    P6,
    /// A crash recovers to a state that holds every acknowledged write.
    P7,
    /// No plaintext, key name or key reaches a disk.
    P8,
    /// Memory and queues are bounded.
    P9,
    /// A full disk refuses writes, keeps reading, and recovers.
    P10,
    /// The same seed gives the same run.
    P11,
}

impl Promise {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::P1 => "an acknowledged write is never lost while the redundancy covers what failed",
            Self::P2 => "a read returns the exact bytes that were written, or a clear error; never a panic",
            Self::P3 => "what was deleted never comes back",
            Self::P4 => "what is still referenced is never collected",
            Self::P5 => "concurrent writes all survive as heads",
            Self::P6 => "when faults stop, everything heals and all work ends",
            Self::P7 => "a crash recovers to a state that holds every acknowledged write",
            Self::P8 => "no plaintext, key name or key reaches a disk",
            Self::P9 => "memory and queues are bounded; every request is answered",
            Self::P10 => "a full disk refuses writes with a clear error, keeps reading, and recovers",
            Self::P11 => "the same seed gives the same run",
        }
    }
}

impl Promise {
    /// What it means for whoever relies on it, in a few sentences.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::P1 => {
                "Once the store has said that a version is durable, it stays: it may be read back whole for as long as no more \
                 places are damaged at once than the parity covers, in whatever order they fail. What was acknowledged and is not \
                 shown any more, or cannot be opened, breaks this."
            }
            Self::P2 => {
                "Whoever reads gets exactly what was written, or is told clearly why not. Other bytes, another version's \
                 attributes, a version nobody wrote, a failure without a reason, damage reported on a sound disk, and a panic all \
                 break this."
            }
            Self::P3 => {
                "A purge is for ever: neither a restart, nor an old index, nor a compaction brings back a version that was \
                 destroyed, and the store never forgets that it was."
            }
            Self::P4 => {
                "Values share their chunks. To destroy one version, and to collect what nothing refers to any more, must never take \
                 a chunk that another version still needs."
            }
            Self::P5 => {
                "Writes that do not know of each other all stay, side by side, as heads of their key. Only a version that names the \
                 others as its parents replaces them, and the winner among heads is the newest, whatever the wall clock does."
            }
            Self::P6 => {
                "When nothing goes wrong any more, the store mends itself: a scrub that repairs leaves no damage, the figures add up, \
                 and within a bounded time nothing is left to do."
            }
            Self::P7 => {
                "The power may fail at any operation of the disk, and any part of what was not synced may be gone, torn or out of \
                 order. The next opening must succeed, with everything that was acknowledged, and what nobody was told of must be \
                 there whole or not at all."
            }
            Self::P8 => {
                "What lies on the disk is sealed: neither values nor names of keys nor secrets may be found in it, and who opens the \
                 store without its keys can keep it up and read nothing. Between nodes, nobody takes a frame for a peer's that is \
                 forged, altered or comes again."
            }
            Self::P9 => {
                "Every request is answered, and what the store keeps in memory is bounded by its limits. Too much at once is answered \
                 with Busy, not with growth or silence."
            }
            Self::P10 => {
                "A full disk is no disaster: writes are refused with a clear error, reading goes on, and writing does again when \
                 there is room."
            }
            Self::P11 => {
                "The same seed must give the same run, event by event. What differs depends on something that no seed decides."
            }
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How.
    pub what: String,
    /// When, in virtual nanoseconds.
    pub at_virtual_ns: u64,
    /// Whose.
    pub node: u8,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, what, at_virtual_ns, node } = self;
        write!(f, "{promise} ({}) at {at_virtual_ns} ns on node {node}: {what}", promise.text())
    }
}

/// A promise that broke, before it is known when and where.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) promise: Promise,
    pub(crate) what: String,
    /// The answer that broke it, if it was a refusal.
    pub(crate) failure: Option<Failure>,
}

impl Broken {
    pub(crate) fn new(promise: Promise, what: impl Into<String>) -> Self {
        Self { promise, what: what.into(), failure: None }
    }

    pub(crate) fn because(self, failure: Failure) -> Self {
        Self { failure: Some(failure), ..self }
    }
}

/// Returns with the promise broken unless the condition holds.
macro_rules! demand {
    ($promise:ident, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::oracle::Broken::new($crate::oracle::Promise::$promise, format!($($what)+)));
        }
    };
}
pub(crate) use demand;

/// One version that was asked for, and what it must be like if it comes to be.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) key: KeyName,
    pub(crate) content: Option<Bytes>,
    pub(crate) attributes: Attributes,
    /// What is asked for; a child of several is a merger.
    pub(crate) kind: BlobKind,
    /// Exactly what it follows; none: the winner.
    pub(crate) parents: Option<Vec<BlobId>>,
    /// Why it must fail, as things stood when it was sent.
    pub(crate) refusal: Option<Failure>,
    /// What it copies.
    pub(crate) source: Option<BlobId>,
    /// Who may share seals with it, if it has any of its own.
    pub(crate) scope: Option<DedupScope>,
}

impl Want {
    /// The kind of a version of so many parents; none where there is no such version.
    pub(crate) const fn kind_of(&self, parents: usize) -> Option<BlobKind> {
        match (self.kind, parents) {
            (BlobKind::Child, 2..) => Some(BlobKind::Merger),
            (BlobKind::Merger, 0..2) => None,
            (kind, _) => Some(kind),
        }
    }

    pub(crate) fn of(key: KeyName) -> Self {
        Self {
            key,
            content: None,
            attributes: Attributes::new(),
            kind: BlobKind::Child,
            parents: None,
            refusal: None,
            source: None,
            scope: None,
        }
    }
}

/// What the world did that excuses an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Excuse {
    /// Faults struck the disk since the node was opened: what it was asked may have failed for that.
    pub(crate) faulted: bool,
    /// Some of them are the medium's, or something has rotted: what was asked may be called damaged.
    pub(crate) damaged: bool,
    /// Faults alone: what has merely rotted is made good for whoever asks, and nobody is to notice.
    pub(crate) struck: bool,
    /// A segment could not be read when the store was opened, and no scrub has healed it since: nobody knows what it says.
    pub(crate) unread: bool,
    /// And something may be hidden from the index for that.
    pub(crate) blind: bool,
    /// A page of the index may have been spoiled in an earlier life that nobody has read since.
    pub(crate) spoiled: bool,
    /// A page of the index could not be read when the process was started: whoever asks for it first may be told.
    pub(crate) refused_index: bool,
    /// Writes went elsewhere, or nowhere, once: the index that is asked may lack a page since.
    pub(crate) misplaced: bool,
    /// The power failed: damage to what nobody was told of may be reported, but nothing may be called lost.
    pub(crate) torn: bool,
    /// A place of the log has rotted once.
    pub(crate) rotted: bool,
    /// The disk was, or may have been, full.
    pub(crate) full: bool,
    /// A write that was refused for that will never turn up: the index, which may be full when the log has it, is in memory.
    pub(crate) full_is_final: bool,
    /// Others were under way.
    pub(crate) crowded: bool,
    /// The world destroyed more than the promises allow for: any clear error will do.
    pub(crate) beyond: bool,
}

impl Excuse {
    /// Whether a failure comes from what was done to the node, and says nothing of what was asked.
    pub(crate) const fn covers(self, failure: &Failure) -> bool {
        match failure {
            Failure::Index(_) if self.misplaced || self.refused_index => true,
            Failure::Damaged { .. } => self.damaged || self.beyond,
            Failure::Disk(_) | Failure::Index(_) | Failure::Exhausted(_) => self.faulted || self.beyond,
            Failure::Full => self.full,
            Failure::Busy => self.crowded,
            _ => false,
        }
    }
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    pub(crate) model: Model,
    pub(crate) author: AuthorId,
    /// Writes that were neither acknowledged nor refused: each may turn up.
    pub(crate) maybe: Vec<Want>,
    /// Deletions of which the same is true.
    pub(crate) maybe_purges: Vec<PurgeTarget>,
    /// How many of both have turned up.
    pub(crate) turned_up: u64,
    /// Takes something right for a broken promise.
    pub(crate) canary: bool,
    pub(crate) crashes: u32,
    /// Nothing is known for certain any more: only what is read must be right.
    pub(crate) beyond: bool,
    /// Bytes that may be read at once.
    read_len: u64,
    /// The codings of which one is in force: several where nobody was told whether a recoding was done.
    codings: BTreeSet<(u8, u8)>,
    pub(crate) asked: AskedCodings,
    /// Who may share seals with a version, where that is known: nobody was told which of two writes it was that turned up.
    scopes: BTreeMap<BlobId, Scopes>,
}

impl Oracle {
    pub(crate) fn new(author: AuthorId, canary: bool, coding: Coding, read_len: u64) -> Self {
        Self {
            model: Model::default(),
            author,
            maybe: Vec::new(),
            maybe_purges: Vec::new(),
            turned_up: 0,
            canary,
            crashes: 0,
            beyond: false,
            read_len,
            codings: BTreeSet::from([(coding.data(), coding.parity())]),
            asked: AskedCodings::new(coding),
            scopes: BTreeMap::new(),
        }
    }

    /// A recoding was asked for, by which that is how the store codes from now on. `alone`: and nobody asked for another.
    pub(crate) fn recoded(&mut self, coding: Coding, outcome: Recoding, alone: bool) {
        if outcome != Recoding::Unknown && alone {
            self.codings.clear();
        }
        self.codings.insert((coding.data(), coding.parity()));
        if outcome == Recoding::All && alone {
            self.asked.recoded(coding);
        } else {
            self.asked.recode(coding);
        }
    }

    /// Holds the coding that a store says is in force against what was asked for. `opened`: it was read from the log.
    ///
    /// # Errors
    /// P1, with a coding that nobody asked for.
    pub(crate) fn check_coding(&mut self, coding: Coding, opened: bool) -> Result<(), Broken> {
        let found = (coding.data(), coding.parity());
        demand!(P1, self.codings.contains(&found), "{found:?} is in force, and one of {:?} should be", self.codings);
        if opened {
            self.codings = BTreeSet::from([found]);
        }
        Ok(())
    }
}
