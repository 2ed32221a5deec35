//! `ouroboros heads`

use super::{Session, versions};
use crate::exit::Outcome;
use clap::Args;
use std::ffi::OsString;

/// What `heads` takes.
#[derive(Debug, Args)]
pub(crate) struct HeadsArgs {
    /// The key.
    key: OsString,
}

pub(super) fn run(session: &mut Session<'_>, args: HeadsArgs) -> Outcome {
    let key = session.key(&args.key)?;
    let versions = session.open()?.heads(&key)?;
    versions::show(session.out, &key, &versions)
}
