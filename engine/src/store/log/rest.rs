//! How a log comes to rest: parity over all that was committed, and a proof behind it that the last batch was durable.

use super::active::Active;
use super::writer::is_full;
use super::{FIRST_RECORD, Log, LogError, LogPosition, SegmentId};
use crate::env::Disk;
use core::cmp::Ordering;

/// What stands at the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing proves the last commit.
    Unproven,
    /// Parity was written between two batches, and is the batch under way; its proof was not. Nothing else may stand where
    /// that is looked for.
    Owed,
    /// This commit is the proof of all before it, covered by parity. The log rests while nothing stands behind it, and rests
    /// again once what came to stand there was taken back.
    Proven(LogPosition),
}

impl<D: Disk> Log<D> {
    /// Commits, writes parity, and leaves proof on disk that the commit was durable, so that the next open has nothing
    /// in doubt. Worth calling when idle: until then, rot in the very last batch is taken for a write that a crash tore.
    ///
    /// # Errors
    /// Those of [`Self::commit`].
    pub fn settle(&mut self) -> Result<LogPosition, LogError> {
        // PA
        self.writable()?;
        self.prove()?;
        if let Some(active) = self.active.as_mut().filter(|active| active.is_uncut()) {
            active.cut()?;
        }
        if !self.is_settled() {
            // The list that a fresh segment begins with, and its commit, need parity before their proof.
            self.ensure_active()?;
            let note = self.note.clone();
            // And parity behind a proof would not be known for what it is, where the next proof cannot be read.
            if self.batch.records > 0 || self.list_outdated || self.leaves_dead_records() || self.ends_with_proof {
                self.commit(&note)?;
            }
            // The parity covers the commit, keeps the proof out of its sector, and costs nothing if the proof is lost.
            let Some(before) = self.mark() else { unreachable!("just ensured") };
            self.flush_parity()?;
            self.rest = Rest::Owed;
            if let Err(error) = self.commit(&note) {
                // What comes next may be the deletion that makes room, and must not have to find room behind this.
                if is_full(&error) {
                    self.return_to(before);
                    self.rest = Rest::Unproven;
                }
                return Err(error);
            }
        }
        self.seal_unsealed()?;
        Ok(self.durable)
    }

    /// Whether all that was appended is covered by parity, what was committed is proven, and no file is kept only because a
    /// list names it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        // PA
        // Parity of nothing but a proof stands before a footer or not at all: where it cannot be read, it would not be known
        // for a proof (see `unread_end`).
        self.rest == Rest::Proven(self.durable) && self.batch.records == 0 && self.ends_there() && !self.list_outdated
    }

    /// Whether nothing stands behind the last commit.
    fn ends_there(&self) -> bool {
        // PA
        let ends_there = |active: &Active<D::File>| {
            (active.id, active.end()) == (self.durable.segment, self.durable.end)
                && !active.is_sealed()
                && !active.is_uncut()
        };
        self.active.as_ref().is_none_or(ends_there)
    }

    /// Whether anything was appended and is not committed, but for the parity that waits for its proof.
    #[must_use]
    pub fn has_batch(&self) -> bool {
        self.batch.records > 0 && self.rest != Rest::Owed
    }

    /// Whether a power failure while something is written over in a segment may take what was committed beside it: for the
    /// last commit there is no proof.
    #[must_use]
    pub fn may_be_torn_in(&self, segment: SegmentId) -> bool {
        // PA
        (self.durable_from.segment..=self.durable.segment).contains(&segment) && self.rest != Rest::Proven(self.durable)
    }

    /// From where on in a segment nothing is proven: what is made zeros there may have been acknowledged, and would be taken
    /// for a write that a crash tore.
    pub(super) fn unproven_from(&self, segment: SegmentId) -> u32 {
        // PA
        let proven = self.rest == Rest::Proven(self.durable);
        let from = if proven { self.durable.end_point() } else { self.durable_from };
        match segment.cmp(&from.segment) {
            Ordering::Less => u32::MAX,
            Ordering::Equal => from.offset,
            Ordering::Greater => 0,
        }
    }

    /// Sees to it that parity covers all that was appended. What of it belongs to a batch under way is durable with
    /// that; between batches the log settles.
    ///
    /// # Errors
    /// Those of [`Self::commit`]; the call may be repeated after a [`LogError::Disk`].
    pub fn cover(&mut self) -> Result<(), LogError> {
        // What follows parity that is written between two batches must be its proof: by that it is known when it is
        // unreadable. Where no segment is written to, the last one may still lack its parity: that begins another, and is left
        // to whoever lets the log rest.
        if (self.batch.records == 0 || self.rest == Rest::Owed) && self.active.is_some() {
            self.settle().map(|_| ())
        } else {
            self.flush_parity()
        }
    }

    /// Writes the proof that the disk had refused to take from [`Self::settle`], though not for want of room.
    pub(super) fn prove(&mut self) -> Result<(), LogError> {
        if self.rest == Rest::Owed {
            let note = self.note.clone();
            self.commit(&note)?;
        }
        Ok(())
    }

    /// Whether a batch that was given up has left records at the end. They are disowned before the parity that stands behind
    /// them too: where the proof cannot be read, nothing else may be thought to have stood there.
    fn leaves_dead_records(&self) -> bool {
        // PA
        let durable = |id| if self.durable.segment == id { self.durable.end } else { FIRST_RECORD };
        self.batch.records == 0 && self.active.as_ref().is_some_and(|active| active.end() > durable(active.id))
    }
}
