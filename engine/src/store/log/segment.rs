//! Segment files: their names, their doubled header, and what binds a record to its place.
//!
//! ```text
//! seg-<16 hex digits>.log
//!      0  4096  header block
//!   4096  4096  header block, the same bytes again
//!   8192        records, each starting at a multiple of 8
//!
//! header block
//!      0     8  magic "OUROSEG1"
//!      8     4  CRC-32 (IEEE) of bytes 12..4096
//!     12     4  n, length of the body
//!     16     n  body: canonical encoding of
//!                  u8 version = 1, [32] store id, u64 segment id, u64 salt, u32 length and bytes of the configuration
//!   16+n        zeros up to 4096
//! ```
//!
//! All integers are little-endian. The salt is random, so that bytes left over from another life of the same file are
//! never taken for records.

use super::LogError;
use crate::codec::{Canonical, DecodeError, bounded};
use crate::env::FileName;
use crate::store::SegmentId;
use borsh::{BorshDeserialize, BorshSerialize};

impl SegmentId {
    /// The segment's file.
    #[must_use]
    pub fn file_name(self) -> FileName {
        match FileName::new(format!("seg-{self}.log")) {
            Ok(name) => name,
            Err(error) => unreachable!("{error}"),
        }
    }

    /// The name that a file gets which may hold data but cannot be read: out of the log's way, and not destroyed.
    pub(super) fn orphan_name(self) -> FileName {
        match FileName::new(format!("orphan-{self}.log")) {
            Ok(name) => name,
            Err(error) => unreachable!("{error}"),
        }
    }

    /// The segment that a file name stands for, or `None` for a file that is none of the log's.
    pub(super) fn from_file_name(name: &FileName) -> Option<Self> {
        let digits = name.as_str().strip_prefix("seg-")?.strip_suffix(".log")?;
        let id = Self(u64::from_str_radix(digits, 16).ok()?);
        // A stray file must not use up the ids.
        (id.file_name() == *name && id.0 <= u64::MAX / 2).then_some(id)
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Names one store; every segment carries it, so that files of another store are refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct StoreId(pub [u8; 32]);

impl core::fmt::Display for StoreId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex()[..16])
    }
}

impl core::fmt::Debug for StoreId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "StoreId({self}…)")
    }
}

/// Length of one header block.
pub(super) const BLOCK_LEN: usize = 4096;
/// Where the first record of a segment starts.
pub(super) const FIRST_RECORD: u32 = 2 * BLOCK_LEN as u32;
/// Longest configuration, in bytes: it shares a header block with 72 bytes of fixed fields.
pub const MAX_CONFIG_LEN: usize = 3840;

const MAGIC: &[u8; 8] = b"OUROSEG1";

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct SegmentHeader {
    pub(super) store: StoreId,
    pub(super) segment: SegmentId,
    pub(super) salt: u64,
    #[borsh(deserialize_with = "bounded::vec::<MAX_CONFIG_LEN, _>")]
    pub(super) config: Vec<u8>,
}

impl Canonical for SegmentHeader {
    const WHAT: &'static str = "segment header";
    const MAX_LEN: usize = BLOCK_LEN - 16;

    fn validate(&self) -> Result<(), DecodeError> {
        if self.config.len() > MAX_CONFIG_LEN {
            return Err(DecodeError::malformed(Self::WHAT, "configuration too long"));
        }
        Ok(())
    }
}

impl SegmentHeader {
    /// One header block.
    pub(super) fn encode_block(&self) -> Vec<u8> {
        // PA
        let body = self.encode();
        let mut block = Vec::with_capacity(BLOCK_LEN);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&(body.len() as u32).to_le_bytes());
        block.extend_from_slice(&body);
        block.resize(BLOCK_LEN, 0);
        let crc = crc32fast::hash(&block[12..]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads a header block: `None` when it is damaged.
    ///
    /// # Errors
    /// [`LogError::Format`] when the block is intact but of a version not known here.
    pub(super) fn decode_block(segment: SegmentId, block: &[u8]) -> Result<Option<Self>, LogError> {
        // PA
        let (Some(magic), Some(crc), Some(rest)) = (block.get(..8), le_u32(block, 8), block.get(12..BLOCK_LEN)) else {
            return Ok(None);
        };
        if magic != MAGIC || crc != crc32fast::hash(rest) {
            return Ok(None);
        }
        let len = le_u32(rest, 0).map_or(usize::MAX, |len| len as usize);
        let Some(body) = rest.get(4..).and_then(|rest| rest.get(..len)) else {
            return Ok(None);
        };
        let header = Self::decode(body).map_err(|error| LogError::Format { segment, error })?;
        Ok(Some(header))
    }

    pub(super) fn binding(&self) -> Binding {
        Binding::new(self.store, self.segment, self.salt)
    }
}

/// Binds records to store, segment and salt: the start of every record header's checksum.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) salt: u64,
    base: crc32fast::Hasher,
}

impl Binding {
    pub(super) fn new(store: StoreId, segment: SegmentId, salt: u64) -> Self {
        let mut base = crc32fast::Hasher::new();
        base.update(&store.0);
        base.update(&segment.0.to_le_bytes());
        base.update(&salt.to_le_bytes());
        Self { salt, base }
    }

    /// Checksum of the fixed part of a record header at `offset`.
    pub(super) fn checksum(&self, offset: u32, fixed: &[u8]) -> u32 {
        let mut hasher = self.base.clone();
        hasher.update(&offset.to_le_bytes());
        hasher.update(fixed);
        hasher.finalize()
    }
}

/// The little-endian `u32` at `at`, if the bytes reach that far.
pub(super) fn le_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader { store: StoreId([7; 32]), segment: SegmentId(0x1234), salt: 99, config: vec![5; MAX_CONFIG_LEN] }
    }

    #[test]
    fn a_header_block_survives_and_every_flipped_byte_is_noticed() {
        let block = header().encode_block();
        assert_eq!(block.len(), BLOCK_LEN);
        assert_eq!(SegmentHeader::decode_block(SegmentId(1), &block).unwrap(), Some(header()));
        for at in 0..block.len() {
            let mut bad = block.clone();
            bad[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode_block(SegmentId(1), &bad).unwrap(), None, "byte {at}");
        }
        assert_eq!(SegmentHeader::decode_block(SegmentId(1), &block[..4095]).unwrap(), None);
    }

    #[test]
    fn only_exact_file_names_are_segments() {
        let id = SegmentId(0xabc);
        assert_eq!(id.file_name().as_str(), "seg-0000000000000abc.log");
        assert_eq!(SegmentId::from_file_name(&id.file_name()), Some(id));
        for name in [
            "seg-abc.log",
            "seg-+000000000000abc.log",
            "x",
            "seg-ffffffffffffffff.log",
            "seg-0000000000000abc.log2",
            "orphan-01.log",
        ] {
            let Ok(name) = FileName::new(name) else { continue };
            assert_eq!(SegmentId::from_file_name(&name), None, "{name}");
        }
    }
}
