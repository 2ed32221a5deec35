//! Draws: integers only, from one ChaCha20 stream per purpose.

use ouroboros_engine::id::{Domain, EngineRng};

const STREAM: Domain = Domain::new("ouroborosdb v1 simulator stream");

/// A stream of integer draws for one purpose.
///
/// No floating point and no library's range sampling: both differ between platforms or versions, and a seed must mean
/// the same run everywhere.
#[derive(Clone, Debug)]
pub struct Stream(EngineRng);

impl Stream {
    /// The stream of `purpose` under `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(EngineRng::from_seed(STREAM.hash(&[&seed.to_le_bytes(), purpose.as_bytes()])))
    }

    /// A draw below `limit` (multiply-shift); 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        (u128::from(self.0.next_u64()) * u128::from(limit)).wrapping_shr(64) as u64
    }

    /// Whether something of a rate in parts per million happens now. Draws once, whatever the rate.
    pub fn strikes(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }

    /// Fills `out` with bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(64) {
            let bytes: [u8; 64] = self.0.bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
