//! What each file of an import looked like, so that the next import need not ask the store for every one of them.
//!
//! ```text
//! | version byte | row | row | …        row: | u16 little-endian n | name (n bytes) | blob id 32 | full 16 | loose 16 |
//! ```
//!
//! Sealed like any value. `full` and `loose` are fingerprints of an [`Entry`](super::entry::Entry): with and without what
//! some file systems make up (inode and change time). A row that fits proves nothing about the bytes, just as a fitting size
//! and time prove nothing; it is restic's rule.

use super::entry::Print;
use super::import::Carried;
use crate::exit::Outcome;
use crate::store::{Db, KeyName};
use ouroboros_engine::id::BlobId;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};

const VERSION: u8 = 1;
/// Bytes of a row beside its name.
const FIXED: usize = 2 + 32 + 16 + 16;
/// Lists of rows that wait for the walk.
const AHEAD: usize = 4;

/// A file of the import before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    name: Vec<u8>,
    /// Its version.
    pub(crate) id: BlobId,
    /// What it looked like.
    pub(crate) print: Print,
}

/// The list of an import, as a stream.
pub(crate) fn encode(carried: &[Carried]) -> impl Read {
    Encoder { rows: carried.iter(), waiting: VecDeque::from([VERSION]) }
}

struct Encoder<'a> {
    rows: std::slice::Iter<'a, Carried>,
    waiting: VecDeque<u8>,
}

impl Read for Encoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.waiting.len() < buffer.len() {
            let Some(row) = self.rows.next() else { break };
            let name = row.key.as_bytes();
            self.waiting.extend((name.len() as u16).to_le_bytes());
            self.waiting.extend(name);
            self.waiting.extend(row.id.as_bytes());
            self.waiting.extend(row.print.full);
            self.waiting.extend(row.print.loose);
        }
        self.waiting.read(buffer)
    }
}

/// Takes a list apart however it is cut, and sends its rows.
struct Decoder {
    started: bool,
    rest: Vec<u8>,
    rows: SyncSender<Vec<Row>>,
}

fn decode(bytes: &[u8]) -> Option<(Row, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let (id, rest) = rest.split_first_chunk::<32>()?;
    let (full, rest) = rest.split_first_chunk::<16>()?;
    let (loose, rest) = rest.split_first_chunk::<16>()?;
    let print = Print { full: *full, loose: *loose };
    Some((Row { name: name.to_vec(), id: BlobId::from_bytes(*id), print }, rest))
}

impl Write for Decoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let mut left = self.rest.as_slice();
        if !self.started {
            let Some((&version, rest)) = left.split_first() else { return Ok(0) };
            if version != VERSION {
                return Err(io::ErrorKind::InvalidData.into());
            }
            (self.started, left) = (true, rest);
        }
        let mut rows = Vec::with_capacity(left.len() / FIXED);
        while let Some((row, rest)) = decode(left) {
            rows.push(row);
            left = rest;
        }
        self.rest = left.to_vec();
        self.rows.send(rows).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The import before this one, read along with the walk: both are in the order of keys.
pub(crate) struct Previous {
    rows: Option<Receiver<Vec<Row>>>,
    page: VecDeque<Row>,
}

impl Previous {
    /// Of the first import.
    pub(crate) fn none() -> Self {
        Self { rows: None, page: VecDeque::new() }
    }

    /// Of a later one. A list that cannot be read ends early, which costs a reading of the files and no more.
    pub(crate) fn read(db: &Db, list: BlobId) -> Outcome<Self> {
        let (sender, rows) = mpsc::sync_channel(AHEAD);
        let db = db.clone();
        let reader = move || {
            let mut decoder = Decoder { started: false, rest: Vec::new(), rows: sender };
            let read = db.get_version(list).and_then(|got| db.write_to(&got, 0..u64::MAX, &mut decoder));
            if let Err(error) = read {
                tracing::info!(%error, "the import before is not read further");
            }
        };
        let spawned = std::thread::Builder::new().name("previous".into()).spawn(reader);
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to read the import before");
            return Ok(Self::none());
        }
        Ok(Self { rows: Some(rows), page: VecDeque::new() })
    }

    /// What `key` was in it. Keys are asked for in order; one out of order is not found.
    pub(crate) fn find(&mut self, key: &KeyName) -> Option<Row> {
        loop {
            while let Some(row) = self.page.front() {
                match row.name.as_slice().cmp(key.as_bytes()) {
                    std::cmp::Ordering::Less => drop(self.page.pop_front()),
                    std::cmp::Ordering::Equal => return self.page.pop_front(),
                    std::cmp::Ordering::Greater => return None,
                }
            }
            match self.rows.as_ref()?.recv() {
                Ok(rows) => self.page.extend(rows),
                Err(_) => self.rows = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq};

    fn carried(name: &str, byte: u8) -> Carried {
        Carried {
            place: 0,
            key: KeyName::new(name).unwrap(),
            id: BlobId::from_bytes([byte; 32]),
            print: Print { full: [byte; 16], loose: [!byte; 16] },
        }
    }

    fn read(bytes: &[u8], step: usize) -> io::Result<Vec<Row>> {
        let (rows, received) = mpsc::sync_channel(bytes.len() + 1);
        let mut decoder = Decoder { started: false, rest: Vec::new(), rows };
        for piece in bytes.chunks(step) {
            decoder.write_all(piece)?;
        }
        drop(decoder);
        Ok(received.into_iter().flatten().collect())
    }

    #[test]
    fn a_list_survives_however_it_is_cut_and_other_bytes_are_no_list() {
        let list = [carried("a", 1), carried("a/b", 2), carried("b", 3)];
        let mut bytes = Vec::new();
        encode(&list).read_to_end(&mut bytes).unwrap();
        for step in [1, 7, 1000] {
            let rows = read(&bytes, step).unwrap();
            let same = rows
                .iter()
                .zip(&list)
                .all(|(row, one)| row.name == one.key.as_bytes() && row.id == one.id && row.print == one.print);
            assert!(same && rows.len() == list.len());
        }
        assert_eq!(read(&bytes[..bytes.len() - 1], 9).unwrap().len(), 2);
        assert!(read(b"\x09rest", 3).is_err());
    }

    proptest::proptest! {
        /// Whoever holds the keys can seal any bytes, and an older program may have.
        #[test]
        fn hostile_bytes_give_the_same_rows_however_they_are_cut(
            names in vec(any::<u8>(), 0..8),
            changes in vec((any::<usize>(), any::<u8>()), 0..4),
            more in vec(any::<u8>(), 0..300),
            step in 1usize..100,
        ) {
            let list: Vec<Carried> = names.iter().map(|name| carried(&format!("a/{name}"), *name)).collect();
            let mut bytes = Vec::new();
            encode(&list).read_to_end(&mut bytes).unwrap();
            let rows = read(&bytes, step).unwrap();
            prop_assert_eq!(rows.len(), list.len());
            bytes.extend(more);
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let told = |rows: io::Result<Vec<Row>>| rows.map_err(|error| error.kind());
            prop_assert_eq!(told(read(&bytes, step)), told(read(&bytes, bytes.len())));
        }
    }

    #[test]
    fn keys_are_found_in_order() {
        let (sender, rows) = mpsc::sync_channel(2);
        let row = |name: &str, byte| Row {
            name: name.into(),
            id: BlobId::from_bytes([byte; 32]),
            print: Print { full: [0; 16], loose: [0; 16] },
        };
        sender.send(vec![row("a", 1), row("c", 2)]).unwrap();
        sender.send(vec![row("d", 3)]).unwrap();
        drop(sender);
        let mut previous = Previous { rows: Some(rows), page: VecDeque::new() };
        let mut find = |name: &str| previous.find(&KeyName::new(name).unwrap()).map(|row| row.id.as_bytes()[0]);
        assert_eq!([find("a"), find("b"), find("c"), find("d"), find("e")], [Some(1), None, Some(2), Some(3), None]);
    }
}
