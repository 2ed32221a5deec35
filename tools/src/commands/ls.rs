//! `ouroboros ls`

use super::Session;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{Report, rfc3339, size, time};
use crate::store::{Entry, ListOptions, escape};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};

/// Entries fetched at a time.
const PAGE: usize = 1024;

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
    heads: Option<usize>,
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
        let mut key = escape(&entry.name);
        if entry.is_directory && !key.ends_with('/') {
            key.push('/');
        }
        let many = if entry.heads > 1 { format!("{} heads", entry.heads) } else { String::new() };
        let columns = || {
            let len = entry.len.map(size).unwrap_or_default();
            let created = entry.created.map(time).unwrap_or_default();
            format!("{len:>10}  {created:19}  {many:8}")
        };
        Self {
            key,
            directory: entry.is_directory,
            len: entry.len,
            created: entry.created.map(rfc3339),
            heads: (!entry.is_directory).then_some(entry.heads),
            long: long.then(columns),
        }
    }
}

pub(super) fn run(session: &mut Session<'_>, args: LsArgs) -> Outcome {
    let prefix = session.bytes(&args.prefix)?;
    let db = session.open()?;
    interrupt::watch()?;
    let mut after = None;
    let mut listed = false;
    loop {
        interrupt::check("interrupted")?;
        let options = ListOptions { recursive: args.recursive, after, limit: PAGE };
        let page = db.list(&prefix, options)?;
        for entry in &page.entries {
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
