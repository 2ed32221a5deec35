//! The model: every version there ever was, and the definitions of everything that can be asked, without any thought of
//! cost.

use bytes::Bytes;
use ouroboros_engine::blob::{Attributes, BlobKind};
use ouroboros_engine::id::{BlobId, ChunkId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Entry, EntryKind, Failure, ListRequest, Select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names a chunk: the scope's bytes and the chunk's id in it.
pub type Chunk = (Vec<u8>, ChunkId);

/// A version as the model knows it.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its key.
    pub key: KeyName,
    /// What it follows.
    pub parents: Vec<BlobId>,
    /// Its stamp.
    pub created: Hlc,
    /// Child, Merger or VersionVector.
    pub kind: BlobKind,
    /// None: the key is gone.
    pub content: Option<Bytes>,
    /// The metadata sealed beside the content.
    pub attributes: Attributes,
    /// The chunks of its content, where the model's owner cuts contents itself.
    pub chunks: BTreeSet<Chunk>,
    /// It was destroyed.
    pub purged: bool,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// By id, purged ones included. Shared, since the model as it was before is kept for every round.
    pub versions: BTreeMap<BlobId, Arc<Version>>,
    /// In the order in which they were learnt.
    pub order: Vec<BlobId>,
    /// The highest stamp ever seen.
    pub newest: Hlc,
    /// Versions that were purged before anybody was told of them: only their tombstones are seen.
    pub unseen: u64,
}

impl Model {
    /// How many versions were purged.
    #[must_use]
    pub fn tombstones(&self) -> u64 {
        self.versions.values().filter(|version| version.purged).count() as u64 + self.unseen
    }

    /// Adds a version.
    ///
    /// # Panics
    /// When its id is known already.
    pub fn add(&mut self, id: BlobId, version: Version) {
        self.newest = self.newest.max(version.created);
        assert!(self.versions.insert(id, Arc::new(version)).is_none(), "a version's id was given twice");
        self.order.push(id);
    }

    /// One of all the versions there ever were, the latest first.
    #[must_use]
    pub fn pick(&self, number: u16) -> Option<BlobId> {
        let count = self.order.len();
        (count > 0).then(|| self.order[count - 1 - usize::from(number) % count])
    }

    /// A version that is there and not purged.
    #[must_use]
    pub fn live(&self, id: BlobId) -> Option<&Version> {
        self.versions.get(&id).map(Arc::as_ref).filter(|version| !version.purged)
    }

    /// The live versions of a key, newest first.
    #[must_use]
    pub fn history(&self, key: &KeyName) -> Vec<(Hlc, BlobId)> {
        let of_key = self.versions.iter().filter(|(_, version)| version.key == *key && !version.purged);
        let mut found: Vec<(Hlc, BlobId)> = of_key.map(|(id, version)| (version.created, *id)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// A version and everything it descends from, through holes too.
    #[must_use]
    pub fn ancestors(&self, id: BlobId) -> BTreeSet<BlobId> {
        let mut all = BTreeSet::new();
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if all.insert(id) {
                stack.extend(self.versions.get(&id).into_iter().flat_map(|version| version.parents.iter().copied()));
            }
        }
        all
    }

    /// Those of a set that nothing else in it descends from, newest first.
    fn maximal(&self, set: &BTreeSet<BlobId>) -> Vec<(Hlc, BlobId)> {
        let parents_of =
            |id: &BlobId| self.versions.get(id).into_iter().flat_map(|version| version.parents.iter().copied());
        let mut covered = BTreeSet::new();
        let mut stack: Vec<BlobId> = set.iter().flat_map(parents_of).collect();
        while let Some(id) = stack.pop() {
            if covered.insert(id) {
                stack.extend(parents_of(&id));
            }
        }
        let left = set.difference(&covered).map(|id| (self.versions[id].created, *id));
        let mut left: Vec<(Hlc, BlobId)> = left.collect();
        left.sort_unstable_by(|a, b| b.cmp(a));
        left
    }

    /// The heads of a key, winner first.
    #[must_use]
    pub fn heads(&self, key: &KeyName) -> Vec<BlobId> {
        let live = self.history(key).into_iter().map(|(_, id)| id).collect();
        self.maximal(&live).into_iter().map(|(_, id)| id).collect()
    }

    /// Takes note that a version was destroyed.
    pub fn purge(&mut self, id: BlobId) {
        if let Some(version) = self.versions.get_mut(&id) {
            Arc::make_mut(version).purged = true;
        }
    }

    /// Whether `id` is a removal, and something that it removed is there: content with nothing but purged versions in between.
    #[must_use]
    pub fn would_return(&self, id: BlobId) -> bool {
        let Some(removal) = self.live(id).filter(|version| version.content.is_none()) else { return false };
        let mut below = removal.parents.clone();
        let mut seen = BTreeSet::new();
        while let Some(id) = below.pop() {
            let Some(version) = self.versions.get(&id).filter(|_| seen.insert(id)) else { continue };
            match version.purged {
                true => below.extend(&version.parents),
                false if version.content.is_some() => return true,
                false => {}
            }
        }
        false
    }

    /// A head of a key whose content some version had removed, be that purged or not.
    #[must_use]
    pub fn returned(&self, key: &KeyName) -> Option<BlobId> {
        let removals = self.versions.iter().filter(|(_, version)| version.key == *key && version.content.is_none());
        let removed: BTreeSet<BlobId> = removals.flat_map(|(id, _)| self.ancestors(*id)).collect();
        if removed.is_empty() {
            return None;
        }
        let is_content = |id: &BlobId| self.versions[id].content.is_some();
        self.heads(key).into_iter().find(|head| removed.contains(head) && is_content(head))
    }

    /// The winner among a key's heads.
    #[must_use]
    pub fn winner(&self, key: &KeyName) -> Option<BlobId> {
        self.heads(key).first().copied()
    }

    /// The best common ancestors, newest first.
    #[must_use]
    pub fn merge_bases(&self, sides: &[BlobId]) -> Vec<BlobId> {
        let mut common: Option<BTreeSet<BlobId>> = None;
        for side in sides {
            let below = self.ancestors(*side);
            common = Some(match common {
                Some(common) => common.intersection(&below).copied().collect(),
                None => below,
            });
        }
        let live = common.unwrap_or_default().into_iter().filter(|id| self.live(*id).is_some()).collect();
        self.maximal(&live).into_iter().map(|(_, id)| id).collect()
    }

    /// The version that is meant, if it has content.
    ///
    /// # Errors
    /// The failure that the node must answer with.
    pub fn select(&self, key: &KeyName, select: Select) -> Result<BlobId, Failure> {
        let no_key = || Failure::NoSuchKey(key.clone());
        let id = match select {
            Select::Winner => self.winner(key).ok_or_else(no_key)?,
            Select::Version(id) => {
                let version = self.live(id).ok_or(Failure::NoSuchVersion(id))?;
                if version.key != *key {
                    return Err(Failure::OtherKey { version: id, key: key.clone() });
                }
                id
            }
            Select::At(time) => {
                let there = self.history(key).into_iter().filter(|(created, _)| *created <= time);
                let there = there.map(|(_, id)| id).collect();
                self.maximal(&there).first().map(|(_, id)| *id).ok_or_else(no_key)?
            }
        };
        match self.versions[&id].content {
            Some(_) => Ok(id),
            None => Err(Failure::Gone { key: key.clone(), version: id }),
        }
    }

    /// All entries of a listing, in order, whatever its limit.
    #[must_use]
    pub fn list(&self, request: &ListRequest) -> Vec<Entry> {
        let mut found = BTreeMap::new();
        let keys: BTreeSet<&KeyName> =
            self.versions.values().filter(|version| !version.purged).map(|version| &version.key).collect();
        for key in keys {
            let name = key.as_bytes();
            let Some(rest) = name.strip_prefix(request.prefix.as_slice()) else { continue };
            if let (false, Some(end)) = (request.recursive, rest.iter().position(|byte| *byte == b'/')) {
                let name = name[..=request.prefix.len() + end].to_vec();
                found.insert(name.clone(), Entry { name, kind: EntryKind::Directory });
                continue;
            }
            let heads = self.heads(key);
            let winner = &self.versions[&heads[0]];
            if winner.content.is_none() && !request.include_gone {
                continue;
            }
            let kind = EntryKind::Key {
                winner: heads[0],
                created: winner.created,
                len: winner.content.as_ref().map_or(0, |content| content.len() as u64),
                heads: heads.len() as u32,
                gone: winner.content.is_none(),
            };
            found.insert(name.to_vec(), Entry { name: name.to_vec(), kind });
        }
        let after = request.after.as_deref();
        found.into_values().filter(|entry| after.is_none_or(|after| entry.name.as_slice() > after)).collect()
    }

    /// Every version that is not purged.
    pub fn live_versions(&self) -> impl Iterator<Item = (&BlobId, &Version)> {
        self.versions.iter().map(|(id, version)| (id, version.as_ref())).filter(|(_, version)| !version.purged)
    }

    /// The chunks that these need.
    #[must_use]
    pub fn live_chunks(&self) -> BTreeSet<&Chunk> {
        self.live_versions().flat_map(|(_, version)| version.chunks.iter()).collect()
    }
}
