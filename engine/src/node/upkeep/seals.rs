//! Walks over seals: mending what is rotten, and coding anew.

use super::UpkeepJob;
use super::scrub::without_room;
use crate::codec::Canonical;
use crate::env::Disk;
use crate::id::SealId;
use crate::node::backlog::Growth;
use crate::node::batch::Staged;
use crate::node::config::StoreConfig;
use crate::node::facts::{is_referenced, live_owners};
use crate::node::job::{Job, Mended};
use crate::node::policy::Policy;
use crate::node::request::{Damage, DamageOutcome, Event, Failure, RecodeReport, ScrubReport};
use crate::node::{Engine, Health, Output};
use crate::planted::{Bug, planted};
use crate::seal::{AssembleError, Coding, Layout, SealedSlice};
use crate::store::index::{Direction, SealRow, Seals, Target};
use crate::store::log::RecordKind;
use core::ops::Bound;
use std::collections::BTreeSet;

/// Seals handled in one step, at most; fewer where they are large (`Limits::upkeep_step_len`).
const STEP: usize = 16;

/// A walk over some seals, or over all of them in the order of their ids.
#[derive(Debug, Default)]
pub(in crate::node) struct Walk {
    chosen: Option<BTreeSet<SealId>>,
    last: Option<SealId>,
}

impl Walk {
    pub(super) fn over(seals: BTreeSet<SealId>) -> Self {
        Self { chosen: Some(seals), last: None }
    }

    /// Those that it chose and has not come to.
    pub(super) fn rest(self) -> BTreeSet<SealId> {
        self.chosen.unwrap_or_default()
    }

    /// Takes in more seals, as long as it is not over so many.
    pub(super) fn extend(&mut self, seals: &mut BTreeSet<SealId>, most: usize) {
        if let Some(chosen) = self.chosen.as_mut().filter(|chosen| chosen.len() < most) {
            chosen.append(seals);
        }
    }
}

impl<D: Disk> Engine<D> {
    fn next_seals(&mut self, walk: &mut Walk) -> Result<Vec<(SealId, SealRow)>, Failure> {
        // PA
        let slices_len = |row: &SealRow| row.slices.iter().flatten().map(|slice| u64::from(slice.len)).sum::<u64>();
        let (mut found, mut len) = (Vec::new(), 0);
        match &mut walk.chosen {
            Some(chosen) => {
                while let Some(seal) = chosen.pop_first() {
                    let row = match self.seal_row(&seal) {
                        Ok(row) => row,
                        Err(failure) => {
                            chosen.extend(found.iter().map(|(seal, _)| *seal).chain([seal]));
                            return Err(failure);
                        }
                    };
                    match row {
                        Some(row) => {
                            len += slices_len(&row);
                            found.push((seal, row));
                        }
                        // It was collected since.
                        None => self.upkeep.settle_doubt(&seal),
                    }
                    if found.len() == STEP || len >= self.limits.upkeep_step_len {
                        break;
                    }
                }
            }
            None => {
                let from = match &walk.last {
                    Some(last) => Bound::Excluded(last),
                    None => Bound::Unbounded,
                };
                found = self
                    .index
                    .range::<Seals>(from, Bound::Unbounded, Direction::Forward, STEP)
                    .map_err(|error| self.index_failure(error))?;
                let enough = found.iter().position(|(_, row)| {
                    len += slices_len(row);
                    len >= self.limits.upkeep_step_len
                });
                found.truncate(enough.map_or(STEP, |last| last + 1));
                walk.last = found.last().map(|(seal, _)| *seal).or(walk.last);
            }
        }
        Ok(found)
    }

    /// Every slice of a seal that is not damaged.
    ///
    /// # Errors
    /// Where nothing is known of one: who takes it for damaged would take the seal for lost.
    fn slices(&self, seal: &SealId, row: &SealRow) -> Result<Vec<SealedSlice>, Failure> {
        // PA
        let mut slices = Vec::new();
        for index in 0..row.slices.len() {
            match self.fetch_slice(seal, index, row) {
                Ok(slice) => slices.extend(slice),
                Err(Failure::Damaged { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(slices)
    }

    /// Checks some seals; false when there are no more.
    pub(super) fn mend_step(&mut self, walk: &mut Walk, repair: bool) -> Result<bool, Failure> {
        let mut seals = self.next_seals(walk)?.into_iter();
        let more = seals.len() > 0;
        while let Some((seal, row)) = seals.next() {
            let looked_at = self.mend(seal, row, repair, false);
            match (&mut walk.chosen, looked_at) {
                (_, Ok(())) => {}
                // Nobody waits for it.
                (Some(_), Err(Failure::Exhausted(_))) => self.upkeep.mend_later(seal),
                (Some(chosen), Err(failure)) => {
                    chosen.extend(seals.map(|(seal, _)| seal).chain([seal]));
                    return Err(failure);
                }
                (None, Err(failure)) => return Err(failure),
            }
        }
        Ok(more)
    }

    /// A walk over seals to be mended was given up.
    pub(super) fn mend_rest_later(&mut self, walk: Walk) {
        self.upkeep.gave_up_mending();
        walk.rest().into_iter().for_each(|seal| self.upkeep.mend_later(seal));
    }

    /// The slices of these that were mended went with their batch: they are mended later, and not yet.
    pub(in crate::node) fn gave_up_mends(&mut self, seals: BTreeSet<SealId>) {
        for seal in seals {
            self.upkeep.gave_up_mending();
            self.upkeep.mend_later(seal);
            self.upkeep.unmended.insert(seal);
            let place = format!("{}what was mended of it could not be written", place_of(&seal));
            let damage = Damage { place, outcome: DamageOutcome::Healable };
            self.outputs.push_back(Output::Event(Event::Integrity(damage)));
        }
    }

    /// What a scrub has called healed and is not, since it went with its batch.
    pub(super) fn take_back(&mut self, report: &mut ScrubReport) {
        for seal in std::mem::take(&mut self.upkeep.unmended) {
            let place = place_of(&seal);
            let healed = report.damage.iter_mut().filter(|damage| damage.outcome == DamageOutcome::Healed);
            healed
                .filter(|damage| damage.place.starts_with(&place))
                .for_each(|damage| damage.outcome = DamageOutcome::Healable);
        }
    }

    /// Restores what the slices of a seal lie in, when what stands in the last segment has its parity.
    pub(super) fn heal_for_mending(&mut self, seal: &SealId) -> Result<(), Failure> {
        // PA
        let row = self.seal_row(seal)?;
        let mut places = row.iter().flat_map(|row| row.slices.iter().flatten());
        if self.log.has_batch() && places.any(|place| self.log.may_be_torn_in(place.segment)) {
            without_room(self.commit_for_upkeep())?;
        }
        self.heal_seal(seal).map(drop)
    }

    /// Has all slices of a seal looked at.
    pub(super) fn mend(&mut self, seal: SealId, row: SealRow, repair: bool, again: bool) -> Result<(), Failure> {
        let slices = self.slices(&seal, &row)?;
        let job = Job::Mend { seal, slices, expected: row.slices.len() };
        self.run_upkeep(UpkeepJob::Mend { seal, repair, row, again }, job);
        Ok(())
    }

    pub(super) fn mended(
        &mut self,
        seal: SealId,
        repair: bool,
        read: &SealRow,
        result: Result<Mended, AssembleError>,
        mut report: Option<&mut ScrubReport>,
    ) -> Result<(), Failure> {
        // PA
        let Some(row) = self.seal_row(&seal)? else {
            self.upkeep.settle_doubt(&seal);
            return Ok(());
        };
        if let Some(report) = &mut report {
            // Its bytes were counted where they stand in the log.
            report.seals += 1;
        }
        let mut result = result;
        let stands =
            |row: &SealRow, slice: &SealedSlice| row.slices.get(usize::from(slice.header.index().0)).copied().flatten();
        if let Ok(mended) = &mut result {
            // Coded anew since its slices were read: one of the former coding would stand for all there is. And of what stands
            // elsewhere since, or was missing then, nothing was read.
            mended.slices.retain(|slice| row.is_coded_as(&slice.header) && stands(&row, slice) == stands(read, slice));
        }
        if let Ok(mended) = &mut result
            && !mended.slices.is_empty()
            && (self.is_written_again(&seal) || !self.is_needed(seal)?)
        {
            // Of a seal that was collected, some slices may be gone with their segments: nobody misses them.
            mended.slices.retain(|slice| stands(&row, slice).is_some());
        }
        // Who only looks does not try what the log's parity can restore.
        let untried = !repair && result.is_err() && self.may_be_restored(&row)?;
        // What a batch holds, or held, may be given up with it, and says nothing of what stands in the log.
        if untried {
            // Who mends does, and knows then.
            self.upkeep.mend_later(seal);
            if !self.upkeep.doubt(seal) {
                self.heal.lost.overlook();
            }
        } else if !self.batch.seals.contains_key(&seal) && row == *read {
            // Also where nothing refers to it: what cannot be read now may, and comes back.
            if result.is_err() {
                if self.is_needed(seal)? {
                    self.heal.lost.add(seal);
                } else {
                    self.heal.lost.add_if_room(seal);
                }
            } else {
                self.heal.lost.remove(&seal);
            }
            self.upkeep.settle_doubt(&seal);
            if repair {
                self.upkeep.to_mend.remove(&seal);
            }
        } else {
            // What it was taken for before, it is still.
            self.upkeep.mend_later(seal);
            let is_known = result.is_ok() || self.upkeep.doubts(&seal) || self.is_written_again(&seal);
            if !is_known && !self.upkeep.doubt(seal) {
                self.heal.lost.overlook();
            }
        }
        if result.is_ok() {
            self.seal_reads(&seal);
        }
        let (place, outcome) = match result {
            Err(error) if untried && self.is_needed(seal)? && !self.is_sealed_again(seal, read)? => {
                (error.to_string(), DamageOutcome::Healable)
            }
            Err(error) if self.is_needed(seal)? && !self.is_sealed_again(seal, read)? => {
                if let Some(report) = &mut report {
                    let owners = live_owners(&self.index, Target::Seal(seal));
                    report.lost.extend(owners.map_err(|error| self.index_failure(error))?);
                }
                (error.to_string(), DamageOutcome::Lost)
            }
            // What is left of a seal that was collected: nobody misses what is rotten of it.
            Err(AssembleError::TooFewSlices { ref damaged, .. })
                if !damaged.is_empty() && row == *read && !self.is_needed(seal)? =>
            {
                (format!("seal {seal}: slices {damaged:?}, to which nothing refers any more"), DamageOutcome::Harmless)
            }
            // Or it was sealed again since.
            Err(_) => return Ok(()),
            Ok(mended) if mended.slices.is_empty() => return Ok(()),
            Ok(mended) => {
                let places: Vec<String> = mended
                    .slices
                    .iter()
                    .map(|slice| slice.header.index().0)
                    .map(|index| match row.slices.get(usize::from(index)).copied().flatten() {
                        Some(location) => format!("slice {index} at {location}"),
                        None => format!("slice {index}"),
                    })
                    .collect();
                let outcome = match repair && self.rewrite_slices(seal, &row, &mended.slices)? {
                    true => DamageOutcome::Healed,
                    false => DamageOutcome::Healable,
                };
                (format!("{}{}", place_of(&seal), places.join(", ")), outcome)
            }
        };
        let damage = Damage { place, outcome };
        self.outputs.push_back(Output::Event(Event::Integrity(damage.clone())));
        if let Some(report) = report {
            report.damage.push(damage);
        }
        Ok(())
    }

    /// The next process is to know what this one has found lost. Who looks needs no room on the disk: where that cannot be
    /// written it is written with a later checkpoint.
    ///
    /// It is tried once for each piece of news: where the index's volume takes nothing, another try may cost a replay of the log.
    pub(in crate::node) fn remember_losses(&mut self) {
        // PA
        if !self.heal.lost.has_news() || self.health != Health::Good || !self.index_is_sound() {
            return;
        }
        if self.has_uncommitted() {
            self.batch.checkpoint = true;
        } else if let Err(failure) = self.bring_index_up(self.log.position()) {
            tracing::warn!(%failure, "no checkpoint of what is lost");
            self.heal.lost.put_off();
        }
    }

    /// Whether anything alive refers to a seal, or is about to.
    pub(in crate::node) fn is_needed(&self, seal: SealId) -> Result<bool, Failure> {
        // PA
        let referenced = is_referenced(&self.index, Target::Seal(seal)).map_err(|error| self.index_failure(error))?;
        Ok(referenced || self.is_pinned(seal)?)
    }

    /// Whether a seal was sealed again since slices were read of `read`: what they were says nothing of it any more. So it
    /// is with what is left of a seal that was collected, when a value of the same content comes in.
    fn is_sealed_again(&self, seal: SealId, read: &SealRow) -> Result<bool, Failure> {
        // PA
        Ok(self.is_written_again(&seal) || self.seal_row(&seal)?.is_some_and(|row| row != *read))
    }

    /// Whether all slices of a seal are about to be committed.
    fn is_written_again(&self, seal: &SealId) -> bool {
        self.window.contains_whole(seal) || self.batch.whole.contains(seal)
    }

    /// Puts slices of a seal back where they stood, or anywhere, if their places do not take them. False if that is put off.
    fn rewrite_slices(&mut self, seal: SealId, row: &SealRow, slices: &[SealedSlice]) -> Result<bool, Failure> {
        // PA
        if planted(Bug::MendWritesNothing) {
            return Ok(true);
        }
        // In place first: what is appended has others beside it wait for their commit.
        let elsewhere: Vec<&SealedSlice> =
            slices.iter().filter(|slice| !self.rewrite_in_place(seal, row, slice)).collect();
        if elsewhere.is_empty() {
            return Ok(true);
        }
        match self.append_slices(seal, row, &elsewhere) {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.upkeep.mend_later(seal);
                Ok(false)
            }
            Err(failure) => {
                self.upkeep.mend_later(seal);
                match failure {
                    Failure::Full => {
                        self.upkeep.gave_up_mending();
                        Ok(false)
                    }
                    Failure::Exhausted(_) => Ok(false),
                    failure => Err(failure),
                }
            }
        }
    }

    /// Puts a slice back where it stood, byte for byte. False if that place does not take it.
    fn rewrite_in_place(&mut self, seal: SealId, row: &SealRow, slice: &SealedSlice) -> bool {
        // PA
        let index = usize::from(slice.header.index().0);
        let Some(location) = row.slices.get(index).copied().flatten() else { return false };
        let record = [slice.header.encode().as_slice(), &slice.payload].concat();
        self.cover_beside(location.segment);
        let mut rewritten = self.log.rewrite_in_place(location, &record);
        // Its header may be what is damaged; that is under group parity.
        if rewritten.is_err() && self.heal_places([location]).unwrap_or(false) {
            rewritten = self.log.rewrite_in_place(location, &record);
        }
        rewritten
            .inspect_err(|error| tracing::warn!(%seal, index, %error, "a slice cannot be written in its place"))
            .is_ok()
    }

    /// Writes slices of a seal anew. False if that is put off: there was no room lately, or the seal is another since.
    fn append_slices(&mut self, seal: SealId, row: &SealRow, slices: &[&SealedSlice]) -> Result<bool, Failure> {
        // PA
        if self.upkeep.lacks_room_to_mend() {
            return Ok(false);
        }
        if self.batch.mends.is_empty() && self.has_uncommitted() {
            // What others have in the batch is not to go with slices for which there is no room.
            self.commit_for_upkeep()?;
            if self.seal_row(&seal)?.as_ref() != Some(row) {
                return Ok(false);
            }
        }
        for slice in slices {
            let location = self.append_alone(RecordKind::Slice, false, &[&slice.header.encode(), &slice.payload])?;
            self.batch.mends.insert(seal);
            self.batch.seals.entry(seal).or_insert_with(|| row.clone()).place(&slice.header, location);
            self.batch.forced = true;
        }
        Ok(true)
    }

    pub(super) fn recode_step(
        &mut self,
        coding: Coding,
        report: &mut RecodeReport,
        walk: &mut Walk,
    ) -> Result<bool, Failure> {
        // PA
        self.writable()?;
        self.index_has_room(Growth::Upkeep)?;
        if walk.last.is_none() {
            // What another that failed has coded may wait yet, and would be written after this one has seen what it replaces.
            self.commit_for_upkeep()?;
            self.set_policy(coding)?;
        }
        let seals = self.next_seals(walk)?;
        let more = !seals.is_empty();
        for (seal, row) in seals {
            if planned_as(&row, coding) && row.slices.iter().all(Option::is_some) {
                report.unchanged += 1;
                continue;
            }
            self.recode(seal, row, coding, false)?;
        }
        Ok(more)
    }

    /// Has a seal coded anew.
    pub(super) fn recode(&mut self, seal: SealId, row: SealRow, coding: Coding, again: bool) -> Result<(), Failure> {
        let slices = self.slices(&seal, &row)?;
        self.run_upkeep(UpkeepJob::Recode { seal, row, coding, again }, Job::Recode { seal, slices, coding });
        Ok(())
    }

    /// Writes down that new seals are coded so from now on.
    fn set_policy(&mut self, coding: Coding) -> Result<(), Failure> {
        self.clock.recover(crate::id::Hlc(self.clock.last().0.saturating_add(1)));
        let policy = Policy { created: self.clock.last(), coding };
        self.append(RecordKind::Note, false, &[&policy.encode()])?;
        // At once for what is sealed from now on; should the batch be given up, the former coding holds again.
        self.config.coding = coding;
        self.batch.staged.push(Staged::Policy(policy));
        self.batch.forced = true;
        Ok(())
    }

    /// The coding of new seals that the log knows of.
    pub(in crate::node) fn durable_coding(&self) -> Coding {
        match (&self.policy, StoreConfig::decode(self.log.config())) {
            (Some(policy), _) => policy.coding,
            (None, Ok(config)) => config.coding,
            // It was decoded when the store was opened.
            (None, Err(_)) => self.config.coding,
        }
    }

    pub(super) fn recoded(
        &mut self,
        seal: SealId,
        read: &SealRow,
        result: Result<Vec<SealedSlice>, AssembleError>,
        report: Option<&mut RecodeReport>,
    ) -> Result<(), Failure> {
        // PA
        match result {
            Ok(slices) => {
                // It was collected meanwhile.
                if self.seal_row(&seal)?.is_none() {
                    return Ok(());
                }
                // The row starts anew: slices of two codings never stand in one.
                self.batch.seals.remove(&seal);
                self.batch.whole.remove(&seal);
                self.window.add(seal, slices);
                self.batch.forced = true;
                if self.window.len() >= self.limits.window_len {
                    self.flush_window()?;
                }
                if let Some(report) = report {
                    report.recoded += 1;
                }
            }
            Err(error) => {
                tracing::warn!(%seal, %error, "a seal cannot be coded anew");
                if let Some(report) = report
                    && self.is_needed(seal)?
                    && !self.is_sealed_again(seal, read)?
                {
                    report.damaged.push(seal);
                }
            }
        }
        Ok(())
    }
}

/// How the places of a seal's damage begin.
fn place_of(seal: &SealId) -> String {
    format!("seal {seal}: ")
}

/// Whether a seal of this length would be coded as it is.
fn planned_as(row: &SealRow, coding: Coding) -> bool {
    let planned = Layout::plan(row.ciphertext_len, coding).coding();
    if planted(Bug::RecodeByTotal) {
        return usize::from(planned.data() + planned.parity()) == row.slices.len();
    }
    (planned.data(), planned.parity()) == (row.data, row.parity)
}
