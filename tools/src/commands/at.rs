//! `ouroboros at`

use super::Session;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::parse_time;
use crate::store::{Error, Refusal, Select};
use clap::Args;
use ouroboros_engine::id::Hlc;
use std::ffi::OsString;
use std::path::PathBuf;

/// What `at` takes.
#[derive(Debug, Args)]
pub(crate) struct AtArgs {
    /// When: a date, a local or RFC 3339 time, or how long ago (`2h`, `3 days ago`).
    time: String,
    /// The key.
    key: OsString,
    /// Where to write; `-` for standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(session: &mut Session<'_>, args: AtArgs) -> Outcome {
    let key = session.key(&args.key)?;
    let time = parse_time(&args.time)?;
    let db = session.open()?;
    super::get::watch(args.output.as_deref())?;
    let got = db.get(&key, Select::At(Hlc::end_of(time))).map_err(|error| match error {
        Error::Request(Refusal::NoSuchKey(_)) if db.heads(&key).is_ok() => {
            Failure::new(Exit::NotFound, format!("{key} had no version yet at {}", args.time))
                .advise(format!("`ouroboros log` shows when {key} was written"))
        }
        error => error.into(),
    })?;
    super::get::write(session, &db, &key, &got, Default::default(), args.output.as_deref())
}
