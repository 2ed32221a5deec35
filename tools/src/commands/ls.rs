//! `ouroboros ls`

use super::Session;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{Report, rfc3339, size, time};
use crate::store::{Entry, EntryKind, ListRequest, RESERVED, escape};
use clap::Args;
use ouroboros_engine::id::Hlc;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};

/// Entries fetched at a time.
const PAGE: usize = 1000;

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
        match &self.long {
            Some(long) => writeln!(page, "{long}  {}", self.key),
            None => writeln!(page, "{}", self.key),
        }
    }
}

impl Listed {
    fn new(entry: &Entry, long: bool) -> Self {
        let key = escape(&entry.name);
        let columns = |len: Option<u64>, created: Option<Hlc>, heads: u32| {
            let many = if heads > 1 { format!("{heads} heads") } else { String::new() };
            let (len, created) = (len.map(size).unwrap_or_default(), created.map(time).unwrap_or_default());
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

pub(super) fn run(session: &mut Session<'_>, args: LsArgs) -> Outcome {
    let prefix = session.bytes(&args.prefix)?;
    let db = session.open()?;
    interrupt::watch()?;
    // The store's own keys are shown to those who ask for them.
    let own = prefix.starts_with(RESERVED.strip_suffix(b"/").unwrap_or(RESERVED));
    let mut after = None;
    let mut listed = false;
    loop {
        interrupt::check("interrupted")?;
        let request =
            ListRequest { prefix: prefix.clone(), after, recursive: args.recursive, include_gone: false, limit: PAGE };
        let page = db.list(request)?;
        for entry in page.entries.iter().filter(|entry| own || !entry.name.starts_with(RESERVED)) {
            listed = true;
            session.out.emit(&Listed::new(entry, args.long))?;
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
