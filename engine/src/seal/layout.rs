//! Where a ciphertext's bytes lie among its shards.

use super::{Coding, MAX_CIPHERTEXT_LEN};
use crate::codec::DecodeError;

/// Shards start at multiples of this at least: the leaf of a BLAKE3 tree.
const MIN_UNIT: u32 = 1 << 10;
/// Shards that are planned here start at multiples of this at least: shorter ones save little parity next to the
/// headers of more slices, and BLAKE3 hashes them one leaf at a time.
const MIN_PLANNED_UNIT: u32 = 2 << 10;
/// Wider units would only waste parity: BLAKE3 is at full width from 16 leaves on. (Measured with AVX-512: subtrees of
/// 4 KiB hash at 2.3 GB/s, of 8 KiB at 4.2, of 16 KiB at 7.5, of 1 MiB at 9.1.)
const MAX_UNIT: u32 = 16 << 10;

/// The effective coding of one ciphertext: a short one has fewer data shards than its coding asked for.
/// The last data shard may be short; for the code, zeros follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout {
    coding: Coding,
    shard_len: u32,
    ciphertext_len: u32,
}

impl Layout {
    /// Spreads `ciphertext_len` bytes as `coding` asks.
    #[must_use]
    pub fn plan(ciphertext_len: u32, coding: Coding) -> Self {
        // PA
        let exact = ciphertext_len.div_ceil(u32::from(coding.data()));
        let mut unit = MAX_UNIT;
        while unit > MIN_PLANNED_UNIT && unit > exact / 4 {
            unit /= 2;
        }
        let shard_len = exact.next_multiple_of(unit);
        // Not more than `coding.data()`, because shards only grew.
        let data = ciphertext_len.div_ceil(shard_len) as u8;
        match Coding::new(data, coding.parity()) {
            Ok(coding) => Self { coding, shard_len, ciphertext_len },
            Err(error) => unreachable!("fewer shards than a valid coding has: {error}"),
        }
    }

    /// A layout that was read from outside.
    pub(super) fn checked(coding: Coding, shard_len: u32, ciphertext_len: u32) -> Result<Self, DecodeError> {
        // PA
        let data = u32::from(coding.data());
        let whole_units = shard_len > 0 && shard_len.is_multiple_of(MIN_UNIT);
        let bounded =
            shard_len <= MAX_CIPHERTEXT_LEN.next_multiple_of(MAX_UNIT) && ciphertext_len <= MAX_CIPHERTEXT_LEN;
        // A shard longer than the ciphertext would make parity of nothing.
        let snug = shard_len < ciphertext_len.saturating_add(MAX_UNIT);
        if whole_units && bounded && snug && ciphertext_len.div_ceil(shard_len) == data {
            return Ok(Self { coding, shard_len, ciphertext_len });
        }
        let why = format!("{data} data shards of {shard_len} B cannot hold {ciphertext_len} B");
        Err(DecodeError::malformed("slice header", why))
    }

    /// The effective coding.
    #[must_use]
    pub const fn coding(&self) -> Coding {
        self.coding
    }

    /// Data shards.
    #[must_use]
    pub const fn data(&self) -> u8 {
        self.coding.data()
    }

    /// Length of every shard but perhaps the last data shard, in bytes.
    #[must_use]
    pub const fn shard_len(&self) -> u32 {
        self.shard_len
    }

    /// Length of the ciphertext, in bytes.
    #[must_use]
    pub const fn ciphertext_len(&self) -> u32 {
        self.ciphertext_len
    }

    /// Length of the payload of slice `index`, in bytes.
    #[must_use]
    pub const fn payload_len(&self, index: u8) -> u32 {
        if index as u16 + 1 == self.coding.data() as u16 {
            self.ciphertext_len - self.shard_len * index as u32
        } else {
            self.shard_len
        }
    }

    /// Offset of data shard `index` in the ciphertext, in bytes.
    pub(super) const fn shard_start(&self, index: u8) -> u64 {
        index as u64 * self.shard_len as u64
    }

    /// Whether `len` > 0 bytes from `start` lie in one shard.
    pub(super) const fn in_one_shard(&self, start: u64, len: u64) -> bool {
        start / self.shard_len as u64 == (start + len - 1) / self.shard_len as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plans_cover_the_ciphertext_and_survive_their_own_check(
            steps in 1_u32..=4097, data in 1_u8..=200, parity in 0_u8..=55
        ) {
            let coding = Coding::new(data, parity).unwrap();
            let layout = Layout::plan(steps * 4096, coding);
            prop_assert!(layout.data() <= data);
            prop_assert_eq!(layout.coding().parity(), parity);
            let lens: u32 = (0..layout.data()).map(|index| layout.payload_len(index)).sum();
            prop_assert_eq!(lens, steps * 4096);
            prop_assert!((0..layout.data()).all(|index| (1..=layout.shard_len()).contains(&layout.payload_len(index))));
            prop_assert_eq!(Layout::checked(layout.coding(), layout.shard_len(), steps * 4096), Ok(layout));
        }

        #[test]
        fn what_passes_the_check_is_consistent(data in 1_u8..=255, shard_len: u32, ciphertext_len: u32) {
            if let Ok(layout) = Layout::checked(Coding::new(data, 0).unwrap(), shard_len, ciphertext_len) {
                let lens: u32 = (0..layout.data()).map(|index| layout.payload_len(index)).sum();
                prop_assert_eq!(lens, ciphertext_len);
            }
        }
    }
}
