//! Everything that one owner of a store holds secret.

use super::author::{Ed25519, SignatureScheme, Signer};
use super::epochs::{self, AddEpochError, Epochs, MAX_EPOCHS, UnknownEpoch};
use super::exchange::{KeyExchange, X25519};
use super::master::MasterSecret;
use super::name_keys::NameKeys;
use super::phrase::RecoveryPhrase;
use super::reader::{ReaderPublic, ReaderSecret};
use super::scope::DedupScope;
use crate::codec::{Canonical, DecodeError};
use crate::id::{AuthorId, Domain, EngineRng, Epoch, NodeId, RealmId, Secret};
use crate::seal::ScopeKeys;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

const REALM_SECRET: Domain = Domain::new("ouroborosdb v1 realm secret");
const GROUP_KEY: Domain = Domain::new("ouroborosdb v1 group key");
const AUTHOR_SEED: Domain = Domain::new("ouroborosdb v1 author seed");
const NODE_SEED: Domain = Domain::new("ouroborosdb v1 node seed");
const READER_SEED: Domain = Domain::new("ouroborosdb v1 reader seed");
const INDEX_KEY: Domain = Domain::new("ouroborosdb v1 index key");
const REALM_ID: Domain = Domain::new("ouroborosdb v1 realm id");

/// The master secret and all that follows from it, and the realm secrets and group keys of later epochs.
///
/// The recovery phrase brings back epoch 0, and with [`Self::next_realm_epoch`] and [`Self::next_group_epoch`] every
/// epoch that was begun by this owner. Epochs that others began and shared are only in the keyring file: back it up
/// when one is added.
#[derive(Clone)]
pub struct Keyring {
    master: MasterSecret,
    realm: Epochs,
    groups: Epochs,
    scheme: Arc<dyn SignatureScheme>,
    author: Arc<dyn Signer>,
    node: Arc<dyn Signer>,
    reader: ReaderSecret,
    realm_id: RealmId,
    name_keys: NameKeys,
}

impl Keyring {
    /// The keyring of a master secret, at epoch 0.
    #[must_use]
    pub fn from_master(master: MasterSecret) -> Self {
        Self::with_scheme(master, Arc::new(Ed25519), Arc::new(X25519))
    }

    /// [`Self::from_master`] with another way to sign, and to agree on keys. What it signs, and what is wrapped for it, is
    /// no part of the format: only whoever has the same scheme can check it, and the same exchange wrap it.
    #[must_use]
    pub fn with_scheme(master: MasterSecret, scheme: Arc<dyn SignatureScheme>, exchange: Arc<dyn KeyExchange>) -> Self {
        // PA
        let realm = Epochs::new("realm secret", epoch_secret(&master, REALM_SECRET, Epoch(0)));
        let groups = Epochs::new("group key", epoch_secret(&master, GROUP_KEY, Epoch(0)));
        let author = scheme.key(&master.derive(AUTHOR_SEED, &[]));
        let node = scheme.key(&master.derive(NODE_SEED, &[]));
        let reader = ReaderSecret::with_exchange(&master.derive(READER_SEED, &[]), exchange);
        let realm_id = RealmId::from_bytes(REALM_ID.hash(&[realm.first().expose()]));
        let name_keys = NameKeys::derive(realm.first(), Epoch(0), &DedupScope::Realm.to_bytes());
        Self { master, realm, groups, scheme, author, node, reader, realm_id, name_keys }
    }

    /// A keyring that nobody has had before.
    #[must_use]
    pub fn generate(rng: &mut EngineRng) -> Self {
        Self::from_master(MasterSecret::generate(rng))
    }

    /// The words that bring the master secret back.
    #[must_use]
    pub fn phrase(&self) -> RecoveryPhrase {
        self.master.phrase()
    }

    /// The realm's public id: a one-way derivation from its first secret, the same in every epoch.
    #[must_use]
    pub const fn realm_id(&self) -> RealmId {
        self.realm_id
    }

    /// The realm secret of an epoch.
    ///
    /// # Errors
    /// [`UnknownEpoch`].
    pub fn realm_secret(&self, epoch: Epoch) -> Result<&Secret, UnknownEpoch> {
        self.realm.get(epoch)
    }

    /// The newest epoch of the realm secret: new writes are sealed under it.
    #[must_use]
    pub fn realm_epoch(&self) -> Epoch {
        self.realm.newest().0
    }

    /// The key of the realm's own group of readers in an epoch.
    ///
    /// # Errors
    /// [`UnknownEpoch`].
    pub fn group_key(&self, epoch: Epoch) -> Result<&Secret, UnknownEpoch> {
        self.groups.get(epoch)
    }

    /// The newest epoch of the group key: new bodies are wrapped under it.
    #[must_use]
    pub fn group_epoch(&self) -> Epoch {
        self.groups.newest().0
    }

    /// Begins the realm's next epoch. Its secret follows from the master secret but not from any earlier epoch's, so
    /// that those who were given only the earlier ones cannot follow.
    ///
    /// # Errors
    /// [`AddEpochError::Full`].
    pub fn next_realm_epoch(&mut self) -> Result<Epoch, AddEpochError> {
        next_epoch(&self.master, REALM_SECRET, &mut self.realm)
    }

    /// Begins the group key's next epoch, as [`Self::next_realm_epoch`] does for the realm.
    ///
    /// # Errors
    /// [`AddEpochError::Full`].
    pub fn next_group_epoch(&mut self) -> Result<Epoch, AddEpochError> {
        next_epoch(&self.master, GROUP_KEY, &mut self.groups)
    }

    /// Takes in a realm secret that somebody else made. Never replaces one.
    ///
    /// # Errors
    /// [`AddEpochError`].
    pub fn add_realm_epoch(&mut self, epoch: Epoch, secret: Secret) -> Result<(), AddEpochError> {
        self.realm.add(epoch, secret)
    }

    /// Takes in a group key that somebody else made. Never replaces one.
    ///
    /// # Errors
    /// [`AddEpochError`].
    pub fn add_group_epoch(&mut self, epoch: Epoch, key: Secret) -> Result<(), AddEpochError> {
        self.groups.add(epoch, key)
    }

    /// In whose name this keyring signs.
    #[must_use]
    pub fn author(&self) -> AuthorId {
        self.author.author()
    }

    /// The key that signs blobs, tombstones and grants.
    #[must_use]
    pub fn signer(&self) -> &dyn Signer {
        self.author.as_ref()
    }

    /// How this keyring signs, and checks what was signed.
    #[must_use]
    pub fn scheme(&self) -> &dyn SignatureScheme {
        self.scheme.as_ref()
    }

    /// The node that runs on this keyring.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(*self.node.author().as_bytes())
    }

    /// The key behind [`Self::node_id`]; apart from the author's, so that a node is not a person.
    #[must_use]
    pub fn node_signer(&self) -> &dyn Signer {
        self.node.as_ref()
    }

    /// The key that opens grants to this keyring.
    #[must_use]
    pub const fn reader(&self) -> &ReaderSecret {
        &self.reader
    }

    /// What others need in order to grant something to this keyring.
    #[must_use]
    pub const fn reader_public(&self) -> ReaderPublic {
        self.reader.public()
    }

    /// The chunk keys of a scope in the newest epoch.
    #[must_use]
    pub fn scope_keys(&self, scope: &DedupScope) -> ScopeKeys {
        let (epoch, secret) = self.realm.newest();
        ScopeKeys::derive(secret, epoch, &scope.to_bytes())
    }

    /// The chunk keys of a scope in a given epoch.
    ///
    /// # Errors
    /// [`UnknownEpoch`].
    pub fn scope_keys_of(&self, epoch: Epoch, scope: &DedupScope) -> Result<ScopeKeys, UnknownEpoch> {
        Ok(ScopeKeys::derive(self.realm.get(epoch)?, epoch, &scope.to_bytes()))
    }

    /// The keys that hide names; the same in every epoch.
    #[must_use]
    pub fn name_keys(&self) -> NameKeys {
        self.name_keys.clone()
    }

    /// The key of one index file, which is known by its salt.
    #[must_use]
    pub fn index_key(&self, salt: &[u8; 16]) -> Secret {
        self.master.derive(INDEX_KEY, &[salt])
    }

    /// The stored form, in memory that is wiped.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // PA
        let content = Content {
            master: self.master.secret().clone(),
            realm: self.realm.later().clone(),
            groups: self.groups.later().clone(),
        };
        // Room for all of it at once, so that no copy is left behind by growing.
        let epochs = content.realm.len() + content.groups.len();
        let mut out = Zeroizing::new(Vec::with_capacity(Content::EMPTY_LEN + epochs * Content::EPOCH_LEN));
        out.push(Content::VERSION);
        if let Err(error) = content.serialize(&mut *out) {
            unreachable!("encoding a keyring to memory: {error}");
        }
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        // PA
        let content = Content::decode(bytes)?;
        let mut keyring = Self::from_master(MasterSecret::new(content.master));
        keyring.realm.restore(content.realm);
        keyring.groups.restore(content.groups);
        Ok(keyring)
    }
}

impl core::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Keyring")
            .field("realm_id", &self.realm_id)
            .field("realm_epoch", &self.realm_epoch().0)
            .field("group_epoch", &self.group_epoch().0)
            .field("author", &self.author())
            .field("reader", &self.reader.public().id())
            .finish_non_exhaustive()
    }
}

fn epoch_secret(master: &MasterSecret, domain: Domain, epoch: Epoch) -> Secret {
    master.derive(domain, &[&epoch.0.to_le_bytes()])
}

fn next_epoch(master: &MasterSecret, domain: Domain, epochs: &mut Epochs) -> Result<Epoch, AddEpochError> {
    // PA
    // The last number there is cannot be followed; adding to it then finds it taken.
    let next = Epoch(epochs.newest().0.0.saturating_add(1));
    epochs.add(next, epoch_secret(master, domain, next))?;
    Ok(next)
}

/// What is stored: the rest follows from it.
#[derive(BorshSerialize, BorshDeserialize)]
struct Content {
    master: Secret,
    realm: BTreeMap<Epoch, Secret>,
    groups: BTreeMap<Epoch, Secret>,
}

impl Content {
    const EMPTY_LEN: usize = 1 + 32 + 4 + 4;
    const EPOCH_LEN: usize = 4 + 32;
}

impl Canonical for Content {
    const WHAT: &'static str = "keyring";
    const MAX_LEN: usize = Self::EMPTY_LEN + 2 * MAX_EPOCHS * Self::EPOCH_LEN;

    fn validate(&self) -> Result<(), DecodeError> {
        epochs::validate(Self::WHAT, &self.realm)?;
        epochs::validate(Self::WHAT, &self.groups)
    }
}

/// The longest stored form, in bytes.
pub(super) const MAX_KEYRING_LEN: usize = Content::MAX_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::golden::{fixed_rng, hex, secret};

    fn keyring() -> Keyring {
        Keyring::from_master(MasterSecret::new(secret(1)))
    }

    #[test]
    fn the_phrase_brings_everything_of_the_owner_back() {
        let mut lost = Keyring::generate(&mut fixed_rng());
        lost.next_realm_epoch().unwrap();
        lost.next_realm_epoch().unwrap();
        lost.next_group_epoch().unwrap();
        let words = lost.phrase();
        let mut found = Keyring::from_master(MasterSecret::from_phrase(words.as_str()).unwrap());
        while found.realm_epoch() < lost.realm_epoch() {
            found.next_realm_epoch().unwrap();
        }
        while found.group_epoch() < lost.group_epoch() {
            found.next_group_epoch().unwrap();
        }
        assert_eq!(found.to_bytes(), lost.to_bytes());
        assert_eq!(found.realm_id(), lost.realm_id());
        assert_eq!((found.author(), found.node_id()), (lost.author(), lost.node_id()));
        assert_eq!(found.reader_public(), lost.reader_public());
    }

    #[test]
    fn the_stored_form_survives() {
        let mut keyring = keyring();
        keyring.next_realm_epoch().unwrap();
        keyring.add_realm_epoch(Epoch(9), secret(9)).unwrap();
        keyring.add_group_epoch(Epoch(4), secret(4)).unwrap();
        let bytes = keyring.to_bytes();
        let again = Keyring::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!(again.realm_secret(Epoch(9)), Ok(&secret(9)));
        assert_eq!(again.group_key(Epoch(4)), Ok(&secret(4)));
        assert_eq!((again.realm_epoch(), again.group_epoch()), (Epoch(9), Epoch(4)));
        for cut in 0..bytes.len() {
            assert!(Keyring::from_bytes(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_stored_epoch_zero_and_unsorted_epochs_are_refused() {
        let mut keyring = keyring();
        keyring.add_realm_epoch(Epoch(1), secret(9)).unwrap();
        keyring.add_realm_epoch(Epoch(2), secret(9)).unwrap();
        let bytes = keyring.to_bytes();
        let mut zero = bytes.to_vec();
        zero[37] = 0;
        assert!(Keyring::from_bytes(&zero).is_err());
        let mut twice = bytes.to_vec();
        twice[37] = 2;
        assert!(Keyring::from_bytes(&twice).is_err());
        let mut bomb = bytes.to_vec();
        bomb[33..37].copy_from_slice(&[0xff; 4]);
        assert!(Keyring::from_bytes(&bomb).is_err());
    }

    #[test]
    fn names_and_realm_outlive_epochs_and_chunk_keys_do_not() {
        let mut keyring = keyring();
        let (id, name) = (keyring.realm_id(), keyring.name_keys().key_hash(b"a"));
        let old = keyring.scope_keys(&DedupScope::Realm);
        assert_eq!(keyring.next_realm_epoch(), Ok(Epoch(1)));
        assert_eq!((keyring.realm_id(), keyring.name_keys().key_hash(b"a")), (id, name));
        assert_ne!(keyring.scope_keys(&DedupScope::Realm).chunk_id, old.chunk_id);
        assert_eq!(keyring.scope_keys_of(Epoch(0), &DedupScope::Realm).unwrap().chunk_id, old.chunk_id);
        assert!(keyring.scope_keys_of(Epoch(7), &DedupScope::Realm).is_err());
    }

    #[test]
    fn the_last_epoch_is_not_overrun() {
        let mut keyring = keyring();
        keyring.add_realm_epoch(Epoch(u32::MAX), secret(9)).unwrap();
        assert!(keyring.next_realm_epoch().is_err());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let text = format!("{:?} {:?}", keyring(), keyring().signer());
        let secrets = [*secret(1).expose(), *keyring().realm_secret(Epoch(0)).unwrap().expose()];
        for bytes in secrets {
            assert!(!text.contains(&hex(&bytes[..4])), "{text}");
            assert!(!text.contains(&format!("{}, {}", bytes[0], bytes[1])), "{text}");
        }
    }

    #[test]
    fn the_derivations_are_those_in_the_format() {
        let keyring = keyring();
        assert_eq!(
            hex(keyring.realm_secret(Epoch(0)).unwrap().expose()),
            "fc76d4233610ec290e3b45b6c481d01eaaf497ff04ee96337d6de8efe020e010"
        );
        assert_eq!(
            hex(keyring.group_key(Epoch(0)).unwrap().expose()),
            "e673c6c77a692f37b1cf0689e7389eac121ee1021330b7651638b47ee21c7ccd"
        );
        assert_eq!(keyring.realm_id().to_string(), "8c88b6064611f5334826eeccfc5053a87d7d21700eb1ad14642c4b986f5c050f");
        assert_eq!(keyring.author().to_string(), "f4a53c7e9b1afcb4aa64f7caaa9c152afd7ce6b8c87d6cbc0687149585739219");
        assert_eq!(keyring.node_id().to_string(), "05d352e32182cf5ed85a6870684f3f42706110bafecb9498c0ea0b09758a34d3");
        assert_eq!(
            hex(keyring.reader_public().as_bytes()),
            "520529437842d2aafc12ff3f9000070a4a05f789db58db758b2b8888afcdbd11"
        );
        assert_eq!(
            hex(keyring.index_key(&[2; 16]).expose()),
            "5d4f3bc101c4d129076be244ef8a96a86d85c2b695b7fdaaf906111ce14e0fb6"
        );
        assert_eq!(
            keyring.name_keys().key_hash(b"photos/2024/a.jpg").to_string(),
            "700ff748ff7c84df8aec7b30d39f31fbc9cd6875efd2fc17049cdea4496b37dc"
        );
        assert_eq!(
            hex(keyring.scope_keys(&DedupScope::Realm).convergent.expose()),
            "21a031a22e0a80b6e43202ad1546f4cb0925ac3306f0fa74ea900dd10f67c527"
        );
        let mut later = keyring.clone();
        later.next_realm_epoch().unwrap();
        later.next_group_epoch().unwrap();
        assert_eq!(
            hex(later.realm_secret(Epoch(1)).unwrap().expose()),
            "793f185912a08b22f5295ac8c3e2e26db269e1f62299e9f482a299f7c937c076"
        );
        assert_eq!(
            hex(later.group_key(Epoch(1)).unwrap().expose()),
            "4b0cdd11e989ef1e479df37b0a2a514f84c15e084da39c67ac57c010f21e0d9a"
        );
    }
}
