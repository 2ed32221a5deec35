//! Parity that a segment is given after a crash, not while it was written.

use super::super::*;
use super::basics::{SMALL, STORE, open_from, payload, rng};
use super::crash_disk::{CrashDisk, Fault, Survival};
use super::rotten_end::{self, put};
use crate::env::{Disk, DiskFile, MemoryDisk, OpenMode, Volume};

/// What carries its own hash at its end is a slice here.
fn verify(kind: RecordKind, payload: &[u8]) -> bool {
    let hashed = || payload.split_last_chunk::<32>().is_some_and(|(body, hash)| blake3::hash(body).as_bytes() == hash);
    kind != RecordKind::Slice || hashed()
}

fn flip(disk: &CrashDisk, slice: Location) {
    let file = disk.open(Volume::Blocks, &slice.segment.file_name(), OpenMode::Write).unwrap();
    let (at, mut byte) = (u64::from(slice.offset) + 600, [0]);
    file.read_at(at, &mut byte).unwrap();
    file.write_at(at, &[&[byte[0] ^ 1]]).unwrap();
}

/// A store whose process was killed: where a slice of it is, and what it should be. The last batch moves to a fresh segment
/// at the opening, and what stays behind is to be given its parity.
fn killed() -> (CrashDisk, Location, Vec<u8>) {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), verify).unwrap();
    let mut bytes = payload(1, 1500);
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    let slice = log.append(RecordKind::Slice, RecordFlags::NONE, &[&bytes[..16], &bytes[16..]]).unwrap();
    log.commit(b"slice").unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[b"what follows"]).unwrap();
    log.commit(b"more").unwrap();
    drop(log);
    (disk, slice, bytes)
}

/// And the slice has rotted since.
fn killed_and_rotten() -> (CrashDisk, Location, Vec<u8>) {
    let (disk, slice, bytes) = killed();
    flip(&disk, slice);
    (disk, slice, bytes)
}

#[test]
fn parity_is_not_made_of_a_slice_that_has_rotted() {
    let (disk, slice, bytes) = killed_and_rotten();
    let (mut log, _) = Log::open(disk.clone(), SMALL, None, &mut rng(), verify, &mut |_| Ok(())).unwrap();
    assert!(!verify(RecordKind::Slice, &log.read(slice).unwrap()));
    // Its siblings have mended it, and nothing takes that back.
    log.rewrite_in_place(slice, &bytes).unwrap();
    assert_eq!(log.repair(slice.segment).unwrap(), RepairReport::default());
    assert_eq!(log.read(slice).unwrap(), bytes);
    // Now there is parity, and it restores what was written.
    flip(&disk, slice);
    assert!(!log.repair(slice.segment).unwrap().healed.is_empty());
    assert_eq!(log.read(slice).unwrap(), bytes);
}

#[test]
fn a_mended_segment_is_given_its_parity_when_the_log_comes_to_rest() {
    let (disk, slice, bytes) = killed_and_rotten();
    let (mut log, _) = Log::open(disk.clone(), SMALL, None, &mut rng(), verify, &mut |_| Ok(())).unwrap();
    log.rewrite_in_place(slice, &bytes).unwrap();
    assert!(log.lacks_parity());
    log.settle().unwrap();
    assert!(!log.lacks_parity());
    flip(&disk, slice);
    assert!(!log.repair(slice.segment).unwrap().healed.is_empty());
    assert_eq!(log.read(slice).unwrap(), bytes);
}

/// Who opens a log without the checkpoint that another keeps of its end, and mends what stands before that.
#[test]
fn a_slice_that_is_mended_in_a_segment_left_as_it_ends_has_nothing_put_behind_its_end() {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), verify).unwrap();
    let mut bytes = payload(1, 1500);
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    let slice = log.append(RecordKind::Slice, RecordFlags::SPREAD, &[&bytes[..16], &bytes[16..]]).unwrap();
    log.commit(b"slice").unwrap();
    let checkpoint = log.close().unwrap();
    let rested = disk.files();
    flip(&disk, slice);
    let leaving = LogOptions { leave_end: true, ..SMALL };
    let (mut log, _) = Log::open(disk.clone(), leaving, None, &mut rng(), verify, &mut |_| Ok(())).unwrap();
    log.rewrite_in_place(slice, &bytes).unwrap();
    log.settle().unwrap();
    assert!(!log.lacks_parity());
    log.close().unwrap();
    assert!(disk.files() == rested, "as it was before it rotted");
    let (log, recovery) =
        Log::open(disk.clone(), SMALL, Some(checkpoint), &mut rng(), verify, &mut |_| Ok(())).unwrap();
    assert_eq!((log.position(), recovery.uncommitted_bytes), (checkpoint, 0));
    assert!(disk.files() == rested, "and the checkpoint names its end");
}

fn refuse_to_open(by_the_next: bool) {
    let (mut refused, mut failed) = (0, 0);
    for at in 0.. {
        let (killed, slice, bytes) = killed();
        let disk = killed.after_crash(Survival::Everything);
        disk.plan(at, Fault::FailTouch);
        let opened = Log::open(disk.clone(), SMALL, None, &mut rng(), verify, &mut |_| Ok(()));
        if !disk.hit() {
            break;
        }
        let Ok((mut log, _)) = opened else {
            failed += 1;
            continue;
        };
        refused += usize::from(log.lacks_parity());
        if by_the_next {
            drop(log);
            log = Log::open(disk.clone(), SMALL, None, &mut rng(), verify, &mut |_| Ok(())).unwrap().0;
        } else {
            log.settle().unwrap();
        }
        assert!(!log.lacks_parity());
        flip(&disk, slice);
        assert!(!log.repair(slice.segment).unwrap().healed.is_empty(), "refused at {at}");
        assert_eq!(log.read(slice).unwrap(), bytes);
    }
    // The last segment is opened to be written to, and cut where its last batch was copied: a log that cannot is shut.
    assert_eq!((refused, failed), (1, 2), "refusals that cost parity, and those that cost the opening");
}

#[test]
fn a_segment_that_the_disk_refuses_to_open_gets_its_parity_when_the_log_comes_to_rest() {
    refuse_to_open(false);
}

#[test]
fn a_segment_that_the_disk_refuses_to_open_gets_its_parity_from_the_next_process() {
    refuse_to_open(true);
}

/// Found by the simulator (seed 122023531). A crash has left parity and a footer behind the last commit, and nothing says that
/// they are durable: they go, and are written anew. That opening took the segment for damaged, and nobody looked at it any more.
#[test]
fn a_segment_that_is_misread_once_as_it_is_to_get_its_parity_gets_it() {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    let (blob, _) = put(&mut log, 1, 900);
    let rolled = disk.after_crash(Survival::Everything);
    log.roll().unwrap();
    let name = blob.segment.file_name();
    let file = rolled.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    file.write_at(0, &[&disk.files()[name.as_str()]]).unwrap();
    for part in (0..64).step_by(3) {
        for at in 0.. {
            let disk = rolled.after_crash(Survival::Everything);
            disk.plan(at, Fault::Misread(part));
            let opened = open_from(&disk, None);
            if !disk.hit() {
                break;
            }
            // Where it says that what it has read just now is another thing, the next looks again.
            let (mut log, ..) = opened.or_else(|_| open_from(&disk, None)).unwrap();
            log.settle().unwrap();
            rotten_end::flip(&disk, blob.segment, blob.offset + 100);
            let told = format!("{part} of 64 parts of read {at}");
            log.repair(blob.segment).unwrap();
            assert!(log.read(blob).is_ok_and(|bytes| bytes == payload(1, 900)), "{told}");
        }
    }
}

/// Found by the simulator (seed 65521126). The disk was full at two openings in a row: the first left a segment without its
/// parity, and at the second nobody looked at what comes before the segment that was kept where it is.
#[test]
fn a_segment_before_one_that_is_kept_in_place_gets_its_parity_once_there_is_room() {
    let (disk, slice, bytes) = killed();
    let full = || {
        disk.limit(Some(disk.used()));
        let (log, recovery) = Log::open(disk.clone(), SMALL, None, &mut rng(), verify, &mut |_| Ok(())).unwrap();
        disk.limit(None);
        assert!(recovery.kept_in_place);
        log
    };
    let mut log = full();
    for record in ["in a segment of its own", "what is kept where it is"] {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[record.as_bytes()]).unwrap();
        assert!(log.commit(b"").unwrap().segment > slice.segment);
    }
    drop(log);
    let mut log = full();
    log.settle().unwrap();
    flip(&disk, slice);
    assert!(!log.repair(slice.segment).unwrap().healed.is_empty());
    assert_eq!(log.read(slice).unwrap(), bytes);
}

/// The disk refuses to read the segment for a while.
#[test]
fn a_segment_that_is_refused_as_it_is_to_get_its_parity_gets_it_when_the_log_rests_again() {
    let (disk, slice, bytes) = killed();
    disk.limit(Some(disk.used()));
    let (mut log, _) = Log::open(disk.clone(), SMALL, None, &mut rng(), verify, &mut |_| Ok(())).unwrap();
    disk.limit(None);
    assert!(log.lacks_parity());
    log.append(RecordKind::Blob, RecordFlags::NONE, &[b"in a segment of its own"]).unwrap();
    log.commit(b"").unwrap();
    disk.plan(0, Fault::FailReads(1000));
    log.settle().unwrap();
    assert!(disk.hit() && log.lacks_parity());
    // Who only waits would try in vain as long as it is so.
    assert!(!log.owes_parity());
    disk.plan(usize::MAX, Fault::FailRead);
    log.settle().unwrap();
    assert!(!log.lacks_parity());
    flip(&disk, slice);
    assert!(!log.repair(slice.segment).unwrap().healed.is_empty());
    assert_eq!(log.read(slice).unwrap(), bytes);
}

/// Found by the simulator (seed 23010196). A crash took one of two groups whole and left the other with their proof: what
/// stood there could never be restored, and was named by every scrub.
#[test]
fn a_proof_of_several_groups_counts_only_if_each_of_them_can_be_made_whole() {
    let options = LogOptions { segment_len: 128 << 10, parity_group_len: 4 << 10, ..SMALL };
    for lost in 0..2 {
        let disk = MemoryDisk::new();
        let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
        // It is the commit that does not fit into the first group.
        let blob = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 3700)]).unwrap();
        let commit = log.commit(b"note").unwrap();
        log.settle().unwrap();
        drop(log);
        let file = disk.open(Volume::Blocks, &blob.segment.file_name(), OpenMode::Write).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        let lists: Vec<usize> = (commit.end as usize..bytes.len())
            .step_by(8)
            .filter(|at| bytes[*at..].starts_with(b"oRec") && bytes[at + 4] == 18)
            .collect();
        assert_eq!(lists.len(), 4);
        let (from, to) = (lists[2 * lost], lists[2 * lost + 1] + 24);
        file.write_at(from as u64, &[&vec![0; to - from]]).unwrap();
        let (mut log, recovery, seen) = open_from(&disk, None).unwrap();
        assert_eq!((seen.len(), recovery.torn), (1, None), "group {lost}");
        log.settle().unwrap();
        for segment in log.segments() {
            assert_eq!(log.repair(segment.id).unwrap().lost, [], "group {lost}");
        }
    }
}

/// Batches of one record never have room made in them: what they have brought is covered all the same, but for the last of it.
#[test]
fn small_batches_get_their_parity_while_the_log_goes_on() {
    let disk = CrashDisk::default();
    let options = LogOptions { segment_len: 1 << 20, ..SMALL };
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    for number in 0..200 {
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 900)]).unwrap();
        log.commit(b"").unwrap();
    }
    let (name, bytes) = disk.files().pop_last().unwrap();
    let parity = (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"oRec") && bytes[at + 4] == 19);
    let (groups, most) = (parity.count(), bytes.len() / options.parity_group_len as usize);
    assert!(groups * 2 > most, "{groups} groups in {} bytes of {name}", bytes.len());
}

/// A record that is longer than several groups is covered by all of them, and whoever opens the log knows.
#[test]
fn a_record_of_several_groups_needs_no_parity_again() {
    let disk = CrashDisk::default();
    let options = LogOptions { segment_len: 128 << 10, parity_group_len: 4 << 10, ..SMALL };
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 20_000)]).unwrap();
    log.commit(b"note").unwrap();
    log.settle().unwrap();
    drop(log);
    let before = disk.files();
    for _ in 0..3 {
        let (mut log, _, _) = open_from(&disk, None).unwrap();
        assert!(log.is_settled());
        log.settle().unwrap();
    }
    assert!(disk.files() == before, "the log grows with every opening");
}

/// A power failure may tear all of a sector that is being written: what stands beside the slice is covered by nothing yet.
#[test]
fn a_slice_is_not_mended_in_a_sector_that_holds_what_no_parity_covers() {
    let (disk, slice, bytes) = killed_and_rotten();
    let flipped = u64::from(slice.offset) + 600;
    let mend = |at: u64| {
        let file = disk.open(Volume::Blocks, &slice.segment.file_name(), OpenMode::Write).unwrap();
        let mut byte = [0];
        file.read_at(at, &mut byte).unwrap();
        file.write_at(at, &[&[byte[0] ^ 1]]).unwrap();
    };
    // Not in its middle, but at its end, behind which a commit stands.
    mend(flipped);
    let end = u64::from(slice.offset) + 24 + bytes.len() as u64;
    assert_ne!(end % 512, 0);
    mend(end - 1);
    let (mut log, _) = Log::open(disk.clone(), SMALL, None, &mut rng(), verify, &mut |_| Ok(())).unwrap();
    disk.take_written();
    assert!(matches!(log.rewrite_in_place(slice, &bytes), Err(LogError::Damaged { .. })));
    assert_eq!(disk.take_written(), []);
    // In its middle it may.
    mend(end - 1);
    mend(flipped);
    log.rewrite_in_place(slice, &bytes).unwrap();
    log.settle().unwrap();
    // And everywhere once there is parity.
    mend(end - 1);
    log.rewrite_in_place(slice, &bytes).unwrap();
    assert_eq!(log.read(slice).unwrap(), bytes);
}

/// Of the parity that a segment was given late a power failure has left a part that says nothing.
#[test]
fn a_segment_of_whose_late_parity_nothing_is_left_is_given_it_again() {
    let (disk, slice, bytes) = killed_and_rotten();
    let (mut log, _) = Log::open(disk.clone(), SMALL, None, &mut rng(), verify, &mut |_| Ok(())).unwrap();
    let end = disk.files()[slice.segment.file_name().as_str()].len();
    log.rewrite_in_place(slice, &bytes).unwrap();
    let position = log.settle().unwrap();
    drop(log);
    let file = disk.open(Volume::Blocks, &slice.segment.file_name(), OpenMode::Write).unwrap();
    let len = file.len().unwrap() as usize;
    assert!(end < len);
    file.write_at(end as u64, &[&vec![0; len - end]]).unwrap();
    let (mut log, _) = Log::open(disk.clone(), SMALL, Some(position), &mut rng(), verify, &mut |_| Ok(())).unwrap();
    log.settle().unwrap();
    flip(&disk, slice);
    assert!(!log.repair(slice.segment).unwrap().healed.is_empty());
    assert_eq!(log.read(slice).unwrap(), bytes);
}

/// What has rotted at the end of a segment, of a batch that ends in the next, is not taken for such parity.
#[test]
fn no_record_is_cut_off_for_late_parity() {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), verify).unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(1, 900)]).unwrap();
    log.commit(b"first").unwrap();
    let blob = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
    log.roll().unwrap();
    log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(3, 900)]).unwrap();
    log.commit(b"second").unwrap();
    let position = log.settle().unwrap();
    drop(log);
    assert!(blob.segment < position.segment);
    let file = disk.open(Volume::Blocks, &blob.segment.file_name(), OpenMode::Write).unwrap();
    let len = file.len().unwrap() as usize;
    file.write_at(u64::from(blob.offset), &[&vec![0; len - blob.offset as usize]]).unwrap();
    let (mut log, _) = Log::open(disk.clone(), SMALL, Some(position), &mut rng(), verify, &mut |_| Ok(())).unwrap();
    log.settle().unwrap();
    assert_eq!(file.len().unwrap() as usize, len);
    assert_eq!(log.repair(blob.segment).unwrap().lost.len(), 1);
}

/// Where parity covers all that was committed, a slice is mended in its place, wherever in it it has rotted.
#[test]
fn a_slice_of_a_log_at_rest_is_mended_where_it_stands() {
    let (disk, options) = (CrashDisk::default(), LogOptions { segment_len: 1 << 20, ..SMALL });
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    let bytes = payload(1, 1500);
    let slice = log.append(RecordKind::Slice, RecordFlags::SPREAD, &[&bytes[..16], &bytes[16..]]).unwrap();
    log.commit(b"slice").unwrap();
    log.settle().unwrap();
    for at in [slice.offset + 24 + 16, slice.offset + 24 + 1499] {
        let file = disk.open(Volume::Blocks, &slice.segment.file_name(), OpenMode::Write).unwrap();
        file.write_at(u64::from(at), &[&[!bytes[(at - slice.offset - 24) as usize]]]).unwrap();
        log.rewrite_in_place(slice, &bytes).unwrap();
        assert_eq!(log.read(slice).unwrap(), bytes);
    }
    // But not when something stands behind it that is not committed, in the same segment.
    log.append(RecordKind::Blob, RecordFlags::NONE, &[b"behind"]).unwrap();
    log.commit(b"more").unwrap();
    let file = disk.open(Volume::Blocks, &slice.segment.file_name(), OpenMode::Write).unwrap();
    file.write_at(u64::from(slice.offset) + 24 + 1499, &[&[!bytes[1499]]]).unwrap();
    assert!(log.rewrite_in_place(slice, &bytes).is_err());
    log.settle().unwrap();
    log.rewrite_in_place(slice, &bytes).unwrap();
}
