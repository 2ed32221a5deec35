use super::disk::TestDisk;
use super::{create, open, rng};
use crate::store::index::{Direction, Index, IndexError, Meta};
use core::ops::Bound;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn key(n: u64) -> Vec<u8> {
    format!("key {n:04}").into_bytes()
}

fn fill(index: &mut Index<TestDisk>, round: u64) {
    for n in 0..80 {
        if n % 7 != round % 7 {
            index.put::<Meta>(&key(n), &format!("{round} {n}").repeat(20).into_bytes());
        } else {
            index.remove::<Meta>(&key(n));
        }
    }
}

fn rows(index: &Index<TestDisk>) -> Rows {
    index.range::<Meta>(Bound::Unbounded, Bound::Unbounded, Direction::Forward, usize::MAX).unwrap()
}

/// What is left of an index that was flushed once and not closed, and its rows.
fn flushed_once() -> (Vec<u8>, Rows) {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    fill(&mut index, 0);
    index.flush(&[0]).unwrap();
    let rows = rows(&index);
    drop(index);
    (disk.bytes(), rows)
}

#[test]
fn a_crash_at_any_write_of_a_flush_leaves_one_of_the_two_checkpoints() {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    for round in 0..3 {
        fill(&mut index, round);
        index.flush(&[round as u8]).unwrap();
    }
    let before = (rows(&index), vec![2]);
    drop(index);
    let start = disk.bytes();

    let run = |crash_at: Option<u64>| {
        let disk = TestDisk::with(&start);
        let mut index = open(&disk, 1).unwrap();
        disk.set(|faults| {
            faults.operations = 0;
            faults.crash_at = crash_at;
        });
        fill(&mut index, 3);
        let done = index.flush(&[3]);
        let state = (done.is_ok() && crash_at.is_none()).then(|| (rows(&index), vec![3]));
        (disk, done, state)
    };
    let (disk, done, after) = run(None);
    done.unwrap();
    let (after, operations) = (after.unwrap(), disk.operations());
    assert!(operations > 5, "{operations}");

    let mut rng = rng(77);
    let (mut old, mut new, mut damaged) = (0, 0, 0);
    for crash_at in 1..=operations {
        let (disk, done, _) = run(Some(crash_at));
        assert!(done.is_err());
        for _ in 0..8 {
            let survivor = disk.after_crash(&mut || rng.bytes::<1>()[0] % 128);
            match open(&survivor, 2) {
                Ok(mut index) => {
                    let state = (rows(&index), index.checkpoint().to_vec());
                    assert!(state == before || state == after, "a third state at operation {crash_at}");
                    if state == before {
                        old += 1
                    } else {
                        new += 1
                    }
                    fill(&mut index, 4);
                    index.flush(&[4]).unwrap();
                    index.close().unwrap();
                    assert_eq!(open(&survivor, 3).unwrap().checkpoint(), [4]);
                }
                Err(IndexError::Damaged(_)) => damaged += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert!(old > 0 && new > 0, "{old} {new} {damaged}");
    assert_eq!(damaged, 0, "a plain crash never costs the index");
}

/// A record of a page is longer than a sector, so a torn write of one may spoil the beginning of the next, which was durable.
#[test]
fn what_a_crash_in_the_first_flush_after_a_clean_close_tears_is_found_by_the_opening() {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    for round in 0..3 {
        fill(&mut index, round);
        index.flush(&[round as u8]).unwrap();
    }
    index.close().unwrap();
    let start = disk.bytes();
    let before = rows(&open(&TestDisk::with(&start), 1).unwrap());

    let mut rng = rng(79);
    let (mut found, mut good) = (0, 0);
    for crash_at in 1.. {
        let disk = TestDisk::with(&start);
        let mut index = open(&disk, 1).unwrap();
        disk.set(|faults| (faults.operations, faults.crash_at) = (0, Some(crash_at)));
        fill(&mut index, 3);
        let after = rows(&index);
        if index.flush(&[3]).is_ok() {
            assert!(crash_at > 5, "{crash_at}");
            break;
        }
        drop(index);
        for _ in 0..200 {
            let mut damage = || rng.bytes::<1>()[0];
            match open(&disk.after_crash(&mut damage), 2) {
                Err(IndexError::Damaged(_)) => found += 1,
                Err(other) => panic!("{crash_at}: {other:?}"),
                Ok(index) => {
                    let rows = rows(&index);
                    assert!(rows == before || rows == after, "a third state at operation {crash_at}");
                    good += 1;
                }
            }
        }
    }
    assert!(found > 0 && good > 0, "{found} {good}");
}

/// What a crash in the first flush after another crash leaves, at each of its operations.
fn crashed_twice(start: &[u8]) -> Vec<Vec<u8>> {
    let mut left = vec![start.to_vec()];
    loop {
        let disk = TestDisk::with(start);
        let mut index = open(&disk, 1).unwrap();
        disk.set(|faults| (faults.operations, faults.crash_at) = (0, Some(left.len() as u64)));
        fill(&mut index, 1);
        if index.flush(&[1]).is_ok() {
            return left;
        }
        drop(index);
        left.push(disk.after_crash(&mut || 3).bytes());
    }
}

#[test]
fn a_disk_that_fills_up_at_any_write_of_the_first_flush_after_a_crash_costs_no_more_than_the_flush() {
    let starts = crashed_twice(&flushed_once().0);
    assert!(starts.len() > 5, "{}", starts.len());
    for (crash, start) in starts.iter().enumerate() {
        for full_at in 1.. {
            let disk = TestDisk::with(start);
            let mut index = open(&disk, 1).unwrap();
            disk.set(|faults| (faults.operations, faults.full_at) = (0, Some(full_at)));
            fill(&mut index, 2);
            let pending = rows(&index);
            let flushed = index.flush(&[2]);
            disk.set(|faults| (faults.full, faults.full_at) = (false, None));
            if flushed.is_ok() {
                break;
            }
            assert!(matches!(flushed, Err(IndexError::Disk(_))), "{crash}, {full_at}: {flushed:?}");
            assert!(rows(&index) == pending, "{crash}, {full_at}");
            index.flush(&[2]).unwrap_or_else(|error| panic!("{crash}, {full_at}: {error}"));
            drop(index);
            assert!(rows(&open(&disk, 2).unwrap()) == pending, "{crash}, {full_at}");
        }
    }
}

#[test]
fn a_crash_during_a_clean_close_costs_nothing_but_the_verification() {
    let (start, want) = flushed_once();
    let mut rng = rng(78);
    for crash_at in 1.. {
        let disk = TestDisk::with(&start);
        let index = open(&disk, 1).unwrap();
        disk.set(|faults| faults.crash_at = Some(faults.operations + crash_at));
        if index.close().is_ok() {
            assert!(crash_at > 5, "{crash_at}");
            break;
        }
        for _ in 0..8 {
            let index = open(&disk.after_crash(&mut || rng.bytes::<1>()[0] % 128), 2).unwrap();
            assert_eq!((rows(&index), index.checkpoint()), (want.clone(), &[0][..]));
        }
    }
}

#[test]
fn a_crash_during_creation_leaves_an_empty_index_or_a_damaged_one() {
    for crash_at in 1.. {
        let disk = TestDisk::default();
        disk.set(|faults| faults.crash_at = Some(crash_at));
        if Index::create(&disk, super::SMALL, &super::secret(), &mut rng(0)).is_ok() {
            break;
        }
        let mut rng = rng(79);
        for _ in 0..8 {
            match open(&disk.after_crash(&mut || rng.bytes::<1>()[0] % 128), 2) {
                Ok(index) => assert!(rows(&index).is_empty() && index.checkpoint().is_empty()),
                Err(IndexError::Damaged(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}
