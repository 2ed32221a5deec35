//! The content of a snapshot: which version of every key.
//!
//! ```text
//! | version byte | entry | entry | …        entry: | u16 little-endian n | name (n bytes) | blob id 32 |
//! ```
//!
//! A plain stream of entries in strictly rising order of names, stored like any other value. It holds no count and no
//! offset, so that two snapshots of nearly the same keys share nearly all their chunks, and it is written and read in
//! bounded memory however many keys there are.

use super::Body;
use crate::codec::DecodeError;
use crate::id::{BlobId, ID_LEN};

const WHAT: &str = "snapshot list";
const VERSION: u8 = 1;

/// One key of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotEntry {
    /// The key's name.
    pub name: Vec<u8>,
    /// Its version.
    pub id: BlobId,
}

/// Writes a snapshot list piece by piece.
#[derive(Clone, Debug, Default)]
pub struct SnapshotWriter {
    last: Option<Vec<u8>>,
}

impl SnapshotWriter {
    /// A list without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// The bytes that every list starts with; an empty snapshot is these alone.
    #[must_use]
    pub const fn start(&self) -> [u8; 1] {
        [VERSION]
    }

    /// Appends the next entry's bytes to `out`.
    ///
    /// # Errors
    /// [`DecodeError`] when the name is too long or does not come after the one before; `out` is unchanged.
    pub fn push(&mut self, entry: &SnapshotEntry, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        // PA
        check(self.last.as_deref(), &entry.name)?;
        out.extend_from_slice(&(entry.name.len() as u16).to_le_bytes());
        out.extend_from_slice(&entry.name);
        out.extend_from_slice(entry.id.as_bytes());
        self.last = Some(entry.name.clone());
        Ok(())
    }
}

/// Reads a snapshot list piece by piece, however it is cut.
#[derive(Clone, Debug, Default)]
pub struct SnapshotReader {
    started: bool,
    rest: Vec<u8>,
    last: Option<Vec<u8>>,
}

impl SnapshotReader {
    /// At the start of a list.
    #[must_use]
    pub const fn new() -> Self {
        Self { started: false, rest: Vec::new(), last: None }
    }

    /// Takes the next bytes of the list and gives the entries that are complete.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no snapshot list; the reader is of no further use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<SnapshotEntry>, DecodeError> {
        // PA
        self.rest.extend_from_slice(bytes);
        let rest = core::mem::take(&mut self.rest);
        let mut left = rest.as_slice();
        if !self.started {
            let Some((&version, after)) = left.split_first() else { return Ok(Vec::new()) };
            if version != VERSION {
                return Err(DecodeError::Version { what: WHAT, found: version, known: VERSION });
            }
            self.started = true;
            left = after;
        }
        let mut entries = Vec::new();
        while let Some((len, after)) = left.split_first_chunk::<2>() {
            let len = usize::from(u16::from_le_bytes(*len));
            if len > Body::MAX_NAME_LEN {
                return Err(DecodeError::malformed(WHAT, "a name is longer than 4 KiB"));
            }
            let Some((name, after)) = after.split_at_checked(len) else { break };
            let Some((id, after)) = after.split_first_chunk::<ID_LEN>() else { break };
            check(self.last.as_deref(), name)?;
            self.last = Some(name.to_vec());
            entries.push(SnapshotEntry { name: name.to_vec(), id: BlobId::from_bytes(*id) });
            left = after;
        }
        self.rest = left.to_vec();
        Ok(entries)
    }

    /// Says that there are no more bytes.
    ///
    /// # Errors
    /// [`DecodeError`] when the list ends within an entry.
    pub fn finish(self) -> Result<(), DecodeError> {
        // PA
        if !self.started || !self.rest.is_empty() {
            return Err(DecodeError::malformed(WHAT, "the list ends early"));
        }
        Ok(())
    }
}

fn check(last: Option<&[u8]>, name: &[u8]) -> Result<(), DecodeError> {
    if name.len() > Body::MAX_NAME_LEN {
        return Err(DecodeError::malformed(WHAT, "a name is longer than 4 KiB"));
    }
    if last.is_some_and(|last| last >= name) {
        return Err(DecodeError::malformed(WHAT, "names must strictly rise"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sample;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn write(names: &BTreeMap<Vec<u8>, u32>) -> (Vec<SnapshotEntry>, Vec<u8>) {
        let mut writer = SnapshotWriter::new();
        let mut out = writer.start().to_vec();
        let entries: Vec<SnapshotEntry> =
            names.iter().map(|(name, id)| SnapshotEntry { name: name.clone(), id: sample::blob(*id) }).collect();
        for entry in &entries {
            writer.push(entry, &mut out).unwrap();
        }
        (entries, out)
    }

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<SnapshotEntry>, DecodeError> {
        let mut reader = SnapshotReader::new();
        let mut entries = Vec::new();
        for piece in pieces {
            entries.extend(reader.feed(piece)?);
        }
        reader.finish()?;
        Ok(entries)
    }

    proptest! {
        #[test]
        fn lists_survive_however_they_are_cut(
            names in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..40), any::<u32>(), 0..30),
            step in 1usize..50,
        ) {
            let (entries, bytes) = write(&names);
            prop_assert_eq!(read(bytes.chunks(step)), Ok(entries));
            for cut in 0..bytes.len() {
                if let Ok(fewer) = read([&bytes[..cut]]) {
                    // A stream cut between entries is a shorter list; its length is in the content that holds it.
                    prop_assert_eq!(write(&fewer.iter().map(|e| (e.name.clone(), names[&e.name])).collect()).1, &bytes[..cut]);
                }
            }
        }

        #[test]
        fn accepted_lists_have_one_spelling(noise in prop::collection::vec(0u8..4, 0..200)) {
            let mut noise = noise;
            if let Some(first) = noise.first_mut() { *first = VERSION; }
            if let Ok(entries) = read([noise.as_slice()]) {
                let mut writer = SnapshotWriter::new();
                let mut out = writer.start().to_vec();
                for entry in &entries { writer.push(entry, &mut out).unwrap(); }
                prop_assert_eq!(out, noise);
            }
        }
    }

    #[test]
    fn unsorted_repeated_and_overlong_names_are_refused() {
        let mut writer = SnapshotWriter::new();
        let mut out = Vec::new();
        let entry = |name: &[u8]| SnapshotEntry { name: name.to_vec(), id: sample::blob(1) };
        writer.push(&entry(b"b"), &mut out).unwrap();
        let before = out.clone();
        assert!(writer.push(&entry(b"b"), &mut out).is_err());
        assert!(writer.push(&entry(b"a"), &mut out).is_err());
        assert!(writer.push(&entry(&[b'c'; 4_097]), &mut out).is_err());
        assert_eq!(out, before);
        assert!(read([&[VERSION, 0xff, 0xff][..]]).is_err());
        assert!(read([&[2u8][..]]).is_err());
    }
}
