//! Compares a node with the model: everything that was promised is there, exactly; nothing else is.

use super::model::{Model, Moment, key_name};
use super::player::{Node, TAG, exactly, name};
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::{Entry, EntryKind, Event, Failure, Got, ListRequest, Reply, Request, Version};
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

fn listing(node: &mut Node, recursive: bool) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut request = ListRequest { recursive, include_gone: true, limit: 7, ..ListRequest::default() };
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

fn history(node: &mut Node, key: &ouroboros_engine::names::KeyName) -> Result<Vec<Version>, String> {
    let mut versions: Vec<Version> = Vec::new();
    loop {
        let after = versions.last().map(|version| (version.created, version.id));
        match node.ask(Request::Log { key: key.clone(), after, limit: 50 }) {
            Ok(Reply::Versions(page)) if page.is_empty() => return Ok(versions),
            Ok(Reply::Versions(page)) => versions.extend(page),
            Err(Failure::NoSuchKey(_)) if after.is_none() => return Ok(versions),
            other => return Err(format!("the history of {key} came to {other:?}")),
        }
    }
}

/// What a node shows, read without opening any value.
pub(super) fn observe(node: &mut Node) -> Result<Seen, String> {
    let mut keys = BTreeMap::new();
    for entry in listing(node, true)? {
        let key = ouroboros_engine::names::KeyName::new(entry.name.clone()).map_err(|error| error.to_string())?;
        let versions: Vec<BlobId> = history(node, &key)?.into_iter().map(|version| version.id).collect();
        let heads: Vec<BlobId> = match node.ask(Request::Heads(key)) {
            Ok(Reply::Versions(heads)) => heads.into_iter().map(|version| version.id).collect(),
            other => return Err(format!("the heads came to {other:?}")),
        };
        let EntryKind::Key { winner, heads: count, .. } = entry.kind else { return Err(format!("{entry:?}")) };
        if heads.first() != Some(&winner) || heads.len() != count as usize || versions.is_empty() {
            return Err(format!("listing, heads {heads:?} and history {versions:?} disagree: {winner}, {count} heads"));
        }
        keys.insert(entry.name, (versions, heads));
    }
    Ok(Seen { keys })
}

/// Compares with the model as of a moment: requests sent before and not yet answered may have happened, whole.
pub(super) fn judge(node: &mut Node, model: &Model, at: Moment) -> Result<Seen, String> {
    let seen = observe(node)?;
    let names: BTreeMap<Vec<u8>, usize> = model
        .versions
        .values()
        .map(|version| version.key)
        .chain(PROBE_KEY..PROBE_KEY + 4)
        .map(|key| (key_name(key).into_bytes(), key))
        .collect();
    let mut present: BTreeSet<BlobId> = BTreeSet::new();
    let mut stray = Vec::new();
    for (name, (versions, _)) in &seen.keys {
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
    check_entries(node, model, &names, &present, &seen)?;
    let present: Vec<BlobId> = present.into_iter().collect();
    for ids in present.chunks(READ_AT_ONCE) {
        check_versions(node, model, ids)?;
    }
    for id in model.purged(Moment::MAX).into_iter().filter(|id| present.binary_search(id).is_err()) {
        match node.ask(Request::GetVersion(id)) {
            Ok(Reply::Got(got)) if matches!(got.as_slice(), [Err(Failure::NoSuchVersion(_))]) => {}
            other => return Err(format!("version {id} was purged and its id gives {other:?}")),
        }
    }
    let events = node.events();
    match events.iter().find(|event| matches!(event, Event::Integrity(_))) {
        Some(event) => Err(format!("damage on a disk that has none: {event:?}")),
        None => Ok(seen),
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

fn check_entries(
    node: &mut Node,
    model: &Model,
    names: &BTreeMap<Vec<u8>, usize>,
    present: &BTreeSet<BlobId>,
    seen: &Seen,
) -> Result<(), String> {
    let entries: BTreeMap<Vec<u8>, EntryKind> =
        listing(node, true)?.into_iter().map(|entry| (entry.name, entry.kind)).collect();
    for (name, key) in names.iter().filter(|(_, key)| **key < PROBE_KEY) {
        let mut heads = model.heads(*key, present);
        heads.reverse();
        let shown = String::from_utf8_lossy(name);
        match (seen.keys.get(name), heads.first()) {
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
                if entries.get(name) != Some(&kind) {
                    return Err(format!("{shown} is listed as {:?} and should be {kind:?}", entries.get(name)));
                }
            }
            (found, _) => return Err(format!("{shown} has {found:?} and should have the heads {heads:?}")),
        }
    }
    // By level: the same names, folded at their first slash.
    let top: BTreeSet<Vec<u8>> = entries
        .keys()
        .map(|name| match name.iter().position(|byte| *byte == b'/') {
            Some(slash) => name[..=slash].to_vec(),
            None => name.clone(),
        })
        .collect();
    let level: Vec<Vec<u8>> = listing(node, false)?.into_iter().map(|entry| entry.name).collect();
    if level != top.iter().cloned().collect::<Vec<_>>() {
        return Err(format!("the top level is listed as {level:?} and should be {top:?}"));
    }
    Ok(())
}

/// These versions read back exactly.
fn check_versions(node: &mut Node, model: &Model, ids: &[BlobId]) -> Result<(), String> {
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
