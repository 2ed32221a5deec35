//! What each fault does, and what it leaves alone.

use super::*;

fn next_operation(disk: &FaultyDisk, fault: Fault) {
    disk.inject(disk.operations_so_far(), fault);
}

#[test]
fn an_unreadable_sector_stays_so_until_it_is_wholly_rewritten() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"abc"));
    assert!(disk.damage(Volume::Blocks, &name("a"), 1, Damage::Unreadable));
    for _ in 0..3 {
        assert!(matches!(file.read_at(500, &mut [0; 20]), Err(error) if matches!(error.failure, DiskFailure::Io(_))));
    }
    file.read_at(0, &mut [0; 512]).unwrap();
    file.read_at(2 * S, &mut [0; 512]).unwrap();
    file.write_at(S, &[b"part"]).unwrap();
    assert!(file.read_at(S, &mut [0; 4]).is_err(), "a part of a sector cannot be written without reading the rest");
    file.write_at(S, &[&sectors(b"B")]).unwrap();
    assert_eq!(read(&file).unwrap(), sectors(b"aBc"));
    let after = disk.after_crash(CrashVariant::AllLost);
    let old = after.open(Volume::Blocks, &name("a"), OpenMode::Read).unwrap();
    assert!(read(&old).is_err(), "the rewriting was lost, the damage was not");
}

#[test]
fn an_injected_read_error_is_sticky() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"ab"));
    next_operation(&disk, Fault::ReadError);
    assert!(file.read_at(0, &mut [0; 100]).is_err());
    assert!(file.read_at(0, &mut [0; 100]).is_err());
    assert_eq!(disk.fault_counts().of(Fault::ReadError), 1);
    assert_eq!(disk.damaged_sectors(), [(Volume::Blocks, name("a"), 0)]);
}

#[test]
fn rot_at_rest_changes_the_sector_and_nothing_else() {
    let disk = disk();
    let bytes = sectors(b"abc");
    durable(&disk, "a", &bytes);
    for (damage, expected) in [
        (Damage::FlippedBit { bit: 8 }, {
            let mut b = bytes.clone();
            b[513] ^= 1;
            b
        }),
        (Damage::Zeroed, sectors(b"a\0c")),
        (Damage::ReplacedBy { sector: 2 }, sectors(b"acc")),
    ] {
        let copy = disk.snapshot();
        assert!(copy.damage(Volume::Blocks, &name("a"), 1, damage));
        assert_eq!(contents(&copy, "a").unwrap(), expected, "{damage:?}");
        assert_eq!(copy.damaged_sectors(), [(Volume::Blocks, name("a"), 1)]);
        assert_eq!(contents(&copy.after_crash(CrashVariant::AllLost), "a").unwrap(), expected);
        let file = copy.open(Volume::Blocks, &name("a"), OpenMode::Write).unwrap();
        file.write_at(S, &[&sectors(b"b")]).unwrap();
        assert_eq!(copy.damaged_sectors(), [], "rewriting heals");
        assert!(!copy.damage(Volume::Blocks, &name("a"), 3, damage), "no such sector");
        assert!(!copy.damage(Volume::Blocks, &name("b"), 0, damage), "no such file");
    }
    assert_eq!(contents(&disk, "a").unwrap(), bytes);
}

#[test]
fn rot_in_a_short_last_sector_does_not_reach_beyond_the_end() {
    for bit in [0, 23, 24, 4_095] {
        let disk = disk();
        let file = durable(&disk, "a", b"abc");
        assert!(disk.damage(Volume::Blocks, &name("a"), 0, Damage::FlippedBit { bit }));
        assert_ne!(read(&file).unwrap(), b"abc", "the flip hits a byte that is there");
        file.truncate(600).unwrap();
        assert!(read(&file).unwrap()[3..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn drawn_rot_is_seen_by_the_read_it_strikes() {
    for (fault, expected) in [(Fault::ZeroedSector, sectors(b"\0b")), (Fault::ReplacedSector, sectors(b"bb"))] {
        let disk = disk();
        let file = durable(&disk, "a", &sectors(b"ab"));
        let mut bytes = vec![0; 512];
        // A sector replaced by itself is no strike: the fault waits until it can be one.
        while disk.fault_counts().of(fault) == 0 || bytes == sectors(b"a") {
            next_operation(&disk, fault);
            file.read_at(0, &mut bytes).unwrap();
        }
        assert_eq!(contents(&disk, "a").unwrap(), expected);
    }
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"ab"));
    next_operation(&disk, Fault::FlippedBit);
    let first = read(&file).unwrap();
    assert_eq!(first.iter().zip(sectors(b"ab")).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>(), 1);
    assert_eq!(read(&file).unwrap(), first, "at rest: it stays");
    next_operation(&disk, Fault::FlippedRead);
    assert_ne!(read(&file).unwrap(), first);
    assert_eq!(read(&file).unwrap(), first, "on the way: it does not");
}

#[test]
fn a_misdirected_write_hits_another_place_and_leaves_its_target_unchanged() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"abcdefgh"));
    next_operation(&disk, Fault::MisdirectedWrite);
    file.write_at(2 * S, &[&sectors(b"X")]).unwrap();
    let bytes = read(&file).unwrap();
    assert_eq!(bytes[1_024], b'c', "the target keeps the old bytes");
    let hit = bytes.chunks(SECTOR_LEN).position(|sector| sector == sectors(b"X")).unwrap();
    assert_ne!(hit, 2);
    assert_eq!(bytes.chunks(SECTOR_LEN).filter(|sector| sector[0] == b'X').count(), 1);
    let mut damaged: Vec<_> = disk.damaged_sectors().into_iter().map(|(_, _, sector)| sector as usize).collect();
    damaged.sort_unstable();
    let mut expected = [2, hit];
    expected.sort_unstable();
    assert_eq!(damaged, expected, "both places are known to be wrong");
    assert_eq!(bytes.len(), 8 * SECTOR_LEN);
    file.sync().unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), bytes);
}

#[test]
fn a_misdirected_write_may_hit_another_file() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"abcd"));
    durable(&disk, "b", &sectors(b"efgh"));
    next_operation(&disk, Fault::MisdirectedWriteElsewhere);
    file.write_at(4 * S + 3, &[b"appended"]).unwrap();
    let (a, b) = (contents(&disk, "a").unwrap(), contents(&disk, "b").unwrap());
    assert_eq!(a[..4 * SECTOR_LEN], sectors(b"abcd"));
    assert_eq!(a[4 * SECTOR_LEN..], [0; 11], "the length grew, the data went elsewhere");
    let hit = b.windows(8).position(|window| window == b"appended").unwrap();
    assert_eq!(hit % SECTOR_LEN, 3, "it is a sector's address that is mistaken");
    assert_eq!(b.len(), 4 * SECTOR_LEN);
}

#[test]
fn a_write_with_nowhere_else_to_go_is_not_misdirected() {
    let disk = disk();
    let file = create(&disk, "a");
    next_operation(&disk, Fault::MisdirectedWriteElsewhere);
    file.write_at(0, &[b"first"]).unwrap();
    assert_eq!(read(&file).unwrap(), b"first");
    assert_eq!(disk.fault_counts().total(), 0);
    create(&disk, "b").truncate(10).unwrap();
    file.write_at(0, &[b"x"]).unwrap();
    assert_eq!(disk.fault_counts().of(Fault::MisdirectedWriteElsewhere), 1, "it waited for the write that fits");
}

#[test]
fn a_lost_write_is_reported_as_done() {
    let disk = disk();
    let file = durable(&disk, "a", b"old");
    next_operation(&disk, Fault::LostWrite);
    file.write_at(0, &[b"newer"]).unwrap();
    file.sync().unwrap();
    assert_eq!(read(&file).unwrap(), b"old\0\0");
    assert_eq!(disk.damaged_sectors().len(), 1);
}

#[test]
fn reads_may_be_stale_misdirected_or_short() {
    let disk = FaultyDisk::new(FaultPlan::new(5).inject(1_000_000, Fault::StaleRead));
    let file = durable(&disk, "a", &sectors(b"ab"));
    file.write_at(0, &[&sectors(b"AB")]).unwrap();
    file.sync().unwrap();
    next_operation(&disk, Fault::StaleRead);
    let mut bytes = vec![0; 1_024];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, sectors(b"ab"), "as before the last sync");
    assert_eq!(read(&file).unwrap(), sectors(b"AB"));
    let mut first = vec![0; 512];
    while disk.fault_counts().of(Fault::MisdirectedRead) == 0 {
        next_operation(&disk, Fault::MisdirectedRead);
        file.read_at(0, &mut first).unwrap();
    }
    assert_eq!(first, sectors(b"B"));
    disk.calm();
    next_operation(&disk, Fault::ShortRead);
    assert_eq!(file.read_at(0, &mut bytes).unwrap_err().failure, DiskFailure::Io("short read".to_owned()));
    next_operation(&disk, Fault::EarlyEnd);
    assert!(file.read_at(0, &mut bytes).unwrap() < 1_024);
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), 1_024, "the next read is whole");
}

#[test]
fn a_full_disk_refuses_growth_reads_on_and_works_again_when_space_is_freed() {
    let disk = FaultyDisk::new(FaultPlan::new(1).capacity(2_000));
    let a = durable(&disk, "a", &[1; 1_500]);
    let b = create(&disk, "b");
    assert_eq!(b.write_at(0, &[&[2; 1_000]]).unwrap_err().failure, DiskFailure::Full);
    assert_eq!(read(&b).unwrap(), [2; 500], "what fits is written");
    assert_eq!(disk.used_bytes(), 2_000);
    assert_eq!(b.truncate(501).unwrap_err().failure, DiskFailure::Full);
    a.write_at(0, &[&[3; 1_500]]).unwrap();
    a.sync().unwrap();
    assert_eq!(read(&a).unwrap(), [3; 1_500], "overwriting and reading need no space");
    disk.remove(Volume::Blocks, &name("a")).unwrap();
    assert_eq!(b.write_at(0, &[&[2; 1_000]]).unwrap_err().failure, DiskFailure::Full, "a handle keeps the space");
    drop(a);
    b.write_at(0, &[&[2; 1_000]]).unwrap();
    b.truncate(100).unwrap();
    create(&disk, "c").write_at(0, &[&[4; 1_900]]).unwrap();
    assert_eq!(disk.used_bytes(), 2_000);
}

#[test]
fn a_disk_that_fills_up_stays_full_until_space_is_freed() {
    let disk = disk();
    let file = durable(&disk, "a", &[1; 1_000]);
    next_operation(&disk, Fault::FillsUp);
    assert_eq!(file.write_at(1_000, &[&[2; 1_000]]).unwrap_err().failure, DiskFailure::Full);
    assert_eq!(file.write_at(1_000, &[&[2; 1_000]]).unwrap_err().failure, DiskFailure::Full);
    assert_eq!(disk.fault_counts().of(Fault::FillsUp), 1);
    file.truncate(0).unwrap();
    file.write_at(0, &[&[2; 900]]).unwrap();
    let disk = super::disk();
    let file = create(&disk, "a");
    next_operation(&disk, Fault::Full);
    assert_eq!(file.write_at(0, &[b"abc"]).unwrap_err().failure, DiskFailure::Full);
    file.write_at(0, &[b"abc"]).unwrap();
}

#[test]
fn a_failed_sync_leaves_its_writes_undecided_and_no_later_sync_revives_them() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b".."));
    file.write_at(0, &[&sectors(b"A")]).unwrap();
    next_operation(&disk, Fault::SyncFailure);
    assert!(file.sync().is_err());
    assert_eq!(read(&file).unwrap(), sectors(b"A."), "the cache still shows it");
    file.sync().unwrap();
    file.write_at(S, &[&sectors(b"B")]).unwrap();
    file.sync().unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), sectors(b".B"), "not revived");
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllKept), "a").unwrap(), sectors(b"AB"), "nor surely lost");
    file.write_at(0, &[&sectors(b"C")]).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.undecided_units(), 0, "a later durable write of the same sector decides");
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), sectors(b"CB"));
}

#[test]
fn what_is_synced_after_a_failed_sync_is_durable_even_where_the_file_had_grown() {
    let disk = disk();
    let file = durable(&disk, "a", b"");
    file.write_at(0, &[&sectors(b"AB")]).unwrap();
    next_operation(&disk, Fault::SyncFailure);
    assert!(file.sync().is_err());
    file.write_at(S, &[&sectors(b"C")]).unwrap();
    file.sync().unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), sectors(b"\0C"));
}

#[test]
fn a_failed_sync_may_drop_the_cache() {
    let disk = disk();
    let file = durable(&disk, "a", b"old");
    file.write_at(0, &[b"newer"]).unwrap();
    next_operation(&disk, Fault::SyncFailureDroppingCache);
    assert!(file.sync().is_err());
    assert_eq!(read(&file).unwrap(), b"old");
}

#[test]
fn a_lying_sync_says_done_and_does_nothing() {
    let disk = disk();
    let file = durable(&disk, "a", b"old");
    file.write_at(0, &[b"new"]).unwrap();
    next_operation(&disk, Fault::LyingSync);
    file.sync().unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), b"old");
    file.sync().unwrap();
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), b"new", "an honest one does");
    create(&disk, "b");
    next_operation(&disk, Fault::LyingDirectorySync);
    disk.sync_directory(Volume::Blocks).unwrap();
    assert!(contents(&disk.after_crash(CrashVariant::AllLost), "b").is_none());
    next_operation(&disk, Fault::DirectorySyncFailure);
    assert!(disk.sync_directory(Volume::Blocks).is_err());
    assert!(contents(&disk.after_crash(CrashVariant::AllLost), "b").is_none());
    disk.sync_directory(Volume::Blocks).unwrap();
    assert!(contents(&disk.after_crash(CrashVariant::AllLost), "b").is_some());
}

#[test]
fn a_failed_write_may_be_half_done() {
    let disk = disk();
    let file = durable(&disk, "a", &[0; 1_000]);
    next_operation(&disk, Fault::WriteError);
    assert!(file.write_at(0, &[&[1; 1_000]]).is_err());
    let bytes = read(&file).unwrap();
    let done = bytes.iter().take_while(|byte| **byte == 1).count();
    assert!(done < 1_000 && bytes[done..].iter().all(|byte| *byte == 0));
}

#[test]
fn metadata_operations_may_fail_with_or_without_effect() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..40 {
        let disk = FaultyDisk::new(FaultPlan::new(seed));
        durable(&disk, "a", b"");
        next_operation(&disk, Fault::MetadataError);
        assert!(disk.rename(Volume::Blocks, &name("a"), &name("b")).is_err());
        match (contents(&disk, "a").is_some(), contents(&disk, "b").is_some()) {
            (true, false) => without += 1,
            (false, true) => with += 1,
            other => panic!("a rename is whole: {other:?}"),
        }
    }
    assert!(with > 5 && without > 5);
}

#[test]
fn a_whole_volume_may_be_lost_or_set_back() {
    let disk = disk();
    durable(&disk, "a", b"early");
    let index = disk.open(Volume::Index, &name("i"), OpenMode::CreateNew).unwrap();
    index.write_at(0, &[b"index"]).unwrap();
    let backup = disk.snapshot();
    durable(&disk, "b", b"late");
    let file = disk.open(Volume::Blocks, &name("a"), OpenMode::Write).unwrap();
    file.write_at(0, &[b"later"]).unwrap();
    drop(file);
    disk.restore_volume(Volume::Blocks, &backup);
    assert_eq!(disk.files(Volume::Blocks), [(name("a"), 5)]);
    assert_eq!(contents(&disk, "a").unwrap(), b"early");
    disk.lose_volume(Volume::Blocks);
    assert!(disk.list(Volume::Blocks).unwrap().is_empty());
    assert_eq!(disk.contents(Volume::Index, &name("i")).unwrap(), b"index", "the other volume is untouched");
    assert_eq!(contents(&backup, "a").unwrap(), b"early");
}

#[test]
fn the_power_fails_at_the_sync_that_was_asked_for_and_at_no_other() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"a"));
    disk.crash_at_sync(1);
    file.write_at(0, &[&sectors(b"b")]).unwrap();
    file.sync().unwrap();
    file.write_at(0, &[&sectors(b"c")]).unwrap();
    assert!(matches!(file.sync(), Err(error) if error.failure == DiskFailure::Crashed));
    assert_eq!(disk.fault_counts().of(Fault::Crash), 1);
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), sectors(b"b"));
    assert_eq!(contents(&disk.after_crash(CrashVariant::AllKept), "a").unwrap(), sectors(b"c"));
    // What was called for and not reached is forgotten.
    let other = self::disk();
    let file = durable(&other, "a", &sectors(b"a"));
    other.crash_at_sync(0);
    other.forget_injections();
    file.sync().unwrap();
}

#[test]
fn a_choice_of_the_tape_strikes_where_it_stands_from_the_last_mark_on() {
    let place = Fault::WriteError as u64 + 1;
    let stream = StreamId::new(Purpose::Fault, 0);
    let tape = Tape::replay([((stream, 1000 + 2), place)].into_iter().collect());
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"ab"));
    disk.choose_by(tape, 0);
    // However seldom: a schedule is obeyed.
    disk.set_rate(Fault::WriteError, 1);
    for _ in 0..5 {
        file.write_at(0, &[b"x"]).unwrap();
    }
    disk.mark(1000);
    let outcomes: Vec<bool> = (0..4).map(|_| file.write_at(0, &[b"x"]).is_ok()).collect();
    assert_eq!(outcomes, [true, true, false, true]);
}

#[test]
fn a_disk_that_is_away_answers_nothing_until_it_is_back() {
    let disk = disk();
    let file = durable(&disk, "a", &sectors(b"a"));
    file.write_at(0, &[&sectors(b"A")]).unwrap();
    next_operation(&disk, Fault::Away);
    let mut away = 0;
    while let Err(error) = file.read_at(0, &mut [0; 512]) {
        assert_eq!(error.failure, DiskFailure::Io("no such device".to_owned()));
        away += 1;
        if away == 1 {
            assert!(disk.list(Volume::Blocks).is_err());
            assert!(file.write_at(0, &[&sectors(b"B")]).is_err());
        }
    }
    assert!(away > 1, "this seed's is away for longer");
    assert_eq!(read(&file).unwrap(), sectors(b"A"), "nothing was written meanwhile");
    assert_eq!(disk.fault_counts().of(Fault::Away), away + 2);
    // A sync fails meanwhile as any does, and nothing says so to the next process.
    next_operation(&disk, Fault::Away);
    assert!(file.read_at(0, &mut [0; 512]).is_err() && file.sync().is_err());
    assert!(file.truncate(0).is_err() && file.write_at(0, &[b"taken back"]).is_err());
    while file.read_at(0, &mut [0; 512]).is_err() {}
    assert_eq!(disk.fault_counts().of(Fault::SyncFailure), 1);
    assert_eq!(read(&file).unwrap(), sectors(b"A"), "the system's cache has it still");
    file.sync().unwrap();
    let left = contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap();
    assert_eq!(left, sectors(b"a"), "what the failed sync covered is not revived");
}

#[test]
fn a_longer_sector_is_read_and_made_good_as_a_whole() {
    let disk = FaultyDisk::new(FaultPlan::new(1).physical(8));
    let file = durable(&disk, "a", &[7; 9_000]);
    assert!(disk.damage(Volume::Blocks, &name("a"), 9, Damage::Unreadable));
    for sector in 8..16 {
        assert!(file.read_at(sector * S, &mut [0; 512]).is_err(), "{sector}");
    }
    file.read_at(0, &mut [0; 4_096]).unwrap();
    file.read_at(8_192, &mut [0; 808]).unwrap();
    assert!(file.write_at(9 * S, &[&[8; 512]]).is_err(), "the rest of it cannot be read");
    assert!(file.write_at(4_000, &[&[8; 4_000]]).is_err());
    assert!(file.read_at(9 * S, &mut [0; 512]).is_err(), "nor is it made good by that");
    file.write_at(4_000, &[&[8; 4_192]]).unwrap();
    assert_eq!(read(&file).unwrap()[3_999..4_001], [7, 8]);
    // The last of a file is as long as it is.
    assert!(disk.damage(Volume::Blocks, &name("a"), 17, Damage::Unreadable));
    assert!(file.write_at(17 * S, &[&[9; 296]]).is_err());
    file.write_at(16 * S, &[&[9; 808]]).unwrap();
    assert_eq!(read(&file).unwrap()[8_192..], [9; 808]);
}
