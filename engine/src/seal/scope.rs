//! The secrets of one deduplication scope.

use crate::id::{Domain, Epoch, Secret};

const CHUNK_ID: Domain = Domain::new("ouroborosdb v1 chunk-id");
const CONVERGENT: Domain = Domain::new("ouroborosdb v1 convergent");
const CDC: Domain = Domain::new("ouroborosdb v1 cdc");

/// Three independent secrets of one scope of one epoch. Whoever holds the same three deduplicates with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeKeys {
    /// Turns a chunk's root into its [`ChunkId`](crate::id::ChunkId).
    pub chunk_id: Secret,
    /// Turns plaintext into the root from which seal keys are derived.
    pub convergent: Secret,
    /// Decides where the chunker cuts.
    pub cdc: Secret,
}

impl ScopeKeys {
    /// Derives the keys of `scope` (a realm, a user, or 32 random bytes for no deduplication at all) in `epoch`.
    #[must_use]
    pub fn derive(realm_secret: &Secret, epoch: Epoch, scope: &[u8]) -> Self {
        // PA
        let epoch = epoch.0.to_le_bytes();
        let derive = |domain| realm_secret.derive(domain, &[&epoch, scope]);
        Self { chunk_id: derive(CHUNK_ID), convergent: derive(CONVERGENT), cdc: derive(CDC) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_by_purpose_epoch_scope_and_realm() {
        let realm = Secret::new([1; 32]);
        let keys = ScopeKeys::derive(&realm, Epoch(0), b"scope");
        assert_ne!(keys.chunk_id, keys.convergent);
        assert_ne!(keys.convergent, keys.cdc);
        for other in [
            ScopeKeys::derive(&realm, Epoch(1), b"scope"),
            ScopeKeys::derive(&realm, Epoch(0), b"scopf"),
            ScopeKeys::derive(&Secret::new([2; 32]), Epoch(0), b"scope"),
        ] {
            assert_ne!(keys.chunk_id, other.chunk_id);
            assert_ne!(keys.convergent, other.convergent);
            assert_ne!(keys.cdc, other.cdc);
        }
    }
}
