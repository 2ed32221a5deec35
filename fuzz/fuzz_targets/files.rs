//! Arbitrary bytes as a file of a store: a segment of the log, an index.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ouroboros_tests::fuzz_bodies::files(bytes));
