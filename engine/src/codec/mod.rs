//! The one canonical binary encoding.
//!
//! Every structure that reaches disk or wire is a [`Canonical`] type: a version byte, then its fields in the Borsh
//! encoding (<https://borsh.io>: fixed-width little-endian integers, `u32` length prefixes, no padding, no alternative
//! spellings). `decode(encode(x)) == x`, and `encode(decode(b)) == b` for every `b` that is accepted: unknown versions,
//! unknown tags, unsorted sets and trailing bytes are refused.

pub(crate) mod bounded;

use borsh::{BorshDeserialize, BorshSerialize};

/// Room that most structures fit into, in bytes: growing to it in steps costs more than encoding.
const USUAL_LEN: usize = 512;

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The structure was written by a later version of this program.
    #[error("{what}: format version {found} is not known here (newest known: {known}); a newer ouroboros wrote it")]
    Version {
        /// The structure.
        what: &'static str,
        /// The version byte found.
        found: u8,
        /// The newest version that this build reads.
        known: u8,
    },
    /// The bytes end early, run on, or hold a value that the format does not allow.
    #[error("{what}: malformed: {why}")]
    Malformed {
        /// The structure.
        what: &'static str,
        /// What was wrong.
        why: String,
    },
    /// The bytes are longer than a structure of this kind may be.
    #[error("{what}: {len} bytes exceed the limit of {limit}")]
    TooLong {
        /// The structure.
        what: &'static str,
        /// The length found, in bytes.
        len: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

impl DecodeError {
    /// A [`DecodeError::Malformed`].
    pub fn malformed(what: &'static str, why: impl Into<String>) -> Self {
        Self::Malformed { what, why: why.into() }
    }
}

/// A structure with one canonical, self-versioned encoding.
pub trait Canonical: BorshSerialize + BorshDeserialize {
    /// What the structure is called in errors.
    const WHAT: &'static str;
    /// The version byte written first. Readers refuse every other.
    const VERSION: u8 = 1;
    /// The longest encoding accepted, in bytes.
    const MAX_LEN: usize;

    /// Checks what the type system cannot: order, ranges, limits between fields. Called after decoding, and, as an
    /// assertion, before encoding.
    ///
    /// # Errors
    /// [`DecodeError`] with the rule that was broken.
    fn validate(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    /// The canonical bytes.
    fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(self.validate(), Ok(()), "encoding an invalid {}", Self::WHAT);
        let mut out = Vec::with_capacity(Self::MAX_LEN.min(USUAL_LEN));
        out.push(Self::VERSION);
        // Writing to a Vec cannot fail, and none of our types refuses to be written.
        if let Err(error) = self.serialize(&mut out) {
            unreachable!("encoding {} to memory: {error}", Self::WHAT);
        }
        out
    }

    /// Reads the canonical bytes, all of them.
    ///
    /// # Errors
    /// [`DecodeError`] when they are not exactly one encoding of this type.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        // PA
        if bytes.len() > Self::MAX_LEN {
            return Err(DecodeError::TooLong {
                what: Self::WHAT,
                len: bytes.len() as u64,
                limit: Self::MAX_LEN as u64,
            });
        }
        let Some((&version, fields)) = bytes.split_first() else {
            return Err(DecodeError::malformed(Self::WHAT, "no bytes at all"));
        };
        if version != Self::VERSION {
            return Err(DecodeError::Version { what: Self::WHAT, found: version, known: Self::VERSION });
        }
        let value =
            borsh::from_slice::<Self>(fields).map_err(|error| DecodeError::malformed(Self::WHAT, error.to_string()))?;
        value.validate()?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
    struct Sample {
        numbers: Vec<u32>,
        name: Option<Vec<u8>>,
    }

    impl Canonical for Sample {
        const WHAT: &'static str = "sample";
        const MAX_LEN: usize = 4096;
    }

    proptest! {
        #[test]
        fn accepted_bytes_are_the_only_spelling(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = Sample::decode(&bytes) {
                prop_assert_eq!(value.encode(), bytes);
            }
        }

        #[test]
        fn values_survive(numbers in prop::collection::vec(any::<u32>(), 0..9), name in prop::option::of(prop::collection::vec(any::<u8>(), 0..9))) {
            let value = Sample { numbers, name };
            let bytes = value.encode();
            prop_assert_eq!(Sample::decode(&bytes), Ok(value));
            for cut in 0..bytes.len() {
                prop_assert!(Sample::decode(&bytes[..cut]).is_err());
            }
            let mut longer = bytes;
            longer.push(0);
            prop_assert!(Sample::decode(&longer).is_err());
        }
    }

    #[test]
    fn a_length_bomb_is_refused_without_allocating() {
        assert!(Sample::decode(&[1, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
