//! Writing what protects records: group parity, and the footer of a segment that takes nothing more.

use super::active::Active;
use super::parity::{Cover, ParityList};
use super::record::{HEADER_LEN, RecordHeader, padding, record_len};
use super::scan::{Fetched, Item, Scanner, fetch};
use super::{FIRST_RECORD, Log, LogError, RecordFlags, RecordKind, SegmentId, Verify};
use crate::codec::Canonical;
use crate::env::{Disk, DiskError, DiskFailure, DiskFile, OpenMode, Volume};
use crate::planted::{Bug, planted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many segments are looked at after a crash for what they may lack.
const LOOKED_AT: usize = 64;
/// How often it is tried to give a segment its parity of which the disk refuses to read something.
const REFUSALS: u8 = 8;
/// How much of a segment's end is read to find its footer, in bytes: most are short. Of a longer one it is found out record
/// by record.
const FOOTER_LOOKS: [u32; 2] = [64 << 10, 4 << 20];

impl<D: Disk> Log<D> {
    /// Writes the parity of what was appended since the last was written. Not durable before the next commit.
    ///
    /// # Errors
    /// [`LogError::Disk`]: what was written of it is taken back, and the call may be repeated.
    pub(super) fn flush_parity(&mut self) -> Result<(), LogError> {
        // PA
        self.writable()?;
        let Some(active) = self.active.as_ref().filter(|active| !active.is_sealed()) else { return Ok(()) };
        let (start, footer, batch) = (active.end(), active.footer.mark(), self.batch.clone());
        let put = self.put_groups();
        let Some(active) = &mut self.active else { unreachable!("put keeps it") };
        match put {
            Ok(()) => active.cover.clear(),
            Err(_) => {
                // A list without its parity, written again by the next attempt, would cover the same bytes twice; and who
                // finds parity takes all that stands before it to be covered.
                active.rewind(start);
                active.footer.reset(footer);
                self.batch = batch;
                if active.is_uncut()
                    && let Err(error) = active.cut()
                {
                    tracing::debug!(%error, "what was taken back goes before the next write");
                }
            }
        }
        put
    }

    fn put_groups(&mut self) -> Result<(), LogError> {
        // PA
        let mut written = 0;
        while let Some(active) = &self.active
            && let Some((list, parity)) = active.cover.group(written)
        {
            let start = active.end();
            self.put_group(list, &parity, start)?;
            written += 1;
        }
        Ok(())
    }

    fn put_group(&mut self, list: ParityList, parity: &[u8], start: u32) -> Result<(), LogError> {
        // PA
        let list = list.placed_at(start, parity.len()).encode();
        for (kind, payload) in group_records(&list, parity) {
            self.put(kind, RecordFlags::NONE, &[payload])?;
        }
        Ok(())
    }

    /// Gives the segments before the last what crashes, or a disk that was full then, left them without. Only the newest are
    /// looked at: a scrub sees to the others.
    ///
    /// # Errors
    /// Those of [`Self::seal_behind`].
    pub(super) fn seal_earlier(&mut self) -> Result<(), LogError> {
        // PA
        let last = match &self.active {
            Some(active) => active.id,
            None if self.options.leave_end => return Ok(()),
            // The end is damaged, or was kept where it is on a full disk: what comes before it may lack its parity all the same.
            None => self.durable.segment,
        };
        let earlier: Vec<SegmentId> = self.segments.range(..last).rev().map(|(id, _)| *id).take(LOOKED_AT).collect();
        for id in earlier {
            match self.ends_with_footer(id) {
                Ok(true) => {}
                // The room that is left is for whoever makes more.
                Ok(false) if self.active.is_none() => drop(self.unsealed.insert(id)),
                Ok(false) => drop(self.seal_behind(id)?),
                Err(LogError::Disk(error)) => drop(self.not_now(id, error)?),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the last record of a segment is a footer, by a look at its end.
    pub(super) fn ends_with_footer(&self, id: SegmentId) -> Result<bool, LogError> {
        // PA
        let Some(segment) = self.segments.get(&id) else { return Ok(false) };
        let file = self.handles.get(id)?;
        for len in FOOTER_LOOKS {
            let from = segment.len.saturating_sub(len).next_multiple_of(8);
            let mut bytes = vec![0; segment.len.saturating_sub(from) as usize];
            let Fetched::Bytes(count) = fetch(&*file, u64::from(from), &mut bytes)? else { return Ok(false) };
            bytes.truncate(count);
            let footer_at = |at: usize| {
                let offset = from + at as u32;
                let room = u64::from(segment.len - offset);
                let header =
                    bytes.get(at..).and_then(|bytes| RecordHeader::decode(bytes, &segment.binding, offset, room));
                header.is_some_and(|header| header.kind == RecordKind::Footer && header.record_len() == room)
            };
            if (0..bytes.len()).step_by(8).rev().any(footer_at) {
                return Ok(true);
            }
            if from <= FIRST_RECORD {
                break;
            }
        }
        Ok(false)
    }

    /// Gives a segment that a crash left without them its parity and its footer. If that fails, it does without until the
    /// next [`Self::settle`].
    ///
    /// # Errors
    /// [`LogError::Disk`] when the machine is gone, or what was written can neither be completed nor taken back.
    pub(super) fn seal_behind(&mut self, id: SegmentId) -> Result<Sealing, LogError> {
        self.seal_from(id, None)
    }

    /// [`Self::seal_behind`], also where it has a footer: what stands from `history_end` on goes.
    ///
    /// # Errors
    /// Those of [`Self::seal_behind`].
    pub(super) fn seal_from(&mut self, id: SegmentId, history_end: Option<u32>) -> Result<Sealing, LogError> {
        // PA
        // Behind the last commit nothing would count, and it may be the end that another process's checkpoint names.
        let Some(segment) = self.segments.get(&id).cloned().filter(|_| id < self.durable.segment) else {
            return Ok(Sealing::NotNow);
        };
        let file = match self.disk.open(Volume::Blocks, &id.file_name(), OpenMode::Write) {
            Ok(file) => Arc::new(file),
            Err(error) => return self.not_now(id, error),
        };
        let behind =
            |written| Active::new(id, file.clone(), segment.binding.clone(), written, self.options.parity_group_len);
        let written = history_end.unwrap_or(segment.len);
        let (mut left, mut taken_up) = take_up(|| behind(written), self.verify)?;
        // What a crash has left of parity, and of nothing else: what follows says that history ends before.
        if let Some(from) = taken_up.damaged_from.filter(|from| self.ends_before(id, *from)) {
            (left, taken_up) = take_up(|| behind(from), self.verify)?;
        }
        let tries = self.refused.remove(&id).unwrap_or(0);
        if taken_up.refused {
            self.refused.insert(id, tries.saturating_add(1));
        }
        if !taken_up.intact || left.footer.is_sealed() {
            return Ok(Sealing::NotNow);
        }
        // What was copied elsewhere may still stand behind its end, and must not shine through what is written there.
        let end = left.written;
        self.sure_upkeep.retain(|at| at.segment != id);
        if let Err(error) = left.cut() {
            return match error {
                LogError::Disk(error) => self.not_now(id, error),
                error => Err(error),
            };
        }
        match seal(&mut left) {
            Ok(()) => {
                self.note_len(id, left.written);
                Ok(Sealing::Done)
            }
            Err(LogError::Disk(error)) if error.failure == DiskFailure::Crashed => Err(error.into()),
            Err(_) => {
                // Not even a crash may bring a part of it back: once compaction has removed the segment whose first commit
                // says that nothing of this one counts from here on, it would be taken for damaged history.
                self.unsealed.insert(id);
                left.file.truncate(u64::from(end))?;
                left.file.sync()?;
                self.note_len(id, end);
                Ok(Sealing::NotNow)
            }
        }
    }

    /// The disk refuses what comes before a segment is given its parity: nothing was written, and it is tried again.
    fn not_now(&mut self, id: SegmentId, error: DiskError) -> Result<Sealing, LogError> {
        if error.failure == DiskFailure::Crashed {
            return Err(error.into());
        }
        self.unsealed.insert(id);
        Ok(Sealing::NotNow)
    }

    /// Whether a segment before the last was to get its parity, and the disk refused.
    #[must_use]
    pub fn lacks_parity(&self) -> bool {
        self.owes_parity() || !self.refused.is_empty()
    }

    /// Whether that may be made good by another [`Self::settle`], with nothing else done. What cannot be read is tried again only
    /// when the log rests the next few times.
    #[must_use]
    pub fn owes_parity(&self) -> bool {
        !self.unsealed.is_empty()
    }

    /// Tries once more to give segments before the last their parity.
    ///
    /// # Errors
    /// Those of [`Self::seal_behind`].
    pub(super) fn seal_unsealed(&mut self) -> Result<(), LogError> {
        // PA
        let mut unsealed = core::mem::take(&mut self.unsealed);
        self.refused.retain(|id, _| self.segments.contains_key(id));
        unsealed.extend(self.refused.iter().filter(|(_, tries)| **tries < REFUSALS).map(|(id, _)| *id));
        for id in unsealed.iter().rev() {
            if let Err(error) = self.seal_behind(*id) {
                self.unsealed.extend(unsealed);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Whether a segment was given its parity and its footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealing {
    /// It had lacked them.
    Done,
    /// It has them, is the last, is damaged, or the disk refused.
    NotNow,
}

/// Appends parity for all that is uncovered, then the footer, and syncs each: a footer says that the parity before it is durable,
/// and that no crash tears it any more.
fn seal<F: DiskFile>(left: &mut Active<F>) -> Result<(), LogError> {
    // PA
    let put = |left: &mut Active<F>, kind, payload: &[u8]| {
        let header = RecordHeader::of(kind, RecordFlags::NONE, payload.len() as u32, &[payload]);
        left.put(&header, &[payload], u32::MAX).map(|_| ())
    };
    let mut written = 0;
    while let Some((list, parity)) = left.cover.group(written) {
        let list = list.placed_at(left.end(), parity.len()).encode();
        for (kind, payload) in group_records(&list, &parity) {
            put(left, kind, payload)?;
        }
        written += 1;
    }
    if written > 0 {
        left.flush()?;
        left.file.sync()?;
    }
    let footer = core::mem::take(&mut left.footer).encode();
    put(left, RecordKind::Footer, &footer)?;
    left.flush()?;
    Ok(left.file.sync()?)
}

/// What follows a group, in order.
fn group_records<'a>(list: &'a [u8], parity: &'a [u8]) -> [(RecordKind, &'a [u8]); 3] {
    [(RecordKind::ParityList, list), (RecordKind::Parity, parity), (RecordKind::ParityList, list)]
}

impl ParityList {
    /// The list as it stands at `start`, with the parity and its copy behind it.
    fn placed_at(mut self, start: u32, parity_len: usize) -> Self {
        self.first_list = start;
        self.parity = start + record_len(self.encode_len()) as u32;
        self.second_list = self.parity + record_len(parity_len as u32) as u32;
        self
    }

    /// Length of the encoding; the offsets, of fixed width, do not matter.
    fn encode_len(&self) -> u32 {
        (1 + 5 * 4 + 4 + 8 * self.extents.len() + 4 + 4 * self.crcs.len()) as u32
    }
}

/// Covers a record that was just written.
pub(super) fn cover_record(
    cover: &mut Cover,
    offset: u32,
    head: &[u8; HEADER_LEN],
    header: &RecordHeader,
    parts: &[&[u8]],
) {
    // PA
    if header.kind.is_upkeep() {
        return;
    }
    cover.push(offset, head);
    let mut at = offset + HEADER_LEN as u32;
    let mut left = if header.flags.is_spread() { header.checked_len as usize } else { usize::MAX };
    for part in parts {
        let covered = part.get(..part.len().min(left)).unwrap_or_default();
        cover.push(at, covered);
        at += covered.len() as u32;
        left -= covered.len();
    }
    if !header.flags.is_spread() {
        cover.push(at, padding(header.len));
    }
}

/// What a segment that goes on being written is like.
pub(super) struct TakenUp {
    /// It is undamaged.
    pub(super) intact: bool,
    /// Where not, and no read was refused: from where on no records can be found.
    pub(super) damaged_from: Option<u32>,
    /// The disk refused to read something of it, and may give it later.
    pub(super) refused: bool,
    /// Parity covers all of it but the commit that says so.
    pub(super) covered: bool,
}

/// Parity that stands between two other records, as far as it was read: that of one group, or of several side by side.
struct ParityRun {
    start: u32,
    /// The directory of what stands before it.
    footer: (u32, usize),
    /// Where the last group ends of which a list is there.
    listed_to: u64,
    /// What the groups cover of which a list and the parity are there, by where it begins: to where.
    covered: BTreeMap<u32, u32>,
    /// A list, the last that was read.
    list: Option<ParityList>,
    /// Where parity stands that is what was written, the last that was read.
    parity: Option<u32>,
}

impl ParityRun {
    fn new(start: u32, footer: (u32, usize)) -> Self {
        Self { start, footer, listed_to: 0, covered: BTreeMap::new(), list: None, parity: None }
    }

    /// Takes in its next record, whose payload is what was written.
    fn add(&mut self, offset: u32, header: &RecordHeader, payload: &[u8]) {
        // PA
        if header.kind == RecordKind::Parity {
            self.parity = Some(offset);
        } else if let Ok(list) = ParityList::decode(payload) {
            self.listed_to = self.listed_to.max(u64::from(list.second_list) + header.record_len());
            self.list = Some(list);
        }
        if let Some(list) = self.list.take_if(|list| self.parity == Some(list.parity)) {
            // The list stands behind it once more.
            self.parity = None;
            list.extents.iter().for_each(|(offset, len)| self.add_extent(*offset, offset.saturating_add(*len)));
        }
    }

    /// Takes in what a group covers, which may go on where another ends.
    fn add_extent(&mut self, from: u32, to: u32) {
        match self.covered.range_mut(..from).next_back() {
            Some((_, end)) if *end == from => *end = to,
            _ => drop(self.covered.insert(from, to)),
        }
    }

    /// Whether all of a record is covered that parity covers of such.
    fn covers(&self, offset: u32, header: &RecordHeader) -> bool {
        // PA
        let len = match header.flags.is_spread() {
            true => (HEADER_LEN as u64).saturating_add(u64::from(header.checked_len)),
            false => header.record_len(),
        };
        let before = self.covered.range(..=offset).next_back();
        before.is_some_and(|(_, end)| u64::from(*end) >= u64::from(offset) + len)
    }
}

/// Reads a segment that goes on being written, which `fresh` gives as if it were not read yet; by a second look where the first
/// finds it damaged, since what was misread by chance is read the next time.
///
/// # Errors
/// [`LogError::Disk`].
pub(super) fn take_up<F: DiskFile>(
    fresh: impl Fn() -> Active<F>,
    verify: Verify,
) -> Result<(Active<F>, TakenUp), LogError> {
    // PA
    let look = || {
        let mut active = fresh();
        take_up_once(&mut active, verify).map(|taken_up| (active, taken_up))
    };
    match look()? {
        (_, taken_up) if !taken_up.intact && !planted(Bug::OneLookDecides) => look(),
        found => Ok(found),
    }
}

/// Its directory, and what of it parity does not cover yet. Parity that is made of rotten bytes would restore them whenever they
/// were healed, so nothing is taken up that does not verify.
///
/// Parity at the end of a segment that has no footer is of a process that did not get so far: whether all of its groups were
/// written, nobody can say. It belongs to no batch, so it goes, and is made again.
///
/// # Errors
/// [`LogError::Disk`].
fn take_up_once<F: DiskFile>(active: &mut Active<F>, verify: Verify) -> Result<TakenUp, LogError> {
    // PA
    const DAMAGED: TakenUp = TakenUp { intact: false, damaged_from: None, refused: false, covered: false };
    const REFUSED: TakenUp = TakenUp { refused: true, ..DAMAGED };
    let mut uncovered = Vec::new();
    // The parity behind the last other record, and whether some of it is torn.
    let (mut parity, mut torn) = (None::<ParityRun>, false);
    let (file, binding) = (active.file.clone(), active.binding.clone());
    let mut scanner = Scanner::new(&*file, &binding, FIRST_RECORD, active.written);
    while let Some(item) = scanner.next()? {
        let (offset, header) = match item {
            Item::Record(offset, header) => (offset, header),
            // What a crash tore of it is no damage.
            Item::Damaged { to, refused: None, .. }
                if parity.as_ref().is_some_and(|run| u64::from(to) <= run.listed_to) =>
            {
                torn = true;
                continue;
            }
            Item::Damaged { from, refused: None, .. } => {
                return Ok(TakenUp { damaged_from: Some(from), ..DAMAGED });
            }
            Item::Damaged { .. } => return Ok(REFUSED),
        };
        if !header.kind.is_upkeep() {
            // It has rotted: it was whole when this came to stand behind it.
            if torn {
                return Ok(DAMAGED);
            }
            // Parity is written between records. Some of it may be gone: nobody can say what that was of.
            if let Some(run) = parity.take() {
                uncovered.retain(|(offset, header)| !run.covers(*offset, header));
            }
            uncovered.push((offset, header));
        } else {
            let run = parity.get_or_insert_with(|| ParityRun::new(offset, active.footer.mark()));
            // Of each record its payload is read once at most.
            if header.kind != RecordKind::Footer
                && let Some(payload) = scanner.payload(offset, header.len)?
                && header.checks(payload)
            {
                run.add(offset, &header, payload);
            }
        }
        active.footer.add(&header);
    }
    if active.footer.is_sealed() {
        uncovered.clear();
    } else if let Some(run) = parity {
        active.footer.reset(run.footer);
        active.rewind(run.start);
    }
    let covered = uncovered.len() <= 1 && uncovered.iter().all(|(_, header)| header.kind == RecordKind::Commit);
    for (offset, header) in uncovered {
        let len = if header.flags.is_spread() { header.checked_len } else { header.len };
        let Some(payload) = scanner.payload(offset, len)? else { return Ok(REFUSED) };
        let whole = header.flags.is_spread() || verify(header.kind, payload);
        if !header.checks(payload) || !whole && !planted(Bug::RotCovered) {
            return Ok(DAMAGED);
        }
        cover_record(&mut active.cover, offset, &header.encode(&binding, offset), &header, &[payload]);
    }
    Ok(TakenUp { intact: true, damaged_from: None, refused: false, covered })
}
