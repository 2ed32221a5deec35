//! The entries of one volume: durable, visible, and what lies between.

use super::crash::{Fate, Fates};
use ouroboros_engine::env::FileName;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

type Entries = BTreeMap<Arc<FileName>, FileId>;

#[derive(Clone, Debug)]
pub(super) enum Change {
    Create { name: Arc<FileName>, id: FileId },
    Rename { from: Arc<FileName>, to: Arc<FileName>, id: FileId },
    Remove { name: Arc<FileName> },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    visible: Entries,
    durable: Entries,
    undecided: Vec<Change>,
}

impl Change {
    fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Create { name, id } => {
                entries.insert(name.clone(), *id);
            }
            Self::Rename { from, to, id } => {
                // A later file may have taken the old name by now if this change outlived an earlier one.
                if entries.get(from) == Some(id) {
                    entries.remove(from);
                }
                entries.insert(to.clone(), *id);
            }
            Self::Remove { name } => {
                entries.remove(name);
            }
        }
    }
}

impl Directory {
    pub(super) fn find(&self, name: &FileName) -> Option<FileId> {
        self.visible.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&Arc<FileName>, FileId)> {
        self.visible.iter().map(|(name, id)| (name, *id))
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.visible);
        self.undecided.push(change);
    }

    pub(super) fn create(&mut self, name: Arc<FileName>, id: FileId) {
        self.change(Change::Create { name, id });
    }

    pub(super) fn rename(&mut self, from: Arc<FileName>, to: Arc<FileName>, id: FileId) {
        if from != to {
            self.change(Change::Rename { from, to, id });
        }
    }

    pub(super) fn remove(&mut self, name: Arc<FileName>) {
        self.change(Change::Remove { name });
    }

    pub(super) fn sync(&mut self) {
        for change in self.undecided.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn changes(&self) -> &[Change] {
        &self.undecided
    }

    pub(super) fn undecided(&self) -> u64 {
        self.undecided.len() as u64
    }

    pub(super) fn crash(&mut self, fates: &mut Fates) {
        for change in self.undecided.drain(..) {
            if fates.next(false) != Fate::Lost {
                change.apply(&mut self.durable);
            }
        }
        self.visible = self.durable.clone();
    }

    /// Adds all that decides what a crash may leave to a hash, with what `file` adds of each file.
    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher, file: &mut impl FnMut(FileId, &mut blake3::Hasher)) {
        let mut entry = |hasher: &mut blake3::Hasher, kind: &[u8], name: &FileName, id: Option<FileId>| {
            hasher.update(kind).update(name.as_str().as_bytes()).update(b"/");
            if let Some(id) = id {
                file(id, hasher);
            }
        };
        for (name, id) in &self.durable {
            entry(hasher, b"d", name, Some(*id));
        }
        for change in &self.undecided {
            match change {
                Change::Create { name, id } => entry(hasher, b"c", name, Some(*id)),
                Change::Rename { from, to, id } => {
                    entry(hasher, b"f", from, None);
                    entry(hasher, b"t", to, Some(*id));
                }
                Change::Remove { name } => entry(hasher, b"r", name, None),
            }
        }
        hasher.update(b"e");
    }

    /// Every file that has a name, now or perhaps after a crash.
    pub(super) fn ids(&self) -> impl Iterator<Item = FileId> + '_ {
        let undecided = self.undecided.iter().filter_map(|change| match change {
            Change::Create { id, .. } | Change::Rename { id, .. } => Some(*id),
            Change::Remove { .. } => None,
        });
        self.visible.values().chain(self.durable.values()).copied().chain(undecided)
    }

    /// Gives every file the number that `numbers` has for it.
    pub(super) fn renumber(&mut self, numbers: &BTreeMap<FileId, FileId>) {
        let undecided = self.undecided.iter_mut().filter_map(|change| match change {
            Change::Create { id, .. } | Change::Rename { id, .. } => Some(id),
            Change::Remove { .. } => None,
        });
        for id in self.visible.values_mut().chain(self.durable.values_mut()).chain(undecided) {
            *id = numbers.get(id).copied().unwrap_or(*id);
        }
    }
}
