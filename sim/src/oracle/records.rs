//! The look at the log itself for what no client is shown: that no two records have one name, no two seals one key, that
//! what rotted was not copied; and which files are the log's own.

use super::{Broken, Promise};
use crate::disk::FaultyDisk;
use bytes::Bytes;
use ouroboros_engine::blob::{BlobRecord, Header, RefPage};
use ouroboros_engine::codec::Canonical as _;
use ouroboros_engine::deletion::TombstoneRecord;
use ouroboros_engine::env::FileName;
use ouroboros_engine::id::{BlobId, Dot, EngineRng, RefPageId, SealId, Secret};
use ouroboros_engine::keys::{GroupWrap, Keyring};
use ouroboros_engine::seal::{Coding, Layout, SealedSlice, SliceHeader, SliceIndex};
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
/// P3, with the dot that two records share; P8, with the seals that share a key, or the versions that share a salt; P7 when the
/// log does not open.
pub(crate) fn check(disk: &FaultyDisk) -> Result<u64, Broken> {
    let mut seen: BTreeMap<Dot, [u8; 32]> = BTreeMap::new();
    let mut twice = None;
    let mut pages = 0;
    let mut keys: BTreeMap<[u8; 32], SealId> = BTreeMap::new();
    let mut shared = None;
    let mut salts: BTreeMap<[u8; 16], BlobId> = BTreeMap::new();
    let mut salted_alike = None;
    let opened = open(disk, &mut |record| {
        pages += u64::from(record.kind == RecordKind::RefPage);
        // The same record may stand twice, as a compaction leaves it.
        let named = match record.kind {
            RecordKind::Blob => BlobRecord::decode(&Bytes::copy_from_slice(record.payload)).ok().map(|blob| {
                let id = blob.header.id();
                let other = *salts.entry(blob.wrap.salt).or_insert(id);
                if other != id {
                    salted_alike.get_or_insert((other, id));
                }
                (blob.dot, *id.as_bytes())
            }),
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
    // The salt comes of the same stream as the key of the body.
    if let Some((one, other)) = salted_alike {
        return Err(Broken::new(Promise::P8, format!("the keys of two versions were drawn alike: {one} and {other}")));
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
/// miss until the next place rots. Of the slices that others heal, their headers, where the disk does not refuse the rest. Not
/// those places that are `harmless`, as a scrub names them.
///
/// # Errors
/// P6, with a place that is not as it was written.
pub(crate) fn check_records(disk: &FaultyDisk, harmless: &[&str]) -> Result<(), Broken> {
    let log = open(disk, &mut |_| {})?;
    for segment in log.segments() {
        let scanned = log.scan(segment.id, 0, &mut |_| ControlFlow::Continue(()));
        let scan = scanned.map_err(|error| Broken::new(Promise::P7, format!("a segment cannot be read: {error}")))?;
        let healable = |range: &&DamagedRange| {
            range.what != Damage::Refused(RecordKind::Slice) && !harmless.contains(&range.to_string().as_str())
        };
        if let Some(range) = scan.damaged.iter().find(healable) {
            return Err(Broken::new(Promise::P6, format!("two scrubs that repair leave {range}")));
        }
    }
    Ok(())
}

/// What a log holds of clients.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    versions: Vec<HeldVersion>,
    pages: Vec<(RefPage, Location)>,
    slices: Vec<HeldSlice>,
}

/// A version in a log.
#[derive(Debug)]
struct HeldVersion {
    id: BlobId,
    header: Header,
    wrap: GroupWrap,
    location: Location,
}

/// A slice in a log.
#[derive(Debug)]
struct HeldSlice {
    seal: SealId,
    layout: Layout,
    index: SliceIndex,
    /// No parity of a group covers it.
    is_spread: bool,
    location: Location,
}

impl Holdings {
    /// Reads the log of a disk at rest.
    ///
    /// # Errors
    /// P7 when it does not open.
    pub(crate) fn read(disk: &FaultyDisk) -> Result<Self, Broken> {
        let mut all = Self::default();
        let opened = open(disk, &mut |record| match record.kind {
            RecordKind::Blob => {
                let blob = BlobRecord::decode(&Bytes::copy_from_slice(record.payload)).ok();
                all.versions.extend(blob.map(|blob| HeldVersion {
                    id: blob.header.id(),
                    header: blob.header.header().clone(),
                    wrap: blob.wrap,
                    location: record.location,
                }));
            }
            RecordKind::RefPage => {
                all.pages.extend(RefPage::decode(record.payload).ok().map(|page| (page, record.location)));
            }
            RecordKind::Slice => {
                let header = SliceHeader::decode(record.payload).ok();
                all.slices.extend(header.map(|(header, _)| HeldSlice {
                    seal: header.seal_id(),
                    layout: header.layout(),
                    index: header.index(),
                    is_spread: record.flags.is_spread(),
                    location: record.location,
                }));
            }
            _ => {}
        });
        opened.map(|_| all)
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> u64 {
        (self.versions.len() + self.pages.len() + self.slices.len()) as u64
    }

    /// How many seals these versions name.
    pub(crate) fn seals(&self, alive: &BTreeSet<BlobId>) -> u64 {
        let named = self.versions().filter(|(id, _)| alive.contains(id)).flat_map(|(_, header)| self.seals_of(header));
        named.collect::<BTreeSet<_>>().len() as u64
    }

    /// The versions.
    pub(super) fn versions(&self) -> impl Iterator<Item = (BlobId, &Header)> {
        self.versions.iter().map(|version| (version.id, &version.header))
    }

    /// The keys of the versions' bodies.
    pub(super) fn body_keys(&self, keys: &Keyring) -> impl Iterator<Item = Secret> {
        let unwrap = |version: &HeldVersion| {
            let group = keys.group_key(version.wrap.epoch).ok()?;
            version.wrap.open(group, &version.header.body_binding()).ok()
        };
        self.versions.iter().filter_map(unwrap)
    }

    /// The seals that a version names, those on its pages too.
    pub(super) fn seals_of(&self, version: &Header) -> BTreeSet<SealId> {
        let on_pages = self.pages.iter().filter(|(page, _)| version.ref_pages.contains(&page.id()));
        on_pages.flat_map(|(page, _)| &page.seals).chain(&version.seals).copied().collect()
    }

    /// How seals are coded; in two ways where that is being changed.
    pub(super) fn layouts(&self) -> BTreeMap<SealId, BTreeSet<Layout>> {
        let mut all: BTreeMap<SealId, BTreeSet<Layout>> = BTreeMap::new();
        for slice in &self.slices {
            all.entry(slice.seal).or_default().insert(slice.layout);
        }
        all
    }

    /// Counts the slices that a compaction has left of what is alive, once everything is healed: whatever the engine says, a
    /// seal is whole when every slice of one coding is there.
    ///
    /// # Errors
    /// P6, with a version and a seal of it that lacks a slice.
    pub(crate) fn check_whole(&self, alive: &BTreeSet<BlobId>) -> Result<(), Broken> {
        let mut codings: BTreeMap<SealId, BTreeMap<Layout, BTreeSet<u8>>> = BTreeMap::new();
        for HeldSlice { seal, layout, index, .. } in &self.slices {
            codings.entry(*seal).or_default().entry(*layout).or_default().insert(index.0);
        }
        let is_whole = |(layout, found): (&Layout, &BTreeSet<u8>)| {
            found.iter().copied().eq(0..layout.data() + layout.coding().parity())
        };
        let whole = |seal: &SealId| codings.get(seal).is_some_and(|codings| codings.iter().any(is_whole));
        for (id, header) in self.versions().filter(|(id, _)| alive.contains(id)) {
            if let Some(seal) = self.seals_of(header).into_iter().find(|seal| !whole(seal)) {
                let found = codings.get(&seal);
                let what = format!("everything is healed, and of seal {seal} of version {id} there is {found:?}");
                return Err(Broken::new(Promise::P6, what));
            }
        }
        Ok(())
    }

    /// Slices that nothing but their siblings covers lie so many bytes apart (decision 11), or a burst of bad sectors takes more
    /// of them than their seal has to spare.
    ///
    /// # Errors
    /// P1, with two that lie together.
    pub(crate) fn check_spread(&self, least: u64) -> Result<(), Broken> {
        let mut in_order: Vec<&HeldSlice> = self.slices.iter().filter(|slice| slice.is_spread).collect();
        in_order.sort_by_key(|slice| (slice.seal, slice.layout, slice.location.segment, slice.location.offset));
        for pair in in_order.windows(2) {
            let [one, next] = pair else { continue };
            let (from, to) = (one.location, next.location);
            let gap = u64::from(to.offset).saturating_sub(u64::from(from.offset) + u64::from(from.len));
            let siblings = (one.seal, one.layout, from.segment) == (next.seal, next.layout, to.segment);
            if siblings && gap < least {
                let what =
                    format!("slices of seal {} at {from} and {to} count as apart, and {gap} B lie between", one.seal);
                return Err(Broken::new(Promise::P1, what));
            }
        }
        Ok(())
    }

    /// Holds what a compaction has left against the versions that are alive: nothing else of a client's is there.
    ///
    /// # Errors
    /// P3, with a record that nothing alive needs.
    pub(crate) fn check_compacted(&self, alive: &BTreeSet<BlobId>) -> Result<(), Broken> {
        let (mut seals, mut pages): (BTreeSet<SealId>, BTreeSet<RefPageId>) = Default::default();
        let mut left = None;
        for HeldVersion { id, header, location, .. } in &self.versions {
            if alive.contains(id) {
                seals.extend(&header.seals);
                pages.extend(&header.ref_pages);
            } else {
                left.get_or_insert((RecordKind::Blob, *location));
            }
        }
        for (page, location) in &self.pages {
            if pages.contains(&page.id()) {
                seals.extend(&page.seals);
            } else {
                left.get_or_insert((RecordKind::RefPage, *location));
            }
        }
        let needless = self.slices.iter().find(|slice| !seals.contains(&slice.seal));
        match left.or(needless.map(|slice| (RecordKind::Slice, slice.location))) {
            Some((kind, location)) => {
                let what = format!("a compaction leaves a {kind:?} at {location}, which nothing that is alive needs");
                Err(Broken::new(Promise::P3, what))
            }
            None => Ok(()),
        }
    }
}

/// A seal with several slices to spare, and where those are that nothing covers but their siblings.
#[derive(Debug)]
pub(crate) struct SpreadSeal {
    pub(crate) slices: Vec<Location>,
    /// How many of them may be lost.
    pub(crate) spare: usize,
}

/// What was seen of a seal.
#[derive(Debug)]
struct SeenSeal {
    coding: Coding,
    /// Of two codings it is not known here which is in use.
    recoded: bool,
    indexes: BTreeSet<SliceIndex>,
    records: usize,
    /// Where nothing covers a slice but its siblings.
    apart: Vec<Location>,
}

impl SeenSeal {
    /// Every slice is there, and none of them twice, of which not all would be in use.
    fn is_whole(&self) -> bool {
        let total = usize::from(self.coding.data()) + usize::from(self.coding.parity());
        !self.recoded && self.indexes.len() == total && self.records == total
    }
}

/// Those seals of versions that are alive, in the order of their ids. None of a log that does not open.
pub(crate) fn spread_seals(disk: &FaultyDisk, alive: &BTreeSet<BlobId>) -> Vec<SpreadSeal> {
    let mut named: BTreeSet<SealId> = BTreeSet::new();
    let mut found: BTreeMap<SealId, SeenSeal> = BTreeMap::new();
    let opened = open(disk, &mut |record| match record.kind {
        RecordKind::Blob => {
            let blob = BlobRecord::decode(&Bytes::copy_from_slice(record.payload)).ok();
            let blob = blob.filter(|blob| alive.contains(&blob.header.id()));
            named.extend(blob.iter().flat_map(|blob| &blob.header.header().seals));
        }
        RecordKind::Slice => {
            let Ok((header, _)) = SliceHeader::decode(record.payload) else { return };
            let coding = header.coding();
            let none = || SeenSeal { coding, recoded: false, indexes: BTreeSet::new(), records: 0, apart: Vec::new() };
            let seal = found.entry(header.seal_id()).or_insert_with(none);
            seal.indexes.insert(header.index());
            seal.records += 1;
            seal.recoded |= seal.coding != coding;
            // Of a shorter one more than its content would be hit.
            if record.flags.is_spread() && record.location.len > 1024 {
                seal.apart.push(record.location);
            }
        }
        _ => {}
    });
    if opened.is_err() {
        return Vec::new();
    }
    let whole = found.into_iter().filter(|(id, seal)| named.contains(id) && seal.is_whole());
    let spread = whole.map(|(_, seal)| SpreadSeal { spare: usize::from(seal.coding.parity()), slices: seal.apart });
    spread.filter(|seal| seal.spare > 1 && seal.slices.len() >= seal.spare).collect()
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
