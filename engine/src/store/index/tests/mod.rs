#![allow(clippy::unwrap_used, clippy::expect_used)]
//! Claims about the index as a whole.

mod crash;
mod damage;
mod disk;
mod listing;
mod model;

use super::{Index, IndexError, IndexName, IndexOptions};
use crate::env::Disk;
use crate::id::{EngineRng, Secret};

const SMALL: IndexOptions =
    IndexOptions { file: IndexName::Lasting, cache_bytes: 1 << 20, overlay_bytes: 1 << 16, in_memory: false };

fn secret() -> Secret {
    Secret::new([0x42; 32])
}

/// A stream that no other call gets: what a fresh seed at every start gives.
fn rng(start: u64) -> EngineRng {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&start.to_le_bytes());
    EngineRng::from_seed(seed)
}

fn create<D: Disk>(disk: &D) -> Index<D> {
    Index::create(disk, SMALL, &secret(), &mut rng(0)).expect("creates")
}

fn open<D: Disk>(disk: &D, start: u64) -> Result<Index<D>, IndexError> {
    Index::open(disk, SMALL, &secret(), &mut rng(start))
}
