//! One signature for several digests: their Merkle tree's root is signed, and each carries its path to that root.
//!
//! A signature costs more than everything else about a small value together. The same is done by Roughtime (IETF draft
//! ntp-roughtime, section 5.2.4) for the answers to many clients. A single digest has an empty path, and its signature is
//! an ordinary one.
//!
//! ```text
//! node = derive("ouroborosdb v1 signature tree", smaller child, greater child)     the last of an odd row goes up as it is
//! ```
//!
//! Children are put in order before they are hashed, so that a path needs no directions. What is signed can be read as
//! nothing but the root: digests come out of another domain than nodes.

use super::author::{BadSignature, Signature, Signer, Verifier};
use crate::id::{AuthorId, Domain};

const NODE: Domain = Domain::new("ouroborosdb v1 signature tree");

/// A hash in the tree.
type Node = [u8; 32];

/// A signature of one digest among several that were signed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointSignature {
    /// The author's signature of the root.
    root: Signature,
    /// The siblings on the way up to the root.
    path: Vec<Node>,
}

impl JointSignature {
    /// Longest path: 65,536 digests.
    pub const MAX_PATH: usize = 16;

    /// Signs each of `digests`, all at the price of one signature. They must come out of a hash in a domain of their own.
    ///
    /// # Panics
    /// When there are more digests than the longest path has room for.
    #[must_use]
    pub fn sign(key: &dyn Signer, domain: Domain, digests: &[Node]) -> Vec<Self> {
        // PA
        assert!(digests.len() <= 1 << Self::MAX_PATH, "{} digests in one tree", digests.len());
        let mut paths = vec![Vec::new(); digests.len()];
        let mut row = digests.to_vec();
        let mut height = 0;
        while row.len() > 1 {
            for (leaf, path) in paths.iter_mut().enumerate() {
                path.extend(row.get((leaf >> height) ^ 1));
            }
            row = row.chunks(2).map(above).collect();
            height += 1;
        }
        let Some(root) = row.first() else { return Vec::new() };
        let root = key.sign(domain, root);
        paths.into_iter().map(|path| Self { root, path }).collect()
    }

    /// Puts together what was stored; `None` when the path is longer than a path may be.
    #[must_use]
    pub fn from_parts(root: Signature, path: Vec<Node>) -> Option<Self> {
        (path.len() <= Self::MAX_PATH).then_some(Self { root, path })
    }

    /// The author's signature of the root.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.root
    }

    /// The siblings on the way up to the root.
    #[must_use]
    pub fn path(&self) -> &[Node] {
        &self.path
    }

    /// Checks that `author` signed `digest` in `domain`, maybe among others.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify_by(
        &self,
        verifier: &(impl Verifier + ?Sized),
        author: AuthorId,
        domain: Domain,
        digest: &Node,
    ) -> Result<(), BadSignature> {
        // PA
        let root = self.path.iter().fold(*digest, |node, sibling| above(&[node, *sibling]));
        verifier.verify(author, domain, &root, &self.root)
    }
}

/// The node above one or two.
fn above(below: &[Node]) -> Node {
    match below {
        [a, b] if a <= b => NODE.hash(&[a, b]),
        [a, b] => NODE.hash(&[b, a]),
        [only] => *only,
        _ => unreachable!("a node has one or two below it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Secret;
    use crate::keys::{AuthorKey, Ed25519};

    const DOMAIN: Domain = Domain::new("ouroborosdb v1 test one");
    const OTHER: Domain = Domain::new("ouroborosdb v1 test two");

    fn digests(count: u8) -> Vec<Node> {
        (0..count).map(|number| DOMAIN.hash(&[&[number]])).collect()
    }

    #[test]
    fn each_digest_is_signed_and_no_other() {
        let key = AuthorKey::from_seed(&Secret::new([7; 32]));
        for count in 0..20 {
            let digests = digests(count);
            let signed = JointSignature::sign(&key, DOMAIN, &digests);
            assert_eq!(signed.len(), digests.len());
            for (at, signature) in signed.iter().enumerate() {
                for (other, digest) in digests.iter().enumerate() {
                    assert_eq!(
                        signature.verify_by(&Ed25519, key.id(), DOMAIN, digest).is_ok(),
                        at == other,
                        "{at} {other} of {count}"
                    );
                }
                assert!(signature.verify_by(&Ed25519, key.id(), OTHER, &digests[at]).is_err());
                assert!(signature.path().len() <= 5);
            }
        }
    }

    #[test]
    fn one_digest_has_an_ordinary_signature() {
        let key = AuthorKey::from_seed(&Secret::new([7; 32]));
        let [digest] = [DOMAIN.hash(&[b"only"])];
        let signed = JointSignature::sign(&key, DOMAIN, &[digest]);
        assert_eq!(signed[0].signature(), &key.sign(DOMAIN, &digest));
        assert_eq!(signed[0].path(), &[] as &[Node]);
    }

    #[test]
    fn a_path_altered_shortened_or_extended_proves_nothing() {
        let key = AuthorKey::from_seed(&Secret::new([7; 32]));
        let digests = digests(5);
        let signed = JointSignature::sign(&key, DOMAIN, &digests);
        let altered = |path: Vec<Node>| {
            JointSignature::from_parts(*signed[0].signature(), path).unwrap().verify_by(
                &Ed25519,
                key.id(),
                DOMAIN,
                &digests[0],
            )
        };
        let path = signed[0].path().to_vec();
        assert_eq!(path.len(), 3);
        assert_eq!(altered(path.clone()), Ok(()));
        for level in 0..path.len() {
            let mut changed = path.clone();
            changed[level][31] ^= 1;
            assert!(altered(changed).is_err());
            let mut shorter = path.clone();
            shorter.remove(level);
            assert!(altered(shorter).is_err());
        }
        let longer: Vec<Node> = path.into_iter().chain([digests[1]]).collect();
        assert!(altered(longer).is_err());
        assert_eq!(JointSignature::from_parts(*signed[0].signature(), vec![[0; 32]; 17]), None);
    }

    #[test]
    fn a_node_of_the_tree_is_not_taken_for_a_digest_under_it() {
        let key = AuthorKey::from_seed(&Secret::new([7; 32]));
        let digests = digests(2);
        let signed = JointSignature::sign(&key, DOMAIN, &digests);
        // The root itself has a valid signature, as it must; nothing hashes to it in the domain of digests.
        let root = above(&digests);
        let bare = JointSignature::from_parts(*signed[0].signature(), Vec::new()).unwrap();
        assert_eq!(bare.verify_by(&Ed25519, key.id(), DOMAIN, &root), Ok(()));
        assert!(bare.verify_by(&Ed25519, key.id(), DOMAIN, &digests[0]).is_err());
    }
}
