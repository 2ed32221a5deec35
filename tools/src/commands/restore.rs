//! `ouroboros restore`

use super::{Session, versions};
use crate::exit::Outcome;
use crate::store::{self, Select};
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
    let key = session.key_to_write(&args.key)?;
    let db = session.open()?;
    let id = versions::resolve(&db, &key, &args.id)?;
    // Says so when it is no version of this key.
    db.get(&key, Select::Version(id))?;
    let put = db.restore(&key, id)?;
    store::close(&db)?;
    session.out.emit(&versions::Written::new("restored", &key, &put))
}
