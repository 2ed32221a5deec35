//! Healing in service: nobody is told of a loss that the log can make good.
//!
//! * A damaged index is made anew from the log before anything else is asked of it, and questions that ran into the
//!   damage are asked again.
//! * A record that cannot be read is restored from its segment's parity, once, before its reader is refused.
//! * What could not be read when the index was made is remembered: a key that is not found may be there.

use super::access::IndexPlace;
use super::batch::Staged;
use super::losses::Losses;
use super::replay::Replay;
use super::request::{Damage, DamageOutcome, Event, Failure, Reply, Request, RequestId};
use super::unread::{Sight, Unseen};
use super::{Engine, Health, Output};
use crate::env::{Disk, DiskError, DiskFailure};
use crate::id::{EngineRng, Epoch, SealId};
use crate::planted::{Bug, planted};
use crate::store::index::{IndexError, SealRow};
use crate::store::log::{self, DamagedRange, Log, LogError};
use crate::store::{Location, SegmentId};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// How often a question is asked again: of an index that was opened again, perhaps twice, and of one made anew.
const ATTEMPTS: u8 = 3;
/// How often the log is looked at, at most, while looks differ in what they could not read.
const LOOKS: u8 = 4;
/// Records of a segment for which repairs were in vain, until it is left as it is: each repair reads all of it.
const HOPELESS_RECORDS: usize = 32;
/// Records for which a repair was in vain that are remembered.
const HOPELESS_LEN: usize = 4096;

/// What is wrong with the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    #[default]
    None,
    /// The disk refused to read a part of it.
    Refused,
    /// It cannot be believed, or lacks what the log has.
    Damaged,
}

/// What is wrong with an index that cannot be asked.
pub(super) const NOT_MADE_ANEW: &str = "it could not be made anew from the log";

/// Looks at the log, by which an index learns what is in it. What two looks in a row could not read is damaged; what only
/// one could not may have been misread, and a record that is misread here would stay unknown until a scrub.
#[derive(Debug, Default)]
pub(super) struct Looks {
    taken: u8,
    damaged: Vec<DamagedRange>,
    /// What was healed on the way.
    pub(super) healed: Vec<DamagedRange>,
    /// Whether one of them cut off what no commit covered: those that follow find nothing to cut.
    pub(super) cut: bool,
}

impl Looks {
    /// Heals what a look could not read. Whether to look again.
    pub(super) fn again<D: Disk>(&mut self, log: &mut Log<D>, damaged: &[DamagedRange]) -> bool {
        // PA
        self.taken += 1;
        if damaged.is_empty() || self.taken >= LOOKS {
            return false;
        }
        let healed = repair(log, damaged);
        let again = !healed.is_empty() || self.damaged != damaged;
        self.healed.extend(healed);
        self.damaged = damaged.to_vec();
        again
    }
}

/// All healing under way and due.
#[derive(Debug, Default)]
pub(super) struct Heal {
    trouble: Cell<Trouble>,
    /// Questions under way, and how often they were asked.
    asked: BTreeMap<RequestId, (Request, u8)>,
    /// Questions to be asked again, and what is answered if that cannot be.
    again: Vec<(RequestId, Request, u8, Reply)>,
    /// Records whose segments were repaired for them to no avail, by where they begin.
    hopeless: BTreeSet<(SegmentId, u32)>,
    /// Segments of which that was said while they lacked parity.
    until_commit: BTreeSet<SegmentId>,
    /// Part of the checkpoint.
    pub(super) unseen: Unseen,
    /// Segments whose files are missing or hold nothing that can be read, and which of that it is.
    gone: BTreeMap<SegmentId, String>,
    /// Segments of which nothing can be read, and of which a scrub of this process has said so.
    pub(super) lost_segments: BTreeSet<SegmentId>,
    /// Segments in which something is not understood. Part of the checkpoint.
    pub(super) undecoded: BTreeSet<SegmentId>,
    /// Epochs of the group key without which versions could not be opened. Part of the checkpoint.
    pub(super) unopened: BTreeSet<Epoch>,
    /// Segments in which anything was damaged when the index was made.
    damaged: BTreeSet<SegmentId>,
    /// Part of the checkpoint, too.
    pub(super) lost: Losses,
    /// How often the index was made anew since the store was opened.
    pub(super) remade: u64,
}

impl Heal {
    /// What opening could not read, or not understand.
    pub(super) fn new(
        unseen: Unseen,
        gone: BTreeMap<SegmentId, String>,
        undecoded: BTreeSet<SegmentId>,
        damaged: &[DamagedRange],
        lost: Losses,
    ) -> Self {
        let damaged = segments_of(damaged);
        Self { unseen, gone, undecoded, damaged, lost, ..Self::default() }
    }

    /// Whether there may be versions, or pages of references, that the index does not know: what nothing refers to then
    /// may be what they refer to. Only who `has_keys` is told by a scrub what is lost, and may go on without it.
    pub(super) fn may_hide_references(&self, has_keys: bool) -> bool {
        // PA
        self.unseen.hides_anything(has_keys) || !self.undecoded.is_empty()
    }

    /// Whether a commit cannot be read, in a segment or behind it, that may say of what the index knows that it never was.
    pub(super) fn may_lack_commit_behind(&self, segment: SegmentId) -> bool {
        // PA
        self.unseen.may_lack_commit_behind(segment)
    }

    /// A place that may hold a version that is not known, of which no scrub has said that it is lost, and what is to be done.
    pub(super) fn unread_yet(&self) -> Option<String> {
        // PA
        let unread = self.unseen.a_place(true).map(|place| format!("{place}: scrub with repair, and try again"));
        unread.or_else(|| {
            let segment = self.undecoded.first()?;
            Some(format!(
                "segment {segment}, in which something is not understood: a newer ouroboros may have written it, and can do this"
            ))
        })
    }

    /// Whether a segment may hold what the index does not know.
    pub(super) fn may_hide_records(&self, segment: SegmentId, has_keys: bool) -> bool {
        // PA
        let damaged = || self.damaged.contains(&segment) || self.unseen.goes_untold(segment);
        let hidden = if has_keys { self.unseen.may_lie_in(segment) } else { damaged() };
        hidden || self.undecoded.contains(&segment)
    }

    /// A record can be read for which its segment was repaired to no avail: there was nothing to repair.
    pub(super) fn give_hope(&mut self, place: Location) {
        self.hopeless.remove(&(place.segment, place.offset));
    }

    /// Whether a segment was repaired for so many of its records in vain that nobody tries again before the next scrub.
    fn is_hopeless(&self, segment: SegmentId) -> bool {
        self.hopeless.range((segment, 0)..=(segment, u32::MAX)).take(HOPELESS_RECORDS).count() == HOPELESS_RECORDS
    }

    fn give_up_hope(&mut self, segment: SegmentId, offsets: &[u32]) {
        // Where there are as many, another repair is the lesser evil.
        if self.hopeless.len() >= HOPELESS_LEN {
            self.hopeless.clear();
        }
        self.hopeless.extend(offsets.iter().map(|offset| (segment, *offset)));
    }

    /// Records for which repairs were in vain.
    pub(super) fn hopeless(&self) -> usize {
        self.hopeless.len()
    }

    /// A commit was made, behind which parity may come.
    pub(super) fn hope_after_commit(&mut self) {
        let until_commit = std::mem::take(&mut self.until_commit);
        if !until_commit.is_empty() {
            self.hopeless.retain(|(segment, _)| !until_commit.contains(segment));
        }
    }

    /// Lets segments be repaired, and looked at, again for which that was to no avail.
    pub(super) fn hope_again(&mut self) {
        self.hopeless.clear();
        self.unseen.look_anew();
    }
}

fn segments_of(damaged: &[DamagedRange]) -> BTreeSet<SegmentId> {
    damaged.iter().map(|range| range.segment).collect()
}

/// Repairs the segments in which something is damaged; returns what was healed.
pub(super) fn repair<D: Disk>(log: &mut Log<D>, damaged: &[DamagedRange]) -> Vec<DamagedRange> {
    // PA
    let mut healed = Vec::new();
    for segment in segments_of(damaged) {
        match log.repair(segment) {
            Ok(report) => healed.extend(report.healed),
            // What cannot be written now is healed by a later scrub.
            Err(error) => tracing::warn!(%segment, %error, "a segment cannot be repaired"),
        }
    }
    healed
}

impl Reply {
    /// Whether the index is why something could not be answered.
    fn blames_index(&self) -> bool {
        match self {
            Self::Failed(failure) => matches!(failure, Failure::Index(_)),
            Self::Got(results) => results.iter().any(|result| matches!(result, Err(Failure::Index(_)))),
            _ => false,
        }
    }
}

impl<D: Disk> Engine<D> {
    /// What a failure of the index means for the node. It is a cache: what cannot be believed is made anew.
    pub(super) fn index_failure(&self, error: IndexError) -> Failure {
        // PA
        if let IndexError::Disk(disk) = &error
            && disk.failure == DiskFailure::Full
        {
            return Failure::Full;
        }
        let trouble = match &error {
            IndexError::Missing | IndexError::Damaged(_) => Trouble::Damaged,
            IndexError::Disk(disk) if disk.operation == "read" && disk.failure != DiskFailure::Crashed => {
                Trouble::Refused
            }
            IndexError::Disk(_) | IndexError::Unsynced => Trouble::None,
        };
        tracing::error!(%error, ?trouble, "the index failed");
        if trouble == Trouble::None {
            return match error {
                IndexError::Disk(DiskError { failure: DiskFailure::Exhausted(_), .. }) => {
                    Failure::Exhausted(error.to_string())
                }
                error => Failure::Disk(error.to_string()),
            };
        }
        if self.heal.trouble.get() != Trouble::Damaged {
            self.heal.trouble.set(trouble);
        }
        Failure::Index(error.to_string())
    }

    /// The index lacks something that the log has.
    pub(super) fn distrust_index(&mut self) {
        self.heal.trouble.set(Trouble::Damaged);
    }

    /// Whether the index can be asked.
    pub(super) fn index_is_sound(&self) -> bool {
        self.heal.trouble.get() == Trouble::None
    }

    /// Remembers a question until it is answered.
    pub(super) fn note_question(&mut self, id: RequestId, request: &Request) {
        if request.only_reads() {
            self.heal.asked.insert(id, (request.clone(), 0));
        }
    }

    /// Sorts out answers that only a damaged index is to blame for: their questions are asked again.
    pub(super) fn reply(&mut self, id: RequestId, reply: Reply) {
        match self.heal.asked.remove(&id) {
            Some((request, attempts)) if attempts < ATTEMPTS && reply.blames_index() => {
                if planted(Bug::AnsweredTwice) {
                    self.deliver(id, reply.clone());
                }
                self.heal.again.push((id, request, attempts + 1, reply));
            }
            _ => self.deliver(id, reply),
        }
    }

    /// Answers a question that is not asked, nor again.
    pub(super) fn refuse(&mut self, id: RequestId, failure: Failure) {
        self.heal.asked.remove(&id);
        self.deliver(id, Reply::Failed(failure));
    }

    fn deliver(&mut self, id: RequestId, reply: Reply) {
        self.questions.release(id);
        self.outputs.push_back(Output::Reply { id, reply });
    }

    /// Sees to it that the index can be believed, and asks again what it could not answer.
    pub(super) fn heal_index(&mut self) {
        // PA
        while !(self.index_is_sound() && self.heal.again.is_empty()) {
            let mut is_short = false;
            let failed = match self.heal.trouble.get() {
                Trouble::None => None,
                // What the disk refused by chance it gives the next time; a page that stays unreadable it never does.
                Trouble::Refused if !self.index.is_unreadable() => match self.index.reload() {
                    Ok(()) => None,
                    // Nothing is wrong with it. There may be handles, or memory, for whoever asks next.
                    Err(IndexError::Disk(error)) if matches!(error.failure, DiskFailure::Exhausted(_)) => {
                        is_short = true;
                        Some(Failure::Exhausted(error.to_string()))
                    }
                    Err(_) => self.rebuild_index().err(),
                },
                Trouble::Refused | Trouble::Damaged => self.rebuild_index().err(),
            };
            let again = std::mem::take(&mut self.heal.again);
            if let Some(failure) = failed {
                tracing::error!(%failure, "the index could not be made anew, or read");
                if !is_short {
                    self.distrust_index();
                }
                return again.into_iter().for_each(|(id, _, _, reply)| self.deliver(id, reply));
            }
            self.heal.trouble.set(Trouble::None);
            for (id, request, attempts, _) in again {
                self.heal.asked.insert(id, (request.clone(), attempts));
                self.answer_question(id, request);
            }
        }
    }

    /// Makes the index anew from the log, in place.
    pub(super) fn rebuild_index(&mut self) -> Result<(), Failure> {
        // PA
        let keys = self.keys.clone();
        tracing::warn!("the index is made anew from the log");
        let failure = |error: IndexError| Failure::Index(error.to_string());
        let mut looks = Looks::default();
        loop {
            let disk = self.log.disk().clone();
            let mut rng = EngineRng::from_seed(self.rng.bytes());
            let place = IndexPlace::new(keys.as_deref(), &self.limits, &mut rng);
            let mut index = place.make(&disk, &mut rng).map_err(failure)?;
            let mut replay = Replay::new(&mut index, keys.as_deref(), Vec::new());
            let log::Replayed { damaged, untold, dead_bytes } =
                self.log.replay(&mut |record| replay.take(record)).map_err(|error| match error {
                    LogError::Visitor(why) => Failure::Index(why),
                    LogError::Disk(DiskError { failure: DiskFailure::Exhausted(_), .. }) => {
                        Failure::Exhausted(error.to_string())
                    }
                    error => Failure::Disk(error.to_string()),
                })?;
            replay.settle(&|segment| self.log.has(segment)).map_err(failure)?;
            let (policy, content) = (replay.policy.take(), std::mem::take(&mut replay.content));
            let (undecoded, purges) = (std::mem::take(&mut replay.undecoded), replay.purges);
            self.heal.unopened = std::mem::take(&mut replay.unopened);
            // Also where nothing can be healed because writing has stopped: it may have been misread. And slices, too: nobody
            // would look again for one that the index does not know.
            segments_of(&damaged).into_iter().for_each(|segment| self.cover_beside(segment));
            if looks.again(&mut self.log, &damaged) {
                continue;
            }
            self.tell_healed(&looks.healed);
            (self.index, self.content) = (index, content);
            for (segment, len) in self.batch.content.iter().chain(&dead_bytes) {
                *self.content.entry(*segment).or_default() += len;
            }
            self.heal.remade += 1;
            self.upkeep.sweep_later(purges);
            // What is known of it stays known, though its record was misread.
            let known = policy.into_iter().chain(self.policy.take());
            self.policy = known.max_by_key(|policy| policy.created);
            // It may stand where nothing could be read before. One that is about to be committed is in force already.
            if !self.batch.staged.iter().any(|staged| matches!(staged, Staged::Policy(_))) {
                self.config.coding = self.durable_coding();
            }
            self.heal.unseen.replace(Unseen::of(&damaged, untold));
            (self.heal.undecoded, self.heal.damaged) = (undecoded, segments_of(&damaged));
            self.follow_index()?;
            let place = "the index: made anew from the log".to_owned();
            let damage = Damage { place, outcome: DamageOutcome::Healed };
            self.outputs.push_back(Output::Event(Event::Integrity(damage)));
            return match self.write_checkpoint_firmly(self.log.position()) {
                // It is whole in memory, and written when there is space.
                Err(Failure::Full) => {
                    self.index.excuse_backlog();
                    Ok(())
                }
                written => written,
            };
        }
    }

    /// Looks once more for segments of which nothing could be read; returns those that the index has to be made anew for.
    ///
    /// # Errors
    /// [`Failure::Exhausted`] when the disk was not asked: nobody knows then what is lost.
    pub(super) fn take_up_absent(&mut self) -> Result<Vec<SegmentId>, Failure> {
        // PA
        let taken_up = self.log.take_up_absent().map_err(|error| self.log_failure(error))?;
        if !taken_up.is_empty() {
            for segment in &taken_up {
                self.heal.gone.remove(segment);
                self.heal.lost_segments.remove(segment);
            }
            self.distrust_index();
        }
        Ok(taken_up)
    }

    fn tell_healed(&mut self, healed: &[DamagedRange]) {
        for range in healed {
            let damage = Damage { place: range.to_string(), outcome: DamageOutcome::Healed };
            self.outputs.push_back(Output::Event(Event::Integrity(damage)));
        }
    }

    /// Restores what parity can restore in the segments of these records; whether that was anything. It is tried once in
    /// vain for each of them.
    ///
    /// # Errors
    /// [`Failure::Exhausted`] when it could not be tried for want of something: nobody knows then what is lost.
    pub(super) fn heal_places(&mut self, places: impl IntoIterator<Item = Location>) -> Result<bool, Failure> {
        // PA
        let mut segments: BTreeMap<SegmentId, Vec<u32>> = BTreeMap::new();
        for place in places {
            segments.entry(place.segment).or_default().push(place.offset);
        }
        let mut any = false;
        for (segment, mut offsets) in segments {
            offsets.retain(|offset| !self.heal.hopeless.contains(&(segment, *offset)));
            if self.health != Health::Good || offsets.is_empty() || self.heal.is_hopeless(segment) {
                continue;
            }
            // What others have in a batch is not to be committed by who only reads.
            self.cover_beside(segment);
            match self.log.repair(segment) {
                Ok(report) if !report.healed.is_empty() => {
                    any = true;
                    self.repaired(segment);
                    self.tell_healed(&report.healed);
                }
                // The disk may take it another time.
                Ok(report) if !report.refused.is_empty() => {}
                // It may have parity behind the next commit, or once there is room for that.
                Ok(_) => {
                    if self.log.may_be_torn_in(segment) {
                        self.heal.until_commit.insert(segment);
                    }
                    self.heal.give_up_hope(segment, &offsets);
                }
                // By chance, perhaps.
                Err(error) => {
                    let failure = self.log_failure(error);
                    tracing::warn!(%segment, %failure, "a segment cannot be repaired");
                    if matches!(failure, Failure::Exhausted(_)) {
                        return Err(failure);
                    }
                }
            }
        }
        Ok(any)
    }

    /// Between two batches, gives parity to what a power failure may tear beside what is about to be written over in a segment:
    /// where another record begins or ends in the same sector. Where there is no room for it, the risk is the smaller evil.
    pub(super) fn cover_beside(&mut self, segment: SegmentId) {
        // PA
        if !self.log.has_batch()
            && self.log.may_be_torn_in(segment)
            && let Err(error) = self.log.cover()
        {
            tracing::debug!(%segment, %error, "it is mended beside what has no parity");
        }
    }

    /// Restores what the slices of a seal lie in; whether that changed anything.
    ///
    /// # Errors
    /// As [`Self::heal_places`].
    pub(super) fn heal_seal(&mut self, seal: &SealId) -> Result<bool, Failure> {
        let Ok(Some(row)) = self.seal_row(seal) else { return Ok(false) };
        self.heal_places(row.slices.into_iter().flatten())
    }

    /// Whether [`Self::heal_seal`] might change anything, for who only looks.
    pub(super) fn may_be_restored(&mut self, row: &SealRow) -> Result<bool, Failure> {
        // PA
        // One that the index never saw may be in a place that it could not see.
        if row.slices.contains(&None) && self.heal.unseen.a_place(false).is_some() {
            return Ok(true);
        }
        let mut segments: BTreeMap<SegmentId, Vec<Location>> = BTreeMap::new();
        for place in row.slices.iter().flatten() {
            segments.entry(place.segment).or_default().push(*place);
        }
        for (segment, mut places) in segments {
            places.retain(|place| !self.heal.hopeless.contains(&(segment, place.offset)));
            if places.is_empty() || self.heal.is_hopeless(segment) {
                continue;
            }
            if self.log.may_be_torn_in(segment) {
                // It may get its parity yet.
                return Ok(true);
            }
            match self.log.restorable(segment) {
                Ok(ranges) if ranges.is_empty() => {
                    let offsets: Vec<u32> = places.iter().map(|place| place.offset).collect();
                    self.heal.give_up_hope(segment, &offsets);
                }
                Ok(ranges) if places.iter().any(|place| ranges.iter().any(|range| range.touches(*place))) => {
                    return Ok(true);
                }
                Ok(_) => {}
                Err(LogError::NoSegment(_)) => {}
                Err(error) => match self.log_failure(error) {
                    failure @ Failure::Exhausted(_) => return Err(failure),
                    failure => {
                        tracing::warn!(%segment, %failure, "nobody knows what can be restored of a segment");
                        return Ok(true);
                    }
                },
            }
        }
        Ok(false)
    }

    /// A seal can be read for which repairs were in vain.
    pub(super) fn seal_reads(&mut self, seal: &SealId) {
        if let Ok(Some(row)) = self.seal_row(seal) {
            row.slices.into_iter().flatten().for_each(|slice| self.heal.give_hope(slice));
        }
    }

    /// Something in a segment was restored. If the index never saw it, the index is made anew.
    pub(super) fn repaired(&mut self, segment: SegmentId) {
        self.heal.hopeless.retain(|(hopeless, _)| *hopeless != segment);
        if self.heal.unseen.names_in(segment) {
            self.distrust_index();
        }
    }

    /// A segment was scanned, and only these places in it are damaged. If one that the index never saw is not among them,
    /// or only a part of it, the index is made anew.
    pub(super) fn readable_again(&mut self, segment: SegmentId, damaged: &[DamagedRange]) -> Sight {
        // PA
        let sight = self.heal.unseen.hold_against(segment, damaged);
        if sight == Sight::More {
            self.distrust_index();
        }
        sight
    }

    /// The answer when something is not found: not there, or perhaps where nothing can be read.
    pub(super) fn absent(&self, failure: Failure) -> Failure {
        match self.heal.unseen.a_place(false).or_else(|| self.heal.gone.values().next().cloned()) {
            Some(place) => Failure::Damaged { place: format!("{failure}, unless it was in {place}") },
            None => failure,
        }
    }
}
