//! The data types of the library's surface.

use bytes::Bytes;
use ouroboros_engine::env::WallTime;
use ouroboros_engine::id::{AuthorId, BlobId, Hlc};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    NotFound(String),
    #[error("damaged beyond repair: {0}")]
    Damaged(String),
    #[error("the store {0} is in use by another process")]
    InUse(String),
    #[error("{0}")]
    WrongKeys(String),
    #[error("the disk is full: {0}")]
    Full(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Io(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coding {
    data: u8,
    parity: u8,
}

impl Coding {
    pub(crate) fn new(data: u8, parity: u8) -> Result<Self, String> {
        if data == 0 || u16::from(data) + u16::from(parity) > 255 {
            return Err(format!("{data}+{parity} is no coding"));
        }
        Ok(Self { data, parity })
    }
    pub(crate) fn data(self) -> u8 {
        self.data
    }
    pub(crate) fn parity(self) -> u8 {
        self.parity
    }
}

impl std::str::FromStr for Coding {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no coding; write K+M, for example 8+1");
        let (data, parity) = text.split_once('+').ok_or_else(wrong)?;
        Self::new(data.parse().map_err(|_| wrong())?, parity.parse().map_err(|_| wrong())?)
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyName(Vec<u8>);

impl KeyName {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, String> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > 4096 || bytes.contains(&0) {
            return Err("a key is 1 to 4,096 bytes without NUL".into());
        }
        Ok(Self(bytes))
    }
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if c.is_control() || c == '\\' => {
                    let mut buffer = [0; 4];
                    c.encode_utf8(&mut buffer).bytes().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
                }
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
    }
    out
}

pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || String::from("a backslash must be followed by x and two hexadecimal digits");
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let digits = rest.strip_prefix(b"x").and_then(|rest| rest.get(..2)).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        out.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &rest[3..];
    }
    Ok(out)
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PutOptions {
    pub(crate) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) based_on: Option<Vec<BlobId>>,
    pub(crate) coding: Option<Coding>,
}

#[derive(Clone, Debug)]
pub(crate) struct Put {
    pub(crate) id: BlobId,
    pub(crate) heads: Vec<BlobId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionSelector {
    Winner,
    Id(BlobId),
    At(WallTime),
}

#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) id: BlobId,
    pub(crate) others: Vec<BlobId>,
    pub(crate) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) len: u64,
    pub(crate) gone: bool,
    pub(crate) created: Hlc,
    pub(super) content: Bytes,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) recursive: bool,
    pub(crate) after: Option<Vec<u8>>,
    pub(crate) limit: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) is_directory: bool,
    pub(crate) len: Option<u64>,
    pub(crate) created: Option<Hlc>,
    pub(crate) heads: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    pub(crate) next: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionKind {
    Child,
    Merger,
    VersionVector,
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: BlobId,
    pub(crate) created: Hlc,
    pub(crate) author: AuthorId,
    pub(crate) kind: VersionKind,
    pub(crate) parents: Vec<BlobId>,
    pub(crate) gone: bool,
    pub(crate) len: u64,
    pub(crate) is_head: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct DiffRange {
    pub(crate) a: Range<u64>,
    pub(crate) b: Range<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Diff {
    pub(crate) ranges: Vec<DiffRange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MergeStrategy {
    Lww,
    Union,
    Text3,
}

#[derive(Clone, Debug)]
pub(crate) struct SnapshotInfo {
    pub(crate) id: BlobId,
    pub(crate) created: Hlc,
    pub(crate) name: String,
    pub(crate) entries: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct SnapshotPage {
    pub(crate) entries: Vec<(KeyName, BlobId)>,
    pub(crate) next: Option<KeyName>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScrubOptions {
    pub(crate) repair: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) done: u64,
    pub(crate) total: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct DamagedObject {
    pub(crate) what: String,
    pub(crate) healed: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ScrubReport {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) damaged: Vec<DamagedObject>,
    pub(crate) healed: u64,
    pub(crate) lost: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct CompactReport {
    pub(crate) freed_bytes: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) segments: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) keys: u64,
    pub(crate) versions: u64,
    pub(crate) snapshots: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Good,
    Note,
    Warning,
    Lost,
}

#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) text: String,
    pub(crate) advice: String,
}
