//! `ouroboros restore`

use super::{Session, versions};
use crate::exit::Outcome;
use clap::Args;
use std::ffi::OsString;

/// What `restore` takes.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The key.
    key: OsString,
    /// The version to bring back, by its id or the first digits of it.
    id: String,
}

pub(super) fn run(session: &mut Session<'_>, args: RestoreArgs) -> Outcome {
    let key = session.key(&args.key)?;
    let db = session.open()?;
    let id = versions::resolve(&db, &key, &args.id)?;
    let put = db.restore(&key, id)?;
    db.close()?;
    session.out.emit(&versions::Written::new("restored", &key, &put))
}
