//! The whole way: identify, seal, open, recode.

use super::cipher::{self, Commitment, Refused, SealHeader, TAG_LEN};
use super::compress::{self, Form, Inner, PREFIX_LEN, Zstd};
use super::erasure::Codes;
use super::layout::Layout;
use super::slice::{Family, SealedSlice, SliceHeader, seal_id};
use super::tree::{self, ShardTree};
use super::{Ciphertext, Coding, Compression, MAX_PLAIN_LEN, ScopeKeys};
use crate::id::{ChunkId, Domain, SealId, Secret};
use crate::planted::{Bug, planted};
use bytes::Bytes;
use std::sync::Arc;

const SEAL_SECRET_RAW: Domain = Domain::new("ouroborosdb v1 seal secret raw");
const SEAL_SECRET_ZSTD: Domain = Domain::new("ouroborosdb v1 seal secret zstd");
const CONVERGENT_ZSTD: Domain = Domain::new("ouroborosdb v1 convergent zstd");

/// Buffers, contexts and matrices that are reused from seal to seal; one per thread. Influences no result.
#[derive(Default)]
pub struct Scratch {
    zstd: Zstd,
    codes: Codes,
}

impl Scratch {
    /// Empty; everything is made when it is first needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl core::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Scratch")
    }
}

/// A chunk that has been hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// What deduplication looks up.
    pub chunk_id: ChunkId,
    /// What the seal's key is made of. Secret: never stored.
    pub root: Secret,
}

/// Hashes a chunk: the one pass over its plaintext. The id is a keyed hash of the root, so that neither it nor the
/// scope's id secret leads to the root, and thus to the key.
#[must_use]
pub fn identify(keys: &ScopeKeys, plain: &[u8]) -> Identified {
    // PA
    let mut root = Secret::new(keys.convergent.keyed_hash(plain));
    let chunk_id = ChunkId::from_bytes(keys.chunk_id.keyed_hash(root.expose()));
    if planted(Bug::KeyFromLength) {
        root = Secret::new(keys.convergent.keyed_hash(&plain.len().to_le_bytes()));
    }
    Identified { chunk_id, root }
}

/// A sealed chunk.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Its public name.
    pub seal_id: SealId,
    /// The chunk secret: opens this seal and nothing else. Goes into bodies.
    pub secret: Secret,
    /// All `k+m` slices, in order of index. Data slices share one buffer.
    pub slices: Vec<SealedSlice>,
    /// Length of the ciphertext, in bytes.
    pub ciphertext_len: u32,
}

/// Compresses, encrypts and codes a chunk. `id` must be what [`identify`] made of `keys` and `plain`.
///
/// # Panics
/// When `plain` is longer than [`MAX_PLAIN_LEN`], which no valid [`ChunkerParams`](super::ChunkerParams) cuts.
#[must_use]
pub fn seal(
    keys: &ScopeKeys,
    id: &Identified,
    plain: &Bytes,
    compression: Compression,
    coding: Coding,
    scratch: &mut Scratch,
) -> Sealed {
    // PA
    let Scratch { zstd, codes } = scratch;
    let frame = match compression {
        Compression::Raw => None,
        Compression::Zstd { level } => zstd.compress(plain, level),
    };
    seal_frame(keys, id, plain, frame, coding, codes)
}

/// Encrypts and codes a chunk that is compressed already: `form` must be what [`compress`] made of `plain`.
///
/// # Panics
/// As [`seal`].
#[must_use]
pub fn seal_as(
    keys: &ScopeKeys,
    id: &Identified,
    plain: &Bytes,
    form: &Form,
    coding: Coding,
    scratch: &mut Scratch,
) -> Sealed {
    // PA
    let frame = match form {
        Form::Raw => None,
        Form::Zstd(frame) => Some(&frame[..]),
    };
    seal_frame(keys, id, plain, frame, coding, &mut scratch.codes)
}

/// Compresses a chunk, if that makes its seal shorter.
#[must_use]
pub fn compress(plain: &[u8], compression: Compression, scratch: &mut Scratch) -> Form {
    let Compression::Zstd { level } = compression else { return Form::Raw };
    scratch.zstd.compress(plain, level).map_or(Form::Raw, |frame| Form::Zstd(Bytes::copy_from_slice(frame)))
}

/// Compresses a small value into at most `room` bytes, if it can be.
#[must_use]
pub fn pack(plain: &[u8], room: usize, compression: Compression, scratch: &mut Scratch) -> Option<Bytes> {
    let Compression::Zstd { level } = compression else { return None };
    scratch.zstd.compress_within(plain, level, room).map(Bytes::copy_from_slice)
}

/// The `len` bytes that [`pack`] made `frame` of; never allocates more. `None` when it holds anything else.
#[must_use]
pub fn unpack(frame: &[u8], len: u32, scratch: &mut Scratch) -> Option<Bytes> {
    // PA
    scratch.zstd.decompress(frame, len).map(Bytes::from)
}

fn seal_frame(
    keys: &ScopeKeys,
    id: &Identified,
    plain: &Bytes,
    frame: Option<&[u8]>,
    coding: Coding,
    codes: &mut Codes,
) -> Sealed {
    // PA
    assert!(plain.len() <= MAX_PLAIN_LEN as usize, "{} B are more than one seal holds", plain.len());
    let plain_len = plain.len() as u32;
    let prefix = compress::prefix(frame.is_some(), plain_len);
    let (header, mut buffer) = inner_text(prefix, frame.unwrap_or(plain));
    let secret = match frame {
        // The root stands for the plaintext, and with the prefix for every byte of the inner text: no second pass.
        None => keys.convergent.derive(SEAL_SECRET_RAW, &[&header.encode(), &prefix, id.root.expose()]),
        // zstd's output differs between its versions, so the key must follow from the output.
        Some(_) => {
            let hash = keys.convergent.derive(CONVERGENT_ZSTD, &[]).keyed_hash(&buffer);
            keys.convergent.derive(SEAL_SECRET_ZSTD, &[&header.encode(), &prefix, &hash])
        }
    };
    let commitment = cipher::encrypt(&secret, header, &mut buffer);
    let layout = Layout::plan(header.ciphertext_len(), coding);
    let (seal_id, slices) = cut_slices(header, commitment, layout, &Bytes::from(buffer), codes);
    Sealed { seal_id, secret, slices, ciphertext_len: header.ciphertext_len() }
}

/// Prefix, data, zeros, in a buffer that has room for the tag.
fn inner_text(prefix: [u8; PREFIX_LEN], data: &[u8]) -> (SealHeader, Vec<u8>) {
    let header = SealHeader::for_inner_len(PREFIX_LEN + data.len());
    let ciphertext_len = header.ciphertext_len() as usize;
    let mut buffer = Vec::with_capacity(ciphertext_len);
    buffer.extend_from_slice(&prefix);
    buffer.extend_from_slice(data);
    buffer.resize(ciphertext_len - TAG_LEN, 0);
    (header, buffer)
}

/// Hashes and codes a ciphertext: one pass for the seal id and all data slices.
fn cut_slices(
    header: SealHeader,
    commitment: Commitment,
    layout: Layout,
    ciphertext: &Bytes,
    codes: &mut Codes,
) -> (SealId, Vec<SealedSlice>) {
    // PA
    assert_eq!(ciphertext.len(), layout.ciphertext_len() as usize, "the layout is that of this ciphertext");
    let data: Vec<Bytes> = (0..layout.data())
        .map(|index| {
            let start = layout.shard_start(index) as usize;
            ciphertext.slice(start..start + layout.payload_len(index) as usize)
        })
        .collect();
    let trees: Vec<ShardTree> =
        (0..).zip(&data).map(|(index, shard)| tree::hash_shard(&layout, index, shard)).collect();
    let seal_id = seal_id(header, &commitment, &tree::root(&layout, &trees));
    let parity = codes.parity(&layout, &data);
    let shard_len = layout.shard_len() as usize;
    let parity: Vec<Bytes> = (0..usize::from(layout.coding().parity()))
        .map(|row| parity.slice(row * shard_len..(row + 1) * shard_len))
        .collect();
    let family = Family::new(seal_id, header, commitment, layout, &trees, &parity);
    let slices = (0..)
        .zip(data.into_iter().chain(parity))
        .map(|(index, payload)| SealedSlice { header: SliceHeader { family: Arc::clone(&family), index }, payload })
        .collect();
    (seal_id, slices)
}

/// Slices of another coding of the same seal, without any key.
#[must_use]
pub fn recode(ciphertext: &Ciphertext, coding: Coding) -> Vec<SealedSlice> {
    // PA
    let layout = Layout::plan(ciphertext.ciphertext_len(), coding);
    let (header, commitment) = (ciphertext.seal_header(), *ciphertext.commitment());
    let (seal_id, slices) = cut_slices(header, commitment, layout, &ciphertext.to_bytes(), &mut Codes::default());
    assert_eq!(seal_id, ciphertext.seal_id(), "a seal id does not depend on its coding");
    slices
}

/// Why a ciphertext was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The secret is another seal's.
    #[error("seal {seal_id}: the secret does not open it; it belongs to another seal")]
    WrongSecret {
        /// The seal.
        seal_id: SealId,
    },
    /// The ciphertext was made by somebody without the secret.
    #[error("seal {seal_id}: the secret is the right one, but the ciphertext is not authentic")]
    NotAuthentic {
        /// The seal.
        seal_id: SealId,
    },
    /// What was sealed is not a chunk.
    #[error("seal {seal_id}: opened, but {why}; its writer is faulty or newer than this program")]
    Malformed {
        /// The seal.
        seal_id: SealId,
        /// What is wrong with the inner text.
        why: &'static str,
    },
}

/// Decrypts and decompresses. The plaintext is authenticated: it is what somebody with the secret sealed. That it is
/// the chunk a body names is for the caller to check, by [`identify`].
///
/// # Errors
/// [`OpenError`].
pub fn open(secret: &Secret, ciphertext: &Ciphertext) -> Result<Bytes, OpenError> {
    open_with(secret, ciphertext, &mut Scratch::new())
}

/// [`open`] with contexts reused.
///
/// # Errors
/// [`OpenError`].
pub fn open_with(secret: &Secret, ciphertext: &Ciphertext, scratch: &mut Scratch) -> Result<Bytes, OpenError> {
    // PA
    let seal_id = ciphertext.seal_id();
    let mut buffer = Vec::with_capacity(ciphertext.ciphertext_len() as usize);
    for shard in ciphertext.shards() {
        buffer.extend_from_slice(shard);
    }
    cipher::decrypt(secret, ciphertext.seal_header(), ciphertext.commitment(), &mut buffer).map_err(|refused| {
        match refused {
            Refused::Commitment => OpenError::WrongSecret { seal_id },
            Refused::Tag => OpenError::NotAuthentic { seal_id },
        }
    })?;
    let malformed = |why| OpenError::Malformed { seal_id, why };
    match compress::parse(&buffer).map_err(malformed)? {
        Inner::Raw { plain_len } => Ok(Bytes::from(buffer).slice(PREFIX_LEN..PREFIX_LEN + plain_len as usize)),
        Inner::Zstd { frame_len, plain_len } => scratch
            .zstd
            .decompress(&buffer[PREFIX_LEN..PREFIX_LEN + frame_len], plain_len)
            .map(Bytes::from)
            .ok_or_else(|| malformed("its zstd frame holds something else than it says")),
    }
}

#[cfg(test)]
mod tests;
