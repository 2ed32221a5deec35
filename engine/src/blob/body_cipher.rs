//! Sealing bodies: ChaCha20-Poly1305 under a key that is used once and committed to.
//!
//! ```text
//! 0        1                      33                             n-16        n
//! | version | commitment to the key | ciphertext of the padded body | tag |
//! padded body = u32 little-endian length || canonical body || zeros up to the Padmé length
//! ```
//!
//! Every version has a random body key of its own, so the nonce is always zero. ChaCha20-Poly1305 alone does not commit to
//! its key (partitioning oracles, Len, Grubbs and Ristenpart, USENIX Security 2021); the 32-byte commitment, compared
//! before anything is decrypted, does. Padmé (Nikitin et al., PETS 2019) hides the length within 12 %.

use super::Body;
use crate::codec::{Canonical, DecodeError};
use crate::id::{Domain, Secret};
use bytes::Bytes;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

const BODY: Domain = Domain::new("ouroborosdb v1 body");
const VERSION: u8 = 1;
const COMMITMENT_LEN: usize = 32;
const TAG_LEN: usize = 16;
const HEAD_LEN: usize = 1 + COMMITMENT_LEN;
const PREFIX_LEN: usize = 4;

/// Bytes that a sealed body is longer than its padded plaintext.
pub const BODY_OVERHEAD: usize = HEAD_LEN + TAG_LEN;

/// Why a sealed body was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The key is another version's, or the body lies under another header than its own.
    #[error("this key does not open this body: it belongs to another version")]
    WrongKey,
    /// The bytes were altered or cut short.
    #[error("the sealed body is damaged; read another copy of its record")]
    Damaged,
    /// The seal is whole, but what it holds is not a body: a faulty or later program wrote it.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// The Padmé length of `len` bytes: at most 12 % more, and only O(log log len) bits of the length remain.
#[must_use]
pub const fn padded_len(len: usize) -> usize {
    if len < 4 {
        return len;
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    if kept >= exponent {
        return len;
    }
    let mask = (1usize << (exponent - kept)) - 1;
    (len + mask) & !mask
}

/// The length of `body` when sealed, in bytes.
#[must_use]
pub const fn sealed_body_len(body_len: usize) -> usize {
    padded_len(PREFIX_LEN + body_len) + BODY_OVERHEAD
}

fn derive(body_key: &Secret, binding: &[u8; 32]) -> (Secret, [u8; COMMITMENT_LEN]) {
    // PA
    let mut hasher = BODY.hasher();
    hasher.part(body_key.expose()).part(binding);
    let mut both = Zeroizing::new([0u8; 32 + COMMITMENT_LEN]);
    hasher.finish_into(&mut *both);
    let (mut key, mut commitment) = ([0; 32], [0; COMMITMENT_LEN]);
    key.copy_from_slice(&both[..32]);
    commitment.copy_from_slice(&both[32..]);
    let secret = Secret::new(key);
    key.zeroize();
    (secret, commitment)
}

fn associated_data(commitment: &[u8; COMMITMENT_LEN], binding: &[u8; 32]) -> [u8; HEAD_LEN + 32] {
    let mut out = [VERSION; HEAD_LEN + 32];
    out[1..HEAD_LEN].copy_from_slice(commitment);
    out[HEAD_LEN..].copy_from_slice(binding);
    out
}

fn cipher(key: &Secret) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&(*key.expose()).into())
}

/// Seals `body` for the header whose [`super::Header::body_binding`] is `binding`. `body_key` must be fresh random bytes,
/// used for this body alone.
///
/// # Errors
/// [`DecodeError`] when the body breaks a rule of its format.
pub fn seal_body(body: &Body, body_key: &Secret, binding: &[u8; 32]) -> Result<Bytes, DecodeError> {
    // PA
    body.validate()?;
    let plain = Zeroizing::new(body.encode());
    if plain.len() > Body::MAX_LEN {
        return Err(DecodeError::TooLong { what: Body::WHAT, len: plain.len() as u64, limit: Body::MAX_LEN as u64 });
    }
    let (key, commitment) = derive(body_key, binding);
    let mut out = Vec::with_capacity(sealed_body_len(plain.len()));
    out.push(VERSION);
    out.extend_from_slice(&commitment);
    out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    out.extend_from_slice(&plain);
    out.resize(HEAD_LEN + padded_len(PREFIX_LEN + plain.len()), 0);
    let aad = associated_data(&commitment, binding);
    let tag = cipher(&key).encrypt_inout_detached(&Default::default(), &aad, (&mut out[HEAD_LEN..]).into());
    match tag {
        Ok(tag) => out.extend_from_slice(&tag),
        // The cipher's limit is 256 GiB and a body's is 256 KiB.
        Err(_) => unreachable!("a body is shorter than the cipher's limit"),
    }
    debug_assert_eq!(out.len(), sealed_body_len(plain.len()));
    Ok(out.into())
}

/// Opens a body that [`seal_body`] made with the same key and binding.
///
/// # Errors
/// [`BodyError`]; nothing is decrypted unless the commitment matches.
pub fn open_body(sealed: &[u8], body_key: &Secret, binding: &[u8; 32]) -> Result<Body, BodyError> {
    // PA
    if sealed.len() > sealed_body_len(Body::MAX_LEN) {
        return Err(BodyError::Damaged);
    }
    let (&version, rest) = sealed.split_first().ok_or(BodyError::Damaged)?;
    if version != VERSION {
        return Err(DecodeError::Version { what: "sealed body", found: version, known: VERSION }.into());
    }
    let (stated, rest) = rest.split_first_chunk::<COMMITMENT_LEN>().ok_or(BodyError::Damaged)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(BodyError::Damaged)?;
    let (key, commitment) = derive(body_key, binding);
    if !bool::from(commitment.ct_eq(stated)) {
        return Err(BodyError::WrongKey);
    }
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    let aad = associated_data(&commitment, binding);
    cipher(&key)
        .decrypt_inout_detached(&Default::default(), &aad, plain.as_mut_slice().into(), &(*tag).into())
        .map_err(|_| BodyError::Damaged)?;
    let (len, rest) = plain.split_first_chunk::<PREFIX_LEN>().ok_or_else(|| bad_padding("no length"))?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > Body::MAX_LEN || plain.len() != padded_len(PREFIX_LEN + len) {
        return Err(bad_padding("the length is not the padded one's").into());
    }
    let (body, padding) = rest.split_at_checked(len).ok_or_else(|| bad_padding("the length runs over the end"))?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(bad_padding("the padding is not zero").into());
    }
    Ok(Body::decode(body)?)
}

fn bad_padding(why: &'static str) -> DecodeError {
    DecodeError::malformed("sealed body", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{Header, sample};
    use proptest::prelude::*;

    fn key(n: u8) -> Secret {
        Secret::new([n; 32])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bodies_come_back_under_their_key_and_binding_only(body in sample::any_body(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let sealed = seal_body(&body, &key(1), &[2; 32]).unwrap();
            let opened = open_body(&sealed, &key(1), &[2; 32]);
            prop_assert_eq!(opened, Ok(body));
            prop_assert_eq!(open_body(&sealed, &key(2), &[2; 32]), Err(BodyError::WrongKey));
            prop_assert_eq!(open_body(&sealed, &key(1), &[3; 32]), Err(BodyError::WrongKey));
            let mut changed = sealed.to_vec();
            changed[at.index(sealed.len())] ^= 1 << bit;
            prop_assert!(open_body(&changed, &key(1), &[2; 32]).is_err());
        }

        #[test]
        fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open_body(&noise, &key(1), &[2; 32]).is_err());
        }

        #[test]
        fn padding_costs_an_eighth_at_most_and_never_shrinks(len in 0usize..2_000_000) {
            let padded = padded_len(len);
            prop_assert!(padded >= len && padded - len <= len / 8);
            prop_assert_eq!(padded_len(padded), padded);
        }
    }

    #[test]
    fn every_cut_and_extension_is_refused() {
        let sealed = seal_body(&sample::body(), &key(1), &[2; 32]).unwrap().to_vec();
        for cut in 0..sealed.len() {
            assert!(open_body(&sealed[..cut], &key(1), &[2; 32]).is_err());
        }
        let mut longer = sealed;
        longer.push(0);
        assert_eq!(open_body(&longer, &key(1), &[2; 32]), Err(BodyError::Damaged));
    }

    #[test]
    fn the_longest_body_is_within_the_headers_limit() {
        assert!(sealed_body_len(Body::MAX_LEN) <= Header::MAX_BODY_LEN as usize);
    }

    #[test]
    fn lengths_are_padded_as_the_paper_says() {
        for (len, padded) in
            [(0, 0), (1, 1), (8, 8), (9, 10), (100, 104), (1_000, 1_024), (1_025, 1_088), (65_537, 67_584)]
        {
            assert_eq!(padded_len(len), padded, "{len}");
        }
    }

    #[test]
    fn what_is_longer_than_any_body_is_refused_before_anything_is_derived() {
        let mut sealed = vec![0; sealed_body_len(Body::MAX_LEN) + 1];
        sealed[0] = VERSION;
        assert_eq!(open_body(&sealed, &key(1), &[2; 32]), Err(BodyError::Damaged));
    }
}
