//! The look into the index beside one that is made anew. What an index holds follows from the records of the log alone, in
//! whatever order it learnt of them: so what a store's came to hold, commit by commit and crash by crash, is what a replay
//! tells an empty one. No client is shown most of it, and a reference or an edge of the history that is missing is noticed by
//! nobody until something is collected, or purged.

use super::{Broken, Promise};
use crate::disk::FaultyDisk;
use crate::local::Local;
use core::fmt::{Debug, Display};
use ouroboros_engine::env::Volume;
use ouroboros_engine::id::{BlobId, EngineRng};
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::node::Limits;
use ouroboros_engine::store::index::{
    BlobRow, Blobs, Children, Chunks, Direction, Index, IndexError, IndexOptions, Keys, Names, Owner, RefPages,
    References, Row, Seals, Table, TableKey as _, Target, Tombstones, Versions,
};
use ouroboros_engine::store::{Location, SegmentId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Where nothing lies.
const NOWHERE: Location = Location { segment: SegmentId(0), offset: 0, len: 0 };

/// What is compared of seals and of pages of references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All: a compaction has collected what nothing refers to.
    Compacted,
    /// What something refers to. The rest an index may have forgotten already that the log still holds.
    Referenced,
}

/// Holds the index of a disk on which all is sound against one that is made anew from its log. Both are made on copies.
///
/// # Errors
/// P4, with the first row that only one of them has, or that differs; P6 when a copy does not open, or not close.
pub(crate) fn check(disk: &FaultyDisk, keys: &Arc<Keyring>, limits: &Limits, extent: Extent) -> Result<(), Broken> {
    let (kept, anew) = (disk.snapshot(), disk.snapshot());
    for copy in [&kept, &anew] {
        copy.calm();
        copy.set_capacity(None);
        copy.set_index_capacity(None);
    }
    anew.lose_volume(Volume::Index);
    let (mut kept, mut anew) = (Rows::of(&kept, keys, limits)?, Rows::of(&anew, keys, limits)?);
    for rows in [&mut kept, &mut anew] {
        rows.forget_places();
        rows.forget_what_was_purged(extent);
    }
    kept.check(&anew)
}

/// The rows of a table, by the bytes of their keys.
type Of<T> = BTreeMap<Vec<u8>, Row<T>>;

/// What an index says of the log, without what it may say in one way or another.
struct Rows {
    blobs: Of<Blobs>,
    keys: Of<Keys>,
    names: Of<Names>,
    versions: Of<Versions>,
    seals: Of<Seals>,
    chunks: Of<Chunks>,
    tombstones: Of<Tombstones>,
    pages: Of<RefPages>,
    children: Of<Children>,
    references: Of<References>,
}

impl Rows {
    /// Opens the store, which brings its index up to its log, or makes it anew, and closes it; then reads the index.
    fn of(disk: &FaultyDisk, keys: &Arc<Keyring>, limits: &Limits) -> Result<Self, Broken> {
        let refused = |error: &dyn Display| Broken::new(Promise::P6, format!("a copy of the store: {error}"));
        let (store, _) = Local::open(disk.clone(), keys.clone(), limits.clone(), 0).map_err(|error| refused(&error))?;
        store.close().map_err(|error| refused(&error))?;
        let mut rng = EngineRng::from_seed([0; 32]);
        let index = Index::open(disk, IndexOptions::default(), &keys.index_key(&[0; 16]), &mut rng);
        index.and_then(|index| Self::read(&index)).map_err(|error| refused(&error))
    }

    fn read(index: &Index<FaultyDisk>) -> Result<Self, IndexError> {
        Ok(Self {
            blobs: table::<Blobs>(index)?,
            keys: table::<Keys>(index)?,
            names: table::<Names>(index)?,
            versions: table::<Versions>(index)?,
            seals: table::<Seals>(index)?,
            chunks: table::<Chunks>(index)?,
            tombstones: table::<Tombstones>(index)?,
            pages: table::<RefPages>(index)?,
            children: table::<Children>(index)?,
            references: table::<References>(index)?,
        })
    }

    /// The last batch may be copied where no index vouches for it, and records that are moved stand twice for a while. What
    /// does not stand where an index says is missed by whoever reads it.
    fn forget_places(&mut self) {
        self.blobs.values_mut().for_each(|(_, row)| row.location = NOWHERE);
        self.tombstones.values_mut().for_each(|(_, row)| row.location = NOWHERE);
        self.pages.values_mut().for_each(|(_, row)| row.location = NOWHERE);
        let slices = self.seals.values_mut().flat_map(|(_, row)| &mut row.slices).flatten();
        slices.for_each(|slice| *slice = NOWHERE);
    }

    /// Of a version that was purged a replay may know what its tombstone says, and no more. And what it referred to is forgotten
    /// with that, which others may still refer to.
    fn forget_what_was_purged(&mut self, extent: Extent) {
        for (_, row) in self.blobs.values_mut().filter(|(_, row)| row.purged) {
            *row = BlobRow { kind: 0, gone: false, len: 0, ..row.clone() };
        }
        let alive: BTreeSet<BlobId> = self.blobs.values().filter(|(_, row)| !row.purged).map(|(id, _)| *id).collect();
        let mut needed = self.referred_to(|owner| matches!(owner, Owner::Blob(id) if alive.contains(&id)));
        let pages = needed.clone();
        let of_pages = |owner| matches!(owner, Owner::Page(id) if pages.contains(&Target::Page(id)));
        needed.append(&mut self.referred_to(of_pages));
        self.references.retain(|_, (it, ())| match it.owner {
            Owner::Page(id) => needed.contains(&Target::Page(id)),
            Owner::Blob(id) => alive.contains(&id),
        });
        if extent == Extent::Referenced {
            self.seals.retain(|_, (id, _)| needed.contains(&Target::Seal(*id)));
            self.pages.retain(|_, (id, _)| needed.contains(&Target::Page(*id)));
        }
    }

    fn referred_to(&self, by: impl Fn(Owner) -> bool) -> BTreeSet<Target> {
        self.references.values().filter(|(it, ())| by(it.owner)).map(|(it, ())| it.target).collect()
    }

    /// Holds an index against one that was made anew.
    fn check(&self, anew: &Self) -> Result<(), Broken> {
        same::<Keys>(&self.keys, &anew.keys)?;
        same::<Names>(&self.names, &anew.names)?;
        same::<Versions>(&self.versions, &anew.versions)?;
        same::<Children>(&self.children, &anew.children)?;
        same::<Blobs>(&self.blobs, &anew.blobs)?;
        same::<Tombstones>(&self.tombstones, &anew.tombstones)?;
        same::<RefPages>(&self.pages, &anew.pages)?;
        same::<Seals>(&self.seals, &anew.seals)?;
        same::<References>(&self.references, &anew.references)?;
        self.check_chunks(anew)
    }

    /// Which chunks are known is a matter of what was sealed, or could not be read, since: those below pages a replay does not
    /// know, and entries outlive their seals until they are swept. But what is known is known alike.
    fn check_chunks(&self, anew: &Self) -> Result<(), Broken> {
        for (key, (chunk, row)) in &self.chunks {
            if anew.chunks.get(key).is_some_and(|(_, other)| other != row) {
                let what =
                    format!("the index says that seal {} holds {chunk:?}, and one made anew another", row.seal_id);
                return Err(Broken::new(Promise::P4, what));
            }
        }
        Ok(())
    }
}

fn table<T: Table>(index: &Index<FaultyDisk>) -> Result<Of<T>, IndexError> {
    let mut rows = BTreeMap::new();
    index.scan::<T>(Bound::Unbounded, Bound::Unbounded, Direction::Forward, &mut |key, value| {
        let bytes = key.to_bytes().as_ref().to_vec();
        rows.insert(bytes, (key, value));
        true
    })?;
    Ok(rows)
}

/// Demands that a table says the same in both.
fn same<T: Table>(kept: &Of<T>, anew: &Of<T>) -> Result<(), Broken>
where
    T::Key: Debug,
    T::Value: Debug + PartialEq,
{
    let keys: BTreeSet<&Vec<u8>> = kept.keys().chain(anew.keys()).collect();
    for key in keys {
        let (one, other) = (kept.get(key), anew.get(key));
        if one.map(|row| &row.1) != other.map(|row| &row.1) {
            let what = format!("table {:?}: the store's index says {one:?}, and one made anew {other:?}", T::NAME);
            return Err(Broken::new(Promise::P4, what));
        }
    }
    Ok(())
}
