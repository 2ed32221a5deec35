//! What may be typed: the command line, as data. Each command's own arguments stand beside the command.

use crate::commands;
use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand};
use std::path::PathBuf;

/// Versioned, content-addressed, encrypted, erasure-coded storage.
///
/// A store keeps every version of every key, sealed under a keyring that lives apart from it. A first `put` or `import`
/// makes both and says where they are.
#[derive(Debug, Parser)]
#[command(name = "ouroboros", version, max_term_width = 100, after_long_help = after_help())]
pub(crate) struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How a run ends, for people.
pub(crate) const EXIT_CODES: [(&str, &str); 8] = [
    ("0", "done"),
    ("1", "failed"),
    ("2", "usage"),
    ("3", "no such key or version"),
    ("4", "data damaged beyond repair"),
    ("5", "store in use by another process"),
    ("6", "wrong or missing keys"),
    ("130", "interrupted (everything acknowledged is kept)"),
];

fn after_help() -> String {
    let codes: Vec<String> = EXIT_CODES.iter().map(|(code, text)| format!("  {code:>3}  {text}\n")).collect();
    format!("Exit codes:\n{}\n{AFTER_HELP}", codes.concat())
}

const AFTER_HELP: &str = "\
Keys are byte paths; '/' separates. They are shown losslessly: bytes that do not print stand as \\xNN, a backslash as
\\x5c. With --escaped the keys on the command line are read in that form too.

With --json every command prints one JSON object a line on standard output, each with a \"type\"; errors are one object
on standard error.";

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The store's directory [default: the XDG data directory, ouroboros/store].
    #[arg(long, global = true, env = "OUROBOROS_STORE", value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// The keyring file [default: the XDG config directory, one file for each store].
    #[arg(long, global = true, env = "OUROBOROS_KEYRING", value_name = "FILE")]
    pub(crate) keyring: Option<PathBuf>,
    /// Read the passphrase from the first line of this file.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Read the passphrase from the first line of this open file descriptor.
    #[arg(long, global = true, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,
    /// Print one JSON object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Read keys on the command line in their escaped form (\xNN for a byte).
    #[arg(long, global = true)]
    pub(crate) escaped: bool,
    /// When to use colours; NO_COLOR is honoured.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more on standard error; twice for still more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a store and its keyring.
    Init(commands::init::InitArgs),
    /// Store bytes from a file or standard input under a key.
    Put(commands::put::PutArgs),
    /// Write a key's bytes to a file or standard output.
    Get(commands::get::GetArgs),
    /// List keys.
    Ls(commands::ls::LsArgs),
    /// Show the versions of a key, latest first.
    Log(commands::log::LogArgs),
    /// Show the current versions of a key: more than one when writes were concurrent.
    Heads(commands::heads::HeadsArgs),
    /// Write a key's bytes as they were at a time.
    At(commands::at::AtArgs),
    /// Show what differs between two versions of a key.
    Diff(commands::diff::DiffArgs),
    /// Make an old version the current one again, as a new version.
    Restore(commands::restore::RestoreArgs),
    /// Merge the heads of a key into one version.
    Merge(commands::merge::MergeArgs),
    /// Remove keys; their history stays.
    Rm(commands::rm::RmArgs),
    /// Destroy a key with its history, or one version: its bytes cannot be had back.
    Purge(commands::purge::PurgeArgs),
    /// Store files and directories, and make a snapshot of them.
    Import(commands::import::ImportArgs),
    /// List snapshots.
    Snapshots(commands::snapshots::SnapshotsArgs),
    /// Write a snapshot's files into a directory.
    Export(commands::export::ExportArgs),
    /// Read everything again, and find and heal damage.
    Scrub(commands::scrub::ScrubArgs),
    /// Change the erasure coding of what is stored, in place: nothing is encrypted anew.
    Recode(commands::recode::RecodeArgs),
    /// Give the space of what was purged back to the file system.
    Compact(commands::compact::CompactArgs),
    /// Show figures of the store.
    Stats(commands::stats::StatsArgs),
    /// Explain the health of the store in plain words.
    Doctor(commands::doctor::DoctorArgs),
    /// Look after the keyring.
    Keys(commands::keys::KeysArgs),
    /// Measure this machine with this program.
    Bench(commands::bench::BenchArgs),
    /// Print completions for a shell.
    Completions(commands::completions::CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(commands::man::ManArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_manual_parses() {
        for line in [
            "init --redundancy 8+1 --index-dir i --blocks-dir b",
            "put k",
            "put k -",
            "put k file --redundancy 4+2",
            "get k",
            "get k -o f --version ab12 --range 1..9",
            "ls",
            "ls p --recursive",
            "log k",
            "heads k",
            "at 2026-01-01 k",
            "diff k aa bb",
            "restore k aa",
            "merge k --resolver text3",
            "rm k",
            "purge k",
            "import a b --prefix p",
            "snapshots",
            "export latest d",
            "scrub --repair",
            "recode 4+2",
            "compact",
            "stats",
            "doctor",
            "doctor --quick --no-keys",
            "scrub --no-keys --repair",
            "recode 4+2 --no-keys",
            "compact --no-keys",
            "stats --no-keys",
            "keys show",
            "keys passphrase",
            "keys phrase",
            "keys recover",
            "bench --stages",
            "completions bash",
            "man",
            "--json -q stats",
            "stats --store /s --keyring /k --color never -vv",
        ] {
            let words = std::iter::once("ouroboros").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["", "put", "get k --range x", "recode 0+1", "init --redundancy 300+1", "merge k --resolver best"] {
            let words = std::iter::once("ouroboros").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
