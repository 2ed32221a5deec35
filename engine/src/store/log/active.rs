//! The segment that is being written: a file, and the bytes that are not in it yet.

use super::footer::Footer;
use super::parity::Cover;
use super::record::{HEADER_LEN, RecordHeader, padding};
use super::segment::Binding;
use super::upkeep::cover_record;
use super::{LogError, RecordKind, SegmentId};
use crate::env::DiskFile;
use std::sync::Arc;

/// Payloads of this length are written straight from the caller's memory.
const DIRECT_LEN: u64 = 16 << 10;

/// A segment open for appending.
#[derive(Debug)]
pub(super) struct Active<F> {
    pub(super) id: SegmentId,
    pub(super) file: Arc<F>,
    pub(super) binding: Binding,
    /// Where in the file the buffer belongs; everything before is in the file.
    pub(super) written: u32,
    pub(super) buffer: Vec<u8>,
    pub(super) footer: Footer,
    pub(super) cover: Cover,
    /// What was taken back, or what a failed write has left, may stand in the file behind `written`. It goes before anything
    /// is written there: whole records that come to stand behind others would be taken for what follows them.
    uncut: bool,
    /// It has its footer, which only waits to be written out: nothing is appended any more.
    sealed: bool,
}

impl<F: DiskFile> Active<F> {
    /// A segment of which `written` bytes are in the file, to be written to behind them.
    pub(super) fn new(id: SegmentId, file: Arc<F>, binding: Binding, written: u32, group_len: u32) -> Self {
        let (footer, cover) = (Footer::default(), Cover::new(group_len));
        Self { id, file, binding, written, buffer: Vec::new(), footer, cover, uncut: false, sealed: false }
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> u32 {
        self.written + self.buffer.len() as u32
    }

    /// Appends a record. Large ones go to the file at once, together with what was buffered before them; small ones
    /// wait until `buffer_len` bytes are together.
    ///
    /// # Errors
    /// [`LogError::Disk`]; then the record is not there, and all that was before still is.
    pub(super) fn put(
        &mut self,
        header: &RecordHeader,
        parts: &[&[u8]],
        buffer_len: u32,
    ) -> Result<[u8; HEADER_LEN], LogError> {
        // PA
        let offset = self.end();
        let bytes = header.encode(&self.binding, offset);
        let total = header.record_len();
        if total >= DIRECT_LEN.min(u64::from(buffer_len)) {
            let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 2);
            all.push(&bytes);
            all.extend_from_slice(parts);
            all.push(padding(header.len));
            self.write(&all, total as u32)?;
        } else {
            if self.buffer.len() as u64 + total > u64::from(buffer_len) {
                self.flush()?;
            }
            self.buffer.extend_from_slice(&bytes);
            for part in parts {
                self.buffer.extend_from_slice(part);
            }
            self.buffer.extend_from_slice(padding(header.len));
        }
        self.footer.add(header);
        if header.kind != RecordKind::Commit {
            cover_record(&mut self.cover, offset, &bytes, header, parts);
        }
        Ok(bytes)
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// [`LogError::Disk`]; the buffer is kept, and the next flush writes the same bytes to the same place.
    pub(super) fn flush(&mut self) -> Result<(), LogError> {
        if self.buffer.is_empty() { Ok(()) } else { self.write(&[], 0) }
    }

    /// Writes what is buffered, and `parts` of `len` bytes behind it.
    fn write(&mut self, parts: &[&[u8]], len: u32) -> Result<(), LogError> {
        // PA
        if self.uncut {
            self.cut()?;
        }
        let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 1);
        all.push(&self.buffer);
        all.extend_from_slice(parts);
        if let Err(error) = self.file.write_at(u64::from(self.written), &all) {
            // A write that failed half done holds space that may be all there is.
            self.uncut = self.file.truncate(u64::from(self.written)).is_err();
            return Err(error.into());
        }
        self.written = self.end() + len;
        self.buffer.clear();
        Ok(())
    }

    /// Cuts off what stands in the file behind what was written.
    ///
    /// # Errors
    /// [`LogError::Disk`].
    pub(super) fn cut(&mut self) -> Result<(), LogError> {
        // PA
        self.uncut = true;
        if self.file.len()? > u64::from(self.written) {
            self.file.truncate(u64::from(self.written))?;
        }
        self.uncut = false;
        Ok(())
    }

    /// Whether something may stand in the file behind what was written.
    pub(super) const fn is_uncut(&self) -> bool {
        self.uncut
    }

    /// Its footer was appended.
    pub(super) const fn seal(&mut self) {
        self.sealed = true;
    }

    /// Whether it has its footer.
    pub(super) const fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Takes back what was appended from `offset` on; what of it is in the file goes before anything else is written.
    pub(super) fn rewind(&mut self, offset: u32) {
        self.uncut |= offset < self.written;
        self.buffer.truncate(offset.saturating_sub(self.written) as usize);
        self.written = self.written.min(offset);
    }

    /// The bytes from `offset` on that are still buffered; `None` if that place is in the file already.
    pub(super) fn buffered(&self, offset: u32) -> Option<&[u8]> {
        self.buffer.get(offset.checked_sub(self.written)? as usize..)
    }
}
