//! Signed deletions.

use super::Purged;
use crate::blob::Header;
use crate::codec::{Canonical, DecodeError};
use crate::id::{AuthorId, BlobId, Domain, Dot, Hlc, KeyHash, RealmId, TombstoneId};
use crate::keys::{BadSignature, Ed25519, Signature, Signer, Verifier};
use borsh::{BorshDeserialize, BorshSerialize};

const TOMBSTONE: Domain = Domain::new("ouroborosdb v1 tombstone");
const SIGNATURE: Domain = Domain::new("ouroborosdb v1 tombstone signature");

/// The text of a deletion: which versions of one key are to be destroyed everywhere.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tombstone {
    /// The realm.
    pub realm: RealmId,
    /// The key.
    pub key_hash: KeyHash,
    /// Who deletes, and signs.
    pub author: AuthorId,
    /// When it was made. For people; no rule looks at it.
    pub created: Hlc,
    /// The versions, strictly rising by id, 1 to [`Self::MAX_VERSIONS`].
    pub versions: Vec<Purged>,
}

impl Tombstone {
    /// Most versions that one tombstone names; a longer history takes several.
    pub const MAX_VERSIONS: usize = 256;

    /// The tombstone's id: a hash over its canonical bytes, which are what is signed.
    #[must_use]
    pub fn id(&self) -> TombstoneId {
        TombstoneId::from_bytes(TOMBSTONE.hash(&[&self.encode()]))
    }

    /// What it says of a version; none when it does not name it.
    #[must_use]
    pub fn names(&self, id: BlobId) -> Option<&Purged> {
        // PA
        let at = self.versions.binary_search_by(|purged| purged.id.cmp(&id)).ok()?;
        self.versions.get(at)
    }
}

impl Canonical for Tombstone {
    const WHAT: &'static str = "tombstone";
    const MAX_LEN: usize = 1 + 32 * 3 + 8 + 4 + Self::MAX_VERSIONS * (32 + 50 + 8 + 4 + 32 * Header::MAX_PARENTS);

    fn validate(&self) -> Result<(), DecodeError> {
        // PA
        let refuse = |why: &'static str| Err(DecodeError::malformed(Self::WHAT, why));
        if self.versions.is_empty() || self.versions.len() > Self::MAX_VERSIONS {
            return refuse("a tombstone names 1 to 256 versions");
        }
        if !self.versions.is_sorted_by(|a, b| a.id < b.id) {
            return refuse("the versions must strictly rise");
        }
        for purged in &self.versions {
            if purged.parents.len() > Header::MAX_PARENTS {
                return refuse("a version has at most 64 parents");
            }
            if !purged.parents.is_sorted_by(|a, b| a < b) {
                return refuse("a version's parents must strictly rise");
            }
        }
        Ok(())
    }
}

/// A tombstone and its author's signature. Having one proves nothing: call [`Self::verify`] on whatever came from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedTombstone {
    tombstone: Tombstone,
    signature: Signature,
}

impl SignedTombstone {
    /// Signs a tombstone as its author.
    ///
    /// # Errors
    /// [`DecodeError`] when the tombstone breaks a rule of its format, or names another author than the key's.
    pub fn sign(tombstone: Tombstone, key: &dyn Signer) -> Result<Self, DecodeError> {
        // PA
        tombstone.validate()?;
        if tombstone.author != key.author() {
            return Err(DecodeError::malformed(
                Tombstone::WHAT,
                "the tombstone names another author than the key that signs",
            ));
        }
        let signature = key.sign(SIGNATURE, tombstone.id().as_bytes());
        Ok(Self { tombstone, signature })
    }

    /// The tombstone.
    #[must_use]
    pub const fn tombstone(&self) -> &Tombstone {
        &self.tombstone
    }

    /// The tombstone's id.
    #[must_use]
    pub fn id(&self) -> TombstoneId {
        self.tombstone.id()
    }

    /// Checks that the author named in the tombstone signed it. Whether that author may delete is for the caller to say.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.verify_by(&Ed25519)
    }

    /// [`Self::verify`] with a verifier of the caller's choice.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify_by(&self, verifier: &(impl Verifier + ?Sized)) -> Result<(), BadSignature> {
        // PA
        verifier.verify(self.tombstone.author, SIGNATURE, self.id().as_bytes(), &self.signature)
    }
}

impl Canonical for SignedTombstone {
    const WHAT: &'static str = "signed tombstone";
    const MAX_LEN: usize = Tombstone::MAX_LEN + 64;

    fn validate(&self) -> Result<(), DecodeError> {
        self.tombstone.validate()
    }
}

/// A tombstone as one record of the log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TombstoneRecord {
    /// The record's name in its origin's history. Not signed: whoever logs it first gives it.
    pub dot: Dot,
    /// The tombstone and its signature.
    pub signed: SignedTombstone,
}

impl Canonical for TombstoneRecord {
    const WHAT: &'static str = "tombstone record";
    const MAX_LEN: usize = SignedTombstone::MAX_LEN + 50;

    fn validate(&self) -> Result<(), DecodeError> {
        self.signed.validate()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::blob::{golden, hostile, sample};
    use proptest::prelude::*;

    const RECORD: &str = "\
         01 04*32 05 00*7 060063 00*7 01*32 03*32 \
         ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c efcdab896745230101 00*6 01 00*28 \
         04*32 05 00*7 060001 00*7 01 00*7 02000000000003e9 00*30 03ea 00*28 \
         1cc7076d86895166c7a28a27d613b62df60ba2f2c700d9a09b776f988ba20123 \
         8ea1bd6af217336a5a8843df60bb3f812fa81f5cab02f40228b192f35a0c490c";

    pub(in crate::deletion) fn tombstone(ids: &[u32]) -> Tombstone {
        let purged = |n: &u32| Purged {
            id: sample::blob(*n),
            dot: sample::dot(u64::from(*n)),
            created: Hlc(u64::from(*n)),
            parents: vec![sample::blob(n + 1_000), sample::blob(n + 1_001)],
        };
        Tombstone {
            realm: RealmId::from_bytes([1; 32]),
            key_hash: KeyHash::from_bytes([3; 32]),
            author: sample::author_key().id(),
            created: Hlc(0x0123_4567_89ab_cdef),
            versions: ids.iter().map(purged).collect(),
        }
    }

    pub(in crate::deletion) fn record(ids: &[u32]) -> TombstoneRecord {
        let signed = SignedTombstone::sign(tombstone(ids), &sample::author_key()).unwrap();
        TombstoneRecord { dot: sample::dot(99), signed }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn tombstones_survive_and_have_one_spelling(ids in prop::collection::btree_set(any::<u32>().prop_map(|n| n / 2), 1..4)) {
            let ids: Vec<u32> = ids.into_iter().collect();
            let record = record(&ids);
            let bytes = record.encode();
            prop_assert_eq!(TombstoneRecord::decode(&bytes).map(|back| back.signed.verify()), Ok(Ok(())));
            hostile::has_one_spelling::<TombstoneRecord>(&bytes);
            prop_assert_eq!(TombstoneRecord::decode(&bytes), Ok(record));
        }

        #[test]
        fn noise_is_never_a_tombstone_with_two_spellings(noise in prop::collection::vec(any::<u8>(), 0..400)) {
            hostile::is_refused_or_canonical::<TombstoneRecord>(&noise);
            hostile::is_refused_or_canonical::<SignedTombstone>(&noise);
            hostile::is_refused_or_canonical::<Tombstone>(&noise);
        }
    }

    #[test]
    fn a_signature_covers_every_byte_of_the_tombstone() {
        let signed = record(&[1, 2]).signed;
        assert_eq!(signed.verify(), Ok(()));
        let bytes = signed.encode();
        let mut accepted = 0;
        for at in 1..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            if let Ok(other) = SignedTombstone::decode(&changed) {
                accepted += 1;
                assert!(other.verify().is_err(), "byte {at}");
            }
        }
        assert!(accepted > 0, "no flipped byte even decoded: the test proves nothing");
    }

    #[test]
    fn every_rule_is_enforced() {
        type Change = fn(&mut Tombstone);
        let changes: [(&str, Change); 5] = [
            ("no version", |t| t.versions.clear()),
            ("unsorted versions", |t| t.versions.reverse()),
            ("a version twice", |t| t.versions = vec![t.versions[0].clone(), t.versions[0].clone()]),
            ("unsorted parents", |t| t.versions[0].parents.reverse()),
            ("too many parents", |t| t.versions[0].parents = (0..65).map(sample::blob).collect()),
        ];
        for (what, change) in changes {
            let mut text = tombstone(&[1, 2]);
            change(&mut text);
            assert!(text.validate().is_err(), "{what}");
            assert!(SignedTombstone::sign(text, &sample::author_key()).is_err(), "{what}");
        }
        let too_many = tombstone(&(0..257).collect::<Vec<_>>());
        assert!(too_many.validate().is_err());
        let mut foreign = tombstone(&[1]);
        foreign.author = AuthorId::from_bytes([9; 32]);
        assert!(SignedTombstone::sign(foreign, &sample::author_key()).is_err());
    }

    #[test]
    fn the_tombstone_is_the_one_in_the_format() {
        let golden = golden::bytes(RECORD);
        assert_eq!(record(&[1]).encode(), golden);
        assert_eq!(TombstoneRecord::decode(&golden), Ok(record(&[1])));
        assert_eq!(
            record(&[1]).signed.id().to_string(),
            "92bf89803fe797f27e81b32c2d56c9467b63ba10af48aa07c22e57cb10c704f8"
        );
    }

    #[test]
    fn the_largest_tombstone_fits_its_limit() {
        let mut text = tombstone(&(0..256).collect::<Vec<_>>());
        for purged in &mut text.versions {
            purged.parents = (0..64).map(sample::blob).collect();
        }
        assert_eq!(text.encode().len(), Tombstone::MAX_LEN);
        assert_eq!(Tombstone::decode(&text.encode()), Ok(text));
    }
}
