//! With which bound each position of a stream was asked: kept in debug builds alone, at every choice of a run.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

/// By position. Only ever looked up, so that its order matters to nobody.
#[derive(Debug, Default)]
pub(super) struct Bounds(HashMap<u64, u64, BuildHasherDefault<Spread>>);

impl Bounds {
    /// The bound with which a position was first asked; this one, if it is the first.
    pub(super) fn of(&mut self, position: u64, bound: u64) -> u64 {
        *self.0.entry(position).or_insert(bound)
    }
}

/// Positions are small numbers close to each other: a multiplication spreads them well enough.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}
