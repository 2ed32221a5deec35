//! What the tests of this module share.

use super::{Coding, Compression, ScopeKeys, Scratch, Sealed, identify, seal};
use crate::id::{EngineRng, Epoch, Secret};
use bytes::Bytes;

pub(crate) fn keys() -> ScopeKeys {
    ScopeKeys::derive(&Secret::new([42; 32]), Epoch(0), b"realm")
}

/// Bytes without structure.
pub(crate) fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut rng = EngineRng::from_seed([seed; 32]);
    let mut out = Vec::with_capacity(len + 1024);
    while out.len() < len {
        out.extend_from_slice(&rng.bytes::<1024>());
    }
    out.truncate(len);
    out
}

/// Bytes that look like prose: words of a small vocabulary, unevenly used.
pub(crate) fn prose(seed: u8, len: usize) -> Vec<u8> {
    let mut rng = EngineRng::from_seed([seed; 32]);
    let words: Vec<Vec<u8>> = (0..2000)
        .map(|_| {
            let letters = 2 + rng.next_u64() % 9;
            (0..letters).map(|_| b'a' + (rng.next_u64() % 26 * (rng.next_u64() % 26) / 26) as u8).collect()
        })
        .collect();
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        let pick = rng.next_u64() % 2000 * (rng.next_u64() % 2000) / 2000;
        out.extend_from_slice(&words[pick as usize]);
        out.push(if rng.next_u64().is_multiple_of(12) { b'\n' } else { b' ' });
    }
    out.truncate(len);
    out
}

pub(crate) fn sealed(plain: &Bytes, compression: Compression, coding: Coding) -> Sealed {
    let keys = keys();
    seal(&keys, &identify(&keys, plain), plain, compression, coding, &mut Scratch::new())
}

pub(crate) fn coding(text: &str) -> Coding {
    text.parse().unwrap()
}
