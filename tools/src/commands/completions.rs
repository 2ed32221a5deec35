//! `ouroboros completions`

use super::Session;
use crate::args::Cli;
use crate::exit::Outcome;
use crate::output;
use clap::{Args, CommandFactory as _};
use std::io::Write as _;

/// What `completions` takes.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(super) fn run(session: &mut Session<'_>, args: CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ouroboros", &mut script);
    session.out.bytes()?.write_all(&script).map_err(output::closed)
}
