//! What a tombstone keeps of a version that it removes.

use crate::blob::{Header, SignedHeader};
use crate::dag::Parents;
use crate::id::{BlobId, Dot, Hlc};
use borsh::{BorshDeserialize, BorshSerialize};

/// A version that is to be destroyed: enough to recognise it for ever, and to keep ancestry connected through the hole.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Purged {
    /// The version.
    pub id: BlobId,
    /// The name of its record.
    pub dot: Dot,
    /// When it was made.
    pub created: Hlc,
    /// What it was based on, strictly rising, at most [`Header::MAX_PARENTS`].
    pub parents: Vec<BlobId>,
}

impl Purged {
    /// What a tombstone names of a version.
    #[must_use]
    pub fn of(header: &SignedHeader, dot: Dot) -> Self {
        let Header { created, parents, .. } = header.header();
        Self { id: header.id(), dot, created: *created, parents: parents.clone() }
    }

    /// The hole that is left in the ancestry.
    #[must_use]
    pub fn hole(&self) -> Parents {
        Parents { created: self.created, ids: self.parents.clone(), purged: true }
    }
}
