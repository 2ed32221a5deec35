//! The hostile world in which the engine is tested: seeded, in virtual time, and reproducible to the byte.
//!
//! [`disk::FaultyDisk`] is the engine's disk as the literature on storage failures knows it. Every draw is an integer
//! draw from a ChaCha20 stream of its own purpose, so that a new fault moves no other.

pub mod crash;
pub mod crypto;
pub mod disk;
pub mod local;
