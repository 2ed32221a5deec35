//! What waits for the index because its disk does not take it, bounded (promise P9).
//!
//! The log is the truth, and what is acknowledged is in it; the index's rows are in memory until a flush succeeds. While none
//! does, because the disk is full (P10) or fails, they would come together without end. So whoever brings new ones is
//! refused once as many more wait as usually do between two flushes: versions first, and what deletes or makes room at
//! twice that. Reading goes on. Each that would be refused tries the disk once more before, so that nothing else is needed
//! when there is space again.
//!
//! A file of which a sync has failed is never believed again (ATC'20), so no flush of it can succeed; nor can one that needs a
//! place at which the disk refuses every write. Another is made from the log in its place.

use super::Engine;
use super::heal::NOT_MADE_ANEW;
use super::request::Failure;
use crate::env::Disk;
use crate::planted::{Bug, planted};
use crate::store::log::LogPosition;

/// Who brings rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Versions on their way in.
    Versions,
    /// Deletions, and upkeep that moves what is there: what may be needed to make room.
    Upkeep,
}

impl Growth {
    /// How often [`Limits::index_overlay_len`](super::Limits::index_overlay_len) may wait beyond what the index was first
    /// refused.
    const fn share(self) -> usize {
        match self {
            Self::Versions => 1,
            Self::Upkeep => 2,
        }
    }
}

impl<D: Disk> Engine<D> {
    /// Refuses what the index could not take in: [`Failure::Full`], or [`Failure::Disk`] where its disk fails.
    pub(super) fn index_has_room(&mut self, growth: Growth) -> Result<(), Failure> {
        // PA
        if planted(Bug::BacklogUnbounded)
            || self.index.backlog() < growth.share().saturating_mul(self.limits.index_overlay_len).max(1)
        {
            return Ok(());
        }
        self.bring_index_up(self.log.position())
    }

    /// Brings the index's file up to the log, in another file if that one cannot be believed any more.
    pub(super) fn bring_index_up(&mut self, position: LogPosition) -> Result<(), Failure> {
        // PA
        if !self.index_is_sound() {
            // It may lack what the log has up to there.
            return Err(Failure::Index(NOT_MADE_ANEW.to_owned()));
        }
        let flushed = self.write_checkpoint_firmly(position);
        let is_unwritable = self.index.is_unwritable() && !planted(Bug::BadPlaceKept);
        let is_hopeless = self.index.is_unsynced() || is_unwritable;
        if flushed.is_ok() || !is_hopeless || planted(Bug::BacklogUnbounded) {
            return flushed;
        }
        // Reading goes on from the old one if that fails: its file may be gone, but it is open.
        self.index.give_up_file();
        self.rebuild_index().map_err(|failure| {
            tracing::warn!(%failure, "no index in place of one that cannot be written any more");
            self.index.put_off_flush();
            self.since_checkpoint = 0;
            match failure {
                Failure::Index(why) => Failure::Disk(why),
                failure => failure,
            }
        })
    }

    /// Brings the index's file up to the log. Where the disk refuses a write, that may be by chance: it is asked twice, and a place
    /// that can never be written is known by its second refusal.
    pub(super) fn write_checkpoint_firmly(&mut self, position: LogPosition) -> Result<(), Failure> {
        // PA
        self.index.forget_refused_writes();
        let flushed = self.write_checkpoint(position);
        if flushed.is_err() && self.index.is_refused_a_write() { self.write_checkpoint(position) } else { flushed }
    }
}
