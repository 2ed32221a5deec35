//! Showing history, from the first record to the last commit.

use super::commit::FoundCommit;
use super::handles::Handles;
use super::inventory::{Inventory, Present};
use super::place::{Damage, Damages, Point};
use super::scan::Item;
use super::segment::FIRST_RECORD;
use super::tail::{deliver, walk};
use super::{DamagedRange, Log, LogError, LogPosition, RecordKind, RecordView, SegmentId};
use crate::env::{Disk, DiskFile};
use crate::planted::{Bug, planted};
use std::collections::{BTreeMap, BTreeSet};

impl<D: Disk> Log<D> {
    /// Shows every content record up to the last commit to `visit`, as opening does, and returns what is damaged and what is
    /// dead: for an index that is made anew while the log stays open. Nothing is written.
    ///
    /// # Errors
    /// Those of `visit`, and [`LogError::Disk`].
    pub fn replay(&self, visit: &mut dyn FnMut(RecordView<'_>) -> Result<(), LogError>) -> Result<Replayed, LogError> {
        // PA
        let handles = Handles::new(self.disk.clone(), self.options.open_files as usize);
        let mut damages = Damages::new(self.options.damaged_places);
        let mut whole: Vec<DamagedRange> = self.absent().map(lost_whole).collect();
        let mut segments = BTreeMap::new();
        // Of one that is to go, what was alive is committed elsewhere.
        for (&id, known) in self.segments.iter().filter(|(id, _)| !self.condemned.contains(id)) {
            let len = match handles.get(id).and_then(|file| Ok(file.len()?)) {
                Ok(len) => u32::try_from(len).unwrap_or(u32::MAX),
                Err(LogError::Disk(error)) if !error.failure.says_nothing() => {
                    whole.push(lost_whole(id));
                    continue;
                }
                Err(error) => return Err(error),
            };
            segments.insert(id, Present { binding: known.binding.clone(), len, damaged_headers: [false; 2] });
        }
        let inventory = Inventory {
            store: self.store,
            config: self.config.clone(),
            segments,
            stubs: Vec::new(),
            unreadable: BTreeMap::new(),
            highest: self.next_id,
        };
        let all = (Point::default(), self.durable.end_point());
        let Stretches { dead, .. } =
            replay(&inventory, &handles, all, &BTreeSet::new(), visit, &mut damages, &mut |_| Ok(()))?;
        let damaged = whole.into_iter().chain(damages.told).collect();
        Ok(Replayed { damaged, untold: damages.untold, dead_bytes: dead_bytes(&inventory, &dead) })
    }
}

/// What a look at all of history has found.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// What is not as it was written.
    pub damaged: Vec<DamagedRange>,
    /// Where that is not all: as in [`Recovery::untold`](super::Recovery::untold).
    pub untold: Option<SegmentId>,
    /// Bytes that batches which were given up have left, by the segment that they stand in.
    pub dead_bytes: BTreeMap<SegmentId, u64>,
}

/// How much of each segment lies in a gap.
pub(super) fn dead_bytes(inventory: &Inventory, gaps: &[(Point, Point)]) -> BTreeMap<SegmentId, u64> {
    let mut dead: BTreeMap<SegmentId, u64> = BTreeMap::new();
    for (from, to) in gaps.iter().filter(|(from, to)| from < to) {
        for (&id, present) in inventory.segments.range(from.segment..=to.segment) {
            let start = if id == from.segment { from.offset } else { FIRST_RECORD };
            let end = if id == to.segment { to.offset } else { present.len };
            *dead.entry(id).or_default() += u64::from(end.saturating_sub(start));
        }
    }
    dead.retain(|_, bytes| *bytes > 0);
    dead
}

/// All of a segment of which nothing can be read.
pub(crate) fn lost_whole(segment: SegmentId) -> DamagedRange {
    DamagedRange { segment, from: 0, to: u32::MAX, what: Damage::Unreadable }
}

/// Stretches of a log, from where to where, that are no history.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    /// What stands there is dead.
    pub(super) dead: Vec<(Point, Point)>,
    /// What lies between what a commit builds on and its batch: dead, or parity and a proof of which nobody knows whether they were
    /// ever durable.
    pub(super) disowned: Vec<(Point, Point)>,
}

/// Shows history to `visit`, and returns the stretches of it that are none.
///
/// Which stretches those are is said by the commits behind them; so nothing is shown before the next commit is seen. Where
/// one may be damaged its segment is mended first, by `mend`: what it has disowned would be taken for history.
pub(super) fn replay<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    (start, cut): (Point, Point),
    obsolete: &BTreeSet<SegmentId>,
    visit: &mut dyn FnMut(RecordView<'_>) -> Result<(), LogError>,
    damages: &mut Damages,
    mend: &mut dyn FnMut(SegmentId) -> Result<(), LogError>,
) -> Result<Stretches, LogError> {
    // PA
    let skip = |id| obsolete.contains(&id);
    let Stretches { dead: mut gaps, mut disowned } = Stretches::default();
    let mut cursor = start;
    let mut mended = BTreeSet::new();
    // Where a commit may stand that could not be read: what it disowns is shown. It may be read by the time that records are.
    let mut passed = Damages::new(damages.limit);
    let mut damaged = |passed: &mut Damages, range: DamagedRange| {
        let at = |offset| Point { segment: range.segment, offset };
        passed.forget(at(range.from), at(range.to));
        damages.note(range);
    };
    loop {
        let mut doubtful = None;
        let walked = walk(inventory, handles, cursor, cut, &skip, &mut |scanner, id, item| {
            let (offset, header) = match item {
                Item::Record(offset, header) if header.kind == RecordKind::Commit => (offset, header),
                Item::Record(..) => return Ok(()),
                Item::Damaged { from, to, refused } if mended.contains(&id) => {
                    let what = if refused.is_some() { Damage::Unreadable } else { Damage::Unknown };
                    passed.note_once(DamagedRange { segment: id, from, to, what });
                    return Ok(());
                }
                Item::Damaged { from, .. } => {
                    doubtful = Some(id);
                    return Err(LogError::Unstable { segment: id, offset: from });
                }
            };
            let at = LogPosition { segment: id, commit: offset, end: scanner.at() };
            let found =
                scanner.payload(offset, header.len)?.and_then(|payload| FoundCommit::read(at, &header, payload));
            let Some(FoundCommit { commit, .. }) = found else {
                if mended.contains(&id) {
                    let kind = RecordKind::Commit;
                    let refused = scanner.take_refusal().is_some();
                    let what = if refused { Damage::Refused(kind) } else { Damage::Record(kind) };
                    passed.note_once(DamagedRange { segment: id, from: at.commit, to: at.end, what });
                    return Ok(());
                }
                doubtful = Some(id);
                return Err(LogError::Unstable { segment: id, offset });
            };
            let proven = commit.proven.end_point();
            deliver(inventory, handles, (cursor, proven), &skip, visit, &mut |mut range| {
                // Where this one says that the one before stood, there was nothing else.
                let LogPosition { segment, commit, end } = commit.proven;
                if (range.segment, range.from, range.to) == (segment, commit, end) {
                    let kind = RecordKind::Commit;
                    range.what = if range.what.is_refusal() { Damage::Refused(kind) } else { Damage::Record(kind) };
                }
                damaged(&mut passed, range);
            })?;
            if proven < commit.first {
                disowned.push((proven, commit.first));
            }
            cursor = cursor.max(proven);
            if cursor < commit.first {
                // Between the end of one segment and the first record of the next there is nothing.
                if ends_segment(inventory, cursor).is_none_or(|next| commit.first.segment != next) {
                    gaps.push((cursor, commit.first));
                }
                cursor = commit.first;
            }
            // There is no other commit in a batch. One of nothing but parity is not shown.
            passed.forget(commit.first, at.start_point());
            if commit.lasting == 0 {
                cursor = cursor.max(at.start_point());
            }
            Ok(())
        });
        let Some(id) = doubtful else {
            walked?;
            break;
        };
        if planted(Bug::ReplayStopsAtDamage) {
            return Ok(Stretches { dead: gaps, disowned });
        }
        mended.insert(id);
        mend(id)?;
    }
    deliver(inventory, handles, (cursor, cut), &skip, visit, &mut |range| damaged(&mut passed, range))?;
    // What is dead disowns nothing.
    gaps.iter().for_each(|(from, to)| passed.forget(*from, *to));
    passed.told.into_iter().for_each(|range| damages.note(range));
    damages.untold = damages.untold.into_iter().chain(passed.untold).min();
    Ok(Stretches { dead: gaps, disowned })
}

/// The segment after the one that ends exactly at `point`.
fn ends_segment(inventory: &Inventory, point: Point) -> Option<SegmentId> {
    let present = inventory.segments.get(&point.segment)?;
    if present.len != point.offset {
        return None;
    }
    inventory.segments.range(point.segment.next()..).next().map(|(id, _)| *id)
}

/// Segments that lie wholly inside a gap.
pub(super) fn dead_between(inventory: &Inventory, gaps: &[(Point, Point)]) -> BTreeSet<SegmentId> {
    let inside = |id: &SegmentId| gaps.iter().any(|(from, to)| from.segment < *id && *id < to.segment);
    inventory.segments.keys().copied().filter(inside).collect()
}
