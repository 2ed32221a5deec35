//! How rows stand in the file. Most are plain Borsh; the two that there are most of are written as short as they can be,
//! since every byte of a row is encrypted, written and kept in the cache again and again.

use super::rows::{BlobRow, ChunkRow, KeyRow, RefPageRow, SealRow, TombstoneRow};
use crate::id::{AuthorId, BlobId, Dot, Hlc, ID_LEN, Incarnation, KeyHash, NodeId, Partition, Sequence};
use crate::store::{Location, SegmentId};
use std::collections::BTreeMap;
use unsigned_varint::{decode, encode};

/// The form of a row in the file.
pub trait StoredRow: Sized {
    /// The bytes. What is long and repeated is given a number in `symbols`.
    fn store(&self, symbols: &mut Symbols) -> Vec<u8>;

    /// Reads what [`Self::store`] wrote; `None` if that is not what it is.
    fn load(bytes: &[u8], symbols: &Symbols) -> Option<Self>;
}

/// Authors and origins, 32 and 40 bytes long, and few: rows name them by a number. Where there are many, those that came
/// after the first 1,024 stand in the rows themselves, so that no number of them fills the memory.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// By number.
    long: Vec<Vec<u8>>,
    numbers: BTreeMap<Vec<u8>, u64>,
    /// How many are in the file, or on their way.
    saved: usize,
}

/// Most symbols that have numbers. In the place of a number it says that the symbol itself follows.
pub(super) const SYMBOLS_LEN: usize = 1024;

impl Symbols {
    /// Those that the file has, by number from 0 on.
    pub(super) fn loaded(long: Vec<Vec<u8>>) -> Self {
        let numbers = (0..).zip(&long).map(|(number, long)| (long.clone(), number)).collect();
        Self { saved: long.len(), long, numbers }
    }

    /// The number of a symbol; none if there are too many.
    fn number(&mut self, long: &[u8]) -> Option<u64> {
        if let Some(number) = self.numbers.get(long) {
            return Some(*number);
        }
        if self.long.len() >= SYMBOLS_LEN {
            return None;
        }
        let number = self.long.len() as u64;
        self.long.push(long.to_vec());
        self.numbers.insert(long.to_vec(), number);
        Some(number)
    }

    /// Writes what names a symbol.
    fn put(&mut self, out: &mut Vec<u8>, long: &[u8]) {
        match self.number(long) {
            Some(number) => put(out, number),
            None => {
                put(out, SYMBOLS_LEN as u64);
                out.extend_from_slice(long);
            }
        }
    }

    /// Reads what [`Self::put`] wrote.
    fn take<'a, const LEN: usize>(&self, bytes: &'a [u8]) -> Option<([u8; LEN], &'a [u8])> {
        // PA
        let (number, bytes) = take(bytes)?;
        if number != SYMBOLS_LEN as u64 {
            let long = self.long.get(usize::try_from(number).ok()?)?;
            return Some((long.as_slice().try_into().ok()?, bytes));
        }
        let (long, bytes) = bytes.split_first_chunk()?;
        // What has a number, or could have been given one, stands nowhere itself.
        let has_none = self.long.len() >= SYMBOLS_LEN && !self.numbers.contains_key(long.as_slice());
        has_none.then_some((*long, bytes))
    }

    /// The next one that the file does not have.
    pub(super) fn unsaved(&mut self) -> Option<(u64, Vec<u8>)> {
        let long = self.long.get(self.saved)?.clone();
        self.saved += 1;
        Some((self.saved as u64 - 1, long))
    }
}

macro_rules! borsh_rows {
    ($($row:ty),*) => {
        $(impl StoredRow for $row {
            fn store(&self, _symbols: &mut Symbols) -> Vec<u8> {
                match borsh::to_vec(self) {
                    Ok(row) => row,
                    Err(error) => unreachable!("encoding a row to memory: {error}"),
                }
            }

            fn load(bytes: &[u8], _symbols: &Symbols) -> Option<Self> {
                borsh::from_slice(bytes).ok()
            }
        })*
    };
}

borsh_rows!((), Vec<u8>, KeyHash, KeyRow, ChunkRow, TombstoneRow, RefPageRow);

const KIND: u8 = 0b0011;
const GONE: u8 = 0b0100;
const PURGED: u8 = 0b1000;

impl StoredRow for BlobRow {
    fn store(&self, symbols: &mut Symbols) -> Vec<u8> {
        assert!(self.kind <= KIND, "a header knows no kind {}", self.kind);
        let mut out = Vec::with_capacity(80 + ID_LEN * self.parents.len());
        out.push(self.kind | if self.gone { GONE } else { 0 } | if self.purged { PURGED } else { 0 });
        out.extend_from_slice(self.key_hash.as_bytes());
        out.extend_from_slice(&self.created.0.to_le_bytes());
        put(&mut out, self.len);
        put(&mut out, self.location.segment.0);
        put_place(&mut out, self.location);
        symbols.put(&mut out, self.author.as_bytes());
        symbols.put(&mut out, &origin(&self.dot));
        put(&mut out, u64::from(self.dot.partition.0));
        put(&mut out, self.dot.sequence.0);
        for parent in &self.parents {
            out.extend_from_slice(parent.as_bytes());
        }
        out
    }

    fn load(bytes: &[u8], symbols: &Symbols) -> Option<Self> {
        // PA
        let (&flags, bytes) = bytes.split_first()?;
        if flags & !(KIND | GONE | PURGED) != 0 {
            return None;
        }
        let (key_hash, bytes) = bytes.split_first_chunk()?;
        let (created, bytes) = bytes.split_first_chunk()?;
        let (len, bytes) = take(bytes)?;
        let (segment, bytes) = take(bytes)?;
        let (location, bytes) = take_place(SegmentId(segment), bytes)?;
        let (author, bytes) = symbols.take(bytes)?;
        let (origin, bytes) = symbols.take::<{ ID_LEN + 8 }>(bytes)?;
        let (partition, bytes) = take(bytes)?;
        let (sequence, bytes) = take(bytes)?;
        let (parents, []) = bytes.as_chunks::<ID_LEN>() else { return None };
        let (node, incarnation) = origin.split_first_chunk()?;
        Some(Self {
            location,
            key_hash: KeyHash::from_bytes(*key_hash),
            created: Hlc(u64::from_le_bytes(*created)),
            parents: parents.iter().map(|id| BlobId::from_bytes(*id)).collect(),
            kind: flags & KIND,
            author: AuthorId::from_bytes(author),
            gone: flags & GONE != 0,
            len,
            dot: Dot {
                node: NodeId::from_bytes(*node),
                incarnation: Incarnation(u64::from_le_bytes(incarnation.try_into().ok()?)),
                partition: Partition(u16::try_from(partition).ok()?),
                sequence: Sequence(sequence),
            },
            purged: flags & PURGED != 0,
        })
    }
}

/// Node and incarnation of a dot.
fn origin(dot: &Dot) -> [u8; ID_LEN + 8] {
    let mut out = [0; ID_LEN + 8];
    out[..ID_LEN].copy_from_slice(dot.node.as_bytes());
    out[ID_LEN..].copy_from_slice(&dot.incarnation.0.to_le_bytes());
    out
}

/// A slice is not here,
const ABSENT: u8 = 0;
/// in the segment of the one before,
const SAME_SEGMENT: u8 = 1;
/// or in another, which follows.
const OTHER_SEGMENT: u8 = 2;

impl StoredRow for SealRow {
    fn store(&self, _symbols: &mut Symbols) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 8 * self.slices.len());
        put(&mut out, u64::from(self.ciphertext_len));
        out.extend_from_slice(&[self.data, self.parity]);
        let mut segment = SegmentId(0);
        for slice in &self.slices {
            let Some(location) = slice else {
                out.push(ABSENT);
                continue;
            };
            if location.segment == segment {
                out.push(SAME_SEGMENT);
            } else {
                segment = location.segment;
                out.push(OTHER_SEGMENT);
                put(&mut out, segment.0);
            }
            put_place(&mut out, *location);
        }
        out
    }

    fn load(bytes: &[u8], _symbols: &Symbols) -> Option<Self> {
        // PA
        let (ciphertext_len, bytes) = take(bytes)?;
        let (&[data, parity], mut bytes) = bytes.split_first_chunk()?;
        let mut segment = SegmentId(0);
        let mut slices = Vec::new();
        while let Some((tag, rest)) = bytes.split_first() {
            bytes = rest;
            match *tag {
                ABSENT => {
                    slices.push(None);
                    continue;
                }
                SAME_SEGMENT => {}
                OTHER_SEGMENT => {
                    let (other, rest) = take(bytes)?;
                    if other == segment.0 {
                        return None;
                    }
                    segment = SegmentId(other);
                    bytes = rest;
                }
                _ => return None,
            }
            let (location, rest) = take_place(segment, bytes)?;
            slices.push(Some(location));
            bytes = rest;
        }
        Some(Self { ciphertext_len: u32::try_from(ciphertext_len).ok()?, data, parity, slices })
    }
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(encode::u64(number, &mut encode::u64_buffer()));
}

fn take(bytes: &[u8]) -> Option<(u64, &[u8])> {
    // PA
    let (number, rest) = decode::u64(bytes).ok()?;
    // Of the tenth byte, 64 bits leave room for one bit; the decoder passes over the others.
    let tenth = bytes.get(9).filter(|_| bytes.len() - rest.len() == 10);
    tenth.is_none_or(|last| *last <= 1).then_some((number, rest))
}

/// Offset and length: what a location says beside its segment.
fn put_place(out: &mut Vec<u8>, location: Location) {
    put(out, u64::from(location.offset));
    put(out, u64::from(location.len));
}

fn take_place(segment: SegmentId, bytes: &[u8]) -> Option<(Location, &[u8])> {
    // PA
    let (offset, bytes) = take(bytes)?;
    let (len, bytes) = take(bytes)?;
    Some((Location { segment, offset: u32::try_from(offset).ok()?, len: u32::try_from(len).ok()? }, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn location() -> impl Strategy<Value = Location> {
        (prop_oneof![0..3u64, any::<u64>()], any::<u32>(), any::<u32>()).prop_map(|(segment, offset, len)| Location {
            segment: SegmentId(segment),
            offset,
            len,
        })
    }

    fn dot() -> impl Strategy<Value = Dot> {
        (0..3u8, 0..3u64, any::<u16>(), any::<u64>()).prop_map(|(node, incarnation, partition, sequence)| Dot {
            node: NodeId::from_bytes([node; ID_LEN]),
            incarnation: Incarnation(incarnation),
            partition: Partition(partition),
            sequence: Sequence(sequence),
        })
    }

    prop_compose! {
        fn blob_row()(
            location in location(), dot in dot(), (key, author) in any::<(u8, u8)>(), created: u64, len: u64,
            parents in prop::collection::vec(any::<[u8; ID_LEN]>(), 0..4), kind in 0..3u8, gone: bool, purged: bool,
        ) -> BlobRow {
            BlobRow {
                location, dot, created: Hlc(created), len, kind, gone, purged,
                key_hash: KeyHash::from_bytes([key; ID_LEN]),
                author: AuthorId::from_bytes([author; ID_LEN]),
                parents: parents.into_iter().map(BlobId::from_bytes).collect(),
            }
        }
    }

    prop_compose! {
        fn seal_row()(
            ciphertext_len: u32, data: u8, parity: u8, slices in prop::collection::vec(prop::option::of(location()), 0..12),
        ) -> SealRow {
            SealRow { ciphertext_len, data, parity, slices }
        }
    }

    /// Rows come back, and no other bytes stand for the same row.
    fn survives<T: StoredRow + PartialEq + core::fmt::Debug>(row: &T, flip: prop::sample::Index) {
        let mut symbols = Symbols::default();
        let bytes = row.store(&mut symbols);
        assert_eq!(T::load(&bytes, &symbols).as_ref(), Some(row));
        // In another process, with the symbols out of the file.
        let mut saved = Vec::new();
        while let Some((number, long)) = symbols.unsaved() {
            assert_eq!(number, saved.len() as u64);
            saved.push(long);
        }
        let mut symbols = Symbols::loaded(saved);
        assert_eq!(T::load(&bytes, &symbols).as_ref(), Some(row));
        assert_eq!(row.store(&mut symbols), bytes);
        assert_eq!(symbols.unsaved(), None);
        let mut changed = bytes.clone();
        changed[flip.index(bytes.len())] ^= 1 << flip.index(8);
        for other in [&changed[..], &bytes[..flip.index(bytes.len())]] {
            if let Some(read) = T::load(other, &symbols) {
                assert_ne!(&read, row);
                assert_eq!(read.store(&mut symbols), other);
            }
        }
    }

    proptest! {
        #[test]
        fn versions_survive(row in blob_row(), flip: prop::sample::Index) {
            survives(&row, flip);
        }

        #[test]
        fn seals_survive(row in seal_row(), flip: prop::sample::Index) {
            survives(&row, flip);
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let mut bytes = [0xff; 10];
        bytes[9] = 1;
        assert_eq!(take(&bytes), Some((u64::MAX, &[][..])));
        bytes[9] = 3;
        assert_eq!(take(&bytes), None);
    }

    #[test]
    fn however_many_symbols_there_are_rows_survive_and_few_are_in_memory() {
        let mut symbols = Symbols::default();
        let row = |number: u16| BlobRow {
            location: Location { segment: SegmentId(1), offset: 2, len: 3 },
            key_hash: KeyHash::from_bytes([1; ID_LEN]),
            created: Hlc(4),
            parents: vec![BlobId::from_bytes([7; ID_LEN])],
            kind: 0,
            author: AuthorId::from_bytes([2; ID_LEN]),
            gone: false,
            len: 5,
            dot: Dot {
                node: NodeId::from_bytes([2; ID_LEN]),
                incarnation: Incarnation(number.into()),
                partition: Partition(7),
                sequence: Sequence(8),
            },
            purged: false,
        };
        let rows: Vec<Vec<u8>> = (0..5000).map(|number| row(number).store(&mut symbols)).collect();
        assert_eq!((symbols.long.len(), symbols.numbers.len()), (SYMBOLS_LEN, SYMBOLS_LEN));
        let mut saved = Vec::new();
        while let Some((_, long)) = symbols.unsaved() {
            saved.push(long);
        }
        let mut loaded = Symbols::loaded(saved);
        for (number, bytes) in (0..5000).zip(&rows) {
            assert_eq!(BlobRow::load(bytes, &loaded), Some(row(number)), "{number}");
            assert_eq!(row(number).store(&mut loaded), *bytes);
        }
        assert_eq!(loaded.unsaved(), None);
        // What has a number is not taken in any other form, nor is one that could still be given one.
        let spelled = [1, 2, 3, 4].map(|at| rows[4999][..rows[4999].len() - at].to_vec());
        assert!(spelled.iter().all(|bytes| BlobRow::load(bytes, &loaded).is_none()));
        assert_eq!(BlobRow::load(&rows[4999], &Symbols::default()), None);
        let mut long = Vec::new();
        put(&mut long, SYMBOLS_LEN as u64);
        long.extend_from_slice(&[2; ID_LEN]);
        assert_eq!(loaded.take::<ID_LEN>(&long), None, "the author has a number");
    }

    #[test]
    fn an_unknown_symbol_is_refused() {
        let mut symbols = Symbols::default();
        let row = BlobRow {
            location: Location { segment: SegmentId(1), offset: 2, len: 3 },
            key_hash: KeyHash::from_bytes([1; ID_LEN]),
            created: Hlc(4),
            parents: Vec::new(),
            kind: 0,
            author: AuthorId::from_bytes([2; ID_LEN]),
            gone: false,
            len: 5,
            dot: Dot {
                node: NodeId::from_bytes([2; ID_LEN]),
                incarnation: Incarnation(6),
                partition: Partition(7),
                sequence: Sequence(8),
            },
            purged: false,
        };
        let bytes = row.store(&mut symbols);
        assert_eq!(BlobRow::load(&bytes, &Symbols::default()), None);
        assert_eq!(bytes.len(), 1 + 32 + 8 + 8);
    }
}
