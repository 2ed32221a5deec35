//! Valid bytes of one structure, changed in a few places.
#![no_main]

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    decoder: u8,
    edits: Vec<(u16, u8, u8)>,
}

libfuzzer_sys::fuzz_target!(|input: Input| ouroboros_tests::fuzz_bodies::mutate(input.decoder, &input.edits));
