//! Key agreement: X25519 (RFC 7748), or what a simulator has in its place.

use crate::id::Secret;
use x25519_dalek::{PublicKey, StaticSecret};

/// How two come to a secret that both know and nobody else. There is one in production, [`X25519`]; a simulator, in which
/// nobody breaks a key, may give a [`Keyring`](super::Keyring) a cheaper one.
pub trait KeyExchange: core::fmt::Debug + Send + Sync {
    /// The public half of 32 secret bytes.
    fn public(&self, secret: &Secret) -> [u8; 32];

    /// What the owner of `secret` has in common with the owner of the other half of `public`. `None` if that is no secret,
    /// whoever has it.
    fn agree(&self, secret: &Secret, public: &[u8; 32]) -> Option<Secret>;
}

/// X25519 with secrets that are clamped (RFC 7748, section 5), and no public keys of low order (section 6.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct X25519;

impl KeyExchange for X25519 {
    fn public(&self, secret: &Secret) -> [u8; 32] {
        // PA
        PublicKey::from(&StaticSecret::from(*secret.expose())).to_bytes()
    }

    fn agree(&self, secret: &Secret, public: &[u8; 32]) -> Option<Secret> {
        // PA
        let shared = StaticSecret::from(*secret.expose()).diffie_hellman(&PublicKey::from(*public));
        shared.was_contributory().then(|| Secret::new(shared.to_bytes()))
    }
}
