//! What was cut off the end of a log, and what stands there if a later sync fails or a crash undoes it.

use super::super::*;
use super::basics::{SMALL, STORE, open_from, payload, rng};
use super::crash_disk::{CrashDisk, Fault, Survival};
use crate::env::{Disk, DiskFile, FileName, OpenMode, Volume};
use std::collections::BTreeSet;

const SECTOR: usize = 512;

/// A copy of a disk in which a bit of a sector has rotted.
fn with_rot(disk: &CrashDisk, name: &str, sector: usize) -> CrashDisk {
    let rotten = disk.after_crash(Survival::Everything);
    let file = rotten.open(Volume::Blocks, &FileName::new(name.to_owned()).unwrap(), OpenMode::Write).unwrap();
    let at = (sector * SECTOR) as u64;
    let mut byte = [0];
    file.read_at(at, &mut byte).unwrap();
    file.write_at(at, &[&[byte[0] ^ 1]]).unwrap();
    rotten
}

/// A log of a few batches of one record of so many bytes.
fn written(disk: &CrashDisk, options: LogOptions, batches: usize, len: usize) -> Log<CrashDisk> {
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    for number in 0..batches {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, len)]).unwrap();
        log.commit(b"a note").unwrap();
    }
    log
}

/// Found by the simulator (seed 51348023). The proof was in a sector that could not be read, the opening that made it again
/// could not sync it and took it back, and from then on nothing said that no batch had stood there.
#[test]
fn a_proof_that_could_not_be_made_again_keeps_no_log_shut() {
    let mut failed = 0;
    for len in [1, 150, 200, 600, 3000, 15_000, 16_000, 16_100, 20_000] {
        let disk = CrashDisk::default();
        let proof = written(&disk, SMALL, 3, len).close().unwrap();
        let (name, bytes) = disk.files().pop_last().unwrap();
        for sector in FIRST_RECORD as usize / SECTOR..bytes.len().div_ceil(SECTOR) {
            for (at, from) in (0..6).flat_map(|at| [(at, Some(proof)), (at, None)]) {
                let disk = disk.after_crash(Survival::Everything);
                disk.spoil(&name, sector);
                disk.plan(at, Fault::FailSync);
                if open_from(&disk, from).is_ok() {
                    break;
                }
                failed += 1;
                disk.plan(usize::MAX, Fault::FailSync);
                let at = format!("{len}: sector {sector}, sync {at}, checkpoint {}", from.is_some());
                let opened = match open_from(&disk, from) {
                    Err(LogError::CheckpointAhead(_)) => open_from(&disk, None),
                    opened => opened,
                };
                opened.unwrap_or_else(|error| panic!("{at}: {error}"));
                disk.mend(&name, sector);
                assert_eq!(open_from(&disk, None).unwrap().2.len(), 3, "{at}");
            }
        }
    }
    assert!(failed > 20, "{failed}");
}

/// Found by the simulator (seed 51400975). The next segment is begun when the parity of the last is torn; the opening that
/// cuts it off finds the disk full, and a power failure undoes the cut once a checkpoint has passed over the place.
#[test]
fn parity_that_was_cut_off_does_not_come_back_torn_behind_a_checkpoint() {
    let mut cuts = 0;
    for (crash_at, seed) in (0..6).flat_map(|at| (0..6).map(move |seed| (at, seed))) {
        let disk = CrashDisk::default();
        let options = LogOptions { write_buffer_len: 512, ..SMALL };
        let mut log = written(&disk, options, 2, 2000);
        disk.plan(crash_at, Fault::Crash);
        let _ = log.roll();
        drop(log);
        let torn = disk.after_crash(Survival::Some(seed));
        for full_at in 0..6 {
            let disk = torn.after_crash(Survival::Everything);
            disk.plan(full_at, Fault::Full);
            let Ok((mut log, ..)) = open_from(&disk, None) else { continue };
            disk.plan(usize::MAX, Fault::Full);
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 100)]).unwrap();
            let checkpoint = log.commit(b"a note").unwrap();
            drop(log);
            let disk = disk.after_crash(Survival::Nothing);
            open_from(&disk, Some(checkpoint)).unwrap().0.close().unwrap();
            cuts += 1;
            for (name, bytes) in disk.files() {
                for sector in FIRST_RECORD as usize / SECTOR..bytes.len().div_ceil(SECTOR) {
                    let rotten = with_rot(&disk, &name, sector);
                    let at = format!("crash {crash_at}, seed {seed}, full {full_at}, {name} sector {sector}");
                    let (mut log, ..) = open_from(&rotten, Some(checkpoint)).expect(&at);
                    for segment in log.segments() {
                        let lost = log.repair(segment.id).unwrap().lost;
                        assert!(lost.is_empty(), "{at}: {lost:?}");
                    }
                }
            }
        }
    }
    assert!(cuts > 20, "{cuts}");
}

/// Parity of several groups, and of more than fits into one write, is given to the segment that a killed process leaves. The
/// opening that does so is struck in turn.
#[test]
fn a_segment_gets_all_of_its_parity_wherever_an_opening_that_gave_it_was_struck() {
    let options = LogOptions { segment_len: 512 << 10, parity_group_len: 64 << 10, ..SMALL };
    let open = |disk: &CrashDisk| {
        Log::open(disk.clone(), options, None, &mut rng(), |_, _| true, &mut |_| Ok(())).map(|(log, _)| log)
    };
    let mut struck = 0;
    let faults = [Fault::Stop, Fault::Crash, Fault::FailSync, Fault::Full];
    for (len, fault) in [50_000, 100_000].into_iter().flat_map(|len| faults.map(|fault| (len, fault))) {
        let disk = CrashDisk::default();
        drop(written(&disk, options, 2, len));
        for at in 0.. {
            let during = disk.after_crash(Survival::Everything);
            during.plan(at, fault);
            drop(open(&during));
            if !during.hit() {
                break;
            }
            for survival in [Survival::Nothing, Survival::Everything, Survival::Some(1), Survival::Some(2)] {
                let disk = during.after_crash(survival);
                open(&disk).unwrap().close().unwrap();
                struck += 1;
                for (name, bytes) in disk.files() {
                    for sector in (FIRST_RECORD as usize / SECTOR..bytes.len().div_ceil(SECTOR)).step_by(11) {
                        let rotten = with_rot(&disk, &name, sector);
                        let at = format!("{len} bytes, {fault:?} at {at}, {survival:?}, {name} sector {sector}");
                        let mut log = open(&rotten).expect(&at);
                        for segment in log.segments() {
                            let lost = log.repair(segment.id).unwrap().lost;
                            assert!(lost.is_empty(), "{at}: {lost:?}");
                        }
                    }
                }
            }
        }
    }
    assert!(struck > 20, "{struck}");
}

/// A log that ends with two batches, and with records and parity of a third that was not committed; a record of the first has
/// rotted where parity does not reach. Says where another of that batch is, and the last commit.
fn waiting_for_parity() -> (CrashDisk, Location, LogPosition) {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    let put = |log: &mut Log<CrashDisk>, number, len| {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, len)]).unwrap()
    };
    let lost = put(&mut log, 1, 6000);
    let other = put(&mut log, 2, 2000);
    log.commit(b"a note").unwrap();
    put(&mut log, 3, 1000);
    let last = log.commit(b"a note").unwrap();
    put(&mut log, 4, 1000);
    log.cover().unwrap();
    // So much that the parity before it is written.
    put(&mut log, 5, 2000);
    drop(log);
    // In two blocks of one stripe, of which there are ten.
    rot(&disk, lost, 200);
    rot(&disk, lost, 200 + 10 * SECTOR as u32);
    (disk, other, last)
}

fn rot(disk: &CrashDisk, record: Location, at: u32) {
    let file = disk.open(Volume::Blocks, &record.segment.file_name(), OpenMode::Write).unwrap();
    file.write_at(u64::from(record.offset + at), &[&[0xff; 4]]).unwrap();
}

#[test]
fn parity_behind_the_end_stays_as_long_as_what_it_covers_is_not_whole() {
    let (disk, other, last) = waiting_for_parity();
    // The last batch is in doubt, and moves; or a checkpoint proves it.
    for from in [None, Some(last)] {
        let disk = disk.after_crash(Survival::Everything);
        drop(open_from(&disk, from).unwrap());
        rot(&disk, other, 200);
        let mut log = open_from(&disk, None).unwrap().0;
        log.repair(other.segment).unwrap();
        drop(log);
        let log = open_from(&disk, None).unwrap().0;
        assert_eq!(log.read(other).unwrap(), payload(2, 2000), "checkpoint {}", from.is_some());
    }
}

/// Nobody but the commit behind it says that it never was.
#[test]
fn what_stays_behind_the_end_is_not_forgotten_to_be_disowned() {
    let (disk, _, last) = waiting_for_parity();
    for from in [None, Some(last)] {
        let disk = disk.after_crash(Survival::Everything);
        let mut log = open_from(&disk, from).unwrap().0;
        let next = log.append(RecordKind::Blob, RecordFlags::NONE, &[b"what follows"]).unwrap().segment;
        log.commit(b"a note").unwrap();
        assert!(next > last.segment);
        let disowned = log.disowned_by(next, &BTreeSet::new()).unwrap().unwrap();
        assert_eq!(disowned, [last.segment].into(), "checkpoint {}", from.is_some());
    }
}

/// Found by the simulator (seed 104534769). A segment was given its parity behind a fresh one, the sync of that failed, and the
/// disk was gone before it could be taken back. The next process compacted the fresh segment, whose first commit alone said
/// that no history stood there.
#[test]
fn parity_that_may_be_in_the_cache_only_is_made_sure_of_before_the_commit_goes_that_tells_it_from_history() {
    let disk = CrashDisk::default();
    let mut log = written(&disk, SMALL, 2, 900);
    let (first, end) = (log.durable.segment, u64::from(log.durable.end));
    // It is killed with a batch in doubt behind that, which the next process copies into a segment of its own.
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
    log.commit(b"a note").unwrap();
    drop(log);
    drop(open_from(&disk, None).unwrap());
    // What it has put behind the end of the first is in the cache alone.
    let file = disk.open(Volume::Blocks, &first.file_name(), OpenMode::Write).unwrap();
    let mut parity = vec![0; usize::try_from(file.len().unwrap() - end).unwrap()];
    assert!(file.read_at(end, &mut parity).unwrap() > 0, "it was given its parity");
    file.truncate(end).unwrap();
    file.sync().unwrap();
    file.write_at(end, &[&parity]).unwrap();
    disk.plan(0, Fault::FailSync);
    file.sync().unwrap_err();
    // But for one sector of it.
    file.write_at(end + 512, &[&parity[512..1024]]).unwrap();
    file.sync().unwrap();
    let (mut log, recovery, _) = open_from(&disk, None).unwrap();
    assert_eq!(recovery.damaged, []);
    let fresh = log.durable.segment;
    assert!(first < fresh);
    log.roll().unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
    // Not while it may be what restores something: a crash could tear it.
    let rotten = end - 600;
    let mut byte = [0];
    file.read_at(rotten, &mut byte).unwrap();
    file.write_at(rotten, &[&[!byte[0]]]).unwrap();
    disk.take_written();
    assert_eq!(log.disowned_by(fresh, &BTreeSet::new()).unwrap(), Some([first].into()));
    assert_eq!(disk.take_written(), []);
    file.write_at(rotten, &[&byte]).unwrap();
    file.sync().unwrap();
    assert_eq!(log.disowned_by(fresh, &BTreeSet::new()).unwrap(), Some(BTreeSet::new()));
    log.remove(fresh).unwrap();
    log.close().unwrap();
    let (_, recovery, seen) = open_from(&disk.after_crash(Survival::Nothing), None).unwrap();
    assert_eq!((seen.len(), recovery.damaged), (3, Vec::new()));
}

/// The directory could not be synced, and so a commit was taken back in a segment that nothing names; the next opening dropped that
/// and got no further. What was acknowledged since, in the segment before, must not be disowned by what a crash brings back.
#[test]
fn a_segment_that_was_dropped_does_not_come_back_with_a_commit_that_was_taken_back() {
    let mut refused = 0;
    for (at, survival) in
        (0..4).flat_map(|at| [(at, Survival::Nothing), (at, Survival::Some(1)), (at, Survival::Some(2))])
    {
        let disk = CrashDisk::default();
        let proof = written(&disk, SMALL, 1, 900).close().unwrap();
        let leaving = LogOptions { leave_end: true, ..SMALL };
        let (mut log, _) = Log::open(disk.clone(), leaving, None, &mut rng(), |_, _| true, &mut |_| Ok(())).unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
        disk.plan(at, Fault::DenySync);
        let is_refused = log.commit(b"").is_err();
        drop(log);
        if !disk.hit() {
            continue;
        }
        refused += usize::from(is_refused);
        disk.plan(0, Fault::Full);
        drop(open_from(&disk, Some(proof)));
        assert!(disk.hit());
        disk.plan(usize::MAX, Fault::Full);
        let (mut log, ..) = open_from(&disk, Some(proof)).unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
        log.commit(b"").unwrap();
        drop(log);
        let (_, recovery, seen) = open_from(&disk.after_crash(survival), None).unwrap();
        let records: Vec<_> = seen.into_iter().map(|(_, _, payload)| payload).collect();
        assert_eq!((records, recovery.torn), (vec![payload(0, 900), payload(2, 900)], None), "sync {at}, {survival:?}");
    }
    assert!(refused > 1, "{refused}");
}
