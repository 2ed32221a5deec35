//! Places of the log that could not be read when an index was made: what they hold is not known.

use super::heal::repair;
use crate::env::Disk;
use crate::store::SegmentId;
use crate::store::log::{Damage, DamagedRange, Log, LogError, RecordKind, lost_whole};
use borsh::{BorshDeserialize, BorshSerialize};
use core::ops::ControlFlow;
use std::collections::BTreeMap;

/// Places that are remembered as not readable; where there are more, the rest goes unnamed.
const UNREAD_LEN: usize = 256;

/// A stretch of the log that could not be read when the index was made: what it holds is not known.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Unread {
    pub(super) segment: SegmentId,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) what: String,
    /// A scrub has tried to heal it, and has named it as lost.
    pub(super) given_up: bool,
}

/// The places among `damaged` that may hide versions or deletions.
pub(super) fn unread(damaged: &[DamagedRange]) -> Vec<Unread> {
    damaged
        .iter()
        .filter(|range| hides(range))
        .map(|range| Unread::at(range, range.to_string()))
        .take(UNREAD_LEN)
        .collect()
}

/// The first of some places that could not be read when the index was made, and can be read now, if only in part: then
/// the index lacks what stands there. A segment that is gone took its places along.
pub(super) fn readable_again<'a, D: Disk>(log: &Log<D>, places: &'a [Unread]) -> Option<&'a Unread> {
    // PA
    let mut scans = BTreeMap::new();
    places.iter().find(|place| {
        let scan = scans
            .entry(place.segment)
            .or_insert_with(|| log.scan(place.segment, 0, &mut |_| ControlFlow::Continue(())));
        match scan {
            Ok(scan) => {
                let mut covered = place.from;
                for range in scan.damaged.iter().filter(|range| hides(range)) {
                    if range.from <= covered {
                        covered = covered.max(range.to);
                    }
                }
                covered < place.to
            }
            Err(LogError::NoSegment(segment)) => !log.absent().any(|absent| absent == *segment),
            Err(_) => false,
        }
    })
}

/// Heals what can be healed of the places that no scrub has named as lost; returns what was.
pub(super) fn repair_unread<D: Disk>(log: &mut Log<D>, places: &[Unread]) -> Vec<DamagedRange> {
    // PA
    let range = |place: &Unread| DamagedRange {
        segment: place.segment,
        from: place.from,
        to: place.to,
        what: Damage::Unreadable,
    };
    let tried = places.iter().filter(|place| !place.given_up && !log.absent().any(|absent| absent == place.segment));
    let ranges: Vec<DamagedRange> = tried.map(range).collect();
    repair(log, &ranges)
}

impl Unread {
    fn at(range: &DamagedRange, what: String) -> Self {
        Self { segment: range.segment, from: range.from, to: range.to, what, given_up: false }
    }

    /// All of a segment of which nothing can be read.
    pub(super) fn whole(segment: SegmentId, what: String) -> Self {
        Self::at(&lost_whole(segment), what)
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.from == 0 && self.to == u32::MAX
    }
}

impl core::fmt::Display for Unread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.what)
    }
}

/// Whether what stood in a damaged place may have disowned what an index was told of since.
pub(super) fn may_disown(range: &DamagedRange) -> bool {
    // PA
    range.what.kind().map_or_else(|| hides(range), |kind| kind == RecordKind::Commit)
}

/// Whether a damaged place may hide versions or deletions, or may be read after all.
fn hides(range: &DamagedRange) -> bool {
    // PA
    match range.what {
        Damage::SegmentHeader | Damage::Covered => false,
        Damage::Unknown | Damage::Unreadable => true,
        Damage::Record(kind) => kind.is_content() && kind != RecordKind::Slice,
        // Also a slice: the index lacks it, and what the disk refuses now it may give later. Or a commit: it may disown what the
        // index was told of.
        Damage::Refused(kind) => kind.is_content() || kind == RecordKind::Commit,
    }
}
