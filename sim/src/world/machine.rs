//! What befalls a machine as a whole: it gets no turn, it is gone for long, it is given another disk.

use super::{Happening, World, panicked};
use crate::disk::FaultyDisk;
use crate::oracle::{Broken, Excuse, Oracle, Promise};
use crate::sometimes::Sometimes;
use crate::story::Told;
use crate::swarm::Disruption;
use ouroboros_engine::env::Volume;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::{Access, Engine};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Lives between two copies that are kept of a disk.
const COPIED_EVERY: u64 = 3;
const VOLUMES: [Volume; 2] = [Volume::Blocks, Volume::Index];

/// A disk as it was, and what was known of it then.
#[derive(Clone, Debug)]
pub(super) struct OldDisk {
    disk: FaultyDisk,
    oracle: Oracle,
    read_back: BTreeSet<BlobId>,
    torn: bool,
}

impl World {
    pub(super) fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].paused_until > self.now
    }

    /// The process gets no turn for so many nanoseconds: what is for it waits.
    pub(super) fn pause(&mut self, node: usize, nanos: u64) {
        self.disrupted(node, Disruption::Pause, || format!("the process gets no turn for {} ms", nanos / 1_000_000));
        let it = &mut self.nodes[node];
        it.paused_until = it.paused_until.max(self.now + nanos);
    }

    /// It gets its turns again.
    pub(super) fn resume(&mut self, node: usize) {
        if self.is_paused(node) {
            let now = self.now;
            let it = &mut self.nodes[node];
            it.paused_until = now;
            let life = it.life;
            self.wake(node, now);
            self.schedule(now, Happening::Mail { node: node as u8, life });
        }
    }

    /// What may happen to a machine that somebody has carried away, or given another disk.
    pub(super) fn replace(
        &mut self,
        node: usize,
        slot: u32,
        what: Disruption,
        gone_for: u64,
        abrupt: bool,
    ) -> Result<(), Broken> {
        self.nodes[node].gone_for = gone_for;
        match what {
            Disruption::Gone | Disruption::RollBack if !abrupt => return self.reopen(node, slot, what),
            Disruption::Gone | Disruption::RollBack => {
                self.nodes[node].disk.pause(true);
                self.stop_and_restart(node, false, Some(what))?;
            }
            _ => {
                self.set_rates(node, false);
                self.nodes[node].disk.pause(abrupt);
                if !abrupt {
                    self.close(node)?;
                }
                self.reinstall(node, what)?;
            }
        }
        self.look(node, &[], true, Excuse { beyond: self.budget.beyond, ..Excuse::default() })
    }

    /// There is room on every disk: whoever owes something for want of it would try again all the while.
    pub(super) fn make_room(&mut self) {
        for node in &mut self.nodes {
            node.disk.set_capacity(None);
            node.disk.set_index_capacity(None);
            (node.tight, node.tight_index) = (0, 0);
        }
    }

    /// Time passes, and the node is not there.
    pub(super) fn be_gone(&mut self, node: usize) -> Result<(), Broken> {
        let nanos = core::mem::take(&mut self.nodes[node].gone_for);
        let seconds = nanos / 1_000_000_000;
        self.make_room();
        self.disrupted(node, Disruption::Gone, || format!("the node is gone for {seconds} s"));
        self.counts.reached(Sometimes::GoneForLong);
        self.pass(self.now.saturating_add(nanos))
    }

    /// Keeps a copy of the disk and of what is known of it, now and then, where one may take the disk's place.
    pub(super) fn keep_copy(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if self.keeps_copies && it.life % COPIED_EVERY == 1 && !it.rotten {
            let disk = it.disk.snapshot();
            let (oracle, read_back, torn) = (it.oracle.clone(), it.read_back.clone(), it.torn);
            it.old_disk = Some(OldDisk { disk, oracle, read_back, torn });
        }
    }

    /// The disk is what it was, and its oracle is told.
    pub(super) fn roll_back(&mut self, node: usize) {
        let Some(old) = self.nodes[node].old_disk.clone() else {
            self.tell(node, Told::Note, || "there is no old copy of the disk".to_owned());
            return;
        };
        self.disrupted(node, Disruption::RollBack, || "the disk is what it was once".to_owned());
        self.counts.reached(Sometimes::DiskRolledBack);
        let it = &mut self.nodes[node];
        VOLUMES.into_iter().for_each(|volume| it.disk.restore_volume(volume, &old.disk));
        // The copy is of a disk in use.
        it.state.set(crate::state::State::Dead);
        (it.oracle, it.read_back, it.torn) = (old.oracle, old.read_back, old.torn);
        (it.rotten, it.rot, it.old_index) = (false, None, None);
    }

    /// The process ends, the disk is empty, and a store is made anew under the same keys.
    pub(super) fn reinstall(&mut self, node: usize, what: Disruption) -> Result<(), Broken> {
        let power_loss = !self.nodes[node].disk.is_powered();
        self.stop(node, power_loss);
        self.pass(self.now + 1_000_000)?;
        self.disrupted(node, what, || match what {
            Disruption::LoseDisk => "the disk is gone".to_owned(),
            _ => "the machine is installed anew".to_owned(),
        });
        let it = &mut self.nodes[node];
        VOLUMES.into_iter().for_each(|volume| it.disk.lose_volume(volume));
        it.disk.set_capacity(None);
        it.disk.pause(true);
        if what == Disruption::LoseDisk {
            self.missed(node)?;
        }
        let it = &mut self.nodes[node];
        let mut oracle =
            Oracle::new(self.keys.author(), self.setting.canary, self.config.coding, self.swarm.limits.read_len);
        oracle.beyond = self.setting.beyond;
        it.oracle = oracle;
        it.read_back.clear();
        (it.rotten, it.rot, it.torn, it.tight) = (false, None, false, 0);
        [&mut it.former_rot, &mut it.left_rot, &mut it.healed_rot].into_iter().for_each(Vec::clear);
        (it.old_index, it.old_disk) = (None, None);
        (it.was_full, it.wall_went_back, it.cut_openings) = (false, false, 0);
        (it.rotted_before, it.tight_index) = (false, 0);
        it.disk.set_index_capacity(None);
        it.harm_before = it.harm();
        it.note_faults();
        self.create(node)?;
        self.counts.reached(Sometimes::Reinstalled);
        self.tell(node, Told::Open, || "a store is made anew".to_owned());
        self.wake(node, self.now);
        Ok(())
    }

    /// Where no store is, none may be opened, and nothing may be made.
    fn missed(&mut self, node: usize) -> Result<(), Broken> {
        let options = self.options(node, Access::Keys(self.keys.clone()));
        let it = &self.nodes[node];
        let (disk, now) = (it.disk.clone(), it.now(self.now));
        let opened = catch_unwind(AssertUnwindSafe(|| Engine::open(disk, options, now)))
            .map_err(|panic| panicked(&*panic, "opening where no store is"))?;
        let Err(error) = opened else {
            return Err(Broken::new(Promise::P2, "a store is opened where there is none"));
        };
        if !self.nodes[node].disk.files(Volume::Blocks).is_empty() {
            return Err(Broken::new(Promise::P2, "an opening that fails where no store is leaves files of one"));
        }
        self.counts.reached(Sometimes::DiskLost);
        self.tell(node, Told::OpenFailed, || format!("opening fails: {error}"));
        let it = &mut self.nodes[node];
        it.disk = it.disk.restart();
        Ok(())
    }
}
