//! Giving back what a batch that did not fit has taken.

use super::active::Active;
use super::place::Point;
use super::rest::Rest;
use super::upkeep::take_up;
use super::{Log, LogError, LogPosition, SegmentId};
use crate::env::{Disk, DiskFailure, DiskFile, OpenMode, Volume};
use std::collections::BTreeSet;
use std::sync::Arc;

impl<D: Disk> Log<D> {
    /// [`Self::abandon`] on a disk that is full: what comes next may be the deletion that makes room, and must not have to
    /// find room behind dead weight. So the batch is cut off where it began, as far as the disk lets it, and the segments
    /// that it had begun are removed.
    ///
    /// Says of which segments it is gone.
    pub fn reclaim(&mut self) -> BTreeSet<SegmentId> {
        // PA
        // Also what an earlier batch has left there.
        let end = self.active.as_ref().map(|active| Point { segment: active.id, offset: active.end() });
        let left = end.filter(|end| *end > self.durable.end_point()).map(|end| end.segment);
        let (first, mut gone) = (self.batch.first.map(|first| first.segment).or(left), BTreeSet::new());
        let owed = (self.rest == Rest::Owed).then(|| self.batch.clone());
        if owed.is_some() {
            self.rest = Rest::Unproven;
        }
        self.abandon();
        // Whether what a failed sync has left is durable, the next opening will know.
        if let (Some(first), None) = (first, &self.poisoned)
            && let Err(error) = self.take_back(first, owed.is_some(), &mut gone)
        {
            tracing::debug!(%error, "a part of a batch that was given up stays until it is compacted");
            self.rest = Rest::Unproven;
        }
        // Parity that stays right behind a commit goes on waiting for its proof: nothing else may follow it.
        let stays = self.active.as_ref().is_some_and(|active| active.id == self.durable.segment);
        if let Some(parity) = owed.filter(|_| stays && !gone.contains(&self.durable.segment)) {
            (self.batch, self.rest) = (parity, Rest::Owed);
        }
        gone
    }

    /// Takes back what follows the last commit, in this segment and in those after it; `owed` says that it is parity alone.
    fn take_back(&mut self, first: SegmentId, owed: bool, gone: &mut BTreeSet<SegmentId>) -> Result<(), LogError> {
        // PA
        let LogPosition { segment: last, end, .. } = self.durable;
        let begun = if first == last { first.next() } else { first };
        // No list that counts names them, and no commit stands in them.
        if self.segments.range(begun..).next().is_some() && !self.remove_from(begun, gone)? {
            return Ok(());
        }
        if first != last || self.segments.get(&last).is_none_or(|segment| segment.len <= end) {
            return Ok(());
        }
        let Some(mut kept) = self.up_to_last_commit()? else {
            // What is damaged may be waiting for the parity that is to go.
            if !owed {
                self.set_aside();
            }
            return Ok(());
        };
        if let Err(error) = kept.cut() {
            match kept.file.len() {
                // It was done all the same.
                Ok(len) if len <= u64::from(end) => {}
                Ok(_) => return Err(error),
                // What stands there nobody knows.
                Err(_) => {
                    self.set_aside();
                    return Ok(());
                }
            }
        }
        let file = kept.file.clone();
        self.active = Some(kept);
        self.has_content = true;
        self.note_len(last, end);
        gone.insert(last);
        // Not even a crash may bring back a part of it among what is written there next.
        self.sync(&file)
    }

    /// The segment of the last commit, to be written to behind that; none if it is damaged. Parity of what stays may be among
    /// what goes, so it is gathered anew.
    fn up_to_last_commit(&mut self) -> Result<Option<Active<D::File>>, LogError> {
        // PA
        let last = self.durable;
        for attempt in 0..2 {
            let Some(segment) = self.segments.get(&last.segment) else { return Ok(None) };
            let file = match self.active.as_ref().filter(|active| active.id == last.segment) {
                Some(active) => active.file.clone(),
                None => Arc::new(self.disk.open(Volume::Blocks, &last.segment.file_name(), OpenMode::Write)?),
            };
            let binding = segment.binding.clone();
            let group_len = self.options.parity_group_len;
            let fresh = || Active::new(last.segment, file.clone(), binding.clone(), last.end, group_len);
            let (kept, taken_up) = take_up(fresh, self.verify)?;
            if taken_up.intact {
                return Ok(Some(kept));
            }
            if attempt == 0 {
                self.repair(last.segment)?;
            }
        }
        Ok(None)
    }

    /// Writes no more to the segment under way: what of it is not written yet is given up, or would have to be written first.
    fn set_aside(&mut self) {
        // PA
        self.rest = Rest::Unproven;
        if let Some(active) = self.active.take() {
            self.note_len(active.id, active.written);
            self.unsealed.insert(active.id);
        }
    }

    /// Removes the files of segments from this one on. Whether all of them are gone, and stay away.
    fn remove_from(&mut self, first: SegmentId, gone: &mut BTreeSet<SegmentId>) -> Result<bool, LogError> {
        // PA
        if self.active.as_ref().is_some_and(|active| active.id >= first) {
            self.active = None;
        }
        let ids: Vec<SegmentId> = self.segments.range(first..).map(|(id, _)| *id).collect();
        let mut all = true;
        for id in ids {
            self.directory_dirty = true;
            self.segments.remove(&id);
            self.unsealed.remove(&id);
            self.handles.forget(id);
            gone.insert(id);
            if let Err(error) = self.disk.remove(Volume::Blocks, &id.file_name())
                && error.failure != DiskFailure::NotFound
            {
                // It is in no list, and goes with the next commit.
                self.condemned.insert(id);
                self.rest = Rest::Unproven;
                all = false;
            }
        }
        if self.directory_dirty {
            self.disk.sync_directory(Volume::Blocks).map_err(|error| self.poison(error))?;
            self.directory_dirty = false;
        }
        Ok(all)
    }
}
