//! An orderly end covers the log with parity, also that of a process which has written nothing itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use ouroboros_engine::env::{Disk, Volume};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Limits, Put, PutOptions, PutSource, Reply, Request, Select};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use ouroboros_sim::disk::{CrashVariant, Damage, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, config, keyring};

/// Found by the simulator (seed 796). The store's first process was killed before it rested, the second one wrote nothing
/// and was closed; then a sector rotted and the index was made anew.
#[test]
fn a_process_that_wrote_nothing_covers_what_the_one_before_it_wrote() {
    let chunker = ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 1024, avg_len: 2048, max_len: 4096 };
    let key = KeyName::new(b"k").unwrap();
    for crash in [false, true] {
        let limits = Limits { replay_len: 1, ..Limits::default() };
        let disk = FaultyDisk::new(FaultPlan::new(1));
        let keys = keyring(1);
        let config = config(&keys, Coding::new(2, 1).unwrap(), chunker);
        drop(Local::create(disk.clone(), config, keys.clone(), limits.clone(), 1).unwrap());
        if crash {
            disk.crash(CrashVariant::AllKept);
        }
        let disk = disk.restart();
        let (mut node, _) = Local::open(disk.clone(), keys.clone(), limits.clone(), 2).unwrap();
        let source = PutSource::Value(Bytes::from_static(b"v"));
        node.ask(Request::Put(vec![Put { key: key.clone(), source, options: PutOptions::default() }])).unwrap();
        drop(node);
        let disk = disk.restart();
        let (node, _) = Local::open(disk.clone(), keys.clone(), limits.clone(), 3).unwrap();
        node.close().unwrap();
        let disk = disk.restart();
        for name in disk.list(Volume::Blocks).unwrap() {
            let len = disk.files(Volume::Blocks).into_iter().find(|(other, _)| *other == name).unwrap().1;
            for sector in 0..len.div_ceil(512) {
                let rotten = disk.snapshot();
                assert!(rotten.damage(Volume::Blocks, &name, sector, Damage::FlippedBit { bit: 0 }));
                rotten.lose_volume(Volume::Index);
                let what = format!("crash {crash}, sector {sector} of {name}");
                let (mut node, opened) = Local::open(rotten, keys.clone(), limits.clone(), 4).unwrap();
                let got = node.ask(Request::Get(vec![(key.clone(), Select::Winner)])).unwrap();
                let Reply::Got(got) = got else { panic!("{got:?}") };
                assert!(got[0].is_ok(), "{what}: {got:?}, {opened:?}");
            }
        }
    }
}
