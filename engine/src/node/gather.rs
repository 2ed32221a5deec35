//! Gathering: cuts an upload's bytes, finds or seals each chunk, and builds the list by which they are found again.

use super::job::{CutChunk, Job};
use super::request::Failure;
use super::upload::{Stage, UploadId};
use super::{Engine, JobContext};
use crate::blob::{ChunkList, ChunkRef, Content};
use crate::codec::Canonical;
use crate::env::Disk;
use crate::id::{ChunkId, SealId, Secret};
use crate::seal::Sealed;
use crate::store::index::ChunkKey;
use bytes::Bytes;

/// Contents up to this many bytes live in the body, as they are or compressed.
pub(super) const INLINE_LEN: usize = 4096;
/// Contents up to this many bytes are tried whether they compress to so few. Longer ones hardly ever do, and a stream is
/// held back until it is known to be longer.
const PACKABLE_LEN: usize = 64 << 10;

/// Names a chunk within a scope.
pub(super) type ScopedChunk = ChunkKey;

/// A chunk reference wanted by an upload: which, at which level and place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) upload: UploadId,
    pub(super) depth: usize,
    pub(super) place: u64,
    /// Bytes of content below the reference.
    pub(super) len: u64,
}

impl<D: Disk> Engine<D> {
    /// Does whatever can be done next for an upload.
    pub(super) fn advance(&mut self, id: UploadId) {
        // PA
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        if upload.stage != Stage::Gathering {
            return;
        }
        let small_len = PACKABLE_LEN.min(upload.scope.chunker.max_len());
        if let Some(small) = upload.take_small(small_len.max(INLINE_LEN)) {
            if small.len() > INLINE_LEN {
                upload.cutting = true;
                let (scope, compression) = (upload.scope.clone(), self.config.compression);
                let context = JobContext::Cut { upload: id, len: small.len() };
                return self.run(context, Job::Pack { scope, plain: small, compression });
            }
            upload.content = Some(Content::Inline(small));
        } else if !upload.cutting && !upload.cut_all && (upload.ended || !upload.pieces.is_empty()) {
            // A stream that may yet turn out to be small waits for more.
            if !upload.ended && upload.len <= small_len.max(INLINE_LEN) as u64 {
                return;
            }
            return self.cut_next(id);
        }
        if upload.is_gathered() {
            self.finish_gathering(id);
        }
    }

    /// Cuts the next piece, or what is left over behind the last.
    fn cut_next(&mut self, id: UploadId) {
        // PA
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        let piece = upload.pieces.pop_front().unwrap_or_default();
        let end = upload.ended && upload.pieces.is_empty();
        upload.cutting = true;
        upload.cut_all = end;
        let carry = std::mem::take(&mut upload.carry);
        let context = JobContext::Cut { upload: id, len: carry.len() + piece.len() };
        let job = Job::Cut { scope: upload.scope.clone(), carry, piece, end };
        self.run(context, job);
    }

    pub(super) fn cut_done(&mut self, id: UploadId, chunks: Vec<CutChunk>, carry: Bytes) {
        // PA
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        upload.carry = carry;
        // The next piece first: each is cut after the one before, while the chunks of this one are sealed side by side.
        let goes_on = !upload.cut_all && !upload.pieces.is_empty();
        if goes_on {
            self.cut_next(id);
        }
        for chunk in chunks {
            self.want_chunk(id, 0, chunk.plain.len() as u64, chunk);
        }
        // Only now: a chunk that is known at once must not make the upload look complete before the others are seen.
        if let Some(upload) = self.puts.uploads.get_mut(&id) {
            upload.cutting = goes_on;
        }
        self.advance(id);
        self.release_stalled();
    }

    /// A value came out small enough for the body.
    pub(super) fn packed(&mut self, id: UploadId, content: Content, saved: usize) {
        // PA
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        upload.content = Some(content);
        upload.cutting = false;
        self.discharge(id, saved);
        self.advance(id);
        self.release_stalled();
    }

    /// Finds or seals a chunk for the next place of a level.
    fn want_chunk(&mut self, id: UploadId, depth: usize, len: u64, chunk: CutChunk) {
        // PA
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        let place = upload.level(depth).reserve();
        let wanted = Wanted { upload: id, depth, place, len };
        let name = ChunkKey { scope: upload.scope.tag.0, chunk: chunk.identified.chunk_id };
        let (scope, coding) = (upload.scope.clone(), upload.coding);
        upload.pending += 1;
        if let Some(waiting) = self.puts.sealing.get_mut(&name) {
            waiting.push(wanted);
            if depth == 0 {
                self.discharge(id, chunk.plain.len());
            }
            return;
        }
        match self.known_chunk(&name) {
            Ok(Some((seal_id, secret))) => {
                if depth == 0 {
                    self.discharge(id, chunk.plain.len());
                }
                self.give_chunk(wanted, name.chunk, seal_id, &secret);
            }
            Ok(None) => {
                self.puts.sealing.insert(name, vec![wanted]);
                let compression = self.config.compression;
                let context = JobContext::Seal { name, charged: (depth == 0).then_some((id, chunk.plain.len())) };
                let CutChunk { plain, identified, form } = chunk;
                let job = Job::Seal { scope, identified, plain, form, compression, coding };
                self.run(context, job);
            }
            Err(failure) => self.fail_upload(id, failure),
        }
    }

    fn discharge(&mut self, id: UploadId, len: usize) {
        if let Some(upload) = self.puts.uploads.get_mut(&id) {
            let len = len.min(upload.charged);
            upload.charged -= len;
            self.puts.charged -= len;
        }
    }

    pub(super) fn sealed(&mut self, name: ScopedChunk, charged: Option<(UploadId, usize)>, sealed: Sealed) {
        // PA
        if let Some((upload, len)) = charged {
            self.discharge(upload, len);
        }
        let Some(wanted) = self.puts.sealing.remove(&name) else { return };
        if wanted.iter().all(|wanted| !self.puts.uploads.contains_key(&wanted.upload)) {
            // They have all been given up: nobody would refer to it.
            return;
        }
        let stored = self.store_seal(name, &sealed);
        for wanted in wanted {
            match &stored {
                Ok(()) => self.give_chunk(wanted, name.chunk, sealed.seal_id, &sealed.secret),
                Err(failure) => self.fail_upload(wanted.upload, failure.clone()),
            }
        }
        self.release_stalled();
    }

    fn give_chunk(&mut self, wanted: Wanted, chunk_id: ChunkId, seal_id: SealId, secret: &Secret) {
        // PA
        let Some(upload) = self.puts.uploads.get_mut(&wanted.upload) else { return };
        upload.pending -= 1;
        upload.seals.insert(seal_id);
        let reference = ChunkRef { chunk_id, seal_id, secret: secret.clone(), len: wanted.len };
        upload.level(wanted.depth).fill(wanted.place, reference);
        self.promote(wanted.upload, wanted.depth, false);
        self.advance(wanted.upload);
    }

    /// No seal came of it: everybody who waits for this chunk fails, and nobody else.
    pub(super) fn seal_failed(&mut self, name: ScopedChunk, charged: Option<(UploadId, usize)>, failure: &Failure) {
        if let Some((upload, len)) = charged {
            self.discharge(upload, len);
        }
        for wanted in self.puts.sealing.remove(&name).into_iter().flatten() {
            self.fail_upload(wanted.upload, failure.clone());
        }
        self.release_stalled();
    }

    /// Seals full pages of references of a level into the level above.
    fn promote(&mut self, id: UploadId, depth: usize, rest: bool) {
        // PA
        let page_refs = self.humour.whims.page_refs;
        loop {
            let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
            let Some(page) = upload.level(depth).take_page(page_refs, rest) else { return };
            let len = page.iter().map(|reference| reference.len).sum();
            let plain = Bytes::from(ChunkList { depth: depth as u8, chunks: page }.encode());
            let identified = crate::seal::identify(&upload.scope.keys, &plain);
            self.want_chunk(id, depth + 1, len, CutChunk { plain, identified, form: None });
        }
    }

    fn finish_gathering(&mut self, id: UploadId) {
        // PA
        let page_refs = self.humour.whims.page_refs;
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        if upload.content.is_none() {
            let top = upload.levels.len().saturating_sub(1);
            // Lower levels first: their last, short pages belong into the levels above.
            for depth in 0..top {
                if upload.levels[depth].len() > 0 {
                    return self.promote(id, depth, true);
                }
            }
            if upload.level(top).len() > page_refs {
                return self.promote(id, top, true);
            }
            let chunks = upload.level(top).take_page(page_refs, true).unwrap_or_default();
            let depth = u8::try_from(top).unwrap_or(u8::MAX);
            upload.content = Some(Content::Chunks { len: upload.len, depth, chunks });
        }
        self.queue_for_key(id);
    }
}
