//! Walking the records of one segment file, over damage.
//!
//! A record whose header is intact is skipped by its length, whatever its payload holds. Where a header is damaged the
//! walk looks for the next intact one at every multiple of 8: damage in the middle never hides what follows it.

use super::LogError;
use super::record::{HEADER_LEN, RecordHeader, find_magic};
use super::segment::Binding;
use crate::env::{DiskError, DiskFile};
use crate::planted::{Bug, planted};

/// How much is read at a time when records follow each other closely, in bytes.
const WINDOW_LEN: usize = 128 << 10;
/// How much is read at a time when the walk jumps over payloads.
const JUMP_LEN: usize = 4 << 10;
/// What a disk refuses as a whole, at least, in bytes.
const SECTOR_LEN: u64 = super::commit::SECTOR_LEN as u64;
/// How often a read that the disk refuses is tried.
const READ_ATTEMPTS: usize = 3;

/// What a read of a file gave.
pub(super) enum Fetched {
    /// This many bytes; fewer than asked for only at the end of the file.
    Bytes(usize),
    /// The disk refuses to read them.
    Unreadable(DiskError),
}

/// Reads at `offset`, patiently.
///
/// # Errors
/// [`LogError::Disk`] when the disk was never asked, as when the whole machine is gone; a mere refusal is a [`Fetched::Unreadable`].
pub(super) fn fetch<F: DiskFile>(file: &F, offset: u64, buffer: &mut [u8]) -> Result<Fetched, LogError> {
    let mut attempt = 1;
    loop {
        match file.read_at(offset, buffer) {
            Ok(count) => return Ok(Fetched::Bytes(count)),
            Err(error) if error.failure.says_nothing() && !planted(Bug::ShortageIsDamage) => return Err(error.into()),
            Err(error) if attempt == READ_ATTEMPTS => return Ok(Fetched::Unreadable(error)),
            Err(_) => attempt += 1,
        }
    }
}

/// One step of a walk.
#[derive(Debug)]
pub(super) enum Item {
    /// A record with an intact header.
    Record(u32, RecordHeader),
    /// Bytes in which no record header was found.
    Damaged {
        from: u32,
        to: u32,
        /// Whether the disk refused to read some of them.
        refused: Option<DiskError>,
    },
}

/// A walk over the records of one file.
#[derive(Debug)]
pub(super) struct Scanner<'a, F> {
    file: &'a F,
    binding: &'a Binding,
    at: u64,
    /// Length of the file, or of what of it counts.
    end: u64,
    /// How far it is read ahead.
    ahead: u64,
    window: Vec<u8>,
    window_at: u64,
    jumped: bool,
    refused: Option<DiskError>,
}

impl<'a, F: DiskFile> Scanner<'a, F> {
    /// A walk from `at`, which must be the start of a record, over a file of which `end` bytes count.
    pub(super) fn new(file: &'a F, binding: &'a Binding, at: u32, end: u32) -> Self {
        let (at, end) = (u64::from(at), u64::from(end));
        Self { file, binding, at, end, ahead: end, window: Vec::new(), window_at: 0, jumped: false, refused: None }
    }

    /// Reads no more behind `stop` than is needed to get there: the walk is to end there, and most are short.
    pub(super) fn reading_to(self, stop: u32) -> Self {
        Self { ahead: self.end.min(u64::from(stop)), ..self }
    }

    /// Where the walk has come to.
    pub(super) fn at(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    /// The next step; `None` at the end.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the machine is gone.
    pub(super) fn next(&mut self) -> Result<Option<Item>, LogError> {
        // PA
        if self.at >= self.end {
            return Ok(None);
        }
        let offset = self.at();
        self.refused = None;
        if let Some(header) = self.header_at(self.at)? {
            let len = header.record_len();
            self.jumped = len > WINDOW_LEN as u64 / 8;
            self.at += len;
            return Ok(Some(Item::Record(offset, header)));
        }
        self.resync()?;
        Ok(Some(Item::Damaged { from: offset, to: self.at(), refused: self.refused.take() }))
    }

    fn header_at(&mut self, at: u64) -> Result<Option<RecordHeader>, LogError> {
        let room = self.end.saturating_sub(at);
        let Ok(offset) = u32::try_from(at) else { return Ok(None) };
        let binding = self.binding;
        let bytes = self.view(at, HEADER_LEN)?;
        Ok(bytes.and_then(|bytes| RecordHeader::decode(bytes, binding, offset, room)))
    }

    /// Moves on to the next intact header, or to the end.
    fn resync(&mut self) -> Result<(), LogError> {
        // PA
        self.jumped = false;
        let mut at = self.at.saturating_add(8).next_multiple_of(8);
        // Up to here sectors are read one by one: one that is refused must not hide those behind it.
        let mut refused_to = 0;
        while at < self.end {
            let want = (self.end - at).min(JUMP_LEN as u64) as usize;
            // What is looked at in passing may lie behind the next header.
            let refused = self.refused.take();
            let window = if at < refused_to { None } else { self.view(at, want)?.map(|bytes| find_magic(bytes, 0)) };
            self.refused = refused;
            let (found, behind) = match window {
                Some(found) => (found, at.saturating_add(want as u64)),
                None => {
                    refused_to = refused_to.max(at.saturating_add(want as u64));
                    let end = at.saturating_add(1).next_multiple_of(SECTOR_LEN).min(self.end);
                    (self.glance(at, end)?.and_then(|bytes| find_magic(bytes, 0)), end)
                }
            };
            let Some(found) = found else {
                at = behind.next_multiple_of(8);
                continue;
            };
            at += found as u64;
            if self.header_at(at)?.is_some() {
                self.at = at;
                return Ok(());
            }
            at += 8;
        }
        self.at = self.end;
        Ok(())
    }

    /// The bytes at `at`: `None` if the file ends before, or the disk refuses to read them.
    fn view(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>, LogError> {
        let inside = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !inside && !self.load(at, len)? {
            return Ok(None);
        }
        let start = at.saturating_sub(self.window_at) as usize;
        Ok(self.window.get(start..start.saturating_add(len)))
    }

    fn load(&mut self, at: u64, len: usize) -> Result<bool, LogError> {
        // PA
        let ample = if self.jumped { JUMP_LEN } else { WINDOW_LEN };
        let ample = self.ahead.saturating_sub(at).min(ample as u64) as usize;
        // A bad sector beyond what is needed must not hide what is needed.
        for want in [len.max(ample), len] {
            let want = (want as u64).min(self.end.saturating_sub(at)) as usize;
            if want < len {
                return Ok(false);
            }
            self.window.resize(want, 0);
            self.window_at = at;
            match fetch(self.file, at, &mut self.window)? {
                Fetched::Bytes(count) => {
                    self.window.truncate(count);
                    return Ok(count >= len);
                }
                Fetched::Unreadable(error) => {
                    self.window.clear();
                    // What was refused on the way here stays refused, whatever can be read behind it.
                    if want == len {
                        self.refused = Some(error);
                    }
                }
            }
        }
        Ok(false)
    }

    /// The bytes from `at` to `end`, read once: a disk takes its time over what it cannot read. `None` if it refuses.
    fn glance(&mut self, at: u64, end: u64) -> Result<Option<&[u8]>, LogError> {
        // PA
        self.window.resize(end.saturating_sub(at) as usize, 0);
        self.window_at = at;
        match self.file.read_at(at, &mut self.window) {
            Ok(count) => {
                self.window.truncate(count);
                Ok(Some(&self.window))
            }
            Err(error) if error.failure.says_nothing() && !planted(Bug::ShortageIsDamage) => Err(error.into()),
            Err(error) => {
                self.window.clear();
                self.refused = Some(error);
                Ok(None)
            }
        }
    }

    /// Why the last read was refused, if it was.
    pub(super) fn take_refusal(&mut self) -> Option<DiskError> {
        self.refused.take()
    }

    /// The first `len` bytes of the payload of the record at `offset`; `None` if the disk refuses to read them.
    ///
    /// # Errors
    /// [`LogError::Disk`] when the machine is gone.
    pub(super) fn payload(&mut self, offset: u32, len: u32) -> Result<Option<&[u8]>, LogError> {
        let at = u64::from(offset) + HEADER_LEN as u64;
        let payload = self.view(at, len as usize)?;
        Ok(payload)
    }
}
