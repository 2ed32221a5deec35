//! Rot where it matters what a log says of its own end: commits, proofs, and the parity behind them.

use super::super::*;
use super::basics::{SMALL, STORE, create, open, open_from, payload, rng};
use super::crash_disk::CrashDisk;
use crate::env::{Disk, DiskFile, MemoryDisk, OpenMode, Volume};
use core::ops::ControlFlow;
use std::collections::BTreeSet;

const SECTOR: u32 = 512;

#[test]
fn parity_that_a_crash_tore_behind_a_fresh_segments_commit_is_made_anew() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    for number in 0..4 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 2000)]).unwrap();
        log.commit(b"note").unwrap();
    }
    let first = log.segments().last().unwrap().id;
    // Killed: the next opening copies the last batch into a fresh segment, and gives the old one its parity behind that.
    drop(log);
    drop(open(&disk));
    let file = disk.open(Volume::Blocks, &first.file_name(), OpenMode::Write).unwrap();
    let bytes = contents(&file);
    let parity = (8192..bytes.len()).step_by(8).rfind(|at| bytes[*at..].starts_with(b"oRec") && bytes[at + 4] == 19);
    let parity = parity.expect("it has parity") + 100;
    file.write_at(parity as u64, &[&[bytes[parity] ^ 0xff]]).unwrap();
    let (log, recovery, seen) = open(&disk);
    assert!(recovery.damaged.is_empty() && seen.len() == 4, "{recovery:?}");
    for segment in log.segments() {
        let scan = log.scan(segment.id, 0, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(scan.damaged.is_empty(), "{scan:?}");
    }
    drop(log);
    assert_eq!(contents(&file), bytes, "the same parity and footer, byte for byte");
}

#[test]
fn a_lost_proof_is_made_anew_also_where_a_write_behind_it_was_never_committed() {
    for behind in [0, 300, 9000] {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 2000)]).unwrap();
        log.commit(b"note").unwrap();
        let proof = log.close().unwrap();
        let file = disk.open(Volume::Blocks, &proof.segment.file_name(), OpenMode::Write).unwrap();
        let rested = contents(&file);
        file.write_at(u64::from(proof.end), &[&payload(2, behind)]).unwrap();
        file.write_at(u64::from(proof.commit) + 10, &[b"rotten"]).unwrap();
        let (log, recovery, _) = open_from(&disk, Some(proof)).unwrap();
        assert_eq!((recovery.mended.len(), recovery.uncommitted_bytes), (1, behind as u64), "{behind}: {recovery:?}");
        for segment in log.segments() {
            let scan = log.scan(segment.id, 0, &mut |_| ControlFlow::Continue(())).unwrap();
            assert!(scan.damaged.is_empty(), "{behind}: {scan:?}");
        }
        drop(log);
        assert_eq!(contents(&file), rested, "the same parity and proof, byte for byte");
    }
}

/// An index that is made anew is told of everything once more; what its checkpoint proved is durable all the same.
#[test]
fn what_is_proven_is_not_in_doubt_where_an_opening_starts_before_it() {
    for is_known in [true, false] {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        let mut append = |number| {
            let location = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 2000)]).unwrap();
            (location, log.commit(b"note").unwrap())
        };
        append(1);
        let (rotten, last) = append(2);
        drop(log);
        let file = disk.open(Volume::Blocks, &rotten.segment.file_name(), OpenMode::Write).unwrap();
        file.write_at(u64::from(rotten.offset) + 100, &[b"rotten"]).unwrap();
        let options = LogOptions { proven: is_known.then_some(last), ..SMALL };
        let mut seen = 0;
        let opened = Log::open(disk.clone(), options, None, &mut rng(), |_, _| true, &mut |_| {
            seen += 1;
            Ok(())
        });
        let (_, recovery) = opened.unwrap();
        assert_eq!((seen, recovery.torn.is_none(), recovery.damaged.len()), (1, is_known, usize::from(is_known)));
    }
    // What is known of another log is no proof of this one.
    let disk = MemoryDisk::new();
    create(&disk).close().unwrap();
    let beyond = LogPosition { segment: SegmentId(9), commit: 8192, end: 8704 };
    let options = LogOptions { proven: Some(beyond), ..SMALL };
    let opened = Log::open(disk, options, None, &mut rng(), |_, _| true, &mut |_| Ok(()));
    assert!(matches!(opened, Err(LogError::CheckpointAhead(at)) if at == beyond));
}

fn contents(file: &impl DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

pub(super) fn put<D: Disk>(log: &mut Log<D>, number: usize, len: usize) -> (Location, LogPosition) {
    let location = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, len)]).unwrap();
    (location, log.commit(b"note").unwrap())
}

pub(super) fn flip<D: Disk>(disk: &D, segment: SegmentId, offset: u32) {
    let file = disk.open(Volume::Blocks, &segment.file_name(), OpenMode::Write).unwrap();
    let mut byte = [0];
    file.read_at(u64::from(offset), &mut byte).unwrap();
    file.write_at(u64::from(offset), &[&[byte[0] ^ 4]]).unwrap();
}

/// A proof whose parity has rotted stays, as long as a list says what the parity is of: others may be waiting for it.
#[test]
fn rotten_parity_is_mended_where_it_stands() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let (record, at) = put(&mut log, 1, 900);
    let proof = log.close().unwrap();
    // Behind the first list, which is shorter than this.
    flip(&disk, at.segment, at.end + 700);
    let (mut log, recovery, _) = open(&disk);
    assert_eq!((log.position(), recovery.torn), (proof, None));
    flip(&disk, record.segment, record.offset + 200);
    log.repair(record.segment).unwrap();
    assert_eq!(log.read(record).unwrap(), payload(1, 900));
}

#[test]
fn what_was_given_up_stays_so_where_the_commit_that_said_it_is_rotten() {
    // Its header, by which it is known for a commit at all, or what it says.
    for rotten in [9, 60] {
        let disk = MemoryDisk::new();
        let mut log = create(&disk);
        put(&mut log, 1, 900);
        log.append(RecordKind::Tombstone, RecordFlags::NONE, &[&payload(66, 700)]).unwrap();
        log.abandon();
        let (_, at) = put(&mut log, 2, 900);
        log.close().unwrap();
        flip(&disk, at.segment, at.commit + rotten);
        let (_, recovery, seen) = open(&disk);
        let kinds: Vec<RecordKind> = seen.iter().map(|(_, kind, _)| *kind).collect();
        assert_eq!(kinds, [RecordKind::Blob, RecordKind::Blob]);
        assert_eq!((recovery.mended.len(), recovery.damaged.len()), (1, 0), "{recovery:?}");
    }
}

#[test]
fn a_segment_whose_first_commit_is_rotten_may_have_disowned_anything() {
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    put(&mut log, 1, 900);
    log.append(RecordKind::Tombstone, RecordFlags::NONE, &[&payload(66, 700)]).unwrap();
    let before = log.segments()[0].id;
    log.roll().unwrap();
    log.abandon();
    let (_, first) = put(&mut log, 2, 900);
    let (_, second) = put(&mut log, 3, 900);
    log.roll().unwrap();
    put(&mut log, 4, 900);
    assert_eq!(log.disowned_by(first.segment, &BTreeSet::new()).unwrap(), Some([before].into()));
    flip(&disk, second.segment, second.commit + 60);
    assert_eq!(
        log.disowned_by(first.segment, &BTreeSet::new()).unwrap(),
        Some([before].into()),
        "a later one cannot have"
    );
    flip(&disk, first.segment, first.commit + 60);
    assert_eq!(log.disowned_by(first.segment, &BTreeSet::new()).unwrap(), None);
    log.repair(first.segment).unwrap();
    assert_eq!(log.disowned_by(first.segment, &BTreeSet::new()).unwrap(), Some([before].into()));
}

#[test]
fn nothing_that_parity_can_restore_goes_with_a_rotten_proof() {
    // What rots beside the proof: a record of the first batch, of the last, or the last with its commit.
    for rots in ["first", "last", "last and commit"] {
        for checkpoint in ["proof", "first", "none"] {
            let disk = MemoryDisk::new();
            let mut log = create(&disk);
            let (first, first_at) = put(&mut log, 1, 900);
            let (last, last_at) = put(&mut log, 2, 100);
            let proof = log.close().unwrap();
            let file = disk.open(Volume::Blocks, &proof.segment.file_name(), OpenMode::Write).unwrap();
            match rots {
                "first" => flip(&disk, proof.segment, first.offset + 200),
                "last" => flip(&disk, proof.segment, last.offset + 50),
                _ => {
                    let zeros = vec![0; (last_at.end - last.offset) as usize];
                    file.write_at(u64::from(last.offset), &[&zeros]).unwrap();
                }
            }
            flip(&disk, proof.segment, proof.commit + 60);
            let from = match checkpoint {
                "proof" => Some(proof),
                "first" => Some(first_at),
                _ => None,
            };
            let what = format!("{rots} rots, checkpoint {checkpoint}");
            if rots == "last and commit" && checkpoint != "proof" {
                // Nothing is left by which the last batch could be known.
                continue;
            }
            let (mut log, recovery, _) = open_from(&disk, from).unwrap();
            assert_eq!(recovery.torn, None, "{what}: {recovery:?}");
            log.settle().unwrap();
            for segment in log.segments() {
                log.repair(segment.id).unwrap();
            }
            drop(log);
            let (log, recovery, seen) = open(&disk);
            assert_eq!(seen.len(), 2, "{what}: {recovery:?}");
            let lost: Vec<_> = log
                .segments()
                .iter()
                .flat_map(|segment| log.scan(segment.id, 0, &mut |_| ControlFlow::Continue(())).unwrap().damaged)
                .filter(|range| range.what != Damage::Record(RecordKind::Commit))
                .collect();
            assert!(lost.is_empty(), "{what}: {lost:?}");
        }
    }
}

/// Found by the simulator (seed 19037523). A batch that follows a proof is moved elsewhere by the next opening, and the proof
/// is then the end of its segment: rotten there, it kept that from its footer and was named by every scrub.
#[test]
fn a_rotten_proof_at_the_end_of_an_earlier_segment_is_written_again() {
    let rot = |disk: &MemoryDisk, segment: SegmentId, offset: u32| {
        let file = disk.open(Volume::Blocks, &segment.file_name(), OpenMode::Write).unwrap();
        file.write_at(u64::from(offset), &[&[0xff; 4]]).unwrap();
    };
    let disk = MemoryDisk::new();
    let mut log = create(&disk);
    let put = |log: &mut Log<MemoryDisk>, number| {
        let at = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 900)]).unwrap();
        log.commit(b"").unwrap();
        at
    };
    let first = put(&mut log, 1);
    let proof = log.settle().unwrap();
    put(&mut log, 2);
    // The process is killed.
    drop(log);
    rot(&disk, proof.segment, proof.commit + 60);
    let (mut log, recovery, seen) = open(&disk);
    assert_eq!((seen.len(), recovery.mended.len(), recovery.damaged.len()), (2, 1, 0), "{recovery:?}");
    for segment in log.segments() {
        let report = log.repair(segment.id).unwrap();
        assert!(report.lost.is_empty() && report.healed.is_empty(), "{report:?}");
    }
    drop(log);
    // It has got its footer, and parity for all that stands in it.
    rot(&disk, first.segment, first.offset + 200);
    let (mut log, ..) = open(&disk);
    assert_eq!(log.repair(first.segment).unwrap().lost, []);
    assert_eq!(log.read(first).unwrap(), payload(1, 900));
}

/// Where parity stands in a file: how the payload of each begins.
fn parity_in(bytes: &[u8]) -> Vec<u32> {
    payloads_in(bytes, RecordKind::Parity)
}

fn payloads_in(bytes: &[u8], kind: RecordKind) -> Vec<u32> {
    let is_one = |at: &usize| bytes[*at..].starts_with(b"oRec") && bytes[at + 4] == kind as u8;
    (FIRST_RECORD as usize..bytes.len()).step_by(8).filter(is_one).map(|at| at as u32 + 24).collect()
}

/// What is in the middle of a batch only to protect it was promised to nobody.
#[test]
fn a_batch_is_whole_though_parity_in_the_middle_of_it_is_not() {
    let mut cases = 0;
    for (refused, full) in [(false, false), (false, true), (true, false), (true, true)] {
        for number in 0..3 {
            let disk = CrashDisk::default();
            let options = LogOptions { segment_len: 128 << 10, parity_group_len: 4 << 10, ..SMALL };
            let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
            let written: Vec<Location> = (0..16)
                .map(|number| log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 900)]).unwrap())
                .collect();
            let segment = log.commit(b"note").unwrap().segment;
            drop(log);
            let name = segment.file_name();
            let parity = parity_in(&disk.files()[name.as_str()]);
            // A group of the fresh log's first list stands before those.
            let Some(at) = parity.get(number + 1).copied() else { break };
            let sector = at.div_ceil(SECTOR);
            if refused {
                disk.spoil(name.as_str(), sector as usize);
            } else {
                flip(&disk, segment, sector * SECTOR + 7);
            }
            disk.limit(full.then(|| disk.used()));
            let what = format!("parity {number}, refused {refused}, full {full}");
            let (mut log, recovery, seen) = open_from(&disk, None).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((seen.len(), recovery.torn, recovery.kept_in_place), (16, None, full), "{what}: {recovery:?}");
            disk.limit(None);
            disk.mend(name.as_str(), sector as usize);
            for segment in log.segments() {
                assert_eq!(log.repair(segment.id).unwrap().lost, [], "{what}");
            }
            log.settle().unwrap();
            if full {
                // It is what parity is made for again, wherever one of them rots.
                for location in &written {
                    flip(&disk, segment, location.offset + 100);
                    log.repair(segment).unwrap();
                    assert!(log.read(*location).is_ok(), "{what}: {location}");
                }
            }
            cases += 1;
        }
    }
    assert!(cases > 8, "{cases}");
}

/// A batch with parity behind each of the first `covers` records that is kept where it stands, once what `rotten` names has
/// rotted of what follows the first: the lists of each group and the parity, by where their payloads begin. Then its first record
/// rots.
fn first_record_under_new_parity(covers: usize, group_len: u32, rotten: impl Fn(&[u32], &[u32]) -> Vec<u32>) {
    let disk = CrashDisk::default();
    let options = LogOptions { segment_len: 128 << 10, parity_group_len: group_len, ..SMALL };
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 6000)]).unwrap();
    let mut others = Vec::new();
    for number in 0..covers {
        log.cover().unwrap();
        let other = payload(2 + number, 900);
        others.push(log.append(RecordKind::Blob, RecordFlags::NONE, &[&other]).unwrap());
    }
    log.commit(b"note").unwrap();
    drop(log);
    let bytes = disk.files()[first.segment.file_name().as_str()].clone();
    let between = first.offset..others[0].offset;
    let behind = |places: Vec<u32>| places.into_iter().filter(|at| between.contains(at)).collect::<Vec<u32>>();
    let lists = behind(payloads_in(&bytes, RecordKind::ParityList));
    let parity = behind(parity_in(&bytes));
    for at in rotten(&lists, &parity) {
        flip(&disk, first.segment, at);
    }
    disk.limit(Some(disk.used()));
    let (mut log, recovery, seen) = open_from(&disk, None).unwrap();
    assert!(recovery.kept_in_place && seen.len() == 1 + covers, "{recovery:?}");
    disk.limit(None);
    log.settle().unwrap();
    flip(&disk, first.segment, first.offset + 100);
    log.repair(first.segment).unwrap();
    assert_eq!(log.read(first).unwrap(), payload(1, 6000));
}

#[test]
fn what_parity_that_is_gone_had_covered_is_covered_by_the_next() {
    for covers in [1, 2] {
        first_record_under_new_parity(covers, 16 << 10, |lists, parity| {
            assert_eq!((lists.len(), parity.len()), (2, 1));
            vec![lists[0] + 20, parity[0] + 100, lists[1] + 20]
        });
    }
}

/// Its lists say what it was of, and nothing could be restored from it.
#[test]
fn what_parity_had_covered_of_which_only_the_lists_are_left_is_covered_by_the_next() {
    first_record_under_new_parity(1, 16 << 10, |_, parity| {
        assert_eq!(parity.len(), 1);
        (0..10).map(|block| parity[0] + block * 512 + 100).collect()
    });
}

/// What stands side by side with it says nothing of what it was of.
#[test]
fn what_one_group_of_several_had_covered_is_covered_by_the_next() {
    first_record_under_new_parity(1, 4 << 10, |lists, parity| {
        assert_eq!((lists.len(), parity.len()), (4, 2));
        vec![lists[0] + 20, lists[1] + 20]
    });
}

/// Its records are not, whatever parity stands between them.
#[test]
fn a_batch_with_parity_in_its_middle_is_torn_where_a_record_of_it_is() {
    let disk = CrashDisk::default();
    let mut log = create(&disk);
    put(&mut log, 1, 900);
    let first = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
    log.cover().unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(3, 900)]).unwrap();
    log.commit(b"note").unwrap();
    drop(log);
    flip(&disk, first.segment, first.offset + 100);
    let (_, recovery, seen) = open_from(&disk, None).unwrap();
    let torn = recovery.torn.expect("a record of it is missing");
    assert_eq!((seen.len(), torn.records, torn.intact), (1, 2, 1));
}

/// A slice says in its header alone that it is there: what has rotted of the rest was called healed by a repair that could read
/// no parity, and the parity was cut off.
#[test]
fn parity_that_cannot_be_read_is_kept_for_what_has_rotted_of_a_slice() {
    let right = |kind, bytes: &[u8]| kind != RecordKind::Slice || bytes == payload(1, 4000);
    let opened = |disk: &CrashDisk| Log::open(disk.clone(), SMALL, None, &mut rng(), right, &mut |_| Ok(())).unwrap().0;
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), right).unwrap();
    let bytes = payload(1, 4000);
    let slice = log.append(RecordKind::Slice, RecordFlags::NONE, &[&bytes[..16], &bytes[16..]]).unwrap();
    log.commit(b"note").unwrap();
    put(&mut log, 2, 900);
    // Killed: the next opening copies the last batch into a fresh segment, and gives the old one its parity where it ended.
    drop(log);
    let end = disk.files()[slice.segment.file_name().as_str()].len() as u32 / SECTOR;
    drop(opened(&disk));
    let name = slice.segment.file_name();
    let sealed = disk.files()[name.as_str()].len() as u32;
    assert!(sealed / SECTOR > end, "it has parity");
    flip(&disk, slice.segment, slice.offset + 2000);
    let parity = (slice.offset + 4500).div_ceil(SECTOR)..sealed.div_ceil(SECTOR);
    parity.clone().for_each(|sector| disk.spoil(name.as_str(), sector as usize));
    drop(opened(&disk));
    parity.for_each(|sector| disk.mend(name.as_str(), sector as usize));
    let mut log = opened(&disk);
    log.repair(slice.segment).unwrap();
    assert_eq!(log.read(slice).unwrap(), bytes);
}
