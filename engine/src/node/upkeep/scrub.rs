//! Scrubbing: everything is read again and hashed again; what is rotten is healed, and what is lost is named.

use super::seals::Walk;
use crate::env::Disk;
use crate::id::BlobId;
use crate::node::Engine;
use crate::node::request::{Damage, DamageOutcome, Failure, ScrubReport};
use crate::store::SegmentId;
use crate::store::index::{Blobs, Direction};
use core::ops::{Bound, ControlFlow};
use std::collections::VecDeque;

/// Versions checked in one step.
const VERSIONS_STEP: usize = 256;

/// How far a scrub has come.
#[derive(Debug, Default)]
pub(in crate::node) enum Stage {
    #[default]
    Start,
    /// The log's own structures, segment by segment.
    Segments(VecDeque<SegmentId>),
    /// All slices of all seals.
    Seals(Walk),
    /// The records of all versions.
    Versions(Option<BlobId>),
}

impl<D: Disk> Engine<D> {
    pub(super) fn scrub_step(
        &mut self,
        repair: bool,
        report: &mut ScrubReport,
        stage: &mut Stage,
    ) -> Result<bool, Failure> {
        // PA
        match stage {
            Stage::Start => {
                // What waits in buffers is written first, so that all there is can be read back.
                self.commit_for_upkeep()?;
                if repair {
                    self.log.flush_parity().map_err(|error| self.log_failure(error))?;
                    self.commit_for_upkeep()?;
                }
                *stage = Stage::Segments(self.log.segments().iter().map(|segment| segment.id).collect());
            }
            Stage::Segments(segments) => match segments.pop_front() {
                Some(segment) => self.scrub_segment(segment, repair, report)?,
                None => *stage = Stage::Seals(Walk::default()),
            },
            Stage::Seals(walk) => {
                if !self.mend_step(walk, repair)? {
                    *stage = Stage::Versions(None);
                }
            }
            Stage::Versions(last) => return self.scrub_versions(last, report),
        }
        Ok(true)
    }

    fn scrub_segment(&mut self, segment: SegmentId, repair: bool, report: &mut ScrubReport) -> Result<(), Failure> {
        // PA
        let check = |engine: &mut Self| {
            let mut records = 0;
            let mut bytes = 0;
            let scanned = engine.log.scan(segment, 0, &mut |record| {
                records += 1;
                bytes += record.payload.len() as u64;
                ControlFlow::Continue(())
            });
            scanned.map(|scan| (scan.damaged, records, bytes)).map_err(|error| engine.log_failure(error))
        };
        let (damaged, records, bytes) = check(self)?;
        report.records += records;
        report.bytes += bytes;
        if damaged.is_empty() && !repair {
            return Ok(());
        }
        let mut healed = Vec::new();
        if repair {
            let repaired = self.log.repair(segment).map_err(|error| self.log_failure(error))?;
            healed.extend(repaired.healed.iter().map(ToString::to_string));
        }
        let left = if repair { check(self)?.0 } else { damaged.clone() };
        let mut places: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        places.extend(healed.into_iter().filter(|place| !damaged.iter().any(|range| range.to_string() == *place)));
        for place in places {
            let still = left.iter().any(|range| range.to_string() == place);
            let outcome = match (repair, still) {
                (true, false) => DamageOutcome::Healed,
                // A seal's own parity, or the list of versions below, has the last word on these.
                _ => DamageOutcome::Healable,
            };
            report.damage.push(Damage { place, outcome });
        }
        Ok(())
    }

    fn scrub_versions(&mut self, last: &mut Option<BlobId>, report: &mut ScrubReport) -> Result<bool, Failure> {
        // PA
        let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self
            .index
            .range::<Blobs>(from, Bound::Unbounded, Direction::Forward, VERSIONS_STEP)
            .map_err(|error| self.index_failure(error))?;
        let Some((newest, _)) = rows.last() else { return Ok(false) };
        *last = Some(*newest);
        for (id, row) in rows {
            if row.purged {
                continue;
            }
            let whole = self.read_blob(id).and_then(|record| {
                for seal in &record.header.header().seals {
                    // The seals themselves were checked before; here it is asked whether they are there at all.
                    self.fetch(seal, false)?;
                }
                Ok(())
            });
            if let Err(failure) = whole {
                report.lost.push(id);
                let place = format!("version {id}: {failure}");
                report.damage.push(Damage { place, outcome: DamageOutcome::Lost });
            }
        }
        Ok(true)
    }
}
