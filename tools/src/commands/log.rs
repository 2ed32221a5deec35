//! `ouroboros log`

use super::{Session, versions};
use crate::exit::Outcome;
use clap::Args;
use std::ffi::OsString;

/// What `log` takes.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// The key.
    key: OsString,
}

pub(super) fn run(session: &mut Session<'_>, args: LogArgs) -> Outcome {
    let key = session.key(&args.key)?;
    let db = session.open()?;
    let found = versions::log(&db, &key)?;
    versions::show(session.out, &key, &found)
}
