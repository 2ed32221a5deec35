//! The public half of a version: what a node without keys may see.

use crate::codec::bounded;
use crate::codec::{Canonical, DecodeError};
use crate::id::{AuthorId, BlobId, Domain, Epoch, Hlc, KeyHash, RealmId, RefPageId, SealId};
use borsh::{BorshDeserialize, BorshSerialize};

const BLOB: Domain = Domain::new("ouroborosdb v1 blob");
const BINDING: Domain = Domain::new("ouroborosdb v1 body binding");
const BODY_HASH: Domain = Domain::new("ouroborosdb v1 body hash");
const SCOPE_TAG: Domain = Domain::new("ouroborosdb v1 scope tag");

/// What a version is to its parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum BlobKind {
    /// A first version (no parent) or the next one (one parent).
    Child = 0,
    /// Joins two or more versions.
    Merger = 1,
    /// Names versions of many keys at once: a snapshot.
    VersionVector = 2,
}

/// Which dedup scope and epoch a version's chunks belong to: equal tags share chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct ScopeTag(pub [u8; 8]);

impl ScopeTag {
    /// The tag of `scope` (its canonical bytes) under the realm secret of `epoch`.
    #[must_use]
    pub fn of(epoch: Epoch, scope: &[u8]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = SCOPE_TAG.hash(&[&epoch.0.to_le_bytes(), scope]);
        Self([a, b, c, d, e, f, g, h])
    }
}

/// The public header of a version. Its hash is the version's [`BlobId`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// What the version is to its parents.
    pub kind: BlobKind,
    /// The realm.
    pub realm: RealmId,
    /// The epoch of the realm secret in use.
    pub epoch: Epoch,
    /// The key, as nodes without the realm secret see it.
    pub key_hash: KeyHash,
    /// The sealed components of the key's name, outermost first. Opaque here. At most [`Self::MAX_PATH_COMPONENTS`] of
    /// at most [`Self::MAX_PATH_COMPONENT_LEN`] bytes, [`Self::MAX_PATH_LEN`] bytes together.
    #[borsh(
        deserialize_with = "bounded::list::<{ Header::MAX_PATH_COMPONENTS }, { Header::MAX_PATH_COMPONENT_LEN }, _>"
    )]
    pub path: Vec<Vec<u8>>,
    /// The versions this one is based on, strictly rising, at most [`Self::MAX_PARENTS`].
    pub parents: Vec<BlobId>,
    /// When the author made it.
    pub created: Hlc,
    /// Who made it, and signed this header.
    pub author: AuthorId,
    /// The dedup scope of its chunks.
    pub scope: ScopeTag,
    /// The seals that the body refers to, strictly rising, at most [`Self::MAX_SEALS`]; further ones are in pages.
    pub seals: Vec<SealId>,
    /// Pages of further seals, strictly rising, at most [`Self::MAX_REF_PAGES`].
    pub ref_pages: Vec<RefPageId>,
    /// The hash of the sealed body ([`Self::hash_body`]).
    pub body_hash: [u8; 32],
    /// The length of the sealed body, in bytes, at most [`Self::MAX_BODY_LEN`].
    pub body_len: u32,
}

impl Header {
    /// Most parents of one version.
    pub const MAX_PARENTS: usize = 64;
    /// Most components of a sealed path: a key of 4 KiB holds no more.
    pub const MAX_PATH_COMPONENTS: usize = 2_049;
    /// Longest sealed component, in bytes: 4 KiB of name and the sealing's overhead.
    pub const MAX_PATH_COMPONENT_LEN: usize = 4_096 + 64;
    /// Longest sealed path, in bytes, all components and their 4-byte length prefixes together.
    pub const MAX_PATH_LEN: usize = 80 * 1024;
    /// Most seals named in the header itself.
    pub const MAX_SEALS: usize = 1_024;
    /// Most pages of further seals.
    pub const MAX_REF_PAGES: usize = 2_048;
    /// Longest sealed body, in bytes.
    pub const MAX_BODY_LEN: u32 = 288 * 1024;

    /// The version's id: a hash over the canonical bytes of this header.
    #[must_use]
    pub fn id(&self) -> BlobId {
        Self::id_of_encoded(&self.encode())
    }

    /// The id of a header whose canonical bytes are at hand.
    #[must_use]
    pub fn id_of_encoded(encoded: &[u8]) -> BlobId {
        BlobId::from_bytes(BLOB.hash(&[encoded]))
    }

    /// What a body is bound to when it is sealed: every field that is known before the sealed body is. A sealed body moved
    /// under another header does not open.
    #[must_use]
    pub fn body_binding(&self) -> [u8; 32] {
        // PA
        let mut hasher = BINDING.hasher();
        hasher
            .part(&[self.kind as u8])
            .part(self.realm.as_bytes())
            .part(&self.epoch.0.to_le_bytes())
            .part(self.key_hash.as_bytes())
            .part(&self.created.0.to_le_bytes())
            .part(self.author.as_bytes())
            .part(&self.scope.0);
        for parent in &self.parents {
            hasher.part(parent.as_bytes());
        }
        hasher.finish()
    }

    /// The hash of a sealed body, as [`Self::body_hash`] holds it.
    #[must_use]
    pub fn hash_body(sealed: &[u8]) -> [u8; 32] {
        BODY_HASH.hash(&[sealed])
    }

    /// Whether `sealed` is this version's body, unaltered.
    #[must_use]
    pub fn matches_body(&self, sealed: &[u8]) -> bool {
        // PA
        sealed.len() == self.body_len as usize && Self::hash_body(sealed) == self.body_hash
    }
}

impl Canonical for Header {
    const WHAT: &'static str = "blob header";
    const MAX_LEN: usize = 512 + Self::MAX_PATH_LEN + 32 * (Self::MAX_PARENTS + Self::MAX_SEALS + Self::MAX_REF_PAGES);

    fn validate(&self) -> Result<(), DecodeError> {
        // PA
        let refuse = |why: &str| Err(DecodeError::malformed(Self::WHAT, why));
        let too_many = |what: &str, found: usize, limit: usize| {
            Err(DecodeError::malformed(Self::WHAT, format!("{found} {what}, at most {limit} are allowed")))
        };
        let component_limit = 1..=Self::MAX_PATH_COMPONENT_LEN;
        if self.path.len() > Self::MAX_PATH_COMPONENTS {
            return too_many("path components", self.path.len(), Self::MAX_PATH_COMPONENTS);
        }
        if self.path.iter().any(|component| !component_limit.contains(&component.len())) {
            return refuse("a path component is empty or too long");
        }
        let path_len: usize = self.path.iter().map(|component| component.len() + 4).sum();
        if path_len > Self::MAX_PATH_LEN {
            return too_many("bytes of path", path_len, Self::MAX_PATH_LEN);
        }
        if self.parents.len() > Self::MAX_PARENTS {
            return too_many("parents", self.parents.len(), Self::MAX_PARENTS);
        }
        if self.seals.len() > Self::MAX_SEALS {
            return too_many("seals", self.seals.len(), Self::MAX_SEALS);
        }
        if self.ref_pages.len() > Self::MAX_REF_PAGES {
            return too_many("reference pages", self.ref_pages.len(), Self::MAX_REF_PAGES);
        }
        if !bounded::strictly_rises(&self.parents)
            || !bounded::strictly_rises(&self.seals)
            || !bounded::strictly_rises(&self.ref_pages)
        {
            return refuse("parents, seals and reference pages must strictly rise");
        }
        match (self.kind, self.parents.len()) {
            (BlobKind::Child, 2..) => return refuse("a child has at most one parent"),
            (BlobKind::Merger, 0..2) => return refuse("a merger has at least two parents"),
            _ => {}
        }
        if self.body_len > Self::MAX_BODY_LEN {
            return refuse("the body is longer than a body may be");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{hostile, sample};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn headers_survive_and_have_one_spelling(header in sample::any_header()) {
            let bytes = header.encode();
            prop_assert!(bytes.len() <= Header::MAX_LEN);
            prop_assert_eq!(Header::decode(&bytes), Ok(header));
            hostile::has_one_spelling::<Header>(&bytes);
        }

        #[test]
        fn noise_is_never_a_header_with_two_spellings(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            hostile::is_refused_or_canonical::<Header>(&bytes);
        }
    }

    #[test]
    fn the_largest_header_fits_its_limit() {
        let header = sample::largest_header();
        assert_eq!(header.validate(), Ok(()));
        let bytes = header.encode();
        assert!(bytes.len() <= Header::MAX_LEN);
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn every_rule_is_enforced() {
        type Change = fn(&mut Header);
        let changes: [(&str, Change); 12] = [
            ("unsorted parents", |h| h.parents.reverse()),
            ("repeated seal", |h| h.seals = vec![sample::seal(1), sample::seal(1)]),
            ("unsorted pages", |h| h.ref_pages = vec![sample::ref_page(2), sample::ref_page(1)]),
            ("child with two parents", |h| h.kind = BlobKind::Child),
            ("merger with one parent", |h| h.parents.truncate(1)),
            ("empty component", |h| h.path.push(Vec::new())),
            ("long component", |h| h.path.push(vec![0; Header::MAX_PATH_COMPONENT_LEN + 1])),
            ("too many components", |h| h.path = vec![vec![1]; Header::MAX_PATH_COMPONENTS + 1]),
            ("long path", |h| h.path = vec![vec![1; 4_096]; 21]),
            ("long body", |h| h.body_len = Header::MAX_BODY_LEN + 1),
            ("too many parents", |h| h.parents = (0..65).map(sample::blob).collect()),
            ("too many seals", |h| h.seals = (0..1_025).map(sample::seal).collect()),
        ];
        for (what, change) in changes {
            let mut header = sample::header();
            assert_eq!(header.validate(), Ok(()));
            change(&mut header);
            assert!(header.validate().is_err(), "{what}");
            let mut bytes = vec![Header::VERSION];
            header.serialize(&mut bytes).unwrap();
            assert!(Header::decode(&bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn the_binding_covers_what_tells_versions_apart() {
        type Change = fn(&mut Header);
        let changes: [Change; 8] = [
            |h| h.kind = BlobKind::VersionVector,
            |h| h.realm = RealmId::from_bytes([9; 32]),
            |h| h.epoch = Epoch(99),
            |h| h.key_hash = KeyHash::from_bytes([9; 32]),
            |h| h.created = Hlc(1),
            |h| h.author = AuthorId::from_bytes([9; 32]),
            |h| h.scope = ScopeTag([9; 8]),
            |h| h.parents.push(sample::blob(0xffff)),
        ];
        let header = sample::header();
        for change in changes {
            let mut other = header.clone();
            change(&mut other);
            assert_ne!(other.body_binding(), header.body_binding());
        }
        let mut same = header.clone();
        same.body_len += 1;
        same.seals.clear();
        assert_eq!(same.body_binding(), header.body_binding());
    }
}
