//! The `ouroboros` command: one store, the whole way, from a shell.
//!
//! `args` says what may be typed, `commands` has one file for each verb, `tree` carries files in and out, `output` is the
//! only place that prints. The library is met in `store` and nowhere else.

mod args;
mod bench;
mod commands;
mod exit;
mod interrupt;
mod keyring_file;
mod output;
mod passphrase;
mod paths;
mod progress;
mod store;
mod tree;

use clap::Parser as _;
use std::process::ExitCode;

/// Buffers of megabytes come and go: this allocator keeps them for a moment, where the system's gives them back and faults
/// them in anew (decision 12).
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let mut out = output::Output::new(&cli.globals);
    out.start_log(cli.globals.verbose);
    let result = commands::run(cli, &mut out);
    out.finish(result)
}
