//! How a life of a disk ends, and what is there in the next.

use super::crash::CrashVariant;
use super::directory::{Directory, FileId};
use super::fault::Fault;
use super::file::File;
use super::machine::Machine;
use super::operation::Operation;
use ouroboros_engine::env::{DiskFailure, Volume};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// It failed in the middle of an operation, and nobody has decided yet what that left.
    Failed,
    /// The life is over and what it left is decided.
    Off,
}

impl Machine {
    // The change under way is undecided like any unsynced one; a sync under way has not happened, which differs from
    // a sync half done in nothing that a subset cannot show.
    pub(super) fn lose_power<T>(
        &mut self,
        operation: &Operation,
        body: impl FnOnce(&mut Self, Option<Fault>) -> Result<T, DiskFailure>,
    ) -> Result<T, DiskFailure> {
        if operation.changes_disk() && !operation.is_sync() {
            let _undecided = body(self, None);
        }
        self.strike();
        self.power = Power::Failed;
        Err(DiskFailure::Crashed)
    }

    pub(super) fn undecided(&self) -> u64 {
        let entries: u64 = self.directories.iter().map(Directory::undecided).sum();
        entries + self.files.values().map(File::undecided).sum::<u64>()
    }

    /// Power loss: decides what is undecided, and ends this life.
    pub(super) fn crash(&mut self, variant: CrashVariant) {
        let mut fates = variant.fates(self.undecided());
        for directory in &mut self.directories {
            directory.crash(&mut fates);
        }
        for file in self.files.values_mut() {
            file.crash(&mut fates);
        }
        self.end_life_of(true);
    }

    /// The process is gone and all its handles; the system and what it has cached live on.
    pub(super) fn end_life(&mut self) {
        self.end_life_of(false);
    }

    fn end_life_of(&mut self, power_failed: bool) {
        self.life += 1;
        self.power = Power::Off;
        for file in self.files.values_mut() {
            file.handles = 0;
        }
        self.collect();
        if let Some(mut rules) = self.rules.take() {
            rules.life_ends(power_failed, &self.files.keys().copied().collect(), &|id, from| {
                self.visible(id, from, u64::MAX)
            });
            self.rules = Some(rules);
        }
    }

    /// Takes one volume from another machine, or empties it.
    pub(super) fn replace_volume(&mut self, volume: Volume, other: Option<&Self>) {
        let mut incoming = Directory::default();
        let mut moved = BTreeMap::new();
        if let Some(other) = other {
            // Numbers of two machines may clash: every file gets a new one.
            let ids: BTreeSet<FileId> = other.directory(volume).ids().collect();
            for id in ids {
                let new = FileId(self.next_file);
                self.next_file += 1;
                moved.insert(id, new);
                if let Some(file) = other.files.get(&id) {
                    let mut file = file.clone();
                    file.handles = 0;
                    if volume == Volume::Blocks
                        && let Some(rules) = &mut self.rules
                    {
                        let mut bytes = vec![0; file.visible().len() as usize];
                        file.visible().copy_out(0, &mut bytes);
                        rules.adopted(new, bytes);
                    }
                    self.files.insert(new, file);
                }
            }
            incoming = other.directory(volume).clone();
            incoming.renumber(&moved);
        }
        *self.directory_mut(volume) = incoming;
        self.collect();
    }
}
