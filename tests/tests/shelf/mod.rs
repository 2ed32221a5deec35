//! A small store with something of everything in it, and what must be read from it.
//!
//! The script is the same every time: times from a list, contents from a hash, one keyring. What it writes is therefore
//! the same too, byte for byte, for as long as format and engine stay what they are.
// Each test that shares this uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use ouroboros_engine::blob::{Attributes, BlobKind};
use ouroboros_engine::env::Disk;
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    Base, Failure, Limits, ListRequest, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, Select, StoreConfig,
    Written,
};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use ouroboros_sim::local::{Local, config, keyring};
use std::collections::BTreeMap;

/// Names the keyring of every store here.
pub const KEYRING: u8 = 1;
/// Seeds the store's randomness.
pub const SEED: u64 = 7;
/// When the script begins: 2024-01-01.
const START_MILLIS: u64 = 1_704_067_200_000;

/// A version that must be there.
#[derive(Clone, Debug)]
pub struct Shelved {
    pub key: String,
    pub id: BlobId,
    pub created: Hlc,
    /// `None`: it says "gone".
    pub content: Option<Bytes>,
    pub attributes: Attributes,
}

/// What must be read from the store.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// Every version that was not purged, in the order of the puts.
    pub versions: Vec<Shelved>,
    /// Versions that were purged.
    pub purged: Vec<BlobId>,
    /// Keys of which nothing is left.
    pub absent: Vec<String>,
    /// The heads of every key, winner first.
    pub heads: BTreeMap<String, Vec<BlobId>>,
}

/// How much goes into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the value whose chunks fill a window, so that their slices lie apart.
    pub spread_len: usize,
    /// Bytes of the value that has a few chunks.
    pub middle_len: usize,
    /// Small values.
    pub small: usize,
}

pub fn key(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

/// Bytes that do not compress, from a hash.
pub fn content(len: usize, seed: u32) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

/// Bytes that do.
fn prose(len: usize) -> Bytes {
    let words = b"the log is the truth, the index is a cache, and every byte comes back; ";
    words.iter().copied().cycle().take(len).collect()
}

/// Small chunks, so that small contents have many.
pub fn chunker() -> ChunkerParams {
    ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 2048, avg_len: 8192, max_len: 32768 }
}

/// Small segments, so that small stores have several; and checkpoints in between.
pub fn limits() -> Limits {
    Limits {
        segment_len: 256 << 10,
        replay_len: 300 << 10,
        index_cache_len: 1 << 20,
        body_cache_len: 1 << 20,
        ..Limits::default()
    }
}

pub fn store_config() -> StoreConfig {
    config(&keyring(KEYRING), Coding::default(), chunker())
}

/// Makes the store.
pub fn create<D: Disk>(disk: &D, limits: Limits) -> Local<D> {
    Local::create(disk.clone(), store_config(), keyring(KEYRING), limits, SEED).unwrap()
}

/// The script under way.
struct Script<'a, D: Disk> {
    node: &'a mut Local<D>,
    shelf: Shelf,
    steps: u64,
}

impl<D: Disk> Script<'_, D> {
    fn tick(&mut self) {
        self.steps += 1;
        self.node.set_time(self.steps * 1_000_000_000, START_MILLIS + self.steps * 1000);
    }

    fn put_many(&mut self, puts: Vec<(&str, PutSource, PutOptions, Option<Bytes>)>) -> Vec<Written> {
        self.tick();
        let request = puts.iter().map(|(name, source, options, _)| Put {
            key: key(name),
            source: source.clone(),
            options: options.clone(),
        });
        let Reply::Put(results) = self.node.ask(Request::Put(request.collect())).unwrap() else { panic!("no put") };
        let written: Vec<Written> = results.into_iter().map(Result::unwrap).collect();
        for ((name, _, options, content), written) in puts.into_iter().zip(&written) {
            let (id, created, attributes) = (written.id, written.created, options.attributes);
            let shelved = Shelved { key: name.to_owned(), id, created, content, attributes };
            self.shelf.versions.push(shelved);
        }
        written
    }

    fn put_with(&mut self, name: &str, content: &Bytes, options: PutOptions) -> BlobId {
        let put = (name, PutSource::Value(content.clone()), options, Some(content.clone()));
        self.put_many(vec![put])[0].id
    }

    fn put(&mut self, name: &str, content: &Bytes) -> BlobId {
        self.put_with(name, content, PutOptions::default())
    }

    fn purge(&mut self, target: PurgeTarget, gone: impl Fn(&Shelved) -> bool) {
        self.tick();
        let Reply::Purged { versions } = self.node.ask(Request::Purge(target)).unwrap() else { panic!("no purge") };
        let before = self.shelf.versions.len();
        let (purged, kept) = std::mem::take(&mut self.shelf.versions).into_iter().partition(gone);
        self.shelf.versions = kept;
        let purged: Vec<Shelved> = purged;
        assert_eq!(versions as usize, before - self.shelf.versions.len());
        self.shelf.purged.extend(purged.iter().map(|version| version.id));
        for version in purged {
            if !self.shelf.versions.iter().any(|kept| kept.key == version.key) {
                self.shelf.absent.push(version.key);
            }
        }
    }
}

fn based_on(parents: &[BlobId]) -> PutOptions {
    PutOptions { base: Base::Versions(parents.to_vec()), ..PutOptions::default() }
}

/// Plays the script: small values alone and together, values of many chunks, versions that follow each other, diverge
/// and merge, removal, a snapshot, purged versions and a purged key.
pub fn fill<D: Disk>(node: &mut Local<D>, size: Size) -> Shelf {
    let mut script = Script { node, shelf: Shelf::default(), steps: 0 };
    // Small ones, several to a commit.
    let names: Vec<String> = (0..size.small).map(|n| format!("small/{n:03}")).collect();
    for group in names.chunks(8) {
        let puts = group.iter().enumerate().map(|(n, name)| {
            let value = content(37 * n + 5, n as u32);
            let mut attributes = Attributes::new();
            attributes.set("mode", [n as u8]).unwrap();
            let options = PutOptions { attributes, ..PutOptions::default() };
            (name.as_str(), PutSource::Value(value.clone()), options, Some(value))
        });
        script.put_many(puts.collect());
    }
    for (n, len) in [0, 1, 4096, 4097].into_iter().enumerate() {
        script.put(&format!("size/{len}"), &content(len, 100 + n as u32));
    }
    script.put("prose", &prose(size.middle_len));
    // A version of many chunks, and one that shares most of them.
    let large = content(size.spread_len, 200);
    let first = script.put("large", &large);
    let edited: Bytes = [&large[..size.spread_len / 2], b"edited", &large[size.spread_len / 2..]].concat().into();
    script.put("large", &edited);
    // Divergence, and one merge of it.
    let base = script.put("tree/forked", &content(900, 300));
    let left = script.put("tree/forked", &content(1800, 301));
    let right = script.put_with("tree/forked", &content(size.middle_len, 302), based_on(&[base]));
    let origin = script.put("tree/merged", &content(50, 303));
    let mine = script.put("tree/merged", &content(60, 304));
    let theirs = script.put_with("tree/merged", &content(70, 305), based_on(&[origin]));
    script.put_with("tree/merged", &content(80, 306), based_on(&[mine, theirs]));
    // Removed, its history stays.
    script.put("removed", &content(600, 400));
    script.put_many(vec![("removed", PutSource::Gone, PutOptions::default(), None)]);
    // A snapshot names many heads at once.
    let snapshot = snapshot_of(&script.shelf);
    let options = PutOptions { kind: BlobKind::VersionVector, ..PutOptions::default() };
    script.put_with("snapshots", &snapshot, options);
    // Purged: a key of its own chunks, one version in the middle of a history, a key that shares its chunks.
    script.put("purged/own", &content(size.middle_len, 500));
    script.put("purged/shared", &large);
    script.put("purged/middle", &content(100, 501));
    let middle = script.put("purged/middle", &content(5000, 502));
    script.put("purged/middle", &content(120, 503));
    script.purge(PurgeTarget::Key(key("purged/own")), |version| version.key == "purged/own");
    script.purge(PurgeTarget::Key(key("purged/shared")), |version| version.key == "purged/shared");
    script.purge(PurgeTarget::Version(middle), |version| version.id == middle);
    script.purge(PurgeTarget::Version(first), |version| version.id == first);
    script.put("last", &content(2000, 600));
    let mut shelf = script.shelf;
    shelf.heads = heads(node, &shelf);
    assert_eq!(shelf.heads["tree/forked"].len(), 2, "{left} and {right}");
    shelf
}

/// The encoded list of what each key's newest version is.
fn snapshot_of(shelf: &Shelf) -> Bytes {
    use ouroboros_engine::blob::{SnapshotEntry, SnapshotWriter};
    let mut newest: BTreeMap<&str, BlobId> = BTreeMap::new();
    newest.extend(shelf.versions.iter().map(|version| (version.key.as_str(), version.id)));
    let mut writer = SnapshotWriter::new();
    let mut out = writer.start().to_vec();
    for (name, id) in newest {
        writer.push(&SnapshotEntry { name: name.as_bytes().to_vec(), id }, &mut out).unwrap();
    }
    out.into()
}

fn heads<D: Disk>(node: &mut Local<D>, shelf: &Shelf) -> BTreeMap<String, Vec<BlobId>> {
    let mut heads = BTreeMap::new();
    for version in &shelf.versions {
        let Reply::Versions(found) = node.ask(Request::Heads(key(&version.key))).unwrap() else { panic!("no heads") };
        heads.insert(version.key.clone(), found.into_iter().map(|head| head.id).collect());
    }
    heads
}

/// How a store that was looked at compares with what must be read from it.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Versions that came back byte for byte.
    pub exact: u64,
    /// What answered with an error that names the damage.
    pub named: Vec<String>,
    /// What was said not to be there, and is.
    pub missing: Vec<String>,
    /// Wrong bytes, a wrong history, an error that says nothing, a deleted version.
    pub wrong: Vec<String>,
}

impl Findings {
    pub fn is_exact(&self) -> bool {
        self.named.is_empty() && self.missing.is_empty() && self.wrong.is_empty()
    }

    fn failed(&mut self, what: &str, failure: &Failure) {
        match failure {
            Failure::Damaged { place } if !place.is_empty() => self.named.push(format!("{what}: {failure}")),
            Failure::NoSuchKey(_) | Failure::NoSuchVersion(_) => self.missing.push(format!("{what}: {failure}")),
            _ => self.wrong.push(format!("{what}: {failure:?}")),
        }
    }
}

/// Bytes of one read.
const READ_LEN: u64 = 1 << 20;

/// A version's content, by its id.
pub fn read<D: Disk>(node: &mut Local<D>, id: BlobId) -> Result<(String, Attributes, Bytes, bool), Failure> {
    let Reply::Got(mut results) = node.ask(Request::GetVersion(id))? else { panic!("not got") };
    let got = results.pop().unwrap()?;
    let name = got.key.to_string();
    if let Some(inline) = got.inline {
        return Ok((name, got.attributes, inline, got.version.gone));
    }
    let mut out = Vec::new();
    while (out.len() as u64) < got.version.len {
        let start = out.len() as u64;
        let range = start..(start + READ_LEN).min(got.version.len);
        let Reply::Data(pieces) = node.ask(Request::Read { blob: got.version.id, range })? else { panic!("no data") };
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    }
    Ok((name, got.attributes, out.into(), got.version.gone))
}

/// Reads everything: every version, the winner and the heads of every key, what was purged, the list of names.
pub fn look<D: Disk>(node: &mut Local<D>, shelf: &Shelf) -> Findings {
    let mut findings = Findings::default();
    for version in &shelf.versions {
        let what = format!("version {} of {}", version.id, version.key);
        match read(node, version.id) {
            Ok((name, attributes, bytes, gone)) => {
                let expected = version.content.clone().unwrap_or_default();
                let same = name == version.key && bytes == expected && gone == version.content.is_none();
                if same && attributes == version.attributes {
                    findings.exact += 1;
                } else {
                    findings.wrong.push(format!("{what}: {} other bytes", bytes.len()));
                }
            }
            Err(failure) => findings.failed(&what, &failure),
        }
    }
    for (name, expected) in &shelf.heads {
        match node.ask(Request::Heads(key(name))) {
            Ok(Reply::Versions(found)) => {
                let found: Vec<BlobId> = found.iter().map(|version| version.id).collect();
                if found != *expected {
                    // A version that is not known is missing; one that should not be a head is wrong.
                    let stray = found.iter().any(|id| !shelf.versions.iter().any(|version| version.id == *id));
                    let text = format!("heads of {name}: {found:?}, not {expected:?}");
                    if stray { findings.wrong.push(text) } else { findings.missing.push(text) }
                }
            }
            Ok(other) => findings.wrong.push(format!("heads of {name}: {other:?}")),
            Err(failure) => findings.failed(&format!("heads of {name}"), &failure),
        }
        match node.ask(Request::Get(vec![(key(name), Select::Winner)])) {
            Ok(Reply::Got(mut got)) => match got.pop().unwrap() {
                Ok(got) if Some(&got.version.id) == expected.first() => {}
                Ok(got) => findings.missing.push(format!("the winner of {name} is {}", got.version.id)),
                Err(Failure::Gone { version, .. }) if Some(&version) == expected.first() => {}
                Err(failure) => findings.failed(&format!("the winner of {name}"), &failure),
            },
            Ok(other) => findings.wrong.push(format!("the winner of {name}: {other:?}")),
            Err(failure) => findings.failed(&format!("the winner of {name}"), &failure),
        }
    }
    for id in &shelf.purged {
        match node.ask(Request::GetVersion(*id)) {
            Ok(Reply::Got(got)) if matches!(got[0], Err(Failure::NoSuchVersion(_) | Failure::Damaged { .. })) => {}
            other => findings.wrong.push(format!("{id} was purged: {other:?}")),
        }
    }
    for name in &shelf.absent {
        match node.ask(Request::Get(vec![(key(name), Select::Winner)])) {
            Ok(Reply::Got(got)) if matches!(got[0], Err(Failure::NoSuchKey(_) | Failure::Damaged { .. })) => {}
            other => findings.wrong.push(format!("{name} was purged: {other:?}")),
        }
    }
    list(node, shelf, &mut findings);
    findings
}

fn list<D: Disk>(node: &mut Local<D>, shelf: &Shelf, findings: &mut Findings) {
    let request = ListRequest { recursive: true, include_gone: true, limit: 1000, ..ListRequest::default() };
    match node.ask(Request::List(request)) {
        Ok(Reply::Listing(page)) => {
            let found: Vec<String> =
                page.entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect();
            let expected: Vec<String> = shelf.heads.keys().cloned().collect();
            if found.iter().any(|name| !expected.contains(name)) {
                findings.wrong.push(format!("listed: {found:?}"));
            } else if found != expected {
                findings.missing.push(format!("listed: {found:?}"));
            }
        }
        Ok(other) => findings.wrong.push(format!("listing: {other:?}")),
        Err(failure) => findings.failed("listing", &failure),
    }
}
