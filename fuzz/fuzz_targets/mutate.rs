//! Valid bytes of one structure, changed in a few places.
#![no_main]

use ouroboros_tests::fuzz_bodies::{Mutation, mutate};

libfuzzer_sys::fuzz_target!(|mutation: Mutation| mutate(&mutation));
