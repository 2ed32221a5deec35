//! The fuzz targets' bodies without a fuzzer: the saved corpus, and hostile bytes made from valid ones.
#![allow(clippy::expect_used, clippy::print_stdout)]

use ouroboros_engine::id::EngineRng;
use ouroboros_sim::crash::in_parallel;
use ouroboros_tests::fuzz_bodies::{
    DECODERS, Decoder, FILES, Mutation, dag, decode, files, mutate, schedule, seal, store, structured,
};
use proptest::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocation is counted for the whole process, so tests that count take turns with all others here.
static TURN: Mutex<()> = Mutex::new(());

/// What decoding may allocate in all, in bytes: its share of the input, room for an error's text, and working memory.
const fn allowance(decoder: &Decoder, input: usize) -> usize {
    64 * input + decoder.room
}

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// Every seed of a target: decoders by their name, readers of files with the byte that chooses them before the file.
fn seeds() -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let structures = DECODERS.iter().map(|decoder| (corpus("decode").join(decoder.name), (decoder.example)()));
    let files = FILES.iter().enumerate().map(|(number, reader)| {
        let chosen = [&[number as u8][..], &(reader.example)()].concat();
        (corpus("files").join(reader.name), chosen)
    });
    structures.chain(files)
}

fn accepts(decoder: &Decoder, bytes: &[u8]) -> bool {
    let allowed = allowance(decoder, bytes.len());
    let mut least = usize::MAX;
    // The test harness starts its threads meanwhile, and allocates for them: what is too much must be so again and again.
    for _ in 0..16 {
        let region = Region::new(ALLOCATOR);
        let accepted = (decoder.accepts)(bytes);
        least = least.min(region.change().bytes_allocated);
        if least <= allowed {
            return accepted;
        }
        std::thread::yield_now();
    }
    panic!("{} allocated {least} bytes for an input of {}", decoder.name, bytes.len());
}

#[test]
fn saved_findings_and_seeds_stay_fixed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let targets = [
        ("dag", (|bytes| structured(bytes, dag)) as fn(&[u8])),
        ("decode", decode),
        ("files", files),
        ("mutate", |bytes| structured(bytes, mutate)),
        ("schedule", schedule),
        ("seal", |bytes| structured(bytes, seal)),
        ("store", store),
    ];
    for (target, body) in targets {
        let mut count = 0;
        for entry in std::fs::read_dir(corpus(target)).expect("the corpus is part of the repository") {
            let path = entry.expect("a readable directory").path();
            let bytes = std::fs::read(&path).expect("a readable seed");
            body(&bytes);
            count += 1;
        }
        assert!(count > 0, "no seed for {target}");
    }
}

#[test]
fn every_decoder_has_its_example_as_a_seed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for decoder in DECODERS.iter().chain(FILES) {
        assert!(accepts(decoder, &(decoder.example)()), "{} refuses its own example", decoder.name);
    }
    for (path, seed) in seeds() {
        let saved = std::fs::read(&path).ok();
        assert!(saved.as_ref() == Some(&seed), "{}: run `write_seeds` (see fuzz_bodies::DECODERS)", path.display());
    }
}

#[test]
fn decoders_survive_every_truncation_extension_and_single_byte_change() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for decoder in DECODERS.iter().chain(FILES) {
        let example = (decoder.example)();
        // Short examples are changed everywhere, longer ones at places spread over them.
        let stride = example.len().div_ceil(decoder.places).max(1);
        for cut in (0..example.len()).step_by(stride) {
            accepts(decoder, &example[..cut]);
        }
        for extra in [&[0][..], &[0xff; 9], &example] {
            accepts(decoder, &[&example[..], extra].concat());
        }
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
        mutate(&Mutation { decoder, edits });
    }

    #[test]
    fn graphs_are_those_of_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        structured(&bytes, dag);
    }

    #[test]
    fn seals_open_to_what_was_sealed_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        structured(&bytes, seal);
    }

    #[test]
    fn the_store_keeps_its_promises_whatever_the_script(script in prop::collection::vec(any::<u8>(), 0..120)) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        store(&script);
    }

    #[test]
    fn decoders_survive_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        decode(&bytes);
    }
}

/// Random scripts of the long run, unless STORE_SCRIPTS says otherwise.
const SCRIPTS: u64 = 20_000;

#[test]
#[ignore = "minutes: `cargo long` runs it"]
fn the_store_keeps_its_promises_in_thousands_of_scripts() {
    let count = std::env::var("STORE_SCRIPTS").ok().and_then(|text| text.parse().ok()).unwrap_or(SCRIPTS);
    let failed = Mutex::new(Vec::new());
    in_parallel("scripts", usize::try_from(count).unwrap_or(usize::MAX), &|number| {
        let number = number as u64;
        let mut rng = EngineRng::from_seed(blake3::hash(&number.to_le_bytes()).into());
        let len = 5 + rng.next_u64() % 116;
        let script: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        if std::panic::catch_unwind(|| store(&script)).is_err() {
            println!("script {number}: {script:?}");
            failed.lock().unwrap_or_else(PoisonError::into_inner).push((number, script));
        }
        true
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("scripts: {count}, violations: {}", failed.len());
    assert!(failed.is_empty(), "save as seeds in fuzz/corpus/store: {failed:?}");
}

#[test]
#[ignore = "writes the seeds of fuzz/corpus anew from the examples"]
fn write_seeds() {
    for (path, seed) in seeds() {
        std::fs::write(path, seed).expect("a writable corpus");
    }
}
