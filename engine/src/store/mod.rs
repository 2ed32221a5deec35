//! The local store: the log is the truth, the index is a cache of it.

pub mod index;
mod location;
pub mod log;

pub use location::{Location, SegmentId};
