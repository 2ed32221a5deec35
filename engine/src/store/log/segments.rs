//! Segments records: which segments make up the log.
//!
//! ```text
//! payload: canonical encoding of
//!    u8 version = 1
//!    the segment header's body without its version: [32] store id, u64 segment id, u64 salt, u32 length and bytes
//!                                        of the configuration
//!    u32 count, then as often u64 first, u64 last: runs of segment ids, rising
//! ```
//!
//! It also names segments whose files are missing, or cannot be read, when it is written: what it leaves out was removed.
//!
//! One is written at the start of every segment and at every removal; each commit names the latest. So a file that is
//! missing is told from one that was removed, a removal that a crash interrupted is finished, and a segment whose two
//! headers are lost gets them back.

use super::SegmentId;
use super::segment::SegmentHeader;
use crate::codec::{Canonical, DecodeError};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeSet;

/// The payload of a Segments record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Segments {
    pub(super) header: SegmentHeader,
    runs: Vec<(SegmentId, SegmentId)>,
}

impl Canonical for Segments {
    const WHAT: &'static str = "segments record";
    const MAX_LEN: usize = 16 << 20;

    fn validate(&self) -> Result<(), DecodeError> {
        self.header.validate()?;
        let rising = self.runs.iter().all(|(first, last)| first <= last)
            && self.runs.windows(2).all(|pair| pair[0].1.next() < pair[1].0);
        if rising { Ok(()) } else { Err(DecodeError::malformed(Self::WHAT, "runs are not in order")) }
    }
}

impl Segments {
    pub(super) fn new(header: SegmentHeader, live: impl IntoIterator<Item = SegmentId>) -> Self {
        let mut runs: Vec<(SegmentId, SegmentId)> = Vec::new();
        for id in live.into_iter().collect::<BTreeSet<_>>() {
            match runs.last_mut() {
                Some((_, last)) if last.next() == id => *last = id,
                _ => runs.push((id, id)),
            }
        }
        Self { header, runs }
    }

    pub(super) fn contains(&self, id: SegmentId) -> bool {
        self.runs.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// The listed segments that are not among `present`; `None` if those are more than `limit`.
    pub(super) fn missing(&self, present: &BTreeSet<SegmentId>, limit: usize) -> Option<Vec<SegmentId>> {
        let ids = self.runs.iter().flat_map(|(first, last)| first.0..=last.0).map(SegmentId);
        // A run of a billion ids in a forged record must not cost a billion steps.
        let missing: Vec<SegmentId> = ids.filter(|id| !present.contains(id)).take(limit.saturating_add(1)).collect();
        (missing.len() <= limit).then_some(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::log::StoreId;

    #[test]
    fn runs_hold_exactly_the_listed_segments() {
        let header = SegmentHeader { store: StoreId([1; 32]), segment: SegmentId(9), salt: 3, config: vec![1] };
        let live = [1, 2, 3, 7, 9, 10].map(SegmentId);
        let list = Segments::new(header, live);
        assert_eq!(Segments::decode(&list.encode()), Ok(list.clone()));
        assert_eq!(list.runs.len(), 3);
        for id in (0..12).map(SegmentId) {
            assert_eq!(list.contains(id), live.contains(&id), "{id}");
        }
        let present = [1, 3, 9].map(SegmentId).into();
        assert_eq!(list.missing(&present, 3), Some([2, 7, 10].map(SegmentId).to_vec()));
        assert_eq!(list.missing(&present, 2), None);
    }
}
