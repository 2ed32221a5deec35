//! `ouroboros ls`

use super::Session;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{Report, rfc3339, size, time};
use crate::store::{Db, Entry, EntryKind, KeyName, ListRequest, RESERVED, Select, escape};
use crate::tree::entry::Entry as File;
use anstyle::{AnsiColor, Style};
use clap::Args;
use ouroboros_engine::id::Hlc;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};

/// Entries fetched at a time.
const PAGE: usize = 1000;

/// How a directory stands out where there are colours; its `/` says it everywhere.
const DIRECTORY: Style = AnsiColor::Blue.on_default().bold();

/// What `ls` takes.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only keys that start so; a directory's name lists what is in it.
    #[arg(default_value = "")]
    prefix: OsString,
    /// Also what is in directories.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// With sizes, times and heads.
    #[arg(short, long)]
    long: bool,
}

#[derive(Serialize)]
struct Listed {
    key: String,
    directory: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    len: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heads: Option<u32>,
    #[serde(skip)]
    long: Option<String>,
}

impl Report for Listed {
    const TYPE: &'static str = "entry";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let style = if self.key.ends_with('/') { DIRECTORY } else { Style::new() };
        if let Some(long) = &self.long {
            write!(page, "{long}  ")?;
        }
        writeln!(page, "{style}{}{style:#}", self.key)
    }
}

impl Listed {
    fn new(entry: &Entry, long: bool) -> Self {
        let key = escape(&entry.name);
        let columns = |len: Option<u64>, created: Option<Hlc>, heads: u32| {
            let many = if heads > 1 { format!("{heads} heads") } else { String::new() };
            let (len, created) = (len.map_or_else(|| "-".into(), size), created.map(time).unwrap_or_default());
            format!("{len:>10}  {created:19}  {many:8}")
        };
        match entry.kind {
            EntryKind::Directory => Self {
                key,
                directory: true,
                len: None,
                created: None,
                heads: None,
                long: long.then(|| columns(None, None, 0)),
            },
            EntryKind::Key { created, len, heads, .. } => Self {
                key,
                directory: false,
                len: Some(len),
                created: Some(rfc3339(created)),
                heads: Some(heads),
                long: long.then(|| columns(Some(len), Some(created), heads)),
            },
        }
    }
}

/// What people see of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    /// A key, or the keys below a name, as it stands.
    Key,
    /// The key that holds an imported directory's mode and times: shown as that directory.
    Directory,
    /// The keys below a directory that was shown already.
    Shown,
}

/// An imported directory is a key, and a name above other keys. People see it once.
#[derive(Default)]
struct Folds {
    /// Directories that were shown, and whose other entry may still come: each a prefix of the one after it.
    shown: Vec<Vec<u8>>,
}

impl Folds {
    fn fold(&mut self, db: &Db, entry: &Entry) -> Fold {
        self.shown.retain(|directory| *directory >= entry.name);
        match entry.kind {
            EntryKind::Directory if self.shown.contains(&entry.name) => Fold::Shown,
            // Only what holds no bytes can be one, so that few versions are opened.
            EntryKind::Key { len: 0, .. } if is_imported_directory(db, &entry.name) => {
                self.shown.push([&entry.name, b"/".as_slice()].concat());
                Fold::Directory
            }
            EntryKind::Directory | EntryKind::Key { .. } => Fold::Key,
        }
    }
}

fn is_imported_directory(db: &Db, name: &[u8]) -> bool {
    let Ok(got) = KeyName::new(name).map_err(drop).and_then(|key| db.get(&key, Select::Winner).map_err(drop)) else {
        return false;
    };
    File::from_attributes(&got.attributes).is_some_and(|file| file.word() == "directory")
}

pub(super) fn run(session: &mut Session<'_>, args: LsArgs) -> Outcome {
    let prefix = session.bytes(&args.prefix)?;
    let db = session.open()?;
    interrupt::end_at_once()?;
    // The store's own keys are shown to those who ask for them.
    let own = prefix.starts_with(RESERVED.strip_suffix(b"/").unwrap_or(RESERVED));
    let mut folds = Folds::default();
    let mut after = None;
    let mut listed = false;
    loop {
        let request =
            ListRequest { prefix: prefix.clone(), after, recursive: args.recursive, include_gone: false, limit: PAGE };
        let page = db.list(request)?;
        for entry in page.entries.iter().filter(|entry| own || !entry.name.starts_with(RESERVED)) {
            listed = true;
            let mut line = Listed::new(entry, args.long);
            if !session.out.is_json() {
                match folds.fold(&db, entry) {
                    Fold::Key => {}
                    Fold::Directory => line.key.push('/'),
                    Fold::Shown => continue,
                }
            }
            session.out.emit(&line)?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if !listed && !prefix.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("no key starts with {}", escape(&prefix)))
            .advise("`ouroboros ls` lists the top"));
    }
    Ok(())
}
