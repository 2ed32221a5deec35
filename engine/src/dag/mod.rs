//! The versions of one key as a graph: heads, ancestry, and how versions are joined again.
//!
//! Everything is computed from ancestry, which [`Ancestry`] looks up one version at a time; nothing here is ever stored as
//! truth. Three facts shape the algorithms:
//!
//! - Versions arrive in any order, so a parent may be unknown: it is a dead end until it comes.
//! - Purged versions leave holes that keep their parents, so that what lies beyond them stays connected. A hole is never a
//!   head and never a merge base.
//! - `created` orders versions for people and decides the winner. It usually respects ancestry, which makes searches
//!   short; it need not, and no answer depends on it.
//!
//! The module never sees a value's bytes except in [`merge`].

mod ancestry;
mod bases;
mod diff;
mod heads;
mod log;
pub mod merge;
mod twins;

#[cfg(test)]
mod naive;

pub use ancestry::{Ancestry, MemoryAncestry, Parents};
pub use bases::{BasesError, MAX_SIDES, is_ancestor, merge_bases};
pub use diff::{Change, Piece, diff_bytes, diff_chunks, diff_contents};
pub use heads::{add_to_heads, heads, remove_from_heads, winner};
pub use log::{LogWalk, Logged, version_at};
pub use twins::{Twin, collapse_twins};
