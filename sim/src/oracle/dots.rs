//! The look at the log itself for what no client is shown: that no two records have one name.

use super::{Broken, Promise};
use crate::disk::FaultyDisk;
use bytes::Bytes;
use ouroboros_engine::blob::BlobRecord;
use ouroboros_engine::codec::Canonical as _;
use ouroboros_engine::deletion::TombstoneRecord;
use ouroboros_engine::id::{Dot, EngineRng};
use ouroboros_engine::store::log::{Log, LogOptions, RecordKind};
use std::collections::BTreeMap;

/// Holds every dot in the log of a disk at rest against the others: deletion and reconciliation take a dot for the one
/// record that it names.
///
/// Returns how many pages of references there are.
///
/// # Errors
/// P3, with the dot and what shares it; P7 when the log does not open.
pub(crate) fn check(disk: &FaultyDisk) -> Result<u64, Broken> {
    let mut seen: BTreeMap<Dot, [u8; 32]> = BTreeMap::new();
    let mut twice = None;
    let mut pages = 0;
    let options = LogOptions { leave_end: true, ..LogOptions::default() };
    let mut rng = EngineRng::from_seed([0; 32]);
    let opened = Log::open(disk.snapshot(), options, None, &mut rng, &|_, _| true, &mut |record| {
        pages += u64::from(record.kind == RecordKind::RefPage);
        // The same record may stand twice, as a compaction leaves it.
        let named = match record.kind {
            RecordKind::Blob => BlobRecord::decode(&Bytes::copy_from_slice(record.payload))
                .ok()
                .map(|blob| (blob.dot, *blob.header.id().as_bytes())),
            RecordKind::Tombstone => TombstoneRecord::decode(record.payload)
                .ok()
                .map(|tombstone| (tombstone.dot, *tombstone.signed.id().as_bytes())),
            _ => None,
        };
        if let Some((dot, id)) = named
            && *seen.entry(dot).or_insert(id) != id
        {
            twice.get_or_insert(dot);
        }
        Ok(())
    });
    if let Err(error) = opened {
        return Err(Broken::new(Promise::P7, format!("the log of a closed store does not open: {error}")));
    }
    match twice {
        Some(dot) => Err(Broken::new(Promise::P3, format!("two records are named {dot:?}"))),
        None => Ok(pages),
    }
}
