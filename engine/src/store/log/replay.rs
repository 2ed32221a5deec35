//! Showing history, from the first record to the last commit.

use super::commit::FoundCommit;
use super::handles::Handles;
use super::inventory::Inventory;
use super::place::{Damage, Point};
use super::recovery::note_damage;
use super::scan::Item;
use super::tail::{deliver, walk};
use super::{DamagedRange, Log, LogError, LogPosition, RecordKind, RecordView, SegmentId};
use crate::env::Disk;
use crate::planted::{Bug, planted};
use std::collections::BTreeSet;

impl<D: Disk> Log<D> {
    /// Shows every content record up to the last commit to `visit`, as opening does, and returns what is damaged: for
    /// an index that is made anew while the log stays open. Nothing is written.
    ///
    /// # Errors
    /// Those of `visit`, and [`LogError::Disk`].
    pub fn replay(
        &self,
        visit: &mut dyn FnMut(RecordView<'_>) -> Result<(), LogError>,
    ) -> Result<Vec<DamagedRange>, LogError> {
        // PA
        let handles = Handles::new(self.disk.clone(), self.options.open_files as usize);
        let inventory = Inventory::take(&self.disk, &handles)?.ok_or(LogError::NoLog)?;
        // Of one that is to go, what was alive is committed elsewhere.
        let counts = |id| self.segments.contains_key(id) && !self.condemned.contains(id);
        let others = inventory.segments.keys().filter(|id| !counts(id)).copied().collect();
        let mut damaged = Vec::new();
        let all = (Point::default(), self.durable.end_point());
        replay(&inventory, &handles, all, &others, visit, &mut damaged, &mut |_| Ok(()))?;
        Ok(damaged)
    }
}

/// Shows history to `visit`, and returns the stretches of it that are dead.
///
/// Which stretches those are is said by the commits behind them; so nothing is shown before the next commit is seen. Where
/// one may be damaged its segment is mended first, by `mend`: what it has disowned would be taken for history.
pub(super) fn replay<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    (start, cut): (Point, Point),
    obsolete: &BTreeSet<SegmentId>,
    visit: &mut dyn FnMut(RecordView<'_>) -> Result<(), LogError>,
    damage: &mut Vec<DamagedRange>,
    mend: &mut dyn FnMut(SegmentId) -> Result<(), LogError>,
) -> Result<Vec<(Point, Point)>, LogError> {
    // PA
    let skip = |id| obsolete.contains(&id);
    let mut gaps = Vec::new();
    let mut cursor = start;
    let mut damaged = |range| note_damage(damage, range);
    let mut mended = BTreeSet::new();
    loop {
        let mut doubtful = None;
        let walked = walk(inventory, handles, cursor, cut, &skip, &mut |scanner, id, item| {
            let (offset, header) = match item {
                Item::Record(offset, header) if header.kind == RecordKind::Commit => (offset, header),
                Item::Record(..) => return Ok(()),
                Item::Damaged { .. } if mended.contains(&id) => return Ok(()),
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
                    range.what = Damage::Record(RecordKind::Commit);
                }
                damaged(range);
            })?;
            cursor = cursor.max(proven);
            if cursor < commit.first {
                // Between the end of one segment and the first record of the next there is nothing.
                if ends_segment(inventory, cursor).is_none_or(|next| commit.first.segment != next) {
                    gaps.push((cursor, commit.first));
                }
                cursor = commit.first;
            }
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
            return Ok(gaps);
        }
        mended.insert(id);
        mend(id)?;
    }
    deliver(inventory, handles, (cursor, cut), &skip, visit, &mut damaged)?;
    Ok(gaps)
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
