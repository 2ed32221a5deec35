//! Slices: what a disk stores and a wire carries. Each says which seal it belongs to and proves its own bytes.
//!
//! ```text
//! offset  size  field
//!      0     4  magic "OSLC"
//!      4     1  version, 1
//!      5     1  index: 0..k data, k..k+m parity
//!      6     1  k, data shards (effective)
//!      7     1  m, parity shards
//!      8     4  shard length, u32 little-endian, a multiple of 1 KiB
//!     12     8  seal header: version 1, suite 1, log2 of the padding step 12, 0, ciphertext length u32 little-endian
//!     20    32  seal id
//!     52    32  key commitment
//!     84  16 n  slice hashes of all n = k+m siblings, in order of index
//! 84+16n    16  check over everything above but the index
//! ```
//! The payload follows.

use super::cipher::{Commitment, SealHeader};
use super::layout::Layout;
use super::tree::{self, ShardTree};
use super::{Coding, MAX_PLAIN_LEN};
use crate::codec::DecodeError;
use crate::id::{Domain, SealId};
use bytes::Bytes;
use std::sync::Arc;

const SEAL_ID: Domain = Domain::new("ouroborosdb v1 seal id");
const SLICE: Domain = Domain::new("ouroborosdb v1 slice");
const SLICE_HEADER: Domain = Domain::new("ouroborosdb v1 slice header");

const WHAT: &str = "slice header";
const MAGIC: [u8; 4] = *b"OSLC";
const VERSION: u8 = 1;
/// Bytes in front of the slice hashes.
const FIXED_LEN: usize = 84;
/// Length of a slice hash and of the header's check, in bytes.
const HASH_LEN: usize = 16;
/// Where the index stands: the one byte in which siblings' headers differ.
const INDEX_AT: usize = 5;

/// Longest slice header, in bytes.
pub const MAX_SLICE_HEADER_LEN: usize = FIXED_LEN + HASH_LEN * (Coding::MAX_SHARDS as usize + 1);

/// Place of a slice among its siblings: data first, then parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceIndex(pub u8);

impl core::fmt::Display for SliceIndex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Hash of a slice's payload, bound to its seal and its place; 16 bytes of BLAKE3.
pub type SliceHash = [u8; HASH_LEN];

/// Why a slice is not to be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SliceError {
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] DecodeError),
    /// The record was cut short or holds more than the slice.
    #[error(
        "slice {index} of seal {seal_id}: {found} B of payload instead of {expected} B; rebuild it from its siblings"
    )]
    PayloadLen {
        /// The seal.
        seal_id: SealId,
        /// The slice.
        index: SliceIndex,
        /// Length that follows from the header, in bytes.
        expected: u32,
        /// Length found, in bytes.
        found: usize,
    },
    /// The payload is not what was written.
    #[error("slice {index} of seal {seal_id}: the payload does not match its hash; rebuild it from its siblings")]
    Damaged {
        /// The seal.
        seal_id: SealId,
        /// The slice.
        index: SliceIndex,
    },
}

/// What all slices of one coding of one seal have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) seal_id: SealId,
    pub(super) seal_header: SealHeader,
    pub(super) commitment: Commitment,
    pub(super) layout: Layout,
    hashes: Vec<SliceHash>,
    check: SliceHash,
}

/// The seal id: independent of coding, and computable by anybody who holds the ciphertext.
pub(super) fn seal_id(header: SealHeader, commitment: &Commitment, root: &[u8; 32]) -> SealId {
    // PA
    SealId::from_bytes(SEAL_ID.hash(&[&header.encode(), commitment, root]))
}

impl Family {
    /// The family of a ciphertext whose shards have been hashed.
    pub(super) fn new(
        seal_id: SealId,
        seal_header: SealHeader,
        commitment: Commitment,
        layout: Layout,
        data: &[ShardTree],
        parity: &[Bytes],
    ) -> Arc<Self> {
        // PA
        assert_eq!(data.len() + parity.len(), layout.coding().total(), "a family has all its slices");
        let mut family = Self { seal_id, seal_header, commitment, layout, hashes: Vec::new(), check: [0; HASH_LEN] };
        let data = (0..).zip(data).map(|(index, tree)| family.data_hash(index, tree));
        let parity = (layout.data()..).zip(parity).map(|(index, payload)| family.parity_hash(index, payload));
        family.hashes = data.chain(parity).collect();
        let mut bytes = family.encode_unchecked(0);
        family.check = check(&mut bytes);
        Arc::new(family)
    }

    /// The hash that data slice `index` has by the bytes whose tree is `tree`.
    pub(super) fn data_hash(&self, index: u8, tree: &ShardTree) -> SliceHash {
        self.slice_hash(index, tree.subtrees.as_flattened())
    }

    /// The hash that parity slice `index` has by the bytes of `payload`.
    pub(super) fn parity_hash(&self, index: u8, payload: &[u8]) -> SliceHash {
        self.slice_hash(index, blake3::hash(payload).as_bytes())
    }

    /// The hash that slice `index` ought to have.
    pub(super) fn expected_hash(&self, index: u8) -> SliceHash {
        self.hashes[usize::from(index)]
    }

    fn slice_hash(&self, index: u8, digest: &[u8]) -> SliceHash {
        let coding = self.layout.coding();
        let mut place = [0; 7];
        place[..3].copy_from_slice(&[index, coding.data(), coding.parity()]);
        place[3..].copy_from_slice(&self.layout.shard_len().to_le_bytes());
        truncate(&SLICE.hash(&[self.seal_id.as_bytes(), &place, &self.seal_header.encode(), digest]))
    }

    /// The header of slice `index`, up to the check.
    fn encode_unchecked(&self, index: u8) -> Vec<u8> {
        // PA
        let coding = self.layout.coding();
        let mut out = Vec::with_capacity(header_len(coding));
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, index, coding.data(), coding.parity()]);
        out.extend_from_slice(&self.layout.shard_len().to_le_bytes());
        out.extend_from_slice(&self.seal_header.encode());
        out.extend_from_slice(self.seal_id.as_bytes());
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(self.hashes.as_flattened());
        out
    }

    /// Orders families for a deterministic choice among them.
    pub(super) const fn check(&self) -> SliceHash {
        self.check
    }
}

fn truncate(hash: &[u8; 32]) -> SliceHash {
    let mut out = [0; HASH_LEN];
    out.copy_from_slice(&hash[..HASH_LEN]);
    out
}

/// The check of a header up to it. Leaves the index zeroed.
fn check(bytes: &mut [u8]) -> SliceHash {
    bytes[INDEX_AT] = 0;
    truncate(&SLICE_HEADER.hash(&[bytes]))
}

const fn header_len(coding: Coding) -> usize {
    FIXED_LEN + HASH_LEN * (coding.total() + 1)
}

/// Everything about a slice but its payload. Cheap to clone: siblings share all but the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceHeader {
    pub(super) family: Arc<Family>,
    pub(super) index: u8,
}

impl SliceHeader {
    /// The seal that the slice belongs to.
    #[must_use]
    pub fn seal_id(&self) -> SealId {
        self.family.seal_id
    }

    /// The commitment to the key that its seal is encrypted under: two seals that have one have one key.
    #[must_use]
    pub fn key_commitment(&self) -> &[u8; 32] {
        &self.family.commitment
    }

    /// Its place among its siblings.
    #[must_use]
    pub fn index(&self) -> SliceIndex {
        SliceIndex(self.index)
    }

    /// Whether it holds parity.
    #[must_use]
    pub fn is_parity(&self) -> bool {
        self.index >= self.family.layout.data()
    }

    /// Effective coding: a short ciphertext has fewer data shards than was asked for.
    #[must_use]
    pub fn coding(&self) -> Coding {
        self.family.layout.coding()
    }

    /// How the ciphertext is spread over the slices.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.family.layout
    }

    /// Length of the whole ciphertext, in bytes.
    #[must_use]
    pub fn ciphertext_len(&self) -> u32 {
        self.family.layout.ciphertext_len()
    }

    /// Length of every shard but perhaps the last data shard, in bytes.
    #[must_use]
    pub fn shard_len(&self) -> u32 {
        self.family.layout.shard_len()
    }

    /// Length of this slice's payload, in bytes.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        self.family.layout.payload_len(self.index)
    }

    /// Hash of this slice.
    #[must_use]
    pub fn slice_hash(&self) -> SliceHash {
        self.family.expected_hash(self.index)
    }

    /// Hashes of all siblings, in order of index.
    #[must_use]
    pub fn sibling_hashes(&self) -> &[SliceHash] {
        &self.family.hashes
    }

    /// Whether two slices were made together, so that they count towards the same `k`.
    #[must_use]
    pub fn is_sibling(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.family, &other.family) || self.family == other.family
    }

    /// Length of [`Self::encode`], in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        header_len(self.coding())
    }

    /// The bytes; the payload follows them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.family.encode_unchecked(self.index);
        out.extend_from_slice(&self.family.check);
        out
    }

    /// Reads a header at the start of `bytes`; gives its length as well, where the payload starts.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but one header that [`Self::encode`] made. A wrong index that is in range is
    /// found out by [`SealedSlice::verify`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        // PA
        let malformed = |why: &str| DecodeError::malformed(WHAT, why);
        let Some((fixed, _)) = bytes.split_first_chunk::<FIXED_LEN>() else {
            return Err(malformed("too short"));
        };
        if fixed[..4] != MAGIC {
            return Err(malformed("no slice starts here"));
        }
        let [version, index, data, parity] = [fixed[4], fixed[INDEX_AT], fixed[6], fixed[7]];
        if version != VERSION {
            return Err(DecodeError::Version { what: WHAT, found: version, known: VERSION });
        }
        let coding = Coding::new(data, parity).map_err(|error| DecodeError::malformed(WHAT, error.to_string()))?;
        if usize::from(index) >= coding.total() {
            return Err(malformed("its index is beyond its coding"));
        }
        let seal_header = SealHeader::decode(array(&fixed[12..20]))?;
        let shard_len = u32::from_le_bytes(array(&fixed[8..12]));
        let layout = Layout::checked(coding, shard_len, seal_header.ciphertext_len())?;

        let len = header_len(coding);
        let (Some(checked), Some(stored)) = (bytes.get(..len - HASH_LEN), bytes.get(len - HASH_LEN..len)) else {
            return Err(malformed("too short for its coding"));
        };
        let check = check(&mut checked.to_vec());
        if check != *stored {
            return Err(malformed("it does not match its own check"));
        }
        let hashes = checked[FIXED_LEN..].as_chunks().0.to_vec();
        let seal_id = SealId::from_bytes(array(&fixed[20..52]));
        let family = Family { seal_id, seal_header, commitment: array(&fixed[52..84]), layout, hashes, check };
        Ok((Self { family: Arc::new(family), index }, len))
    }
}

/// A field of known length.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

/// One shard of a seal with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSlice {
    /// What it is.
    pub header: SliceHeader,
    /// Its share of the ciphertext, or parity.
    pub payload: Bytes,
}

impl SealedSlice {
    /// Reads a stored record, header then payload, without copying the payload. Does not hash the payload: see
    /// [`Self::verify`].
    ///
    /// # Errors
    /// [`SliceError::Header`] and [`SliceError::PayloadLen`].
    pub fn from_record(record: Bytes) -> Result<Self, SliceError> {
        // PA
        let (header, header_len) = SliceHeader::decode(&record)?;
        let slice = Self { header, payload: record.slice(header_len..) };
        slice.check_len()?;
        Ok(slice)
    }

    /// Length of the stored record, in bytes.
    #[must_use]
    pub fn record_len(&self) -> usize {
        self.header.encoded_len() + self.payload.len()
    }

    /// Whether the payload is what was written: a pure function of the slice, no key and no sibling needed.
    ///
    /// # Errors
    /// [`SliceError::PayloadLen`] and [`SliceError::Damaged`].
    pub fn verify(&self) -> Result<(), SliceError> {
        self.hash_tree().map(drop)
    }

    fn check_len(&self) -> Result<(), SliceError> {
        let expected = self.header.payload_len();
        if self.payload.len() == expected as usize {
            return Ok(());
        }
        let (seal_id, index) = (self.header.seal_id(), self.header.index());
        Err(SliceError::PayloadLen { seal_id, index, expected, found: self.payload.len() })
    }

    /// Verifies, and gives the tree that a data slice's bytes were hashed to.
    pub(super) fn hash_tree(&self) -> Result<Option<ShardTree>, SliceError> {
        // PA
        self.check_len()?;
        let SliceHeader { family, index } = &self.header;
        let (found, tree) = if self.header.is_parity() {
            (family.parity_hash(*index, &self.payload), None)
        } else {
            let tree = tree::hash_shard(&family.layout, *index, &self.payload);
            (family.data_hash(*index, &tree), Some(tree))
        };
        if found != self.header.slice_hash() {
            return Err(SliceError::Damaged { seal_id: self.header.seal_id(), index: self.header.index() });
        }
        Ok(tree)
    }
}

// A layout's numbers are bounded by the longest ciphertext, so that none of them overflows.
const _: () = assert!(MAX_PLAIN_LEN < u32::MAX / 4);

#[cfg(test)]
mod tests;
