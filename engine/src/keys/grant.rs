//! Grants: the records of the key index that let one more reader in.

use super::author::{BadSignature, Ed25519, Signature, Signer, Verifier};
use super::committed::UnwrapError;
use super::exchange::{KeyExchange, X25519};
use super::reader::{ReaderPublic, ReaderSecret, ReaderWrap, WeakReaderKey};
use crate::codec::Canonical;
use crate::id::{AuthorId, BlobId, Domain, EngineRng, Hlc, ReaderId, Secret};
use borsh::{BorshDeserialize, BorshSerialize};

const GRANT: Domain = Domain::new("ouroborosdb v1 grant");

/// A blob's body key, encapsulated for one reader and signed by whoever granted it.
///
/// The chunk keys are inside the body, so this one record opens the whole blob.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Grant {
    object: BlobId,
    reader: ReaderId,
    wrap: ReaderWrap,
    grantor: AuthorId,
    created: Hlc,
    signature: Signature,
}

/// Why a grant did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It was not signed by its grantor.
    #[error("the grant of {object} is forged or damaged")]
    Forged {
        /// The blob.
        object: BlobId,
        /// The check that failed.
        #[source]
        source: BadSignature,
    },
    /// It is meant for somebody else.
    #[error("the grant of {object} is for reader {reader}, not for this keyring")]
    OtherReader {
        /// The blob.
        object: BlobId,
        /// The reader it is for.
        reader: ReaderId,
    },
    /// The wrap inside did not open.
    #[error("the grant of {object} does not open")]
    Wrap {
        /// The blob.
        object: BlobId,
        /// Why.
        #[source]
        source: UnwrapError,
    },
}

impl Canonical for Grant {
    const WHAT: &'static str = "grant";
    const MAX_LEN: usize = 1 + 32 + 32 + ReaderWrap::LEN + 32 + 8 + 64;
}

impl Grant {
    /// Grants `object`, whose body key is given, to `reader`.
    ///
    /// # Errors
    /// [`WeakReaderKey`].
    pub fn issue(
        grantor: &dyn Signer,
        object: BlobId,
        reader: &ReaderPublic,
        body_key: &Secret,
        created: Hlc,
        rng: &mut EngineRng,
    ) -> Result<Self, WeakReaderKey> {
        Self::issue_by(&X25519, grantor, object, reader, body_key, created, rng)
    }

    /// [`Self::issue`] with an exchange of the caller's choice, which has to be the reader's.
    ///
    /// # Errors
    /// [`WeakReaderKey`].
    pub fn issue_by(
        exchange: &dyn KeyExchange,
        grantor: &dyn Signer,
        object: BlobId,
        reader: &ReaderPublic,
        body_key: &Secret,
        created: Hlc,
        rng: &mut EngineRng,
    ) -> Result<Self, WeakReaderKey> {
        // PA
        let author = grantor.author();
        let wrap = ReaderWrap::seal_by(exchange, reader, object.as_bytes(), author, body_key, rng)?;
        let unsigned = Signature::from_bytes([0; 64]);
        let mut grant = Self { object, reader: reader.id(), wrap, grantor: author, created, signature: unsigned };
        grant.signature = grantor.sign(GRANT, &grant.signed_text());
        Ok(grant)
    }

    /// Checks the signature. Says nothing of whether the grantor had the right to grant.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.verify_by(&Ed25519)
    }

    /// Checks the signature with a verifier of the caller's choice.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify_by(&self, verifier: &(impl Verifier + ?Sized)) -> Result<(), BadSignature> {
        // PA
        verifier.verify(self.grantor, GRANT, &self.signed_text(), &self.signature)
    }

    /// Gives back the body key, after checking the signature.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn open(&self, reader: &ReaderSecret) -> Result<Secret, GrantError> {
        self.open_by(reader, &Ed25519)
    }

    /// [`Self::open`] with a verifier of the caller's choice.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn open_by(&self, reader: &ReaderSecret, verifier: &(impl Verifier + ?Sized)) -> Result<Secret, GrantError> {
        // PA
        let object = self.object;
        self.verify_by(verifier).map_err(|source| GrantError::Forged { object, source })?;
        if self.reader != reader.public().id() {
            return Err(GrantError::OtherReader { object, reader: self.reader });
        }
        self.wrap.open(reader, object.as_bytes(), self.grantor).map_err(|source| GrantError::Wrap { object, source })
    }

    /// The blob that is granted.
    #[must_use]
    pub const fn object(&self) -> BlobId {
        self.object
    }

    /// Whom it is granted to.
    #[must_use]
    pub const fn reader(&self) -> ReaderId {
        self.reader
    }

    /// Who granted it.
    #[must_use]
    pub const fn grantor(&self) -> AuthorId {
        self.grantor
    }

    /// When it was granted.
    #[must_use]
    pub const fn created(&self) -> Hlc {
        self.created
    }

    /// The encoding without its last field.
    fn signed_text(&self) -> Vec<u8> {
        let mut text = self.encode();
        text.truncate(Self::MAX_LEN - 64);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::DecodeError;
    use crate::keys::AuthorKey;
    use crate::keys::golden::{fixed_rng, hex, secret};

    const OBJECT: BlobId = BlobId::from_bytes([6; 32]);

    fn grantor() -> AuthorKey {
        AuthorKey::from_seed(&secret(1))
    }

    fn reader() -> ReaderSecret {
        ReaderSecret::from_seed(&secret(3))
    }

    fn sample() -> Grant {
        Grant::issue(&grantor(), OBJECT, &reader().public(), &secret(2), Hlc(77), &mut fixed_rng()).unwrap()
    }

    #[test]
    fn a_grant_opens_for_its_reader_only() {
        let grant = sample();
        assert_eq!(grant.verify(), Ok(()));
        assert_eq!(grant.open(&reader()), Ok(secret(2)));
        let other = ReaderSecret::from_seed(&secret(4));
        let refused = GrantError::OtherReader { object: OBJECT, reader: reader().public().id() };
        assert_eq!(grant.open(&other), Err(refused));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = sample().encode();
        assert_eq!(bytes.len(), Grant::MAX_LEN);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(grant) = Grant::decode(&changed) {
                assert!(grant.verify().is_err(), "bit {bit}");
                assert!(matches!(grant.open(&reader()), Err(GrantError::Forged { .. })), "bit {bit}");
            }
        }
    }

    #[test]
    fn short_long_and_foreign_bytes_are_refused() {
        let bytes = sample().encode();
        assert_eq!(Grant::decode(&bytes), Ok(sample()));
        for cut in 0..bytes.len() {
            assert!(Grant::decode(&bytes[..cut]).is_err());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(Grant::decode(&longer), Err(DecodeError::TooLong { .. })));
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert!(matches!(Grant::decode(&newer), Err(DecodeError::Version { found: 2, .. })));
        let mut wrap = bytes;
        wrap[65] = 9;
        assert!(matches!(Grant::decode(&wrap), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn a_grant_cannot_be_claimed_by_another_grantor() {
        let mut stolen = sample();
        let thief = AuthorKey::from_seed(&secret(9));
        stolen.grantor = thief.id();
        stolen.signature = thief.sign(GRANT, &stolen.signed_text());
        assert_eq!(stolen.verify(), Ok(()));
        let refused = GrantError::Wrap { object: OBJECT, source: UnwrapError::WrongKey };
        assert_eq!(stolen.open(&reader()), Err(refused));
    }

    /// A simulator's signatures: a keyed hash in the place of the curve.
    #[derive(Debug)]
    struct Cheap;

    impl Signer for Cheap {
        fn author(&self) -> AuthorId {
            AuthorId::from_bytes([1; 32])
        }

        fn sign(&self, domain: Domain, text: &[u8]) -> Signature {
            let mut out = [0; 64];
            out[..32].copy_from_slice(&domain.hash(&[self.author().as_bytes(), text]));
            Signature::from_bytes(out)
        }
    }

    impl Verifier for Cheap {
        fn verify(&self, author: AuthorId, domain: Domain, text: &[u8], it: &Signature) -> Result<(), BadSignature> {
            if *it == self.sign(domain, text) { Ok(()) } else { Err(BadSignature { author }) }
        }
    }

    #[test]
    fn other_signatures_can_stand_in() {
        let mut rng = fixed_rng();
        let grant = Grant::issue(&Cheap, OBJECT, &reader().public(), &secret(2), Hlc(77), &mut rng).unwrap();
        assert_eq!(grant.open_by(&reader(), &Cheap), Ok(secret(2)));
        assert!(grant.verify().is_err());
        assert!(sample().verify_by(&Cheap).is_err());
    }

    #[test]
    fn nothing_is_granted_to_a_weak_key() {
        let weak = ReaderPublic::from_bytes([0; 32]);
        let refused = Grant::issue(&grantor(), OBJECT, &weak, &secret(2), Hlc(77), &mut fixed_rng());
        assert_eq!(refused, Err(WeakReaderKey { reader: weak.id() }));
    }

    #[test]
    fn the_grant_is_the_one_in_the_format() {
        assert_eq!(
            hex(&sample().encode()),
            "01060606060606060606060606060606060606060606060606060606060606060625da7a3a81469b4ee31674f71840f1\
            cc7a3f0c3c5c4a456a5d5063a349c28966017d82e9da1ada19b21c5644e29b424869fd951f93f0998b47afb32ba69306\
            d422a69fd15c01e1ee8a45a82d06d1f6cbbcf547425e2857db886ecbd39d53c79b6b58308bc375649dbfedda83534b11\
            6c2e64d62df3a37a03068bb8687623b733e191d9dda64ec5c9ba0e4954554264d2268a88e3dd7409f195fd52db2d3cba\
            5d72ca6709bf1d94121bf3748801b40f6f5c4d0000000000000021515ccf4ef6d5f27e2be8b09fc05b4e95fd04db0555\
            9db5635ec6bc624b4281e2d14579ac023713c4997a62058a98cabb1b4da91fd92759c25672863c6a6805"
        );
    }
}
