//! What the index learns from a record: the same for a commit and for a replay of the log, in any order, any number of
//! times. The index is a function of the set of records, and these are its terms.

use crate::blob::{BlobRecord, Body, RefPage};
use crate::deletion::TombstoneRecord;
use crate::env::Disk;
use crate::id::{BlobId, Hlc, KeyHash, RefPageId, SealId};
use crate::planted::{Bug, planted};
use crate::store::Location;
use crate::store::index::{
    BlobRow, Blobs, Child, Children, Direction, Index, IndexError, KeyRow, Keys, Names, Owner, RefPageRow, RefPages,
    Reference, References, TableKey, Target, TombstoneRow, Tombstones, VersionKey, Versions,
};
use core::ops::Bound;
use std::collections::{BTreeMap, BTreeSet};

/// What a body tells the index. It is not known without its key, or where the body is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodySummary {
    /// The key's name; empty if it is not known.
    pub name: Vec<u8>,
    /// It says "gone".
    pub gone: bool,
    /// Its content's length in bytes.
    pub len: u64,
}

impl BodySummary {
    /// Of a body that cannot be opened.
    pub(super) const fn unknown() -> Self {
        Self { name: Vec::new(), gone: false, len: 0 }
    }

    /// Of an opened body.
    #[must_use]
    pub fn of(body: &Body) -> Self {
        Self { name: body.name.clone(), gone: body.content.is_gone(), len: body.content.len().unwrap_or(0) }
    }
}

/// What a version's record tells the index.
#[derive(Clone, Debug)]
pub(super) struct BlobFacts {
    pub(super) id: BlobId,
    pub(super) row: BlobRow,
    pub(super) name: Vec<u8>,
    pub(super) seals: Vec<SealId>,
    pub(super) ref_pages: Vec<RefPageId>,
}

impl BlobFacts {
    pub(super) fn of(record: &BlobRecord, location: Location, body: &BodySummary) -> Self {
        let header = record.header.header();
        let row = BlobRow {
            location,
            key_hash: header.key_hash,
            created: header.created,
            author: header.author,
            parents: header.parents.clone(),
            kind: header.kind as u8,
            gone: body.gone,
            len: body.len,
            dot: record.dot,
            purged: false,
        };
        Self {
            id: record.header.id(),
            row,
            name: body.name.clone(),
            seals: header.seals.clone(),
            ref_pages: header.ref_pages.clone(),
        }
    }
}

/// Whether a version descends from `id` that is not purged, nor among `going`.
fn has_live_descendant<D: Disk>(index: &Index<D>, id: BlobId, going: &BTreeSet<BlobId>) -> Result<bool, IndexError> {
    // PA
    let mut stack = vec![id];
    let mut seen = BTreeSet::new();
    while let Some(parent) = stack.pop() {
        if !seen.insert(parent) {
            continue;
        }
        for child in children(index, parent)? {
            match index.get::<Blobs>(&child)? {
                Some(row) if !row.purged && !going.contains(&child) => return Ok(true),
                _ => stack.push(child),
            }
        }
    }
    Ok(false)
}

/// The versions that name `parent` as a parent.
fn children<D: Disk>(index: &Index<D>, parent: BlobId) -> Result<Vec<BlobId>, IndexError> {
    // PA
    let mut found = Vec::new();
    let from = Bound::Included(parent.as_bytes().as_slice());
    index.scan::<Children>(from, Bound::Unbounded, Direction::Forward, &mut |key: Child, ()| {
        if key.parent == parent {
            found.push(key.child);
        }
        key.parent == parent
    })?;
    Ok(found)
}

/// The closest versions at or above `parents` that are not purged.
fn live_ancestors<D: Disk>(index: &Index<D>, parents: &[BlobId]) -> Result<Vec<BlobId>, IndexError> {
    // PA
    let mut live = Vec::new();
    let mut stack = parents.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        match index.get::<Blobs>(&id)? {
            Some(row) if row.purged => stack.extend(row.parents),
            Some(_) => live.push(id),
            None => {}
        }
    }
    Ok(live)
}

/// What a removal hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// Nothing: whatever it removed is purged, or another removal below hides it too.
    Nothing,
    /// This version's content.
    Content(BlobId),
    /// The index does not know this version, so nobody can say.
    Unknown(BlobId),
}

/// What the removal `id` hides once `going` are purged.
///
/// It follows from what lies below the removal alone, never from what follows it: so it can only come to be nothing, and
/// in whatever order versions are purged, the same purges are refused in the end. And as long as a removal stays that
/// hides something, what it hides can never be a head again, whatever else is purged.
pub(super) fn hidden_by<D: Disk>(index: &Index<D>, id: BlobId, going: &BTreeSet<BlobId>) -> Result<Hidden, IndexError> {
    // PA
    if planted(Bug::RemovalUnguarded) && has_live_descendant(index, id, going)? {
        return Ok(Hidden::Nothing);
    }
    let mut hidden = Hidden::Nothing;
    let mut stack = index.get::<Blobs>(&id)?.map(|row| row.parents).unwrap_or_default();
    let mut seen = BTreeSet::new();
    while let Some(below) = stack.pop() {
        if !seen.insert(below) {
            continue;
        }
        match index.get::<Blobs>(&below)? {
            None => hidden = Hidden::Unknown(below),
            Some(row) if row.purged || going.contains(&below) => stack.extend(row.parents),
            Some(row) if row.gone => {}
            Some(_) => return Ok(Hidden::Content(below)),
        }
    }
    Ok(hidden)
}

/// Whether the index may have heard of a version before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// It was made by this node just now: nothing descends from it and no tombstone names it.
    Made,
    /// It comes out of the log.
    Replayed,
}

/// A version was logged. Returns the heads of its key, the winner last; none if that did not change them.
pub(super) fn apply_blob<D: Disk>(
    index: &mut Index<D>,
    facts: &BlobFacts,
    novelty: Novelty,
) -> Result<Option<Vec<BlobId>>, IndexError> {
    // PA
    let id = facts.id;
    let replayed = novelty == Novelty::Replayed;
    if replayed && let Some(mut row) = index.get::<Blobs>(&id)? {
        if row.purged {
            return Ok(None);
        }
        let learnt = (row.gone, row.len) != (facts.row.gone, facts.row.len);
        (row.location, row.gone, row.len) = (facts.row.location, facts.row.gone, facts.row.len);
        index.put::<Blobs>(&id, &row);
        // The copy that was seen before had a body that did not open.
        if let Some(mut key) = index.get::<Keys>(&row.key_hash)?
            && (name_key(index, &mut key, facts) || learnt)
        {
            let before = key.heads.clone();
            store_key(index, row.key_hash, &before, key)?;
        }
        return Ok(None);
    }
    let noted = if replayed || !planted(Bug::EdgeForgotten) { usize::MAX } else { 1 };
    for &parent in facts.row.parents.iter().take(noted) {
        index.put::<Children>(&Child { parent, child: id }, &());
    }
    index.put::<Blobs>(&id, &facts.row);
    let row = &facts.row;
    let forgets = replayed && planted(Bug::ReferenceLostOnReplay);
    for &seal in facts.seals.iter().filter(|_| !forgets) {
        index.put::<References>(&Reference { target: Target::Seal(seal), owner: Owner::Blob(id) }, &());
    }
    for &page in &facts.ref_pages {
        index.put::<References>(&Reference { target: Target::Page(page), owner: Owner::Blob(id) }, &());
    }
    let mut key = match index.get::<Keys>(&row.key_hash)? {
        Some(key) => key,
        None => KeyRow { name: Vec::new(), heads: Vec::new(), winner_gone: false },
    };
    name_key(index, &mut key, facts);
    let covered = live_ancestors(index, &row.parents)?;
    let before = key.heads.clone();
    key.heads.retain(|head| !covered.contains(&head.1) && !planted(Bug::ConcurrentHeadLost));
    if !replayed || !has_live_descendant(index, id, &BTreeSet::new())? {
        key.heads.push((row.created, id));
    } else {
        let version = VersionKey { key_hash: row.key_hash, created: row.created, blob: id };
        index.put::<Versions>(&version, &());
    }
    Ok(Some(store_key(index, row.key_hash, &before, key)?))
}

/// Names a key after a version's body, if nothing did so before and it is known; whether it did.
fn name_key<D: Disk>(index: &mut Index<D>, key: &mut KeyRow, facts: &BlobFacts) -> bool {
    // PA
    let new = key.name.is_empty() && !facts.name.is_empty();
    if new {
        index.put::<Names>(&facts.name, &facts.row.key_hash);
        key.name.clone_from(&facts.name);
    }
    new
}

/// Writes a key's row, its heads in order and its winner's state, and what was among the heads `before` and is not any
/// more, though it was not purged, into the key's history.
fn store_key<D: Disk>(
    index: &mut Index<D>,
    key_hash: KeyHash,
    before: &[(Hlc, BlobId)],
    mut key: KeyRow,
) -> Result<Vec<BlobId>, IndexError> {
    // PA
    key.heads.sort_unstable();
    if planted(Bug::StaleWinner) {
        key.heads.reverse();
    }
    for &(created, blob) in before {
        if !key.heads.contains(&(created, blob)) && index.get::<Blobs>(&blob)?.is_some_and(|row| !row.purged) {
            index.put::<Versions>(&VersionKey { key_hash, created, blob }, &());
        }
    }
    let Some(winner) = key.heads.last() else {
        if !key.name.is_empty() {
            index.remove::<Names>(&key.name);
        }
        index.remove::<Keys>(&key_hash);
        return Ok(Vec::new());
    };
    key.winner_gone = index.get::<Blobs>(&winner.1)?.is_some_and(|row| row.gone);
    index.put::<Keys>(&key_hash, &key);
    Ok(key.heads.iter().map(|head| head.1).collect())
}

/// A page of references was logged, or moved.
pub(super) fn apply_ref_page<D: Disk>(
    index: &mut Index<D>,
    id: RefPageId,
    page: &RefPage,
    location: Location,
) -> Result<(), IndexError> {
    index.put::<RefPages>(&id, &RefPageRow { location });
    for &seal in &page.seals {
        index.put::<References>(&Reference { target: Target::Seal(seal), owner: Owner::Page(id) }, &());
    }
    Ok(())
}

/// A deletion was logged, or moved.
pub(super) fn apply_tombstone<D: Disk>(
    index: &mut Index<D>,
    record: &TombstoneRecord,
    location: Location,
) -> Result<(), IndexError> {
    // PA
    let tombstone = record.signed.tombstone();
    let id = record.signed.id();
    let mut gone: BTreeMap<KeyHash, Vec<(BlobId, BlobRow)>> = BTreeMap::new();
    for removed in &tombstone.versions {
        let row = TombstoneRow {
            tombstone: id,
            location,
            key_hash: tombstone.key_hash,
            dot: removed.dot,
            parents: removed.parents.clone(),
            author: tombstone.author,
            created: tombstone.created,
        };
        // Of two deletions of one version the later counts, whichever was told of last: what replay finds is found the same way.
        let known = index.get::<Tombstones>(&removed.id)?;
        if known.is_none_or(|known| (known.created, known.tombstone) <= (row.created, row.tombstone)) {
            index.put::<Tombstones>(&removed.id, &row);
        }
        let Some(mut blob) = index.get::<Blobs>(&removed.id)? else {
            let hole = BlobRow {
                location,
                key_hash: tombstone.key_hash,
                created: removed.created,
                author: tombstone.author,
                parents: removed.parents.clone(),
                kind: 0,
                gone: false,
                len: 0,
                dot: removed.dot,
                purged: true,
            };
            apply_hole(index, removed.id, &hole)?;
            continue;
        };
        if blob.purged {
            continue;
        }
        blob.purged = true;
        index.put::<Blobs>(&removed.id, &blob);
        gone.entry(blob.key_hash).or_default().push((removed.id, blob));
    }
    gone.into_iter().try_for_each(|(key_hash, versions)| take_from_key(index, key_hash, &versions))
}

/// Versions of a key were purged: what they followed may be a head again. All at once, for each look at what they followed goes
/// through everything between that was purged before.
fn take_from_key<D: Disk>(
    index: &mut Index<D>,
    key_hash: KeyHash,
    versions: &[(BlobId, BlobRow)],
) -> Result<(), IndexError> {
    // PA
    let Some(mut key) = index.get::<Keys>(&key_hash)? else { return Ok(()) };
    let before = key.heads.clone();
    for (id, row) in versions {
        if !before.iter().any(|head| head.1 == *id) {
            index.remove::<Versions>(&VersionKey { key_hash, created: row.created, blob: *id });
        }
    }
    let gone: BTreeSet<BlobId> = versions.iter().map(|(id, _)| *id).collect();
    key.heads.retain(|head| !gone.contains(&head.1));
    let parents: Vec<BlobId> = versions.iter().flat_map(|(_, row)| row.parents.iter().copied()).collect();
    for ancestor in live_ancestors(index, &parents)? {
        if !has_live_descendant(index, ancestor, &BTreeSet::new())?
            && !key.heads.iter().any(|head| head.1 == ancestor)
            && let Some(row) = index.get::<Blobs>(&ancestor)?
        {
            key.heads.push((row.created, ancestor));
            index.remove::<Versions>(&VersionKey { key_hash, created: row.created, blob: ancestor });
        }
    }
    store_key(index, key_hash, &before, key).map(drop)
}

/// A version is known from its tombstone alone, because its record was compacted away or comes later in this replay: its
/// place in the history still connects what it followed with what follows it.
fn apply_hole<D: Disk>(index: &mut Index<D>, id: BlobId, hole: &BlobRow) -> Result<(), IndexError> {
    // PA
    for &parent in &hole.parents {
        index.put::<Children>(&Child { parent, child: id }, &());
    }
    index.put::<Blobs>(&id, hole);
    if let Some(mut key) = index.get::<Keys>(&hole.key_hash)?
        && has_live_descendant(index, id, &BTreeSet::new())?
    {
        let covered = live_ancestors(index, &hole.parents)?;
        let before = key.heads.clone();
        key.heads.retain(|head| !covered.contains(&head.1));
        store_key(index, hole.key_hash, &before, key)?;
    }
    Ok(())
}

/// Whether anything alive refers to a seal or to a page of references.
///
/// Liveness is judged here and not when a version is purged: the rows of purged owners simply no longer count.
pub(super) fn is_referenced<D: Disk>(index: &Index<D>, target: Target) -> Result<bool, IndexError> {
    // PA
    let mut alive = Ok(false);
    // A chunk of zeros may have a million owners: the first that is alive will do.
    each_owner(index, target, None, &mut |owner| {
        alive = match owner {
            Owner::Blob(id) => index.get::<Blobs>(&id).and_then(|row| {
                let Some(row) = row else { return Ok(false) };
                let kept = planted(Bug::SealsKeptWithKey) && index.get::<Keys>(&row.key_hash)?.is_some();
                Ok(!row.purged || kept)
            }),
            // A page is owned by versions only, so this descends once.
            Owner::Page(id) => is_referenced(index, Target::Page(id)),
        };
        matches!(alive, Ok(false)) && !planted(Bug::SharedSealCollected)
    })?;
    alive
}

/// The versions that refer to a seal or to a page of references, and are not purged.
pub(super) fn live_owners<D: Disk>(index: &Index<D>, target: Target) -> Result<Vec<BlobId>, IndexError> {
    // PA
    let mut live = Vec::new();
    for owner in owners(index, target, None, usize::MAX)? {
        match owner {
            Owner::Blob(id) if index.get::<Blobs>(&id)?.is_some_and(|row| !row.purged) => live.push(id),
            Owner::Blob(_) => {}
            // A page is owned by versions only, so this descends once.
            Owner::Page(id) => live.extend(live_owners(index, Target::Page(id))?),
        }
    }
    Ok(live)
}

/// The pages of references that name a seal.
pub(super) fn pages_naming<D: Disk>(index: &Index<D>, seal: SealId) -> Result<Vec<RefPageId>, IndexError> {
    // PA
    let mut pages = Vec::new();
    each_owner(index, Target::Seal(seal), None, &mut |owner| {
        if let Owner::Page(page) = owner {
            pages.push(page);
        }
        true
    })?;
    Ok(pages)
}

/// Whether a version that is not purged refers to a page of references that the index has never seen.
pub(super) fn lacks_page<D: Disk>(index: &Index<D>) -> Result<bool, IndexError> {
    // PA
    let first = Target::Page(RefPageId::from_bytes([0; 32])).prefix();
    let mut last: Option<Reference> = None;
    loop {
        let behind = last.as_ref().map(TableKey::to_bytes);
        let from = match &behind {
            Some(last) => Bound::Excluded(last.as_ref()),
            None => Bound::Included(first.as_slice()),
        };
        let mut named = Vec::new();
        index.scan::<References>(from, Bound::Unbounded, Direction::Forward, &mut |reference: Reference, ()| {
            let Target::Page(page) = reference.target else { return false };
            last = Some(reference);
            named.push((page, reference.owner));
            named.len() < REFERENCES_AT_ONCE
        })?;
        for (page, owner) in &named {
            let Owner::Blob(version) = owner else { continue };
            if index.get::<RefPages>(page)?.is_none() && index.get::<Blobs>(version)?.is_some_and(|row| !row.purged) {
                return Ok(true);
            }
        }
        if named.len() < REFERENCES_AT_ONCE {
            return Ok(false);
        }
    }
}

/// Visits who refers to a seal or to a page of references, alive or not, behind `after`, until `visit` says `false`.
fn each_owner<D: Disk>(
    index: &Index<D>,
    target: Target,
    after: Option<Owner>,
    visit: &mut dyn FnMut(Owner) -> bool,
) -> Result<(), IndexError> {
    // PA
    let (prefix, last) = (target.prefix(), after.map(|owner| Reference { target, owner }));
    let last = last.as_ref().map(TableKey::to_bytes);
    let from = match &last {
        Some(last) => Bound::Excluded(last.as_ref()),
        None => Bound::Included(prefix.as_slice()),
    };
    index.scan::<References>(from, Bound::Unbounded, Direction::Forward, &mut |reference: Reference, ()| {
        reference.target == target && visit(reference.owner)
    })
}

/// Up to `limit` of those who refer to a seal or to a page of references, behind `after`.
fn owners<D: Disk>(
    index: &Index<D>,
    target: Target,
    after: Option<Owner>,
    limit: usize,
) -> Result<Vec<Owner>, IndexError> {
    let mut found = Vec::new();
    each_owner(index, target, after, &mut |owner| {
        found.push(owner);
        found.len() < limit
    })?;
    Ok(found)
}

/// References that are looked at, or forgotten, in one go.
const REFERENCES_AT_ONCE: usize = 1024;

/// Forgets who referred to what is collected.
pub(super) fn forget_references<D: Disk>(index: &mut Index<D>, target: Target) -> Result<(), IndexError> {
    // PA
    let mut last = None;
    loop {
        let some = owners(index, target, last, REFERENCES_AT_ONCE)?;
        let Some(&owner) = some.last() else { return Ok(()) };
        last = Some(owner);
        for owner in some {
            index.remove::<References>(&Reference { target, owner });
        }
    }
}
