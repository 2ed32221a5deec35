//! `ouroboros merge`

use super::{Session, versions};
use crate::exit::Outcome;
use crate::store;
use clap::{Args, ValueEnum};
use ouroboros_engine::dag::merge::{self, Lww, Text3, UnionLines};
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
    let resolver: &dyn merge::Resolver = match args.resolver {
        Resolver::Lww => &Lww,
        Resolver::Union => &UnionLines,
        Resolver::Text3 => &Text3,
    };
    let put = db.merge(&key, resolver)?;
    store::close(&db)?;
    session.out.emit(&versions::Written::new("merged", &key, &put))
}
