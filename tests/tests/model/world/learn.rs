//! What the model learns from what the node says and shows.

use super::{Task, Want, World};
use ouroboros_engine::blob::BlobKind;
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{PurgeTarget, Reply, Written};
use ouroboros_sim::oracle::model::Version;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// Tells the model what came of the tasks; everything that the node shows must be explained by one of them.
    pub(super) fn learn(&mut self, tasks: &[Task], killed: bool) {
        let before = self.model.clone();
        let purging_key = |key: &KeyName| {
            tasks.iter().any(|task| matches!(&task.purge, Some(PurgeTarget::Key(target)) if target == key))
        };
        let purging = |id: BlobId, key: &KeyName| {
            purging_key(key)
                || tasks.iter().any(|task| matches!(task.purge, Some(PurgeTarget::Version(target)) if target == id))
        };
        // What was acknowledged.
        let mut written: BTreeMap<BlobId, (&Want, Written)> = BTreeMap::new();
        let mut unknown: Vec<&Want> = Vec::new();
        for task in tasks {
            if task.wants.is_empty() {
                continue;
            }
            let results = match &task.reply {
                Some(Reply::Put(results)) => results.clone(),
                Some(Reply::Failed(failure)) => vec![Err(failure.clone()); task.wants.len()],
                None => {
                    assert!(killed);
                    unknown.extend(&task.wants);
                    continue;
                }
                other => panic!("{other:?} is no answer to {:?}", task.op),
            };
            assert_eq!(results.len(), task.wants.len(), "{:?}", task.op);
            for (want, result) in task.wants.iter().zip(results) {
                match result {
                    Ok(outcome) => {
                        assert_eq!(want.refusal, None, "{:?} had to be refused", task.op);
                        assert!(outcome.created > before.newest, "stamps rise");
                        assert!(written.insert(outcome.id, (want, outcome)).is_none(), "two versions have one id");
                    }
                    Err(failure) => self.check_refusal(task, want, &failure, &purging),
                }
            }
        }
        // What is there, in the order of its making.
        let mut keys: BTreeSet<KeyName> = self.model.versions.values().map(|version| version.key.clone()).collect();
        keys.extend(tasks.iter().flat_map(|task| task.wants.iter().map(|want| want.key.clone())));
        let mut shown = BTreeMap::new();
        for key in &keys {
            for version in self.node_log(key, 100) {
                shown.insert(version.id, (key.clone(), version));
            }
        }
        for (id, version) in &before.versions {
            let there = shown.contains_key(id);
            assert!(!(version.purged && there), "purged version {id} of {} is back", version.key);
            if !version.purged && !there {
                assert!(purging(*id, &version.key), "version {id} of {} is lost", version.key);
                self.model.purge(*id);
            }
        }
        let mut fresh: Vec<_> = shown.iter().filter(|(id, _)| !before.versions.contains_key(*id)).collect();
        fresh.sort_unstable_by_key(|(id, (_, version))| (version.created, **id));
        for (id, (key, version)) in fresh {
            let want = match written.remove(id) {
                Some((want, outcome)) => {
                    assert_eq!(outcome.created, version.created);
                    want.clone()
                }
                None => {
                    let content = self.node_content(*id);
                    let like = |want: &&Want| {
                        want.key == *key && want.content == content && want.content.is_none() == version.gone
                    };
                    let at = unknown.iter().position(|want| {
                        like(want) && want.parents.as_ref().is_none_or(|parents| *parents == version.parents)
                    });
                    let at = at.unwrap_or_else(|| panic!("nobody asked for version {version:?} of {key}"));
                    unknown.remove(at).clone()
                }
            };
            self.check_parents(
                &before,
                &want,
                version,
                &shown,
                purging_key(key) || tasks.iter().any(|task| task.purge.is_some()),
            );
            self.add(*id, &want, version.parents.clone(), version.created);
        }
        for (id, (want, outcome)) in written {
            // Written and purged at once. Whatever it followed is purged as well, or was named.
            assert!(purging_key(&want.key), "acknowledged version {id} of {} is lost", want.key);
            self.add(id, want, want.parents.clone().unwrap_or_default(), outcome.created);
            self.model.purge(id);
        }
        if killed {
            // What nobody was told of may have been written and purged all the same.
            let possible = unknown.iter().filter(|want| purging_key(&want.key)).count() as u64;
            let unseen = self.unknown_tombstones();
            assert!(unseen <= possible, "{unseen} versions were purged that nobody asked for");
            self.model.unseen += unseen;
        }
        for task in tasks {
            self.check_purge(task, &before, tasks);
        }
    }

    fn add(&mut self, id: BlobId, want: &Want, parents: Vec<BlobId>, created: Hlc) {
        let kind = if parents.len() > 1 { BlobKind::Merger } else { BlobKind::Child };
        let version = Version {
            key: want.key.clone(),
            parents,
            created,
            kind,
            content: want.content.clone(),
            attributes: want.attributes.clone(),
            chunks: want.chunks.clone(),
            purged: false,
        };
        self.model.add(id, version);
    }
}
