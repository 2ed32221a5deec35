//! A small world with a model: one node, a faulty disk, and a client that remembers what it was told.

use bytes::Bytes;
use ouroboros_engine::env::{Disk, FileName, Volume};
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    Base, Failure, Limits, Profile, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, Written,
};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use ouroboros_engine::store::index::IndexName;
use ouroboros_sim::crypto::cheap_keyring;
use ouroboros_sim::disk::{CrashVariant, Damage, Fault, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, config};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why a promise is broken, in words.
pub(crate) type Broken = String;
type Check = Result<(), Broken>;

const KEYS: u32 = 4;
/// Most sectors that are lost at once.
const BURST: u64 = 1;
const REST: u64 = 20_000_000_000;

/// SplitMix64: the draws of one seed.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A version that the client was told of.
#[derive(Clone, Debug)]
struct Known {
    created: Hlc,
    content: Bytes,
    parents: BTreeSet<BlobId>,
    purged: bool,
}

pub(crate) struct World {
    disk: FaultyDisk,
    node: Option<Local<FaultyDisk>>,
    keys: Arc<Keyring>,
    limits: Limits,
    draws: Draws,
    instant: u64,
    wall: u64,
    newest: Hlc,
    versions: BTreeMap<u32, BTreeMap<BlobId, Known>>,
    /// Puts whose outcome is not known, until the next look.
    doubtful: Vec<(u32, Bytes)>,
    /// Keys of which a purge has an unknown outcome.
    fading: BTreeSet<u32>,
    serial: u64,
    /// What was done last.
    story: Vec<&'static str>,
}

pub(crate) fn key(number: u32) -> KeyName {
    KeyName::new(format!("marker-name-{number}")).unwrap()
}

pub(crate) fn noise(seed: u64, len: usize) -> Bytes {
    let mut draws = Draws(seed);
    (0..len).map(|_| draws.next() as u8).collect::<Vec<u8>>().into()
}

pub(crate) fn limits() -> Limits {
    Limits {
        segment_len: 48 << 10,
        window_len: 32 << 10,
        replay_len: 24 << 10,
        index_overlay_len: 32 << 10,
        ..Profile::Background.limits()
    }
}

impl World {
    /// A world in which everything happens.
    pub(crate) fn new(seed: u64) -> Self {
        let mut draws = Draws(seed);
        let disk = FaultyDisk::new(FaultPlan::new(seed));
        disk.limit_log(0);
        let keys = Arc::new(cheap_keyring([3; 32]));
        let chunker = ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 1024, avg_len: 2048, max_len: 4096 };
        let config = config(&keys, Coding::new(2, 1).unwrap(), chunker);
        let limits = Limits { index_in_memory: draws.below(3) == 0, ..limits() };
        let node = Local::create(disk.clone(), config, keys.clone(), limits.clone(), seed).unwrap();
        Self {
            disk,
            node: Some(node),
            keys,
            limits,
            draws,
            instant: 0,
            wall: 1_000_000,
            newest: Hlc(0),
            versions: BTreeMap::new(),
            doubtful: Vec::new(),
            fading: BTreeSet::new(),
            serial: seed << 20,
            story: Vec::new(),
        }
    }

    /// So many operations, and a look at everything after each that could break a promise.
    pub(crate) fn run(&mut self, operations: u64) -> Check {
        for _ in 0..operations {
            self.story.clear();
            self.instant += 1_000_000;
            self.wall += self.draws.below(3);
            self.set_time();
            self.operation().map_err(|why| format!("{why}; {:?}", self.story))?;
        }
        self.scrub_and_look()
    }

    fn set_time(&mut self) {
        if let Some(node) = &mut self.node {
            node.set_time(self.instant, self.wall);
        }
    }

    fn node(&mut self) -> &mut Local<FaultyDisk> {
        self.node.as_mut().unwrap()
    }

    fn operation(&mut self) -> Check {
        match self.draws.below(30) {
            0..=7 => self.put_some(false),
            8 | 9 => self.put_some(true),
            10 => self.put_beside(),
            11 | 12 => self.purge_version(),
            13 => self.purge_key(),
            14 => self.compact().and_then(|()| self.look()),
            15 => self.scrub_and_look(),
            16 => self.crash(CrashVariant::AllLost),
            17 => {
                let seed = self.draws.next();
                self.crash(CrashVariant::Torn(seed))
            }
            18 => {
                let seed = self.draws.next();
                self.crash(CrashVariant::Subset(seed))
            }
            19 => self.close(false),
            20 => self.close(true),
            21 | 22 => self.rot(),
            23 => self.fail_sync(),
            24 => self.fill_disk(),
            25..=27 => self.crash_during(),
            28 => self.purge_while_putting(),
            _ => self.jump_wall(),
        }
    }

    fn content(&mut self) -> Bytes {
        self.serial += 1;
        match self.draws.below(4) {
            0 => Bytes::from(format!("marker-value-{}", self.serial)),
            1 => noise(self.draws.below(3), 6000),
            _ => noise(self.serial | 1 << 60, 2000 + self.draws.below(9000) as usize),
        }
    }

    fn put_of(number: u32, content: &Bytes, base: Base) -> Put {
        let options = PutOptions { base, ..PutOptions::default() };
        Put { key: key(number), source: PutSource::Value(content.clone()), options }
    }

    /// One value, or several keys in one request.
    fn put_some(&mut self, several: bool) -> Check {
        self.story.push("put_some");
        let first = self.draws.below(u64::from(KEYS)) as u32;
        let numbers: Vec<u32> = if several { (0..KEYS).collect() } else { vec![first] };
        let values: Vec<(u32, Bytes)> = numbers.into_iter().map(|number| (number, self.content())).collect();
        self.put(values, None)
    }

    /// A version that follows some version, whatever else follows it.
    fn put_beside(&mut self) -> Check {
        self.story.push("put_beside");
        let number = self.draws.below(u64::from(KEYS)) as u32;
        let live: Vec<BlobId> = self.live(number).keys().copied().collect();
        if live.is_empty() {
            return Ok(());
        }
        let parent = live[self.draws.below(live.len() as u64) as usize];
        let content = self.content();
        self.put(vec![(number, content)], Some(parent))?;
        self.look()
    }

    fn put(&mut self, values: Vec<(u32, Bytes)>, parent: Option<BlobId>) -> Check {
        let before: Vec<Option<BlobId>> = values.iter().map(|(number, _)| self.winner(*number)).collect();
        let base = || parent.map_or(Base::Winner, |parent| Base::Versions(vec![parent]));
        let puts = values.iter().map(|(number, content)| Self::put_of(*number, content, base())).collect();
        let results = match self.node().ask(Request::Put(puts)) {
            Ok(Reply::Put(results)) => results,
            Ok(other) => return Err(format!("a put was answered with {other:?}")),
            Err(failure) => vec![Err(failure); values.len()],
        };
        let floor = self.newest;
        for ((value, winner), result) in values.into_iter().zip(before).zip(results) {
            self.told(value, parent.or(winner), floor, result)?;
        }
        Ok(())
    }

    fn told(
        &mut self,
        (number, content): (u32, Bytes),
        parent: Option<BlobId>,
        floor: Hlc,
        result: Result<Written, Failure>,
    ) -> Check {
        match result {
            Ok(written) => {
                if written.created <= floor {
                    return Err(format!("stamp {:?} after {floor:?}", written.created));
                }
                self.newest = self.newest.max(written.created);
                let parents = parent.into_iter().collect();
                let known = Known { created: written.created, content, parents, purged: false };
                self.versions.entry(number).or_default().insert(written.id, known);
                Ok(())
            }
            // Whether it is durable will be known at the next opening.
            Err(Failure::Disk(_) | Failure::Index(_)) => {
                self.doubtful.push((number, content));
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    fn live(&self, number: u32) -> BTreeMap<BlobId, Known> {
        let all = self.versions.get(&number).cloned().unwrap_or_default();
        all.into_iter().filter(|(_, known)| !known.purged).collect()
    }

    /// The versions that nothing alive descends from.
    fn heads(&self, number: u32) -> BTreeSet<BlobId> {
        let Some(all) = self.versions.get(&number) else { return BTreeSet::new() };
        let mut covered = BTreeSet::new();
        for known in all.values().filter(|known| !known.purged) {
            let mut stack: Vec<BlobId> = known.parents.iter().copied().collect();
            while let Some(id) = stack.pop() {
                if covered.insert(id) {
                    stack.extend(all.get(&id).into_iter().flat_map(|known| known.parents.iter().copied()));
                }
            }
        }
        self.live(number).into_keys().filter(|id| !covered.contains(id)).collect()
    }

    fn winner(&self, number: u32) -> Option<BlobId> {
        let created = |id: &BlobId| (self.versions[&number][id].created, *id);
        self.heads(number).into_iter().max_by_key(created)
    }

    fn purge_version(&mut self) -> Check {
        self.story.push("purge_version");
        let number = self.draws.below(u64::from(KEYS)) as u32;
        let live: Vec<BlobId> = self.live(number).keys().copied().collect();
        if live.is_empty() {
            return Ok(());
        }
        let id = live[self.draws.below(live.len() as u64) as usize];
        self.purge(number, PurgeTarget::Version(id), &[id])?;
        self.look()
    }

    fn purge_key(&mut self) -> Check {
        self.story.push("purge_key");
        let number = self.draws.below(u64::from(KEYS)) as u32;
        let live: Vec<BlobId> = self.live(number).keys().copied().collect();
        if live.is_empty() { Ok(()) } else { self.purge(number, PurgeTarget::Key(key(number)), &live) }
    }

    fn purge(&mut self, number: u32, target: PurgeTarget, ids: &[BlobId]) -> Check {
        match self.node().ask(Request::Purge(target)) {
            Ok(_) => {
                let versions = self.versions.entry(number).or_default();
                ids.iter().for_each(|id| versions.get_mut(id).unwrap().purged = true);
            }
            Err(Failure::Disk(_) | Failure::Index(_)) => {
                self.fading.insert(number);
            }
            Err(_) => {}
        }
        Ok(())
    }

    fn compact(&mut self) -> Check {
        self.story.push("compact");
        match self.node().ask(Request::Compact) {
            Ok(_) | Err(Failure::Full | Failure::Disk(_)) => Ok(()),
            Err(failure) => Err(format!("a compaction failed: {failure}")),
        }
    }

    pub(crate) fn scrub_and_look(&mut self) -> Check {
        self.story.push("scrub_and_look");
        match self.node().ask(Request::Scrub { repair: true }) {
            Ok(Reply::Scrubbed(report)) if !report.lost.is_empty() => {
                return Err(format!("a scrub gave up {} versions", report.lost.len()));
            }
            Ok(_) | Err(Failure::Full) => {}
            Err(failure) => return Err(format!("a scrub failed: {failure}")),
        }
        self.look()
    }

    fn crash(&mut self, variant: CrashVariant) -> Check {
        self.story.push("crash");
        self.node = None;
        self.disk.crash(variant);
        self.disk.calm();
        self.reopen(false)
    }

    fn close(&mut self, without_index: bool) -> Check {
        self.story.push("close");
        if let Some(node) = self.node.take() {
            node.close().map_err(|failure| format!("cannot close: {failure}"))?;
        }
        self.reopen(without_index)
    }

    fn reopen(&mut self, without_index: bool) -> Check {
        self.story.push("reopen");
        self.disk = self.disk.recover();
        if without_index {
            let _ = self.disk.remove(Volume::Index, &FileName::new(IndexName::Lasting.name()).unwrap());
        }
        let seed = self.draws.next();
        let opened = Local::open(self.disk.clone(), self.keys.clone(), self.limits.clone(), seed);
        self.node = Some(opened.map_err(|error| format!("cannot open: {error}"))?.0);
        self.set_time();
        self.look()
    }

    /// Rests until all is covered by parity, then loses a burst of sectors of one segment.
    fn rot(&mut self) -> Check {
        self.story.push("rot");
        self.instant += REST;
        self.set_time();
        self.node().settle();
        // Not the end of the log: where its last commit cannot be read, opening rightly refuses.
        let mut files: Vec<(FileName, u64)> = self.disk.files(Volume::Blocks);
        files.pop();
        if files.is_empty() {
            return Ok(());
        }
        let (name, len) = files[self.draws.below(files.len() as u64) as usize].clone();
        let first = self.draws.below(len / 512);
        for sector in first..first + 1 + self.draws.below(BURST) {
            let damage = match self.draws.below(3) {
                0 => Damage::Zeroed,
                1 => Damage::Unreadable,
                _ => Damage::FlippedBit { bit: self.draws.next() as u16 },
            };
            self.disk.damage(Volume::Blocks, &name, sector, damage);
        }
        match self.draws.below(4) {
            0 => self.scrub_and_look(),
            1 => self.close(true),
            2 => self.crash(CrashVariant::AllLost),
            _ => self.compact(),
        }?;
        // Nothing rots twice before it could be healed.
        self.scrub_and_look()
    }

    fn fail_sync(&mut self) -> Check {
        self.story.push("fail_sync");
        let fault = if self.draws.below(2) == 0 { Fault::SyncFailureDroppingCache } else { Fault::SyncFailure };
        self.disk.inject(self.disk.operations_so_far() + 1, fault);
        self.put_some(false)?;
        self.put_some(false)?;
        self.crash(CrashVariant::AllLost)
    }

    fn fill_disk(&mut self) -> Check {
        self.story.push("fill_disk");
        let room = self.draws.below(4) * 1500;
        self.disk.set_capacity(Some(self.disk.used_bytes() + room));
        for _ in 0..3 {
            self.put_some(false)?;
        }
        self.disk.set_capacity(None);
        self.look()?;
        let before = self.doubtful.len();
        self.put_some(false)?;
        if self.doubtful.len() > before { Err("a disk with room refuses a write".into()) } else { Ok(()) }
    }

    fn crash_during(&mut self) -> Check {
        self.story.push("crash_during");
        let at = self.disk.operations_so_far() + 1 + self.draws.below(12);
        self.disk.crash_at(at);
        match self.draws.below(4) {
            0 => self.put_some(true)?,
            1 => drop(self.node().ask(Request::Compact)),
            2 => self.purge_key()?,
            _ => self.put_some(false)?,
        }
        self.put_some(false)?;
        let seed = self.draws.next();
        let variant = match self.draws.below(3) {
            0 => CrashVariant::AllLost,
            1 => CrashVariant::AllKept,
            _ => CrashVariant::Torn(seed),
        };
        self.crash(variant)
    }

    /// In one turn the last owner of a value goes, and the same value comes in under another key.
    fn purge_while_putting(&mut self) -> Check {
        self.story.push("purge_while_putting");
        let content = noise(1 << 50 | self.serial, 5000);
        self.serial += 1;
        self.put(vec![(0, content.clone())], None)?;
        let Some(id) = self.winner(0).filter(|id| self.versions[&0][id].content == content) else { return Ok(()) };
        let parent = self.winner(1);
        let put = Request::Put(vec![Self::put_of(1, &content, Base::Winner)]);
        let requests = vec![put, Request::Purge(PurgeTarget::Version(id))];
        let ids = self.node().send_all(requests);
        self.node().settle();
        match (self.node().take(ids[0]), self.node().take(ids[1])) {
            (Some(Reply::Put(mut results)), Some(Reply::Purged { .. })) => {
                let result = results.pop().unwrap();
                self.told((1, content), parent, self.newest, result)?;
                self.versions.get_mut(&0).unwrap().get_mut(&id).unwrap().purged = true;
            }
            _ => {
                self.doubtful.push((1, content));
                self.fading.insert(0);
            }
        }
        self.compact()?;
        self.look()
    }

    fn jump_wall(&mut self) -> Check {
        self.story.push("jump_wall");
        self.wall = self.draws.below(2_000_000);
        self.set_time();
        if self.draws.below(2) == 0 {
            self.crash(CrashVariant::AllKept)?;
        }
        self.put_some(false)
    }

    /// Everything the client was told, against everything there is.
    pub(crate) fn look(&mut self) -> Check {
        for number in 0..KEYS {
            self.look_at(number)?;
        }
        self.doubtful.clear();
        self.fading.clear();
        Ok(())
    }

    fn ids(&mut self, request: Request) -> Result<Vec<(BlobId, Hlc, Vec<BlobId>)>, Broken> {
        match self.node().ask(request) {
            Ok(Reply::Versions(versions)) => {
                Ok(versions.into_iter().map(|version| (version.id, version.created, version.parents)).collect())
            }
            Err(Failure::NoSuchKey(_)) => Ok(Vec::new()),
            other => Err(format!("a question was answered with {other:?}")),
        }
    }

    fn look_at(&mut self, number: u32) -> Check {
        let found = self.ids(Request::Log { key: key(number), after: None, limit: 10_000 })?;
        let there: BTreeSet<BlobId> = found.iter().map(|version| version.0).collect();
        for (id, known) in self.live(number) {
            if there.contains(&id) {
                continue;
            }
            if !self.fading.contains(&number) {
                return Err(format!("key {number}: version {id} is gone, {} bytes", known.content.len()));
            }
            self.versions.get_mut(&number).unwrap().get_mut(&id).unwrap().purged = true;
        }
        for (id, created, parents) in found {
            let content = self.read(id)?;
            match self.versions.get(&number).and_then(|versions| versions.get(&id)) {
                Some(known) if known.purged => return Err(format!("key {number}: {id} was purged and is back")),
                Some(known) if known.content != content => return Err(format!("key {number}: {id} has other bytes")),
                Some(_) => {}
                None if self.doubtful.contains(&(number, content.clone())) => {
                    let known = Known { created, content, parents: parents.into_iter().collect(), purged: false };
                    self.newest = self.newest.max(created);
                    self.versions.entry(number).or_default().insert(id, known);
                }
                None => return Err(format!("key {number}: nobody wrote version {id}")),
            }
        }
        let heads: Vec<BlobId> = self.ids(Request::Heads(key(number)))?.into_iter().map(|head| head.0).collect();
        let expected = self.heads(number);
        if heads.iter().copied().collect::<BTreeSet<_>>() != expected {
            return Err(format!("key {number}: {} heads, and {} expected", heads.len(), expected.len()));
        }
        if heads.first().copied() != self.winner(number) {
            return Err(format!("key {number}: another winner than expected"));
        }
        Ok(())
    }

    fn read(&mut self, id: BlobId) -> Result<Bytes, Broken> {
        let mut out = Vec::new();
        loop {
            let start = out.len() as u64;
            let range = start..start + 1777;
            let pieces = match self.node().ask(Request::Read { blob: id, range }) {
                Ok(Reply::Data(pieces)) => pieces,
                other => return Err(format!("version {id} cannot be read: {other:?}")),
            };
            let before = out.len();
            pieces.iter().for_each(|piece| out.extend_from_slice(piece));
            if out.len() - before < 1777 {
                return Ok(out.into());
            }
        }
    }
}
