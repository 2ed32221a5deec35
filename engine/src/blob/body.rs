//! The sealed half of a version.

use super::content::Content;
use crate::codec::bounded;
use crate::codec::{Canonical, DecodeError};
use crate::id::Domain;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

const CONTENT: Domain = Domain::new("ouroborosdb v1 content commitment");
const BODY: Domain = Domain::new("ouroborosdb v1 body commitment");

/// What the content's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum ContentKind {
    /// The user's value.
    Bytes = 0,
    /// A snapshot list: versions of many keys ([`super::SnapshotReader`]).
    Snapshot = 1,
}

/// What is said about a value beside its bytes: names and values are bytes, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attributes(
    #[borsh(deserialize_with = "bounded::map::<{ Attributes::MAX_ENTRIES }, { Attributes::MAX_LEN }, _>")]
    BTreeMap<Vec<u8>, Vec<u8>>,
);

impl Attributes {
    /// Most entries.
    pub const MAX_ENTRIES: usize = 256;
    /// Most bytes of names and values together.
    pub const MAX_LEN: usize = 64 * 1024;

    /// No attributes.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets one attribute.
    ///
    /// # Errors
    /// [`DecodeError`] when the attributes would exceed [`Self::MAX_ENTRIES`] or [`Self::MAX_LEN`]; nothing changes.
    pub fn set(&mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<(), DecodeError> {
        let (name, value) = (name.into(), value.into());
        let old = self.0.insert(name.clone(), value);
        let checked = self.check();
        if checked.is_err() {
            match old {
                Some(old) => self.0.insert(name, old),
                None => self.0.remove(&name),
            };
        }
        checked.map_err(|why| DecodeError::malformed("attributes", why))
    }

    /// One attribute.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Removes one attribute; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.0.remove(name).is_some()
    }

    /// Every attribute, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Number of attributes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.0.len() > Self::MAX_ENTRIES {
            return Err("more than 256 attributes");
        }
        if self.0.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > Self::MAX_LEN {
            return Err("attributes of more than 64 KiB");
        }
        Ok(())
    }
}

/// The sealed body of a version: what only readers may see.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Body {
    /// The key's name, at most [`Self::MAX_NAME_LEN`] bytes.
    #[borsh(deserialize_with = "bounded::vec::<{ Body::MAX_NAME_LEN }, _>")]
    pub name: Vec<u8>,
    /// The dedup scope's canonical bytes: with them a reader derives the keys that check chunk ids. At most
    /// [`Self::MAX_SCOPE_LEN`] bytes.
    #[borsh(deserialize_with = "bounded::vec::<{ Body::MAX_SCOPE_LEN }, _>")]
    pub scope: Vec<u8>,
    /// What is said about the value beside its bytes.
    pub attributes: Attributes,
    /// What the content's bytes are.
    pub kind: ContentKind,
    /// The value.
    pub content: Content,
}

impl Body {
    /// Longest key name, in bytes.
    pub const MAX_NAME_LEN: usize = 4096;
    /// Longest scope, in bytes.
    pub const MAX_SCOPE_LEN: usize = 33;

    /// Equal for equal values of one dedup scope, whoever wrote them: the kind and the content alone. It follows from
    /// chunk secrets and short values: keep it among readers.
    #[must_use]
    pub fn content_commitment(&self) -> [u8; 32] {
        CONTENT.hash(&[&[self.kind as u8], &fields(&self.content)])
    }

    /// Equal for equal values with equal attributes under one name: what twin mergers are compared by.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        BODY.hash(&[&fields(self)])
    }
}

fn fields<T: BorshSerialize>(value: &T) -> zeroize::Zeroizing<Vec<u8>> {
    let mut out = zeroize::Zeroizing::new(Vec::new());
    if let Err(error) = value.serialize(&mut *out) {
        unreachable!("encoding to memory: {error}");
    }
    out
}

impl Canonical for Body {
    const WHAT: &'static str = "blob body";
    const MAX_LEN: usize = 256 * 1024;

    fn validate(&self) -> Result<(), DecodeError> {
        // PA
        let refuse = |why: &'static str| Err(DecodeError::malformed(Self::WHAT, why));
        if self.name.len() > Self::MAX_NAME_LEN {
            return refuse("the key's name is longer than 4 KiB");
        }
        if self.scope.len() > Self::MAX_SCOPE_LEN {
            return refuse("the scope is too long");
        }
        if let Err(why) = self.attributes.check() {
            return refuse(why);
        }
        if let Err(why) = self.content.check() {
            return refuse(why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{MAX_INLINE_LEN, MAX_PAGE_REFS, hostile, sample};
    use bytes::Bytes;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn bodies_survive_and_have_one_spelling(body in sample::any_body()) {
            let bytes = body.encode();
            prop_assert_eq!(Body::decode(&bytes), Ok(body));
            hostile::has_one_spelling::<Body>(&bytes);
        }

        #[test]
        fn noise_is_never_a_body_with_two_spellings(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            hostile::is_refused_or_canonical::<Body>(&bytes);
        }
    }

    #[test]
    fn the_largest_bodies_fit_their_limit() {
        let mut body = sample::body();
        body.name = vec![b'n'; Body::MAX_NAME_LEN];
        body.attributes = Attributes::new();
        for n in 0..255u8 {
            body.attributes.set(vec![n], vec![n; 254]).unwrap();
        }
        for content in [
            Content::Inline(Bytes::from(vec![1; MAX_INLINE_LEN])),
            Content::Chunks { len: MAX_PAGE_REFS as u64, depth: 5, chunks: sample::chunks(&[1; MAX_PAGE_REFS]) },
        ] {
            body.content = content;
            assert_eq!(Body::decode(&body.encode()), Ok(body.clone()));
        }
    }

    #[test]
    fn attributes_keep_their_limits_and_stay_as_they_were_when_refused() {
        let mut attributes = Attributes::new();
        attributes.set(*b"a", vec![0; 60_000]).unwrap();
        let before = attributes.clone();
        assert!(attributes.set(*b"a", vec![0; 70_000]).is_err());
        assert!(attributes.set(*b"b", vec![0; 6_000]).is_err());
        assert_eq!(attributes, before);
        assert!(attributes.remove(b"a"));
        for n in 0..256u32 {
            attributes.set(n.to_le_bytes(), Vec::new()).unwrap();
        }
        assert!(attributes.set(*b"one more", Vec::new()).is_err());
        assert_eq!(attributes.len(), 256);
    }

    #[test]
    fn commitments_follow_the_value_and_not_the_name() {
        let one = sample::body();
        let mut renamed = one.clone();
        renamed.name.push(b'x');
        assert_eq!(one.content_commitment(), renamed.content_commitment());
        assert_ne!(one.commitment(), renamed.commitment());
        let mut other = one.clone();
        other.kind = ContentKind::Snapshot;
        assert_ne!(one.content_commitment(), other.content_commitment());
    }
}
