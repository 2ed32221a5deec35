//! Draws: integers only, from one ChaCha20 stream per purpose.

use crate::tape::{StreamId, Tape};
use ouroboros_engine::id::{Domain, EngineRng};

const STREAM: Domain = Domain::new("ouroborosdb v1 simulator stream");

/// A stream of integer draws for one purpose.
///
/// No floating point and no library's range sampling: both differ between platforms or versions, and a seed must mean
/// the same run everywhere.
#[derive(Clone, Debug)]
pub struct Stream(Source);

#[derive(Clone, Debug)]
enum Source {
    // Boxed: a disk holds many streams, and most draw from a tape.
    Own(Box<EngineRng>),
    Tape { tape: Tape, stream: StreamId, next: u64 },
}

impl Stream {
    /// The stream of `purpose` under `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let key = STREAM.hash(&[&seed.to_le_bytes(), purpose.as_bytes()]);
        Self(Source::Own(Box::new(EngineRng::from_seed(key))))
    }

    /// The choices of a tape, from a position on.
    pub(crate) const fn of_tape(tape: Tape, stream: StreamId, next: u64) -> Self {
        Self(Source::Tape { tape, stream, next })
    }

    /// Goes on at another position of the tape; a stream of its own has none.
    pub(super) const fn enter(&mut self, position: u64) {
        if let Source::Tape { next, .. } = &mut self.0 {
            *next = position;
        }
    }

    /// A draw below `limit` (multiply-shift); 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        match &mut self.0 {
            Source::Own(rng) => (u128::from(rng.next_u64()) * u128::from(limit)).wrapping_shr(64) as u64,
            Source::Tape { tape, stream, next } => {
                let position = *next;
                *next = position.wrapping_add(1);
                tape.below_at(*stream, position, limit)
            }
        }
    }

    /// Whether something of a rate in parts per million happens now. Draws once, whatever the rate.
    pub fn strikes(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }

    /// Fills `out` with bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut taken;
        let rng = match &mut self.0 {
            Source::Own(rng) => &mut **rng,
            // Bulk is no choice: only its seed is.
            Source::Tape { .. } => {
                let mut seed = [0; 32];
                seed[..8].copy_from_slice(&self.below(1 << 16).to_le_bytes());
                taken = EngineRng::from_seed(seed);
                &mut taken
            }
        };
        for chunk in out.chunks_mut(64) {
            let bytes: [u8; 64] = rng.bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
