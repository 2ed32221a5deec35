//! Whether what stands before the end of a log is as it was written, also with what parity restores: asked before anything goes
//! that says so, or that it could be restored from.

use super::commit::FoundCommit;
use super::inventory::Inventory;
use super::place::Point;
use super::reader::{Shown, show};
use super::scan::{Item, Scanner};
use super::tail::{either_look, examine};
use super::{DamagedRange, FIRST_RECORD, Log, LogError, RecordKind, Segment, SegmentId};
use crate::env::{Disk, DiskFailure};

impl<D: Disk> Log<D> {
    /// Restores what parity can restore in the segments in which a batch began before that of its commit. Whether the batch is
    /// whole then.
    pub(super) fn heal_batch(
        &mut self,
        inventory: &Inventory,
        last: &FoundCommit,
        healed: &mut Vec<DamagedRange>,
    ) -> Result<bool, LogError> {
        // PA
        for (&segment, present) in inventory.segments.range(last.commit.first.segment..last.at.segment) {
            self.heal_before(inventory, Point { segment, offset: present.len }, healed)?;
        }
        match examine(inventory, &self.handles, last, &self.verify) {
            Ok(state) => Ok(state.whole),
            Err(LogError::Disk(error)) if error.failure != DiskFailure::Crashed => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// [`Self::heal`], of a segment that may not be one of the log's yet, with all that stands in its file.
    pub(super) fn heal_before(
        &mut self,
        inventory: &Inventory,
        end: Point,
        healed: &mut Vec<DamagedRange>,
    ) -> Result<bool, LogError> {
        // PA
        self.with_all_of(inventory, end.segment, |log| log.heal(end, healed))
    }

    /// Restores what can be restored of a segment that may not be one of the log's yet, parity too. What cannot be is left.
    ///
    /// # Errors
    /// [`LogError`] when the machine is gone or a sync failed.
    pub(super) fn mend_upkeep(
        &mut self,
        inventory: &Inventory,
        segment: SegmentId,
        healed: &mut Vec<DamagedRange>,
    ) -> Result<(), LogError> {
        // PA
        let end = Point { segment, offset: u32::MAX };
        self.with_all_of(inventory, segment, |log| log.restore_before(end, healed).map(|_| true)).map(drop)
    }

    /// [`Self::is_whole`], of a segment that may not be one of the log's yet.
    pub(super) fn is_whole_before(&mut self, inventory: &Inventory, end: Point) -> Result<bool, LogError> {
        // PA
        self.with_all_of(inventory, end.segment, |log| log.is_whole(end))
    }

    /// Asks something of a segment as if all that stands in its file were the log's; of one that has no file it is not so.
    fn with_all_of(
        &mut self,
        inventory: &Inventory,
        id: SegmentId,
        ask: impl FnOnce(&mut Self) -> Result<bool, LogError>,
    ) -> Result<bool, LogError> {
        let Some(present) = inventory.segments.get(&id) else { return Ok(false) };
        let whole = Segment { binding: present.binding.clone(), len: present.len };
        let known = self.segments.insert(id, whole);
        let answer = ask(self);
        match known {
            Some(known) => self.segments.insert(id, known),
            None => self.segments.remove(&id),
        };
        answer
    }

    /// Restores what parity can restore of a segment's records before `end`. Whether all of them are as they were written.
    ///
    /// # Errors
    /// [`LogError`] when the machine is gone or a sync failed; where the disk merely refuses, it is not.
    fn heal(&mut self, end: Point, healed: &mut Vec<DamagedRange>) -> Result<bool, LogError> {
        // PA
        if self.is_whole(end)? {
            return Ok(true);
        }
        either_look(|| Ok(self.restore_before(end, healed)? && self.is_whole(end)?))
    }

    /// Repairs a segment. Whether nothing that stands before `end` was left as it is because the disk refused.
    fn restore_before(&mut self, end: Point, healed: &mut Vec<DamagedRange>) -> Result<bool, LogError> {
        // PA
        match self.repair(end.segment) {
            Ok(report) => {
                // Behind the end, a crash may have done it: that is nothing to speak of.
                healed.extend(report.healed.into_iter().filter(|range| range.from < end.offset));
                Ok(!report.refused.iter().any(|range| hurts(range, end)))
            }
            Err(LogError::NoSegment(_)) => Ok(false),
            Err(LogError::Disk(error)) if error.failure != DiskFailure::Crashed => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a segment's records before `end` are as they were written; of a slice that only its siblings make good, what
    /// parity covers.
    pub(super) fn is_whole(&self, end: Point) -> Result<bool, LogError> {
        // PA
        either_look(|| {
            let Some(known) = self.segments.get(&end.segment) else { return Ok(false) };
            let (file, len) = self.file_for_reading(end.segment, known.len)?;
            let mut scanner = Scanner::new(&*file, &known.binding, FIRST_RECORD, len);
            while let Some(item) = scanner.next()? {
                let is_spread = matches!(&item, Item::Record(_, header) if header.flags.is_spread());
                match show(&mut scanner, end.segment, item, !is_spread)? {
                    Shown::Record(view)
                        if is_spread || view.location.offset >= end.offset || !view.kind.is_content() => {}
                    Shown::Record(view) if (self.verify)(view.kind, view.payload) => {}
                    Shown::Damaged(range) if !hurts(&range, end) => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        })
    }
}

/// Whether damage is to records before `end`. Damage to parity heals nothing, and is left to be found.
fn hurts(range: &DamagedRange, end: Point) -> bool {
    range.from < end.offset && !range.what.kind().is_some_and(RecordKind::is_upkeep)
}
