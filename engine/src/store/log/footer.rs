//! The footer that seals a segment: the directory of its records.
//!
//! ```text
//! payload: canonical encoding of
//!    u8 version = 1
//!    u32 count of records
//!    u32 length, bytes of the directory: for each record in order, from offset 8192 on without gaps,
//!        u8 kind, with the top bit set if spread; then its length on disk divided by 8, as a LEB128 number
//! ```

use super::record::{RecordHeader, RecordKind};
use crate::codec::{Canonical, bounded};
use borsh::{BorshDeserialize, BorshSerialize};

const SPREAD_BIT: u8 = 0x80;

/// The payload of a footer.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Footer {
    records: u32,
    #[borsh(deserialize_with = "bounded::vec::<{ Footer::MAX_LEN }, _>")]
    directory: Vec<u8>,
    #[borsh(skip)]
    sealed: bool,
}

impl Canonical for Footer {
    const WHAT: &'static str = "segment footer";
    const MAX_LEN: usize = 512 << 20;
}

impl Footer {
    /// Notes the next record.
    pub(super) fn add(&mut self, header: &RecordHeader) {
        // PA
        self.records = self.records.saturating_add(1);
        self.sealed |= header.kind == RecordKind::Footer;
        let spread = if header.flags.is_spread() { SPREAD_BIT } else { 0 };
        self.directory.push(header.kind as u8 | spread);
        let mut units = header.record_len() / 8;
        while units >= 0x80 {
            self.directory.push(units as u8 | 0x80);
            units >>= 7;
        }
        self.directory.push(units as u8);
    }

    /// Where it stands, for [`Self::reset`].
    pub(super) fn mark(&self) -> (u32, usize) {
        (self.records, self.directory.len())
    }

    /// Forgets what was added after `mark`.
    pub(super) fn reset(&mut self, (records, len): (u32, usize)) {
        self.records = records;
        self.directory.truncate(len);
    }

    /// Whether a footer is among the records.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// About how long the record will be, in bytes.
    pub(super) fn estimated_len(&self) -> u64 {
        self.directory.len() as u64 + 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::log::RecordFlags;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        let mut footer = Footer::default();
        for len in [0, 1000, 1 << 20] {
            footer.add(&RecordHeader::of(RecordKind::Blob, RecordFlags::SPREAD, len, &[]));
        }
        assert_eq!(footer.directory, [0x82, 3, 0x82, 0x80, 1, 0x82, 0x83, 0x80, 8]);
        assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
    }
}
