//! Compares a node with the model: everything that was promised is there, exactly; nothing else is.

use super::model::{Model, Moment, key_name};
use super::player::{TAG, exactly, name};
use super::store::Node;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Entry, EntryKind, Event, Failure, Got, ListRequest, Reply, Request};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that only judges write to begin here.
pub(super) const PROBE_KEY: usize = 1_000_000;

/// Versions that are asked for in one request.
const READ_AT_ONCE: usize = 16;

/// What a node shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// By name: all versions, newest first, and the heads, winner first.
    keys: BTreeMap<Vec<u8>, (Vec<BlobId>, Vec<BlobId>)>,
}

impl Seen {
    /// What would be seen with one more version of a key, which follows its winner.
    pub(super) fn with(mut self, name: &str, id: BlobId) -> Self {
        let (versions, heads) = self.keys.entry(name.as_bytes().to_vec()).or_default();
        versions.insert(0, id);
        if !heads.is_empty() {
            heads.remove(0);
        }
        heads.insert(0, id);
        self
    }
}

/// What a node shows of itself, and how it lists its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) seen: Seen,
    entries: BTreeMap<Vec<u8>, EntryKind>,
}

/// Names of keys, and which they are.
pub(super) type Names = BTreeMap<Vec<u8>, usize>;

/// Every key that the script or a judge writes to.
pub(super) fn names(model: &Model) -> Names {
    let written = model.versions.values().map(|version| version.key);
    written.chain(PROBE_KEY..PROBE_KEY + 4).map(|key| (key_name(key).into_bytes(), key)).collect()
}

fn listing(node: &mut Node, recursive: bool, limit: usize) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut request = ListRequest { recursive, include_gone: true, limit, ..ListRequest::default() };
    loop {
        match node.ask(Request::List(request.clone())) {
            Ok(Reply::Listing(page)) => {
                entries.extend(page.entries);
                request.after = page.next;
            }
            other => return Err(format!("a listing came to {other:?}")),
        }
        if request.after.is_none() {
            return Ok(entries);
        }
    }
}

/// A key's versions, so many in one page. Asks until a page is empty, or, when `few`, until one is not full.
fn history(node: &mut Node, key: &KeyName, limit: usize, few: bool) -> Result<Vec<BlobId>, String> {
    let mut versions: Vec<BlobId> = Vec::new();
    let mut after = None;
    loop {
        match node.ask(Request::Log { key: key.clone(), after, limit }) {
            Ok(Reply::Versions(page)) => {
                versions.extend(page.iter().map(|version| version.id));
                match page.last() {
                    Some(last) if !few || page.len() == limit => after = Some((last.created, last.id)),
                    _ => return Ok(versions),
                }
            }
            Err(Failure::NoSuchKey(_)) if after.is_none() => return Ok(versions),
            other => return Err(format!("the history of {key} came to {other:?}")),
        }
    }
}

/// What a node shows, read without opening any value. With `few` questions, or with many small ones.
pub(super) fn look(node: &mut Node, few: bool) -> Result<Sight, String> {
    let (mut keys, mut entries) = (BTreeMap::new(), BTreeMap::new());
    for entry in listing(node, true, if few { 1000 } else { 7 })? {
        let key = KeyName::new(entry.name.clone()).map_err(|error| error.to_string())?;
        let versions = history(node, &key, 50, few)?;
        let heads: Vec<BlobId> = match node.ask(Request::Heads(key)) {
            Ok(Reply::Versions(heads)) => heads.into_iter().map(|version| version.id).collect(),
            other => return Err(format!("the heads came to {other:?}")),
        };
        let EntryKind::Key { winner, heads: count, .. } = entry.kind else { return Err(format!("{entry:?}")) };
        if heads.first() != Some(&winner) || heads.len() != count as usize || versions.is_empty() {
            return Err(format!("listing, heads {heads:?} and history {versions:?} disagree: {winner}, {count} heads"));
        }
        keys.insert(entry.name.clone(), (versions, heads));
        entries.insert(entry.name, entry.kind);
    }
    Ok(Sight { seen: Seen { keys }, entries })
}

impl Sight {
    /// Whether a node may show this at a moment: requests sent before and not yet answered may have happened, whole. Returns
    /// the versions that are there.
    pub(super) fn judge(&self, model: &Model, names: &Names, at: Moment) -> Result<BTreeSet<BlobId>, String> {
        let mut present: BTreeSet<BlobId> = BTreeSet::new();
        let mut stray = Vec::new();
        for (name, (versions, _)) in &self.seen.keys {
            let Some(key) = names.get(name) else {
                return Err(format!("there is a key that nobody wrote: {:?}", String::from_utf8_lossy(name)));
            };
            for id in versions {
                match model.versions.get(id) {
                    Some(version) if version.key == *key && version.sent <= at => {
                        present.insert(*id);
                    }
                    _ if *key >= PROBE_KEY => {}
                    _ => stray.push(*id),
                }
            }
        }
        if !stray.is_empty() {
            return Err(format!("there are versions that nobody was told of: {stray:?}"));
        }
        check_presence(model, at, &present)?;
        self.check_entries(model, names, &present)?;
        Ok(present)
    }

    fn check_entries(&self, model: &Model, names: &Names, present: &BTreeSet<BlobId>) -> Result<(), String> {
        for (name, key) in names.iter().filter(|(_, key)| **key < PROBE_KEY) {
            let mut heads = model.heads(*key, present);
            heads.reverse();
            let shown = String::from_utf8_lossy(name);
            match (self.seen.keys.get(name), heads.first()) {
                (None, None) => {}
                (Some((_, found)), Some(winner)) => {
                    if *found != heads {
                        return Err(format!("the heads of {shown} are {found:?} and should be {heads:?}"));
                    }
                    let Some(expected) = model.versions.get(winner) else { return Err("no winner".to_owned()) };
                    let len = expected.content.as_ref().map_or(0, |content| content.len() as u64);
                    let kind = EntryKind::Key {
                        winner: *winner,
                        created: expected.created,
                        len,
                        heads: heads.len() as u32,
                        gone: expected.content.is_none(),
                    };
                    let listed = self.entries.get(name);
                    if listed != Some(&kind) {
                        return Err(format!("{shown} is listed as {listed:?} and should be {kind:?}"));
                    }
                }
                (found, _) => return Err(format!("{shown} has {found:?} and should have the heads {heads:?}")),
            }
        }
        Ok(())
    }
}

/// Compares all that a node shows, and every byte that it holds, with the model as of a moment.
pub(super) fn judge(node: &mut Node, model: &Model, at: Moment) -> Result<Seen, String> {
    let sight = look(node, false)?;
    let present = sight.judge(model, &names(model), at)?;
    check_levels(node, &sight)?;
    let present: Vec<BlobId> = present.into_iter().collect();
    check_versions(node, model, &present)?;
    let purged = model.purged(Moment::MAX);
    check_absence(node, purged.into_iter().filter(|id| present.binary_search(id).is_err()))?;
    check_events(node)?;
    Ok(sight.seen)
}

/// What was purged is not found by its id either.
pub(super) fn check_absence(node: &mut Node, ids: impl IntoIterator<Item = BlobId>) -> Result<(), String> {
    for id in ids {
        match node.ask(Request::GetVersion(id)) {
            Ok(Reply::Got(got)) if matches!(got.as_slice(), [Err(Failure::NoSuchVersion(_))]) => {}
            other => return Err(format!("version {id} was purged and its id gives {other:?}")),
        }
    }
    Ok(())
}

/// Nothing is taken for damage.
pub(super) fn check_events(node: &mut Node) -> Result<(), String> {
    match node.events().iter().find(|event| matches!(event, Event::Integrity(_))) {
        Some(event) => Err(format!("damage on a disk that has none: {event:?}")),
        None => Ok(()),
    }
}

/// Acknowledged and not purged: there. Purged: not there. Under way: there or not, as a whole.
fn check_presence(model: &Model, at: Moment, present: &BTreeSet<BlobId>) -> Result<(), String> {
    let purged = model.purged(at);
    let mut leaving = BTreeSet::new();
    for removal in model.removals.iter().filter(|removal| removal.sent <= at && removal.told > at) {
        let left = removal.versions.iter().filter(|id| present.contains(id)).count();
        if left != 0 && left != removal.versions.len() {
            return Err(format!("a purge happened by halves: {left} of {} versions are left", removal.versions.len()));
        }
        leaving.extend(removal.versions.iter().copied());
    }
    for (id, version) in &model.versions {
        let here = present.contains(id);
        let shown = || format!("version {id} of {} (request {})", key_name(version.key), version.tag);
        if here && purged.contains(id) {
            return Err(format!("{} was purged and is back", shown()));
        }
        if !here && version.told <= at && !purged.contains(id) && !leaving.contains(id) {
            return Err(format!("{} was acknowledged and is lost", shown()));
        }
        for parent in version.parents.iter().filter(|_| here) {
            let gone = purged.contains(parent) || leaving.contains(parent);
            if !present.contains(parent) && !gone {
                return Err(format!("{} is there without {parent}, which it follows", shown()));
            }
        }
    }
    Ok(())
}

/// By level: the same names, folded at their first slash.
fn check_levels(node: &mut Node, sight: &Sight) -> Result<(), String> {
    let top: BTreeSet<Vec<u8>> = sight
        .entries
        .keys()
        .map(|name| match name.iter().position(|byte| *byte == b'/') {
            Some(slash) => name[..=slash].to_vec(),
            None => name.clone(),
        })
        .collect();
    let level: Vec<Vec<u8>> = listing(node, false, 7)?.into_iter().map(|entry| entry.name).collect();
    if level != top.iter().cloned().collect::<Vec<_>>() {
        return Err(format!("the top level is listed as {level:?} and should be {top:?}"));
    }
    Ok(())
}

/// These versions read back exactly.
pub(super) fn check_versions(node: &mut Node, model: &Model, ids: &[BlobId]) -> Result<(), String> {
    ids.chunks(READ_AT_ONCE).try_for_each(|ids| check_some(node, model, ids))
}

fn check_some(node: &mut Node, model: &Model, ids: &[BlobId]) -> Result<(), String> {
    let mut wanted = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(expected) = model.versions.get(id) else { return Err(format!("version {id} is unknown")) };
        wanted.push((name(expected.key)?, exactly(*id)));
    }
    match node.ask(Request::Get(wanted)) {
        Ok(Reply::Got(got)) if got.len() == ids.len() => {
            ids.iter().zip(got).try_for_each(|(id, got)| check_version(node, model, *id, got))
        }
        other => Err(format!("reading {ids:?} gives {other:?}")),
    }
}

/// A version reads back exactly, for which the node gave this.
fn check_version(node: &mut Node, model: &Model, id: BlobId, got: Result<Got, Failure>) -> Result<(), String> {
    let Some(expected) = model.versions.get(&id) else { return Err(format!("version {id} is unknown")) };
    let shown = || format!("version {id} of {} (request {})", key_name(expected.key), expected.tag);
    let got: Got = match (got, &expected.content) {
        (Err(Failure::Gone { version, .. }), None) if version == id => return Ok(()),
        (Ok(got), Some(_)) => got,
        (other, _) => return Err(format!("{} gives {other:?}", shown())),
    };
    let Some(content) = &expected.content else { return Err(format!("{} has content", shown())) };
    let version = &got.version;
    if (version.id, version.created, version.len, version.gone) != (id, expected.created, content.len() as u64, false)
        || version.parents != expected.parents
        || got.attributes.get(TAG) != Some(expected.tag.to_le_bytes().as_slice())
        || got.key.as_bytes() != key_name(expected.key).as_bytes()
    {
        return Err(format!("{} is described as {got:?} and should be {expected:?}", shown()));
    }
    let mut found = Vec::with_capacity(content.len());
    match got.inline {
        Some(inline) => found.extend_from_slice(&inline),
        None => match node.ask(Request::Read { blob: id, range: 0..version.len }) {
            Ok(Reply::Data(pieces)) => pieces.iter().for_each(|piece| found.extend_from_slice(piece)),
            other => return Err(format!("the content of {} gives {other:?}", shown())),
        },
    }
    if found != *content {
        return Err(format!("{} reads back as other bytes", shown()));
    }
    Ok(())
}
