//! `ouroboros man`

use super::Session;
use crate::args::Cli;
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use clap::{Args, CommandFactory as _};
use std::io::Write as _;
use std::path::PathBuf;

/// What `man` takes.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory [default: print the main page].
    dir: Option<PathBuf>,
}

pub(super) fn run(session: &mut Session<'_>, args: ManArgs) -> Outcome {
    if let Some(dir) = args.dir {
        std::fs::create_dir_all(&dir).map_err(|e| Failure::file("make the directory", &dir, e))?;
        return clap_mangen::generate_to(Cli::command(), &dir).map_err(|e| Failure::file("write into", &dir, e));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot make the page: {e}")))?;
    session.out.bytes()?.write_all(&page).map_err(output::closed)
}
