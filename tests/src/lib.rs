//! What the end-to-end tests and the fuzz targets share.

#[cfg(not(target_arch = "wasm32"))]
pub mod fuzz_bodies;
pub mod golden;
pub mod portable;
