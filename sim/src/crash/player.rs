//! Asks a node what the script says, and writes down what it answered.

use super::model::{Model, Moment, Removal, Version, key_name};
use super::script::{Ask, Script, Value, keyless_asks};
use super::store::{Node, Store};
use crate::disk::FaultyDisk;
use bytes::Bytes;
use core::fmt;
use ouroboros_engine::blob::Attributes;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    Base, Failure, OpenError, Opened, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, RequestId, Select,
    Written,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The attribute that names the request which made a version.
pub(super) const TAG: &[u8] = b"tag";

/// Asks a process without keys, and demands that it has nothing to complain of on a disk that has no faults.
pub(super) fn ask_keyless(node: &mut Node, request: Request) -> Result<(), String> {
    match node.ask(request.clone()) {
        Ok(Reply::Scrubbed(report)) if !(report.damage.is_empty() && report.lost.is_empty()) => {
            Err(format!("a disk without faults is damaged: {report:?}"))
        }
        Ok(Reply::Recoded(report)) if !report.damaged.is_empty() => {
            Err(format!("seals could not be recoded: {report:?}"))
        }
        Ok(Reply::Scrubbed(_) | Reply::Recoded(_) | Reply::Compacted(_)) => Ok(()),
        other => Err(format!("without keys, {request:?} was answered with {other:?}")),
    }
}

/// Counts what clients sent and were told, for whoever has to order it with operations of the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Clerk {
    now: Arc<AtomicU64>,
    told: Arc<Mutex<BTreeMap<RequestId, Moment>>>,
}

impl Clerk {
    pub(super) fn now(&self) -> Moment {
        self.now.load(Ordering::SeqCst)
    }

    pub(super) fn tick(&self) -> Moment {
        self.now.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Goes on where an earlier run was.
    pub(super) fn at(now: Moment) -> Self {
        Self { now: Arc::new(AtomicU64::new(now)), told: Arc::default() }
    }

    fn listen(&self, node: &mut Node) {
        let clerk = self.clone();
        clerk.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        node.on_reply(move |id| {
            let moment = clerk.tick();
            clerk.told.lock().unwrap_or_else(PoisonError::into_inner).insert(id, moment);
        });
    }

    fn told(&self, id: RequestId) -> Moment {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(&id).copied().unwrap_or(Moment::MAX)
    }
}

/// A request under way.
struct Sent {
    ask: Ask,
    /// The request whose reply is the answer, and those before it that belong to it.
    id: RequestId,
    before: Vec<RequestId>,
    tag: u64,
    at: Moment,
}

/// How far the script was played.
#[derive(Debug)]
pub(super) struct Player {
    store: Store,
    pub(super) disk: FaultyDisk,
    pub(super) node: Option<Node>,
    pub(super) model: Model,
    pub(super) clerk: Clerk,
    /// Requests that failed since they were last taken, with the reason.
    pub(super) failed: Vec<(Ask, Failure)>,
    next_tag: u64,
    pub(super) done: Done,
}

/// What was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Requests that clients sent, those that were answered with a failure among them.
    pub asked: u64,
    /// Versions, mergers among them.
    pub puts: u64,
    /// Versions that follow several.
    pub merges: u64,
    /// Purges of keys and of versions.
    pub purges: u64,
    /// Compactions that were asked for.
    pub compactions: u64,
    /// Recodings and scrubs.
    pub upkeep: u64,
    /// What processes without keys did.
    pub keyless: u64,
}

/// What is needed to go on at the start of a stage.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    store: Store,
    pub(super) disk: FaultyDisk,
    model: Model,
    now: Moment,
    next_tag: u64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, puts, merges, purges, compactions, upkeep, keyless } = self;
        write!(
            f,
            "{asked} operations: {puts} puts ({merges} of them merges), {purges} purges, {compactions} compactions, {upkeep} recodings and scrubs, \
             and {keyless} of the last three without keys"
        )
    }
}

impl Player {
    pub(super) fn new(store: Store, disk: FaultyDisk, clerk: Clerk) -> Self {
        Self {
            store,
            disk,
            node: None,
            model: Model::default(),
            clerk,
            failed: Vec::new(),
            next_tag: 1,
            done: Done::default(),
        }
    }

    /// Where the script stands now, while no node is open.
    pub(super) fn stage(&self) -> Stage {
        Stage {
            store: self.store,
            disk: self.disk.snapshot(),
            model: self.model.clone(),
            now: self.clerk.now(),
            next_tag: self.next_tag,
        }
    }

    /// A player that goes on at a stage, on a disk of its own.
    pub(super) fn resume(stage: &Stage) -> Self {
        let mut player = Self::new(stage.store, stage.disk.snapshot(), Clerk::at(stage.now));
        player.model.clone_from(&stage.model);
        player.next_tag = stage.next_tag;
        player
    }

    /// Opens the store for a stage, or makes it for the first.
    pub(super) fn start(&mut self, script: &Script, stage: usize) -> Result<(), OpenError> {
        let seed = script.seed.wrapping_mul(31).wrapping_add(stage as u64);
        let mut node = match stage {
            0 => self.store.create(&self.disk, seed)?,
            _ => self.store.open(&self.disk, seed)?.0,
        };
        self.clerk.listen(&mut node);
        self.node = Some(node);
        Ok(())
    }

    /// Opens the store again after the process or the machine was gone.
    pub(super) fn reopen(&mut self, seed: u64) -> Result<Opened, OpenError> {
        let (mut node, opened) = self.store.open(&self.disk, seed)?;
        self.clerk.listen(&mut node);
        self.node = Some(node);
        Ok(opened)
    }

    pub(super) fn node(&mut self) -> Result<&mut Node, String> {
        self.node.as_mut().ok_or_else(|| "no node is open".to_owned())
    }

    /// Ends a stage: every other one in an orderly way, the others by killing the process.
    pub(super) fn end(&mut self, stage: usize) -> Result<(), Failure> {
        let Some(mut node) = self.node.take() else { return Ok(()) };
        if stage.is_multiple_of(2) {
            if let Err(failure) = node.ask(Request::Close) {
                self.node = Some(node);
                return Err(failure);
            }
            return node.shut_down();
        }
        drop(node);
        self.disk = self.disk.restart();
        Ok(())
    }

    /// Lets a process without keys do its work between two stages. It ends in the other way than the stage did.
    pub(super) fn visit_keyless(&mut self, script: &Script, stage: usize) -> Result<(), String> {
        let seed = script.seed.wrapping_mul(37).wrapping_add(stage as u64);
        let (mut node, opened) = self.store.open_keyless(&self.disk, seed).map_err(|error| error.to_string())?;
        if !opened.damaged.is_empty() {
            return Err(format!("a disk without faults is damaged: {opened:?}"));
        }
        for request in keyless_asks(stage) {
            ask_keyless(&mut node, request)?;
            self.done.keyless += 1;
        }
        if stage.is_multiple_of(2) {
            drop(node);
            self.disk = self.disk.restart();
            return Ok(());
        }
        node.close().map_err(|failure| format!("without keys, the store does not close: {failure}"))
    }

    /// Has a group of requests under way together, until all are answered and the node is idle.
    pub(super) fn play(&mut self, asks: Vec<Ask>) -> Result<(), String> {
        let mut sent = Vec::with_capacity(asks.len());
        for ask in asks {
            sent.push(self.send(ask)?);
        }
        self.node()?.settle();
        for sent in sent {
            self.note(sent)?;
        }
        Ok(())
    }

    fn send(&mut self, ask: Ask) -> Result<Sent, String> {
        let tag = self.next_tag;
        self.next_tag += 1;
        let at = self.clerk.tick();
        self.done.asked += 1;
        let mut before = Vec::new();
        let node = self.node()?;
        let id = match &ask {
            Ask::Put { key, value, base, pieces } => {
                let mut put = new_put(*key, tag, base.clone())?;
                match value {
                    Value::Gone => put.source = PutSource::Gone,
                    Value::SameAs(id) => put.source = PutSource::SameAs(*id),
                    Value::Bytes(bytes) if *pieces == 0 => put.source = PutSource::Value(bytes.clone()),
                    Value::Bytes(bytes) => {
                        put.source = PutSource::Stream;
                        let stream = node.send(Request::PutOpen(Box::new(put)));
                        before.push(stream);
                        let step = bytes.len().div_ceil(*pieces).max(1);
                        for from in (0..bytes.len()).step_by(step) {
                            let data = bytes.slice(from..bytes.len().min(from + step));
                            before.push(node.send(Request::PutData { stream, data }));
                        }
                        let id = node.send(Request::PutEnd { stream });
                        return Ok(Sent { ask, id, before, tag, at });
                    }
                }
                node.send(Request::Put(vec![put]))
            }
            Ask::PurgeKey(key) => node.send(Request::Purge(PurgeTarget::Key(name(*key)?))),
            Ask::PurgeVersion(id) => node.send(Request::Purge(PurgeTarget::Version(*id))),
            Ask::Compact => node.send(Request::Compact),
            Ask::Recode(coding) => node.send(Request::Recode(*coding)),
            Ask::Scrub => node.send(Request::Scrub { repair: true }),
        };
        Ok(Sent { ask, id, before, tag, at })
    }

    fn note(&mut self, sent: Sent) -> Result<(), String> {
        let mut early = None;
        for id in &sent.before {
            match self.node()?.take(*id) {
                Some(Reply::Ready) => {}
                Some(Reply::Failed(failure)) => early = early.or(Some(failure)),
                other => return Err(format!("a piece of a stream was answered with {other:?}")),
            }
        }
        let Some(reply) = self.node()?.take(sent.id) else {
            return Err(format!("{:?} was never answered", sent.ask));
        };
        let told = self.clerk.told(sent.id);
        match (&sent.ask, reply) {
            (_, Reply::Failed(failure)) => self.failed.push((sent.ask, early.unwrap_or(failure))),
            (Ask::Put { .. }, Reply::Put(mut results)) => match results.pop() {
                Some(Ok(written)) => self.note_put(&sent, &written, told)?,
                Some(Err(failure)) => self.failed.push((sent.ask, early.unwrap_or(failure))),
                None => return Err("a put has no result".to_owned()),
            },
            (Ask::PurgeKey(_) | Ask::PurgeVersion(_), Reply::Purged { versions }) => {
                let ids = match &sent.ask {
                    Ask::PurgeKey(key) => self.model.live_of(*key).into_iter().collect(),
                    Ask::PurgeVersion(id) => [*id].into(),
                    _ => return Err("no purge".to_owned()),
                };
                let removal = Removal { versions: ids, sent: sent.at, told };
                if removal.versions.len() as u64 != versions {
                    return Err(format!("{:?} destroyed {versions} versions, not {removal:?}", sent.ask));
                }
                self.model.removals.push(removal);
                self.done.purges += 1;
            }
            (Ask::Recode(_), Reply::Recoded(report)) if !report.damaged.is_empty() => {
                return Err(format!("seals could not be recoded: {report:?}"));
            }
            (Ask::Scrub, Reply::Scrubbed(report)) if !(report.damage.is_empty() && report.lost.is_empty()) => {
                return Err(format!("a disk without faults is damaged: {report:?}"));
            }
            (Ask::Compact, Reply::Compacted(_)) => self.done.compactions += 1,
            (Ask::Recode(_), Reply::Recoded(_)) | (Ask::Scrub, Reply::Scrubbed(_)) => self.done.upkeep += 1,
            (ask, reply) => return Err(format!("{ask:?} was answered with {reply:?}")),
        }
        Ok(())
    }

    fn note_put(&mut self, sent: &Sent, written: &Written, told: Moment) -> Result<(), String> {
        let Ask::Put { key, value, base, .. } = &sent.ask else { return Err("no put".to_owned()) };
        let content = match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            Value::Gone => None,
            Value::SameAs(id) => self.model.versions.get(id).and_then(|version| version.content.clone()),
        };
        let Some(version) = version_of(self.node()?, *key, written.id)? else {
            return Err(format!("version {} is not in its key's history right after it was written", written.id));
        };
        if let Some(base) = base {
            let mut base = base.clone();
            base.sort_unstable();
            if version.parents != base {
                return Err(format!("version {} follows {:?}, not {base:?}", written.id, version.parents));
            }
        }
        let version = Version {
            key: *key,
            created: written.created,
            parents: version.parents,
            content,
            tag: sent.tag,
            sent: sent.at,
            told,
        };
        self.done.puts += 1;
        self.done.merges += u64::from(version.parents.len() > 1);
        match self.model.versions.insert(written.id, version) {
            Some(old) => Err(format!("version {} was written twice: {old:?}", written.id)),
            None => Ok(()),
        }
    }
}

pub(super) fn name(key: usize) -> Result<KeyName, String> {
    KeyName::new(key_name(key)).map_err(|error| error.to_string())
}

/// A put of nothing yet.
pub(super) fn new_put(key: usize, tag: u64, base: Option<Vec<BlobId>>) -> Result<Put, String> {
    let mut attributes = Attributes::new();
    attributes.set(TAG, tag.to_le_bytes()).map_err(|error| error.to_string())?;
    let base = base.map_or(Base::Winner, Base::Versions);
    let options = PutOptions { attributes, base, ..PutOptions::default() };
    Ok(Put { key: name(key)?, source: PutSource::Value(Bytes::new()), options })
}

/// Puts one value and waits for it.
pub(super) fn put_now(node: &mut Node, key: usize, tag: u64, value: Bytes) -> Result<Written, String> {
    let put = Put { source: PutSource::Value(value), ..new_put(key, tag, None)? };
    match node.ask(Request::Put(vec![put])) {
        Ok(Reply::Put(mut results)) => match results.pop() {
            Some(Ok(written)) => Ok(written),
            other => Err(format!("a put came to {other:?}")),
        },
        other => Err(format!("a put came to {other:?}")),
    }
}

fn version_of(node: &mut Node, key: usize, id: BlobId) -> Result<Option<ouroboros_engine::node::Version>, String> {
    let mut after = None;
    loop {
        let page = match node.ask(Request::Log { key: name(key)?, after, limit: 100 }) {
            Ok(Reply::Versions(page)) => page,
            other => return Err(format!("the history of {} came to {other:?}", key_name(key))),
        };
        let Some(last) = page.last() else { return Ok(None) };
        after = Some((last.created, last.id));
        if let Some(found) = page.into_iter().find(|version| version.id == id) {
            return Ok(Some(found));
        }
    }
}

/// Which version is asked for by its id.
pub(super) const fn exactly(id: BlobId) -> Select {
    Select::Version(id)
}
