//! The fuzz targets' bodies without a fuzzer: the saved corpus, and hostile bytes made from valid ones.
#![allow(clippy::expect_used)]

use ouroboros_tests::fuzz_bodies::{DECODERS, Decoder, decode, mutate};
use proptest::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocation is counted for the whole process, so tests that count take turns with all others here.
static TURN: Mutex<()> = Mutex::new(());

/// What decoding may allocate in all, in bytes: its share of the input, and room for an error's text.
const fn allowance(input: usize) -> usize {
    64 * input + 16 * 1024
}

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/decode")
}

fn accepts(decoder: &Decoder, bytes: &[u8]) -> bool {
    let region = Region::new(ALLOCATOR);
    let accepted = (decoder.accepts)(bytes);
    let allocated = region.change().bytes_allocated;
    assert!(
        allocated <= allowance(bytes.len()),
        "{} allocated {allocated} bytes for an input of {}",
        decoder.name,
        bytes.len()
    );
    accepted
}

#[test]
fn saved_findings_and_seeds_stay_fixed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut count = 0;
    for entry in std::fs::read_dir(corpus()).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable directory").path();
        let bytes = std::fs::read(&path).expect("a readable seed");
        decode(&bytes);
        count += 1;
    }
    assert!(count >= DECODERS.len(), "{count} seeds for {} decoders", DECODERS.len());
}

#[test]
fn every_decoder_has_its_example_as_a_seed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for decoder in DECODERS {
        let example = (decoder.example)();
        assert!(accepts(decoder, &example), "{} refuses its own example", decoder.name);
        let saved = std::fs::read(corpus().join(decoder.name)).ok();
        assert_eq!(saved, Some(example), "{}: run `write_seeds` (see fuzz_bodies::DECODERS)", decoder.name);
    }
}

#[test]
fn decoders_survive_every_truncation_extension_and_single_byte_change() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for decoder in DECODERS {
        let example = (decoder.example)();
        for cut in 0..example.len() {
            accepts(decoder, &example[..cut]);
        }
        for extra in [&[0][..], &[0xff; 9], &example] {
            accepts(decoder, &[&example[..], extra].concat());
        }
        // Examples of a few KiB are changed everywhere, longer ones at places spread over them.
        let stride = example.len().div_ceil(2048).max(1);
        for at in (0..example.len()).step_by(stride) {
            let mut changed = example.clone();
            for value in [0, 1, 0x7f, 0x80, 0xff, example[at] ^ 1, example[at].wrapping_add(1)] {
                changed[at] = value;
                accepts(decoder, &changed);
            }
        }
        // Length bombs: four bytes of 0xff at every place where a count may stand.
        for at in (0..example.len()).step_by(stride) {
            let mut bomb = example.clone();
            let end = bomb.len().min(at + 4);
            bomb[at..end].fill(0xff);
            accepts(decoder, &bomb);
        }
    }
}

proptest! {
    #[test]
    fn decoders_survive_several_changes_at_once(decoder: u8, edits in prop::collection::vec(any::<(u16, u8, u8)>(), 1..6)) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        mutate(decoder, &edits);
    }

    #[test]
    fn decoders_survive_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        decode(&bytes);
    }
}

#[test]
#[ignore = "writes fuzz/corpus/decode anew from the examples"]
fn write_seeds() {
    for decoder in DECODERS {
        std::fs::write(corpus().join(decoder.name), (decoder.example)()).expect("a writable corpus");
    }
}
