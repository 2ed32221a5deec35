//! The rules of the disk, held against every operation as it is done: no crash is needed to see one broken.
//!
//! Of the log's volume it is remembered what was written and not synced, what a failed sync has made doubtful for ever,
//! which names are not durable, and where commits stand. The index is a cache, and has no rules here but that no two of its
//! records have one nonce.
//!
//! 1. When a client is told that something is done, the last commit that was written is durable: its file was synced after
//!    it, up to its end, and its name is durable.
//! 2. What was written before a sync that failed is never trusted, whatever later syncs say, until it is written again.
//! 3. Up to a commit that a client was told of nothing is written but what stood there, also where a crash tore it, or
//!    zeros for what cannot be read and is to be healed. Nothing there is cut off, unless it is the last batch, and a commit
//!    in a newer file is durable: an opening that does not know whether the last batch is copies it before.
//! 4. When a client is told anything, what was healed before is synced: else it may be rot again after a crash, and was
//!    called healed.
//! 5. A file with a commit in it is removed only right behind a sync: what was alive in it is committed elsewhere.

use super::directory::FileId;
use super::nonces::Nonces;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// How a record of the log begins, and the kind that is a commit (`docs/FORMAT.md`, section 1).
const MAGIC: &[u8] = b"oRec";
const COMMIT: u8 = 16;
const HEADER_LEN: usize = 24;
/// Where a commit says how many of its records could not be made again from the others, behind its own beginning.
const LASTING_AT: usize = 24 + 1 + 8 + 32 + 16 + 12 + 8;

/// Stretches of a file, rising, apart from each other.
#[derive(Clone, Debug, Default)]
struct Stretches(BTreeMap<u64, u64>);

impl Stretches {
    fn add(&mut self, mut stretch: Range<u64>) {
        let touched: Vec<u64> =
            self.0.range(..=stretch.end).filter(|(_, end)| **end >= stretch.start).map(|(start, _)| *start).collect();
        for start in touched {
            if let Some(end) = self.0.remove(&start) {
                stretch = stretch.start.min(start)..stretch.end.max(end);
            }
        }
        self.0.insert(stretch.start, stretch.end);
    }

    fn remove(&mut self, stretch: &Range<u64>) {
        let touched: Vec<(u64, u64)> = self
            .0
            .range(..stretch.end)
            .filter(|(_, end)| **end > stretch.start)
            .map(|(start, end)| (*start, *end))
            .collect();
        for (start, end) in touched {
            self.0.remove(&start);
            if start < stretch.start {
                self.0.insert(start, stretch.start);
            }
            if stretch.end < end {
                self.0.insert(stretch.end, end);
            }
        }
    }

    fn touches(&self, stretch: &Range<u64>) -> bool {
        self.0.range(..stretch.end).next_back().is_some_and(|(_, end)| *end > stretch.start)
    }

    /// The first byte.
    fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(start, _)| *start)
    }
}

/// What is known of a file of the log.
#[derive(Clone, Debug, Default)]
struct Tracked {
    /// What was written to it, whatever became of it since.
    bytes: Vec<u8>,
    /// What was written to it and not synced when the power failed, at its place: what a crash tore may be made whole again.
    torn: Vec<u8>,
    /// Written, and not synced since.
    dirty: Stretches,
    /// Not synced when a sync failed, and not written again since.
    doubtful: Stretches,
    /// How much of it, from its beginning, was synced.
    synced: u64,
    /// What a process in service has healed in it is not synced.
    mending: bool,
    /// Its name may be gone after a crash.
    nameless: bool,
    /// Where the last commit ends that a client was told of.
    told: u64,
    /// And where the one before it does.
    sure: u64,
    /// How much of it another life of the machine has left, of which nobody was told here.
    adopted: u64,
    /// From where on something was to be cut off, and the disk refused.
    uncut: Option<u64>,
    /// Where its first commit ends; none once that is given up.
    first_commit: Option<u64>,
    /// A client was told of a commit in it, whatever became of that since.
    was_told: bool,
}

impl Tracked {
    /// The power fails, and what is not synced may be torn.
    fn note_torn(&mut self) {
        for (start, end) in self.dirty.0.iter().chain(&self.doubtful.0) {
            let (start, end) = (*start as usize, (*end as usize).min(self.bytes.len()));
            if let Some(written) = self.bytes.get(start..end) {
                self.torn.resize(self.torn.len().max(end), 0);
                self.torn[start..end].copy_from_slice(written);
            }
        }
    }
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    files: BTreeMap<FileId, Tracked>,
    /// The last commit that was written by this process and is of more than parity: its file, and where it begins and ends.
    last: Option<(FileId, Range<u64>)>,
    /// The newest file when a client was last told that something is done, and where it ended.
    end_when_told: Option<(FileId, u64)>,
    /// The newest file in which a process has left a durable commit.
    durable: Option<FileId>,
    /// Something was written or cut since the last good sync.
    unsynced: bool,
    /// A process is in service, and not being opened.
    in_service: bool,
    broken: Option<String>,
    /// Those of the index.
    nonces: Nonces,
}

impl Rules {
    fn breaks(&mut self, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    pub(super) const fn serve(&mut self, in_service: bool) {
        self.in_service = in_service;
    }

    /// The first rule that was broken since this was last asked.
    pub(super) const fn take_broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// Something is written to the index: see [`Nonces`].
    pub(super) fn wrote_index(&mut self, offset: u64, bytes: &[u8]) {
        self.nonces.wrote(offset, bytes);
    }

    /// See [`Nonces::take_reused`].
    pub(super) const fn take_reused_nonce(&mut self) -> Option<String> {
        self.nonces.take_reused()
    }

    pub(super) fn created(&mut self, id: FileId) {
        self.files.insert(id, Tracked { nameless: true, ..Tracked::default() });
    }

    /// A file that another life of the machine has left: its bytes are what they are, and no client was told of them here.
    pub(super) fn adopted(&mut self, id: FileId, bytes: Vec<u8>) {
        let adopted = bytes.len() as u64;
        self.files.insert(id, Tracked { bytes, adopted, ..Tracked::default() });
    }

    /// How many bytes from an offset on clients were told of.
    pub(super) fn told_of(&self, id: FileId, offset: u64) -> u64 {
        self.files.get(&id).map_or(0, |file| file.told.saturating_sub(offset))
    }

    /// Where a file ended when a client was last told that something is done, if it was the newest then.
    pub(super) fn end_when_told(&self, id: FileId) -> Option<u64> {
        self.end_when_told.filter(|(newest, _)| *newest == id).map(|(_, end)| end)
    }

    /// Something is written, and that may fail half done; `visible` is what could be read before where clients were told of
    /// it. Rot that stands there still may be written back beside what is healed.
    pub(super) fn wrote(&mut self, id: FileId, offset: u64, bytes: &[u8], visible: &[u8], done: bool) {
        let end = offset + bytes.len() as u64;
        let file = self.files.entry(id).or_default();
        if !done && file.uncut == Some(offset) {
            // Neither cut off nor written over: nobody can do more than try.
            file.doubtful.remove(&(offset..u64::MAX));
            return;
        }
        // What is healed: should it not become durable, it is rot again, or torn by the crash before, and nothing else. An
        // opening that fails to heal it leaves the one or the other, too.
        let range = offset..end;
        let opening = !self.in_service && end <= file.bytes.len() as u64;
        // Zeros stand for what cannot be read, and is healed next.
        let same = || {
            let stood = file.bytes.get(offset as usize..end as usize).filter(|_| end <= file.synced);
            stood.is_some_and(|stood| stood.iter().zip(bytes).all(|(stood, new)| stood == new || *new == 0))
        };
        // However much of it was written, it is what stood there.
        let exact = || end <= file.synced && file.bytes.get(offset as usize..end as usize) == Some(bytes);
        let heals =
            !file.dirty.touches(&range) && !file.doubtful.touches(&range) && (opening || exact() || done && same());
        let known = file.told.min(end);
        let kept = usize::try_from(known.saturating_sub(offset)).unwrap_or(0);
        let stood = file.bytes.get(offset as usize..).and_then(|stood| stood.get(..kept));
        let torn = file.torn.get(offset as usize..).unwrap_or_default();
        let differs = match stood {
            Some(stood) if stood == &bytes[..kept] => None,
            Some(stood) => stood.iter().zip(bytes).enumerate().position(|(at, (stood, new))| {
                stood != new && *new != 0 && visible.get(at) != Some(new) && torn.get(at) != Some(new)
            }),
            None => (kept > 0).then_some(0),
        };
        file.bytes.resize(file.bytes.len().max(end as usize), 0);
        // Of what is protected it is remembered what it should be, and of what was synced, where only repair writes.
        let synced = usize::try_from(file.synced.min(end).saturating_sub(offset)).unwrap_or(0).max(kept);
        let remembered = if heals { kept } else { synced };
        let stood = &mut file.bytes[offset as usize + remembered..end as usize];
        // Zeros behind what clients were told of mark a commit that is none, or come before what heals.
        let marks = offset >= file.told && bytes.iter().all(|byte| *byte == 0);
        file.mending |= heals && done && self.in_service && !marks;
        if heals {
            // Zeros may stand for what cannot be read, and is healed next.
            let told = stood.iter_mut().zip(&bytes[remembered..]).filter(|(_, new)| **new != 0);
            told.for_each(|(stood, new)| *stood = *new);
        } else {
            stood.copy_from_slice(&bytes[remembered..]);
            for (lost, new) in file.torn.iter_mut().skip(offset as usize).zip(bytes) {
                *lost = *new;
            }
            file.dirty.add(range.clone());
            if done {
                file.doubtful.remove(&range);
            }
        }
        self.unsynced = true;
        if let Some(differs) = differs {
            let at = offset + differs as u64;
            let piece = |bytes: &[u8], at: usize| -> String {
                bytes.iter().skip(at).take(8).map(|byte| format!("{byte:02x}")).collect()
            };
            let stood = self.files.get(&id).map(|file| piece(&file.bytes, at as usize)).unwrap_or_default();
            let new = piece(bytes, differs);
            self.breaks(|| {
                format!(
                    "byte {at} of a file is written over by {offset}..{end}, {stood} with {new}, and clients were told of {known}"
                )
            });
        }
        self.find_commits(id, offset, bytes);
    }

    /// The log writes whole records. What begins otherwise is a repair, and what stands inside of one, as in parity, is none.
    fn find_commits(&mut self, id: FileId, offset: u64, bytes: &[u8]) {
        let mut at = 0;
        while let Some(header) = bytes.get(at..at + HEADER_LEN).filter(|header| header.starts_with(MAGIC)) {
            let len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
            let next = at + HEADER_LEN + len.next_multiple_of(8);
            let commit = offset + at as u64..offset + next as u64;
            // Repair writes old ones again.
            let newer = self.last.as_ref().is_none_or(|(last, place)| (*last, place.start) < (id, commit.start));
            // A proof holds nothing that anybody was told of, and may fail.
            let lasts = bytes.get(at + LASTING_AT..at + LASTING_AT + 8).is_some_and(|records| records != [0; 8]);
            if header[4] == COMMIT && next <= bytes.len() && lasts && newer {
                self.files.entry(id).or_default().first_commit.get_or_insert(commit.end);
                self.last = Some((id, commit));
            }
            at = next;
        }
    }

    pub(super) fn truncated(&mut self, id: FileId, len: u64) {
        let file = self.files.entry(id).or_default();
        let (told, sure) = (file.told, file.sure);
        file.bytes.resize(len as usize, 0);
        file.synced = file.synced.min(len);
        file.dirty.remove(&(len..u64::MAX));
        file.doubtful.remove(&(len..u64::MAX));
        (file.told, file.sure) = (told.min(len), sure.min(len));
        file.adopted = file.adopted.min(len);
        self.unsynced = true;
        self.given_up(id, len);
        if len < sure || len < told && !self.is_copied_from(id) {
            self.breaks(|| format!("a file is cut to {len} bytes, and clients were told of {told}"));
        }
    }

    /// Something was to be cut off, and that failed: what stands there is given up all the same.
    pub(super) fn not_cut(&mut self, id: FileId, len: u64) {
        self.files.entry(id).or_default().uncut = Some(len);
        self.given_up(id, len);
    }

    fn given_up(&mut self, id: FileId, len: u64) {
        if let Some(file) = self.files.get_mut(&id) {
            file.first_commit = file.first_commit.filter(|end| *end <= len);
        }
        if self.last.as_ref().is_some_and(|(last, commit)| *last == id && len < commit.end) {
            self.last = None;
        }
    }

    pub(super) fn synced(&mut self, id: FileId) {
        let file = self.files.entry(id).or_default();
        (file.dirty, file.mending) = (Stretches::default(), false);
        file.synced = file.doubtful.first().unwrap_or(file.bytes.len() as u64);
        self.unsynced = false;
        self.note_durable();
    }

    pub(super) fn sync_failed(&mut self, id: FileId) {
        let file = self.files.entry(id).or_default();
        file.mending = false;
        // Up to what clients were told of only repair writes, and what it writes nobody relies on but to be spared another.
        for (start, end) in core::mem::take(&mut file.dirty).0 {
            let start = start.max(file.told).max(file.adopted);
            if start < end {
                file.doubtful.add(start..end);
            }
        }
    }

    /// What a sync could not write was dropped: what is read now is what is durable. `found` is that, from an offset on.
    pub(super) fn dropped(&mut self, id: FileId, len: u64, found: impl FnOnce(u64) -> Vec<u8>) {
        let file = self.files.entry(id).or_default();
        let known = file.bytes.len() as u64;
        let from = file.doubtful.first().unwrap_or(known).min(known).min(len);
        file.bytes.truncate(from as usize);
        file.bytes.extend(found(from));
        (file.doubtful, file.synced) = (Stretches::default(), file.bytes.len() as u64);
        if len < known {
            self.given_up(id, len);
        }
    }

    pub(super) fn directory_synced(&mut self) {
        self.files.values_mut().for_each(|file| file.nameless = false);
        self.note_durable();
    }

    pub(super) fn removed(&mut self, id: FileId) {
        let held = self.files.get(&id).is_some_and(|file| file.was_told || file.first_commit.is_some());
        if held && self.in_service && self.unsynced {
            self.breaks(|| "a file with commits is removed while something is not synced".to_owned());
        }
    }

    /// A client is told something.
    pub(super) fn answered(&mut self) {
        if self.files.values().any(|file| file.mending) {
            self.breaks(|| "a client is answered, and what was healed before is not synced".to_owned());
        }
    }

    /// A client is told that something is done.
    pub(super) fn told(&mut self) {
        self.end_when_told = self.files.last_key_value().map(|(id, file)| (*id, file.bytes.len() as u64));
        let Some((id, commit)) = self.last.clone() else { return };
        if let Some(why) = self.lacks(id, &commit) {
            self.breaks(|| format!("a client is told of a commit at {commit:?}, and {why}"));
        }
        let file = self.files.entry(id).or_default();
        if file.told < commit.end {
            (file.sure, file.told) = (file.told, commit.end);
            file.was_told = true;
        }
    }

    /// What a commit lacks to be durable.
    fn lacks(&self, id: FileId, commit: &Range<u64>) -> Option<String> {
        let file = self.files.get(&id)?;
        let first = |stretches: &Stretches| stretches.first().filter(|first| *first < commit.end);
        if let Some(at) = first(&file.dirty) {
            return Some(format!("byte {at} was not synced"));
        }
        if let Some(at) = first(&file.doubtful) {
            return Some(format!("a sync failed after byte {at} was written"));
        }
        file.nameless.then(|| "the file's name was not synced".to_owned())
    }

    /// Whether a commit stands in a newer file, durable.
    fn is_copied_from(&mut self, id: FileId) -> bool {
        self.note_durable();
        self.durable.is_some_and(|durable| durable > id)
    }

    fn note_durable(&mut self) {
        let durable = self.last.as_ref().filter(|(id, commit)| self.lacks(*id, commit).is_none()).map(|(id, _)| *id);
        self.durable = self.durable.max(durable);
    }

    /// The process is gone. What the system has cached lives on, unless the power failed: then what is there is durable, and
    /// `found` tells what that is, of a file from an offset on.
    pub(super) fn life_ends(
        &mut self,
        power_failed: bool,
        left: &BTreeSet<FileId>,
        found: &dyn Fn(FileId, u64) -> Vec<u8>,
    ) {
        self.note_durable();
        let last = self.last.take();
        self.in_service = false;
        self.files.retain(|id, _| left.contains(id));
        self.files.values_mut().for_each(|file| file.mending = false);
        if !power_failed {
            return;
        }
        for (id, file) in &mut self.files {
            let commit = last.as_ref().filter(|(last, _)| last == id).map(|(_, commit)| commit.end as usize);
            let written = commit.and_then(|end| file.bytes.get(..end)).map(<[u8]>::to_vec);
            file.note_torn();
            (file.dirty, file.doubtful) = (Stretches::default(), Stretches::default());
            // What another life has left is durable, and has not rotted when it came.
            file.bytes.truncate(file.synced.max(file.told).max(file.adopted) as usize);
            file.bytes.extend(found(*id, file.bytes.len() as u64));
            file.nameless = false;
            // What nobody had synced by then may have come through all the same.
            if written.is_some_and(|written| file.bytes.starts_with(&written)) {
                self.durable = self.durable.max(Some(*id));
            }
        }
    }
}

#[cfg(test)]
mod tests;
