//! What the end-to-end tests and the fuzz targets share.

pub mod fuzz_bodies;
pub mod portable;
