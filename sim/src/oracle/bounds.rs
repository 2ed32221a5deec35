//! What a node holds, against its limits (P9). Asked after every turn of every node.

use super::{Broken, demand};
use ouroboros_engine::node::{Activity, Held, Limits};

/// Streams whose failure an engine remembers, where it may not have more than those on their way in.
const FAILED_LEN: usize = 64;

/// Bytes of contents that the clients of one round have under way, at most: six operations of five values of 40,000 B.
const CONTENTS_LEN: usize = 1_200_000;
/// Bytes of rows that one turn brings to the index, at most. Those of a sweep are most.
const ROWS_LEN: usize = 512 << 10;
/// Seals that may wait to be mended.
const MEND_LEN: usize = 4096;

/// Seals that are known to be lost.
const LOST_LEN: usize = 4096;
/// Records whose segments were repaired in vain, and those of one repair more.
const HOPELESS_LEN: usize = 4096 + 64;
/// Scopes whose keys are kept.
const SCOPES_LEN: usize = 64;
/// More segments than any world has.
const SEGMENTS: usize = 512;

/// Files that a node has open: those of the log that it reads, by default, and the index's and those that are written.
const HANDLES: usize = 32 + 4;

/// A node as it was between two turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) held: Held,
    pub(crate) doing: Activity,
}

impl Moment {
    /// Whether nothing is under way that may bring rows to the index.
    const fn is_quiet(&self) -> bool {
        let quiet = matches!(self.doing, Activity::Idle | Activity::Unsettled | Activity::Reading);
        quiet && self.held.uploads == 0 && self.held.batch_len == 0 && self.held.jobs == 0
    }

    /// Bytes of rows that waited when the index was first refused what is refused still.
    const fn refused_at(&self) -> usize {
        self.held.rows_len.saturating_sub(self.held.backlog_len)
    }
}

/// Holds what a node holds after a turn against what it may.
///
/// # Errors
/// P9, with the figure and its limit.
pub(crate) fn check(before: Moment, after: Moment, limits: &Limits) -> Result<(), Broken> {
    let held = after.held;
    let within = |what: &str, found: usize, limit: usize| {
        demand!(P9, found <= limit, "{what}: {found} are held, and {limit} may be");
        Ok(())
    };
    within("versions on their way in", held.uploads, limits.uploads)?;
    within("failed streams", held.failed_streams, limits.uploads.max(FAILED_LEN))?;
    within("bytes of contents", held.contents_len, if held.uploads == 0 { 0 } else { CONTENTS_LEN })?;
    // Who fills either empties it in the same turn.
    within("bytes of sealed chunks", held.window_len, limits.window_len.saturating_sub(1))?;
    let batch_len = usize::try_from(held.batch_len).unwrap_or(usize::MAX);
    within("bytes not committed", batch_len, (limits.batch_len as usize).saturating_sub(1))?;
    within("bytes of what was opened lately", held.cached_len, 2 * limits.body_cache_len)?;
    within("questions under way", held.questions, limits.requests.max(1))?;
    within("bytes on their way out", held.reads_len, limits.inflight_len)?;
    within("seals to mend", held.to_mend, MEND_LEN)?;
    within("outputs that nobody took", held.outputs, 0)?;
    within("places that could not be read", held.unread_places, 2 * limits.damaged_places as usize + SEGMENTS)?;
    within("seals that are lost", held.lost_seals, LOST_LEN)?;
    within("records that cannot be mended", held.hopeless, HOPELESS_LEN)?;
    within("scopes", held.scopes, SCOPES_LEN)?;
    if limits.index_in_memory {
        return Ok(());
    }
    let overlay = limits.index_overlay_len.max(1);
    if !held.refused {
        within("bytes of rows", held.rows_len, overlay + ROWS_LEN)?;
    }
    within("bytes of rows that the index does not take", held.backlog_len, 2 * overlay + ROWS_LEN)?;
    // Who is over the limit takes in nothing more, however little a turn brings, unless the index took what had waited, or
    // was made anew, and what waits now came together since.
    let same = before.refused_at() == after.refused_at();
    if same && before.held.backlog_len >= 2 * overlay && before.is_quiet() && after.is_quiet() {
        within("bytes of rows beyond their limit", held.backlog_len, before.held.backlog_len)?;
    }
    Ok(())
}

/// Holds the files that a node has open after a turn against how many it may have.
///
/// # Errors
/// P9, with their number.
pub(crate) fn check_handles(open: usize) -> Result<(), Broken> {
    demand!(P9, open <= HANDLES, "{open} files are open, and {HANDLES} may be");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_limit_and_a_full_backlog_takes_nothing_in() {
        let limits = Limits { index_overlay_len: 1000, uploads: 4, body_cache_len: 100, ..Limits::default() };
        let idle = |held| Moment { held, doing: Activity::Idle };
        let sound = Held { refused: true, backlog_len: 3000, rows_len: 9000, ..Held::default() };
        assert!(check(idle(sound), idle(sound), &limits).is_ok());
        for wrong in [
            Held { uploads: 5, ..sound },
            Held { failed_streams: FAILED_LEN + 1, ..sound },
            Held { contents_len: 1, ..sound },
            Held { window_len: 1 << 30, ..sound },
            Held { batch_len: 1 << 30, ..sound },
            Held { cached_len: 201, ..sound },
            Held { to_mend: 5000, ..sound },
            Held { questions: limits.requests + 1, ..sound },
            Held { reads_len: limits.inflight_len + 1, ..sound },
            Held { outputs: 1, ..sound },
            Held { unread_places: 10_000, ..sound },
            Held { lost_seals: LOST_LEN + 1, ..sound },
            Held { hopeless: 5000, ..sound },
            Held { scopes: 65, ..sound },
            Held { refused: false, backlog_len: 0, rows_len: 1 << 20, ..sound },
            Held { backlog_len: 1 << 20, ..sound },
            Held { rows_len: 9001, backlog_len: 3001, ..sound },
        ] {
            assert!(check(idle(sound), idle(wrong), &limits).is_err(), "{wrong:?}");
        }
        // What was admitted before the limit was reached may come.
        let admitted = idle(Held { uploads: 1, ..sound });
        assert!(check(admitted, idle(Held { rows_len: 9001, backlog_len: 3001, ..sound }), &limits).is_ok());
        // What had waited was taken, and more has come since.
        assert!(check(idle(sound), idle(Held { rows_len: 4000, backlog_len: 3100, ..sound }), &limits).is_ok());
    }
}
