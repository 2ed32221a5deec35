//! What the end of a log is worth: which commit proves what, and what becomes of a batch in doubt.

use super::commit::FoundCommit;
use super::handles::Handles;
use super::inventory::Inventory;
use super::parity::RECORDS_OF_GROUP;
use super::place::Point;
use super::proof::is_parity_behind;
use super::record::{HEADER_LEN, RecordHeader};
use super::recovery::TornBatch;
use super::scan::{Fetched, fetch};
use super::tail::{Tail, examine, find_tail};
use super::{LogError, LogPosition, RecordKind};
use crate::env::Disk;
use crate::planted::{Bug, planted};

/// What to do about the end of the log.
pub(super) struct Verdict {
    /// Everything up to here is history and stays where it is.
    pub(super) proven: LogPosition,
    /// The batch that is whole and moves to a fresh segment.
    pub(super) kept: Option<FoundCommit>,
    pub(super) torn: Option<TornBatch>,
    /// The commit whose note and list of segments count.
    pub(super) effective: Option<FoundCommit>,
    /// Whether the log ends exactly behind a commit that leaves nothing in doubt.
    pub(super) clean: bool,
    /// Whether a crash tore parity at the end, which is made good as rot is.
    pub(super) torn_parity: bool,
}

/// [`find_tail`], by two looks where something could be dropped: what was misread by chance is read the next time.
pub(super) fn look_for_tail<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    from: Option<LogPosition>,
) -> Result<Option<Tail>, LogError> {
    // PA
    let first = find_tail(inventory, handles, from);
    let sure = |tail: &Tail| {
        let FoundCommit { at, commit } = &tail.last;
        let is_proof = || commit.lasting == 0 && tail.earlier.first().is_some_and(|before| before.at == commit.proven);
        at.end_point() == newest(inventory) && (from.is_some_and(|from| *at <= from) || is_proof())
    };
    let decides = match &first {
        Ok(tail) => tail.as_ref().is_some_and(sure),
        Err(error) => !matches!(error, LogError::CheckpointAhead(_)),
    };
    if decides || planted(Bug::OneLookDecides) {
        return first;
    }
    match (first, find_tail(inventory, handles, from)) {
        (Ok(Some(first)), Ok(Some(second))) => Ok(Some(first.and(second, from))),
        (Ok(Some(tail)), Ok(None) | Err(LogError::CheckpointAhead(_))) => Ok(Some(tail)),
        (_, second) => second,
    }
}

/// Where the newest segment ends.
fn newest(inventory: &Inventory) -> Point {
    let newest = inventory.segments.last_key_value();
    newest.map_or(Point::default(), |(id, present)| Point { segment: *id, offset: present.len })
}

/// Decides what the end of the log is worth.
pub(super) fn judge<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    tail: &Tail,
    from: Option<LogPosition>,
    verify: &dyn Fn(RecordKind, &[u8]) -> bool,
) -> Result<Verdict, LogError> {
    // PA
    let last = &tail.last;
    let mut checkpoint = from.unwrap_or_default();
    if planted(Bug::LastBatchTrusted) {
        checkpoint = checkpoint.max(last.at);
    }
    let newest = newest(inventory);
    // A checkpoint was made after its commit returned: it leaves nothing in doubt, whatever became of the record.
    if last.at <= checkpoint {
        let clean = last.at == checkpoint && newest == last.at.end_point();
        return Ok(Verdict {
            proven: checkpoint,
            kept: None,
            torn: None,
            effective: Some(last.clone()),
            clean,
            torn_parity: false,
        });
    }
    // A batch of nothing but parity holds nothing that was promised. It stays where it is, even damaged, as long as one
    // of the lists of each group is intact: then it can be repaired, and may be what repairs the records before it.
    let upkeep = if last.commit.lasting == 0 { Some(examine(inventory, handles, last, verify)?) } else { None };
    if let Some(state) = upkeep
        && (state.whole || state.groups > 0 && state.groups >= last.commit.records / RECORDS_OF_GROUP)
    {
        let clean = newest == last.at.end_point();
        let torn_parity = !state.whole;
        let effective = Some(last.clone());
        return Ok(Verdict { proven: last.at, kept: None, torn: None, effective, clean, torn_parity });
    }
    // What stands right behind it was written after its sync: it was acknowledged, and what is damaged of it is rot.
    if is_parity_behind(inventory, handles, last.at)? {
        let effective = Some(last.clone());
        return Ok(Verdict { proven: last.at, kept: None, torn: None, effective, clean: false, torn_parity: false });
    }
    let all = || found(tail);
    let proven = all().map(|found| found.commit.proven).max().unwrap_or_default().max(checkpoint);
    let mut torn = None;
    for found in all().filter(|found| found.at > proven) {
        let state = examine(inventory, handles, found, verify)?;
        if state.whole {
            let (kept, effective) = (Some(found.clone()), Some(found.clone()));
            return Ok(Verdict { proven, kept, torn: None, effective, clean: false, torn_parity: false });
        }
        if found.commit.lasting > 0 {
            torn = Some(TornBatch { commit: found.at, records: found.commit.lasting, intact: state.intact });
        }
    }
    let effective = all().find(|found| found.at <= proven).cloned();
    Ok(Verdict { proven, kept: None, torn, effective, clean: false, torn_parity: false })
}

/// All commits that were found, newest first.
pub(super) fn found(tail: &Tail) -> impl Iterator<Item = &FoundCommit> {
    core::iter::once(&tail.last).chain(&tail.earlier)
}

/// Makes sure that a commit which was not found is not there.
///
/// # Errors
/// [`LogError::Disk`] when the disk does not let it be read; [`LogError::Unstable`] when it does by now.
pub(super) fn is_rotten<D: Disk>(inventory: &Inventory, handles: &Handles<D>, at: LogPosition) -> Result<(), LogError> {
    // PA
    match read_commit(inventory, handles, at)? {
        Some(_) => Err(LogError::Unstable { segment: at.segment, offset: at.commit }),
        None => Ok(()),
    }
}

/// The commit that stands at a place.
///
/// # Errors
/// [`LogError::Disk`] when the disk does not let it be read.
pub(super) fn read_commit<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    at: LogPosition,
) -> Result<Option<FoundCommit>, LogError> {
    // PA
    let Some(present) = inventory.segments.get(&at.segment) else { return Ok(None) };
    let room = present.len.saturating_sub(at.commit);
    let mut record = vec![0; at.end.saturating_sub(at.commit).min(room) as usize];
    if let Fetched::Unreadable(error) = fetch(&*handles.get(at.segment)?, u64::from(at.commit), &mut record)? {
        return Err(error.into());
    }
    let header = RecordHeader::decode(&record, &present.binding, at.commit, u64::from(room));
    Ok(header.filter(|header| header.kind == RecordKind::Commit).and_then(|header| {
        let payload = record.get(HEADER_LEN..)?.get(..header.len as usize)?;
        FoundCommit::read(at, &header, payload)
    }))
}
