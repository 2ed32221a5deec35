//! Deletion: tombstones, what they remove, and which seals are still needed.
//!
//! Absence never deletes anything; only a signed [`Tombstone`] does, and it removes exactly the versions it names
//! (observed-remove): a concurrent new version survives as a head. Bytes are collected when no live version refers to them
//! ([`References`]), and doubt means keep. No clock appears in any rule.
//!
//! The module is rules and formats: it removes nothing itself and never sees a disk.

mod purged;
mod references;
mod rules;
mod tombstone;

pub use purged::Purged;
pub use references::{References, Unaccounted};
pub use rules::{Acceptance, accept, removed_by};
pub use tombstone::{SignedTombstone, Tombstone, TombstoneRecord};
