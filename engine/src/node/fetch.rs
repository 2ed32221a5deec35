//! The slices of a seal, as they stand in the log.

use super::request::{Damage, DamageOutcome, Event, Failure};
use super::{Engine, Health, Output};
use crate::env::{Disk, DiskFailure};
use crate::id::SealId;
use crate::seal::{SealedSlice, SliceIndex};
use crate::store::index::SealRow;
use crate::store::log::LogError;

/// Slices of a seal, and those that could not be read.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) slices: Vec<SealedSlice>,
    pub(super) unreadable: Vec<SliceIndex>,
}

/// Why a record cannot be read: damage, which parity may make good, unless nothing was said of what stands there.
pub(super) fn read_failure(error: &LogError) -> Failure {
    // PA
    match error {
        LogError::Disk(disk) => match disk.failure {
            DiskFailure::Exhausted(_) => Failure::Exhausted(error.to_string()),
            DiskFailure::Crashed => Failure::Disk(error.to_string()),
            _ => Failure::Damaged { place: error.to_string() },
        },
        _ => Failure::Damaged { place: error.to_string() },
    }
}

impl<D: Disk> Engine<D> {
    /// Reads slices of a seal: the data slices, and as many more as it takes if some are missing; or all.
    pub(super) fn fetch(&self, seal: &SealId, all: bool) -> Result<Fetched, Failure> {
        // PA
        let Some(row) = self.seal_row(seal)? else {
            return Err(Failure::Damaged { place: format!("seal {seal}: no slice of it is known") });
        };
        let Fetched { mut slices, mut unreadable } = Fetched::default();
        let mut trouble = None;
        for (index, location) in row.slices.iter().enumerate() {
            if !all && slices.len() >= usize::from(row.data) {
                break;
            }
            match self.fetch_slice(seal, index, &row) {
                Ok(Some(slice)) => slices.push(slice),
                Ok(None) => {}
                Err(Failure::Damaged { place }) => {
                    tracing::warn!(%seal, index, ?location, %place, "a slice cannot be read");
                    unreadable.push(SliceIndex(index as u8));
                    trouble = Some(place);
                }
                Err(failure) => return Err(failure),
            }
        }
        if slices.len() < usize::from(row.data) {
            let why = trouble.unwrap_or_else(|| "slices are missing".into());
            let (found, needed) = (slices.len(), row.data);
            return Err(Failure::Damaged {
                place: format!("seal {seal}: {found} slices can be read, {needed} are needed; the last trouble: {why}"),
            });
        }
        Ok(Fetched { slices, unreadable })
    }

    pub(super) fn fetch_slice(
        &self,
        seal: &SealId,
        index: usize,
        row: &SealRow,
    ) -> Result<Option<SealedSlice>, Failure> {
        let Some(location) = row.slices.get(index).copied().flatten() else { return Ok(None) };
        let payload = self.log.read(location).map_err(|error| read_failure(&error))?;
        let damaged = |why: String| Failure::Damaged { place: format!("{location}: {why}") };
        let slice = SealedSlice::from_record(payload).map_err(|error| damaged(error.to_string()))?;
        if slice.header.seal_id() != *seal || usize::from(slice.header.index().0) != index {
            return Err(damaged("the slice of another seal stands in its place".to_owned()));
        }
        Ok(Some(slice))
    }

    pub(super) fn note_damage(&mut self, seal: SealId, bad: &[SliceIndex]) {
        let place = format!("seal {seal}: slices {bad:?}");
        self.outputs.push_back(Output::Event(Event::Integrity(Damage { place, outcome: DamageOutcome::Healable })));
        if self.health == Health::Good {
            self.upkeep.mend_later(seal);
            self.start_mending();
        }
    }
}
