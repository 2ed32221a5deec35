//! Seals: how a piece of plaintext becomes slices that anybody can store, verify and repair, and only a reader can
//! open.
//!
//! ```text
//! plaintext ── Chunker ──▶ chunk ── identify ──▶ chunk id, root
//!                            │
//!                            └─ seal ─▶ zstd or raw ─▶ pad to 4 KiB ─▶ ChaCha20-Poly1305 ─▶ Reed–Solomon ─▶ slices
//! slices ── assemble ──▶ Ciphertext ── open ──▶ chunk
//!                            └─ rebuild / recode ──▶ slices again, without any key
//! ```
//!
//! Pure functions on bytes: nothing here knows a disk, an index, a blob or a clock. What the module promises:
//!
//! * **Convergent.** Equal plaintext under equal [`ScopeKeys`] and compression gives equal bytes on every node, so that
//!   sealing twice is harmless and deduplication needs no coordination.
//! * **One key, one message.** The key is a function of the exact bytes encrypted, which is what makes the fixed nonce
//!   safe. It does not follow from any public id.
//! * **Never wrong bytes.** What [`assemble`] returns hashes to the seal id; what [`open`] returns was authenticated.
//! * **One hash pass** over the plaintext and one over the ciphertext: seal id and slice hashes come from one
//!   BLAKE3 tree.
//!
//! Read in this order: `scope`, `params`, `chunker`, `compress`, `cipher`, `tree`, `layout`, `erasure`, `slice`,
//! `assemble`, `pipeline`.

mod assemble;
mod chunker;
mod cipher;
mod compress;
mod erasure;
mod layout;
mod params;
mod pipeline;
mod scope;
mod slice;
mod tree;

#[cfg(test)]
pub(crate) mod fixtures;

pub use assemble::{AssembleError, Ciphertext, assemble};
pub use chunker::Chunker;
pub use cipher::{MAX_CIPHERTEXT_LEN, MAX_PLAIN_LEN, PAD_STEP, SealHeader};
pub use compress::Form;
pub use layout::Layout;
pub use params::{ChunkerKind, ChunkerParams, Coding, Compression, ParamsError};
pub use pipeline::{
    Identified, OpenError, Scratch, Sealed, compress, identify, open, open_with, pack, recode, seal, seal_as, unpack,
};
pub use scope::ScopeKeys;
pub use slice::{MAX_SLICE_HEADER_LEN, SealedSlice, SliceError, SliceHash, SliceHeader, SliceIndex};
