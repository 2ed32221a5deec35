//! Body keys wrapped under a group's epoch key: symmetric, so that a put costs no elliptic curve.

use super::committed::{CommittedKey, UnwrapError};
use crate::id::{Domain, EngineRng, Epoch, ReaderId, Secret};
use borsh::{BorshDeserialize, BorshSerialize};

const WRAP: Domain = Domain::new("ouroborosdb v1 group wrap");
const ID: Domain = Domain::new("ouroborosdb v1 group id");

/// The id under which a group's epoch key is granted to its members, in the place of a reader's.
#[must_use]
pub fn group_id(group: &[u8], epoch: Epoch) -> ReaderId {
    ReaderId::from_bytes(ID.hash(&[group, &epoch.0.to_le_bytes()]))
}

/// A body key, wrapped for everybody who holds one epoch key of a group.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupWrap {
    /// The epoch of the group key.
    pub epoch: Epoch,
    /// Makes the wrapping key fresh for every wrap.
    pub salt: [u8; 16],
    /// Commits to the wrapping key; compared before decrypting.
    pub commitment: [u8; 32],
    /// The sealed body key and its tag.
    pub sealed: [u8; 48],
}

impl GroupWrap {
    /// Length of the encoding, in bytes.
    pub const LEN: usize = 4 + 16 + 32 + 48;

    /// Wraps `body_key`, the key of `object`, under the group's key of `epoch`.
    #[must_use]
    pub fn seal(group: &Secret, epoch: Epoch, object: &[u8], body_key: &Secret, rng: &mut EngineRng) -> Self {
        // PA
        let salt = rng.bytes();
        let key = wrapping_key(group, epoch, &salt, object);
        let commitment = *key.commitment();
        let sealed = key.wrap(object, body_key);
        Self { epoch, salt, commitment, sealed }
    }

    /// Gives back the body key of `object`.
    ///
    /// # Errors
    /// [`UnwrapError::WrongKey`] when the wrap was made under another group key, epoch or salt or for another object (a
    /// damaged commitment cannot be told from that), [`UnwrapError::Damaged`] when the sealed bytes were altered.
    pub fn open(&self, group: &Secret, object: &[u8]) -> Result<Secret, UnwrapError> {
        // PA
        wrapping_key(group, self.epoch, &self.salt, object).unwrap(&self.commitment, object, &self.sealed)
    }
}

fn wrapping_key(group: &Secret, epoch: Epoch, salt: &[u8; 16], object: &[u8]) -> CommittedKey {
    let mut hasher = WRAP.hasher();
    hasher.part(group.expose()).part(&epoch.0.to_le_bytes()).part(salt).part(object);
    CommittedKey::from_hash(&hasher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::golden::{fixed_rng, hex, secret};

    fn sample() -> GroupWrap {
        GroupWrap::seal(&secret(1), Epoch(3), b"object", &secret(2), &mut fixed_rng())
    }

    #[test]
    fn a_wrap_opens_for_its_group_and_object_only() {
        let wrap = sample();
        assert_eq!(wrap.open(&secret(1), b"object"), Ok(secret(2)));
        assert_eq!(wrap.open(&secret(3), b"object"), Err(UnwrapError::WrongKey));
        assert_eq!(wrap.open(&secret(1), b"objects"), Err(UnwrapError::WrongKey));
        let elsewhen = GroupWrap { epoch: Epoch(4), ..wrap };
        assert_eq!(elsewhen.open(&secret(1), b"object"), Err(UnwrapError::WrongKey));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = borsh::to_vec(&sample()).unwrap();
        assert_eq!(bytes.len(), GroupWrap::LEN);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let wrap: GroupWrap = borsh::from_slice(&changed).unwrap();
            let expected = if bit / 8 < 52 { UnwrapError::WrongKey } else { UnwrapError::Damaged };
            assert_eq!(wrap.open(&secret(1), b"object"), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn two_wraps_of_one_key_share_nothing() {
        let mut rng = fixed_rng();
        let one = GroupWrap::seal(&secret(1), Epoch(0), b"o", &secret(2), &mut rng);
        let two = GroupWrap::seal(&secret(1), Epoch(0), b"o", &secret(2), &mut rng);
        assert_ne!(one.salt, two.salt);
        assert_ne!(one.commitment, two.commitment);
        assert_ne!(one.sealed, two.sealed);
    }

    #[test]
    fn the_wrap_is_the_one_in_the_format() {
        assert_eq!(
            hex(&borsh::to_vec(&sample()).unwrap()),
            "03000000570416449232bd07fdecc45ca6e6df189d969063881e48d9333dd9bb782276c96c1e76db147425c410d56c2c\
            fccfaabd3a8b96879f0bcb70c06fa52aea2bdf883977b58abac583498becbcf2531e1c82365a9579fc150fb05f4dc691\
            7dcc23b3"
        );
        assert_eq!(
            group_id(b"readers", Epoch(3)).to_string(),
            "fee5cf759a04cdedab8ee75853deb27435c4c1ad577d7e8aeda0aca5ec7ca47a"
        );
    }
}
