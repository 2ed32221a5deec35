//! The root of a keyring.

use super::phrase::{PhraseError, RecoveryPhrase};
use crate::id::{Domain, EngineRng, Secret};

/// 32 secret bytes from which all of a keyring's epoch 0 follows. Never printed but as a [`RecoveryPhrase`].
#[derive(Clone, PartialEq, Eq)]
pub struct MasterSecret(Secret);

impl MasterSecret {
    /// A fresh one.
    #[must_use]
    pub fn generate(rng: &mut EngineRng) -> Self {
        // PA
        Self(Secret::new(rng.bytes()))
    }

    /// One that is already known.
    #[must_use]
    pub const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// Reads a recovery phrase.
    ///
    /// # Errors
    /// [`PhraseError`] says which word is at fault.
    pub fn from_phrase(phrase: &str) -> Result<Self, PhraseError> {
        RecoveryPhrase::parse(phrase).map(Self)
    }

    /// The 24 words that make this secret anew.
    #[must_use]
    pub fn phrase(&self) -> RecoveryPhrase {
        RecoveryPhrase::of(&self.0)
    }

    pub(super) const fn secret(&self) -> &Secret {
        &self.0
    }

    pub(super) fn derive(&self, domain: Domain, inputs: &[&[u8]]) -> Secret {
        self.0.derive(domain, inputs)
    }
}

impl core::fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MasterSecret(…)")
    }
}
