//! The batch: everything that becomes durable with the next commit, and what the index learns after it.
//!
//! The order is the argument for P7: slices, then the versions that refer to them, then the commit record, one sync;
//! only then does the index learn of any of it, and only then is anybody told. Until the sync has succeeded nothing in
//! the batch is visible, so a failed commit leaves nothing to undo: the batch is abandoned as a whole.

use super::backlog::Growth;
use super::facts::{BlobFacts, Novelty, apply_blob, apply_ref_page, apply_tombstone};
use super::gather::ScopedChunk;
use super::job::MadeBlob;
use super::policy::Policy;
use super::purge::Orphans;
use super::request::{Event, Failure, Reply, RequestId, Written};
use super::upkeep::Moved;
use super::upload::UploadId;
use super::whims::Whim;
use super::{Engine, Output};
use crate::blob::{BlobRecord, RefPage};
use crate::codec::Canonical;
use crate::deletion::TombstoneRecord;
use crate::env::Disk;
use crate::id::{BlobId, Dot, KeyHash, RefPageId, SealId, Secret, Sequence};
use crate::planted::{Bug, planted};
use crate::seal::Sealed;
use crate::store::index::{ChunkRow, Chunks, SealRow, Seals};
use crate::store::log::{LogPosition, RecordFlags, RecordKind};
use crate::store::{Location, SegmentId};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// One index update that waits for the commit.
#[derive(Debug)]
pub(super) enum Staged {
    /// A version.
    Blob(Box<BlobFacts>),
    /// A page of references.
    RefPage(RefPageId, RefPage, Location),
    /// A deletion.
    Tombstone(TombstoneRecord, Location),
    /// A record that was moved; the index follows.
    Moved(Moved),
    /// How new seals are coded.
    Policy(Policy),
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Versions whose records can be logged.
    pub(super) ready: Vec<(UploadId, MadeBlob)>,
    /// Seals whose slices are in the log, not yet committed: of some, slices that were moved stand beside others that were not.
    pub(super) seals: BTreeMap<SealId, SealRow>,
    /// Those of which every slice was written.
    pub(super) whole: BTreeSet<SealId>,
    /// Where chunks are to be found.
    pub(super) chunks: BTreeMap<ScopedChunk, ChunkRow>,
    pub(super) staged: Vec<Staged>,
    /// Replies that wait for the commit.
    pub(super) replies: Vec<(RequestId, Reply)>,
    /// What the versions refer to that the batch purges: seals, and pages of references.
    pub(super) orphans: Orphans,
    /// Bytes appended since the last commit.
    pub(super) len: u64,
    /// In which segments.
    pub(super) content: BTreeMap<SegmentId, u64>,
    /// It holds what a compaction has moved.
    pub(super) moves: bool,
    /// Seals of which it holds slices that were mended and that their places did not take.
    pub(super) mends: BTreeSet<SealId>,
    /// Keys of which it purges all that there is.
    pub(super) purged_keys: BTreeSet<KeyHash>,
    /// Commit even if nobody waits.
    pub(super) forced: bool,
    /// Bring the index's file up to the log right after.
    pub(super) checkpoint: bool,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.seals.is_empty() && self.staged.is_empty() && self.replies.is_empty()
    }

    /// The versions that it purges.
    pub(super) fn purged(&self) -> BTreeSet<BlobId> {
        let tombstones = self.staged.iter().filter_map(|staged| match staged {
            Staged::Tombstone(record, _) => Some(record.signed.tombstone()),
            _ => None,
        });
        tombstones.flat_map(|tombstone| tombstone.versions.iter().map(|purged| purged.id)).collect()
    }
}

impl<D: Disk> Engine<D> {
    /// Whether somebody waits for durability, or so much was written that it should be made durable.
    #[must_use]
    pub fn wants_commit(&self) -> bool {
        let batch = &self.batch;
        batch.forced
            || !batch.ready.is_empty() && !planted(Bug::MadeWaitsForCommit)
            || !batch.replies.is_empty()
            || !batch.staged.is_empty()
            || batch.len >= self.limits.batch_len
    }

    pub(super) fn known_chunk(&self, name: &ScopedChunk) -> Result<Option<(SealId, Secret)>, Failure> {
        // PA
        let known = match self.batch.chunks.get(name) {
            Some(row) => Some(row.clone()),
            None => self.index.get::<Chunks>(name).map_err(|error| self.index_failure(error))?,
        };
        let Some(row) = known else { return Ok(None) };
        let known = self.has_living_seal(&row.seal_id)? || planted(Bug::DeadSealReused);
        Ok(known.then_some((row.seal_id, row.secret)))
    }

    /// Whether a seal is there, whole, and alive. An entry may outlive its seal; a seal that lost slices, or whose slices are
    /// rotten beyond repair, is better written again; and one that nothing refers to an index made anew may know, and the
    /// next not: it is written again too.
    fn has_living_seal(&self, seal: &SealId) -> Result<bool, Failure> {
        // PA
        if self.window.contains_whole(seal) || self.batch.whole.contains(seal) {
            return Ok(true);
        }
        let in_doubt = self.heal.lost.may_include(seal) || self.upkeep.doubts(seal);
        Ok(!in_doubt && self.seal_row(seal)?.is_some_and(|row| self.is_whole(&row)) && self.is_needed(*seal)?)
    }

    /// Whether all slices of a seal have a place, and none of them in a segment that is not there.
    fn is_whole(&self, row: &SealRow) -> bool {
        // PA
        let absent = |place: &Location| self.log.absent().any(|segment| segment == place.segment);
        row.slices.iter().all(|slice| slice.as_ref().is_some_and(|place| !absent(place)))
    }

    pub(super) fn seal_row(&self, seal: &SealId) -> Result<Option<SealRow>, Failure> {
        if let Some(row) = self.batch.seals.get(seal) {
            return Ok(Some(row.clone()));
        }
        self.index.get::<Seals>(seal).map_err(|error| self.index_failure(error))
    }

    /// Takes in a sealed chunk; its slices are written with the window.
    pub(super) fn store_seal(&mut self, name: ScopedChunk, sealed: &Sealed) -> Result<(), Failure> {
        // PA
        self.writable()?;
        self.index_has_room(Growth::Versions)?;
        let known = self.has_living_seal(&sealed.seal_id)?;
        let row = ChunkRow { seal_id: sealed.seal_id, secret: sealed.secret.clone() };
        self.batch.chunks.insert(name, row);
        if !known {
            self.window.add(sealed.seal_id, sealed.slices.clone());
            if self.window.len() >= self.limits.window_len {
                self.flush_window()?;
            }
        }
        Ok(())
    }

    /// Writes the slices that wait in the window. A failure gives up the batch: a seal of which only some slices were
    /// written must not take the place of one that is whole.
    pub(super) fn flush_window(&mut self) -> Result<(), Failure> {
        // PA
        let seals = self.window.take();
        for placed in self.window.places().order(&seals) {
            let header = placed.slice.header.encode();
            let location = self.append(RecordKind::Slice, placed.spread, &[&header, &placed.slice.payload])?;
            let row = self.batch.seals.entry(placed.seal).or_insert_with(|| SealRow::new(&placed.slice.header));
            row.place(&placed.slice.header, location);
        }
        for waiting in seals.iter().filter(|waiting| waiting.is_whole()) {
            // What stood in its place and was not good enough is dead.
            let before = self.index.get::<Seals>(&waiting.seal).ok().flatten();
            for place in before.iter().flat_map(|row| row.slices.iter().flatten()) {
                *self.batch.orphans.dead.entry(place.segment).or_default() += u64::from(place.len);
            }
            self.batch.whole.insert(waiting.seal);
        }
        Ok(())
    }

    /// The index was made anew, and may know more than it did: the rows of seals of which the batch moves or mends slices go on
    /// from what it says. Where it knows a seal in another coding, that one counts, and what was moved is dead.
    pub(super) fn follow_index(&mut self) -> Result<(), Failure> {
        // PA
        let seals: Vec<SealId> =
            self.batch.seals.keys().filter(|seal| !self.batch.whole.contains(seal)).copied().collect();
        for seal in seals {
            let known = self.index.get::<Seals>(&seal).map_err(|error| self.index_failure(error))?;
            let (Some(known), Some(row)) = (known, self.batch.seals.get_mut(&seal)) else { continue };
            if (row.data, row.parity) == (known.data, known.parity) {
                let unknown = row.slices.iter_mut().zip(&known.slices).filter(|(slot, _)| slot.is_none());
                unknown.for_each(|(slot, place)| *slot = *place);
            } else if known.has_enough() {
                *row = known;
                if self.window.contains(&seal) && !self.window.contains_whole(&seal) {
                    self.window.add(seal, Vec::new());
                }
            }
        }
        Ok(())
    }

    /// Appends a record to the batch. If that fails, the whole batch is given up.
    pub(super) fn append(&mut self, kind: RecordKind, spread: bool, parts: &[&[u8]]) -> Result<Location, Failure> {
        // PA
        // Somebody counts on every record of the batch: slices of many seals lie between each other, and a purge may need
        // several tombstones. Without one of them, none may ever be committed.
        self.append_alone(kind, spread, parts).inspect_err(|failure| self.abandon(failure))
    }

    /// Appends a record that nobody in the batch counts on. If that fails, the batch stays; should the record have made the log
    /// begin another segment, and there is no room for that, the batch fails with its commit.
    pub(super) fn append_alone(
        &mut self,
        kind: RecordKind,
        spread: bool,
        parts: &[&[u8]],
    ) -> Result<Location, Failure> {
        // PA
        let flags = if spread { RecordFlags::SPREAD } else { RecordFlags::NONE };
        let location = self.log.append(kind, flags, parts).map_err(|error| self.log_failure(error))?;
        self.batch.len += u64::from(location.len);
        *self.batch.content.entry(location.segment).or_default() += u64::from(location.len);
        *self.content.entry(location.segment).or_default() += u64::from(location.len);
        Ok(location)
    }

    pub(super) fn stage_ref_page(&mut self, page: &RefPage) -> Result<(), Failure> {
        let location = self.append(RecordKind::RefPage, false, &[&page.encode()])?;
        self.batch.staged.push(Staged::RefPage(page.id(), page.clone(), location));
        Ok(())
    }

    pub(super) fn next_dot(&mut self, key_hash: &KeyHash) -> Dot {
        let partition = self.partition(key_hash);
        let sequence = self.sequences.entry(partition).or_insert(Sequence(0));
        sequence.0 += 1;
        Dot { node: self.note.node, incarnation: self.note.incarnation, partition, sequence: *sequence }
    }

    /// Makes everything accepted so far durable with one sync, then tells whoever waits. A failure is told to them
    /// instead, and nothing of the batch remains.
    pub fn commit(&mut self) {
        // PA
        if let Err(failure) = self.try_commit() {
            self.abandon(&failure);
        }
        self.heal_index();
        self.unblock_streams();
    }

    /// Commits in the middle of a step of upkeep, if anything is open.
    pub(super) fn commit_for_upkeep(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() && self.window.is_empty() { Ok(()) } else { self.commit_or_fail() }
    }

    /// Commits, and says whether it succeeded: for a step that builds on it.
    pub(super) fn commit_or_fail(&mut self) -> Result<(), Failure> {
        // PA
        self.try_commit().inspect_err(|failure| self.abandon(failure))
    }

    fn try_commit(&mut self) -> Result<(), Failure> {
        // PA
        self.writable()?;
        let early = match planted(Bug::AckBeforeCommit) {
            true => Some(self.commit_log()?),
            false => None,
        };
        self.flush_window()?;
        let mut written = Vec::new();
        self.fail_late_copies();
        for (upload, blob) in std::mem::take(&mut self.batch.ready) {
            if self.puts.uploads.contains_key(&upload) {
                let facts = self.log_blob(blob)?;
                written.push((upload, facts.id));
                self.batch.staged.push(Staged::Blob(Box::new(facts)));
            }
        }
        if self.batch.moves {
            // It had parity where it stood, and goes from there. One rotten sector of a tombstone, and what was purged would be
            // back (P3).
            self.log.cover().map_err(|error| self.log_failure(error))?;
        }
        let mut position = match early {
            Some(position) => position,
            None => self.commit_log()?,
        };
        if self.batch.staged.iter().any(|staged| matches!(staged, Staged::Tombstone(..)))
            && !planted(Bug::TombstoneUncovered)
        {
            // The only copy of a deletion: one rotten sector, and what was purged would come back (P3).
            position = self.settle_log().unwrap_or(position);
            self.upkeep.hope();
        }
        let batch = std::mem::take(&mut self.batch);
        self.heal.hope_after_commit();
        if !batch.mends.is_empty() {
            self.upkeep.mended();
        }
        for seal in &batch.whole {
            self.heal.lost.remove(seal);
            self.upkeep.settle_doubt(seal);
        }
        if planted(Bug::LostSealReused) {
            batch.seals.keys().for_each(|seal| self.heal.lost.remove(seal));
        }
        self.upkeep.collect_later(batch.orphans);
        self.since_checkpoint += batch.len;
        self.humour.committed();
        if planted(Bug::CheckpointTooEarly) {
            let _ = self.write_checkpoint(position);
        }
        let mut outcomes = match self.learn(batch.seals, batch.chunks, batch.staged) {
            Ok(outcomes) => Some(outcomes),
            Err(failure) => {
                // It is durable. An index that cannot take it in is made anew from the log, which has it.
                self.distrust_index();
                self.heal_index();
                if !self.index_is_sound() {
                    for (request, _) in batch.replies {
                        self.reply(request, Reply::Failed(failure.clone()));
                    }
                    return Err(failure);
                }
                None
            }
        };
        for (upload, id) in written {
            let outcome = match &mut outcomes {
                Some(outcomes) => outcomes.remove(&id).ok_or(Failure::NoSuchVersion(id)),
                None => self.written(id),
            };
            self.upload_committed(upload, outcome);
        }
        for (request, reply) in batch.replies {
            self.reply(request, reply);
        }
        if batch.checkpoint && self.index_is_sound() {
            // That it fails loses nothing: the next opening makes the index anew.
            if let Err(failure) = self.write_checkpoint(position) {
                tracing::warn!(%failure, "no checkpoint after a compaction");
            }
        } else {
            self.checkpoint_if_due(position);
        }
        self.committed();
        if self.humour.is_due(Whim::Roll)
            && let Err(error) = self.log.roll()
        {
            let failure = self.log_failure(error);
            tracing::warn!(%failure, "no new segment before the last is full");
        }
        Ok(())
    }

    fn commit_log(&mut self) -> Result<LogPosition, Failure> {
        // PA
        self.note.clock = self.clock.last();
        let note = self.note.encode();
        let committed = self.log.commit(&note);
        if planted(Bug::IndexAheadOfLog) && committed.is_err() {
            let staged = std::mem::take(&mut self.batch.staged);
            let _ = self.learn(BTreeMap::new(), BTreeMap::new(), staged);
        }
        let position = committed.map_err(|error| self.log_failure(error))?;
        self.durable_removals = self.note.removals;
        Ok(position)
    }

    fn log_blob(&mut self, made: MadeBlob) -> Result<BlobFacts, Failure> {
        // PA
        let dot = self.next_dot(&made.header.header().key_hash);
        let record = BlobRecord { dot, header: made.header, wrap: made.wrap, body: made.body };
        let head = record.encode_head();
        let location = self.append(RecordKind::Blob, false, &[&head, &record.body])?;
        Ok(BlobFacts::of(&record, location, &made.summary))
    }

    /// Lets the index know what has become durable; returns what to say of each new version.
    fn learn(
        &mut self,
        seals: BTreeMap<SealId, SealRow>,
        chunks: BTreeMap<ScopedChunk, ChunkRow>,
        staged: Vec<Staged>,
    ) -> Result<BTreeMap<BlobId, Written>, Failure> {
        // PA
        let index = &mut self.index;
        let mut written = BTreeMap::new();
        let result = (|| {
            for (id, row) in seals {
                index.put::<Seals>(&id, &row);
            }
            for (name, row) in chunks {
                index.put::<Chunks>(&name, &row);
            }
            for staged in staged {
                match staged {
                    Staged::Blob(facts) => {
                        let mut heads = apply_blob(index, &facts, Novelty::Made)?.unwrap_or_default();
                        if planted(Bug::OtherHeadsUntold) {
                            heads.retain(|head| *head == facts.id);
                        }
                        written.insert(facts.id, Written { id: facts.id, created: facts.row.created, heads });
                    }
                    Staged::RefPage(id, page, location) => apply_ref_page(index, id, &page, location)?,
                    Staged::Tombstone(record, location) => apply_tombstone(index, &record, location)?,
                    Staged::Moved(moved) => moved.apply(index)?,
                    Staged::Policy(policy) => self.policy = Some(policy),
                }
            }
            Ok(())
        })();
        result.map_err(|error| self.index_failure(error))?;
        for heads in written.values().map(|written| &written.heads).filter(|heads| heads.len() > 1) {
            self.outputs.push_back(Output::Event(Event::Diverged { heads: heads.clone() }));
        }
        Ok(written)
    }

    /// What to say of a version that the index knows.
    fn written(&self, id: BlobId) -> Result<Written, Failure> {
        let row = self.live_blob(id)?;
        let heads = self.key_row(&row.key_hash)?.map(|row| row.heads).unwrap_or_default();
        Ok(Written { id, created: row.created, heads: heads.into_iter().map(|head| head.1).collect() })
    }

    /// Gives up the batch: nobody was told, the index knows nothing, the log forgets.
    pub(super) fn abandon(&mut self, failure: &Failure) {
        // PA
        tracing::warn!(%failure, "a batch was abandoned");
        self.window.give_up();
        let batch = std::mem::take(&mut self.batch);
        self.gave_up_mends(batch.mends);
        if !planted(Bug::AbandonedBatchKept) {
            self.discard(batch.content);
        }
        self.config.coding = self.durable_coding();
        self.note.removals = self.durable_removals;
        for (request, _) in batch.replies {
            self.reply(request, Reply::Failed(failure.clone()));
        }
        self.fail_all_uploads(failure);
        self.upkeep_lost_batch(failure);
    }

    /// What was given up takes no room for longer than it must: on a disk that is full, what comes next may be the deletion
    /// that makes some. Nor has the next commit to say of it that it never was, which nobody knows where that rots.
    fn discard(&mut self, given_up: BTreeMap<SegmentId, u64>) {
        // PA
        let gone = self.log.reclaim();
        for (segment, len) in given_up {
            if !gone.contains(&segment) {
                self.upkeep.mark_dead(segment, len);
            } else if let Entry::Occupied(mut content) = self.content.entry(segment) {
                *content.get_mut() = content.get().saturating_sub(len);
                if *content.get() == 0 {
                    content.remove();
                }
            }
        }
        // Of a segment that is gone nothing is left to count, whoever wrote it.
        let newest = self.log.position().segment;
        for segment in gone.into_iter().filter(|segment| *segment > newest) {
            self.content.remove(&segment);
            self.upkeep.forget_dead(segment);
        }
    }
}
