//! Joining versions of one key: resolvers.
//!
//! A resolver is given the sides and their common bases and says what the merger holds, or that people must decide. The
//! ones here are deterministic: the same versions give the same content on every node, in whatever order they are named
//! (commutative), and joining equal contents gives that content (idempotent). More than two sides are folded in an order
//! that follows from the sides alone.
//!
//! After a criss-cross there are several bases. Choosing one can silently undo a change that only the other knows of, so a
//! three-way resolver must come to the same result over each of them, or conflict.

mod attributes;
mod bytes3;
mod lww;
mod text3;
mod union_lines;

pub use attributes::{AttributeSide, merge_attributes};
pub use bytes3::Bytes3;
pub use lww::Lww;
pub use text3::{MAX_TEXT_LEN, MAX_TEXT_LINES, Text3};
pub use union_lines::UnionLines;

use crate::id::{BlobId, Hlc};
use bytes::Bytes;

/// What a version holds, as far as a resolver needs to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The version says that the key is gone.
    Gone,
    /// The bytes.
    Bytes(Bytes),
    /// Bytes that were not read, because the resolver did not ask for them or there are too many.
    Unread,
}

/// One version taking part in a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The version.
    pub id: BlobId,
    /// When it was made.
    pub created: Hlc,
    /// Its content's commitment ([`crate::blob::Body::content_commitment`]): equal means equal content.
    pub content: [u8; 32],
    /// What it holds.
    pub value: Value,
}

impl Side {
    /// Whether both hold the same.
    #[must_use]
    pub fn holds_same(&self, other: &Self) -> bool {
        self.content == other.content || (self.value == other.value && self.value != Value::Unread)
    }
}

/// What is to be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeInput {
    bases: Vec<Side>,
    sides: Vec<Side>,
}

impl MergeInput {
    /// The best common ancestors, and the versions to join. Order and repetition do not matter. A side that another side
    /// descends from has no say and must not be among them (see [`crate::dag::heads`]).
    #[must_use]
    pub fn new(bases: Vec<Side>, sides: Vec<Side>) -> Self {
        let tidy = |mut list: Vec<Side>| {
            list.sort_by_key(|side| (side.created, side.id));
            list.dedup_by_key(|side| side.id);
            list
        };
        Self { bases: tidy(bases), sides: tidy(sides) }
    }

    /// The best common ancestors, lowest `(created, id)` first. None: unrelated histories.
    #[must_use]
    pub fn bases(&self) -> &[Side] {
        &self.bases
    }

    /// The versions to join, lowest `(created, id)` first.
    #[must_use]
    pub fn sides(&self) -> &[Side] {
        &self.sides
    }

    /// The side that would win without a merge: the highest `(created, id)`.
    #[must_use]
    pub fn winner(&self) -> Option<&Side> {
        self.sides.last()
    }

    /// One side for each different content, the winner among those that hold it; lowest `(created, id)` first.
    #[must_use]
    pub fn different_sides(&self) -> Vec<&Side> {
        let mut different: Vec<&Side> = Vec::new();
        for side in self.sides.iter().rev() {
            if !different.iter().any(|other| other.holds_same(side)) {
                different.push(side);
            }
        }
        different.reverse();
        different
    }

    /// A conflict over this input.
    #[must_use]
    pub fn conflict(&self, why: Why) -> Conflict {
        let ids = |list: &[Side]| list.iter().map(|side| side.id).collect();
        Conflict { bases: ids(&self.bases), sides: ids(&self.sides), why, marked: None }
    }
}

/// Which values a resolver must be given read. Others may be [`Value::Unread`] (a removal is always said), so that a merge of values larger than memory
/// reads nothing it does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// None: it decides by stamps and commitments.
    Nothing,
    /// The sides'.
    Sides,
    /// The sides' and the bases'.
    SidesAndBases,
}

/// What the merger holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// What this side holds, by reference: nothing is read or written anew.
    Take(BlobId),
    /// These bytes.
    Write(Bytes),
    /// Nothing: the key is gone.
    Gone,
}

/// Why versions could not be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The same place was changed in different ways.
    #[error("the same place was changed in different ways")]
    Overlap,
    /// One side removed what another changed.
    #[error("one side removed what another changed")]
    RemovedAndChanged,
    /// A value is not text.
    #[error("a value is not text")]
    NotText,
    /// A value is too long for this resolver, or was not read.
    #[error("a value is too long to be merged line by line")]
    TooLong,
    /// There are several bases, and they lead to different results.
    #[error("the histories cross, and their common versions lead to different results")]
    BasesDisagree,
    /// There was nothing to join.
    #[error("there is no version to join")]
    NoSides,
    /// The caller's resolver refused.
    #[error("{0}")]
    Refused(String),
}

/// A text in which the places that clash are marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The text with `<<<<<<< ours`, `||||||| original`, `=======` and `>>>>>>> theirs` around each clash.
    pub text: Bytes,
    /// The version shown as "ours".
    pub ours: BlobId,
    /// The version shown as "theirs".
    pub theirs: BlobId,
}

/// People must decide. The versions stay heads until they do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} versions could not be merged: {why}; merge them by hand or choose another resolver", sides.len())]
pub struct Conflict {
    /// The common bases.
    pub bases: Vec<BlobId>,
    /// The versions that were to be joined.
    pub sides: Vec<BlobId>,
    /// Why they could not be.
    pub why: Why,
    /// For two texts: where they clash.
    pub marked: Option<Box<Marked>>,
}

/// Decides what a merger holds.
pub trait Resolver {
    /// What people call it.
    fn name(&self) -> &str;

    /// What it must be given read.
    fn needs(&self) -> Needs;

    /// Joins the sides.
    ///
    /// # Errors
    /// [`Conflict`] when people must decide.
    fn resolve(&self, input: &MergeInput) -> Result<Resolution, Conflict>;
}

/// The caller's own way to resolve.
#[derive(Clone, Copy, Debug)]
pub struct Custom<F> {
    name: &'static str,
    needs: Needs,
    resolve: F,
}

impl<F: Fn(&MergeInput) -> Result<Resolution, Conflict>> Custom<F> {
    /// A resolver out of a function. To be of use on more than one node it should depend on its input alone.
    pub const fn new(name: &'static str, needs: Needs, resolve: F) -> Self {
        Self { name, needs, resolve }
    }
}

impl<F: Fn(&MergeInput) -> Result<Resolution, Conflict>> Resolver for Custom<F> {
    fn name(&self) -> &str {
        self.name
    }

    fn needs(&self) -> Needs {
        self.needs
    }

    fn resolve(&self, input: &MergeInput) -> Result<Resolution, Conflict> {
        (self.resolve)(input)
    }
}

#[cfg(test)]
mod laws;
