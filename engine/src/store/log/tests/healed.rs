//! What a repair says it has healed: what was not as it was written, and nothing beside it.

use super::super::*;
use super::basics::{SMALL, STORE, create, open, open_from, payload, rng};
use super::crash_disk::CrashDisk;
use crate::env::{Disk, DiskFile, MemoryDisk, OpenMode, Volume};

const SECTOR: u64 = 512;

fn file(disk: &MemoryDisk, id: SegmentId) -> impl DiskFile {
    disk.open(Volume::Blocks, &id.file_name(), OpenMode::Write).unwrap()
}

fn bytes(disk: &MemoryDisk, id: SegmentId) -> Vec<u8> {
    let file = file(disk, id);
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_repair_names_the_bytes_that_were_wrong_and_not_the_blocks_that_they_stand_in() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 2000)]).unwrap();
    log.commit(b"note").unwrap();
    log.close().unwrap();
    let (mut log, ..) = open(&disk);
    let segment = log.segments()[0].id;
    for at in [8300, 8704, 9999] {
        let (file, right) = (file(&disk, segment), bytes(&disk, segment)[at]);
        file.write_at(at as u64, &[&[!right]]).unwrap();
        let healed = log.repair(segment).unwrap().healed;
        let named: Vec<(u32, u32)> = healed.iter().map(|range| (range.from, range.to)).collect();
        assert_eq!(named, [(at as u32, at as u32 + 1)]);
        assert_eq!(bytes(&disk, segment)[at], right);
    }
}

/// The parity of a batch also covers the commit before it, and one block of it both.
#[test]
fn what_a_crash_tore_behind_the_end_is_not_called_healed_though_its_block_begins_before() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 700)]).unwrap();
    log.commit(b"note").unwrap();
    log.settle().unwrap();
    let (segment, end) = (log.position().segment, u64::from(log.position().end));
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 785)]).unwrap();
    log.roll().unwrap();
    drop(log);
    // A power failure during the sync with which the segment is sealed: the batch's first sector is lost.
    let next = segment.next();
    disk.remove(Volume::Blocks, &next.file_name()).unwrap();
    file(&disk, segment).write_at(end, &[&[0; SECTOR as usize]]).unwrap();
    let torn = bytes(&disk, segment);
    let opened =
        Log::open(disk.clone(), LogOptions::default(), None, &mut rng(), |_, _| true, &mut |_| Ok(())).unwrap();
    assert_eq!(opened.1.mended, []);
    drop(opened);
    // And another, after the commit that disowns what is torn and before it was cut off.
    file(&disk, segment).truncate(0).unwrap();
    file(&disk, segment).write_at(0, &[&torn]).unwrap();
    let (_, recovery, seen) = open(&disk);
    assert_eq!((recovery.mended, seen.len()), (vec![], 1));
}

/// What stands in one sector is not written because of another: a power failure might tear it.
#[test]
fn a_repair_writes_no_sector_that_was_right() {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), LogOptions::default(), STORE, b"config", &mut rng(), |_, _| true).unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 40_000)]).unwrap();
    log.commit(b"note").unwrap();
    log.close().unwrap();
    let open = Log::open(disk.clone(), LogOptions::default(), None, &mut rng(), |_, _| true, &mut |_| Ok(()));
    let mut log = open.unwrap().0;
    let segment = log.segments()[0].id;
    let file = disk.open(Volume::Blocks, &segment.file_name(), OpenMode::Write).unwrap();
    // In one block of the group's parity, with whole sectors between them, and before and behind.
    for at in [17_000, 19_000] {
        file.write_at(at, &[b"rot"]).unwrap();
    }
    file.sync().unwrap();
    disk.take_written();
    let healed: Vec<u32> = log.repair(segment).unwrap().healed.iter().map(|range| range.from).collect();
    assert_eq!(healed, [17_000, 19_000]);
    let name = segment.file_name().to_string();
    assert_eq!(disk.take_written(), [(name.clone(), 17_000 / SECTOR as usize), (name, 19_000 / SECTOR as usize)]);
}

#[test]
fn a_repair_writes_no_more_than_the_sector_that_cannot_be_read() {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), LogOptions::default(), STORE, b"config", &mut rng(), |_, _| true).unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 40_000)]).unwrap();
    let last = log.commit(b"note").unwrap();
    log.settle().unwrap();
    let segment = last.segment;
    // In the middle of the parity, whose lists stand right before it and right behind; and in what it covers.
    for sector in [last.end as usize / SECTOR as usize + 3, 20_000 / SECTOR as usize] {
        let name = segment.file_name().to_string();
        disk.spoil(&name, sector);
        disk.take_written();
        log.repair(segment).unwrap();
        let mut written = disk.take_written();
        written.dedup();
        assert!(!written.is_empty() && written.iter().all(|at| *at == (name.clone(), sector)), "{written:?}");
        disk.mend(&name, sector);
    }
}

#[test]
fn a_damaged_place_that_the_next_commit_names_held_a_commit_and_nothing_else() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
    let commit = log.commit(b"note").unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
    log.commit(b"note").unwrap();
    let damage = |log: &Log<MemoryDisk>, at: u32| {
        file(&disk, first.segment).write_at(u64::from(at), &[&[0xa5; 16]]).unwrap();
        log.scan(first.segment, 0, &mut |_| core::ops::ControlFlow::Continue(())).unwrap().damaged
    };
    let damaged = damage(&log, commit.commit);
    assert_eq!((damaged.len(), damaged[0].from, damaged[0].to), (1, commit.commit, commit.end));
    assert!(log.held_commit(&damaged[0]).unwrap());
    // With the record before it the place is another.
    let damaged = damage(&log, first.offset);
    assert_eq!((damaged.len(), damaged[0].from, damaged[0].to), (1, first.offset, commit.end));
    assert!(!log.held_commit(&damaged[0]).unwrap());
}

/// A sector that is refused hides no other that has rotted, and is not named for it.
#[test]
fn a_repair_names_what_rotted_beside_a_sector_that_cannot_be_read() {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), LogOptions::default(), STORE, b"config", &mut rng(), |_, _| true).unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 40_000)]).unwrap();
    let segment = log.commit(b"note").unwrap().segment;
    log.settle().unwrap();
    let name = segment.file_name();
    let right = disk.files()[name.as_str()].clone();
    let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    // In one block of 4096 bytes of what the group covers.
    let (refused, rotten) = (20_000 / SECTOR as usize, 21_300);
    disk.spoil(name.as_str(), refused);
    file.write_at(rotten as u64, &[&[!right[rotten]]]).unwrap();
    disk.take_written();
    let healed: Vec<(u32, u32)> =
        log.repair(segment).unwrap().healed.iter().map(|range| (range.from, range.to)).collect();
    let sector = (refused * SECTOR as usize) as u32;
    assert_eq!(healed, [(sector, sector + SECTOR as u32), (rotten as u32, rotten as u32 + 1)]);
    assert_eq!(disk.files()[name.as_str()], right);
}

#[test]
fn nothing_is_called_healed_that_parity_could_not_heal() {
    let mut refused = 0;
    // All of the record, and one block of its parity, whichever.
    for block in 0..4 {
        let disk = CrashDisk::default();
        let mut log =
            Log::create(disk.clone(), LogOptions::default(), STORE, b"config", &mut rng(), |_, _| true).unwrap();
        let blob = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 40_000)]).unwrap();
        let last = log.commit(b"note").unwrap();
        log.settle().unwrap();
        let name = last.segment.file_name();
        for sector in blob.offset / SECTOR as u32 + 1..last.commit / SECTOR as u32 {
            disk.spoil(name.as_str(), sector as usize);
        }
        // Behind the first list, which is shorter than this.
        disk.spoil(name.as_str(), last.end as usize / SECTOR as usize + 2 + 8 * block);
        disk.take_written();
        let report = log.repair(last.segment).unwrap();
        assert!(report.healed.is_empty() && !report.lost.is_empty(), "{report:?}");
        assert_eq!(disk.take_written(), []);
        refused += usize::from(report.lost.iter().any(|range| range.from >= last.end));
    }
    assert_eq!(refused, 4, "parity blocks that were refused");
}

/// Where a commit ends the segment behind the parity of its own batch, and has rotted, a footer might be as long as it is.
#[test]
fn no_footer_is_made_of_a_commit_behind_the_parity_of_its_batch() {
    let mut as_long = 0;
    for records in 1..160 {
        let disk = CrashDisk::default();
        let options = LogOptions { segment_len: 1 << 20, ..SMALL };
        let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
        for number in 0..records {
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 20)]).unwrap();
        }
        log.cover().unwrap();
        let last = log.commit(b"a note").unwrap();
        drop(log);
        // There is no room to write it anew: it is made durable where it stands.
        disk.limit(Some(disk.used()));
        let (mut log, recovery, seen) = open_from(&disk, None).unwrap();
        assert!(recovery.kept_in_place && seen.len() == records);
        let name = last.segment.file_name();
        let right = disk.files()[name.as_str()].clone();
        let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
        file.write_at(u64::from(last.commit), &[&[0xa5; 24]]).unwrap();
        let report = log.repair(last.segment).unwrap();
        as_long += usize::from(footer_len(&right[..last.commit as usize]) == (last.end - last.commit) as usize);
        assert_eq!((report.healed, report.lost.len()), (vec![], 1), "{records} records");
    }
    assert!(as_long > 0);
}

/// How long a footer behind these records is.
fn footer_len(bytes: &[u8]) -> usize {
    let (mut at, mut directory) = (FIRST_RECORD as usize, 0);
    while let Some(len) = bytes.get(at + 8..at + 12) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        let total = (24_usize + len).next_multiple_of(8);
        directory += if total / 8 < 128 { 2 } else { 3 };
        at += total;
    }
    (24 + 9_usize + directory).next_multiple_of(8)
}

/// One in 64 footers ends where a sector does, as every commit.
#[test]
fn a_footer_is_made_anew_wherever_it_ends() {
    let mut as_a_commit = 0;
    for records in 1..260 {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        for number in 0..records {
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 1)]).unwrap();
        }
        let segment = log.commit(b"note").unwrap().segment;
        log.roll().unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
        log.commit(b"note").unwrap();
        let right = bytes(&disk, segment);
        let footer = (0..right.len()).step_by(8).rfind(|at| right[*at..].starts_with(b"oRec")).unwrap();
        file(&disk, segment).write_at(footer as u64, &[&[0xa5; 24]]).unwrap();
        assert_eq!(log.repair(segment).unwrap().lost, [], "{records} records");
        assert!(bytes(&disk, segment) == right, "{records} records");
        as_a_commit += usize::from((right.len() as u64).is_multiple_of(SECTOR));
    }
    assert!(as_a_commit > 0);
}

/// Such a footer behind which the next segment is gone, and with it the commit that said that none stood in its place: what of
/// the footer is left says so too. `rot` is what rots, by where it stands and how long it is.
fn heal_footers_before_a_gap(
    records: core::ops::Range<usize>,
    rot: impl Fn(usize, usize) -> Option<core::ops::Range<usize>>,
    heals: bool,
) {
    let mut rotten = 0;
    for records in records {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        for number in 0..records {
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 1)]).unwrap();
        }
        let segment = log.commit(b"note").unwrap().segment;
        log.roll().unwrap();
        let right = bytes(&disk, segment);
        let footer = (0..right.len()).step_by(8).rfind(|at| right[*at..].starts_with(b"oRec")).unwrap();
        if !(right.len() as u64).is_multiple_of(SECTOR) {
            continue;
        }
        let Some(range) = rot(footer, right.len() - footer) else { continue };
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
        let next = log.commit(b"note").unwrap().segment;
        log.roll().unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
        log.remove(next).unwrap();
        log.commit(b"note").unwrap();
        file(&disk, segment).write_at(range.start as u64, &[&vec![0xa5; range.len()]]).unwrap();
        let before = bytes(&disk, segment);
        let report = log.repair(segment).unwrap();
        assert_eq!(report.lost.is_empty(), heals, "{records} records: {report:?}");
        assert!(bytes(&disk, segment) == if heals { right } else { before }, "{records} records");
        rotten += 1;
    }
    assert!(rotten > 0);
}

#[test]
fn a_footer_whose_payload_is_left_is_made_anew_also_where_the_next_segment_is_gone() {
    heal_footers_before_a_gap(1..260, |at, _| Some(at..at + 24), true);
}

#[test]
fn a_footer_of_which_a_sector_is_left_is_made_anew_also_where_the_next_segment_is_gone() {
    // All but its last sector.
    let rot = |at, len| (len > SECTOR as usize).then(|| at..at + len - SECTOR as usize);
    heal_footers_before_a_gap(241..300, rot, true);
}

/// A commit may have stood there.
#[test]
fn no_footer_is_made_where_nothing_of_one_is_left_and_the_next_segment_is_gone() {
    heal_footers_before_a_gap(1..260, |at, len| Some(at..at + len), false);
}

/// Sectors that are refused take no more blocks with them than those that they hold bytes of, wherever what parity covers begins
/// and ends.
#[test]
fn as_many_sectors_side_by_side_as_parity_reaches_over_are_restored_wherever_they_stand() {
    let mut tried = 0;
    for (one, other, blob) in (0..400).map(|at| (100 + at * 37 % 700, 150 + at * 113 % 900, 1000 + at * 16)) {
        let disk = CrashDisk::default();
        let options = LogOptions { segment_len: 1 << 20, parity_group_len: 1 << 20, ..SMALL };
        let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
        for prefix in [one, other] {
            let bytes = payload(1, prefix + 5000);
            log.append(RecordKind::Slice, RecordFlags::SPREAD, &[&bytes[..prefix], &bytes[prefix..]]).unwrap();
        }
        let blob = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(3, blob)]).unwrap();
        // In the middle of a batch: what a commit ends ends with a sector.
        log.roll().unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[b"behind"]).unwrap();
        log.commit(b"note").unwrap();
        log.settle().unwrap();
        let name = blob.segment.file_name();
        // The end of what parity covers, and the parity behind it.
        let end = (blob.offset + 24 + blob.len.next_multiple_of(8)) as usize / SECTOR as usize;
        let before = disk.files()[name.as_str()].clone();
        (end..end + 8).for_each(|sector| disk.spoil(name.as_str(), sector));
        let report = log.repair(blob.segment).unwrap();
        assert!(report.refused.is_empty() && !report.healed.is_empty(), "{one} {other} {}: {report:?}", blob.len);
        (end..end + 8).for_each(|sector| disk.mend(name.as_str(), sector));
        let from = blob.offset as usize;
        assert!(disk.files()[name.as_str()][from..] == before[from..]);
        tried += 1;
    }
    assert_eq!(tried, 400);
}
