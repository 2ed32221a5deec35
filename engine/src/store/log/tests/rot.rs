//! Rot: every sector of every file, and every burst that parity is made for.

use super::super::*;
use super::basics::{SMALL, create, open, payload};
use super::crash_disk::{CrashDisk, Survival};
use super::rotten_end::put;
use crate::env::{Disk, DiskFile, FileName, MemoryDisk, OpenMode, Volume};
use core::ops::ControlFlow;

const SECTOR: usize = 512;

struct Sample {
    disk: CrashDisk,
    records: Vec<(Location, RecordKind, Vec<u8>)>,
}

fn verify(kind: RecordKind, payload: &[u8]) -> bool {
    kind != RecordKind::Slice || payload.ends_with(blake3::hash(&payload[..payload.len() - 32]).as_bytes())
}

fn sample() -> Sample {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let mut records = Vec::new();
    for number in 0..60 {
        let slice = number % 3 == 0;
        let mut bytes = payload(number, [1500, 60, 700, 4000, 20][number % 5]);
        let (kind, flags) = match (slice, number % 2) {
            (true, 0) => (RecordKind::Slice, RecordFlags::SPREAD),
            (true, _) => (RecordKind::Slice, RecordFlags::NONE),
            _ => (RecordKind::Blob, RecordFlags::NONE),
        };
        if slice {
            let hash = blake3::hash(&bytes);
            bytes.extend_from_slice(hash.as_bytes());
        }
        let (head, tail) = bytes.split_at(16);
        let location = log.append(kind, flags, &[head, tail]).unwrap();
        records.push((location, kind, bytes));
        if number % 4 == 0 {
            log.commit(b"note").unwrap();
        }
    }
    log.commit(b"note").unwrap();
    log.close().unwrap();
    Sample { disk, records }
}

fn corrupt(disk: &CrashDisk, name: &str, from: usize, to: usize, how: usize) {
    let file = disk.open(Volume::Blocks, &FileName::new(name).unwrap(), OpenMode::Write).unwrap();
    let mut bytes = vec![0; to - from];
    file.read_at(from as u64, &mut bytes).unwrap();
    match how {
        0 => bytes.fill(0),
        1 => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }
        2 => bytes.fill(0xff),
        _ => {
            // A misdirected write: the sector that should be elsewhere.
            let other = if from >= SECTOR { from - SECTOR } else { from + SECTOR };
            file.read_at(other as u64, &mut bytes).unwrap();
        }
    }
    file.write_at(from as u64, &[&bytes]).unwrap();
}

/// What a reader makes of a disk: every record exact, or refused with its own name.
fn check_reads(log: &Log<CrashDisk>, sample: &Sample, context: &str) -> Vec<usize> {
    let mut refused = Vec::new();
    for (index, (location, kind, bytes)) in sample.records.iter().enumerate() {
        match log.read(*location) {
            Ok(read) if verify(*kind, &read) => assert_eq!(read, bytes, "{context}: {location}"),
            Ok(_) => refused.push(index),
            Err(LogError::Damaged { location: named, .. }) => {
                assert_eq!(named, *location, "{context}");
                refused.push(index);
            }
            Err(error) => panic!("{context}: {error}"),
        }
    }
    refused
}

fn heal(sample: &Sample, disk: &CrashDisk, log: &mut Log<CrashDisk>, context: &str) -> bool {
    for info in log.segments() {
        log.repair(info.id).unwrap();
    }
    // Spread slices have siblings; here the sibling is the test's own copy.
    for index in check_reads(log, sample, context) {
        let (location, kind, bytes) = &sample.records[index];
        if *kind != RecordKind::Slice || log.rewrite_in_place(*location, bytes).is_err() {
            return false;
        }
    }
    let (now, before) = (disk.files(), sample.disk.files());
    // What was opened may have been cut behind a damaged end, and a fresh segment begun.
    before.iter().all(|(name, bytes)| now.get(name).is_some_and(|now| now == bytes))
}

#[test]
fn after_damage_to_any_sector_every_record_reads_exactly_or_is_named_and_repair_restores_every_byte() {
    let sample = sample();
    let (mut cases, mut damaged_reads) = (0, 0);
    let (mut log, ..) = open(&sample.disk.after_crash(Survival::Everything));
    assert_eq!(check_reads(&log, &sample, "intact"), [0; 0]);
    for info in log.segments() {
        assert_eq!(log.repair(info.id).unwrap(), RepairReport::default());
    }
    for (name, bytes) in sample.disk.files() {
        for sector in 0..bytes.len().div_ceil(SECTOR) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(bytes.len()));
            for how in 0..4 {
                // Rot below a running store.
                let disk = sample.disk.after_crash(Survival::Everything);
                let (mut log, ..) = open(&disk);
                corrupt(&disk, &name, from, to, how);
                cases += 1;
                let context = format!("{name} sector {sector}, way {how}");
                damaged_reads += check_reads(&log, &sample, &context).len();
                let last = name == sample.disk.files().keys().next_back().unwrap().as_str();
                let healed = heal(&sample, &disk, &mut log, &context);
                // The last commit, which is proof and nothing else, has no parity yet.
                let bare = last && to > uncovered_from(&sample);
                assert!(healed || bare, "{context}: not restored");
            }
        }
    }
    println!("sectors x ways {cases}, damaged reads {damaged_reads}");
    assert!(cases > 500);
}

/// Where the last segment's parity ends.
fn uncovered_from(sample: &Sample) -> usize {
    let (log, ..) = open(&sample.disk.after_crash(Survival::Everything));
    log.position().commit as usize
}

#[test]
fn after_damage_to_any_sector_a_store_that_is_opened_misses_no_record_but_the_damaged() {
    let sample = sample();
    let mut cases = 0;
    for (name, bytes) in sample.disk.files() {
        for sector in 0..bytes.len().div_ceil(SECTOR) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(bytes.len()));
            for how in [0, 3] {
                let disk = sample.disk.after_crash(Survival::Everything);
                corrupt(&disk, &name, from, to, how);
                cases += 1;
                let context = format!("{name} sector {sector}, way {how}");
                let (mut seen, mut moved) = (BTreeSet::new(), BTreeSet::new());
                let (mut log, recovery) =
                    Log::open(disk.clone(), SMALL, None, &mut super::basics::rng(), verify, &mut |view| {
                        seen.insert(view.location);
                        moved.insert(view.payload[..16].to_vec());
                        Ok(())
                    })
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(recovery.config, b"config", "{context}");
                assert_eq!(recovery.note, b"note", "{context}");
                // Damage to the last proof puts the last batch in doubt, which moves it.
                if recovery.rewritten > 0 {
                    assert!(sample.records.iter().all(|(_, _, bytes)| moved.contains(&bytes[..16])), "{context}");
                    continue;
                }
                let missed: Vec<_> = sample.records.iter().filter(|(location, ..)| !seen.contains(location)).collect();
                for (location, ..) in &missed {
                    let end = location.offset as usize + 24 + location.len as usize;
                    let hit =
                        location.segment.file_name().as_str() == name && (location.offset as usize) < to && end > from;
                    assert!(hit, "{context}: {location} was not damaged, and not shown");
                    let named = recovery.damaged.iter().any(|range| {
                        range.segment == location.segment && range.from <= location.offset && range.to >= end as u32
                    });
                    assert!(named, "{context}: {location} is missing without a word: {:?}", recovery.damaged);
                }
                assert!(missed.len() <= 8, "{context}");
                // The advice of the report, taken.
                let segments: BTreeSet<SegmentId> = recovery.damaged.iter().map(|range| range.segment).collect();
                for segment in segments {
                    log.repair(segment).unwrap();
                    log.scan(segment, 0, &mut |view| {
                        seen.insert(view.location);
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                }
                assert!(sample.records.iter().all(|(location, ..)| seen.contains(location)), "{context}");
            }
        }
    }
    println!("opened with {cases} damages");
}

#[test]
fn bursts_within_the_reach_of_parity_heal_wherever_they_start() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let mut records = Vec::new();
    for number in 0..60 {
        let bytes = payload(number, 900);
        records.push((log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]).unwrap(), RecordKind::Blob, bytes));
    }
    log.commit(b"note").unwrap();
    log.close().unwrap();
    let sample = Sample { disk, records };
    let bare = uncovered_from(&sample);
    let files = sample.disk.files();
    let last = files.keys().next_back().unwrap().clone();
    let mut cases = 0;
    // Groups of 16 KiB here: ten stripes of 512 bytes, less two blocks for short ends.
    let reach = 8 * 512 - 511;
    for (name, bytes) in &files {
        for from in (8192..bytes.len()).step_by(97) {
            let to = (from + reach).min(bytes.len());
            if *name == last && to > bare {
                break;
            }
            let disk = sample.disk.after_crash(Survival::Everything);
            let (mut log, ..) = open(&disk);
            corrupt(&disk, name, from, to, 2);
            cases += 1;
            assert!(heal(&sample, &disk, &mut log, "burst"), "{name}: burst {from}..{to}");
        }
    }
    println!("bursts of {reach} bytes {cases}");
    assert!(cases > 300);
}

#[test]
fn both_headers_lost_are_restored_from_the_records() {
    let sample = sample();
    for (name, _) in sample.disk.files() {
        let disk = sample.disk.after_crash(Survival::Everything);
        corrupt(&disk, &name, 0, 8192, 0);
        let (mut log, recovery, seen) = open(&disk);
        assert_eq!(seen.len(), sample.records.len(), "{name}");
        assert_eq!(recovery.damaged.len(), 2, "{name}");
        assert!(heal(&sample, &disk, &mut log, &name), "{name}");
    }
}

/// The first record of a segment is a list, which says it all again.
#[test]
fn a_log_of_one_segment_that_has_lost_both_headers_knows_its_configuration() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    put(&mut log, 1, 900);
    let segment = log.close().unwrap().segment;
    disk.open(Volume::Blocks, &segment.file_name(), OpenMode::Write).unwrap().write_at(0, &[&[0; 8192]]).unwrap();
    let (_, recovery, seen) = open(&disk);
    assert_eq!((recovery.config.as_slice(), seen.len()), (b"config".as_slice(), 1));
}

#[test]
fn what_is_still_in_the_write_buffer_needs_no_rewriting() {
    let mut log = create(&MemoryDisk::new());
    let bytes = payload(1, 100);
    let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]).unwrap();
    let second = log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]).unwrap();
    for location in [first, second] {
        log.rewrite_in_place(location, &bytes).unwrap();
        assert_eq!(log.read(location).unwrap(), bytes);
    }
}

#[test]
fn a_rewrite_takes_only_the_exact_bytes() {
    let sample = sample();
    let disk = sample.disk.after_crash(Survival::Everything);
    let (mut log, ..) = open(&disk);
    let (location, _, bytes) = &sample.records[0];
    let mut wrong = bytes.clone();
    wrong[3] ^= 1;
    assert!(matches!(log.rewrite_in_place(*location, &wrong), Err(LogError::Damaged { .. })));
    assert!(matches!(log.rewrite_in_place(*location, &bytes[1..]), Err(LogError::Damaged { .. })));
    disk.take_written();
    log.rewrite_in_place(*location, bytes).unwrap();
    assert_eq!(disk.take_written(), [], "what stands there may be of a batch that a crash would tear");
    let (name, at) = (location.segment.file_name(), location.offset as usize + 24 + 3);
    corrupt(&disk, name.as_str(), at, at + 1, 0);
    disk.take_written();
    log.rewrite_in_place(*location, bytes).unwrap();
    assert_eq!(disk.take_written(), [(name.to_string(), at / SECTOR)]);
    assert_eq!(disk.files(), sample.disk.files());
}

#[test]
fn what_a_crash_left_without_parity_has_it_after_the_next_open() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let mut records = Vec::new();
    for number in 0..12 {
        let bytes = payload(number, 500);
        let location = log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]).unwrap();
        log.commit(b"note").unwrap();
        records.push((location, RecordKind::Blob, bytes));
    }
    drop(log);
    records.pop();
    let (log, recovery, _) = open(&disk);
    assert_eq!(recovery.rewritten, 1);
    let sealed = log.segments()[0];
    drop(log);
    let sample = Sample { disk, records };
    let name = sealed.id.file_name();
    for sector in 0..(sealed.len as usize).div_ceil(SECTOR) {
        let disk = sample.disk.after_crash(Survival::Everything);
        let (mut log, recovery, _) = open(&disk);
        assert_eq!(recovery.rewritten, 0);
        let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(sealed.len as usize));
        corrupt(&disk, name.as_str(), from, to, 0);
        assert!(heal(&sample, &disk, &mut log, "sealed"), "sector {sector}");
    }
}

#[test]
fn mutilated_files_never_panic_and_never_show_other_bytes() {
    let sample = sample();
    let mut rng = super::basics::rng();
    let mut below = |limit: usize| (rng.next_u64() % limit.max(1) as u64) as usize;
    let (mut opened, mut refused) = (0, 0);
    for round in 0..400 {
        let disk = sample.disk.after_crash(Survival::Everything);
        for _ in 0..=below(6) {
            let files = disk.files();
            let (name, bytes) = files.iter().nth(below(files.len())).unwrap();
            let file = disk.open(Volume::Blocks, &FileName::new(name.clone()).unwrap(), OpenMode::Write).unwrap();
            let (at, len) = (below(bytes.len()), below(3000));
            match below(6) {
                0 => file.truncate(at as u64).unwrap(),
                1 => file.truncate((bytes.len() + len) as u64).unwrap(),
                2 => file.write_at(at as u64, &[&vec![below(256) as u8; len]]).unwrap(),
                3 => {
                    // A stretch of the file, or of another, in the wrong place.
                    let source = files.values().nth(below(files.len())).unwrap();
                    let from = below(source.len()) & !7;
                    let piece = &source[from..(from + len).min(source.len())];
                    file.write_at((at & !7) as u64, &[piece]).unwrap();
                }
                4 => disk.remove(Volume::Blocks, &FileName::new(name.clone()).unwrap()).unwrap(),
                _ => file.write_at(at as u64, &[&[below(256) as u8]]).unwrap(),
            }
            if disk.files().is_empty() {
                break;
            }
        }
        let mut check = |view: RecordView<'_>| {
            let known = sample.records.iter().any(|(_, kind, bytes)| {
                *kind == view.kind
                    && bytes.starts_with(view.payload)
                    && (*kind == RecordKind::Slice || bytes.len() == view.payload.len())
            });
            assert!(known, "round {round}: a record that nobody wrote");
            Ok(())
        };
        match Log::open(disk.clone(), SMALL, None, &mut super::basics::rng(), verify, &mut check) {
            Ok((mut log, _)) => {
                opened += 1;
                for info in log.segments() {
                    let _ = log.repair(info.id);
                    let _ = log.scan(info.id, 0, &mut |_| ControlFlow::Continue(()));
                }
                log.append(RecordKind::Note, RecordFlags::NONE, &[b"new"]).unwrap();
                log.close().unwrap();
            }
            Err(_) => refused += 1,
        }
    }
    println!("mutilated stores opened {opened}, refused {refused}");
    assert!(opened > 200);
}
