//! What a batch that did not fit had taken is given back, and nothing else goes with it.

use super::super::*;
use super::basics::{create, open_from, payload};
use super::crash_disk::{CrashDisk, Fault, Survival};
use crate::env::{Disk, DiskFile, OpenMode, Volume};

const SURVIVALS: [Survival; 5] =
    [Survival::Nothing, Survival::Everything, Survival::Some(1), Survival::Some(2), Survival::Some(3)];

/// What must be in the log, and what may be: its commit was under way.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Vec<Vec<u8>>,
    unknown: Vec<Vec<u8>>,
}

/// Appends a batch and commits it, or gives it up.
fn batch(log: &mut Log<CrashDisk>, told: &mut Told, batch: &[Vec<u8>], give_up: bool) {
    let appended = batch.iter().all(|bytes| log.append(RecordKind::Blob, RecordFlags::NONE, &[bytes]).is_ok());
    if give_up || !appended {
        log.reclaim();
        return;
    }
    match log.commit(b"a note") {
        Ok(_) => told.acknowledged.extend_from_slice(batch),
        Err(LogError::Poisoned(_)) => told.unknown.extend_from_slice(batch),
        Err(_) => drop(log.reclaim()),
    }
}

/// Batches, every other large one of which is given up: some lie in one segment, others in several.
fn life(log: &mut Log<CrashDisk>, told: &mut Told) {
    for round in 0..4 {
        let small = |number: usize| vec![payload(number, 300 + 200 * number)];
        batch(log, told, &small(round), false);
        let large: Vec<Vec<u8>> = (0..[3, 9, 14, 20][round]).map(|at| payload(10 * round + at, 4000 + round)).collect();
        batch(log, told, &large, round % 2 == 0);
        if round == 1 {
            let _ = log.roll();
        }
        batch(log, told, &large, round % 2 == 1);
        batch(log, told, &small(round + 4), false);
    }
    let _ = log.settle();
}

fn is_told(disk: &CrashDisk, told: &Told, at: &str) {
    let (.., recovery, seen) = open_from(disk, None).unwrap_or_else(|error| panic!("{at}: {error}"));
    let mut seen = seen.into_iter().map(|(_, _, bytes)| bytes).peekable();
    for bytes in &told.acknowledged {
        assert_eq!(seen.next().as_ref(), Some(bytes), "{at}: acknowledged, and not there: {recovery:?}");
    }
    let rest: Vec<Vec<u8>> = seen.collect();
    assert!(rest.is_empty() || rest == told.unknown, "{at}: {} records that were given up", rest.len());
    assert!(recovery.damaged.is_empty() && recovery.missing.is_empty(), "{at}: {recovery:?}");
}

/// What was told, and the disk, when `fault` has struck the `at`-th operation of such a life; none if it was over before.
fn left_by(fault: Fault, at: usize) -> Option<(CrashDisk, Told)> {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    disk.plan(at, fault);
    let mut told = Told::default();
    life(&mut log, &mut told);
    disk.hit().then_some((disk, told))
}

#[test]
fn what_was_acknowledged_outlives_every_crash_and_what_was_given_up_none() {
    let mut crashes = 0;
    while let Some((disk, told)) = left_by(Fault::Crash, crashes) {
        for survival in SURVIVALS {
            is_told(&disk.after_crash(survival), &told, &format!("crash at {crashes}, {survival:?}"));
        }
        crashes += 1;
    }
    assert!(crashes > 80, "{crashes}");
}

#[test]
fn what_was_acknowledged_is_there_whatever_the_disk_refuses_meanwhile() {
    for fault in [Fault::Full, Fault::FailSync, Fault::DenySync, Fault::FailRead, Fault::FailRemove, Fault::FailTouch] {
        let mut points = 0;
        while let Some((disk, told)) = left_by(fault, points) {
            for survival in SURVIVALS {
                is_told(&disk.after_crash(survival), &told, &format!("{fault:?} at {points}, {survival:?}"));
            }
            points += 1;
        }
        assert!(points > 0, "{fault:?}");
    }
}

#[test]
fn a_batch_that_was_given_up_takes_no_room() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let mut told = Told::default();
    let blob = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
    log.commit(b"").unwrap();
    told.acknowledged.push(payload(1, 900));
    let mut rolled = Vec::new();
    for records in [1, 2, 6, 40] {
        let (used, segments) = (disk.used(), log.segments());
        for number in 0..records {
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 5000)]).unwrap();
        }
        let begun = log.segments().len() - segments.len();
        let gone = log.reclaim();
        assert!(gone.contains(&segments[0].id) && gone.len() == begun + 1, "{gone:?}");
        rolled.push(begun);
        assert_eq!((disk.used(), log.segments()), (used, segments), "{records} records");
    }
    assert!(rolled[0] == 0 && rolled[3] > 2, "{rolled:?}");
    batch(&mut log, &mut told, &[payload(2, 900)], false);
    // The parity of what stays was among what went, and is written anew.
    log.close().unwrap();
    let file = disk.open(Volume::Blocks, &blob.segment.file_name(), OpenMode::Write).unwrap();
    file.write_at(u64::from(blob.offset) + 200, &[&[0xff; 4]]).unwrap();
    let (mut log, ..) = open_from(&disk, None).unwrap();
    assert_eq!(log.repair(blob.segment).unwrap().lost, []);
    drop(log);
    is_told(&disk, &told, "one sector was rotten");
}
