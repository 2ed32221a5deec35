//! A crash at every disk operation, whatever outlives it.

use super::super::*;
use super::basics::{SMALL, create, open, open_from, payload};
use super::crash_disk::{CrashDisk, Fault, Survival};
use crate::env::DiskFailure;
use core::ops::ControlFlow;

const SURVIVALS: [Survival; 6] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::Some(1),
    Survival::Some(2),
    Survival::Some(3),
    Survival::Some(4),
];

/// The record that is there before any fault.
const FIRST: usize = 500;

/// What must be in the log: numbers of records.
type Numbers = BTreeSet<usize>;

/// What was acknowledged, and what may be there instead because its commit was under way.
#[derive(Clone, Debug, Default)]
struct Model {
    acknowledged: Numbers,
    under_way: Option<Numbers>,
    removed: usize,
}

fn record(number: usize) -> Vec<u8> {
    let mut bytes = (number as u32).to_le_bytes().to_vec();
    let len = match number % 5 {
        0 => 20_000,
        1 => 3000,
        _ => 40 + number,
    };
    bytes.extend(payload(number, len));
    bytes
}

fn append(log: &mut Log<CrashDisk>, number: usize) -> Result<Location, LogError> {
    let bytes = record(number);
    let (kind, flags) = if number.is_multiple_of(5) {
        (RecordKind::Slice, RecordFlags::SPREAD)
    } else {
        (RecordKind::Blob, RecordFlags::NONE)
    };
    let (head, tail) = bytes.split_at(12);
    log.append(kind, flags, &[head, tail])
}

/// Whether a slice of these tests is intact: the kind of check that a slice's own hash is.
fn verify(kind: RecordKind, payload: &[u8]) -> bool {
    kind != RecordKind::Slice || record(number_of(payload)) == payload
}

fn number_of(payload: &[u8]) -> usize {
    u32::from_le_bytes(*payload.first_chunk().unwrap()) as usize
}

/// Appends, commits, rolls, compacts and removes; `model` always holds what must outlive a crash at this moment.
fn script(log: &mut Log<CrashDisk>, model: &mut Model) -> Result<(), LogError> {
    let mut next = 0;
    for round in 0..6 {
        for _ in 0..=round {
            append(log, next)?;
            next += 1;
        }
        let after = (0..next).chain([FIRST]).collect();
        commit(log, model, after)?;
    }
    for _ in 0..2 {
        // Compaction: what is worth keeping moves, the segment goes, and some records go with it.
        let victim = log.segments()[model.removed % 2].id;
        let mut keep = Vec::new();
        log.scan(victim, 0, &mut |view| {
            keep.push(number_of(view.payload));
            ControlFlow::Continue(())
        })?;
        let mut after = model.acknowledged.clone();
        for number in keep {
            if number % 3 == 0 {
                after.remove(&number);
            } else {
                append(log, number)?;
            }
        }
        log.remove(victim)?;
        commit(log, model, after)?;
        model.removed += 1;
    }
    log.settle()?;
    Ok(())
}

fn commit(log: &mut Log<CrashDisk>, model: &mut Model, after: Numbers) -> Result<(), LogError> {
    model.under_way = Some(after.clone());
    log.commit(format!("{} records", after.len()).as_bytes())?;
    *model = Model { acknowledged: after, under_way: None, removed: model.removed };
    Ok(())
}

type Reopened = (Log<CrashDisk>, Recovery, Numbers);

fn reopen(disk: &CrashDisk) -> Result<Reopened, LogError> {
    let mut seen = Numbers::new();
    let mut twice = Vec::new();
    let mut places = Vec::new();
    let visit = &mut |view: RecordView<'_>| {
        let number = number_of(view.payload);
        if !seen.insert(number) {
            twice.push(number);
        }
        places.push((number, view.location));
        Ok(())
    };
    let mut rng = EngineRng::from_seed([77; 32]);
    let (log, recovery) = Log::open(disk.clone(), SMALL, None, &mut rng, verify, visit)?;
    assert_eq!(twice, [], "records shown twice");
    for (number, location) in places {
        match log.read(location) {
            Ok(bytes) => assert_eq!(bytes, record(number), "record {number}"),
            // The planned crash came while files that were not needed any more were being removed.
            Err(LogError::Disk(error)) if error.failure == DiskFailure::Crashed => {}
            Err(error) => panic!("record {number}: {error}"),
        }
    }
    Ok((log, recovery, seen))
}

fn check(disk: &CrashDisk, model: &Model, context: &str) -> Numbers {
    let (mut log, recovery, seen) = reopen(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let fits = seen == model.acknowledged || Some(&seen) == model.under_way.as_ref();
    assert!(fits, "{context}: {seen:?} is neither of {model:?}\n{recovery:?}");
    assert_eq!(recovery.damaged, [], "{context}");
    assert_eq!(recovery.missing, [], "{context}");
    assert_eq!(recovery.note, format!("{} records", seen.len()).as_bytes(), "{context}");
    // The log goes on, and its next life sees the same and the new.
    append(&mut log, 999).unwrap();
    log.commit(b"more").unwrap();
    drop(log);
    let (_, recovery, mut after) = reopen(disk).unwrap_or_else(|error| panic!("{context}, again: {error}"));
    assert!(after.remove(&999), "{context}");
    assert_eq!(after, seen, "{context}");
    assert_eq!((recovery.torn, recovery.damaged), (None, Vec::new()), "{context}");
    seen
}

fn start() -> (CrashDisk, Log<CrashDisk>, Model) {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    let mut model = Model::default();
    append(&mut log, FIRST).unwrap();
    commit(&mut log, &mut model, [FIRST].into()).unwrap();
    (disk, log, model)
}

#[test]
fn acknowledged_batches_survive_a_crash_at_every_operation_whole_and_others_whole_or_not_at_all() {
    let mut points = 0;
    let mut torn = 0;
    for at in 0.. {
        let (disk, mut log, mut model) = start();
        disk.plan(at, Fault::Crash);
        let result = script(&mut log, &mut model);
        drop(log);
        if !disk.hit() {
            assert_eq!(result, Ok(()));
            break;
        }
        points += 1;
        for survival in SURVIVALS {
            let after = disk.after_crash(survival);
            let seen = check(&after, &model, &format!("crash at {at}, {survival:?}"));
            torn += usize::from(seen != model.acknowledged);
        }
    }
    println!("crash points {points}, runs {}, unacknowledged batches kept {torn}", points * SURVIVALS.len());
    assert!(points > 50);
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    let (mut points, mut runs) = (0, 0);
    for at in (0..).step_by(4) {
        let (disk, mut log, mut model) = start();
        disk.plan(at, Fault::Crash);
        let _ = script(&mut log, &mut model);
        drop(log);
        if !disk.hit() {
            break;
        }
        for survival in SURVIVALS {
            for again in 0.. {
                let second = disk.after_crash(survival);
                second.plan(again, Fault::Crash);
                let opened = reopen(&second).map(|(_, _, seen)| seen);
                if !second.hit() {
                    break;
                }
                points += 1;
                for survival_again in [Survival::Nothing, Survival::Everything, Survival::Some(5), Survival::Some(6)] {
                    runs += 1;
                    let third = second.after_crash(survival_again);
                    let context = format!("crash at {at}, {survival:?}, then at {again}, {survival_again:?}");
                    let seen = check(&third, &model, &context);
                    if let Ok(opened) = &opened {
                        assert_eq!(*opened, seen, "{context}");
                    }
                }
            }
        }
    }
    println!("crash points in recovery {points}, runs {runs}");
    assert!(points > 100);
}

#[test]
fn a_crash_during_creation_leaves_a_log_or_room_for_one() {
    for at in 0.. {
        let disk = CrashDisk::default();
        disk.plan(at, Fault::Crash);
        let created =
            Log::create(disk.clone(), SMALL, super::basics::STORE, b"config", &mut super::basics::rng(), verify);
        if !disk.hit() {
            created.unwrap();
            assert!(at > 5);
            break;
        }
        for survival in SURVIVALS {
            let after = disk.after_crash(survival);
            match open_from(&after, None) {
                Ok((_, recovery, seen)) => {
                    assert_eq!((recovery.config.as_slice(), seen.len()), (b"config".as_slice(), 0));
                }
                Err(LogError::NoLog) => {
                    create(&after).close().unwrap();
                    assert_eq!(open(&after).1.config, b"config");
                }
                Err(error) => panic!("crash at {at}, {survival:?}: {error}"),
            }
        }
    }
}
