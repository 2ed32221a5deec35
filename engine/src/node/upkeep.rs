//! Upkeep: mending, scrubbing, recoding, compacting. One task at a time, in steps, so that requests get in between.

mod compact;
mod scrub;
mod seals;
mod sweep;

pub(super) use compact::Moved;
use sweep::Sweep;

use super::heal::NOT_MADE_ANEW;
use super::job::JobOutcome;
use super::purge::Orphans;
use super::request::{
    CompactReport, Damage, DamageOutcome, Failure, RecodeReport, Reply, RequestId, ScrubReport, Stats,
};
use super::whims::Whim;
use super::{Activity, Engine, Health, JobContext};
use crate::env::Disk;
use crate::id::SealId;
use crate::seal::Coding;
use crate::store::index::{Blobs, Direction, Keys, SealRow, Seals, Tombstones};
use crate::store::log::SegmentInfo;
use crate::store::{Location, SegmentId};
use core::ops::Bound;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Seals that may wait to be mended; more are found by the next scrub.
const MEND_LEN: usize = 4096;
/// Commits after which a compaction that is given up again and again is begun once more, at most: each looks at the whole index.
const MOST_PATIENCE: u32 = 256;
/// How often a task is begun again because the index failed it.
const MAX_RESTARTS: u8 = 3;
/// A segment is compacted without being asked when more than half of it is dead.
const DEAD_SHARE: u64 = 2;

/// A task under way.
#[derive(Debug)]
enum Task {
    /// Rewrites seals that were found damaged.
    Mend(seals::Walk),
    Scrub {
        request: RequestId,
        repair: bool,
        report: ScrubReport,
        progress: scrub::Progress,
    },
    Recode {
        request: RequestId,
        coding: Coding,
        report: RecodeReport,
        walk: seals::Walk,
    },
    Compact {
        request: Option<RequestId>,
        report: CompactReport,
        stage: compact::Stage,
    },
    Close {
        request: RequestId,
    },
}

impl Task {
    /// Who waits for it.
    const fn request(&self) -> Option<RequestId> {
        match self {
            Self::Scrub { request, .. } | Self::Recode { request, .. } | Self::Close { request } => Some(*request),
            Self::Compact { request, .. } => *request,
            Self::Mend(_) => None,
        }
    }

    /// The same task from its beginning, because the index failed it. What only mends is not worth it: the next reader
    /// or scrub finds it again.
    fn anew(&self) -> Option<Self> {
        Some(match self {
            Self::Mend(_) => return None,
            Self::Scrub { request, repair, .. } => {
                let place = "the index: damaged, and made anew from the log".to_owned();
                let damage = vec![Damage { place, outcome: DamageOutcome::Healed }];
                let report = ScrubReport { damage, ..ScrubReport::default() };
                Self::Scrub { request: *request, repair: *repair, report, progress: scrub::Progress::default() }
            }
            Self::Recode { request, coding, .. } => Self::Recode {
                request: *request,
                coding: *coding,
                report: RecodeReport::default(),
                walk: seals::Walk::default(),
            },
            Self::Compact { request, report, stage } => {
                let report = CompactReport { bytes_before: report.bytes_before, ..CompactReport::default() };
                Self::Compact { request: *request, report, stage: stage.anew() }
            }
            Self::Close { request } => Self::Close { request: *request },
        })
    }
}

/// What a job of upkeep is for.
#[derive(Clone, Debug)]
pub(super) enum UpkeepJob {
    Mend {
        seal: SealId,
        repair: bool,
        /// Where its slices were read.
        row: SealRow,
        /// They were read once more, after their segments were mended: by whom may be, while the first were looked at.
        again: bool,
    },
    Recode {
        seal: SealId,
        /// Where its slices were read.
        row: SealRow,
    },
    /// Slices to be moved: of which seal, and where they stand.
    Move(Vec<(SealId, Location)>),
}

/// All upkeep under way and due.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    task: Option<Task>,
    queue: VecDeque<Task>,
    /// The task is taken out, for a step of it is being done, and is a compaction.
    in_compaction: bool,
    /// Jobs of the task that are not done yet.
    jobs: usize,
    /// Something appended waits for its commit before the task goes on.
    uncommitted: bool,
    to_mend: BTreeSet<SealId>,
    /// Of these it is not known that they are whole, until they have been looked at.
    doubted: BTreeSet<SealId>,
    to_collect: Orphans,
    /// There is, or may be, more to collect than is remembered.
    to_sweep: bool,
    /// A sweep was begun and has not come to its end.
    sweeps: bool,
    /// Seals were collected, and what the index says of their chunks is still there.
    to_forget: bool,
    /// A sweep has begun to forget those, and has not come to its end.
    forgets: bool,
    /// A compaction that nobody asked for was begun and has not come to its end.
    unfinished: bool,
    /// Commits until it is begun again, and until it was, the last time.
    patience: [u32; 2],
    /// What was to be collected was not, for what refers to it could not be read.
    owes_sweep: bool,
    /// How often the task was begun again because the index failed it.
    restarts: u8,
    /// Dead bytes by segment, as far as this process has seen them die.
    dead: BTreeMap<SegmentId, u64>,
}

impl Upkeep {
    /// Whether [`Engine::handle_timeout`] has something to do at once.
    pub(super) fn wants_step(&self) -> bool {
        self.jobs == 0 && !self.uncommitted && (self.task.is_some() || !self.queue.is_empty())
    }

    pub(super) fn mend_later(&mut self, seal: SealId) {
        if self.to_mend.len() < MEND_LEN {
            self.to_mend.insert(seal);
        }
    }

    /// Whether a set of seals takes in one more.
    fn has_room(seals: &BTreeSet<SealId>, seal: &SealId) -> bool {
        seals.len() < MEND_LEN || seals.contains(seal)
    }

    /// A seal may be lost: it is looked at with the next commit. False where no more can be in doubt.
    pub(super) fn doubt(&mut self, seal: SealId) -> bool {
        // PA
        let has_room = Self::has_room(&self.doubted, &seal) && Self::has_room(&self.to_mend, &seal);
        if has_room {
            self.doubted.insert(seal);
            self.to_mend.insert(seal);
        }
        has_room
    }

    /// It was looked at.
    pub(super) fn settle_doubt(&mut self, seal: &SealId) {
        self.doubted.remove(seal);
    }

    /// Whether nobody has looked at a seal yet since it was in doubt.
    pub(super) fn doubts(&self, seal: &SealId) -> bool {
        self.doubted.contains(seal)
    }

    /// Seals that may be lost, and that nobody has looked at yet: the next process is to know them.
    pub(super) const fn doubted(&self) -> &BTreeSet<SealId> {
        &self.doubted
    }

    /// Seals that wait to be mended.
    pub(super) fn to_mend(&self) -> usize {
        self.to_mend.len()
    }

    pub(super) fn collect_later(&mut self, orphans: Orphans) {
        self.to_collect.append(orphans);
    }

    /// A sweep is due when everything can be read again.
    pub(super) fn sweep_when_seen(&mut self) {
        self.owes_sweep = true;
    }

    /// The next commit begins a sweep if there may be anything to collect.
    pub(super) fn sweep_later(&mut self, may: bool) {
        self.to_sweep |= may;
    }

    /// A sweep came to its end.
    fn swept(&mut self) {
        (self.sweeps, self.forgets) = (false, false);
    }

    /// A sweep begins to forget chunks: of what is collected from here on it may have passed some.
    fn begin_to_forget(&mut self) {
        (self.forgets, self.to_forget) = (true, false);
    }

    /// Seals were collected.
    pub(super) fn forget_chunks(&mut self) {
        self.to_forget = true;
    }

    /// A compaction came to its end.
    fn compacted(&mut self) {
        (self.unfinished, self.patience) = (false, [0; 2]);
    }

    /// What was under way is given up. A compaction is begun again, after twice as many commits as the last time.
    fn gave_up(&mut self) {
        // What was to be looked at is so later.
        let room = MEND_LEN.saturating_sub(self.to_mend.len());
        self.to_mend.extend(self.doubted.iter().take(room));
        if self.unfinished {
            let wait = self.patience[1].saturating_mul(2).clamp(1, MOST_PATIENCE);
            self.patience = [wait; 2];
        }
    }

    /// A commit was made. Whether a compaction that was given up is to wait still.
    fn waits(&mut self) -> bool {
        let waits = self.patience[0] > 0;
        self.patience[0] = self.patience[0].saturating_sub(1);
        waits
    }

    /// Something was deleted: there may be room now.
    pub(super) fn hope(&mut self) {
        self.patience[0] = 0;
    }

    /// Whether a node that opens what is durable now is to sweep, or to go on with what this one has begun.
    fn is_behind(&self) -> bool {
        let collects = self.to_collect.more || !self.to_collect.is_empty();
        self.to_sweep || self.sweeps || self.owes_sweep || self.to_forget || self.forgets || self.unfinished || collects
    }

    pub(super) fn mark_dead(&mut self, segment: SegmentId, len: u64) {
        *self.dead.entry(segment).or_default() += len;
    }

    pub(super) fn forget_dead(&mut self, segment: SegmentId) {
        self.dead.remove(&segment);
    }

    /// What is under way, or next.
    pub(super) fn activity(&self) -> Option<Activity> {
        Some(match self.task.as_ref().or_else(|| self.queue.front())? {
            Task::Mend(_) => Activity::Mending,
            Task::Scrub { progress, .. } => progress.activity(),
            Task::Recode { .. } => Activity::Recoding,
            Task::Compact { stage, .. } => stage.activity(),
            Task::Close { .. } => Activity::Closing,
        })
    }

    fn enqueue(&mut self, task: Task) {
        self.queue.push_back(task);
    }
}

impl<D: Disk> Engine<D> {
    /// Whether as many tasks wait as may be asked for.
    pub(super) fn upkeep_is_full(&self) -> bool {
        let asked_for = self.upkeep.queue.iter().filter(|task| task.request().is_some());
        asked_for.count() >= self.limits.requests.max(1)
    }

    pub(super) fn start_scrub(&mut self, request: RequestId, repair: bool) {
        self.upkeep.enqueue(Task::Scrub {
            request,
            repair,
            report: ScrubReport::default(),
            progress: scrub::Progress::default(),
        });
    }

    pub(super) fn start_recode(&mut self, request: RequestId, coding: Coding) {
        let walk = seals::Walk::default();
        self.upkeep.enqueue(Task::Recode { request, coding, report: RecodeReport::default(), walk });
    }

    pub(super) fn start_compact(&mut self, request: RequestId) {
        let report = CompactReport { bytes_before: self.log_len(), ..CompactReport::default() };
        let stage = compact::Stage::default();
        self.upkeep.enqueue(Task::Compact { request: Some(request), report, stage });
    }

    pub(super) fn close(&mut self, request: RequestId) {
        self.upkeep.enqueue(Task::Close { request });
    }

    pub(super) fn log_len(&self) -> u64 {
        self.log.segments().iter().map(|segment| u64::from(segment.len)).sum()
    }

    /// A commit has succeeded: what waited for it goes on, and what died with it is collected.
    pub(super) fn committed(&mut self) {
        self.upkeep.uncommitted = false;
        let mut orphans = std::mem::take(&mut self.upkeep.to_collect);
        self.upkeep.to_sweep |= orphans.more;
        for (segment, len) in std::mem::take(&mut orphans.dead) {
            self.upkeep.mark_dead(segment, len);
        }
        if !orphans.is_empty()
            && let Err(failure) = self.collect(orphans)
        {
            tracing::warn!(%failure, "dead seals stay until the next sweep");
            self.upkeep.to_sweep = true;
        }
        // Only where that is known without a look at the index: this is asked with every commit.
        if self.upkeep.owes_sweep && !self.heal.may_hide_references(self.keys.is_some()) {
            self.upkeep.owes_sweep = false;
            self.upkeep.to_sweep = true;
        }
        let compacting = |task: &Task| matches!(task, Task::Compact { .. });
        let mut tasks = self.upkeep.task.iter().chain(&self.upkeep.queue);
        let busy = self.upkeep.in_compaction || tasks.any(compacting);
        if !busy && self.humour.is_due(Whim::Compact) {
            let report = CompactReport { bytes_before: self.log_len(), ..CompactReport::default() };
            let stage = compact::Stage::default();
            self.upkeep.enqueue(Task::Compact { request: None, report, stage });
        } else if !busy
            && !self.upkeep.waits()
            && (self.upkeep.to_sweep || self.upkeep.unfinished || self.mostly_dead().next().is_some())
        {
            let report = CompactReport { bytes_before: self.log_len(), ..CompactReport::default() };
            self.upkeep.sweeps |= std::mem::take(&mut self.upkeep.to_sweep);
            self.upkeep.unfinished = true;
            let stage = compact::Stage::mostly_dead(Sweep::due(
                self.upkeep.sweeps,
                self.upkeep.to_forget || self.upkeep.forgets,
            ));
            self.upkeep.enqueue(Task::Compact { request: None, report, stage });
        }
        self.start_mending();
    }

    /// Sees to the seals that were found damaged.
    pub(super) fn start_mending(&mut self) {
        if self.upkeep.to_mend.is_empty() {
            return;
        }
        let queued = self.upkeep.queue.iter_mut().find_map(|task| match task {
            Task::Mend(walk) => Some(walk),
            _ => None,
        });
        match queued {
            // It has not begun: what is found meanwhile need not wait for the next commit.
            Some(walk) => walk.extend(&mut self.upkeep.to_mend, MEND_LEN),
            None => {
                let walk = seals::Walk::over(std::mem::take(&mut self.upkeep.to_mend));
                self.upkeep.enqueue(Task::Mend(walk));
            }
        }
    }

    /// Whether a node that opens what is durable now has something to collect, or to compact.
    pub(super) fn upkeep_is_behind(&self) -> bool {
        self.upkeep.is_behind() || self.mostly_dead().next().is_some()
    }

    fn mostly_dead(&self) -> impl Iterator<Item = SegmentId> {
        let sealed = self.log.segments().into_iter().filter(|segment| segment.sealed);
        let dead = |segment: &SegmentInfo| {
            self.upkeep.dead.get(&segment.id).is_some_and(|dead| dead * DEAD_SHARE > u64::from(segment.len))
        };
        sealed.filter(dead).map(|segment| segment.id)
    }

    /// One step of whatever is to be done.
    pub(super) fn continue_upkeep(&mut self) {
        if !self.upkeep.wants_step() {
            return;
        }
        let task = match self.upkeep.task.take() {
            Some(task) => task,
            None => match self.upkeep.queue.pop_front() {
                Some(task) => task,
                None => return,
            },
        };
        let anew = task.anew();
        self.heal_index();
        let can_be_asked = self.index_is_sound() || matches!(task, Task::Close { .. });
        self.upkeep.in_compaction = matches!(task, Task::Compact { .. });
        let stepped = match can_be_asked {
            true => self.step(task),
            // What it does not know would be taken for dead.
            false => Err((task.request(), Failure::Index(NOT_MADE_ANEW.to_owned()))),
        };
        self.upkeep.in_compaction = false;
        match stepped {
            Ok(next) => {
                if next.is_none() {
                    self.upkeep.restarts = 0;
                }
                self.upkeep.task = next;
            }
            Err((request, failure)) => {
                if self.start_again(&failure, anew) {
                    return;
                }
                self.upkeep.gave_up();
                tracing::warn!(%failure, "upkeep was given up");
                if let Some(request) = request {
                    self.reply(request, Reply::Failed(failure));
                }
            }
        }
    }

    fn step(&mut self, task: Task) -> Result<Option<Task>, (Option<RequestId>, Failure)> {
        match task {
            Task::Mend(mut walk) => {
                let more = self.mend_step(&mut walk, true).map_err(|failure| (None, failure))?;
                if more || self.upkeep.jobs > 0 {
                    return Ok(Some(Task::Mend(walk)));
                }
                self.remember_losses();
                Ok(None)
            }
            Task::Scrub { request, repair, mut report, mut progress } => {
                let more =
                    self.scrub_step(repair, &mut report, &mut progress).map_err(|failure| (Some(request), failure))?;
                // A long one may be cut short.
                self.remember_losses();
                if more {
                    return Ok(Some(Task::Scrub { request, repair, report, progress }));
                }
                // What it has given up hides nothing any more.
                self.upkeep.to_sweep |= self.upkeep.sweeps;
                self.reply(request, Reply::Scrubbed(report));
                Ok(None)
            }
            Task::Recode { request, coding, mut report, mut walk } => {
                let more =
                    self.recode_step(coding, &mut report, &mut walk).map_err(|failure| (Some(request), failure))?;
                if more {
                    return Ok(Some(Task::Recode { request, coding, report, walk }));
                }
                // Told once it is durable.
                self.batch.replies.push((request, Reply::Recoded(report)));
                Ok(None)
            }
            Task::Compact { request, mut report, mut stage } => {
                let more = self.compact_step(&mut report, &mut stage).map_err(|failure| (request, failure))?;
                if more {
                    return Ok(Some(Task::Compact { request, report, stage }));
                }
                self.upkeep.compacted();
                if let Some(request) = request {
                    report.bytes_after = self.log_len();
                    self.reply(request, Reply::Compacted(report));
                }
                Ok(None)
            }
            Task::Close { request } => {
                self.shut(request).map_err(|failure| (Some(request), failure))?;
                Ok(None)
            }
        }
    }

    /// Brings everything to rest, and takes no more requests.
    fn shut(&mut self, request: RequestId) -> Result<(), Failure> {
        // PA
        self.fail_all_uploads(&Failure::Closed);
        if self.health == Health::Good {
            // Who has only read leaves the log as it was.
            self.commit_for_upkeep()?;
            let position = self.log.settle().map_err(|error| self.log_failure(error))?;
            // Nobody reads the index of a node without keys after it. By a checkpoint at its end an opening takes the log to be
            // in order, and where parity is lacking it is to look. What an index lacks that could not be made anew, the next
            // opening reads from the log.
            if self.keys.is_some() && !self.log.lacks_parity() && self.index_is_sound() {
                self.bring_index_up(position)?;
            }
        }
        self.health = Health::Closed;
        self.reply(request, Reply::Closed);
        Ok(())
    }

    pub(super) fn upkeep_job_done(&mut self, job: UpkeepJob, outcome: JobOutcome) {
        self.upkeep.jobs = self.upkeep.jobs.saturating_sub(1);
        let mut task = self.upkeep.task.take();
        let result = match (job, outcome) {
            (UpkeepJob::Mend { seal, repair, again: false, .. }, JobOutcome::Mended(Err(_))) => {
                let healed = if repair { self.heal_seal(&seal).map(drop) } else { Ok(()) };
                let looked_at = healed.and_then(|()| self.seal_row(&seal)).and_then(|row| match row {
                    Some(row) => self.mend(seal, row, repair, true),
                    None => Ok(()),
                });
                match looked_at {
                    Err(Failure::Exhausted(_)) if !matches!(task, Some(Task::Scrub { .. })) => {
                        self.upkeep.mend_later(seal);
                        Ok(())
                    }
                    looked_at => looked_at,
                }
            }
            (UpkeepJob::Mend { seal, repair, row, .. }, JobOutcome::Mended(result)) => {
                let report = match &mut task {
                    Some(Task::Scrub { report, .. }) => Some(report),
                    _ => None,
                };
                self.mended(seal, repair, &row, result, report)
            }
            (UpkeepJob::Recode { seal, row }, JobOutcome::Recoded(result)) => {
                let report = match &mut task {
                    Some(Task::Recode { report, .. }) => Some(report),
                    _ => None,
                };
                self.recoded(seal, &row, result, report)
            }
            (UpkeepJob::Move(places), JobOutcome::Verified(slices)) => {
                let stage = match &mut task {
                    Some(Task::Compact { stage, .. }) => Some(stage),
                    _ => None,
                };
                self.move_verified(places, slices, stage)
            }
            (job, outcome) => unreachable!("{outcome:?} is no outcome for {job:?}"),
        };
        self.upkeep.task = task;
        if let Err(failure) = result {
            self.fail_upkeep(&failure);
        }
    }

    /// A job of upkeep came to nothing. The task is given up; the next one may start when its other jobs are done.
    pub(super) fn upkeep_job_panicked(&mut self, failure: &Failure) {
        self.upkeep.jobs = self.upkeep.jobs.saturating_sub(1);
        self.fail_upkeep(failure);
    }

    /// Puts off a task that ran into a damaged index; when its turn comes, the index has been made anew.
    fn start_again(&mut self, failure: &Failure, task: Option<Task>) -> bool {
        let again = matches!(failure, Failure::Index(_)) && self.upkeep.restarts < MAX_RESTARTS;
        match task {
            Some(task) if again => {
                self.upkeep.restarts += 1;
                self.upkeep.queue.push_front(task);
                true
            }
            _ => false,
        }
    }

    /// Gives up the task under way.
    pub(super) fn fail_upkeep(&mut self, failure: &Failure) {
        self.upkeep.uncommitted = false;
        let anew = self.upkeep.task.as_ref().and_then(Task::anew);
        if self.start_again(failure, anew) {
            self.upkeep.task = None;
            return;
        }
        if self.upkeep.task.is_some() {
            self.upkeep.gave_up();
        }
        if let Some(request) = self.upkeep.task.take().and_then(|task| task.request()) {
            self.reply(request, Reply::Failed(failure.clone()));
        }
    }

    fn run_upkeep(&mut self, job: UpkeepJob, work: super::Job) {
        self.upkeep.jobs += 1;
        self.run(JobContext::Upkeep(job), work);
    }

    pub(super) fn stats(&self) -> Result<Stats, Failure> {
        let mut stats = Stats::default();
        let mut logical_bytes = 0;
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.index
            .scan::<Keys>(all.0, all.1, Direction::Forward, &mut |_, row| {
                stats.keys += 1;
                stats.conflicts += u64::from(row.heads.len() > 1);
                true
            })
            .and_then(|()| {
                self.index.scan::<Blobs>(all.0, all.1, Direction::Forward, &mut |_, row| {
                    if !row.purged {
                        stats.versions += 1;
                        logical_bytes += row.len;
                        stats.live_bytes += u64::from(row.location.len);
                    }
                    true
                })
            })
            .and_then(|()| {
                self.index.scan::<Seals>(all.0, all.1, Direction::Forward, &mut |_, row| {
                    stats.seals += 1;
                    stats.degraded_seals += u64::from(row.slices.iter().any(Option::is_none));
                    stats.sealed_bytes += u64::from(row.ciphertext_len);
                    stats.live_bytes += row.slices.iter().flatten().map(|slice| u64::from(slice.len)).sum::<u64>();
                    true
                })
            })
            .and_then(|()| {
                self.index.scan::<Tombstones>(all.0, all.1, Direction::Forward, &mut |_, _| {
                    stats.tombstones += 1;
                    true
                })
            })
            .map_err(|error| self.index_failure(error))?;
        stats.segments = self.log.segments().len() as u64;
        stats.log_bytes = self.log_len();
        stats.logical_bytes = self.keys.is_some().then_some(logical_bytes);
        Ok(stats)
    }
}
