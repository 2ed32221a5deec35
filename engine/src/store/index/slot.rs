//! The fixed start of the index file: superblock and header slots.
//!
//! ```text
//!      0  superblock, written once: magic (8), version u32le, zero (4), salt (16), check (16), zeros to 4,096
//!  4,096  header slot 0, a record of 4,160 + 40 bytes in a room of 8,192
//! 12,288  header slot 1, likewise
//! 20,480  body: page n (n >= 1) of the B-tree's byte space at 20,480 + (n - 1) * 4,136
//! ```
//!
//! Page 0, the B-tree's header, is the only page rewritten in place by it, and a torn write of an encrypted page leaves
//! nothing. So it lives in the slots, which are written in turn, at sync only: whatever a crash leaves of the slot under
//! way, the other holds what the sync before made durable. The valid slot with the highest sequence counts.

use super::cipher::{PageCipher, RECORD_OVERHEAD, RecordKind};
use super::error::{IndexError, PageFailure};
use crate::env::DiskFile;
use crate::id::Domain;

/// Bytes of a page of the B-tree's byte space.
pub(super) const PAGE_LEN: usize = 4096;
/// Bytes from one page's record to the next.
pub(super) const STRIDE: usize = PAGE_LEN + RECORD_OVERHEAD;
/// Where the body starts.
pub(super) const BODY_START: u64 = 20_480;

const MAGIC: [u8; 8] = *b"OUROIDX\x1a";
const VERSION: u32 = 2;
const SUPERBLOCK_LEN: usize = 4096;
const SLOT_START: [u64; 2] = [4096, 12_288];
const SLOT_LEN: usize = 64 + PAGE_LEN;
const CHECK: Domain = Domain::new("ouroborosdb v1 index superblock");

const CLEAN: u64 = 1;
const COMPLETE: u64 = 2;

/// Where page `number` (1 or higher) lies in the file.
pub(super) fn page_offset(number: u64) -> u64 {
    BODY_START.saturating_add(number.saturating_sub(1).saturating_mul(STRIDE as u64))
}

/// Writes the superblock with `salt`.
pub(super) fn write_superblock<F: DiskFile>(file: &F, salt: &[u8; 16]) -> Result<(), PageFailure> {
    let mut block = [0; SUPERBLOCK_LEN];
    block[..8].copy_from_slice(&MAGIC);
    block[8..12].copy_from_slice(&VERSION.to_le_bytes());
    block[16..32].copy_from_slice(salt);
    let check = CHECK.hash(&[&block[..32]]);
    block[32..48].copy_from_slice(&check[..16]);
    Ok(file.write_at(0, &[&block])?)
}

/// Reads the salt from the superblock.
pub(super) fn read_superblock<F: DiskFile>(file: &F) -> Result<[u8; 16], IndexError> {
    // PA
    let mut block = [0; 48];
    let read = file.read_at(0, &mut block)?;
    let check = CHECK.hash(&[&block[..32]]);
    if read != block.len() || block[..8] != MAGIC || block[32..] != check[..16] {
        return Err(IndexError::damaged("its first page is not that of an index"));
    }
    if block[8..12] != VERSION.to_le_bytes() {
        return Err(IndexError::damaged("it was written in another version of the format"));
    }
    Ok(core::array::from_fn(|i| block[16 + i]))
}

/// What a header slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Rises by one with every header made durable.
    pub(super) sequence: u64,
    /// Length of the B-tree's byte space.
    pub(super) len: u64,
    /// Present after a clean close: the page map that follows the body.
    pub(super) map: Option<MapSummary>,
    /// Page 0.
    pub(super) header: Box<[u8; PAGE_LEN]>,
}

/// What a clean close says of the page map it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapSummary {
    /// BLAKE3 of the map.
    pub(super) digest: [u8; 32],
    /// Whether a page that the map does not know was never written, ever.
    pub(super) complete: bool,
}

/// redb's header, so far as [`demand_verification`] needs it (redb, docs/design.md, "Database header").
mod redb_header {
    pub(super) const FLAGS: usize = 9;
    pub(super) const PRIMARY_IS_SECOND: u8 = 1;
    pub(super) const TWO_PHASE: u8 = 4;
    pub(super) const SLOTS: [usize; 2] = [64, 192];
    pub(super) const SLOT_LEN: usize = 128;
}

/// Changes redb's header so that redb verifies every checksum from the primary root down, before it believes any page,
/// and has nothing else to fall back to.
///
/// All our commits are two-phase, for which redb skips that: it trusts that what was synced is there. Clearing the flag
/// makes it verify. It would then also prefer a newer secondary root, which a crash in the middle of a flush leaves
/// behind; so the secondary becomes a copy of the primary.
pub(super) fn demand_verification(header: &mut [u8; PAGE_LEN]) {
    // PA
    use redb_header::{FLAGS, PRIMARY_IS_SECOND, SLOT_LEN, SLOTS, TWO_PHASE};
    let primary = usize::from(header[FLAGS] & PRIMARY_IS_SECOND);
    header[FLAGS] &= !TWO_PHASE;
    header.copy_within(SLOTS[primary]..SLOTS[primary] + SLOT_LEN, SLOTS[1 - primary]);
}

impl Slot {
    /// The place this slot is written to; its predecessor and successor go to the other.
    pub(super) fn place(&self) -> u64 {
        self.sequence % 2
    }

    /// Writes the slot to its place.
    pub(super) fn write(
        &self,
        cipher: &PageCipher,
        counter: u64,
        put: impl FnOnce(u64, &[u8]) -> Result<(), PageFailure>,
    ) -> Result<(), PageFailure> {
        // PA
        let mut plain = [0; SLOT_LEN];
        plain[..8].copy_from_slice(&self.sequence.to_le_bytes());
        plain[16..24].copy_from_slice(&self.len.to_le_bytes());
        if let Some(map) = &self.map {
            let flags = CLEAN | if map.complete { COMPLETE } else { 0 };
            plain[8..16].copy_from_slice(&flags.to_le_bytes());
            plain[24..56].copy_from_slice(&map.digest);
        }
        plain[64..].copy_from_slice(&self.header[..]);
        let mut record = [0; SLOT_LEN + RECORD_OVERHEAD];
        cipher.seal(counter, RecordKind::Slot, self.place(), &plain, &mut record);
        put(SLOT_START[self.place() as usize], &record)
    }

    fn read<F: DiskFile>(file: &F, cipher: &PageCipher, place: u64) -> Result<Option<Self>, IndexError> {
        // PA
        let mut record = [0; SLOT_LEN + RECORD_OVERHEAD];
        let mut plain = [0; SLOT_LEN];
        let read = file.read_at(SLOT_START[place as usize], &mut record)?;
        if read != record.len() || cipher.open(RecordKind::Slot, place, &record, &mut plain).is_none() {
            return Ok(None);
        }
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| plain[at + i]));
        let flags = word(8);
        let map = (flags & CLEAN != 0)
            .then(|| MapSummary { digest: core::array::from_fn(|i| plain[24 + i]), complete: flags & COMPLETE != 0 });
        let mut header = Box::new([0; PAGE_LEN]);
        header.copy_from_slice(&plain[64..]);
        let slot = Self { sequence: word(0), len: word(16), map, header };
        Ok((slot.place() == place && slot.len >= PAGE_LEN as u64).then_some(slot))
    }

    /// Reads the slot that counts.
    pub(super) fn latest<F: DiskFile>(file: &F, cipher: &PageCipher) -> Result<Self, IndexError> {
        let mut slots = Vec::new();
        for place in [0, 1] {
            // One that is misread by chance would be taken for none, and the one before it for the last.
            let slot = match Self::read(file, cipher, place)? {
                None => Self::read(file, cipher, place)?,
                found => found,
            };
            slots.extend(slot);
        }
        slots
            .into_iter()
            .max_by_key(|slot| slot.sequence)
            .ok_or_else(|| IndexError::damaged("neither header can be read, or the key is another"))
    }
}
