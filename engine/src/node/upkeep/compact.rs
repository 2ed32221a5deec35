//! Compaction: what is alive in a segment moves to the end of the log, and the segment goes.
//!
//! The copies are committed before the segment is removed. It is removed only when every live record that the index knows
//! in it has been seen and copied; one that is damaged keeps its segment until it is mended. The log verifies all of a
//! record but a slice's payload; that is left to a job, for a slice that was misread must not outlive the sound one.

use super::UpkeepJob;
use super::sweep::Sweep;
use crate::blob::{BlobRecord, RefPage};
use crate::codec::Canonical;
use crate::deletion::TombstoneRecord;
use crate::env::Disk;
use crate::id::{BlobId, RefPageId, SealId};
use crate::node::backlog::Growth;
use crate::node::facts::is_referenced;
use crate::node::job::Job;
use crate::node::policy::Policy;
use crate::node::request::{CompactReport, Failure};
use crate::node::unread::Sight;
use crate::node::{Activity, Engine, batch::Staged};
use crate::planted::{Bug, planted};
use crate::seal::{SealedSlice, SliceError, SliceHeader};
use crate::store::index::{
    Blobs, Direction, Index, IndexError, IndexName, RefPages, SealRow, Seals, Table, Target, Tombstones,
};
use crate::store::log::{DamagedRange, RecordKind, RecordView};
use crate::store::{Location, SegmentId};
use bytes::Bytes;
use core::ops::{Bound, ControlFlow};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A record that now stands elsewhere.
#[derive(Debug)]
pub(in crate::node) enum Moved {
    Blob(BlobId, Location),
    RefPage(RefPageId, Location),
    Tombstone(Vec<BlobId>, Location),
}

impl Moved {
    /// Lets the index follow.
    pub(in crate::node) fn apply<D: Disk>(self, index: &mut Index<D>) -> Result<(), IndexError> {
        // PA
        match self {
            Self::Blob(id, location) => follow::<Blobs, D>(index, &id, |row| row.location = location),
            Self::RefPage(id, location) => follow::<RefPages, D>(index, &id, |row| row.location = location),
            Self::Tombstone(ids, location) => {
                ids.iter().try_for_each(|id| follow::<Tombstones, D>(index, id, |row| row.location = location))
            }
        }
    }
}

fn follow<T: Table, D: Disk>(
    index: &mut Index<D>,
    key: &T::Key,
    change: impl FnOnce(&mut T::Value),
) -> Result<(), IndexError> {
    if let Some(mut row) = index.get::<T>(key)? {
        change(&mut row);
        index.put::<T>(key, &row);
    }
    Ok(())
}

/// How often a compaction begins by another index, until something is wrong that no index makes good: two groups of parity that
/// undo each other's repairs, in a log that was forged.
const MOST_BEGUN: u8 = 16;

/// How far a compaction has come.
#[derive(Debug, Default)]
pub(in crate::node) struct Stage {
    only_mostly_dead: bool,
    /// Where it begins to sweep.
    first: Sweep,
    swept: Sweep,
    victims: Option<VecDeque<SegmentId>>,
    live: BTreeMap<SegmentId, u64>,
    current: Option<Victim>,
    /// How often the index had been made anew when this began: what had been swept is in the next one again.
    remade: u64,
    /// How often this began from the start for that.
    begun: u8,
}

#[derive(Debug)]
struct Victim {
    segment: SegmentId,
    next: u32,
    seen: u64,
    /// Whether a note was copied. Those that are moved are all the same.
    noted: bool,
    /// What could not be read. What is alive and counted would be missed; a note would not.
    damaged: Vec<DamagedRange>,
}

impl Victim {
    fn new(segment: SegmentId) -> Self {
        Self { segment, next: 0, seen: 0, noted: false, damaged: Vec::new() }
    }
}

impl Stage {
    /// Only what is mostly dead; before that it sweeps, from `first` on.
    pub(super) fn mostly_dead(first: Sweep) -> Self {
        Self { only_mostly_dead: true, swept: first.clone(), first, ..Self::default() }
    }

    /// The same from the start.
    pub(super) fn anew(&self) -> Self {
        if self.only_mostly_dead { Self::mostly_dead(self.first.clone()) } else { Self::default() }
    }

    /// From the start, by another index.
    fn begin_anew(&mut self, remade: u64) {
        *self = Self { remade, begun: self.begun.saturating_add(1), ..self.anew() };
    }

    pub(super) fn activity(&self) -> Activity {
        match (&self.swept, &self.victims) {
            (Sweep::Start | Sweep::After(_) | Sweep::Chunks(_), _) => Activity::Sweeping,
            (Sweep::Done, None) => Activity::ChoosingSegments,
            (Sweep::Done, Some(_)) => Activity::MovingRecords,
        }
    }
}

/// A live record and what is to become of it.
enum Live {
    Slice(Location, Bytes),
    Other(RecordKind, Bytes, Option<Moved>),
}

impl Live {
    /// Whether it is among those that [`Engine::each_live`] has counted. What is not must not make up for one that was
    /// misread.
    const fn is_counted(&self) -> bool {
        !matches!(self, Self::Other(_, _, None))
    }
}

impl<D: Disk> Engine<D> {
    pub(super) fn compact_step(&mut self, report: &mut CompactReport, stage: &mut Stage) -> Result<bool, Failure> {
        // PA
        self.writable()?;
        self.index_has_room(Growth::Upkeep)?;
        if stage.remade != self.heal.remade {
            // A segment that was partly moved holds what the index did not know then.
            stage.begin_anew(self.heal.remade);
            if stage.begun > MOST_BEGUN {
                let place = "the log, of which each look finds something else: scrub with repair".to_owned();
                return Err(Failure::Damaged { place });
            }
        }
        if self.sweep_step(report, &mut stage.swept)? {
            return Ok(true);
        }
        if stage.victims.is_none() {
            self.choose_victims(stage)?;
        }
        let mut victim = match stage.current.take() {
            Some(victim) => victim,
            None => match stage.victims.as_mut().and_then(VecDeque::pop_front) {
                Some(segment) => Victim::new(segment),
                None => return Ok(false),
            },
        };
        if self.move_some(&mut victim)? {
            stage.current = Some(victim);
            return Ok(true);
        }
        // What the index never saw would be taken for dead, where the disk gives it again.
        let sight = self.readable_again(victim.segment, &victim.damaged);
        let expected = stage.live.get(&victim.segment).copied().unwrap_or(0);
        let mut misses = false;
        if victim.seen < expected {
            // What has died meanwhile, or was made anew elsewhere, is not missed: the index points to it no more, once it knows
            // where the copies are.
            self.commit_or_fail()?;
            if stage.remade != self.heal.remade || !self.index_is_sound() {
                stage.current = Some(victim);
                return Ok(true);
            }
            self.each_live(&mut |location| misses |= location.segment == victim.segment)?;
        }
        if sight == Sight::Contradicted {
            tracing::warn!(segment = %victim.segment, "kept: what it holds is read in two ways");
            self.upkeep.dead.remove(&victim.segment);
        } else if misses {
            tracing::warn!(segment = %victim.segment, "kept: not all of its live records could be read");
            // Not again with every commit: a scrub comes first.
            self.upkeep.dead.remove(&victim.segment);
        } else {
            self.upkeep.dead.remove(&victim.segment);
            if self.disowned_by(victim.segment)?.is_none_or(|others| !others.is_empty()) {
                tracing::warn!(segment = %victim.segment, "kept: it says of what is in others that it never was");
                return Ok(true);
            }
            if let Some(policy) = self.policy.as_ref().filter(|_| !victim.damaged.is_empty() && !victim.noted) {
                let note = policy.encode();
                self.append(RecordKind::Note, false, &[&note])?;
                self.batch.moves = true;
            }
            // The copies first: the batch may have begun in the segment that goes.
            if !planted(Bug::SegmentGoesFirst) {
                self.commit_or_fail()?;
            }
            // What moved had rested where it stood. Two sectors side by side, of this commit and of the next, must not be all that
            // says that it was committed.
            self.settle_log();
            // That may have been when the index was found damaged.
            if stage.remade != self.heal.remade || !self.index_is_sound() {
                stage.current = Some(victim);
                return Ok(true);
            }
            if self.keys.is_none() {
                // It may point into the segment that goes. The count of removals tells that to whoever opens it; what is
                // not there at all cannot be believed by any mistake.
                let lasting = Index::destroy(self.log.disk(), IndexName::Lasting);
                lasting.map_err(|error| Failure::Disk(error.to_string()))?;
            }
            self.log.remove(victim.segment).map_err(|error| self.log_failure(error))?;
            self.note.removals += 1;
            self.content.remove(&victim.segment);
            report.segments_removed += 1;
            // An index that did not see this removal is made anew; spare the next opening that.
            self.batch.checkpoint = true;
        }
        self.batch.forced = true;
        self.upkeep.uncommitted = true;
        Ok(true)
    }

    /// What is alive in which segment, by the index; and so which segments are worth the work.
    fn choose_victims(&mut self, stage: &mut Stage) -> Result<(), Failure> {
        // PA
        // What is not committed is not in the index: a segment that a long stream has filled would seem dead.
        self.commit_for_upkeep()?;
        if !stage.only_mostly_dead {
            self.log.roll().map_err(|error| self.log_failure(error))?;
        }
        let mut live: BTreeMap<SegmentId, u64> = BTreeMap::new();
        self.each_live(&mut |location| *live.entry(location.segment).or_default() += u64::from(location.len))?;
        let mut victims = VecDeque::new();
        for segment in self.log.segments() {
            let alive = live.get(&segment.id).copied().unwrap_or(0);
            let content = self.content_of(&segment);
            let worth = if stage.only_mostly_dead { alive * 2 < content } else { alive < content };
            // What is alive may be a copy that a commit disowns which cannot be read now; and what it is of, which stands before
            // that, is all there is then.
            let in_doubt = self.heal.may_hide_records(segment.id, self.keys.is_some())
                || self.heal.may_lack_commit_behind(segment.id);
            if segment.sealed && worth && !in_doubt {
                victims.push_back(segment.id);
            }
        }
        stage.live = live;
        let victims = self.with_disowned(victims)?;
        let victims = self.dead_first(victims, &stage.live)?;
        // What is taken for dead enough and is not worth it, or must wait, does not ask for this again with every commit.
        let due: Vec<SegmentId> = self.mostly_dead().filter(|segment| !victims.contains(segment)).collect();
        for segment in due {
            self.upkeep.dead.remove(&segment);
        }
        stage.victims = Some(victims);
        Ok(())
    }

    /// These segments, and those that must go before them: oldest first, so that each finds the others gone.
    fn with_disowned(&mut self, mut due: VecDeque<SegmentId>) -> Result<VecDeque<SegmentId>, Failure> {
        // PA
        let mut all: BTreeSet<SegmentId> = due.iter().copied().collect();
        while let Some(segment) = due.pop_front() {
            // One that is in doubt stays, and so does what disowns a part of it.
            let Some(older) = self.disowned_by(segment)? else {
                all.remove(&segment);
                continue;
            };
            let sound = |older: &SegmentId| {
                !self.heal.may_hide_records(*older, self.keys.is_some()) && !self.heal.may_lack_commit_behind(*older)
            };
            due.extend(older.into_iter().filter(sound).filter(|older| all.insert(*older)));
        }
        Ok(all.into_iter().collect())
    }

    /// What needs no copies comes first: on a disk that is nearly full, the room for those of the others comes from there.
    fn dead_first(
        &mut self,
        victims: VecDeque<SegmentId>,
        live: &BTreeMap<SegmentId, u64>,
    ) -> Result<VecDeque<SegmentId>, Failure> {
        let (mut dead, mut others) = (VecDeque::new(), VecDeque::new());
        for segment in victims {
            let goes_alone =
                !live.contains_key(&segment) && self.disowned_by(segment)?.is_some_and(|older| older.is_empty());
            if goes_alone { &mut dead } else { &mut others }.push_back(segment);
        }
        dead.append(&mut others);
        Ok(dead)
    }

    /// The segments that must go before this one; `None` if that cannot be known, even after an attempt to mend it.
    fn disowned_by(&mut self, segment: SegmentId) -> Result<Option<BTreeSet<SegmentId>>, Failure> {
        // PA
        let lost = &self.heal.lost_segments;
        let mut known = self.log.disowned_by(segment, lost).map_err(|error| self.log_failure(error))?;
        // It is for no record that anybody asked for: any commit of the segment may be the one.
        if known.is_none() && self.heal_places([Location { segment, offset: 0, len: 0 }])? {
            let lost = &self.heal.lost_segments;
            known = self.log.disowned_by(segment, lost).map_err(|error| self.log_failure(error))?;
        }
        Ok(known)
    }

    /// Every place of a record that is alive, by the index.
    pub(super) fn each_live(&self, visit: &mut dyn FnMut(Location)) -> Result<(), Failure> {
        // PA
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.index
            .scan::<Blobs>(all.0, all.1, Direction::Forward, &mut |_, row| {
                if !row.purged {
                    visit(row.location);
                }
                true
            })
            .and_then(|()| {
                self.index.scan::<RefPages>(all.0, all.1, Direction::Forward, &mut |_, row| {
                    visit(row.location);
                    true
                })
            })
            .and_then(|()| {
                // Several rows may stand for one record.
                let mut counted = BTreeSet::new();
                self.index.scan::<Tombstones>(all.0, all.1, Direction::Forward, &mut |_, row| {
                    if counted.insert((row.location.segment, row.location.offset))
                        && !planted(Bug::TombstoneDroppedEarly)
                    {
                        visit(row.location);
                    }
                    true
                })
            })
            .and_then(|()| {
                self.index.scan::<Seals>(all.0, all.1, Direction::Forward, &mut |_, row| {
                    row.slices.iter().flatten().copied().for_each(&mut *visit);
                    true
                })
            })
            .map_err(|error| self.index_failure(error))
    }

    /// Copies some live records of a segment; false once it is at its end.
    fn move_some(&mut self, victim: &mut Victim) -> Result<bool, Failure> {
        // PA
        let budget = self.limits.upkeep_step_len;
        let mut found = Vec::new();
        let mut read = 0;
        let mut trouble = None;
        let (index, policy) = (&self.index, self.policy.as_ref());
        let scanned = self.log.scan(victim.segment, victim.next, &mut |record| {
            read += record.payload.len() as u64;
            match live(index, policy, &record) {
                Ok(Some(_)) if record.kind == RecordKind::Note && victim.noted => {}
                Ok(Some(live)) => {
                    victim.noted |= record.kind == RecordKind::Note;
                    if live.is_counted() {
                        victim.seen += u64::from(record.location.len);
                    }
                    found.push(live);
                }
                Ok(None) => {}
                Err(error) => trouble = Some(error),
            }
            if read >= budget || trouble.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(error) = trouble {
            return Err(self.index_failure(error));
        }
        let report = scanned.map_err(|error| self.log_failure(error))?;
        victim.next = report.next;
        victim.damaged.extend(report.damaged);
        if planted(Bug::CompactionDropsLive) {
            found.pop();
        }
        let (mut places, mut slices) = (Vec::new(), Vec::new());
        for live in found {
            match live {
                Live::Slice(location, payload) => match SealedSlice::from_record(payload) {
                    Ok(slice) => {
                        places.push((slice.header.seal_id(), location));
                        slices.push(slice);
                    }
                    Err(error) => {
                        tracing::warn!(%location, %error, "a slice cannot be moved");
                        victim.seen = victim.seen.saturating_sub(u64::from(location.len));
                    }
                },
                Live::Other(kind, payload, moved) => {
                    let location = self.append(kind, false, &[&payload])?;
                    self.batch.moves = true;
                    self.batch.staged.extend(moved.map(|moved| Staged::Moved(moved.to(location))));
                }
            }
        }
        let verifying = !slices.is_empty();
        if verifying {
            self.run_upkeep(UpkeepJob::Move(places), Job::Verify { slices });
        }
        Ok(verifying || !report.finished)
    }

    /// Copies the slices that are sound. The others keep their segment, and are mended.
    pub(super) fn move_verified(
        &mut self,
        places: Vec<(SealId, Location)>,
        slices: Vec<Result<SealedSlice, SliceError>>,
        mut stage: Option<&mut Stage>,
    ) -> Result<(), Failure> {
        // PA
        let mut moved = Vec::new();
        for ((seal, place), slice) in places.into_iter().zip(slices) {
            let slice = match slice {
                Ok(slice) => slice,
                Err(error) => {
                    tracing::warn!(%place, %error, "a slice cannot be moved");
                    if let Some(victim) = stage.as_mut().and_then(|stage| stage.current.as_mut()) {
                        victim.seen = victim.seen.saturating_sub(u64::from(place.len));
                    }
                    self.upkeep.mend_later(seal);
                    continue;
                }
            };
            // A seal that was collected, mended elsewhere or coded anew meanwhile needs none of these.
            let Some(row) = self.seal_row(&seal)?.filter(|row| row.is_coded_as(&slice.header)) else { continue };
            if row.slices.get(usize::from(slice.header.index().0)) == Some(&Some(place)) {
                moved.push((seal, row, slice));
            }
        }
        for (seal, row, slice) in moved {
            self.batch.seals.insert(seal, row);
            self.batch.moves = true;
            self.window.add_moved(seal, vec![slice]);
        }
        if self.window.len() >= self.limits.window_len {
            self.flush_window()?;
        }
        Ok(())
    }
}

impl Moved {
    fn to(self, place: Location) -> Self {
        match self {
            Self::Blob(id, _) => Self::Blob(id, place),
            Self::RefPage(id, _) => Self::RefPage(id, place),
            Self::Tombstone(ids, _) => Self::Tombstone(ids, place),
        }
    }
}

/// Whether the index still points to this very record.
fn live<D: Disk>(
    index: &Index<D>,
    policy: Option<&Policy>,
    record: &RecordView<'_>,
) -> Result<Option<Live>, IndexError> {
    // PA
    let here = record.location;
    let copy = || Bytes::copy_from_slice(record.payload);
    Ok(match record.kind {
        RecordKind::Slice => {
            let Ok((header, _)) = SliceHeader::decode(record.payload) else { return Ok(None) };
            let row: Option<SealRow> = index.get::<Seals>(&header.seal_id())?;
            let slices = row.map(|row| row.slices).unwrap_or_default();
            let known = slices.get(usize::from(header.index().0)).copied().flatten();
            (known == Some(here)).then(|| Live::Slice(here, copy()))
        }
        RecordKind::Blob => {
            let payload = copy();
            let Ok(blob) = BlobRecord::decode(&payload) else { return Ok(None) };
            let id = blob.header.id();
            let purged_too = planted(Bug::PurgeLeavesCopy);
            let known = index.get::<Blobs>(&id)?.filter(|row| (!row.purged || purged_too) && row.location == here);
            known.map(|_| Live::Other(record.kind, payload, Some(Moved::Blob(id, here))))
        }
        RecordKind::RefPage => {
            let Ok(page) = RefPage::decode(record.payload) else { return Ok(None) };
            let id = page.id();
            let known = index.get::<RefPages>(&id)?.is_some_and(|row| row.location == here);
            let alive = known && is_referenced(index, Target::Page(id))?;
            (known || alive).then(|| Live::Other(record.kind, copy(), Some(Moved::RefPage(id, here))))
        }
        RecordKind::Tombstone => {
            let Ok(tombstone) = TombstoneRecord::decode(record.payload) else { return Ok(None) };
            // A version that was purged twice at once has two, and its row stands for the later one.
            let mut ids = Vec::new();
            for purged in &tombstone.signed.tombstone().versions {
                if index.get::<Tombstones>(&purged.id)?.is_some_and(|row| row.location == here) {
                    ids.push(purged.id);
                }
            }
            let known = !ids.is_empty() && !planted(Bug::TombstoneDroppedEarly);
            known.then(|| Live::Other(record.kind, copy(), Some(Moved::Tombstone(ids, here))))
        }
        // One that is older is done with; one that is newer was given up before it was committed.
        RecordKind::Note => {
            let found = Policy::decode(record.payload).ok();
            found.filter(|found| policy == Some(found)).map(|_| Live::Other(record.kind, copy(), None))
        }
        RecordKind::Grant => Some(Live::Other(record.kind, copy(), None)),
        _ => None,
    })
}
