//! Which bytes differ between two versions, from their chunk lists alone: no content is opened.

use super::job::Job;
use super::request::{DiffReply, Failure, Reply, RequestId};
use super::{Engine, JobContext};
use crate::blob::{Body, ChunkList, ChunkRef, Content, MAX_PAGE_REFS};
use crate::dag::{diff_bytes, diff_chunks};
use crate::env::Disk;
use crate::id::BlobId;
use crate::seal::SliceIndex;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Most chunks of both sides together: 2,097,152, which is 512 GiB at the default size.
const MAX_CHUNKS: usize = 1 << 21;
/// As many are compared in any case: a few pages of them.
const MIN_CHUNKS: usize = 8 * MAX_PAGE_REFS;
/// Bytes that are held for each: its reference, and as much again for what the comparison remembers of it.
const CHUNK_LEN: usize = 2 * size_of::<(u8, ChunkRef)>();

/// One side's references, pages not yet opened among them.
#[derive(Debug, Default)]
struct Side {
    references: Vec<(u8, ChunkRef)>,
}

/// A comparison under way.
#[derive(Debug)]
pub(super) struct Comparison {
    versions: [BlobId; 2],
    sides: [Side; 2],
}

/// All comparisons under way.
pub(super) type Comparisons = BTreeMap<RequestId, Comparison>;

/// The page that a comparison waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedPage {
    pub(super) request: RequestId,
    side: usize,
    place: usize,
    /// Its segments were mended before.
    again: bool,
}

fn reply_of(changes: impl IntoIterator<Item = crate::dag::Change>) -> Reply {
    let ranges = changes.into_iter().map(|change| (change.a.bytes, change.b.bytes)).collect();
    Reply::Diff(DiffReply { ranges })
}

impl<D: Disk> Engine<D> {
    pub(super) fn diff(&mut self, request: RequestId, from: BlobId, to: BlobId) {
        let Some(keys) = self.keys.clone() else {
            return self.reply(request, Reply::Failed(Failure::NoKeys));
        };
        match self.read_blob(from).and_then(|from| Ok(vec![from, self.read_blob(to)?])) {
            Ok(records) => {
                let versions = [from, to];
                self.run(JobContext::Diff { request, versions }, Job::OpenBodies { keys, records });
            }
            Err(failure) => self.reply(request, Reply::Failed(failure)),
        }
    }

    pub(super) fn diff_opened(&mut self, request: RequestId, versions: [BlobId; 2], bodies: Vec<Result<Body, String>>) {
        let opened: Result<Vec<Body>, String> = bodies.into_iter().collect();
        let contents: Vec<Content> = match opened {
            Ok(bodies) => bodies.into_iter().map(|body| body.content).collect(),
            Err(place) => return self.reply(request, Reply::Failed(Failure::Damaged { place })),
        };
        let [a, b] = contents.as_slice() else { unreachable!("two versions were opened") };
        let sides = match (a, b) {
            (Content::Chunks { depth: m, chunks: a, .. }, Content::Chunks { depth: n, chunks: b, .. }) => {
                let side = |depth: u8, chunks: &[ChunkRef]| Side {
                    references: chunks.iter().map(|chunk| (depth, chunk.clone())).collect(),
                };
                [side(*m, a), side(*n, b)]
            }
            (Content::Inline(a), Content::Inline(b)) => return self.reply(request, reply_of(diff_bytes(a, b))),
            (a, b) => {
                // One is in chunks and the other is not, or one is gone: they share nothing that could be seen.
                let (a, b) = (a.len().unwrap_or(0), b.len().unwrap_or(0));
                let ranges = if a == 0 && b == 0 { Vec::new() } else { vec![(0..a, 0..b)] };
                return self.reply(request, Reply::Diff(DiffReply { ranges }));
            }
        };
        self.comparisons.insert(request, Comparison { versions, sides });
        self.continue_diff(request);
    }

    fn continue_diff(&mut self, request: RequestId) {
        let Some(comparison) = self.comparisons.get(&request) else { return };
        for (side, of) in comparison.sides.iter().enumerate() {
            let Some(place) = of.references.iter().position(|(depth, _)| *depth > 0) else { continue };
            let reference = of.references[place].1.clone();
            return self.fetch_page(WantedPage { request, side, place, again: false }, reference);
        }
        let Some(comparison) = self.comparisons.remove(&request) else { return };
        let [a, b] =
            comparison.sides.map(|side| side.references.into_iter().map(|(_, chunk)| chunk).collect::<Vec<_>>());
        self.reply(request, reply_of(diff_chunks(&a, &b)));
    }

    /// Sends for a page, once more after what parity can do if it takes that.
    fn fetch_page(&mut self, mut page: WantedPage, reference: ChunkRef) {
        loop {
            match self.fetch(&reference.seal_id, true) {
                Ok(fetched) => {
                    if !fetched.unreadable.is_empty() {
                        self.note_damage(reference.seal_id, &fetched.unreadable);
                    }
                    let slices = fetched.slices;
                    let job = Job::OpenChunk { seal: reference.seal_id, secret: reference.secret, slices };
                    return self.run(JobContext::DiffPage(page), job);
                }
                Err(Failure::Damaged { .. }) if !page.again => {
                    if let Err(failure) = self.heal_seal(&reference.seal_id) {
                        return self.fail_diff(page.request, failure);
                    }
                    page.again = true;
                }
                Err(failure) => return self.fail_diff(page.request, failure),
            }
        }
    }

    pub(super) fn diff_page(&mut self, page: WantedPage, result: Result<(Bytes, Vec<SliceIndex>), String>) {
        let Some(comparison) = self.comparisons.get(&page.request) else { return };
        let (depth, reference) = comparison.sides[page.side].references[page.place].clone();
        let opened = match result {
            Err(_) if !page.again => {
                if let Err(failure) = self.heal_seal(&reference.seal_id) {
                    return self.fail_diff(page.request, failure);
                }
                return self.fetch_page(WantedPage { again: true, ..page }, reference);
            }
            Err(why) => Err(why),
            Ok((plain, bad)) => {
                if !bad.is_empty() {
                    self.note_damage(reference.seal_id, &bad);
                }
                if page.again {
                    self.seal_reads(&reference.seal_id);
                }
                ChunkList::open(&plain, &reference, depth).map_err(|error| error.to_string())
            }
        };
        // Half of what questions may hold: what each comparison is admitted for.
        let limit = (self.limits.inflight_len / 2 / CHUNK_LEN).clamp(MIN_CHUNKS, MAX_CHUNKS);
        let Some(comparison) = self.comparisons.get_mut(&page.request) else { return };
        let held: usize = comparison.sides.iter().map(|side| side.references.len()).sum();
        let references = &mut comparison.sides[page.side].references;
        match opened {
            Ok(list) if held + list.chunks.len() <= limit => {
                let below = list.chunks.into_iter().map(|chunk| (depth - 1, chunk));
                references.splice(page.place..=page.place, below);
                self.continue_diff(page.request);
            }
            Ok(list) => {
                let (found, limit) = ((held + list.chunks.len()) as u64, limit as u64);
                let failure = Failure::TooLarge { what: "the number of chunks to compare", found, limit };
                self.fail_diff(page.request, failure);
            }
            Err(why) => {
                let place = format!("seal {}: {why}", reference.seal_id);
                self.fail_diff(page.request, Failure::Damaged { place });
            }
        }
    }

    fn fail_diff(&mut self, request: RequestId, failure: Failure) {
        let comparison = self.comparisons.remove(&request);
        let versions = comparison.map(|comparison| comparison.versions);
        // What was purged meanwhile is not damaged: it is gone.
        let gone = versions.into_iter().flatten().find_map(|version| self.live_blob(version).err());
        self.reply(request, Reply::Failed(gone.unwrap_or(failure)));
    }
}
