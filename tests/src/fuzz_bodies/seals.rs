//! Slices and seals: from a slice's header to the plaintext.

use bytes::Bytes;
use ouroboros_engine::id::{Domain, EngineRng, Epoch, Secret};
use ouroboros_engine::seal::{
    Coding, Compression, ScopeKeys, Scratch, Sealed, SealedSlice, SliceHeader, assemble, identify, open, recode, seal,
};
use std::sync::OnceLock;

const PLAIN_LEN: usize = 5000;

fn plain() -> Bytes {
    let mut rng = EngineRng::from_seed([3; 32]);
    Bytes::from((0..PLAIN_LEN.div_ceil(50)).flat_map(|_| rng.bytes::<50>()).collect::<Vec<u8>>())
}

fn coding(data: u8, parity: u8) -> Coding {
    match Coding::new(data, parity) {
        Ok(coding) => coding,
        Err(error) => unreachable!("a valid coding: {error}"),
    }
}

fn sealed() -> &'static Sealed {
    static SEALED: OnceLock<Sealed> = OnceLock::new();
    SEALED.get_or_init(|| {
        let keys = ScopeKeys::derive(&Secret::new([4; 32]), Epoch(0), &[0]);
        let plain = plain();
        seal(&keys, &identify(&keys, &plain), &plain, Compression::Raw, coding(2, 1), &mut Scratch::new())
    })
}

fn record(slice: &SealedSlice) -> Vec<u8> {
    [slice.header.encode().as_slice(), &slice.payload].concat()
}

pub(super) fn example_header() -> Vec<u8> {
    sealed().slices[1].header.encode()
}

pub(super) fn example_record() -> Vec<u8> {
    record(&sealed().slices[2])
}

/// Bytes that begin with a slice's header, and nothing else counts.
pub(super) fn slice_header(bytes: &[u8]) -> bool {
    let Ok((header, len)) = SliceHeader::decode(bytes) else { return false };
    assert_eq!(header.encode(), bytes[..len], "a slice header accepts bytes that it would not write");
    assert!(header.payload_len() <= header.shard_len() && u32::from(header.index().0) < 255);
    true
}

pub(super) fn slice_record(bytes: &[u8]) -> bool {
    let Ok(slice) = SealedSlice::from_record(Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(record(&slice), bytes, "a slice accepts bytes that it would not write");
    let whole = slice.verify().is_ok();
    // One slice of a seal of several is not enough; of a seal of one it is, and must hash to the seal's id.
    let seal = slice.header.seal_id();
    if let Ok(whole) = assemble(seal, vec![slice]) {
        assert_eq!(whole.seal_id(), seal);
    }
    whole
}

const HEADER_CHECK: Domain = Domain::new("ouroborosdb v1 slice header");

/// Makes the check in a slice's header fit the bytes before it.
fn forge(bytes: &mut [u8]) {
    let [k, m] = [6, 7].map(|at| usize::from(bytes.get(at).copied().unwrap_or_default()));
    let end = 84 + 16 * (k + m);
    let Some((content, rest)) = bytes.split_at_mut_checked(end) else { return };
    let Some(check) = rest.get_mut(..16) else { return };
    let mut content = content.to_vec();
    content[5] = 0;
    check.copy_from_slice(&HEADER_CHECK.hash(&[&content])[..16]);
}

pub(super) fn forged_slice_record(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    forge(&mut bytes);
    slice_record(&bytes)
}

/// Several slice records, each preceded by its length as a `u32`: all of 2+1, and one of the same seal in 1+1.
pub(super) fn example_slices() -> Vec<u8> {
    let mut slices = sealed().slices.clone();
    if let Ok(whole) = assemble(sealed().seal_id, slices.clone()) {
        slices.extend(recode(&whole, coding(1, 1)).into_iter().take(1));
    }
    let mut out = Vec::new();
    for slice in &slices {
        let record = record(slice);
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(&record);
    }
    out
}

/// Whatever the slices, the plaintext that comes out is the one that went in.
pub(super) fn slices(bytes: &[u8]) -> bool {
    let mut slices = Vec::new();
    let mut rest = bytes;
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let len = (u32::from_le_bytes(*len) as usize).min(after.len());
        let (record, after) = after.split_at(len);
        slices.extend(SealedSlice::from_record(Bytes::copy_from_slice(record)));
        rest = after;
    }
    let Ok(whole) = assemble(sealed().seal_id, slices) else { return false };
    assert_eq!(open(&sealed().secret, &whole), Ok(plain()), "a seal opened to other bytes");
    for coding in [coding(3, 2), coding(1, 0)] {
        let again = assemble(sealed().seal_id, recode(&whole, coding));
        assert!(again.is_ok_and(|again| again.to_bytes() == whole.to_bytes()), "a seal changed with its coding");
    }
    true
}
