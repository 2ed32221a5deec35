//! A full disk refuses to let a log rest, or to begin another segment, and then there is space: wherever one sector rots, or is
//! refused for a while, what was acknowledged is there.

use super::super::*;
use super::basics::{SMALL, STORE, open_from, payload, rng};
use super::crash_disk::{CrashDisk, Fault, Survival};
use crate::env::{Disk, DiskFile, FileName, OpenMode, Volume};

const SECTOR: usize = 512;

/// A log at the end of such a life.
struct Left {
    disk: CrashDisk,
    acknowledged: Vec<Vec<u8>>,
    /// Behind what the last batch stands, unless its proof follows.
    unproven: Option<LogPosition>,
}

type Step = fn(&mut Log<CrashDisk>) -> Result<(), LogError>;

const REFUSED: [(&str, Step); 3] = [
    ("settle", |log| log.settle().map(|_| ())),
    ("roll", Log::roll),
    ("settle twice", |log| {
        log.settle()?;
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(8, 30)])?;
        log.abandon();
        log.settle().map(|_| ())
    }),
];

const AFTER: [(&str, Option<Step>); 4] = [
    ("one more batch", None),
    ("settle", Some(|log| log.settle().map(|_| ()))),
    ("roll", Some(|log| log.roll().and_then(|()| log.settle().map(|_| ())))),
    (
        "given up",
        Some(|log| {
            log.abandon();
            log.settle().map(|_| ())
        }),
    ),
];

/// The refused step meets a full disk at its `at`-th operation; none if it has fewer.
fn left_by(refused: Step, at: usize, after: Option<Step>, many: usize) -> Option<Left> {
    let disk = CrashDisk::default();
    // Parity of several groups is due at once, and small buffers show what is written when.
    let options = LogOptions { segment_len: 128 << 10, parity_group_len: 4 << 10, write_buffer_len: 512, ..SMALL };
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    let mut acknowledged = vec![payload(1, 9000)];
    acknowledged.extend((0..many).map(|number| payload(number, 4)));
    for bytes in &acknowledged {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[bytes]).unwrap();
    }
    log.commit(b"note").unwrap();
    disk.plan(at, Fault::Full);
    let _ = refused(&mut log);
    if !disk.hit() {
        return None;
    }
    let mut unproven = None;
    match after {
        Some(step) => step(&mut log).unwrap(),
        None => {
            let last = payload(2, 100);
            unproven = Some(log.position());
            log.append(RecordKind::Blob, RecordFlags::NONE, &[&last]).unwrap();
            acknowledged.push(last);
            log.commit(b"note").unwrap();
        }
    }
    drop(log);
    Some(Left { disk: disk.after_crash(Survival::Everything), acknowledged, unproven })
}

impl Left {
    fn sectors(&self) -> impl Iterator<Item = (String, usize)> {
        self.disk.files().into_iter().flat_map(|(name, bytes)| {
            (FIRST_RECORD as usize / SECTOR..bytes.len().div_ceil(SECTOR)).map(move |sector| (name.clone(), sector))
        })
    }

    /// What is damaged there may be what a crash tore.
    fn may_be_torn(&self, name: &str, sector: usize) -> bool {
        self.unproven.is_some_and(|before| {
            let file = before.segment.file_name();
            name > file.as_str() || name == file.as_str() && sector >= before.end as usize / SECTOR
        })
    }

    fn is_there(&self, disk: &CrashDisk, at: &str) {
        let (mut log, recovery, _) = open_from(disk, None).unwrap_or_else(|error| panic!("{at}: {error}"));
        for segment in log.segments() {
            let lost = log.repair(segment.id).unwrap().lost;
            // The footer that a batch begins with may go with it: it holds nothing.
            assert!(lost.is_empty() || self.unproven.is_some(), "{at}: {lost:?}, {recovery:?}");
        }
        drop(log);
        let (.., recovery, seen) = open_from(disk, None).unwrap();
        let seen: Vec<Vec<u8>> = seen.into_iter().map(|(_, _, bytes)| bytes).collect();
        assert!(seen == self.acknowledged, "{at}: {} records, {recovery:?}", seen.len());
    }
}

/// Also so many small records that the footer does not fit into what is left of the buffer.
const SMALL_RECORDS: [usize; 2] = [0, 300];

fn each(mut check: impl FnMut(&Left, &str)) {
    let mut points = 0;
    for many in SMALL_RECORDS {
        for (refused_name, refused) in REFUSED {
            for (after_name, after) in AFTER {
                for at in 0.. {
                    let Some(left) = left_by(refused, at, after, many) else { break };
                    check(&left, &format!("{many} small, {refused_name} is refused at {at}, then {after_name}"));
                    points += 1;
                }
            }
        }
    }
    assert!(points > 80, "{points}");
}

#[test]
fn what_was_acknowledged_is_there_whichever_sector_rots() {
    each(|left, place| {
        for (name, sector) in left.sectors().filter(|(name, sector)| !left.may_be_torn(name, *sector)) {
            let disk = left.disk.after_crash(Survival::Everything);
            let file = disk.open(Volume::Blocks, &FileName::new(name.clone()).unwrap(), OpenMode::Write).unwrap();
            let from = (sector * SECTOR) as u64;
            let len = (file.len().unwrap() - from).min(SECTOR as u64) as usize;
            file.write_at(from, &[&vec![0xa5; len]]).unwrap();
            let at = format!("{place}, {name}, sector {sector}");
            if left.unproven.is_none() {
                left.is_there(&disk, &at);
                continue;
            }
            // The first batch need not have parity yet. The other is not to suffer for it, however often it is looked for.
            for _ in 0..3 {
                let (mut log, recovery, seen) = open_from(&disk, None).unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(seen.last().map(|(.., bytes)| bytes), left.acknowledged.last(), "{at}: {recovery:?}");
                for segment in log.segments() {
                    log.repair(segment.id).unwrap();
                }
            }
        }
    });
}

#[test]
fn what_was_acknowledged_is_there_once_a_sector_that_was_refused_can_be_read() {
    each(|left, place| {
        // Where nothing rested, a record that parity does not cover yet may share a sector with parity, and goes when that is
        // healed.
        if left.unproven.is_some() && left.acknowledged.len() > 2 {
            return;
        }
        for (name, sector) in left.sectors() {
            let (disk, at) = (left.disk.after_crash(Survival::Everything), format!("{place}, {name}, sector {sector}"));
            disk.spoil(&name, sector);
            let opened = open_from(&disk, None);
            assert!(opened.is_ok() || left.unproven.is_some(), "{at}: {:?}", opened.err());
            drop(opened);
            disk.mend(&name, sector);
            left.is_there(&disk, &at);
        }
    });
}

/// What makes room comes after the disk was found full: it has to fit wherever it would without what is written to rest.
#[test]
fn a_deletion_fits_where_the_parity_and_the_proof_of_what_is_there_do_not() {
    let mut refused = 0;
    // Parity waits in the buffer, or is written at once.
    for write_buffer_len in [64 << 10, 2 << 10] {
        for room in (2 * SECTOR..20 * SECTOR).step_by(SECTOR / 2) {
            let disk = CrashDisk::default();
            let options = LogOptions { write_buffer_len, ..SMALL };
            let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
            let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 6000)]).unwrap();
            log.commit(b"note").unwrap();
            disk.limit(Some(disk.used() + room));
            if log.settle().is_ok() {
                continue;
            }
            refused += 1;
            let place = format!("room of {room}, buffer of {write_buffer_len}");
            assert!(!log.is_settled(), "{place}");
            log.append(RecordKind::Tombstone, RecordFlags::NONE, &[&payload(2, 100)])
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            log.commit(b"another note").unwrap_or_else(|error| panic!("{place}: {error}"));
            disk.limit(None);
            log.settle().unwrap();
            assert!(log.is_settled(), "{place}");
            drop(log);
            let (mut log, recovery, seen) = open_from(&disk, None).unwrap();
            assert_eq!((seen.len(), recovery.damaged, recovery.torn), (2, vec![], None), "{place}");
            let file = disk.open(Volume::Blocks, &first.segment.file_name(), OpenMode::Write).unwrap();
            file.write_at(u64::from(first.offset) + 200, &[&[0xff; 4]]).unwrap();
            assert_eq!(log.repair(first.segment).unwrap().lost, [], "{place}");
            assert_eq!(log.read(first).unwrap(), payload(1, 6000), "{place}");
        }
    }
    assert!(refused > 20, "{refused}");
}

/// A sector that takes no writes is one place that stays rotten, not the end of the repair.
#[test]
fn a_write_that_is_refused_keeps_nothing_else_from_being_healed() {
    let options = LogOptions { segment_len: 128 << 10, parity_group_len: 4 << 10, ..SMALL };
    let mut refused = 0;
    for at in 0.. {
        let disk = CrashDisk::default();
        let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
        let append = |number| log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 3000)]).unwrap();
        let blobs: Vec<Location> = (0..6).map(append).collect();
        log.commit(b"note").unwrap();
        log.settle().unwrap();
        let file = disk.open(Volume::Blocks, &blobs[0].segment.file_name(), OpenMode::Write).unwrap();
        for blob in [blobs[0], blobs[5]] {
            file.write_at(u64::from(blob.offset) + 1000, &[b"rot"]).unwrap();
        }
        disk.plan(at, Fault::Full);
        let report = log.repair(blobs[0].segment).unwrap();
        if !disk.hit() {
            break;
        }
        refused += 1;
        assert_eq!((report.healed.len(), report.refused.len()), (1, 1), "write {at}: {report:?}");
        let report = log.repair(blobs[0].segment).unwrap();
        assert_eq!((report.healed.len(), report.refused.len(), report.lost.len()), (1, 0, 0), "write {at}: {report:?}");
        assert!((0..6).zip(blobs).all(|(number, blob)| log.read(blob).unwrap() == payload(number, 3000)));
    }
    assert_eq!(refused, 2, "writes of the repair");
}
