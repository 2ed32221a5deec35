//! The proof at the end of a log that rested: the commit that [`Log::settle`](super::Log::settle) makes behind the parity of
//! everything before it. It holds nothing itself, so that a log which lost it has lost nothing; what has to be shown is
//! that it was the proof which stood there.

use super::commit::{Commit, FoundCommit};
use super::handles::Handles;
use super::inventory::Inventory;
use super::parity::ParityList;
use super::place::{Damage, Point};
use super::reader::{Shown, show};
use super::record::record_len;
use super::scan::{Item, Scanner};
use super::tail::{Tail, examine, walk};
use super::{DamagedRange, LogError, LogPosition, RecordKind};
use crate::codec::Canonical;
use crate::env::Disk;

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
    let (mut parity, mut others) = (0, 0);
    walk(inventory, handles, last.end_point(), proof.start_point(), &|_| false, &mut |_, _, item| {
        match item {
            Item::Record(_, header) if header.kind == RecordKind::Parity => parity += 1,
            Item::Record(_, header) if !header.kind.is_upkeep() => others += 1,
            _ => {}
        }
        Ok(())
    })?;
    let what = Damage::Record(RecordKind::Commit);
    let range = DamagedRange { segment: proof.segment, from: proof.commit, to: proof.end, what };
    Ok((parity > 0 && others == 0).then_some(range))
}

/// What the disk refuses to read at the end, if no more than the proof can have stood there: then the log ends with the
/// commit before, whose batch has to be whole.
///
/// Of a log without a checkpoint this is known by the parity that stands right behind the last commit, and by the file's
/// end, which is where the proof would have ended: behind a commit there is never parity but with a proof, or before a footer
/// (see [`make_room`](super::Log::make_room) and [`cover`](super::Log::cover)).
///
/// # Errors
/// [`LogError::Disk`].
pub(super) fn unreadable_proof<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    tail: &Tail,
    verify: &dyn Fn(RecordKind, &[u8]) -> bool,
) -> Result<Option<DamagedRange>, LogError> {
    // PA
    let FoundCommit { at: last, commit } = &tail.last;
    let id = last.segment;
    let ends_there = inventory.segments.last_key_value().filter(|(newest, _)| **newest == id);
    let Some((_, present)) = ends_there.filter(|_| inventory.unreadable.is_empty() && commit.lasting > 0) else {
        return Ok(None);
    };
    let file = handles.get(id)?;
    let mut scanner = Scanner::new(&*file, &present.binding, last.end, present.len);
    let (mut list, mut refused_to) = (None, 0);
    while let Some(item) = scanner.next()? {
        match show(&mut scanner, id, item, true)? {
            Shown::Record(view) if view.kind == RecordKind::ParityList => match ParityList::decode(view.payload) {
                Ok(found) => list = Some((found, view.location.len)),
                Err(_) => return Ok(None),
            },
            Shown::Record(view) if view.kind == RecordKind::Parity => {}
            // Before the parity there may have been a batch.
            Shown::Damaged(range) if range.what == Damage::Unreadable && list.is_some() => refused_to = range.to,
            _ => return Ok(None),
        }
    }
    // The second list may be in the same sector.
    let Some((list, list_len)) = list else { return Ok(None) };
    let Ok(from) = u32::try_from(u64::from(list.second_list) + record_len(list_len)) else { return Ok(None) };
    let proof = Commit { proven: *last, first: Point { segment: id, offset: from }, ..commit.clone() };
    let end = u64::from(from) + record_len(proof.encode_at(from).len() as u32);
    let is_proof = refused_to == present.len && end == u64::from(present.len);
    let range = DamagedRange { segment: id, from, to: present.len, what: Damage::Unreadable };
    Ok((is_proof && examine(inventory, handles, &tail.last, verify)?.whole).then_some(range))
}
