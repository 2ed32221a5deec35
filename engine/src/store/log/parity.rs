//! Group parity: what makes a burst of bad sectors heal in place.
//!
//! The bytes of a group's records, one after the other, are cut into blocks; block `i` belongs to stripe `i mod S`. The
//! parity of stripe `s` is the XOR of its blocks, and stands as block `N + j` with `(N + j) mod S = s` behind the `N` data
//! blocks: so any `S` blocks in a row, parity included, are of `S` different stripes, and each stripe mends one.
//! The last data block is taken as if zeros filled it up.
//!
//! A group is followed by three records: ParityList, Parity, and the same ParityList again, so that no burst that the
//! group outlives takes both lists.
//!
//! ```text
//! Parity payload: the S parity blocks
//! ParityList payload: canonical encoding of
//!    u8 version = 1
//!    u32 block length                   512 for groups of up to 32 KiB, else 4096
//!    u32 S
//!    u32, u32, u32                      offsets of the first list, the parity, the second list
//!    u32 count, then as often u32 offset, u32 length     the extents that make up the data, rising
//!    u32 count, then as often u32       CRC-32 of each of the N data and S parity blocks
//! ```
//!
//! Of a record flagged `spread` only the header and the checked prefix are covered: the rest has siblings.

use crate::codec::{Canonical, DecodeError};
use borsh::{BorshDeserialize, BorshSerialize};

/// A list, the parity, and the list again.
pub(super) const RECORDS_OF_GROUP: u64 = 3;
/// Data blocks per parity block, at most, in a group that is full.
const ROWS: usize = 16;
const BLOCK_LEN: usize = 4096;
/// Fewest stripes: the short last block and the list between data and parity make a burst touch two blocks more.
const MIN_STRIPES: usize = 4;
/// Groups up to this length get parity of finer grain.
const SMALL_LEN: usize = 32 << 10;
const SMALL_BLOCK_LEN: usize = 512;
/// A burst of eight sectors touches at most ten blocks of a group with its list between data and parity.
const SMALL_STRIPES: usize = 10;

/// The payload of a ParityList record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct ParityList {
    pub(super) block_len: u32,
    pub(super) stripes: u32,
    pub(super) first_list: u32,
    pub(super) parity: u32,
    pub(super) second_list: u32,
    pub(super) extents: Vec<(u32, u32)>,
    pub(super) crcs: Vec<u32>,
}

impl Canonical for ParityList {
    const WHAT: &'static str = "parity list";
    const MAX_LEN: usize = 64 << 20;

    fn validate(&self) -> Result<(), DecodeError> {
        // PA
        let wrong = |why: &str| Err(DecodeError::malformed(Self::WHAT, why));
        if !matches!(self.block_len as usize, BLOCK_LEN | SMALL_BLOCK_LEN) || self.stripes == 0 {
            return wrong("block length or stripes");
        }
        let mut end = 0;
        for (offset, len) in &self.extents {
            if u64::from(*offset) < end || *len == 0 {
                return wrong("extents out of order");
            }
            end = u64::from(*offset) + u64::from(*len);
        }
        let lists_behind = u64::from(self.first_list) >= end
            && self.first_list < self.parity
            && u64::from(self.parity) + u64::from(self.stripes) * u64::from(self.block_len)
                <= u64::from(self.second_list);
        if !lists_behind {
            return wrong("parity does not follow its data");
        }
        if self.data_blocks() + self.stripes as usize != self.crcs.len() {
            return wrong("number of blocks");
        }
        Ok(())
    }
}

impl ParityList {
    /// Bytes of data that the group covers.
    pub(super) fn data_len(&self) -> u64 {
        self.extents.iter().map(|(_, len)| u64::from(*len)).sum()
    }

    /// `N`.
    pub(super) fn data_blocks(&self) -> usize {
        self.data_len().div_ceil(u64::from(self.block_len)) as usize
    }
}

/// A group that is being gathered.
#[derive(Clone, Debug)]
struct Group {
    stripes: usize,
    extents: Vec<(u32, u32)>,
    len: usize,
    /// XOR of the blocks of each stripe, once there are more bytes than `small` takes.
    rows: Vec<u8>,
    crcs: Vec<u32>,
    crc: crc32fast::Hasher,
    /// The bytes themselves, while there are at most [`SMALL_LEN`].
    small: Vec<u8>,
}

impl Group {
    fn new(stripes: usize) -> Self {
        Self {
            stripes,
            extents: Vec::new(),
            len: 0,
            rows: Vec::new(),
            crcs: Vec::new(),
            crc: crc32fast::Hasher::new(),
            small: Vec::new(),
        }
    }

    fn push(&mut self, offset: u32, bytes: &[u8]) {
        // PA
        let len = bytes.len() as u32;
        match self.extents.last_mut() {
            Some((start, extent)) if *start + *extent == offset => *extent += len,
            _ => self.extents.push((offset, len)),
        }
        if self.len + bytes.len() <= SMALL_LEN {
            self.small.extend_from_slice(bytes);
            self.len += bytes.len();
            return;
        }
        // Most groups of a node with little to do end before they come to this.
        let before = core::mem::take(&mut self.small);
        self.len -= before.len();
        self.fold(&before);
        self.fold(bytes);
    }

    /// Takes bytes into the parity of their stripes.
    fn fold(&mut self, mut bytes: &[u8]) {
        // PA
        self.rows.resize(self.stripes * BLOCK_LEN, 0);
        while !bytes.is_empty() {
            let (block, within) = (self.len / BLOCK_LEN, self.len % BLOCK_LEN);
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_LEN - within));
            let row = block % self.stripes * BLOCK_LEN + within;
            xor(&mut self.rows[row..row + now.len()], now);
            self.crc.update(now);
            self.len += now.len();
            if self.len.is_multiple_of(BLOCK_LEN) {
                self.crcs.push(core::mem::take(&mut self.crc).finalize());
            }
            bytes = later;
        }
    }

    fn estimated_len(&self) -> u64 {
        let (rows, blocks) = if self.len <= SMALL_LEN {
            (SMALL_STRIPES * SMALL_BLOCK_LEN, self.len / SMALL_BLOCK_LEN)
        } else {
            (self.rows.len(), self.len / BLOCK_LEN)
        };
        (rows + 16 * self.extents.len() + 8 * blocks + 512) as u64
    }

    /// The list, its offsets not filled in yet, and the parity.
    fn finish(&self) -> (ParityList, Vec<u8>) {
        // PA
        if self.len <= SMALL_LEN {
            let mut data = self.small.clone();
            data.resize(data.len().next_multiple_of(SMALL_BLOCK_LEN), 0);
            let mut rows = vec![0; SMALL_STRIPES * SMALL_BLOCK_LEN];
            let mut crcs = Vec::new();
            for (index, block) in data.chunks(SMALL_BLOCK_LEN).enumerate() {
                let row = index % SMALL_STRIPES * SMALL_BLOCK_LEN;
                xor(&mut rows[row..row + SMALL_BLOCK_LEN], block);
                crcs.push(crc32fast::hash(block));
            }
            return self.list(SMALL_BLOCK_LEN, rows, crcs);
        }
        let mut crcs = self.crcs.clone();
        if !self.len.is_multiple_of(BLOCK_LEN) {
            let mut crc = self.crc.clone();
            crc.update(&[0; BLOCK_LEN][self.len % BLOCK_LEN..]);
            crcs.push(crc.finalize());
        }
        // Fewer blocks need fewer stripes: `i mod S/2` is `(i mod S) mod S/2`, so halves can be folded together.
        let wanted = crcs.len().div_ceil(ROWS).next_power_of_two().max(MIN_STRIPES);
        let mut rows = self.rows.clone();
        while rows.len() > wanted * BLOCK_LEN {
            let upper = rows.split_off(rows.len() / 2);
            xor(&mut rows, &upper);
        }
        self.list(BLOCK_LEN, rows, crcs)
    }

    fn list(&self, block_len: usize, rows: Vec<u8>, mut crcs: Vec<u32>) -> (ParityList, Vec<u8>) {
        // PA
        let stripes = rows.len() / block_len;
        let first = crcs.len() % stripes;
        let mut parity = rows;
        parity.rotate_left(first * block_len);
        crcs.extend(parity.chunks(block_len).map(crc32fast::hash));
        let list = ParityList {
            block_len: block_len as u32,
            stripes: stripes as u32,
            first_list: 0,
            parity: 0,
            second_list: 0,
            extents: self.extents.clone(),
            crcs,
        };
        (list, parity)
    }
}

/// Adds `from` to `to`, bit by bit and without carry.
pub(super) fn xor(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}

/// The groups of a segment whose parity is not written yet.
#[derive(Clone, Debug)]
pub(super) struct Cover {
    group_len: usize,
    full: Vec<Group>,
    open: Group,
}

impl Cover {
    /// Groups of about `group_len` bytes.
    pub(super) fn new(group_len: u32) -> Self {
        let group_len = group_len as usize;
        Self { group_len, full: Vec::new(), open: Group::new(stripes(group_len)) }
    }

    /// Makes groups from now on as long as this; the one that is being gathered ends here.
    pub(super) fn set_group_len(&mut self, group_len: u32) {
        self.group_len = group_len as usize;
        let next = Group::new(stripes(self.group_len));
        let open = core::mem::replace(&mut self.open, next);
        self.full.extend((open.len > 0).then_some(open));
    }

    /// Covers bytes that stand at `offset`.
    pub(super) fn push(&mut self, mut offset: u32, mut bytes: &[u8]) {
        // PA
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.group_len - self.open.len));
            self.open.push(offset, now);
            offset += now.len() as u32;
            bytes = later;
            if self.open.len == self.group_len {
                let next = Group::new(self.open.stripes);
                self.full.push(core::mem::replace(&mut self.open, next));
            }
        }
    }

    /// Whether a group is full, so that parity should be written before the next record.
    pub(super) fn is_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// About how many bytes parity would take now.
    pub(super) fn estimated_len(&self) -> u64 {
        let groups = self.full.iter().chain([&self.open]).filter(|group| group.len > 0);
        groups.map(Group::estimated_len).sum()
    }

    /// The list and the parity of a group, by its number from the oldest on.
    pub(super) fn group(&self, number: usize) -> Option<(ParityList, Vec<u8>)> {
        self.full.iter().chain([&self.open]).nth(number).filter(|group| group.len > 0).map(Group::finish)
    }

    /// Forgets all groups: their parity is written.
    pub(super) fn clear(&mut self) {
        self.full.clear();
        self.open = Group::new(self.open.stripes);
    }
}

/// How many stripes a full group of this length has.
fn stripes(group_len: usize) -> usize {
    group_len.div_ceil(ROWS * BLOCK_LEN).next_power_of_two().max(MIN_STRIPES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::hostile;

    /// Restores one block from the others of its stripe.
    fn restored(blocks: &[Vec<u8>], lost: usize, stripes: usize) -> Vec<u8> {
        let mut block = vec![0; blocks[lost].len()];
        for index in (lost % stripes..blocks.len()).step_by(stripes).filter(|index| *index != lost) {
            xor(&mut block, &blocks[index]);
        }
        block
    }

    #[test]
    fn every_block_of_any_group_is_the_sum_of_the_rest_of_its_stripe() {
        for len in [1, 511, 512, 4096, 32 << 10, (32 << 10) + 1, 100_000, 260_000, 1 << 20] {
            let data: Vec<u8> = (0..len).map(|at: usize| (at * 31 + at / 251) as u8).collect();
            let mut cover = Cover::new(1 << 20);
            for (index, piece) in data.chunks(777).enumerate() {
                cover.push(8192 + (index * 1000) as u32, piece);
            }
            let (list, parity) = cover.group(0).unwrap();
            assert!(cover.group(1).is_none());
            cover.clear();
            assert!(cover.group(0).is_none());
            assert_eq!(list.data_len(), len as u64);
            let (block_len, stripes) = (list.block_len as usize, list.stripes as usize);
            assert!(list.data_blocks().div_ceil(stripes) <= ROWS, "{len}: rows");
            assert_eq!(parity.len(), stripes * block_len);
            let mut padded = data;
            padded.resize(list.data_blocks() * block_len, 0);
            let blocks: Vec<Vec<u8>> =
                padded.chunks(block_len).chain(parity.chunks(block_len)).map(<[u8]>::to_vec).collect();
            assert_eq!(blocks.len(), list.crcs.len());
            for (index, block) in blocks.iter().enumerate() {
                assert_eq!(crc32fast::hash(block), list.crcs[index]);
                assert_eq!(restored(&blocks, index, stripes), *block, "{len}: block {index}");
            }
        }
    }

    #[test]
    fn a_record_longer_than_a_group_fills_several() {
        let mut cover = Cover::new(64 << 10);
        cover.push(8192, &vec![7; 200 << 10]);
        assert_eq!(cover.full.len(), 3);
        let mut offset = 8192;
        for number in 0..4 {
            let (list, _) = cover.group(number).unwrap();
            assert_eq!(list.extents, [(offset, list.data_len() as u32)]);
            offset += list.data_len() as u32;
        }
        assert_eq!(offset, 8192 + (200 << 10));
    }

    #[test]
    fn lists_that_no_log_writes_are_refused() {
        let good = ParityList {
            block_len: 512,
            stripes: 2,
            first_list: 3000,
            parity: 3200,
            second_list: 3200 + 1024,
            extents: vec![(100, 600), (700, 1)],
            crcs: vec![7; 4],
        };
        hostile::has_one_spelling::<ParityList>(&good.encode());
        let bad = [
            ParityList { block_len: 1024, crcs: vec![7; 3], ..good.clone() },
            ParityList { stripes: 0, crcs: vec![7; 2], ..good.clone() },
            ParityList { extents: vec![(100, 600), (699, 1)], ..good.clone() },
            ParityList { extents: vec![(100, 601), (800, 0)], ..good.clone() },
            ParityList { first_list: 700, ..good.clone() },
            ParityList { first_list: 3200, ..good.clone() },
            ParityList { second_list: 3200 + 1023, ..good.clone() },
            ParityList { crcs: vec![7; 5], ..good },
        ];
        bad.iter().for_each(hostile::is_refused);
    }
}
