//! `ouroboros merge`

use super::{Session, versions};
use crate::exit::Outcome;
use crate::store::MergeStrategy;
use clap::{Args, ValueEnum};
use std::ffi::OsString;

/// What `merge` takes.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The key.
    key: OsString,
    /// How to join the heads.
    #[arg(long, value_enum, default_value = "lww")]
    resolver: Resolver,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Resolver {
    /// The last writer wins.
    Lww,
    /// Every line of every head, once.
    Union,
    /// Three-way text, as version control does.
    Text3,
}

pub(super) fn run(session: &mut Session<'_>, args: MergeArgs) -> Outcome {
    let key = session.key(&args.key)?;
    let db = session.open()?;
    let heads = db.heads(&key)?;
    if heads.len() < 2 {
        session.out.note(format_args!("{key} has one head; there is nothing to merge"));
        return versions::show(session.out, &key, &heads);
    }
    let strategy = match args.resolver {
        Resolver::Lww => MergeStrategy::Lww,
        Resolver::Union => MergeStrategy::Union,
        Resolver::Text3 => MergeStrategy::Text3,
    };
    let put = db.merge(&key, strategy)?;
    db.close()?;
    session.out.emit(&versions::Written::new("merged", &key, &put))
}
