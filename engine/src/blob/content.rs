//! What a version holds, and the chunk lists by which larger content is found.

use crate::codec::bounded;
use crate::codec::{Canonical, DecodeError};
use crate::id::{ChunkId, SealId, Secret};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use core::ops::Range;

/// Longest content that a body itself may hold, in bytes. Writers put chunks there from 4 KiB on; readers allow more.
pub const MAX_INLINE_LEN: usize = 128 * 1024;
/// Most references in one page, and in a body.
pub const MAX_PAGE_REFS: usize = 1_024;
/// Most levels of pages between a body and its chunks.
pub const MAX_DEPTH: u8 = 5;

/// The content of a version.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Content {
    /// The key was removed by this version; its history stays.
    Gone,
    /// The bytes themselves, at most [`MAX_INLINE_LEN`].
    Inline(#[borsh(deserialize_with = "bounded::bytes::<MAX_INLINE_LEN, _>")] Bytes),
    /// References to chunks (`depth` 0) or to sealed [`ChunkList`] pages.
    Chunks {
        /// Length of the content, in bytes: the sum over `chunks`.
        len: u64,
        /// Levels of pages between these references and the chunks, at most [`MAX_DEPTH`].
        depth: u8,
        /// The references in order, 1 to [`MAX_PAGE_REFS`].
        chunks: Vec<ChunkRef>,
    },
    /// A zstd frame with the bytes themselves, shorter than they are.
    Packed {
        /// Length of the content, in bytes, at most [`MAX_INLINE_LEN`].
        len: u32,
        /// The frame, shorter than `len`.
        #[borsh(deserialize_with = "bounded::bytes::<MAX_INLINE_LEN, _>")]
        frame: Bytes,
    },
}

impl Content {
    /// Length of the content, in bytes; none when the key is gone.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Gone => None,
            Self::Inline(bytes) => Some(bytes.len() as u64),
            Self::Packed { len, .. } => Some(u64::from(*len)),
            Self::Chunks { len, .. } => Some(*len),
        }
    }

    /// Whether there is no byte in it: removed, or of length zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.len(), None | Some(0))
    }

    /// Whether this version says that its key is gone.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }

    /// The references at the top of the content; empty unless it is in chunks.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkRef] {
        match self {
            Self::Chunks { chunks, .. } => chunks,
            _ => &[],
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        // PA
        match self {
            Self::Gone => Ok(()),
            Self::Inline(bytes) if bytes.len() > MAX_INLINE_LEN => Err("inline content is too long"),
            Self::Inline(_) => Ok(()),
            Self::Packed { len, .. } if *len as usize > MAX_INLINE_LEN => Err("packed content is too long"),
            Self::Packed { len, frame } if frame.len() >= *len as usize => Err("packed content saves nothing"),
            Self::Packed { .. } => Ok(()),
            Self::Chunks { len, depth, chunks } => {
                check_refs(chunks, *depth)?;
                if total_len(chunks) != Some(*len) {
                    return Err("the content's length is not the sum of its chunks'");
                }
                Ok(())
            }
        }
    }
}

/// A sealed piece of content: where it is, and the secret that opens it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkRef {
    /// The keyed hash of the plaintext, checked after opening.
    pub chunk_id: ChunkId,
    /// The seal that holds it.
    pub seal_id: SealId,
    /// Opens the seal.
    pub secret: Secret,
    /// Bytes of content that it stands for: its own plaintext's, or, for a page, those of every chunk below it.
    pub len: u64,
}

/// A page of references: the plaintext of a sealed chunk at a depth above zero.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkList {
    /// Levels of pages between these references and the chunks; one less than that of the list naming this page.
    pub depth: u8,
    /// The references in order, 1 to [`MAX_PAGE_REFS`].
    pub chunks: Vec<ChunkRef>,
}

impl ChunkList {
    /// Bytes of content below this page.
    #[must_use]
    pub fn content_len(&self) -> u64 {
        total_len(&self.chunks).unwrap_or(u64::MAX)
    }

    /// Reads the plaintext of the page that `reference` names in a list at `depth`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no page, or not the one named: another depth or length.
    pub fn open(plain: &[u8], reference: &ChunkRef, depth: u8) -> Result<Self, DecodeError> {
        // PA
        let page = Self::decode(plain)?;
        if page.depth.checked_add(1) != Some(depth) {
            return Err(DecodeError::malformed(Self::WHAT, "the page is of another depth than its reference says"));
        }
        if page.content_len() != reference.len {
            return Err(DecodeError::malformed(Self::WHAT, "the page is of another length than its reference says"));
        }
        Ok(page)
    }
}

impl Canonical for ChunkList {
    const WHAT: &'static str = "chunk list";
    const MAX_LEN: usize = 1 + 1 + 4 + MAX_PAGE_REFS * 104;

    fn validate(&self) -> Result<(), DecodeError> {
        check_refs(&self.chunks, self.depth).map_err(|why| DecodeError::malformed(Self::WHAT, why))
    }
}

fn check_refs(chunks: &[ChunkRef], depth: u8) -> Result<(), &'static str> {
    // PA
    if depth > MAX_DEPTH {
        return Err("too many levels of pages");
    }
    if chunks.is_empty() || chunks.len() > MAX_PAGE_REFS {
        return Err("a list holds 1 to 1,024 references");
    }
    if chunks.iter().any(|chunk| chunk.len == 0) {
        return Err("a reference stands for no byte");
    }
    if total_len(chunks).is_none() {
        return Err("the lengths of a list overflow");
    }
    Ok(())
}

fn total_len(chunks: &[ChunkRef]) -> Option<u64> {
    chunks.iter().try_fold(0u64, |sum, chunk| sum.checked_add(chunk.len))
}

/// One reference that a byte range touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its place in the list.
    pub index: usize,
    /// Where its content starts, in bytes from the start of the list.
    pub start: u64,
    /// The part of its own content that the range covers, in bytes from its start.
    pub part: Range<u64>,
}

/// The references of `chunks` that `range` (bytes from the start of the list) touches, in order.
#[must_use]
pub fn overlapping(chunks: &[ChunkRef], range: Range<u64>) -> Vec<Span> {
    // PA
    let mut start = 0u64;
    let mut spans = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let end = start.saturating_add(chunk.len);
        let from = range.start.max(start);
        let to = range.end.min(end);
        if from < to {
            spans.push(Span { index, start, part: from - start..to - start });
        }
        start = end;
        if start >= range.end {
            break;
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{hostile, sample};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pages_survive_and_have_one_spelling(lens in prop::collection::vec(1u64..1 << 40, 1..6), depth in 0u8..=MAX_DEPTH) {
            let page = ChunkList { depth, chunks: sample::chunks(&lens) };
            let bytes = page.encode();
            prop_assert_eq!(ChunkList::decode(&bytes), Ok(page));
            hostile::has_one_spelling::<ChunkList>(&bytes);
        }

        #[test]
        fn a_range_touches_exactly_its_bytes(lens in prop::collection::vec(1u64..20, 1..20), a in 0u64..300, b in 0u64..300) {
            let chunks = sample::chunks(&lens);
            let total: u64 = lens.iter().sum();
            let mut covered = Vec::new();
            for span in overlapping(&chunks, a..b) {
                prop_assert!(span.part.end <= chunks[span.index].len);
                covered.extend(span.part.map(|at| span.start + at));
            }
            let wanted: Vec<u64> = (a..b).filter(|at| *at < total).collect();
            prop_assert_eq!(covered, wanted);
        }
    }

    #[test]
    fn a_page_of_another_depth_or_length_is_refused() {
        let page = ChunkList { depth: 1, chunks: sample::chunks(&[5, 6]) };
        let plain = page.encode();
        let mut reference = sample::chunks(&[11]).remove(0);
        assert_eq!(ChunkList::open(&plain, &reference, 2), Ok(page));
        assert!(ChunkList::open(&plain, &reference, 1).is_err());
        assert!(ChunkList::open(&plain, &reference, 3).is_err());
        reference.len = 12;
        assert!(ChunkList::open(&plain, &reference, 2).is_err());
    }

    #[test]
    fn overflowing_lengths_are_refused() {
        let page = ChunkList { depth: 0, chunks: sample::chunks(&[u64::MAX, 1]) };
        let mut bytes = vec![1];
        page.serialize(&mut bytes).unwrap();
        assert!(ChunkList::decode(&bytes).is_err());
    }

    #[test]
    fn contents_that_no_writer_makes_are_refused() {
        let chunks = || sample::chunks(&[3, 4]);
        let good = [
            Content::Inline(vec![1; MAX_INLINE_LEN].into()),
            Content::Packed { len: 9, frame: vec![1; 8].into() },
            Content::Chunks { len: 7, depth: MAX_DEPTH, chunks: chunks() },
        ];
        assert!(good.iter().all(|content| content.check().is_ok()));
        let bad = [
            Content::Inline(vec![1; MAX_INLINE_LEN + 1].into()),
            Content::Packed { len: MAX_INLINE_LEN as u32 + 1, frame: vec![1; 8].into() },
            Content::Packed { len: 8, frame: vec![1; 8].into() },
            Content::Chunks { len: 8, depth: 0, chunks: chunks() },
            Content::Chunks { len: 7, depth: MAX_DEPTH + 1, chunks: chunks() },
            Content::Chunks { len: 0, depth: 0, chunks: Vec::new() },
            Content::Chunks { len: 3, depth: 0, chunks: sample::chunks(&[3, 0]) },
        ];
        for content in bad {
            assert!(content.check().is_err(), "{content:?}");
        }
    }
}
