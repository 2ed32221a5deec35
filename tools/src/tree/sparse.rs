//! Holes: found with SEEK_DATA and SEEK_HOLE, read without touching the disk, left out when written.

use super::entry::Extent;
use rustix::fs::{SeekFrom, seek};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

/// Extents kept for one file; beyond, the smallest holes are taken for data.
const MOST_EXTENTS: usize = 256;

/// What of the file is not a hole; `None` if it has none, or the file system does not tell.
pub(crate) fn extents(file: &File, metadata: &Metadata) -> Option<Vec<Extent>> {
    let len = metadata.len();
    if metadata.blocks().saturating_mul(512) >= len {
        return None;
    }
    let mut extents = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(len),
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end = seek(file, SeekFrom::Hole(start)).ok()?.min(len);
        if end <= start {
            break;
        }
        extents.push(Extent { offset: start, len: end - start });
        at = end;
    }
    let data: u64 = extents.iter().map(|extent| extent.len).sum();
    (data < len).then(|| coarser(extents))
}

/// The same extents with the smallest holes given up, until they are few enough.
fn coarser(mut extents: Vec<Extent>) -> Vec<Extent> {
    let mut smallest_kept = 4096;
    while extents.len() > MOST_EXTENTS {
        smallest_kept *= 2;
        extents.dedup_by(|next, last| {
            let near = next.offset - (last.offset + last.len) < smallest_kept;
            if near {
                last.len = next.offset + next.len - last.offset;
            }
            near
        });
    }
    extents
}

/// Whether the extents of an entry are sorted, apart and within `len` bytes.
pub(crate) fn are_sound(extents: &[Extent], len: u64) -> bool {
    let mut at = 0;
    extents.iter().all(|extent| {
        let end = extent.offset.checked_add(extent.len);
        let sound = extent.offset >= at && extent.len > 0 && end.is_some_and(|end| end <= len);
        at = end.unwrap_or(u64::MAX);
        sound
    })
}

/// The extent that holds or follows `at`.
fn following(extents: &[Extent], at: u64) -> Option<Extent> {
    extents.get(extents.partition_point(|e| e.offset + e.len <= at)).copied()
}

/// Reads a file of `len` bytes; holes read as zeros without asking the file system. What is appended to the file after
/// it was looked at is not read.
pub(crate) struct HoleReader<'a> {
    file: &'a File,
    extents: Option<&'a [Extent]>,
    at: u64,
    len: u64,
}

impl<'a> HoleReader<'a> {
    /// A reader from the start.
    pub(crate) fn new(file: &'a File, extents: Option<&'a [Extent]>, len: u64) -> Self {
        Self { file, extents, at: 0, len }
    }
}

impl Read for HoleReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..left];
        let next = match self.extents {
            None => Some(Extent { offset: 0, len: self.len }),
            Some(extents) => following(extents, self.at),
        };
        let start = next.map_or(self.len, |extent| extent.offset);
        let read = if self.at < start {
            let hole = usize::try_from(start - self.at).unwrap_or(usize::MAX).min(buffer.len());
            buffer[..hole].fill(0);
            hole
        } else {
            let end = next.map_or(self.len, |extent| extent.offset + extent.len);
            let most = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(buffer.len());
            self.file.read_at(&mut buffer[..most], self.at)?
        };
        self.at += read as u64;
        Ok(read)
    }
}

/// Writes a file and leaves holes where it had them. Where bytes that are not zero come for a hole, they are written:
/// the extents say where holes may be, never what the bytes are.
pub(crate) struct HoleWriter<'a> {
    file: &'a File,
    extents: Option<&'a [Extent]>,
    at: u64,
}

impl<'a> HoleWriter<'a> {
    /// A writer from byte `at` of the file.
    pub(crate) fn new(file: &'a File, extents: Option<&'a [Extent]>, at: u64) -> Self {
        Self { file, extents, at }
    }
}

impl Write for HoleWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let Some(extents) = self.extents else {
            self.file.write_all_at(buffer, self.at)?;
            self.at += buffer.len() as u64;
            return Ok(buffer.len());
        };
        let next = following(extents, self.at);
        let border = match next {
            Some(extent) if extent.offset > self.at => extent.offset,
            Some(extent) => extent.offset + extent.len,
            None => u64::MAX,
        };
        let len = usize::try_from(border - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &buffer[..len];
        let in_hole = next.is_none_or(|extent| extent.offset > self.at);
        if !in_hole || piece.iter().any(|byte| *byte != 0) {
            self.file.write_all_at(piece, self.at)?;
        }
        self.at += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse() -> (File, Vec<u8>) {
        let file = tempfile::tempfile().unwrap();
        let mut content = vec![0; 1_000_000];
        content[300_000..300_010].fill(7);
        content[999_999] = 8;
        file.set_len(1_000_000).unwrap();
        file.write_all_at(&content[300_000..300_010], 300_000).unwrap();
        file.write_all_at(&[8], 999_999).unwrap();
        (file, content)
    }

    #[test]
    fn a_sparse_file_reads_the_same_with_its_holes_skipped() {
        let (file, content) = sparse();
        let extents = extents(&file, &file.metadata().unwrap());
        let mut read = Vec::new();
        HoleReader::new(&file, extents.as_deref(), 1_000_000).read_to_end(&mut read).unwrap();
        assert!(read == content);
        if let Some(extents) = &extents {
            assert!(are_sound(extents, 1_000_000));
            assert!(extents.iter().map(|e| e.len).sum::<u64>() < 100_000);
        }
    }

    #[test]
    fn holes_come_back_as_holes_and_lies_about_them_lose_nothing() {
        let (_, content) = sparse();
        let truth = [Extent { offset: 299_008, len: 4096 }, Extent { offset: 999_424, len: 576 }];
        let lie = [Extent { offset: 0, len: 10 }];
        for extents in [&truth[..], &lie[..], &[]] {
            let out = tempfile::tempfile().unwrap();
            let mut writer = HoleWriter::new(&out, Some(extents), 0);
            for piece in content.chunks(70_000) {
                writer.write_all(piece).unwrap();
            }
            out.set_len(1_000_000).unwrap();
            let mut back = Vec::new();
            HoleReader::new(&out, None, 1_000_000).read_to_end(&mut back).unwrap();
            assert!(back == content, "{extents:?}");
        }
    }

    #[test]
    fn too_many_extents_become_fewer_and_larger() {
        let many: Vec<Extent> = (0..10_000).map(|i| Extent { offset: i * 8192, len: 4096 }).collect();
        let few = coarser(many);
        assert!(few.len() <= MOST_EXTENTS && are_sound(&few, 10_000 * 8192));
    }

    #[test]
    fn unsound_extents_are_seen() {
        let e = |offset, len| Extent { offset, len };
        assert!(are_sound(&[e(0, 1), e(1, 2)], 3));
        for bad in [vec![e(0, 0)], vec![e(2, 2)], vec![e(1, 1), e(0, 1)], vec![e(u64::MAX, 2)]] {
            assert!(!are_sound(&bad, 3), "{bad:?}");
        }
    }
}
