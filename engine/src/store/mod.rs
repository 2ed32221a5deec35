//! The local store: the log is the truth, the index a cache.

pub mod log;
