//! Throughput of every stage between plaintext and slices, on 64 MiB without structure: one core, no input or output.
//!
//! `cargo bench -p ouroboros-engine --bench seal`
//!
//! With `RUSTFLAGS="--cfg chacha20_avx512"` the cipher may use AVX-512 (chosen at run time) and is 2.5 times as fast
//! there.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ouroboros_engine::id::{EngineRng, Epoch, Secret};
use ouroboros_engine::seal::{
    Chunker, ChunkerKind, ChunkerParams, Ciphertext, Coding, Compression, Identified, ScopeKeys, Scratch, SealedSlice,
    assemble, identify, open_with, recode, seal,
};
use reed_solomon_erasure::galois_8::ReedSolomon;
use std::hint::black_box;
use std::time::Duration;

const LEN: usize = 64 << 20;

fn noise(len: usize) -> Bytes {
    let mut rng = EngineRng::from_seed([1; 32]);
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        out.extend_from_slice(&rng.bytes::<4096>());
    }
    out.into()
}

/// Words of a small vocabulary.
fn prose(len: usize) -> Bytes {
    let mut rng = EngineRng::from_seed([2; 32]);
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        let word = rng.next_u64() % 4000 * (rng.next_u64() % 4000) / 4000;
        out.extend_from_slice(format!("w{:x} ", word * 2_654_435_761 % 1_000_003).as_bytes());
    }
    out.truncate(len);
    out.into()
}

fn for_each<T, R>(items: &[T], mut work: impl FnMut(&T) -> R) {
    for item in items {
        black_box(work(item));
    }
}

fn chunks_of(data: &Bytes, chunker: &Chunker) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut rest = data.clone();
    while let Some(len) = chunker.cut(&rest, true) {
        out.push(rest.split_to(len));
    }
    out
}

fn stages(c: &mut Criterion) {
    let keys = ScopeKeys::derive(&Secret::new([7; 32]), Epoch(0), b"bench");
    let data = noise(LEN);
    let chunker = |kind| Chunker::new(&ChunkerParams { kind, ..ChunkerParams::default() }, &keys);
    let cdc1 = chunker(ChunkerKind::Cdc1);
    let chunks = chunks_of(&data, &cdc1);
    let ids: Vec<Identified> = chunks.iter().map(|chunk| identify(&keys, chunk)).collect();
    let mut scratch = Scratch::new();
    let seal_all = |compression, coding, scratch: &mut Scratch| -> Vec<_> {
        chunks.iter().zip(&ids).map(|(chunk, id)| seal(&keys, id, chunk, compression, coding, scratch)).collect()
    };

    let mut group = c.benchmark_group("seal");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Bytes(LEN as u64));

    group.bench_function("chunk/cdc1", |b| b.iter(|| chunks_of(&data, &cdc1).len()));
    let fastcdc = chunker(ChunkerKind::FastCdc);
    group.bench_function("chunk/fastcdc", |b| b.iter(|| chunks_of(&data, &fastcdc).len()));

    group.bench_function("blake3/keyed", |b| {
        b.iter(|| for_each(&chunks, |chunk| keys.convergent.keyed_hash(chunk)));
    });
    group.bench_function("blake3/plain", |b| {
        b.iter(|| for_each(&chunks, |chunk| blake3::hash(chunk)));
    });
    group.bench_function("identify", |b| {
        b.iter(|| for_each(&chunks, |chunk| identify(&keys, chunk)));
    });

    let cipher = ChaCha20Poly1305::new(&Key::from([9; 32]));
    let mut buffers: Vec<Vec<u8>> = chunks.iter().map(|chunk| chunk.to_vec()).collect();
    group.bench_function("aead", |b| {
        b.iter(|| {
            for buffer in &mut buffers {
                let tag = cipher.encrypt_inout_detached(&Nonce::default(), b"", buffer.as_mut_slice().into());
                black_box(tag.unwrap());
            }
        });
    });

    let code = ReedSolomon::new(8, 1).unwrap();
    let mut parity = vec![0; 1 << 20];
    group.bench_function("reed-solomon/8+1", |b| {
        b.iter(|| {
            for chunk in &chunks {
                let shard_len = chunk.len() / 8;
                let shards: Vec<&[u8]> = chunk.chunks_exact(shard_len).take(8).collect();
                code.encode_sep(&shards, &mut [&mut parity[..shard_len]]).unwrap();
            }
        });
    });

    for (name, compression) in [("raw", Compression::Raw), ("zstd:3", Compression::default())] {
        group.bench_function(format!("seal/{name}"), |b| {
            b.iter(|| seal_all(compression, Coding::default(), &mut scratch).len());
        });
    }
    group.bench_function("seal/raw 1+0", |b| {
        b.iter(|| seal_all(Compression::Raw, Coding::new(1, 0).unwrap(), &mut scratch).len());
    });
    group.bench_function("chunk+identify+seal", |b| {
        b.iter(|| {
            for chunk in chunks_of(&data, &cdc1) {
                let id = identify(&keys, &chunk);
                black_box(seal(&keys, &id, &chunk, Compression::default(), Coding::default(), &mut scratch));
            }
        });
    });

    let sealed = seal_all(Compression::default(), Coding::default(), &mut scratch);
    let ciphertexts: Vec<Ciphertext> =
        sealed.iter().map(|sealed| assemble(sealed.seal_id, sealed.slices.clone()).unwrap()).collect();
    group.bench_function("verify/slices", |b| {
        let slices: Vec<&SealedSlice> = sealed.iter().flat_map(|sealed| &sealed.slices).collect();
        b.iter(|| slices.iter().for_each(|slice| slice.verify().unwrap()));
    });
    group.bench_function("assemble/intact", |b| {
        b.iter(|| for_each(&sealed, |sealed| assemble(sealed.seal_id, sealed.slices.clone()).unwrap()));
    });
    group.bench_function("assemble/one lost", |b| {
        b.iter(|| for_each(&sealed, |sealed| assemble(sealed.seal_id, sealed.slices[1..].to_vec()).unwrap()));
    });
    group.bench_function("open", |b| {
        b.iter(|| {
            for (sealed, ciphertext) in sealed.iter().zip(&ciphertexts) {
                black_box(open_with(&sealed.secret, ciphertext, &mut scratch).unwrap());
            }
        });
    });
    // Hashing and slicing alone: a ciphertext in one piece, no parity.
    let whole: Vec<Ciphertext> = seal_all(Compression::Raw, Coding::new(1, 0).unwrap(), &mut scratch)
        .into_iter()
        .map(|sealed| assemble(sealed.seal_id, sealed.slices).unwrap())
        .collect();
    for text in ["1+0", "8+0", "8+1", "16+4"] {
        let coding: Coding = text.parse().unwrap();
        group.bench_function(format!("recode/{text}"), |b| {
            b.iter(|| for_each(&whole, |ciphertext| recode(ciphertext, coding)));
        });
    }
    group.finish();
}

fn text(c: &mut Criterion) {
    let keys = ScopeKeys::derive(&Secret::new([7; 32]), Epoch(0), b"bench");
    let data = prose(LEN / 4);
    let chunks = chunks_of(&data, &Chunker::new(&ChunkerParams::default(), &keys));
    let ids: Vec<Identified> = chunks.iter().map(|chunk| identify(&keys, chunk)).collect();
    let mut scratch = Scratch::new();
    let mut group = c.benchmark_group("text");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Bytes(data.len() as u64));
    for level in [1, 3] {
        let compression = Compression::Zstd { level };
        group.bench_function(format!("seal/{compression}"), |b| {
            b.iter(|| {
                for (chunk, id) in chunks.iter().zip(&ids) {
                    black_box(seal(&keys, id, chunk, compression, Coding::default(), &mut scratch));
                }
            });
        });
    }
    group.finish();
}

/// What a seal costs whatever its length.
fn small(c: &mut Criterion) {
    let keys = ScopeKeys::derive(&Secret::new([7; 32]), Epoch(0), b"bench");
    let mut scratch = Scratch::new();
    let mut group = c.benchmark_group("small");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for len in [1 << 10, 16 << 10] {
        let plain = noise(len.max(4096)).slice(..len);
        group.bench_function(format!("identify+seal/{len}"), |b| {
            b.iter(|| {
                let id = identify(&keys, &plain);
                seal(&keys, &id, &plain, Compression::default(), Coding::default(), &mut scratch)
            });
        });
        let id = identify(&keys, &plain);
        let sealed = seal(&keys, &id, &plain, Compression::default(), Coding::default(), &mut scratch);
        group.bench_function(format!("assemble+open/{len}"), |b| {
            b.iter(|| {
                let ciphertext = assemble(sealed.seal_id, sealed.slices.clone()).unwrap();
                open_with(&sealed.secret, &ciphertext, &mut scratch).unwrap()
            });
        });
        let header = sealed.slices[0].header.encode();
        group.bench_function(format!("header/decode/{len}"), |b| {
            b.iter(|| ouroboros_engine::seal::SliceHeader::decode(&header).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, stages, text, small);
criterion_main!(benches);
