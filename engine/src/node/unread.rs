//! What the index has not seen: places of the log that could not be read when it was made. What they hold is not known.

use super::heal::repair;
use crate::env::Disk;
use crate::planted::{Bug, planted};
use crate::store::SegmentId;
use crate::store::log::{Damage, DamagedRange, Log, LogError, RecordKind, lost_whole};
use borsh::{BorshDeserialize, BorshSerialize};
use core::ops::ControlFlow;
use std::collections::BTreeMap;

/// A stretch of the log that could not be read when the index was made: what it holds is not known.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Unread {
    segment: SegmentId,
    from: u32,
    to: u32,
    what: String,
    may_hold: MayHold,
    /// A scrub has tried to heal it, and has named it as lost.
    given_up: bool,
    /// A scan of its segment could read it, for which the index was made anew, and that could not.
    #[borsh(skip)]
    contradicted: bool,
}

/// What may stand in such a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum MayHold {
    Anything,
    /// Nothing but a version, a deletion, or what belongs to one.
    Version,
    /// Nothing but a slice: no version is missed for it, nor what one refers to.
    Slice,
    /// Nothing but a commit, which may say of what the index was told of that it never was.
    Commit,
}

/// All that the index has not seen. Part of the checkpoint.
///
/// There is no end to what can be damaged, and there is one to what is remembered. Where there is more, all that lies behind
/// may hide something: no segment there goes, nothing in it is called harmless, nothing is collected, and every opening and every
/// scrub that repairs makes the index anew. That ends once so much is healed, or compacted away, that the rest can be named; a log of
/// which more than that stays lost is to be left, with all that can be read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Unseen {
    places: Vec<Unread>,
    /// In this segment and in those behind it there are more.
    untold: Option<SegmentId>,
}

/// What a scan of a segment says of the places in it that are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// None of them can be read.
    Same,
    /// There is one that can be, if only in part: the index lacks it.
    More,
    /// There is one that history cannot be read at, for all that. It is forged, or the disk gives it by chance.
    Contradicted,
}

impl Unseen {
    /// What an index was not told that was made, or brought up, by a look that found this damage.
    pub(super) fn of(damaged: &[DamagedRange], untold: Option<SegmentId>) -> Self {
        // PA
        let hidden = damaged.iter().filter(|range| range.what.hides());
        let places = hidden.map(|range| Unread::at(range, range.to_string())).collect();
        Self { places, untold: untold.filter(|_| !planted(Bug::UntoldForgotten)) }
    }

    /// How many places are remembered.
    pub(super) const fn places(&self) -> usize {
        self.places.len()
    }

    /// Adds what was found behind the checkpoint, as far as there is room for it: each opening may find some.
    pub(super) fn append(&mut self, behind: Self, limit: u32) {
        // PA
        let before = self.places.len();
        self.untold = self.untold.into_iter().chain(behind.untold).min();
        for place in behind.places {
            if before < limit as usize {
                self.places.push(place);
            } else {
                self.untold = Some(self.untold.map_or(place.segment, |first| first.min(place.segment)));
            }
        }
    }

    /// All that stands in a segment and behind it may be otherwise than the index says.
    pub(super) fn doubt_behind(&mut self, segment: SegmentId) {
        // PA
        self.untold = Some(self.untold.map_or(segment, |first| first.min(segment)));
    }

    /// Adds a segment of which nothing can be read, unless it is known.
    pub(super) fn add_whole(&mut self, segment: SegmentId, what: String) {
        let is_whole = |known: &Unread| known.segment == segment && known.from == 0 && known.to == u32::MAX;
        if !self.places.iter().any(is_whole) {
            self.places.push(Unread::at(&lost_whole(segment), what));
        }
    }

    /// The first that can be read now, if only in part: then the index lacks what stands there. A process that did not know this
    /// index may have healed it, or one that ended right after. A segment that is gone took its places along. What is not
    /// remembered may be readable any time.
    pub(super) fn readable_again<D: Disk>(&self, log: &Log<D>) -> Option<String> {
        // PA
        if let Some(first) = self.untold {
            return Some(untold(first));
        }
        let mut scans = BTreeMap::new();
        let readable = self.places.iter().find(|place| {
            let scan = scans
                .entry(place.segment)
                .or_insert_with(|| log.scan(place.segment, 0, &mut |_| ControlFlow::Continue(())));
            match scan {
                Ok(scan) => {
                    let mut covered = place.from;
                    for range in scan.damaged.iter().filter(|range| range.what.hides()) {
                        if range.from <= covered {
                            covered = covered.max(range.to);
                        }
                    }
                    covered < place.to
                }
                Err(LogError::NoSegment(segment)) => !log.absent().any(|absent| absent == *segment),
                Err(_) => false,
            }
        });
        readable.map(|place| place.what.clone())
    }

    /// Heals what can be healed of the places that no scrub has named as lost; returns what was.
    pub(super) fn repair<D: Disk>(&self, log: &mut Log<D>) -> Vec<DamagedRange> {
        // PA
        let range = |place: &Unread| DamagedRange {
            segment: place.segment,
            from: place.from,
            to: place.to,
            what: Damage::Unreadable,
        };
        let tried =
            self.places.iter().filter(|place| !place.given_up && !log.absent().any(|absent| absent == place.segment));
        let ranges: Vec<DamagedRange> = tried.map(range).collect();
        repair(log, &ranges)
    }

    /// Whether there may be something but slices that no scrub has named as lost, or anything at all.
    pub(super) fn hides_anything(&self, but_given_up: bool) -> bool {
        // PA
        let hides = |place: &Unread| place.may_hold != MayHold::Slice && !(but_given_up && place.given_up);
        self.untold.is_some() || self.places.iter().any(hides)
    }

    /// Whether a commit may be missing, in a segment or behind it: if it is read again, it may disown what is taken for history
    /// now, and what was alive before that is so again. What is not remembered is not asked about: nothing would ever go.
    pub(super) fn may_lack_commit_behind(&self, segment: SegmentId) -> bool {
        // PA
        let may = |place: &Unread| matches!(place.may_hold, MayHold::Anything | MayHold::Commit) && !place.given_up;
        self.places.iter().any(|place| segment <= place.segment && may(place))
    }

    /// Whether a segment may hold something that no scrub has named as lost.
    pub(super) fn may_lie_in(&self, segment: SegmentId) -> bool {
        // PA
        self.goes_untold(segment) || self.places.iter().any(|place| place.segment == segment && !place.given_up)
    }

    /// Whether places of a segment are not remembered.
    pub(super) fn goes_untold(&self, segment: SegmentId) -> bool {
        self.untold.is_some_and(|first| first <= segment)
    }

    /// Whether there are more places than are remembered.
    pub(super) const fn has_untold(&self) -> bool {
        self.untold.is_some()
    }

    /// A place, for people, in which a version or a deletion may stand: any, or one of which no scrub has said that it is lost.
    pub(super) fn a_place(&self, but_given_up: bool) -> Option<String> {
        // PA
        let may = |place: &Unread| matches!(place.may_hold, MayHold::Anything | MayHold::Version);
        let hides = |place: &&Unread| may(place) && !(but_given_up && place.given_up);
        let named = self.places.iter().find(hides).map(|place| place.what.clone());
        named.or_else(|| self.untold.map(untold))
    }

    /// What stands in this place cannot be had back: a scrub has tried, and says so. Whether that is a place that is remembered.
    pub(super) fn give_up(&mut self, range: &DamagedRange) -> bool {
        // PA
        let mut any = false;
        let overlaps =
            |place: &&mut Unread| place.segment == range.segment && place.from < range.to && range.from < place.to;
        for place in self.places.iter_mut().filter(overlaps) {
            place.given_up = true;
            any = true;
        }
        any
    }

    /// What stood in this place was no version and no deletion.
    pub(super) fn hides_nothing(&mut self, range: &DamagedRange) {
        // PA
        for place in self.places.iter_mut().filter(|place| place.segment == range.segment) {
            if range.from <= place.from {
                place.from = place.from.max(range.to.min(place.to));
            } else if place.to <= range.to {
                place.to = place.to.min(range.from.max(place.from));
            }
        }
        self.places.retain(|place| place.from < place.to);
    }

    /// Whether a place in a segment is remembered.
    pub(super) fn names_in(&self, segment: SegmentId) -> bool {
        self.places.iter().any(|place| place.segment == segment)
    }

    /// Holds the places of a segment against those that a scan of it found damaged.
    pub(super) fn hold_against(&mut self, segment: SegmentId, damaged: &[DamagedRange]) -> Sight {
        // PA
        let hidden = |place: &Unread| damaged.iter().any(|range| range.from <= place.from && place.to <= range.to);
        let mut sight = Sight::Same;
        for place in self.places.iter_mut().filter(|place| place.segment == segment && !hidden(place)) {
            // An index that is made anew for it again and again would be the only thing that ever happens.
            if !std::mem::replace(&mut place.contradicted, true) {
                sight = Sight::More;
            } else if sight == Sight::Same {
                sight = Sight::Contradicted;
            }
        }
        sight
    }

    /// What was read in two ways may be read in one by now.
    pub(super) fn look_anew(&mut self) {
        self.places.iter_mut().for_each(|place| place.contradicted = false);
    }

    /// What an index that was made anew did not see. What a scrub has named as lost is named still: nobody would look for it.
    pub(super) fn replace(&mut self, unseen: Self) {
        // PA
        let before = std::mem::replace(self, unseen);
        for place in &mut self.places {
            let holds = |old: &Unread| old.segment == place.segment && old.from <= place.from && place.to <= old.to;
            place.given_up |= before.places.iter().any(|old| old.given_up && holds(old));
            place.contradicted |= before.places.iter().any(|old| old.contradicted && holds(old));
        }
    }
}

impl Unread {
    fn at(range: &DamagedRange, what: String) -> Self {
        let may_hold = match range.what.kind() {
            Some(RecordKind::Slice) => MayHold::Slice,
            Some(RecordKind::Commit) => MayHold::Commit,
            Some(_) => MayHold::Version,
            None => MayHold::Anything,
        };
        Self {
            segment: range.segment,
            from: range.from,
            to: range.to,
            what,
            may_hold,
            given_up: false,
            contradicted: false,
        }
    }
}

/// What people are told of places that are not named.
pub(super) fn untold(first: SegmentId) -> String {
    format!("segment {first} or behind it, where more is damaged than is named one by one")
}

/// Whether what stood in a damaged place may have disowned what an index was told of since.
pub(super) fn may_disown(range: &DamagedRange) -> bool {
    // PA
    range.what.kind().map_or_else(|| range.what.hides(), |kind| kind == RecordKind::Commit)
}

#[cfg(test)]
mod tests {
    use super::{Sight, Unseen};
    use crate::store::SegmentId;
    use crate::store::log::{Damage, DamagedRange};

    fn at(segment: u64, from: u32) -> DamagedRange {
        DamagedRange { segment: SegmentId(segment), from, to: from + 100, what: Damage::Unknown }
    }

    #[test]
    fn what_is_not_remembered_may_lie_anywhere_behind() {
        let mut unseen = Unseen::of(&[at(1, 0), at(1, 200)], None);
        assert!(!unseen.may_lie_in(SegmentId(2)));
        unseen.append(Unseen::of(&[at(3, 0), at(4, 0)], None), 3);
        assert!(unseen.may_lie_in(SegmentId(4)) && !unseen.may_lie_in(SegmentId(5)), "there was room for the first");
        unseen.append(Unseen::of(&[at(6, 0), at(5, 0)], None), 3);
        assert!(!unseen.may_lie_in(SegmentId(2)) && unseen.may_lie_in(SegmentId(5)) && unseen.may_lie_in(SegmentId(9)));
        assert!(!unseen.names_in(SegmentId(5)), "there is no room left");

        for range in [at(1, 0), at(1, 200), at(3, 0), at(4, 0)] {
            assert!(unseen.give_up(&range));
        }
        assert!(!unseen.give_up(&at(5, 0)) && unseen.goes_untold(SegmentId(5)));
        assert!(!unseen.may_lie_in(SegmentId(4)) && unseen.hides_anything(true) && unseen.a_place(true).is_some());
        unseen.replace(Unseen::of(&[at(1, 0), at(5, 0)], None));
        assert!(
            !unseen.may_lie_in(SegmentId(1)) && unseen.may_lie_in(SegmentId(5)) && !unseen.may_lie_in(SegmentId(9))
        );
    }

    #[test]
    fn an_index_is_made_anew_once_for_what_is_read_in_two_ways() {
        let mut unseen = Unseen::of(&[at(1, 0), at(1, 200)], None);
        let segment = SegmentId(1);
        assert_eq!(unseen.hold_against(segment, &[at(1, 0), at(1, 200)]), Sight::Same);
        assert_eq!(unseen.hold_against(segment, &[at(1, 0)]), Sight::More);
        unseen.replace(Unseen::of(&[at(1, 0), at(1, 200)], None));
        assert_eq!(unseen.hold_against(segment, &[at(1, 0)]), Sight::Contradicted);
        assert_eq!(unseen.hold_against(segment, &[]), Sight::More, "of the other that was not said yet");
        unseen.look_anew();
        assert_eq!(unseen.hold_against(segment, &[at(1, 0)]), Sight::More);
    }
}
