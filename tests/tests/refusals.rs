//! What a disk refuses now it may give later: nothing is concluded from it, thrown away because of it, or learnt for good.
#![allow(clippy::unwrap_used)]

mod node;
mod picky;

use bytes::Bytes;
use node::{CHUNKER, key, noise};
use ouroboros_engine::env::{Disk, DiskFailure, DiskFile, FileName, OpenMode, Volume};
use ouroboros_engine::id::{EngineRng, Secret};
use ouroboros_engine::keys::{Keyring, MasterSecret};
use ouroboros_engine::node::{
    Damage, DamageOutcome, Event, Failure, Limits, Opened, PurgeTarget, Put, PutOptions, PutSource, Reply, Request,
    Select, Stats, StoreConfig,
};
use ouroboros_engine::seal::Coding;
use ouroboros_engine::store::log::{Log, LogError, LogOptions, RecordFlags, RecordKind, StoreId};
use ouroboros_sim::disk::{Fault, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, config, keyring};
use picky::{Picky, Refuse};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Segments as short as they may be.
fn limits() -> Limits {
    Limits { segment_len: 1, ..Limits::default() }
}

fn store_config() -> StoreConfig {
    config(&keyring(1), Coding::new(2, 1).unwrap(), CHUNKER)
}

/// Stands as it is in its version's record.
fn value(number: u8) -> Bytes {
    noise(number, 3000)
}

fn put(node: &mut Local<Picky>, number: u8) -> Result<(), Failure> {
    let source = PutSource::Value(value(number));
    let put = Put { key: key(&format!("k{number}")), source, options: PutOptions::default() };
    let Reply::Put(mut results) = node.ask(Request::Put(vec![put])).unwrap() else { panic!("no put") };
    results.pop().unwrap().map(drop)
}

/// What there is of each value.
fn there(node: &mut Local<Picky>, count: u8) -> Vec<Result<(), Failure>> {
    let wanted = (0..count).map(|number| (key(&format!("k{number}")), Select::Winner)).collect();
    let Reply::Got(got) = node.ask(Request::Get(wanted)).unwrap() else { panic!("not got") };
    let held = got.into_iter().zip(0..).map(|(got, number)| got.map(|got| assert_eq!(got.inline, Some(value(number)))));
    held.collect()
}

fn all_are_there(node: &mut Local<Picky>, count: u8) {
    let missing: Vec<_> = there(node, count).into_iter().filter_map(Result::err).collect();
    assert!(missing.is_empty(), "{} of {count} are missing: {missing:?}", missing.len());
}

fn stats(node: &mut Local<Picky>) -> Stats {
    let Reply::Stats(stats) = node.ask(Request::Stats).unwrap() else { panic!("no figures") };
    stats
}

fn create(disk: &Picky, limits: Limits, count: u8) -> Local<Picky> {
    let mut node = Local::create(disk.clone(), store_config(), keyring(1), limits, 1).unwrap();
    (0..count).for_each(|number| put(&mut node, number).unwrap());
    node
}

fn open(disk: &Picky, limits: Limits) -> (Local<Picky>, Opened) {
    Local::open(disk.clone(), keyring(1), limits, 2).unwrap()
}

/// A file that a list did not name was taken for a segment that had been removed, and deleted when it could be read again.
#[test]
fn a_segment_that_was_refused_or_missing_at_one_opening_is_there_at_the_next() {
    let away = FileName::new("away").unwrap();
    for (number, missing, drops_index) in [2, 5, 20]
        .into_iter()
        .flat_map(|number| [(number, false, false), (number, true, false), (number, false, true), (number, true, true)])
    {
        let disk = Picky::default();
        create(&disk, limits(), 40).close().unwrap();
        let name = FileName::new(disk.segments()[number].as_str()).unwrap();
        if drops_index {
            disk.drop_index();
        }
        if missing {
            disk.rename(Volume::Blocks, &name, &away).unwrap();
        } else {
            disk.set(Refuse::File(name.to_string()));
        }
        let (mut node, opened) = open(&disk, limits());
        assert!(opened.damaged.iter().any(|place| place.starts_with("segment ")), "{opened:?}");
        if drops_index {
            // Versions of it may be in there.
            let purged = node.ask(Request::Purge(PurgeTarget::Key(key("k0"))));
            assert!(matches!(purged, Err(Failure::Damaged { .. })), "{purged:?}");
        }
        (40..50).for_each(|number| put(&mut node, number).unwrap());
        node.ask(Request::Compact).unwrap();
        node.close().unwrap();
        disk.set(Refuse::Nothing);
        if missing {
            disk.rename(Volume::Blocks, &away, &name).unwrap();
        }
        let (mut node, opened) = open(&disk, limits());
        assert!(opened.damaged.is_empty(), "{opened:?}");
        all_are_there(&mut node, 50);
        node.ask(Request::Compact).unwrap();
        node.close().unwrap();
        disk.drop_index();
        all_are_there(&mut open(&disk, limits()).0, 50);
    }
}

/// A scrub names it as lost, for those who cannot get it back; and who can, may.
#[test]
fn a_missing_segment_is_named_as_lost_and_may_come_back_all_the_same() {
    let disk = Picky::default();
    create(&disk, limits(), 40).close().unwrap();
    disk.drop_index();
    let (name, away) = (FileName::new(disk.segments()[3].as_str()).unwrap(), FileName::new("away").unwrap());
    disk.rename(Volume::Blocks, &name, &away).unwrap();
    let (mut node, _) = open(&disk, limits());
    node.ask(Request::Purge(PurgeTarget::Key(key("k39")))).unwrap_err();
    for (repair, outcome) in [(false, DamageOutcome::Healable), (true, DamageOutcome::Lost)] {
        let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair }).unwrap() else { panic!("no scrub") };
        let is_named =
            |damage: &Damage| damage.place.contains("nothing of it can be read") && damage.outcome == outcome;
        assert!(report.damage.iter().any(is_named), "{report:?}");
    }
    node.ask(Request::Purge(PurgeTarget::Key(key("k39")))).unwrap();
    node.close().unwrap();
    let (node, opened) = open(&disk, limits());
    assert!(!opened.damaged.is_empty(), "it is said again");
    node.close().unwrap();
    disk.rename(Volume::Blocks, &away, &name).unwrap();
    all_are_there(&mut open(&disk, limits()).0, 39);
}

/// Whether a write was acknowledged is not decided by what is refused.
#[test]
fn a_newest_segment_that_is_refused_keeps_a_store_shut_and_is_kept() {
    for closed in [true, false] {
        let disk = Picky::default();
        let node = create(&disk, limits(), 41);
        if closed {
            node.close().unwrap();
        } else {
            drop(node);
        }
        let files = disk.segments();
        disk.set(Refuse::File(files.last().unwrap().clone()));
        assert!(Local::open(disk.clone(), keyring(1), limits(), 2).is_err());
        disk.set(Refuse::Nothing);
        assert!(disk.segments().contains(files.last().unwrap()));
        all_are_there(&mut open(&disk, limits()).0, 41);
    }
}

#[test]
fn a_store_that_is_refused_is_not_taken_for_none() {
    let disk = Picky::default();
    drop(create(&disk, limits(), 1));
    disk.set(Refuse::All);
    let opened = Local::open(disk.clone(), keyring(1), limits(), 2).map(drop).unwrap_err().to_string();
    assert!(opened.contains("input/output error"), "{opened}");
    assert!(Local::create(disk.clone(), store_config(), keyring(1), limits(), 3).is_err());
    disk.set(Refuse::Nothing);
    all_are_there(&mut open(&disk, limits()).0, 1);
}

/// A process that knows its segments needs no header to read them.
#[test]
fn an_index_made_anew_in_service_passes_over_no_segment() {
    let disk = Picky::default();
    create(&disk, limits(), 60).close().unwrap();
    let (mut node, _) = open(&disk, limits());
    // Both headers of one, and a sector with records.
    disk.set(Refuse::Sectors(disk.segments()[1].clone(), [0, 8, 40].into()));
    let index = disk.inner.list(Volume::Index).unwrap().remove(0);
    let file = disk.inner.open(Volume::Index, &index, OpenMode::Write).unwrap();
    let len = file.len().unwrap() as usize;
    file.write_at(20_480, &[&vec![0x55; len - 20_480]]).unwrap();
    there(&mut node, 60);
    node.ask(Request::Compact).unwrap();
    disk.set(Refuse::Nothing);
    node.close().unwrap();
    disk.drop_index();
    all_are_there(&mut open(&disk, limits()).0, 60);
}

/// Who does not know how a log is configured writes no segment that says so, and makes no header good.
#[test]
fn a_log_of_which_no_header_can_be_read_is_not_opened() {
    let disk = Picky::default();
    create(&disk, Limits::default(), 3).close().unwrap();
    let name = disk.segments()[0].clone();
    let file = disk.inner.open(Volume::Blocks, &FileName::new(name.clone()).unwrap(), OpenMode::Write).unwrap();
    let held = || {
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        (bytes, disk.segments())
    };
    let open_log = || {
        let mut rng = EngineRng::from_seed([4; 32]);
        let opened = Log::open(disk.clone(), LogOptions::default(), None, &mut rng, |_, _| true, &mut |_| Ok(()));
        opened.map(drop)
    };
    let before = held();
    // A list of the segments says the same.
    let mark = [b"oRec".as_slice(), &[RecordKind::Segments as u8]].concat();
    let lists = before.0.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark);
    let places: Vec<u64> = [0, 4096].into_iter().chain(lists.map(|(at, _)| at as u64)).collect();
    disk.set(Refuse::Sectors(name, places.iter().map(|at| at / 512).collect()));
    assert!(matches!(open_log(), Err(LogError::Disk(_))), "the disk may give them later");
    disk.set(Refuse::Nothing);
    assert!(held() == before);
    // Nor where they are read, and are not what they were.
    places.iter().for_each(|at| file.write_at(*at, &[&[0; 120]]).unwrap());
    let rotten = held();
    assert_eq!(open_log(), Err(LogError::NoHeader));
    assert!(held() == rotten);
    // A list that has rotted says nothing.
    for at in &places[2..] {
        let list = *at as usize;
        file.write_at(*at, &[&before.0[list..list + 120]]).unwrap();
        // In what it says of the configuration.
        let rotten = !before.0[list + 24 + 1 + 48 + 8];
        file.write_at(*at + 24 + 1 + 48 + 8, &[&[rotten]]).unwrap();
    }
    assert_eq!(open_log(), Err(LogError::NoHeader));
    file.write_at(4096, &[&before.0[4096..8192]]).unwrap();
    all_are_there(&mut open(&disk, Limits::default()).0, 3);
    assert!(held().0[..8192] == before.0[..8192], "one header is enough for both");
}

/// A process that has run out of open files or memory has lost nothing, and remembers nothing as lost.
#[test]
fn what_cannot_be_read_for_want_of_handles_is_not_damaged() {
    let disk = Picky::default();
    let bytes = noise(1, 60_000);
    let mut node = create(&disk, Limits::default(), 40);
    let blob = node::put(&mut node, "chunks", bytes.clone()).id;
    node.close().unwrap();
    let (mut node, _) = open(&disk, Limits::default());
    let unknown = |failure: &Failure| matches!(failure, Failure::Exhausted(why) if why.contains("too many files open"));
    disk.set(Refuse::Exhausted);
    assert!(there(&mut node, 40).iter().all(|there| there.as_ref().is_err_and(unknown)));
    let read = || Request::Read { blob, range: 0..60_000 };
    assert!(node.ask(read()).is_err_and(|failure| unknown(&failure)));
    disk.set(Refuse::Nothing);
    node.ask(Request::GetVersion(blob)).unwrap();
    // From here on its body is known, and its slices are missing.
    disk.set(Refuse::Exhausted);
    let coding = Coding::new(3, 2).unwrap();
    for request in [read(), Request::Scrub { repair: true }, Request::Recode(coding)] {
        let answer = node.ask(request.clone()).map(drop);
        assert!(answer.as_ref().is_err_and(unknown), "{request:?}: {answer:?}");
    }
    disk.set(Refuse::Nothing);
    all_are_there(&mut node, 40);
    assert!(node::get(&mut node, "chunks").unwrap() == bytes);
    assert!(node.events().is_empty());
    // What is taken for lost is sealed once more when it comes again.
    for again in ["again", "and again"] {
        let before = stats(&mut node).log_bytes;
        node::put(&mut node, again, bytes.clone());
        assert!(stats(&mut node).log_bytes - before < 30_000, "it was sealed once more");
        node.close().unwrap();
        node = open(&disk, Limits::default()).0;
    }
}

/// What parity could restore is not lost because it could not be restored just now.
#[test]
fn what_cannot_be_healed_for_want_of_handles_is_not_lost() {
    let disk = Picky::default();
    let bytes = noise(1, 30_000);
    let limits = || Limits { segment_len: 256 << 10, ..Limits::default() };
    let mut node = create(&disk, limits(), 1);
    let blob = node::put(&mut node, "chunks", bytes.clone()).id;
    node::put(&mut node, "others", noise(2, 300_000));
    node.close().unwrap();
    let (mut node, _) = open(&disk, limits());
    node.ask(Request::GetVersion(blob)).unwrap();
    let name = FileName::new(disk.segments()[0].as_str()).unwrap();
    let file = disk.inner.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    // More slices of a seal than its own parity covers.
    let mut sound = vec![0; 40_000];
    file.read_at(12_000, &mut sound).unwrap();
    file.write_at(12_000, &[&[0x55; 40_000]]).unwrap();
    disk.set(Refuse::ExhaustedForWriting);
    let read = node.ask(Request::Read { blob, range: 0..30_000 }).map(drop);
    assert!(matches!(read, Err(Failure::Exhausted(_))), "{read:?}");
    node.settle();
    assert!(!node.events().iter().any(|event| format!("{event:?}").contains("Lost")));
    disk.set(Refuse::Nothing);
    file.write_at(12_000, &[&sound]).unwrap();
    // What is taken for lost is sealed once more when it comes again.
    let before = stats(&mut node).log_bytes;
    node::put(&mut node, "again", bytes.clone());
    assert!(stats(&mut node).log_bytes - before < 20_000, "it was sealed once more");
    assert!(node::get(&mut node, "chunks").unwrap() == bytes);
}

/// What is to be mended is looked at when it can be.
#[test]
fn a_seal_that_cannot_be_mended_for_want_of_handles_is_mended_later() {
    let disk = Picky::default();
    let bytes = noise(1, 60_000);
    let mut node = create(&disk, Limits::default(), 1);
    let blob = node::put(&mut node, "chunks", bytes.clone()).id;
    node.close().unwrap();
    let (mut node, _) = open(&disk, Limits::default());
    node.ask(Request::GetVersion(blob)).unwrap();
    // One slice, or a little more.
    let file = disk.inner.open(Volume::Blocks, &FileName::new(disk.segments()[0].as_str()).unwrap(), OpenMode::Write);
    file.unwrap().write_at(30_000, &[&[0x55; 600]]).unwrap();
    let hand = disk.clone();
    // When it has been read, and before anybody has seen to it.
    node.on_reply(move |_| {
        hand.set(Refuse::Exhausted);
    });
    node.ask(Request::Read { blob, range: 0..60_000 }).unwrap();
    node.settle();
    node.on_reply(|_| {});
    let outcomes = |node: &mut Local<Picky>| -> BTreeSet<String> {
        let outcome = |event| match event {
            Event::Integrity(damage) => Some(format!("{:?}", damage.outcome)),
            _ => None,
        };
        node.events().into_iter().filter_map(outcome).collect()
    };
    assert_eq!(outcomes(&mut node), ["Healable".to_owned()].into());
    assert_eq!(node.engine().held().to_mend, 1);
    disk.set(Refuse::Nothing);
    put(&mut node, 7).unwrap();
    node.settle();
    assert_eq!(outcomes(&mut node), ["Healed".to_owned()].into());
    assert_eq!(node.engine().held().to_mend, 0);
}

/// A batch that was refused is cut off, or disowned by the next commit. Where that cannot be read, a look at the log must not
/// show the batch.
#[test]
fn what_was_refused_stays_so_though_the_commit_that_says_it_is_refused_for_a_while() {
    let mut told = 0;
    for purges in [true, false] {
        for times in (0..3000).step_by(50).chain([u32::MAX]) {
            let disk = Picky::default();
            let mut node = create(&disk, Limits::default(), 1);
            disk.set(Refuse::NextWrite);
            if purges {
                node.ask(Request::Purge(PurgeTarget::Key(key("k0")))).unwrap_err();
            } else {
                put(&mut node, 9).unwrap_err();
            }
            put(&mut node, 1).unwrap();
            let newest = disk.segments().pop().unwrap();
            let file = disk.open(Volume::Blocks, &FileName::new(newest.as_str()).unwrap(), OpenMode::Read).unwrap();
            let sector = file.len().unwrap() / 512 - 1;
            put(&mut node, 2).unwrap();
            drop(node);
            disk.set(Refuse::Times(newest, sector, times));
            let opened = Local::open(disk.clone(), keyring(1), Limits::default(), 2);
            disk.set(Refuse::Nothing);
            let node = match opened {
                // It is said, and set right when the commit can be read.
                Ok((node, opened)) if !opened.damaged.is_empty() => {
                    told += 1;
                    node.close().unwrap();
                    Some(open(&disk, Limits::default()).0)
                }
                Ok((node, _)) => Some(node),
                Err(_) => None,
            };
            let Some(mut node) = node else { continue };
            all_are_there(&mut node, 3);
            let Reply::Got(got) = node.ask(Request::Get(vec![(key("k9"), Select::Winner)])).unwrap() else { panic!() };
            assert!(got[0].is_err(), "refused {times} times: what was answered as failed is there");
        }
    }
    assert!(told > 1);
}

/// A removal that cannot be read may be one: without it, what it removed would be back.
#[test]
fn a_removal_that_cannot_be_read_is_not_purged() {
    let keys = |later: bool| {
        let mut keyring = Keyring::from_master(MasterSecret::new(Secret::new([1; 32])));
        if later {
            keyring.next_group_epoch().unwrap();
        }
        Arc::new(keyring)
    };
    let disk = Picky::default();
    let config = config(&keys(false), Coding::new(2, 1).unwrap(), CHUNKER);
    let mut node = Local::create(disk.clone(), config, keys(false), limits(), 1).unwrap();
    put(&mut node, 0).unwrap();
    node.close().unwrap();
    let (mut node, _) = Local::open(disk.clone(), keys(true), limits(), 2).unwrap();
    let remove = Put { key: key("k0"), source: PutSource::Gone, options: PutOptions::default() };
    node.ask(Request::Put(vec![remove])).unwrap();
    node.close().unwrap();
    disk.drop_index();
    let (mut node, _) = Local::open(disk.clone(), keys(false), limits(), 3).unwrap();
    let log = Request::Log { key: key("k0"), after: None, limit: 9 };
    let Reply::Versions(versions) = node.ask(log).unwrap() else { panic!("no versions") };
    for refused in [Refuse::Nothing, Refuse::All] {
        disk.set(refused);
        let purged = node.ask(Request::Purge(PurgeTarget::Version(versions[0].id)));
        assert!(purged.is_err(), "{purged:?}");
    }
}

/// A write fails half done, and cannot be cut off: what it left must not stand behind the end of a segment that is sealed.
#[test]
fn what_a_failed_write_leaves_is_not_taken_for_history() {
    let options = LogOptions { segment_len: 64 << 10, parity_group_len: 16 << 10, ..LogOptions::default() };
    let mut left = 0;
    for seed in 0..40 {
        let disk = FaultyDisk::new(FaultPlan::new(seed));
        let rng = || EngineRng::from_seed([9; 32]);
        let mut log = Log::create(disk.clone(), options, StoreId([3; 32]), b"c", &mut rng(), |_, _| true).unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&[1; 2000]]).unwrap();
        log.commit(b"").unwrap();
        let now = disk.operations_so_far();
        disk.inject(now, Fault::WriteError);
        disk.inject(now, Fault::MetadataError);
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&[2; 40_000]]).unwrap_err();
        left += usize::from(disk.fault_counts().of(Fault::MetadataError) > 0);
        disk.calm();
        disk.forget_injections();
        log.abandon();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&[3; 50_000]]).unwrap();
        log.commit(b"").unwrap();
        drop(log);
        let mut seen = Vec::new();
        let opened = Log::open(disk.restart(), options, None, &mut rng(), |_, _| true, &mut |view| {
            seen.push(view.payload[0]);
            Ok(())
        });
        assert_eq!((opened.unwrap().1.damaged, seen), (vec![], vec![1, 3]), "seed {seed}");
    }
    assert!(left > 0);
}

/// What a commit disowns may be a copy of what is alive. While that commit cannot be read, what the copy is of must not go.
#[test]
fn nothing_goes_for_a_copy_that_a_commit_disowns_which_is_refused() {
    for compacts in [false, true] {
        let disk = Picky::default();
        create(&disk, limits(), 3).close().unwrap();
        let mut rng = EngineRng::from_seed([4; 32]);
        let mut records = Vec::new();
        let opened = Log::open(disk.clone(), LogOptions::default(), None, &mut rng, |_, _| true, &mut |record| {
            if record.kind == RecordKind::Blob {
                records.push(record.payload.to_vec());
            }
            Ok(())
        });
        let (mut log, recovery) = opened.unwrap();
        // A compaction that was given up has left a copy of the first. The next commit says so.
        log.roll().unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&records[0]]).unwrap();
        log.abandon();
        log.roll().unwrap();
        let said_in = log.append(RecordKind::Blob, RecordFlags::NONE, &[&records[1]]).unwrap().segment;
        log.commit(&recovery.note).unwrap();
        log.roll().unwrap();
        log.append(RecordKind::Blob, RecordFlags::NONE, &[&records[2]]).unwrap();
        log.commit(&recovery.note).unwrap();
        log.close().unwrap();
        disk.drop_index();
        disk.set(Refuse::File(format!("seg-{said_in}.log")));
        let (mut node, opened) = open(&disk, limits());
        assert!(!opened.damaged.is_empty());
        if compacts {
            node.ask(Request::Compact).unwrap();
        }
        node.close().unwrap();
        disk.set(Refuse::Nothing);
        let (mut node, _) = open(&disk, limits());
        all_are_there(&mut node, 3);
    }
}

/// What stood in a segment that is gone for good nobody waits for, once a scrub has said so: the next one may go.
#[test]
fn a_segment_behind_one_that_is_gone_can_be_compacted() {
    let disk = Picky::default();
    create(&disk, limits(), 60).close().unwrap();
    let segments = disk.segments();
    disk.inner.remove(Volume::Blocks, &FileName::new(segments[2].as_str()).unwrap()).unwrap();
    let (mut node, _) = open(&disk, limits());
    for number in 0..60 {
        let _ = node.ask(Request::Purge(PurgeTarget::Key(key(&format!("k{number}")))));
    }
    node.ask(Request::Compact).unwrap();
    assert!(disk.segments().contains(&segments[3]), "nobody has said yet that it is lost");
    node.ask(Request::Scrub { repair: true }).unwrap();
    for number in 0..60 {
        let _ = node.ask(Request::Purge(PurgeTarget::Key(key(&format!("k{number}")))));
    }
    node.ask(Request::Compact).unwrap();
    assert!(!disk.segments().contains(&segments[3]), "{:?}", disk.segments());
}

/// An index that is refused once is not made anew: which seals are lost is known by nothing else.
#[test]
fn an_index_that_is_refused_once_is_kept() {
    let disk = Picky::default();
    create(&disk, limits(), 20).close().unwrap();
    for failure in [DiskFailure::Io("input/output error".into()), DiskFailure::Exhausted("too many files open".into())]
    {
        let (mut opens, mut fails) = (0, 0);
        for granted in 0..20 {
            disk.set(Refuse::IndexRead(granted, failure.clone()));
            let opened = Local::open(disk.clone(), keyring(1), limits(), 2);
            let was_refused = disk.set(Refuse::Nothing);
            let opened = match opened {
                Ok((node, opened)) => {
                    node.close().unwrap();
                    opened
                }
                Err(_) => {
                    fails += 1;
                    let (node, opened) = open(&disk, limits());
                    node.close().unwrap();
                    opened
                }
            };
            opens += u32::from(was_refused);
            assert!(!opened.index_rebuilt, "{failure} after {granted} reads: {opened:?}");
        }
        assert!(opens > 1, "{failure}: {fails} openings failed");
    }
}
