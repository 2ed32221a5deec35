//! A stand-in for `ouroborosdb::Db`, so that the command compiles and can be tried before the library lands.
//!
//! It keeps everything in memory and writes one file when closed. It encrypts nothing, heals nothing and promises
//! nothing. Only `store.rs` and `keyring_file.rs` may name it; it is deleted when the library is there.
#![allow(dead_code, unused_imports, missing_docs)]

mod keys;
mod types;

pub(crate) use keys::{KdfParams, Keyring, MasterSecret, Vault, VaultError};
pub(crate) use types::{
    Coding, CompactReport, DamagedObject, Diff, DiffRange, Entry, Error, Finding, Got, KeyName, ListOptions,
    MergeStrategy, Page, Progress, Put, PutOptions, ScrubOptions, ScrubReport, Severity, SnapshotInfo, SnapshotPage,
    Stats, Version, VersionKind, VersionSelector, escape, unescape,
};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use ouroboros_engine::env::WallTime;
use ouroboros_engine::id::{BlobId, Hlc, HlcClock};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Clone, BorshSerialize, BorshDeserialize)]
struct Row {
    id: BlobId,
    created: Hlc,
    parents: Vec<BlobId>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Option<Vec<u8>>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct SnapshotRow {
    id: BlobId,
    created: Hlc,
    name: String,
    entries: Vec<(Vec<u8>, BlobId)>,
}

#[derive(Default, BorshSerialize, BorshDeserialize)]
struct State {
    realm: [u8; 32],
    keys: BTreeMap<Vec<u8>, Vec<Row>>,
    snapshots: Vec<SnapshotRow>,
    last: Hlc,
}

struct Inner {
    state: State,
    file: PathBuf,
    dirty: bool,
    _lock: std::fs::File,
}

impl Inner {
    fn save(&mut self) -> Result<(), Error> {
        if self.dirty {
            let bytes = borsh::to_vec(&self.state).map_err(|e| Error::Io(e.to_string()))?;
            let temporary = self.file.with_extension("new");
            std::fs::write(&temporary, bytes).map_err(|e| Error::Io(e.to_string()))?;
            std::fs::rename(&temporary, &self.file).map_err(|e| Error::Io(e.to_string()))?;
            self.dirty = false;
        }
        Ok(())
    }

    fn stamp(&mut self) -> Hlc {
        let millis = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis() as u64);
        let mut clock = HlcClock::after(self.state.last);
        self.state.last = clock.issue(WallTime::from_unix_millis(millis));
        self.state.last
    }

    fn write(&mut self, key: &KeyName, content: Option<Vec<u8>>, options: PutOptions) -> Put {
        let created = self.stamp();
        let heads = self.state.keys.get(key.as_bytes()).map(|rows| heads_of(rows)).unwrap_or_default();
        let parents = options.based_on.unwrap_or_else(|| heads.first().map(|row| vec![row.id]).unwrap_or_default());
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.as_bytes()).update(&created.0.to_le_bytes());
        let id = BlobId::from_bytes(*hasher.finalize().as_bytes());
        let row = Row { id, created, parents, attributes: options.attributes, content };
        let rows = self.state.keys.entry(key.as_bytes().to_vec()).or_default();
        rows.push(row);
        self.dirty = true;
        Put { id, heads: heads_of(rows).iter().map(|row| row.id).collect() }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.save();
    }
}

fn heads_of(rows: &[Row]) -> Vec<Row> {
    let mut heads: Vec<Row> =
        rows.iter().filter(|row| !rows.iter().any(|other| other.parents.contains(&row.id))).cloned().collect();
    heads.sort_by_key(|row| std::cmp::Reverse((row.created, row.id)));
    heads
}

/// See `ouroborosdb::Db`.
#[derive(Clone)]
pub(crate) struct Db(Arc<Mutex<Inner>>);

/// See `ouroborosdb::Builder`.
#[derive(Default)]
pub(crate) struct Builder {
    store: PathBuf,
    keyring: Option<Keyring>,
}

impl Builder {
    pub(crate) fn store_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.store = path.into();
        self
    }
    pub(crate) fn index_dir(self, _path: impl Into<PathBuf>) -> Self {
        self
    }
    pub(crate) fn blocks_dir(self, _path: impl Into<PathBuf>) -> Self {
        self
    }
    pub(crate) fn redundancy(self, _coding: Coding) -> Self {
        self
    }
    pub(crate) fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }
    pub(crate) fn create(self) -> Result<Db, Error> {
        if self.store.join("standin").exists() {
            return Err(Error::Usage(format!("{} already holds a store", self.store.display())));
        }
        self.open_or_create()
    }
    pub(crate) fn open(self) -> Result<Db, Error> {
        if !self.store.join("standin").exists() {
            return Err(Error::Io(format!("{} holds no store", self.store.display())));
        }
        self.open_or_create()
    }
    pub(crate) fn open_or_create(self) -> Result<Db, Error> {
        let io = |e: std::io::Error| Error::Io(e.to_string());
        std::fs::create_dir_all(&self.store).map_err(io)?;
        let lock = std::fs::File::create(self.store.join("lock")).map_err(io)?;
        lock.try_lock().map_err(|_| Error::InUse(self.store.display().to_string()))?;
        let file = self.store.join("standin");
        let realm = self.keyring.as_ref().map(|k| *k.realm_id().as_bytes()).unwrap_or_default();
        let state = match std::fs::read(&file) {
            Ok(bytes) => borsh::from_slice::<State>(&bytes).map_err(|e| Error::Damaged(e.to_string()))?,
            Err(_) => State { realm, ..State::default() },
        };
        if state.realm != realm {
            return Err(Error::WrongKeys("the keyring is that of another store".into()));
        }
        let mut inner = Inner { state, file, dirty: true, _lock: lock };
        inner.save()?;
        Ok(Db(Arc::new(Mutex::new(inner))))
    }
}

impl Db {
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn rows(&self, key: &KeyName) -> Result<Vec<Row>, Error> {
        self.inner().state.keys.get(key.as_bytes()).cloned().ok_or_else(|| Error::NotFound(format!("no key {key}")))
    }

    pub(crate) fn put(&self, key: &KeyName, bytes: Bytes, options: PutOptions) -> Result<Put, Error> {
        Ok(self.inner().write(key, Some(bytes.to_vec()), options))
    }

    pub(crate) fn put_reader(&self, key: &KeyName, from: &mut dyn Read, options: PutOptions) -> Result<Put, Error> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(|e| Error::Io(e.to_string()))?;
        Ok(self.inner().write(key, Some(bytes), options))
    }

    pub(crate) fn put_many(&self, puts: Vec<(KeyName, Bytes, PutOptions)>) -> Result<Vec<Put>, Error> {
        let mut inner = self.inner();
        Ok(puts.into_iter().map(|(key, bytes, options)| inner.write(&key, Some(bytes.to_vec()), options)).collect())
    }

    pub(crate) fn get(&self, key: &KeyName, selector: VersionSelector) -> Result<Got, Error> {
        let rows = self.rows(key)?;
        let heads = heads_of(&rows);
        let missing = || Error::NotFound(format!("{key} has no such version"));
        let row = match selector {
            VersionSelector::Winner => heads.first().cloned(),
            VersionSelector::Id(id) => rows.iter().find(|row| row.id == id).cloned(),
            VersionSelector::At(time) => {
                rows.iter().filter(|row| row.created <= Hlc::end_of(time)).max_by_key(|row| row.created).cloned()
            }
        }
        .ok_or_else(missing)?;
        if row.content.is_none() && selector == VersionSelector::Winner {
            return Err(Error::NotFound(format!("{key} was removed")));
        }
        Ok(Got {
            id: row.id,
            others: heads.iter().map(|head| head.id).filter(|id| *id != row.id).collect(),
            attributes: row.attributes,
            len: row.content.as_ref().map_or(0, |c| c.len() as u64),
            gone: row.content.is_none(),
            created: row.created,
            content: row.content.unwrap_or_default().into(),
        })
    }

    pub(crate) fn read(&self, got: &Got, range: Range<u64>) -> Result<Bytes, Error> {
        let end = (range.end as usize).min(got.content.len());
        let start = (range.start as usize).min(end);
        Ok(got.content.slice(start..end))
    }

    pub(crate) fn write_to(&self, got: &Got, range: Range<u64>, to: &mut dyn Write) -> Result<(), Error> {
        for piece in self.read(got, range)?.chunks(1 << 20) {
            to.write_all(piece).map_err(|e| Error::Io(e.to_string()))?;
        }
        Ok(())
    }

    pub(crate) fn list(&self, prefix: &[u8], options: ListOptions) -> Result<Page, Error> {
        let inner = self.inner();
        let mut entries: Vec<Entry> = Vec::new();
        for (name, rows) in inner.state.keys.range(prefix.to_vec()..) {
            if !name.starts_with(prefix) {
                break;
            }
            let heads = heads_of(rows);
            let Some(winner) = heads.first().filter(|row| row.content.is_some()) else { continue };
            let slash = name[prefix.len()..].iter().position(|b| *b == b'/').filter(|_| !options.recursive);
            let entry = match slash {
                Some(at) => Entry {
                    name: name[..=prefix.len() + at].to_vec(),
                    is_directory: true,
                    len: None,
                    created: None,
                    heads: 0,
                },
                None => Entry {
                    name: name.clone(),
                    is_directory: false,
                    len: winner.content.as_ref().map(|c| c.len() as u64),
                    created: Some(winner.created),
                    heads: heads.len(),
                },
            };
            let seen = entries.last().is_some_and(|last| last.name == entry.name);
            if !seen && options.after.as_ref().is_none_or(|after| entry.name > *after) {
                if entries.len() == options.limit {
                    let next = entries.last().map(|last| last.name.clone());
                    return Ok(Page { entries, next });
                }
                entries.push(entry);
            }
        }
        Ok(Page { entries, next: None })
    }

    pub(crate) fn heads(&self, key: &KeyName) -> Result<Vec<Version>, Error> {
        Ok(self.log(key)?.into_iter().filter(|version| version.is_head).collect())
    }

    pub(crate) fn log(&self, key: &KeyName) -> Result<Vec<Version>, Error> {
        let rows = self.rows(key)?;
        let heads: Vec<BlobId> = heads_of(&rows).iter().map(|row| row.id).collect();
        let version = |row: &Row| Version {
            id: row.id,
            created: row.created,
            author: ouroboros_engine::id::AuthorId::from_bytes([0; 32]),
            kind: if row.parents.len() > 1 { VersionKind::Merger } else { VersionKind::Child },
            parents: row.parents.clone(),
            gone: row.content.is_none(),
            len: row.content.as_ref().map_or(0, |c| c.len() as u64),
            is_head: heads.contains(&row.id),
        };
        Ok(rows.iter().rev().map(version).collect())
    }

    pub(crate) fn diff(&self, key: &KeyName, a: BlobId, b: BlobId) -> Result<Diff, Error> {
        let (a, b) = (self.get(key, VersionSelector::Id(a))?, self.get(key, VersionSelector::Id(b))?);
        let equal = a.content == b.content;
        let ranges = if equal { Vec::new() } else { vec![DiffRange { a: 0..a.len, b: 0..b.len }] };
        Ok(Diff { ranges })
    }

    pub(crate) fn restore(&self, key: &KeyName, id: BlobId) -> Result<Put, Error> {
        let got = self.get(key, VersionSelector::Id(id))?;
        self.put(key, got.content, PutOptions { attributes: got.attributes, ..PutOptions::default() })
    }

    pub(crate) fn merge(&self, key: &KeyName, _strategy: MergeStrategy) -> Result<Put, Error> {
        let heads: Vec<BlobId> = self.heads(key)?.iter().map(|head| head.id).collect();
        let got = self.get(key, VersionSelector::Winner)?;
        self.put(key, got.content, PutOptions { based_on: Some(heads), ..PutOptions::default() })
    }

    pub(crate) fn remove(&self, key: &KeyName) -> Result<Put, Error> {
        self.get(key, VersionSelector::Winner)?;
        Ok(self.inner().write(key, None, PutOptions::default()))
    }

    pub(crate) fn purge_key(&self, key: &KeyName) -> Result<u64, Error> {
        let mut inner = self.inner();
        inner.dirty = true;
        let rows = inner.state.keys.remove(key.as_bytes()).ok_or_else(|| Error::NotFound(format!("no key {key}")))?;
        Ok(rows.len() as u64)
    }

    pub(crate) fn purge_version(&self, id: BlobId) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.dirty = true;
        let before: usize = inner.state.keys.values().map(Vec::len).sum();
        inner.state.keys.values_mut().for_each(|rows| rows.retain(|row| row.id != id));
        inner.state.keys.retain(|_, rows| !rows.is_empty());
        let after: usize = inner.state.keys.values().map(Vec::len).sum();
        if before == after { Err(Error::NotFound(format!("no version {id}"))) } else { Ok(()) }
    }

    pub(crate) fn snapshot(&self, name: &str, entries: Vec<(KeyName, BlobId)>) -> Result<BlobId, Error> {
        let mut inner = self.inner();
        let created = inner.stamp();
        let id = BlobId::from_bytes(*blake3::hash(&created.0.to_le_bytes()).as_bytes());
        let entries = entries.into_iter().map(|(key, id)| (key.as_bytes().to_vec(), id)).collect();
        inner.state.snapshots.push(SnapshotRow { id, created, name: name.into(), entries });
        inner.dirty = true;
        Ok(id)
    }

    pub(crate) fn snapshots(&self) -> Result<Vec<SnapshotInfo>, Error> {
        let info = |row: &SnapshotRow| SnapshotInfo {
            id: row.id,
            created: row.created,
            name: row.name.clone(),
            entries: row.entries.len() as u64,
        };
        Ok(self.inner().state.snapshots.iter().map(info).collect())
    }

    pub(crate) fn snapshot_entries(
        &self,
        id: BlobId,
        after: Option<&KeyName>,
        limit: usize,
    ) -> Result<SnapshotPage, Error> {
        let inner = self.inner();
        let row = inner.state.snapshots.iter().find(|row| row.id == id);
        let row = row.ok_or_else(|| Error::NotFound(format!("no snapshot {id}")))?;
        let start = after.map_or(0, |after| row.entries.partition_point(|(key, _)| key.as_slice() <= after.as_bytes()));
        let entries: Result<Vec<_>, Error> = row.entries[start..]
            .iter()
            .take(limit)
            .map(|(key, id)| {
                KeyName::new(key.as_slice()).map(|key| (key, *id)).map_err(|e| Error::Damaged(e.to_string()))
            })
            .collect();
        let entries = entries?;
        let next = if start + entries.len() < row.entries.len() { entries.last().map(|e| e.0.clone()) } else { None };
        Ok(SnapshotPage { entries, next })
    }

    pub(crate) fn scrub(
        &self,
        _options: ScrubOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ScrubReport, Error> {
        let stats = self.stats()?;
        let _ = progress(Progress { done: stats.bytes, total: stats.bytes });
        Ok(ScrubReport { records: stats.versions, bytes: stats.bytes, ..ScrubReport::default() })
    }

    pub(crate) fn recode(
        &self,
        _coding: Coding,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<u64, Error> {
        Ok(0)
    }

    pub(crate) fn compact(
        &self,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<CompactReport, Error> {
        Ok(CompactReport::default())
    }

    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        let inner = self.inner();
        let rows = || inner.state.keys.values().flatten();
        Ok(Stats {
            keys: inner.state.keys.len() as u64,
            versions: rows().count() as u64,
            snapshots: inner.state.snapshots.len() as u64,
            bytes: rows().filter_map(|row| row.content.as_ref()).map(|c| c.len() as u64).sum(),
        })
    }

    pub(crate) fn doctor(&self) -> Result<Vec<Finding>, Error> {
        Ok(vec![Finding {
            severity: Severity::Warning,
            text: "this is a stand-in without redundancy or encryption".into(),
            advice: "use it for nothing".into(),
        }])
    }

    pub(crate) fn close(self) -> Result<(), Error> {
        self.inner().save()
    }
}
