//! Upkeep: mending, scrubbing, recoding, compacting. One task at a time, in steps, so that requests get in between.

mod agenda;
mod compact;
mod scrub;
mod seals;
mod sweep;

use agenda::MEND_LEN;
pub(super) use agenda::Upkeep;
pub(super) use compact::Moved;
use sweep::Sweep;

use super::heal::NOT_MADE_ANEW;
use super::job::JobOutcome;
use super::request::{CompactReport, Failure, RecodeReport, Reply, RequestId, ScrubReport, Stats};
use super::whims::Whim;
use super::{Engine, Health, JobContext};
use crate::env::Disk;
use crate::id::SealId;
use crate::planted::{Bug, planted};
use crate::seal::Coding;
use crate::store::index::{Blobs, Direction, Keys, SealRow, Seals, Tombstones};
use crate::store::log::SegmentInfo;
use crate::store::{Location, SegmentId};
use core::ops::Bound;

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
                let (report, progress) = (ScrubReport::default(), scrub::Progress::default());
                Self::Scrub { request: *request, repair: *repair, report, progress }
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
        coding: Coding,
        /// They were read once more, after their segments were mended.
        again: bool,
    },
    /// Slices to be moved: of which seal, and where they stand.
    Move(Vec<(SealId, Location)>),
}

impl<D: Disk> Engine<D> {
    /// Whether as many tasks wait as may be asked for.
    pub(super) fn upkeep_is_full(&self) -> bool {
        let asked_for = self.upkeep.queue.iter().filter(|task| task.request().is_some());
        asked_for.count() >= self.limits.requests.max(1)
    }

    pub(super) fn start_scrub(&mut self, request: RequestId, repair: bool) {
        if planted(Bug::LookingScrubSleeps) && !repair {
            return self.reply(request, Reply::Scrubbed(ScrubReport::default()));
        }
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
        if !self.heal.may_hide_references(self.keys.is_some()) {
            self.upkeep.to_sweep |= self.upkeep.take_owed_sweep();
        }
        let compacting = |task: &Task| matches!(task, Task::Compact { .. });
        let mut tasks = self.upkeep.task.iter().chain(&self.upkeep.queue);
        let busy = self.upkeep.in_compaction || tasks.any(compacting);
        if !busy && self.humour.is_due(Whim::Compact) {
            let report = CompactReport { bytes_before: self.log_len(), ..CompactReport::default() };
            let stage = compact::Stage::default();
            self.upkeep.enqueue(Task::Compact { request: None, report, stage });
        } else if !busy
            && !self.upkeep.until_compaction.waits()
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
        let mut seals = self.upkeep.take_to_mend();
        if seals.is_empty() {
            return;
        }
        let queued = self.upkeep.queue.iter_mut().find_map(|task| match task {
            Task::Mend(walk) => Some(walk),
            _ => None,
        });
        match queued {
            // It has not begun: what is found meanwhile need not wait for the next commit.
            Some(walk) => {
                walk.extend(&mut seals, MEND_LEN);
                self.upkeep.to_mend.append(&mut seals);
            }
            None => self.upkeep.enqueue(Task::Mend(seals::Walk::over(seals))),
        }
    }

    /// Whether a node that opens what is durable now has something to collect, or to compact.
    pub(super) fn upkeep_is_behind(&self) -> bool {
        self.upkeep.is_behind() || self.mostly_dead().next().is_some()
    }

    fn mostly_dead(&self) -> impl Iterator<Item = SegmentId> {
        let sealed = self.log.segments().into_iter().filter(|segment| segment.sealed);
        let dead = |segment: &SegmentInfo| {
            self.upkeep.dead.get(&segment.id).is_some_and(|dead| dead * DEAD_SHARE > self.content_of(segment))
        };
        sealed.filter(dead).map(|segment| segment.id)
    }

    /// How much of a segment are records that were alive once, in bytes: commits and parity may be more than that.
    fn content_of(&self, segment: &SegmentInfo) -> u64 {
        self.content.get(&segment.id).copied().unwrap_or_else(|| u64::from(segment.len))
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
        if !matches!(task, Task::Scrub { .. }) {
            self.upkeep.unmended.clear();
        }
        self.heal_index();
        let can_be_asked = self.index_is_sound() || matches!(task, Task::Close { .. });
        self.upkeep.in_compaction = matches!(task, Task::Compact { .. });
        let stepped = match can_be_asked {
            true => self.step(task),
            // What it does not know would be taken for dead.
            false => {
                let request = task.request();
                if let Task::Mend(walk) = task {
                    self.mend_rest_later(walk);
                }
                Err((request, Failure::Index(NOT_MADE_ANEW.to_owned())))
            }
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
                let more = match self.mend_step(&mut walk, true) {
                    Ok(more) => more,
                    Err(failure) => {
                        self.mend_rest_later(walk);
                        return Err((None, failure));
                    }
                };
                if more || self.upkeep.jobs > 0 {
                    return Ok(Some(Task::Mend(walk)));
                }
                self.remember_losses();
                Ok(None)
            }
            Task::Scrub { request, repair, mut report, mut progress } => {
                let more =
                    self.scrub_step(repair, &mut report, &mut progress).map_err(|failure| (Some(request), failure))?;
                self.take_back(&mut report);
                // A long one may be cut short.
                self.remember_losses();
                if more {
                    return Ok(Some(Task::Scrub { request, repair, report, progress }));
                }
                self.upkeep.scrubbed();
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
                // What has died in the meantime does not wait for somebody to write again.
                if self.mostly_dead().next().is_some() {
                    (self.batch.forced, self.upkeep.uncommitted) = (true, true);
                }
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
        let to_mend = match &job {
            UpkeepJob::Mend { seal, repair: true, .. } => Some(*seal),
            _ => None,
        };
        let result = match (job, outcome) {
            (UpkeepJob::Mend { seal, repair, again: false, .. }, JobOutcome::Mended(Err(_))) => {
                let healed = if repair { self.heal_for_mending(&seal) } else { Ok(()) };
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
            (UpkeepJob::Recode { seal, coding, again: false, .. }, JobOutcome::Recoded(Err(_))) => {
                let healed = self.heal_for_mending(&seal);
                healed.and_then(|()| self.seal_row(&seal)).and_then(|row| match row {
                    Some(row) => self.recode(seal, row, coding, true),
                    None => Ok(()),
                })
            }
            (UpkeepJob::Recode { seal, row, .. }, JobOutcome::Recoded(result)) => {
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
        if let Some(Task::Scrub { report, .. }) = &mut task {
            self.take_back(report);
        }
        self.upkeep.task = task;
        if let Err(failure) = result {
            to_mend.into_iter().for_each(|seal| self.upkeep.mend_later(seal));
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
            Some(mut task) if again => {
                self.upkeep.restarts += 1;
                if let Task::Scrub { progress, .. } = &mut task {
                    progress.failed_by_index(self.heal.remade);
                }
                self.upkeep.queue.push_front(task);
                true
            }
            _ => false,
        }
    }

    /// A batch was given up, which what is under way may build on. What mends does not, and goes on where there is no room.
    pub(super) fn upkeep_lost_batch(&mut self, failure: &Failure) {
        match (&self.upkeep.task, failure) {
            (Some(Task::Mend(_) | Task::Scrub { .. }), Failure::Full | Failure::Exhausted(_)) => {
                self.upkeep.uncommitted = false;
            }
            _ => self.fail_upkeep(failure),
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
        let Some(task) = self.upkeep.task.take() else { return };
        self.upkeep.gave_up();
        if let Some(request) = task.request() {
            self.reply(request, Reply::Failed(failure.clone()));
        }
        if let Task::Mend(walk) = task {
            self.mend_rest_later(walk);
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
