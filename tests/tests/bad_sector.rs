//! A sector of the index's file that goes bad for good, on a disk that reads and writes no less than eight at once: what covers
//! but a part of those is refused, to whoever reads and to whoever writes.
#![allow(clippy::unwrap_used)]

mod shelf;

use ouroboros_engine::env::Volume;
use ouroboros_engine::node::{Failure, Limits, Put, PutOptions, PutSource, Reply, Request, Written};
use ouroboros_sim::disk::{Damage, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, keyring};

const TOGETHER: u64 = 8;
const OVERLAY_LEN: usize = 16 << 10;

fn limits() -> Limits {
    Limits { index_overlay_len: OVERLAY_LEN, ..shelf::limits() }
}

/// A put that meets one of the pages there may fail. That ends.
fn put(node: &mut Local<FaultyDisk>, number: u32) -> Written {
    for attempt in 0.. {
        let source = PutSource::Value(shelf::content(3000, number));
        let put = Put { key: shelf::key(&format!("small {number}")), source, options: PutOptions::default() };
        let put = node.ask(Request::Put(vec![put])).and_then(|reply| match reply {
            Reply::Put(mut results) => results.pop().unwrap(),
            other => panic!("{other:?} is no answer to a put"),
        });
        match put {
            Ok(written) => return written,
            Err(failure) => assert!(attempt < 3 && matches!(failure, Failure::Index(_)), "{failure:?}"),
        }
    }
    unreachable!("it is put, or panics")
}

#[test]
fn wherever_a_sector_of_the_index_goes_bad_it_takes_what_comes_and_is_closed_in_order() {
    let disk = FaultyDisk::new(FaultPlan::new(3).physical(TOGETHER));
    let mut node = shelf::create(&disk, limits());
    let before: Vec<Written> = (0..60).map(|number| put(&mut node, number)).collect();
    node.close().unwrap();
    let (name, len) = disk.files(Volume::Index).pop().unwrap();
    // Few puts wait for the closing to write them.
    let all = (3..len / 512).step_by(TOGETHER as usize);
    for (sector, puts) in all.flat_map(|sector| [(sector, 1), (sector, 5), (sector, 70)]) {
        let disk = disk.snapshot();
        let (mut node, _) = Local::open(disk.clone(), keyring(shelf::KEYRING), limits(), 9).unwrap();
        assert!(disk.damage(Volume::Index, &name, sector, Damage::Unreadable));
        let after: Vec<Written> = (60..60 + puts).map(|number| put(&mut node, number)).collect();
        let closed = node.ask(Request::Close);
        assert!(matches!(closed, Ok(Reply::Closed)), "{puts} puts, sector {sector}: {closed:?}");
        // What is written behind the last flush may meet the place first: then the index is as after a crash.
        if let Err(failure) = node.shut_down() {
            assert!(puts < 70 && matches!(failure, Failure::Disk(_)), "{puts} puts, sector {sector}: {failure:?}");
        }
        let (mut node, opened) = Local::open(disk, keyring(shelf::KEYRING), limits(), 10).unwrap();
        assert!(opened.replayed == 0 || opened.index_rebuilt, "sector {sector}: {opened:?}");
        for (number, version) in (0..).zip(before.iter().chain(&after)) {
            assert_eq!(shelf::read(&mut node, version.id).unwrap().2, shelf::content(3000, number), "sector {sector}");
        }
    }
}
