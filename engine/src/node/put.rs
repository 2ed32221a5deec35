//! Putting: requests, streams and their outcomes; what is done with the bytes is in `gather`, what comes of them in `draft`.

use super::backlog::Growth;
use super::gather::{ScopedChunk, Wanted};
use super::job::{Job, ScopeContext};
use super::purge::Orphans;
use super::request::{Base, Failure, Put, PutSource, Reply, RequestId, Written};
use super::upload::{Stage, Ticket, Upload, UploadId};
use super::{Engine, JobContext};
use crate::blob::{Body, Content, Header, ScopeTag};
use crate::env::Disk;
use crate::id::{BlobId, KeyHash, RefPageId, SealId};
use crate::keys::DedupScope;
use crate::planted::{Bug, planted};
use crate::seal::Chunker;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Streams whose failure is remembered for the next piece of them, at least.
const FAILED_LEN: usize = 64;

/// Scopes whose keys and chunkers are kept.
const SCOPES_LEN: usize = 64;

/// The outcome of a [`Request::Put`](super::Request::Put), as far as it is known.
#[derive(Debug)]
pub(super) struct PutOutcome {
    results: Vec<Option<Result<Written, Failure>>>,
    open: usize,
}

/// All state of puts under way.
#[derive(Debug, Default)]
pub(super) struct Puts {
    pub(super) uploads: BTreeMap<UploadId, Upload>,
    next: u64,
    outcomes: BTreeMap<RequestId, PutOutcome>,
    pub(super) streams: BTreeMap<RequestId, UploadId>,
    /// Streams that failed before their end, and why: the next request about one is told.
    pub(super) failed_streams: BTreeMap<RequestId, Failure>,
    /// Chunks being sealed, and who wants them.
    pub(super) sealing: BTreeMap<ScopedChunk, Vec<Wanted>>,
    /// Keys with a version being made, and the uploads that wait for it.
    pub(super) busy_keys: BTreeMap<KeyHash, VecDeque<UploadId>>,
    /// Uploads whose headers can be made.
    pub(super) drafts: Vec<UploadId>,
    /// Streams that were asked to wait.
    stalled: VecDeque<RequestId>,
    /// Bytes of contents held.
    pub(super) charged: usize,
    /// Those of them that jobs still hold of uploads that were given up.
    left: BTreeMap<UploadId, usize>,
    scopes: BTreeMap<Vec<u8>, Arc<ScopeContext>>,
}

impl Puts {
    /// Uploads that are under way, and those of which jobs still hold something.
    pub(super) fn uploads_held(&self) -> usize {
        self.uploads.len() + self.left.len()
    }

    /// Scopes whose keys are kept.
    pub(super) fn scopes_held(&self) -> usize {
        self.scopes.len()
    }

    /// Bytes that jobs hold of uploads that were given up.
    pub(super) fn given_up_len(&self) -> usize {
        self.left.values().sum()
    }

    /// A seal that is not yet referenced by a logged version, but will be.
    pub(super) fn pins(&self, seal: &SealId) -> bool {
        self.uploads.values().any(|upload| upload.seals.contains(seal))
    }

    /// Whether pages of references are named by versions that are being made.
    pub(super) fn pins_pages(&self) -> bool {
        self.uploads.values().any(|upload| !upload.ref_pages.is_empty())
    }

    /// The pages of references that versions name which are being made.
    pub(super) fn pinned_pages(&self) -> impl Iterator<Item = &RefPageId> {
        self.uploads.values().flat_map(|upload| &upload.ref_pages)
    }

    /// A page of references that no logged version names yet, but one will.
    pub(super) fn pins_page(&self, page: &RefPageId) -> bool {
        self.uploads.values().any(|upload| upload.ref_pages.contains(page))
    }
}

impl<D: Disk> Engine<D> {
    pub(super) fn put(&mut self, request: RequestId, puts: Vec<Put>) {
        let results = (0..puts.len()).map(|_| None).collect();
        self.puts.outcomes.insert(request, PutOutcome { results, open: puts.len() });
        if puts.is_empty() {
            self.puts.outcomes.remove(&request);
            self.reply(request, Reply::Put(Vec::new()));
        }
        for (slot, put) in puts.into_iter().enumerate() {
            let ticket = Ticket { request, slot };
            match self.open_upload(ticket, put) {
                Ok(id) => self.start_source(id),
                Err(failure) => self.put_done(ticket, Err(failure)),
            }
        }
    }

    pub(super) fn put_open(&mut self, request: RequestId, put: Put) {
        match self.open_upload(Ticket { request, slot: 0 }, put) {
            Ok(id) => {
                self.puts.streams.insert(request, id);
                self.reply(request, Reply::Ready);
            }
            Err(failure) => self.reply(request, Reply::Failed(failure)),
        }
    }

    pub(super) fn put_data(&mut self, request: RequestId, stream: RequestId, data: Bytes) {
        let Some((id, upload)) = self.stream(stream) else {
            let failure = self.puts.failed_streams.get(&stream).cloned().unwrap_or_else(no_stream);
            return self.reply(request, Reply::Failed(failure));
        };
        upload.charged += data.len();
        let len = data.len();
        upload.push(data);
        self.puts.charged += len;
        self.advance(id);
        if self.content_held() < self.limits.inflight_len || planted(Bug::StreamsNeverWait) {
            self.reply(request, Reply::Ready);
        } else {
            self.puts.stalled.push_back(request);
        }
    }

    /// A piece of a stream was refused: whoever has sent its end already must not be told that all of it is durable.
    pub(super) fn break_stream(&mut self, stream: RequestId, failure: &Failure) {
        // PA
        if let Some(id) = self.puts.streams.get(&stream).copied() {
            self.fail_upload(id, failure.clone());
        }
    }

    pub(super) fn put_end(&mut self, request: RequestId, stream: RequestId) {
        // PA
        let Some((id, upload)) = self.stream(stream) else {
            let failure = self.puts.failed_streams.remove(&stream).unwrap_or_else(no_stream);
            return self.reply(request, Reply::Failed(failure));
        };
        upload.ended = true;
        upload.ticket = Ticket { request, slot: 0 };
        self.puts.streams.remove(&stream);
        self.puts.outcomes.insert(request, PutOutcome { results: vec![None], open: 1 });
        self.advance(id);
    }

    pub(super) fn put_abort(&mut self, request: RequestId, stream: RequestId) {
        self.drop_stream(stream);
        self.reply(request, Reply::Ready);
        self.release_stalled();
    }

    /// Forgets a stream and what it has brought.
    pub(super) fn drop_stream(&mut self, stream: RequestId) {
        if let Some(id) = self.puts.streams.remove(&stream) {
            self.give_up_upload(id, self.len_in_jobs(id));
        }
        self.puts.failed_streams.remove(&stream);
    }

    fn stream(&mut self, stream: RequestId) -> Option<(UploadId, &mut Upload)> {
        let id = *self.puts.streams.get(&stream)?;
        Some((id, self.puts.uploads.get_mut(&id)?))
    }

    /// Bytes of contents and of sealed chunks held in memory.
    fn content_held(&self) -> usize {
        self.puts.charged + self.window.len()
    }

    pub(super) fn release_stalled(&mut self) {
        while self.content_held() < self.limits.inflight_len {
            let Some(request) = self.puts.stalled.pop_front() else { return };
            self.reply(request, Reply::Ready);
        }
    }

    /// Lets streams that were asked to wait go on although no memory is free, when nothing is under way that would free
    /// some: what is held then are beginnings of chunks, for whose ends everybody waits.
    ///
    /// What is held beyond [`Limits::inflight_len`](super::Limits::inflight_len) is so at most one piece, and less than
    /// one chunk, for each open stream.
    pub(super) fn unblock_streams(&mut self) {
        self.release_stalled();
        if self.puts.stalled.is_empty() || !self.puts.drafts.is_empty() || !self.batch.ready.is_empty() {
            return;
        }
        let frees = |context: &JobContext| {
            matches!(
                context,
                JobContext::Cut { .. } | JobContext::Seal { .. } | JobContext::Make(_) | JobContext::Copy(_)
            )
        };
        if self.jobs.values().any(frees) {
            return;
        }
        if let Err(failure) = self.flush_window() {
            self.abandon(&failure);
        }
        self.release_stalled();
        while let Some(request) = self.puts.stalled.pop_front() {
            self.reply(request, Reply::Ready);
        }
    }

    fn scope_context(&mut self, scope: &DedupScope) -> Result<Arc<ScopeContext>, Failure> {
        let keys = self.keys.as_ref().ok_or(Failure::NoKeys)?;
        let name = scope.to_bytes();
        if let Some(context) = self.puts.scopes.get(&name) {
            return Ok(context.clone());
        }
        let scope_keys = keys.scope_keys(scope);
        let chunker = Chunker::new(&self.config.chunker, &scope_keys);
        let tag = ScopeTag::of(keys.realm_epoch(), &name);
        let context = Arc::new(ScopeContext { keys: scope_keys, chunker, name: name.clone(), tag });
        // Unshared scopes are as many as their values; they are not kept.
        if !matches!(scope, DedupScope::None(_)) {
            if self.puts.scopes.len() >= SCOPES_LEN {
                self.puts.scopes.pop_last();
            }
            self.puts.scopes.insert(name, context.clone());
        }
        Ok(context)
    }

    fn open_upload(&mut self, ticket: Ticket, put: Put) -> Result<UploadId, Failure> {
        self.writable()?;
        if self.puts.uploads_held() >= self.limits.uploads && !planted(Bug::UploadsUnlimited) {
            return Err(Failure::Busy);
        }
        self.index_has_room(Growth::Versions)?;
        let key_hash = self.hash_key(&put.key)?;
        if let Base::Versions(parents) = &put.options.base {
            self.check_parents(&put, key_hash, parents)?;
        }
        let scope = match planted(Bug::ScopeIgnored) {
            true => self.scope_context(&DedupScope::Realm)?,
            false => self.scope_context(&put.options.scope)?,
        };
        let asked = put.options.coding.filter(|_| !planted(Bug::PutCodingIgnored));
        let coding = asked.unwrap_or(self.config.coding);
        let id = UploadId(self.puts.next);
        self.puts.next += 1;
        self.puts.uploads.insert(id, Upload::new(ticket, put, key_hash, scope, coding));
        Ok(id)
    }

    fn check_parents(&self, put: &Put, key_hash: KeyHash, parents: &[BlobId]) -> Result<(), Failure> {
        if parents.len() > Header::MAX_PARENTS {
            let (found, limit) = (parents.len() as u64, Header::MAX_PARENTS as u64);
            return Err(Failure::TooLarge { what: "the number of versions it follows", found, limit });
        }
        for &parent in parents {
            let row = self.live_blob(parent)?;
            if row.key_hash != key_hash {
                return Err(Failure::OtherKey { version: parent, key: put.key.clone() });
            }
        }
        Ok(())
    }

    fn start_source(&mut self, id: UploadId) {
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        match std::mem::replace(&mut upload.put.source, PutSource::Stream) {
            PutSource::Value(bytes) => {
                upload.charged += bytes.len();
                self.puts.charged += bytes.len();
                upload.push(bytes);
                upload.ended = true;
                self.advance(id);
            }
            PutSource::Stream => self.fail_upload(id, Failure::Invalid("a stream is opened with PutOpen".into())),
            PutSource::Gone => {
                upload.ended = true;
                upload.cut_all = true;
                upload.content = Some(Content::Gone);
                self.advance(id);
            }
            PutSource::SameAs(version) => {
                upload.ended = true;
                upload.cut_all = true;
                upload.stage = Stage::Copying;
                upload.copies = Some(version);
                self.start_copy(id, version);
            }
        }
    }

    fn start_copy(&mut self, id: UploadId, version: BlobId) {
        let record = match self.read_blob(version) {
            Ok(record) => record,
            Err(failure) => return self.fail_upload(id, failure),
        };
        let Some(keys) = self.keys.clone() else { return self.fail_upload(id, Failure::NoKeys) };
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        if !planted(Bug::CopyRefersToNothing) {
            upload.seals = record.header.header().seals.iter().copied().collect();
            upload.ref_pages.clone_from(&record.header.header().ref_pages);
        }
        self.run(JobContext::Copy(id), Job::OpenBodies { keys, records: vec![record] });
    }

    pub(super) fn copy_opened(&mut self, id: UploadId, body: Result<Body, String>) {
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        match body {
            Ok(body) => {
                if upload.put.options.attributes.is_empty() {
                    upload.put.options.attributes = body.attributes;
                }
                upload.content = Some(body.content);
                upload.stage = Stage::Gathering;
                self.advance(id);
            }
            Err(place) => self.fail_upload(id, Failure::Damaged { place }),
        }
    }

    /// The version of an upload is durable and indexed.
    pub(super) fn upload_committed(&mut self, id: UploadId, written: Result<Written, Failure>) {
        if let Some(upload) = self.drop_upload(id) {
            self.put_done(upload.ticket, written);
        }
    }

    pub(super) fn fail_upload(&mut self, id: UploadId, failure: Failure) {
        self.fail_upload_in_jobs(id, failure, self.len_in_jobs(id));
    }

    /// Who restores a version of a key that is purged with all it has comes too late: had it come first, what it made would be
    /// purged with the rest.
    pub(super) fn fail_late_copies(&mut self) {
        // PA
        if self.batch.purged_keys.is_empty() {
            return;
        }
        let purged = self.batch.purged();
        let of_key = self.puts.uploads.iter().filter(|(_, upload)| self.batch.purged_keys.contains(&upload.key_hash));
        let copies = of_key.filter_map(|(id, upload)| Some((*id, upload.copies?)));
        // Or was purged before that: then it could but have come first.
        let is_late = |version: &BlobId| {
            purged.contains(version) || matches!(self.live_blob(*version), Err(Failure::NoSuchVersion(_)))
        };
        for (id, version) in copies.filter(|(_, version)| is_late(version)).collect::<Vec<_>>() {
            self.fail_upload(id, Failure::NoSuchVersion(version));
        }
    }

    /// Bytes that jobs hold of an upload.
    fn len_in_jobs(&self, id: UploadId) -> usize {
        let in_jobs = self.jobs.values().filter_map(JobContext::holds).filter(|(holder, _)| *holder == id);
        in_jobs.map(|(_, len)| len).sum()
    }

    fn fail_upload_in_jobs(&mut self, id: UploadId, failure: Failure, in_jobs: usize) {
        if let Some(upload) = self.give_up_upload(id, in_jobs) {
            if planted(Bug::FailureChargedForEver) {
                self.puts.charged += upload.charged;
            }
            self.put_done(upload.ticket, Err(failure));
        }
    }

    /// Forgets an upload that comes to nothing. What was sealed for it goes, unless others refer to it; and what jobs hold of
    /// it, `in_jobs` bytes, is held until they are done.
    fn give_up_upload(&mut self, id: UploadId, in_jobs: usize) -> Option<Upload> {
        // PA
        let mut upload = self.drop_upload(id)?;
        let left = in_jobs.min(upload.charged);
        if left > 0 {
            self.puts.charged += left;
            self.puts.left.insert(id, left);
        }
        let seals = std::mem::take(&mut upload.seals);
        self.upkeep.collect_later(Orphans::of(seals, upload.ref_pages.drain(..)));
        Some(upload)
    }

    /// A job has ended: what it held of an upload that was given up is free.
    pub(super) fn job_let_go(&mut self, context: &JobContext) {
        let Some((upload, len)) = context.holds() else { return };
        let Some(left) = self.puts.left.get_mut(&upload) else { return };
        let freed = len.min(*left);
        *left -= freed;
        if *left == 0 {
            self.puts.left.remove(&upload);
        }
        self.puts.charged -= freed;
        self.release_stalled();
    }

    fn drop_upload(&mut self, id: UploadId) -> Option<Upload> {
        let upload = self.puts.uploads.remove(&id)?;
        self.puts.charged -= upload.charged;
        if matches!(upload.put.options.base, Base::Winner) && matches!(upload.stage, Stage::Queued | Stage::Making) {
            let waits = self.puts.busy_keys.get_mut(&upload.key_hash).is_some_and(|queue| {
                let before = queue.len();
                queue.retain(|other| *other != id);
                queue.len() < before
            });
            if !waits {
                self.release_key(upload.key_hash);
            }
        }
        Some(upload)
    }

    fn put_done(&mut self, ticket: Ticket, result: Result<Written, Failure>) {
        let Some(outcome) = self.puts.outcomes.get_mut(&ticket.request) else {
            // A stream that failed before its end was announced: the next piece is told so.
            if let Err(failure) = result
                && self.puts.streams.remove(&ticket.request).is_some()
            {
                tracing::debug!(%failure, "a stream failed");
                // A client that is gone asks no more; those that failed first are forgotten first.
                if self.puts.failed_streams.len() >= self.limits.uploads.max(FAILED_LEN) {
                    self.puts.failed_streams.pop_first();
                }
                self.puts.failed_streams.insert(ticket.request, failure);
            }
            return;
        };
        outcome.results[ticket.slot] = Some(result);
        outcome.open -= 1;
        if outcome.open == 0
            && let Some(outcome) = self.puts.outcomes.remove(&ticket.request)
        {
            self.reply(ticket.request, Reply::Put(outcome.results.into_iter().flatten().collect()));
        }
    }

    /// Gives up everything that is on its way in: what it built on is not there any more.
    pub(super) fn fail_all_uploads(&mut self, failure: &Failure) {
        let ids: Vec<UploadId> = self.puts.uploads.keys().copied().collect();
        self.puts.drafts.clear();
        self.puts.sealing.clear();
        let mut in_jobs: BTreeMap<UploadId, usize> = BTreeMap::new();
        for (id, len) in self.jobs.values().filter_map(JobContext::holds) {
            *in_jobs.entry(id).or_default() += len;
        }
        for id in ids {
            self.fail_upload_in_jobs(id, failure.clone(), in_jobs.get(&id).copied().unwrap_or(0));
        }
        self.puts.drafts.clear();
        self.puts.busy_keys.clear();
        self.release_stalled();
    }
}

fn no_stream() -> Failure {
    Failure::Invalid("there is no such stream".into())
}
