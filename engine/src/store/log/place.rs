//! Places in the log.

use super::SegmentId;
use super::commit::LEAST_COMMIT_LEN;
use super::record::record_len;
use crate::store::Location;
use borsh::{BorshDeserialize, BorshSerialize};

/// A durable point of the log: the commit record that made everything before it durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct LogPosition {
    /// The segment of the commit record.
    pub segment: SegmentId,
    /// Where the commit record starts, in bytes.
    pub commit: u32,
    /// Where it ends.
    pub end: u32,
}

impl LogPosition {
    pub(super) const fn start_point(self) -> Point {
        Point { segment: self.segment, offset: self.commit }
    }

    pub(super) const fn end_point(self) -> Point {
        Point { segment: self.segment, offset: self.end }
    }
}

impl core::fmt::Display for LogPosition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.commit)
    }
}

/// A byte's place in the history of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(super) struct Point {
    pub(super) segment: SegmentId,
    pub(super) offset: u32,
}

/// Bytes of a segment that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedRange {
    /// The segment.
    pub segment: SegmentId,
    /// First damaged byte.
    pub from: u32,
    /// One past the last.
    pub to: u32,
    /// What was lost.
    pub what: Damage,
}

impl DamagedRange {
    /// Whether they have a byte in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.segment == other.segment && self.from < other.to && other.from < self.to
    }

    /// Whether any byte of this record is in it.
    pub(crate) fn touches(&self, record: Location) -> bool {
        let end = u64::from(record.offset).saturating_add(record_len(record.len));
        self.segment == record.segment && record.offset < self.to && u64::from(self.from) < end
    }
}

impl core::fmt::Display for DamagedRange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { segment, from, to, what } = self;
        write!(f, "segment {segment} bytes {from}..{to}: ")?;
        match what {
            Damage::SegmentHeader => f.write_str("a copy of the segment header"),
            Damage::Unknown => f.write_str("no record is recognisable"),
            Damage::Record(kind) => write!(f, "a record of kind {kind:?}"),
            Damage::Refused(kind) => write!(f, "a record of kind {kind:?}, which the disk refuses to read"),
            Damage::Unreadable => f.write_str("the disk refuses to read"),
            Damage::Covered => f.write_str("under group parity"),
        }
    }
}

/// Damaged places, as a look at history comes upon them: so many that memory holds them are told one by one.
#[derive(Debug)]
pub(super) struct Damages {
    pub(super) told: Vec<DamagedRange>,
    /// The first segment in which something matters that is not among them.
    pub(super) untold: Option<SegmentId>,
    pub(super) limit: u32,
}

impl Damages {
    pub(super) const fn new(limit: u32) -> Self {
        Self { told: Vec::new(), untold: None, limit }
    }

    pub(super) fn note(&mut self, range: DamagedRange) {
        // PA
        if self.told.len() < self.limit as usize {
            self.told.push(range);
        } else if range.what.hides() && !matches!(range.what, Damage::Record(super::RecordKind::Slice)) {
            // Of slices that have merely rotted there may be many, which others make good.
            self.untold = Some(self.untold.map_or(range.segment, |first| first.min(range.segment)));
        }
    }

    /// What lies from `from` to `to` is known otherwise. Of a place that goes beyond, what may hold a commit is left.
    pub(super) fn forget(&mut self, from: Point, to: Point) {
        // PA
        let mut left = Vec::new();
        for range in self.told.drain(..) {
            let at = |offset| Point { segment: range.segment, offset };
            if at(range.to) <= from || to <= at(range.from) {
                left.push(range);
                continue;
            }
            let end = if from.segment == range.segment { from.offset } else { range.from };
            let start = if to.segment == range.segment { to.offset } else { range.to };
            for (from, to) in [(range.from, end), (start, range.to)] {
                if to.saturating_sub(from) >= LEAST_COMMIT_LEN {
                    left.push(DamagedRange { from, to, ..range });
                }
            }
        }
        self.told = left;
    }

    /// The same place may be come upon again.
    pub(super) fn note_once(&mut self, range: DamagedRange) {
        if !self.told.contains(&range) {
            self.note(range);
        }
    }
}

/// What a damaged range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// A copy of the segment header.
    SegmentHeader,
    /// Bytes between two intact record headers in which no record header was found: one record or more.
    Unknown,
    /// A record of this kind whose header is intact.
    Record(super::RecordKind),
    /// A record of this kind whose header is intact, and which the disk refuses to read.
    Refused(super::RecordKind),
    /// Bytes that the disk refuses to read: one record or more, or parts of one.
    Unreadable,
    /// Bytes that the group parity covers, found by [`Log::repair`](super::Log::repair).
    Covered,
}

impl Damage {
    /// The kind of the record that is damaged, if it is known.
    #[must_use]
    pub const fn kind(self) -> Option<super::RecordKind> {
        match self {
            Self::Record(kind) | Self::Refused(kind) => Some(kind),
            Self::SegmentHeader | Self::Unknown | Self::Unreadable | Self::Covered => None,
        }
    }

    /// Whether something may have stood there that an index is told of. Also a slice: what the disk refuses now it may give later,
    /// and what cannot be restored for that is restored then. Or a commit: it may disown what the index was told of.
    pub(crate) const fn hides(self) -> bool {
        // PA
        match self {
            Self::SegmentHeader | Self::Covered => false,
            Self::Unknown | Self::Unreadable => true,
            Self::Record(kind) | Self::Refused(kind) => kind.is_content() || matches!(kind, super::RecordKind::Commit),
        }
    }

    /// Whether the disk refused to read, and a later look may be granted.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RecordKind;
    use super::{Damage, DamagedRange, Damages, Point};
    use crate::store::SegmentId;

    #[test]
    fn of_more_places_than_there_is_room_for_the_first_segment_is_told_in_which_something_may_hide() {
        let at = |segment, from, what| DamagedRange { segment: SegmentId(segment), from, to: from + 100, what };
        let mut damages = Damages::new(2);
        for (segment, from) in [(1, 0), (2, 0)] {
            damages.note(at(segment, from, Damage::Unknown));
        }
        let told = damages.told.clone();
        assert_eq!((told.len(), damages.untold), (2, None));
        for what in [
            Damage::SegmentHeader,
            Damage::Record(RecordKind::Slice),
            Damage::Record(RecordKind::Parity),
            Damage::Refused(RecordKind::Footer),
        ] {
            damages.note(at(3, 0, what));
            assert_eq!(damages.untold, None, "{what:?}");
        }
        for (segment, what, first) in [
            (7, Damage::Record(RecordKind::Commit), 7),
            (8, Damage::Unreadable, 7),
            (6, Damage::Refused(RecordKind::Slice), 6),
            (5, Damage::Record(RecordKind::Tombstone), 5),
            (2, Damage::Unknown, 2),
        ] {
            damages.note(at(segment, 600, what));
            assert_eq!(damages.untold, Some(SegmentId(first)), "{what:?}");
        }
        assert_eq!(damages.told, told);
    }

    #[test]
    fn of_a_place_that_is_known_in_part_the_rest_is_left_if_a_commit_has_room_in_it() {
        let range =
            |segment, from, to| DamagedRange { segment: SegmentId(segment), from, to, what: Damage::Unreadable };
        let forgotten = |from: (u64, u32), to: (u64, u32)| {
            let mut damages = Damages::new(10);
            damages.note(range(2, 1000, 2000));
            let point = |(segment, offset)| Point { segment: SegmentId(segment), offset };
            damages.forget(point(from), point(to));
            damages.told
        };
        assert_eq!(forgotten((2, 0), (2, 1000)), [range(2, 1000, 2000)]);
        assert_eq!(forgotten((2, 2000), (3, 0)), [range(2, 1000, 2000)]);
        assert_eq!(forgotten((2, 0), (2, 1500)), [range(2, 1500, 2000)]);
        assert_eq!(forgotten((2, 1300), (2, 1600)), [range(2, 1000, 1300), range(2, 1600, 2000)]);
        assert!(forgotten((2, 1100), (2, 1950)).is_empty());
        assert!(forgotten((1, 5000), (3, 10)).is_empty());
    }
}
