//! The disk refuses parts of a log's end for a while: nothing is decided by what cannot be read, and where all is known for
//! all that, the log opens.

use super::super::*;
use super::basics::{SMALL, STORE, open_from, payload, rng};
use super::crash_disk::{CrashDisk, Fault, Survival};
use super::rotten_end::{flip, put};
use crate::env::{Disk, DiskFile, FileName, OpenMode, Volume};

const SECTOR: u32 = 512;

fn create(options: LogOptions) -> (CrashDisk, Log<CrashDisk>) {
    let disk = CrashDisk::default();
    let log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    (disk, log)
}

/// A sector that was refused was forgotten for one behind it that was refused, too, and needed by nobody: what had stood there
/// was taken for torn.
#[test]
fn what_was_refused_stays_so_whatever_can_be_read_behind_it() {
    let (disk, mut log) = create(LogOptions { segment_len: 128 << 10, parity_group_len: 4 << 10, ..SMALL });
    let mut blobs = Vec::new();
    for number in 0..16 {
        blobs.push(log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(number, 984)]).unwrap());
    }
    log.commit(b"note").unwrap();
    drop(log);
    assert_eq!((blobs[0].offset % SECTOR, blobs[1].offset % SECTOR), (0, 496), "a header in two sectors");
    let name = blobs[0].segment.file_name();
    let parity = blobs.windows(2).find(|pair| pair[1].offset - pair[0].offset > 2000).unwrap()[0].offset + 1008;
    let sectors = [blobs[0].offset / SECTOR, parity.div_ceil(SECTOR) + 2].map(|sector| sector as usize);
    sectors.iter().for_each(|sector| disk.spoil(name.as_str(), *sector));
    let opened = open_from(&disk, None);
    assert!(matches!(opened, Err(LogError::Disk(_))), "{:?}", opened.map(|(_, recovery, _)| recovery));
    sectors.iter().for_each(|sector| disk.mend(name.as_str(), *sector));
    assert_eq!(open_from(&disk, None).unwrap().2.len(), 16);
}

/// Where the commit is refused that a checkpoint proves, an older one knows neither its note nor what was removed since.
#[test]
fn no_older_list_counts_while_the_last_commit_is_refused() {
    let (disk, mut log) = create(SMALL);
    let (first, _) = put(&mut log, 1, 900);
    log.roll().unwrap();
    put(&mut log, 2, 900);
    log.settle().unwrap();
    log.remove(first.segment).unwrap();
    let last = log.commit(b"another").unwrap();
    drop(log);
    let (name, sector) = (last.segment.file_name(), (last.end / SECTOR - 1) as usize);
    disk.spoil(name.as_str(), sector);
    for from in [Some(last), None] {
        let opened = open_from(&disk, from);
        assert!(matches!(opened, Err(LogError::Disk(_))), "{:?}", opened.map(|(_, recovery, _)| recovery));
    }
    disk.mend(name.as_str(), sector);
    let (_, recovery, _) = open_from(&disk, Some(last)).unwrap();
    assert_eq!((recovery.note.as_slice(), recovery.missing), (&b"another"[..], vec![]));
}

/// A bit that has rotted, which parity covers, does not keep a log from being opened whose proof is refused.
#[test]
fn a_log_that_rested_opens_without_its_proof_also_where_its_last_batch_has_rotted() {
    for by_checkpoint in [false, true] {
        let (disk, mut log) = create(SMALL);
        let (blob, commit) = put(&mut log, 1, 900);
        log.close().unwrap();
        flip(&disk, blob.segment, blob.offset + 100);
        let name = blob.segment.file_name();
        disk.spoil(name.as_str(), disk.files()[name.as_str()].len() / SECTOR as usize - 1);
        let (log, recovery, _) = open_from(&disk, by_checkpoint.then_some(commit)).unwrap();
        assert_eq!((recovery.torn, recovery.damaged.len()), (None, 0), "{recovery:?}");
        assert_eq!(log.read(blob).unwrap(), payload(1, 900), "by the checkpoint: {by_checkpoint}");
    }
}

/// What an opening writes that copies the batch in doubt, as a power failure in its sync leaves it.
fn copy_torn(disk: &CrashDisk) {
    let other = disk.after_crash(Survival::Everything);
    drop(open_from(&other, None).unwrap());
    let (name, mut bytes) = other.files().into_iter().next_back().unwrap();
    let commit = bytes.windows(4).position(|bytes| bytes == b"note").unwrap();
    bytes.truncate(commit.next_multiple_of(SECTOR as usize));
    let torn = bytes.windows(50).position(|bytes| bytes == &payload(1, 900)[300..350]).unwrap();
    bytes[torn] ^= 4;
    let file = disk.open(Volume::Blocks, &FileName::new(name).unwrap(), OpenMode::CreateNew).unwrap();
    file.write_at(0, &[&bytes]).unwrap();
}

/// Each opening writes a copy of the batch in doubt, and the power fails before that is whole: the first is looked for
/// however many there are.
#[test]
fn a_batch_is_found_behind_any_number_of_torn_copies() {
    let (disk, mut log) = create(SMALL);
    put(&mut log, 1, 900);
    drop(log);
    for _ in 0..80 {
        copy_torn(&disk);
    }
    assert_eq!(open_from(&disk, None).unwrap().2.len(), 1);
}

/// How many records an opening shows that misreads one read, and whether there was such a read. Where it says that something is
/// damaged, or fails, the next looks again.
fn seen_by_misreading(disk: &CrashDisk, at: usize, part: usize) -> (usize, bool) {
    disk.plan(at, Fault::Misread(part));
    let opened = open_from(disk, None);
    let hit = disk.hit();
    disk.plan(usize::MAX, Fault::FailRead);
    let seen = match opened {
        Ok((_, recovery, seen)) if recovery.damaged.is_empty() => seen,
        _ => open_from(disk, None).unwrap().2,
    };
    (seen.len(), hit)
}

/// Also where the disk gives other bytes for one read of the only one that is whole.
#[test]
fn a_batch_is_found_behind_a_torn_copy_whatever_is_misread_once() {
    for part in (0..64).step_by(2) {
        for at in 0.. {
            let (disk, mut log) = create(SMALL);
            put(&mut log, 0, 900);
            put(&mut log, 1, 900);
            drop(log);
            copy_torn(&disk);
            let (seen, hit) = seen_by_misreading(&disk, at, part);
            assert_eq!(seen, 2, "{part} of 64 parts of read {at}");
            if !hit {
                break;
            }
        }
    }
}

/// What a scan looks at in passing, behind the next record's header, is no part of what has rotted before that.
#[test]
fn what_a_crash_tore_is_not_refused_for_a_sector_behind_it() {
    let (disk, mut log) = create(SMALL);
    put(&mut log, 1, 900);
    let torn = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(2, 900)]).unwrap();
    let behind = log.append(RecordKind::Blob, RecordFlags::NONE, &[&payload(3, 8000)]).unwrap();
    log.flush_parity().unwrap();
    drop(log);
    let name = torn.segment.file_name();
    let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    assert!(file.len().unwrap() > u64::from(behind.offset) + 4096, "it is in the file");
    file.write_at(u64::from(torn.offset), &[&[0; 24]]).unwrap();
    disk.spoil(name.as_str(), (behind.offset / SECTOR) as usize + 2);
    let (_, _, seen) = open_from(&disk, None).unwrap();
    assert_eq!(seen.len(), 1);
}

/// Where reads fail for a while as an opening looks what stands behind the last commit, the parity there may be all that restores
/// what has rotted before it.
#[test]
fn parity_is_not_cut_off_for_reads_that_fail_for_a_while() {
    const READS: usize = 40;
    for (count, at) in (1..30).flat_map(|count| (0..=READS).map(move |at| (count, at))) {
        let (disk, mut log) = create(SMALL);
        let (blob, commit) = put(&mut log, 1, 900);
        let proof = log.close().unwrap();
        let file = disk.open(Volume::Blocks, &proof.segment.file_name(), OpenMode::Write).unwrap();
        file.truncate(u64::from(proof.commit)).unwrap();
        flip(&disk, blob.segment, blob.offset + 100);
        disk.plan(at, Fault::FailReads(count));
        drop(open_from(&disk, Some(commit)));
        assert!(at < READS || !disk.hit(), "an opening reads more often than that");
        disk.plan(usize::MAX, Fault::FailRead);
        let (mut log, ..) = open_from(&disk, Some(commit)).unwrap();
        log.repair(blob.segment).unwrap();
        let read = log.read(blob);
        assert!(read.as_ref().is_ok_and(|read| *read == payload(1, 900)), "{count} from the {at}th on: {read:?}");
    }
}

/// An opening to which the disk gives other bytes once, whichever read that is, drops nothing that was acknowledged.
#[test]
fn what_is_misread_once_is_not_taken_for_torn() {
    let cases = [(900, true), (9000, true), (900, false)];
    for (len, is_killed, place) in cases.into_iter().flat_map(|(len, killed)| (0..64).map(move |at| (len, killed, at)))
    {
        for at in 0.. {
            let (disk, mut log) = create(SMALL);
            put(&mut log, 1, 900);
            put(&mut log, 2, len);
            put(&mut log, 3, len);
            if is_killed {
                drop(log);
            } else {
                log.close().unwrap();
            }
            let (seen, hit) = seen_by_misreading(&disk, at, place);
            assert_eq!(seen, 3, "{len} bytes, killed {is_killed}, {place} of 64 parts of read {at}");
            if !hit {
                assert!(at > 10, "it has read");
                break;
            }
        }
    }
}

/// A repair to which the disk refuses what is sound writes none of it: of a whole group of parity, with both its lists, a crash
/// left nothing that anybody could recognise, and nothing could heal.
#[test]
fn a_repair_writes_nothing_over_what_the_disk_refused_for_a_while() {
    const READS: usize = 120;
    let (disk, mut log) = create(SMALL);
    for number in 0..3 {
        put(&mut log, number, 900);
    }
    let (_, last) = put(&mut log, 3, 900);
    log.settle().unwrap();
    disk.take_written();
    for count in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
        for at in 0..=READS {
            disk.plan(at, Fault::FailReads(count));
            let report = log.repair(last.segment);
            let written = disk.take_written();
            assert!(written.is_empty(), "{count} from the {at}th on: {written:?}, {report:?}");
        }
    }
}
