//! The look into the index itself, when everything was purged: what it keeps then no client is shown.

use super::{Broken, Promise};
use crate::disk::FaultyDisk;
use ouroboros_engine::id::EngineRng;
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::store::index::{
    Chunks, Direction, Index, IndexError, IndexOptions, Keys, Names, RefPages, Seals, Table, Versions,
};
use std::ops::Bound;

/// Demands that the index of a closed store of which everything was purged, and compacted, knows no key, name, version, chunk,
/// seal or page any more: the secrets of chunks among them.
///
/// # Errors
/// P3, with the table in which something is left; P6 when the index does not open.
pub(crate) fn check(disk: &FaultyDisk, keys: &Keyring) -> Result<(), Broken> {
    let mut rng = EngineRng::from_seed([0; 32]);
    let unreadable = |error: IndexError| Broken::new(Promise::P6, format!("the index of a closed store: {error}"));
    let index = Index::open(&disk.snapshot(), IndexOptions::default(), &keys.index_key(&[0; 16]), &mut rng);
    let index = index.map_err(unreadable)?;
    let left = [
        (Keys::NAME, rows::<Keys>(&index)),
        (Names::NAME, rows::<Names>(&index)),
        (Versions::NAME, rows::<Versions>(&index)),
        (Chunks::NAME, rows::<Chunks>(&index)),
        (Seals::NAME, rows::<Seals>(&index)),
        (RefPages::NAME, rows::<RefPages>(&index)),
    ];
    for (table, rows) in left {
        let rows = rows.map_err(unreadable)?;
        if rows > 0 {
            let what = format!("everything was purged, and the index still has {rows} rows of {table}");
            return Err(Broken::new(Promise::P3, what));
        }
    }
    Ok(())
}

fn rows<T: Table>(index: &Index<FaultyDisk>) -> Result<u64, IndexError> {
    let mut rows = 0;
    index.scan::<T>(Bound::Unbounded, Bound::Unbounded, Direction::Forward, &mut |_, _| {
        rows += 1;
        true
    })?;
    Ok(rows)
}
