//! Appending, committing, rolling and removing.

use super::active::Active;
use super::commit::{Batch, Commit, MAX_NOTE_LEN, unproven_from};
use super::parity::Cover;
use super::place::Point;
use super::record::{HEADER_LEN, RecordHeader, record_len};
use super::rest::Rest;
use super::segment::{FIRST_RECORD, SegmentHeader};
use super::segments::Segments;
use super::upkeep::cover_record;
use super::{Location, Log, LogError, LogPosition, RecordFlags, RecordKind, Segment, SegmentId};
use crate::codec::Canonical;
use crate::env::{Disk, DiskError, DiskFailure, DiskFile, OpenMode, Volume};
use crate::planted::{Bug, planted};
use std::sync::Arc;

/// How many file names are tried for a new segment.
const NAME_ATTEMPTS: usize = 16;

/// How often it is tried to cut off a commit whose sync failed.
const WITHDRAWALS: usize = 3;

/// How the active segment and the batch stood before something was appended that may be taken back.
pub(super) struct Mark {
    end: u32,
    footer: (u32, usize),
    cover: Cover,
    batch: Batch,
}

impl Mark {
    fn of<F: DiskFile>(active: &Active<F>, batch: &Batch) -> Self {
        let (end, footer, cover) = (active.end(), active.footer.mark(), active.cover.clone());
        Self { end, footer, cover, batch: batch.clone() }
    }
}

impl<D: Disk> Log<D> {
    /// Appends one record, whose payload is `parts` one after the other. It can be read at once, and is durable after
    /// the next [`Self::commit`]. Of a slice, the first part must be the slice header: only that is covered by the
    /// record's checksum.
    ///
    /// # Errors
    /// [`LogError::Disk`]: the record is not in the log, the rest of the batch is, and the call may be repeated.
    /// [`LogError::TooLong`], [`LogError::ReservedKind`], [`LogError::Poisoned`].
    pub fn append(&mut self, kind: RecordKind, flags: RecordFlags, parts: &[&[u8]]) -> Result<Location, LogError> {
        // PA
        if !kind.is_content() {
            return Err(LogError::ReservedKind(kind));
        }
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let limit = self.options.max_payload_len();
        if len > limit {
            return Err(LogError::TooLong { what: "record", len, limit });
        }
        self.writable()?;
        self.prove()?;
        let put = self.make_room(record_len(len as u32)).and_then(|()| self.put(kind, flags, parts));
        self.short_of_room |= put.as_ref().is_err_and(is_full);
        put
    }

    /// Makes everything appended so far durable, with one sync: all of it or, after a crash before this returns, none.
    /// `note` is kept with it and handed out by the next [`Self::open`].
    ///
    /// # Errors
    /// [`LogError::Disk`]: nothing was committed, and the call may be repeated (once there is space, if the disk was
    /// full). [`LogError::Poisoned`]: a sync failed, and whether the batch is durable will be known at the next open.
    pub fn commit(&mut self, note: &[u8]) -> Result<LogPosition, LogError> {
        // PA
        if note.len() > MAX_NOTE_LEN {
            let (len, limit) = (note.len() as u64, MAX_NOTE_LEN as u64);
            return Err(LogError::TooLong { what: "commit note", len, limit });
        }
        self.writable()?;
        if self.rest == Rest::Owed && note != self.note {
            // It would be taken for the proof, which says what the commit before it says.
            self.prove()?;
        }
        self.ensure_active()?;
        if self.list_outdated {
            self.put_list()?;
        }
        let before = self.flush_full_parity()?;
        let committed = match (self.put_commit(note), before) {
            // The batch may still fit where its parity does not.
            (Err(error), Some(before)) if is_full(&error) => {
                self.return_to(before);
                self.put_commit(note)
            }
            (committed, _) => committed,
        };
        self.short_of_room |= committed.as_ref().is_err_and(is_full);
        committed
    }

    /// Writes the commit record, and makes it durable with all before it.
    fn put_commit(&mut self, note: &[u8]) -> Result<LogPosition, LogError> {
        // PA
        let proves = self.rest == Rest::Owed && self.batch.lasting == 0;
        let Some(active) = &mut self.active else { unreachable!("just ensured") };
        let here = Point { segment: active.id, offset: active.end() };
        let commit = Commit {
            salt: active.binding.salt,
            store: self.store,
            proven: self.durable,
            first: self.batch.first.unwrap_or(here),
            records: self.batch.records,
            lasting: self.batch.lasting,
            digest: self.batch.digest(),
            segments: self.list,
            note: note.to_vec(),
            padding: Vec::new(),
        };
        let payload = commit.encode_at(here.offset);
        let header = RecordHeader::of(RecordKind::Commit, RecordFlags::NONE, payload.len() as u32, &[&payload]);
        if planted(Bug::SyncBeforeWrite) {
            let _ = active.file.sync();
        }
        let footer = active.footer.mark();
        let put = active.put(&header, &[&payload], self.options.write_buffer_len);
        let head = match put.and_then(|head| active.flush().map(|()| head)) {
            Ok(head) => head,
            Err(error) => {
                // The record may still stand in the buffer; a batch that goes on must not carry it along.
                active.rewind(here.offset);
                active.footer.reset(footer);
                return Err(error);
            }
        };
        cover_record(&mut active.cover, here.offset, &head, &header, &[&payload]);
        let at = LogPosition { segment: here.segment, commit: here.offset, end: active.end() };
        let file = active.file.clone();
        if !planted(Bug::CommitWithoutSync) && !planted(Bug::SyncBeforeWrite) {
            self.sync(&file).inspect_err(|_| withdraw(&*file, here))?;
        }
        if self.directory_dirty && !planted(Bug::DirectoryNotSynced) {
            let synced = self.disk.sync_directory(Volume::Blocks).map_err(|error| self.poison(error));
            synced.inspect_err(|_| withdraw(&*file, here))?;
            self.directory_dirty = false;
        }
        self.durable = at;
        self.ends_with_proof = self.batch.lasting == 0 && self.batch.records > 0;
        self.durable_from = unproven_from(self.batch.first.unwrap_or(here), self.batch.lasting, at);
        self.note = note.to_vec();
        self.batch = Batch::new();
        self.short_of_room = false;
        self.durable_list = self.list;
        self.names_given_up = false;
        self.removing.clear();
        // With parity alone in its batch, right behind what that covers, it is the proof.
        self.rest = if proves { Rest::Proven(at) } else { Rest::Unproven };
        self.note_len(at.segment, at.end);
        self.delete_condemned();
        Ok(at)
    }

    /// Writes the parity that is due with the batch under way, and says what was there before. For more records room is made, and
    /// that does it; a batch of one never gets there, and nothing that came by such batches would be covered before the log rests.
    fn flush_full_parity(&mut self) -> Result<Option<Mark>, LogError> {
        // PA
        let is_due = |active: &&Active<D::File>| active.cover.is_full() && !active.is_sealed();
        let Some(active) = self.active.as_ref().filter(is_due).filter(|_| self.batch.lasting > 0) else {
            return Ok(None);
        };
        let before = Mark::of(active, &self.batch);
        match self.flush_parity() {
            Ok(()) => Ok(Some(before)),
            Err(error) if is_full(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How the active segment and the batch stand, for [`Self::return_to`]; `None` if there is no segment.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.active.as_ref().map(|active| Mark::of(active, &self.batch))
    }

    /// Takes back what was appended to the active segment since.
    pub(super) fn return_to(&mut self, before: Mark) {
        // PA
        let Some(active) = &mut self.active else { unreachable!("what is appended to is kept") };
        active.rewind(before.end);
        active.footer.reset(before.footer);
        active.cover = before.cover;
        if let Err(error) = active.cut() {
            tracing::debug!(%error, "what was taken back goes before the next write");
        }
        self.batch = before.batch;
    }

    /// Forgets the batch under way: no later commit covers it, and so it never was. Its bytes stay in their segments as
    /// dead weight until those are compacted. Segments that it was to remove stay.
    pub fn abandon(&mut self) {
        // PA
        // Parity between two batches belongs to none but its proof.
        if self.rest != Rest::Owed {
            self.batch = Batch::new();
        }
        for segment in core::mem::take(&mut self.removing) {
            self.condemned.remove(&segment);
        }
        // The list that counts is the last one committed; segments younger than it need no list to count.
        self.list = self.durable_list;
        // Unless a list that is given up was the first without them.
        self.list_outdated = self.names_given_up || !self.condemned.is_empty();
    }

    /// Takes a segment out of the log. The next commit makes it so, and then deletes the file: copies of its live
    /// records that were appended before stand or fall with the removal. Only if the batch under way has records in
    /// that segment itself, a footer for instance, is it committed first: without them nobody could tell that it is whole.
    ///
    /// # Errors
    /// [`LogError::Active`], [`LogError::NoSegment`], and those of [`Self::append`].
    pub fn remove(&mut self, segment: SegmentId) -> Result<(), LogError> {
        // PA
        if self.active.as_ref().is_some_and(|active| active.id == segment) {
            return Err(LogError::Active(segment));
        }
        if !self.segments.contains_key(&segment) || self.condemned.contains(&segment) {
            return Err(LogError::NoSegment(segment));
        }
        self.writable()?;
        self.prove()?;
        if self.batch.first.is_some_and(|first| first.segment <= segment) {
            let note = self.note.clone();
            self.commit(&note)?;
        }
        self.ensure_active()?;
        self.condemned.insert(segment);
        self.removing.insert(segment);
        if planted(Bug::SegmentGoesFirst) {
            let _ = self.disk.remove(Volume::Blocks, &segment.file_name());
        }
        self.put_list().inspect_err(|_| {
            self.condemned.remove(&segment);
            self.removing.remove(&segment);
        })
    }

    /// Settles and closes the log.
    ///
    /// # Errors
    /// Those of [`Self::commit`]; the log is closed all the same.
    pub fn close(mut self) -> Result<LogPosition, LogError> {
        self.settle()
    }

    pub(super) fn writable(&self) -> Result<(), LogError> {
        match &self.poisoned {
            Some(error) => Err(LogError::Poisoned(error.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn poison(&mut self, error: DiskError) -> LogError {
        self.poisoned = Some(error.clone());
        LogError::Poisoned(error)
    }

    pub(super) fn sync(&mut self, file: &Arc<D::File>) -> Result<(), LogError> {
        // PA
        if planted(Bug::FailedSyncRetried) && file.sync().is_err() {
            return Ok(file.sync()?);
        }
        file.sync().map_err(|error| self.poison(error))
    }

    /// Appends a record of any kind to the active segment and to the batch.
    pub(super) fn put(&mut self, kind: RecordKind, flags: RecordFlags, parts: &[&[u8]]) -> Result<Location, LogError> {
        // PA
        let Some(active) = &mut self.active else { unreachable!("callers make room first") };
        let len = parts.iter().map(|part| part.len()).sum::<usize>() as u32;
        let header = RecordHeader::of(kind, flags, len, parts);
        let at = Point { segment: active.id, offset: active.end() };
        let bytes = active.put(&header, parts, self.options.write_buffer_len)?;
        self.batch.add(at, kind, &bytes);
        let (id, end) = (active.id, active.end());
        self.note_len(id, end);
        Ok(Location { segment: at.segment, offset: at.offset, len })
    }

    pub(super) fn note_len(&mut self, id: SegmentId, len: u32) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.len = len;
        }
    }

    pub(super) fn ensure_active(&mut self) -> Result<(), LogError> {
        match &self.active {
            Some(active) if active.is_sealed() => {
                let file = active.file.clone();
                self.finish_roll(&file)
            }
            Some(_) => Ok(()),
            None => self.create_segment(),
        }
    }

    /// Sees to it that a record of `total` bytes fits into the active segment, by starting another if it must.
    pub(super) fn make_room(&mut self, total: u64) -> Result<(), LogError> {
        // PA
        self.ensure_active()?;
        let Some(active) = &self.active else { unreachable!("just ensured") };
        // Not between two batches: what follows parity there is a proof, and taken for one where it cannot be read.
        if active.cover.is_full() && self.batch.records > 0 && !self.short_of_room {
            match self.flush_parity() {
                // What makes room may be a batch of several records. Parity is tried again when they are committed.
                Err(error) if is_full(&error) => self.short_of_room = true,
                flushed => flushed?,
            }
        }
        let Some(active) = &self.active else { unreachable!("parity keeps it") };
        let end = u64::from(active.end()) + total + active.footer.estimated_len() + active.cover.estimated_len();
        if end > u64::from(self.options.segment_len) && self.has_content {
            self.roll()?;
        }
        self.has_content = true;
        Ok(())
    }

    /// Seals the active segment and starts the next, so that the sealed one may be compacted.
    ///
    /// # Errors
    /// Those of [`Self::commit`].
    pub fn roll(&mut self) -> Result<(), LogError> {
        // PA
        self.writable()?;
        let Some(active) = self.active.as_ref().filter(|active| !active.is_sealed()) else {
            return self.ensure_active();
        };
        let before = Mark::of(active, &self.batch);
        if let Err(error) = self.put_footer() {
            // Behind parity without a footer nothing but its proof may stand.
            self.return_to(before);
            return Err(error);
        }
        let Some(active) = &mut self.active else { unreachable!("put keeps it") };
        active.seal();
        if self.rest == Rest::Owed {
            // A footer may follow parity instead.
            self.rest = Rest::Unproven;
        }
        self.ensure_active()
    }

    /// What a sealed segment ends with. It may be buffered and not be written yet: then the segment takes nothing more, and
    /// the next attempt finds it in the buffer.
    fn put_footer(&mut self) -> Result<(), LogError> {
        // PA
        self.flush_parity()?;
        let Some(active) = &mut self.active else { unreachable!("parity keeps it") };
        let footer = core::mem::take(&mut active.footer);
        let sealed = self.put(RecordKind::Footer, RecordFlags::NONE, &[&footer.encode()]);
        let Some(active) = &mut self.active else { unreachable!("put keeps it") };
        if sealed.is_err() {
            active.footer = footer;
        }
        sealed.map(|_| ())
    }

    fn finish_roll(&mut self, file: &Arc<D::File>) -> Result<(), LogError> {
        // PA
        if let Some(active) = &mut self.active {
            active.flush()?;
            active.cut()?;
        }
        self.sync(file)?;
        self.active = None;
        self.create_segment()
    }

    /// Starts a new segment: its file, its headers, its list of segments.
    ///
    /// The headers are durable before any record follows. So a file that is longer than they are and has none is rotten,
    /// and never what a crash left half made: only of the former must it be feared that it held something.
    pub(super) fn create_segment(&mut self) -> Result<(), LogError> {
        // PA
        let (id, file) = self.create_file()?;
        let salt = self.salts.next_u64();
        let header = SegmentHeader { store: self.store, segment: id, salt, config: self.config.clone() };
        let block = header.encode_block();
        if let Err(error) = file.write_at(0, &[&block, &block]) {
            // Should the removal fail too, an empty file is left, which recovery knows how to ignore.
            let _ = self.disk.remove(Volume::Blocks, &id.file_name());
            return Err(error.into());
        }
        let file = Arc::new(file);
        self.sync(&file)?;
        let binding = header.binding();
        self.segments.insert(id, Segment { binding: binding.clone(), len: FIRST_RECORD });
        self.active = Some(Active::new(id, file, binding, FIRST_RECORD, self.options.parity_group_len));
        self.has_content = false;
        self.directory_dirty = true;
        self.put_list()
    }

    fn create_file(&mut self) -> Result<(SegmentId, D::File), LogError> {
        let mut attempt = 1;
        loop {
            let id = self.next_id;
            self.next_id = id.next();
            match self.disk.open(Volume::Blocks, &id.file_name(), OpenMode::CreateNew) {
                Ok(file) => return Ok((id, file)),
                Err(error) if error.failure == DiskFailure::AlreadyExists && attempt < NAME_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Appends a list of the segments that the log now has.
    fn put_list(&mut self) -> Result<(), LogError> {
        // PA
        let Some(active) = &self.active else { unreachable!("callers ensure it") };
        let header = SegmentHeader {
            store: self.store,
            segment: active.id,
            salt: active.binding.salt,
            config: self.config.clone(),
        };
        let live = self.segments.keys().chain(&self.absent).copied().filter(|id| !self.condemned.contains(id));
        let list = Segments::new(header, live).encode();
        self.list = self.put(RecordKind::Segments, RecordFlags::NONE, &[&list])?;
        self.list_outdated = false;
        Ok(())
    }

    /// Deletes the files of removed segments. What cannot be deleted now is tried again at the next commit.
    fn delete_condemned(&mut self) {
        // PA
        for id in core::mem::take(&mut self.condemned) {
            match self.disk.remove(Volume::Blocks, &id.file_name()) {
                Err(error) if error.failure != DiskFailure::NotFound => {
                    self.condemned.insert(id);
                }
                _ => {
                    self.segments.remove(&id);
                    self.sure_upkeep.retain(|at| at.segment != id);
                    self.handles.forget(id);
                }
            }
        }
    }
}

pub(super) fn is_full(error: &LogError) -> bool {
    matches!(error, LogError::Disk(error) if error.failure == DiskFailure::Full)
}

/// Takes back a commit record whose sync failed. It may be in the system's cache alone, where the next to open would find
/// it whole, and no later sync would write it.
pub(super) fn withdraw<F: DiskFile>(file: &F, commit: Point) {
    // PA
    let from = u64::from(commit.offset);
    // The system may have dropped it already, and what stood before it. Where it does not say so, zeros may come to stand
    // behind the last commit that counts, and are dropped by the next to open.
    if file.len().is_ok_and(|len| len <= from) {
        return;
    }
    let cut = (0..WITHDRAWALS).any(|_| file.truncate(from).is_ok());
    if !cut {
        // Nor is a commit what does not begin like one.
        let _ = file.write_at(from, &[&[0; HEADER_LEN]]);
    }
}
