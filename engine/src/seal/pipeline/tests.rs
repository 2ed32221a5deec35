#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::fixtures::{coding, keys, noise, prose, sealed};
use super::super::{SealedSlice, assemble};
use super::*;
use crate::id::Epoch;
use proptest::prelude::*;

fn plain_of(kind: u8, seed: u8, len: usize) -> Bytes {
    match kind {
        0 => noise(seed, len).into(),
        1 => prose(seed, len).into(),
        _ => vec![seed; len].into(),
    }
}

fn opened(sealed: &Sealed) -> Result<Bytes, OpenError> {
    open(&sealed.secret, &assemble(sealed.seal_id, sealed.slices.clone()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn chunks_survive_the_round_trip(
        kind in 0_u8..3, seed: u8, len in 0_usize..40_000, data in 1_u8..12, parity in 0_u8..4, level in -7_i8..6
    ) {
        let plain = plain_of(kind, seed, len);
        for compression in [Compression::Raw, Compression::Zstd { level }] {
            let sealed = sealed(&plain, compression, Coding::new(data, parity).unwrap());
            prop_assert_eq!(opened(&sealed).unwrap(), &plain);
            prop_assert!(sealed.ciphertext_len.is_multiple_of(4096));
            prop_assert!(sealed.ciphertext_len as usize <= plain.len() + 4096 + 21);
            prop_assert!(sealed.slices.iter().all(|slice| slice.verify().is_ok()));
        }
    }

    #[test]
    fn the_seal_id_does_not_depend_on_the_coding_and_recoding_needs_no_key(
        kind in 0_u8..3, len in 1_usize..100_000, from in (1_u8..20, 0_u8..4), to in (1_u8..20, 0_u8..4)
    ) {
        let plain = plain_of(kind, 9, len);
        let (from, to) = (Coding::new(from.0, from.1).unwrap(), Coding::new(to.0, to.1).unwrap());
        let one = sealed(&plain, Compression::default(), from);
        let other = sealed(&plain, Compression::default(), to);
        prop_assert_eq!(one.seal_id, other.seal_id);
        prop_assert_eq!(&one.secret, &other.secret);
        let recoded = recode(&assemble(one.seal_id, one.slices).unwrap(), to);
        prop_assert_eq!(&recoded, &other.slices);
        prop_assert_eq!(opened(&Sealed { slices: recoded, ..other }).unwrap(), plain);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn long_chunks_survive_the_round_trip(kind in 0_u8..3, len in 40_000_usize..3 << 20, data in 1_u8..20) {
        let plain = plain_of(kind, 1, len);
        let sealed = sealed(&plain, Compression::default(), Coding::new(data, 1).unwrap());
        prop_assert_eq!(opened(&sealed).unwrap(), plain);
    }
}

#[test]
fn the_longest_chunk_fits() {
    let plain = Bytes::from(noise(1, MAX_PLAIN_LEN as usize));
    let sealed = sealed(&plain, Compression::Raw, Coding::default());
    assert_eq!(opened(&sealed).unwrap(), plain);
    let record = [sealed.slices[0].header.encode(), sealed.slices[0].payload.to_vec()].concat();
    assert_eq!(SealedSlice::from_record(record.into()).as_ref(), Ok(&sealed.slices[0]));
}

#[test]
fn data_slices_are_views_of_one_ciphertext() {
    let plain = Bytes::from(noise(1, 300_000));
    let sealed = sealed(&plain, Compression::Raw, Coding::default());
    for pair in sealed.slices[..8].windows(2) {
        assert_eq!(pair[0].payload.as_ptr_range().end, pair[1].payload.as_ptr());
    }
}

#[test]
fn equal_content_seals_to_equal_bytes_whatever_was_sealed_before() {
    let keys = keys();
    let mut used = Scratch::new();
    for round in 0..12_u8 {
        let plain = plain_of(round % 3, round, 7_000 * usize::from(round) + 1);
        let id = identify(&keys, &plain);
        let fresh = sealed(&plain, Compression::default(), Coding::default());
        let again = seal(&keys, &id, &plain, Compression::default(), Coding::default(), &mut used);
        assert_eq!(again.seal_id, fresh.seal_id);
        assert_eq!(again.secret, fresh.secret);
        assert_eq!(again.slices, fresh.slices);
    }
}

#[test]
fn another_scope_has_nothing_in_common() {
    let plain = Bytes::from(prose(1, 50_000));
    let (ours, theirs) = (keys(), ScopeKeys::derive(&Secret::new([42; 32]), Epoch(0), b"user"));
    let (our_id, their_id) = (identify(&ours, &plain), identify(&theirs, &plain));
    assert_ne!(our_id.chunk_id, their_id.chunk_id);
    let mut scratch = Scratch::new();
    let our_seal = seal(&ours, &our_id, &plain, Compression::default(), Coding::default(), &mut scratch);
    let their_seal = seal(&theirs, &their_id, &plain, Compression::default(), Coding::default(), &mut scratch);
    assert_ne!(our_seal.seal_id, their_seal.seal_id);
    assert_ne!(our_seal.secret, their_seal.secret);
    assert_ne!(our_seal.slices[0].payload, their_seal.slices[0].payload);
}

/// The key is made of the root, the id is a one-way hash of the root, and the two use independent secrets: replacing
/// the id secret changes every id and no seal; replacing the convergent secret changes both.
#[test]
fn the_key_does_not_follow_from_the_chunk_id() {
    let plain = Bytes::from(noise(1, 10_000));
    let keys = keys();
    let renamed = ScopeKeys { chunk_id: Secret::new([9; 32]), ..keys.clone() };
    let (one, other) = (identify(&keys, &plain), identify(&renamed, &plain));
    assert_eq!(one.root, other.root);
    assert_ne!(one.chunk_id, other.chunk_id);
    let secret = |keys, id| seal(keys, id, &plain, Compression::Raw, Coding::default(), &mut Scratch::new()).secret;
    assert_eq!(secret(&keys, &one), secret(&renamed, &other));

    // What a realm member could compute from a chunk id alone is not the secret.
    let from_id = Identified { chunk_id: one.chunk_id, root: Secret::new(*one.chunk_id.as_bytes()) };
    assert_ne!(secret(&keys, &from_id), secret(&keys, &one));
    assert_ne!(one.root.expose(), one.chunk_id.as_bytes());

    let other_secret = ScopeKeys { convergent: Secret::new([9; 32]), ..keys.clone() };
    let changed = identify(&other_secret, &plain);
    assert_ne!(changed.chunk_id, one.chunk_id);
    assert_ne!(secret(&other_secret, &changed), secret(&keys, &one));
}

#[test]
fn one_key_seals_one_message() {
    let plain = Bytes::from(prose(1, 100_000));
    let seals: Vec<Sealed> = [Compression::Raw, Compression::Zstd { level: 1 }, Compression::Zstd { level: 9 }]
        .map(|compression| sealed(&plain, compression, Coding::default()))
        .into();
    for (at, one) in seals.iter().enumerate() {
        assert_eq!(opened(one).unwrap(), plain);
        for other in &seals[..at] {
            assert_ne!(one.secret, other.secret);
            assert_ne!(one.seal_id, other.seal_id);
        }
    }
    // Equal but for trailing zeros, which look like padding.
    let short = sealed(&vec![0; 10].into(), Compression::Raw, Coding::default());
    let long = sealed(&vec![0; 11].into(), Compression::Raw, Coding::default());
    assert_eq!(short.ciphertext_len, long.ciphertext_len);
    assert_ne!(short.secret, long.secret);
}

#[test]
fn a_wrong_secret_is_refused() {
    let (one, other) = (noise(1, 9_000).into(), noise(2, 9_000).into());
    let (one, other) = (sealed(&one, Compression::Raw, coding("4+1")), sealed(&other, Compression::Raw, coding("4+1")));
    let ciphertext = assemble(one.seal_id, one.slices).unwrap();
    assert_eq!(open(&other.secret, &ciphertext), Err(OpenError::WrongSecret { seal_id: one.seal_id }));
    assert!(open(&one.secret, &ciphertext).is_ok());
}

#[test]
fn lengths_are_visible_in_steps_only() {
    let len =
        |plain_len: usize| sealed(&noise(3, plain_len).into(), Compression::Raw, Coding::default()).ciphertext_len;
    assert_eq!([0, 1, 4075, 4076, 8171, 8172].map(len), [4096, 4096, 4096, 8192, 8192, 12288]);
}

/// Part of the format: what other versions of this program sealed must stay what it is. Raw, so that zstd's version
/// does not matter; the digest covers every byte of every record.
#[test]
fn seals_are_what_they_always_were() {
    let plain = Bytes::from_static(b"the snake eats its tail");
    let id = identify(&keys(), &plain);
    let sealed = sealed(&plain, Compression::Raw, Coding::default());
    let mut records = blake3::Hasher::new();
    for slice in &sealed.slices {
        records.update(&slice.header.encode()).update(&slice.payload);
    }
    let secret = blake3::Hash::from_bytes(*sealed.secret.expose()).to_hex();
    let found =
        [id.chunk_id.to_string(), secret.to_string(), sealed.seal_id.to_string(), records.finalize().to_string()];
    let expected = [
        "9eab4657dcbc5ce90ecb460ccb6ee085c4ded93279e85518c80a4b65976a9029",
        "2d31b2ee41c081983696ca484b479dd233d1d43b88675176706485e7e5aec0a5",
        "5c7c666209b2472bafe53dae8864d1c3b095f7d6fe77d2681d57cbbe631463bb",
        "4623fc45fbf099d9356ab53b9981272f9738ae3fabf66ae8148136e55afe982c",
    ];
    assert_eq!(found, expected);
}
