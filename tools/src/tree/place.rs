//! One worker of an export: writes files under a temporary name, dresses them, and gives them their own.

use super::entry::{Entry, Extent, FileTime, Kind};
use super::rooted::{Rooted, name, parts, settle};
use super::sparse::{HoleWriter, are_sound};
use crate::exit::{Exit, Failure, Outcome, exit_of};
use crate::interrupt;
use crate::store::{Db, Error, Got, KeyName};
use ouroboros_engine::id::BlobId;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Files from this length on are written by two hands, in bytes.
const LARGE: u64 = 64 << 20;
/// What one of them writes at a time, in bytes.
const PART: u64 = 16 << 20;

/// How things are placed.
#[derive(Clone)]
pub(crate) struct Style {
    /// Replace files that are there.
    pub(crate) overwrite: bool,
    /// Give files to their owners: only root can.
    pub(crate) owners: bool,
    /// The permissions of what has none of its own.
    pub(crate) umask: u32,
}

/// What became of an entry.
pub(crate) enum Placed {
    /// It is there. A file has so many bytes, and may be the first of several names.
    Done { word: &'static str, len: u64, leads: Option<KeyName> },
    /// A directory is there, and gets its modes and times at the end.
    Directory { key: KeyName, entry: Entry },
    /// A further name of a file, for when all files are there.
    Link { key: KeyName, id: BlobId, group: Vec<u8> },
}

/// Writes entries below one directory.
pub(crate) struct Placer<'a> {
    pub(crate) db: Db,
    pub(crate) rooted: Rooted,
    pub(crate) root: Arc<OwnedFd>,
    pub(crate) style: Style,
    /// Bytes written so far, by all workers.
    pub(crate) written: &'a AtomicU64,
    /// Makes temporary names differ.
    pub(crate) number: &'a AtomicU64,
    /// Whether two hands write some large file.
    pub(crate) helped: &'a AtomicBool,
}

/// Why one entry was not placed: the export goes on, or it does not.
pub(crate) enum Trouble {
    /// Only this one.
    Here { why: String, damaged: bool },
    /// All of it.
    Everywhere(Failure),
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        match error {
            Errno::LOOP | Errno::NOTDIR => Self::here("a symbolic link or a file stands where a directory belongs"),
            Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY => Self::here("something else stands in its place"),
            Errno::NOSPC | Errno::DQUOT => Self::Everywhere(
                Failure::new(Exit::Failed, "the disk that is exported to is full")
                    .advise("free space and export again"),
            ),
            error => Self::here(error.to_string()),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match exit_of(&error) {
            Exit::Damaged => Self::Here { why: error.to_string(), damaged: true },
            Exit::NotFound => Self::here(error.to_string()),
            _ => Self::Everywhere(error.into()),
        }
    }
}

impl Trouble {
    pub(crate) fn here(why: impl Into<String>) -> Self {
        Self::Here { why: why.into(), damaged: false }
    }
}

impl Placer<'_> {
    /// Places one entry of a snapshot. `linked` tells whether further names of a file wait for the end.
    pub(crate) fn place(&mut self, key: &KeyName, got: &Got, linked: bool) -> Result<Placed, Trouble> {
        // PA
        let id = got.version.id;
        let parts = parts(key.as_bytes()).map_err(|e| Trouble::here(e.to_string()))?;
        let Some((last, above)) = parts.split_last() else { return Err(Trouble::here("it has no name")) };
        let entry = Entry::from_attributes(&got.attributes);
        match entry.as_ref().map(|entry| &entry.kind) {
            Some(Kind::Directory) => {
                self.rooted.directory(&parts, |_| Ok(()))?;
                // `entry` is there: its kind was just looked at.
                entry.map(|entry| Placed::Directory { key: key.clone(), entry }).ok_or(Trouble::here("no entry"))
            }
            Some(Kind::File { group: Some(group), .. }) if linked && group != key.as_bytes() => {
                Ok(Placed::Link { key: key.clone(), id, group: group.clone() })
            }
            Some(Kind::Symlink { target }) => {
                let (target, temporary) = (name(target), self.temporary());
                self.arrive(
                    above,
                    last,
                    &temporary,
                    |_, parent| fs::symlinkat(target, parent, name(&temporary)).map_err(Trouble::from),
                    entry.as_ref(),
                )?;
                Ok(Placed::Done { word: "symlink", len: 0, leads: None })
            }
            _ => {
                let temporary = self.temporary();
                self.arrive(
                    above,
                    last,
                    &temporary,
                    |own, parent| own.file(parent, &temporary, got, entry.as_ref()),
                    None,
                )?;
                let leads = matches!(&entry, Some(Entry { kind: Kind::File { group: Some(_), .. }, .. }));
                Ok(Placed::Done { word: "file", len: got.version.len, leads: leads.then(|| key.clone()) })
            }
        }
    }

    /// Makes `key` another name of the file that stands under `group`.
    pub(crate) fn link(&mut self, key: &KeyName, group: &[u8]) -> Result<(), Trouble> {
        // PA
        let refused = |e: super::rooted::NameRefused| Trouble::here(e.to_string());
        let (from, to) = (parts(group).map_err(refused)?, parts(key.as_bytes()).map_err(refused)?);
        let (Some((from, from_above)), Some((last, above))) = (from.split_last(), to.split_last()) else {
            return Err(Trouble::here("it has no name"));
        };
        let source = Rooted::new(self.root.clone())
            .directory(from_above, |parent| rustix::io::fcntl_dupfd_cloexec(parent, 0))?;
        let temporary = self.temporary();
        self.arrive(
            above,
            last,
            &temporary,
            |_, parent| {
                fs::linkat(&source, name(from), parent, name(&temporary), AtFlags::empty()).map_err(Trouble::from)
            },
            None,
        )
    }

    /// Gives a directory its modes and times, when nothing will be put into it any more.
    pub(crate) fn finish_directory(&mut self, key: &KeyName, entry: &Entry) -> Result<(), Trouble> {
        let parts = parts(key.as_bytes()).map_err(|e| Trouble::here(e.to_string()))?;
        let style = self.style.clone();
        self.rooted.directory(&parts, |directory| dress(directory, entry, &style))?;
        Ok(())
    }

    /// Gives a directory that no entry speaks of the usual permissions.
    pub(crate) fn open_up(&mut self, key: &[u8]) -> Result<(), Trouble> {
        let parts = parts(key).map_err(|e| Trouble::here(e.to_string()))?;
        let mode = Mode::from_raw_mode(0o777 & !self.style.umask);
        self.rooted.directory(&parts, |directory| fs::fchmod(directory, mode))?;
        Ok(())
    }

    fn temporary(&self) -> Vec<u8> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        format!(".ouroboros-{}-{number}.part", std::process::id()).into_bytes()
    }

    /// Makes something under a temporary name and settles it, or leaves nothing behind.
    fn arrive(
        &mut self,
        above: &[&[u8]],
        last: &[u8],
        temporary: &[u8],
        make: impl FnOnce(&Self, BorrowedFd<'_>) -> Result<(), Trouble>,
        link_entry: Option<&Entry>,
    ) -> Result<(), Trouble> {
        // PA
        let parent = self.rooted.directory(above, |parent| rustix::io::fcntl_dupfd_cloexec(parent, 0))?;
        let parent = parent.as_fd();
        let made = make(self, parent).and_then(|()| match link_entry {
            Some(entry) => dress_link(parent, temporary, entry, &self.style).map_err(Trouble::from),
            None => Ok(()),
        });
        if let Err(trouble) = made {
            let _ = fs::unlinkat(parent, name(temporary), AtFlags::empty());
            return Err(trouble);
        }
        Ok(settle(parent, name(temporary), name(last), self.style.overwrite)?)
    }

    fn file(&self, parent: BorrowedFd<'_>, temporary: &[u8], got: &Got, entry: Option<&Entry>) -> Result<(), Trouble> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(parent, name(temporary), flags, Mode::RUSR | Mode::WUSR)?);
        let extents = match entry.map(|entry| &entry.kind) {
            Some(Kind::File { extents: Some(extents), .. }) if are_sound(extents, got.version.len) => {
                Some(extents.as_slice())
            }
            _ => None,
        };
        self.content(&file, extents, got)?;
        if extents.is_some() {
            file.set_len(got.version.len).map_err(|e| self.unwritable(&e))?;
        }
        match entry {
            Some(entry) => dress(file.as_fd(), entry, &self.style)?,
            None => fs::fchmod(&file, Mode::from_raw_mode(0o666 & !self.style.umask))?,
        }
        Ok(())
    }

    /// Writes the bytes of a file; of a large one, two hands write parts in turn, if no other file has them already:
    /// making and filling pages of the system's cache is more work than reading the store.
    fn content(&self, file: &File, extents: Option<&[Extent]>, got: &Got) -> Result<(), Trouble> {
        let len = got.version.len;
        if len < LARGE || self.helped.swap(true, Ordering::Relaxed) {
            return self.part(file, extents, got, 0..len);
        }
        let next = AtomicU64::new(0);
        let hand = || {
            loop {
                let start = next.fetch_add(PART, Ordering::Relaxed);
                if start >= len {
                    return Ok(());
                }
                if let Err(trouble) = self.part(file, extents, got, start..len.min(start + PART)) {
                    next.store(len, Ordering::Relaxed);
                    return Err(trouble);
                }
            }
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(hand);
            (hand(), other.join())
        });
        self.helped.store(false, Ordering::Relaxed);
        one.and(other.unwrap_or_else(|_| Err(Trouble::here("a writer panicked"))))
    }

    fn part(
        &self,
        file: &File,
        extents: Option<&[Extent]>,
        got: &Got,
        range: std::ops::Range<u64>,
    ) -> Result<(), Trouble> {
        let writer = HoleWriter::new(file, extents, range.start);
        let mut counted = Counted { writer, written: self.written, failed: None };
        match (self.db.write_to(got, range, &mut counted), counted.failed) {
            (Ok(_), _) => Ok(()),
            (Err(_), Some(error)) => Err(self.unwritable(&error)),
            (Err(error), None) => Err(error.into()),
        }
    }

    fn unwritable(&self, error: &io::Error) -> Trouble {
        match error.raw_os_error() {
            _ if interrupt::asked() => Trouble::Everywhere(Failure::interrupted("interrupted")),
            Some(code) => Errno::from_raw_os_error(code).into(),
            None => Trouble::here(error.to_string()),
        }
    }
}

/// The bits that may be given: without the owner, no file runs with its owner's rights.
fn mode(entry: &Entry, style: &Style) -> Mode {
    let owned = style.owners;
    Mode::from_raw_mode(if owned { entry.mode } else { entry.mode & !0o6000 })
}

fn times(entry: &Entry) -> Timestamps {
    let FileTime { seconds, nanos } = entry.mtime;
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn owners(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    // -1 means "leave it" to the kernel, and is nobody's number.
    let number = |raw: u32| (raw != u32::MAX).then_some(raw);
    (number(entry.uid).map(Uid::from_raw), number(entry.gid).map(Gid::from_raw))
}

/// Owner first: a change of owner takes the set-user-id bit away. Times last: everything else moves them.
fn dress(fd: impl AsFd, entry: &Entry, style: &Style) -> Result<(), Errno> {
    if style.owners {
        let (uid, gid) = owners(entry);
        fs::fchown(&fd, uid, gid)?;
    }
    fs::fchmod(&fd, mode(entry, style))?;
    fs::futimens(&fd, &times(entry))
}

fn dress_link(parent: BorrowedFd<'_>, temporary: &[u8], entry: &Entry, style: &Style) -> Result<(), Errno> {
    if style.owners {
        let (uid, gid) = owners(entry);
        fs::chownat(parent, name(temporary), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    fs::utimensat(parent, name(temporary), &times(entry), AtFlags::SYMLINK_NOFOLLOW)
}

/// A writer that counts, remembers why it failed, and stops when the user asks.
struct Counted<'a> {
    writer: HoleWriter<'a>,
    written: &'a AtomicU64,
    failed: Option<io::Error>,
}

impl Write for Counted<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let result = if interrupt::asked() { Err(io::Error::other("interrupted")) } else { self.writer.write(buffer) };
        match result {
            Ok(written) => {
                self.written.fetch_add(written as u64, Ordering::Relaxed);
                Ok(written)
            }
            Err(error) => {
                let told = error.raw_os_error().map_or(io::Error::other("stopped"), io::Error::from_raw_os_error);
                self.failed = Some(error);
                Err(told)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What the export as a whole makes of trouble with one entry.
pub(crate) fn sort_out(key: &KeyName, trouble: Trouble) -> Outcome<super::Problem> {
    match trouble {
        Trouble::Here { why, damaged } => {
            Ok(super::Problem { what: key.to_string(), why: format!("left out: {why}"), damaged })
        }
        Trouble::Everywhere(failure) => Err(failure),
    }
}
