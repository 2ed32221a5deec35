//! Rot, by enumeration (promise P2): for every sector of every file of a store, zeroed, one bit flipped, replaced by
//! another sector of the file, unreadable. Every read gives the exact bytes or an error that names what is damaged, and
//! a scrub makes the log what it was, byte for byte.
//!
//! The tests without mark take every n-th case; those marked `ignore` take them all, and `.ci/long` runs them:
//! `cargo test --profile sim -p ouroboros-tests --test sector_rot -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod rot;
mod shelf;

use ouroboros_engine::env::{Disk, Volume};
use ouroboros_engine::node::Limits;
use ouroboros_sim::disk::FaultyDisk;
use ouroboros_sim::local::Local;
use rot::slices::{self, Seal};
use rot::{Case, Demand, Kind, Outcome, SECTOR, Store, run, run_all};
use shelf::{Shelf, Size};

const SIZE: Size = Size { spread_len: 300_000, middle_len: 30_000, small: 40 };
/// Most sectors in a row that are damaged together: 4 KiB.
const BURST: u64 = 8;

/// Every run of `count` sectors that starts at every `step`-th sector of a volume's files, in every way.
fn bursts(store: &Store, volume: Volume, (count, step): (u64, usize), without_index: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, first) in store.sectors(volume).into_iter().step_by(step) {
        let sectors = store.files[&(volume, file.clone())].len().div_ceil(SECTOR) as u64;
        for kind in Kind::ALL {
            let count = count.min(sectors - first);
            cases.push(Case { volume, file: file.clone(), first, count, kind, without_index });
        }
    }
    cases
}

fn singles(store: &Store, volume: Volume, without_index: bool) -> Vec<Case> {
    bursts(store, volume, (1, 1), without_index)
}

/// Every `step`-th. With an odd step, each kind of damage gets its share.
fn thinned(cases: Vec<Case>, step: usize) -> Vec<Case> {
    cases.into_iter().step_by(step).collect()
}

fn check(what: &str, store: &Store, cases: &[Case], demand: Demand) {
    let sectors = cases.iter().map(|case| (&case.file, case.first)).collect::<std::collections::BTreeSet<_>>().len();
    conclude(what, &format!("sectors: {sectors}, cases: {}", cases.len()), &run(store, cases, demand));
}

fn conclude(what: &str, counts: &str, outcome: &Outcome) {
    println!("{what}: {counts}, {outcome}");
    for (remark, count) in &outcome.remarks {
        println!("    {count} x {remark}");
    }
    for violation in outcome.violations.iter().take(40) {
        println!("    VIOLATION {violation}");
    }
    assert!(outcome.violations.is_empty(), "{what}: {} violations", outcome.violations.len());
}

/// Single sectors, every `step`-th case of each check.
fn enumerate(step: usize) {
    let store = Store::make(SIZE, shelf::limits(), true);
    let log = thinned(singles(&store, Volume::Blocks, false), step);
    check("a sector of the log", &store, &log, Demand::Whole);
    let log = thinned(singles(&store, Volume::Blocks, true), 3 * step);
    check("a sector of the log, and all of the index", &store, &log, Demand::Whole);
    let index = thinned(singles(&store, Volume::Index, false), step);
    check("a sector of the index", &store, &index, Demand::Whole);
}

/// Damage to several sectors in a row, and to a store that was not closed: every `step`-th case of each.
fn enumerate_further(step: usize) {
    let killed = Store::make(SIZE, shelf::limits(), false);
    let log = thinned(singles(&killed, Volume::Blocks, false), 3 * step);
    check("a sector of the log of a store that was not closed", &killed, &log, Demand::Named);
    let index = thinned(singles(&killed, Volume::Index, false), 5 * step);
    check("a sector of the index of a store that was not closed", &killed, &index, Demand::Whole);

    let store = Store::make(SIZE, shelf::limits(), true);
    let log = thinned(bursts(&store, Volume::Blocks, (BURST - 1, 3), false), 3 * step);
    // Where a window holds few small seals, two slices of one may lie as close as this: then the loss is named.
    check("7 sectors of the log in a row", &store, &log, Demand::Named);
    let log = thinned(bursts(&store, Volume::Blocks, (BURST, 3), true), 3 * step);
    check("8 sectors of the log in a row, and all of the index", &store, &log, Demand::Named);
}

#[test]
fn a_rotten_sector_anywhere_costs_nothing_and_a_scrub_restores_every_byte() {
    enumerate(101);
    enumerate_further(101);
}

#[test]
#[ignore = "all of it: minutes"]
fn every_sector_in_every_way() {
    enumerate(1);
}

#[test]
#[ignore = "all of it: minutes"]
fn bursts_of_sectors_and_stores_that_were_not_closed() {
    enumerate_further(1);
}

/// Opening healed the parity of the last batch, and records with it, after it had shown what it could read: they were
/// whole on disk, in no list of keys, and nobody said so.
#[test]
fn records_that_opening_heals_at_the_end_of_the_log_are_in_the_index() {
    let store = Store::make(SIZE, shelf::limits(), true);
    let last = store.sectors(Volume::Blocks).pop().unwrap().0;
    let mut cases = bursts(&store, Volume::Blocks, (BURST, 1), true);
    cases.retain(|case| case.file == last);
    check("8 sectors at the end of the log, and all of the index", &store, &thinned(cases, 3), Demand::Named);
}

/// Slices, every `step`-th of all.
fn lose_slices(step: usize) {
    let store = Store::make(SIZE, shelf::limits(), true);
    let seals = slices::seals(&store);
    let live = slices::live(&store, &seals);
    assert!(live.len() > seals.len() / 2 && live.len() < seals.len(), "{} of {}", live.len(), seals.len());
    let each = |seal: &'_ Seal| seal.slices.keys().copied().collect::<Vec<u8>>();
    let ones: Vec<(&Seal, u8)> =
        seals.iter().flat_map(|seal| each(seal).into_iter().map(move |index| (seal, index))).step_by(step).collect();
    let outcome = run_all(&ones, |(seal, index)| slices::lose_one(&store, seal, *index, live.contains(&seal.id)));
    conclude("a whole slice", &format!("seals: {}, cases: {}", seals.len(), ones.len()), &outcome);
    let pairs = |seal: &'_ Seal| {
        let last = (seal.slices.len() - 1) as u8;
        [(0, last), (0, 1), (last / 2, last)].into_iter().filter(|(a, b)| a != b).collect::<Vec<_>>()
    };
    let twos: Vec<(&Seal, (u8, u8))> = seals
        .iter()
        .filter(|seal| live.contains(&seal.id))
        .flat_map(|seal| pairs(seal).into_iter().map(move |pair| (seal, pair)))
        .step_by(step)
        .collect();
    let outcome = run_all(&twos, |(seal, pair)| slices::lose_two(&store, seal, *pair));
    conclude("two slices of one seal", &format!("cases: {}", twos.len()), &outcome);
    assert!(outcome.named > 0, "two slices of a seal are more than 8+1 covers");
}

#[test]
fn one_lost_slice_of_a_seal_heals_and_two_are_named() {
    lose_slices(17);
}

#[test]
#[ignore = "all of it: a minute"]
fn every_slice_of_every_seal() {
    lose_slices(1);
}

/// A value of so many chunks that its version names them in pages of references.
fn wide(node: &mut Local<FaultyDisk>) -> Shelf {
    shelf::fill(node, Size { spread_len: 10_000_000, middle_len: 5000, small: 1 })
}

#[test]
#[ignore = "a store of many megabytes"]
fn rot_in_a_store_with_pages_of_references() {
    let store = Store::filled(Limits { segment_len: 4 << 20, ..shelf::limits() }, true, wide);
    let log = thinned(singles(&store, Volume::Blocks, false), 1999);
    check("a sector of a store with pages of references", &store, &log, Demand::Whole);
    let log = thinned(singles(&store, Volume::Blocks, true), 3999);
    check("the same without its index", &store, &log, Demand::Whole);
}

#[test]
fn the_whole_index_is_made_anew_and_nothing_is_lost() {
    for closed in [true, false] {
        let store = Store::make(SIZE, shelf::limits(), closed);
        let disk = store.disk.snapshot();
        for name in disk.list(Volume::Index).unwrap() {
            disk.remove(Volume::Index, &name).unwrap();
        }
        let (mut node, opened) = store.open(&disk).unwrap();
        assert!(opened.index_rebuilt && opened.damaged.is_empty() && !opened.torn, "{opened:?}");
        let findings = shelf::look(&mut node, &store.shelf);
        assert!(findings.is_exact(), "{findings:?}");
    }
}
