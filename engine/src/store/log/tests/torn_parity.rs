//! The power fails while parity is written, or written again, and a checkpoint says that what it covers is durable: one rotten
//! bit later, all of that is there.

use super::super::*;
use super::basics::{SMALL, STORE, open_from, payload, rng};
use super::crash_disk::{CrashDisk, Fault, Survival};
use super::rotten_end::{flip, put};
use crate::env::{Disk, DiskFile, OpenMode, Volume};

const SEEDS: u8 = 96;

/// Opens a log from a checkpoint, lets it rest, has a bit of a record rot, and has that repaired.
fn rots_and_heals(disk: &CrashDisk, from: LogPosition, blob: (Location, &[u8]), told: &str) {
    let (log, ..) = open_from(disk, Some(from)).unwrap_or_else(|error| panic!("{told}: {error}"));
    let from = log.close().unwrap();
    flip(disk, blob.0.segment, blob.0.offset + 100);
    let (mut log, ..) = open_from(disk, Some(from)).unwrap_or_else(|error| panic!("{told}, rotten: {error}"));
    log.repair(blob.0.segment).unwrap();
    assert!(log.read(blob.0).is_ok_and(|bytes| bytes == blob.1), "{told}: {:?}", log.read(blob.0));
}

/// Where lists of parity stand from a place on.
fn lists_behind(segment: &[u8], from: usize) -> Vec<usize> {
    let is_list = |at: &usize| segment[*at..].starts_with(b"oRec") && segment[at + 4] == RecordKind::ParityList as u8;
    (from..segment.len()).step_by(8).filter(is_list).collect()
}

/// Has the power fail at each operation of an opening, and tells of what is left.
fn each_crash(disk: &CrashDisk, from: Option<LogPosition>, tell: &mut dyn FnMut(&CrashDisk, &str)) {
    for at in 0.. {
        let during = disk.after_crash(Survival::Everything);
        during.plan(at, Fault::Crash);
        drop(open_from(&during, from));
        if !during.hit() {
            break;
        }
        tell(&during, &format!("operation {at}"));
    }
}

#[test]
fn a_segment_that_is_given_its_parity_late_has_it_wherever_the_power_fails() {
    let mut crashes = 0;
    for len in [900, 3000] {
        let disk = CrashDisk::default();
        let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), |_, _| true).unwrap();
        let (blob, _) = put(&mut log, 1, len);
        put(&mut log, 2, 900);
        drop(log);
        let whole = disk.after_crash(Survival::Everything);
        let fresh = open_from(&whole, None).unwrap().0.position();
        let commit = |disk: &CrashDisk| {
            let files = disk.files();
            let file = files.get(fresh.segment.file_name().as_str());
            file.and_then(|bytes| bytes.get(fresh.commit as usize..fresh.end as usize)).map(<[u8]>::to_vec)
        };
        each_crash(&disk, None, &mut |during, told| {
            // A checkpoint may name the fresh segment's commit as soon as that is durable.
            if commit(&during.after_crash(Survival::Nothing)) != commit(&whole) {
                return;
            }
            for seed in 0..SEEDS {
                let after = during.after_crash(Survival::Noise(seed));
                rots_and_heals(&after, fresh, (blob, &payload(1, len)), &format!("{len} bytes, {told}, seed {seed}"));
                crashes += 1;
            }
        });
    }
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn parity_of_a_log_at_rest_outlives_an_opening_that_writes_its_proof_again() {
    let mut crashes = 0;
    for (len, rots, by_checkpoint) in [900, 3000, 14_000]
        .into_iter()
        .flat_map(|len| [(len, Some(1), true), (len, Some(512), true), (len, None, false)])
    {
        let disk = CrashDisk::default();
        let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), |_, _| true).unwrap();
        let (blob, _) = put(&mut log, 1, len);
        let proof = log.close().unwrap();
        match rots {
            Some(1) => flip(&disk, proof.segment, proof.commit + 50),
            // And what stands beside it in its sector, the second list of its parity perhaps.
            Some(rotten) => {
                let file = disk.open(Volume::Blocks, &proof.segment.file_name(), OpenMode::Write).unwrap();
                file.write_at(u64::from(proof.end) - rotten, &[&vec![0xa5; rotten as usize]]).unwrap();
            }
            None => {}
        }
        each_crash(&disk.after_crash(Survival::Everything), by_checkpoint.then_some(proof), &mut |during, told| {
            for seed in 0..SEEDS {
                let after = during.after_crash(Survival::Noise(seed));
                let told = format!("{len} bytes, rot {rots:?}, {told}, seed {seed}");
                rots_and_heals(&after, proof, (blob, &payload(1, len)), &told);
                crashes += 1;
            }
        });
    }
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn parity_behind_an_earlier_segments_history_of_which_no_list_is_left_is_made_again_by_a_repair() {
    let disk = CrashDisk::default();
    let mut log = Log::create(disk.clone(), SMALL, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    let (blob, last) = put(&mut log, 1, 900);
    put(&mut log, 2, 900);
    drop(log);
    let from = open_from(&disk, None).unwrap().0.close().unwrap();
    let sealed = disk.files()[blob.segment.file_name().as_str()].clone();
    let lists = lists_behind(&sealed, last.end as usize);
    assert_eq!(lists.len(), 2);
    lists.iter().for_each(|at| flip(&disk, blob.segment, *at as u32 + 10));
    let (mut log, ..) = open_from(&disk, Some(from)).unwrap();
    assert_eq!(log.repair(blob.segment).unwrap().lost, []);
    assert_eq!(disk.files()[blob.segment.file_name().as_str()], sealed, "byte for byte");
}
