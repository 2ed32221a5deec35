//! Whether what stands before the end of a log is as it was written, also with what parity restores: asked before anything goes
//! that says so, or that it could be restored from.

use super::commit::FoundCommit;
use super::inventory::Inventory;
use super::place::Point;
use super::tail::{either_look, examine};
use super::{DamagedRange, Log, LogError, RecordKind, RecordView, Segment, SegmentId};
use crate::env::{Disk, DiskFailure};
use core::ops::ControlFlow;

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
        either_look(|| match self.repair(end.segment) {
            Ok(report) => {
                // Behind the end, a crash may have done it: that is nothing to speak of.
                healed.extend(report.healed.into_iter().filter(|range| range.from < end.offset));
                // Of a slice it has looked at no more than the header.
                Ok(!report.lost.iter().chain(&report.refused).any(|range| hurts(range, end))
                    && self.holds(end, &|record| record.flags.is_spread())?)
            }
            Err(LogError::NoSegment(_)) => Ok(false),
            Err(LogError::Disk(error)) if error.failure != DiskFailure::Crashed => Ok(false),
            Err(error) => Err(error),
        })
    }

    /// Whether a segment's records before `end` are as they were written, slices with all they hold.
    pub(super) fn is_whole(&self, end: Point) -> Result<bool, LogError> {
        // PA
        self.holds(end, &|_| false)
    }

    /// Whether it holds them as they were written; of what is `spared`, what its header says.
    fn holds(&self, end: Point, spared: &dyn Fn(&RecordView<'_>) -> bool) -> Result<bool, LogError> {
        // PA
        either_look(|| {
            let mut verified = true;
            let scanned = self.scan(end.segment, 0, &mut |record| {
                let counts = record.location.offset < end.offset && !spared(&record);
                verified &= !counts || (self.verify)(record.kind, record.payload);
                ControlFlow::Continue(())
            });
            match scanned {
                Ok(scan) => Ok(verified && !scan.damaged.iter().any(|range| hurts(range, end))),
                Err(LogError::NoSegment(_)) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}

/// Whether damage is to records before `end`. Damage to parity heals nothing, and is left to be found.
fn hurts(range: &DamagedRange, end: Point) -> bool {
    range.from < end.offset && !range.what.kind().is_some_and(RecordKind::is_upkeep)
}
