//! What a node holds in memory, for whoever checks that it is bounded (promise P9).

use super::Engine;
use crate::env::Disk;

/// What a node holds at once. Each figure says which of the [`Limits`](super::Limits) bounds it, and how; all of them cost
/// nothing to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Versions on their way in, and those that were given up while jobs still hold some of them: at most `uploads`.
    pub uploads: usize,
    /// Streams that failed and whose clients have not asked since: at most `uploads`, or 64.
    pub failed_streams: usize,
    /// Bytes of contents on their way in: `inflight_len`, beside what one request brings whole and, for each open stream, one
    /// piece and less than one chunk. None without uploads.
    pub contents_len: usize,
    /// Those of them that jobs hold of versions that were given up.
    pub given_up_len: usize,
    /// Bytes of sealed chunks that wait for their places: `window_len`, and what one step brings beyond it.
    pub window_len: usize,
    /// Bytes appended to the log since the last commit: `batch_len`, and what one turn brings beyond it.
    pub batch_len: u64,
    /// Bytes of bodies, and of pages of references, that were opened lately: `body_cache_len` each.
    pub cached_len: usize,
    /// Bytes of updates that wait for the index's file: `index_overlay_len`, and what one commit brings beyond it; more only
    /// while [`Self::refused`].
    pub rows_len: usize,
    /// The index's disk does not take them.
    pub refused: bool,
    /// How many bytes of them have come since it first did not: twice `index_overlay_len`, and what was under way.
    pub backlog_len: usize,
    /// Questions that are read for, or wait for that: at most `requests`.
    pub questions: usize,
    /// Bytes of contents on their way out: `inflight_len`.
    pub reads_len: usize,
    /// Seals that wait to be mended: at most 4,096.
    pub to_mend: usize,
    /// Places of the log that could not be read when the index was made: twice `damaged_places`, and one for each segment.
    pub unread_places: usize,
    /// Seals that are known to be lost: at most 4,096.
    pub lost_seals: usize,
    /// Records whose segments were repaired in vain: at most 4,096, and those of one repair more.
    pub hopeless: usize,
    /// Scopes whose keys were derived lately: at most 64.
    pub scopes: usize,
    /// Jobs given out and not yet done.
    pub jobs: usize,
    /// Outputs that the driver has not taken: none after its turn.
    pub outputs: usize,
}

impl<D: Disk> Engine<D> {
    /// What the node holds now.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            uploads: self.puts.uploads_held(),
            failed_streams: self.puts.failed_streams.len(),
            contents_len: self.puts.charged,
            given_up_len: self.puts.given_up_len(),
            window_len: self.window.len(),
            batch_len: self.batch.len,
            cached_len: self.reads.cached_len(),
            questions: self.questions.len(),
            reads_len: self.questions.charged(),
            rows_len: self.index.pending_bytes(),
            refused: self.index.is_refused(),
            backlog_len: self.index.backlog(),
            to_mend: self.upkeep.to_mend(),
            unread_places: self.heal.unseen.places(),
            lost_seals: self.heal.lost.len(),
            hopeless: self.heal.hopeless(),
            scopes: self.puts.scopes_held(),
            jobs: self.jobs.len(),
            outputs: self.outputs.len(),
        }
    }
}
