//! What it costs to try one passphrase: Argon2id (RFC 9106).

use crate::id::Secret;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::{Zeroize, Zeroizing};

/// The cost of turning a passphrase into a key. Stored in the keyring file, and bounded when read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfParams {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Why a cost was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KdfLimit {
    /// Out of range.
    #[error(
        "passphrase hashing with {memory_kib} KiB, {passes} passes and {lanes} lanes is out of bounds \
         (8 KiB per lane to 1 GiB, 1 to 64 passes, 1 to 16 lanes, at most 8 GiB hashed in all); choose a smaller \
         profile, or, if a keyring file asks for this, restore that file from a copy"
    )]
    OutOfBounds {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Independent lanes.
        lanes: u32,
    },
    /// The memory was not to be had.
    #[error(
        "not enough memory to hash the passphrase: {memory_kib} KiB are needed; free some, or open the keyring on a \
         larger machine and store it again with a smaller profile"
    )]
    OutOfMemory {
        /// Memory, in KiB.
        memory_kib: u32,
    },
}

impl KdfParams {
    /// 64 MiB, 3 passes, 4 lanes: the second recommendation of RFC 9106, section 4.
    pub const DEFAULT: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
    /// 19 MiB, 2 passes, 1 lane: for devices with little memory (OWASP's minimum).
    pub const MOBILE: Self = Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
    /// Costs nothing and protects nothing: for tests and simulations only.
    pub const TESTING: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    /// The most memory that a keyring file may demand, in KiB: 1 GiB.
    pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    /// The most passes that a keyring file may demand.
    pub const MAX_PASSES: u32 = 64;
    /// The most lanes that a keyring file may demand.
    pub const MAX_LANES: u32 = 16;
    /// The most memory times passes that a keyring file may demand, in KiB: 8 GiB, some ten seconds.
    pub const MAX_WORK_KIB: u64 = 8 * 1024 * 1024;

    /// Length of the encoding, in bytes.
    pub(super) const LEN: usize = 12;

    /// A cost of one's own.
    ///
    /// # Errors
    /// [`KdfLimit::OutOfBounds`].
    pub const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, KdfLimit> {
        // PA
        let fits = lanes >= 1
            && lanes <= Self::MAX_LANES
            && passes >= 1
            && passes <= Self::MAX_PASSES
            && memory_kib >= 8 * lanes
            && memory_kib <= Self::MAX_MEMORY_KIB
            && memory_kib as u64 * passes as u64 <= Self::MAX_WORK_KIB;
        if fits {
            Ok(Self { memory_kib, passes, lanes })
        } else {
            Err(KdfLimit::OutOfBounds { memory_kib, passes, lanes })
        }
    }

    /// Memory, in KiB.
    #[must_use]
    pub const fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(&self) -> u32 {
        self.passes
    }

    /// Lanes that could be filled side by side (they are filled one after another here).
    #[must_use]
    pub const fn lanes(&self) -> u32 {
        self.lanes
    }

    /// Three little-endian `u32`: KiB, passes, lanes.
    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        for (place, number) in out.chunks_exact_mut(4).zip([self.memory_kib, self.passes, self.lanes]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        out
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, KdfLimit> {
        // PA
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self::new(number(0), number(4), number(8))
    }

    /// Hashes a passphrase, in memory that is wiped afterwards.
    pub(super) fn stretch(&self, passphrase: &[u8], salt: &[u8; 16]) -> Result<Secret, KdfLimit> {
        // PA
        let refused = KdfLimit::OutOfBounds { memory_kib: self.memory_kib, passes: self.passes, lanes: self.lanes };
        let no_memory = KdfLimit::OutOfMemory { memory_kib: self.memory_kib };
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(|_| refused)?;
        let mut memory = Wiped(Vec::new());
        let blocks = params.block_count();
        memory.0.try_reserve_exact(blocks).map_err(|_| no_memory)?;
        memory.0.resize(blocks, Block::new());
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase, salt, key.as_mut_slice(), &mut memory.0)
            .map_err(|_| refused)?;
        Ok(Secret::new(*key))
    }
}

/// The working memory, from which the passphrase could be tried faster than from its hash.
struct Wiped(Vec<Block>);

impl Drop for Wiped {
    fn drop(&mut self) {
        for block in &mut self.0 {
            let words: &mut [u64] = block.as_mut();
            words.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::golden::hex;

    #[test]
    fn demands_beyond_the_bounds_are_refused() {
        for (memory, passes, lanes) in [
            (u32::MAX, 1, 1),
            (KdfParams::MAX_MEMORY_KIB + 1, 1, 1),
            (KdfParams::MAX_MEMORY_KIB, 9, 1),
            (64, u32::MAX, 1),
            (64, 65, 1),
            (64, 1, u32::MAX),
            (1024, 1, 17),
            (15, 1, 2),
            (7, 1, 1),
            (0, 0, 0),
            (8, 0, 1),
            (8, 1, 0),
        ] {
            assert!(KdfParams::new(memory, passes, lanes).is_err(), "{memory} {passes} {lanes}");
        }
    }

    #[test]
    fn the_profiles_are_within_the_bounds_and_survive() {
        let widest = KdfParams::new(KdfParams::MAX_MEMORY_KIB, 8, 16).unwrap();
        for params in [KdfParams::DEFAULT, KdfParams::MOBILE, KdfParams::TESTING, widest] {
            assert_eq!(KdfParams::from_bytes(&params.to_bytes()), Ok(params));
            assert_eq!(KdfParams::new(params.memory_kib(), params.passes(), params.lanes()), Ok(params));
        }
        assert_eq!(hex(&KdfParams::DEFAULT.to_bytes()), "000001000300000004000000");
    }

    #[test]
    fn the_hash_is_the_one_in_the_format() {
        let testing = KdfParams::TESTING.stretch(b"passphrase", &[7; 16]).unwrap();
        assert_eq!(hex(testing.expose()), "f7a532bd11b673546936e975e1b7a1afa19629123d31092a8149ca2ae6a80b0e");
        let default = KdfParams::DEFAULT.stretch(b"passphrase", &[7; 16]).unwrap();
        assert_eq!(hex(default.expose()), "cf092417fac1a2bef2b442193b52dda2f926c9b417cd02b0080b193af890c495");
        let mobile = KdfParams::MOBILE.stretch(b"passphrase", &[7; 16]).unwrap();
        assert_eq!(hex(mobile.expose()), "a38fef5226815edf168b86ed82cb1b6ebadb8908ff0f958bbe8dfd1ae9f73ab2");
    }
}
