//! Blobs: one version of one key.
//!
//! A version is a public [`Header`], signed by its author, and a sealed [`Body`]. Storage nodes see the header alone: what
//! they need to place, keep and collect the version. Names, attributes and chunk keys are in the body. Both travel and rest
//! as one [`BlobRecord`].
//!
//! Small content lies in the body itself; larger content is a list of chunks, and lists longer than a page become trees
//! of sealed [`ChunkList`] pages, so that a body stays small whatever the value's size ([`ContentBuilder`]).
//!
//! This module is pure data: it never learns where records lie, what a chunk's ciphertext looks like, or how sealed
//! path components are made.

mod body;
mod body_cipher;
mod content;
mod content_builder;
mod header;
mod record;
mod ref_page;
mod signed;
mod snapshot;

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
pub(crate) mod hostile;
#[cfg(test)]
pub(crate) mod sample;

pub use body::{Attributes, Body, ContentKind};
pub use body_cipher::{BODY_OVERHEAD, BodyError, open_body, padded_len, seal_body, sealed_body_len};
pub use content::{ChunkList, ChunkRef, Content, MAX_DEPTH, MAX_INLINE_LEN, MAX_PAGE_REFS, Span, overlapping};
pub use content_builder::{ContentBuilder, Page};
pub use header::{BlobKind, Header, ScopeTag};
pub use record::{BlobRecord, RecordError};
pub use ref_page::{MAX_PAGE_SEALS, RefPage, SealReferences};
pub use signed::SignedHeader;
pub use snapshot::{SnapshotEntry, SnapshotReader, SnapshotWriter};
