//! What befalls a node: counted by what it was doing, told, and called for later.

use super::World;
use super::detail::Detail;
use super::trace::What;
use crate::cause::{Cause, Remains, Rot};
use crate::disk::{CrashVariant, Damage, Fault};
use crate::sometimes::Sometimes;
use crate::state::State;
use crate::story::Told;
use crate::swarm::Disruption;
use crate::workload::{Kind, Task};
use ouroboros_engine::env::Volume;
use ouroboros_engine::node::{Activity, Failure, PurgeTarget, Reply};

/// A disruption that waits for the node to be in the middle of something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looming {
    /// Turns of the node until it strikes.
    pub(super) turns: u64,
    pub(super) slot: u32,
    pub(super) what: Disruption,
    /// And until it does this, if that is said.
    pub(super) until: Option<State>,
}

impl World {
    fn struck(&mut self, node: usize, cause: Cause, state: State, text: impl FnOnce() -> String) {
        self.counts.table.count(cause, state);
        self.tell(node, Told::Struck { cause, state }, || format!("{} while {state}", text()));
    }

    /// Enters the strikes of the disk since this was last done.
    pub(super) fn account(&mut self, node: usize) {
        for strike in self.nodes[node].disk.take_strikes() {
            let (fault, operation) = (strike.fault, &strike.operation);
            if fault == Fault::Crash {
                self.power_failed(node, strike.state);
            }
            self.struck(node, Cause::Disk(fault), strike.state, || {
                let file = operation.file().map_or_else(|| "a directory".to_owned(), ToString::to_string);
                format!(
                    "{fault} strikes {} of {file} in {:?}, operation {}",
                    operation.verb(),
                    operation.volume(),
                    strike.number
                )
            });
        }
    }

    /// Something happens to a node between two of its turns.
    pub(super) fn disrupted(&mut self, node: usize, what: Disruption, line: impl FnOnce() -> String) {
        let state = self.nodes[node].doing();
        self.counts.count(what.name());
        self.trace.event(self.now, node as u8, What::Disrupted, &[what as u64]);
        self.struck(node, Cause::Befell(what), state, line);
    }

    /// What the power left, and of what it was doing.
    pub(super) fn remains(&mut self, node: usize, state: State, variant: CrashVariant, units: u64) {
        let remains = Remains::from(variant);
        match remains {
            Remains::Nothing if units > 0 => self.counts.reached(Sometimes::NothingSurvived),
            Remains::Torn if units > 0 => self.counts.reached(Sometimes::SectorsTorn),
            _ => {}
        }
        self.counts.table.count(Cause::Power(remains), state);
        self.tell(node, Told::Down, || {
            format!("the power is gone while {state}; of {units} writes not synced survive {variant:?}")
        });
    }

    pub(super) fn rotted(&mut self, node: usize, damage: Damage, line: impl FnOnce() -> String) {
        let state = self.nodes[node].doing();
        self.struck(node, Cause::Rot(Rot::from(damage)), state, line);
    }

    pub(super) fn power_failed(&mut self, node: usize, state: State) {
        let reached = match state {
            State::Opening => Sometimes::OpeningCut,
            State::Recovering => Sometimes::RecoveryCut,
            State::OpeningKeyless => Sometimes::KeylessCut,
            State::AtRest | State::Dead => return,
            State::Doing(activity) => match activity {
                Activity::Sweeping | Activity::ChoosingSegments => Sometimes::CompactionCut,
                Activity::MovingRecords => {
                    self.counts.reached(Sometimes::CompactionCut);
                    Sometimes::MovingCut
                }
                Activity::ScrubbingLog
                | Activity::ScrubbingSeals
                | Activity::ScrubbingVersions
                | Activity::ScrubbingIndex => Sometimes::ScrubCut,
                Activity::Recoding => Sometimes::RecodeCut,
                Activity::Mending => Sometimes::MendingCut,
                Activity::Closing | Activity::Closed => Sometimes::ClosingCut,
                Activity::Uploading => Sometimes::UploadCut,
                Activity::Committing => Sometimes::CommitCut,
                Activity::ReadOnly
                | Activity::RebuildingIndex
                | Activity::Reading
                | Activity::Unsettled
                | Activity::Idle => return,
            },
        };
        self.counts.reached(reached);
        if self.nodes[node].keyless {
            self.counts.reached(Sometimes::KeylessCut);
        }
    }

    /// Calls for a disruption in so many turns of a node; 0 means that it is not to wait.
    pub(super) fn later(&self, node: usize, slot: u32) -> u64 {
        match self.detail(node, slot, Detail::Turns, 24) {
            few @ 0..16 => few,
            many => (many - 15) * 16,
        }
    }

    /// One turn is over: what was called for comes nearer.
    pub(super) fn loom(&mut self, node: usize) {
        let Some(Looming { turns, slot, what, until }) = self.nodes[node].looming.take() else { return };
        if !self.nodes[node].disk.is_powered() {
            return;
        }
        if until.is_some_and(|state| self.nodes[node].doing() != state) {
            self.nodes[node].looming = Some(Looming { turns, slot, what, until });
        } else if turns > 1 {
            self.nodes[node].looming = Some(Looming { turns: turns - 1, slot, what, until });
        } else {
            self.disrupt(node, slot, what);
        }
    }

    /// A disruption that may strike at any moment.
    pub(super) fn disrupt(&mut self, node: usize, slot: u32, what: Disruption) {
        match what {
            Disruption::Kill => self.kill(node),
            Disruption::PowerLoss => {
                let state = self.nodes[node].doing();
                self.power_failed(node, state);
                self.disrupted(node, what, || "the power fails".to_owned());
                let it = &self.nodes[node];
                it.state.set(state);
                it.disk.cut_power();
            }
            Disruption::TightDisk => {
                let scale = [3000, 300][self.detail(node, slot, Detail::RoomSmall, 2) as usize];
                let room = self.detail(node, slot, Detail::Room, 8) * scale;
                let rounds = 1 + self.detail(node, slot, Detail::TightRounds, 12);
                if self.detail(node, slot, Detail::TightIndex, 4) > 0 && !self.swarm.limits.index_in_memory {
                    let disk = &self.nodes[node].disk;
                    disk.set_index_capacity(Some(disk.used_bytes_of(Volume::Index) + room));
                    self.nodes[node].tight_index = rounds;
                    let line = || format!("only {room} B are left to the index, for {rounds} rounds");
                    return self.disrupted(node, what, line);
                }
                let disk = &self.nodes[node].disk;
                disk.set_capacity(Some(disk.used_bytes() + room));
                self.nodes[node].tight = rounds;
                self.disrupted(node, what, || format!("only {room} B are left on the disk, for {rounds} rounds"));
            }
            Disruption::WallJump => {
                let far =
                    [1_000, 60_000, 3_600_000, 86_400_000 * 400][self.detail(node, slot, Detail::JumpFar, 4) as usize];
                let by = if self.detail(node, slot, Detail::JumpBack, 2) == 0 { far } else { -far };
                self.nodes[node].jump(self.now, by);
                self.disrupted(node, what, || format!("the wall clock jumps by {by} ms"));
            }
            Disruption::Pause => {
                let millis = [10, 1_000, 60_000, 3_600_000][self.detail(node, slot, Detail::PauseLong, 4) as usize];
                self.pause(node, millis * 1_000_000);
            }
            _ => {}
        }
    }

    /// The process is gone; what it wrote lives on in the system's cache.
    pub(super) fn kill(&mut self, node: usize) {
        let state = self.nodes[node].doing();
        if matches!(state, State::Doing(Activity::Sweeping | Activity::ChoosingSegments | Activity::MovingRecords)) {
            self.counts.reached(Sometimes::CompactionKilled);
        }
        self.disrupted(node, Disruption::Kill, || "the process is killed".to_owned());
        self.streams_cut(node);
        self.tell(node, Told::Down, || "the process ends".to_owned());
        self.seen(node);
        let it = &mut self.nodes[node];
        it.stop();
        it.state.set(State::Dead);
    }

    /// The process ends: were clients in the middle of a stream?
    pub(super) fn streams_cut(&mut self, node: usize) {
        let cut = self.nodes[node].tasks.iter().any(|task| task.stream.is_some() && task.reply.is_none());
        if cut && self.nodes[node].process.is_some() {
            self.counts.reached(Sometimes::StreamCut);
        }
    }

    /// What the last process was seen doing.
    pub(super) fn seen(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let seen = core::mem::take(&mut process.host.seen);
        let did = |activity: Activity| seen & 1 << activity as u32 != 0;
        let compacted = did(Activity::MovingRecords) || did(Activity::ChoosingSegments) || did(Activity::Sweeping);
        let asked = core::mem::take(&mut self.nodes[node].asked_to_compact);
        let reached = [
            (did(Activity::RebuildingIndex), Sometimes::IndexMadeInService),
            (did(Activity::ReadOnly), Sometimes::ReadOnly),
            (did(Activity::Mending), Sometimes::Mended),
            (compacted && !asked, Sometimes::CompactedUnasked),
        ];
        for (_, what) in reached.into_iter().filter(|(reached, _)| *reached) {
            self.counts.reached(what);
        }
    }

    /// What an answer to a client shows.
    pub(super) fn notice(&mut self, node: usize, at: usize, reply: &Reply) {
        let task = &self.nodes[node].tasks[at];
        let mut reached = Vec::new();
        let refused = |failure: &Failure| match failure {
            Failure::Full => Some(Sometimes::FullRefused),
            Failure::Busy => Some(Sometimes::BusyRefused),
            Failure::WouldReturn { .. } => Some(Sometimes::RemovalRefused),
            _ => None,
        };
        match reply {
            Reply::Failed(failure) => reached.extend(refused(failure)),
            Reply::Put(results) => {
                reached.extend(results.iter().filter_map(|result| result.as_ref().err()).filter_map(refused));
                let written = results.iter().filter(|result| result.is_ok()).count();
                if written > 0 {
                    self.written(node, at, written, &mut reached);
                }
            }
            Reply::Purged { .. } if shares(&self.nodes[node].oracle.model, task) => {
                reached.push(Sometimes::SharedPurged)
            }
            Reply::Scrubbed(report) => reached.extend(healed(report)),
            Reply::Recoded(report) if report.recoded > 0 => reached.push(Sometimes::Recoded),
            Reply::Compacted(report) => {
                reached.extend((report.segments_removed > 0).then_some(Sometimes::SegmentsRemoved));
                reached.extend((report.seals_collected > 0).then_some(Sometimes::SealsCollected));
            }
            Reply::Ready if task.kind == Kind::Stream => reached.push(Sometimes::StreamAborted),
            _ => {}
        }
        if reached.contains(&Sometimes::FullRefused) {
            self.nodes[node].was_full = true;
        }
        reached.into_iter().for_each(|what| self.counts.reached(what));
    }

    fn written(&mut self, node: usize, at: usize, written: usize, reached: &mut Vec<Sometimes>) {
        let it = &mut self.nodes[node];
        let task = &it.tasks[at];
        let follows = task.wants.iter().filter_map(|want| want.parents.as_ref()).any(|parents| parents.len() > 1);
        reached.extend((written > 1).then_some(Sometimes::ManyWritten));
        reached.extend(follows.then_some(Sometimes::HeadsMerged));
        reached.extend(core::mem::take(&mut it.was_full).then_some(Sometimes::FullRecovered));
        reached.extend(core::mem::take(&mut it.wall_went_back).then_some(Sometimes::ClockWentBack));
    }
}

/// Whether a version's content is another's, too, and is large enough to be cut into seals.
fn shares(model: &crate::oracle::Model, task: &Task) -> bool {
    let Some(PurgeTarget::Version(id)) = &task.purge else { return false };
    let Some(content) = model.versions.get(id).and_then(|version| version.content.as_ref()) else { return false };
    content.len() > 1024
        && model.live_versions().any(|(other, version)| other != id && version.content.as_ref() == Some(content))
}

fn healed(report: &ouroboros_engine::node::ScrubReport) -> impl Iterator<Item = Sometimes> {
    use ouroboros_engine::node::DamageOutcome;
    let places = || {
        let healed = report.damage.iter().filter(|damage| damage.outcome == DamageOutcome::Healed);
        healed.map(|damage| damage.place.as_str())
    };
    let slice = |place: &str| place.contains("Slice") || place.starts_with("seal");
    let log = |place: &str| place.contains("a record of kind") && !place.contains("Slice");
    let slices = places().any(slice).then_some(Sometimes::ScrubHealedSlice);
    slices.into_iter().chain(places().any(log).then_some(Sometimes::ScrubHealedLog))
}
