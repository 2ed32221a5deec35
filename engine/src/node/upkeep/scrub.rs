//! Scrubbing: everything is read again and hashed again; what is rotten is healed, and what is lost is named.

use super::seals::Walk;
use crate::env::Disk;
use crate::id::{BlobId, SealId};
use crate::node::request::{Damage, DamageOutcome, Failure, ScrubReport};
use crate::node::{Activity, Engine};
use crate::planted::{Bug, planted};
use crate::seal::SealedSlice;
use crate::store::SegmentId;
use crate::store::index::{Blobs, Direction, Index, IndexError, Place, RefPages, SealRow, Seals};
use crate::store::log::{self, DamagedRange, LogError, RecordKind, RecordView};
use bytes::Bytes;
use core::ops::{Bound, ControlFlow};
use std::collections::{BTreeSet, VecDeque};

/// Versions checked in one step.
const VERSIONS_STEP: usize = 256;
/// Rows of the index checked in one step.
const ROWS_STEP: usize = 4096;

/// How far a scrub has come, and what it has yet to say a last word on.
#[derive(Debug, Default)]
pub(in crate::node) struct Progress {
    stage: Stage,
    /// Places that their segments' parity could not heal.
    left: Vec<DamagedRange>,
    /// How often the index had been made anew when it failed this scrub, which begins once more.
    failed_at: Option<u64>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Start,
    /// The log's own structures, segment by segment.
    Segments(VecDeque<SegmentId>),
    /// All slices of all seals.
    Seals(Walk),
    /// The records of all versions.
    Versions(Option<BlobId>),
    /// All rows of the index.
    Index(Option<Place>),
}

impl Progress {
    /// The index failed it. Only one that is made anew for that was damaged: the disk may have refused to read it by chance.
    pub(super) const fn failed_by_index(&mut self, remade: u64) {
        self.failed_at = Some(remade);
    }

    pub(super) fn activity(&self) -> Activity {
        match self.stage {
            Stage::Start | Stage::Segments(_) => Activity::ScrubbingLog,
            Stage::Seals(_) => Activity::ScrubbingSeals,
            Stage::Versions(_) => Activity::ScrubbingVersions,
            Stage::Index(_) => Activity::ScrubbingIndex,
        }
    }
}

/// A scrub goes on also where there is no room for what others write: what it can heal in place needs none.
pub(super) fn without_room(done: Result<(), Failure>) -> Result<(), Failure> {
    match done {
        Err(Failure::Full | Failure::Exhausted(_)) => Ok(()),
        done => done,
    }
}

impl<D: Disk> Engine<D> {
    pub(super) fn scrub_step(
        &mut self,
        repair: bool,
        report: &mut ScrubReport,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        // PA
        let Progress { stage, left, failed_at } = progress;
        match stage {
            Stage::Start => {
                if failed_at.is_some_and(|remade| remade != self.heal.remade) {
                    let place = "the index: damaged, and made anew from the log".to_owned();
                    report.damage.push(Damage { place, outcome: DamageOutcome::Healed });
                }
                self.heal.hope_again();
                let taken_up = self.take_up_absent()?;
                if !taken_up.is_empty() {
                    for segment in taken_up {
                        let place = format!("segment {segment}: something of it can be read again");
                        report.damage.push(Damage { place, outcome: DamageOutcome::Healed });
                    }
                    // It begins when the index is made anew.
                    return Ok(true);
                }
                // What waits in buffers is written first, so that all there is can be read back.
                without_room(self.commit_for_upkeep())?;
                if repair {
                    without_room(self.log.cover().map_err(|error| self.log_failure(error)))?;
                    without_room(self.commit_for_upkeep())?;
                }
                self.upkeep.hope_to_mend();
                *stage = Stage::Segments(self.log.segments().iter().map(|segment| segment.id).collect());
            }
            Stage::Segments(segments) => match segments.pop_front() {
                // One that was given up with its batch meanwhile held nothing.
                Some(segment) if !self.log.has(segment) => {}
                Some(segment) => left.extend(self.scrub_segment(segment, repair, report)?),
                None => {
                    self.heal.lost.count();
                    self.upkeep.hope_to_mend();
                    *stage = Stage::Seals(Walk::default());
                }
            },
            Stage::Seals(walk) => {
                if planted(Bug::ScrubSkipsSeals) || !self.mend_step(walk, repair)? {
                    self.heal.lost.counted();
                    *stage = Stage::Versions(None);
                }
            }
            Stage::Versions(last) => {
                if !self.scrub_versions(last, report)? {
                    *stage = Stage::Index(None);
                }
            }
            Stage::Index(place) => {
                *place = self
                    .index
                    .verify(place.take(), self.rows_at_once(ROWS_STEP))
                    .map_err(|error| self.index_failure(error))?;
                if place.is_none() && !repair {
                    // Of those that a scrub has called lost it is said by the next that repairs.
                    let unsaid = self.log.absent().filter(|segment| !self.heal.lost_segments.contains(segment));
                    let unsaid = unsaid.map(|segment| (nothing_of(segment), DamageOutcome::Healable));
                    report.damage.extend(unsaid.map(|(place, outcome)| Damage { place, outcome }));
                }
                if place.is_none() && repair {
                    self.say_the_last_word(left, report)?;
                    // What was healed may be what the index never saw.
                    if self.heal.unseen.has_untold() {
                        self.distrust_index();
                    }
                }
                return Ok(place.is_some());
            }
        }
        Ok(true)
    }

    /// Returns the places that are damaged still.
    fn scrub_segment(
        &mut self,
        segment: SegmentId,
        repair: bool,
        report: &mut ScrubReport,
    ) -> Result<Vec<DamagedRange>, Failure> {
        // PA
        let mut harmless = Vec::new();
        let mut check = |engine: &mut Self, first: bool| {
            let index = &engine.index;
            let mut trouble = None;
            // A slice whose header had to be healed is seen the second time only.
            harmless.clear();
            let scanned = engine.log.scan(segment, 0, &mut |record| {
                if first {
                    report.records += 1;
                    report.bytes += record.payload.len() as u64;
                }
                match is_dead_and_rotten(index, &record) {
                    Ok(true) => harmless.push(record.location),
                    Ok(false) => {}
                    Err(error) => {
                        trouble = Some(error);
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            });
            if let Some(error) = trouble {
                return Err(engine.index_failure(error));
            }
            scanned.map(|scan| scan.damaged).map_err(|error| engine.log_failure(error))
        };
        let damaged = check(self, true)?;
        let (mut healed, mut refused) = (Vec::new(), Vec::new());
        if repair {
            if self.log.may_be_torn_in(segment) {
                without_room(self.commit_for_upkeep())?;
                self.cover_beside(segment);
            }
            let repaired = self.log.repair(segment).map_err(|error| self.log_failure(error))?;
            healed.extend(repaired.healed.iter().map(ToString::to_string));
            refused = repaired.refused;
        }
        let mut left = if healed.is_empty() { damaged.clone() } else { check(self, false)? };
        for location in harmless {
            let place = format!("{location}: a slice that nothing refers to any more");
            report.damage.push(Damage { place, outcome: DamageOutcome::Harmless });
        }
        if !healed.is_empty() {
            self.repaired(segment);
        }
        self.readable_again(segment, &left);
        let mut places: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        places.extend(healed.into_iter().filter(|place| !damaged.iter().any(|range| range.to_string() == *place)));
        for place in places {
            let still = left.iter().any(|range| range.to_string() == place);
            let outcome = match (repair, still) {
                (true, false) => DamageOutcome::Healed,
                // Others may have it whole: a seal's own parity, for one. The last word is said at the end.
                _ => DamageOutcome::Healable,
            };
            report.damage.push(Damage { place, outcome });
        }
        // What the disk does not let be written is not lost for that: it may be made good, and stays Healable.
        left.retain(|range| !refused.iter().any(|other| range.overlaps(other)));
        Ok(left)
    }

    /// Of what no parity of a segment could heal: whether it was mended otherwise, or matters at all.
    fn say_the_last_word(&mut self, left: &[DamagedRange], report: &mut ScrubReport) -> Result<(), Failure> {
        // PA
        for segment in self.log.absent().collect::<Vec<_>>() {
            self.give_up(&log::lost_whole(segment));
            self.heal.lost_segments.insert(segment);
            report.damage.push(Damage { place: nothing_of(segment), outcome: DamageOutcome::Lost });
        }
        let mut damaged = Vec::new();
        for segment in left.iter().map(|range| range.segment).collect::<BTreeSet<_>>() {
            match self.log.scan(segment, 0, &mut |_| ControlFlow::Continue(())) {
                Ok(scan) => damaged.extend(scan.damaged),
                Err(LogError::NoSegment(_)) => {}
                Err(error) => return Err(self.log_failure(error)),
            }
        }
        let mut alive = BTreeSet::new();
        if !left.is_empty() {
            self.each_live(&mut |location| alive.extend(left.iter().filter(|range| range.touches(location)).copied()))?;
        }
        for range in left {
            let outcome = if !damaged.iter().any(|other| range.overlaps(other)) {
                DamageOutcome::Healed
            } else if matches!(range.what, log::Damage::SegmentHeader | log::Damage::Covered) {
                continue;
            } else if self.log.held_commit(range).map_err(|error| self.log_failure(error))? {
                // Which is proven by the next. What it disowned is known when the disk gives it again.
                if range.what.is_refusal() {
                    self.give_up(range);
                } else {
                    self.heal.unseen.hides_nothing(range);
                }
                DamageOutcome::Harmless
            } else if range.what.kind() == Some(RecordKind::Slice) && !self.holds_needed_slice(range)? {
                // Nothing is known to refer to it, or it was made anew elsewhere. What the disk refuses now it may give
                // later, and an index that never saw it is made anew then.
                self.give_up(range);
                DamageOutcome::Harmless
            } else if self.give_up(range) || alive.contains(range) {
                DamageOutcome::Lost
            } else {
                DamageOutcome::Harmless
            };
            let place = range.to_string();
            for damage in report.damage.iter_mut().filter(|damage| damage.place == place) {
                damage.outcome = outcome;
            }
        }
        Ok(())
    }

    /// Notes that a place cannot be had back, for the next process, too. Whether the index never saw it, or may not have.
    fn give_up(&mut self, range: &DamagedRange) -> bool {
        // PA
        let unseen = self.heal.unseen.give_up(range);
        if unseen {
            (self.batch.checkpoint, self.batch.forced, self.upkeep.uncommitted) = (true, true, true);
        }
        unseen || self.heal.unseen.goes_untold(range.segment)
    }

    /// Whether a slice stands there of a seal that something refers to.
    fn holds_needed_slice(&self, range: &DamagedRange) -> Result<bool, Failure> {
        // PA
        let mut seals = Vec::new();
        let mut note = |seal: SealId, row: &SealRow| {
            if row.slices.iter().flatten().any(|slice| range.touches(*slice)) {
                seals.push(seal);
            }
            true
        };
        self.index
            .scan::<Seals>(Bound::Unbounded, Bound::Unbounded, Direction::Forward, &mut |seal, row| note(seal, &row))
            .map_err(|error| self.index_failure(error))?;
        for seal in seals {
            if self.is_needed(seal)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn scrub_versions(&mut self, last: &mut Option<BlobId>, report: &mut ScrubReport) -> Result<bool, Failure> {
        // PA
        let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self
            .index
            .range::<Blobs>(from, Bound::Unbounded, Direction::Forward, self.rows_at_once(VERSIONS_STEP))
            .map_err(|error| self.index_failure(error))?;
        let Some((newest, _)) = rows.last() else { return Ok(false) };
        *last = Some(*newest);
        for (id, row) in rows {
            if row.purged {
                continue;
            }
            if let Err(failure) = self.scrub_version(id, report) {
                if says_nothing_of_it(&failure) {
                    return Err(failure);
                }
                report.lost.insert(id);
                let place = format!("version {id}: {failure}");
                report.damage.push(Damage { place, outcome: DamageOutcome::Lost });
            }
        }
        Ok(true)
    }

    /// Whether all that a version refers to is there. The seals themselves were checked before. What the log's parity can restore
    /// is restored, as for whoever reads.
    fn scrub_version(&mut self, id: BlobId, report: &mut ScrubReport) -> Result<(), Failure> {
        // PA
        let record = self.read_blob(id)?;
        let header = record.header.header();
        for seal in &header.seals {
            let mut fetched = self.fetch(seal, false);
            if matches!(fetched, Err(Failure::Damaged { .. })) && self.heal_seal(seal)? {
                fetched = self.fetch(seal, false);
            }
            fetched?;
        }
        for id_of_page in &header.ref_pages {
            let mut page = self.ref_page(*id_of_page);
            if matches!(page, Err(Failure::Damaged { .. })) {
                let row = self.index.get::<RefPages>(id_of_page).map_err(|error| self.index_failure(error))?;
                if self.heal_places(row.map(|row| row.location))? {
                    page = self.ref_page(*id_of_page);
                }
            }
            match page {
                Ok(page) => page.seals.iter().try_for_each(|seal| self.knows_enough_of(seal))?,
                Err(failure) if says_nothing_of_it(&failure) => return Err(failure),
                // It can be read without; what it names is never collected while it lives.
                Err(failure) => {
                    let place = format!("version {id}: {failure}");
                    report.damage.push(Damage { place, outcome: DamageOutcome::Lost });
                }
            }
        }
        Ok(())
    }
}

/// A segment that is missing, or that cannot be read.
fn nothing_of(segment: SegmentId) -> String {
    format!("segment {segment}: nothing of it can be read")
}

/// Whether a version could not be looked at for want of something, or because of the index, which is made anew.
const fn says_nothing_of_it(failure: &Failure) -> bool {
    matches!(failure, Failure::Exhausted(_) | Failure::Index(_))
}

/// Whether the record is a slice that the index does not point to, and is not what was written. No seal answers for those.
fn is_dead_and_rotten<D: Disk>(index: &Index<D>, record: &RecordView<'_>) -> Result<bool, IndexError> {
    if record.kind != RecordKind::Slice {
        return Ok(false);
    }
    let Ok(slice) = SealedSlice::from_record(Bytes::copy_from_slice(record.payload)) else { return Ok(true) };
    let row = index.get::<Seals>(&slice.header.seal_id())?;
    let known = row.and_then(|row| row.slices.get(usize::from(slice.header.index().0)).copied().flatten());
    Ok(known != Some(record.location) && slice.verify().is_err())
}
