//! The name of a key: a path of bytes.

use super::escape::{EscapeError, escape, unescape};
use crate::codec::{Canonical, DecodeError};
use borsh::io::{Error, ErrorKind, Read, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

/// What stands between components.
const SEPARATOR: u8 = b'/';

/// A path of 1 to 4,096 bytes. Any byte but NUL may occur; `/` stands between components.
///
/// Every name has exactly one spelling: components are never empty, so that `/a`, `a/` and `a//b` are refused rather
/// than read as `a` and `a/b`. The components `.` and `..` are refused as well: names become paths when a tree is
/// exported, and these two would lead out of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(Vec<u8>);

/// Why bytes are not a name. Positions are in bytes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("a key name has at least one byte")]
    Empty,
    /// More than [`KeyName::MAX_LEN`] bytes.
    #[error("a key name has at most {} bytes, not {len}", KeyName::MAX_LEN)]
    TooLong {
        /// The length found, in bytes.
        len: usize,
    },
    /// A NUL byte.
    #[error("a key name cannot hold a NUL byte, but does at byte {at}")]
    Nul {
        /// Where.
        at: usize,
    },
    /// It begins with `/`.
    #[error("a key name does not begin with '/'; leave the first one out")]
    LeadingSlash,
    /// It ends with `/`.
    #[error("a key name does not end with '/'; leave the last one out")]
    TrailingSlash,
    /// It has two `/` in a row.
    #[error("a key name cannot hold an empty component, but two '/' follow each other at byte {at}; leave one out")]
    DoubleSlash {
        /// Where the second one stands.
        at: usize,
    },
    /// A component is `.` or `..`.
    #[error("'.' and '..' cannot be components of a key name, but one stands at byte {at}; write the path out")]
    DotComponent {
        /// Where the component starts.
        at: usize,
    },
}

/// Why text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// A backslash that escapes nothing.
    #[error(transparent)]
    Escape(#[from] EscapeError),
    /// The bytes are not a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl KeyName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 4096;

    /// Checks bytes.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, NameError> {
        // PA
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > Self::MAX_LEN {
            return Err(NameError::TooLong { len: bytes.len() });
        }
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(NameError::Nul { at });
        }
        let mut at = 0;
        for component in bytes.split(|byte| *byte == SEPARATOR) {
            match component {
                [] if at == 0 => return Err(NameError::LeadingSlash),
                [] if at == bytes.len() => return Err(NameError::TrailingSlash),
                [] => return Err(NameError::DoubleSlash { at }),
                b"." | b".." => return Err(NameError::DotComponent { at }),
                _ => at += component.len() + 1,
            }
        }
        Ok(Self(bytes))
    }

    /// Reads what [`Display`](fmt::Display) shows. Bytes may be written as `\xNN` whether they need it or not.
    ///
    /// # Errors
    /// [`ParseNameError`].
    pub fn parse_display(text: &str) -> Result<Self, ParseNameError> {
        Ok(Self::new(unescape(text)?)?)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, taken.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The components in order: at least one, none of them empty.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        self.0.split(|byte| *byte == SEPARATOR)
    }

    /// The last component.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        self.components().next_back().unwrap_or_default()
    }

    /// The name without its last component; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let end = self.0.iter().rposition(|byte| *byte == SEPARATOR)?;
        Some(Self(self.0[..end].to_vec()))
    }

    /// The name `rest` below this one; `rest` may have several components.
    ///
    /// # Errors
    /// [`NameError`] when the whole is not a name.
    pub fn join(&self, rest: &[u8]) -> Result<Self, NameError> {
        Self::new([self.as_bytes(), b"/", rest].concat())
    }

    /// Whether the name begins with these bytes, wherever they end; no bytes begin every name.
    #[must_use]
    pub fn has_prefix(&self, prefix: &[u8]) -> bool {
        self.0.starts_with(prefix)
    }

    /// Whether the name lies below `directory`: `a/b` lies in `a`, but neither `a` nor `ab` does.
    #[must_use]
    pub fn is_within(&self, directory: &Self) -> bool {
        self.below(directory).is_some()
    }

    /// What follows `directory` and its `/`; `None` when the name does not lie below it.
    #[must_use]
    pub fn below(&self, directory: &Self) -> Option<&[u8]> {
        self.0.strip_prefix(directory.as_bytes())?.strip_prefix(&[SEPARATOR])
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0).fmt(f)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyName({self})")
    }
}

impl TryFrom<&str> for KeyName {
    type Error = NameError;

    /// The text's own bytes, nothing unescaped.
    fn try_from(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl BorshSerialize for KeyName {
    fn serialize<W: Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for KeyName {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let len = u32::deserialize_reader(reader)? as usize;
        if len > Self::MAX_LEN {
            return Err(invalid(NameError::TooLong { len }));
        }
        let mut bytes = vec![0; len];
        reader.read_exact(&mut bytes)?;
        Self::new(bytes).map_err(invalid)
    }
}

fn invalid(error: NameError) -> Error {
    Error::new(ErrorKind::InvalidData, error.to_string())
}

impl Canonical for KeyName {
    const WHAT: &'static str = "key name";
    const MAX_LEN: usize = 1 + 4 + Self::MAX_LEN;

    fn validate(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> KeyName {
        KeyName::try_from(text).unwrap()
    }

    #[test]
    fn every_refusal_says_what_and_where() {
        let cases: [(&[u8], NameError); 13] = [
            (b"", NameError::Empty),
            (b"/", NameError::LeadingSlash),
            (b"/a", NameError::LeadingSlash),
            (b"//", NameError::LeadingSlash),
            (b"a/", NameError::TrailingSlash),
            (b"a//b", NameError::DoubleSlash { at: 2 }),
            (b"a//", NameError::DoubleSlash { at: 2 }),
            (b"a\0b", NameError::Nul { at: 1 }),
            (b".", NameError::DotComponent { at: 0 }),
            (b"..", NameError::DotComponent { at: 0 }),
            (b"a/../b", NameError::DotComponent { at: 2 }),
            (b"a/.", NameError::DotComponent { at: 2 }),
            (b"./a", NameError::DotComponent { at: 0 }),
        ];
        for (bytes, error) in cases {
            assert_eq!(KeyName::new(bytes), Err(error), "{}", escape(bytes));
        }
        assert_eq!(KeyName::new(vec![b'a'; 4097]), Err(NameError::TooLong { len: 4097 }));
    }

    #[test]
    fn odd_names_that_mean_no_harm_are_taken() {
        for bytes in [&b"..."[..], b".a", b"a.", b"..a/b..", b" ", b"\n", b"\xff\xfe", b"a\\b", b"-rf", b"~"] {
            assert_eq!(KeyName::new(bytes).map(KeyName::into_bytes).as_deref(), Ok(bytes));
        }
        assert!(KeyName::new(vec![b'a'; 4096]).is_ok());
    }

    #[test]
    fn a_name_lies_within_a_directory_by_whole_components() {
        let (a, ab, a_b) = (name("a"), name("ab"), name("a/b"));
        assert!(a_b.is_within(&a) && !ab.is_within(&a) && !a.is_within(&a) && !a.is_within(&a_b));
        assert!(ab.has_prefix(b"a") && ab.has_prefix(b"") && !ab.has_prefix(b"abc"));
        assert_eq!(name("a/b/c").below(&a), Some(&b"b/c"[..]));
    }

    #[test]
    fn decoding_holds_the_same_rules() {
        for text in ["a/b", "x"] {
            let bytes = name(text).encode();
            assert_eq!(KeyName::decode(&bytes), Ok(name(text)));
        }
        for bad in ["", "/a", "a/", "a//b", ".", "a\0"] {
            let mut bytes = vec![1, bad.len() as u8, 0, 0, 0];
            bytes.extend_from_slice(bad.as_bytes());
            assert!(matches!(KeyName::decode(&bytes), Err(DecodeError::Malformed { .. })), "{bad}");
        }
        assert!(KeyName::decode(&[1, 0xff, 0xff, 0xff, 0xff, b'a']).is_err());
    }

    fn any_name() -> impl Strategy<Value = KeyName> {
        prop::collection::vec(any::<u8>(), 1..40).prop_filter_map("not a name", |bytes| KeyName::new(bytes).ok())
    }

    proptest! {
        #[test]
        fn names_survive_display_and_encoding(name in any_name()) {
            prop_assert_eq!(&KeyName::parse_display(&name.to_string()).unwrap(), &name);
            prop_assert_eq!(&KeyName::decode(&name.encode()).unwrap(), &name);
        }

        #[test]
        fn a_name_is_its_components(bytes in "[ab./]{1,12}") {
            if let Ok(name) = KeyName::new(bytes.as_bytes()) {
                prop_assert!(name.components().all(|part| !part.is_empty() && part != b"." && part != b".."));
                let parts: Vec<&[u8]> = name.components().collect();
                prop_assert_eq!(parts.join(&b'/'), name.as_bytes());
                prop_assert_eq!(name.last(), parts[parts.len() - 1]);
                match name.parent() {
                    None => prop_assert_eq!(parts.len(), 1),
                    Some(parent) => {
                        prop_assert_eq!(KeyName::new(parent.as_bytes()), Ok(parent.clone()));
                        prop_assert_eq!(parent.join(name.last()), Ok(name.clone()));
                        prop_assert_eq!(name.below(&parent), Some(name.last()));
                    }
                }
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(name) = KeyName::decode(&bytes) {
                prop_assert_eq!(name.encode(), bytes);
            }
        }
    }
}
