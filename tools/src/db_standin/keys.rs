//! Keys without any security: the shape only.

use ouroboros_engine::id::{AuthorId, EngineRng, RealmId, Secret};

#[derive(Clone)]
pub(crate) struct MasterSecret(Secret);

impl MasterSecret {
    pub(crate) fn phrase(&self) -> RecoveryPhrase {
        let words: Vec<String> = self.0.expose().iter().map(|byte| format!("word{byte:03}")).collect();
        RecoveryPhrase(words.join(" "))
    }
    pub(crate) fn from_phrase(phrase: &str) -> Result<Self, String> {
        let bytes: Option<Vec<u8>> =
            phrase.split_whitespace().map(|word| word.strip_prefix("word")?.parse().ok()).collect();
        let bytes: [u8; 32] =
            bytes.and_then(|b| b.try_into().ok()).ok_or_else(|| String::from("a word is misspelt or missing"))?;
        Ok(Self(Secret::new(bytes)))
    }
}

pub(crate) struct RecoveryPhrase(String);

impl RecoveryPhrase {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Clone)]
pub(crate) struct Keyring(MasterSecret);

impl Keyring {
    pub(crate) fn from_master(master: MasterSecret) -> Self {
        Self(master)
    }
    pub(crate) fn generate(rng: &mut EngineRng) -> Self {
        Self(MasterSecret(Secret::new(rng.bytes())))
    }
    pub(crate) fn phrase(&self) -> RecoveryPhrase {
        self.0.phrase()
    }
    pub(crate) fn realm_id(&self) -> RealmId {
        RealmId::from_bytes(self.0.0.keyed_hash(b"realm"))
    }
    pub(crate) fn author(&self) -> AuthorId {
        AuthorId::from_bytes(self.0.0.keyed_hash(b"author"))
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KdfParams {
    pub(crate) passes: u32,
}

impl KdfParams {
    pub(crate) const DEFAULT: Self = Self { passes: 3 };
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("wrong passphrase")]
    WrongPassphrase,
    #[error("the keyring file is damaged")]
    Damaged,
}

pub(crate) struct Vault;

impl Vault {
    pub(crate) fn seal(
        keyring: &Keyring,
        passphrase: &[u8],
        _params: KdfParams,
        rng: &mut EngineRng,
    ) -> Result<Vec<u8>, VaultError> {
        let salt: [u8; 16] = rng.bytes();
        let key = blake3::hash(&[&salt[..], passphrase].concat());
        let mut out = salt.to_vec();
        out.extend_from_slice(blake3::hash(key.as_bytes()).as_bytes());
        out.extend(keyring.0.0.expose().iter().zip(key.as_bytes()).map(|(a, b)| a ^ b));
        Ok(out)
    }
    pub(crate) fn open(bytes: &[u8], passphrase: &[u8]) -> Result<Keyring, VaultError> {
        let (salt, rest) = bytes.split_at_checked(16).ok_or(VaultError::Damaged)?;
        let (check, sealed) = rest.split_at_checked(32).ok_or(VaultError::Damaged)?;
        let key = blake3::hash(&[salt, passphrase].concat());
        if blake3::hash(key.as_bytes()).as_bytes() != check {
            return Err(VaultError::WrongPassphrase);
        }
        let mut master = [0; 32];
        if sealed.len() != 32 {
            return Err(VaultError::Damaged);
        }
        master.iter_mut().zip(sealed.iter().zip(key.as_bytes())).for_each(|(out, (a, b))| *out = a ^ b);
        Ok(Keyring(MasterSecret(Secret::new(master))))
    }
}
