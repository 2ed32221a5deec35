//! Reading: from a version to its bytes, touching only the chunks that the range needs.

use super::cache::Cache;
use super::facts::BodySummary;
use super::fetch::read_failure;
use super::history::version_of;
use super::job::Job;
use super::request::{Failure, Got, Reply, RequestId};
use super::{Engine, JobContext};
use crate::blob::{BlobRecord, Body, ChunkList, ChunkRef, Content};
use crate::env::Disk;
use crate::id::{BlobId, SealId};
use crate::names::KeyName;
use crate::planted::{Bug, planted};
use crate::seal::{SealedSlice, SliceIndex};
use crate::store::index::{BlobRow, IndexError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bodies opened by one job.
const BODIES_PER_JOB: usize = 64;

/// Names one read under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadId(u64);

/// A part of the range, in order.
#[derive(Debug)]
enum Piece {
    /// Content that lies below a reference, not yet fetched.
    Wanted { start: u64, depth: u8, reference: ChunkRef },
    /// Being fetched.
    Fetching { start: u64, depth: u8, reference: ChunkRef, effort: Effort },
    /// The bytes, cut to the range.
    Data(Bytes),
}

/// What is done to get a chunk, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// As many slices as it takes.
    Enough,
    /// All slices there are.
    All,
    /// All slices, after parity did what it can for where they lie.
    Healed,
}

#[derive(Debug)]
struct Read {
    request: RequestId,
    blob: BlobId,
    range: Range<u64>,
    pieces: BTreeMap<u64, Piece>,
    fetching: usize,
    /// Why it comes to nothing; what is still being fetched for it is waited for.
    failed: Option<Failure>,
}

/// A request for versions, as far as it is answered.
#[derive(Debug)]
struct Lookup {
    results: Vec<Option<Result<Got, Failure>>>,
    open: usize,
}

/// A version whose body is being opened for a lookup.
#[derive(Debug)]
pub(super) struct Sought {
    request: RequestId,
    slot: usize,
    found: Found,
}

/// A version that a lookup has found in the index.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: BlobId,
    pub(super) row: BlobRow,
    /// The heads of its key, the winner last.
    pub(super) heads: Vec<BlobId>,
}

/// All reads under way, and what was opened lately.
#[derive(Debug, Default)]
pub(super) struct Reads {
    reads: BTreeMap<ReadId, Read>,
    next: u64,
    lookups: BTreeMap<RequestId, Lookup>,
    bodies: Cache<BlobId, Body>,
    pages: Cache<SealId, ChunkList>,
}

impl Reads {
    /// Bytes of what is kept of what was opened.
    pub(super) const fn cached_len(&self) -> usize {
        self.bodies.len() + self.pages.len()
    }
}

impl<D: Disk> Engine<D> {
    /// Reads and checks the record of a version; if it is damaged, once more after what parity can do.
    pub(super) fn read_blob(&mut self, id: BlobId) -> Result<BlobRecord, Failure> {
        // PA
        let row = self.live_blob(id)?;
        self.read_record(id, &row)
    }

    fn read_record(&mut self, id: BlobId, row: &BlobRow) -> Result<BlobRecord, Failure> {
        // PA
        let read = self.read_record_at(id, row);
        if !matches!(read, Err(Failure::Damaged { .. })) {
            return read;
        }
        // It may have been misread.
        let mut again = self.read_record_at(id, row);
        if matches!(again, Err(Failure::Damaged { .. })) && self.heal_places([row.location])? {
            again = self.read_record_at(id, row);
        }
        again.inspect(|_| self.heal.give_hope(row.location))
    }

    fn read_record_at(&self, id: BlobId, row: &BlobRow) -> Result<BlobRecord, Failure> {
        // PA
        let payload = self.log.read(row.location).map_err(|error| read_failure(&error))?;
        let damaged = |why: String| Failure::Damaged { place: format!("version {id} at {}: {why}", row.location) };
        let record = BlobRecord::decode(&payload).map_err(|error| damaged(error.to_string()))?;
        if record.header.id() != id {
            return Err(damaged("another version stands in its place".into()));
        }
        Ok(record)
    }

    /// A body that was opened lately.
    pub(super) fn opened_body(&self, blob: BlobId) -> Option<Arc<Body>> {
        self.reads.bodies.get(&blob)
    }

    pub(super) fn look_up(&mut self, request: RequestId, sought: Vec<Result<Found, Failure>>) {
        let Some(keys) = self.keys.clone() else {
            return self.reply(request, Reply::Failed(Failure::NoKeys));
        };
        let open = sought.len();
        if open == 0 {
            return self.reply(request, Reply::Got(Vec::new()));
        }
        self.reads.lookups.insert(request, Lookup { results: sought.iter().map(|_| None).collect(), open });
        let mut members = Vec::new();
        let mut records = Vec::new();
        for (slot, found) in sought.into_iter().enumerate() {
            match found.and_then(|found| Ok((self.read_record(found.id, &found.row)?, found))) {
                Ok((record, found)) => {
                    members.push(Sought { request, slot, found });
                    records.push(record);
                }
                Err(failure) => self.found(request, slot, Err(failure)),
            }
            if records.len() == BODIES_PER_JOB {
                let job = Job::OpenBodies { keys: keys.clone(), records: std::mem::take(&mut records) };
                self.run(JobContext::Get(std::mem::take(&mut members)), job);
            }
        }
        if !records.is_empty() {
            self.run(JobContext::Get(members), Job::OpenBodies { keys, records });
        }
    }

    pub(super) fn bodies_opened(&mut self, sought: Vec<Sought>, bodies: Vec<Result<Body, String>>) {
        for (Sought { request, slot, found }, body) in sought.into_iter().zip(bodies) {
            let result = body
                .map_err(|why| Failure::Damaged { place: format!("version {}: {why}", found.id) })
                .and_then(|body| self.got(found, body));
            self.found(request, slot, result);
        }
    }

    fn got(&mut self, found: Found, mut body: Body) -> Result<Got, Failure> {
        let blob = found.id;
        let known = BodySummary::of(&body);
        if (known.gone, known.len) != (found.row.gone, found.row.len) {
            // It did not open when the index learnt of it.
            let why = format!("it knows nothing of what version {blob} holds");
            return Err(self.index_failure(IndexError::Damaged(why)));
        }
        let others = found.heads.iter().copied().filter(|head| *head != blob).collect();
        let version = version_of(found);
        let key = KeyName::new(body.name.clone())
            .map_err(|error| Failure::Damaged { place: format!("version {blob}: {error}") })?;
        let inline = match &body.content {
            Content::Gone => Some(Bytes::new()),
            Content::Inline(bytes) => Some(bytes.clone()),
            Content::Chunks { .. } => None,
            Content::Packed { .. } => unreachable!("the job that opens bodies unpacks them"),
        };
        // To read the content nobody needs them again.
        let attributes = std::mem::take(&mut body.attributes);
        if inline.is_none() {
            self.keep_body(blob, Arc::new(body));
        }
        Ok(Got { version, others, key, attributes, inline })
    }

    fn keep_body(&mut self, blob: BlobId, body: Arc<Body>) {
        let content = match &body.content {
            Content::Chunks { chunks, .. } => chunks.len() * size_of::<ChunkRef>(),
            content => content.len().unwrap_or(0) as usize,
        };
        let attributes: usize = body.attributes.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let len = content + body.name.len() + attributes + 512;
        self.reads.bodies.put(blob, body, len, self.limits.body_cache_len);
    }

    fn found(&mut self, request: RequestId, slot: usize, result: Result<Got, Failure>) {
        let Some(lookup) = self.reads.lookups.get_mut(&request) else { return };
        lookup.results[slot] = Some(result);
        lookup.open -= 1;
        if lookup.open == 0
            && let Some(lookup) = self.reads.lookups.remove(&request)
        {
            self.reply(request, Reply::Got(lookup.results.into_iter().flatten().collect()));
        }
    }

    pub(super) fn read(&mut self, request: RequestId, blob: BlobId, range: Range<u64>) {
        // Said once here: nothing below has to think of a range that ends before it begins.
        let range = range.start..range.end.max(range.start);
        let len = range.end - range.start;
        if len > self.limits.read_len && !planted(Bug::RangesUnlimited) {
            let limit = self.limits.read_len;
            let failure = Failure::TooLarge { what: "one read, in bytes", found: len, limit };
            return self.reply(request, Reply::Failed(failure));
        }
        // A body opened lately may outlive its version, which then must not be read any more.
        let believed = planted(Bug::BodyOutlivesVersion) && self.opened_body(blob).is_some();
        if let Err(failure) = self.live_blob(blob)
            && !believed
        {
            return self.reply(request, Reply::Failed(failure));
        }
        if let Some(body) = self.opened_body(blob) {
            return self.start_read(request, blob, range, &body);
        }
        let Some(keys) = self.keys.clone() else {
            return self.reply(request, Reply::Failed(Failure::NoKeys));
        };
        match self.read_blob(blob) {
            Ok(record) => {
                let job = Job::OpenBodies { keys, records: vec![record] };
                self.run(JobContext::Read { request, blob, range }, job);
            }
            Err(failure) => self.reply(request, Reply::Failed(failure)),
        }
    }

    pub(super) fn read_opened(
        &mut self,
        request: RequestId,
        blob: BlobId,
        range: Range<u64>,
        body: Result<Body, String>,
    ) {
        match body {
            Ok(body) => {
                let body = Arc::new(body);
                self.keep_body(blob, body.clone());
                self.start_read(request, blob, range, &body);
            }
            Err(why) => {
                let failure = Failure::Damaged { place: format!("version {blob}: {why}") };
                self.reply(request, Reply::Failed(failure));
            }
        }
    }

    fn start_read(&mut self, request: RequestId, blob: BlobId, range: Range<u64>, body: &Body) {
        // PA
        let (len, depth, chunks) = match &body.content {
            Content::Gone => return self.reply(request, Reply::Data(Vec::new())),
            Content::Inline(bytes) => {
                let end = range.end.min(bytes.len() as u64);
                let start = range.start.min(end);
                // Both are within the length of a slice in memory.
                let part = bytes.slice(start as usize..end as usize);
                return self.reply(request, Reply::Data(vec![part]));
            }
            Content::Packed { .. } => unreachable!("the job that opens bodies unpacks them"),
            Content::Chunks { len, depth, chunks } => (*len, *depth, chunks),
        };
        let range = range.start.min(len)..range.end.min(len);
        if self.takes_more(request, blob, &range, body) {
            return;
        }
        let id = ReadId(self.reads.next);
        self.reads.next += 1;
        let mut read = Read { request, blob, range, pieces: BTreeMap::new(), fetching: 0, failed: None };
        read.expand(0, depth, chunks);
        self.reads.reads.insert(id, read);
        self.continue_read(id);
    }

    /// Fetches what can be fetched; answers when all is there.
    fn continue_read(&mut self, id: ReadId) {
        // PA
        loop {
            let Some(read) = self.reads.reads.get_mut(&id) else { return };
            let wanted = read.pieces.iter().find_map(|(at, piece)| match piece {
                Piece::Wanted { start, depth, reference } => Some((*at, *start, *depth, reference.clone())),
                _ => None,
            });
            let Some((at, start, depth, reference)) = wanted else {
                if read.fetching == 0 {
                    self.finish_read(id);
                }
                return;
            };
            if depth > 0
                && let Some(page) = self.reads.pages.get(&reference.seal_id)
            {
                read.pieces.remove(&at);
                read.expand(start, depth - 1, &page.chunks);
                continue;
            }
            if !self.fetch_chunk(id, at, (start, depth, reference), Effort::Enough) {
                return;
            }
        }
    }

    /// Sends for a chunk, with more effort than that if it takes more. False: it cannot be had, and the read has failed.
    fn fetch_chunk(&mut self, id: ReadId, at: u64, wanted: (u64, u8, ChunkRef), mut effort: Effort) -> bool {
        // PA
        let (start, depth, reference) = wanted;
        let seal = reference.seal_id;
        let fetched = loop {
            match self.fetch(&seal, effort != Effort::Enough) {
                Ok(fetched) => break fetched,
                // Once more also where there was nothing to heal: some of it may have been misread.
                Err(Failure::Damaged { .. }) if effort != Effort::Healed => {
                    if let Err(failure) = self.heal_seal(&seal) {
                        self.fail_read(id, failure);
                        return false;
                    }
                    effort = Effort::Healed;
                }
                Err(failure) => {
                    if matches!(failure, Failure::Damaged { .. }) {
                        self.give_up_seal(id, seal);
                    }
                    self.fail_read(id, failure);
                    return false;
                }
            }
        };
        if !fetched.unreadable.is_empty() {
            self.note_damage(seal, &fetched.unreadable);
        }
        let Some(read) = self.reads.reads.get_mut(&id) else { return false };
        read.pieces.insert(at, Piece::Fetching { start, depth, reference: reference.clone(), effort });
        read.fetching += 1;
        self.open_chunk(id, at, &reference, fetched.slices);
        true
    }

    fn open_chunk(&mut self, id: ReadId, at: u64, reference: &ChunkRef, slices: Vec<SealedSlice>) {
        let job = Job::OpenChunk { seal: reference.seal_id, secret: reference.secret.clone(), slices };
        self.run(JobContext::Chunk { read: id, at }, job);
    }

    pub(super) fn chunk_opened(&mut self, id: ReadId, at: u64, result: Result<(Bytes, Vec<SliceIndex>), String>) {
        // PA
        let Some(read) = self.reads.reads.get_mut(&id) else { return };
        if let Some(failure) = read.failed.take() {
            read.fetching -= 1;
            return self.fail_read(id, failure);
        }
        let Some(Piece::Fetching { start, depth, reference, effort }) = read.pieces.remove(&at) else { return };
        read.fetching -= 1;
        let blob = read.blob;
        let seal = reference.seal_id;
        let why = match result {
            Ok((plain, bad)) => {
                if !bad.is_empty() {
                    self.note_damage(seal, &bad);
                }
                if effort == Effort::Healed {
                    self.seal_reads(&seal);
                }
                if let Err(failure) = self.take_chunk(id, at, start, depth, &reference, plain) {
                    return self.fail_read(id, failure);
                }
                return self.continue_read(id);
            }
            Err(why) => why,
        };
        // Some slice is rotten: once more, with everything there is, and then with what parity can restore of it.
        tracing::debug!(%seal, %why, ?effort, "a chunk could not be opened");
        let more = match effort {
            Effort::Enough => Some(Effort::All),
            // It may have been restored, for somebody else, while this was under way.
            Effort::All => {
                if let Err(failure) = self.heal_seal(&seal) {
                    return self.fail_read(id, failure);
                }
                Some(Effort::Healed)
            }
            Effort::Healed => None,
        };
        match more {
            Some(effort) => {
                self.fetch_chunk(id, at, (start, depth, reference), effort);
            }
            None => {
                self.give_up_seal(id, seal);
                self.fail_read(id, Failure::Damaged { place: format!("version {blob}: {why}") });
            }
        }
    }

    /// A seal is not to be had, whatever was tried: who brings the content of its version once more must not be told that it is
    /// there. All that the version is made of is looked at with the next commit, and may be whole then.
    fn give_up_seal(&mut self, read: ReadId, seal: SealId) {
        // PA
        if self.heal.lost.may_include(&seal) || !self.is_needed(seal).unwrap_or(true) {
            return;
        }
        self.heal.lost.add(seal);
        let version = self.reads.reads.get(&read).map(|read| read.blob);
        if !version.is_some_and(|version| self.doubt_all_of(version)) && self.heal.lost.overlook() {
            tracing::warn!(
                "too much may be lost: until a scrub has looked at all of it, what is written refers to none of it"
            );
        }
        self.remember_losses();
    }

    /// Has everything looked at that a version is made of. False if that is more than can be in doubt, or is not known.
    fn doubt_all_of(&mut self, version: BlobId) -> bool {
        // PA
        let Ok(record) = self.read_blob(version) else { return false };
        let header = record.header.header();
        let known = header.seals.iter().all(|seal| self.upkeep.doubt(*seal));
        known
            && header.ref_pages.iter().all(|page| {
                let page = self.ref_page(*page);
                page.is_ok_and(|page| page.seals.iter().all(|seal| self.upkeep.doubt(*seal)))
            })
    }

    fn take_chunk(
        &mut self,
        id: ReadId,
        at: u64,
        start: u64,
        depth: u8,
        reference: &ChunkRef,
        plain: Bytes,
    ) -> Result<(), Failure> {
        // PA
        let Some(read) = self.reads.reads.get_mut(&id) else { return Ok(()) };
        let damaged = |why: &str| Failure::Damaged { place: format!("seal {}: {why}", reference.seal_id) };
        if depth == 0 {
            if plain.len() as u64 != reference.len {
                return Err(damaged("its content has another length than the version says"));
            }
            let from = read.range.start.saturating_sub(start).min(reference.len);
            let mut to = read.range.end.saturating_sub(start).min(reference.len);
            if planted(Bug::RangeOffByOne) && to < reference.len && to > from {
                to -= 1;
                read.range.end -= 1;
            }
            // Both are at most the length of a slice in memory.
            read.pieces.insert(at, Piece::Data(plain.slice(from as usize..to as usize)));
            return Ok(());
        }
        let page = ChunkList::open(&plain, reference, depth).map_err(|error| damaged(&error.to_string()))?;
        read.expand(start, depth - 1, &page.chunks);
        let len = plain.len();
        self.reads.pages.put(reference.seal_id, Arc::new(page), len, self.limits.body_cache_len);
        Ok(())
    }

    fn finish_read(&mut self, id: ReadId) {
        // PA
        let Some(read) = self.reads.reads.remove(&id) else { return };
        let mut data = Vec::with_capacity(read.pieces.len());
        let mut len = 0;
        for piece in read.pieces.into_values() {
            if let Piece::Data(bytes) = piece {
                len += bytes.len() as u64;
                data.push(bytes);
            }
        }
        let reply = if len == read.range.end - read.range.start {
            Reply::Data(data)
        } else {
            Reply::Failed(Failure::Damaged { place: format!("version {}: its chunks leave a gap", read.blob) })
        };
        self.reply(read.request, reply);
    }

    /// Fails a read, once nothing that is held for it is under way any more.
    fn fail_read(&mut self, id: ReadId, failure: Failure) {
        let Some(read) = self.reads.reads.get_mut(&id) else { return };
        read.pieces.clear();
        let failure = read.failed.take().unwrap_or(failure);
        if read.fetching > 0 {
            read.failed = Some(failure);
            return;
        }
        if let Some(read) = self.reads.reads.remove(&id) {
            let failure = self.live_blob(read.blob).err().unwrap_or(failure);
            self.reply(read.request, Reply::Failed(failure));
        }
    }
}

impl Read {
    /// Adds the references that overlap the range.
    fn expand(&mut self, start: u64, depth: u8, chunks: &[ChunkRef]) {
        // PA
        let mut at = start;
        for reference in chunks {
            let end = at.saturating_add(reference.len);
            if at < self.range.end && end > self.range.start {
                self.pieces.insert(at, Piece::Wanted { start: at, depth, reference: reference.clone() });
            }
            at = end;
        }
    }
}
