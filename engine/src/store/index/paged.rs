//! The index file: encrypted pages, and what is known about each of them.

use super::cipher::{Fingerprint, PageCipher, RECORD_OVERHEAD, RecordKind};
use super::error::{IndexError, PageFailure};
use super::slot::{self, MapSummary, PAGE_LEN, STRIDE, Slot, page_offset};
use super::unwritable::RefusedWrites;
use crate::env::DiskFile;
use crate::id::{EngineRng, Secret};
use crate::planted::{Bug, planted};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Fingerprints in one page of the map.
const MAP_ENTRIES: usize = PAGE_LEN / size_of::<Fingerprint>();

/// How a page that the map does not know is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    /// It was never written: zeros.
    Zeros,
    /// It may have been written before an unclean end: refused.
    Refused,
    /// The file is being verified after an unclean end: believed if it is authentic, and remembered.
    Learnt,
}

/// The file and its state, shared by the index and the B-tree's backend.
pub(super) struct PagedFile<F> {
    file: F,
    cipher: PageCipher,
    state: Mutex<State>,
}

struct State {
    /// Length of the B-tree's byte space.
    len: u64,
    /// Page 0, which reaches the disk at sync.
    header: Box<[u8; PAGE_LEN]>,
    header_dirty: bool,
    /// The slot last made durable.
    durable: Slot,
    /// One fingerprint per page: what was written there last. A lost or misdirected write leaves an authentic page
    /// behind, only not this one.
    map: Vec<Fingerprint>,
    unknown: Unknown,
    /// The page that the disk refused to read last, if it was not read since.
    refused: Option<u64>,
    /// It refused it twice, with the B-tree opened anew in between.
    stays_refused: bool,
    refused_writes: RefusedWrites,
    /// Nonces used since open.
    counter: u64,
    failure: Option<PageFailure>,
    mode: Mode,
    /// A sync failed, or the file is given up for what no sync of it could make durable.
    sync_failed: bool,
    closed: bool,
}

/// What the backend does when the B-tree syncs and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The B-tree is being opened: its syncs only say "in use", which the next real sync says too. Opening writes nothing.
    Opening,
    /// Normal service.
    Open,
    /// Normal service until the B-tree is closed, then a clean close.
    Closing,
    /// Nothing is written any more.
    Abandoned,
}

fn pages(len: u64) -> u64 {
    len.div_ceil(PAGE_LEN as u64)
}

impl<F: DiskFile> PagedFile<F> {
    /// Starts an empty file.
    pub(super) fn create(file: F, secret: &Secret, rng: &mut EngineRng) -> Result<Self, IndexError> {
        // PA
        let salt = rng.bytes();
        slot::write_superblock(&file, &salt)?;
        let cipher = PageCipher::new(secret, &salt, rng);
        let durable = Slot { sequence: 0, len: 0, map: None, header: Box::new([0; PAGE_LEN]) };
        Ok(Self::with(file, cipher, durable, Vec::new(), Unknown::Zeros, Mode::Open))
    }

    /// Opens a file. The flag tells whether it was closed cleanly; if not, everything the B-tree reads is taken as
    /// authentic until [`PagedFile::verified`] is called, and the caller must have verified it by then.
    pub(super) fn open(file: F, secret: &Secret, rng: &mut EngineRng) -> Result<(Self, bool), IndexError> {
        // PA
        let salt = slot::read_superblock(&file)?;
        let cipher = PageCipher::new(secret, &salt, rng);
        let durable = Slot::latest(&file, &cipher)?;
        let file_len = file.len()?;
        // Bounded by the file itself before anything is allocated: the B-tree's space may be sparse at its end, but
        // never by more than it grows at once.
        if durable.len / 4 > file_len.saturating_add(1 << 32) {
            return Err(IndexError::damaged("its header claims a length far beyond the file"));
        }
        let known = match durable.map {
            Some(summary) => read_map(&file, &cipher, durable.len, summary)?,
            None => None,
        };
        let clean = known.is_some();
        let (map, unknown) = match (known, durable.map) {
            (Some(map), Some(MapSummary { complete: true, .. })) => (map, Unknown::Zeros),
            (Some(map), _) => (map, Unknown::Refused),
            (None, _) => (vec![0; pages(durable.len) as usize], Unknown::Learnt),
        };
        let paged = Self::with(file, cipher, durable, map, unknown, Mode::Opening);
        if !clean {
            slot::demand_verification(&mut paged.state().header);
        }
        Ok((paged, clean))
    }

    fn with(file: F, cipher: PageCipher, durable: Slot, map: Vec<Fingerprint>, unknown: Unknown, mode: Mode) -> Self {
        // PA
        let state = State {
            len: durable.len,
            header: durable.header.clone(),
            header_dirty: false,
            durable,
            map,
            unknown,
            refused: None,
            stays_refused: false,
            refused_writes: RefusedWrites::default(),
            counter: 0,
            failure: None,
            mode,
            sync_failed: false,
            closed: false,
        };
        Self { file, cipher, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state consistent at each step, so a panic elsewhere poisons nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.state().mode = mode;
    }

    /// Everything reachable was verified: what is still unknown is no longer believed.
    pub(super) fn verified(&self) {
        let mut state = self.state();
        if state.unknown == Unknown::Learnt {
            state.unknown = Unknown::Refused;
        }
    }

    /// Why the B-tree's last call failed, if the file was the reason.
    pub(super) fn failure(&self) -> Option<PageFailure> {
        self.state().failure.clone()
    }

    /// Whether a sync failed since open.
    pub(super) fn sync_failed(&self) -> bool {
        self.state().sync_failed
    }

    /// Whether the disk refused to read a page again that it had refused before, with no success in between.
    pub(super) fn stays_refused(&self) -> bool {
        self.state().stays_refused
    }

    /// What the disk has refused to write so far says nothing of what it takes from here on.
    pub(super) fn forget_refused_writes(&self) {
        self.state().refused_writes = RefusedWrites::default();
    }

    /// Nothing that is written to this file counts any more.
    pub(super) fn give_up(&self) {
        // PA
        self.state().sync_failed = true;
    }

    /// Whether the disk has refused a write.
    pub(super) fn is_refused_write(&self) -> bool {
        self.state().refused_writes.any()
    }

    /// Whether it refused that again where it had refused it before, with no success in between.
    pub(super) fn stays_unwritable(&self) -> bool {
        self.state().refused_writes.stays()
    }

    /// Whether the clean mark is durable.
    pub(super) fn closed_cleanly(&self) -> bool {
        self.state().closed
    }

    /// Goes back to what the last good sync made durable, after a failed write. Pages written since are free in that
    /// state, so it does not matter what they hold. `verify` has the B-tree verified when it is opened.
    pub(super) fn rewind(&self, verify: bool) {
        // PA
        let mut state = self.state();
        state.len = state.durable.len;
        state.header = state.durable.header.clone();
        if verify {
            slot::demand_verification(&mut state.header);
        }
        state.header_dirty = false;
        state.failure = None;
        state.mode = Mode::Opening;
        let count = pages(state.len) as usize;
        state.map.resize(count, 0);
    }

    fn fail<T>(&self, failure: PageFailure) -> Result<T, PageFailure> {
        let mut state = self.state();
        // The last one explains what redb refuses: of a write that fails it may keep the page and go on. But damage stays.
        let stays = matches!(state.failure, Some(PageFailure::Damaged(_)))
            || state.failure.is_some() && failure == PageFailure::Abandoned;
        if !stays {
            state.failure = Some(failure.clone());
        }
        Err(failure)
    }

    pub(super) fn len(&self) -> u64 {
        self.state().len
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), PageFailure> {
        self.read_range(offset, out).or_else(|failure| self.fail(failure))
    }

    fn read_range(&self, offset: u64, out: &mut [u8]) -> Result<(), PageFailure> {
        // PA
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(PageFailure::Damaged(format!("it refers to byte {offset}, beyond its end")));
        }
        let (mut number, mut skip, mut out) = (offset / PAGE_LEN as u64, (offset % PAGE_LEN as u64) as usize, out);
        while !out.is_empty() {
            let take = out.len().min(PAGE_LEN - skip);
            let (part, rest) = out.split_at_mut(take);
            if take == PAGE_LEN {
                self.read_page(number, part)?;
            } else {
                let mut page = [0; PAGE_LEN];
                self.read_page(number, &mut page)?;
                part.copy_from_slice(&page[skip..skip + take]);
            }
            (out, number, skip) = (rest, number + 1, 0);
        }
        Ok(())
    }

    fn read_page(&self, number: u64, out: &mut [u8]) -> Result<(), PageFailure> {
        // PA
        let known = {
            let state = self.state();
            if number == 0 {
                out.copy_from_slice(&state.header[..]);
                return Ok(());
            }
            let known = usize::try_from(number).ok().and_then(|at| state.map.get(at)).copied().unwrap_or(0);
            match (known, state.unknown) {
                (0, Unknown::Zeros) => {
                    out.fill(0);
                    return Ok(());
                }
                (0, Unknown::Refused) => {
                    return Err(PageFailure::Damaged(format!(
                        "page {number} was not written since the last unclean end"
                    )));
                }
                _ => known,
            }
        };
        let mut record = [0; STRIDE];
        let read = match self.file.read_at(page_offset(number), &mut record) {
            Ok(read) => read,
            Err(error) => {
                // Where the disk was not asked nothing is known of the page.
                if !error.failure.says_nothing() {
                    let mut state = self.state();
                    state.stays_refused |= state.refused == Some(number);
                    state.refused = Some(number);
                }
                return Err(error.into());
            }
        };
        {
            let mut state = self.state();
            if state.refused == Some(number) {
                state.refused = None;
            }
        }
        let found = if read == STRIDE { self.cipher.open(RecordKind::Page, number, &record, out) } else { None };
        match found {
            Some(found) if known == found => Ok(()),
            Some(_) if planted(Bug::StalePageBelieved) => Ok(()),
            Some(found) if known == 0 => {
                self.remember(number, found);
                Ok(())
            }
            Some(_) => Err(PageFailure::Damaged(format!("page {number} is stale: a later write was lost"))),
            None => Err(PageFailure::Damaged(format!("page {number} fails its authentication"))),
        }
    }

    fn remember(&self, number: u64, fingerprint: Fingerprint) {
        let mut state = self.state();
        if let Some(entry) = usize::try_from(number).ok().and_then(|at| state.map.get_mut(at)) {
            *entry = fingerprint;
        }
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<(), PageFailure> {
        self.write_range(offset, data).or_else(|failure| self.fail(failure))
    }

    fn write_range(&self, offset: u64, data: &[u8]) -> Result<(), PageFailure> {
        // PA
        let end = offset.saturating_add(data.len() as u64);
        {
            let mut state = self.state();
            if state.mode == Mode::Abandoned {
                return Err(PageFailure::Abandoned);
            }
            if end > state.len {
                Self::resize(&mut state, end);
            }
        }
        let (mut number, mut skip, mut data) = (offset / PAGE_LEN as u64, (offset % PAGE_LEN as u64) as usize, data);
        while !data.is_empty() {
            let whole = data.len() / PAGE_LEN;
            if number > 0 && skip == 0 && whole > 0 {
                let (part, rest) = data.split_at(whole * PAGE_LEN);
                self.write_pages(number, part)?;
                (data, number) = (rest, number + whole as u64);
                continue;
            }
            let (part, rest) = data.split_at(data.len().min(PAGE_LEN - skip));
            if number == 0 {
                let mut state = self.state();
                state.header[skip..skip + part.len()].copy_from_slice(part);
                state.header_dirty = true;
            } else {
                let mut page = [0; PAGE_LEN];
                self.read_page(number, &mut page)?;
                page[skip..skip + part.len()].copy_from_slice(part);
                self.write_pages(number, &page)?;
            }
            (data, number, skip) = (rest, number + 1, 0);
        }
        Ok(())
    }

    /// Writes whole pages from page `first` on, in one call to the disk.
    fn write_pages(&self, first: u64, data: &[u8]) -> Result<(), PageFailure> {
        // PA
        self.take_back_clean_mark()?;
        let count = (data.len() / PAGE_LEN) as u64;
        let counter = self.take_counters(count);
        let mut records = vec![0; count as usize * STRIDE];
        let mut written = Vec::with_capacity(count as usize);
        for ((at, page), record) in (0..).zip(data.chunks_exact(PAGE_LEN)).zip(records.chunks_exact_mut(STRIDE)) {
            written.push(self.cipher.seal(counter + at, RecordKind::Page, first + at, page, record));
        }
        // Remembered before the write: of one that fails half done, neither outcome is then believed.
        for (at, fingerprint) in (0..).zip(written) {
            self.remember(first + at, fingerprint);
        }
        self.put(page_offset(first), &records)
    }

    /// Writes to the file, and remembers where that was refused.
    fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), PageFailure> {
        // PA
        let written = self.file.write_at(offset, &[bytes]);
        self.state().refused_writes.note(offset..offset + bytes.len() as u64, &written);
        Ok(written?)
    }

    /// Makes the last header durable without its clean mark, before the first page is written behind it.
    ///
    /// A record is longer than a sector, so a write of one that a crash tears may spoil the beginning of the next, which
    /// was durable. With the mark gone the next opening verifies every page.
    fn take_back_clean_mark(&self) -> Result<(), PageFailure> {
        // PA
        let unmarked = {
            let state = self.state();
            if state.durable.map.is_none() {
                return Ok(());
            }
            Slot { sequence: state.durable.sequence + 1, map: None, ..state.durable.clone() }
        };
        unmarked.write(&self.cipher, self.take_counters(1), |offset, record| self.put(offset, record))?;
        self.sync_file()?;
        self.state().durable = unmarked;
        Ok(())
    }

    fn sync_file(&self) -> Result<(), PageFailure> {
        // PA
        self.file.sync().map_err(|error| {
            self.state().sync_failed = true;
            error.into()
        })
    }

    fn take_counters(&self, count: u64) -> u64 {
        // PA
        let mut state = self.state();
        let first = state.counter;
        // A nonce never repeats: at one write per nanosecond this counter lasts 584 years.
        state.counter += count;
        first
    }

    pub(super) fn set_len(&self, len: u64) -> Result<(), PageFailure> {
        // PA
        let shrunk = {
            let mut state = self.state();
            if state.mode == Mode::Abandoned {
                return Err(PageFailure::Abandoned);
            }
            let shrunk = len < state.len;
            Self::resize(&mut state, len);
            shrunk
        };
        // Growth writes nothing: the map knows that the new pages were never written, so they read as zeros whatever
        // the file holds there.
        if shrunk {
            let end = page_offset(pages(len).max(1));
            let cut = || if self.file.len()? > end { self.file.truncate(end) } else { Ok(()) };
            cut().or_else(|error| self.fail(error.into()))?;
        }
        Ok(())
    }

    fn resize(state: &mut State, len: u64) {
        state.header_dirty |= state.len != len;
        state.len = len;
        // Shrinking forgets: a page that comes back was never written.
        state.map.resize(pages(len) as usize, 0);
    }

    pub(super) fn sync(&self) -> Result<(), PageFailure> {
        self.sync_header(None).or_else(|failure| self.fail(failure))
    }

    fn sync_header(&self, map: Option<MapSummary>) -> Result<(), PageFailure> {
        // PA
        let next = {
            let state = self.state();
            match state.mode {
                Mode::Abandoned => return Err(PageFailure::Abandoned),
                Mode::Opening => return Ok(()),
                Mode::Open | Mode::Closing => {}
            }
            (state.header_dirty || map.is_some()).then(|| Slot {
                sequence: state.durable.sequence + 1,
                len: state.len,
                map,
                header: state.header.clone(),
            })
        };
        if let Some(slot) = &next {
            let counter = if planted(Bug::NonceReused) { slot.sequence } else { self.take_counters(1) };
            slot.write(&self.cipher, counter, |offset, record| self.put(offset, record))?;
        }
        self.sync_file()?;
        if let Some(slot) = next {
            let mut state = self.state();
            state.header_dirty = state.header != slot.header || state.len != slot.len;
            state.durable = slot;
        }
        Ok(())
    }

    /// The B-tree has closed. In [`Mode::Closing`], and if nothing failed, writes the page map and then the clean mark.
    pub(super) fn close(&self) -> Result<(), PageFailure> {
        // PA
        let (map, len, complete) = {
            let state = self.state();
            if state.mode != Mode::Closing || state.failure.is_some() || state.sync_failed {
                return Ok(());
            }
            (state.map.clone(), state.len, state.unknown == Unknown::Zeros)
        };
        self.write_map(&map, len, complete).or_else(|failure| self.fail(failure))
    }

    fn write_map(&self, map: &[Fingerprint], len: u64, complete: bool) -> Result<(), PageFailure> {
        // PA
        let mut digest = blake3::Hasher::new();
        for (at, entries) in (0..).zip(map.chunks(MAP_ENTRIES)) {
            let mut page = [0; PAGE_LEN];
            for (bytes, entry) in page.chunks_exact_mut(4).zip(entries) {
                bytes.copy_from_slice(&entry.to_le_bytes());
            }
            digest.update(&page);
            let mut record = [0; PAGE_LEN + RECORD_OVERHEAD];
            self.cipher.seal(self.take_counters(1), RecordKind::Map, at, &page, &mut record);
            self.put(page_offset(pages(len) + at), &record)?;
        }
        self.sync_header(None)?;
        self.sync_header(Some(MapSummary { digest: *digest.finalize().as_bytes(), complete }))?;
        let mut state = self.state();
        state.mode = Mode::Abandoned;
        state.closed = true;
        Ok(())
    }
}

/// Reads the map that a clean close wrote; `None` if it is not all there, which is no worse than an unclean end.
fn read_map<F: DiskFile>(
    file: &F,
    cipher: &PageCipher,
    len: u64,
    summary: MapSummary,
) -> Result<Option<Vec<Fingerprint>>, IndexError> {
    // PA
    let count = pages(len) as usize;
    let mut map = Vec::with_capacity(count);
    let mut digest = blake3::Hasher::new();
    let (mut page, mut record) = ([0; PAGE_LEN], [0; STRIDE]);
    for at in 0..count.div_ceil(MAP_ENTRIES) as u64 {
        let read = file.read_at(page_offset(pages(len).saturating_add(at)), &mut record)?;
        if read != STRIDE || cipher.open(RecordKind::Map, at, &record, &mut page).is_none() {
            return Ok(None);
        }
        digest.update(&page);
        map.extend(page.chunks_exact(4).map(|bytes| Fingerprint::from_le_bytes(core::array::from_fn(|i| bytes[i]))));
    }
    map.truncate(count);
    Ok((*digest.finalize().as_bytes() == summary.digest).then_some(map))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::env::{Disk, FileName, MemoryDisk, OpenMode, Volume};
    use std::collections::BTreeSet;

    #[test]
    fn pages_that_are_written_together_have_nonces_of_their_own_and_so_has_what_is_written_next() {
        let disk = MemoryDisk::new();
        let file = disk.open(Volume::Index, &FileName::new("a").unwrap(), OpenMode::CreateNew).unwrap();
        let mut rng = EngineRng::from_seed([1; 32]);
        let paged = PagedFile::create(file.clone(), &Secret::new([2; 32]), &mut rng).unwrap();
        let mut seen = BTreeSet::new();
        for (first, count) in [(1, 3), (4, 2), (1, 1), (2, 4)] {
            paged.write(first * PAGE_LEN as u64, &vec![7; count * PAGE_LEN]).unwrap();
            for number in first..first + count as u64 {
                let mut nonce = [0; 24];
                file.read_at(page_offset(number), &mut nonce).unwrap();
                assert!(seen.insert(nonce), "page {number}");
            }
        }
    }
}
