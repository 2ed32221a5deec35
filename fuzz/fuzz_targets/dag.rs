//! The graph of a key's versions against its definition.
#![no_main]

use ouroboros_tests::fuzz_bodies::{History, dag};

libfuzzer_sys::fuzz_target!(|history: History| dag(&history));
