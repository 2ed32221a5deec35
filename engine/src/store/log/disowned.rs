//! What commits have disowned: records that no batch has, though they stand in the log whole.
//!
//! A batch that was given up, or was torn, leaves records behind. The next commit says so by where its batch starts, and
//! by nothing else. So the segment of that commit must not go while they are there: a replay of the whole log would take
//! them for history.

use super::commit::{Commit, LEAST_COMMIT_LEN, SECTOR_LEN};
use super::place::Point;
use super::reader::verbatim;
use super::scan::{Item, Scanner};
use super::{DamagedRange, FIRST_RECORD, Log, LogError, LogPosition, RecordKind, SegmentId};
use crate::codec::Canonical;
use crate::env::{Disk, DiskFailure, DiskFile, OpenMode, Volume};
use std::collections::BTreeSet;

/// What stands in a stretch that a commit has disowned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Nothing,
    /// Parity, and a footer: they do no harm, as long as they stand.
    Upkeep,
    /// What would be taken for history: records, or what a crash left of them.
    History,
}

impl<D: Disk> Log<D> {
    /// The other segments in which records stand that a commit of this one has disowned: they go before it. `None` if a
    /// commit of this one may be damaged, or one of those others is absent and not given up as `lost`: then nobody can say, and it
    /// stays until it is mended.
    ///
    /// Parity that a segment was given once another followed is not waited for, but made sure of: should it go in a power
    /// failure, this commit is all that tells what is left of it from history.
    ///
    /// # Errors
    /// [`LogError::NoSegment`], [`LogError::Disk`].
    pub fn disowned_by(
        &mut self,
        segment: SegmentId,
        lost: &BTreeSet<SegmentId>,
    ) -> Result<Option<BTreeSet<SegmentId>>, LogError> {
        // PA
        let mut others = BTreeSet::new();
        let Some(stretches) = self.stretches(segment, lost)? else { return Ok(None) };
        for (from, to) in stretches {
            // What stands in one that cannot be read is not known, and it may be there again.
            if self.absent.range(from.segment..=to.segment).any(|absent| !lost.contains(absent)) {
                return Ok(None);
            }
            let between = self.segments.range(from.segment..=to.segment).map(|(id, _)| *id);
            let between = between.filter(|id| *id != segment && !self.condemned.contains(id));
            for id in between.collect::<Vec<SegmentId>>() {
                let first = if id == from.segment { from.offset } else { FIRST_RECORD };
                let end = if id == to.segment { to.offset } else { u32::MAX };
                match self.within(id, first, end)? {
                    Within::Nothing => {}
                    Within::Upkeep if self.make_upkeep_sure(id, first, end)? => {}
                    Within::Upkeep | Within::History => drop(others.insert(id)),
                }
            }
        }
        Ok(Some(others))
    }

    /// Whether no more than a commit stood in a damaged place: the commit that followed says that it was there, and that what
    /// it committed was durable.
    ///
    /// # Errors
    /// [`LogError::NoSegment`], [`LogError::Disk`].
    pub fn held_commit(&self, range: &DamagedRange) -> Result<bool, LogError> {
        // PA
        let here = LogPosition { segment: range.segment, commit: range.from, end: range.to };
        Ok(self.commit_after(range)?.is_some_and(|next| next.proven == here))
    }

    /// Whether a commit that counts may have stood in a damaged place: it is long enough, where it ends a sector does, and the
    /// commit that followed does not say that the last one stood before.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the machine is gone.
    pub(super) fn may_have_held_commit(&self, range: &DamagedRange) -> Result<bool, LogError> {
        // PA
        if !range.to.is_multiple_of(SECTOR_LEN) || range.to.saturating_sub(range.from) < LEAST_COMMIT_LEN {
            return Ok(false);
        }
        let from = Point { segment: range.segment, offset: range.from };
        match self.commit_after(range) {
            Ok(next) => Ok(next.is_none_or(|next| next.proven.end_point() > from)),
            Err(LogError::Disk(error)) if error.failure == DiskFailure::Crashed => Err(error.into()),
            Err(_) => Ok(true),
        }
    }

    /// Whether the first commit behind a segment says that nothing of it counts from `offset` on.
    pub(super) fn ends_before(&self, segment: SegmentId, offset: u32) -> bool {
        // PA
        let Some(known) = self.segments.get(&segment) else { return false };
        let what = super::Damage::Unknown;
        let next = self.commit_after(&DamagedRange { segment, from: offset, to: known.len, what });
        let ends_there =
            |next: Commit| next.proven.end_point() == Point { segment, offset } && segment < next.first.segment;
        next.is_ok_and(|next| next.is_some_and(ends_there))
    }

    /// The commit that follows a place; `None` also if something between them is damaged, where another may have stood.
    fn commit_after(&self, range: &DamagedRange) -> Result<Option<Commit>, LogError> {
        // PA
        for id in self.segments.range(range.segment..).map(|(id, _)| *id).filter(|id| !self.condemned.contains(id)) {
            let known = self.segments.get(&id).ok_or(LogError::NoSegment(id))?;
            let (file, end) = match self.active.as_ref().filter(|active| active.id == id) {
                Some(active) => (active.file.clone(), active.written),
                None => (self.handles.get(id)?, known.len),
            };
            let from = if id == range.segment { range.to } else { FIRST_RECORD };
            let mut scanner = Scanner::new(&*file, &known.binding, from, end);
            while let Some(item) = scanner.next()? {
                let Item::Record(offset, header) = item else { return Ok(None) };
                if header.kind == RecordKind::Commit {
                    let payload = scanner.payload(offset, header.len)?.filter(|payload| header.checks(payload));
                    return Ok(payload.and_then(|payload| Commit::decode(payload).ok()));
                }
            }
        }
        Ok(None)
    }

    /// From where to where the commits of a segment have disowned everything, and where damaged ones stood that they prove;
    /// `None` if one of its own may be damaged.
    fn stretches(
        &self,
        segment: SegmentId,
        lost: &BTreeSet<SegmentId>,
    ) -> Result<Option<Vec<(Point, Point)>>, LogError> {
        // PA
        let known = self.segments.get(&segment).ok_or(LogError::NoSegment(segment))?;
        let (file, end) = match self.active.as_ref().filter(|active| active.id == segment) {
            Some(active) => (active.file.clone(), active.written),
            None => (self.handles.get(segment)?, known.len),
        };
        let mut scanner = Scanner::new(&*file, &known.binding, FIRST_RECORD, end);
        let mut stretches = Vec::new();
        // What a damaged commit disowned begins behind the one before it: in another segment, if it was the first of this.
        let (mut any, mut damaged) = (false, false);
        while let Some(item) = scanner.next()? {
            let Item::Record(offset, header) = item else {
                damaged = true;
                continue;
            };
            if header.kind != RecordKind::Commit {
                continue;
            }
            let payload = scanner.payload(offset, header.len)?.filter(|payload| header.checks(payload));
            let Some(commit) = payload.and_then(|payload| Commit::decode(payload).ok()) else {
                damaged = true;
                continue;
            };
            if !any && damaged && commit.proven.segment == segment {
                return Ok(None);
            }
            any = true;
            // A damaged commit of another segment is known for one by this alone.
            let before = commit.proven;
            if self.absent.contains(&before.segment) && !lost.contains(&before.segment) {
                return Ok(None);
            }
            if before.segment != segment && !self.stands(before)? {
                stretches.push((before.start_point(), before.end_point()));
            }
            if commit.proven.end_point() < commit.first {
                stretches.push((commit.proven.end_point(), commit.first));
            }
        }
        if !any && damaged {
            return Ok(None);
        }
        Ok(Some(stretches))
    }

    /// Whether a commit can be read where another says that it stands; also when its segment is gone.
    fn stands(&self, at: LogPosition) -> Result<bool, LogError> {
        // PA
        let Some(known) = self.segments.get(&at.segment).filter(|_| !self.condemned.contains(&at.segment)) else {
            return Ok(true);
        };
        let file = self.handles.get(at.segment)?;
        let mut scanner = Scanner::new(&*file, &known.binding, at.commit, known.len.min(at.end));
        let Some(Item::Record(offset, header)) = scanner.next()? else { return Ok(at.end <= at.commit) };
        let payload = scanner.payload(offset, header.len)?;
        Ok(header.kind == RecordKind::Commit && payload.is_some_and(|payload| header.checks(payload)))
    }

    /// What stands there. A proof may be in the system's cache only, and gone one day.
    fn within(&self, segment: SegmentId, from: u32, to: u32) -> Result<Within, LogError> {
        // PA
        let known = self.segments.get(&segment).ok_or(LogError::NoSegment(segment))?;
        let file = self.handles.get(segment)?;
        // Behind the end of the log there may be some that an opening left for the sake of the parity among them.
        let end = u32::try_from(file.len()?).unwrap_or(u32::MAX).min(to);
        let mut scanner = Scanner::new(&*file, &known.binding, from, end);
        let mut within = Within::Nothing;
        while let Some(item) = scanner.next()? {
            match item {
                Item::Record(_, header) if header.kind.is_upkeep() => within = Within::Upkeep,
                _ => return Ok(Within::History),
            }
        }
        Ok(within)
    }

    /// Writes what stands there once more, to where it stands, and syncs it: whoever wrote it may have seen that fail, on a disk
    /// that then did not let it be taken back. Whether it is durable now; where something before it has rotted, it is left as it is.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the machine is gone.
    fn make_upkeep_sure(&mut self, segment: SegmentId, from: u32, to: u32) -> Result<bool, LogError> {
        // PA
        let here = Point { segment, offset: from };
        if self.sure_upkeep.contains(&here) {
            return Ok(true);
        }
        let written = self.disk.open(Volume::Blocks, &segment.file_name(), OpenMode::Write).and_then(|file| {
            // What was healed before it may be in the system's cache alone.
            file.sync()?;
            let end = u32::try_from(file.len()?).unwrap_or(u32::MAX).min(to);
            Ok((file, end))
        });
        // A crash may tear it meanwhile: nothing may need it then.
        if written.is_ok() && !self.is_whole(here)? {
            return Ok(false);
        }
        let known = self.segments.get(&segment).ok_or(LogError::NoSegment(segment))?;
        let sure = match written {
            Ok((file, end)) => match verbatim(&file, &known.binding, from, end, &mut |_, _, _| {})? {
                Some(bytes) => file.write_at(u64::from(from), &[&bytes]).and_then(|()| file.sync()).map(|()| true),
                None => Ok(false),
            },
            Err(error) => Err(error),
        };
        match sure {
            Ok(true) => drop(self.sure_upkeep.insert(here)),
            Err(error) if error.failure == DiskFailure::Crashed => return Err(error.into()),
            Ok(false) | Err(_) => return Ok(false),
        }
        Ok(true)
    }
}
