//! ChaCha20-Poly1305 made committing: a 32-byte commitment is derived beside the key and compared before decrypting.
//!
//! ChaCha20-Poly1305 alone lets one ciphertext open under several keys (partitioning oracles, Len, Grubbs and Ristenpart,
//! USENIX Security 2021). The nonce is always zero: callers derive a fresh key for every message.

use crate::id::{DomainHasher, Secret};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Length of the authentication tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// Why a wrapped key did not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// The commitment is that of another key, or of another object, epoch or grantor than the one named.
    #[error(
        "this key does not open the wrap: it was made for another key, object or epoch; \
         use the keyring it was made for"
    )]
    WrongKey,
    /// The key is the right one, but the sealed bytes were altered.
    #[error("the wrapped key is damaged; fetch another copy of its record or have it granted anew")]
    Damaged,
}

/// A one-message key and the commitment to it.
pub(crate) struct CommittedKey {
    key: Secret,
    commitment: [u8; 32],
}

impl CommittedKey {
    /// Takes 64 bytes from a hash that holds the secret and everything the message must be bound to.
    pub(crate) fn from_hash(hasher: &DomainHasher) -> Self {
        // PA
        let mut both = Zeroizing::new([0u8; 64]);
        hasher.finish_into(both.as_mut_slice());
        let (mut key, mut commitment) = ([0; 32], [0; 32]);
        key.copy_from_slice(&both[..32]);
        commitment.copy_from_slice(&both[32..]);
        let this = Self { key: Secret::new(key), commitment };
        key.zeroize();
        this
    }

    /// What is stored beside the ciphertext.
    pub(crate) const fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Whether a stored commitment is this key's; takes the same time wherever they differ.
    pub(crate) fn commits_to(&self, stored: &[u8; 32]) -> bool {
        self.commitment.ct_eq(stored).into()
    }

    /// Seals the one message of this key; the result is [`TAG_LEN`] bytes longer.
    pub(crate) fn seal(self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        // PA
        match self.cipher().encrypt(&Nonce::default(), Payload { msg: plain, aad }) {
            Ok(sealed) => sealed,
            // The cipher refuses only messages beyond 256 GiB, which no caller can hold.
            Err(_) => unreachable!("sealing {} bytes", plain.len()),
        }
    }

    /// Opens the one message of this key; `None` when the bytes were altered.
    pub(crate) fn open(self, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        // PA
        let plain = self.cipher().decrypt(&Nonce::default(), Payload { msg: sealed, aad }).ok()?;
        Some(Zeroizing::new(plain))
    }

    /// Seals a 32-byte key.
    pub(crate) fn wrap(self, aad: &[u8], secret: &Secret) -> [u8; 32 + TAG_LEN] {
        let mut out = [0; 32 + TAG_LEN];
        out.copy_from_slice(&self.seal(aad, secret.expose()));
        out
    }

    /// Opens a wrapped 32-byte key after comparing the commitment.
    pub(crate) fn unwrap(
        self,
        commitment: &[u8; 32],
        aad: &[u8],
        sealed: &[u8; 32 + TAG_LEN],
    ) -> Result<Secret, UnwrapError> {
        // PA
        if !self.commits_to(commitment) {
            return Err(UnwrapError::WrongKey);
        }
        let plain = self.open(aad, sealed).ok_or(UnwrapError::Damaged)?;
        let mut bytes: [u8; 32] = plain.as_slice().try_into().map_err(|_| UnwrapError::Damaged)?;
        let secret = Secret::new(bytes);
        bytes.zeroize();
        Ok(secret)
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(*self.key.expose()))
    }
}
