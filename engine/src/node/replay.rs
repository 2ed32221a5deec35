//! Replaying: what the records of the log tell the index, with keys and without.

use super::facts::{BlobFacts, BodySummary, Novelty, apply_blob, apply_ref_page, apply_tombstone};
use super::job::open_record;
use super::policy::Policy;
use crate::blob::{BlobRecord, Body, Content, RefPage};
use crate::codec::Canonical;
use crate::deletion::TombstoneRecord;
use crate::env::{Disk, DiskFailure};
use crate::id::Hlc;
use crate::keys::Keyring;
use crate::planted::{Bug, planted};
use crate::seal::SliceHeader;
use crate::store::index::{Blobs, ChunkKey, ChunkRow, Chunks, Index, IndexError, SealRow, Seals};
use crate::store::log::{LogError, RecordKind, RecordView};
use crate::store::{Location, SegmentId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Records that are named as damaged; where there are more, the rest goes unnamed.
const DAMAGED_LEN: usize = 4096;

/// The state of a replay.
pub(super) struct Replay<'a, D: Disk> {
    index: &'a mut Index<D>,
    keys: Option<&'a Keyring>,
    checkpoint: Vec<u8>,
    pub(super) clock: Hlc,
    pub(super) policy: Option<Policy>,
    pub(super) content: BTreeMap<SegmentId, u64>,
    pub(super) replayed: u64,
    pub(super) damaged: Vec<String>,
    /// Where records stand that are what was written and are not understood.
    pub(super) undecoded: BTreeSet<SegmentId>,
    /// Versions were purged. What they referred to may not have been collected by the process that did so.
    pub(super) purges: bool,
}

impl<'a, D: Disk> Replay<'a, D> {
    /// A replay into an index that stands at `checkpoint`.
    pub(super) fn new(index: &'a mut Index<D>, keys: Option<&'a Keyring>, checkpoint: Vec<u8>) -> Self {
        Self {
            index,
            keys,
            checkpoint,
            clock: Hlc::default(),
            policy: None,
            content: BTreeMap::new(),
            replayed: 0,
            damaged: Vec::new(),
            undecoded: BTreeSet::new(),
            purges: false,
        }
    }

    /// Lets the index learn of a record.
    pub(super) fn take(&mut self, record: RecordView<'_>) -> Result<(), LogError> {
        // PA
        let trouble = |error: IndexError| LogError::Visitor(error.to_string());
        self.visit(record).map_err(trouble)?;
        if self.index.needs_flush() {
            match self.index.flush(&self.checkpoint) {
                // On a full disk what was learnt stays in memory: reading, and deleting, must be possible.
                Err(IndexError::Disk(error)) if error.failure == DiskFailure::Full => {}
                flushed => flushed.map_err(trouble)?,
            }
        }
        Ok(())
    }

    fn visit(&mut self, record: RecordView<'_>) -> Result<(), IndexError> {
        // PA
        self.replayed += 1;
        let place = record.location;
        *self.content.entry(place.segment).or_default() += u64::from(place.len);
        let payload = record.payload;
        let outcome = match record.kind {
            RecordKind::Slice => match SliceHeader::decode(payload) {
                Ok((header, _)) => {
                    // An index that cannot be asked lacks the row: that is its failure, and not the record's.
                    let known = self.index.get::<Seals>(&header.seal_id())?;
                    let mut row = known.unwrap_or_else(|| SealRow::new(&header));
                    row.place(&header, place);
                    self.index.put::<Seals>(&header.seal_id(), &row);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
            RecordKind::Blob => match BlobRecord::decode(&Bytes::copy_from_slice(payload)) {
                Ok(record) => return self.blob(&record, place),
                Err(error) => Err(error.to_string()),
            },
            RecordKind::RefPage => match RefPage::decode(payload) {
                Ok(page) => return apply_ref_page(self.index, page.id(), &page, place),
                Err(error) => Err(error.to_string()),
            },
            RecordKind::Tombstone if planted(Bug::TombstoneForgotten) => Ok(()),
            RecordKind::Tombstone => match TombstoneRecord::decode(payload) {
                Ok(record) => {
                    self.clock = self.clock.max(record.signed.tombstone().created);
                    self.purges = true;
                    return apply_tombstone(self.index, &record, place);
                }
                Err(error) => Err(error.to_string()),
            },
            RecordKind::Note => Policy::decode(payload)
                .map(|policy| {
                    self.clock = self.clock.max(policy.created);
                    let newest = self.policy.take().into_iter().chain([policy]).max_by_key(|policy| policy.created);
                    self.policy = newest;
                })
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        };
        if let Err(why) = outcome {
            self.undecoded.insert(place.segment);
            self.note_damage(format!("{place}: {why}"));
        }
        Ok(())
    }

    fn note_damage(&mut self, what: String) {
        if self.damaged.len() < DAMAGED_LEN {
            self.damaged.push(what);
        }
    }

    fn blob(&mut self, record: &BlobRecord, place: Location) -> Result<(), IndexError> {
        // PA
        self.clock = self.clock.max(record.header.header().created);
        let id = record.header.id();
        let summary = match self.keys.map(|keys| open_record(keys, record)).transpose() {
            Ok(Some(body)) => {
                self.chunks(record, &body);
                BodySummary::of(&body)
            }
            // What the header says is enough to know what is alive.
            Ok(None) => BodySummary::unknown(),
            Err(why) => {
                self.note_damage(format!("version {id} at {place}: {why}"));
                // Another copy may be known whose body opens. A header that nobody signed says nothing.
                let signed = self.keys.is_some_and(|keys| record.header.verify_by(keys.scheme()).is_ok());
                if !signed || self.index.get::<Blobs>(&id)?.is_some() {
                    return Ok(());
                }
                // Its key may come, or its body from elsewhere: what it refers to has to be there then.
                BodySummary::unknown()
            }
        };
        apply_blob(self.index, &BlobFacts::of(record, place, &summary), Novelty::Replayed)?;
        Ok(())
    }

    /// Lets later puts find the chunks of a version. Those below pages are found again when they are sealed again.
    fn chunks(&mut self, record: &BlobRecord, body: &Body) {
        if let Content::Chunks { depth: 0, chunks, .. } = &body.content {
            for chunk in chunks {
                let key = ChunkKey { scope: record.header.header().scope.0, chunk: chunk.chunk_id };
                self.index.put::<Chunks>(&key, &ChunkRow { seal_id: chunk.seal_id, secret: chunk.secret.clone() });
            }
        }
    }
}
