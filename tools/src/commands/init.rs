//! `ouroboros init`

use super::Session;
use crate::exit::Outcome;
use crate::output::Report;
use crate::store::{self, Coding, KdfParams, NewStore};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

/// What `init` takes.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Data and parity slices for each chunk: any M of K+M may be damaged [default: 8+1].
    #[arg(long, value_name = "K+M")]
    redundancy: Option<Coding>,
    /// Keep the index here, on a fast disk.
    #[arg(long, value_name = "DIR")]
    index_dir: Option<PathBuf>,
    /// Keep the data here, on a large disk.
    #[arg(long, value_name = "DIR")]
    blocks_dir: Option<PathBuf>,
    /// What trying a passphrase costs. `testing` costs nothing and protects nothing.
    #[arg(long, value_enum, default_value = "default", hide = true)]
    kdf: Kdf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kdf {
    Default,
    Mobile,
    Testing,
}

#[derive(Serialize)]
struct Made {
    store: String,
    keyring: String,
    realm: String,
}

impl Report for Made {
    const TYPE: &'static str = "init";
    fn human(&self, _page: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn run(session: &mut Session<'_>, args: InitArgs) -> Outcome {
    let place = session.place()?;
    let absolute = |path: Option<PathBuf>| path.map(std::path::absolute).transpose();
    let failed = |e| crate::exit::Failure::usage(format!("no such place: {e}"));
    let new = NewStore {
        index: absolute(args.index_dir).map_err(failed)?,
        blocks: absolute(args.blocks_dir).map_err(failed)?,
        coding: args.redundancy.unwrap_or_default(),
        kdf: match args.kdf {
            Kdf::Default => KdfParams::DEFAULT,
            Kdf::Mobile => KdfParams::MOBILE,
            Kdf::Testing => {
                session.out.warn("this keyring is made for a test: its passphrase protects nothing");
                KdfParams::TESTING
            }
        },
    };
    let (db, realm) = place.create(&session.globals, new, session.out, &session.steps)?;
    store::close(&db)?;
    session.out.emit(&Made {
        store: place.store.display().to_string(),
        keyring: place.keyring.display().to_string(),
        realm: realm.to_string(),
    })
}
