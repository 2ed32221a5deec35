//! What the directory holds: which files are segments of this log, and what binds their records.

use super::commit::SECTOR_LEN;
use super::handles::Handles;
use super::place::Point;
use super::record::{HEADER_LEN, RecordHeader, RecordKind, find_magic};
use super::scan::{Fetched, fetch};
use super::segment::{BLOCK_LEN, Binding, FIRST_RECORD, SegmentHeader};
use super::segments::Segments;
use super::{Log, LogError, Segment, SegmentId, StoreId};
use crate::codec::Canonical;
use crate::env::{Disk, DiskError, DiskFile, OpenMode, Volume};
use std::collections::BTreeMap;

/// How much of a file without headers is searched at a time, in bytes; a multiple of 8.
const SEARCH_LEN: usize = 64 << 10;

/// A segment file that can be read.
#[derive(Clone, Debug)]
pub(super) struct Present {
    pub(super) binding: Binding,
    /// Length of the file, in bytes; files beyond 4 GiB are none of ours, and what lies there is not looked at.
    pub(super) len: u32,
    /// Which of the two header copies are damaged.
    pub(super) damaged_headers: [bool; 2],
}

/// The files of a log's directory.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) store: StoreId,
    pub(super) config: Vec<u8>,
    pub(super) segments: BTreeMap<SegmentId, Present>,
    /// Files too short to hold a record: a crash came while they were being created.
    pub(super) stubs: Vec<SegmentId>,
    /// Files that may hold records, but neither a header nor anything that could replace it; with what the disk refused of
    /// each, if it refused anything: then it may give it later.
    pub(super) unreadable: BTreeMap<SegmentId, Option<DiskError>>,
    /// Every id that a file name carries, and every one below, is taken.
    pub(super) highest: SegmentId,
}

impl Inventory {
    /// Looks at every segment file's headers; `None` if no file holds a record.
    ///
    /// # Errors
    /// [`LogError::Foreign`], [`LogError::Format`], [`LogError::NoHeader`]; [`LogError::Disk`], also when the disk refuses all that
    /// could say whether there is a record.
    pub(super) fn take<D: Disk>(disk: &D, handles: &Handles<D>) -> Result<Option<Self>, LogError> {
        // PA
        let names = disk.list(Volume::Blocks)?;
        let (mut segments, mut stubs, mut unreadable) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut known: Option<(StoreId, SegmentId)> = None;
        let (mut config, mut refused) = (None, None);
        let mut highest = SegmentId::default();
        for id in names.iter().filter_map(SegmentId::from_file_name) {
            highest = highest.max(id);
            let file = handles.get(id)?;
            let len = u32::try_from(file.len()?).unwrap_or(u32::MAX);
            let mut refusal = None;
            let (header, damaged_headers) = read_headers(id, &*file, len, &mut refusal)?;
            if len <= FIRST_RECORD {
                stubs.push(id);
                continue;
            }
            let Some(Salvaged { store, binding, config: found }) =
                of_header_or_salvage(id, &*file, len, header, &mut refusal)?
            else {
                unreadable.insert(id, refusal);
                continue;
            };
            refused = refused.or(refusal);
            config = config.or(found);
            match known {
                Some((expected, _)) if expected != store => {
                    return Err(LogError::Foreign { segment: id, found: store, expected });
                }
                _ => known = Some((store, id)),
            }
            segments.insert(id, Present { binding, len, damaged_headers });
        }
        let Some((store, _)) = known else {
            return unreadable.into_values().flatten().next().map_or(Ok(None), |refusal| Err(refusal.into()));
        };
        let Some(config) = config else { return Err(refused.map_or(LogError::NoHeader, LogError::Disk)) };
        Ok(Some(Self { store, config, segments, stubs, unreadable, highest }))
    }
}

impl<D: Disk> Log<D> {
    /// Takes up the segments of which nothing could be read when the log was opened, and something can be by now; returns which.
    /// Their records are history, as they were: who keeps an index of it has to make that anew.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the disk was not asked: then none is taken up, or nobody would make the index anew for it.
    pub fn take_up_absent(&mut self) -> Result<Vec<SegmentId>, LogError> {
        // PA
        let mut found = Vec::new();
        for id in self.absent.iter().copied().collect::<Vec<_>>() {
            let segment = match self.look_again(id) {
                Ok(segment) => segment,
                Err(LogError::Disk(error)) if error.failure.says_nothing() => return Err(error.into()),
                // As absent as it was.
                Err(_) => None,
            };
            found.extend(segment.map(|segment| (id, segment)));
        }
        let taken_up = found.iter().map(|(id, _)| *id).collect();
        for (id, segment) in found {
            self.segments.insert(id, segment);
            self.absent.remove(&id);
        }
        Ok(taken_up)
    }

    /// What binds the records of a segment that was absent, if that can be read.
    fn look_again(&self, id: SegmentId) -> Result<Option<Segment>, LogError> {
        // PA
        let file = self.handles.get(id)?;
        let len = u32::try_from(file.len()?).unwrap_or(u32::MAX);
        if len <= FIRST_RECORD {
            return Ok(None);
        }
        let (header, _) = read_headers(id, &*file, len, &mut None)?;
        let found = of_header_or_salvage(id, &*file, len, header, &mut None)?;
        let ours = found.filter(|found| found.store == self.store);
        Ok(ours.map(|found| Segment { binding: found.binding, len }))
    }

    /// The configuration that the log on a disk was created with. Nothing is written.
    ///
    /// # Errors
    /// [`LogError::NoLog`], [`LogError::Foreign`], [`LogError::Format`], [`LogError::Disk`].
    pub fn stored_config(disk: &D) -> Result<Vec<u8>, LogError> {
        // PA
        let handles = Handles::new(disk.clone(), 1);
        // Every segment has it; the first header that can be read will do.
        for id in disk.list(Volume::Blocks)?.iter().filter_map(SegmentId::from_file_name) {
            let file = handles.get(id)?;
            let len = u32::try_from(file.len()?).unwrap_or(u32::MAX);
            if len > FIRST_RECORD
                && let (Some(header), _) = read_headers(id, &*file, len, &mut None)?
            {
                return Ok(header.config);
            }
        }
        Ok(Inventory::take(disk, &handles)?.ok_or(LogError::NoLog)?.config)
    }
}

impl Inventory {
    /// Sees to it that the disk refuses no file behind a segment: whether a write was acknowledged must not be decided by that.
    ///
    /// # Errors
    /// [`LogError::Disk`], with what it refuses.
    pub(super) fn refuses_nothing_behind(&self, segment: SegmentId) -> Result<(), LogError> {
        // PA
        let mut newer = self.unreadable.range(segment.next()..).filter_map(|(_, refusal)| refusal.clone());
        newer.next().map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Cuts off what lies behind a place in its segment.
    pub(super) fn cut<D: Disk>(&mut self, disk: &D, end: Point) -> Result<(), LogError> {
        // PA
        if let Some(present) = self.segments.get_mut(&end.segment).filter(|present| present.len > end.offset) {
            let file = disk.open(Volume::Blocks, &end.segment.file_name(), OpenMode::Write)?;
            file.truncate(u64::from(end.offset))?;
            present.len = end.offset;
        }
        Ok(())
    }
}

fn read_headers<F: DiskFile>(
    id: SegmentId,
    file: &F,
    len: u32,
    refusal: &mut Option<DiskError>,
) -> Result<(Option<SegmentHeader>, [bool; 2]), LogError> {
    // PA
    let mut damaged = [true; 2];
    let mut header = None;
    let mut block = [0; BLOCK_LEN];
    for (copy, at) in [0, BLOCK_LEN].into_iter().enumerate() {
        if (len as usize) < at + BLOCK_LEN {
            continue;
        }
        match fetch(file, at as u64, &mut block)? {
            Fetched::Bytes(BLOCK_LEN) => {}
            Fetched::Bytes(_) => continue,
            Fetched::Unreadable(error) => {
                refusal.get_or_insert(error);
                continue;
            }
        }
        match SegmentHeader::decode_block(id, &block)? {
            // A header that names another segment was written to, or renamed into, the wrong place.
            Some(found) if found.segment == id => {
                damaged[copy] = false;
                header.get_or_insert(found);
            }
            _ => {}
        }
    }
    Ok((header, damaged))
}

/// What the headers of a segment say, or what stands in for them where it lost both.
struct Salvaged {
    store: StoreId,
    binding: Binding,
    config: Option<Vec<u8>>,
}

fn of_header_or_salvage<F: DiskFile>(
    id: SegmentId,
    file: &F,
    len: u32,
    header: Option<SegmentHeader>,
    refusal: &mut Option<DiskError>,
) -> Result<Option<Salvaged>, LogError> {
    // PA
    match header {
        Some(header) => {
            Ok(Some(Salvaged { store: header.store, binding: header.binding(), config: Some(header.config) }))
        }
        None => salvage(id, file, len, refusal),
    }
}

/// Looks for a commit or a list of segments, both of which carry the salt; their own checksum proves it right.
fn salvage<F: DiskFile>(
    id: SegmentId,
    file: &F,
    len: u32,
    refusal: &mut Option<DiskError>,
) -> Result<Option<Salvaged>, LogError> {
    // PA
    /// Header, version, then salt and store id, or store id, segment id and salt.
    const NEEDED: usize = HEADER_LEN + 1 + 32 + 8 + 8;
    let mut best = None;
    let mut buffer = vec![0; SEARCH_LEN + NEEDED];
    let mut at = FIRST_RECORD;
    while at < len {
        // What lies behind is out of reach, and would be for the offsets of records.
        buffer.truncate((len - at) as usize);
        let count = match fetch(file, u64::from(at), &mut buffer)? {
            Fetched::Bytes(count) => count,
            Fetched::Unreadable(error) => {
                refusal.get_or_insert(error);
                fetch_sectors(file, u64::from(at), &mut buffer)?
            }
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        let mut from = 0;
        while let Some(found) = find_magic(bytes, from).filter(|found| *found < SEARCH_LEN) {
            from = found + 8;
            let offset = at + found as u32;
            let Some((store, salt, kind, payload_len)) = bytes.get(found..found + NEEDED).and_then(candidate) else {
                continue;
            };
            let binding = Binding::new(store, id, salt);
            let head = bytes.get(found..).unwrap_or_default();
            let Some(record) = RecordHeader::decode(head, &binding, offset, u64::from(len - offset)) else { continue };
            if kind == RecordKind::Segments {
                let mut payload = vec![0; payload_len as usize];
                fetch(file, u64::from(offset) + HEADER_LEN as u64, &mut payload)?;
                // Headers are made good with what it says.
                if record.checks(&payload)
                    && let Ok(list) = Segments::decode(&payload)
                {
                    return Ok(Some(Salvaged { store, binding, config: Some(list.header.config) }));
                }
            }
            best = Some(Salvaged { store, binding, config: None });
        }
        at = at.saturating_add(SEARCH_LEN as u32);
    }
    Ok(best)
}

/// Reads sector by sector what the disk refuses as a whole; zeros stand for the sectors that it refuses.
fn fetch_sectors<F: DiskFile>(file: &F, offset: u64, buffer: &mut [u8]) -> Result<usize, LogError> {
    // PA
    let mut count = 0;
    for (index, sector) in buffer.chunks_mut(SECTOR_LEN as usize).enumerate() {
        let start = index * SECTOR_LEN as usize;
        match fetch(file, offset + start as u64, sector)? {
            Fetched::Bytes(read) => count = start + read,
            Fetched::Unreadable(_) => {
                sector.fill(0);
                count = start + sector.len();
            }
        }
    }
    Ok(count)
}

fn candidate(bytes: &[u8]) -> Option<(StoreId, u64, RecordKind, u32)> {
    // PA
    let header = RecordHeader::parse(bytes)?;
    let fields = bytes.get(HEADER_LEN + 1..)?;
    let (store, salt) = match header.kind {
        RecordKind::Commit => (fields.get(8..)?, fields),
        RecordKind::Segments => (fields, fields.get(40..)?),
        _ => return None,
    };
    let salt = u64::from_le_bytes(*salt.first_chunk()?);
    Some((StoreId(*store.first_chunk()?), salt, header.kind, header.len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::iter::repeat_n;

    /// A file that is longer than a segment can be, and begins no end of records. What stands further in front is not given.
    #[derive(Debug)]
    struct Endless;

    impl DiskFile for Endless {
        fn len(&self) -> Result<u64, DiskError> {
            Ok(1 << 33)
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
            if offset < u64::from(u32::MAX) - (256 << 10) {
                return Ok(0);
            }
            let begins = [b"oRec\x11\0\0\0".as_slice(), &[0; 64]].concat();
            let bytes: Vec<u8> = repeat_n(begins, buffer.len()).flatten().take(buffer.len()).collect();
            buffer.copy_from_slice(&bytes);
            Ok(buffer.len())
        }

        fn write_at(&self, _: u64, _: &[&[u8]]) -> Result<(), DiskError> {
            unreachable!("it is looked at only")
        }

        fn truncate(&self, _: u64) -> Result<(), DiskError> {
            unreachable!("it is looked at only")
        }

        fn sync(&self) -> Result<(), DiskError> {
            Ok(())
        }
    }

    #[test]
    fn a_file_beyond_the_reach_of_offsets_is_searched_as_far_as_they_go() {
        assert!(matches!(salvage(SegmentId(1), &Endless, u32::MAX, &mut None), Ok(None)));
    }
}
