//! The golden store: what this build writes when nothing is left to chance, and what must be read back from it.
//!
//! Fixed seeds, a clock turned by hand and a disk in memory, so the same bytes come out on every machine and at every run.
//! `tests/golden/v1` holds them as they were when the format was set; `tests/tests/golden_store.rs` compares, and
//! [`crate::portable`] repeats the run on wasm32.

use bytes::Bytes;
use ouroboros_engine::blob::{Attributes, BlobKind, SnapshotEntry, SnapshotWriter};
use ouroboros_engine::env::{Disk, DiskFile, MemoryDisk, OpenMode, Volume};
use ouroboros_engine::id::{BlobId, EngineRng};
use ouroboros_engine::keys::{DedupScope, KdfParams, Keyring, Vault};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Base, Failure, Limits, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, Written};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use ouroboros_sim::local::{Local, config, keyring};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// Opens the store's keyring file.
pub const PASSPHRASE: &[u8] = b"golden";
/// Says which versions the store holds, a line each.
pub const MANIFEST: &str = "manifest";
/// A hash over the segments and everything that was read back.
pub const DIGEST: &str = "digest";

/// When the first version was made, in milliseconds since the Unix epoch.
const START: u64 = 1_700_000_000_000;
/// Chunks small enough that a small value has several, and large enough that padding does not swell the store.
const CHUNKER: ChunkerParams =
    ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 4 << 10, avg_len: 8 << 10, max_len: 16 << 10 };

/// What became of one version.
#[derive(Clone, Debug)]
struct Made {
    key: &'static str,
    id: BlobId,
    created: u64,
    kind: BlobKind,
    parents: Vec<BlobId>,
    content: Option<Bytes>,
    attributes: Attributes,
    purged: bool,
}

/// The run, as far as it has come.
struct Run {
    disk: MemoryDisk,
    keys: Arc<Keyring>,
    node: Option<Local<MemoryDisk>>,
    made: Vec<Made>,
    wall: u64,
}

type Outcome<T> = Result<T, String>;

fn told(error: impl core::fmt::Display) -> String {
    error.to_string()
}

fn limits() -> Limits {
    Limits {
        segment_len: 80 << 10,
        window_len: 32 << 10,
        inflight_len: 1 << 20,
        index_cache_len: 256 << 10,
        index_overlay_len: 1 << 20,
        ..Limits::default()
    }
}

fn coding(data: u8, parity: u8) -> Outcome<Coding> {
    Coding::new(data, parity).map_err(told)
}

/// Bytes that nothing compresses.
fn noise(seed: u8, len: usize) -> Bytes {
    let mut rng = EngineRng::from_seed([seed; 32]);
    (0..len.div_ceil(32)).flat_map(|_| rng.bytes::<32>()).take(len).collect()
}

/// Text that compresses to half its length.
fn digits(seed: u8, len: usize) -> Bytes {
    noise(seed, len / 2).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// Lines that compress well.
fn lines(from: usize, to: usize) -> Bytes {
    (from..to).flat_map(|n| format!("line {n}: a snake that eats its own tail\n").into_bytes()).collect()
}

fn options(base: Base) -> PutOptions {
    PutOptions { base, ..PutOptions::default() }
}

impl Run {
    fn new() -> Outcome<Self> {
        let (disk, keys) = (MemoryDisk::new(), keyring(1));
        let config = config(&keys, coding(4, 2)?, CHUNKER);
        let node = Local::create(disk.clone(), config, keys.clone(), limits(), 1).map_err(told)?;
        Ok(Self { disk, keys, node: Some(node), made: Vec::new(), wall: START })
    }

    fn ask(&mut self, request: Request) -> Outcome<Reply> {
        self.wall += 1000;
        let node = self.node.as_mut().ok_or("the store is closed")?;
        node.set_time(self.wall - START, self.wall);
        node.ask(request).map_err(told)
    }

    fn put(&mut self, key: &'static str, content: Option<Bytes>, options: PutOptions) -> Outcome<BlobId> {
        let source = content.clone().map_or(PutSource::Gone, PutSource::Value);
        let name = KeyName::new(key).map_err(told)?;
        let mut parents = match &options.base {
            Base::Versions(parents) => parents.clone(),
            Base::Winner => self.winner(key).into_iter().collect(),
        };
        parents.sort_unstable();
        let (attributes, kind) = (options.attributes.clone(), options.kind);
        let reply = self.ask(Request::Put(vec![Put { key: name, source, options }]))?;
        let Reply::Put(results) = reply else { return Err("no version came of a put".into()) };
        let Written { id, created, .. } = results.into_iter().next().ok_or("no answer")?.map_err(told)?;
        let kind = if parents.len() > 1 { BlobKind::Merger } else { kind };
        self.made.push(Made { key, id, created: created.0, kind, parents, content, attributes, purged: false });
        Ok(id)
    }

    /// The versions that no other follows, not even one that was purged; the winner first.
    fn heads(&self, key: &str) -> Vec<BlobId> {
        let of_key = || self.made.iter().filter(|made| made.key == key);
        let is_followed = |made: &Made| of_key().any(|other| other.parents.contains(&made.id));
        let mut heads: Vec<&Made> = of_key().filter(|made| !made.purged && !is_followed(made)).collect();
        heads.sort_unstable_by_key(|made| core::cmp::Reverse((made.created, made.id)));
        heads.iter().map(|made| made.id).collect()
    }

    /// By the rule: the highest stamp among the heads.
    fn winner(&self, key: &str) -> Option<BlobId> {
        self.heads(key).first().copied()
    }

    fn purge(&mut self, key: &'static str, version: Option<BlobId>) -> Outcome<()> {
        let target = match version {
            Some(version) => PurgeTarget::Version(version),
            None => PurgeTarget::Key(KeyName::new(key).map_err(told)?),
        };
        self.ask(Request::Purge(target))?;
        for made in self.made.iter_mut().filter(|made| made.key == key) {
            made.purged |= version.is_none_or(|version| version == made.id);
        }
        Ok(())
    }

    /// Ends this life of the store.
    fn close(&mut self) -> Outcome<()> {
        self.node.take().map_or(Ok(()), Local::close).map_err(told)
    }

    /// Begins the next.
    fn open(&mut self, seed: u64) -> Outcome<()> {
        self.node = Some(Local::open(self.disk.clone(), self.keys.clone(), limits(), seed).map_err(told)?.0);
        Ok(())
    }

    fn play(&mut self) -> Outcome<()> {
        // A change of coding leaves a note in the log.
        self.put("before/the/policy", Some("sealed as the store was made".into()), PutOptions::default())?;
        self.ask(Request::Recode(Coding::default()))?;

        // Values of all kinds.
        self.put("empty", Some(Bytes::new()), PutOptions::default())?;
        let mut attributes = Attributes::new();
        attributes.set(*b"mode", *b"0644").map_err(told)?;
        attributes.set(*b"\x00any\xff", *b"bytes").map_err(told)?;
        self.put("small", Some("the value itself".into()), PutOptions { attributes, ..PutOptions::default() })?;
        self.put("raw", Some(noise(2, 4200)), PutOptions::default())?;
        self.put("zstd", Some(digits(3, 14_000)), PutOptions::default())?;
        self.put("packed", Some(lines(0, 300)), PutOptions::default())?;
        let user = PutOptions { scope: DedupScope::User(self.keys.author()), ..PutOptions::default() };
        self.put("scope/user", Some(digits(4, 9_500)), user)?;
        let none = DedupScope::None([9; 32]);
        let other = PutOptions { coding: Some(coding(2, 2)?), scope: none, ..PutOptions::default() };
        self.put("scope/none", Some(digits(4, 9_500)), other)?;
        self.put("names/with any byte \u{1}\u{e9}\n", Some("odd".into()), PutOptions::default())?;

        // Several versions, a fork, its merger, and a fork that is left open.
        self.put("notes", Some(lines(0, 10)), PutOptions::default())?;
        let base = self.put("notes", Some(lines(0, 20)), PutOptions::default())?;
        let left = self.put("notes", Some(lines(10, 20)), options(Base::Versions(vec![base])))?;
        let right = self.put("notes", Some(lines(0, 30)), options(Base::Versions(vec![base])))?;
        self.put("notes", Some(lines(10, 30)), options(Base::Versions(vec![left, right])))?;
        let root = self.put("conflict", Some("root".into()), PutOptions::default())?;
        self.put("conflict", Some("left".into()), options(Base::Versions(vec![root])))?;
        self.put("conflict", Some("right".into()), options(Base::Versions(vec![root])))?;

        // A snapshot names the winners of many keys.
        let mut entries: Vec<SnapshotEntry> = Vec::new();
        for key in ["conflict", "notes", "raw", "small"] {
            let id = self.winner(key).ok_or("no winner")?;
            entries.push(SnapshotEntry { name: key.into(), id });
        }
        let mut writer = SnapshotWriter::new();
        let mut list = writer.start().to_vec();
        for entry in &entries {
            writer.push(entry, &mut list).map_err(told)?;
        }
        let vector = PutOptions { kind: BlobKind::VersionVector, ..PutOptions::default() };
        self.put(".ouroboros/snapshots/first", Some(list.into()), vector)?;

        // What is removed keeps its history; what is purged leaves a tombstone, also in the middle of a history.
        self.put("removed", Some("was here".into()), PutOptions::default())?;
        self.put("removed", None, PutOptions::default())?;
        self.put("purged", Some("to be destroyed".into()), PutOptions::default())?;
        self.put("purged", Some("and again".into()), PutOptions::default())?;
        self.purge("purged", None)?;
        self.put("hole", Some("one".into()), PutOptions::default())?;
        let two = self.put("hole", Some("two".into()), PutOptions::default())?;
        self.put("hole", Some("three".into()), PutOptions::default())?;
        self.purge("hole", Some(two))?;

        // A second life of the log.
        self.close()?;
        self.open(2)?;
        self.put("second/life", Some("after an orderly end".into()), PutOptions::default())?;
        self.put("small", Some("the value after it".into()), PutOptions::default())?;
        Ok(())
    }

    fn manifest(&self) -> String {
        let mut out = String::new();
        for made in &self.made {
            let line = VersionLine {
                key: made.key.as_bytes(),
                id: made.id,
                created: made.created,
                kind: made.kind,
                parents: &made.parents,
                content: made.content.as_deref(),
                attributes: &made.attributes,
            };
            let _ = writeln!(out, "{} {line}", if made.purged { "purged" } else { "version" });
        }
        for key in self.made.iter().map(|made| made.key).collect::<BTreeSet<_>>() {
            let _ = write!(out, "heads {}", key.as_bytes().escape_ascii());
            for head in self.heads(key) {
                let _ = write!(out, " {head}");
            }
            out.push('\n');
        }
        out
    }

    /// Reads every version back through the node, and folds it into a hash with all that stands on the disk.
    fn digest(&mut self) -> Outcome<String> {
        let mut digest = blake3::Hasher::new();
        for (name, bytes) in files(&self.disk, Volume::Blocks, "blocks")? {
            digest.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        for made in self.made.clone() {
            let Reply::Got(found) = self.ask(Request::GetVersion(made.id))? else {
                return Err("no answer to a get".into());
            };
            match (found.into_iter().next().ok_or("no answer")?, made.purged) {
                (Err(Failure::NoSuchVersion(_)), true) => continue,
                (Ok(_), true) => return Err(format!("{} was purged, and can be read", made.key)),
                (Err(failure), _) => return Err(format!("{}: {failure}", made.key)),
                (Ok(_), false) => {}
            }
            let Some(content) = made.content else { continue };
            let Reply::Data(data) = self.ask(Request::Read { blob: made.id, range: 0..content.len() as u64 })? else {
                return Err("no answer to a read".into());
            };
            if data.concat() != content {
                return Err(format!("{} reads back as other bytes", made.key));
            }
            digest.update(&content);
        }
        Ok(digest.finalize().to_string())
    }
}

/// One version as the manifest shows it.
#[derive(Clone, Copy, Debug)]
pub struct VersionLine<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its id.
    pub id: BlobId,
    /// Its stamp.
    pub created: u64,
    /// Child, Merger or VersionVector.
    pub kind: BlobKind,
    /// What it follows, in order.
    pub parents: &'a [BlobId],
    /// Its value; none if it says that the key is gone.
    pub content: Option<&'a [u8]>,
    /// The metadata sealed beside it.
    pub attributes: &'a Attributes,
}

impl core::fmt::Display for VersionLine<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {} {:016x} {:?} ", self.key.escape_ascii(), self.id, self.created, self.kind)?;
        match self.content {
            Some(content) => write!(f, "{} {}", content.len(), blake3::hash(content))?,
            None => f.write_str("gone")?,
        }
        for parent in self.parents {
            write!(f, " follows:{}", parent)?;
        }
        for (name, value) in self.attributes.iter() {
            write!(f, " {}={}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

fn files(disk: &MemoryDisk, volume: Volume, directory: &str) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for name in disk.list(volume).map_err(told)? {
        let file = disk.open(volume, &name, OpenMode::Read).map_err(told)?;
        let mut bytes = vec![0; file.len().map_err(told)? as usize];
        file.read_at(0, &mut bytes).map_err(told)?;
        found.insert(format!("{directory}/{}", name.as_str()), bytes);
    }
    Ok(found)
}

/// The files of the golden store, by their paths in its directory.
///
/// # Errors
/// Text that says what failed.
pub fn write() -> Outcome<BTreeMap<String, Vec<u8>>> {
    let mut run = Run::new()?;
    run.play()?;
    let manifest = run.manifest();
    run.close()?;
    let mut found = files(&run.disk, Volume::Blocks, "blocks")?;
    found.extend(files(&run.disk, Volume::Index, "index")?);
    run.open(3)?;
    let digest = run.digest()?;
    let mut rng = EngineRng::from_seed([6; 32]);
    let keyring = Vault::seal(&run.keys, PASSPHRASE, KdfParams::TESTING, &mut rng).map_err(told)?;
    let description = "format = 1\nblocks = \"blocks\"\nindex = \"index\"\n";
    found.insert("keyring".into(), keyring);
    found.insert("ouroboros.toml".into(), description.into());
    found.insert(MANIFEST.into(), manifest.into_bytes());
    found.insert(DIGEST.into(), format!("{digest}\n").into_bytes());
    Ok(found)
}
