//! Thirty-two secret bytes.

use super::Domain;
use borsh::{BorshDeserialize, BorshSerialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 32-byte secret: compared in constant time, wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop, BorshSerialize, BorshDeserialize)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes ownership of secret bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for use as a key. Never log them, never store them unsealed.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Derives another secret from this one and `inputs` in `domain`.
    #[must_use]
    pub fn derive(&self, domain: Domain, inputs: &[&[u8]]) -> Self {
        // PA
        let mut hasher = domain.hasher();
        hasher.part(&self.0);
        for input in inputs {
            hasher.part(input);
        }
        Self(hasher.finish())
    }

    /// BLAKE3 keyed hash of `bytes` under this secret.
    #[must_use]
    pub fn keyed_hash(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, bytes).as_bytes()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(…)")
    }
}
