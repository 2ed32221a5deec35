//! The sweep at the beginning of a compaction: seals and pages that nothing refers to are collected, and what the index
//! says of chunks whose seals are gone is forgotten.

use crate::env::Disk;
use crate::id::SealId;
use crate::node::Engine;
use crate::node::purge::Orphans;
use crate::node::request::{CompactReport, Failure};
use crate::store::index::{ChunkKey, Chunks, Direction, RefPages, Seals};
use core::ops::Bound;
use std::collections::BTreeSet;

/// Rows looked at in one step.
const SWEEP_STEP: usize = 2048;

/// How far a sweep has come.
#[derive(Clone, Debug, Default)]
pub(super) enum Sweep {
    #[default]
    Start,
    After(SealId),
    /// The entries of chunks whose seals are gone: nothing that opens what was forgotten outlives it.
    Chunks(Option<ChunkKey>),
    Done,
}

impl Sweep {
    /// Where a sweep begins that nobody asked for: with what may be collected, or with what was.
    pub(super) const fn due(sweeps: bool, forgets: bool) -> Self {
        match (sweeps, forgets) {
            (true, _) => Self::Start,
            (false, true) => Self::Chunks(None),
            (false, false) => Self::Done,
        }
    }
}

impl<D: Disk> Engine<D> {
    /// Collects seals that nothing refers to, a few at a time; false once that is done.
    pub(super) fn sweep_step(&mut self, report: &mut CompactReport, swept: &mut Sweep) -> Result<bool, Failure> {
        // PA
        let from = match &*swept {
            Sweep::Done => return Ok(false),
            Sweep::Start => {
                // Nor would what is not committed be swept: the seals of an upload that failed, for instance.
                self.commit_for_upkeep()?;
                if self.references_are_hidden()? {
                    self.upkeep.put_off_sweep();
                    *swept = Sweep::Done;
                    return Ok(false);
                }
                self.sweep_pages(report)?;
                Bound::Unbounded
            }
            Sweep::After(seal) => Bound::Excluded(seal),
            Sweep::Chunks(last) => {
                if last.is_none() {
                    self.upkeep.begin_to_forget();
                }
                let next = self.sweep_chunks(*last)?;
                *swept = next.map_or(Sweep::Done, |last| Sweep::Chunks(Some(last)));
                if matches!(swept, Sweep::Done) {
                    self.upkeep.swept();
                }
                self.checkpoint_if_due(self.log.position());
                return Ok(true);
            }
        };
        let rows = self
            .index
            .range::<Seals>(from, Bound::Unbounded, Direction::Forward, self.rows_at_once(SWEEP_STEP))
            .map_err(|error| self.index_failure(error))?;
        let seals: Vec<SealId> = rows.into_iter().map(|(seal, _)| seal).collect();
        *swept = seals.last().map_or(Sweep::Chunks(None), |seal| Sweep::After(*seal));
        report.seals_collected += self.collect(Orphans { seals: seals.into_iter().collect(), ..Orphans::default() })?;
        // What is forgotten comes together in memory, and no commit may come.
        self.checkpoint_if_due(self.log.position());
        Ok(true)
    }

    /// Forgets some chunks whose seals are gone; returns the last that was looked at.
    fn sweep_chunks(&mut self, last: Option<ChunkKey>) -> Result<Option<ChunkKey>, Failure> {
        // PA
        let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self
            .index
            .range::<Chunks>(from, Bound::Unbounded, Direction::Forward, self.rows_at_once(SWEEP_STEP))
            .map_err(|error| self.index_failure(error))?;
        let last = rows.last().map(|(key, _)| *key);
        for (key, row) in rows {
            if self.seal_row(&row.seal_id)?.is_none() && !self.window.contains(&row.seal_id) {
                self.index.remove::<Chunks>(&key);
            }
        }
        Ok(last)
    }

    fn sweep_pages(&mut self, report: &mut CompactReport) -> Result<(), Failure> {
        // PA
        let mut pages = BTreeSet::new();
        self.index
            .scan::<RefPages>(Bound::Unbounded, Bound::Unbounded, Direction::Forward, &mut |page, _| {
                pages.insert(page);
                true
            })
            .map_err(|error| self.index_failure(error))?;
        report.seals_collected += self.collect(Orphans { pages, ..Orphans::default() })?;
        Ok(())
    }
}
