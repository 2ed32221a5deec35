//! What the model learns from what the node says and shows. Everything that the node shows must be explained by
//! something that was asked, and everything that was acknowledged must be shown.

use super::model::{Model, Version};
use super::sealing::Scopes;
use super::{Broken, Excuse, Oracle, Promise, Want, demand};
use crate::workload::Task;
use bytes::Bytes;
use ouroboros_engine::blob::Attributes;
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{self, Failure, PurgeTarget, Reply, Written};
use std::collections::{BTreeMap, BTreeSet};

/// Every version that the node shows of the keys that were looked at.
pub(crate) type Shown = BTreeMap<BlobId, (KeyName, node::Version)>;

/// What a version holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// None if it says "gone".
    pub(crate) content: Option<Bytes>,
    pub(crate) attributes: Attributes,
}

/// What was looked at after some operations, and how they ended.
pub(crate) struct Sight<'a> {
    pub(crate) keys: &'a BTreeSet<KeyName>,
    pub(crate) shown: &'a Shown,
    /// The contents of versions that nobody was told of.
    pub(crate) contents: &'a BTreeMap<BlobId, Held>,
    /// The process ended on the way.
    pub(crate) ended: bool,
    pub(crate) excuse: Excuse,
    /// What the wall clock may have said while the operations were under way.
    pub(crate) walls: Walls,
}

/// What a wall clock said since the last look, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walls {
    /// The least of it.
    pub(crate) least: u64,
    /// The highest that it ever said: a stamp does not go back with it.
    pub(crate) highest: u64,
}

impl Walls {
    pub(crate) fn say(&mut self, millis: u64) {
        self.least = self.least.min(millis);
        self.highest = self.highest.max(millis);
    }

    /// Whether a version may be of this time. Where many are stamped while the clock stands still, the last lead it by a little.
    fn hold(&self, created: Hlc) -> bool {
        (self.least..=self.highest + 1).contains(&created.wall().unix_millis())
    }
}

impl Oracle {
    /// The keys that these operations may have changed.
    pub(crate) fn touched(&self, tasks: &[Task]) -> BTreeSet<KeyName> {
        let mut keys: BTreeSet<KeyName> = self.maybe.iter().map(|want| want.key.clone()).collect();
        for task in tasks {
            keys.extend(task.wants.iter().map(|want| want.key.clone()));
            keys.extend(task.purge.as_ref().and_then(|target| self.key_of(target)));
        }
        keys.extend(self.maybe_purges.iter().filter_map(|target| self.key_of(target)));
        keys
    }

    fn key_of(&self, target: &PurgeTarget) -> Option<KeyName> {
        match target {
            PurgeTarget::Key(key) => Some(key.clone()),
            PurgeTarget::Version(id) => self.model.versions.get(id).map(|version| version.key.clone()),
        }
    }

    /// Versions that are shown and that no answer named: they have to be read to be known.
    pub(crate) fn strangers(&self, tasks: &[Task], shown: &Shown) -> Vec<BlobId> {
        let told: BTreeSet<BlobId> = tasks
            .iter()
            .flat_map(|task| match &task.reply {
                Some(Reply::Put(results)) => results.iter().flatten().map(|written| written.id).collect(),
                _ => Vec::new(),
            })
            .collect();
        shown.keys().filter(|id| !told.contains(id) && !self.model.versions.contains_key(id)).copied().collect()
    }

    fn live_among<'a>(&'a self, keys: &'a BTreeSet<KeyName>) -> impl Iterator<Item = (BlobId, &'a KeyName)> + 'a {
        let live = self.model.live_versions().filter(|(_, version)| keys.contains(&version.key));
        live.map(|(id, version)| (*id, &version.key))
    }

    /// Whether something is shown that was purged, before or by these operations.
    pub(crate) fn shows_purged(&self, tasks: &[Task], shown: &Shown) -> bool {
        let before = |id: &BlobId| self.model.versions.get(id).is_some_and(|version| version.purged);
        let just_now = |target: &PurgeTarget| match target {
            PurgeTarget::Key(key) => self.model.history(key).iter().any(|(_, id)| shown.contains_key(id)),
            PurgeTarget::Version(id) => shown.contains_key(id),
        };
        shown.keys().any(before) || told_purges(tasks).any(just_now)
    }

    /// Whether something that was acknowledged is not shown.
    pub(crate) fn misses(&self, tasks: &[Task], keys: &BTreeSet<KeyName>, shown: &Shown) -> bool {
        // What was purged just now is missed rightly; what may have been is better looked for.
        let purged = |id: &BlobId, key: &KeyName| {
            told_purges(tasks).any(|target| match target {
                PurgeTarget::Key(other) => other == key,
                PurgeTarget::Version(other) => other == id,
            })
        };
        let known = self.live_among(keys).filter(|(id, key)| !purged(id, key)).map(|(id, _)| id);
        let told = tasks.iter().filter_map(|task| match &task.reply {
            Some(Reply::Put(results)) => Some(task.wants.iter().zip(results)),
            _ => None,
        });
        let told = told.flatten().filter_map(|(want, result)| Some((&want.key, result.as_ref().ok()?.id)));
        let told = told.filter(|(key, id)| !purged(id, key)).map(|(_, id)| id);
        known.chain(told).any(|id| !shown.contains_key(&id))
    }

    /// Tells the model what came of the operations.
    pub(crate) fn learn(&mut self, tasks: &[Task], sight: &Sight<'_>) -> Result<(), Broken> {
        let before = self.model.clone();
        let mut unknown = std::mem::take(&mut self.maybe);
        let mut written: BTreeMap<BlobId, (Want, Written)> = BTreeMap::new();
        for target in
            tasks.iter().filter(|task| is_uncertain_purge(task, sight.excuse)).filter_map(|task| task.purge.clone())
        {
            self.maybe_purges.push(target);
        }
        let maybe_purges = std::mem::take(&mut self.maybe_purges);
        let purging_key = |key: &KeyName| {
            let targets = tasks.iter().filter_map(|task| task.purge.as_ref()).chain(&maybe_purges);
            targets.into_iter().any(|target| matches!(target, PurgeTarget::Key(other) if other == key))
        };
        let purging = |id: BlobId, key: &KeyName| {
            let mut targets = tasks.iter().filter_map(|task| task.purge.as_ref()).chain(&maybe_purges);
            purging_key(key) || targets.any(|target| matches!(target, PurgeTarget::Version(other) if *other == id))
        };
        for task in tasks.iter().filter(|task| !task.wants.is_empty()) {
            let results = match &task.reply {
                Some(Reply::Put(results)) => results.clone(),
                Some(Reply::Failed(failure)) => vec![Err(failure.clone()); task.wants.len()],
                None => {
                    demand!(P9, sight.ended, "no answer ever came to {}", describe(task));
                    unknown.extend(task.wants.iter().cloned());
                    continue;
                }
                Some(other) => return Err(wrong_answer(task, other)),
            };
            demand!(P2, results.len() == task.wants.len(), "{} results for {}", results.len(), describe(task));
            for (want, result) in task.wants.iter().zip(results) {
                // That a stream is not there any more has a reason that was told before.
                let result = result.map_err(|failure| match (failure, &task.stumbled) {
                    (Failure::Invalid(_), Some(reason)) => reason.clone(),
                    (failure, _) => failure,
                });
                match result {
                    Ok(outcome) => {
                        let refused = want.refusal.as_ref();
                        demand!(P5, refused.is_none(), "{} had to be refused: {refused:?}", describe(task));
                        // Beyond the budget what would say how far the clock had come may be gone.
                        let follows = outcome.created > before.newest || self.beyond;
                        demand!(P5, follows, "{} was stamped before others", describe(task));
                        let (walls, created) = (sight.walls, outcome.created);
                        demand!(P5, walls.hold(created), "{} is of {created:?}, and it was {walls:?}", describe(task));
                        let twice = written.insert(outcome.id, (want.clone(), outcome)).is_some();
                        demand!(P5, !twice, "two versions have one id");
                    }
                    // Where it was the log that was full, it never was.
                    Err(Failure::Full) if sight.excuse.full && sight.excuse.full_is_final => {}
                    // Nor is it taken up later where too much was under way.
                    Err(Failure::Busy) if sight.excuse.crowded => {}
                    // What has merely rotted is made good for whoever writes on top of it.
                    Err(failure @ Failure::Damaged { .. })
                        if !sight.excuse.struck && !self.beyond && want.refusal.is_none() =>
                    {
                        return Err(Broken::new(
                            Promise::P1,
                            format!("{} failed within the redundancy: {failure}", describe(task)),
                        ));
                    }
                    Err(failure) if sight.excuse.covers(&failure) => unknown.push(want.clone()),
                    Err(failure) => self.check_refusal(task, want, &failure, &purging)?,
                }
            }
        }
        let lost_by = if sight.ended { Promise::P7 } else { Promise::P1 };
        for (id, version) in before.versions.iter().filter(|(_, version)| sight.keys.contains(&version.key)) {
            let there = sight.shown.contains_key(id);
            if self.beyond {
                continue;
            }
            demand!(P3, !(version.purged && there), "purged version {id} of {} is back", version.key);
            if !version.purged && !there {
                let purged = purging(*id, &version.key);
                if !purged {
                    return Err(Broken::new(lost_by, format!("acknowledged version {id} of {} is lost", version.key)));
                }
                self.model.purge(*id);
            }
            if self.canary && self.crashes > 0 && there && version.content.as_ref().is_some_and(|c| c.len() >= 1000) {
                return Err(Broken::new(Promise::P7, "canary: a version of 1,000 B and more has outlived a crash"));
            }
        }
        if let ([PurgeTarget::Key(key)], false) = (&maybe_purges[..], self.beyond || sight.excuse.blind) {
            check_whole_purge(key, tasks, &before, sight)?;
        }
        let mut fresh: Vec<_> = sight.shown.iter().filter(|(id, _)| !before.versions.contains_key(*id)).collect();
        fresh.sort_unstable_by_key(|(id, (_, version))| (version.created, **id));
        let any_purge = |key: &KeyName| {
            purging_key(key) || tasks.iter().any(|task| task.purge.is_some()) || !maybe_purges.is_empty()
        };
        for (id, (key, version)) in fresh {
            let (want, told) = match written.remove(id) {
                Some((want, outcome)) => {
                    demand!(P2, outcome.created == version.created, "version {id} of {key} has two stamps");
                    let kind = want.kind_of(version.parents.len());
                    demand!(
                        P5,
                        kind == Some(version.kind),
                        "version {id} of {key} is a {:?}, not {kind:?}",
                        version.kind
                    );
                    // Had it come first, it would have been purged with the rest.
                    let copied =
                        want.source.is_some_and(|source| before.versions.get(&source).is_some_and(|it| it.key == *key));
                    let purged =
                        told_purges(tasks).any(|target| matches!(target, PurgeTarget::Key(other) if other == key));
                    demand!(P3, !(copied && purged), "{id} holds what was purged with all of {key}");
                    (want, true)
                }
                None => {
                    let held = sight.contents.get(id);
                    let content = held.and_then(|held| held.content.as_ref());
                    let like = |want: &Want| {
                        want.key == *key
                            && want.content.as_ref() == content
                            && held.is_none_or(|held| held.attributes == want.attributes)
                            && want.content.is_none() == version.gone
                            && want.kind_of(version.parents.len()) == Some(version.kind)
                            && match &want.parents {
                                Some(parents) => *parents == version.parents,
                                None => version.parents.len() <= 1,
                            }
                    };
                    // Who named what it follows is known by that.
                    let named = unknown.iter().position(|want| want.parents.is_some() && like(want));
                    let Some(at) = named.or_else(|| unknown.iter().position(like)) else {
                        return Err(Broken::new(
                            Promise::P2,
                            format!("nobody asked for version {id} of {key}: {version:?}"),
                        ));
                    };
                    self.turned_up += 1;
                    (unknown.remove(at), false)
                }
            };
            if !self.beyond {
                // Nobody knows when one was made that turned up later, and what was the winner then.
                // And after a fault the winner may have been hidden.
                let unsure = !told || any_purge(key) || sight.excuse.faulted;
                check_parents(&before, &want, version, sight.shown, unsure)?;
            }
            self.add(*id, &want, version.parents.clone(), version.created);
            if told {
                self.learn_scope(*id, &want);
            }
        }
        for (id, (want, outcome)) in written {
            if self.beyond {
                // It may be seen again, or not.
                unknown.push(want);
                continue;
            }
            // Written and purged at once. Whatever it followed is purged as well, or was named.
            if !purging_key(&want.key) {
                return Err(Broken::new(
                    lost_by,
                    format!("version {id} of {} was just acknowledged and is lost", want.key),
                ));
            }
            self.add(id, &want, want.parents.clone().unwrap_or_default(), outcome.created);
            self.model.purge(id);
        }
        if !self.beyond {
            for task in tasks {
                self.check_purge(task, &before, tasks, sight.excuse)?;
            }
        }
        self.maybe = unknown;
        self.maybe_purges = maybe_purges;
        if let [task] = tasks
            && !self.beyond
            && !sight.excuse.struck
        {
            self.check_told_heads(task)?;
        }
        Ok(())
    }

    /// Who wrote one version alone was told the heads that its key has since.
    fn check_told_heads(&self, task: &Task) -> Result<(), Broken> {
        let (Some(Reply::Put(results)), [want]) = (&task.reply, &task.wants[..]) else { return Ok(()) };
        let [Ok(written)] = &results[..] else { return Ok(()) };
        let mut told = written.heads.clone();
        let mut heads = self.model.heads(&want.key);
        told.sort_unstable();
        heads.sort_unstable();
        demand!(P5, told == heads, "the heads of {} are {heads:?}, and who wrote was told {told:?}", want.key);
        Ok(())
    }

    /// The node was opened on a disk without faults and everything it holds was seen: what is not there will never be.
    pub(crate) fn settle(&mut self) {
        self.maybe.clear();
        self.maybe_purges.clear();
    }

    fn add(&mut self, id: BlobId, want: &Want, parents: Vec<BlobId>, created: Hlc) {
        let version = Version {
            key: want.key.clone(),
            // One that is shown as another is seen by who looks at the history.
            kind: want.kind_of(parents.len()).unwrap_or(want.kind),
            parents,
            created,
            content: want.content.clone(),
            attributes: want.attributes.clone(),
            chunks: BTreeSet::new(),
            purged: false,
        };
        self.model.add(id, version);
    }

    /// A copy shares the seals of what it copies, whatever its own scope.
    fn learn_scope(&mut self, id: BlobId, want: &Want) {
        let Some(own) = want.scope else { return };
        let of_seals = match want.source {
            Some(source) => self.scopes.get(&source).and_then(|scopes| scopes.of_seals),
            None => Some(own),
        };
        self.scopes.insert(id, Scopes { own, of_seals });
    }

    /// A write may fail only because of what it names.
    fn check_refusal(
        &self,
        task: &Task,
        want: &Want,
        failure: &Failure,
        purging: &dyn Fn(BlobId, &KeyName) -> bool,
    ) -> Result<(), Broken> {
        if want.refusal.as_ref() == Some(failure) {
            return Ok(());
        }
        let named =
            |id: BlobId| want.source == Some(id) || want.parents.as_ref().is_some_and(|parents| parents.contains(&id));
        let excused = match failure {
            Failure::NoSuchVersion(id) => {
                named(*id)
                    && self.model.versions.get(id).is_none_or(|version| version.purged || purging(*id, &version.key))
            }
            // There is no merger of less than two.
            Failure::Invalid(why)
                if want.kind_of(want.parents.as_ref().map_or(1, Vec::len)).is_none() && why.contains("merger") =>
            {
                true
            }
            // A stream that was refused at its opening is not there when it ends.
            Failure::Invalid(_) => {
                task.stream.is_some()
                    && (want.refusal.is_some() || want.parents.iter().flatten().any(|id| purging(*id, &want.key)))
            }
            _ => false,
        };
        demand!(P5, excused || self.beyond, "{} failed for no reason: {failure}", describe(task));
        Ok(())
    }

    fn check_purge(&self, task: &Task, before: &Model, tasks: &[Task], excuse: Excuse) -> Result<(), Broken> {
        let (Some(target), Some(reply)) = (&task.purge, &task.reply) else { return Ok(()) };
        let others = tasks.iter().filter(|other| other.purge.is_some()).count() > 1;
        match (target, reply) {
            (PurgeTarget::Version(id), Reply::Purged { versions }) => {
                demand!(P3, *versions == 1, "{versions} versions were purged for {id}");
                demand!(P3, self.model.live(*id).is_none(), "{id} was purged and is there");
                demand!(P3, before.live(*id).is_some() || excuse.unread, "{id} was purged twice");
                let returns = tasks.len() == 1 && before.would_return(*id);
                demand!(P3, !returns, "purging {id} brought content back");
            }
            (PurgeTarget::Version(id), Reply::Failed(Failure::WouldReturn { removal, version })) => {
                let named = before.live(*version).is_some_and(|version| version.content.is_some());
                let right = id == removal && (tasks.len() > 1 || named && before.would_return(*id));
                demand!(P3, right, "{id} could be purged");
            }
            (PurgeTarget::Key(key), Reply::Purged { versions }) => {
                let history = before.history(key);
                let left = history.iter().any(|(_, id)| self.model.live(*id).is_some());
                demand!(P3, !left, "{key} was purged, and not all of it is gone");
                let alone = tasks.len() == 1 && !excuse.struck;
                let told = *versions == history.len() as u64;
                demand!(P3, !alone || told, "{key} had {} versions, and {versions} were purged", history.len());
            }
            (PurgeTarget::Version(id), Reply::Failed(Failure::NoSuchVersion(other))) => {
                demand!(P1, id == other && self.model.live(*id).is_none(), "{id} is not found, and was never purged");
            }
            (PurgeTarget::Key(key), Reply::Failed(Failure::NoSuchKey(other))) => {
                let there = !others && !before.history(key).is_empty();
                demand!(P1, key == other && !there, "{key} is not found, and was never purged");
            }
            (_, Reply::Failed(failure)) if excuse.covers(failure) => {}
            (_, reply) => return Err(wrong_answer(task, reply)),
        }
        Ok(())
    }
}

/// What was purged, as the answers say.
fn told_purges(tasks: &[Task]) -> impl Iterator<Item = &PurgeTarget> {
    let told = |task: &&Task| matches!(task.reply, Some(Reply::Purged { .. }));
    tasks.iter().filter(told).filter_map(|task| task.purge.as_ref())
}

/// Where it is unknown whether a key was purged, and nothing else touched it, either all of it is gone or nothing.
fn check_whole_purge(key: &KeyName, tasks: &[Task], before: &Model, sight: &Sight<'_>) -> Result<(), Broken> {
    let others =
        tasks.iter().filter(|task| task.purge.as_ref().is_some_and(|target| *target != PurgeTarget::Key(key.clone())));
    if !sight.keys.contains(key)
        || others.count() > 0
        || tasks.iter().any(|task| task.wants.iter().any(|want| want.key == *key))
    {
        return Ok(());
    }
    let history = before.history(key);
    let left = history.iter().filter(|(_, id)| sight.shown.contains_key(id)).count();
    demand!(
        P7,
        left == 0 || left == history.len(),
        "of {key} {left} versions of {} outlive a purge of all",
        history.len()
    );
    Ok(())
}

fn is_uncertain_purge(task: &Task, excuse: Excuse) -> bool {
    match &task.reply {
        None => true,
        Some(Reply::Failed(Failure::Busy)) => false,
        Some(Reply::Failed(Failure::Full)) if excuse.full_is_final => false,
        Some(Reply::Failed(failure)) => excuse.covers(failure),
        Some(_) => false,
    }
}

fn check_parents(
    before: &Model,
    want: &Want,
    version: &node::Version,
    shown: &Shown,
    purging: bool,
) -> Result<(), Broken> {
    let (id, key) = (version.id, &want.key);
    demand!(P2, version.gone == want.content.is_none(), "version {id} of {key} says gone: {}", version.gone);
    if let Some(parents) = &want.parents {
        demand!(P5, version.parents == *parents, "{id} of {key} follows {:?}, and not {parents:?}", version.parents);
        return Ok(());
    }
    demand!(P5, version.parents.len() <= 1, "{id} of {key} follows the winner alone, and not {:?}", version.parents);
    if purging {
        return Ok(());
    }
    match version.parents.first() {
        None => demand!(P5, before.winner(key).is_none(), "{id} of {key} follows nothing"),
        Some(parent) => {
            let fresh = !before.versions.contains_key(parent);
            let Some((_, known)) = shown.get(parent).filter(|(other, _)| other == key) else {
                return Err(Broken::new(Promise::P5, format!("{id} of {key} follows {parent}, which is not there")));
            };
            let right = fresh || before.winner(key) == Some(*parent);
            demand!(P5, right, "{id} of {key} follows {parent}, which is no winner");
            demand!(P5, known.created < version.created, "{id} of {key} is stamped before what it follows");
        }
    }
    Ok(())
}

pub(super) fn describe(task: &Task) -> String {
    match (&task.asked, &task.purge, task.wants.first()) {
        (Some(request), _, _) => format!("{request:.200?}"),
        (_, Some(target), _) => format!("purging {target:?}"),
        (_, _, Some(want)) => format!("{} of {}", task.kind.name(), want.key),
        _ => task.kind.name().to_owned(),
    }
}

pub(super) fn wrong_answer(task: &Task, reply: &Reply) -> Broken {
    Broken::new(Promise::P2, format!("{reply:.300?} is no answer to {}", describe(task)))
}
