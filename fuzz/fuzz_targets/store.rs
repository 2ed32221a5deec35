//! Arbitrary bytes as a script: a store on a faulty disk, against a model.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| ouroboros_tests::fuzz_bodies::store(script));
