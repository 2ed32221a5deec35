//! Crash points and full disks, all of them: a script of puts, merges, removals, purges, compactions and recodings is
//! played once, and what it left at *every* operation that changes the disk is judged against a plain model.
//!
//! Read in this order: `model` (what clients were told), `script` (what they ask), `player` (asks it of a node), `judge`
//! (compares a node with the model), `images` (which disks were judged already), `enumerate` (P7: a crash at every
//! operation), `fill` (P10: the disk fills at every operation).

mod enumerate;
mod fill;
mod images;
mod judge;
mod model;
mod parallel;
mod player;
mod script;

pub use enumerate::{Crashes, Depth, enumerate_crashes};
pub use fill::{Fills, enumerate_fills};
pub use parallel::in_parallel;
pub use player::Done;
pub use script::Script;
