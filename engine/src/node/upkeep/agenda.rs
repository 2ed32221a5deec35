//! What upkeep there is to do: the task under way, those that wait, and what is yet to become one.

use super::Task;
use crate::id::SealId;
use crate::node::Activity;
use crate::node::purge::Orphans;
use crate::store::SegmentId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Seals that may wait to be mended; more are found by the next scrub.
pub(super) const MEND_LEN: usize = 4096;
/// Occasions that pass before what was given up again and again is begun once more, at most.
const MOST_PATIENCE: u32 = 256;

/// Puts off what was given up: each time for twice as many occasions to begin it as the last.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Occasions yet to pass.
    left: u32,
    /// As many as that were, at first.
    last: u32,
}

impl Patience {
    /// There is an occasion. Whether it is to pass.
    pub(super) fn waits(&mut self) -> bool {
        let waits = self.left > 0;
        self.left = self.left.saturating_sub(1);
        waits
    }

    /// It was given up, if that is not known.
    fn gave_up(&mut self) {
        if self.left == 0 {
            self.last = self.last.saturating_mul(2).clamp(1, MOST_PATIENCE);
            self.left = self.last;
        }
    }

    const fn is_waiting(&self) -> bool {
        self.left > 0
    }

    /// The next occasion is taken.
    fn hope(&mut self) {
        self.left = 0;
    }
}

/// All upkeep under way and due.
#[derive(Debug, Default)]
pub(in crate::node) struct Upkeep {
    pub(super) task: Option<Task>,
    pub(super) queue: VecDeque<Task>,
    /// The task is taken out, for a step of it is being done, and is a compaction.
    pub(super) in_compaction: bool,
    /// Each compaction looks at the whole index.
    pub(super) until_compaction: Patience,
    /// What is mended may need room that there is not.
    pub(super) until_mending: Patience,
    /// A sweep looks whether all references can be seen.
    pub(super) until_sweep: Patience,
    /// Jobs of the task that are not done yet.
    pub(super) jobs: usize,
    /// Something appended waits for its commit before the task goes on.
    pub(super) uncommitted: bool,
    pub(super) to_mend: BTreeSet<SealId>,
    /// What was mended of these went with its batch while the report of the scrub under way was not at hand.
    pub(super) unmended: BTreeSet<SealId>,
    /// Of these it is not known that they are whole, until they have been looked at.
    pub(super) doubted: BTreeSet<SealId>,
    pub(super) to_collect: Orphans,
    /// There is, or may be, more to collect than is remembered.
    pub(super) to_sweep: bool,
    /// A sweep was begun and has not come to its end.
    pub(super) sweeps: bool,
    /// Seals were collected, and what the index says of their chunks is still there.
    pub(super) to_forget: bool,
    /// A sweep has begun to forget those, and has not come to its end.
    pub(super) forgets: bool,
    /// A compaction that nobody asked for was begun and has not come to its end.
    pub(super) unfinished: bool,
    /// What was to be collected was not, for what refers to it could not be read.
    pub(super) owes_sweep: bool,
    /// How often the task was begun again because the index failed it.
    pub(super) restarts: u8,
    /// Dead bytes by segment, as far as this process has seen them die.
    pub(super) dead: BTreeMap<SegmentId, u64>,
}

impl Upkeep {
    /// Whether [`Engine::handle_timeout`] has something to do at once.
    pub(in crate::node) fn wants_step(&self) -> bool {
        self.jobs == 0 && !self.uncommitted && (self.task.is_some() || !self.queue.is_empty())
    }

    pub(in crate::node) fn mend_later(&mut self, seal: SealId) {
        if self.to_mend.len() < MEND_LEN {
            self.to_mend.insert(seal);
        }
    }

    /// Whether a set of seals takes in one more.
    fn has_room(seals: &BTreeSet<SealId>, seal: &SealId) -> bool {
        seals.len() < MEND_LEN || seals.contains(seal)
    }

    /// A seal may be lost: it is looked at with the next commit. False where no more can be in doubt.
    pub(in crate::node) fn doubt(&mut self, seal: SealId) -> bool {
        // PA
        let has_room = Self::has_room(&self.doubted, &seal) && Self::has_room(&self.to_mend, &seal);
        if has_room {
            self.doubted.insert(seal);
            self.to_mend.insert(seal);
        }
        has_room
    }

    /// It was looked at.
    pub(in crate::node) fn settle_doubt(&mut self, seal: &SealId) {
        self.doubted.remove(seal);
    }

    /// Whether nobody has looked at a seal yet since it was in doubt.
    pub(in crate::node) fn doubts(&self, seal: &SealId) -> bool {
        self.doubted.contains(seal)
    }

    /// Seals that may be lost, and that nobody has looked at yet: the next process is to know them.
    pub(in crate::node) const fn doubted(&self) -> &BTreeSet<SealId> {
        &self.doubted
    }

    /// Seals that wait to be mended.
    pub(in crate::node) fn to_mend(&self) -> usize {
        self.to_mend.len()
    }

    pub(in crate::node) fn collect_later(&mut self, orphans: Orphans) {
        self.to_collect.append(orphans);
    }

    /// A sweep is due when everything can be read again.
    pub(in crate::node) fn sweep_when_seen(&mut self) {
        self.owes_sweep = true;
    }

    /// The next commit begins a sweep if there may be anything to collect.
    pub(in crate::node) fn sweep_later(&mut self, may: bool) {
        self.to_sweep |= may;
    }

    /// A sweep came to its end.
    pub(super) fn swept(&mut self) {
        (self.sweeps, self.forgets, self.until_sweep) = (false, false, Patience::default());
    }

    /// A sweep cannot begin: what refers to what it would collect cannot be seen.
    pub(super) fn put_off_sweep(&mut self) {
        (self.sweeps, self.owes_sweep) = (false, true);
        self.until_sweep.gave_up();
    }

    /// Whether there is an occasion to sweep that was waited for.
    pub(super) fn take_owed_sweep(&mut self) -> bool {
        let takes = self.owes_sweep && !self.until_sweep.waits();
        self.owes_sweep &= !takes;
        takes
    }

    /// A scrub has looked at everything: what it has given up hides nothing any more.
    pub(super) fn scrubbed(&mut self) {
        self.to_sweep |= self.sweeps;
        self.until_sweep.hope();
    }

    /// A sweep begins to forget chunks: of what is collected from here on it may have passed some.
    pub(super) fn begin_to_forget(&mut self) {
        (self.forgets, self.to_forget) = (true, false);
    }

    /// Seals were collected.
    pub(in crate::node) fn forget_chunks(&mut self) {
        self.to_forget = true;
    }

    /// A compaction came to its end.
    pub(super) fn compacted(&mut self) {
        (self.unfinished, self.until_compaction) = (false, Patience::default());
        self.until_mending.hope();
    }

    /// What was mended was committed.
    pub(in crate::node) fn mended(&mut self) {
        self.until_mending = Patience::default();
    }

    /// There may be room for what is mended.
    pub(super) fn hope_to_mend(&mut self) {
        self.until_mending.hope();
    }

    /// Whether what was mended did not fit lately.
    pub(super) const fn lacks_room_to_mend(&self) -> bool {
        self.until_mending.is_waiting()
    }

    /// What was mended does not fit, or was given up with its batch.
    pub(in crate::node) fn gave_up_mending(&mut self) {
        self.until_mending.gave_up();
    }

    /// What was under way is given up. A compaction is begun again later.
    pub(super) fn gave_up(&mut self) {
        // What was to be looked at is so later.
        let room = MEND_LEN.saturating_sub(self.to_mend.len());
        self.to_mend.extend(self.doubted.iter().take(room));
        if self.unfinished {
            self.until_compaction.gave_up();
        }
    }

    /// Something was deleted: there may be room now.
    pub(in crate::node) fn hope(&mut self) {
        self.until_compaction.hope();
        self.until_mending.hope();
        self.until_sweep.hope();
    }

    /// The seals that are to be mended now: where mending waits, only those in doubt, which are looked at.
    pub(super) fn take_to_mend(&mut self) -> BTreeSet<SealId> {
        if self.to_mend.is_empty() || !self.until_mending.waits() {
            return std::mem::take(&mut self.to_mend);
        }
        let doubted: BTreeSet<SealId> = self.doubted.intersection(&self.to_mend).copied().collect();
        self.to_mend.retain(|seal| !doubted.contains(seal));
        doubted
    }

    /// Whether a node that opens what is durable now is to sweep, or to go on with what this one has begun.
    pub(super) fn is_behind(&self) -> bool {
        let collects = self.to_collect.more || !self.to_collect.is_empty();
        self.to_sweep || self.sweeps || self.owes_sweep || self.to_forget || self.forgets || self.unfinished || collects
    }

    pub(in crate::node) fn mark_dead(&mut self, segment: SegmentId, len: u64) {
        *self.dead.entry(segment).or_default() += len;
    }

    pub(in crate::node) fn forget_dead(&mut self, segment: SegmentId) {
        self.dead.remove(&segment);
    }

    /// What is under way, or next.
    pub(in crate::node) fn activity(&self) -> Option<Activity> {
        Some(match self.task.as_ref().or_else(|| self.queue.front())? {
            Task::Mend(_) => Activity::Mending,
            Task::Scrub { progress, .. } => progress.activity(),
            Task::Recode { .. } => Activity::Recoding,
            Task::Compact { stage, .. } => stage.activity(),
            Task::Close { .. } => Activity::Closing,
        })
    }

    pub(super) fn enqueue(&mut self, task: Task) {
        self.queue.push_back(task);
    }
}
