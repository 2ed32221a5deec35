//! The local store: the log is the truth, the index is a cache of it.

pub mod index;
mod location;
pub mod log;

pub use location::{Location, SegmentId};

/// The largest piece that a disk refuses to read, or to write a part of, by itself, in bytes: what disks call a physical sector.
const PHYSICAL_LEN: u64 = 4096;
