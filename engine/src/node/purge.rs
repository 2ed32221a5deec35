//! Purging: a tombstone, then the bytes.

use super::Engine;
use super::backlog::Growth;
use super::batch::Staged;
use super::facts::{Hidden, forget_references, hidden_by, is_referenced, lacks_page, pages_naming};
use super::fetch::read_failure;
use super::job::open_record;
use super::request::{Failure, PurgeTarget, Reply, RequestId};
use crate::blob::RefPage;
use crate::codec::Canonical;
use crate::deletion::{Purged, SignedTombstone, Tombstone, TombstoneRecord};
use crate::env::{Disk, Now};
use crate::id::{BlobId, KeyHash, RefPageId, SealId};
use crate::planted::{Bug, planted};
use crate::store::index::{BlobRow, Direction, RefPages, Seals, Target, Versions};
use crate::store::log::RecordKind;
use crate::store::{Location, SegmentId};
use core::ops::Bound;
use std::collections::{BTreeMap, BTreeSet};

/// Most seals that are remembered to be collected, and most pages; a sweep finds the others.
const ORPHANS_LEN: usize = 64 << 10;

/// What purged versions referred to: to be collected, unless others do.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    pub(super) seals: BTreeSet<SealId>,
    pub(super) pages: BTreeSet<RefPageId>,
    /// There were more.
    pub(super) more: bool,
    /// Bytes of their own records, by segment.
    pub(super) dead: BTreeMap<SegmentId, u64>,
}

impl Orphans {
    fn add(&mut self, seals: impl IntoIterator<Item = SealId>, pages: impl IntoIterator<Item = RefPageId>) {
        let fit = [remember(&mut self.seals, seals), remember(&mut self.pages, pages)];
        self.more |= fit.contains(&false);
    }

    /// What something referred to that is no more.
    pub(super) fn of(seals: impl IntoIterator<Item = SealId>, pages: impl IntoIterator<Item = RefPageId>) -> Self {
        let mut orphans = Self::default();
        orphans.add(seals, pages);
        orphans
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seals.is_empty() && self.pages.is_empty()
    }

    /// Adds those of others.
    pub(super) fn append(&mut self, others: Self) {
        self.more |= others.more;
        for (segment, len) in others.dead {
            *self.dead.entry(segment).or_default() += len;
        }
        self.add(others.seals, others.pages);
    }
}

/// Adds what there is room for. Whether that was all.
fn remember<T: Ord>(kept: &mut BTreeSet<T>, more: impl IntoIterator<Item = T>) -> bool {
    let mut fit = true;
    for one in more {
        if kept.len() < ORPHANS_LEN {
            kept.insert(one);
        } else {
            fit &= kept.contains(&one);
        }
    }
    fit
}

impl<D: Disk> Engine<D> {
    pub(super) fn purge(&mut self, now: Now, request: RequestId, target: &PurgeTarget) {
        match self.stage_purge(now, target) {
            Ok(versions) => self.batch.replies.push((request, Reply::Purged { versions })),
            Err(failure) => self.reply(request, Reply::Failed(failure)),
        }
    }

    fn stage_purge(&mut self, now: Now, target: &PurgeTarget) -> Result<u64, Failure> {
        // PA
        self.writable()?;
        self.index_has_room(Growth::Upkeep)?;
        let (key_hash, versions) = self.purged_versions(target)?;
        // What they refer to, while their records can still be found. One that cannot be read names nothing: a sweep finds what
        // only it referred to.
        for (id, row) in &versions {
            let place = row.location;
            *self.batch.orphans.dead.entry(place.segment).or_default() += u64::from(place.len);
            match self.read_blob(*id) {
                Ok(record) => {
                    let header = record.header.header();
                    self.batch.orphans.add(header.seals.iter().copied(), header.ref_pages.iter().copied());
                }
                Err(failure) => {
                    tracing::warn!(%id, %failure, "the record of what is purged cannot be read");
                    self.batch.orphans.more = true;
                }
            }
        }
        let keys = self.keys.clone().ok_or(Failure::NoKeys)?;
        for group in versions.chunks(self.rows_at_once(Tombstone::MAX_VERSIONS)) {
            let mut purged: Vec<Purged> = group
                .iter()
                .map(|(id, row)| Purged { id: *id, dot: row.dot, created: row.created, parents: row.parents.clone() })
                .collect();
            purged.sort_unstable_by_key(|purged| purged.id);
            let tombstone = Tombstone {
                realm: keys.realm_id(),
                key_hash,
                author: keys.author(),
                created: self.clock.issue(now.wall),
                versions: purged,
            };
            let signed =
                SignedTombstone::sign(tombstone, keys.signer()).map_err(|error| Failure::Invalid(error.to_string()))?;
            let record = TombstoneRecord { dot: self.next_dot(&key_hash), signed };
            let location = self.append(RecordKind::Tombstone, false, &[&record.encode()])?;
            self.batch.staged.push(Staged::Tombstone(record, location));
        }
        if matches!(target, PurgeTarget::Key(_)) {
            self.batch.purged_keys.insert(key_hash);
        }
        Ok(versions.len() as u64)
    }

    fn purged_versions(&mut self, target: &PurgeTarget) -> Result<(KeyHash, Vec<(BlobId, BlobRow)>), Failure> {
        // PA
        match target {
            PurgeTarget::Version(id) => {
                let row = self.live_blob(*id)?;
                match self.may_be_removal(*id, &row) {
                    Ok(false) => {}
                    Ok(true) => self.keep_removed(*id)?,
                    // It is no loss unless something would be back.
                    Err(unreadable) => self.keep_removed(*id).map_err(|_| unreadable)?,
                }
                Ok((row.key_hash, vec![(*id, row)]))
            }
            PurgeTarget::Key(key) => {
                let key_hash = self.hash_key(key)?;
                // A version that cannot be read now would outlive its key, and be back when it is healed.
                if let Some(place) = self.heal.unread_yet() {
                    let place = format!("versions of {key} may be in {place}");
                    return Err(Failure::Damaged { place });
                }
                let heads = self.key_row(&key_hash)?.map(|row| row.heads).unwrap_or_default();
                let mut ids: Vec<BlobId> = heads.into_iter().map(|head| head.1).collect();
                let from = Bound::Included(key_hash.as_bytes().as_slice());
                self.index
                    .scan::<Versions>(from, Bound::Unbounded, Direction::Forward, &mut |version, ()| {
                        if version.key_hash == key_hash {
                            ids.push(version.blob);
                        }
                        version.key_hash == key_hash
                    })
                    .map_err(|error| self.index_failure(error))?;
                let mut found = Vec::with_capacity(ids.len());
                for id in ids {
                    found.push((id, self.live_blob(id)?));
                }
                if found.is_empty() {
                    return Err(self.absent(Failure::NoSuchKey(key.clone())));
                }
                Ok((key_hash, found))
            }
        }
    }

    /// Whether a version is a removal, or nobody can say: its body does not open, for want of its epoch's key.
    ///
    /// # Errors
    /// Why it cannot be read now: then nobody can say, either.
    fn may_be_removal(&mut self, id: BlobId, row: &BlobRow) -> Result<bool, Failure> {
        // PA
        if row.gone {
            return Ok(true);
        }
        // Of a body that was opened when the index learnt of it, it knows more than that it has no bytes, but for a few.
        let Some(keys) = self.keys.clone().filter(|_| row.len == 0) else { return Ok(false) };
        // It may open by now: whoever made the index may have lacked that key.
        Ok(open_record(&keys, &self.read_blob(id)?).map_or(true, |body| body.content.is_gone()))
    }

    /// Refuses to purge a removal while what it removed is there: without it, that would be back, now or as soon as what
    /// follows the removal is purged too. Nobody who destroys expects that.
    fn keep_removed(&self, removal: BlobId) -> Result<(), Failure> {
        // PA
        let going = self.batch.purged();
        match hidden_by(&self.index, removal, &going).map_err(|error| self.index_failure(error))? {
            Hidden::Content(version) => Err(Failure::WouldReturn { removal, version }),
            // It may be content that comes back once its place is healed.
            Hidden::Unknown(version) => match self.heal.unread_yet() {
                Some(place) => {
                    let place = format!("version {version}, which {removal} removed, may be in {place}");
                    Err(Failure::Damaged { place })
                }
                None => Ok(()),
            },
            Hidden::Nothing => Ok(()),
        }
    }

    /// Collects what nothing alive refers to any more; returns how many seals that were. Their bytes go with the next
    /// compaction of their segments.
    pub(super) fn collect(&mut self, orphans: Orphans) -> Result<u64, Failure> {
        // PA
        if self.references_are_hidden()? {
            self.upkeep.sweep_when_seen();
            return Ok(0);
        }
        let mut candidates: Vec<SealId> = orphans.seals.into_iter().collect();
        for page in orphans.pages {
            if planted(Bug::PagesKept)
                || self.puts.pins_page(&page)
                || is_referenced(&self.index, Target::Page(page)).map_err(|error| self.index_failure(error))?
            {
                continue;
            }
            candidates.extend(self.drop_ref_page(page)?);
        }
        let mut collected = 0;
        for seal in candidates {
            let pinned = self.is_pinned(seal)? && !planted(Bug::PinsIgnored);
            if pinned {
                // Whoever pins it sees to it if nothing comes of that.
                continue;
            }
            if self.batch.seals.contains_key(&seal) || self.window.contains(&seal) {
                // Not before it is committed.
                self.upkeep.collect_later(Orphans::of([seal], []));
                continue;
            }
            if is_referenced(&self.index, Target::Seal(seal)).map_err(|error| self.index_failure(error))? {
                continue;
            }
            let Some(row) = self.seal_row(&seal)? else { continue };
            self.index.remove::<Seals>(&seal);
            self.heal.lost.remove(&seal);
            forget_references(&mut self.index, Target::Seal(seal)).map_err(|error| self.index_failure(error))?;
            for location in row.slices.into_iter().flatten() {
                self.upkeep.mark_dead(location.segment, u64::from(location.len));
            }
            collected += 1;
        }
        if collected > 0 {
            self.upkeep.forget_chunks();
        }
        Ok(collected)
    }

    /// Whether a version is being made that will refer to a seal, itself or by a page of references.
    pub(super) fn is_pinned(&self, seal: SealId) -> Result<bool, Failure> {
        // PA
        if self.puts.pins(&seal) {
            return Ok(true);
        }
        if !self.puts.pins_pages() {
            return Ok(false);
        }
        let pages = pages_naming(&self.index, seal).map_err(|error| self.index_failure(error))?;
        Ok(pages.iter().any(|page| self.puts.pins_page(page)))
    }

    /// Whether something that cannot be read now may refer to what nothing else refers to: then nothing is collected.
    pub(super) fn references_are_hidden(&self) -> Result<bool, Failure> {
        // PA
        if self.heal.may_hide_references(self.keys.is_some()) {
            return Ok(true);
        }
        // So does a page that was never seen, of a version that is being made by another's.
        for page in self.puts.pinned_pages() {
            let row = self.index.get::<RefPages>(page).map_err(|error| self.index_failure(error))?;
            if row.is_none() {
                return Ok(true);
            }
        }
        // A page that was never seen names seals that live, also once its place was given up, or is compacted away.
        lacks_page(&self.index).map_err(|error| self.index_failure(error))
    }

    /// A page of references, by what the index knows of it.
    pub(super) fn ref_page(&self, id: RefPageId) -> Result<RefPage, Failure> {
        // PA
        match self.index.get::<RefPages>(&id).map_err(|error| self.index_failure(error))? {
            Some(row) => self.read_ref_page(id, row.location),
            None => Err(Failure::Damaged { place: format!("page of references {id}: nobody knows where it is") }),
        }
    }

    /// Whether as many slices of a seal are known as it takes to open it.
    pub(super) fn knows_enough_of(&self, seal: &SealId) -> Result<(), Failure> {
        // PA
        let row = self.seal_row(seal)?;
        match row.is_some_and(|row| row.has_enough()) {
            true => Ok(()),
            false => Err(Failure::Damaged { place: format!("seal {seal}: too few slices of it are known") }),
        }
    }

    fn read_ref_page(&self, id: RefPageId, location: Location) -> Result<RefPage, Failure> {
        // PA
        let payload = self.log.read(location).map_err(|error| read_failure(&error))?;
        let page = RefPage::decode(&payload).map_err(|error| Failure::Damaged { place: error.to_string() })?;
        if page.id() != id {
            return Err(Failure::Damaged { place: format!("{location}: another page stands in its place") });
        }
        Ok(page)
    }

    /// Forgets a page of references that nothing alive refers to; returns the seals it named.
    fn drop_ref_page(&mut self, page: RefPageId) -> Result<Vec<SealId>, Failure> {
        // PA
        let Some(row) = self.index.get::<RefPages>(&page).map_err(|error| self.index_failure(error))? else {
            return Ok(Vec::new());
        };
        let seals = match self.read_ref_page(page, row.location) {
            Ok(content) => content.seals,
            // It may be read yet.
            Err(failure @ Failure::Exhausted(_)) => return Err(failure),
            Err(failure) => {
                tracing::warn!(%page, %failure, "a dead page of references cannot be read");
                self.upkeep.sweep_later(true);
                Vec::new()
            }
        };
        self.index.remove::<RefPages>(&page);
        forget_references(&mut self.index, Target::Page(page)).map_err(|error| self.index_failure(error))?;
        self.upkeep.mark_dead(row.location.segment, u64::from(row.location.len));
        Ok(seals)
    }
}
