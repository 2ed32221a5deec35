use super::disk::TestDisk;
use super::{create, open};
use crate::env::DiskFailure;
use crate::id::KeyHash;
use crate::store::index::{Direction, Index, IndexError, IndexName, Meta, Names};
use core::ops::Bound;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Flush,
    Reopen,
    Crash,
    Reload,
    Range(Vec<u8>, Vec<u8>, bool),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..4u8, 0..5)
}

/// Rows of a few bytes, and rows that need several pages of their own.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..2000usize, 1 => 2000..40_000usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (key(), any::<u8>(), size()).prop_map(|(k, fill, len)| Step::Put(k, vec![fill; len])),
        4 => key().prop_map(Step::Remove),
        3 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => Just(Step::Reload),
        4 => (key(), key(), any::<bool>()).prop_map(|(a, b, c)| Step::Range(a, b, c)),
    ]
}

fn check(index: &Index<TestDisk>, model: &Model) {
    let all = index.range::<Meta>(Bound::Unbounded, Bound::Unbounded, Direction::Forward, usize::MAX).unwrap();
    assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_index_is_a_sorted_map_across_flushes_restarts_and_crashes(steps in prop::collection::vec(step(), 1..60)) {
        let disk = TestDisk::default();
        let mut index = create(&disk);
        let (mut model, mut flushed, mut count) = (Model::new(), Model::new(), 0u64);
        for (at, step) in (1..).zip(steps) {
            match step {
                Step::Put(key, value) => {
                    index.put::<Meta>(&key, &value);
                    model.insert(key, value);
                }
                Step::Remove(key) => {
                    index.remove::<Meta>(&key);
                    prop_assert_eq!(index.get::<Meta>(&key).unwrap(), None);
                    model.remove(&key);
                }
                Step::Flush => {
                    count += 1;
                    index.flush(&count.to_le_bytes()).unwrap();
                    prop_assert_eq!(index.pending_bytes(), 0);
                    flushed = model.clone();
                }
                Step::Reopen => {
                    count += 1;
                    index.flush(&count.to_le_bytes()).unwrap();
                    flushed = model.clone();
                    index.close().unwrap();
                    index = open(&disk, at).unwrap();
                }
                Step::Crash => {
                    drop(index);
                    index = open(&disk, at).unwrap();
                    model = flushed.clone();
                }
                Step::Reload => index.reload().unwrap(),
                Step::Range(from, to, back) => {
                    let direction = if back { Direction::Backward } else { Direction::Forward };
                    let got = index.range::<Meta>(Bound::Excluded(&from), Bound::Included(&to), direction, 3).unwrap();
                    let mut want: Vec<_> =
                        model.iter().filter(|(k, _)| **k > from && **k <= to).map(|(k, v)| (k.clone(), v.clone())).collect();
                    if back {
                        want.reverse();
                    }
                    want.truncate(3);
                    prop_assert_eq!(got, want);
                }
            }
            if count > 0 {
                prop_assert_eq!(index.checkpoint(), count.to_le_bytes());
            }
            for key in model.keys() {
                prop_assert_eq!(index.get::<Meta>(key).unwrap(), model.get(key).cloned());
            }
            check(&index, &model);
        }
    }
}

#[test]
fn dropping_without_closing_writes_nothing() {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    index.put::<Meta>(&b"k".to_vec(), &b"v".to_vec());
    index.flush(b"one").unwrap();
    let before = disk.bytes();
    index.put::<Meta>(&b"k".to_vec(), &b"w".to_vec());
    drop(index);
    assert!(disk.bytes() == before);
}

#[test]
fn opening_and_reading_write_nothing() {
    let disk = TestDisk::default();
    create(&disk).close().unwrap();
    let before = disk.bytes();
    let index = open(&disk, 1).unwrap();
    assert_eq!(index.get::<Names>(&b"k".to_vec()).unwrap(), None);
    drop(index);
    assert!(disk.bytes() == before);
    open(&disk, 2).expect("still clean");
}

#[test]
fn a_full_disk_keeps_the_updates_and_goes_on_reading() {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    let (a, b) = (b"a".to_vec(), b"b".to_vec());
    let (one, two) = (KeyHash::from_bytes([1; 32]), KeyHash::from_bytes([2; 32]));
    index.put::<Names>(&a, &one);
    index.flush(b"one").unwrap();
    index.put::<Names>(&b, &two);
    disk.set(|faults| faults.full = true);
    for _ in 0..3 {
        assert!(matches!(index.flush(b"two"), Err(IndexError::Disk(_))));
        assert_eq!(index.get::<Names>(&a).unwrap(), Some(one));
        assert_eq!(index.get::<Names>(&b).unwrap(), Some(two));
        assert_eq!(index.checkpoint(), b"one");
    }
    disk.set(|faults| faults.full = false);
    index.flush(b"two").unwrap();
    drop(index);
    let index = open(&disk, 1).unwrap();
    assert_eq!((index.get::<Names>(&b).unwrap(), index.checkpoint()), (Some(two), &b"two"[..]));
}

#[test]
fn an_index_without_room_for_its_file_lives_in_memory_until_there_is_some() {
    let (a, b) = (b"a".to_vec(), b"b".to_vec());
    let (one, two) = (KeyHash::from_bytes([1; 32]), KeyHash::from_bytes([2; 32]));
    // 0: not even an empty file can be made. From 1 on the disk fills at that operation.
    let mut at = 0;
    loop {
        let disk = TestDisk::default();
        disk.set(|faults| (faults.full, faults.full_at) = (at == 0, Some(at)));
        let mut index = create(&disk);
        index.put::<Names>(&a, &one);
        index.put::<Names>(&b, &one);
        index.remove::<Names>(&b);
        let flushed = index.flush(b"one");
        if flushed.is_ok() {
            break;
        }
        for _ in 0..2 {
            assert!(matches!(index.flush(b"one"), Err(IndexError::Disk(error)) if error.failure == DiskFailure::Full));
            assert_eq!((index.get::<Names>(&a).unwrap(), index.get::<Names>(&b).unwrap()), (Some(one), None));
            for direction in [Direction::Forward, Direction::Backward] {
                let rows = index.range::<Names>(Bound::Unbounded, Bound::Unbounded, direction, 9).unwrap();
                assert_eq!(rows, [(a.clone(), one)]);
            }
            let mut place = None;
            while let Some(next) = index.verify(place, 9).unwrap() {
                place = Some(next);
            }
            index.reload().unwrap();
            assert_eq!(index.checkpoint(), b"");
        }
        index.put::<Names>(&b, &two);
        disk.set(|faults| (faults.full, faults.full_at) = (false, None));
        index.flush(b"two").unwrap();
        assert_eq!(index.pending_bytes(), 0);
        index.close().unwrap();
        let index = open(&disk, 1).unwrap();
        assert_eq!((index.get::<Names>(&a).unwrap(), index.get::<Names>(&b).unwrap()), (Some(one), Some(two)));
        assert_eq!(index.checkpoint(), b"two");
        at += 1;
    }
    assert!(at > 5, "the disk was never full: {at}");
}

#[test]
fn an_index_that_never_had_a_file_does_not_claim_to_have_closed() {
    let disk = TestDisk::default();
    disk.set(|faults| faults.full = true);
    assert!(matches!(create(&disk).close(), Err(IndexError::Disk(_))));
    assert_eq!(open(&disk, 1).err(), Some(IndexError::Missing));
}

#[test]
fn a_flush_that_finds_the_disk_full_is_due_again_only_when_more_waits() {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    let row = vec![7; 10_000];
    let fill = |index: &mut Index<TestDisk>, from: u64| {
        (from..).find(|n| {
            index.put::<Meta>(&n.to_be_bytes().to_vec(), &row);
            index.needs_flush()
        })
    };
    let first = fill(&mut index, 0).unwrap();
    disk.set(|faults| faults.full = true);
    index.flush(b"one").unwrap_err();
    assert!(!index.needs_flush());
    let second = fill(&mut index, first + 1).unwrap();
    assert_eq!(second, 2 * first + 1);
    disk.set(|faults| faults.full = false);
    index.flush(b"two").unwrap();
    assert_eq!(fill(&mut index, 0), Some(first));
}

#[test]
fn after_a_failed_sync_reads_go_on_and_no_flush_is_ever_believed_again() {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    let a = b"a".to_vec();
    index.put::<Meta>(&a, &a);
    index.flush(b"one").unwrap();
    disk.set(|faults| faults.bad_sync = true);
    index.put::<Meta>(&b"b".to_vec(), &a);
    assert!(index.flush(b"two").is_err());
    disk.set(|faults| faults.bad_sync = false);
    assert_eq!(index.flush(b"two"), Err(IndexError::Unsynced));
    assert_eq!(index.get::<Meta>(&a).unwrap(), Some(a));
    assert_eq!(index.close(), Err(IndexError::Unsynced));
}

#[test]
fn a_missing_index_and_another_secret_are_told_apart() {
    let disk = TestDisk::default();
    assert_eq!(open(&disk, 1).err(), Some(IndexError::Missing));
    create(&disk).close().unwrap();
    let other = crate::id::Secret::new([0x43; 32]);
    let error = Index::open(&disk, super::SMALL, &other, &mut super::rng(1)).err();
    assert!(matches!(error, Some(IndexError::Damaged(_))), "{error:?}");
    Index::destroy(&disk, IndexName::Lasting).unwrap();
    Index::destroy(&disk, IndexName::Lasting).expect("nothing to destroy is no error");
    assert_eq!(open(&disk, 1).err(), Some(IndexError::Missing));
}
