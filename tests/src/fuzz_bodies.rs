//! What the fuzz targets do with their bytes, as plain functions, so that ordinary tests replay the same inputs.
//!
//! A decoder must refuse hostile bytes without panicking and without allocating more than they justify, and whatever it
//! accepts must be the one encoding of the value it found.

use ouroboros_engine::codec::Canonical;
use ouroboros_engine::env::FileName;
use ouroboros_engine::id::{BlobId, Dot, Epoch, Hlc, Incarnation, NodeId, Partition, Sequence};
use ouroboros_engine::keys::{GroupWrap, Signature};

/// One way in for bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// The structure.
    pub name: &'static str,
    /// Decodes; whether the bytes were accepted. Panics if what was accepted does not encode to the same bytes.
    pub accepts: fn(&[u8]) -> bool,
    /// Bytes that are accepted: where mutation starts, and a seed for the fuzzer.
    pub example: fn() -> Vec<u8>,
}

/// Every decoder. A new one is a line here and, for the fuzzer's seed, `cargo test -p ouroboros-tests --test fuzz_corpus --
/// --ignored write_seeds`.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "blob-id-hex", accepts: blob_id_hex, example: || "a7".repeat(32).into_bytes() },
    Decoder { name: "dot", accepts: fields::<Dot>, example: || written(&dot()) },
    Decoder { name: "file-name", accepts: file_name, example: || b"seg-0000000000000001.log".to_vec() },
    Decoder { name: "group-wrap", accepts: fields::<GroupWrap>, example: || written(&group_wrap()) },
    Decoder { name: "hlc", accepts: fields::<Hlc>, example: || written(&Hlc(0x0123_4567_89ab_cdef)) },
    Decoder { name: "signature", accepts: fields::<Signature>, example: || written(&Signature::from_bytes([9; 64])) },
];

/// The body of the target `decode`: every decoder gets the same bytes.
pub fn decode(bytes: &[u8]) {
    for decoder in DECODERS {
        (decoder.accepts)(bytes);
    }
}

/// One change to valid bytes: where (modulo the length), what kind, and with what.
pub type Edit = (u16, u8, u8);

/// The body of the target `mutate`: valid bytes of one structure, changed in a few places, so that the decoder is reached
/// beyond its first checks.
pub fn mutate(decoder: u8, edits: &[Edit]) {
    let Some(decoder) = DECODERS.get(usize::from(decoder) % DECODERS.len()) else { return };
    let mut bytes = (decoder.example)();
    for &(at, kind, value) in edits.iter().take(16) {
        apply(&mut bytes, usize::from(at), kind, value);
    }
    (decoder.accepts)(&bytes);
}

fn apply(bytes: &mut Vec<u8>, at: usize, kind: u8, value: u8) {
    if bytes.is_empty() {
        bytes.push(value);
        return;
    }
    let at = at % bytes.len();
    match kind % 6 {
        0 => bytes[at] = value,
        1 => bytes[at] ^= 1 << (value % 8),
        2 => bytes.insert(at, value),
        3 => {
            bytes.remove(at);
        }
        4 => bytes.truncate(at),
        // A count or a length, made hostile.
        _ => {
            let end = bytes.len().min(at + 4);
            bytes[at..end].fill(if value.is_multiple_of(2) { 0xff } else { 0x7f });
        }
    }
}

/// A [`Canonical`] structure: accepted bytes are its only encoding.
pub fn canonical<T: Canonical>(bytes: &[u8]) -> bool {
    let Ok(value) = T::decode(bytes) else { return false };
    assert_eq!(value.encode(), bytes, "{} accepts bytes that it would not write", T::WHAT);
    true
}

/// The fields of a structure that stands inside others, without a version byte of its own.
pub fn fields<T: borsh::BorshDeserialize + borsh::BorshSerialize>(bytes: &[u8]) -> bool {
    let Ok(value) = borsh::from_slice::<T>(bytes) else { return false };
    assert_eq!(written(&value), bytes, "{} accepts bytes that it would not write", core::any::type_name::<T>());
    true
}

fn written<T: borsh::BorshSerialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail.
    let _ = value.serialize(&mut bytes);
    bytes
}

fn blob_id_hex(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let Some(id) = BlobId::from_hex(text) else { return false };
    assert_eq!(id.to_string(), text.to_lowercase(), "an id accepts text that it would not print");
    true
}

fn file_name(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let Ok(name) = FileName::new(text) else { return false };
    assert_eq!(name.as_str(), text);
    assert!(!text.contains('/') && !text.starts_with('.'), "{text:?} leaves its directory");
    true
}

fn dot() -> Dot {
    Dot {
        node: NodeId::from_bytes([0x11; 32]),
        incarnation: Incarnation(2),
        partition: Partition(3),
        sequence: Sequence(4),
    }
}

fn group_wrap() -> GroupWrap {
    GroupWrap { epoch: Epoch(1), salt: [2; 16], commitment: [3; 32], sealed: [4; 48] }
}
