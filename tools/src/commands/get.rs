//! `ouroboros get`, and how values are written for `at` too.

use super::{Session, versions};
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::output::{self, Report, rfc3339};
use crate::progress::{Bar, Unit};
use crate::store::{Db, Got, KeyName, Select, escape};
use crate::tree::entry::{Entry, Kind};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What `get` takes.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The key.
    key: OsString,
    /// Where to write; `-` for standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// This version, by its id or the first digits of it [default: the current one].
    #[arg(long, value_name = "ID")]
    version: Option<String>,
    /// Only bytes A up to but not B; either may be left out.
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    range: Option<Bounds>,
}

/// A range as typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    from: u64,
    to: Option<u64>,
}

fn parse_range(text: &str) -> Result<Bounds, String> {
    let wrong = || format!("'{text}' is no range; write A..B, A.. or ..B");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let from = if from.is_empty() { 0 } else { number(from)? };
    let to = if to.is_empty() { None } else { Some(number(to)?) };
    if to.is_some_and(|to| to < from) {
        return Err(format!("'{text}' ends before it begins"));
    }
    Ok(Bounds { from, to })
}

impl Bounds {
    fn within(self, len: u64) -> Outcome<Range<u64>> {
        if self.from > len {
            return Err(Failure::usage(format!("the range begins at byte {}, the value has {len}", self.from)));
        }
        Ok(self.from..self.to.unwrap_or(len).min(len))
    }
}

pub(super) fn run(session: &mut Session<'_>, args: GetArgs) -> Outcome {
    let key = session.key(&args.key)?;
    let db = session.open()?;
    watch(args.output.as_deref())?;
    let selector = match &args.version {
        Some(typed) => Select::Version(versions::resolve(&db, &key, typed)?),
        None => Select::Winner,
    };
    let got = db.get(&key, selector)?;
    if args.version.is_none() && !got.others.is_empty() {
        session.out.note(format_args!(
            "{key} has {}: `ouroboros heads` shows all, `ouroboros merge` joins them",
            output::count(got.others.len() as u64, "other head")
        ));
    }
    write(session, &db, &key, &got, args.range.unwrap_or_default(), args.output.as_deref())
}

/// Whether bytes go to standard output, which may be waiting for whoever reads it.
fn is_standard_output(to: Option<&Path>) -> bool {
    to.is_none_or(|path| path == Path::new("-"))
}

/// How Ctrl-C ends a read: a file that was begun is removed first.
pub(super) fn watch(to: Option<&Path>) -> Outcome {
    if is_standard_output(to) { interrupt::end_at_once() } else { interrupt::watch() }
}

#[derive(Serialize)]
struct Value {
    key: String,
    version: String,
    created: String,
    len: u64,
    range: [u64; 2],
    other_heads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileOf>,
}

#[derive(Serialize)]
struct FileOf {
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl FileOf {
    fn new(entry: &Entry) -> Self {
        let target = if let Kind::Symlink { target } = &entry.kind { Some(escape(target)) } else { None };
        let mtime = entry.mtime.seconds as f64 + f64::from(entry.mtime.nanos) / 1e9;
        let mode = format!("{:04o}", entry.mode);
        Self { kind: entry.word(), mode, uid: entry.uid, gid: entry.gid, mtime, target }
    }

    /// What to say of a key that has no bytes because it is no file.
    fn remark(&self, key: &KeyName) -> Option<String> {
        match (self.kind, &self.target) {
            ("directory", _) => {
                Some(format!("{key} is a directory: `ouroboros ls {key}/` lists it, `export` makes it anew"))
            }
            (_, Some(target)) => Some(format!("{key} is a symlink to {target}; `ouroboros export` makes it anew")),
            _ => None,
        }
    }
}

impl Report for Value {
    const TYPE: &'static str = "value";
    fn human(&self, _page: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a version's bytes where they are wanted. With `--json`, standard output gets only the object.
pub(super) fn write(
    session: &mut Session<'_>,
    db: &Db,
    key: &KeyName,
    got: &Got,
    bounds: Bounds,
    to: Option<&Path>,
) -> Outcome {
    let range = bounds.within(got.version.len)?;
    let to = to.filter(|_| !is_standard_output(to));
    let bar = Bar::new(session.out, "get", Unit::Bytes);
    match to {
        Some(path) => to_file(db, got, range.clone(), path, bar)?,
        None if session.out.is_json() => {}
        None => {
            let mut stdout = session.out.bytes()?;
            let mut sink = Sink { to: &mut stdout, bar, done: 0, total: range.end - range.start, failed: None };
            let outcome = db.write_to(got, range.clone(), &mut sink);
            let failed = sink.failed.take();
            drop(sink);
            settle(outcome, failed, output::closed)?;
            stdout.flush().map_err(output::closed)?;
        }
    }
    let file = Entry::from_attributes(&got.attributes).map(|entry| FileOf::new(&entry));
    if !session.out.is_json() {
        file.and_then(|file| file.remark(key)).into_iter().for_each(|remark| session.out.note(remark));
        return Ok(());
    }
    session.out.emit(&Value {
        key: key.to_string(),
        version: got.version.id.to_string(),
        created: rfc3339(got.version.created),
        len: got.version.len,
        range: [range.start, range.end],
        other_heads: got.others.len(),
        output: to.map(|path| path.display().to_string()),
        file,
    })
}

/// Under a temporary name first: a read that fails half-way leaves an older file as it was.
fn to_file(db: &Db, got: &Got, range: Range<u64>, path: &Path, bar: Bar) -> Outcome {
    // A link stays one, and a file that is there stays as private as it was.
    let resolved = std::fs::canonicalize(path).ok();
    let path = resolved.as_deref().unwrap_or(path);
    let before = std::fs::metadata(path).ok();
    let failure = |e: io::Error| Failure::file("write", path, e);
    let special = std::fs::metadata(path).is_ok_and(|m| !m.is_file());
    let mut name = path.file_name().ok_or_else(|| Failure::usage(format!("{} is no file", path.display())))?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    // A device or a pipe is written to as it is.
    let temporary = if special { path.to_owned() } else { path.with_file_name(name) };
    let mode = if before.is_some() { 0o600 } else { 0o666 };
    let mut options = File::options();
    options.write(true).create_new(!special).mode(mode);
    let mut file = options.open(&temporary).map_err(failure)?;
    let total = range.end - range.start;
    let mut sink = Sink { to: &mut file, bar, done: 0, total, failed: None };
    let outcome = db.write_to(got, range, &mut sink);
    let failed = sink.failed.take();
    drop(sink);
    let mut result = settle(outcome, failed, failure);
    if !special {
        if let Some(before) = before {
            result = result.and_then(|()| keep_private(&file, &before).map_err(failure));
        }
        // What was read may be purged next.
        result = result.and_then(|()| file.sync_all().map_err(failure));
        result = result.and_then(|()| std::fs::rename(&temporary, path).map_err(failure));
        result = result.and_then(|()| sync_directory_of(path).map_err(failure));
        if result.is_err() {
            drop(std::fs::remove_file(&temporary));
        }
    }
    result
}

/// Makes a name durable. Who may write to a directory need not be allowed to read it, which this takes.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) => Err(error),
        _ => Ok(()),
    }
}

/// Lets nobody read or run a file who could not read or run the one that it takes the place of.
fn keep_private(file: &File, before: &Metadata) -> io::Result<()> {
    // PA
    let now = file.metadata()?;
    let same = (now.uid(), now.gid()) == (before.uid(), before.gid());
    let kept = same || std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid())).is_ok();
    // Set-user-id and the like were meant for other bytes.
    let mode = before.mode() & if kept { 0o777 } else { 0o700 };
    file.set_permissions(Permissions::from_mode(mode))
}

fn settle(
    outcome: Result<u64, crate::store::Error>,
    failed: Option<io::Error>,
    failure: impl FnOnce(io::Error) -> Failure,
) -> Outcome {
    match (outcome, failed) {
        (Ok(_), _) => Ok(()),
        (Err(_), _) if interrupt::asked() => Err(Failure::interrupted("interrupted")),
        (Err(_), Some(error)) => Err(failure(error)),
        (Err(error), None) => Err(error.into()),
    }
}

/// A writer that moves the bar, remembers why it failed, and stops when the user asks.
struct Sink<'a> {
    to: &'a mut dyn Write,
    bar: Bar,
    done: u64,
    total: u64,
    failed: Option<io::Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if interrupt::asked() {
            return Err(io::Error::other("interrupted"));
        }
        match self.to.write(buffer) {
            Ok(written) => {
                self.done += written as u64;
                self.bar.set(self.done, Some(self.total));
                Ok(written)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), "cannot be written");
                self.failed = Some(error);
                Err(told)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_kept_within_the_value() {
        let within = |text: &str| parse_range(text).unwrap().within(10);
        assert_eq!(within("2..5").unwrap(), 2..5);
        assert_eq!(within("2..").unwrap(), 2..10);
        assert_eq!(within("..99").unwrap(), 0..10);
        assert_eq!(within("10..").unwrap(), 10..10);
        assert!(within("11..").is_err());
        for text in ["5..2", "5", "a..b", "-1..2", "1..2..3"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }
}
