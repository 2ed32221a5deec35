//! What cannot be read when it matters: nothing is thrown away that it may speak of, and what the disk gives again is there.
#![allow(clippy::unwrap_used)]

mod damage;
mod node;

use damage::rot_slices;
use node::{PAGED, create, get, key, noise, open_without_index, put, tight, value};
use ouroboros_engine::env::{Disk, DiskFile, FileName, MemoryDisk, OpenMode, Volume};
use ouroboros_engine::id::EngineRng;
use ouroboros_engine::node::{DamageOutcome, Limits, PurgeTarget, PutSource, Reply, Request, ScrubReport};
use ouroboros_engine::seal::Coding;
use ouroboros_engine::store::Location;
use ouroboros_engine::store::log::{Log, LogOptions, RecordKind};
use ouroboros_sim::disk::{Damage, Fault, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, config, keyring};

/// Changes a byte in the payload of the first record of a kind.
fn rot(disk: &MemoryDisk, kind: RecordKind) {
    rot_before(disk, kind, 0);
}

/// And one so far before it that both are in one stripe of parity: neither can be restored.
fn rot_beside(disk: &MemoryDisk, kind: RecordKind) {
    rot_before(disk, kind, 4 * 4096);
}

fn rot_before(disk: &MemoryDisk, kind: RecordKind, before: usize) {
    for name in disk.list(Volume::Blocks).unwrap() {
        let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        let marks = [b"oRec".as_slice(), &[kind as u8]].concat();
        if let Some(at) = bytes.windows(marks.len()).position(|window| window == marks) {
            let at = at + 30 - before;
            return file.write_at(at as u64, &[&[!bytes[at]]]).unwrap();
        }
    }
    panic!("no {kind:?}");
}

#[test]
fn a_compaction_takes_no_policy_along_that_it_cannot_read() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    put(&mut node, "dead", noise(1, 50_000));
    let coding = Coding::new(4, 2).unwrap();
    node.ask(Request::Recode(coding)).unwrap();
    node.ask(Request::Purge(PurgeTarget::Key(key("dead")))).unwrap();
    rot(&disk, RecordKind::Note);
    node.ask(Request::Compact).unwrap();
    node.close().unwrap();
    let mut node = open_without_index(&disk);
    put(&mut node, "new", noise(2, 50_000));
    let Reply::Recoded(report) = node.ask(Request::Recode(coding)).unwrap() else { panic!("not recoded") };
    assert_eq!(report.recoded, 0);
}

#[test]
fn what_a_lost_page_of_references_names_is_kept() {
    let bytes = noise(1, PAGED);
    let disk = MemoryDisk::new();
    let mut node = create(&disk, Limits::default());
    put(&mut node, "paged", bytes.clone());
    put(&mut node, "dead", noise(2, 50_000));
    // Killed before it has parity.
    drop(node);
    rot(&disk, RecordKind::RefPage);
    for name in disk.list(Volume::Index).unwrap() {
        disk.remove(Volume::Index, &name).unwrap();
    }
    let (mut node, opened) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    assert!(!opened.damaged.is_empty());
    for _ in 0..2 {
        let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: true }).unwrap() else { panic!("no scrub") };
        assert!(report.lost.is_empty() && !report.damage.is_empty(), "{report:?}");
        node.ask(Request::Purge(PurgeTarget::Key(key("dead")))).unwrap();
        node.ask(Request::Compact).unwrap();
        assert!(get(&mut node, "paged").unwrap() == bytes);
        put(&mut node, "dead", noise(2, 50_000));
    }
}

#[test]
fn a_scrub_misses_the_seals_that_pages_of_references_name() {
    let bytes = noise(1, PAGED);
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    let paged = put(&mut node, "paged", bytes.clone());
    node.close().unwrap();
    for name in disk.list(Volume::Index).unwrap() {
        disk.remove(Volume::Index, &name).unwrap();
    }
    disk.remove(Volume::Blocks, &disk.list(Volume::Blocks).unwrap()[2]).unwrap();
    let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: true }).unwrap() else { panic!("no scrub") };
    assert!(report.lost.contains(&paged.id), "{report:?}");
    // Also of those of which no slice is left, and the index knows nothing.
    let place = format!("version {}: damaged beyond repair: seal", paged.id);
    assert!(report.damage.iter().any(|damage| damage.place.starts_with(&place)), "{report:?}");
}

#[test]
fn a_scrub_names_the_versions_whose_pages_name_what_is_lost() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    let paged = put(&mut node, "paged", noise(1, PAGED));
    let sound = put(&mut node, "sound", noise(2, 100));
    node.close().unwrap();
    rot_slices(&disk);
    let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: true }).unwrap() else { panic!("no scrub") };
    assert!(report.lost.contains(&paged.id) && !report.lost.contains(&sound.id), "{:?}", report.lost);
}

/// Length of a record's header, in bytes (docs/FORMAT.md).
const RECORD_HEADER: u64 = 24;
/// Length of a sector, in bytes.
const SECTOR: u64 = 512;

/// Where all slices in a log lie.
fn slices(disk: &FaultyDisk) -> Vec<Location> {
    let mut found = Vec::new();
    let mut rng = EngineRng::from_seed([9; 32]);
    let opened = Log::open(disk.snapshot(), LogOptions::default(), None, &mut rng, |_, _| true, &mut |record| {
        found.extend((record.kind == RecordKind::Slice).then_some(record.location));
        Ok(())
    });
    opened.unwrap();
    found
}

fn scrub(node: &mut Local<FaultyDisk>) -> ScrubReport {
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: true }).unwrap() else { panic!("no scrub") };
    report
}

/// The index was made while the disk refused more slices of a seal than its parity covers. A scrub must not say of them that
/// they are nothing: no row of the index knows them, and without them there is nothing to be had. Nor must a compaction.
#[test]
fn slices_that_the_disk_refused_are_there_once_it_gives_them_again() {
    for compacts in [false, true] {
        slices_are_there_again(compacts);
    }
}

fn slices_are_there_again(compacts: bool) {
    let bytes = noise(1, 600_000);
    let (disk, refused) = refused_slices(&[&bytes], &tight());
    let (mut node, opened) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    assert!(opened.index_rebuilt, "{opened:?}");
    get(&mut node, "0").unwrap_err();
    let report = scrub(&mut node);
    assert!(report.damage.iter().any(|damage| damage.outcome == DamageOutcome::Harmless), "all are named as lost");
    get(&mut node, "0").unwrap_err();
    give_again(&disk, &refused);
    if compacts {
        node.ask(Request::Purge(PurgeTarget::Key(key("beside")))).unwrap();
        node.ask(Request::Compact).unwrap();
    } else {
        scrub(&mut node);
    }
    assert!(get(&mut node, "0").unwrap() == bytes);
}

/// And so where there are more of them than are remembered one by one, and those that are cannot be read yet.
#[test]
fn slices_of_which_nothing_is_remembered_are_there_once_the_disk_gives_them_again() {
    for reopens in [false, true] {
        let values = [noise(1, 600_000), noise(2, 600_000)];
        let limits = Limits { damaged_places: 1, ..tight() };
        let (disk, mut refused) = refused_slices(&[&values[0], &values[1]], &limits);
        let (mut node, _) = Local::open(disk.clone(), keyring(1), limits.clone(), 8).unwrap();
        scrub(&mut node);
        get(&mut node, "1").unwrap_err();
        let named = refused[0].0.clone();
        refused.retain(|(name, ..)| *name != named);
        give_again(&disk, &refused);
        node.ask(Request::Purge(PurgeTarget::Key(key("beside")))).unwrap_err();
        node.ask(Request::Compact).unwrap();
        if reopens {
            node.close().unwrap();
            node = Local::open(disk, keyring(1), limits, 9).unwrap().0;
        } else {
            scrub(&mut node);
        }
        assert!(get(&mut node, "1").unwrap() == values[1]);
    }
}

/// Files, sectors of theirs that a disk refuses to read, and what those hold.
type Refused = Vec<(FileName, u64, Vec<u8>)>;

/// A store of some values, without an index, on a disk that refuses all their slices.
fn refused_slices(values: &[&bytes::Bytes], limits: &Limits) -> (FaultyDisk, Refused) {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let config = config(&keyring(1), Coding::new(2, 1).unwrap(), node::CHUNKER);
    let mut node = Local::create(disk.clone(), config, keyring(1), limits.clone(), 7).unwrap();
    for (number, value) in values.iter().enumerate() {
        put(&mut node, &number.to_string(), (*value).clone());
    }
    put(&mut node, "beside", noise(3, 100));
    node.close().unwrap();
    let disk = disk.restart();
    for name in disk.list(Volume::Index).unwrap() {
        disk.remove(Volume::Index, &name).unwrap();
    }
    let mut refused = Vec::new();
    for slice in slices(&disk) {
        let name = FileName::new(format!("seg-{}.log", slice.segment)).unwrap();
        let whole = disk.contents(Volume::Blocks, &name).unwrap();
        // What stands in the sector of the record's header can be read: for some that is all of the slice's own header.
        let from = (u64::from(slice.offset) + RECORD_HEADER).div_ceil(SECTOR);
        let to = (u64::from(slice.offset) + RECORD_HEADER + u64::from(slice.len)) / SECTOR;
        for sector in from..to {
            let range = (sector * SECTOR) as usize..((sector + 1) * SECTOR) as usize;
            refused.push((name.clone(), sector, whole[range].to_vec()));
            assert!(disk.damage(Volume::Blocks, &name, sector, Damage::Unreadable));
        }
    }
    (disk, refused)
}

/// A sector that is written whole can be read again.
fn give_again(disk: &FaultyDisk, refused: &Refused) {
    for (name, sector, bytes) in refused {
        let file = disk.open(Volume::Blocks, name, OpenMode::Write).unwrap();
        file.write_at(sector * SECTOR, &[bytes]).unwrap();
    }
}

/// Whoever looks needs no room on the disk, whatever there is to be seen.
#[test]
fn a_look_at_what_is_lost_needs_no_room() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let config = config(&keyring(1), Coding::new(2, 1).unwrap(), node::CHUNKER);
    let mut node = Local::create(disk.clone(), config, keyring(1), tight(), 7).unwrap();
    put(&mut node, "v", noise(1, 60_000));
    node.close().unwrap();
    let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    let stream = node.send(Request::PutOpen(Box::new(value("stream", PutSource::Stream))));
    node.ask(Request::PutData { stream, data: noise(2, 100) }).unwrap();
    let (name, _) = disk.files(Volume::Blocks).remove(0);
    for sector in 30..120 {
        assert!(disk.damage(Volume::Blocks, &name, sector, Damage::Unreadable));
    }
    disk.set_capacity(Some(disk.used_bytes()));
    get(&mut node, "v").unwrap_err();
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: false }).unwrap() else { panic!("no scrub") };
    assert_eq!(report.lost.len(), 1);
    disk.set_capacity(None);
    node.ask(Request::PutEnd { stream }).unwrap();
}

/// Of what has no parity on the disk yet, the process that wrote it has it in memory.
#[test]
fn a_record_that_rots_before_it_has_parity_is_healed_by_who_wrote_it() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    let bytes = noise(1, 60_000);
    put(&mut node, "fresh", bytes.clone());
    rot(&disk, RecordKind::Blob);
    assert!(get(&mut node, "fresh").unwrap() == bytes);
    drop(node);
    let (mut node, opened) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    assert!(opened.damaged.is_empty(), "{opened:?}");
    assert!(get(&mut node, "fresh").unwrap() == bytes);
}

/// What only a record that cannot be read referred to goes with it unasked.
#[test]
fn what_a_purged_record_that_cannot_be_read_referred_to_goes_unasked() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    put(&mut node, "go", noise(1, 60_000));
    rot(&disk, RecordKind::Blob);
    rot_beside(&disk, RecordKind::Blob);
    get(&mut node, "go").unwrap_err();
    node.ask(Request::Purge(PurgeTarget::Key(key("go")))).unwrap();
    for number in 0..3 {
        put(&mut node, "next", noise(number, 10));
        node.settle();
    }
    let Reply::Stats(stats) = node.ask(Request::Stats).unwrap() else { panic!("no figures") };
    assert_eq!(stats.seals, 0);
}

/// Whichever read of the disk gives other bytes than stand there: nobody is told of damage.
#[test]
fn a_version_that_is_misread_once_is_read_again() {
    for len in [100, 60_000] {
        let bytes = noise(1, len);
        let disk = FaultyDisk::new(FaultPlan::new(1));
        let config = config(&keyring(1), Coding::new(2, 1).unwrap(), node::CHUNKER);
        let mut node = Local::create(disk.clone(), config, keyring(1), tight(), 7).unwrap();
        put(&mut node, "v", bytes.clone());
        node.close().unwrap();
        for read in 0.. {
            let disk = disk.restart();
            let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
            let before = disk.operations_so_far();
            disk.inject(before + read, Fault::FlippedRead);
            let got = get(&mut node, "v").unwrap_or_else(|error| panic!("{len} bytes, read {read}: {error:?}"));
            assert!(got == bytes, "{len} bytes, read {read}");
            if disk.operations_so_far() <= before + read {
                assert!(read > 0);
                break;
            }
        }
    }
}

/// The file of the first segment, what is in it, and how the record of a slice begins.
fn first_segment(disk: &MemoryDisk) -> (<MemoryDisk as Disk>::File, Vec<u8>, Vec<u8>) {
    let name = disk.list(Volume::Blocks).unwrap().into_iter().next().unwrap();
    let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    let mut log = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut log).unwrap();
    (file, log, [b"oRec".as_slice(), &[RecordKind::Slice as u8]].concat())
}

/// A slice that could not be restored when the index was made, for another block of its stripe was refused for a while.
#[test]
fn a_slice_that_is_restored_later_is_known_again() {
    let disk = MemoryDisk::new();
    let config = config(&keyring(1), Coding::new(1, 0).unwrap(), node::CHUNKER);
    let mut node = Local::create(disk.clone(), config, keyring(1), tight(), 1).unwrap();
    let bytes = noise(1, 50_000);
    put(&mut node, "a", bytes.clone());
    put(&mut node, "b", noise(2, 50_000));
    node.close().unwrap();
    let (file, log, marks) = first_segment(&disk);
    let at = log.windows(marks.len()).position(|window| window == marks).unwrap() + 30;
    // Two blocks of one stripe, of which one is sound again later.
    let [slice, other] = [at, at + 4 * 4096];
    [slice, other].iter().for_each(|at| file.write_at(*at as u64, &[&[!log[*at]]]).unwrap());
    for name in disk.list(Volume::Index).unwrap() {
        disk.remove(Volume::Index, &name).unwrap();
    }
    let (mut node, opened) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    assert_eq!(opened.damaged.len(), 1, "{opened:?}");
    assert!(get(&mut node, "a").is_err());
    file.write_at(other as u64, &[&[log[other]]]).unwrap();
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: true }).unwrap() else { panic!("no scrub") };
    assert!(report.lost.is_empty(), "{report:?}");
    assert!(get(&mut node, "a").unwrap() == bytes);
    node.ask(Request::Purge(PurgeTarget::Key(key("b")))).unwrap();
    node.ask(Request::Compact).unwrap();
    assert!(get(&mut node, "a").unwrap() == bytes);
}

/// Two slices of a seal that lie side by side have rotted, which the log's parity covers: who only looks does not call it lost, and
/// who codes it anew has it made good first.
#[test]
fn what_the_logs_parity_covers_is_lost_for_nobody() {
    // In its payload, or its header.
    for (recodes, at_byte) in [(false, 1000), (true, 1000), (false, 30), (true, 30)] {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, tight());
        let bytes = noise(1, 6_000);
        put(&mut node, "a", bytes.clone());
        node.close().unwrap();
        let (file, log, marks) = first_segment(&disk);
        let slices = log.windows(marks.len()).enumerate().filter(|(_, window)| *window == marks).map(|(at, _)| at);
        // Three seals, slice by slice.
        for at in slices.step_by(3).take(2).map(|at| at + at_byte) {
            file.write_at(at as u64, &[&[!log[at]]]).unwrap();
        }
        let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
        if recodes {
            let reply = node.ask(Request::Recode(Coding::new(4, 2).unwrap())).unwrap();
            let Reply::Recoded(report) = reply else { panic!("not recoded") };
            assert_eq!((report.recoded, report.damaged), (3, vec![]));
        } else {
            let reply = node.ask(Request::Scrub { repair: false }).unwrap();
            let Reply::Scrubbed(report) = reply else { panic!("no scrub") };
            assert!(report.lost.is_empty() && !report.damage.is_empty(), "{report:?}");
            assert!(report.damage.iter().all(|damage| damage.outcome == DamageOutcome::Healable), "{report:?}");
        }
        assert!(get(&mut node, "a").unwrap() == bytes);
    }
}

#[test]
fn a_page_of_references_that_the_logs_parity_covers_is_lost_for_nobody() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    put(&mut node, "paged", noise(1, PAGED));
    node.close().unwrap();
    rot(&disk, RecordKind::RefPage);
    let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: false }).unwrap() else { panic!("no scrub") };
    assert!(!report.damage.is_empty(), "{report:?}");
    assert!(report.damage.iter().all(|damage| damage.outcome == DamageOutcome::Healable), "{report:?}");
}

/// Who only looks says so where nothing can be restored.
#[test]
fn what_no_parity_covers_is_lost_for_who_only_looks() {
    for redundancy in [Coding::new(1, 0).unwrap(), Coding::new(1, 1).unwrap()] {
        let disk = MemoryDisk::new();
        let config = config(&keyring(1), redundancy, node::CHUNKER);
        let mut node = Local::create(disk.clone(), config, keyring(1), tight(), 1).unwrap();
        put(&mut node, "a", noise(1, 50_000));
        put(&mut node, "small", noise(2, 10));
        node.close().unwrap();
        let (file, log, marks) = first_segment(&disk);
        for at in log.windows(marks.len()).enumerate().filter(|(_, window)| *window == marks).map(|(at, _)| at + 1000) {
            file.write_at(at as u64, &[&[!log[at]]]).unwrap();
        }
        let (mut node, _) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
        let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: false }).unwrap() else { panic!("no scrub") };
        assert_eq!(report.lost.len(), 1, "{report:?}");
        assert!(report.damage.iter().any(|damage| damage.outcome == DamageOutcome::Lost), "{report:?}");
        assert_eq!(get(&mut node, "small").unwrap(), noise(2, 10));
    }
}
