//! `ouroboros put`

use super::{Session, versions};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::progress::{Bar, Unit};
use crate::store::{self, Base, Coding, PutOptions};
use clap::Args;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// What `put` takes.
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The key.
    key: OsString,
    /// The file to store; `-` or nothing for standard input.
    file: Option<PathBuf>,
    /// The version this one follows [default: the current one]. Several for a merge made by hand.
    #[arg(long, value_name = "ID")]
    based_on: Vec<String>,
    /// Data and parity slices for this value [default: the store's].
    #[arg(long, value_name = "K+M")]
    redundancy: Option<Coding>,
}

pub(super) fn run(session: &mut Session<'_>, args: PutArgs) -> Outcome {
    let key = session.key_to_write(&args.key)?;
    // A file that is not there should not make a store.
    let source = args.file.filter(|path| path != Path::new("-"));
    let (file, total) = match &source {
        // The descriptor itself: what a buffer has read already cannot be waited for.
        None => (File::from(io::stdin().as_fd().try_clone_to_owned().map_err(no_input)?), None),
        Some(path) => {
            let file = File::open(path).map_err(|e| Failure::file("open", path, e))?;
            let metadata = file.metadata().map_err(|e| Failure::file("look at", path, e))?;
            if metadata.is_dir() {
                return Err(Failure::usage(format!("{} is a directory", path.display()))
                    .advise("`ouroboros import` stores directories"));
            }
            (file, metadata.is_file().then_some(metadata.len()))
        }
    };
    let db = session.open_or_create()?;
    interrupt::watch()?;
    let based_on = args.based_on.iter().map(|id| versions::resolve(&db, &key, id)).collect::<Outcome<Vec<_>>>()?;
    let options = PutOptions {
        base: if based_on.is_empty() { Base::Winner } else { Base::Versions(based_on) },
        coding: args.redundancy,
        ..PutOptions::default()
    };
    if file.is_terminal() {
        session.out.note(format_args!("type the value of {key}; Ctrl-D at the start of a line ends it"));
    }
    let bar = Bar::new(session.out, "put", Unit::Bytes);
    let mut reader = Fed { from: &file, bar, done: 0, total, failed: None };
    let put = db.put_reader(&key, &mut reader, options);
    let failed = reader.failed.take();
    drop(reader);
    let put = match (put, failed) {
        (Ok(put), _) => put,
        (Err(_), _) if interrupt::asked() => return Err(Failure::interrupted("interrupted; nothing was stored")),
        (Err(_), Some(error)) => {
            let path = source.unwrap_or_else(|| PathBuf::from("standard input"));
            return Err(Failure::file("read", &path, error));
        }
        (Err(error), None) => return Err(error.into()),
    };
    store::close(&db)?;
    let written = versions::Written::new("put", &key, &put);
    written.warn_of_heads(session.out);
    session.out.emit(&written)
}

fn no_input(error: io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot read standard input: {error}"))
}

/// A reader that moves the bar, remembers why it failed, and stops when the user asks.
struct Fed<'a> {
    from: &'a File,
    bar: Bar,
    done: u64,
    total: Option<u64>,
    failed: Option<String>,
}

impl Read for Fed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::wait_for_input(self.from)?;
        if interrupt::asked() {
            return Err(io::Error::other("interrupted"));
        }
        let read = self.from.read(buffer).inspect_err(|e| self.failed = Some(e.to_string()))?;
        self.done += read as u64;
        self.bar.set(self.done, self.total);
        Ok(read)
    }
}
