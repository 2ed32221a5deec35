//! Identifiers: distinct newtypes over BLAKE3-256, one derivation domain each.
//!
//! Two ids of different kinds never compare, and no id is ever made from bytes that another kind's
//! derivation could have produced: every derivation runs under its own `derive_key` context and
//! length-prefixes every input (see [`Domain`]).

mod domain;
mod dot;
mod hlc;
mod rng;
mod secret;

pub use domain::{Domain, DomainHasher};
pub use dot::{Dot, Incarnation, Partition, Sequence};
pub use hlc::{ClockAhead, Hlc, HlcClock};
pub use rng::EngineRng;
pub use secret::Secret;

use borsh::{BorshDeserialize, BorshSerialize};

/// Length of every identifier, in bytes.
pub const ID_LEN: usize = 32;

macro_rules! id_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// Wraps 32 bytes that came from disk, wire or a derivation.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
                Self(bytes)
            }

            /// The bytes, as they stand on disk and wire.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }

            /// Reads 64 hexadecimal digits, either case.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                Some(Self(*blake3::Hash::from_hex(text).ok()?.as_bytes()))
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let hex = blake3::Hash::from_bytes(self.0).to_hex();
                write!(f, concat!(stringify!($name), "({}…)"), &hex[..12])
            }
        }
    };
}

id_newtype! {
    /// One version of one key: the hash of its public header.
    BlobId
}
id_newtype! {
    /// A content-defined piece of a blob: a keyed hash of its plaintext. Dedup lookups use it; it is never public.
    ChunkId
}
id_newtype! {
    /// A sealed chunk: the hash of its header, commitment and ciphertext. Independent of the coding `k+m`.
    SealId
}
id_newtype! {
    /// A page of seal references, named by its content; large blobs reference their seals through pages.
    RefPageId
}
id_newtype! {
    /// What a storage node sees instead of a key name: a keyed hash of the key's bytes.
    KeyHash
}
id_newtype! {
    /// A realm: the domain of secrecy and deduplication. Public.
    RealmId
}
id_newtype! {
    /// A node: its ed25519 public key.
    NodeId
}
id_newtype! {
    /// An author of blobs: an ed25519 public key.
    AuthorId
}
id_newtype! {
    /// A reader or a group of readers: the hash of its X25519 public key, or of the group's name and epoch.
    ReaderId
}
id_newtype! {
    /// A tombstone, named by the hash of its signed bytes.
    TombstoneId
}
id_newtype! {
    /// A directory of the sealed name tree: a hash over the chain of sealed components that leads to it. Public.
    DirectoryId
}

/// The epoch of a realm secret or of a reader group's key; a later epoch replaces an earlier one for new writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Epoch(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_hexadecimal_form() {
        let id = BlobId::from_bytes([0xa7; 32]);
        assert_eq!(BlobId::from_hex(&id.to_string()), Some(id));
        assert_eq!(BlobId::from_hex("a7"), None);
    }
}
