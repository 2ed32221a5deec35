//! A log that came to rest after trouble: wherever one sector rots then, nothing is lost.

use super::super::*;
use super::basics::{SMALL, STORE, create, open_from, payload, rng};
use super::crash_disk::{CrashDisk, Fault, Survival};
use crate::env::{Disk, DiskFile, FileName, OpenMode, Volume};

const SECTOR: usize = 512;

/// Where a record was written, and what it is.
type Written = (Location, Vec<u8>);

/// Repeats what a full disk refuses: there is space the next time.
fn insist<T>(mut attempt: impl FnMut() -> Result<T, LogError>) -> T {
    attempt().or_else(|_| attempt()).unwrap()
}

/// What is done when the disk is full, before it is tried again.
type GiveUp = fn(&mut Log<CrashDisk>);

const WAYS: [Option<GiveUp>; 3] = [None, Some(|log| log.abandon()), Some(|log| drop(log.reclaim()))];

fn put(log: &mut Log<CrashDisk>, bytes: &[u8], give_up: Option<GiveUp>) -> Location {
    let append = |log: &mut Log<CrashDisk>| log.append(RecordKind::Blob, RecordFlags::NONE, &[bytes]);
    let Some(give_up) = give_up else {
        let location = insist(|| append(log));
        insist(|| log.commit(b"note"));
        return location;
    };
    insist(|| {
        let location = append(log).inspect_err(|_| give_up(log))?;
        log.commit(b"note").inspect_err(|_| give_up(log))?;
        Ok(location)
    })
}

/// Batches, one of them given up, over three segments; then the log comes to rest.
fn live(log: &mut Log<CrashDisk>, give_up: Option<GiveUp>) -> Vec<Written> {
    let mut written = Vec::new();
    for number in 0..6 {
        let bytes = payload(number, [900, 60, 5000][number % 3]);
        if number == 3 {
            insist(|| log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]));
            give_up.unwrap_or(|log| log.abandon())(log);
        } else {
            written.push((put(log, &bytes, give_up), bytes));
        }
        if number == 4 {
            insist(|| log.settle());
        }
        if number % 3 == 1 {
            insist(|| log.roll().inspect_err(|_| give_up.unwrap_or(|_| {})(log)));
        }
    }
    // It may be refused when the segment is sealed, and the next not begun; also where the log rests.
    for _ in 0..2 {
        if log.roll().is_err() {
            give_up.unwrap_or(|log| log.abandon())(log);
        }
        insist(|| log.settle());
    }
    let last = payload(7, 5000);
    written.push((put(log, &last, give_up), last));
    insist(|| log.settle());
    written
}

/// Parity in one group, and in several at once.
const GROUPS: [u32; 2] = [SMALL.parity_group_len, 4 << 10];

/// What the disk holds when `fault` has struck the `at`-th operation of such a life; none if it was over before.
fn left_by(at: usize, fault: Fault, give_up: Option<GiveUp>, group_len: u32) -> Option<(CrashDisk, Vec<Written>)> {
    let disk = CrashDisk::default();
    let options = LogOptions { parity_group_len: group_len, ..SMALL };
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    disk.plan(at, fault);
    let written = live(&mut log, give_up);
    drop(log);
    disk.hit().then(|| (disk.after_crash(Survival::Everything), written))
}

/// All that can be left, with the place where the fault struck.
fn all_left_by(fault: Fault) -> impl Iterator<Item = (String, CrashDisk, Vec<Written>)> {
    let lives = GROUPS.iter().flat_map(|group_len| WAYS.iter().enumerate().map(move |way| (*group_len, way)));
    lives.flat_map(move |(group_len, (way, give_up))| {
        let left = (0..).map_while(move |at| left_by(at, fault, *give_up, group_len));
        left.enumerate().map(move |(at, (disk, written))| {
            (format!("{fault:?} at {at}, way {way}, groups of {group_len}"), disk, written)
        })
    })
}

fn sectors(disk: &CrashDisk) -> Vec<(String, usize)> {
    let of = |(name, bytes): (String, Vec<u8>)| {
        let first = FIRST_RECORD as usize / SECTOR;
        (first..bytes.len().div_ceil(SECTOR)).map(move |sector| (name.clone(), sector))
    };
    disk.files().into_iter().flat_map(of).collect()
}

#[test]
fn a_full_disk_leaves_nothing_without_parity_once_there_is_space_and_the_log_rests() {
    let mut points = 0;
    for (place, disk, written) in all_left_by(Fault::Full) {
        points += 1;
        for (name, sector) in sectors(&disk) {
            let rotten = disk.after_crash(Survival::Everything);
            let file = rotten.open(Volume::Blocks, &FileName::new(name.clone()).unwrap(), OpenMode::Write).unwrap();
            let from = (sector * SECTOR) as u64;
            let len = (file.len().unwrap() - from).min(SECTOR as u64) as usize;
            file.write_at(from, &[&vec![0xa5; len]]).unwrap();
            let at = format!("{place}, sector {sector} of {name}");
            let (mut log, ..) = open_from(&rotten, None).expect(&at);
            for segment in log.segments() {
                let lost = log.repair(segment.id).unwrap().lost;
                assert!(lost.is_empty(), "{at}: {lost:?}");
            }
            for (location, bytes) in &written {
                // A batch that an opening has moved is shown by it where it is now.
                if let Ok(read) = log.read(*location) {
                    assert_eq!(read, bytes, "{at}");
                }
            }
            drop(log);
            let (_, recovery, seen) = open_from(&rotten, None).unwrap();
            assert_eq!((seen.len(), recovery.damaged), (written.len(), Vec::new()), "{at}");
        }
    }
    assert!(points > 24, "{points}");
}

#[test]
fn a_full_disk_leaves_no_sector_that_keeps_a_log_shut_once_there_is_space_and_it_rests() {
    let mut points = 0;
    for (place, disk, _) in all_left_by(Fault::Full) {
        points += 1;
        for (name, sector) in sectors(&disk) {
            let spoiled = disk.after_crash(Survival::Everything);
            spoiled.spoil(&name, sector);
            open_from(&spoiled, None).unwrap_or_else(|error| panic!("{place}, {name}, {sector}: {error}"));
        }
    }
    assert!(points > 24, "{points}");
}

/// Syncs fail while a log is opened that was closed in order: what has no parity then is known, and gets it.
#[test]
fn a_log_that_is_settled_and_lacks_none_has_parity_whatever_syncs_failed_while_it_was_opened() {
    let (mut failed, mut settled, mut unsettled) = (0, 0, 0);
    for first in 0..12 {
        for second in 0..12 {
            let disk = CrashDisk::default();
            let mut log = create(&disk);
            let blob = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
            log.commit(b"").unwrap();
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
            log.commit(b"").unwrap();
            log.close().unwrap();
            let open = || Log::open(disk.clone(), SMALL, None, &mut rng(), |_, _| true, &mut |_| Ok(()));
            disk.plan(first, Fault::FailSync);
            failed += usize::from(open().is_err());
            disk.plan(second, Fault::FailSync);
            let Ok((mut log, _)) = open() else { continue };
            if log.is_settled() && !log.lacks_parity() {
                settled += 1;
            } else {
                disk.plan(usize::MAX, Fault::FailSync);
                // Who has seen a sync fail writes nothing more.
                if log.settle().is_err() {
                    continue;
                }
                unsettled += 1;
            }
            let file = disk.open(Volume::Blocks, &blob.segment.file_name(), OpenMode::Write).unwrap();
            file.write_at(u64::from(blob.offset) + 200, &[&[0xff; 4]]).unwrap();
            if log.repair(blob.segment).is_err() {
                disk.plan(usize::MAX, Fault::FailSync);
                log = open().unwrap().0;
                log.repair(blob.segment).unwrap();
            }
            assert_eq!(log.read(blob).unwrap(), payload(1, 900), "syncs {first} and {second} failed");
        }
    }
    println!("{failed} openings failed, {settled} settled, {unsettled} not");
    assert!(failed > 0 && settled > 0 && unsettled > 0);
}

/// A batch of slices over several segments, whose log came to rest and was closed; one in an earlier segment than its commit
/// has rotted. Says what the proof is.
fn rotten_in_an_earlier_segment(flags: RecordFlags) -> (CrashDisk, LogPosition) {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let written: Vec<Location> = (0..16)
        .map(|number| {
            let bytes = payload(number, 4000);
            log.append(RecordKind::Slice, flags, &[&bytes[..16], &bytes[16..]]).unwrap()
        })
        .collect();
    log.commit(b"").unwrap();
    let proof = log.close().unwrap();
    let rotten = written[3];
    assert!(rotten.segment < written[15].segment);
    let file = disk.open(Volume::Blocks, &rotten.segment.file_name(), OpenMode::Write).unwrap();
    file.write_at(u64::from(rotten.offset) + 2000, &[&[0xff; 4]]).unwrap();
    (disk, proof)
}

/// Opens it, and counts the slices that are shown.
fn slices_shown(disk: &CrashDisk, from: Option<LogPosition>) -> Result<(usize, Recovery), LogError> {
    let right = |kind, payload: &[u8]| {
        kind != RecordKind::Slice || (0..16).any(|number| payload == self::payload(number, 4000))
    };
    let mut shown = 0;
    let (_, recovery) = Log::open(disk.clone(), SMALL, from, &mut rng(), right, &mut |_| {
        shown += 1;
        Ok(())
    })?;
    Ok((shown, recovery))
}

/// Found by the simulator (seed 9502742). A batch began in an earlier segment, where it rotted. One opening took back the proof
/// because a sync failed, the next cut off the parity behind the batch and could not begin another segment, and nothing was
/// left to say that the batch had been acknowledged.
#[test]
fn a_batch_that_rots_in_an_earlier_segment_is_never_taken_for_torn_once_its_log_rested() {
    let mut failed = 0;
    for healable in [true, false] {
        for first in 0..12 {
            for second in 0..12 {
                let flags = if healable { RecordFlags::NONE } else { RecordFlags::SPREAD };
                let (disk, _) = rotten_in_an_earlier_segment(flags);
                for at in [first, second] {
                    disk.plan(at, Fault::FailSync);
                    failed += usize::from(slices_shown(&disk, None).is_err());
                }
                disk.plan(usize::MAX, Fault::FailSync);
                let (shown, recovery) = slices_shown(&disk, None).unwrap();
                assert_eq!(
                    (shown, recovery.torn),
                    (16, None),
                    "healable {healable}: syncs {first} and {second} failed"
                );
            }
        }
    }
    assert!(failed > 20, "{failed} openings failed");
}

/// An opening that cut off a rotten proof, and the parity before it, and got no further left nothing to say so either.
#[test]
fn a_batch_that_rots_in_an_earlier_segment_is_not_taken_for_torn_because_its_proof_rots_too() {
    let mut struck = 0;
    let faults = [Fault::Crash, Fault::Stop, Fault::Full, Fault::FailSync, Fault::FailTouch];
    for (flags, fault) in
        [RecordFlags::NONE, RecordFlags::SPREAD].into_iter().flat_map(|flags| faults.map(|fault| (flags, fault)))
    {
        for at in 0.. {
            let (disk, proof) = rotten_in_an_earlier_segment(flags);
            let file = disk.open(Volume::Blocks, &proof.segment.file_name(), OpenMode::Write).unwrap();
            file.write_at(u64::from(proof.commit) + 10, &[b"rotten"]).unwrap();
            disk.plan(at, fault);
            let _ = slices_shown(&disk, Some(proof));
            if !disk.hit() {
                break;
            }
            struck += 1;
            let at = format!("{flags:?}, {fault:?} at {at}");
            let disk = disk.after_crash(Survival::Everything);
            // By the checkpoint; where that is not there any more, and by whoever has none, all of it.
            let opened = match slices_shown(&disk, Some(proof)) {
                Err(LogError::CheckpointAhead(_)) => slices_shown(&disk, None),
                opened => opened,
            };
            assert_eq!(opened.unwrap_or_else(|error| panic!("{at}: {error}")).1.torn, None, "{at}");
            let (shown, recovery) = slices_shown(&disk, None).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!((shown, recovery.torn), (16, None), "{at}");
        }
    }
    assert!(struck > 20, "{struck}");
}

/// Until its proof is there, a torn record takes its whole batch along, in whichever segment it stands.
#[test]
fn what_nothing_proves_may_be_torn_in_every_segment_of_its_batch() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let append =
        |log: &mut Log<CrashDisk>| log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(7, 3000)]).unwrap();
    let first = append(&mut log);
    while append(&mut log).segment == first.segment {}
    let last = log.commit(b"note").unwrap();
    assert!(last.segment > first.segment);
    assert!(log.may_be_torn_in(first.segment) && log.may_be_torn_in(last.segment));
    drop(log);
    let (mut log, _, _) = open_from(&disk, Some(last)).unwrap();
    log.settle().unwrap();
    assert!(!log.may_be_torn_in(first.segment) && !log.may_be_torn_in(last.segment));
}
