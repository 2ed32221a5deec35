//! Crash points and full disks, all of them: a script of puts, merges, removals, purges, compactions and recodings is
//! played once, and what it left at *every* operation that changes the disk is judged against a plain model.
//!
//! Read in this order: `model` (what clients were told), `store` (on what), `script` (what they ask), `player` (asks it of
//! a node), `judge` (compares a node with the model), `recording` (a script played once, with all crash points), `depth` (how
//! much is tried at each), `images` (which disks were judged already), `recovery` (one of them, and the verdict), `explore`
//! (all of a moment), `tally`, `enumerate` (P7: a crash at every operation), `fill` (P10: the disk fills at every operation).

mod depth;
mod enumerate;
mod explore;
mod fill;
mod images;
mod judge;
mod model;
mod parallel;
mod player;
mod recording;
mod recovery;
mod script;
mod store;
mod tally;

pub use depth::{Depth, Subsets};
pub use enumerate::{Waiting, enumerate_crashes, enumerate_crashes_while};
pub use fill::{Fills, enumerate_fills};
pub use parallel::in_parallel;
pub use player::Done;
pub use script::Script;
pub use store::Store;
pub use tally::{Crashes, Violation};
