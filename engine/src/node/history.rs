//! Questions about versions and names that the index answers by itself.

use super::Engine;
use super::reader::Found;
use super::request::{Entry, EntryKind, Failure, ListRequest, Page, Reply, RequestId, Select, Version};
use crate::blob::BlobKind;
use crate::dag::{Ancestry, BasesError, Parents, merge_bases};
use crate::env::Disk;
use crate::id::{BlobId, Hlc, KeyHash, Partition};
use crate::names::KeyName;
use crate::planted::{Bug, planted};
use crate::store::index::{BlobRow, Blobs, Direction, KeyRow, Keys, LevelEntry, VersionKey, Versions};
use core::cell::Cell;
use core::ops::Bound;

/// Versions that are looked at for what others have in common, at most: nothing else is answered meanwhile.
const MAX_ANCESTORS: usize = 1 << 16;
/// As many are looked at in any case.
const MIN_ANCESTORS: usize = 1 << 10;
/// Bytes that are held for each of them.
const ANCESTOR_LEN: usize = 256;

/// Entries of one listing or history page.
pub(super) const PAGE_LEN: usize = 1000;

impl<D: Disk> Engine<D> {
    /// The row of a version that has not been purged.
    pub(super) fn live_blob(&self, id: BlobId) -> Result<BlobRow, Failure> {
        match self.index.get::<Blobs>(&id).map_err(|error| self.index_failure(error))? {
            Some(row) if !row.purged => Ok(row),
            Some(_) => Err(Failure::NoSuchVersion(id)),
            None => Err(self.absent(Failure::NoSuchVersion(id))),
        }
    }

    pub(super) fn exist(&self, versions: &[BlobId]) -> Result<Vec<bool>, Failure> {
        let there = |id: &BlobId| match self.live_blob(*id) {
            Ok(_) => Ok(true),
            Err(Failure::NoSuchVersion(_)) => Ok(false),
            Err(failure) => Err(failure),
        };
        versions.iter().map(there).collect()
    }

    pub(super) fn key_row(&self, key: &KeyHash) -> Result<Option<KeyRow>, Failure> {
        self.index.get::<Keys>(key).map_err(|error| self.index_failure(error))
    }

    /// The winner among a key's heads: the highest stamp, then the highest id.
    pub(super) fn winner(&self, key: KeyHash) -> Result<Option<BlobId>, Failure> {
        Ok(self.key_row(&key)?.and_then(|row| row.heads.last().map(|head| head.1)))
    }

    pub(super) fn hash_key(&self, key: &KeyName) -> Result<KeyHash, Failure> {
        let names = self.name_keys.as_ref().ok_or(Failure::NoKeys)?;
        Ok(names.key_hash(key.as_bytes()))
    }

    pub(super) fn partition(&self, key: &KeyHash) -> Partition {
        match &self.name_keys {
            Some(names) => names.partition(key, u32::from(self.config.partition_bits)),
            None => Partition(0),
        }
    }

    pub(super) fn version(&self, id: BlobId) -> Result<Version, Failure> {
        self.found_version(id, self.live_blob(id)?).map(version_of)
    }

    /// A version with what its key's row says of it.
    pub(super) fn found_version(&self, id: BlobId, row: BlobRow) -> Result<Found, Failure> {
        let key = self.key_row(&row.key_hash)?;
        Ok(Found { id, row, heads: heads_of(key) })
    }

    /// Which version of a key is meant, and that it has content.
    pub(super) fn select(&self, key: &KeyName, select: Select) -> Result<Found, Failure> {
        let key_hash = self.hash_key(key)?;
        let no_key = || self.absent(Failure::NoSuchKey(key.clone()));
        let heads = heads_of(self.key_row(&key_hash)?);
        let id = match select {
            Select::Winner if planted(Bug::KeysHiddenByScrub) && self.scrubs_seals() => return Err(no_key()),
            Select::Winner => heads.last().copied().ok_or_else(no_key)?,
            Select::Version(id) => id,
            Select::At(time) => {
                let last = if planted(Bug::AtExclusive) { 0 } else { 0xff };
                let newest = self.versions_before(key_hash, Some((time, BlobId::from_bytes([last; 32]))), 1)?;
                newest.first().map(|key| key.blob).ok_or_else(no_key)?
            }
        };
        let row = self.live_blob(id)?;
        if row.key_hash != key_hash {
            return Err(Failure::OtherKey { version: id, key: key.clone() });
        }
        if row.gone {
            return Err(Failure::Gone { key: key.clone(), version: id });
        }
        Ok(Found { id, row, heads })
    }

    /// Versions of a key in falling order, starting at or below `from` (the newest if absent): the heads, which its row
    /// names, among those that its history names.
    fn versions_before(
        &self,
        key_hash: KeyHash,
        from: Option<(Hlc, BlobId)>,
        limit: usize,
    ) -> Result<Vec<VersionKey>, Failure> {
        let (created, blob) = from.unwrap_or((Hlc(u64::MAX), BlobId::from_bytes([0xff; 32])));
        let upper = VersionKey { key_hash, created, blob };
        let lower = VersionKey { key_hash, created: Hlc(0), blob: BlobId::from_bytes([0; 32]) };
        let rows = self
            .index
            .range::<Versions>(Bound::Included(&lower), Bound::Included(&upper), Direction::Backward, limit)
            .map_err(|error| self.index_failure(error))?;
        let heads = self.key_row(&key_hash)?.map(|row| row.heads).unwrap_or_default();
        let heads = heads.into_iter().map(|(created, blob)| VersionKey { key_hash, created, blob });
        let mut found: Vec<VersionKey> =
            rows.into_iter().map(|(key, ())| key).chain(heads.filter(|head| *head <= upper)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.truncate(limit);
        Ok(found)
    }

    fn scrubs_seals(&self) -> bool {
        self.upkeep.activity() == Some(super::Activity::ScrubbingSeals)
    }

    pub(super) fn heads(&self, key: &KeyName) -> Result<Vec<Version>, Failure> {
        let row = self.key_row(&self.hash_key(key)?)?.ok_or_else(|| self.absent(Failure::NoSuchKey(key.clone())))?;
        row.heads.iter().rev().map(|head| self.version(head.1)).collect()
    }

    pub(super) fn log_of(
        &self,
        key: &KeyName,
        after: Option<(Hlc, BlobId)>,
        limit: usize,
    ) -> Result<Vec<Version>, Failure> {
        let key_hash = self.hash_key(key)?;
        let limit = limit.min(PAGE_LEN);
        let mut found = self.versions_before(key_hash, after, limit.saturating_add(1))?;
        if planted(Bug::HistoryEndsWithPage) && after.is_some() {
            found.clear();
        }
        if let Some(after) = after {
            found.retain(|version| (version.created, version.blob) != after);
        } else if found.is_empty() {
            return Err(self.absent(Failure::NoSuchKey(key.clone())));
        }
        found.truncate(limit);
        found.into_iter().map(|version| self.version(version.blob)).collect()
    }

    pub(super) fn merge_bases_of(&self, versions: &[BlobId]) -> Result<Vec<Version>, Failure> {
        for &id in versions {
            self.live_blob(id)?;
        }
        let limit = (self.limits.inflight_len / ANCESTOR_LEN).clamp(MIN_ANCESTORS, MAX_ANCESTORS);
        match merge_bases(&Budgeted { engine: self, limit, looked_at: Cell::new(0) }, versions) {
            Ok(bases) => bases.into_iter().map(|(_, id)| self.version(id)).collect(),
            Err(BasesError::Ancestry(failure)) => Err(failure),
            Err(error) => Err(Failure::Invalid(error.to_string())),
        }
    }

    pub(super) fn list(&self, request: &ListRequest) -> Result<Page, Failure> {
        let limit = request.limit.clamp(1, PAGE_LEN);
        let mut page = Page::default();
        let mut after = request.after.clone();
        loop {
            let listed = self.level(request, after.as_deref(), limit)?;
            let full = listed.len() >= limit;
            for entry in listed {
                after = Some(entry.bytes().to_vec());
                let entry = match entry {
                    LevelEntry::Prefix(name) => Some(Entry { name, kind: EntryKind::Directory }),
                    LevelEntry::Name(name, key_hash) => self.entry(name, key_hash, request.include_gone)?,
                };
                page.entries.extend(entry);
                if page.entries.len() == limit {
                    page.next = after.filter(|_| request.include_gone || !planted(Bug::ListingEndsWithPage));
                    return Ok(page);
                }
            }
            if !full {
                return Ok(page);
            }
        }
    }

    fn level(&self, request: &ListRequest, after: Option<&[u8]>, limit: usize) -> Result<Vec<LevelEntry>, Failure> {
        let listed = if request.recursive {
            self.index
                .list(&request.prefix, after, limit)
                .map(|rows| rows.into_iter().map(|(name, key)| LevelEntry::Name(name, key)).collect())
        } else {
            self.index.list_level(&request.prefix, b'/', after, limit)
        };
        listed.map_err(|error| self.index_failure(error))
    }

    fn entry(&self, name: Vec<u8>, key_hash: KeyHash, include_gone: bool) -> Result<Option<Entry>, Failure> {
        let Some(row) = self.key_row(&key_hash)? else { return Ok(None) };
        let Some(&(created, winner)) = row.heads.last() else { return Ok(None) };
        if row.winner_gone && !include_gone {
            return Ok(None);
        }
        let len = self.live_blob(winner)?.len;
        let heads = u32::try_from(row.heads.len()).unwrap_or(u32::MAX);
        Ok(Some(Entry { name, kind: EntryKind::Key { winner, created, len, heads, gone: row.winner_gone } }))
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Result<Reply, Failure>) {
        self.reply(request, answer.unwrap_or_else(Reply::Failed));
    }
}

/// The heads in a key's row, the winner last.
fn heads_of(key: Option<KeyRow>) -> Vec<BlobId> {
    key.map(|key| key.heads.into_iter().map(|head| head.1).collect()).unwrap_or_default()
}

/// What history shows of a version.
pub(super) fn version_of(found: Found) -> Version {
    let Found { id, row, heads } = found;
    Version {
        id,
        created: row.created,
        author: row.author,
        kind: kind_of(row.kind),
        parents: row.parents,
        len: row.len,
        gone: row.gone,
        is_head: heads.contains(&id),
    }
}

/// The kind that a row's byte stands for; the index wrote it from a header's.
fn kind_of(byte: u8) -> BlobKind {
    match byte {
        1 => BlobKind::Merger,
        2 => BlobKind::VersionVector,
        _ => BlobKind::Child,
    }
}

/// Looks so many versions up, and then no more.
struct Budgeted<'a, D: Disk> {
    engine: &'a Engine<D>,
    limit: usize,
    looked_at: Cell<usize>,
}

impl<D: Disk> Ancestry for Budgeted<'_, D> {
    type Error = Failure;

    fn parents(&self, id: BlobId) -> Result<Option<Parents>, Failure> {
        let found = self.looked_at.get() + 1;
        self.looked_at.set(found);
        if found > self.limit {
            let (found, limit) = (found as u64, self.limit as u64);
            let what = "the number of versions between these and what they have in common";
            return Err(Failure::TooLarge { what, found, limit });
        }
        let row = self.engine.index.get::<Blobs>(&id).map_err(|error| self.engine.index_failure(error))?;
        Ok(row.map(|row| Parents { created: row.created, ids: row.parents, purged: row.purged }))
    }
}
