//! A version on its way in: its bytes are cut, its chunks sealed, its references gathered.
//!
//! This is only the state of one upload; what happens next is decided in [`super::put`].

use super::job::ScopeContext;
use super::request::{Put, RequestId};
use crate::blob::{ChunkRef, Content};
use crate::id::{BlobId, KeyHash, RefPageId, SealId};
use crate::seal::Coding;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Names one upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UploadId(pub(super) u64);

/// Who is told what became of a version: the request and its place in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) request: RequestId,
    pub(super) slot: usize,
}

/// The references of one level of the chunk tree, in order, some still being sealed.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// Place of the first slot among all that this level ever had.
    first: u64,
    slots: VecDeque<Option<ChunkRef>>,
}

impl Level {
    /// Reserves the next place.
    pub(super) fn reserve(&mut self) -> u64 {
        self.slots.push_back(None);
        self.first + self.slots.len() as u64 - 1
    }

    /// Fills a reserved place.
    pub(super) fn fill(&mut self, place: u64, reference: ChunkRef) {
        let slot = usize::try_from(place - self.first).ok().and_then(|index| self.slots.get_mut(index));
        debug_assert!(matches!(slot, Some(None)), "a place is filled once");
        if let Some(slot) = slot {
            *slot = Some(reference);
        }
    }

    /// References here, and places reserved.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes a page of references off the front, once they are all there.
    /// With `rest`, a page shorter than `len` counts too.
    pub(super) fn take_page(&mut self, len: usize, rest: bool) -> Option<Vec<ChunkRef>> {
        let count = if rest { self.slots.len().min(len) } else { len };
        if count == 0 || self.slots.len() < count || self.slots.iter().take(count).any(Option::is_none) {
            return None;
        }
        self.first += count as u64;
        Some(self.slots.drain(..count).flatten().collect())
    }
}

/// Where an upload stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Bytes are coming in or being sealed.
    Gathering,
    /// The body of the version to be copied is being opened.
    Copying,
    /// Everything is gathered; another version of the key must be durable first.
    Queued,
    /// The header and body are being made, or wait for the commit.
    Making,
}

/// One version on its way in.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) ticket: Ticket,
    pub(super) put: Put,
    pub(super) key_hash: KeyHash,
    pub(super) scope: Arc<ScopeContext>,
    pub(super) coding: Coding,
    pub(super) stage: Stage,
    /// The version whose content it has.
    pub(super) copies: Option<BlobId>,
    /// Data not yet given to a cut job.
    pub(super) pieces: VecDeque<Bytes>,
    /// What the last cut job left over.
    pub(super) carry: Bytes,
    /// A cut job is under way.
    pub(super) cutting: bool,
    /// No more data follows.
    pub(super) ended: bool,
    /// The last cut job has been given out.
    pub(super) cut_all: bool,
    /// Bytes received.
    pub(super) len: u64,
    /// The chunk tree; level 0 are chunks of the content.
    pub(super) levels: Vec<Level>,
    /// Seal jobs under way, and chunks that wait for another upload's.
    pub(super) pending: usize,
    /// Every seal referenced.
    pub(super) seals: BTreeSet<SealId>,
    /// Pages of seal references: taken over from a copied version, and later those of its own.
    pub(super) ref_pages: Vec<RefPageId>,
    /// The content, once it is known.
    pub(super) content: Option<Content>,
    /// What the version follows, once the header is being made.
    pub(super) parents: Vec<BlobId>,
    /// Bytes accounted to the node's budget.
    pub(super) charged: usize,
}

impl Upload {
    pub(super) fn new(ticket: Ticket, put: Put, key_hash: KeyHash, scope: Arc<ScopeContext>, coding: Coding) -> Self {
        Self {
            ticket,
            put,
            key_hash,
            scope,
            coding,
            stage: Stage::Gathering,
            copies: None,
            pieces: VecDeque::new(),
            carry: Bytes::new(),
            cutting: false,
            ended: false,
            cut_all: false,
            len: 0,
            levels: Vec::new(),
            pending: 0,
            seals: BTreeSet::new(),
            ref_pages: Vec::new(),
            content: None,
            parents: Vec::new(),
            charged: 0,
        }
    }

    /// Takes in more data.
    pub(super) fn push(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.len += data.len() as u64;
            self.pieces.push_back(data);
        }
    }

    /// All data, if it is no longer than `limit`.
    pub(super) fn take_small(&mut self, limit: usize) -> Option<Bytes> {
        // PA
        if !self.ended || self.cutting || self.cut_all || self.len > limit as u64 || !self.levels.is_empty() {
            return None;
        }
        self.cut_all = true;
        if self.carry.is_empty() && self.pieces.len() <= 1 {
            return Some(self.pieces.pop_front().unwrap_or_default());
        }
        let mut all = Vec::with_capacity(usize::try_from(self.len).unwrap_or(limit));
        all.extend_from_slice(&std::mem::take(&mut self.carry));
        for piece in self.pieces.drain(..) {
            all.extend_from_slice(&piece);
        }
        Some(all.into())
    }

    pub(super) fn level(&mut self, depth: usize) -> &mut Level {
        if self.levels.len() <= depth {
            self.levels.resize_with(depth + 1, Level::default);
        }
        &mut self.levels[depth]
    }

    /// Nothing is under way and nothing more will come.
    pub(super) fn is_gathered(&self) -> bool {
        self.ended && self.cut_all && !self.cutting && self.pending == 0
    }
}
