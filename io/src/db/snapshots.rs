//! Snapshots: versions that name many others at once, written and read in bounded memory.

use super::stream::{Upload, write_to};
use super::{AsyncDb, Db, SNAPSHOTS};
use crate::error::Error;
use bytes::Bytes;
use futures_lite::future::block_on;
use ouroboros_engine::blob::{Attributes, BlobKind, SnapshotEntry, SnapshotReader, SnapshotWriter};
use ouroboros_engine::id::BlobId;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Failure, Got, ListRequest, PutOptions, Select, Written};
use std::io::{ErrorKind, Write};

/// Bytes of a list that go into the engine at once; one entry more, at most.
const PIECE_LEN: usize = 2 << 20;

impl Db {
    /// Records a snapshot under a name: one version that names many others at once. The entries must come in strictly
    /// rising order of their keys.
    ///
    /// # Errors
    /// [`Error`].
    pub fn snapshot(
        &self,
        name: &str,
        entries: impl Iterator<Item = (KeyName, BlobId)>,
        attributes: Attributes,
    ) -> Result<Written, Error> {
        // PA
        let mut upload = Upload::open(&self.client, &key_of(name)?, options(attributes))?;
        for piece in Pieces::new(entries) {
            upload.send(piece?)?;
        }
        upload.finish()
    }

    /// The snapshots, oldest name first: each key below [`SNAPSHOTS`], with its newest version.
    ///
    /// # Errors
    /// [`Error`].
    pub fn snapshots(&self) -> Result<Vec<Got>, Error> {
        block_on(self.asynchronous().snapshots())
    }

    /// Hands over the entries of a snapshot in order of their keys, in bounded memory.
    ///
    /// # Errors
    /// [`Error`], also that of `visit`.
    pub fn snapshot_entries(
        &self,
        snapshot: &Got,
        visit: &mut dyn FnMut(SnapshotEntry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // PA
        let mut list = List { reader: SnapshotReader::new(), visit, failed: None };
        match write_to(&self.client, snapshot, 0..u64::MAX, &mut list) {
            Ok(_) => list.finish(),
            Err(error) => Err(list.failed.unwrap_or(error)),
        }
    }
}

impl AsyncDb {
    /// See [`Db::snapshot`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn snapshot(
        &self,
        name: &str,
        entries: impl Iterator<Item = (KeyName, BlobId)>,
        attributes: Attributes,
    ) -> Result<Written, Error> {
        // PA
        let mut upload = self.put_stream(&key_of(name)?, options(attributes)).await?;
        for piece in Pieces::new(entries) {
            upload.send(piece?).await?;
        }
        upload.finish().await
    }

    /// See [`Db::snapshots`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn snapshots(&self) -> Result<Vec<Got>, Error> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let prefix = SNAPSHOTS.as_bytes().to_vec();
            let request = ListRequest { prefix, after, recursive: true, include_gone: false, limit: 1000 };
            let page = self.list(request).await?;
            for entry in page.entries {
                found.push(self.get(&KeyName::new(entry.name)?, Select::Winner).await?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// See [`Db::snapshot_entries`].
    ///
    /// # Errors
    /// [`Error`], also that of `visit`.
    pub async fn snapshot_entries(
        &self,
        snapshot: &Got,
        visit: impl FnMut(SnapshotEntry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // PA
        let mut list = List { reader: SnapshotReader::new(), visit, failed: None };
        let mut at = 0;
        while at < snapshot.version.len {
            let range = at..snapshot.version.len.min(at.saturating_add(self.client.limits.read_len));
            at = range.end;
            for piece in self.read(snapshot, range).await? {
                list.take(&piece)?;
            }
        }
        list.finish()
    }
}

fn key_of(name: &str) -> Result<KeyName, Error> {
    Ok(KeyName::new([SNAPSHOTS, name].concat())?)
}

fn options(attributes: Attributes) -> PutOptions {
    PutOptions { attributes, kind: BlobKind::VersionVector, ..PutOptions::default() }
}

/// A snapshot's list on its way in, piece by piece.
struct Pieces<I> {
    entries: I,
    writer: SnapshotWriter,
    piece: Vec<u8>,
}

impl<I> Pieces<I> {
    fn new(entries: I) -> Self {
        let writer = SnapshotWriter::new();
        let piece = writer.start().to_vec();
        Self { entries, writer, piece }
    }
}

impl<I: Iterator<Item = (KeyName, BlobId)>> Iterator for Pieces<I> {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // PA
        while self.piece.len() < PIECE_LEN
            && let Some((key, id)) = self.entries.next()
        {
            let entry = SnapshotEntry { name: key.into_bytes(), id };
            if let Err(error) = self.writer.push(&entry, &mut self.piece) {
                return Some(Err(Failure::Invalid(error.to_string()).into()));
            }
        }
        let piece = std::mem::take(&mut self.piece);
        (!piece.is_empty()).then(|| Ok(piece.into()))
    }
}

/// A snapshot's list on its way out.
struct List<V> {
    reader: SnapshotReader,
    visit: V,
    /// Why it could not be written here.
    failed: Option<Error>,
}

impl<V: FnMut(SnapshotEntry) -> Result<(), Error>> List<V> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let entries = self.reader.feed(bytes).map_err(damaged)?;
        entries.into_iter().try_for_each(&mut self.visit)
    }

    fn finish(self) -> Result<(), Error> {
        self.reader.finish().map_err(damaged)
    }
}

fn damaged(why: impl core::fmt::Display) -> Error {
    Failure::Damaged { place: format!("a snapshot's list: {why}") }.into()
}

impl<V: FnMut(SnapshotEntry) -> Result<(), Error>> Write for List<V> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failed = Some(error);
                Err(ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
