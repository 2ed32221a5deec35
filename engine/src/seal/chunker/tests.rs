#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::cipher::{SealHeader, TAG_LEN};
use super::super::compress::PREFIX_LEN;
use super::super::fixtures::{keys, noise, prose};
use super::*;
use crate::id::{EngineRng, Epoch, Secret};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Small chunks, so that tests see many; the ratios are those of the default.
fn params(kind: ChunkerKind, min_len: u32) -> ChunkerParams {
    ChunkerParams { kind, min_len, avg_len: 4 * min_len, max_len: 16 * min_len }
}

fn lens(chunker: &Chunker, data: &[u8]) -> Vec<usize> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some(len) = chunker.cut(rest, true) {
        out.push(len);
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
    out
}

/// The definition, without lanes, skipping or caching.
fn naive_lens(params: &ChunkerParams, data: &[u8]) -> Vec<usize> {
    let cdc1 = Cdc1::new(params, &keys());
    let (min_len, avg_len, max_len) = (params.min_len as usize, params.avg_len as usize, params.max_len as usize);
    let mut out = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let longest = rest.len().min(max_len);
        let cuts = |len: &usize| {
            let window = &rest[len - WINDOW..*len];
            let hash = window.iter().fold(0_u64, |hash, &byte| (hash << 1).wrapping_add(cdc1.gear[usize::from(byte)]));
            let threshold = if *len < avg_len { cdc1.before_centre } else { cdc1.after_centre };
            hash < PREFILTER && cdc1.siphash.hash(window) < threshold
        };
        let len = (min_len..longest).find(cuts).unwrap_or(longest);
        out.push(len);
        rest = &rest[len..];
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_fast_scan_cuts_where_the_definition_says(
        len in 0_usize..200_000, seed: u8, text: bool, min_len in 512_u32..2000
    ) {
        let params = params(ChunkerKind::Cdc1, min_len * 2);
        let data = if text { prose(seed, len) } else { noise(seed, len) };
        prop_assert_eq!(lens(&Chunker::new(&params, &keys()), &data), naive_lens(&params, &data));
    }

    #[test]
    fn cuts_do_not_depend_on_how_input_is_fed(
        len in 0_usize..300_000, seed: u8, feeds in prop::collection::vec(1_usize..50_000, 1..40), fast: bool
    ) {
        let kind = if fast { ChunkerKind::FastCdc } else { ChunkerKind::Cdc1 };
        let chunker = Chunker::new(&params(kind, 1024), &keys());
        let data = noise(seed, len);
        let mut fed = Vec::new();
        let (mut start, mut end) = (0, 0);
        let mut feeds = feeds.iter().cycle();
        loop {
            match chunker.cut(&data[start..end], end == len) {
                Some(cut) => {
                    fed.push(cut);
                    start += cut;
                }
                None if end == len => break,
                None => end = len.min(end + feeds.next().unwrap()),
            }
        }
        prop_assert_eq!(fed, lens(&chunker, &data));
    }

    #[test]
    fn chunks_keep_to_their_limits(len in 0_usize..400_000, seed: u8, text: bool, fast: bool) {
        let kind = if fast { ChunkerKind::FastCdc } else { ChunkerKind::Cdc1 };
        let params = params(kind, 1024);
        let data = if text { prose(seed, len) } else { noise(seed, len) };
        let lens = lens(&Chunker::new(&params, &keys()), &data);
        prop_assert_eq!(lens.iter().sum::<usize>(), len);
        prop_assert!(lens.iter().all(|&len| len <= params.max_len as usize));
        prop_assert!(lens.iter().rev().skip(1).all(|&len| len >= params.min_len as usize));
    }
}

#[test]
fn the_average_is_the_one_asked_for() {
    for (min_len, avg_len, max_len) in [(4096, 16384, 65536), (2048, 32768, 262_144), (8192, 16384, 65536)] {
        let params = ChunkerParams { kind: ChunkerKind::Cdc1, min_len, avg_len, max_len };
        let mut lens_of_all = Vec::new();
        for seed in 0..4 {
            let keys = ScopeKeys::derive(&Secret::new([seed; 32]), Epoch(0), b"");
            lens_of_all.extend(lens(&Chunker::new(&params, &keys), &noise(seed, 16 << 20)));
        }
        let mean = lens_of_all.iter().sum::<usize>() / lens_of_all.len();
        let off = mean.abs_diff(avg_len as usize);
        assert!(off * 100 <= 15 * avg_len as usize, "mean {mean} for {min_len}/{avg_len}/{max_len}");
    }
}

#[test]
fn constant_bytes_are_cut_at_the_longest_or_at_the_shortest() {
    let params = params(ChunkerKind::Cdc1, 1024);
    for byte in 0..=255 {
        let lens = lens(&Chunker::new(&params, &keys()), &vec![byte; 40 << 10]);
        let first = lens[0];
        assert!(
            first == params.max_len as usize || first == params.min_len as usize || first == params.avg_len as usize
        );
    }
}

#[test]
fn cuts_differ_between_scopes() {
    let data = noise(1, 1 << 20);
    for kind in [ChunkerKind::Cdc1, ChunkerKind::FastCdc] {
        let params = params(kind, 1024);
        let other = ScopeKeys::derive(&Secret::new([43; 32]), Epoch(0), b"realm");
        assert_ne!(lens(&Chunker::new(&params, &keys()), &data), lens(&Chunker::new(&params, &other), &data));
    }
}

/// Versions of one file: each inserts, deletes and overwrites at a few random places.
fn versions(mut data: Vec<u8>, seed: u8) -> Vec<Vec<u8>> {
    let mut rng = EngineRng::from_seed([seed; 32]);
    let mut out = vec![data.clone()];
    for _ in 0..12 {
        for _ in 0..6 {
            let at = rng.next_u64() as usize % data.len();
            let len = 1 + rng.next_u64() as usize % 400;
            let end = data.len().min(at + len);
            let fresh = noise(rng.next_u64() as u8, len);
            match rng.next_u64() % 3 {
                0 => drop(data.splice(at..at, fresh)),
                1 => drop(data.drain(at..end)),
                _ => drop(data.splice(at..end, fresh)),
            }
        }
        out.push(data.clone());
    }
    out
}

/// Bytes that remain when every distinct chunk is stored once.
fn stored_len(versions: &[Vec<u8>], cut: impl Fn(&[u8]) -> Vec<usize>) -> (usize, usize) {
    let mut seen = BTreeSet::new();
    let (mut stored, mut chunks) = (0, 0);
    for version in versions {
        let mut rest = &version[..];
        for len in cut(version) {
            let (chunk, tail) = rest.split_at(len);
            chunks += 1;
            if seen.insert(*blake3::hash(chunk).as_bytes()) {
                stored += len;
            }
            rest = tail;
        }
    }
    (stored, chunks)
}

#[test]
fn cdc1_deduplicates_as_well_as_fastcdc() {
    let (min_len, avg_len, max_len) = (4 << 10, 16 << 10, 64 << 10);
    let ours = Chunker::new(&ChunkerParams { kind: ChunkerKind::Cdc1, min_len, avg_len, max_len }, &keys());
    let (mut total, mut by_ours, mut by_theirs) = (0, 0, 0);
    for seed in 0..3 {
        for data in [noise(seed, 4 << 20), prose(seed, 4 << 20)] {
            let versions = versions(data, seed);
            total += versions.iter().map(Vec::len).sum::<usize>();
            by_ours += stored_len(&versions, |data| lens(&ours, data)).0;
            by_theirs += stored_len(&versions, |data| {
                v2020::FastCDC::new(data, min_len as usize, avg_len as usize, max_len as usize)
                    .map(|chunk| chunk.length)
                    .collect()
            })
            .0;
        }
    }
    let saved = |stored: usize| (total - stored) as f64 / total as f64;
    assert!(saved(by_ours) >= saved(by_theirs) - 0.01, "{by_ours} against {by_theirs} of {total}");
}

/// The published attacks solve for the gear table by asking which tables put a proposal where a chunk was seen to
/// end. What is seen here is the 4 KiB step in which it ends, and every table has a proposal in nearly every step.
#[test]
fn visible_lengths_do_not_tell_gear_tables_apart() {
    let default = ChunkerParams::default();
    let chunker = Chunker::new(&default, &keys());
    let strangers = ScopeKeys::derive(&Secret::new([99; 32]), Epoch(0), b"realm");
    let (right, wrong) = (Cdc1::new(&default, &keys()), Cdc1::new(&default, &strangers));
    for data in [noise(1, 16 << 20), prose(1, 16 << 20)] {
        let (mut start, mut steps, mut by_right, mut by_wrong) = (0, 0, 0, 0);
        for len in lens(&chunker, &data).into_iter().filter(|&len| len < default.max_len as usize) {
            let visible = SealHeader::for_inner_len(PREFIX_LEN + len).ciphertext_len() as usize;
            let last_bytes = (start + visible - 4096 - PREFIX_LEN - TAG_LEN)..(start + visible - PREFIX_LEN - TAG_LEN);
            let proposes = |cdc1: &Cdc1| {
                let mut hash = cdc1.warm_up(&data, last_bytes.start);
                data[last_bytes.start..last_bytes.end.min(data.len())].iter().any(|&byte| {
                    hash = (hash << 1).wrapping_add(cdc1.gear[usize::from(byte)]);
                    hash < PREFILTER
                })
            };
            steps += 1;
            by_right += usize::from(proposes(&right));
            by_wrong += usize::from(proposes(&wrong));
            start += len;
        }
        assert!(steps > 40);
        assert!(by_right == steps && by_wrong >= steps - 1, "{by_right} and {by_wrong} of {steps}");
    }
}

/// Part of the format: realms that agree on the name `cdc1` must agree on this.
#[test]
fn cdc1_cuts_where_it_always_did() {
    let chunker = Chunker::new(&ChunkerParams::default(), &keys());
    let lens = lens(&chunker, &noise(1, 2 << 20));
    assert_eq!(lens, [311_408, 164_565, 335_986, 265_768, 116_013, 398_619, 318_031, 186_762]);
}

#[test]
fn the_fastcdc_alternative_is_the_crate_with_a_seed() {
    let params = params(ChunkerKind::FastCdc, 2048);
    let data = noise(7, 1 << 20);
    let mut seed = [0; 8];
    keyed(FASTCDC, &keys(), &mut seed);
    let [min_len, avg_len, max_len] = [params.min_len, params.avg_len, params.max_len].map(|len| len as usize);
    let level = v2020::Normalization::Level1;
    let expected: Vec<usize> =
        v2020::FastCDC::with_level_and_seed(&data, min_len, avg_len, max_len, level, u64::from_le_bytes(seed))
            .map(|chunk| chunk.length)
            .collect();
    assert_eq!(lens(&Chunker::new(&params, &keys()), &data), expected);
}

/// Nobody waits for a byte more than the longest chunk has.
#[test]
fn the_longest_chunk_is_enough_to_cut() {
    for kind in [ChunkerKind::Cdc1, ChunkerKind::FastCdc] {
        let chunker = Chunker::new(&params(kind, 1024), &keys());
        let data = noise(3, chunker.max_len());
        assert_eq!(chunker.cut(&data[1..], false), None);
        assert_eq!(chunker.cut(&data, false), chunker.cut(&data, true));
    }
}
