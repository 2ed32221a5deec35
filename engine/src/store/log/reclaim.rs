//! Giving back what a batch that did not fit has taken.

use super::active::Active;
use super::footer::Footer;
use super::parity::Cover;
use super::upkeep::take_up;
use super::{FIRST_RECORD, Log, LogError, SegmentId};
use crate::env::{Disk, DiskFile, OpenMode, Volume};
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
        let (first, mut gone) = (self.batch.first, BTreeSet::new());
        self.abandon();
        // Whether what a failed sync has left is durable, the next opening will know.
        if let (Some(first), None) = (first, &self.poisoned)
            && let Err(error) = self.take_back(first.segment, &mut gone)
        {
            tracing::debug!(%error, "a part of a batch that was given up stays until it is compacted");
        }
        gone
    }

    /// Takes back what follows the last commit, in this segment and in those after it.
    fn take_back(&mut self, first: SegmentId, gone: &mut BTreeSet<SegmentId>) -> Result<(), LogError> {
        // PA
        let holds_commit = self.durable.segment == first;
        let written_to = self.active.as_ref().is_some_and(|active| active.id == first);
        if !written_to {
            // No list that counts names them, and no commit stands in them.
            self.remove_from(if holds_commit { first.next() } else { first }, gone)?;
            if !holds_commit {
                return Ok(());
            }
        }
        let end = if holds_commit { self.durable.end } else { FIRST_RECORD };
        let Some(segment) = self.segments.get(&first).filter(|segment| segment.len > end) else { return Ok(()) };
        let file = match self.active.as_ref().filter(|_| written_to) {
            Some(active) => active.file.clone(),
            None => Arc::new(self.disk.open(Volume::Blocks, &first.file_name(), OpenMode::Write)?),
        };
        let mut kept = Active {
            id: first,
            file: file.clone(),
            binding: segment.binding.clone(),
            written: end,
            buffer: Vec::new(),
            footer: Footer::default(),
            cover: Cover::new(self.options.parity_group_len),
        };
        // Parity of what stays may be among what goes, so it is gathered anew.
        if !take_up(&mut kept, self.verify)?.intact {
            return Ok(());
        }
        if file.len()? > u64::from(end) {
            file.truncate(u64::from(end))?;
        }
        self.active = Some(kept);
        self.sealing = false;
        self.settled = false;
        self.proof_due = false;
        self.has_content = end > FIRST_RECORD;
        self.note_len(first, end);
        gone.insert(first);
        // Not even a crash may bring back a part of it among what is written there next.
        self.sync(&file)
    }

    /// Removes the files of segments from this one on, and knows after it that they stay away.
    fn remove_from(&mut self, first: SegmentId, gone: &mut BTreeSet<SegmentId>) -> Result<(), LogError> {
        // PA
        let ids: Vec<SegmentId> = self.segments.range(first..).map(|(id, _)| *id).collect();
        self.active = None;
        self.sealing = false;
        for id in ids.into_iter().rev() {
            self.disk.remove(Volume::Blocks, &id.file_name())?;
            self.directory_dirty = true;
            self.segments.remove(&id);
            self.unsealed.remove(&id);
            self.handles.forget(id);
            gone.insert(id);
        }
        if self.directory_dirty {
            self.disk.sync_directory(Volume::Blocks).map_err(|error| self.poison(error))?;
            self.directory_dirty = false;
        }
        Ok(())
    }
}
