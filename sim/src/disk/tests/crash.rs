//! What a crash keeps and loses.

use super::*;
use std::collections::BTreeSet;

#[test]
fn unsynced_writes_are_lost_or_kept_as_the_variant_says() {
    let disk = disk();
    let file = durable(&disk, "a", b"old");
    file.write_at(0, &[b"new and longer"]).unwrap();
    assert_eq!(read(&file).unwrap(), b"new and longer", "visible at once");
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), b"old");
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllKept), "a").unwrap(), b"new and longer");
    file.sync().unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), b"new and longer");
}

#[test]
fn every_subset_of_unsynced_sectors_can_survive() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"...."));
    file.write_at(0, &[&sectors(b"AB")]).unwrap();
    file.write_at(S, &[&sectors(b"CD")]).unwrap();
    assert_eq!(disk.undecided_units(), 4);
    let seen: BTreeSet<Vec<u8>> = (0..16)
        .map(|mask| {
            let bytes = contents(&disk.after_crash(CrashVariant::ExactSubset(mask)), "a").unwrap();
            (0..4).map(|sector| bytes[sector * SECTOR_LEN]).collect()
        })
        .collect();
    // The second sector may hold any of its three versions, whatever became of the others.
    assert_eq!(seen.len(), 12);
    assert!(seen.contains(b".BD.".as_slice()), "the older write of a sector may be the one that survives");
    assert!(seen.contains(b"AC..".as_slice()));
    let drawn: BTreeSet<_> =
        (0..200).map(|seed| contents(&disk.after_crash(CrashVariant::Subset(seed)), "a").unwrap()).collect();
    assert_eq!(drawn.len(), 12, "drawn subsets reach them all");
}

#[test]
fn a_sector_written_in_parts_survives_as_it_stood() {
    let disk = disk();
    let file = durable(&disk, "a", b"....");
    file.write_at(0, &[b"1"]).unwrap();
    file.write_at(2, &[b"2"]).unwrap();
    let after = |mask| contents(&disk.after_crash(CrashVariant::ExactSubset(mask)), "a").unwrap();
    assert_eq!(after(0b01), b"1...");
    assert_eq!(after(0b10), b"1.2.", "the device was given the whole sector");
}

#[test]
fn size_may_survive_without_data_and_data_without_size() {
    let disk = disk();
    let file = durable(&disk, "a", b"");
    file.write_at(0, &[b"data"]).unwrap();
    assert_eq!(disk.undecided_units(), 2);
    let after = |mask| contents(&disk.after_crash(CrashVariant::ExactSubset(mask)), "a").unwrap();
    assert_eq!(after(0b01), [0; 4]);
    assert_eq!(after(0b10), b"");
    assert_eq!(after(0b11), b"data");
    let after = disk.after_crash(CrashVariant::ExactSubset(0b10));
    let file = after.open(Volume::Blocks, &name("a"), OpenMode::Write).unwrap();
    file.truncate(4).unwrap();
    assert_eq!(read(&file).unwrap(), [0; 4], "data beyond the end does not come back");
}

#[test]
fn a_truncation_is_undecided_until_the_sync() {
    let disk = disk();
    let file = durable(&disk, "a", &[7; 1_000]);
    file.truncate(10).unwrap();
    file.truncate(600).unwrap();
    let lens: Vec<_> = (0..4)
        .map(|mask| contents(&disk.after_crash(CrashVariant::ExactSubset(mask)), "a").unwrap())
        .map(|bytes| (bytes.len(), bytes.iter().filter(|byte| **byte == 7).count()))
        .collect();
    assert_eq!(lens, [(1_000, 1_000), (10, 10), (600, 600), (600, 10)]);
    file.sync().unwrap();
    assert_eq!(
        contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap()[..],
        [[7; 10].as_slice(), &[0; 590]].concat()
    );
}

#[test]
fn torn_sectors_keep_a_prefix() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b".."));
    file.write_at(0, &[&sectors(b"NN")]).unwrap();
    let (mut torn_old, mut torn_noise) = (0, 0);
    for seed in 0..300 {
        let bytes = contents(&disk.after_crash(CrashVariant::Torn(seed)), "a").unwrap();
        for sector in bytes.chunks(SECTOR_LEN) {
            let kept = sector.iter().take_while(|byte| **byte == b'N').count();
            match sector[kept..] {
                [] => {}
                ref rest if rest.iter().all(|byte| *byte == b'.') => torn_old += usize::from(kept > 0),
                _ => torn_noise += usize::from(kept > 0),
            }
        }
    }
    assert!(torn_old > 20 && torn_noise > 20, "{torn_old} with the old rest, {torn_noise} with noise");
}

#[test]
fn names_are_lost_without_a_directory_sync() {
    let disk = disk();
    let file = create(&disk, "a");
    file.write_at(0, &[b"synced"]).unwrap();
    file.sync().unwrap();
    assert!(contents(&disk.after_crash(CrashVariant::AllLost), "a").is_none(), "a synced file without a name");
    disk.sync_directory(Volume::Index).unwrap();
    assert!(contents(&disk.after_crash(CrashVariant::AllLost), "a").is_none(), "the other directory's sync is no help");
    disk.sync_directory(Volume::Blocks).unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), b"synced");
}

#[test]
fn a_rename_without_a_directory_sync_is_undecided_but_whole() {
    let disk = disk();
    durable(&disk, "current", b"old");
    durable(&disk, "next", b"new");
    disk.rename(Volume::Blocks, &name("next"), &name("current")).unwrap();
    assert_eq!(disk.undecided_units(), 1);
    let lost = disk.after_crash(CrashVariant::AllLost);
    assert_eq!(contents(&lost, "current").unwrap(), b"old", "what was replaced is back");
    assert_eq!(contents(&lost, "next").unwrap(), b"new");
    let kept = disk.after_crash(CrashVariant::AllKept);
    assert_eq!(contents(&kept, "current").unwrap(), b"new");
    assert!(contents(&kept, "next").is_none());
    disk.sync_directory(Volume::Blocks).unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "current").unwrap(), b"new");
}

#[test]
fn a_removed_file_may_come_back_until_the_directory_is_synced() {
    let disk = disk();
    durable(&disk, "a", b"bytes");
    disk.remove(Volume::Blocks, &name("a")).unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), b"bytes");
    assert!(contents(&disk.after_crash(CrashVariant::AllKept), "a").is_none());
    disk.sync_directory(Volume::Blocks).unwrap();
    assert!(contents(&disk.after_crash(CrashVariant::AllLost), "a").is_none());
}

#[test]
fn after_a_crash_every_old_handle_fails_and_the_next_life_works() {
    let disk = disk();
    let file = durable(&disk, "a", b"kept");
    let clone = disk.clone();
    disk.crash(CrashVariant::AllLost);
    let crashed =
        |result: Result<(), ouroboros_engine::env::DiskError>| result.unwrap_err().failure == DiskFailure::Crashed;
    let next = disk.recover();
    assert!(crashed(file.len().map(drop)));
    assert!(crashed(file.read_at(0, &mut [0; 4]).map(drop)));
    assert!(crashed(file.write_at(0, &[b"x"])));
    assert!(crashed(file.truncate(0)));
    assert!(crashed(file.sync()));
    assert!(crashed(clone.open(Volume::Blocks, &name("a"), OpenMode::Read).map(drop)));
    assert!(crashed(clone.list(Volume::Blocks).map(drop)));
    assert!(crashed(clone.remove(Volume::Blocks, &name("a"))));
    assert!(crashed(clone.rename(Volume::Blocks, &name("a"), &name("b"))));
    assert!(crashed(clone.sync_directory(Volume::Blocks)));
    assert!(!disk.is_powered() && next.is_powered());
    let file = next.open(Volume::Blocks, &name("a"), OpenMode::Write).unwrap();
    assert_eq!(read(&file).unwrap(), b"kept");
}

#[test]
fn a_killed_process_loses_nothing_and_settles_nothing() {
    let disk = disk();
    let file = durable(&disk, "a", b"old");
    file.write_at(0, &[b"new"]).unwrap();
    let next = disk.restart();
    assert_eq!(file.sync().unwrap_err().failure, DiskFailure::Crashed);
    assert_eq!(contents(&next, "a").unwrap(), b"new");
    assert_eq!(contents(&next.after_crash(CrashVariant::AllLost), "a").unwrap(), b"old");
    let file = next.open(Volume::Blocks, &name("a"), OpenMode::Write).unwrap();
    file.sync().unwrap();
    assert_eq!(contents(&next.after_crash(CrashVariant::AllLost), "a").unwrap(), b"new");
}

/// The loop that enumerations run: a small protocol (write aside, sync, rename, sync directory), crashed at every
/// operation, each with every subset.
#[test]
fn crashing_at_every_operation_finds_the_protocol_sound_and_a_broken_one_broken() {
    fn replace(disk: &FaultyDisk, with_sync: bool) -> Result<(), ouroboros_engine::env::DiskError> {
        let aside = disk.open(Volume::Blocks, &name("aside"), OpenMode::CreateNew)?;
        aside.write_at(0, &[b"new value"])?;
        if with_sync {
            aside.sync()?;
        }
        disk.rename(Volume::Blocks, &name("aside"), &name("value"))?;
        disk.sync_directory(Volume::Blocks)
    }
    let violations = |with_sync: bool| {
        let start = disk();
        durable(&start, "value", b"old value");
        let dry = start.snapshot();
        replace(&dry, with_sync).unwrap();
        let (from, to) = (start.operations_so_far(), dry.operations_so_far());
        let (mut violations, mut states) = (0, 0);
        for operation in from..=to {
            let run = start.snapshot();
            run.crash_at(operation);
            let done = replace(&run, with_sync).is_ok();
            assert_eq!(done, operation == to);
            let units = run.undecided_units();
            assert!(units <= 6);
            for mask in 0..1 << units {
                states += 1;
                let value = contents(&run.after_crash(CrashVariant::ExactSubset(mask)), "value").unwrap();
                let sound = value == b"new value" || (!done && value == b"old value");
                violations += u32::from(!sound);
            }
        }
        assert!(states > 15);
        violations
    };
    assert_eq!(violations(true), 0);
    assert!(violations(false) > 0);
}

#[test]
fn an_undecided_crash_recovers_to_nothing_kept() {
    let disk = disk();
    let file = durable(&disk, "a", b"old");
    disk.crash_at(disk.operations_so_far());
    assert_eq!(file.write_at(0, &[b"new"]).unwrap_err().failure, DiskFailure::Crashed);
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllKept), "a").unwrap(), b"new", "the write under way counts");
    let next = disk.recover();
    assert_eq!(contents(&next, "a").unwrap(), b"old");
    assert_eq!(next.fault_counts().of(Fault::Crash), 1);
}

#[test]
fn what_only_handles_held_is_gone_with_them() {
    for crash in [true, false] {
        let disk = disk();
        let file = durable(&disk, "a", &[1; 700]);
        disk.remove(Volume::Blocks, &name("a")).unwrap();
        disk.sync_directory(Volume::Blocks).unwrap();
        assert_eq!(disk.used_bytes(), 700);
        assert_eq!(disk.snapshot().used_bytes(), 0, "handles do not go along into a copy");
        if crash {
            disk.crash(CrashVariant::AllKept);
        }
        let next = disk.restart();
        assert_eq!(next.used_bytes(), 0);
        drop(file);
        assert_eq!(next.used_bytes(), 0);
    }
}

#[test]
fn a_watcher_is_shown_the_disk_before_every_change_and_nothing_else() {
    use std::sync::{Arc, Mutex};
    let disk = disk();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shared = seen.clone();
    disk.watch(move |number, operation, before| {
        shared.lock().unwrap().push((
            number,
            operation.verb(),
            contents(&before.after_crash(CrashVariant::AllKept), "a"),
        ));
    });
    let file = create(&disk, "a");
    file.write_at(0, &[b"one"]).unwrap();
    read(&file).unwrap();
    file.sync().unwrap();
    disk.snapshot().sync_directory(Volume::Blocks).unwrap();
    disk.unwatch();
    disk.sync_directory(Volume::Blocks).unwrap();
    let seen = seen.lock().unwrap();
    let verbs: Vec<_> = seen.iter().map(|(_, verb, _)| *verb).collect();
    assert_eq!(verbs, ["open", "write", "sync"], "reads change nothing, snapshots are not watched");
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let contents: Vec<_> = seen.iter().map(|(_, _, contents)| contents.as_deref()).collect();
    assert_eq!(contents, [None, Some(b"".as_slice()), Some(b"one".as_slice())]);
}
