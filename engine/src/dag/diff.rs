//! Where two contents differ, from their chunk lists alone.
//!
//! Equal chunk ids of one dedup scope mean equal bytes, so nothing is opened. Chunks that occur once on either side anchor
//! the comparison (Bram Cohen's patience diff), the longest rising run of anchors is kept, and runs grow from them; where
//! nothing is unique the rarest chunk stands in. The answer is always right: what is not reported is equal. It need not be
//! the smallest, and the work is bounded by a multiple of the lists' lengths.

use crate::blob::{ChunkList, ChunkRef, Content};
use crate::id::ChunkId;
use core::ops::Range;
use std::collections::BTreeMap;

/// Work allowed per chunk before what is left counts as changed.
const WORK_PER_CHUNK: usize = 64;

/// Bytes `a` of the first content stand where bytes `b` of the second do. Either may be empty, not both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The changed piece of the first content.
    pub a: Piece,
    /// The changed piece of the second content.
    pub b: Piece,
}

/// A stretch of one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// In bytes from the content's start.
    pub bytes: Range<u64>,
    /// The references that hold it, by their place in the list; empty for inline content.
    pub chunks: Range<usize>,
}

impl Piece {
    const fn of(bytes: Range<u64>) -> Self {
        Self { bytes, chunks: 0..0 }
    }
}

/// The changed pieces between two lists of one depth, in order. For pages (depth above zero) a change says which pages to
/// open and compare further.
#[must_use]
pub fn diff_chunks(a: &[ChunkRef], b: &[ChunkRef]) -> Vec<Change> {
    // PA
    let mut runs = matching_runs(a, b);
    runs.sort_unstable();
    runs.push(Run { a: a.len(), b: b.len(), len: 0 });
    let (starts_a, starts_b) = (starts(a), starts(b));
    let piece = |starts: &[u64], chunks: Range<usize>| {
        let at = |index: usize| starts.get(index).copied().unwrap_or_default();
        Piece { bytes: at(chunks.start)..at(chunks.end), chunks }
    };
    let mut changes = Vec::new();
    let (mut end_a, mut end_b) = (0, 0);
    for run in runs {
        if run.a > end_a || run.b > end_b {
            changes.push(Change { a: piece(&starts_a, end_a..run.a), b: piece(&starts_b, end_b..run.b) });
        }
        (end_a, end_b) = (run.a + run.len, run.b + run.len);
    }
    changes
}

/// The changed piece between two contents at hand: what is left without their common start and end. Nothing if equal.
#[must_use]
pub fn diff_bytes(a: &[u8], b: &[u8]) -> Option<Change> {
    if a == b {
        return None;
    }
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (left_a, left_b) = (a.get(start..).unwrap_or_default(), b.get(start..).unwrap_or_default());
    let end = left_a.iter().rev().zip(left_b.iter().rev()).take_while(|(a, b)| a == b).count();
    let piece = |len: usize| Piece::of(start as u64..(len - end) as u64);
    Some(Change { a: piece(a.len()), b: piece(b.len()) })
}

/// The changed pieces between two contents of one dedup scope, in order. `load` opens the page that a reference in a list
/// of the given depth names; only pages that are not on both sides are loaded. A removed key counts as empty, and content
/// at hand on one side only counts as changed whole.
///
/// The pieces' chunk ranges are empty: the lists they would count in are never whole in memory.
///
/// # Errors
/// Those of `load`.
pub fn diff_contents<E>(
    a: &Content,
    b: &Content,
    load: &mut impl FnMut(&ChunkRef, u8) -> Result<ChunkList, E>,
) -> Result<Vec<Change>, E> {
    // PA
    let (len_a, len_b) = (a.len().unwrap_or(0), b.len().unwrap_or(0));
    match (a, b) {
        (Content::Inline(a), Content::Inline(b)) => Ok(diff_bytes(a, b).into_iter().collect()),
        (
            Content::Chunks { depth: depth_a, chunks: in_a, .. },
            Content::Chunks { depth: depth_b, chunks: in_b, .. },
        ) => {
            let mut out = Vec::new();
            let (in_a, in_b) = (Pages::new(0, *depth_a, in_a.clone()), Pages::new(0, *depth_b, in_b.clone()));
            diff_pages(in_a, in_b, load, &mut out)?;
            Ok(out)
        }
        _ if len_a == 0 && len_b == 0 => Ok(Vec::new()),
        _ => Ok(vec![Change { a: Piece::of(0..len_a), b: Piece::of(0..len_b) }]),
    }
}

/// A stretch of references of one depth.
struct Pages {
    /// Where it starts, in bytes from the content's start.
    start: u64,
    depth: u8,
    refs: Vec<ChunkRef>,
}

impl Pages {
    const fn new(start: u64, depth: u8, refs: Vec<ChunkRef>) -> Self {
        Self { start, depth, refs }
    }

    /// The same stretch one level down.
    fn open<E>(self, load: &mut impl FnMut(&ChunkRef, u8) -> Result<ChunkList, E>) -> Result<Self, E> {
        let mut below = Vec::new();
        for page in &self.refs {
            below.extend(load(page, self.depth)?.chunks);
        }
        Ok(Self::new(self.start, self.depth.saturating_sub(1), below))
    }

    fn part(&self, piece: &Piece) -> Self {
        let refs = self.refs.get(piece.chunks.clone()).unwrap_or_default().to_vec();
        Self::new(self.start.saturating_add(piece.bytes.start), self.depth, refs)
    }
}

/// Depth shrinks with every call, so it calls itself as often as there are levels.
fn diff_pages<E>(
    mut a: Pages,
    mut b: Pages,
    load: &mut impl FnMut(&ChunkRef, u8) -> Result<ChunkList, E>,
    out: &mut Vec<Change>,
) -> Result<(), E> {
    while a.depth > b.depth {
        a = a.open(load)?;
    }
    while b.depth > a.depth {
        b = b.open(load)?;
    }
    for change in diff_chunks(&a.refs, &b.refs) {
        if a.depth == 0 {
            let at = |start: u64, bytes: &Range<u64>| {
                Piece::of(start.saturating_add(bytes.start)..start.saturating_add(bytes.end))
            };
            out.push(Change { a: at(a.start, &change.a.bytes), b: at(b.start, &change.b.bytes) });
        } else {
            let (in_a, in_b) = (a.part(&change.a).open(load)?, b.part(&change.b).open(load)?);
            diff_pages(in_a, in_b, load, out)?;
        }
    }
    Ok(())
}

fn starts(chunks: &[ChunkRef]) -> Vec<u64> {
    let mut out = vec![0u64];
    let mut sum = 0u64;
    for chunk in chunks {
        sum = sum.saturating_add(chunk.len);
        out.push(sum);
    }
    out
}

/// `len` chunks from `a` on in one list equal those from `b` on in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

fn same(a: &ChunkRef, b: &ChunkRef) -> bool {
    a.chunk_id == b.chunk_id && a.len == b.len
}

fn matching_runs(a: &[ChunkRef], b: &[ChunkRef]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut work = (a.len() + b.len()).saturating_mul(WORK_PER_CHUNK);
    let mut gaps = vec![(0..a.len(), 0..b.len())];
    while let Some((mut in_a, mut in_b)) = gaps.pop() {
        let size = in_a.len() + in_b.len();
        if size > work {
            continue;
        }
        work -= size;
        let head = in_a.clone().zip(in_b.clone()).take_while(|(x, y)| same(&a[*x], &b[*y])).count();
        if head > 0 {
            runs.push(Run { a: in_a.start, b: in_b.start, len: head });
            (in_a.start, in_b.start) = (in_a.start + head, in_b.start + head);
        }
        let tail = in_a.clone().rev().zip(in_b.clone().rev()).take_while(|(x, y)| same(&a[*x], &b[*y])).count();
        if tail > 0 {
            (in_a.end, in_b.end) = (in_a.end - tail, in_b.end - tail);
            runs.push(Run { a: in_a.end, b: in_b.end, len: tail });
        }
        if in_a.is_empty() || in_b.is_empty() {
            continue;
        }
        let (mut from_a, mut from_b) = (in_a.start, in_b.start);
        for (x, y) in anchors(a, in_a.clone(), b, in_b.clone()) {
            runs.push(Run { a: x, b: y, len: 1 });
            gaps.push((from_a..x, from_b..y));
            (from_a, from_b) = (x + 1, y + 1);
        }
        if from_a > in_a.start {
            gaps.push((from_a..in_a.end, from_b..in_b.end));
        }
    }
    runs
}

/// Where a chunk occurs in the two lists: how often, and the first place.
#[derive(Clone, Copy, Default)]
struct Places {
    count_a: usize,
    first_a: usize,
    count_b: usize,
    first_b: usize,
}

/// Equal chunks to hold on to, rising in both lists; at least one if the lists share any chunk.
fn anchors(a: &[ChunkRef], in_a: Range<usize>, b: &[ChunkRef], in_b: Range<usize>) -> Vec<(usize, usize)> {
    let mut places: BTreeMap<(ChunkId, u64), Places> = BTreeMap::new();
    for at in in_a.rev() {
        let place = places.entry((a[at].chunk_id, a[at].len)).or_default();
        place.count_a += 1;
        place.first_a = at;
    }
    for at in in_b.rev() {
        if let Some(place) = places.get_mut(&(b[at].chunk_id, b[at].len)) {
            place.count_b += 1;
            place.first_b = at;
        }
    }
    let shared: Vec<Places> = places.into_values().filter(|place| place.count_b > 0).collect();
    let mut unique: Vec<(usize, usize)> = shared
        .iter()
        .filter(|place| place.count_a == 1 && place.count_b == 1)
        .map(|place| (place.first_a, place.first_b))
        .collect();
    if unique.is_empty() {
        let rarest = shared.iter().min_by_key(|place| (place.count_a.saturating_mul(place.count_b), place.first_a));
        return rarest.map(|place| (place.first_a, place.first_b)).into_iter().collect();
    }
    unique.sort_unstable();
    longest_rising(&unique)
}

/// The longest subsequence of `pairs` (rising in the first half) that rises in the second half too. Patience sorting.
fn longest_rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The pile tops, as places in `pairs`, and for each pair the one before it in the best run that ends there.
    let mut tops: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (at, (_, y)) in pairs.iter().enumerate() {
        let pile = tops.partition_point(|top| pairs[*top].1 < *y);
        before.push(pile.checked_sub(1).map(|left| tops[left]));
        if pile == tops.len() {
            tops.push(at);
        } else {
            tops[pile] = at;
        }
    }
    let mut run = Vec::with_capacity(tops.len());
    let mut next = tops.last().copied();
    while let Some(at) = next {
        run.push(pairs[at]);
        next = before[at];
    }
    run.reverse();
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{ContentBuilder, Page, sample};
    use crate::codec::Canonical;
    use proptest::prelude::*;

    fn list(numbers: &[u32]) -> Vec<ChunkRef> {
        numbers
            .iter()
            .map(|n| {
                let mut chunk = sample::chunks(&[u64::from(n % 7) + 1]).remove(0);
                chunk.chunk_id = ChunkId::from_bytes([*n as u8; 32]);
                chunk
            })
            .collect()
    }

    fn bytes(chunks: &[ChunkRef]) -> Vec<u8> {
        chunks.iter().flat_map(|chunk| vec![chunk.chunk_id.as_bytes()[0]; chunk.len as usize]).collect()
    }

    /// Rebuilds the second content from the first and the changed pieces of the second.
    fn apply(a: &[u8], b: &[u8], changes: &[Change]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        for change in changes {
            out.extend_from_slice(&a[at..change.a.bytes.start as usize]);
            assert_eq!(out.len(), change.b.bytes.start as usize);
            out.extend_from_slice(&b[change.b.bytes.start as usize..change.b.bytes.end as usize]);
            at = change.a.bytes.end as usize;
        }
        out.extend_from_slice(&a[at..]);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]
        #[test]
        fn what_is_not_reported_is_equal(a in prop::collection::vec(0u32..9, 0..40), b in prop::collection::vec(0u32..9, 0..40)) {
            let (a, b) = (list(&a), list(&b));
            let changes = diff_chunks(&a, &b);
            let (bytes_a, bytes_b) = (bytes(&a), bytes(&b));
            prop_assert_eq!(apply(&bytes_a, &bytes_b, &changes), bytes_b);
            for change in &changes {
                prop_assert!(!change.a.chunks.is_empty() || !change.b.chunks.is_empty());
            }
            prop_assert!(diff_chunks(&a, &a).is_empty());
        }

        #[test]
        fn bytes_at_hand_differ_in_one_piece(a in prop::collection::vec(0u8..3, 0..20), b in prop::collection::vec(0u8..3, 0..20)) {
            let change = diff_bytes(&a, &b);
            prop_assert_eq!(change.is_none(), a == b);
            prop_assert_eq!(apply(&a, &b, change.as_slice()), b);
        }

        #[test]
        fn an_edit_is_found_where_it_was_made(len in 10u32..200, at in any::<prop::sample::Index>(), new in prop::collection::vec(201u32..250, 0..4), gone in 0usize..4) {
            let old: Vec<u32> = (0..len).collect();
            let at = at.index(old.len() - 4);
            let mut edited = old.clone();
            edited.splice(at..at + gone, new.iter().copied());
            let changes = diff_chunks(&list(&old), &list(&edited));
            if gone == 0 && new.is_empty() {
                prop_assert!(changes.is_empty());
            } else {
                prop_assert_eq!(changes.len(), 1);
                prop_assert_eq!(&changes[0].a.chunks, &(at..at + gone));
                prop_assert_eq!(&changes[0].b.chunks, &(at..at + new.len()));
            }
        }
    }

    /// Builds a content over numbered chunks, keeping its pages by id.
    fn build(numbers: &[u32], pages: &mut BTreeMap<ChunkId, ChunkList>) -> Content {
        let mut builder = ContentBuilder::new();
        let mut keep = |page: Page| {
            let mut reference = sample::chunks(&[page.list.content_len()]).remove(0);
            reference.chunk_id = ChunkId::from_bytes(*blake3::hash(&page.list.encode()).as_bytes());
            pages.insert(reference.chunk_id, page.list);
            (page.depth, reference)
        };
        for n in numbers {
            let mut chunk = sample::chunks(&[u64::from(n % 7) + 1]).remove(0);
            chunk.chunk_id = ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
            let mut next = builder.push(0, chunk).unwrap();
            while let Some(page) = next {
                let (depth, reference) = keep(page);
                next = builder.push(depth, reference).unwrap();
            }
        }
        while let Some(page) = builder.finish_page().unwrap() {
            let (depth, reference) = keep(page);
            builder.push(depth, reference).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn an_edit_in_a_huge_value_opens_few_pages() {
        let mut pages = BTreeMap::new();
        let old: Vec<u32> = (0..60_000).collect();
        let mut new = old.clone();
        new.splice(30_000..30_002, [1_000_000, 1_000_001, 1_000_002]);
        let (a, b) = (build(&old, &mut pages), build(&new, &mut pages));
        let mut opened = 0;
        let changes = diff_contents(&a, &b, &mut |reference, depth| {
            opened += 1;
            let page = pages[&reference.chunk_id].clone();
            assert_eq!(page.depth + 1, depth);
            Ok::<_, ()>(page)
        });
        let len = |numbers: &[u32]| numbers.iter().map(|n| u64::from(n % 7) + 1).sum::<u64>();
        let start = len(&old[..30_000]);
        let a = Piece::of(start..start + len(&old[30_000..30_002]));
        let b = Piece::of(start..start + len(&new[30_000..30_003]));
        assert_eq!(changes, Ok(vec![Change { a, b }]));
        assert!(opened <= 6, "{opened} of {} pages opened", pages.len());
    }

    #[test]
    fn contents_of_different_depth_are_compared_chunk_by_chunk() {
        let mut pages = BTreeMap::new();
        let old: Vec<u32> = (0..1_000).collect();
        let new: Vec<u32> = (0..2_000).collect();
        let (a, b) = (build(&old, &mut pages), build(&new, &mut pages));
        let changes = diff_contents(&a, &b, &mut |reference, _| Ok::<_, ()>(pages[&reference.chunk_id].clone()));
        let (end_a, end_b) = (a.len().unwrap(), b.len().unwrap());
        assert_eq!(changes, Ok(vec![Change { a: Piece::of(end_a..end_a), b: Piece::of(end_a..end_b) }]));
    }

    #[test]
    fn gone_inline_and_chunked_contents_compare_whole() {
        let inline = Content::Inline("abc".into());
        let chunked = Content::Chunks { len: 4, depth: 0, chunks: sample::chunks(&[4]) };
        let mut load = |_: &ChunkRef, _| Err::<ChunkList, _>("nothing to load");
        let whole = |a, b| Ok(vec![Change { a: Piece::of(0..a), b: Piece::of(0..b) }]);
        assert_eq!(diff_contents(&inline, &chunked, &mut load), whole(3, 4));
        assert_eq!(diff_contents(&Content::Gone, &inline, &mut load), whole(0, 3));
        assert_eq!(diff_contents(&Content::Gone, &Content::Inline("".into()), &mut load), Ok(Vec::new()));
        assert_eq!(diff_contents(&chunked, &chunked, &mut load), Ok(Vec::new()));
        assert_eq!(diff_contents(&inline, &Content::Inline("axc".into()), &mut load).unwrap()[0].b, Piece::of(1..2));
    }

    #[test]
    fn a_moved_block_leaves_the_rest_alone() {
        let old: Vec<u32> = (0..100).collect();
        let moved: Vec<u32> = (0..20).chain(30..80).chain(20..30).chain(80..100).collect();
        let changes = diff_chunks(&list(&old), &list(&moved));
        let changed: usize = changes.iter().map(|change| change.a.chunks.len()).sum();
        assert_eq!(changed, 10);
    }

    #[test]
    fn endless_repetition_costs_bounded_work() {
        let a: Vec<u32> = (0..20_000).map(|n| n % 2).collect();
        let b: Vec<u32> = (0..20_000).map(|n| u32::from(n % 3 == 0)).collect();
        let (a, b) = (list(&a), list(&b));
        assert_eq!(apply(&bytes(&a), &bytes(&b), &diff_chunks(&a, &b)), bytes(&b));
    }
}
