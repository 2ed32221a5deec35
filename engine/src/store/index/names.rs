//! Paged listing of key names.

use super::Index;
use super::error::IndexError;
use super::merge::Direction;
use super::table::{Names, Row, Table};
use crate::env::Disk;
use crate::id::KeyHash;
use core::ops::Bound;

/// One line of a listing of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelEntry {
    /// A key.
    Name(Vec<u8>, KeyHash),
    /// What all keys of a subtree begin with; ends in the delimiter.
    Prefix(Vec<u8>),
}

impl LevelEntry {
    /// The bytes by which the entry is ordered, and which continue the listing after it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Name(bytes, _) | Self::Prefix(bytes) => bytes,
        }
    }
}

/// The lowest byte string above everything that starts with `prefix`.
fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let Some(last) = prefix.iter().rposition(|&byte| byte != u8::MAX) else {
        return Bound::Unbounded;
    };
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    Bound::Excluded(out)
}

fn as_slices(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

impl<D: Disk> Index<D> {
    /// Up to `limit` key names that start with `prefix`, in byte order, beginning after `after`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn list(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row<Names>>, IndexError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let to = after_prefix(prefix);
        self.range_bytes::<Names>(from, as_slices(&to), Direction::Forward, limit)
    }

    /// Up to `limit` entries of one level: the names that start with `prefix` and do not contain `delimiter` after it,
    /// and, once each, what the others share up to and with that delimiter. `after` is [`LevelEntry::bytes`] of the last
    /// entry of the page before. A subtree costs one seek, however many names it holds.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn list_level(
        &self,
        prefix: &[u8],
        delimiter: u8,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<LevelEntry>, IndexError> {
        let subtree_of = |name: &[u8]| {
            let rest = name.get(prefix.len()..)?;
            let end = rest.iter().position(|&byte| byte == delimiter)?;
            name.get(..=prefix.len() + end).map(<[u8]>::to_vec)
        };
        let beyond = |subtree: &[u8]| match after_prefix(subtree) {
            Bound::Excluded(next) => Some(Bound::Included(next)),
            _ => None,
        };
        let to = after_prefix(prefix);
        let mut from = match after {
            Some(after) if after.starts_with(prefix) => match subtree_of(after) {
                Some(subtree) => match beyond(&subtree) {
                    Some(from) => from,
                    None => return Ok(Vec::new()),
                },
                None => Bound::Excluded(after.to_vec()),
            },
            Some(after) if after > prefix => Bound::Excluded(after.to_vec()),
            _ => Bound::Included(prefix.to_vec()),
        };
        let mut entries = Vec::new();
        'seek: while entries.len() < limit {
            let Some(mut rows) = self.merged(Names::ID, as_slices(&from), as_slices(&to), Direction::Forward)? else {
                break;
            };
            while entries.len() < limit {
                let Some((name, row)) = self.checked(rows.next())? else {
                    break 'seek;
                };
                let Some(subtree) = subtree_of(&name) else {
                    let hash = super::decode::<Names>(&row, &self.symbols)?;
                    entries.push(LevelEntry::Name(name, hash));
                    continue;
                };
                let next = beyond(&subtree);
                entries.push(LevelEntry::Prefix(subtree));
                match next {
                    Some(next) => from = next,
                    None => break 'seek,
                }
                continue 'seek;
            }
        }
        Ok(entries)
    }
}
