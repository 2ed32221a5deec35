//! What opening writes: next to nothing behind a clean end, else a fresh segment.

use super::active::Active;
use super::commit::{Batch, FoundCommit, SECTOR_LEN};
use super::handles::Handles;
use super::inventory::{Inventory, Present};
use super::place::Point;
use super::proof::may_have_parity_after;
use super::reader::{Shown, show, verbatim};
use super::record::{HEADER_LEN, RecordHeader};
use super::recovery::Recovery;
use super::rest::Rest;
use super::scan::{Item, Scanner};
use super::segment::FIRST_RECORD;
use super::tail::{Tail, deliver, either_finds, examine, walk};
use super::upkeep::{TakenUp, take_up};
use super::verdict::{Verdict, read_commit};
use super::writer::withdraw;
use super::{DamagedRange, Log, LogError, LogPosition, RecordKind, RecordView, Segment, SegmentId};
use crate::env::{Disk, DiskFailure, DiskFile, OpenMode, Volume};
use crate::planted::{Bug, planted};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Shows a record to whoever opened the log.
type Visit<'v> = dyn FnMut(RecordView<'_>) -> Result<(), LogError> + 'v;

impl<D: Disk> Log<D> {
    /// Makes a last commit that is kept where it stands durable, with all before it: the process that wrote it may have
    /// been killed before its sync.
    ///
    /// If that sync fails, the commit may be in the system's cache alone for good, and the next to open would not know that no
    /// sync writes it any more. So a proof is taken back, as a commit is whose sync failed. The parity that it proves stays: it
    /// says as much of the commit before, that whoever wrote it knew that to be durable. But where anything before it is damaged,
    /// the proof may be all that holds the end of the log together, and it stays too.
    ///
    /// # Errors
    /// [`LogError::Disk`].
    pub(super) fn make_sure(
        &mut self,
        inventory: &Inventory,
        tail: &Tail,
        mended: &mut Vec<DamagedRange>,
    ) -> Result<(), LogError> {
        // PA
        let last = &tail.last;
        let file = self.disk.open(Volume::Blocks, &last.at.segment.file_name(), OpenMode::Write)?;
        let proven = tail.earlier.first().filter(|before| is_proof_of(last, before));
        if let Err(error) = file.sync() {
            if error.failure != DiskFailure::Crashed
                && let Some(before) = proven
                && self.is_whole_before(inventory, last.commit.first)?
                && examine(inventory, &self.handles, before, &self.verify)?.whole
                && proven_end(inventory, last, &file)?.is_some()
            {
                withdraw(&file, last.at.start_point());
            }
            return Err(error.into());
        }
        let before = match proven {
            Some(before) => Some(before.clone()),
            None => self.restored_before(inventory, last, mended)?,
        };
        match before {
            Some(before) => self.prove_again(inventory, last, &before, mended, &file),
            None => Ok(()),
        }
    }

    /// The commit that a proof proves and that could not be read, once parity has restored it.
    fn restored_before(
        &mut self,
        inventory: &Inventory,
        last: &FoundCommit,
        mended: &mut Vec<DamagedRange>,
    ) -> Result<Option<FoundCommit>, LogError> {
        // PA
        let at = last.commit.proven;
        if last.commit.records == 0 || !is_proof(last) {
            return Ok(None);
        }
        // As long as the proof is in doubt, so is all that it proves: nothing may become zeros.
        let proven_from = core::mem::take(&mut self.durable_from);
        let healed = self.heal_before(inventory, at.end_point(), mended);
        self.durable_from = proven_from;
        healed?;
        match either_finds(|| read_commit(inventory, &self.handles, at)) {
            Err(LogError::Disk(error)) if error.failure != DiskFailure::Crashed => Ok(None),
            found => found,
        }
    }

    /// Writes a proof and its parity once more, to where they stand, and syncs them. A sync of them may have failed before, on a
    /// disk that then did not take the mark of that either: they are in the system's cache alone, and no sync writes them any
    /// more (Rebello et al., ATC'20). The commit before was synced before they were written.
    ///
    /// A crash may tear them meanwhile. So that is done only where the log holds together without, once what has rotted before
    /// them is healed. Where that cannot be, the proof may be all that says that what is damaged was acknowledged.
    fn prove_again(
        &mut self,
        inventory: &Inventory,
        last: &FoundCommit,
        before: &FoundCommit,
        mended: &mut Vec<DamagedRange>,
        file: &D::File,
    ) -> Result<(), LogError> {
        // PA
        // As long as they are in doubt, so is what they prove: nothing of it may become zeros.
        let proven_from = core::mem::replace(&mut self.durable_from, before.unproven_from());
        let spare = match self.heal_before(inventory, last.commit.first, mended) {
            Ok(true) if !is_upkeep(before) => self.heal_batch(inventory, before, mended),
            other => other,
        };
        self.durable_from = proven_from;
        let (Some(present), true) = (inventory.segments.get(&last.at.segment), spare?) else { return Ok(()) };
        // Torn parity is healed later. A crash may have torn of the proof what no checksum covers: what fills it up.
        let end = proven_end(inventory, last, file)?;
        let parity_is_whole = end.is_some();
        let pieces = match end {
            Some(pieces) => pieces,
            None => {
                let LogPosition { commit, end, .. } = last.at;
                let proof = || verbatim(file, &present.binding, commit, end, &mut |_, _, _| {});
                either_finds(proof)?.map(|bytes| Piece { offset: commit, bytes }).into_iter().collect()
            }
        };
        for Piece { offset, bytes } in pieces.iter().filter(|_| !planted(Bug::ProofBelieved)) {
            match file.write_at(u64::from(*offset), &[bytes]) {
                // Where what is written over takes room of its own, a full disk must still open.
                Err(error) if error.failure == DiskFailure::Full => return Ok(()),
                written => written?,
            }
            if let Err(error) = file.sync() {
                if parity_is_whole && error.failure != DiskFailure::Crashed {
                    withdraw(file, last.at.start_point());
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Goes on writing to the last segment, right behind its last commit, which is known to be durable. `proof` says that
    /// it holds nothing. What is damaged of the segment is healed first: a crash may have torn parity that was written again
    /// (see [`Self::make_sure`]), and what that covers may rot before anybody else looks. What was healed is added to `healed`.
    ///
    /// # Errors
    /// [`LogError::Disk`].
    pub(super) fn resume(
        &mut self,
        last: &FoundCommit,
        proof: bool,
        healed: &mut Vec<DamagedRange>,
    ) -> Result<(), LogError> {
        // PA
        let FoundCommit { at, commit } = last;
        let Some(segment) = self.segments.get(&at.segment).cloned() else { return Ok(()) };
        self.ends_with_proof = commit.lasting == 0 && commit.records > 0;
        if self.options.leave_end && proof {
            self.rest = Rest::Proven(*at);
            return Ok(());
        }
        let file = Arc::new(self.disk.open(Volume::Blocks, &at.segment.file_name(), OpenMode::Write)?);
        let group_len = self.options.parity_group_len;
        let fresh = || Active::new(at.segment, file.clone(), segment.binding.clone(), at.end, group_len);
        let (mut active, mut taken_up) = take_up(fresh, self.verify)?;
        if !taken_up.intact {
            match self.repair(at.segment) {
                Ok(report) => healed.extend(report.healed),
                Err(error) if self.poisoned.is_some() => return Err(error),
                Err(_) => {}
            }
            (active, taken_up) = take_up(fresh, self.verify)?;
        }
        let TakenUp { intact, refused, covered, .. } = taken_up;
        if refused {
            self.refused.insert(at.segment, 0);
        }
        // A segment that is damaged is left as it is; the next append starts another.
        if intact {
            self.has_content = true;
            // A process that was killed before it rested has left a last commit without parity, which the checkpoint may
            // know to be durable all the same.
            if covered && commit.lasting == 0 && commit.records > 0 {
                self.rest = Rest::Proven(*at);
            }
            self.active = Some(active);
        }
        Ok(())
    }

    /// Frees the space of what lies behind the last commit: nothing there was acknowledged, and nothing proves anything.
    /// Returns how many bytes that was. The parity of what lies before it may be there, too: that goes once it is not needed,
    /// neither to restore anything nor to say that a damaged batch was acknowledged.
    pub(super) fn drop_uncommitted(
        &mut self,
        inventory: &mut Inventory,
        tail: &Tail,
        last: LogPosition,
        mended: &mut Vec<DamagedRange>,
    ) -> Result<u64, LogError> {
        // PA
        let mut bytes = 0;
        let mut needed = may_have_parity_after(inventory, &self.handles, last)?;
        if needed {
            // What was healed may be in the system's cache alone.
            self.disk.open(Volume::Blocks, &last.segment.file_name(), OpenMode::Write)?.sync()?;
            needed = !(self.heal_before(inventory, last.end_point(), mended)?
                && (tail.last.at != last || self.heal_batch(inventory, &tail.last, mended)?));
        }
        for (id, present) in inventory.segments.range_mut(last.segment..) {
            if *id > last.segment {
                bytes += u64::from(present.len.saturating_sub(FIRST_RECORD));
                self.handles.forget(*id);
                // A commit may stand there whole which was taken back. Should a crash undo that, and the removal, it would disown
                // whatever was written since.
                let name = id.file_name();
                let file = self.disk.open(Volume::Blocks, &name, OpenMode::Write)?;
                file.truncate(u64::from(present.len.min(FIRST_RECORD)))?;
                file.sync()?;
                self.disk.remove(Volume::Blocks, &name)?;
            } else if present.len > last.end && !needed {
                let file = self.disk.open(Volume::Blocks, &id.file_name(), OpenMode::Write)?;
                // Parity whose proof is missing was no write of anybody's.
                if !holds_only_upkeep(&file, present, last.end_point())? {
                    bytes += u64::from(present.len - last.end);
                }
                file.truncate(u64::from(last.end))?;
                // A checkpoint may pass over it before anything else is synced in this file, and nobody looks there again.
                file.sync()?;
                present.len = last.end;
            }
        }
        inventory.segments.retain(|id, _| *id <= last.segment);
        for id in inventory.unreadable.keys().filter(|id| **id > last.segment) {
            self.disk.rename(Volume::Blocks, &id.file_name(), &id.orphan_name())?;
        }
        Ok(bytes)
    }

    /// Starts a fresh segment with what is kept of the batch in doubt, makes it durable, and shows it.
    pub(super) fn start_anew(
        &mut self,
        inventory: &Inventory,
        verdict: &Verdict,
        verify: &dyn Fn(RecordKind, &[u8]) -> bool,
        visit: &mut Visit<'_>,
        recovery: &mut Recovery,
    ) -> Result<(), LogError> {
        // PA
        let before = self.next_id;
        let (condemned, durable_from) = (self.condemned.clone(), self.durable_from);
        let Err(error) = self.copy_kept(inventory, verdict, verify, recovery) else {
            // From here on the copy is all there is: its commit has deleted what it was copied from. What it still lacks,
            // parity and proof, may fail without it, and is written later.
            let fresh: Vec<SegmentId> = self.segments.range(before..).map(|(id, _)| *id).collect();
            fresh.into_iter().try_for_each(|id| self.show_fresh(id, visit))?;
            match self.settle() {
                Err(LogError::Disk(error)) if error.failure != DiskFailure::Crashed => self.abandon(),
                settled => drop(settled?),
            }
            return Ok(());
        };
        // The copy is worth nothing without its commit; its space may be all there is. But where there was space its commit may
        // be durable by now, and should a crash undo the removal of the file, it would disown whatever was written since.
        // So the file stays, with nothing in it, and the next to open starts behind it.
        let full = matches!(&error, LogError::Disk(disk) if disk.failure == DiskFailure::Full);
        self.active = None;
        for id in self.segments.split_off(&before).into_keys() {
            self.handles.forget(id);
            let name = id.file_name();
            let _ = if full {
                self.disk.remove(Volume::Blocks, &name)
            } else {
                let file = self.disk.open(Volume::Blocks, &name, OpenMode::Write);
                file.and_then(|file| file.truncate(u64::from(FIRST_RECORD)))
            };
        }
        self.batch = Batch::new();
        self.condemned = condemned;
        (self.durable, self.durable_from) = (verdict.proven, durable_from);
        if let Some(effective) = &verdict.effective {
            self.list = effective.commit.segments;
            self.durable_list = self.list;
        }
        recovery.rewritten = 0;
        // It gets its parity once there is room.
        if self.segments.contains_key(&verdict.proven.segment) {
            self.unsealed.insert(verdict.proven.segment);
        }
        // A full disk must still open, or nothing on it could ever be deleted. The first commit that finds space does
        // what is left to do.
        match (&error, &verdict.kept) {
            (LogError::Disk(disk), _) if disk.failure != DiskFailure::Full => Err(error),
            (LogError::Disk(_), None) => Ok(()),
            (LogError::Disk(_), Some(kept)) => {
                recovery.kept_in_place = true;
                self.keep_in_place(inventory, kept, visit)
            }
            _ => Err(error),
        }
    }

    /// Copies what is kept into a fresh segment and commits it. If that fails, all that it was copied from is still there.
    fn copy_kept(
        &mut self,
        inventory: &Inventory,
        verdict: &Verdict,
        verify: &dyn Fn(RecordKind, &[u8]) -> bool,
        recovery: &mut Recovery,
    ) -> Result<(), LogError> {
        // PA
        self.ensure_active()?;
        if let Some(kept) = &verdict.kept {
            let handles = Handles::new(self.disk.clone(), 1);
            let (from, to) = (kept.commit.first, kept.at.start_point());
            let mut batch = Batch::new();
            walk(inventory, &handles, from, to, &|_| false, &mut |scanner, id, item| {
                let Item::Record(offset, header) = &item else { return Ok(()) };
                let Some(present) = inventory.segments.get(&id) else { unreachable!("walked just now") };
                let (at, bytes) = (Point { segment: id, offset: *offset }, header.encode(&present.binding, *offset));
                batch.add(at, header.kind, &bytes);
                if !header.kind.is_content() {
                    return Ok(());
                }
                let checked_len = header.checked_len as usize;
                match show(scanner, id, item, true)? {
                    // The slices of a batch are verified here once more: they may be misread this time.
                    Shown::Record(view) if verify(view.kind, view.payload) => {
                        let (head, rest) = view.payload.split_at(checked_len.min(view.payload.len()));
                        self.append(view.kind, view.flags, &[head, rest])?;
                        recovery.rewritten += 1;
                        Ok(())
                    }
                    // It was whole a moment ago, and is not history yet: better no log than one without it.
                    Shown::Record(view) => Err(LogError::Unstable { segment: id, offset: view.location.offset }),
                    Shown::Damaged(range) => Err(LogError::Unstable { segment: id, offset: range.from }),
                }
            })?;
            if !batch.matches(&kept.commit) && !planted(Bug::TornBatchTaken) {
                return Err(LogError::Unstable { segment: from.segment, offset: from.offset });
            }
        }
        let note = self.note.clone();
        self.commit(&note).map(|_| ())
    }

    /// Makes a batch durable where it is, by a sync alone. It may be durable already, and then a crash would tear what is
    /// written over it. That it is in the system's cache only, after a sync that failed, is what [`Log::commit`] takes care of:
    /// it takes such a commit back, unless the disk is gone by then.
    fn keep_in_place(
        &mut self,
        inventory: &Inventory,
        kept: &FoundCommit,
        visit: &mut Visit<'_>,
    ) -> Result<(), LogError> {
        // PA
        let (first, last) = (kept.commit.first, kept.at);
        for (id, present) in inventory.segments.range(first.segment..=last.segment) {
            self.disk.open(Volume::Blocks, &id.file_name(), OpenMode::Write)?.sync()?;
            self.condemned.remove(id);
            self.unsealed.insert(*id);
            // Parity may stand behind it that it waits for, behind what is none of the log's.
            let len = if *id == last.segment { last.end } else { present.len };
            self.segments.insert(*id, Segment { binding: present.binding.clone(), len });
        }
        self.disk.sync_directory(Volume::Blocks)?;
        (self.durable, self.durable_from) = (last, kept.unproven_from());
        let handles = Handles::new(self.disk.clone(), 1);
        let mut unread = None;
        let mut note = |range| unread = unread.or(Some(range));
        deliver(inventory, &handles, (first, last.start_point()), &|_| false, visit, &mut note)?;
        // It was whole a moment ago. Whoever opened the log would not know of it.
        match unread {
            Some(DamagedRange { segment, from, .. }) => Err(LogError::Unstable { segment, offset: from }),
            None => Ok(()),
        }
    }

    /// Shows the records of a segment that was just written.
    fn show_fresh(&self, id: SegmentId, visit: &mut Visit<'_>) -> Result<(), LogError> {
        // PA
        let Some(segment) = self.segments.get(&id) else { return Ok(()) };
        let file = self.handles.get(id)?;
        let mut scanner = Scanner::new(&*file, &segment.binding, FIRST_RECORD, segment.len);
        while let Some(item) = scanner.next()? {
            match show(&mut scanner, id, item, false)? {
                Shown::Record(view) if view.kind.is_content() => visit(view)?,
                Shown::Record(_) => {}
                Shown::Damaged(range) => return Err(LogError::Unstable { segment: id, offset: range.from }),
            }
        }
        Ok(())
    }

    /// Cuts off what is dead at the end of segments, so that it can never be taken for history.
    pub(super) fn cut_dead_ends(
        &mut self,
        inventory: &Inventory,
        gaps: &[(Point, Point)],
        cut: Point,
        clean: bool,
        healed: &mut Vec<DamagedRange>,
    ) -> Result<(), LogError> {
        // PA
        let mut ends: Vec<Point> = gaps.iter().filter(|gap| gap.0.segment < gap.1.segment).map(|gap| gap.0).collect();
        // A fresh segment's commit is what makes the last end dead.
        if !clean && self.active.is_some() {
            ends.push(cut);
        }
        for end in ends {
            let Some(present) = inventory.segments.get(&end.segment) else { continue };
            let settled = !self.segments.contains_key(&end.segment) || present.len <= end.offset;
            if settled || end.offset < FIRST_RECORD {
                continue;
            }
            let file = self.disk.open(Volume::Blocks, &end.segment.file_name(), OpenMode::Write)?;
            if holds_only_upkeep(&file, present, end)? {
                continue;
            }
            // What goes may be the parity that the rest is waiting for, and all of it is read by the next to look. Where it
            // is waiting still, it stays until then. And what was healed may be in the system's cache alone.
            file.sync()?;
            let at = LogPosition { segment: end.segment, commit: end.offset, end: end.offset };
            if !self.heal_before(inventory, end, healed)? && may_have_parity_after(inventory, &self.handles, at)? {
                continue;
            }
            file.truncate(u64::from(end.offset))?;
            file.sync()?;
            if let Some(segment) = self.segments.get_mut(&end.segment) {
                segment.len = end.offset;
            }
            // A crash tore its parity while it was written behind the fresh segment's commit; or it never had any.
            self.seal_behind(end.segment)?;
        }
        Ok(())
    }
}

/// Whether a last commit holds nothing, and proves this one.
fn is_proof_of(last: &FoundCommit, before: &FoundCommit) -> bool {
    // PA
    is_proof(last) && last.commit.proven == before.at
}

/// Whether a commit holds nothing, and what it commits begins in its segment.
fn is_proof(last: &FoundCommit) -> bool {
    // PA
    is_upkeep(last) && last.commit.first.segment == last.at.segment
}

/// Whether a commit holds nothing: as it stands there, what has rotted of its batch needs no later one to say that it was
/// acknowledged.
const fn is_upkeep(found: &FoundCommit) -> bool {
    // PA
    found.commit.lasting == 0
}

/// A part of a log's end that is written at once.
struct Piece {
    offset: u32,
    bytes: Vec<u8>,
}

/// A last commit that holds nothing, and the parity that it commits, byte for byte; `None` if any of it is not as it was written.
/// In pieces of which a crash may tear one: they have no sector in common, and of each group one list is left.
///
/// # Errors
/// [`LogError::Disk`] when the machine is gone.
fn proven_end<F: DiskFile>(
    inventory: &Inventory,
    last: &FoundCommit,
    file: &F,
) -> Result<Option<Vec<Piece>>, LogError> {
    // PA
    let (from, to) = (last.commit.first.offset, last.at.end);
    either_finds(|| {
        let Some(present) = inventory.segments.get(&last.at.segment) else { return Ok(None) };
        let (mut batch, mut starts) = (Batch::new(), BTreeSet::from([from]));
        let add = &mut |offset: u32, header: &RecordHeader, bytes: &[u8; HEADER_LEN]| {
            if matches!(header.kind, RecordKind::ParityList | RecordKind::Commit) {
                starts.insert((offset / SECTOR_LEN * SECTOR_LEN).max(from));
            }
            if offset < last.at.commit {
                batch.add(Point { segment: last.at.segment, offset }, header.kind, bytes);
            }
        };
        let Some(bytes) = verbatim(file, &present.binding, from, to, add)? else { return Ok(None) };
        if batch.lasting > 0 || !batch.matches(&last.commit) {
            return Ok(None);
        }
        let ends = starts.iter().skip(1).copied().chain([to]);
        let pieces = starts.iter().zip(ends).filter_map(|(start, end)| {
            let bytes = bytes.get((start - from) as usize..(end - from) as usize)?;
            Some(Piece { offset: *start, bytes: bytes.to_vec() })
        });
        Ok(Some(pieces.collect()))
    })
}

/// Whether what lies behind `end` in its segment is intact, and no more than parity and a footer.
fn holds_only_upkeep<F: DiskFile>(file: &F, present: &Present, end: Point) -> Result<bool, LogError> {
    let mut scanner = Scanner::new(file, &present.binding, end.offset, present.len);
    while let Some(item) = scanner.next()? {
        match show(&mut scanner, end.segment, item, true)? {
            Shown::Record(view) if view.kind.is_upkeep() => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}
