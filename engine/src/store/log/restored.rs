//! A segment's file with what a repair knows of it: first all that can be known is gathered, then it is written.
//!
//! A disk makes a bad sector readable again only when all of it is written, so what can be restored must take along what
//! stands beside it. Of most of that a repair knows as well what it was: of other groups, of lists and headers. The
//! rest may come back, if the disk gives it again later, so nothing is written over it, but for what others answer for.

use super::place::{Damage, DamagedRange};
use super::sectors::{SECTOR_LEN, bytes_at, is_refused, rotten};
use super::{LogError, SegmentId};
use crate::env::{DiskError, DiskFile};
use crate::store::PHYSICAL_LEN;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Stands where nobody knows what stood.
const ZEROS: [u8; PHYSICAL_LEN as usize] = [0; PHYSICAL_LEN as usize];

/// A segment's file, read as it is to be. What is written to it goes to the file.
#[derive(Debug)]
pub(super) struct Restored<F> {
    file: Arc<F>,
    /// What has to be written, by where it is to stand. No two have a byte in common.
    known: BTreeMap<u32, Fragment>,
    /// What others answer for, rising.
    spare: Vec<Range<u32>>,
    /// Behind this nothing is of the segment.
    end: u32,
}

/// Bytes that are not as they are to be.
#[derive(Debug)]
struct Fragment {
    bytes: Vec<u8>,
    what: Damage,
}

/// What came of writing all that is known.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Stands there now.
    pub(super) healed: Vec<DamagedRange>,
    /// Could not be written.
    pub(super) refused: Vec<DamagedRange>,
    /// Why the disk did not let something be written.
    pub(super) refusal: Option<LogError>,
}

impl Outcome {
    /// Whether the disk was not asked to write anything.
    pub(super) const fn is_nothing(&self) -> bool {
        self.healed.is_empty() && self.refusal.is_none()
    }
}

impl<F: DiskFile> Restored<F> {
    /// A file of which nothing is known yet.
    pub(super) const fn new(file: Arc<F>, end: u32) -> Self {
        Self { file, known: BTreeMap::new(), spare: Vec::new(), end }
    }

    /// The file as it is.
    pub(super) fn file(&self) -> &F {
        &self.file
    }

    /// Learns that `bytes` are to stand at `offset`. No sector that holds what it should is written: it may hold the end of
    /// history, and the bytes that differ may be what a crash tore behind that. A power failure must not tear the one for the
    /// other, nor is it to be said of it that it had rotted. What looks do not agree on is left for the next repair.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the disk was not asked.
    pub(super) fn learn(&mut self, offset: u32, bytes: &[u8], what: Damage) -> Result<(), LogError> {
        // PA
        for range in rotten(self.file(), offset, bytes)? {
            let place = u64::from(offset).saturating_add(range.start as u64);
            // What was learned first stays.
            for gap in self.gaps(&(place..place.saturating_add(range.len() as u64))) {
                let within = (gap.start - u64::from(offset)) as usize..(gap.end - u64::from(offset)) as usize;
                let bytes = bytes.get(within).unwrap_or_default().to_vec();
                self.known.insert(gap.start as u32, Fragment { bytes, what });
            }
        }
        Ok(())
    }

    /// All that is not as it is to be.
    pub(super) fn known(&self, segment: SegmentId) -> Vec<DamagedRange> {
        let range = |(from, fragment): (&u32, &Fragment)| {
            let to = from.saturating_add(fragment.bytes.len() as u32);
            DamagedRange { segment, from: *from, to, what: fragment.what }
        };
        self.known.iter().map(range).collect()
    }

    /// Learns that others answer for these bytes, which stand behind all that were spared before.
    pub(super) fn spare(&mut self, range: Range<u32>) {
        self.spare.push(range);
    }

    /// Whether a sector in which anything is to be written holds what is no part of a record.
    pub(super) fn reaches_beyond(&self, offset: u32, record_len: u64) -> bool {
        // PA
        let record = u64::from(offset)..u64::from(offset).saturating_add(record_len);
        self.known.iter().any(|(at, fragment)| {
            let (from, to) = (u64::from(*at), u64::from(*at) + fragment.bytes.len() as u64);
            from / SECTOR_LEN * SECTOR_LEN < record.start
                || to.next_multiple_of(SECTOR_LEN).min(u64::from(self.end)) > record.end
        })
    }

    /// Whether anything is to be written in a physical sector in which some of these bytes stand.
    pub(super) fn is_beside(&self, range: &Range<u32>) -> bool {
        let from = u64::from(range.start) / PHYSICAL_LEN * PHYSICAL_LEN;
        self.known_in(&(from..u64::from(range.end).next_multiple_of(PHYSICAL_LEN))).next().is_some()
    }

    /// Writes all that is known, but where that would take along what may come back.
    ///
    /// Zeros go to no place from `unproven` on: they would be taken for what a crash tore there, which is never refused.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the disk was not asked; what it refuses is in the outcome.
    pub(super) fn write(&self, segment: SegmentId, unproven: u32) -> Result<Outcome, LogError> {
        // PA
        let (mut written, mut refusal) = (Vec::new(), None);
        let mut next = self.known.keys().next().map(|first| u64::from(*first));
        while let Some(first) = next {
            let from = first / PHYSICAL_LEN * PHYSICAL_LEN;
            let to = from + PHYSICAL_LEN;
            for run in self.writable(from..to, u64::from(unproven))? {
                match self.write_run(&run) {
                    Ok(()) => written.push(run),
                    // A sector that takes no writes keeps nothing else from being healed.
                    Err(LogError::Disk(error)) if !error.failure.says_nothing() => {
                        refusal.get_or_insert(error.into());
                    }
                    Err(error) => return Err(error),
                }
            }
            next = self.known_in(&(to..u64::MAX)).next().map(|(at, _)| at);
        }
        let mut outcome = Outcome { refusal, ..Outcome::default() };
        for (at, fragment) in &self.known {
            let name = |range: &Range<u64>| {
                let (from, to) = (range.start as u32, range.end as u32);
                DamagedRange { segment, from, to, what: fragment.what }
            };
            let all = u64::from(*at)..u64::from(*at) + fragment.bytes.len() as u64;
            let healed = merged(written.iter().map(|run| overlap(run, &all)));
            outcome.refused.extend(gaps(&all, &healed).iter().map(name));
            outcome.healed.extend(healed.iter().map(name));
        }
        Ok(outcome)
    }

    /// From where to where it can be written in a physical sector.
    fn writable(&self, physical: Range<u64>, unproven: u64) -> Result<Vec<Range<u64>>, LogError> {
        // PA
        let may_go = |gap: &Range<u64>| gap.end <= unproven && self.is_spare(gap);
        let len = self.file.len()?;
        let mut runs = Vec::new();
        for sector in physical.step_by(SECTOR_LEN as usize) {
            let known: Vec<Range<u64>> =
                self.known_in(&(sector..sector + SECTOR_LEN)).map(|(at, bytes)| at..at + bytes.len() as u64).collect();
            let least = known.last().map_or(sector, |last| last.end);
            let sector = sector..(sector + SECTOR_LEN).min(len.max(least));
            let gaps = gaps(&sector, &known);
            let all_may_go = gaps.iter().all(may_go);
            let Some(gap) = gaps.first().filter(|_| all_may_go || !known.is_empty()) else {
                runs.extend(gaps.is_empty().then_some(sector));
                continue;
            };
            // What can be read is not written again: it may have been misread.
            if !is_refused(self.file(), gap.start, gap.end)? {
                runs.extend(known);
            } else if all_may_go {
                runs.push(sector);
            }
        }
        let mut runs = merged(runs);
        // What is only spare stays as it is, where nothing is written beside it.
        runs.retain(|run| self.known_in(run).next().is_some());
        Ok(runs)
    }

    fn write_run(&self, run: &Range<u64>) -> Result<(), LogError> {
        // PA
        let (mut parts, mut at) = (Vec::new(), run.start);
        let zeros = |to: u64, at: u64| ZEROS.get(..(to - at) as usize).unwrap_or_default();
        for (from, bytes) in self.known_in(run) {
            parts.extend([zeros(from, at), bytes]);
            at = from + bytes.len() as u64;
        }
        parts.push(zeros(run.end, at));
        // What was refused, or misread, by chance may be as it should: to write over it is to let a crash tear it.
        let bytes = parts.concat();
        let place = u32::try_from(run.start).unwrap_or(u32::MAX);
        if bytes_at(self.file(), place, bytes.len())?.is_some_and(|found| found == bytes) {
            return Ok(());
        }
        Ok(self.file.write_at(run.start, &[&bytes])?)
    }

    /// Whether others answer for all of these bytes, or nobody asks for them.
    fn is_spare(&self, range: &Range<u64>) -> bool {
        // PA
        let behind = self.spare.partition_point(|spare| u64::from(spare.start) <= range.start);
        let spare = behind.checked_sub(1).and_then(|last| self.spare.get(last));
        range.start >= u64::from(self.end) || spare.is_some_and(|spare| range.end <= u64::from(spare.end))
    }

    /// What is known of a range, and where that stands.
    fn known_in(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        let (from, to) = (range.start, range.end);
        let bound = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        let before = self.known.range(..bound(from)).next_back();
        let within = self.known.range(bound(from)..bound(to));
        before.into_iter().chain(within).filter_map(move |(at, fragment)| {
            let all = u64::from(*at)..u64::from(*at) + fragment.bytes.len() as u64;
            let part = overlap(&all, &(from..to));
            let within = part.start.checked_sub(all.start)? as usize..part.end.checked_sub(all.start)? as usize;
            Some((part.start, fragment.bytes.get(within).filter(|bytes| !bytes.is_empty())?))
        })
    }

    /// The parts of a range of which nothing is known.
    fn gaps(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let known: Vec<Range<u64>> = self.known_in(range).map(|(at, bytes)| at..at + bytes.len() as u64).collect();
        gaps(range, &known)
    }

    /// Puts what is known in its place among bytes that were read at `offset`.
    fn correct(&self, offset: u64, bytes: &mut [u8]) {
        // PA
        for (at, known) in self.known_in(&(offset..offset.saturating_add(bytes.len() as u64))) {
            let from = (at - offset) as usize;
            if let Some(place) = bytes.get_mut(from..from + known.len()) {
                place.copy_from_slice(known);
            }
        }
    }
}

impl<F: DiskFile> DiskFile for Restored<F> {
    fn len(&self) -> Result<u64, DiskError> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        // PA
        match self.file.read_at(offset, buffer) {
            Ok(count) => {
                self.correct(offset, buffer.get_mut(..count).unwrap_or_default());
                return Ok(count);
            }
            Err(error) if self.known.is_empty() || error.failure.says_nothing() => return Err(error),
            Err(_) => {}
        }
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            let to_end = (SECTOR_LEN - at % SECTOR_LEN) as usize;
            let want = to_end.min(buffer.len() - done);
            let Some(piece) = buffer.get_mut(done..done + want) else { break };
            let is_known = self.gaps(&(at..at.saturating_add(want as u64))).is_empty();
            let count = if is_known { want } else { self.file.read_at(at, piece)? };
            self.correct(at, piece.get_mut(..count).unwrap_or_default());
            done += count;
            if count < want {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        self.file.write_at(offset, parts)
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.file.truncate(len)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync()
    }
}

/// What two ranges have in common; where that is nothing, an empty one.
fn overlap(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    let start = one.start.max(other.start);
    start..one.end.min(other.end).max(start)
}

/// The parts of a range that are in none of these, which rise.
fn gaps(range: &Range<u64>, known: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut at = range.start;
    for known in known {
        gaps.extend((at < known.start).then_some(at..known.start));
        at = at.max(known.end);
    }
    gaps.extend((at < range.end).then_some(at..range.end));
    gaps
}

/// Ranges, which rise, with those as one that follow each other, and without those that are empty.
fn merged(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range),
        }
    }
    merged
}
