//! The end of the log at open: the last commit, and whether what it covers is all there.
//!
//! A commit record is written after the sync of the one before it returned. So the last commit that is found intact
//! proves everything up to the commit before; its own batch is in doubt, and so is everything behind it.

use super::commit::{Batch, FoundCommit};
use super::handles::Handles;
use super::inventory::Inventory;
use super::parity::ParityList;
use super::place::Point;
use super::reader::{Shown, show};
use super::record::RecordKind;
use super::scan::{Item, Scanner};
use super::{LogError, LogPosition, RecordView, SegmentId};
use crate::codec::Canonical;
use crate::env::{Disk, DiskError};
use crate::planted::{Bug, planted};
use std::collections::{BTreeMap, BTreeSet};

/// How many commits in doubt of one segment are looked at.
const CANDIDATES: usize = 64;
/// And of all: one, and one more for each crash in the middle of a recovery. Where there were more, nobody could say whether the
/// first of them was acknowledged.
const CANDIDATES_OF_ALL: usize = 4096;

/// The last commits of a log.
#[derive(Debug)]
pub(super) struct Tail {
    /// The newest.
    pub(super) last: FoundCommit,
    /// The ones before it that are in doubt too, and one that is not, newest first. More than one is in doubt only if
    /// a crash interrupted a recovery: the newer ones are then copies of the oldest.
    pub(super) earlier: Vec<FoundCommit>,
    /// The disk refuses to read a part of what is in doubt.
    pub(super) refused: Option<Refused>,
}

/// A place that the disk refuses to read.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) at: Point,
    /// Where what can be read begins again.
    pub(super) to: Point,
    pub(super) error: DiskError,
}

/// Finds the last intact commits, as far back as anything is in doubt, and at least to the commit at `from`.
///
/// # Errors
/// [`LogError::CheckpointAhead`] when no record starts at `from`. [`LogError::Disk`] when the disk refuses to read anything
/// that could be a commit. Where it refuses to read something behind the last one ([`Tail::refused`]), whether a write was
/// acknowledged must not be decided by that.
pub(super) fn find_tail<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    from: Option<LogPosition>,
) -> Result<Option<Tail>, LogError> {
    // PA
    let mut newest: Vec<FoundCommit> = Vec::new();
    let mut refused: Option<Refused> = None;
    let mut from_seen = from.is_none();
    let mut proven = from.unwrap_or_default();
    for (&id, present) in inventory.segments.iter().rev() {
        if from_seen && newest.last().is_some_and(|commit| commit.at <= proven) {
            break;
        }
        let file = handles.get(id)?;
        let mut scanner = Scanner::new(&*file, &present.binding, super::FIRST_RECORD, present.len);
        let mut here: Vec<FoundCommit> = Vec::new();
        while let Some(item) = scanner.next()? {
            // Where the record stood, or where all of it would lie in what is damaged.
            from_seen |= from.filter(|from| from.segment == id).is_some_and(|from| match &item {
                Item::Record(offset, header) => {
                    *offset == from.commit && header.kind == RecordKind::Commit && scanner.at() == from.end
                }
                Item::Damaged { from: start, to, .. } => *start <= from.commit && from.end <= *to,
            });
            match item {
                Item::Record(offset, header) if header.kind == RecordKind::Commit => {
                    let at = LogPosition { segment: id, commit: offset, end: scanner.at() };
                    match scanner.payload(offset, header.len)? {
                        Some(payload) => {
                            let found = FoundCommit::read(at, &header, payload);
                            if let Some(found) = &found {
                                here.retain(|earlier| earlier.at >= found.commit.proven);
                            }
                            here.extend(found);
                        }
                        None => {
                            let refusal = scanner.take_refusal();
                            let place = |error| Refused { at: at.start_point(), to: at.end_point(), error };
                            refused = match refusal.map(place) {
                                Some(here) => Some(here.or_later(refused)),
                                None => refused,
                            };
                        }
                    }
                }
                Item::Damaged { from, to, refused: Some(error) } => {
                    let point = |offset| Point { segment: id, offset };
                    refused = Some(Refused { at: point(from), to: point(to), error }.or_later(refused));
                }
                _ => {}
            }
            if here.len() > CANDIDATES {
                here.remove(0);
            }
        }
        for commit in here.into_iter().rev() {
            proven = proven.max(commit.commit.proven);
            newest.push(commit);
        }
        newest.truncate(CANDIDATES_OF_ALL);
    }
    if let Some(from) = from.filter(|_| !from_seen) {
        return Err(LogError::CheckpointAhead(from));
    }
    if let Some(sure) = newest.iter().position(|commit| commit.at <= proven) {
        newest.truncate(sure + 1);
    }
    // A batch of nothing but parity holds nothing that could be in doubt, nor is there another commit before its own.
    let upkeep = newest.first().filter(|last| last.commit.lasting == 0).map(|last| last.at.end_point());
    let sure = proven.end_point().max(upkeep.unwrap_or_default());
    let mut newest = newest.into_iter();
    // It may begin before what is sure and hide something behind.
    let refused = refused.filter(|refused| refused.to > sure);
    match (newest.next(), refused) {
        (None, Some(refused)) => Err(refused.error.into()),
        (None, None) => Ok(None),
        (Some(last), refused) => Ok(Some(Tail { last, earlier: newest.collect(), refused })),
    }
}

impl Tail {
    /// What this look and another, both from `from` on, have found of the same log: a commit that one of them has read is there.
    pub(super) fn and(self, other: Self, from: Option<LogPosition>) -> Self {
        // PA
        let (mine, theirs) = (self.refused, other.refused);
        let looks = [(self.last, self.earlier), (other.last, other.earlier)];
        let all = looks.into_iter().flat_map(|(last, earlier)| core::iter::once(last).chain(earlier));
        let found: BTreeMap<LogPosition, FoundCommit> = all.map(|found| (found.at, found)).collect();
        let mut newest: Vec<FoundCommit> = found.into_values().rev().collect();
        let proven = newest.iter().map(|found| found.commit.proven).chain(from).max().unwrap_or_default();
        if let Some(sure) = newest.iter().position(|commit| commit.at <= proven) {
            newest.truncate(sure + 1);
        }
        let last = newest.remove(0);
        // What the other look was not refused is there, as far as it got.
        let refused = match (mine, theirs) {
            (Some(mine), theirs @ Some(_)) => Some(mine.or_later(theirs)),
            (mine, theirs) => mine.or(theirs).filter(|refused| refused.to > last.at.end_point()),
        };
        Self { last, earlier: newest, refused }
    }
}

impl Refused {
    /// The later of two.
    fn or_later(self, other: Option<Self>) -> Self {
        other.filter(|other| self.at < other.at).unwrap_or(self)
    }
}

/// What became of a batch in doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BatchState {
    pub(super) whole: bool,
    /// Content records that are intact.
    pub(super) intact: u64,
    /// Records or stretches that are not.
    pub(super) damaged: u64,
    /// Groups of parity of which a list is intact.
    pub(super) groups: u64,
}

/// Verifies every record of the last batch, payloads included; by a second look where the first finds it torn, since what was
/// misread by chance is read the next time.
///
/// Parity in the middle of other records holds nothing that was promised. Where its header says that it was there, that is
/// enough: what is wrong with it is left to be healed, and whoever heals by it checks each of its blocks.
///
/// # Errors
/// [`LogError::Disk`], also when the disk refuses to read a part of what was promised.
pub(super) fn examine<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    last: &FoundCommit,
    verify: &dyn Fn(RecordKind, &[u8]) -> bool,
) -> Result<BatchState, LogError> {
    // PA
    let state = examine_once(inventory, handles, last, verify)?;
    if state.whole || planted(Bug::OneLookDecides) {
        return Ok(state);
    }
    let again = examine_once(inventory, handles, last, verify)?;
    let found = |state: &BatchState| (state.whole, state.intact, state.groups);
    Ok(if found(&again) < found(&state) { state } else { again })
}

fn examine_once<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    last: &FoundCommit,
    verify: &dyn Fn(RecordKind, &[u8]) -> bool,
) -> Result<BatchState, LogError> {
    // PA
    let mut state = BatchState::default();
    let (mut batch, mut groups) = (Batch::new(), BTreeSet::new());
    let (from, to) = (last.commit.first, last.at.start_point());
    let decides = last.commit.lasting > 0;
    // A file of which all is refused is not walked over.
    let mut hidden = inventory.unreadable.range(from.segment..=to.segment.max(from.segment));
    if let Some(refusal) = hidden.find_map(|(_, refusal)| refusal.clone()).filter(|_| decides) {
        return Err(refusal.into());
    }
    walk(inventory, handles, from, to, &|_| false, &mut |scanner, id, item| {
        match &item {
            Item::Damaged { refused: Some(error), .. } if decides => return Err(error.clone().into()),
            Item::Damaged { .. } => {}
            Item::Record(offset, header) => {
                let Some(present) = inventory.segments.get(&id) else { unreachable!("walked just now") };
                let bytes = header.encode(&present.binding, *offset);
                batch.add(Point { segment: id, offset: *offset }, header.kind, &bytes);
            }
        }
        let is_promised = !matches!(&item, Item::Record(_, header) if decides && header.kind.is_upkeep());
        let refused = match show(scanner, id, item, true)? {
            Shown::Record(view) if !view.kind.is_content() => {
                if view.kind == RecordKind::ParityList
                    && let Ok(list) = ParityList::decode(view.payload)
                {
                    groups.insert(list.first_list);
                }
                false
            }
            Shown::Record(view) if verify(view.kind, view.payload) => {
                state.intact += 1;
                false
            }
            Shown::Damaged(_) if !is_promised => false,
            Shown::Damaged(range) if range.what.is_refusal() && decides => true,
            _ => {
                state.damaged += 1;
                false
            }
        };
        match scanner.take_refusal() {
            Some(error) if refused => Err(error.into()),
            _ => Ok(()),
        }
    })?;
    state.groups = groups.len() as u64;
    state.whole = (state.damaged == 0 && batch.matches(&last.commit)) || planted(Bug::TornBatchTaken);
    Ok(state)
}

/// What one of two looks finds: what was misread by chance is read the next time.
pub(super) fn either_finds<T>(mut look: impl FnMut() -> Result<Option<T>, LogError>) -> Result<Option<T>, LogError> {
    // PA
    match look()? {
        None if !planted(Bug::OneLookDecides) => look(),
        found => Ok(found),
    }
}

/// Whether one of two looks finds it so.
pub(super) fn either_look(mut look: impl FnMut() -> Result<bool, LogError>) -> Result<bool, LogError> {
    // PA
    Ok(either_finds(|| Ok(look()?.then_some(())))?.is_some())
}

/// What [`walk`] calls for every step.
type Step<'s, D> = dyn FnMut(&mut Scanner<'_, <D as Disk>::File>, SegmentId, Item) -> Result<(), LogError> + 's;

/// Walks all records from `from` up to `to`, across segments, leaving out the segments that `skip` names.
///
/// # Errors
/// Those of `step`, and [`LogError::Disk`].
pub(super) fn walk<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    from: Point,
    to: Point,
    skip: &dyn Fn(SegmentId) -> bool,
    step: &mut Step<'_, D>,
) -> Result<(), LogError> {
    // PA
    if from >= to {
        return Ok(());
    }
    for (&id, present) in inventory.segments.range(from.segment..=to.segment).filter(|(id, _)| !skip(**id)) {
        let start = if id == from.segment { from.offset.max(super::FIRST_RECORD) } else { super::FIRST_RECORD };
        let stop = if id == to.segment { to.offset } else { u32::MAX };
        let file = handles.get(id)?;
        let mut scanner = Scanner::new(&*file, &present.binding, start, present.len).reading_to(stop);
        while scanner.at() < stop {
            let Some(item) = scanner.next()? else { break };
            step(&mut scanner, id, item)?;
        }
    }
    Ok(())
}

/// Shows the content records from `from` up to `to` to `visit`, and tells `damaged` what is not as it was written.
///
/// # Errors
/// Those of `visit`, and [`LogError::Disk`].
pub(super) fn deliver<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    (from, to): (Point, Point),
    skip: &dyn Fn(SegmentId) -> bool,
    visit: &mut dyn FnMut(RecordView<'_>) -> Result<(), LogError>,
    damaged: &mut dyn FnMut(super::DamagedRange),
) -> Result<(), LogError> {
    // PA
    walk(inventory, handles, from, to, skip, &mut |scanner, id, item| {
        // What can be made again is left to scrubbing.
        if matches!(&item, Item::Record(_, header) if header.kind.is_upkeep()) {
            return Ok(());
        }
        match show(scanner, id, item, false)? {
            Shown::Record(view) if view.kind.is_content() => visit(view),
            Shown::Record(_) => Ok(()),
            Shown::Damaged(range) => {
                damaged(range);
                Ok(())
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::StoreId;
    use super::super::commit::Commit;
    use super::*;
    use crate::env::{DiskFailure, Volume};
    use crate::store::Location;

    fn at(commit: u32) -> LogPosition {
        LogPosition { segment: SegmentId(1), commit, end: commit + 512 }
    }

    fn found(commit: u32, proven: u32) -> FoundCommit {
        let nothing = Location { segment: SegmentId(1), offset: 0, len: 0 };
        let record = Commit {
            salt: 0,
            store: StoreId([0; 32]),
            proven: at(proven),
            first: at(proven).end_point(),
            records: 1,
            lasting: 1,
            digest: [0; 32],
            segments: nothing,
            note: Vec::new(),
            padding: Vec::new(),
        };
        FoundCommit { at: at(commit), commit: record }
    }

    fn look(newest: &[FoundCommit], refused: Option<u32>) -> Tail {
        let failure = DiskFailure::Io("refused".to_owned());
        let error = DiskError { operation: "read", volume: Volume::Blocks, file: String::new(), failure };
        let refused = refused.map(|commit| Refused { at: at(commit).start_point(), to: at(commit).end_point(), error });
        Tail { last: newest[0].clone(), earlier: newest[1..].to_vec(), refused }
    }

    fn together(one: impl Fn() -> Tail, other: impl Fn() -> Tail) -> Vec<(Vec<LogPosition>, bool)> {
        let both = [one().and(other(), None), other().and(one(), None)];
        let told = both.into_iter().map(|tail| {
            let found = core::iter::once(&tail.last).chain(&tail.earlier);
            (found.map(|found| found.at).collect(), tail.refused.is_some())
        });
        told.collect()
    }

    #[test]
    fn a_commit_that_one_of_two_looks_has_read_is_there() {
        let (copy, copied, before) = (found(30_000, 10_000), found(20_000, 10_000), found(10_000, 5000));
        let some = || look(&[copy.clone(), before.clone()], None);
        let all = || look(&[copy.clone(), copied.clone(), before.clone()], None);
        for (found, _) in together(some, all) {
            assert_eq!(found, [at(30_000), at(20_000), at(10_000)]);
        }
        // What a newer one proves is in no doubt.
        let newer = || look(&[found(40_000, 30_000), copy.clone()], None);
        for (found, _) in together(all, newer) {
            assert_eq!(found, [at(40_000), at(30_000)]);
        }
    }

    #[test]
    fn what_one_look_was_refused_and_the_other_has_not_read_stays_refused() {
        let (last, before) = (found(20_000, 10_000), found(10_000, 5000));
        let refused = || look(core::slice::from_ref(&before), Some(20_000));
        for (found, is_refused) in together(refused, || look(core::slice::from_ref(&before), None)) {
            assert_eq!((found, is_refused), (vec![at(10_000)], true));
        }
        for (found, is_refused) in together(refused, || look(&[last.clone(), before.clone()], None)) {
            assert_eq!((found, is_refused), (vec![at(20_000), at(10_000)], false));
        }
    }
}
