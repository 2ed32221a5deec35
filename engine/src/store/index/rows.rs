//! What the tables hold.

use crate::codec::bounded;
use crate::id::{AuthorId, BlobId, Dot, Hlc, KeyHash, SealId, Secret, TombstoneId};
use crate::names::KeyName;
use crate::seal::SliceHeader;
use crate::store::Location;
use borsh::{BorshDeserialize, BorshSerialize};

/// One version of one key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlobRow {
    /// The record in the log.
    pub location: Location,
    /// The key.
    pub key_hash: KeyHash,
    /// When it was made.
    pub created: Hlc,
    /// The versions it was based on.
    pub parents: Vec<BlobId>,
    /// The kind, as the header encodes it.
    pub kind: u8,
    /// Who made it.
    pub author: AuthorId,
    /// Whether it says "gone".
    pub gone: bool,
    /// Its content's length, in bytes.
    pub len: u64,
    /// The record's name in its origin's history.
    pub dot: Dot,
    /// Whether a tombstone removed it: what is left keeps ancestry connected.
    pub purged: bool,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyRow {
    /// The key's name.
    #[borsh(deserialize_with = "bounded::vec::<{ KeyName::MAX_LEN }, _>")]
    pub name: Vec<u8>,
    /// The versions that no other is based on, the winner last.
    pub heads: Vec<(Hlc, BlobId)>,
    /// Whether the winner says "gone".
    pub winner_gone: bool,
}

/// One sealed chunk.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SealRow {
    /// Length of the ciphertext, in bytes.
    pub ciphertext_len: u32,
    /// Data slices, `k`.
    pub data: u8,
    /// Parity slices, `m`.
    pub parity: u8,
    /// Where each slice lies, by its index; `None` if it is not here.
    pub slices: Vec<Option<Location>>,
}

impl SealRow {
    /// A seal in the coding of one of its slices, none of which lies anywhere yet.
    #[must_use]
    pub fn new(header: &SliceHeader) -> Self {
        let coding = header.coding();
        Self {
            ciphertext_len: header.ciphertext_len(),
            data: coding.data(),
            parity: coding.parity(),
            slices: vec![None; coding.total()],
        }
    }

    /// Whether the slices are coded as that slice is.
    #[must_use]
    pub fn is_coded_as(&self, header: &SliceHeader) -> bool {
        (self.data, self.parity) == (header.coding().data(), header.coding().parity())
    }

    /// Whether so many slices are here that the seal can be read by them.
    #[must_use]
    pub fn has_enough(&self) -> bool {
        self.slices.iter().flatten().count() >= usize::from(self.data)
    }

    /// Notes where a slice lies. A slice of another coding than those before begins the row anew: two codings never mix.
    pub fn place(&mut self, header: &SliceHeader, location: Location) {
        // PA
        if !self.is_coded_as(header) {
            *self = Self::new(header);
        }
        if let Some(slot) = self.slices.get_mut(usize::from(header.index().0)) {
            *slot = Some(location);
        }
    }
}

/// One known plaintext chunk.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkRow {
    /// The seal that holds it.
    pub seal_id: SealId,
    /// What opens the seal.
    pub secret: Secret,
}

/// One deleted version.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TombstoneRow {
    /// The tombstone.
    pub tombstone: TombstoneId,
    /// The tombstone's record in the log.
    pub location: Location,
    /// The key.
    pub key_hash: KeyHash,
    /// The removed record's name in its origin's history.
    pub dot: Dot,
    /// The removed version's parents, which its children now descend from directly.
    pub parents: Vec<BlobId>,
    /// Who removed it.
    pub author: AuthorId,
    /// When it was removed.
    pub created: Hlc,
}

/// One page of seal references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RefPageRow {
    /// The page's record in the log.
    pub location: Location,
}
