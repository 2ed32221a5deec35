//! Keys: who signs, who may read, and how secrets rest on disk.
//!
//! One [`MasterSecret`] (24 printable words) is the root of a [`Keyring`]: every other secret of epoch 0 follows from
//! it, each in a domain of its own. A [`Vault`] is the keyring at rest under a passphrase. Body keys are wrapped for a
//! group ([`GroupWrap`], symmetric) or for a single reader ([`ReaderWrap`], X25519), the latter signed as a [`Grant`].
//!
//! Promises: no secret is ever printed or logged; commitments are compared before anything is decrypted; one derived
//! key seals one message. The module knows nothing of chunks, bodies or names: it only hands out keys for them.

mod author;
mod committed;
mod epochs;
mod exchange;
#[cfg(test)]
mod golden;
mod grant;
mod group;
mod joint;
mod kdf;
mod keyring;
mod master;
mod name_keys;
mod phrase;
mod reader;
mod scope;
mod vault;

pub use author::{AuthorKey, BadSignature, Ed25519, Signature, SignatureScheme, Signer, Verifier, verify};
pub use committed::UnwrapError;
pub use epochs::{AddEpochError, MAX_EPOCHS, UnknownEpoch};
pub use exchange::{KeyExchange, X25519};
pub use grant::{Grant, GrantError};
pub use group::{GroupWrap, group_id};
pub use joint::JointSignature;
pub use kdf::{KdfLimit, KdfParams};
pub use keyring::Keyring;
pub use master::MasterSecret;
pub use name_keys::NameKeys;
pub use phrase::{PhraseError, RecoveryPhrase};
pub use reader::{ReaderPublic, ReaderSecret, ReaderWrap, WeakReaderKey};
pub use scope::DedupScope;
pub use vault::{Vault, VaultError};
