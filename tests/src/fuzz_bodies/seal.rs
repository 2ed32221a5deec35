//! Seals of arbitrary content under arbitrary parameters, with any of their slices lost, spoilt or of another coding.

use arbitrary::Arbitrary;
use bytes::Bytes;
use ouroboros_engine::id::{EngineRng, Epoch, Secret};
use ouroboros_engine::seal::{
    Coding, Compression, OpenError, ScopeKeys, Scratch, Sealed, SealedSlice, SliceIndex, assemble, identify, open,
    recode, seal as make_seal,
};
use std::collections::BTreeSet;

/// Plaintext in one seal here, at most: enough for several shards of several blocks of the hash tree.
const MAX_LEN: usize = 96 << 10;
const MAX_DAMAGE: usize = 32;

/// A seal, and what befalls its slices.
#[derive(Debug, Arbitrary)]
pub struct Sealing {
    content: Content,
    coding: (u8, u8),
    /// The same seal once more under another coding, whose slices lie among the first's.
    other: (u8, u8),
    /// How many of the other's slices there are.
    others: u8,
    level: Option<i8>,
    scope: u8,
    damage: Vec<Damage>,
}

#[derive(Debug, Arbitrary)]
enum Content {
    Given(Vec<u8>),
    /// What compression makes short.
    Repeated {
        byte: u8,
        len: u32,
    },
    /// What it does not.
    Noise {
        seed: u8,
        len: u32,
    },
}

#[derive(Debug, Arbitrary)]
enum Damage {
    Lost(u8),
    Flipped {
        slice: u8,
        at: u32,
        bit: u8,
    },
    Filled {
        slice: u8,
        at: u32,
        len: u8,
        byte: u8,
    },
    Cut {
        slice: u8,
        len: u32,
    },
    Longer {
        slice: u8,
        byte: u8,
    },
    /// One slice's bytes stand in another's place.
    Swapped(u8, u8),
    Copied(u8),
}

impl Content {
    fn bytes(&self) -> Bytes {
        let within = |len: u32| len as usize % (MAX_LEN + 1);
        match self {
            Self::Given(bytes) => Bytes::copy_from_slice(&bytes[..bytes.len().min(MAX_LEN)]),
            Self::Repeated { byte, len } => vec![*byte; within(*len)].into(),
            Self::Noise { seed, len } => {
                let mut rng = EngineRng::from_seed([*seed; 32]);
                let mut bytes = Vec::with_capacity(within(*len) + 64);
                while bytes.len() < within(*len) {
                    bytes.extend_from_slice(&rng.bytes::<64>());
                }
                bytes.truncate(within(*len));
                bytes.into()
            }
        }
    }
}

impl Damage {
    fn apply(&self, records: &mut Vec<Vec<u8>>) {
        let pick = |number: u8| usize::from(number).checked_rem(records.len());
        match *self {
            Self::Lost(n) => {
                if let Some(n) = pick(n) {
                    records.remove(n);
                }
            }
            Self::Flipped { slice, at, bit } => {
                if let Some(byte) = pick(slice).and_then(|n| place(&mut records[n], at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Filled { slice, at, len, byte } => {
                if let Some(n) = pick(slice)
                    && let Some(at) = (at as usize).checked_rem(records[n].len())
                {
                    let end = records[n].len().min(at + usize::from(len));
                    records[n][at..end].fill(byte);
                }
            }
            Self::Cut { slice, len } => {
                if let Some(n) = pick(slice)
                    && let Some(len) = (len as usize).checked_rem(records[n].len())
                {
                    records[n].truncate(len);
                }
            }
            Self::Longer { slice, byte } => {
                if let Some(n) = pick(slice) {
                    records[n].push(byte);
                }
            }
            Self::Swapped(a, b) => {
                if let (Some(a), Some(b)) = (pick(a), pick(b)) {
                    records.swap(a, b);
                }
            }
            Self::Copied(n) => {
                if let Some(n) = pick(n) {
                    records.push(records[n].clone());
                }
            }
        }
    }
}

fn place(record: &mut [u8], at: u32) -> Option<&mut u8> {
    let at = (at as usize).checked_rem(record.len())?;
    record.get_mut(at)
}

fn record(slice: &SealedSlice) -> Vec<u8> {
    [slice.header.encode().as_slice(), &slice.payload].concat()
}

/// Checks what a fresh seal must be.
fn check_fresh(sealed: &Sealed) {
    for (n, slice) in sealed.slices.iter().enumerate() {
        assert_eq!(slice.verify(), Ok(()), "a fresh slice does not verify");
        assert_eq!(usize::from(slice.header.index().0), n);
        assert_eq!(slice.header.seal_id(), sealed.seal_id);
        assert_eq!(slice.record_len(), record(slice).len());
        assert_eq!(SealedSlice::from_record(record(slice).into()).as_ref(), Ok(slice), "a slice is not what is stored");
    }
    assert_eq!(sealed.slices.len(), sealed.slices[0].header.coding().total());
}

/// Whether enough slices of one coding are among the records as they were written.
fn enough(sealed: &Sealed, records: &[Vec<u8>]) -> bool {
    let intact = sealed.slices.iter().filter(|slice| records.contains(&record(slice))).count();
    intact >= usize::from(sealed.slices[0].header.coding().data())
}

/// The body of the target `seal`.
pub fn seal(input: &Sealing) {
    let (Ok(coding), Ok(other)) =
        (Coding::new(input.coding.0, input.coding.1), Coding::new(input.other.0, input.other.1))
    else {
        return;
    };
    let plain = input.content.bytes();
    let keys = ScopeKeys::derive(&Secret::new([4; 32]), Epoch(0), &[input.scope]);
    let compression =
        input.level.map_or(Compression::Raw, |level| Compression::Zstd { level: level.rem_euclid(17) - 7 });
    let scratch = &mut Scratch::new();
    let id = identify(&keys, &plain);
    let first = make_seal(&keys, &id, &plain, compression, coding, scratch);
    let second = make_seal(&keys, &id, &plain, compression, other, scratch);
    check_fresh(&first);
    check_fresh(&second);
    assert_eq!(first.seal_id, second.seal_id, "a seal's id depends on its coding");
    assert_eq!(first.secret, second.secret, "a seal's secret depends on its coding");

    let mut records: Vec<Vec<u8>> = first.slices.iter().map(record).collect();
    records.extend(second.slices.iter().take(usize::from(input.others)).map(record));
    for damage in input.damage.iter().take(MAX_DAMAGE) {
        damage.apply(&mut records);
    }
    let slices: Vec<SealedSlice> =
        records.iter().filter_map(|record| SealedSlice::from_record(Bytes::copy_from_slice(record)).ok()).collect();
    let possible = enough(&first, &records) || enough(&second, &records);
    let whole = match assemble(first.seal_id, slices) {
        Ok(whole) => whole,
        Err(error) => return assert!(!possible, "enough slices are intact: {error}"),
    };
    assert!(possible, "a seal came from fewer slices than it takes");
    assert_eq!(open(&first.secret, &whole), Ok(plain), "a seal opened to other bytes");
    let wrong = Secret::new([7; 32]);
    assert_eq!(open(&wrong, &whole), Err(OpenError::WrongSecret { seal_id: first.seal_id }));

    // Whatever it was assembled from, every slice of either coding comes back byte for byte, and without a key.
    let family = if whole.layout() == first.slices[0].header.layout() { &first } else { &second };
    let all: BTreeSet<SliceIndex> = family.slices.iter().map(|slice| slice.header.index()).collect();
    assert!(whole.damaged().iter().all(|index| all.contains(index)));
    let all: Vec<SliceIndex> = all.into_iter().collect();
    assert_eq!(whole.rebuild(&all).as_ref(), Some(&family.slices), "a slice was rebuilt as another");
    assert_eq!(whole.rebuild(&[SliceIndex(255)]), None);
    assert_eq!(recode(&whole, coding), first.slices, "recoding is not what sealing was");
    assert_eq!(recode(&whole, other), second.slices, "recoding is not what sealing was");
}
