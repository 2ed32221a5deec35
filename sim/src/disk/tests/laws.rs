//! What holds for every workload and every crash.

use super::*;
use std::collections::BTreeMap;

/// A naive account of one file: its bytes at the last sync and now, and every content that a sector may come back with.
#[derive(Default)]
struct Account {
    synced: Vec<u8>,
    now: Vec<u8>,
    lens: Vec<usize>,
    cut: bool,
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
}

fn sector_of(bytes: &[u8], sector: usize) -> Vec<u8> {
    let mut out: Vec<u8> = bytes.iter().skip(sector * SECTOR_LEN).take(SECTOR_LEN).copied().collect();
    out.resize(SECTOR_LEN, 0);
    out
}

impl Account {
    fn changed(&mut self, before: &[u8]) {
        self.lens.push(self.now.len());
        let sectors = before.len().max(self.now.len()).div_ceil(SECTOR_LEN);
        for sector in 0..sectors {
            let (old, new) = (sector_of(before, sector), sector_of(&self.now, sector));
            if old != new {
                self.versions.entry(sector).or_default().push(new);
            }
        }
    }

    fn sync(&mut self) {
        self.synced.clone_from(&self.now);
        self.lens.clear();
        self.cut = false;
        self.versions.clear();
    }

    /// Whether `after` is one of the states that the contract allows, without tearing.
    fn allows(&self, after: &[u8]) -> bool {
        if after.len() != self.synced.len() && !self.lens.contains(&after.len()) {
            return false;
        }
        (0..after.len().div_ceil(SECTOR_LEN)).all(|sector| {
            let got = sector_of(after, sector);
            // A version as the file's end cuts it. A truncation may survive without what was written before or after
            // it, so then zeros may begin anywhere in a version.
            let from = |version: &[u8]| {
                let end = after.len() - sector * SECTOR_LEN;
                let same = got.iter().zip(version).take_while(|(a, b)| a == b).count();
                got[same..].iter().all(|byte| *byte == 0) && (self.cut || same >= end.min(SECTOR_LEN))
            };
            from(&sector_of(&self.synced, sector))
                || self.versions.get(&sector).is_some_and(|versions| versions.iter().any(|version| from(version)))
        })
    }
}

fn workload(seed: u64, check: impl Fn(&FaultyDisk, &Account)) {
    let mut draws = Stream::new(seed, "laws");
    let disk = disk();
    let file = durable(&disk, "a", b"");
    let mut account = Account::default();
    for _ in 0..12 {
        let before = account.now.clone();
        match draws.below(8) {
            0..=4 => {
                let (at, len) = (draws.below(2_500) as usize, 1 + draws.below(1_500) as usize);
                // Never zero, so that zeros tell of cuts and gaps.
                let bytes = vec![1 + draws.below(255) as u8; len];
                file.write_at(at as u64, &[&bytes]).unwrap();
                account.now.resize(before.len().max(at + len), 0);
                account.now[at..at + len].copy_from_slice(&bytes);
                account.changed(&before);
            }
            5 => {
                let len = draws.below(3_000);
                file.truncate(len).unwrap();
                account.cut |= (len as usize) < before.len();
                account.now.resize(len as usize, 0);
                account.changed(&before);
            }
            _ => {
                file.sync().unwrap();
                account.sync();
            }
        }
        check(&disk, &account);
    }
}

#[test]
fn all_lost_is_the_last_sync_and_all_kept_is_what_was_seen() {
    for seed in 0..300 {
        workload(seed, |disk, account| {
            assert_eq!(contents(&disk.after_crash(CrashVariant::AllLost), "a").unwrap(), account.synced, "seed {seed}");
            assert_eq!(contents(&disk.after_crash(CrashVariant::AllKept), "a").unwrap(), account.now, "seed {seed}");
        });
    }
}

#[test]
fn every_crash_leaves_a_state_that_the_contract_allows() {
    for seed in 0..300 {
        workload(seed, |disk, account| {
            for draw in 0..6 {
                let after = contents(&disk.after_crash(CrashVariant::Subset(seed * 6 + draw)), "a").unwrap();
                assert!(account.allows(&after), "seed {seed}, draw {draw}");
            }
        });
    }
}

#[test]
fn undecided_units_are_listed_in_the_order_of_the_mask() {
    let disk = disk();
    let file = create(&disk, "a");
    file.write_at(0, &[&[1; 600]]).unwrap();
    file.truncate(10).unwrap();
    disk.rename(Volume::Blocks, &name("a"), &name("b")).unwrap();
    disk.remove(Volume::Blocks, &name("b")).unwrap();
    let told: Vec<_> = disk.undecided().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "create blocks/a",
            "rename blocks/a to b",
            "remove blocks/b",
            "length 600 of a removed file",
            "sector 0 of a removed file",
            "sector 1 of a removed file",
            "cut of a removed file to 10",
        ]
    );
    assert_eq!(disk.undecided_units(), told.len() as u64);
    assert_eq!(contents(&disk.after_crash(CrashVariant::ExactSubset(0b0_0001_1001)), "a").unwrap()[..512], [1; 512]);
}

#[test]
fn a_power_failure_is_decided_once_whoever_asks() {
    let first = disk();
    durable(&first, "a", b"old");
    first.crash(CrashVariant::AllLost);
    let second = first.recover();
    let file = second.open(Volume::Blocks, &name("a"), OpenMode::Write).unwrap();
    second.crash_at(second.operations_so_far());
    assert!(file.write_at(0, &[b"new"]).is_err());
    // An earlier life's handle to the machine may turn the power on again: what failed is decided first.
    let third = first.recover();
    assert_eq!(contents(&third, "a").unwrap(), b"old");
    assert_eq!(file.len().unwrap_err().failure, DiskFailure::Crashed);
    assert!(third.is_powered() && !second.is_powered());
    assert_eq!(third.undecided_units(), 0);
}

#[test]
fn rot_may_come_in_bursts() {
    let longest = (0..30).map(|seed| {
        let disk = FaultyDisk::new(FaultPlan::new(seed).burst(4));
        let file = durable(&disk, "a", &sectors(b"abcdefghijklmnop"));
        disk.inject(disk.operations_so_far(), Fault::ZeroedSector);
        let bytes = read(&file).unwrap();
        let zeroed = bytes.chunks(SECTOR_LEN).filter(|sector| sector[0] == 0).count();
        assert_eq!(disk.damaged_sectors().len(), zeroed);
        zeroed
    });
    assert_eq!(longest.max(), Some(4));
}

/// `cargo test --release -p ouroboros-sim -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let disk = disk();
    disk.limit_log(0);
    let file = durable(&disk, "a", &vec![1; 1 << 20]);
    let report = |what: &str, count: u64, run: &mut dyn FnMut(u64)| {
        let start = std::time::Instant::now();
        for i in 0..count {
            run(i);
        }
        println!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(count));
    };
    report("write 200 bytes", 20_000, &mut |i| file.write_at(i * 50, &[&[2; 200]]).unwrap());
    file.sync().unwrap();
    report("write 200 bytes and sync", 20_000, &mut |i| {
        file.write_at(i * 50, &[&[3; 200]]).unwrap();
        file.sync().unwrap();
    });
    report("read 4 KiB", 100_000, &mut |i| assert!(file.read_at(i * 5, &mut [0; 4096]).unwrap() > 0));
    report("write 256 KiB and sync", 200, &mut |_| {
        file.write_at(0, &[&vec![4; 1 << 18]]).unwrap();
        file.sync().unwrap();
    });
    file.write_at(700, &[&[5; 1_000]]).unwrap();
    report("snapshot, crash, recover", 20_000, &mut |i| drop(disk.after_crash(CrashVariant::Subset(i))));
}
