//! Records: a header that names and bounds a payload.
//!
//! ```text
//!  0  4  magic "oRec"
//!  4  1  kind
//!  5  1  flags: bit 0 spread
//!  6  2  zero
//!  8  4  n, payload length in bytes
//! 12  4  c, how much of the payload the checksum covers: n, or for slices the length of the slice header
//! 16  4  CRC-32 of the payload's first c bytes
//! 20  4  CRC-32 of: store id (32), u64 segment id, u64 salt, u32 own offset in the segment, bytes 0..20
//! 24  n  payload
//!        zeros up to the next multiple of 8
//! ```

use super::segment::{Binding, le_u32};
use crate::planted::{Bug, planted};

/// What a record is. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A sealed slice: verifies itself beyond its header.
    Slice = 1,
    /// A blob's signed header, dot, key wrap and sealed body.
    Blob = 2,
    /// A page of seal references.
    RefPage = 3,
    /// A signed deletion.
    Tombstone = 4,
    /// A key given to a reader.
    Grant = 5,
    /// Anything else that must survive the loss of the index.
    Note = 6,
    /// Ends a batch. Written by the log.
    Commit = 16,
    /// Which segments make up the log. Written by the log.
    Segments = 17,
    /// The extents and checksums of a parity group. Written by the log.
    ParityList = 18,
    /// The parity of a group. Written by the log.
    Parity = 19,
    /// The directory that seals a segment. Written by the log.
    Footer = 20,
}

impl RecordKind {
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Slice,
            2 => Self::Blob,
            3 => Self::RefPage,
            4 => Self::Tombstone,
            5 => Self::Grant,
            6 => Self::Note,
            16 => Self::Commit,
            17 => Self::Segments,
            18 => Self::ParityList,
            19 => Self::Parity,
            20 => Self::Footer,
            _ => return None,
        })
    }

    /// Whether the log's user writes it, rather than the log itself.
    #[must_use]
    pub const fn is_content(self) -> bool {
        (self as u8) < Self::Commit as u8
    }

    /// Whether the record can be made again from the rest of its segment.
    pub(super) const fn is_upkeep(self) -> bool {
        matches!(self, Self::ParityList | Self::Parity | Self::Footer)
    }
}

/// Flags of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecordFlags(u8);

impl RecordFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The record's siblings lie far enough apart to protect each other, so group parity leaves out its payload
    /// beyond the checked prefix.
    pub const SPREAD: Self = Self(1);

    /// Whether [`Self::SPREAD`] is set.
    #[must_use]
    pub const fn is_spread(self) -> bool {
        self.0 & Self::SPREAD.0 != 0
    }
}

/// Length of a record header, in bytes.
pub(super) const HEADER_LEN: usize = 24;
const MAGIC: [u8; 4] = *b"oRec";
const PADDING: [u8; 8] = [0; 8];

/// A record's header, in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: RecordKind,
    pub(super) flags: RecordFlags,
    pub(super) len: u32,
    pub(super) checked_len: u32,
    pub(super) checked_crc: u32,
}

impl RecordHeader {
    /// The header of a payload made of `parts`, together `len` bytes. A slice's first part is its slice header, and
    /// only that is checked here.
    pub(super) fn of(kind: RecordKind, flags: RecordFlags, len: u32, parts: &[&[u8]]) -> Self {
        let checked = if kind == RecordKind::Slice { parts.get(..1).unwrap_or_default() } else { parts };
        let mut crc = crc32fast::Hasher::new();
        let mut checked_len = 0;
        for part in checked {
            crc.update(part);
            checked_len += part.len() as u32;
        }
        Self { kind, flags, len, checked_len, checked_crc: crc.finalize() }
    }

    pub(super) fn encode(&self, binding: &Binding, offset: u32) -> [u8; HEADER_LEN] {
        // PA
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = self.flags.0;
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.checked_len.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.checked_crc.to_le_bytes());
        let crc = binding.checksum(offset, &bytes[..20]);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at `offset` of a segment in which `room` bytes follow `offset`; `None` if it is none.
    pub(super) fn decode(bytes: &[u8], binding: &Binding, offset: u32, room: u64) -> Option<Self> {
        // PA
        let header = Self::parse(bytes)?;
        let short = header.kind == RecordKind::Commit && planted(Bug::RoomOffByOne);
        let fits = record_len(header.len) + u64::from(short) <= room;
        (fits && le_u32(bytes, 20)? == binding.checksum(offset, bytes.get(..20)?)).then_some(header)
    }

    /// Reads the fields alone, without the checksum that binds them to their place.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        // PA
        if bytes.get(..4)? != MAGIC || bytes.get(6..8)? != [0, 0] {
            return None;
        }
        let (kind, flags) = (RecordKind::from_byte(*bytes.get(4)?)?, *bytes.get(5)?);
        let (len, checked_len) = (le_u32(bytes, 8)?, le_u32(bytes, 12)?);
        let all_checked = kind == RecordKind::Slice || checked_len == len;
        if flags & !RecordFlags::SPREAD.0 != 0 || checked_len > len || !all_checked {
            return None;
        }
        Some(Self { kind, flags: RecordFlags(flags), len, checked_len, checked_crc: le_u32(bytes, 16)? })
    }

    /// Whether the checked prefix of `payload` is what was written. `payload` may be just that prefix.
    pub(super) fn checks(&self, payload: &[u8]) -> bool {
        payload.get(..self.checked_len as usize).is_some_and(|prefix| crc32fast::hash(prefix) == self.checked_crc)
    }

    /// Bytes on disk, padding included.
    pub(super) fn record_len(&self) -> u64 {
        record_len(self.len)
    }
}

/// Where the next record header may be, if there is the start of one in `bytes`: only multiples of 8 are looked at.
pub(super) fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).step_by(8).find(|&at| bytes.get(at..).is_some_and(|rest| rest.starts_with(&MAGIC)))
}

/// Bytes on disk of a record with such a payload: header, payload, padding.
pub(crate) const fn record_len(payload_len: u32) -> u64 {
    (HEADER_LEN as u64 + payload_len as u64).next_multiple_of(8)
}

/// The zeros that follow a payload of such a length.
pub(super) fn padding(payload_len: u32) -> &'static [u8] {
    let count = (record_len(payload_len) - HEADER_LEN as u64 - u64::from(payload_len)) as usize;
    PADDING.get(..count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::log::{SegmentId, StoreId};

    #[test]
    fn a_header_is_refused_elsewhere_and_after_any_flip() {
        let binding = Binding::new(StoreId([1; 32]), SegmentId(3), 77);
        let header = RecordHeader::of(RecordKind::Slice, RecordFlags::SPREAD, 10, &[b"head", b"er....".as_slice()]);
        assert_eq!(header.checked_len, 4);
        let bytes = header.encode(&binding, 8192);
        assert_eq!(RecordHeader::decode(&bytes, &binding, 8192, 40), Some(header));
        assert_eq!(RecordHeader::decode(&bytes, &binding, 8192, 39), None);
        assert_eq!(RecordHeader::decode(&bytes, &binding, 8200, 40), None);
        for other in [
            Binding::new(StoreId([1; 32]), SegmentId(3), 78),
            Binding::new(StoreId([1; 32]), SegmentId(4), 77),
            Binding::new(StoreId([2; 32]), SegmentId(3), 77),
        ] {
            assert_eq!(RecordHeader::decode(&bytes, &other, 8192, 40), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bad, &binding, 8192, 1 << 40), None, "bit {bit}");
        }
    }

    #[test]
    fn records_are_padded_to_eight_bytes() {
        for len in 0..40 {
            assert_eq!(record_len(len) % 8, 0);
            assert_eq!(record_len(len), HEADER_LEN as u64 + u64::from(len) + padding(len).len() as u64);
        }
    }

    #[test]
    fn fields_that_no_log_writes_are_no_header() {
        let binding = Binding::new(StoreId([1; 32]), SegmentId(3), 77);
        let slice = RecordHeader::of(RecordKind::Slice, RecordFlags::SPREAD, 10, &[b"head", b"er....".as_slice()]);
        let blob = RecordHeader::of(RecordKind::Blob, RecordFlags::NONE, 10, &[b"head", b"er....".as_slice()]);
        for header in [slice, blob] {
            assert_eq!(RecordHeader::parse(&header.encode(&binding, 8192)), Some(header));
        }
        let is_refused = |header: RecordHeader| RecordHeader::parse(&header.encode(&binding, 8192)).is_none();
        assert!(is_refused(RecordHeader { checked_len: 11, ..slice }), "more is checked than there is");
        assert!(is_refused(RecordHeader { checked_len: 4, ..blob }), "what has no siblings is checked whole");
        assert!(is_refused(RecordHeader { flags: RecordFlags(0x80), ..blob }), "a flag that is not known");
        for at in [0, 1, 2, 3, 6, 7] {
            let mut bytes = blob.encode(&binding, 8192);
            bytes[at] ^= 1;
            assert_eq!(RecordHeader::parse(&bytes), None, "byte {at}");
        }
    }
}
