#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::fixtures::{coding, noise, sealed};
use super::super::{Compression, Sealed, assemble, open};
use super::*;
use proptest::prelude::*;

fn a_seal(len: usize, text: &str) -> Sealed {
    sealed(&noise(6, len).into(), Compression::Raw, coding(text))
}

fn record(slice: &SealedSlice) -> Vec<u8> {
    [&slice.header.encode()[..], &slice.payload].concat()
}

#[test]
fn records_survive() {
    for (len, text) in [(1, "8+1"), (30_000, "8+1"), (30_000, "1+0"), (300_000, "200+55")] {
        for slice in &a_seal(len, text).slices {
            let bytes = record(slice);
            assert_eq!(bytes.len(), slice.record_len());
            let (header, header_len) = SliceHeader::decode(&bytes).unwrap();
            assert_eq!(header_len, slice.header.encoded_len());
            assert!(header_len <= MAX_SLICE_HEADER_LEN);
            assert_eq!(header.encode(), bytes[..header_len]);
            let read = SealedSlice::from_record(bytes.into()).unwrap();
            assert_eq!(&read, slice);
            assert!(read.header.is_sibling(&slice.header));
            assert_eq!(read.verify(), Ok(()));
        }
    }
}

#[test]
fn a_header_tells_what_it_is() {
    let seal = a_seal(300_000, "8+1");
    let last = &seal.slices[8].header;
    assert_eq!((last.seal_id(), last.index(), last.coding()), (seal.seal_id, SliceIndex(8), coding("8+1")));
    assert_eq!(last.ciphertext_len(), seal.ciphertext_len);
    assert!(last.is_parity() && !seal.slices[7].header.is_parity());
    assert_eq!(last.encoded_len(), 244);
    assert_eq!(last.sibling_hashes().len(), 9);
    assert_eq!(last.sibling_hashes()[8], last.slice_hash());
    let lens: u32 = seal.slices[..8].iter().map(|slice| slice.header.payload_len()).sum();
    assert_eq!(lens, seal.ciphertext_len);
    assert_eq!(last.payload_len(), last.shard_len());
    let short = a_seal(1, "8+1");
    assert_eq!(short.slices[0].header.coding(), coding("2+1"));
}

#[test]
fn every_flipped_bit_of_a_record_is_refused() {
    let seal = a_seal(5_000, "2+1");
    for slice in &seal.slices {
        let bytes = record(slice);
        for bit in 0..bytes.len() * 8 {
            let mut mutated = bytes.clone();
            mutated[bit / 8] ^= 1 << (bit % 8);
            let verified = SealedSlice::from_record(mutated.into()).and_then(|slice| slice.verify());
            assert!(verified.is_err(), "bit {bit} of slice {}", slice.header.index());
        }
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let seal = a_seal(5_000, "2+1");
    let bytes = Bytes::from(record(&seal.slices[2]));
    for len in 0..bytes.len() {
        assert!(SealedSlice::from_record(bytes.slice(..len)).is_err(), "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(SealedSlice::from_record(longer.into()), Err(SliceError::PayloadLen { .. })));
}

#[test]
fn a_slice_in_anothers_place_is_damaged() {
    let seal = a_seal(50_000, "4+2");
    let mut slice = seal.slices[0].clone();
    slice.header = seal.slices[1].header.clone();
    assert_eq!(slice.verify(), Err(SliceError::Damaged { seal_id: seal.seal_id, index: SliceIndex(1) }));
}

/// A hostile header with a fresh, correct check: whatever it says is refused or harmless.
fn with_fresh_check(mut bytes: Vec<u8>) -> Vec<u8> {
    let shards = usize::from(bytes[6]) + usize::from(bytes[7]);
    let checked = (FIXED_LEN + HASH_LEN * shards).min(bytes.len() - HASH_LEN);
    let index = bytes[INDEX_AT];
    let sum = check(&mut bytes[..checked]);
    bytes[INDEX_AT] = index;
    bytes[checked..checked + HASH_LEN].copy_from_slice(&sum);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn noise_is_never_a_header(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SliceHeader::decode(&bytes).is_err());
    }

    #[test]
    fn hostile_headers_are_refused_or_harmless(
        hits in prop::collection::vec((0_usize..300, any::<u8>()), 1..6),
        tail in prop::collection::vec(any::<u8>(), 0..40)
    ) {
        let seal = a_seal(20_000, "4+2");
        let mut bytes = seal.slices[3].header.encode();
        for (at, value) in hits {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        let mut bytes = with_fresh_check(bytes);
        if let Ok((header, len)) = SliceHeader::decode(&bytes) {
            prop_assert_eq!(&header.encode()[..], &bytes[..len]);
            let mut given = seal.slices.clone();
            given.remove(3);
            given.insert(0, SealedSlice { header: header.clone(), payload: seal.slices[3].payload.clone() });
            let ciphertext = assemble(seal.seal_id, given).unwrap();
            prop_assert_eq!(open(&seal.secret, &ciphertext).unwrap(), noise(6, 20_000));
            let alone = SealedSlice { header, payload: tail.clone().into() };
            prop_assert!(alone.verify().is_err());
        }
        bytes.extend_from_slice(&tail);
        if let Ok(slice) = SealedSlice::from_record(bytes.into()) {
            prop_assert!(slice.verify().is_err());
        }
    }
}
