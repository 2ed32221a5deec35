//! Authorship: ed25519 (RFC 8032) signatures over domain-separated digests.

use crate::id::{AuthorId, Domain, Secret};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use std::sync::Arc;

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The bytes, as they stand on disk and wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Wraps 64 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}

impl core::fmt::Debug for Signature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// A signature does not belong to its author and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not that of author {author}")]
pub struct BadSignature {
    /// The claimed author.
    pub author: AuthorId,
}

/// The secret half of an author, whatever the algorithm: what is signed goes through one.
pub trait Signer: core::fmt::Debug + Send + Sync {
    /// In whose name it signs.
    fn author(&self) -> AuthorId;

    /// Signs `text` in `domain`.
    fn sign(&self, domain: Domain, text: &[u8]) -> Signature;
}

/// Whatever checks signatures.
pub trait Verifier {
    /// Checks that `author` signed `text` in `domain`.
    ///
    /// # Errors
    /// [`BadSignature`].
    fn verify(&self, author: AuthorId, domain: Domain, text: &[u8], signature: &Signature) -> Result<(), BadSignature>;
}

/// How an owner signs and how signatures are checked. There is one in production, [`Ed25519`]; a simulator, whose
/// attackers forge nothing, may give a [`Keyring`](super::Keyring) a cheaper one.
pub trait SignatureScheme: Verifier + core::fmt::Debug + Send + Sync {
    /// The key made from 32 secret bytes.
    fn key(&self, seed: &Secret) -> Arc<dyn Signer>;
}

/// Strict ed25519, as [`verify`] does it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ed25519;

impl Verifier for Ed25519 {
    fn verify(&self, author: AuthorId, domain: Domain, text: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        verify(author, domain, text, signature)
    }
}

impl SignatureScheme for Ed25519 {
    fn key(&self, seed: &Secret) -> Arc<dyn Signer> {
        Arc::new(AuthorKey::from_seed(seed))
    }
}

/// The secret half of an author, for ed25519.
#[derive(Clone)]
pub struct AuthorKey {
    signing: SigningKey,
    id: AuthorId,
}

impl AuthorKey {
    /// The key made from 32 secret bytes (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &Secret) -> Self {
        // PA
        let signing = SigningKey::from_bytes(seed.expose());
        let id = AuthorId::from_bytes(signing.verifying_key().to_bytes());
        Self { signing, id }
    }

    /// The public half.
    #[must_use]
    pub const fn id(&self) -> AuthorId {
        self.id
    }

    /// Signs `text` in `domain`. The signature covers a digest, so that no text of one kind passes as another.
    #[must_use]
    pub fn sign(&self, domain: Domain, text: &[u8]) -> Signature {
        // PA
        Signature(self.signing.sign(&domain.hash(&[text])).to_bytes())
    }
}

impl Signer for AuthorKey {
    fn author(&self) -> AuthorId {
        self.id
    }

    fn sign(&self, domain: Domain, text: &[u8]) -> Signature {
        Self::sign(self, domain, text)
    }
}

impl core::fmt::Debug for AuthorKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AuthorKey({:?})", self.id)
    }
}

/// Checks a signature strictly (no small-order keys, canonical encodings only).
///
/// # Errors
/// [`BadSignature`].
pub fn verify(author: AuthorId, domain: Domain, text: &[u8], signature: &Signature) -> Result<(), BadSignature> {
    // PA
    let bad = BadSignature { author };
    let key = VerifyingKey::from_bytes(author.as_bytes()).map_err(|_| bad)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(&domain.hash(&[text]), &signature).map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Domain = Domain::new("ouroborosdb v1 test one");
    const TWO: Domain = Domain::new("ouroborosdb v1 test two");

    #[test]
    fn a_signature_binds_author_domain_and_text() {
        let key = AuthorKey::from_seed(&Secret::new([7; 32]));
        let other = AuthorKey::from_seed(&Secret::new([8; 32]));
        let signature = key.sign(ONE, b"text");
        assert_eq!(verify(key.id(), ONE, b"text", &signature), Ok(()));
        assert!(verify(other.id(), ONE, b"text", &signature).is_err());
        assert!(verify(key.id(), TWO, b"text", &signature).is_err());
        assert!(verify(key.id(), ONE, b"texts", &signature).is_err());
        let mut flipped = *signature.as_bytes();
        flipped[40] ^= 1;
        assert!(verify(key.id(), ONE, b"text", &Signature::from_bytes(flipped)).is_err());
    }
}
