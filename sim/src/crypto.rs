//! Signatures and key agreement that cost a hash: in the simulator nobody forges, so most worlds need no curve.
//!
//! Only here, and not in the product: whoever knows somebody's public half could sign in their name, and read what is meant for
//! them.

use ouroboros_engine::id::{AuthorId, Domain, Secret};
use ouroboros_engine::keys::{
    BadSignature, KeyExchange, Keyring, MasterSecret, Signature, SignatureScheme, Signer, Verifier,
};
use std::sync::{Arc, Mutex, PoisonError};

const AUTHOR: Domain = Domain::new("ouroboros-sim v1 author");
const SIGNATURE: Domain = Domain::new("ouroboros-sim v1 signature");
const PUBLIC: Domain = Domain::new("ouroboros-sim v1 exchange public");
const SHARED: Domain = Domain::new("ouroboros-sim v1 exchange shared");

/// A keyed hash in the place of ed25519. Signatures bind author, domain and text as real ones do, so a damaged or a
/// misattributed text is refused; they are no proof against anybody who wants to forge.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheapSignatures;

/// The secret half of an author under [`CheapSignatures`].
#[derive(Debug)]
struct CheapKey(AuthorId);

fn tag(author: AuthorId, domain: Domain, text: &[u8]) -> Signature {
    let half = SIGNATURE.hash(&[author.as_bytes(), &domain.hash(&[text])]);
    let mut both = [0; 64];
    both[..32].copy_from_slice(&half);
    both[32..].copy_from_slice(&half);
    Signature::from_bytes(both)
}

impl Signer for CheapKey {
    fn author(&self) -> AuthorId {
        self.0
    }

    fn sign(&self, domain: Domain, text: &[u8]) -> Signature {
        tag(self.0, domain, text)
    }
}

impl Verifier for CheapSignatures {
    fn verify(&self, author: AuthorId, domain: Domain, text: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        if *signature == tag(author, domain, text) { Ok(()) } else { Err(BadSignature { author }) }
    }
}

impl SignatureScheme for CheapSignatures {
    fn key(&self, seed: &Secret) -> Arc<dyn Signer> {
        Arc::new(CheapKey(AuthorId::from_bytes(AUTHOR.hash(&[seed.expose()]))))
    }
}

/// A hash in the place of X25519: two agree on that of their public halves, which is no secret to anybody who knows these.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheapExchange;

impl KeyExchange for CheapExchange {
    fn public(&self, secret: &Secret) -> [u8; 32] {
        PUBLIC.hash(&[secret.expose()])
    }

    fn agree(&self, secret: &Secret, public: &[u8; 32]) -> Option<Secret> {
        let own = self.public(secret);
        Some(Secret::new(SHARED.hash(&[own.min(*public).as_slice(), &own.max(*public)])))
    }
}

/// Keeps what it is given to make keys of.
#[derive(Clone, Debug, Default)]
struct Witness(Arc<Mutex<Vec<Secret>>>);

impl Witness {
    fn see(&self, seed: &Secret) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seed.clone());
    }
}

impl Verifier for Witness {
    fn verify(&self, author: AuthorId, domain: Domain, text: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        CheapSignatures.verify(author, domain, text, signature)
    }
}

impl SignatureScheme for Witness {
    fn key(&self, seed: &Secret) -> Arc<dyn Signer> {
        self.see(seed);
        CheapSignatures.key(seed)
    }
}

impl KeyExchange for Witness {
    fn public(&self, secret: &Secret) -> [u8; 32] {
        self.see(secret);
        CheapExchange.public(secret)
    }

    fn agree(&self, secret: &Secret, public: &[u8; 32]) -> Option<Secret> {
        CheapExchange.agree(secret, public)
    }
}

/// The secret halves of all that the owner of a master secret signs and reads with.
pub(crate) fn seeds(master: [u8; 32]) -> Vec<Secret> {
    let witness = Witness::default();
    let (scheme, exchange) = (Arc::new(witness.clone()), Arc::new(witness.clone()));
    let _ = Keyring::with_scheme(MasterSecret::new(Secret::new(master)), scheme, exchange);
    std::mem::take(&mut *witness.0.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A keyring that signs and agrees cheaply, the same for the same secret.
#[must_use]
pub fn cheap_keyring(master: [u8; 32]) -> Keyring {
    Keyring::with_scheme(MasterSecret::new(Secret::new(master)), Arc::new(CheapSignatures), Arc::new(CheapExchange))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouroboros_engine::id::{BlobId, EngineRng, Hlc};
    use ouroboros_engine::keys::{Grant, ReaderWrap, UnwrapError};

    const ONE: Domain = Domain::new("ouroboros-sim v1 test one");
    const TWO: Domain = Domain::new("ouroboros-sim v1 test two");

    #[test]
    fn a_cheap_signature_binds_author_domain_and_text() {
        let key = CheapSignatures.key(&Secret::new([7; 32]));
        let other = CheapSignatures.key(&Secret::new([8; 32]));
        let signature = key.sign(ONE, b"text");
        let verify = |author, domain, text: &[u8]| CheapSignatures.verify(author, domain, text, &signature).is_ok();
        assert!(verify(key.author(), ONE, b"text"));
        assert!(!verify(other.author(), ONE, b"text"));
        assert!(!verify(key.author(), TWO, b"text"));
        assert!(!verify(key.author(), ONE, b"texts"));
    }

    #[test]
    fn a_keyring_signs_with_what_it_was_given() {
        let keys = cheap_keyring([1; 32]);
        let signature = keys.signer().sign(ONE, b"text");
        assert_eq!(keys.scheme().verify(keys.author(), ONE, b"text", &signature), Ok(()));
        assert!(ouroboros_engine::keys::verify(keys.author(), ONE, b"text", &signature).is_err());
    }

    #[test]
    fn what_is_granted_cheaply_opens_for_its_reader_alone() {
        let [keys, other] = [[1; 32], [2; 32]].map(cheap_keyring);
        let (object, key) = (BlobId::from_bytes([6; 32]), Secret::new([3; 32]));
        let mut rng = EngineRng::from_seed([4; 32]);
        let reader = keys.reader_public();
        let grant = Grant::issue_by(&CheapExchange, other.signer(), object, &reader, &key, Hlc(7), &mut rng).unwrap();
        assert_eq!(grant.open_by(keys.reader(), keys.scheme()), Ok(key.clone()));
        assert!(grant.open_by(other.reader(), keys.scheme()).is_err());
        // The curve knows nothing of it.
        let wrap = ReaderWrap::seal_by(&CheapExchange, &reader, b"object", other.author(), &key, &mut rng).unwrap();
        let real = Keyring::from_master(MasterSecret::new(Secret::new([1; 32])));
        assert_eq!(wrap.open(real.reader(), b"object", other.author()), Err(UnwrapError::WrongKey));
        assert_eq!(wrap.open(keys.reader(), b"object", other.author()), Ok(key));
    }
}
