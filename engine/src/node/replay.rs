//! Replaying: what the records of the log tell the index, with keys and without.

use super::facts::{BlobFacts, BodySummary, Novelty, apply_blob, apply_ref_page, apply_tombstone};
use super::job::open_record;
use super::policy::Policy;
use crate::blob::{BlobRecord, Body, Content, RefPage};
use crate::codec::Canonical;
use crate::deletion::TombstoneRecord;
use crate::env::{Disk, DiskFailure};
use crate::id::{Epoch, Hlc, SealId};
use crate::keys::{Keyring, MAX_EPOCHS};
use crate::planted::{Bug, planted};
use crate::seal::SliceHeader;
use crate::store::index::{Blobs, ChunkKey, ChunkRow, Chunks, Index, IndexError, SealRow, Seals};
use crate::store::log::{LogError, RecordKind, RecordView};
use crate::store::{Location, SegmentId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Records that are named as damaged; where there are more, the rest goes unnamed.
const DAMAGED_LEN: usize = 4096;
/// Seals of which slices in another coding wait for more of them. Where there are more, a slice of another coding begins its row anew.
const OTHERS_LEN: usize = 4096;

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
    /// Epochs of the group key without which versions could not be opened: the index knows no more of these than stands in their
    /// headers.
    pub(super) unopened: BTreeSet<Epoch>,
    /// Slices of seals that the index knows in another coding, of which too few were seen yet to read them by.
    others: BTreeMap<SealId, SealRow>,
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
            unopened: BTreeSet::new(),
            others: BTreeMap::new(),
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
                // An index that cannot be asked lacks the row: that is its failure, and not the record's.
                Ok((header, _)) => return self.slice(&header, place),
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

    /// The slices that a seal was coded anew in stand behind those of before. But where the disk refused the new ones for a
    /// while, some of before may have been copied behind them: alone they must not stand for the seal.
    fn slice(&mut self, header: &SliceHeader, place: Location) -> Result<(), IndexError> {
        // PA
        let seal = header.seal_id();
        let known = self.index.get::<Seals>(&seal)?;
        let is_other = known.as_ref().is_some_and(|known| !known.is_coded_as(header) && known.has_enough());
        let waits = is_other && (self.others.len() < OTHERS_LEN || self.others.contains_key(&seal));
        let before = if waits { self.others.remove(&seal) } else { known };
        let mut row = before.unwrap_or_else(|| SealRow::new(header));
        row.place(header, place);
        if waits && !row.has_enough() {
            self.others.insert(seal, row);
        } else {
            self.index.put::<Seals>(&seal, &row);
        }
        Ok(())
    }

    /// What was seen of a seal in another coding stands for it where too little is left of the one that the index knows: `has`
    /// says which segments are there.
    pub(super) fn settle(&mut self, has: &dyn Fn(SegmentId) -> bool) -> Result<(), IndexError> {
        // PA
        for (seal, other) in std::mem::take(&mut self.others) {
            let mut known = self.index.get::<Seals>(&seal)?;
            if let Some(known) = &mut known {
                known.slices.iter_mut().for_each(|slice| *slice = slice.filter(|slice| has(slice.segment)));
            }
            if !known.is_some_and(|known| known.has_enough()) {
                self.index.put::<Seals>(&seal, &other);
            }
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
                // Nobody has signed what epoch it is of: no keyring has more of them.
                let is_unknown = self.keys.is_some_and(|keys| keys.group_key(record.wrap.epoch).is_err());
                if is_unknown && self.unopened.len() < MAX_EPOCHS {
                    self.unopened.insert(record.wrap.epoch);
                }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::env::MemoryDisk;
    use crate::id::{EngineRng, Secret};
    use crate::seal::fixtures::{coding, sealed};
    use crate::seal::{Compression, SealedSlice, assemble, recode};
    use crate::store::index::IndexOptions;

    /// A seal in two codings: two data slices and one of parity, and three and one.
    fn codings() -> (SealId, [Vec<SealedSlice>; 2]) {
        let sealed = sealed(&Bytes::from(vec![5; 30_000]), Compression::Raw, coding("2+1"));
        let recoded = recode(&assemble(sealed.seal_id, sealed.slices.clone()).unwrap(), coding("3+1"));
        (sealed.seal_id, [sealed.slices, recoded])
    }

    /// What the index knows after a replay of slices, each by its coding, its index and the segment in which it stands; and
    /// some of those are gone.
    fn known_after(seen: &[(usize, usize, u64)], gone: &[u64]) -> (u8, Vec<Option<u64>>) {
        let (seal, codings) = codings();
        let options = IndexOptions { in_memory: true, ..IndexOptions::default() };
        let rng = &mut EngineRng::from_seed([1; 32]);
        let mut index = Index::create(&MemoryDisk::new(), options, &Secret::new([2; 32]), rng).unwrap();
        let mut replay = Replay::new(&mut index, None, Vec::new());
        for (coding, slice, segment) in seen {
            let place = Location { segment: SegmentId(*segment), offset: 8192, len: 100 };
            replay.slice(&codings[*coding][*slice].header, place).unwrap();
        }
        replay.settle(&|segment| !gone.contains(&segment.0)).unwrap();
        let row = index.get::<Seals>(&seal).unwrap().unwrap();
        (row.data, row.slices.iter().map(|slice| slice.map(|slice| slice.segment.0)).collect())
    }

    #[test]
    fn a_seal_that_was_coded_anew_is_known_in_the_new_coding() {
        let all = [(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 0, 4), (1, 1, 5), (1, 2, 6), (1, 3, 7)];
        assert_eq!(known_after(&all, &[]), (3, vec![Some(4), Some(5), Some(6), Some(7)]));
        // Also where one of them cannot be read.
        for lost in 3..7 {
            let mut left = all.to_vec();
            left.remove(lost);
            let (data, slices) = known_after(&left, &[]);
            assert_eq!((data, slices.iter().flatten().count()), (3, 3), "without {lost}");
        }
    }

    /// Found by refusing stretches of a log for a while: the new slices could not be read, and one of before was copied behind them.
    #[test]
    fn slices_of_a_former_coding_stand_for_no_seal_alone() {
        let new = [(1, 0, 4), (1, 1, 5), (1, 2, 6), (1, 3, 7)];
        let mut seen = vec![(0, 1, 2), (0, 2, 3)];
        seen.extend(new);
        seen.push((0, 0, 8));
        assert_eq!(known_after(&seen, &[]), (3, vec![Some(4), Some(5), Some(6), Some(7)]));
        // As many as it takes do.
        seen.push((0, 1, 9));
        assert_eq!(known_after(&seen, &[]), (2, vec![Some(8), Some(9), None]));
    }

    #[test]
    fn too_few_of_a_new_coding_stand_for_a_seal_only_where_the_former_is_gone() {
        let seen = [(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 0, 4), (1, 1, 5)];
        assert_eq!(known_after(&seen, &[]), (2, vec![Some(1), Some(2), Some(3)]));
        assert_eq!(known_after(&seen, &[2]), (2, vec![Some(1), Some(2), Some(3)]), "two of three are enough");
        assert_eq!(known_after(&seen, &[1, 2]), (3, vec![Some(4), Some(5), None, None]));
    }
}
