//! Full disks, failed syncs, refused reads, hostile files.

use super::super::*;
use super::basics::{SMALL, STORE, create, open, open_from, payload, rng};
use super::crash_disk::{CrashDisk, Fault, Survival};
use crate::env::{Disk, DiskFailure, DiskFile, MemoryDisk, OpenMode, Volume};

fn is_full(error: &LogError) -> bool {
    matches!(error, LogError::Disk(error) if error.failure == DiskFailure::Full)
}

/// Appends and commits, repeating what the disk refuses after `relief`.
fn stubborn(log: &mut Log<CrashDisk>, mut relief: impl FnMut()) -> Vec<(Location, Vec<u8>)> {
    let mut written: Vec<(Location, Vec<u8>)> = Vec::new();
    for number in 0..40 {
        let bytes = payload(number, [50, 1200, 20_000, 300][number % 4]);
        let location = match log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]) {
            Ok(location) => location,
            Err(error) => {
                assert!(is_full(&error), "{error}");
                for (location, bytes) in &written {
                    assert_eq!(log.read(*location).unwrap(), bytes, "reads go on");
                }
                relief();
                log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]).unwrap()
            }
        };
        written.push((location, bytes));
        if number % 3 == 0
            && let Err(error) = log.commit(b"note")
        {
            assert!(is_full(&error), "{error}");
            relief();
            log.commit(b"note").unwrap();
        }
    }
    if log.commit(b"note").is_err() {
        log.commit(b"note").unwrap();
    }
    written
}

#[test]
fn a_disk_full_at_any_write_refuses_keeps_reading_and_goes_on_when_there_is_space() {
    let mut points = 0;
    for at in 0.. {
        let disk = CrashDisk::default();
        let mut log = create(&disk);
        disk.plan(at, Fault::Full);
        let written = stubborn(&mut log, || ());
        drop(log);
        if !disk.hit() {
            break;
        }
        points += 1;
        let disk = disk.after_crash(Survival::Nothing);
        let (_, recovery, seen) = open(&disk);
        let seen: Vec<Vec<u8>> = seen.into_iter().map(|(_, _, bytes)| bytes).collect();
        let expected: Vec<Vec<u8>> = written.into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(seen, expected, "full at {at}");
        assert_eq!((recovery.damaged, recovery.missing, recovery.torn), (vec![], vec![], None), "full at {at}");
    }
    println!("full at {points} writes");
    assert!(points > 30);
}

#[test]
fn a_disk_that_stays_full_is_read_and_reopened_and_goes_on_when_there_is_space() {
    let (mut refused, mut reopened) = (0, 0);
    for spare in (0..400_000).step_by(3001) {
        let disk = CrashDisk::default();
        let mut log = create(&disk);
        disk.limit(Some(disk.used() + spare));
        let lifted = disk.clone();
        stubborn(&mut log, || {
            refused += 1;
            // Still full: nothing that the log holds may be lost by opening it now.
            let copy = lifted.after_crash(Survival::Everything);
            copy.limit(Some(copy.used()));
            open(&copy);
            reopened += 1;
            lifted.limit(None);
        });
    }
    println!("refused {refused}, reopened while full {reopened}");
    assert!(refused > 50 && reopened == refused);
}

/// A log in which parity is nearly due, and a disk that has so much room left.
fn nearly_full(spare: usize) -> (CrashDisk, Log<CrashDisk>, Location) {
    let disk = CrashDisk::default();
    let options = LogOptions { segment_len: 128 << 10, ..SMALL };
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 15_000)]).unwrap();
    log.commit(b"note").unwrap();
    disk.limit(Some(disk.used() + spare));
    (disk, log, first)
}

fn batch_of(log: &mut Log<CrashDisk>, records: usize, len: usize) -> Result<(), LogError> {
    for number in 0..records {
        log.append(RecordKind::Tombstone, RecordFlags::NONE, &[&payload(number, len)])?;
    }
    log.commit(b"note").map(|_| ())
}

/// What makes room again is a batch itself, and may be one of several records.
#[test]
fn parity_that_does_not_fit_keeps_no_batch_out_of_a_disk_that_is_nearly_full() {
    let (disk, mut log, first) = nearly_full(5000);
    disk.take_written();
    batch_of(&mut log, 40, 60).unwrap();
    let written = disk.take_written().len();
    assert!(written < 40, "{written} sectors: that it does not fit is not found out at every record");
    let refused = log.cover().unwrap_err();
    assert!(is_full(&refused), "{refused}: who asks for parity is told");
    disk.limit(None);
    log.close().unwrap();
    let (mut log, recovery, seen) = open(&disk);
    assert_eq!((seen.len(), recovery.damaged), (41, Vec::new()));
    let file = disk.open(Volume::Blocks, &first.segment.file_name(), OpenMode::Write).unwrap();
    file.write_at(u64::from(first.offset) + 700, &[&[0xff; 4]]).unwrap();
    assert_eq!(log.repair(first.segment).unwrap().lost, [], "it got its parity when there was room");
}

/// Parity fits, and takes the room of what follows it.
#[test]
fn a_batch_that_fits_without_its_parity_fits_when_it_is_tried_again() {
    let mut tried_again = 0;
    for spare in (1000..16_000).step_by(500) {
        let (disk, mut log, _) = nearly_full(spare);
        if batch_of(&mut log, 40, 60).is_err() {
            log.reclaim();
            tried_again += usize::from(batch_of(&mut log, 40, 60).is_ok());
        }
        let fits = spare >= 40 * 88 + 1024;
        let (.., seen) = open(&disk.after_crash(Survival::Nothing));
        assert!(!fits || seen.len() == 41, "{spare} bytes: {}", seen.len());
    }
    assert!(tried_again > 0);
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_the_log_is_reopened_and_nothing_acknowledged_is_lost() {
    let mut points = 0;
    for at in 0.. {
        let disk = CrashDisk::default();
        let mut log = create(&disk);
        disk.plan(at, Fault::FailSync);
        let (mut acknowledged, mut appended) = (Vec::new(), Vec::new());
        let mut failure = None;
        for number in 0..60 {
            let bytes = payload(number, 700);
            let result = log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]).and_then(|_| {
                appended.push(bytes);
                log.commit(b"")
            });
            match result {
                Ok(_) => acknowledged.clone_from(&appended),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if !disk.hit() {
            break;
        }
        points += 1;
        assert!(matches!(failure, Some(LogError::Poisoned(_))), "{failure:?}");
        assert!(matches!(log.append(RecordKind::Blob, RecordFlags::NONE, &[b"x"]), Err(LogError::Poisoned(_))));
        assert!(matches!(log.commit(b""), Err(LogError::Poisoned(_))));
        drop(log);
        // Without a reboot: what the failed sync lost can still be read. What is shown now must be durable.
        let (_, _, seen) = open(&disk);
        let seen: Vec<Vec<u8>> = seen.into_iter().map(|(_, _, bytes)| bytes).collect();
        assert!(seen == acknowledged || seen == appended, "sync {at}");
        let later = disk.after_crash(Survival::Nothing);
        let again: Vec<Vec<u8>> = open(&later).2.into_iter().map(|(_, _, bytes)| bytes).collect();
        assert_eq!(again, seen, "sync {at}");
    }
    println!("failed syncs {points}");
    assert!(points > 50);
}

#[test]
fn a_refused_read_never_makes_a_batch_disappear() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    for number in 0..30 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 2500)]).unwrap();
        log.commit(b"").unwrap();
    }
    drop(log);
    for at in 0.. {
        let disk = disk.after_crash(Survival::Everything);
        disk.plan(at, Fault::FailRead);
        let (_, recovery, seen) = open(&disk);
        assert_eq!((seen.len(), recovery.torn), (30, None), "read {at}");
        if !disk.hit() {
            break;
        }
    }
}

#[test]
fn an_unreadable_sector_at_the_end_never_loses_a_batch_and_keeps_no_log_shut_that_rested() {
    let (mut refused, mut proofs) = (0, 0);
    for rested in [true, false] {
        for len in [1, 150, 200, 600, 3000, 15_000, 16_000, 16_100, 20_000] {
            let disk = CrashDisk::default();
            let mut log = create(&disk);
            for number in 0..3 {
                log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, len)]).unwrap();
                log.commit(b"a note").unwrap();
            }
            if rested {
                log.close().unwrap();
            }
            let (name, bytes) = disk.files().pop_last().unwrap();
            for sector in 0..bytes.len().div_ceil(512) {
                let disk = disk.after_crash(Survival::Everything);
                disk.spoil(&name, sector);
                match open_from(&disk, None) {
                    Ok((log, recovery, seen)) => {
                        // A record that is itself in the sector is named.
                        let named = usize::from(!recovery.damaged.is_empty());
                        assert!(seen.len() + named >= 3, "{rested} {len}: sector {sector}: {recovery:?}");
                        let proof = sector + 1 == bytes.len() / 512 && rested;
                        if proof {
                            assert_eq!((seen.len(), recovery.mended.len()), (3, 1), "{len}: {recovery:?}");
                            proofs += 1;
                            drop(log);
                            assert_eq!(open(&disk).2.len(), 3);
                        }
                    }
                    Err(LogError::Disk(_)) => {
                        refused += 1;
                        assert!(!rested, "{len}: sector {sector} keeps a log shut that rested");
                    }
                    Err(error) => panic!("{rested} {len}: sector {sector}: {error}"),
                }
            }
        }
    }
    println!("refused {refused}, proofs {proofs}");
    assert!(refused > 0 && proofs > 0);
}

/// What was given up is disowned by a commit of no records, and parity and a proof follow.
#[test]
fn an_unreadable_proof_behind_what_was_given_up_keeps_no_log_shut() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
    log.commit(b"a note").unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
    log.abandon();
    log.close().unwrap();
    let (name, bytes) = disk.files().pop_last().unwrap();
    disk.spoil(&name, bytes.len() / 512 - 1);
    let (.., recovery, seen) = open_from(&disk, None).unwrap();
    assert_eq!((seen.len(), recovery.mended.len()), (1, 1), "{recovery:?}");
}

#[test]
fn an_unreadable_batch_is_not_taken_for_nothing_because_the_proof_is_unreadable_too() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let mut last = log.position();
    for number in 0..3 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 1)]).unwrap();
        last = log.commit(b"a note").unwrap();
    }
    log.close().unwrap();
    let (name, bytes) = disk.files().pop_last().unwrap();
    disk.spoil(&name, last.end as usize / 512 - 1);
    disk.spoil(&name, bytes.len() / 512 - 1);
    assert!(matches!(open_from(&disk, None), Err(LogError::Disk(_))));
}

#[test]
fn an_unreadable_batch_is_not_taken_for_a_proof_that_the_disk_had_no_room_for() {
    let mut refused = 0;
    for len in [1, 150, 300] {
        for at in 0.. {
            let disk = CrashDisk::default();
            let mut log = create(&disk);
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
            log.commit(b"").unwrap();
            disk.plan(at, Fault::Full);
            if log.settle().is_ok() {
                break;
            }
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, len)]).unwrap();
            log.commit(b"").unwrap();
            drop(log);
            let (name, bytes) = disk.files().pop_last().unwrap();
            disk.spoil(&name, bytes.len() / 512 - 1);
            match open_from(&disk, None) {
                Ok((.., seen)) => assert_eq!(seen.len(), 2, "{len} bytes, full at {at}"),
                Err(LogError::Disk(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_segment_that_is_no_more_stays_so_while_its_file_cannot_be_removed() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
    log.commit(b"").unwrap();
    log.roll().unwrap();
    let second = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
    log.remove(first.segment).unwrap();
    disk.plan(0, Fault::FailRemove);
    log.commit(b"").unwrap();
    assert!(disk.hit() && disk.files().len() == 2);
    let ids = |log: &Log<CrashDisk>| log.segments().iter().map(|segment| segment.id).collect::<Vec<_>>();
    assert_eq!(ids(&log), [second.segment]);
    let mut shown = 0;
    log.replay(&mut |_| {
        shown += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(shown, 1);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(3, 900)]).unwrap();
    log.commit(b"").unwrap();
    assert_eq!((ids(&log), disk.files().len()), (vec![second.segment], 1));
}

/// Nobody looks any more at the batch that was given up: the list must not name what it left.
#[test]
fn a_segment_of_which_all_was_given_up_goes_and_is_not_missed() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    for number in 1..4 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 900)]).unwrap();
        match number {
            1 => drop(log.commit(b"").unwrap()),
            _ => log.roll().unwrap(),
        }
    }
    log.abandon();
    for number in 4..6 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 900)]).unwrap();
        log.commit(b"").unwrap();
        if number == 4 {
            // The next segment begins with a list of all before it.
            log.roll().unwrap();
        }
    }
    log.close().unwrap();
    assert_eq!(disk.files().len(), 4);
    let (mut log, ..) = open(&disk);
    let position = log.settle().unwrap();
    assert_eq!(disk.files().len(), 3);
    drop(log);
    let (log, recovery, seen) = open_from(&disk, Some(position)).unwrap();
    assert!(recovery.missing.is_empty() && recovery.damaged.is_empty() && seen.is_empty(), "{recovery:?}");
    assert_eq!(log.segments().len(), 3);
}

#[test]
fn a_list_of_segments_that_rots_is_mended_or_named_and_what_it_removed_stays_away() {
    for settled in [true, false] {
        let disk = CrashDisk::default();
        let mut log = create(&disk);
        let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
        log.commit(b"").unwrap();
        log.roll().unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
        log.commit(b"").unwrap();
        let removed = disk.files()[&first.segment.file_name().to_string()].clone();
        log.remove(first.segment).unwrap();
        log.commit(b"").unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(3, 900)]).unwrap();
        let mut checkpoint = log.commit(b"").unwrap();
        let list = log.list;
        if settled {
            checkpoint = log.settle().unwrap();
        }
        drop(log);
        // A crash undoes the removal of the file; and one bit of the list rots, which no opening would pass by.
        let file = disk.open(Volume::Blocks, &first.segment.file_name(), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[&removed]).unwrap();
        let file = disk.open(Volume::Blocks, &list.segment.file_name(), OpenMode::Write).unwrap();
        let mut byte = [0];
        file.read_at(u64::from(list.offset) + 40, &mut byte).unwrap();
        file.write_at(u64::from(list.offset) + 40, &[&[byte[0] ^ 1]]).unwrap();
        let (log, recovery, _) = open_from(&disk, Some(checkpoint)).unwrap();
        let named = |ranges: &[DamagedRange]| ranges.iter().any(|range| range.touches(list));
        if settled {
            assert!(named(&recovery.mended) && recovery.damaged.is_empty(), "{recovery:?}");
            assert_eq!(log.segments().len(), 1, "what was removed is not in the log again");
        } else {
            assert!(named(&recovery.damaged), "{recovery:?}");
        }
    }
}

#[test]
fn what_an_opening_could_not_finish_disowns_nothing_that_is_written_after_it() {
    let mut failed = 0;
    for at in 0..24 {
        let disk = CrashDisk::default();
        let mut log = create(&disk);
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
        log.settle().unwrap();
        // Behind the end there is what nobody was promised, and so the next to open starts anew.
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 20_000)]).unwrap();
        drop(log);
        disk.plan(at, Fault::DenySync);
        failed += usize::from(open_from(&disk, None).is_err());
        disk.plan(usize::MAX, Fault::DenySync);
        let (mut log, ..) = open(&disk);
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(3, 900)]).unwrap();
        log.commit(b"").unwrap();
        for seed in 0..32 {
            let (_, recovery, seen) = open(&disk.after_crash(Survival::Some(seed)));
            assert_eq!((seen.len(), recovery.damaged), (2, Vec::new()), "the sync at {at} was denied, remains {seed}");
        }
    }
    assert!(failed > 2, "{failed}");
}

#[test]
fn nobody_builds_on_what_may_be_in_the_cache_only() {
    fn append(log: &mut Log<CrashDisk>, number: usize) -> Result<(), LogError> {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 900)])?;
        log.commit(b"").map(|_| ())
    }
    let mut built = 0;
    for fails in ["batch", "proof"] {
        for at in 0.. {
            let disk = CrashDisk::default();
            let mut log = create(&disk);
            append(&mut log, 1).unwrap();
            disk.plan(0, Fault::FailSync);
            if fails == "batch" {
                append(&mut log, 2).unwrap_err();
                drop(log);
            } else {
                log.close().unwrap_err();
            }
            assert!(disk.hit());
            disk.plan(at, Fault::Full);
            let Ok((mut log, ..)) = open_from(&disk, None) else { continue };
            let opened_full = disk.hit();
            disk.plan(usize::MAX, Fault::Full);
            append(&mut log, 3).unwrap();
            drop(log);
            // What a failed sync has lost, a later one does not bring, but for the file's length.
            for name in disk.list(Volume::Blocks).unwrap() {
                disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap().sync().unwrap();
            }
            let (_, recovery, seen) = open(&disk.after_crash(Survival::Nothing));
            assert_eq!((seen.len(), recovery.damaged.as_slice()), (2, [].as_slice()), "a {fails} fails, full at {at}");
            if !opened_full {
                break;
            }
            built += 1;
        }
    }
    assert!(built > 0);
}

#[test]
fn hostile_bytes_as_a_segment_never_panic_nor_enter_history() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    log.append(RecordKind::Blob, RecordFlags::NONE, &[b"mine"]).unwrap();
    log.close().unwrap();
    let mut rng = rng();
    for round in 0..60_u64 {
        let len = (rng.next_u64() % 40_000) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        // Plausible magics, so that the walk gets further than its first look.
        for at in (0..len).step_by(8).filter(|at| at % 7 == 0) {
            for (to, from) in bytes[at..].iter_mut().zip(b"oRec\x10\0\0\0") {
                *to = *from;
            }
        }
        let id = SegmentId(1000 + 100 * round);
        let file = disk.open(Volume::Blocks, &id.file_name(), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[&bytes]).unwrap();
        let (_, recovery, seen) = open(&disk);
        assert_eq!(seen.len(), 1);
        assert!(recovery.damaged.is_empty());
    }
}

#[test]
fn a_forged_tail_of_the_last_segment_is_dropped() {
    let mut rng = rng();
    for round in 0..200 {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        log.append(RecordKind::Blob, RecordFlags::NONE, &[b"mine"]).unwrap();
        let at = log.commit(b"note").unwrap();
        drop(log);
        let len = (rng.next_u64() % 9000) as usize;
        let bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        let file = disk.open(Volume::Blocks, &at.segment.file_name(), OpenMode::Write).unwrap();
        file.write_at(u64::from(at.end), &[&bytes]).unwrap();
        let (_, recovery, seen) = open(&disk);
        assert_eq!((seen.len(), recovery.uncommitted_bytes), (1, len as u64), "round {round}");
    }
}
