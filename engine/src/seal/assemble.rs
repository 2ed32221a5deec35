//! From slices back to the ciphertext, with repair, and without any key.

use super::cipher::{Commitment, SealHeader};
use super::erasure::Codes;
use super::slice::{Family, SealedSlice, SliceHeader, SliceIndex, seal_id};
use super::tree::{self, ShardTree};
use super::{Coding, Layout};
use crate::id::SealId;
use crate::planted::{Bug, planted};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a seal could not be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// Too few good slices of any one coding.
    #[error(
        "seal {seal_id}: {good} good slices where {needed} are needed ({damaged} damaged); find more of them on other \
         nodes or disks", damaged = damaged.len()
    )]
    TooFewSlices {
        /// The seal.
        seal_id: SealId,
        /// Slices of one coding that are needed.
        needed: usize,
        /// Slices of that coding that verified.
        good: usize,
        /// Slices of that coding that were given and did not verify.
        damaged: Vec<SliceIndex>,
    },
    /// Slices agree with each other, but not with the seal id.
    #[error("seal {seal_id}: its slices verify, but together they are not this seal; discard them, they were forged")]
    Forged {
        /// The seal.
        seal_id: SealId,
    },
}

/// A whole ciphertext that hashes to its seal id.
#[derive(Clone, Debug)]
pub struct Ciphertext {
    pub(super) family: Arc<Family>,
    /// The data shards, in order; none is missing.
    pub(super) shards: Vec<Bytes>,
    damaged: Vec<SliceIndex>,
}

impl Ciphertext {
    /// The seal.
    #[must_use]
    pub fn seal_id(&self) -> SealId {
        self.family.seal_id
    }

    /// Length, in bytes.
    #[must_use]
    pub fn ciphertext_len(&self) -> u32 {
        self.family.layout.ciphertext_len()
    }

    /// The layout of the slices that it was assembled from.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.family.layout
    }

    /// The effective coding of the slices that it was assembled from.
    #[must_use]
    pub fn coding(&self) -> Coding {
        self.family.layout.coding()
    }

    /// Slices that were given and did not verify, ascending. Slices that were not needed were not looked at.
    #[must_use]
    pub fn damaged(&self) -> &[SliceIndex] {
        &self.damaged
    }

    /// The data shards: the ciphertext in pieces.
    #[must_use]
    pub fn shards(&self) -> &[Bytes] {
        &self.shards
    }

    /// The ciphertext in one piece; copies unless there is one shard only.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = &self.shards[..] {
            return only.clone();
        }
        let mut out = BytesMut::with_capacity(self.ciphertext_len() as usize);
        for shard in &self.shards {
            out.extend_from_slice(shard);
        }
        out.freeze()
    }

    pub(super) fn seal_header(&self) -> SealHeader {
        self.family.seal_header
    }

    pub(super) fn commitment(&self) -> &Commitment {
        &self.family.commitment
    }

    /// Makes lost slices again, byte for byte as they were, in the order asked for. `None` for an index that the
    /// coding does not have, and for a parity slice that a dishonest writer never made from this ciphertext.
    #[must_use]
    pub fn rebuild(&self, lost: &[SliceIndex]) -> Option<Vec<SealedSlice>> {
        // PA
        let layout = &self.family.layout;
        let mut parity = None;
        lost.iter()
            .map(|&SliceIndex(index)| {
                if usize::from(index) >= layout.coding().total() {
                    return None;
                }
                let payload = match self.shards.get(usize::from(index)) {
                    Some(shard) => shard.clone(),
                    None => {
                        let parity = parity.get_or_insert_with(|| Codes::default().parity(layout, &self.shards));
                        let shard_len = layout.shard_len() as usize;
                        let start = usize::from(index - layout.data()) * shard_len;
                        let payload = parity.slice(start..start + shard_len);
                        if self.family.parity_hash(index, &payload) != self.family.expected_hash(index) {
                            return None;
                        }
                        payload
                    }
                };
                let header = SliceHeader { family: Arc::clone(&self.family), index };
                Some(SealedSlice { header, payload })
            })
            .collect()
    }
}

/// Slices that were made together, by index; several when copies were given.
struct Group {
    family: Arc<Family>,
    slices: BTreeMap<u8, Vec<SealedSlice>>,
}

/// Puts a seal together from its slices, in any order and mixture: slices of other seals are passed over, of several
/// codings each is tried. With all data slices intact there is one hash pass and no copy; else what is missing or
/// damaged is rebuilt from parity, and the damaged slices are named.
///
/// # Errors
/// [`AssembleError`]; wrong bytes are never returned.
pub fn assemble(seal_id: SealId, slices: Vec<SealedSlice>) -> Result<Ciphertext, AssembleError> {
    // PA
    let mut groups: Vec<Group> = Vec::new();
    for slice in slices {
        if slice.header.seal_id() != seal_id {
            continue;
        }
        let family = &slice.header.family;
        let known = groups.iter().position(|group| Arc::ptr_eq(&group.family, family) || group.family == *family);
        let group = match known {
            Some(at) => &mut groups[at],
            None => {
                groups.push(Group { family: Arc::clone(family), slices: BTreeMap::new() });
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        group.slices.entry(slice.header.index).or_default().push(slice);
    }
    // The most complete first; the outcome does not depend on the order in which slices came.
    groups.sort_by_key(|group| {
        let missing = usize::from(group.family.layout.data()).saturating_sub(group.slices.len());
        (missing, group.family.check())
    });
    let mut failure = None;
    for group in groups {
        match group.assemble() {
            Ok(ciphertext) => return Ok(ciphertext),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or(AssembleError::TooFewSlices { seal_id, needed: 1, good: 0, damaged: Vec::new() }))
}

impl Group {
    fn assemble(self) -> Result<Ciphertext, AssembleError> {
        // PA
        let Self { family, slices } = self;
        let layout = family.layout;
        let needed = usize::from(layout.data());
        let mut damaged = Vec::new();
        let mut shards: Vec<Option<Bytes>> = vec![None; layout.coding().total()];
        let mut trees: Vec<Option<ShardTree>> = vec![None; needed];
        let mut good = 0;
        // Ascending, so parity is looked at only when data is not enough.
        for (index, copies) in slices {
            if good == needed {
                break;
            }
            let hashed = |copy: &SealedSlice| match copy.hash_tree() {
                Err(_) if planted(Bug::SlicesUnverified) => Ok(None),
                hashed => hashed,
            };
            let verified = copies.into_iter().find_map(|copy| Some((hashed(&copy).ok()?, copy.payload)));
            let Some((tree, payload)) = verified else {
                damaged.push(SliceIndex(index));
                continue;
            };
            good += 1;
            shards[usize::from(index)] = Some(payload);
            if tree.is_some() {
                trees[usize::from(index)] = tree;
            }
        }
        let too_few = |damaged| AssembleError::TooFewSlices { seal_id: family.seal_id, needed, good, damaged };
        if good < needed || planted(Bug::OneSliceSpared) && damaged.len() > 1 {
            return Err(too_few(damaged));
        }
        let Some(shards) = Codes::default().reconstruct(&layout, &shards) else {
            return Err(too_few(damaged));
        };
        let trees: Vec<ShardTree> = (0..)
            .zip(trees.into_iter().zip(&shards))
            .map(|(index, (tree, shard))| tree.unwrap_or_else(|| tree::hash_shard(&layout, index, shard)))
            .collect();
        let root = tree::root(&layout, &trees);
        // The one check that no header can talk its way around.
        if seal_id(family.seal_header, &family.commitment, &root) != family.seal_id {
            return Err(AssembleError::Forged { seal_id: family.seal_id });
        }
        Ok(Ciphertext { family, shards, damaged })
    }
}

#[cfg(test)]
mod tests;
