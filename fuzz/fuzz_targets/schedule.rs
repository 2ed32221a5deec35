//! The whole engine in the simulator's world, every choice a byte.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ouroboros_tests::fuzz_bodies::schedule(input));
