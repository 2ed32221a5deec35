//! Commit records: what a batch consists of, and what was durable before it.
//!
//! ```text
//! payload: canonical encoding of
//!    u8 version = 1
//!    u64 salt of the segment            so that a segment whose two headers are lost can still be read
//!    [32] store id
//!    u64, u32, u32 proven               segment, start and end of the last commit whose sync succeeded
//!    u64, u32 first                     segment and offset where the batch starts
//!    u64 records                        how many records the batch has, this one not counted
//!    u64 lasting                        how many of them could not be made again from the others
//!    [32] digest                        over the batch's record headers in order
//!    u64, u32, u32 segments             location of the latest Segments record
//!    u32 length, bytes                  the note
//!    u32 length, zeros                  so many that the record ends where a sector does
//! ```
//!
//! A commit ends at the end of a sector, so that no sector that holds anything durable is ever written again: what a
//! power failure makes of the sector under way (half of it, or noise) then costs nothing that was acknowledged.
//!
//! History is what lies before `proven`, and the batch from `first` on. What lies between the two was never
//! acknowledged, or was written anew in this batch: it is dead.

use super::place::Point;
use super::record::{HEADER_LEN, RecordHeader, RecordKind, record_len};
use super::{Location, LogPosition, StoreId};
use crate::codec::{Canonical, DecodeError, bounded};
use crate::id::{Domain, DomainHasher};
use crate::planted::{Bug, planted};
use borsh::{BorshDeserialize, BorshSerialize};

/// What a disk writes as a whole, or leaves in any state, in bytes.
pub(super) const SECTOR_LEN: u32 = 512;

/// Longest note of a commit, in bytes.
pub const MAX_NOTE_LEN: usize = 64 << 10;

/// Shortest record that a commit is, in bytes: without a note, and where it ends a sector without padding.
pub(super) const LEAST_COMMIT_LEN: u32 = 168;

const BATCH: Domain = Domain::new("ouroborosdb v1 log batch");

/// The payload of a commit record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Commit {
    pub(super) salt: u64,
    pub(super) store: StoreId,
    pub(super) proven: LogPosition,
    pub(super) first: Point,
    pub(super) records: u64,
    pub(super) lasting: u64,
    pub(super) digest: [u8; 32],
    pub(super) segments: Location,
    #[borsh(deserialize_with = "bounded::vec::<MAX_NOTE_LEN, _>")]
    pub(super) note: Vec<u8>,
    #[borsh(deserialize_with = "bounded::vec::<{ SECTOR_LEN as usize }, _>")]
    pub(super) padding: Vec<u8>,
}

impl Canonical for Commit {
    const WHAT: &'static str = "commit record";
    const MAX_LEN: usize = MAX_NOTE_LEN + 256 + SECTOR_LEN as usize;

    fn validate(&self) -> Result<(), DecodeError> {
        // PA
        if self.note.len() > MAX_NOTE_LEN {
            return Err(DecodeError::malformed(Self::WHAT, "note too long"));
        }
        if self.padding.len() >= SECTOR_LEN as usize || self.padding.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::malformed(Self::WHAT, "padding that is none"));
        }
        if self.proven.commit > self.proven.end || self.proven.end_point() > self.first {
            return Err(DecodeError::malformed(Self::WHAT, "the batch starts before what it builds on ends"));
        }
        Ok(())
    }
}

/// What the commit of a batch under way will cover.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Where its first record is; `None` while it has none.
    pub(super) first: Option<Point>,
    pub(super) records: u64,
    pub(super) lasting: u64,
    hasher: DomainHasher,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { first: None, records: 0, lasting: 0, hasher: BATCH.hasher() }
    }

    pub(super) fn add(&mut self, at: Point, kind: RecordKind, header: &[u8; HEADER_LEN]) {
        self.first.get_or_insert(at);
        self.records += 1;
        self.lasting += u64::from(!kind.is_upkeep());
        self.hasher.part(header);
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        self.hasher.finish()
    }

    /// Whether this is exactly the batch that `commit` covers.
    pub(super) fn matches(&self, commit: &Commit) -> bool {
        self.records == commit.records && self.lasting == commit.lasting && self.digest() == commit.digest
    }
}

impl Commit {
    /// Encodes the commit for a place in its segment, padded so that its record ends where a sector does.
    pub(super) fn encode_at(mut self, offset: u32) -> Vec<u8> {
        self.padding.clear();
        let end = u64::from(offset) + record_len(self.encode().len() as u32);
        let sector = if planted(Bug::CommitUnpadded) { 8 } else { u64::from(SECTOR_LEN) };
        self.padding.resize((end.next_multiple_of(sector) - end) as usize, 0);
        self.encode()
    }
}

/// A commit record that was found intact.
#[derive(Clone, Debug)]
pub(super) struct FoundCommit {
    pub(super) at: LogPosition,
    pub(super) commit: Commit,
}

/// See [`FoundCommit::unproven_from`]: of a commit that stands there, and says so much.
pub(super) const fn unproven_from(first: Point, lasting: u64, at: LogPosition) -> Point {
    // PA
    if lasting == 0 { at.end_point() } else { first }
}

impl FoundCommit {
    /// From where on what it commits may have been acknowledged and is not proven, unless something behind it says more.
    pub(super) fn unproven_from(&self) -> Point {
        unproven_from(self.commit.first, self.commit.lasting, self.at)
    }

    /// Reads the payload of a commit record at `at`; `None` if it is damaged, malformed or claims the impossible.
    pub(super) fn read(at: LogPosition, header: &RecordHeader, payload: &[u8]) -> Option<Self> {
        // PA
        if !header.checks(payload) {
            return None;
        }
        let commit = Commit::decode(payload).ok()?;
        (commit.first <= at.start_point()).then_some(Self { at, commit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::hostile;
    use crate::store::SegmentId;

    #[test]
    fn commits_that_no_log_writes_are_refused() {
        let at = |commit, end| LogPosition { segment: SegmentId(2), commit, end };
        let good = Commit {
            salt: 1,
            store: StoreId([3; 32]),
            proven: at(100, 200),
            first: Point { segment: SegmentId(2), offset: 200 },
            records: 1,
            lasting: 1,
            digest: [4; 32],
            segments: Location { segment: SegmentId(2), offset: 64, len: 8 },
            note: vec![5; MAX_NOTE_LEN],
            padding: vec![0; SECTOR_LEN as usize - 1],
        };
        let least = Commit { note: Vec::new(), padding: Vec::new(), ..good.clone() };
        assert_eq!(record_len(least.encode().len() as u32), u64::from(LEAST_COMMIT_LEN));
        hostile::has_one_spelling::<Commit>(&Commit { note: vec![5], ..good.clone() }.encode());
        assert_eq!(Commit::decode(&good.encode()).as_ref(), Ok(&good));
        hostile::is_refused(&Commit { note: vec![5; MAX_NOTE_LEN + 1], ..good.clone() });
        hostile::is_refused(&Commit { padding: vec![0; SECTOR_LEN as usize], ..good.clone() });
        hostile::is_refused(&Commit { padding: vec![1], ..good.clone() });
        hostile::is_refused(&Commit { proven: at(201, 200), ..good.clone() });
        hostile::is_refused(&Commit { proven: at(100, 201), ..good });
    }
}
