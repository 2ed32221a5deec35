//! What a repair writes, and what it leaves as it is because it may come back.

#![allow(clippy::single_range_in_vec_init)]
use super::super::place::Damage;
use super::super::restored::Restored;
use super::super::*;
use super::basics::{SMALL, STORE, create, open_from, payload, rng};
use super::crash_disk::{CrashDisk, CrashFile, Fault};
use crate::env::{Disk, DiskFile, FileName, OpenMode, Volume};
use std::collections::BTreeSet;
use std::sync::Arc;

const SECTOR: u32 = 512;
/// Length of the file, in sectors.
const SECTORS: u32 = 64;

/// A file of sevens that are to be nines, of which some sectors are refused.
fn file(refused: impl IntoIterator<Item = u32>) -> (CrashDisk, FileName, Arc<CrashFile>) {
    let (disk, name) = (CrashDisk::default(), SegmentId(1).file_name());
    let file = disk.open(Volume::Blocks, &name, OpenMode::CreateNew).unwrap();
    file.write_at(0, &[&[7; (SECTORS * SECTOR) as usize]]).unwrap();
    disk.take_written();
    refused.into_iter().for_each(|sector| disk.spoil(name.as_str(), sector as usize));
    (disk, name, Arc::new(file))
}

/// From where to where.
type Places = Vec<(u32, u32)>;

/// Nines are to stand in `known`, and others answer for `spare`: what is healed and what is not, and what stands there.
fn write(
    refused: impl IntoIterator<Item = u32>,
    known: &[core::ops::Range<u32>],
    spare: &[core::ops::Range<u32>],
    unproven: u32,
) -> (Places, Places, Vec<u8>) {
    let (disk, name, file) = file(refused);
    let mut restored = Restored::new(file, SECTORS * SECTOR);
    for range in known {
        restored.learn(range.start, &vec![9; range.len()], Damage::Covered).unwrap();
    }
    spare.iter().for_each(|range| restored.spare(range.clone()));
    let outcome = restored.write(SegmentId(1), unproven).unwrap();
    let plain = |ranges: Vec<DamagedRange>| ranges.into_iter().map(|range| (range.from, range.to)).collect();
    (plain(outcome.healed), plain(outcome.refused), disk.files()[name.as_str()].clone())
}

#[test]
fn what_may_come_back_is_never_written_over() {
    let at = |sector: u32| sector * SECTOR;
    // In the middle of a refused sector, beside what nobody knows: nothing is written.
    let (healed, refused, bytes) = write([20], &[at(20) + 100..at(20) + 200], &[], u32::MAX);
    assert_eq!((healed, refused), (vec![], vec![(at(20) + 100, at(20) + 200)]));
    assert!(bytes.iter().all(|byte| *byte == 7));
    // The sectors that are known to their ends are.
    let (healed, refused, bytes) = write(19..23, &[at(19) + 100..at(22) + 200], &[], u32::MAX);
    assert_eq!(healed, [(at(20), at(22))]);
    assert_eq!(refused, [(at(19) + 100, at(20)), (at(22), at(22) + 200)]);
    let nines =
        |range: core::ops::Range<u32>| bytes[range.start as usize..range.end as usize].iter().all(|byte| *byte == 9);
    assert!(nines(at(20)..at(22)));
    assert_eq!(bytes.iter().filter(|byte| **byte == 7).count() as u32, at(SECTORS) - at(2));
}

/// Several that each know a part of a sector write it together.
#[test]
fn what_others_know_of_a_sector_is_taken_along() {
    let at = |sector: u32| sector * SECTOR;
    let known = [at(20)..at(20) + 100, at(20) + 100..at(20) + 300, at(20) + 300..at(21)];
    for without in 0..3 {
        let some: Vec<_> =
            known.iter().enumerate().filter(|(number, _)| *number != without).map(|(_, range)| range.clone()).collect();
        assert_eq!(write([20], &some, &[], u32::MAX).0, [], "without {without}");
        // What others answer for becomes zeros.
        let (healed, refused, bytes) = write([20], &some, &[known[without].clone()], u32::MAX);
        assert_eq!((healed.len(), refused.len()), (2, 0));
        assert_eq!(bytes.iter().filter(|byte| **byte == 0).count(), known[without].len());
        // But not where nothing is proven.
        let proven = known[without].end - 1;
        assert_eq!(write([20], &some, &[known[without].clone()], proven).0, [], "without {without}");
    }
    let (healed, _, bytes) = write([20], &known, &[], 0);
    assert_eq!(healed.len(), 3, "nothing becomes zeros, and so nothing need be proven");
    assert_eq!(bytes.iter().filter(|byte| **byte == 9).count() as u32, SECTOR);
}

/// What a disk calls a physical sector is eight of those that it may refuse one by one.
#[test]
fn what_is_spare_goes_with_it_up_to_the_ends_of_the_physical_sector() {
    let at = |sector: u32| sector * SECTOR;
    let all = [0..at(20), at(21)..at(SECTORS)];
    for (refused, zeros) in [(14..40, 7), (18..20, 2), (21..23, 2), (0..0, 0)] {
        let (healed, _, bytes) = write(refused.clone(), &[at(20)..at(21)], &all, u32::MAX);
        assert_eq!(healed, [(at(20), at(21))]);
        assert_eq!(bytes.iter().filter(|byte| **byte == 0).count() as u32, at(zeros), "{refused:?} are refused");
        // And none of it without.
        let (healed, _, bytes) = write(refused.clone(), &[at(20)..at(21)], &[], u32::MAX);
        assert_eq!(healed, [(at(20), at(21))]);
        assert!(!bytes.contains(&0), "{refused:?} are refused");
    }
    // What can be read between them parts them.
    let (healed, _, bytes) = write([16, 20], &[at(20)..at(21)], &all, u32::MAX);
    assert_eq!((healed.len(), bytes.contains(&0)), (1, false));
    // A part of the first and the last of them, with more than a sector between.
    let known = [at(16) + 500..at(17), at(23)..at(23) + 10];
    let (healed, _, bytes) = write(16..24, &known, &[0..at(SECTORS)], u32::MAX);
    assert_eq!(healed.len(), 2);
    let nines: Vec<u32> = (0..at(SECTORS)).filter(|place| bytes[*place as usize] == 9).collect();
    assert_eq!(nines, known.into_iter().flatten().collect::<Vec<_>>());
}

/// Any known and spare ranges, and any refused sectors: the file is read as it is to be before it is written, and nothing
/// changes that need not.
#[test]
fn no_byte_changes_that_is_not_known_or_spare() {
    let (mut taken_along, mut left) = (0, 0);
    for seed in 0..400 {
        let mut rng = EngineRng::from_seed([seed as u8; 32]);
        let mut below = |bound: u32| ((rng.next_u64() ^ seed) % u64::from(bound)) as u32;
        let refused: BTreeSet<u32> = (0..SECTORS).filter(|_| below(3) > 0).collect();
        // What stands where, piece by piece: known, spare, or neither.
        let (mut at, mut kinds) = (0, Vec::new());
        while at < SECTORS * SECTOR {
            let longest = [40, 700, 5000][below(3) as usize];
            let end = (at + 1 + below(longest)).min(SECTORS * SECTOR);
            let kind = below(3);
            kinds.extend((at..end).map(|_| kind));
            at = end;
        }
        let ranges = |wanted: u32| -> Vec<core::ops::Range<u32>> {
            let mut ranges: Vec<core::ops::Range<u32>> = Vec::new();
            for (at, _) in kinds.iter().enumerate().filter(|(_, kind)| **kind == wanted) {
                match ranges.last_mut() {
                    Some(last) if last.end == at as u32 => last.end += 1,
                    _ => ranges.push(at as u32..at as u32 + 1),
                }
            }
            ranges
        };
        let (known, spare) = (ranges(0), ranges(1));
        let (healed, undone, bytes) = write(refused.clone(), &known, &spare, u32::MAX);
        let is_in =
            |ranges: &[(u32, u32)], at: usize| ranges.iter().any(|(from, to)| (*from..*to).contains(&(at as u32)));
        for (at, byte) in bytes.iter().enumerate() {
            let is_refused = refused.contains(&(at as u32 / SECTOR));
            match kinds[at] {
                0 => {
                    assert!(is_in(&healed, at) != is_in(&undone, at), "seed {seed}, {at}: one or the other");
                    assert_eq!(*byte, if is_in(&healed, at) { 9 } else { 7 }, "seed {seed}, {at}");
                    assert!(is_refused || is_in(&healed, at), "seed {seed}, {at}: nothing hinders");
                    left += u32::from(is_in(&undone, at));
                }
                1 if *byte == 0 => {
                    assert!(is_refused, "seed {seed}, {at}: it can be read");
                    taken_along += 1;
                }
                _ => assert_eq!(*byte, 7, "seed {seed}, {at}"),
            }
        }
        // As it is to be.
        let (_, _, file) = file(refused.clone());
        let mut restored = Restored::new(file, SECTORS * SECTOR);
        known.iter().for_each(|range| restored.learn(range.start, &vec![9; range.len()], Damage::Covered).unwrap());
        let (from, len) = (below(SECTORS * SECTOR), 1 + below(3000));
        let mut buffer = vec![0; len as usize];
        let places = from..(from + len).min(SECTORS * SECTOR);
        match restored.read_at(u64::from(from), &mut buffer) {
            Ok(count) => {
                assert_eq!(count, places.len(), "seed {seed}");
                let right = places.map(|at| if kinds[at as usize] == 0 { 9 } else { 7 });
                assert!(right.eq(buffer[..count].iter().copied()), "seed {seed}");
            }
            Err(_) => {
                let hidden = |at: u32| kinds[at as usize] > 0 && refused.contains(&(at / SECTOR));
                assert!(places.clone().any(hidden), "seed {seed}: all of it is known");
            }
        }
    }
    assert!(taken_along > 1000 && left > 1000, "{taken_along} {left}");
}

/// Found by the simulator (seed 675 of the worlds): a refused sector was known to be zeros, and not written for that.
#[test]
fn zeros_that_are_refused_are_restored() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let zeros = log.append(RecordKind::Blob, RecordFlags::NONE, &[&[0; 3000]]).unwrap();
    log.commit(b"").unwrap();
    log.settle().unwrap();
    let name = zeros.segment.file_name();
    let sector = zeros.offset / SECTOR + 2;
    disk.spoil(name.as_str(), sector as usize);
    disk.take_written();
    let report = log.repair(zeros.segment).unwrap();
    assert_eq!(report.refused, []);
    assert_eq!(disk.take_written(), [(name.to_string(), sector as usize)]);
}

/// Not even with parity in the middle of the batch: that covers no slice.
#[test]
fn no_slice_of_an_unproven_batch_becomes_zeros_before_the_parity_in_its_middle() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 300)]).unwrap();
    log.commit(b"note").unwrap();
    let slice = log.append(RecordKind::Slice, RecordFlags::SPREAD, &[b"header", &payload(2, 1500)]).unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(3, 900)]).unwrap();
    log.cover().unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(4, 900)]).unwrap();
    let last = log.commit(b"note").unwrap();
    assert_eq!(slice.segment, last.segment);
    // The sector in which the slice ends, with what is known beside it.
    let (name, sector) = (slice.segment.file_name(), (slice.offset + slice.len) as usize / SECTOR as usize);
    disk.spoil(name.as_str(), sector);
    let report = log.repair(slice.segment).unwrap();
    disk.mend(name.as_str(), sector);
    drop(log);
    let verify = |kind, bytes: &[u8]| kind != RecordKind::Slice || bytes.ends_with(&payload(2, 1500));
    let (_, recovery) = Log::open(disk, SMALL, None, &mut rng(), verify, &mut |_| Ok(())).unwrap();
    assert_eq!(recovery.torn, None);
    assert!(report.healed.is_empty() && !report.refused.is_empty(), "{report:?}");
}

/// The disk refuses `refused` of the log's last segment for a while: it does not open, and has lost nothing afterwards.
fn refuse_end(disk: &CrashDisk, from: Option<LogPosition>, segment: SegmentId, refused: &[usize], records: usize) {
    let name = segment.file_name();
    refused.iter().for_each(|sector| disk.spoil(name.as_str(), *sector));
    let opened = open_from(disk, from);
    assert!(matches!(&opened, Err(LogError::Disk(_))), "{refused:?}: {:?}", opened.map(|(_, recovery, _)| recovery));
    refused.iter().for_each(|sector| disk.mend(name.as_str(), *sector));
    assert_eq!(open_from(disk, None).unwrap().2.len(), records, "{refused:?}");
}

/// Found by refusing stretches of a log for a while: of two groups of parity the first list of the one and the second of the
/// other could be read, and what stood between was taken for parity, too.
#[test]
fn no_batch_is_forgotten_between_two_groups_of_parity_of_which_the_rest_is_refused() {
    let mut listed = 0;
    for len in (300..30_000).step_by(1500) {
        let disk = CrashDisk::default();
        let options = LogOptions { segment_len: 1 << 20, parity_group_len: 1 << 20, ..SMALL };
        let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
        let mut put = |number: usize, len: usize| {
            let blob = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, len)]).unwrap();
            let commit = log.commit(b"note").unwrap();
            log.settle().unwrap();
            assert_eq!(blob.segment, log.position().segment);
            (commit, log.position())
        };
        let ((_, proof), (last, end)) = (put(1, 300), put(2, len));
        drop(log);
        // From the first proof on up to the parity of the second batch, and where the proof of that ends.
        let between = proof.commit / SECTOR..last.end / SECTOR + 4;
        let sectors: Vec<usize> = between.chain([end.end / SECTOR - 1]).map(|sector| sector as usize).collect();
        // Its second list can be read.
        listed += u32::from(end.commit / SECTOR < end.end / SECTOR - 1);
        refuse_end(&disk, None, end.segment, &sectors, 2);
    }
    assert!(listed > 3, "{listed}");
}

/// Found likewise: a place that begins with the commit of the checkpoint was not looked at for what is behind that.
#[test]
fn no_batch_is_forgotten_that_is_refused_together_with_the_commit_of_the_checkpoint() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 3000)]).unwrap();
    let checkpoint = log.commit(b"note").unwrap();
    let second = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 10)]).unwrap();
    let last = log.commit(b"note").unwrap();
    assert_eq!((checkpoint.segment, second.segment), (last.segment, last.segment));
    drop(log);
    let sectors: Vec<usize> = (checkpoint.commit / SECTOR..last.end / SECTOR).map(|sector| sector as usize).collect();
    refuse_end(&disk, Some(checkpoint), last.segment, &sectors, 2);
}

/// Found likewise: a batch that begins in such a segment and ends in the next was taken for torn.
#[test]
fn no_batch_is_forgotten_of_which_a_whole_segment_is_refused() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 300)]).unwrap();
    let first = log.commit(b"note").unwrap();
    for number in 2..60 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 2000)]).unwrap();
    }
    let last = log.commit(b"note").unwrap();
    drop(log);
    assert!(first.segment.next() < last.segment);
    let middle = first.segment.next();
    let sectors: Vec<usize> = (0..disk.files()[middle.file_name().as_str()].len().div_ceil(SECTOR as usize)).collect();
    refuse_end(&disk, None, middle, &sectors, 59);
}

/// Sixty batches in several segments.
fn closed_log() -> CrashDisk {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    for number in 0..60 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 2000)]).unwrap();
        log.commit(b"note").unwrap();
    }
    log.close().unwrap();
    disk
}

/// Found likewise: a segment of which nothing could be read when the log was opened is there as soon as it can be.
#[test]
fn a_segment_that_was_absent_is_taken_up_when_it_can_be_read_again() {
    let disk = closed_log();
    let (log, _, all) = open_from(&disk, None).unwrap();
    let (first, last) = (log.segments()[1].id, log.segments().last().unwrap().id);
    drop(log);
    let name = first.file_name();
    let sectors = disk.files()[name.as_str()].len().div_ceil(SECTOR as usize);
    (0..sectors).for_each(|sector| disk.spoil(name.as_str(), sector));
    let (mut log, recovery, some) = open_from(&disk, None).unwrap();
    assert!(first < last && recovery.unreadable == [first] && some.len() < all.len());
    assert_eq!(log.take_up_absent().unwrap(), []);
    // The headers are refused still; the rest says enough.
    (16..sectors).for_each(|sector| disk.mend(name.as_str(), sector));
    assert_eq!(log.take_up_absent().unwrap(), [first]);
    assert_eq!((log.take_up_absent().unwrap(), log.absent().count()), (vec![], 0));
    let mut seen = Vec::new();
    let replayed = log.replay(&mut |view| {
        seen.push((view.location, view.kind, view.payload.to_vec()));
        Ok(())
    });
    assert_eq!((replayed.unwrap().damaged, seen == all), (vec![], true));
    // Of another store it is none.
    (0..sectors).for_each(|sector| disk.spoil(name.as_str(), sector));
    let (mut log, ..) = open_from(&disk, None).unwrap();
    (0..sectors).for_each(|sector| disk.mend(name.as_str(), sector));
    let stranger = CrashDisk::default();
    let created = Log::create(stranger.clone(), SMALL, StoreId([9; 32]), b"", &mut rng(), |_, _| true);
    drop(created.unwrap());
    let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    file.truncate(0).unwrap();
    file.write_at(0, &[stranger.files().values().next().unwrap()]).unwrap();
    assert_eq!(log.take_up_absent().unwrap(), []);
}

/// Or nobody would make the index anew for those that were taken up before the shortage.
#[test]
fn absent_segments_are_taken_up_all_at_once_or_not_at_all() {
    let disk = closed_log();
    let absent: Vec<SegmentId> = open_from(&disk, None).unwrap().0.segments()[1..4].iter().map(|one| one.id).collect();
    let sectors: Vec<(String, usize)> = (absent.iter().map(|id| id.file_name()))
        .flat_map(|name| (0..disk.files()[name.as_str()].len() / 512 + 1).map(move |sector| (name.to_string(), sector)))
        .collect();
    for at in 0.. {
        sectors.iter().for_each(|(name, sector)| disk.spoil(name, *sector));
        let (mut log, recovery, _) = open_from(&disk, None).unwrap();
        assert_eq!(recovery.unreadable, absent);
        sectors.iter().for_each(|(name, sector)| disk.mend(name, *sector));
        disk.plan(at, Fault::ExhaustRead);
        let taken_up = log.take_up_absent();
        if !disk.hit() {
            assert!(at >= 6, "{at}: there was no shortage in the middle");
            assert_eq!(taken_up.unwrap(), absent);
            return;
        }
        assert!(matches!(taken_up, Err(LogError::Disk(_))), "{at}: {taken_up:?}");
        assert_eq!(log.absent().count(), absent.len(), "{at}");
        assert_eq!(log.take_up_absent().unwrap(), absent, "{at}");
    }
}
