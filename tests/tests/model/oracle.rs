//! The model: every version there ever was, and the definitions of everything that can be asked, without any thought of
//! cost.

use bytes::Bytes;
use ouroboros_engine::blob::{Attributes, BlobKind};
use ouroboros_engine::id::{BlobId, ChunkId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Entry, EntryKind, Failure, ListRequest, Select};
use std::collections::{BTreeMap, BTreeSet};

/// Names a chunk: the scope's bytes and the chunk's id in it.
pub(crate) type Chunk = (Vec<u8>, ChunkId);

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) key: KeyName,
    pub(crate) parents: Vec<BlobId>,
    pub(crate) created: Hlc,
    pub(crate) kind: BlobKind,
    /// None: the key is gone.
    pub(crate) content: Option<Bytes>,
    pub(crate) attributes: Attributes,
    pub(crate) chunks: BTreeSet<Chunk>,
    pub(crate) purged: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) versions: BTreeMap<BlobId, Version>,
    /// In the order in which they were learnt.
    pub(crate) order: Vec<BlobId>,
    /// The highest stamp ever seen.
    pub(crate) newest: Hlc,
    /// Versions that were purged before anybody was told of them: only their tombstones are seen.
    pub(crate) unseen: u64,
}

impl Model {
    /// How many versions were purged.
    pub(crate) fn tombstones(&self) -> u64 {
        self.versions.values().filter(|version| version.purged).count() as u64 + self.unseen
    }

    pub(crate) fn add(&mut self, id: BlobId, version: Version) {
        self.newest = self.newest.max(version.created);
        assert!(self.versions.insert(id, version).is_none(), "a version's id was given twice");
        self.order.push(id);
    }

    /// One of all the versions there ever were, the latest first.
    pub(crate) fn pick(&self, number: u16) -> Option<BlobId> {
        let count = self.order.len();
        (count > 0).then(|| self.order[count - 1 - usize::from(number) % count])
    }

    pub(crate) fn live(&self, id: BlobId) -> Option<&Version> {
        self.versions.get(&id).filter(|version| !version.purged)
    }

    /// The live versions of a key, newest first.
    pub(crate) fn history(&self, key: &KeyName) -> Vec<(Hlc, BlobId)> {
        let of_key = self.versions.iter().filter(|(_, version)| version.key == *key && !version.purged);
        let mut found: Vec<(Hlc, BlobId)> = of_key.map(|(id, version)| (version.created, *id)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// A version and everything it descends from, through holes too.
    pub(crate) fn ancestors(&self, id: BlobId) -> BTreeSet<BlobId> {
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
        let mut covered = BTreeSet::new();
        for id in set {
            covered.extend(self.ancestors(*id).into_iter().filter(|other| other != id));
        }
        let left = set.difference(&covered).map(|id| (self.versions[id].created, *id));
        let mut left: Vec<(Hlc, BlobId)> = left.collect();
        left.sort_unstable_by(|a, b| b.cmp(a));
        left
    }

    /// The heads of a key, winner first.
    pub(crate) fn heads(&self, key: &KeyName) -> Vec<BlobId> {
        let live = self.history(key).into_iter().map(|(_, id)| id).collect();
        self.maximal(&live).into_iter().map(|(_, id)| id).collect()
    }

    /// Whether a key that `id` has removed would have content again without it.
    pub(crate) fn would_return(&self, id: BlobId) -> bool {
        let Some(version) = self.live(id).filter(|version| version.content.is_none()) else { return false };
        let before = self.heads(&version.key);
        let mut without = self.clone();
        without.versions.get_mut(&id).unwrap().purged = true;
        let after = without.heads(&version.key);
        after.iter().any(|head| !before.contains(head) && self.versions[head].content.is_some())
    }

    pub(crate) fn winner(&self, key: &KeyName) -> Option<BlobId> {
        self.heads(key).first().copied()
    }

    pub(crate) fn merge_bases(&self, sides: &[BlobId]) -> Vec<BlobId> {
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
    pub(crate) fn select(&self, key: &KeyName, select: Select) -> Result<BlobId, Failure> {
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
    pub(crate) fn list(&self, request: &ListRequest) -> Vec<Entry> {
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

    pub(crate) fn live_versions(&self) -> impl Iterator<Item = (&BlobId, &Version)> {
        self.versions.iter().filter(|(_, version)| !version.purged)
    }

    pub(crate) fn live_chunks(&self) -> BTreeSet<&Chunk> {
        self.live_versions().flat_map(|(_, version)| version.chunks.iter()).collect()
    }
}
