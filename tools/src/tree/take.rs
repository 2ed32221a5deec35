//! One worker of an import: looks at files, reads those that changed, and puts them.

use super::Problem;
use super::entry::{Entry, Kind};
use super::import::Carried;
use super::manifest::Row;
use super::sparse::{HoleReader, extents};
use crate::exit::{Exit, Failure, Outcome, exit_of};
use crate::interrupt;
use crate::store::{Db, KeyName, Put, PutOptions, PutSource};
use bytes::{Bytes, BytesMut};
use ouroboros_engine::id::BlobId;
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files up to this many bytes are read whole and put together; larger ones stream.
pub(crate) const SMALL: u64 = 1 << 20;
/// Bytes put in one call, about.
const TOGETHER: usize = 8 << 20;

/// A file to take.
pub(crate) struct Planned {
    /// Its place in the walk.
    pub(crate) place: u64,
    /// Its key.
    pub(crate) key: KeyName,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it was when it was looked at.
    pub(crate) metadata: Metadata,
    /// The key of its first name, if it has several names.
    pub(crate) group: Option<Vec<u8>>,
    /// What it was in the import before.
    pub(crate) previous: Option<Row>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    New,
    Changed,
    Unchanged,
}

/// A file that is safely stored.
pub(crate) struct Taken {
    pub(crate) carried: Carried,
    pub(crate) fate: Fate,
    pub(crate) word: &'static str,
    /// Bytes of the file.
    pub(crate) len: u64,
}

/// What a worker reports.
pub(crate) enum Report {
    Taken(Box<Taken>),
    Problem(Problem),
    Failed(Failure),
}

/// Puts files into a store.
pub(crate) struct Taker<'a> {
    pub(crate) db: Db,
    /// Whether inode and change time count.
    pub(crate) identity: bool,
    /// Bytes read so far, by all workers.
    pub(crate) read: &'a AtomicU64,
    pub(crate) report: &'a dyn Fn(Report),
    pub(crate) block: Block,
}

/// Where small files are read to, one behind the other: memory that is filled again when what was in it is stored. Fresh
/// from the system, it would be zeroed first, which costs as much as reading the files.
pub(crate) struct Block {
    bytes: BytesMut,
    filled: usize,
}

impl Block {
    const LEN: usize = TOGETHER + SMALL as usize;

    /// One to begin with.
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::zeroed(Self::LEN), filled: 0 }
    }

    /// Reads to the end of `from`; what is longer than [`SMALL`] is cut there.
    fn fill(&mut self, from: &mut dyn Read) -> io::Result<Range<usize>> {
        let start = self.filled;
        let end = self.bytes.len().min(start + SMALL as usize);
        while self.filled < end {
            match from.read(&mut self.bytes[self.filled..end]) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.filled = start;
                    return Err(error);
                }
            }
        }
        Ok(start..self.filled)
    }

    /// Everything that was read; [`Self::give_back`] takes it.
    fn lend(&mut self) -> Bytes {
        self.filled = 0;
        std::mem::take(&mut self.bytes).freeze()
    }

    fn give_back(&mut self, bytes: Bytes) {
        // Somebody may hold a piece for a moment yet.
        self.bytes = bytes.try_into_mut().unwrap_or_else(|_| BytesMut::zeroed(Self::LEN));
    }
}

struct Waiting {
    taken: Taken,
    /// Where in the block the content is.
    content: Range<usize>,
    key: KeyName,
    options: PutOptions,
}

/// A file that was looked at.
struct Looked {
    planned: Planned,
    entry: Entry,
    /// The version that it seems to be still.
    same: Option<BlobId>,
}

impl Taker<'_> {
    /// Takes a batch. What is reported as taken is durable.
    pub(crate) fn take(&mut self, batch: Vec<Planned>) -> Outcome {
        let looked: Vec<Looked> = batch.into_iter().filter_map(|planned| self.look(planned)).collect();
        // Purged since, a version cannot be named again: the file is here, so store it again.
        let there = match self.db.exist(looked.iter().filter_map(|looked| looked.same).collect()) {
            Ok(there) => there,
            // Where nobody knows, it was lost, perhaps.
            Err(error) if exit_of(&error) == Exit::Damaged => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut there = there.into_iter();
        let mut waiting: Vec<Waiting> = Vec::with_capacity(looked.len());
        for Looked { planned, entry, same } in looked {
            let unchanged = same.filter(|_| there.next() == Some(true));
            match self.one(planned, entry, unchanged)? {
                Step::Done(report) => (self.report)(report),
                Step::Put(put) => waiting.push(*put),
            }
            if self.block.filled >= TOGETHER {
                self.put(std::mem::take(&mut waiting))?;
            }
        }
        self.put(waiting)
    }

    fn put(&mut self, waiting: Vec<Waiting>) -> Outcome {
        // PA
        if waiting.is_empty() {
            return Ok(());
        }
        let block = self.block.lend();
        let put = |Waiting { taken, content, key, options }| {
            (taken, Put { key, source: PutSource::Value(block.slice(content)), options })
        };
        let (taken, puts): (Vec<Taken>, Vec<Put>) = waiting.into_iter().map(put).unzip();
        let written = self.db.put_many(puts);
        self.block.give_back(block);
        for (mut taken, written) in taken.into_iter().zip(written?) {
            taken.carried.id = written?.id;
            (self.report)(Report::Taken(Box::new(taken)));
        }
        Ok(())
    }

    fn look(&self, planned: Planned) -> Option<Looked> {
        match self.kind(&planned) {
            Ok(kind) => {
                let entry = Entry::new(&planned.metadata, kind);
                let same = |row: &&Row| entry.print().is_unchanged_since(&row.print, self.identity);
                let same = planned.previous.as_ref().filter(same).map(|row| row.id);
                Some(Looked { planned, entry, same })
            }
            Err(error) => {
                (self.report)(Report::Problem(Problem::at(&planned.path, format_args!("left out: {error}"))));
                None
            }
        }
    }

    fn one(&mut self, planned: Planned, entry: Entry, unchanged: Option<BlobId>) -> Outcome<Step> {
        let is_file = matches!(entry.kind, Kind::File { .. });
        let len = if is_file { planned.metadata.len() } else { 0 };
        let fate = if planned.previous.is_some() { Fate::Changed } else { Fate::New };
        if let Some(id) = unchanged {
            self.read.fetch_add(len, Ordering::Relaxed);
            let carried = Carried { place: planned.place, key: planned.key, id, print: entry.print() };
            let taken = Taken { carried, fate: Fate::Unchanged, word: entry.word(), len };
            return Ok(Step::Done(Report::Taken(Box::new(taken))));
        }
        if is_file {
            return self.file(planned, fate);
        }
        Ok(Step::put(planned, &entry, 0..0, fate))
    }

    fn kind(&self, planned: &Planned) -> io::Result<Kind> {
        let metadata = &planned.metadata;
        if metadata.is_dir() {
            Ok(Kind::Directory)
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(&planned.path)?;
            Ok(Kind::Symlink { target: target.as_os_str().as_bytes().to_vec() })
        } else {
            Ok(Kind::File { size: metadata.len(), group: planned.group.clone(), extents: None })
        }
    }

    fn file(&mut self, mut planned: Planned, fate: Fate) -> Outcome<Step> {
        // Never a link that took the file's place, and never wait for a pipe that did.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&planned.path, flags, Mode::empty()).map(File::from);
        let file = match opened {
            Ok(file) => file,
            Err(error) => return Ok(Step::problem(&planned, &error)),
        };
        // What the open file says counts: the name may point to another by now.
        let seen = std::mem::replace(
            &mut planned.metadata,
            match file.metadata() {
                Ok(metadata) if metadata.is_file() => metadata,
                Ok(_) => return Ok(Step::problem(&planned, &"it was replaced while being read")),
                Err(error) => return Ok(Step::problem(&planned, &error)),
            },
        );
        if (seen.dev(), seen.ino()) != (planned.metadata.dev(), planned.metadata.ino()) {
            // It is no other name of what that was another name of.
            planned.group = None;
        }
        let len = planned.metadata.len();
        let extents = extents(&file, &planned.metadata);
        let kind = Kind::File { size: len, group: planned.group.take(), extents: extents.clone() };
        let entry = Entry::new(&planned.metadata, kind);
        let reader = HoleReader::new(&file, extents.as_deref(), len);
        let mut reader = Watched { reader, read: self.read, stops: len > SMALL, failed: None };
        if len > SMALL {
            return self.stream(planned, &entry, &mut reader, fate);
        }
        match self.block.fill(&mut reader) {
            Ok(content) => Ok(Step::put(planned, &entry, content, fate)),
            Err(error) => Ok(Step::problem(&planned, &error)),
        }
    }

    fn stream(&self, planned: Planned, entry: &Entry, from: &mut Watched<'_>, fate: Fate) -> Outcome<Step> {
        let options = PutOptions { attributes: entry.to_attributes(), ..PutOptions::default() };
        match (self.db.put_reader(&planned.key, from, options), from.failed.take()) {
            (Ok(put), _) => {
                let len = planned.metadata.len();
                let carried = Carried { place: planned.place, key: planned.key, id: put.id, print: entry.print() };
                Ok(Step::Done(Report::Taken(Box::new(Taken { carried, fate, word: "file", len }))))
            }
            (Err(_), Some(Stopped::Asked)) => Err(Failure::interrupted("interrupted")),
            (Err(_), Some(Stopped::Unreadable(why))) => Ok(Step::problem(&planned, &why)),
            (Err(error), None) => Err(error.into()),
        }
    }
}

enum Step {
    Done(Report),
    Put(Box<Waiting>),
}

impl Step {
    fn problem(planned: &Planned, why: &dyn std::fmt::Display) -> Self {
        Self::Done(Report::Problem(Problem::at(&planned.path, format_args!("left out: {why}"))))
    }

    fn put(planned: Planned, entry: &Entry, content: Range<usize>, fate: Fate) -> Self {
        let options = PutOptions { attributes: entry.to_attributes(), ..PutOptions::default() };
        let len = content.len() as u64;
        // The id is known when the put is done.
        let id = BlobId::from_bytes([0; 32]);
        let carried = Carried { place: planned.place, key: planned.key.clone(), id, print: entry.print() };
        let taken = Taken { carried, fate, word: entry.word(), len };
        Self::Put(Box::new(Waiting { taken, content, key: planned.key, options }))
    }
}

/// Why a reader stopped a put.
enum Stopped {
    Asked,
    Unreadable(String),
}

/// A reader that counts, remembers why it failed, and stops when the user asks.
struct Watched<'a> {
    reader: HoleReader<'a>,
    read: &'a AtomicU64,
    /// Whether the user may stop it: a large file is given up, a batch of small ones is finished.
    stops: bool,
    failed: Option<Stopped>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stops && interrupt::asked() {
            self.failed = Some(Stopped::Asked);
            return Err(io::Error::other("interrupted"));
        }
        let read = self.reader.read(buffer).inspect_err(|e| self.failed = Some(Stopped::Unreadable(e.to_string())))?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
