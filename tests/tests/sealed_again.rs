//! Content of which something is lost, and which is put again: what cannot be had back is not referred to anew.
#![allow(clippy::unwrap_used)]

mod damage;
mod node;

use damage::{files_of, rot_newest_data, rot_slices, spoil};
use node::{PAGED, create, get, key, noise, put, tight, value};
use ouroboros_engine::env::{Disk, DiskFile, MemoryDisk, OpenMode, Volume};
use ouroboros_engine::node::{Limits, PurgeTarget, PutSource, Reply, Request};
use ouroboros_engine::seal::Coding;
use ouroboros_sim::disk::{FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, config, keyring};

/// What comes between a loss and the put of the same content.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    Read,
    ReadAndKill,
    Scrub,
    ScrubAndClose,
    ScrubAndKill,
    ScrubAndCompact,
    /// By what an index says that knows segments which are gone since.
    ScrubAndStaleIndex,
}

/// Who has lost a version and stores its content once more must not be told that it is there already.
#[test]
fn content_whose_seals_are_lost_is_sealed_again_when_it_is_put_again() {
    use Between::{Read, ReadAndKill, Scrub, ScrubAndClose, ScrubAndCompact, ScrubAndKill, ScrubAndStaleIndex};
    for between in [Read, ReadAndKill, Scrub, ScrubAndClose, ScrubAndKill, ScrubAndCompact, ScrubAndStaleIndex] {
        let disk = MemoryDisk::new();
        let mut node = create(&disk, tight());
        let bytes = noise(1, 60_000);
        put(&mut node, "first", bytes.clone());
        put(&mut node, "beside", noise(3, 100));
        node.close().unwrap();
        node = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap().0;
        // Most of the slices, and not the record of the version.
        match between {
            // Or the index would not know the slices, when it is made anew.
            ScrubAndStaleIndex => rot_slices(&disk),
            _ => spoil(&disk, 0, 14_000, 50_000),
        }
        if !matches!(between, Read | ReadAndKill) {
            let Reply::Scrubbed(report) = node.ask(Request::Scrub { repair: true }).unwrap() else {
                panic!("no scrub")
            };
            assert_eq!(report.lost.len(), 1);
        }
        match between {
            Read => drop(get(&mut node, "first").unwrap_err()),
            ReadAndKill => {
                get(&mut node, "first").unwrap_err();
                drop(node);
                node = Local::open(disk.clone(), keyring(1), tight(), 9).unwrap().0;
            }
            Scrub => {}
            ScrubAndClose => {
                node.close().unwrap();
                node = Local::open(disk.clone(), keyring(1), tight(), 9).unwrap().0;
            }
            ScrubAndKill => {
                drop(node);
                node = Local::open(disk.clone(), keyring(1), tight(), 9).unwrap().0;
            }
            ScrubAndCompact => {
                // One slice of it is sound, and moves.
                node.ask(Request::Purge(PurgeTarget::Key(key("beside")))).unwrap();
                node.ask(Request::Compact).unwrap();
            }
            ScrubAndStaleIndex => {
                node.close().unwrap();
                let index = files_of(&disk, Volume::Index);
                node = Local::open(disk.clone(), keyring(1), tight(), 9).unwrap().0;
                put(&mut node, "away", noise(4, 2_000_000));
                node.ask(Request::Purge(PurgeTarget::Key(key("away")))).unwrap();
                // What is mostly dead goes, and the rest stays where it is.
                node.settle();
                node.close().unwrap();
                for (name, bytes) in index {
                    let file = disk.open(Volume::Index, &name, OpenMode::Write).unwrap();
                    file.truncate(0).unwrap();
                    file.write_at(0, &[&bytes]).unwrap();
                }
                let opened;
                (node, opened) = Local::open(disk.clone(), keyring(1), tight(), 9).unwrap();
                assert!(opened.index_rebuilt, "segments were removed since");
            }
        }
        put(&mut node, "second", bytes.clone());
        assert!(get(&mut node, "second").unwrap() == bytes, "{between:?}");
        // It is the same content.
        assert!(get(&mut node, "first").unwrap() == bytes, "{between:?}");
        // And an index made anew finds what was written last, not what was lost.
        node.close().unwrap();
        for (name, _) in files_of(&disk, Volume::Index) {
            disk.remove(Volume::Index, &name).unwrap();
        }
        node = Local::open(disk.clone(), keyring(1), tight(), 10).unwrap().0;
        assert!(get(&mut node, "second").unwrap() == bytes, "{between:?}");
        node.ask(Request::Compact).unwrap();
        assert!(get(&mut node, "second").unwrap() == bytes, "{between:?}");
    }
}

/// The same of a version with so many seals that pages of references name them.
#[test]
fn a_long_version_of_which_a_read_found_a_part_lost_is_sealed_again_when_it_is_put_again() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    let bytes = noise(1, PAGED);
    put(&mut node, "first", bytes.clone());
    spoil(&disk, 1, 10_000, 400_000);
    get(&mut node, "first").unwrap_err();
    put(&mut node, "second", bytes.clone());
    assert!(get(&mut node, "second").unwrap() == bytes);
}

/// The same where a whole segment is gone, and nobody has looked yet at what it held.
#[test]
fn content_of_a_segment_that_is_gone_is_sealed_again_when_it_is_put_again() {
    let disk = MemoryDisk::new();
    let mut node = create(&disk, tight());
    let bytes = noise(1, 60_000);
    put(&mut node, "first", bytes.clone());
    put(&mut node, "others", noise(2, 2_000_000));
    node.close().unwrap();
    disk.remove(Volume::Blocks, &disk.list(Volume::Blocks).unwrap()[0]).unwrap();
    let (mut node, opened) = Local::open(disk.clone(), keyring(1), tight(), 8).unwrap();
    assert!(!opened.index_rebuilt && !opened.damaged.is_empty(), "{opened:?}");
    put(&mut node, "second", bytes.clone());
    assert!(get(&mut node, "second").unwrap() == bytes);
}

/// What a look has found of slices that wait for their commit says nothing once that has failed.
#[test]
fn a_lost_seal_is_lost_still_where_what_was_sealed_again_did_not_come_to_a_commit() {
    let disk = FaultyDisk::new(FaultPlan::new(1));
    let config = config(&keyring(1), Coding::new(2, 1).unwrap(), node::CHUNKER);
    // What is sealed is in the log at once, and not committed.
    let limits = || Limits { window_len: 1, ..tight() };
    let mut node = Local::create(disk.clone(), config, keyring(1), limits(), 7).unwrap();
    let bytes = noise(1, 60_000);
    put(&mut node, "lost", bytes.clone());
    node.close().unwrap();
    rot_slices(&disk);
    let (mut node, _) = Local::open(disk.clone(), keyring(1), limits(), 8).unwrap();
    put(&mut node, "degraded", noise(2, 60_000));
    get(&mut node, "lost").unwrap_err();
    rot_newest_data(&disk);
    let stream = node.send(Request::PutOpen(Box::new(value("again", PutSource::Stream))));
    node.ask(Request::PutData { stream, data: bytes.clone() }).unwrap();
    // All that may be lost is looked at with whatever is found to be mended.
    let pieces = node.engine().held().to_mend;
    get(&mut node, "degraded").unwrap();
    node.settle();
    assert!(node.engine().held().to_mend < pieces, "nobody has looked");
    disk.set_capacity(Some(disk.used_bytes()));
    let ended = node.ask(Request::PutEnd { stream });
    assert!(matches!(&ended, Ok(Reply::Put(results)) if results[0].is_err()), "{ended:?}");
    disk.set_capacity(None);
    put(&mut node, "again", bytes.clone());
    assert!(get(&mut node, "again").unwrap() == bytes);
}
