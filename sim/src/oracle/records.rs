//! The look at the log itself for what no client is shown: that no two records have one name, no two seals one key, that
//! what rotted was not copied; and which files are the log's own.

use super::{Broken, Promise};
use crate::disk::FaultyDisk;
use bytes::Bytes;
use ouroboros_engine::blob::{BlobRecord, RefPage};
use ouroboros_engine::codec::Canonical as _;
use ouroboros_engine::deletion::TombstoneRecord;
use ouroboros_engine::env::FileName;
use ouroboros_engine::id::{BlobId, Dot, EngineRng, SealId};
use ouroboros_engine::seal::{Coding, SealedSlice, SliceHeader};
use ouroboros_engine::store::Location;
use ouroboros_engine::store::log::{Damage, DamagedRange, Log, LogOptions, RecordKind, RecordView};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

/// Whether a byte of a file is of the log. A segment that was taken out of it waits for the next commit to be deleted, and so
/// does what lies behind the end of history, as where a batch was copied from.
pub(crate) fn is_of_log(disk: &FaultyDisk, name: &FileName, offset: u64) -> bool {
    let holds = |log: Log<FaultyDisk>| {
        log.segments().iter().any(|segment| segment.id.file_name() == *name && offset < u64::from(segment.len))
    };
    open(disk, &mut |_| {}).map_or(true, holds)
}

/// Holds every dot in the log of a disk at rest against the others: deletion and reconciliation take a dot for the one
/// record that it names.
///
/// Returns how many pages of references there are.
///
/// # Errors
/// P3, with the dot that two records share; P8, with the seals that share a key; P7 when the log does not open.
pub(crate) fn check(disk: &FaultyDisk) -> Result<u64, Broken> {
    let mut seen: BTreeMap<Dot, [u8; 32]> = BTreeMap::new();
    let mut twice = None;
    let mut pages = 0;
    let mut keys: BTreeMap<[u8; 32], SealId> = BTreeMap::new();
    let mut shared = None;
    let opened = open(disk, &mut |record| {
        pages += u64::from(record.kind == RecordKind::RefPage);
        // The same record may stand twice, as a compaction leaves it.
        let named = match record.kind {
            RecordKind::Blob => BlobRecord::decode(&Bytes::copy_from_slice(record.payload))
                .ok()
                .map(|blob| (blob.dot, *blob.header.id().as_bytes())),
            RecordKind::Tombstone => TombstoneRecord::decode(record.payload)
                .ok()
                .map(|tombstone| (tombstone.dot, *tombstone.signed.id().as_bytes())),
            RecordKind::Slice => {
                if let Ok((header, _)) = SliceHeader::decode(record.payload) {
                    let seal = header.seal_id();
                    let other = *keys.entry(*header.key_commitment()).or_insert(seal);
                    if other != seal {
                        shared.get_or_insert((other, seal));
                    }
                }
                None
            }
            _ => None,
        };
        if let Some((dot, id)) = named
            && *seen.entry(dot).or_insert(id) != id
        {
            twice.get_or_insert(dot);
        }
    });
    opened?;
    if let Some((one, other)) = shared {
        return Err(Broken::new(Promise::P8, format!("two seals have one key: {one} and {other}")));
    }
    match twice {
        Some(dot) => Err(Broken::new(Promise::P3, format!("two records are named {dot:?}"))),
        None => Ok(pages),
    }
}

/// Holds the bytes of every slice against the slice's own hashes. `known` says of a stretch of a file whether it rotted.
///
/// # Errors
/// P1, with a slice that does not hold what it should although nothing has rotted where it stands.
pub(crate) fn check_slices(disk: &FaultyDisk, known: &dyn Fn(&FileName, &Range<u64>) -> bool) -> Result<(), Broken> {
    let log = open(disk, &mut |_| {})?;
    let mut spoiled = None;
    for segment in log.segments() {
        let name = segment.id.file_name();
        let scanned = log.scan(segment.id, 0, &mut |record| {
            let slice = (record.kind == RecordKind::Slice).then(|| Bytes::copy_from_slice(record.payload));
            let wrong = slice.and_then(|slice| SealedSlice::from_record(slice).ok()?.verify().err());
            let start = u64::from(record.location.offset);
            // With its header, which is shorter than that.
            let stretch = start..start + u64::from(record.location.len) + 64;
            if let Some(error) = wrong
                && !known(&name, &stretch)
            {
                spoiled.get_or_insert(format!("{error}; it stands at {}", record.location));
            }
            ControlFlow::Continue(())
        });
        scanned.map_err(|error| Broken::new(Promise::P7, format!("segment {} cannot be read: {error}", segment.id)))?;
    }
    match spoiled {
        Some(what) => Err(Broken::new(Promise::P1, format!("a slice was written spoiled: {what}"))),
        None => Ok(()),
    }
}

/// Whether a record of a file does not hold what it should where something is so of its bytes. What a segment is filled up with,
/// between records too, says nothing, and may be anything.
pub(crate) fn shows(disk: &FaultyDisk, name: &FileName, there: &dyn Fn(&Range<u64>) -> bool) -> bool {
    let Ok(log) = open(disk, &mut |_| {}) else { return false };
    let Some(segment) = log.segments().into_iter().find(|segment| segment.id.file_name() == *name) else {
        return false;
    };
    let mut spoiled = false;
    let scanned = log.scan(segment.id, 0, &mut |record| {
        let slice = (record.kind == RecordKind::Slice).then(|| Bytes::copy_from_slice(record.payload));
        let start = u64::from(record.location.offset);
        let touched = there(&(start..start + u64::from(record.location.len)));
        spoiled |= touched
            && slice.is_some_and(|slice| SealedSlice::from_record(slice).map_or(true, |it| it.verify().is_err()));
        ControlFlow::Continue(())
    });
    let in_place = |range: &DamagedRange| there(&(u64::from(range.from)..u64::from(range.to)));
    spoiled || scanned.is_ok_and(|scan| scan.damaged.iter().any(in_place))
}

/// Holds every record of a log that was healed against its checksum: parity, lists and footers too, which no client would
/// miss until the next place rots. Of the slices that others heal, their headers, where the disk does not refuse the rest.
///
/// # Errors
/// P6, with a place that is not as it was written.
pub(crate) fn check_records(disk: &FaultyDisk) -> Result<(), Broken> {
    let log = open(disk, &mut |_| {})?;
    for segment in log.segments() {
        let scanned = log.scan(segment.id, 0, &mut |_| ControlFlow::Continue(()));
        let scan = scanned.map_err(|error| Broken::new(Promise::P7, format!("a segment cannot be read: {error}")))?;
        let healable = |range: &&DamagedRange| range.what != Damage::Refused(RecordKind::Slice);
        if let Some(range) = scan.damaged.iter().find(healable) {
            return Err(Broken::new(Promise::P6, format!("two scrubs that repair leave {range}")));
        }
    }
    Ok(())
}

/// Holds what a compaction has left in a log against the versions that are alive: nothing else of a client's is in it.
///
/// # Errors
/// P3, with a record that nothing alive needs; P7 when the log does not open.
pub(crate) fn check_compacted(disk: &FaultyDisk, alive: &BTreeSet<BlobId>) -> Result<(), Broken> {
    let (mut named, mut pages) = (BTreeSet::new(), BTreeSet::new());
    let (mut kept, mut paged, mut slices) = (Vec::new(), Vec::new(), Vec::new());
    let mut left = None;
    let opened = open(disk, &mut |record| match record.kind {
        RecordKind::Blob => {
            let Ok(blob) = BlobRecord::decode(&Bytes::copy_from_slice(record.payload)) else { return };
            if alive.contains(&blob.header.id()) {
                kept.push(blob.header.header().clone());
            } else {
                left.get_or_insert((record.kind, record.location));
            }
        }
        RecordKind::RefPage => paged.extend(RefPage::decode(record.payload).ok().map(|page| (page, record.location))),
        RecordKind::Slice => {
            let header = SliceHeader::decode(record.payload).ok();
            slices.extend(header.map(|(header, _)| (header.seal_id(), record.location)));
        }
        _ => {}
    });
    opened?;
    for header in &kept {
        named.extend(header.seals.iter().copied());
        pages.extend(header.ref_pages.iter().copied());
    }
    for (page, location) in &paged {
        if pages.contains(&page.id()) {
            named.extend(page.seals.iter().copied());
        } else {
            left.get_or_insert((RecordKind::RefPage, *location));
        }
    }
    let needless = slices.iter().find(|(seal, _)| !named.contains(seal));
    match left.or(needless.map(|(_, location)| (RecordKind::Slice, *location))) {
        Some((kind, location)) => {
            let what = format!("a compaction leaves a {kind:?} at {location}, which nothing that is alive needs");
            Err(Broken::new(Promise::P3, what))
        }
        None => Ok(()),
    }
}

/// A seal with several slices to spare, and where those are that nothing covers but their siblings.
#[derive(Debug)]
pub(crate) struct SpreadSeal {
    pub(crate) slices: Vec<Location>,
    /// How many of them may be lost.
    pub(crate) spare: usize,
}

/// Those seals of versions that are alive, in the order of their ids. None of a log that does not open.
pub(crate) fn spread_seals(disk: &FaultyDisk, alive: &BTreeSet<BlobId>) -> Vec<SpreadSeal> {
    let mut named: BTreeSet<SealId> = BTreeSet::new();
    let mut found: BTreeMap<SealId, (BTreeSet<u8>, usize, Coding, SpreadSeal)> = BTreeMap::new();
    let opened = open(disk, &mut |record| match record.kind {
        RecordKind::Blob => {
            let blob = BlobRecord::decode(&Bytes::copy_from_slice(record.payload)).ok();
            let blob = blob.filter(|blob| alive.contains(&blob.header.id()));
            named.extend(blob.iter().flat_map(|blob| &blob.header.header().seals));
        }
        RecordKind::Slice => {
            let Ok((header, _)) = SliceHeader::decode(record.payload) else { return };
            let coding = header.coding();
            let spare = usize::from(coding.parity());
            let none = || (BTreeSet::new(), 0, coding, SpreadSeal { slices: Vec::new(), spare });
            let (indexes, count, first, seal) = found.entry(header.seal_id()).or_insert_with(none);
            indexes.insert(header.index().0);
            *count += 1;
            // Of two codings it is not known here which is in use.
            if *first != coding {
                seal.spare = 0;
            }
            // Of a shorter one more than its content would be hit.
            if record.flags.is_spread() && record.location.len > 1024 {
                seal.slices.push(record.location);
            }
        }
        _ => {}
    });
    let is_whole = |(id, (indexes, count, _, seal)): &(SealId, (BTreeSet<u8>, usize, Coding, SpreadSeal))| {
        // What stands there twice is not all in use.
        named.contains(id) && seal.spare > 1 && seal.slices.len() >= seal.spare && indexes.len() == *count
    };
    let found = found.into_iter().filter(is_whole).map(|(_, (_, _, _, seal))| seal);
    if opened.is_ok() { found.collect() } else { Vec::new() }
}

/// The first record in a log that holds something of a client's, if there is one.
///
/// # Errors
/// P7 when the log does not open.
pub(crate) fn remains(disk: &FaultyDisk) -> Result<Option<(RecordKind, Location)>, Broken> {
    let mut found = None;
    let opened = open(disk, &mut |record| {
        if matches!(record.kind, RecordKind::Blob | RecordKind::Slice | RecordKind::RefPage) {
            found.get_or_insert((record.kind, record.location));
        }
    });
    opened.map(|_| found)
}

/// Opens a copy of a log, and shows what is in it; of slices the headers.
fn open(disk: &FaultyDisk, visit: &mut dyn FnMut(RecordView<'_>)) -> Result<Log<FaultyDisk>, Broken> {
    let options = LogOptions { leave_end: true, ..LogOptions::default() };
    let mut rng = EngineRng::from_seed([0; 32]);
    let opened = Log::open(disk.snapshot(), options, None, &mut rng, |_, _| true, &mut |record| {
        visit(record);
        Ok(())
    });
    match opened {
        Ok((log, _)) => Ok(log),
        Err(error) => Err(Broken::new(Promise::P7, format!("the log of a closed store does not open: {error}"))),
    }
}
