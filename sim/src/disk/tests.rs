//! Each semantics of the disk, shown.

mod crash;
mod faults;
mod laws;

use super::*;
use crate::tape::{Purpose, StreamId, Tape};
use ouroboros_engine::env::{Disk, DiskFailure, DiskFile, FileName, OpenMode, Volume};

const S: u64 = SECTOR_LEN as u64;

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn disk() -> FaultyDisk {
    FaultyDisk::new(FaultPlan::new(1))
}

fn create(disk: &FaultyDisk, text: &str) -> FaultyFile {
    disk.open(Volume::Blocks, &name(text), OpenMode::CreateNew).unwrap()
}

/// A file with durable entry and durable bytes.
fn durable(disk: &FaultyDisk, text: &str, bytes: &[u8]) -> FaultyFile {
    let file = create(disk, text);
    file.write_at(0, &[bytes]).unwrap();
    file.sync().unwrap();
    disk.sync_directory(Volume::Blocks).unwrap();
    file
}

fn contents(disk: &FaultyDisk, text: &str) -> Option<Vec<u8>> {
    disk.contents(Volume::Blocks, &name(text))
}

fn read(file: &FaultyFile) -> Result<Vec<u8>, DiskFailure> {
    let mut bytes = vec![0; file.len().map_err(|error| error.failure)? as usize];
    let count = file.read_at(0, &mut bytes).map_err(|error| error.failure)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn sectors(pattern: &[u8]) -> Vec<u8> {
    pattern.iter().flat_map(|byte| [*byte; SECTOR_LEN]).collect()
}

#[test]
fn without_faults_it_is_a_disk() {
    ouroboros_engine::env::conformance::check(disk);
}

#[test]
fn it_stays_a_disk_while_it_is_slow() {
    ouroboros_engine::env::conformance::check(|| {
        FaultyDisk::new(FaultPlan::new(1).latency(10, 1_000).rate(Fault::Slow, 500_000))
    });
    let disk = FaultyDisk::new(FaultPlan::new(1).latency(10, 1_000).inject(1, Fault::Slow));
    create(&disk, "a").sync().unwrap();
    assert_eq!(disk.busy_nanos(), 1_020);
    assert_eq!(disk.fault_counts().of(Fault::Slow), 1);
}

#[test]
fn the_log_tells_every_operation_and_what_struck_it() {
    let disk = FaultyDisk::new(FaultPlan::new(1).inject(0, Fault::WriteError));
    let file = create(&disk, "a");
    assert!(file.write_at(3, &[b"abc", b"d"]).is_err());
    file.sync().unwrap();
    let log = disk.operation_log();
    assert_eq!(disk.operations_so_far(), 3);
    assert_eq!(log.iter().map(|entry| entry.number).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(log.iter().map(|entry| entry.operation.verb()).collect::<Vec<_>>(), ["open", "write", "sync"]);
    assert_eq!(log[0].fault, None);
    assert!(matches!(log[1].operation, Operation::Write { offset: 3, len: 4, .. }));
    assert_eq!(log[1].fault, Some(Fault::WriteError));
    assert!(matches!(log[1].failure, Some(DiskFailure::Io(_))));
    disk.limit_log(1);
    file.sync().unwrap();
    assert_eq!(disk.operation_log().len(), 1);
    assert_eq!(disk.operation_log()[0].number, 3);
}

#[test]
fn a_snapshot_and_its_original_go_separate_ways() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"aab"));
    file.write_at(S, &[b"unsynced"]).unwrap();
    let copy = disk.snapshot();
    file.write_at(0, &[b"original"]).unwrap();
    file.sync().unwrap();
    let other = copy.open(Volume::Blocks, &name("a"), OpenMode::Write).unwrap();
    other.write_at(0, &[b"snapshot"]).unwrap();
    create(&copy, "only-here");
    assert!(contents(&disk, "a").unwrap().starts_with(b"original"));
    assert!(contents(&copy, "a").unwrap().starts_with(b"snapshot"));
    assert!(contents(&disk, "only-here").is_none());
    copy.crash(CrashVariant::AllLost);
    assert_eq!(contents(&copy, "a").unwrap(), sectors(b"aab"), "the copy's undecided units are its own");
    assert!(disk.is_powered());
    assert_eq!(&contents(&disk, "a").unwrap()[512..520], b"unsynced");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let mut plan = FaultPlan::new(seed);
        for fault in Fault::ALL {
            let rate = match fault {
                Fault::Crash => 0,
                // Nothing else strikes while it lasts.
                Fault::Away => 500,
                _ => 30_000,
            };
            plan = plan.rate(fault, rate);
        }
        let disk = FaultyDisk::new(plan);
        let mut draws = Stream::new(seed, "workload");
        let mut told = Vec::new();
        for _ in 0..800 {
            let text = ["a", "b", "c"][draws.below(3) as usize];
            let (at, len) = (draws.below(8_000), draws.below(3_000) as usize);
            let file = disk.open(Volume::Blocks, &name(text), OpenMode::CreateNew);
            let Ok(file) = file.or_else(|_| disk.open(Volume::Blocks, &name(text), OpenMode::Write)) else { continue };
            told.push(file.write_at(at, &[&vec![at as u8; len]]).is_ok());
            told.push(file.sync().is_ok());
            told.push(disk.sync_directory(Volume::Blocks).is_ok());
            told.push(read(&file).is_ok());
            if draws.below(4) == 0 {
                told.push(disk.remove(Volume::Blocks, &name(text)).is_ok());
            }
            // Room again for what `FillsUp` took away.
            disk.set_capacity(None);
        }
        disk.crash(CrashVariant::Torn(seed));
        let all = disk.files(Volume::Blocks);
        (told, all.iter().map(|(name, _)| disk.contents(Volume::Blocks, name)).collect::<Vec<_>>(), disk.fault_counts())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let struck = run(9).2;
    let silent: Vec<_> = Fault::ALL.into_iter().filter(|fault| struck.of(*fault) == 0).collect();
    assert_eq!(silent, [Fault::Crash], "every kind with a rate strikes in a long run");
}

#[test]
fn one_kind_of_fault_does_not_move_the_draws_of_another() {
    let strikes = |plan: FaultPlan| {
        let disk = FaultyDisk::new(plan);
        let file = create(&disk, "a");
        for i in 0..200 {
            let _struck = file.write_at(i * 100, &[&[1; 100]]);
        }
        let log = disk.operation_log();
        log.iter().filter(|entry| entry.fault == Some(Fault::LostWrite)).map(|entry| entry.number).collect::<Vec<_>>()
    };
    let alone = strikes(FaultPlan::new(3).rate(Fault::LostWrite, 50_000));
    assert!(!alone.is_empty());
    // A later kind of the list never takes a strike away from an earlier one.
    assert_eq!(alone, strikes(FaultPlan::new(3).rate(Fault::LostWrite, 50_000).rate(Fault::Full, 100_000)));
}
