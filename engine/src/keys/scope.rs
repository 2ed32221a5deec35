//! Who shares deduplication with whom.

use crate::id::AuthorId;

/// Within which circle equal content is stored once. The wider the circle, the more can be learnt by those inside it:
/// whoever holds the same keys can confirm a guess at a file (Tahoe-LAFS, `docs/convergence-secret.rst`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DedupScope {
    /// Everybody who holds the realm secret.
    Realm,
    /// One author's own writes.
    User(AuthorId),
    /// Nothing beyond this one put: 32 fresh random bytes.
    None([u8; 32]),
}

impl DedupScope {
    /// The scope's share of every derivation: a tag byte (0 realm, 1 user, 2 none), then the 32 bytes of the last two.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // PA
        let (tag, rest): (u8, &[u8]) = match self {
            Self::Realm => (0, &[]),
            Self::User(author) => (1, author.as_bytes()),
            Self::None(random) => (2, random),
        };
        let mut out = Vec::with_capacity(33);
        out.push(tag);
        out.extend_from_slice(rest);
        out
    }
}

impl core::fmt::Debug for DedupScope {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Realm => f.write_str("Realm"),
            Self::User(author) => write!(f, "User({author:?})"),
            // The random bytes stand between an outsider with the realm secret and a guess at the content.
            Self::None(_) => f.write_str("None(…)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;
    use crate::keys::golden::{hex, secret};
    use crate::seal::ScopeKeys;

    #[test]
    fn scopes_epochs_and_secrets_share_no_key() {
        let author = AuthorId::from_bytes([7; 32]);
        let scopes = [
            DedupScope::Realm,
            DedupScope::User(author),
            DedupScope::None([7; 32]),
            DedupScope::User(AuthorId::from_bytes([8; 32])),
        ];
        let mut seen = Vec::new();
        for scope in &scopes {
            for epoch in [Epoch(0), Epoch(1)] {
                for realm in [secret(1), secret(2)] {
                    let keys = ScopeKeys::derive(&realm, epoch, &scope.to_bytes());
                    seen.extend([keys.chunk_id, keys.convergent, keys.cdc].map(|key| *key.expose()));
                }
            }
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }

    #[test]
    fn the_derivations_are_those_in_the_format() {
        let keys = ScopeKeys::derive(&secret(1), Epoch(0), &DedupScope::Realm.to_bytes());
        assert_eq!(hex(keys.chunk_id.expose()), "d5e785ec93ded24e5fdfb9ecda2ca571aec999583d683b59c1e8d32dc87195e6");
        assert_eq!(hex(keys.convergent.expose()), "611f87192fe9fe8f20724d6f72f3f8ffff6cab7c8252b958a0a98491758ecabb");
        assert_eq!(hex(keys.cdc.expose()), "a9466d489d67037a18b07b29a975d941113bbffb0536417dfd22c16f8a8233ee");
        let user = DedupScope::User(AuthorId::from_bytes([9; 32]));
        let keys = ScopeKeys::derive(&secret(1), Epoch(5), &user.to_bytes());
        assert_eq!(hex(keys.chunk_id.expose()), "68f989672df01a0e6bf6d156b8c5c404a1aadeddd266490b9cc5e86ddda2ebbe");
    }

    #[test]
    fn a_random_scope_is_not_printed() {
        assert_eq!(format!("{:?}", DedupScope::None([0xab; 32])), "None(…)");
    }
}
