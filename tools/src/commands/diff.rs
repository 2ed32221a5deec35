//! `ouroboros diff`

use super::{Session, versions};
use crate::exit::Outcome;
use crate::output::{Report, size, thousands};
use crate::store::{Db, Got, Select};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};

/// Texts up to this many bytes are compared line by line.
const LONGEST_TEXT: u64 = 4 << 20;

/// What `diff` takes.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The key.
    key: OsString,
    /// The version before, by its id or the first digits of it.
    a: String,
    /// The version after.
    b: String,
    /// Only say which bytes differ, also for text.
    #[arg(long)]
    bytes: bool,
}

#[derive(Serialize)]
struct Differing {
    a: [u64; 2],
    b: [u64; 2],
}

impl Report for Differing {
    const TYPE: &'static str = "differs";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let [from, to] = self.a;
        let [new_from, new_to] = self.b;
        let text = |from, to| format!("{}..{} ({})", thousands(from), thousands(to), size(to - from));
        writeln!(page, "bytes {} became {}", text(from, to), text(new_from, new_to))
    }
}

pub(super) fn run(session: &mut Session<'_>, args: DiffArgs) -> Outcome {
    let key = session.key(&args.key)?;
    let db = session.open()?;
    let (a, b) = (versions::resolve(&db, &key, &args.a)?, versions::resolve(&db, &key, &args.b)?);
    // Also says so when one of them is no version of this key.
    let versions_of = (db.get(&key, Select::Version(a))?, db.get(&key, Select::Version(b))?);
    if !args.bytes
        && !session.out.is_json()
        && let (Some(before), Some(after)) = (text(&db, &versions_of.0)?, text(&db, &versions_of.1)?)
    {
        let mut options = diffy::DiffOptions::new();
        let patch = options
            .set_original_filename(format!("{key}@{}", &a.to_string()[..12]))
            .set_modified_filename(format!("{key}@{}", &b.to_string()[..12]))
            .create_patch(&before, &after)
            .to_string();
        return if before == after { Ok(()) } else { session.out.say(patch.trim_end()) };
    }
    for (before, after) in db.diff(a, b)?.ranges {
        session.out.emit(&Differing { a: [before.start, before.end], b: [after.start, after.end] })?;
    }
    Ok(())
}

fn text(db: &Db, got: &Got) -> Outcome<Option<String>> {
    if got.version.len > LONGEST_TEXT {
        return Ok(None);
    }
    let bytes = db.read(got, 0..got.version.len)?;
    Ok(String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.contains('\0')))
}
