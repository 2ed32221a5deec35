//! One log, no faults.

use super::super::*;
use super::crash_disk::CrashDisk;
use crate::env::{Disk, DiskFile, FileName, MemoryDisk, OpenMode, Volume};
use core::ops::ControlFlow;
use std::collections::BTreeSet;

pub(super) const STORE: StoreId = StoreId([3; 32]);
pub(super) const SMALL: LogOptions = LogOptions {
    segment_len: 32 << 10,
    parity_group_len: 16 << 10,
    write_buffer_len: 2 << 10,
    open_files: 2,
    leave_end: false,
    damaged_places: 4096,
    proven: None,
};

pub(super) fn rng() -> EngineRng {
    EngineRng::from_seed([9; 32])
}

pub(super) fn create<D: Disk>(disk: &D) -> Log<D> {
    Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), |_, _| true).unwrap()
}

pub(super) type Seen = Vec<(Location, RecordKind, Vec<u8>)>;

pub(super) fn open_from<D: Disk>(disk: &D, from: Option<LogPosition>) -> Result<(Log<D>, Recovery, Seen), LogError> {
    let mut seen = Vec::new();
    let (log, recovery) = Log::open(disk.clone(), SMALL, from, &mut rng(), |_, _| true, &mut |view| {
        seen.push((view.location, view.kind, view.payload.to_vec()));
        Ok(())
    })?;
    Ok((log, recovery, seen))
}

pub(super) fn open<D: Disk>(disk: &D) -> (Log<D>, Recovery, Seen) {
    open_from(disk, None).unwrap()
}

pub(super) fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number * 31 + at * 7 + at / 256) as u8).collect()
}

#[test]
fn records_are_read_back_before_and_after_commit_and_reopening() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let mut expected = Vec::new();
    for number in 0..200 {
        let bytes = payload(number, number * 37 % 9000);
        let (head, tail) = bytes.split_at(bytes.len() / 3);
        let location = log.append(RecordKind::Blob, RecordFlags::NONE, &[head, tail]).unwrap();
        assert_eq!(log.read(location).unwrap(), bytes);
        expected.push((location, RecordKind::Blob, bytes));
        if number % 7 == 0 {
            log.commit(format!("note {number}").as_bytes()).unwrap();
            for (location, _, bytes) in &expected {
                assert_eq!(log.read(*location).unwrap(), bytes);
            }
        }
    }
    log.commit(b"last").unwrap();
    assert!(log.segments().len() > 10, "the log rolled");
    let position = log.close().unwrap();
    let (log, recovery, seen) = open(&disk);
    assert_eq!(seen, expected);
    assert_eq!(recovery.note, b"last");
    assert_eq!(recovery.config, b"config");
    let quiet =
        Recovery { store: Some(STORE), config: b"config".to_vec(), note: b"last".to_vec(), ..Recovery::default() };
    assert_eq!(recovery, quiet);
    assert_eq!(log.position(), position);
    for (location, _, bytes) in &expected {
        assert_eq!(log.read(*location).unwrap(), bytes);
    }
}

#[test]
fn a_clean_close_is_resumed_in_the_same_segment() {
    let disk = MemoryDisk::new();
    create(&disk).close().unwrap();
    for number in 0..20 {
        let (mut log, recovery, seen) = open(&disk);
        assert_eq!(seen.len(), number);
        assert_eq!(recovery.rewritten, 0);
        log.append(RecordKind::Note, RecordFlags::NONE, &[&payload(number, 100)]).unwrap();
        log.commit(b"").unwrap();
        log.close().unwrap();
    }
    let segments = open(&disk).0.segments().len();
    assert!(segments <= 6, "{segments} small segments for 20 small batches, each with its parity");
}

#[test]
fn a_checkpoint_shows_only_what_follows_it() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let mut checkpoints = vec![(log.position(), 0)];
    for number in 0..60 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 900)]).unwrap();
        checkpoints.push((log.commit(b"n").unwrap(), number + 1));
    }
    log.close().unwrap();
    for (from, count) in checkpoints {
        let (_, recovery, seen) = open_from(&disk, Some(from)).unwrap();
        assert_eq!(seen.len(), 60 - count);
        assert_eq!(recovery.note, b"n");
        assert!(recovery.damaged.is_empty() && recovery.missing.is_empty());
    }
    let ahead = LogPosition { segment: SegmentId(99), commit: 8192, end: 8400 };
    assert!(matches!(open_from(&disk, Some(ahead)), Err(LogError::CheckpointAhead(_))));
}

#[test]
fn a_checkpoint_at_the_very_end_keeps_its_batch_where_the_index_knows_it() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let location = log.append(RecordKind::Blob, RecordFlags::NONE, &[b"indexed"]).unwrap();
    let from = log.commit(b"note").unwrap();
    drop(log);
    let (log, recovery, seen) = open_from(&disk, Some(from)).unwrap();
    assert!(seen.is_empty());
    assert_eq!(recovery.note, b"note");
    assert_eq!(log.read(location).unwrap(), b"indexed".as_slice());
}

#[test]
fn removed_segments_are_gone_and_missing_ones_are_named() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    for number in 0..100 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 2000)]).unwrap();
    }
    log.commit(b"").unwrap();
    let ids: Vec<SegmentId> = log.segments().iter().map(|info| info.id).collect();
    assert!(matches!(log.remove(*ids.last().unwrap()), Err(LogError::Active(_))));
    log.remove(ids[1]).unwrap();
    assert!(matches!(log.remove(ids[1]), Err(LogError::NoSegment(_))));
    assert!(disk.list(Volume::Blocks).unwrap().contains(&ids[1].file_name()));
    log.commit(b"").unwrap();
    assert!(!disk.list(Volume::Blocks).unwrap().contains(&ids[1].file_name()));
    log.close().unwrap();
    let (log, recovery, seen) = open(&disk);
    assert!(recovery.missing.is_empty());
    assert!(seen.iter().all(|(location, ..)| location.segment != ids[1]));
    let count = seen.len();
    drop(log);
    disk.remove(Volume::Blocks, &ids[3].file_name()).unwrap();
    let (_, recovery, seen) = open(&disk);
    assert_eq!(recovery.missing, [ids[3]]);
    assert!(seen.len() < count && seen.len() > count - 20);
}

#[test]
fn segments_stay_listed_while_they_are_missing_and_a_log_that_misses_nearly_all_is_left_alone() {
    let with_missing = |count: u64| {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        log.append(RecordKind::Blob, RecordFlags::NONE, &[b"there"]).unwrap();
        log.commit(b"").unwrap();
        log.absent = (10..10 + count).map(SegmentId).collect();
        log.next_id = SegmentId(10 + count);
        log.roll().unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[b"too"]).unwrap();
        log.commit(b"").unwrap();
        log.close().unwrap();
        disk
    };
    let disk = with_missing(1 << 16);
    let (mut log, recovery, seen) = open(&disk);
    assert_eq!((recovery.missing.len(), seen.len()), (1 << 16, 2));
    log.roll().unwrap();
    log.append(RecordKind::Note, RecordFlags::NONE, &[b"by which there is another list"]).unwrap();
    log.commit(b"").unwrap();
    log.close().unwrap();
    assert_eq!(open(&disk).0.absent().count(), 1 << 16);

    let disk = with_missing((1 << 16) + 1);
    let before = disk.list(Volume::Blocks).unwrap();
    assert!(matches!(open_from(&disk, None), Err(LogError::TooManyMissing(limit)) if limit == 1 << 16));
    assert_eq!(disk.list(Volume::Blocks).unwrap(), before);
}

#[test]
fn a_batch_that_began_in_a_segment_it_removes_is_found_whole() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[b"moves"]).unwrap();
    log.commit(b"one").unwrap();
    // The footer that seals the segment belongs to the next batch.
    log.roll().unwrap();
    let copy = log.append(RecordKind::Blob, RecordFlags::NONE, &[b"moves"]).unwrap();
    assert!(copy.segment > first.segment);
    log.remove(first.segment).unwrap();
    log.commit(b"two").unwrap();
    drop(log);
    let (_, recovery, seen) = open(&disk);
    assert_eq!(recovery.torn, None);
    assert_eq!(recovery.note, b"two");
    assert_eq!(seen.iter().map(|(_, _, payload)| payload.as_slice()).collect::<Vec<_>>(), [b"moves"]);
}

#[test]
fn a_scan_shows_everything_and_can_be_resumed_anywhere() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    for number in 0..40 {
        log.append(RecordKind::Slice, RecordFlags::SPREAD, &[b"header", &payload(number, 1500)]).unwrap();
    }
    log.commit(b"").unwrap();
    let mut whole = Vec::new();
    for info in log.segments() {
        let report = log
            .scan(info.id, 0, &mut |view| {
                assert_eq!(view.payload.len(), 1506);
                whole.push(view.location);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(report.finished && report.damaged.is_empty());
        assert_eq!(report.next, info.len);
    }
    assert_eq!(whole.len(), 40);
    let mut stepwise = Vec::new();
    for info in log.segments() {
        let mut from = 0;
        loop {
            let report = log
                .scan(info.id, from, &mut |view| {
                    stepwise.push(view.location);
                    ControlFlow::Break(())
                })
                .unwrap();
            from = report.next;
            if report.finished {
                break;
            }
        }
    }
    assert_eq!(stepwise, whole);
}

#[test]
fn create_refuses_a_directory_with_a_log_and_open_one_without() {
    let disk = MemoryDisk::new();
    assert_eq!(open_from(&disk, None).unwrap_err(), LogError::NoLog);
    let junk = disk.open(Volume::Blocks, &FileName::new("seg-0000000000000001.log").unwrap(), OpenMode::CreateNew);
    junk.unwrap().write_at(0, &[&[1; 5000]]).unwrap();
    assert_eq!(open_from(&disk, None).unwrap_err(), LogError::NoLog);
    create(&disk);
    let again = Log::create(disk.clone(), SMALL, STORE, b"", &mut rng(), |_, _| true);
    assert!(matches!(again, Err(LogError::AlreadyExists(_))));
}

#[test]
fn stray_files_are_ignored_and_half_created_segments_removed() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[b"x"]).unwrap();
    log.close().unwrap();
    for (name, len) in [("readme.txt", 9), ("seg-00000000000000aa.log", 0), ("seg-00000000000000ab.log", 4100)] {
        let file = disk.open(Volume::Blocks, &FileName::new(name).unwrap(), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[&vec![1; len]]).unwrap();
    }
    let (mut log, recovery, seen) = open(&disk);
    assert_eq!(seen.len(), 1);
    assert!(recovery.missing.is_empty() && recovery.unreadable.is_empty());
    log.append(RecordKind::Blob, RecordFlags::NONE, &[b"y"]).unwrap();
    log.close().unwrap();
    assert_eq!(open(&disk).2.len(), 2);
    let names: Vec<String> = disk.list(Volume::Blocks).unwrap().iter().map(ToString::to_string).collect();
    assert!(names.contains(&"readme.txt".to_owned()));
    assert!(!names.iter().any(|name| name.contains("aa.log") || name.contains("ab.log")), "{names:?}");
}

/// Mutants showed that nobody would miss the name: the file was passed over in silence.
#[test]
fn a_segment_in_which_nothing_can_be_recognised_is_named() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let mut expected: Vec<Location> = Vec::new();
    for number in 0..60 {
        expected.push(log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 2000)]).unwrap());
        log.commit(b"note").unwrap();
    }
    log.close().unwrap();
    let file = disk.open(Volume::Blocks, &SegmentId(2).file_name(), OpenMode::Write).unwrap();
    let noise = vec![0x55; file.len().unwrap() as usize];
    file.write_at(0, &[&noise]).unwrap();
    let (_, recovery, seen) = open(&disk);
    assert_eq!(recovery.unreadable, [SegmentId(2)]);
    assert_eq!(recovery.missing, []);
    expected.retain(|location| location.segment != SegmentId(2));
    let shown: Vec<Location> = seen.into_iter().map(|(location, ..)| location).collect();
    assert!(shown.len() > 20 && shown == expected, "{shown:?}");
}

#[test]
fn a_segment_of_another_store_is_refused_by_name() {
    let (disk, other) = (MemoryDisk::new(), MemoryDisk::new());
    create(&disk).close().unwrap();
    let mut log = Log::create(other.clone(), SMALL, StoreId([4; 32]), b"config", &mut rng(), |_, _| true).unwrap();
    for number in 0..40 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 2000)]).unwrap();
    }
    log.close().unwrap();
    let name = SegmentId(2).file_name();
    let source = other.open(Volume::Blocks, &name, OpenMode::Read).unwrap();
    let mut bytes = vec![0; source.len().unwrap() as usize];
    source.read_at(0, &mut bytes).unwrap();
    disk.open(Volume::Blocks, &name, OpenMode::CreateNew).unwrap().write_at(0, &[&bytes]).unwrap();
    let error = open_from(&disk, None).unwrap_err();
    assert!(matches!(error, LogError::Foreign { segment: SegmentId(2), .. }), "{error}");
}

#[test]
fn limits_are_refused_and_change_nothing() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let limit = SMALL.max_payload_len() as usize;
    let largest = payload(1, limit);
    let location = log.append(RecordKind::Blob, RecordFlags::NONE, &[&largest]).unwrap();
    assert!(matches!(
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&vec![0; limit + 1]]),
        Err(LogError::TooLong { .. })
    ));
    assert!(matches!(log.append(RecordKind::Commit, RecordFlags::NONE, &[]), Err(LogError::ReservedKind(_))));
    assert!(matches!(log.commit(&vec![0; MAX_NOTE_LEN + 1]), Err(LogError::TooLong { .. })));
    log.commit(&vec![1; MAX_NOTE_LEN]).unwrap();
    assert_eq!(log.read(location).unwrap(), largest);
    drop(log);
    let (log, recovery, seen) = open(&disk);
    assert_eq!(recovery.note.len(), MAX_NOTE_LEN);
    assert_eq!(seen.len(), 1);
    assert_eq!(log.read(seen[0].0).unwrap(), largest);
}

/// Only the commit after them says that records of a batch that was given up never were.
fn bytes_of(disk: &MemoryDisk, name: &FileName) -> Vec<u8> {
    let file = disk.open(Volume::Blocks, name, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_commit_is_needed_as_long_as_there_is_what_it_disowns() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let put = |log: &mut Log<MemoryDisk>, number| {
        log.append(RecordKind::Note, RecordFlags::NONE, &[&payload(number, 1000)]).unwrap()
    };
    let kept = put(&mut log, 1);
    log.commit(b"").unwrap();
    let given_up = put(&mut log, 2);
    log.abandon();
    log.roll().unwrap();
    let after = put(&mut log, 3);
    log.commit(b"").unwrap();
    assert!(kept.segment == given_up.segment && given_up.segment < after.segment);
    log.roll().unwrap();
    let last = put(&mut log, 4);
    log.commit(b"").unwrap();
    assert_eq!(log.disowned_by(after.segment, &BTreeSet::new()).unwrap(), Some([kept.segment].into()));
    assert_eq!(
        log.disowned_by(last.segment, &BTreeSet::new()).unwrap(),
        Some([].into()),
        "a batch that begins after a roll disowns nothing"
    );
    // What happens if it goes nevertheless.
    let copy = MemoryDisk::new();
    for name in disk.list(Volume::Blocks).unwrap() {
        let file = copy.open(Volume::Blocks, &name, OpenMode::CreateNew).unwrap();
        file.write_at(0, &[&bytes_of(&disk, &name)]).unwrap();
    }
    let mut other = open(&copy).0;
    other.remove(after.segment).unwrap();
    other.close().unwrap();
    assert!(open(&copy).2.iter().any(|(location, ..)| *location == given_up));
    // Nor may it while the disk refuses what that is.
    let refusing = CrashDisk::default();
    for name in disk.list(Volume::Blocks).unwrap() {
        let bytes = bytes_of(&disk, &name);
        refusing.open(Volume::Blocks, &name, OpenMode::CreateNew).unwrap().write_at(0, &[&bytes]).unwrap();
        (0..bytes.len().div_ceil(512))
            .filter(|_| name == kept.segment.file_name())
            .for_each(|sector| refusing.spoil(name.as_str(), sector));
    }
    let mut other = open(&refusing).0;
    assert_eq!(
        (other.absent().collect::<Vec<_>>(), other.disowned_by(after.segment, &BTreeSet::new()).unwrap()),
        (vec![kept.segment], None)
    );
    log.remove(kept.segment).unwrap();
    assert_eq!(log.disowned_by(after.segment, &BTreeSet::new()).unwrap(), Some([].into()));
    log.remove(after.segment).unwrap();
    log.close().unwrap();
    assert_eq!(open(&disk).2.iter().map(|(location, ..)| *location).collect::<Vec<_>>(), [last]);
}

/// Locations come from an index, and that may be of another time.
#[test]
fn a_location_where_no_such_record_stands_is_refused() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let bytes = payload(1, 1000);
    let slice = log.append(RecordKind::Slice, RecordFlags::NONE, &[&bytes[..100], &bytes[100..]]).unwrap();
    log.commit(b"note").unwrap();
    log.close().unwrap();
    let (log, ..) = open(&disk);
    assert_eq!(log.read(slice).unwrap(), bytes);
    let refused = |location| matches!(log.read(location), Err(LogError::Damaged { .. }));
    // Of a slice only what is checked need be right.
    assert!(refused(Location { len: 500, ..slice }));
    assert!(refused(Location { len: u32::MAX, ..slice }));
    assert!(refused(Location { offset: slice.offset + 8, ..slice }));
    assert!(refused(Location { offset: u32::MAX, ..slice }));
}
