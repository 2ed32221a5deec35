//! What a realm or a put may choose: chunker, compression, coding.

use crate::codec::{Canonical, DecodeError};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use core::str::FromStr;

/// A parameter outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// No data shard, or more shards than GF(2^8) and the slice format can number.
    #[error("coding {data}+{parity}: needs at least 1 data shard and at most {} shards in all", Coding::MAX_SHARDS)]
    Coding {
        /// Data shards asked for.
        data: u8,
        /// Parity shards asked for.
        parity: u8,
    },
    /// Text that is not of the form that is expected.
    #[error("cannot read {text:?} as {expected}")]
    Text {
        /// What was given.
        text: String,
        /// What would have been understood.
        expected: &'static str,
    },
    /// Chunk lengths out of range or out of order.
    #[error("chunk lengths {min_len}/{avg_len}/{max_len} B: {rule}")]
    Chunker {
        /// Shortest chunk, in bytes.
        min_len: u32,
        /// Average chunk, in bytes.
        avg_len: u32,
        /// Longest chunk, in bytes.
        max_len: u32,
        /// The rule that they break.
        rule: &'static str,
    },
}

/// How a seal is spread: `data` shards of ciphertext and `parity` shards, any `data` of which rebuild everything.
/// A storage policy: it is no part of a seal's identity and can be changed without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Coding {
    data: u8,
    parity: u8,
}

impl Coding {
    /// Most shards of one seal, data and parity together: an index fits a byte, and GF(2^8) has room for it.
    pub const MAX_SHARDS: u16 = 255;

    /// `data` + `parity`.
    ///
    /// # Errors
    /// [`ParamsError::Coding`] without a data shard or beyond [`Self::MAX_SHARDS`].
    pub const fn new(data: u8, parity: u8) -> Result<Self, ParamsError> {
        if data == 0 || data as u16 + parity as u16 > Self::MAX_SHARDS {
            return Err(ParamsError::Coding { data, parity });
        }
        Ok(Self { data, parity })
    }

    /// Data shards.
    #[must_use]
    pub const fn data(self) -> u8 {
        self.data
    }

    /// Parity shards: how many slices may be lost.
    #[must_use]
    pub const fn parity(self) -> u8 {
        self.parity
    }

    /// All shards.
    #[must_use]
    pub const fn total(self) -> usize {
        self.data as usize + self.parity as usize
    }
}

impl Default for Coding {
    /// 8+1: 12.5 % for one lost slice.
    fn default() -> Self {
        Self { data: 8, parity: 1 }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for Coding {
    type Err = ParamsError;

    fn from_str(text: &str) -> Result<Self, ParamsError> {
        let unreadable = || ParamsError::Text { text: text.to_owned(), expected: "a coding such as 8+1" };
        let (data, parity) = text.split_once('+').ok_or_else(unreadable)?;
        let number = |digits: &str| digits.trim().parse::<u8>().map_err(|_| unreadable());
        Self::new(number(data)?, number(parity)?)
    }
}

impl BorshDeserialize for Coding {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let [data, parity] = <[u8; 2]>::deserialize_reader(reader)?;
        Self::new(data, parity).map_err(|error| borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, error))
    }
}

/// What happens to a chunk before it is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Compression {
    /// zstd at a level, -7 (fast) to 19 (small); chunks that it does not shrink are stored raw.
    Zstd {
        /// The level.
        level: i8,
    },
    /// Always raw.
    Raw,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd { level: 3 }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd { level } => write!(f, "zstd:{level}"),
            Self::Raw => f.write_str("raw"),
        }
    }
}

impl FromStr for Compression {
    type Err = ParamsError;

    fn from_str(text: &str) -> Result<Self, ParamsError> {
        if text == "raw" {
            return Ok(Self::Raw);
        }
        let level = match text.strip_prefix("zstd") {
            Some("") => Some(3),
            Some(rest) => rest.strip_prefix(':').and_then(|level| level.parse::<i8>().ok()),
            None => None,
        };
        level.filter(|level| (-7..=19).contains(level)).map(|level| Self::Zstd { level }).ok_or_else(|| {
            ParamsError::Text { text: text.to_owned(), expected: "a compression: raw, zstd or zstd:<level -7..19>" }
        })
    }
}

/// Which algorithm cuts plaintext into chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum ChunkerKind {
    /// A secret gear hash proposes, SipHash-2-4 decides: visible lengths say nothing about the secret.
    #[default]
    Cdc1,
    /// FastCDC (2020) with a seeded gear table. Slightly faster; chunk lengths let an observer recover the seed and
    /// then recognise files (arXiv 2504.02095, eprint 2025/558), so use it only where storage nodes are trusted.
    FastCdc,
}

impl fmt::Display for ChunkerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cdc1 => "cdc1",
            Self::FastCdc => "fastcdc",
        })
    }
}

impl FromStr for ChunkerKind {
    type Err = ParamsError;

    fn from_str(text: &str) -> Result<Self, ParamsError> {
        match text {
            "cdc1" => Ok(Self::Cdc1),
            "fastcdc" => Ok(Self::FastCdc),
            _ => Err(ParamsError::Text { text: text.to_owned(), expected: "a chunker: cdc1 or fastcdc" }),
        }
    }
}

/// How plaintext is cut. Part of a realm's configuration: nodes that differ in it do not deduplicate with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkerParams {
    /// The algorithm.
    pub kind: ChunkerKind,
    /// Shortest chunk, in bytes, but for the last of an input.
    pub min_len: u32,
    /// Average chunk, in bytes, on content without structure.
    pub avg_len: u32,
    /// Longest chunk, in bytes.
    pub max_len: u32,
}

impl Default for ChunkerParams {
    /// `cdc1`, 64 KiB, 256 KiB, 1 MiB.
    fn default() -> Self {
        Self { kind: ChunkerKind::Cdc1, min_len: 64 << 10, avg_len: 256 << 10, max_len: 1 << 20 }
    }
}

impl ChunkerParams {
    /// Checks ranges and order.
    ///
    /// # Errors
    /// [`ParamsError::Chunker`] with the rule that is broken.
    pub const fn check(&self) -> Result<(), ParamsError> {
        let Self { kind: _, min_len, avg_len, max_len } = *self;
        let rule = if min_len < 1 << 10 || min_len > 1 << 20 {
            "the shortest must be 1 KiB to 1 MiB"
        } else if avg_len > 4 << 20 || avg_len / 2 < min_len {
            "the average must be at least twice the shortest and at most 4 MiB"
        } else if max_len > super::MAX_PLAIN_LEN || max_len / 2 < avg_len {
            "the longest must be at least twice the average and at most 16 MiB"
        } else if !min_len.is_multiple_of(2) || !avg_len.is_multiple_of(2) || !max_len.is_multiple_of(2) {
            "all three must be even"
        } else {
            return Ok(());
        };
        Err(ParamsError::Chunker { min_len, avg_len, max_len, rule })
    }
}

impl Canonical for ChunkerParams {
    const WHAT: &'static str = "chunker parameters";
    const MAX_LEN: usize = 14;

    fn validate(&self) -> Result<(), DecodeError> {
        self.check().map_err(|error| DecodeError::malformed(Self::WHAT, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_read_back_as_they_are_printed() {
        for coding in [Coding::default(), Coding::new(1, 0).unwrap(), Coding::new(200, 55).unwrap()] {
            assert_eq!(coding.to_string().parse::<Coding>(), Ok(coding));
            assert_eq!(borsh::from_slice::<Coding>(&borsh::to_vec(&coding).unwrap()).unwrap(), coding);
        }
        for bad in ["", "8", "8+", "+1", "0+1", "200+56", "8+1+1", "-1+2", "256+1"] {
            assert!(bad.parse::<Coding>().is_err(), "{bad}");
        }
        assert!(borsh::from_slice::<Coding>(&[0, 1]).is_err());
        assert!(borsh::from_slice::<Coding>(&[200, 56]).is_err());
    }

    #[test]
    fn compressions_read_back_as_they_are_printed() {
        for compression in [Compression::default(), Compression::Raw, Compression::Zstd { level: -7 }] {
            assert_eq!(compression.to_string().parse::<Compression>(), Ok(compression));
        }
        assert_eq!("zstd".parse::<Compression>(), Ok(Compression::default()));
        for bad in ["", "zstd:", "zstd:20", "zstd:-8", "gzip", "zstd3"] {
            assert!(bad.parse::<Compression>().is_err(), "{bad}");
        }
    }

    #[test]
    fn chunker_parameters_are_canonical_and_checked() {
        let default = ChunkerParams::default();
        assert_eq!(ChunkerParams::decode(&default.encode()), Ok(default));
        assert_eq!(default.encode().len(), ChunkerParams::MAX_LEN);
        for broken in [
            ChunkerParams { min_len: 0, ..default },
            ChunkerParams { min_len: 200 << 10, ..default },
            ChunkerParams { avg_len: 64 << 10, ..default },
            ChunkerParams { max_len: u32::MAX, ..default },
            ChunkerParams { max_len: 256 << 10, ..default },
            ChunkerParams { avg_len: (256 << 10) + 1, ..default },
        ] {
            assert!(broken.check().is_err(), "{broken:?}");
            let mut bytes = vec![ChunkerParams::VERSION];
            borsh::to_writer(&mut bytes, &broken).unwrap();
            assert!(ChunkerParams::decode(&bytes).is_err());
        }
    }
}
