//! The content of one file: sparse, copied on write, with the scars that faults left.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// The unit in which a disk keeps, loses, tears and damages, in bytes.
pub const SECTOR_LEN: usize = 512;

/// How much is copied when a shared part is written, in bytes.
const BLOCK_LEN: usize = 4096;
const ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];

pub(super) type Sector = [u8; SECTOR_LEN];

/// Damage to one sector at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit is flipped: `bit` counts from the lowest bit of the sector's first byte, modulo the sector.
    FlippedBit {
        /// Which bit.
        bit: u16,
    },
    /// The sector holds zeros.
    Zeroed,
    /// The sector holds what another sector of the same file held.
    ReplacedBy {
        /// The other sector's index.
        sector: u64,
    },
    /// The sector cannot be read until it is written anew.
    Unreadable,
    /// The sector holds noise drawn from this seed.
    Garbage {
        /// The noise's seed.
        seed: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scar {
    Altered,
    Unreadable,
}

/// A part of a file, and its hash once somebody has asked for it: most of a disk is as it was a moment ago.
#[derive(Debug)]
struct Block {
    bytes: [u8; BLOCK_LEN],
    hash: OnceLock<[u8; 32]>,
}

impl Block {
    const fn zeros() -> Self {
        Self { bytes: ZEROS, hash: OnceLock::new() }
    }

    fn bytes_mut(&mut self) -> &mut [u8; BLOCK_LEN] {
        self.hash.take();
        &mut self.bytes
    }

    /// Zeros for a block of zeros, which is the same as no block.
    fn hash(&self) -> [u8; 32] {
        *self.hash.get_or_init(|| match self.bytes == ZEROS {
            true => [0; 32],
            false => *blake3::hash(&self.bytes).as_bytes(),
        })
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, hash: OnceLock::new() }
    }
}

// Invariant outside of a crash's replay: bytes from `len` on are zero, so that growing a file shows zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    len: u64,
    blocks: Arc<BTreeMap<u64, Arc<Block>>>,
    scars: Arc<BTreeMap<u64, Scar>>,
}

pub(super) const fn sector_of(offset: u64) -> u64 {
    offset / SECTOR_LEN as u64
}

pub(super) const fn sector_start(sector: u64) -> u64 {
    sector.saturating_mul(SECTOR_LEN as u64)
}

/// The sectors that `len` bytes at `offset` touch.
pub(super) fn sectors(offset: u64, len: u64) -> core::ops::Range<u64> {
    if len == 0 {
        return sector_of(offset)..sector_of(offset);
    }
    sector_of(offset)..sector_of(offset.saturating_add(len - 1)).saturating_add(1)
}

impl Image {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Sets the length without touching bytes: only for replays, which end in [`Image::settle`].
    pub(super) const fn set_len(&mut self, len: u64) {
        self.len = len;
    }

    /// Fills `buffer` with the bytes at `offset`, zeros where there are none, whatever the length.
    pub(super) fn copy_out(&self, offset: u64, buffer: &mut [u8]) {
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = (at % BLOCK_LEN as u64) as usize;
            let (head, tail) = rest.split_at_mut(rest.len().min(BLOCK_LEN - within));
            match self.blocks.get(&(at / BLOCK_LEN as u64)) {
                Some(block) => head.copy_from_slice(&block.bytes[within..within + head.len()]),
                None => head.fill(0),
            }
            at = at.saturating_add(head.len() as u64);
            rest = tail;
        }
    }

    pub(super) fn sector(&self, sector: u64) -> Sector {
        let mut out = [0; SECTOR_LEN];
        self.copy_out(sector_start(sector), &mut out);
        out
    }

    /// Writes bytes without touching length or scars.
    pub(super) fn copy_in(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut at = offset;
        let mut rest = bytes;
        let blocks = Arc::make_mut(&mut self.blocks);
        while !rest.is_empty() {
            let within = (at % BLOCK_LEN as u64) as usize;
            let (head, tail) = rest.split_at(rest.len().min(BLOCK_LEN - within));
            let block = blocks.entry(at / BLOCK_LEN as u64).or_insert_with(|| Arc::new(Block::zeros()));
            Arc::make_mut(block).bytes_mut()[within..within + head.len()].copy_from_slice(head);
            at = at.saturating_add(head.len() as u64);
            rest = tail;
        }
    }

    /// Cuts the file: what lay beyond is zero from now on.
    pub(super) fn cut(&mut self, len: u64) {
        self.len = len;
        self.settle();
    }

    /// Makes everything beyond the length zero.
    pub(super) fn settle(&mut self) {
        // Looks before it writes: a shared map is copied only if there is something to cut.
        let first_beyond = self.len.div_ceil(BLOCK_LEN as u64);
        if self.blocks.last_key_value().is_some_and(|(last, _)| *last >= first_beyond) {
            Arc::make_mut(&mut self.blocks).split_off(&first_beyond);
        }
        let (last, within) = (self.len / BLOCK_LEN as u64, (self.len % BLOCK_LEN as u64) as usize);
        let leftover = |block: &Arc<Block>| block.bytes[within..] != ZEROS[within..];
        if self.blocks.get(&last).is_some_and(leftover)
            && let Some(block) = Arc::make_mut(&mut self.blocks).get_mut(&last)
        {
            Arc::make_mut(block).bytes_mut()[within..].fill(0);
        }
        if !self.scars.is_empty() {
            Arc::make_mut(&mut self.scars).split_off(&self.len.div_ceil(SECTOR_LEN as u64));
        }
    }

    /// Damages one sector; bytes beyond the end stay zero. False when the file has no such sector.
    pub(super) fn damage(&mut self, sector: u64, damage: Damage) -> bool {
        let start = sector_start(sector);
        if start >= self.len {
            return false;
        }
        let mut bytes = self.sector(sector);
        let present = usize::try_from(self.len - start).unwrap_or(SECTOR_LEN).min(SECTOR_LEN);
        let mut scar = Scar::Altered;
        match damage {
            Damage::FlippedBit { bit } => {
                let bit = usize::from(bit) % (present * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Damage::Zeroed => bytes.fill(0),
            Damage::ReplacedBy { sector } => bytes = self.sector(sector),
            Damage::Garbage { seed } => super::Stream::new(seed, "garbage").fill(&mut bytes),
            Damage::Unreadable => scar = Scar::Unreadable,
        }
        if scar == Scar::Unreadable || bytes[..present] != self.sector(sector)[..present] {
            self.copy_in(start, &bytes[..present]);
            self.mark(sector, scar);
        }
        true
    }

    pub(super) fn heal(&mut self, sector: u64) {
        if self.scars.contains_key(&sector) {
            Arc::make_mut(&mut self.scars).remove(&sector);
        }
    }

    pub(super) fn mark(&mut self, sector: u64, scar: Scar) {
        Arc::make_mut(&mut self.scars).insert(sector, scar);
    }

    pub(super) fn scarred(&self) -> impl Iterator<Item = (u64, Scar)> + '_ {
        self.scars.iter().map(|(sector, scar)| (*sector, *scar))
    }

    /// Adds length and bytes, not scars, to a hash.
    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.len.to_le_bytes());
        for (number, block) in self.blocks.iter() {
            let hash = block.hash();
            if hash != [0; 32] {
                // No block has the last number there is, which ends the list.
                hasher.update(&number.to_le_bytes()).update(&hash);
            }
        }
        hasher.update(&u64::MAX.to_le_bytes());
    }

    /// A sector that the disk refuses to read, and with it these bytes: it reads `physical` sectors at once.
    pub(super) fn unreadable(&self, offset: u64, len: u64, physical: u64) -> Option<u64> {
        let asked = sectors(offset, len);
        let from = asked.start - asked.start % physical;
        let to = asked.end.checked_next_multiple_of(physical).unwrap_or(asked.end);
        self.scars.range(from..to).find(|(_, scar)| **scar == Scar::Unreadable).map(|(sector, _)| *sector)
    }
}
