//! Seals of arbitrary content under arbitrary parameters, their slices lost or spoilt.
#![no_main]

use ouroboros_tests::fuzz_bodies::{Sealing, seal};

libfuzzer_sys::fuzz_target!(|sealing: Sealing| seal(&sealing));
