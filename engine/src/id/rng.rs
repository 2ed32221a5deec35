//! The engine's only source of randomness: a ChaCha20 stream seeded by its owner.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A ChaCha20 stream (RFC 8439's block function) seeded at `open`: the same seed gives the same run.
#[derive(Clone, Debug)]
pub struct EngineRng(ChaCha20Rng);

impl EngineRng {
    /// Starts the stream of `seed`. In production the seed comes from the operating system.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// The next `N` bytes of the stream.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill_bytes(&mut out);
        out
    }

    /// The next 64 bits of the stream.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
