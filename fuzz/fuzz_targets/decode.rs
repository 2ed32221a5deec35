//! Arbitrary bytes into every decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ouroboros_tests::fuzz_bodies::decode(bytes));
