//! From a stream of chunks to a content: a list, or a tree of pages, in bounded memory.

use super::content::{ChunkList, ChunkRef, Content, MAX_DEPTH, MAX_PAGE_REFS};
use crate::codec::DecodeError;
use bytes::Bytes;

/// Fewest references in a page, but for the last of its level.
const MIN_PAGE_REFS: usize = 256;
/// A page ends after a reference whose chunk id has these bits zero: on average 512 references past the fewest.
const CUT_MASK: u16 = 0x1ff;

/// A full page: seal its canonical bytes like a chunk, then push the reference at `depth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where the page's own reference belongs.
    pub depth: u8,
    /// The page.
    pub list: ChunkList,
}

/// Collects the chunks of one content. Holds at most 1,025 references per level.
///
/// Pages end where chunk ids say so, not after a fixed count: an insertion in a large value changes the pages around it and
/// none after, and the others are found to be there already, as unchanged chunks are.
#[derive(Clone, Debug, Default)]
pub struct ContentBuilder {
    levels: Vec<Vec<ChunkRef>>,
}

impl ContentBuilder {
    /// Nothing collected yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// Adds the next reference at `depth`: 0 for a chunk, [`Page::depth`] for a page. What comes back must be sealed and
    /// pushed before anything else is.
    ///
    /// # Errors
    /// [`DecodeError`] when the reference stands for no byte, the depth is not one that was asked for, or the value
    /// exceeds what [`MAX_DEPTH`] levels can hold.
    pub fn push(&mut self, depth: u8, reference: ChunkRef) -> Result<Option<Page>, DecodeError> {
        // PA
        let refuse = |why: &str| Err(DecodeError::malformed("content", why));
        if reference.len == 0 {
            return refuse("a reference stands for no byte");
        }
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        let Some(level) = self.levels.get_mut(usize::from(depth)) else {
            return refuse("no page of this depth was handed out");
        };
        level.push(reference);
        if level.len() <= MAX_PAGE_REFS {
            return Ok(None);
        }
        self.cut(depth).map(Some)
    }

    /// What is left to be sealed and pushed after the last chunk; call until it gives none.
    ///
    /// # Errors
    /// [`DecodeError`] as for [`Self::push`].
    pub fn finish_page(&mut self) -> Result<Option<Page>, DecodeError> {
        // PA
        let below_top = self.levels.len().saturating_sub(1);
        match self.levels.iter().take(below_top).position(|level| !level.is_empty()) {
            Some(depth) => self.cut(depth as u8).map(Some),
            None => Ok(None),
        }
    }

    /// The content; empty inline content if nothing was pushed.
    ///
    /// # Errors
    /// [`DecodeError`] when pages are still to be sealed, or the lengths overflow.
    pub fn finish(mut self) -> Result<Content, DecodeError> {
        // PA
        let refuse = |why: &str| Err(DecodeError::malformed("content", why));
        let Some(chunks) = self.levels.pop() else { return Ok(Content::Inline(Bytes::new())) };
        if chunks.is_empty() || self.levels.iter().any(|level| !level.is_empty()) {
            return refuse("pages are still to be sealed");
        }
        let Some(len) = chunks.iter().try_fold(0u64, |sum, chunk| sum.checked_add(chunk.len)) else {
            return refuse("the lengths overflow");
        };
        Ok(Content::Chunks { len, depth: self.levels.len() as u8, chunks })
    }

    fn cut(&mut self, depth: u8) -> Result<Page, DecodeError> {
        // PA
        if depth >= MAX_DEPTH {
            return Err(DecodeError::malformed("content", "the value is longer than a content can be"));
        }
        let above = depth + 1;
        if self.levels.len() == usize::from(above) {
            self.levels.push(Vec::new());
        }
        let chunks = self.levels.get_mut(usize::from(depth)).map(|level| {
            let end = level.iter().enumerate().position(|(at, chunk)| at + 1 >= MIN_PAGE_REFS && ends_page(chunk));
            let end = end.map_or(MAX_PAGE_REFS, |at| at + 1).min(MAX_PAGE_REFS).min(level.len());
            level.drain(..end).collect()
        });
        Ok(Page { depth: above, list: ChunkList { depth, chunks: chunks.unwrap_or_default() } })
    }
}

fn ends_page(chunk: &ChunkRef) -> bool {
    let [low, high, ..] = *chunk.chunk_id.as_bytes();
    u16::from_le_bytes([low, high]) & CUT_MASK == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sample;
    use crate::codec::Canonical;
    use crate::id::{ChunkId, SealId, Secret};
    use std::collections::BTreeMap;

    /// Builds a content over numbered chunks of one byte, keeping pages by their hash.
    fn build(numbers: impl IntoIterator<Item = u32>, pages: &mut BTreeMap<ChunkId, ChunkList>) -> Content {
        let mut builder = ContentBuilder::new();
        let mut store = |page: Page| {
            let plain = page.list.encode();
            assert_eq!(ChunkList::decode(&plain).as_ref(), Ok(&page.list));
            let hash = *blake3::hash(&plain).as_bytes();
            let reference = ChunkRef {
                chunk_id: ChunkId::from_bytes(hash),
                seal_id: SealId::from_bytes(hash),
                secret: Secret::new(hash),
                len: page.list.content_len(),
            };
            pages.insert(reference.chunk_id, page.list);
            (page.depth, reference)
        };
        for number in numbers {
            let mut chunk = sample::chunks(&[1]).remove(0);
            chunk.chunk_id = ChunkId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
            let mut page = builder.push(0, chunk).unwrap();
            while let Some(full) = page {
                let (depth, reference) = store(full);
                page = builder.push(depth, reference).unwrap();
            }
        }
        while let Some(full) = builder.finish_page().unwrap() {
            let (depth, reference) = store(full);
            assert_eq!(builder.push(depth, reference).unwrap(), None);
        }
        builder.finish().unwrap()
    }

    fn leaves(refs: &[ChunkRef], depth: u8, pages: &BTreeMap<ChunkId, ChunkList>, out: &mut Vec<ChunkId>) {
        for reference in refs {
            if depth == 0 {
                out.push(reference.chunk_id);
            } else {
                let page = &pages[&reference.chunk_id];
                assert_eq!(ChunkList::open(&page.encode(), reference, depth).as_ref(), Ok(page));
                leaves(&page.chunks, depth - 1, pages, out);
            }
        }
    }

    #[test]
    fn every_chunk_is_found_in_order_whatever_their_number() {
        for (count, depth) in
            [(0u32, None), (1, Some(0)), (1_024, Some(0)), (1_025, Some(1)), (5_000, Some(1)), (1_100_000, Some(2))]
        {
            let mut pages = BTreeMap::new();
            let content = build(0..count, &mut pages);
            assert_eq!(content.check(), Ok(()));
            assert_eq!(content.len(), Some(u64::from(count)));
            let Some(depth) = depth else {
                assert_eq!(content, Content::Inline(Bytes::new()));
                continue;
            };
            assert!(matches!(&content, Content::Chunks { depth: found, .. } if *found == depth), "{count}");
            let mut found = Vec::new();
            leaves(content.chunks(), depth, &pages, &mut found);
            let wanted: Vec<ChunkId> =
                (0..count).map(|n| ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
            assert!(found == wanted, "{count}");
        }
    }

    #[test]
    fn an_insertion_changes_few_pages() {
        let mut pages = BTreeMap::new();
        build(0..50_000, &mut pages);
        let before = pages.len();
        build((0..20_000).chain([1_000_000]).chain(20_000..50_000), &mut pages);
        assert!(pages.len() - before <= 4, "{} of {before} pages are new", pages.len() - before);
    }

    #[test]
    fn an_unfinished_tree_is_no_content() {
        let mut builder = ContentBuilder::new();
        let mut handed_out = None;
        for chunk in sample::chunks(&[1; 1_025]) {
            handed_out = builder.push(0, chunk).unwrap();
        }
        assert!(handed_out.is_some());
        assert!(builder.finish().is_err());
        assert!(ContentBuilder::new().push(1, sample::chunks(&[1]).remove(0)).is_err());
    }

    #[test]
    fn a_value_that_needs_more_levels_of_pages_than_there_are_is_refused() {
        let mut builder = ContentBuilder::new();
        assert!(builder.cut(MAX_DEPTH - 1).is_ok());
        assert!(builder.cut(MAX_DEPTH).is_err());
    }
}
