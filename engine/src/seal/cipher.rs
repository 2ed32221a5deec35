//! The committed, convergent cipher: ChaCha20-Poly1305 (RFC 8439) under a key that is a function of the message.
//!
//! ChaCha20-Poly1305 does not commit to its key (Len, Grubbs, Ristenpart, "Partitioning Oracle Attacks", USENIX
//! Security 2021), so a 32-byte commitment is derived beside the key, bound as associated data and by the seal id,
//! and compared before anything is decrypted.

use crate::codec::DecodeError;
use crate::id::{Domain, Secret};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Ciphertexts are multiples of this, in bytes: all that an observer learns of a chunk's length.
pub const PAD_STEP: u32 = 4096;
/// Longest plaintext of one seal, in bytes.
pub const MAX_PLAIN_LEN: u32 = 16 << 20;
/// Longest ciphertext of one seal, in bytes.
pub const MAX_CIPHERTEXT_LEN: u32 = MAX_PLAIN_LEN + PAD_STEP;
/// Length of the Poly1305 tag at the end of a ciphertext, in bytes.
pub(super) const TAG_LEN: usize = 16;

const SEAL: Domain = Domain::new("ouroborosdb v1 seal");

/// The public header of a seal, 8 bytes: it names the construction and the ciphertext's length, and says nothing about
/// compression or coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealHeader {
    ciphertext_len: u32,
}

impl SealHeader {
    /// Encoded length, in bytes.
    pub const LEN: usize = 8;
    /// Version of the construction: derivations, padding rule, cipher.
    const VERSION: u8 = 1;
    /// BLAKE3 + ChaCha20-Poly1305.
    const SUITE: u8 = 1;
    /// log2 of [`PAD_STEP`].
    const PAD_SHIFT: u8 = PAD_STEP.trailing_zeros() as u8;

    /// The header of the ciphertext that holds `inner_len` bytes, padding not counted.
    pub(super) const fn for_inner_len(inner_len: usize) -> Self {
        let padded = (inner_len + TAG_LEN).next_multiple_of(PAD_STEP as usize);
        assert!(padded <= MAX_CIPHERTEXT_LEN as usize, "a seal holds at most 16 MiB");
        Self { ciphertext_len: padded as u32 }
    }

    /// Length of the ciphertext with its tag, in bytes.
    #[must_use]
    pub const fn ciphertext_len(self) -> u32 {
        self.ciphertext_len
    }

    /// The bytes: version, suite, log2 of the padding step, zero, ciphertext length (u32, little-endian).
    #[must_use]
    pub const fn encode(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.ciphertext_len.to_le_bytes();
        [Self::VERSION, Self::SUITE, Self::PAD_SHIFT, 0, a, b, c, d]
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`DecodeError`] on another version, an unknown construction or a length that no seal has.
    pub fn decode(bytes: [u8; Self::LEN]) -> Result<Self, DecodeError> {
        // PA
        const WHAT: &str = "seal header";
        let [version, suite, pad_shift, zero, a, b, c, d] = bytes;
        if version != Self::VERSION {
            return Err(DecodeError::Version { what: WHAT, found: version, known: Self::VERSION });
        }
        if (suite, pad_shift, zero) != (Self::SUITE, Self::PAD_SHIFT, 0) {
            return Err(DecodeError::malformed(WHAT, format!("unknown construction {suite}/{pad_shift}/{zero}")));
        }
        let ciphertext_len = u32::from_le_bytes([a, b, c, d]);
        if ciphertext_len > MAX_CIPHERTEXT_LEN {
            let (len, limit) = (u64::from(ciphertext_len), u64::from(MAX_CIPHERTEXT_LEN));
            return Err(DecodeError::TooLong { what: WHAT, len, limit });
        }
        if ciphertext_len == 0 || !ciphertext_len.is_multiple_of(PAD_STEP) {
            return Err(DecodeError::malformed(WHAT, format!("{ciphertext_len} B is no multiple of {PAD_STEP} B")));
        }
        Ok(Self { ciphertext_len })
    }
}

/// The commitment to a seal's key. Public.
pub(super) type Commitment = [u8; 32];

/// Why a ciphertext was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The secret belongs to another seal.
    Commitment,
    /// The secret is the right one, and the bytes are not those that were sealed.
    Tag,
}

/// Key and commitment of a chunk secret.
fn key_and_commitment(secret: &Secret) -> (Zeroizing<[u8; 32]>, Commitment) {
    let mut hasher = SEAL.hasher();
    hasher.part(secret.expose());
    let mut out = Zeroizing::new([0; 64]);
    hasher.finish_into(&mut *out);
    let (mut key, mut commitment) = (Zeroizing::new([0; 32]), [0; 32]);
    key.copy_from_slice(&out[..32]);
    commitment.copy_from_slice(&out[32..]);
    (key, commitment)
}

fn associated_data(header: SealHeader, commitment: &Commitment) -> [u8; SealHeader::LEN + 32] {
    let mut out = [0; SealHeader::LEN + 32];
    out[..SealHeader::LEN].copy_from_slice(&header.encode());
    out[SealHeader::LEN..].copy_from_slice(commitment);
    out
}

/// Encrypts `buffer` where it lies and appends the tag. The nonce is zero: `secret` must be a function of `buffer`.
pub(super) fn encrypt(secret: &Secret, header: SealHeader, buffer: &mut Vec<u8>) -> Commitment {
    // PA
    assert_eq!(buffer.len() + TAG_LEN, header.ciphertext_len as usize, "the header states the ciphertext's length");
    let (key, commitment) = key_and_commitment(secret);
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    let aad = associated_data(header, &commitment);
    match cipher.encrypt_inout_detached(&Nonce::default(), &aad, buffer.as_mut_slice().into()) {
        Ok(tag) => buffer.extend_from_slice(&tag),
        // The cipher's own limit is 256 GiB; a seal's is 16 MiB.
        Err(error) => unreachable!("encrypting {} B: {error}", buffer.len()),
    }
    commitment
}

/// Checks and decrypts `buffer` where it lies and cuts the tag off. On error the buffer holds ciphertext still.
pub(super) fn decrypt(
    secret: &Secret,
    header: SealHeader,
    commitment: &Commitment,
    buffer: &mut Vec<u8>,
) -> Result<(), Refused> {
    // PA
    let (key, expected) = key_and_commitment(secret);
    if !bool::from(expected.ct_eq(commitment)) {
        return Err(Refused::Commitment);
    }
    let text_len = buffer.len().checked_sub(TAG_LEN).ok_or(Refused::Tag)?;
    let (text, tag) = buffer.split_at_mut(text_len);
    let tag = Tag::try_from(&*tag).map_err(|_| Refused::Tag)?;
    let aad = associated_data(header, commitment);
    ChaCha20Poly1305::new(&Key::from(*key))
        .decrypt_inout_detached(&Nonce::default(), &aad, text.into(), &tag)
        .map_err(|_| Refused::Tag)?;
    buffer.truncate(text_len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Secret, SealHeader, Commitment, Vec<u8>) {
        let secret = Secret::new([7; 32]);
        let header = SealHeader::for_inner_len(100);
        let mut buffer = vec![5; header.ciphertext_len as usize - TAG_LEN];
        let commitment = encrypt(&secret, header, &mut buffer);
        (secret, header, commitment, buffer)
    }

    #[test]
    fn what_was_encrypted_is_decrypted() {
        let (secret, header, commitment, mut buffer) = sealed();
        assert_eq!(buffer.len(), 4096);
        assert_eq!(decrypt(&secret, header, &commitment, &mut buffer), Ok(()));
        assert_eq!(buffer, vec![5; 4080]);
    }

    #[test]
    fn another_secret_is_refused_before_the_tag_is_looked_at() {
        let (_, header, commitment, mut buffer) = sealed();
        let other = Secret::new([8; 32]);
        assert_eq!(decrypt(&other, header, &commitment, &mut buffer), Err(Refused::Commitment));
    }

    #[test]
    fn every_part_is_authenticated() {
        let (secret, header, commitment, buffer) = sealed();
        for byte in [0, 2000, 4079, 4080, 4095] {
            let mut damaged = buffer.clone();
            damaged[byte] ^= 1;
            assert_eq!(decrypt(&secret, header, &commitment, &mut damaged), Err(Refused::Tag));
        }
        let other = SealHeader { ciphertext_len: 8192 };
        assert_eq!(decrypt(&secret, other, &commitment, &mut buffer.clone()), Err(Refused::Tag));
        assert_eq!(decrypt(&secret, header, &commitment, &mut vec![0; 15]), Err(Refused::Tag));
    }

    #[test]
    fn headers_have_one_spelling() {
        for inner_len in [0, 4080, 4081, MAX_PLAIN_LEN as usize + 5] {
            let header = SealHeader::for_inner_len(inner_len);
            assert_eq!(SealHeader::decode(header.encode()), Ok(header));
        }
        assert_eq!(SealHeader::for_inner_len(4080).ciphertext_len(), 4096);
        assert_eq!(SealHeader::for_inner_len(4081).ciphertext_len(), 8192);
        for bad in [
            [2, 1, 12, 0, 0, 16, 0, 0],
            [1, 2, 12, 0, 0, 16, 0, 0],
            [1, 1, 13, 0, 0, 16, 0, 0],
            [1, 1, 12, 1, 0, 16, 0, 0],
            [1, 1, 12, 0, 1, 16, 0, 0],
            [1, 1, 12, 0, 0, 0, 0, 0],
            [1, 1, 12, 0, 0, 0x20, 0, 1],
            [0xff; 8],
        ] {
            assert!(SealHeader::decode(bad).is_err(), "{bad:?}");
        }
    }
}
