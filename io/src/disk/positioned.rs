//! Reads and writes at a place of a file, without a cursor.

use super::uninterrupted;
use std::fs::File;
use std::io::{self, ErrorKind};

#[cfg(unix)]
pub(super) fn read(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    // Beyond what `off_t` can say there is no file.
    if i64::try_from(offset).is_err() {
        return Ok(0);
    }
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn write(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

// `seek_read` and `seek_write` move the cursor of the handle, which nothing here uses.
#[cfg(windows)]
pub(super) fn read(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
fn write(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

#[cfg(not(any(unix, windows)))]
pub(super) fn read(_file: &File, _offset: u64, _buffer: &mut [u8]) -> io::Result<usize> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(not(any(unix, windows)))]
fn write(_file: &File, _offset: u64, _bytes: &[u8]) -> io::Result<usize> {
    Err(ErrorKind::Unsupported.into())
}

/// Calls `write_some(offset, first, rest)` until everything is written, however little it takes at a time.
pub(super) fn write_through(
    offset: u64,
    parts: &[&[u8]],
    mut write_some: impl FnMut(u64, &[u8], &[&[u8]]) -> io::Result<usize>,
) -> io::Result<()> {
    // PA
    let mut at = offset;
    // The first part that is not wholly written, and how much of it is.
    let (mut first, mut within) = (0, 0);
    loop {
        while parts.get(first).is_some_and(|part| within >= part.len()) {
            within -= parts[first].len();
            first += 1;
        }
        let Some(part) = parts.get(first) else { return Ok(()) };
        let count = uninterrupted(|| write_some(at, &part[within..], &parts[first + 1..]))?;
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        at = at.checked_add(count as u64).ok_or(ErrorKind::FileTooLarge)?;
        within += count;
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "netbsd"))]
pub(super) fn write_some(file: &File, offset: u64, first: &[u8], rest: &[&[u8]]) -> io::Result<usize> {
    // PA
    use std::io::IoSlice;
    // The smallest IOV_MAX of these systems.
    const PARTS_PER_CALL: usize = 1024;

    if i64::try_from(offset).is_err() {
        return Err(ErrorKind::FileTooLarge.into());
    }
    if rest.is_empty() {
        return write(file, offset, first);
    }
    let parts = std::iter::once(first).chain(rest.iter().copied());
    let slices: Vec<IoSlice<'_>> =
        parts.filter(|part| !part.is_empty()).take(PARTS_PER_CALL).map(IoSlice::new).collect();
    Ok(rustix::io::pwritev(file, &slices, offset)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "netbsd")))]
pub(super) fn write_some(file: &File, offset: u64, first: &[u8], _rest: &[&[u8]]) -> io::Result<usize> {
    // PA
    if i64::try_from(offset).is_err() {
        return Err(ErrorKind::FileTooLarge.into());
    }
    write(file, offset, first)
}
