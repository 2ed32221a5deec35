//! Healing a segment in place: exactly the bytes that were written, or none.

use super::footer::Footer;
use super::parity::{ParityList, xor};
use super::place::{Damage, DamagedRange};
use super::reader::{Shown, show};
use super::record::{HEADER_LEN, RecordHeader, padding, record_len};
use super::rest::Rest;
use super::restored::{Outcome, Restored};
use super::scan::{Fetched, Item, Scanner, fetch};
use super::sectors::{SECTOR_LEN, bytes_at};
use super::segment::{BLOCK_LEN, Binding, FIRST_RECORD, SegmentHeader};
use super::upkeep::Sealing;
use super::{Location, Log, LogError, RecordFlags, RecordKind, SegmentId};
use crate::codec::Canonical;
use crate::env::{Disk, DiskFile, OpenMode, Volume};
use crate::planted::{Bug, planted};
use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Bytes that were not what was written, or could not be read, and are now: what they were is known exactly.
    pub healed: Vec<DamagedRange>,
    /// Bytes that are still not what was written. The payload of a slice flagged `spread` is not looked at: its
    /// siblings heal it, see [`Log::rewrite_in_place`].
    pub lost: Vec<DamagedRange>,
    /// Bytes of which it is known what they were, and that could not be written: the disk refused, or would have to be given
    /// the rest of a sector that can neither be read nor restored, and may come back. The next repair may.
    pub refused: Vec<DamagedRange>,
}

impl<D: Disk> Log<D> {
    /// Restores a segment's damaged bytes in place from its doubled headers, its group parity and its lists, and syncs. If
    /// it is whole then and an earlier opening could not give it its parity, it is given it now.
    ///
    /// # Errors
    /// [`LogError::NoSegment`], [`LogError::Disk`]; [`LogError::Poisoned`] when the sync failed.
    pub fn repair(&mut self, segment: SegmentId) -> Result<RepairReport, LogError> {
        // PA
        self.writable()?;
        let known = self.segments.get(&segment).cloned().ok_or(LogError::NoSegment(segment))?;
        let (file, end) = self.file_for_writing(segment, known.len)?;
        let active = self.active.as_ref().is_some_and(|active| active.id == segment);
        let patient = self.patient(segment, &known.binding, file.clone(), end)?;
        let written = patient.write();
        // Of a write that failed any part may be in the system's cache. And what was healed before the disk refused the rest is no
        // rot to the next who looks, and must not be rot again later.
        if !matches!(&written, Ok(written) if written.is_nothing()) && !planted(Bug::RepairNotSynced) {
            self.sync(&file)?;
        }
        let Outcome { healed, refused, .. } = written?;
        let (lost, sealed) = patient.examine()?;
        let mut report = RepairReport { healed, lost, refused };
        // Behind the last commit nothing would count.
        if segment >= self.durable.segment || active || !report.refused.is_empty() {
            return Ok(report);
        }
        if report.lost.is_empty() && !sealed {
            self.seal_behind(segment)?;
        } else if let Some(first) = report.lost.first()
            && self.ends_before(segment, first.from)
            && self.seal_from(segment, Some(first.from))? == Sealing::Done
        {
            // Of the parity behind its history no list was left: all of that is made again. A crash may have done it to what nobody was
            // told of, and that is nothing to speak of.
            report.lost.clear();
        }
        Ok(report)
    }

    /// What a repair would write in a segment, if the disk let it.
    ///
    /// # Errors
    /// [`LogError::NoSegment`], [`LogError::Disk`].
    pub fn restorable(&self, segment: SegmentId) -> Result<Vec<DamagedRange>, LogError> {
        // PA
        let known = self.segments.get(&segment).ok_or(LogError::NoSegment(segment))?;
        let (file, end) = self.file_for_reading(segment, known.len)?;
        Ok(self.patient(segment, &known.binding, file, end)?.restored.known(segment))
    }

    /// A segment, and all that can be known of what it held.
    fn patient<'a>(
        &self,
        segment: SegmentId,
        binding: &'a Binding,
        file: Arc<D::File>,
        end: u32,
    ) -> Result<Patient<'a, D::File>, LogError> {
        // PA
        let header = SegmentHeader { store: self.store, segment, salt: binding.salt, config: self.config.clone() };
        let active = self.active.as_ref().is_some_and(|active| active.id == segment);
        let unproven = self.unproven_from(segment);
        let mut patient = Patient { restored: Restored::new(file, end), segment, binding, end, unproven };
        patient.restore(&header, active, &|range| self.may_have_held_commit(range))?;
        Ok(patient)
    }

    /// Writes the payload of a record again where it stands, exact as it was: for what healed by other means, such as
    /// a slice by its siblings. Nothing is written unless header and checksum agree with the bytes, and where they stand
    /// already: they may have been misread, and be of a batch that nothing proves yet, which a crash would tear.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when the record's header is damaged (repair the segment first) or the bytes are not the
    /// record's; [`LogError::NoSegment`]; [`LogError::Disk`]; [`LogError::Poisoned`] when the sync failed.
    pub fn rewrite_in_place(&mut self, location: Location, payload: &[u8]) -> Result<(), LogError> {
        // PA
        self.writable()?;
        let known = self.segments.get(&location.segment).cloned().ok_or(LogError::NoSegment(location.segment))?;
        let (file, end) = self.file_for_writing(location.segment, known.len)?;
        let damaged = |what| LogError::Damaged { location, what };
        if location.offset >= end {
            // Still in the write buffer, where nothing rots.
            return Ok(());
        }
        let mut head = [0; HEADER_LEN];
        let Fetched::Bytes(HEADER_LEN) = fetch(&*file, u64::from(location.offset), &mut head)? else {
            return Err(damaged("its header"));
        };
        let room = u64::from(end - location.offset);
        let header = RecordHeader::decode(&head, &known.binding, location.offset, room);
        let header = header.ok_or_else(|| damaged("its header"))?;
        if header.len != location.len || payload.len() != location.len as usize || !header.checks(payload) {
            return Err(damaged("the bytes offered are not the record's"));
        }
        let record = [payload, padding(header.len)].concat();
        let is_active = self.active.as_ref().is_some_and(|active| active.id == location.segment);
        let mut restored = Restored::new(file.clone(), end);
        restored.learn(location.offset + HEADER_LEN as u32, &record, Damage::Record(header.kind))?;
        if restored.reaches_beyond(location.offset, header.record_len()) && !self.is_covered(location) {
            // A power failure may tear all of a sector that is being written.
            return Err(damaged("what stands beside it is covered by no parity yet"));
        }
        let written = restored.write(location.segment, self.unproven_from(location.segment));
        if !matches!(&written, Ok(written) if written.is_nothing()) {
            self.sync(&file)?;
        }
        let Outcome { refused, refusal, .. } = written?;
        if !refused.is_empty() {
            return Err(refusal.unwrap_or_else(|| damaged("what stands beside it can be neither read nor restored")));
        }
        // What was rotten in it may be why it has no parity yet.
        if !is_active
            && !self.unsealed.contains(&location.segment)
            && !self.ends_with_footer(location.segment).unwrap_or(false)
        {
            self.unsealed.insert(location.segment);
        }
        Ok(())
    }

    /// Whether parity covers all that stands beside a record.
    fn is_covered(&self, location: Location) -> bool {
        // PA
        match self.rest {
            // The parity keeps the proof out of the sectors before it.
            Rest::Proven(proof) if proof == self.durable && proof.segment == location.segment => {
                location.offset < proof.commit
            }
            _ => self.ends_with_footer(location.segment).unwrap_or(false),
        }
    }

    /// A segment's file, and how much of the segment is in it.
    fn file_for_writing(&self, segment: SegmentId, len: u32) -> Result<(Arc<D::File>, u32), LogError> {
        match self.active.as_ref().filter(|active| active.id == segment) {
            Some(active) => Ok((active.file.clone(), active.written)),
            None => Ok((Arc::new(self.disk.open(Volume::Blocks, &segment.file_name(), OpenMode::Write)?), len)),
        }
    }
}

/// Says whether a commit may have stood in a damaged place.
type MayHaveHeld<'a> = &'a dyn Fn(&DamagedRange) -> Result<bool, LogError>;

/// A segment under repair.
struct Patient<'a, F> {
    restored: Restored<F>,
    segment: SegmentId,
    binding: &'a Binding,
    end: u32,
    /// From where on nothing is proven.
    unproven: u32,
}

impl<F: DiskFile> Patient<'_, F> {
    /// Learns all that can be known of what was there.
    fn restore(&mut self, header: &SegmentHeader, active: bool, held_commit: MayHaveHeld<'_>) -> Result<(), LogError> {
        // PA
        self.heal_headers(header)?;
        for list in self.lists()?.into_values() {
            self.heal_group(&list)?;
        }
        self.heal_spread()?;
        if !active {
            self.heal_footer(held_commit)?;
        }
        Ok(())
    }

    /// Writes it.
    fn write(&self) -> Result<Outcome, LogError> {
        self.restored.write(self.segment, self.unproven)
    }

    fn set(&mut self, offset: u32, bytes: &[u8], what: Damage) -> Result<(), LogError> {
        self.restored.learn(offset, bytes, what)
    }

    fn range(&self, from: u32, len: usize, what: Damage) -> DamagedRange {
        DamagedRange { segment: self.segment, from, to: from.saturating_add(len as u32), what }
    }

    fn heal_headers(&mut self, header: &SegmentHeader) -> Result<(), LogError> {
        let block = header.encode_block();
        self.set(0, &block, Damage::SegmentHeader)?;
        self.set(BLOCK_LEN as u32, &block, Damage::SegmentHeader)
    }

    /// Every group whose list can be read, in one copy or the other. Not one among whose records another stands: it was
    /// taken back, and written over in part.
    fn lists(&self) -> Result<BTreeMap<u32, ParityList>, LogError> {
        // PA
        let mut lists = BTreeMap::new();
        let mut others = BTreeSet::new();
        let mut scanner = Scanner::new(self.restored.file(), self.binding, FIRST_RECORD, self.end);
        while let Some(item) = scanner.next()? {
            let Item::Record(offset, header) = item else { continue };
            if !matches!(header.kind, RecordKind::ParityList | RecordKind::Parity) {
                others.insert(offset);
            }
            if header.kind != RecordKind::ParityList
                || lists.values().any(|list: &ParityList| list.second_list == offset)
            {
                continue;
            }
            let Some(payload) = scanner.payload(offset, header.len)? else { continue };
            if !header.checks(payload) {
                continue;
            }
            let Ok(list) = ParityList::decode(payload) else { continue };
            let fits = u64::from(list.second_list) + header.record_len() <= u64::from(self.end)
                && list.extents.first().is_none_or(|(offset, _)| *offset >= FIRST_RECORD)
                && [list.first_list, list.second_list].contains(&offset);
            if fits {
                lists.insert(list.first_list, list);
            }
        }
        lists.retain(|first, list| others.range(*first..=list.second_list).next().is_none());
        Ok(lists)
    }

    /// Whether a list stands in one of its places, at another look: one that was misread, as another that stood there before,
    /// would have what is sound written over.
    fn stands(&self, list: &ParityList) -> Result<bool, LogError> {
        // PA
        let payload = list.encode();
        for offset in [list.first_list, list.second_list] {
            let record = self.record(RecordKind::ParityList, offset, &payload);
            if bytes_at(self.restored.file(), offset, record.len())?.is_some_and(|found| found == record) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn heal_group(&mut self, list: &ParityList) -> Result<(), LogError> {
        // PA
        if !self.stands(list)? {
            return Ok(());
        }
        let (block_len, stripes) = (list.block_len as usize, list.stripes as usize);
        let (mut data, mut refused) = (Vec::with_capacity(list.data_len() as usize), Vec::new());
        for (offset, len) in &list.extents {
            refused.extend(self.append_readable(&mut data, *offset, *len as usize)?);
        }
        data.resize(list.data_blocks() * block_len, 0);
        let payload_at = list.parity + HEADER_LEN as u32;
        self.append_readable(&mut data, payload_at, stripes * block_len)?;

        let intact = |data: &[u8], index: usize| {
            let block = data.get(index * block_len..(index + 1) * block_len);
            block.is_some_and(|block| list.crcs.get(index) == Some(&crc32fast::hash(block)))
        };
        let bad: Vec<usize> = (0..list.crcs.len()).filter(|index| !intact(&data, *index)).collect();
        // Where the disk refuses what are zeros anyway, they are what stands in their place.
        let was_refused = |index: &usize| {
            let (from, to) = (index * block_len, (index + 1) * block_len);
            refused.iter().any(|range: &Range<usize>| range.start < to && from < range.end)
        };
        let mut healed: Vec<usize> =
            (0..list.data_blocks()).filter(|index| was_refused(index) && !bad.contains(index)).collect();
        for index in &bad {
            let siblings = || (index % stripes..list.crcs.len()).step_by(stripes).filter(|other| other != index);
            if siblings().any(|other| bad.contains(&other)) {
                continue;
            }
            let mut block = vec![0; block_len];
            for other in siblings() {
                xor(&mut block, data.get(other * block_len..).unwrap_or_default());
            }
            // A list whose checksum is right by chance must not make good bytes of bad ones.
            if list.crcs.get(*index) == Some(&crc32fast::hash(&block)) {
                if let Some(place) = data.get_mut(index * block_len..(index + 1) * block_len) {
                    place.copy_from_slice(&block);
                }
                healed.push(*index);
            }
        }
        for index in healed.iter().filter(|index| **index < list.data_blocks()) {
            self.write_block(list, &data, *index)?;
        }
        let parity = data.get(list.data_blocks() * block_len..).unwrap_or_default();
        let parity_whole = bad.iter().all(|index| *index < list.data_blocks() || healed.contains(index));
        if parity_whole && !planted(Bug::ParityLeftRotten) {
            self.write_record(RecordKind::Parity, list.parity, parity)?;
        }
        let payload = list.encode();
        self.write_record(RecordKind::ParityList, list.first_list, &payload)?;
        self.write_record(RecordKind::ParityList, list.second_list, &payload)
    }

    /// Reads sector by sector, so that one that cannot be read costs no more than the blocks it is in. Returns where it has
    /// put zeros for that.
    fn append_readable(&self, to: &mut Vec<u8>, offset: u32, len: usize) -> Result<Vec<Range<usize>>, LogError> {
        // PA
        let mut refused = Vec::new();
        let whole = bytes_at(self.restored.file(), offset, len)?;
        if let Some(bytes) = whole {
            to.extend_from_slice(&bytes);
            return Ok(refused);
        }
        let mut at = 0;
        while at < len {
            let place = offset + at as u32;
            let want = (SECTOR_LEN - u64::from(place) % SECTOR_LEN).min((len - at) as u64) as usize;
            match bytes_at(self.restored.file(), place, want)? {
                Some(bytes) => to.extend_from_slice(&bytes),
                None => {
                    refused.push(to.len()..to.len() + want);
                    to.resize(to.len() + want, 0);
                }
            }
            at += want;
        }
        Ok(refused)
    }

    /// Writes one data block back to the extents that it is made of.
    fn write_block(&mut self, list: &ParityList, data: &[u8], index: usize) -> Result<(), LogError> {
        // PA
        let block_len = list.block_len as usize;
        let (from, to) = (index * block_len, (index + 1) * block_len);
        let mut start = 0;
        for (offset, len) in &list.extents {
            let end = start + *len as usize;
            let (first, last) = (from.max(start), to.min(end));
            if first < last {
                let at = offset + (first - start) as u32;
                self.set(at, data.get(first..last).unwrap_or_default(), Damage::Covered)?;
            }
            start = end;
        }
        Ok(())
    }

    /// A whole record as it stands at `offset`.
    fn record(&self, kind: RecordKind, offset: u32, payload: &[u8]) -> Vec<u8> {
        let len = payload.len() as u32;
        let header = RecordHeader::of(kind, RecordFlags::NONE, len, &[payload]);
        let head = header.encode(self.binding, offset);
        [head.as_slice(), payload, padding(len)].concat()
    }

    /// Writes a whole record that is known byte for byte.
    fn write_record(&mut self, kind: RecordKind, offset: u32, payload: &[u8]) -> Result<(), LogError> {
        // PA
        let record = self.record(kind, offset, payload);
        self.set(offset, &record, Damage::Record(kind))
    }

    /// Fills up spread records again, as nothing else covers the zeros behind their payloads, and spares those: their siblings
    /// heal them.
    fn heal_spread(&mut self) -> Result<(), LogError> {
        // PA
        let (mut rotten, mut spare) = (Vec::new(), Vec::new());
        let mut scanner = Scanner::new(&self.restored, self.binding, FIRST_RECORD, self.end);
        while let Some(item) = scanner.next()? {
            let Item::Record(offset, header) = item else { continue };
            if !header.flags.is_spread() {
                continue;
            }
            let payload = offset.saturating_add(HEADER_LEN as u32);
            let (from, to) = (payload.saturating_add(header.checked_len), payload.saturating_add(header.len));
            let zeros = padding(header.len);
            let fills =
                zeros.is_empty() || bytes_at(&self.restored, to, zeros.len())?.is_some_and(|found| found == zeros);
            if fills && !self.restored.is_beside(&(from..to)) {
                continue;
            }
            // The header may have been misread.
            let head = header.encode(self.binding, offset);
            if bytes_at(&self.restored, offset, HEADER_LEN)?.is_some_and(|found| found == head) {
                rotten.extend((!fills).then_some((to, zeros, header.kind)));
                spare.push(from..to);
            }
        }
        for (at, zeros, kind) in rotten {
            self.set(at, zeros, Damage::Record(kind))?;
        }
        spare.into_iter().for_each(|range| self.restored.spare(range));
        Ok(())
    }

    /// Makes the footer again if it is the only thing wrong, at two looks.
    fn heal_footer(&mut self, held_commit: MayHaveHeld<'_>) -> Result<(), LogError> {
        // PA
        let Some(footer) = self.footer()? else { return Ok(()) };
        let record = self.record(RecordKind::Footer, footer.at, &footer.payload);
        if bytes_at(&self.restored, footer.at, record.len())?.is_some_and(|found| found == record) {
            return Ok(());
        }
        let what = Damage::Record(RecordKind::Footer);
        // The parity before it may be of a batch, whose commit then stood there. The commits that are left cannot always say: the
        // one that followed may have gone with its segment.
        let is_known = footer.is_known || self.is_left(&footer, &record)?;
        if !is_known && held_commit(&self.range(footer.at, record.len(), what))? {
            return Ok(());
        }
        if self.footer()?.as_ref() == Some(&footer) {
            self.set(footer.at, &record, what)?;
        }
        Ok(())
    }

    /// Whether enough of a footer is left in its place to say that no commit stood there: its payload, or a whole sector.
    fn is_left(&self, footer: &FoundFooter, record: &[u8]) -> Result<bool, LogError> {
        // PA
        let payload_at = footer.at.saturating_add(HEADER_LEN as u32);
        if bytes_at(self.restored.file(), payload_at, footer.payload.len())?
            .is_some_and(|found| found == footer.payload)
        {
            return Ok(true);
        }
        let mut at = u64::from(footer.at).next_multiple_of(SECTOR_LEN);
        let first = (at - u64::from(footer.at)) as usize;
        for sector in record.get(first..).unwrap_or_default().chunks_exact(SECTOR_LEN as usize) {
            let Ok(place) = u32::try_from(at) else { break };
            if bytes_at(self.restored.file(), place, sector.len())?.is_some_and(|found| found == sector) {
                return Ok(true);
            }
            at += SECTOR_LEN;
        }
        Ok(false)
    }

    /// What the footer is, and where, by the records before it; `None` if there is none, or other damage.
    fn footer(&self) -> Result<Option<FoundFooter>, LogError> {
        // PA
        let mut footer = Footer::default();
        // It is written behind parity; what is damaged behind anything else may be the last commit.
        let mut behind_parity = false;
        let mut scanner = Scanner::new(&self.restored, self.binding, FIRST_RECORD, self.end);
        while let Some(item) = scanner.next()? {
            let (at, is_known) = match item {
                Item::Record(offset, header) if header.kind == RecordKind::Footer => (offset, true),
                Item::Record(_, header) => {
                    footer.add(&header);
                    behind_parity = header.kind == RecordKind::ParityList;
                    continue;
                }
                Item::Damaged { from, to, .. } if to == self.end && behind_parity => (from, false),
                Item::Damaged { .. } => return Ok(None),
            };
            let payload = footer.encode();
            let ends = u64::from(at) + record_len(payload.len() as u32) == u64::from(self.end);
            return Ok(ends.then_some(FoundFooter { at, payload, is_known }));
        }
        Ok(None)
    }

    /// What is still damaged, and whether there is a footer.
    fn examine(&self) -> Result<(Vec<DamagedRange>, bool), LogError> {
        let mut scanner = Scanner::new(self.restored.file(), self.binding, FIRST_RECORD, self.end);
        let (mut lost, mut sealed) = (Vec::new(), false);
        while let Some(item) = scanner.next()? {
            sealed |= matches!(&item, Item::Record(_, header) if header.kind == RecordKind::Footer);
            if let Shown::Damaged(range) = show(&mut scanner, self.segment, item, true)? {
                lost.push(range);
            }
        }
        Ok((lost, sealed))
    }
}

/// The footer of a segment, as it was or must have been.
#[derive(PartialEq, Eq)]
struct FoundFooter {
    at: u32,
    payload: Vec<u8>,
    /// Its header says that it is one.
    is_known: bool,
}
