//! Reading records.

use super::place::{Damage, DamagedRange};
use super::record::{HEADER_LEN, RecordHeader, padding, record_len};
use super::scan::{Fetched, Item, Scanner, fetch};
use super::segment::Binding;
use super::{Location, Log, LogError, RecordFlags, RecordKind, SegmentId};
use crate::env::{Disk, DiskFile};
use bytes::{Bytes, BytesMut};
use core::ops::ControlFlow;
use std::sync::Arc;

/// A record, as it is shown to a visitor.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Where it is.
    pub location: Location,
    /// What it is.
    pub kind: RecordKind,
    /// Its flags.
    pub flags: RecordFlags,
    /// The payload; of a slice that is replayed, only the slice header.
    pub payload: &'a [u8],
}

/// What a scan came upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Where the scan ended: the place to go on from, or the end of the segment.
    pub next: u32,
    /// Whether that is the end of the segment.
    pub finished: bool,
    /// What is not as it was written, in order. Slices are checked up to the end of their slice header only.
    pub damaged: Vec<DamagedRange>,
}

impl<D: Disk> Log<D> {
    /// Reads a record's payload, from the write buffer or from the disk. Checked: of a slice the slice header, of
    /// everything else all.
    ///
    /// # Errors
    /// [`LogError::Damaged`] names the record; [`LogError::NoSegment`]; [`LogError::Disk`].
    pub fn read(&self, location: Location) -> Result<Bytes, LogError> {
        // PA
        let segment = self.segments.get(&location.segment).ok_or(LogError::NoSegment(location.segment))?;
        let damaged = |what| LogError::Damaged { location, what };
        if u64::from(location.offset) + record_len(location.len) > u64::from(segment.len) {
            return Err(damaged("it lies beyond the end of its segment"));
        }
        let total = HEADER_LEN + location.len as usize;
        let bytes = match self.active.as_ref().filter(|active| active.id == location.segment) {
            Some(active) => match active.buffered(location.offset) {
                Some(bytes) => Bytes::copy_from_slice(bytes.get(..total).unwrap_or_default()),
                None => read_exact(&*active.file, location, total)?,
            },
            None => read_exact(&*self.handles.get(location.segment)?, location, total)?,
        };
        let header = RecordHeader::decode(&bytes, &segment.binding, location.offset, u64::from(segment.len))
            .ok_or_else(|| damaged("its header"))?;
        if header.len != location.len {
            return Err(damaged("its length is another"));
        }
        let payload = bytes.slice(HEADER_LEN..);
        if header.checks(&payload) { Ok(payload) } else { Err(damaged("its checksum")) }
    }

    /// Shows every record of a segment from `from` on (0, or an earlier [`ScanReport::next`]) with its whole payload,
    /// as long as `visit` wants more. Records that are damaged are not shown but named in the report. What the write
    /// buffer still holds is left out.
    ///
    /// # Errors
    /// [`LogError::NoSegment`], [`LogError::Disk`].
    pub fn scan(
        &self,
        segment: SegmentId,
        from: u32,
        visit: &mut dyn FnMut(RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<ScanReport, LogError> {
        // PA
        let known = self.segments.get(&segment).ok_or(LogError::NoSegment(segment))?;
        let (file, end) = self.file_for_reading(segment, known.len)?;
        let mut scanner = Scanner::new(&*file, &known.binding, from.max(super::FIRST_RECORD), end);
        let mut report = ScanReport::default();
        while let Some(item) = scanner.next()? {
            let next = scanner.at();
            match show(&mut scanner, segment, item, true)? {
                Shown::Record(view) if view.kind.is_content() => {
                    if visit(view).is_break() {
                        report.next = next;
                        return Ok(report);
                    }
                }
                Shown::Record(_) => {}
                Shown::Damaged(range) => report.damaged.push(range),
            }
        }
        report.next = scanner.at();
        report.finished = true;
        Ok(report)
    }

    /// A segment's file, and how much of the segment is in it.
    pub(super) fn file_for_reading(&self, segment: SegmentId, len: u32) -> Result<(Arc<D::File>, u32), LogError> {
        Ok(match self.active.as_ref().filter(|active| active.id == segment) {
            Some(active) => (active.file.clone(), active.written),
            None => (self.handles.get(segment)?, len),
        })
    }
}

/// One step of a walk, its payload read and checked.
pub(super) enum Shown<'a> {
    Record(RecordView<'a>),
    Damaged(DamagedRange),
}

/// Reads and checks what `item` found: the whole payload, or of slices just the checked prefix unless `whole`.
pub(super) fn show<'a, F: DiskFile>(
    scanner: &'a mut Scanner<'_, F>,
    segment: SegmentId,
    item: Item,
    whole: bool,
) -> Result<Shown<'a>, LogError> {
    // PA
    let (offset, header) = match item {
        Item::Record(offset, header) => (offset, header),
        Item::Damaged { from, to, refused } => {
            let what = if refused.is_some() { Damage::Unreadable } else { Damage::Unknown };
            return Ok(Shown::Damaged(DamagedRange { segment, from, to, what }));
        }
    };
    let len = if whole { header.len } else { header.checked_len };
    let to = u64::from(offset).saturating_add(header.record_len());
    let range = |what| DamagedRange { segment, from: offset, to: u32::try_from(to).unwrap_or(u32::MAX), what };
    let location = Location { segment, offset, len: header.len };
    match scanner.payload(offset, len)? {
        None => Ok(Shown::Damaged(range(Damage::Refused(header.kind)))),
        Some(payload) if !header.checks(payload) => Ok(Shown::Damaged(range(Damage::Record(header.kind)))),
        Some(payload) => Ok(Shown::Record(RecordView { location, kind: header.kind, flags: header.flags, payload })),
    }
}

fn read_exact<F: DiskFile>(file: &F, location: Location, total: usize) -> Result<Bytes, LogError> {
    // Not asked of the allocator as zeros: some would hand out pages that the system has to clear and fault in.
    let mut buffer = BytesMut::with_capacity(total);
    buffer.resize(total, 0);
    match fetch(file, u64::from(location.offset), &mut buffer)? {
        Fetched::Bytes(count) if count == total => Ok(buffer.freeze()),
        Fetched::Bytes(_) => Err(LogError::Damaged { location, what: "the file ends before it does" }),
        Fetched::Unreadable(error) => Err(error.into()),
    }
}

/// What [`verbatim`] tells of each record: where it is, its header, and that as it is written.
type Told<'t> = dyn FnMut(u32, &RecordHeader, &[u8; HEADER_LEN]) + 't;

/// All that stands between two places, byte for byte; `None` if any of it is not as it was written. It is made of what was checked,
/// so that nothing misread is ever written back. Not for slices, of which a checksum covers the beginning alone.
///
/// # Errors
/// [`LogError::Disk`] when the disk was never asked: the machine is gone, or there was nothing left to ask it with.
pub(super) fn verbatim<F: DiskFile>(
    file: &F,
    binding: &Binding,
    from: u32,
    to: u32,
    tell: &mut Told<'_>,
) -> Result<Option<Vec<u8>>, LogError> {
    // PA
    let mut all = Vec::new();
    let mut scanner = Scanner::new(file, binding, from, to);
    while let Some(item) = scanner.next()? {
        let Item::Record(offset, header) = item else { return Ok(None) };
        let bytes = header.encode(binding, offset);
        let payload = scanner.payload(offset, header.len)?.filter(|payload| header.checks(payload));
        let Some(payload) = payload.filter(|_| header.checked_len == header.len) else { return Ok(None) };
        tell(offset, &header, &bytes);
        all.extend_from_slice(&bytes);
        all.extend_from_slice(payload);
        all.extend_from_slice(padding(header.len));
    }
    Ok((all.len() as u64 == u64::from(to.saturating_sub(from))).then_some(all))
}
