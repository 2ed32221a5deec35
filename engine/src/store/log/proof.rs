//! The proof at the end of a log that rested: the commit that [`Log::settle`](super::Log::settle) makes behind the parity of
//! everything before it. It holds nothing itself, so that a log which lost it has lost nothing; what has to be shown is
//! that it was the proof which stood there.

use super::commit::{Batch, Commit, FoundCommit};
use super::handles::Handles;
use super::inventory::Inventory;
use super::parity::ParityList;
use super::place::{Damage, Point};
use super::reader::{Shown, show};
use super::record::{RecordHeader, padding, record_len};
use super::scan::{Item, Scanner};
use super::sectors::{SECTOR_LEN, is_refused};
use super::segment::Binding;
use super::tail::{Tail, either_finds, either_look, walk};
use super::{DamagedRange, FIRST_RECORD, Log, LogError, LogPosition, RecordFlags, RecordKind, Recovery};
use crate::codec::Canonical;
use crate::env::{Disk, DiskError, DiskFailure, DiskFile, OpenMode, Volume};
use crate::store::PHYSICAL_LEN;
use core::ops::Range;
use std::collections::BTreeSet;

/// The commit that [`Log::settle`] made at the end, if it is damaged: it holds nothing, and the checkpoint made after it
/// knows where it stood. It is made again, with the parity between it and the commit before.
pub(super) fn lost_proof<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    tail: &Tail,
    from: Option<LogPosition>,
) -> Result<Option<DamagedRange>, LogError> {
    // PA
    let last = tail.last.at;
    let Some(proof) = from.filter(|from| last.segment == from.segment && last.end < from.commit) else {
        return Ok(None);
    };
    // What stands behind it has no commit, and goes with it.
    let newest = inventory.segments.last_key_value().map(|(id, present)| (*id, present.len));
    if newest.is_none_or(|(id, len)| id != proof.segment || len < proof.end) || !inventory.unreadable.is_empty() {
        return Ok(None);
    }
    let range = DamagedRange {
        segment: proof.segment,
        from: proof.commit,
        to: proof.end,
        what: Damage::Record(RecordKind::Commit),
    };
    let groups = groups(inventory, handles, last.end_point(), proof.start_point())?.places;
    // Side by side from the one commit to the other, there is room for nothing else.
    let mut at = u64::from(last.end);
    for (start, end) in &groups {
        if u64::from(*start) != at {
            return Ok(None);
        }
        at = *end;
    }
    Ok((!groups.is_empty() && at == u64::from(proof.commit)).then_some(range))
}

impl<D: Disk> Log<D> {
    /// Writes damaged proofs again, byte for byte. Parity covers them only if more was written behind them, and a segment with
    /// damage in it is given no more parity and no footer.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the machine is gone, or what was written cannot be synced.
    pub(super) fn mend_proofs(&mut self, recovery: &mut Recovery) -> Result<(), LogError> {
        // PA
        let commits = recovery.damaged.iter().filter(|range| range.what == Damage::Record(RecordKind::Commit));
        for range in commits.copied().collect::<Vec<DamagedRange>>() {
            let Some(proof) = self.lost_proof_of(&range)? else { continue };
            let mut stands = vec![0; proof.len()];
            let file = self.disk.open(Volume::Blocks, &range.segment.file_name(), OpenMode::Write);
            let mended = file.and_then(|file| {
                // It may have been misread.
                let read = file.read_at(u64::from(range.from), &mut stands);
                if read.is_ok() && stands == proof {
                    return Ok(None);
                }
                file.write_at(u64::from(range.from), &[&proof]).map(|()| Some(file))
            });
            match mended {
                Ok(Some(file)) => file.sync()?,
                Ok(None) => {
                    recovery.damaged.retain(|damaged| *damaged != range);
                    continue;
                }
                Err(error) if error.failure == DiskFailure::Crashed => return Err(error.into()),
                Err(_) => continue,
            }
            recovery.damaged.retain(|damaged| *damaged != range);
            recovery.mended.push(range);
            if range.segment < self.durable.segment {
                self.seal_behind(range.segment)?;
            } else if self.active.is_none() {
                self.unsealed.insert(range.segment);
            }
        }
        Ok(())
    }

    /// What a damaged commit was, if it was a proof before the last commit: a commit, parity right behind it, and then this.
    /// Its batch was that parity and nothing else.
    fn lost_proof_of(&self, range: &DamagedRange) -> Result<Option<Vec<u8>>, LogError> {
        // PA
        let id = range.segment;
        let is_before_last = Point { segment: id, offset: range.to } <= self.durable.start_point();
        let may_be_written = !self.options.leave_end || id < self.durable.segment;
        let Some(segment) = self.segments.get(&id).filter(|_| is_before_last && may_be_written) else {
            return Ok(None);
        };
        let Ok(file) = self.handles.get(id) else { return Ok(None) };
        proof_at(&*file, &segment.binding, range)
    }

    /// Writes the proof at the end again, which has rotted, and syncs it: nothing of what stands before it is touched. Whether it
    /// stands there now.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the machine is gone, or what was written cannot be synced.
    pub(super) fn write_last_proof(&self, inventory: &Inventory, range: &DamagedRange) -> Result<bool, LogError> {
        // PA
        let Some(present) = inventory.segments.get(&range.segment) else { return Ok(false) };
        let refuses = |error: &DiskError| error.failure != DiskFailure::Crashed;
        let file = match self.disk.open(Volume::Blocks, &range.segment.file_name(), OpenMode::Write) {
            Err(error) if refuses(&error) => return Ok(false),
            file => file?,
        };
        // Of a sector that cannot be read the disk takes no part.
        let from = u64::from(range.from) / PHYSICAL_LEN * PHYSICAL_LEN;
        let to = u64::from(range.to).next_multiple_of(PHYSICAL_LEN).min(u64::from(present.len));
        for sector in (from..to).step_by(SECTOR_LEN as usize) {
            if is_refused(&file, sector, to.min(sector + SECTOR_LEN))? {
                return Ok(false);
            }
        }
        let Some(proof) = either_finds(|| proof_at(&file, &present.binding, range))? else { return Ok(false) };
        match file.write_at(u64::from(range.from), &[&proof]) {
            Err(error) if refuses(&error) => return Ok(false),
            written => written?,
        }
        file.sync()?;
        Ok(true)
    }
}

/// What a damaged commit was, if all before it says that it proved another, with nothing but parity between the two.
fn proof_at<F: DiskFile>(file: &F, binding: &Binding, range: &DamagedRange) -> Result<Option<Vec<u8>>, LogError> {
    // PA
    let mut scanner = Scanner::new(file, binding, FIRST_RECORD, range.from);
    let (mut last, mut batch) = (None, Batch::new());
    while let Some(item) = scanner.next()? {
        match item {
            Item::Record(offset, header) if header.kind == RecordKind::Commit => {
                let Some(payload) = scanner.payload(offset, header.len)? else { return Ok(None) };
                let end = offset + header.record_len() as u32;
                let at = LogPosition { segment: range.segment, commit: offset, end };
                (last, batch) = (FoundCommit::read(at, &header, payload), Batch::new());
            }
            Item::Record(offset, header) if header.kind.is_upkeep() => {
                let bytes = header.encode(binding, offset);
                batch.add(Point { segment: range.segment, offset }, header.kind, &bytes);
            }
            _ => last = None,
        }
    }
    let (Some(FoundCommit { at, commit }), Some(first)) = (last, batch.first) else { return Ok(None) };
    let proof =
        Commit { proven: at, first, records: batch.records, lasting: batch.lasting, digest: batch.digest(), ..commit };
    let payload = proof.encode_at(range.from);
    let header = RecordHeader::of(RecordKind::Commit, RecordFlags::NONE, payload.len() as u32, &[&payload]);
    let mut bytes = header.encode(binding, range.from).to_vec();
    bytes.extend_from_slice(&payload);
    bytes.extend_from_slice(padding(header.len));
    Ok((bytes.len() as u64 == u64::from(range.to.saturating_sub(range.from))).then_some(bytes))
}

/// The groups of parity between two points of a segment.
#[derive(Debug, Default)]
struct Groups {
    /// From where to where they stand, by what is left of their lists.
    places: BTreeSet<(u32, u64)>,
    /// The disk refused to read something there: there may be more.
    refused: bool,
}

/// Looks for them; what is damaged of parity is none.
fn groups<D: Disk>(inventory: &Inventory, handles: &Handles<D>, from: Point, to: Point) -> Result<Groups, LogError> {
    // PA
    let mut groups = Groups::default();
    walk(inventory, handles, from, to, &|_| false, &mut |scanner, id, item| {
        match show(scanner, id, item, true)? {
            Shown::Record(view) if view.kind == RecordKind::ParityList => {
                if let Ok(list) = ParityList::decode(view.payload) {
                    let end = u64::from(list.second_list) + record_len(view.location.len);
                    groups.places.insert((list.first_list, end));
                }
            }
            Shown::Record(_) => {}
            Shown::Damaged(range) => groups.refused |= range.what.is_refusal(),
        }
        Ok(())
    })?;
    Ok(groups)
}

/// Whether a group of parity begins right behind a commit.
pub(super) fn is_parity_behind<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    commit: LogPosition,
) -> Result<bool, LogError> {
    // PA
    either_look(|| {
        let groups = groups_after(inventory, handles, commit)?;
        Ok(groups.places.iter().any(|(start, _)| *start == commit.end))
    })
}

/// Whether there is parity after a commit in its segment, or may be for all that the disk lets be read.
pub(super) fn may_have_parity_after<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    commit: LogPosition,
) -> Result<bool, LogError> {
    // PA
    either_look(|| {
        let groups = groups_after(inventory, handles, commit)?;
        Ok(groups.refused || !groups.places.is_empty())
    })
}

/// Those in the same segment as a commit, and after it.
fn groups_after<D: Disk>(inventory: &Inventory, handles: &Handles<D>, commit: LogPosition) -> Result<Groups, LogError> {
    let Some(present) = inventory.segments.get(&commit.segment) else { return Ok(Groups::default()) };
    let end = Point { segment: commit.segment, offset: present.len };
    groups(inventory, handles, commit.end_point(), end)
}

/// What the disk refuses to read behind the last commit, where no other can have stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The proof, and parity before it perhaps.
    Proof(DamagedRange),
    /// Parity whose proof was taken back.
    Parity,
}

/// What the disk refuses to read at the end, if no more than parity and the proof can have stood there: then the log ends with
/// the commit before, of which what stands behind it says that it was acknowledged.
///
/// Of a log without a checkpoint this is known by the parity that stands right behind the last commit, and by the file's
/// end, which is where the proof would have ended, or have begun: behind a commit there is never parity but with a proof, or
/// before a footer (see [`make_room`](super::Log::make_room) and [`cover`](super::Log::cover)).
///
/// # Errors
/// [`LogError::Disk`].
pub(super) fn unread_end<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    tail: &Tail,
) -> Result<Option<Unread>, LogError> {
    // PA
    let FoundCommit { at: last, commit } = &tail.last;
    let id = last.segment;
    let ends_there = inventory.segments.last_key_value().filter(|(newest, _)| **newest == id);
    // One without records only disowns, and is none itself.
    let is_none = commit.lasting > 0 || commit.records == 0;
    let Some((_, present)) = ends_there.filter(|_| inventory.unreadable.is_empty() && is_none) else {
        return Ok(None);
    };
    let file = handles.get(id)?;
    let mut scanner = Scanner::new(&*file, &present.binding, last.end, present.len);
    // The group whose list was read last, and how far the disk refused. They stand side by side, with room for nothing else.
    let (mut group, mut refused_to) = (None::<Range<u64>>, 0);
    while let Some(item) = scanner.next()? {
        match show(&mut scanner, id, item, true)? {
            Shown::Record(view) if view.kind == RecordKind::ParityList => match ParityList::decode(view.payload) {
                Ok(list) => {
                    let start = u64::from(list.first_list);
                    let end = u64::from(list.second_list) + record_len(view.location.len);
                    let follows = start == group.as_ref().map_or(u64::from(last.end), |group| group.end);
                    if !follows && group != Some(start..end) {
                        return Ok(None);
                    }
                    group = Some(start..end);
                }
                Err(_) => return Ok(None),
            },
            Shown::Record(view) if view.kind == RecordKind::Parity => {}
            // Before the parity there may have been a batch.
            Shown::Damaged(range) if range.what.is_refusal() && group.is_some() => refused_to = range.to,
            _ => return Ok(None),
        }
    }
    // The second list may be in the same sector.
    let Some(from) = group.and_then(|group| u32::try_from(group.end).ok()) else { return Ok(None) };
    let proof = Commit { proven: *last, first: Point { segment: id, offset: from }, ..commit.clone() };
    let end = u64::from(from) + record_len(proof.encode_at(from).len() as u32);
    Ok(if present.len == from {
        Some(Unread::Parity)
    } else if refused_to == present.len && end == u64::from(present.len) {
        Some(Unread::Proof(DamagedRange { segment: id, from, to: present.len, what: Damage::Unreadable }))
    } else {
        None
    })
}
