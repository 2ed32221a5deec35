//! The sectors of a segment's file: what stands in them, and whether that has rotted.

use super::LogError;
use super::scan::{Fetched, fetch};
use crate::env::DiskFile;
use core::ops::Range;

/// The smallest piece that a disk refuses to read by itself, in bytes.
pub(super) const SECTOR_LEN: u64 = super::commit::SECTOR_LEN as u64;

/// How often a sector is looked at, at most, before it is written over.
const LOOKS: usize = 4;

/// The bytes at `offset`; `None` where the file ends before or the disk refuses.
pub(super) fn bytes_at<F: DiskFile>(file: &F, offset: u32, len: usize) -> Result<Option<Vec<u8>>, LogError> {
    let mut bytes = vec![0; len];
    Ok(match fetch(file, u64::from(offset), &mut bytes)? {
        Fetched::Bytes(count) if count == len => Some(bytes),
        _ => None,
    })
}

/// From where to where other bytes than `bytes` stand at `offset`, or none that can be read, as one look finds it and then two
/// more in a row: for each run of such sectors. One that was misread is none to write again.
pub(super) fn rotten<F: DiskFile>(file: &F, offset: u32, bytes: &[u8]) -> Result<Vec<Range<usize>>, LogError> {
    // PA
    let mut rotten = Vec::new();
    for suspect in wrong(file, offset, bytes)? {
        rotten.extend(rotten_within(file, offset, bytes, suspect)?);
    }
    Ok(rotten)
}

/// From where to where other bytes than `bytes` stand at `offset`, or none that can be read, as one look finds it.
fn wrong<F: DiskFile>(file: &F, offset: u32, bytes: &[u8]) -> Result<Vec<Range<usize>>, LogError> {
    // PA
    if let Some(found) = bytes_at(file, offset, bytes.len())? {
        return Ok(differing(offset, &found, bytes));
    }
    let mut wrong: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let place = offset.saturating_add(at as u32);
        let to_end = SECTOR_LEN - u64::from(place) % SECTOR_LEN;
        let right = rest.get(..to_end as usize).unwrap_or(rest);
        let found = match bytes_at(file, place, right.len())? {
            Some(found) => differing(place, &found, right),
            None => core::iter::once(0..right.len()).collect(),
        };
        for range in found {
            let (from, to) = (at + range.start, at + range.end);
            match wrong.last_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => wrong.push(from..to),
            }
        }
        at += right.len();
    }
    Ok(wrong)
}

/// Of a range that one look found wrong, what two more in a row do.
fn rotten_within<F: DiskFile>(
    file: &F,
    offset: u32,
    bytes: &[u8],
    suspect: Range<usize>,
) -> Result<Vec<Range<usize>>, LogError> {
    // PA
    let mut rotten: Vec<Range<usize>> = Vec::new();
    let mut at = suspect.start;
    while at < suspect.end {
        let place = offset.saturating_add(at as u32);
        let to_end = SECTOR_LEN - u64::from(place) % SECTOR_LEN;
        let end = suspect.end.min(at + to_end as usize);
        let right = bytes.get(at..end).unwrap_or_default();
        if let Some(range) = rotten_in_sector(file, place, right)? {
            let (from, to) = (at + range.start, at + range.end);
            match rotten.last_mut() {
                // What lies between is of the same two sectors.
                Some(last) if last.end + SECTOR_LEN as usize > at => last.end = to,
                _ => rotten.push(from..to),
            }
        }
        at = end;
    }
    Ok(rotten)
}

fn rotten_in_sector<F: DiskFile>(file: &F, place: u32, right: &[u8]) -> Result<Option<Range<usize>>, LogError> {
    // PA
    let mut before = None;
    for _ in 0..LOOKS {
        let found = bytes_at(file, place, right.len())?;
        match (&before, found) {
            (_, Some(found)) if found == right => break,
            (Some(Some(before)), Some(found)) if *before == found => {
                return Ok(differing(place, &found, right).pop());
            }
            (Some(None), None) => return Ok(Some(0..right.len())),
            (_, found) => before = Some(found),
        }
    }
    Ok(None)
}

/// From where to where `found`, which stands at `offset`, differs from `right`: a range for each run of sectors that differ.
fn differing(offset: u32, found: &[u8], right: &[u8]) -> Vec<Range<usize>> {
    let sector = |place: usize| (u64::from(offset) + place as u64) / SECTOR_LEN;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for place in found.iter().zip(right).enumerate().filter(|(_, (one, other))| one != other).map(|(place, _)| place) {
        match ranges.last_mut() {
            Some(last) if sector(place) <= sector(last.end - 1) + 1 => last.end = place + 1,
            _ => ranges.push(place..place + 1),
        }
    }
    ranges
}

/// Whether the disk refuses, at every look, to read the bytes between two offsets of one sector.
pub(super) fn is_refused<F: DiskFile>(file: &F, from: u64, to: u64) -> Result<bool, LogError> {
    let mut bytes = [0; SECTOR_LEN as usize];
    let len = (to.saturating_sub(from) as usize).min(bytes.len());
    for _ in 0..LOOKS {
        if !matches!(fetch(file, from, &mut bytes[..len])?, Fetched::Unreadable(_)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
    use super::*;
    use crate::env::DiskError;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// A file of which each sector is misread in the looks that are said for it, counted from the first.
    #[derive(Debug)]
    struct Fickle {
        bytes: Vec<u8>,
        misread: Vec<(usize, Range<usize>)>,
        looks: Mutex<BTreeMap<usize, usize>>,
    }

    impl DiskFile for Fickle {
        fn len(&self) -> Result<u64, DiskError> {
            Ok(self.bytes.len() as u64)
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
            let mut looks = self.looks.lock().unwrap();
            let (from, to) = (offset as usize, (offset as usize + buffer.len()).min(self.bytes.len()));
            buffer[..to - from].copy_from_slice(&self.bytes[from..to]);
            for sector in from / 512..to.div_ceil(512) {
                let look = looks.entry(sector).or_default();
                if self.misread.iter().any(|(misread, when)| *misread == sector && when.contains(look)) {
                    // Each time otherwise.
                    buffer[(sector * 512).max(from) - from] ^= 1 + *look as u8;
                }
                *look += 1;
            }
            Ok(to - from)
        }

        fn write_at(&self, _: u64, _: &[&[u8]]) -> Result<(), DiskError> {
            panic!("nothing is to be written")
        }

        fn truncate(&self, _: u64) -> Result<(), DiskError> {
            Ok(())
        }

        fn sync(&self) -> Result<(), DiskError> {
            Ok(())
        }
    }

    /// Two sectors of which the first is rotten, and of which some looks are wrong: what would be written.
    fn rotten(misread: Vec<(usize, Range<usize>)>) -> Vec<Range<usize>> {
        let right = vec![7; 1024];
        let mut bytes = right.clone();
        bytes[100] = 8;
        let file = Fickle { bytes, misread, looks: Mutex::default() };
        super::rotten(&file, 0, &right).unwrap()
    }

    /// Found by the simulator (seed 59051559), and by reading.
    #[test]
    fn only_what_two_looks_in_a_row_find_alike_is_written_over() {
        assert_eq!(rotten(vec![]), [100..101]);
        // The sector beside it is misread at first, or twice, or three times.
        for times in 1..4 {
            assert_eq!(rotten(vec![(1, 0..times)]), [100..101], "{times}");
        }
        // And never twice alike: nothing is known of either.
        assert_eq!(rotten(vec![(0, 0..9), (1, 0..9)]), []);
        assert_eq!(rotten(vec![(0, 1..9)]), []);
    }

    #[test]
    fn bytes_that_differ_are_named_by_runs_of_sectors() {
        let (found, mut right) = (vec![0; 4096], vec![0; 4096]);
        // At 100 bytes behind the beginning of a sector: the first two stand in one, the third in the next.
        for at in [10, 300, 450, 2000] {
            right[at] = 1;
        }
        assert_eq!(differing(8192 + 100, &found, &right), [10..451, 2000..2001]);
        assert_eq!(differing(8192 + 100, &found, &found), []);
    }
}
