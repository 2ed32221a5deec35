use super::disk::TestDisk;
use super::{create, open, secret};
use crate::id::{ChunkId, Hlc, KeyHash, SealId, Secret};
use crate::store::index::{ChunkKey, ChunkRow, Chunks, Index, IndexError, KeyRow, Keys, Meta, Names};
use std::collections::BTreeMap;

const SECTOR: usize = 512;

fn hash(n: u64) -> KeyHash {
    KeyHash::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn row(n: u64) -> KeyRow {
    KeyRow {
        name: format!("marker-name-{n}").into_bytes(),
        heads: vec![(Hlc(n), crate::id::BlobId::from_bytes([n as u8; 32]))],
        winner_gone: n % 2 == 1,
    }
}

const ROUNDS: u64 = 6;

/// What round `round` leaves of row `n`.
fn expected(n: u64, round: u64) -> Option<KeyRow> {
    let last = (0..=round).rev().find(|round| touched(n, *round))?;
    (n < 60 && !(n + last).is_multiple_of(5)).then(|| row(n + 1000 * last))
}

fn touched(n: u64, round: u64) -> bool {
    round == 0 || n % 4 >= round % 4
}

/// A small index with history: pages that were written, freed and written again. `visit` sees the file after each flush.
fn build(visit: &mut dyn FnMut(Vec<u8>)) -> TestDisk {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    for round in 0..ROUNDS {
        for n in (0..60).filter(|n| touched(*n, round)) {
            match expected(n, round) {
                Some(row) => index.put::<Keys>(&hash(n), &row),
                None => index.remove::<Keys>(&hash(n)),
            }
        }
        index.flush(&[round as u8]).unwrap();
        visit(disk.bytes());
    }
    disk
}

fn closed(disk: &TestDisk) -> Vec<u8> {
    let disk = TestDisk::with(&disk.bytes());
    open(&disk, 3).unwrap().close().unwrap();
    disk.bytes()
}

/// Opens and reads everything: the whole of one checkpoint, and says which, or the index says that it is damaged.
fn one_checkpoint_or_damaged(bytes: &[u8]) -> Option<u8> {
    let index = match open(&TestDisk::with(bytes), 7) {
        Ok(index) => index,
        Err(IndexError::Damaged(_)) => return None,
        Err(other) => panic!("{other:?}"),
    };
    let checkpoint = index.checkpoint().to_vec();
    assert_eq!(checkpoint.len(), 1);
    for n in 0..61 {
        match index.get::<Keys>(&hash(n)) {
            Ok(found) => assert_eq!(found, expected(n, u64::from(checkpoint[0]))),
            Err(IndexError::Damaged(_)) => return None,
            Err(other) => panic!("{other:?}"),
        }
    }
    checkpoint.first().copied()
}

#[test]
fn a_page_is_unreadable_when_it_is_refused_twice_and_not_when_that_was_chance() {
    let disk = build(&mut drop);
    // Until something is flushed after an unclean end, going back reads all of it.
    open(&disk, 6).unwrap().close().unwrap();
    let mut index = open(&disk, 7).unwrap();
    let refused = |index: &mut Index<TestDisk>| {
        index.reload().unwrap();
        disk.set(|faults| faults.bad_reads = 1);
        assert!(matches!(index.get::<Keys>(&hash(1)), Err(IndexError::Disk(_))));
    };
    for _ in 0..3 {
        refused(&mut index);
        assert!(!index.is_unreadable());
        index.reload().unwrap();
        assert_eq!(index.get::<Keys>(&hash(1)).unwrap(), expected(1, ROUNDS - 1));
    }
    refused(&mut index);
    assert!(!index.is_unreadable());
    refused(&mut index);
    assert!(index.is_unreadable(), "it was refused again, and was not read in between");
}

#[test]
fn no_damaged_sector_ever_changes_an_answer() {
    let disk = build(&mut drop);
    for bytes in [disk.bytes(), closed(&disk)] {
        assert_eq!(one_checkpoint_or_damaged(&bytes), Some(ROUNDS as u8 - 1));
        let mut refused = 0;
        let sectors = bytes.len() / SECTOR;
        for sector in 0..sectors {
            let at = sector * SECTOR..(sector + 1) * SECTOR;
            let mut zeroed = bytes.clone();
            zeroed[at.clone()].fill(0);
            refused += u32::from(one_checkpoint_or_damaged(&zeroed).is_none());
            let mut flipped = bytes.clone();
            flipped[at.start + sector * 37 % SECTOR] ^= 1 << (sector % 8);
            refused += u32::from(one_checkpoint_or_damaged(&flipped).is_none());
            let other = (sector * 7 + 13) % sectors * SECTOR;
            let mut swapped = bytes.clone();
            swapped.copy_within(other..other + SECTOR, at.start);
            swapped[other..other + SECTOR].copy_from_slice(&bytes[at]);
            refused += u32::from(one_checkpoint_or_damaged(&swapped).is_none());
        }
        assert!(refused > 20, "only {refused} damages were noticed at all");
    }
}

#[test]
fn a_write_that_was_lost_never_changes_an_answer() {
    // Every page and header of the final file replaced by each older version of it: authentic, in its place, and wrong.
    let mut versions = BTreeMap::new();
    let disk = build(&mut |bytes| remember(&bytes, &mut versions));
    for bytes in [disk.bytes(), closed(&disk)] {
        let (mut tried, mut refused) = (0, 0);
        for (&at, olds) in &versions {
            for old in olds {
                if at + old.len() <= bytes.len() && bytes[at..at + old.len()] != old[..] {
                    let mut stale = bytes.clone();
                    stale[at..at + old.len()].copy_from_slice(old);
                    refused += u32::from(one_checkpoint_or_damaged(&stale).is_none());
                    tried += 1;
                }
            }
        }
        assert!(tried > 10 && refused > 3, "{refused} of {tried}");
    }
}

fn remember(bytes: &[u8], versions: &mut BTreeMap<usize, Vec<Vec<u8>>>) {
    let slots = [(4096, 8192), (12_288, 8192)];
    let pages = (20_480..bytes.len().saturating_sub(4135)).step_by(4136).map(|at| (at, 4136));
    for (at, len) in slots.into_iter().chain(pages) {
        let olds = versions.entry(at).or_default();
        let now = bytes[at..at + len].to_vec();
        if !olds.contains(&now) {
            olds.push(now);
        }
    }
}

#[test]
fn nothing_is_readable_at_rest() {
    let disk = TestDisk::default();
    let mut index = create(&disk);
    for n in 0..200 {
        index.put::<Keys>(&hash(n), &row(n));
        index.put::<Names>(&format!("marker-name-{n}").into_bytes(), &hash(n));
        index.put::<Chunks>(
            &ChunkKey { scope: [3; 8], chunk: ChunkId::from_bytes([n as u8; 32]) },
            &ChunkRow {
                seal_id: SealId::from_bytes([1; 32]),
                secret: Secret::new(*b"marker-secret-marker-secret-mark"),
            },
        );
    }
    index.put::<Meta>(&b"marker-meta".to_vec(), &b"marker-value".to_vec());
    index.flush(b"marker-checkpoint").unwrap();
    index.close().unwrap();
    let bytes = disk.bytes();
    for marker in [&b"marker"[..], b"redb", b"checkpoint", b"blobs", &hash(1).as_bytes()[..8], &secret().expose()[..8]]
    {
        assert!(!bytes.windows(marker.len()).any(|window| window == marker), "{marker:?} is in the file");
    }
}
