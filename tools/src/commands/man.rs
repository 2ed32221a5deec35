//! `ouroboros man`

use super::Session;
use crate::args::{Cli, EXIT_CODES};
use crate::exit::{Exit, Failure, Outcome};
use crate::output;
use clap::{Args, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What `man` takes.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory [default: print the main page].
    dir: Option<PathBuf>,
}

const ENVIRONMENT: [(&str, &str); 7] = [
    ("OUROBOROS_STORE", "The store's directory, where --store is not given."),
    ("OUROBOROS_KEYRING", "The keyring file, where --keyring is not given."),
    ("OUROBOROS_PASSPHRASE", "The keyring's passphrase; may be empty. Options come first, the terminal last."),
    ("XDG_DATA_HOME", "Where the store is by default: ouroboros/store in it. $HOME/.local/share if unset."),
    ("XDG_CONFIG_HOME", "Where keyrings are by default: in ouroboros in it. $HOME/.config if unset."),
    ("NO_COLOR", "If set and not empty, no colours."),
    (
        "OUROBOROS_LOG",
        "What the program's inside logs on standard error, as tracing filters are written: for instance debug.",
    ),
];

const FILES: [(&str, &str); 2] = [
    (
        "~/.local/share/ouroboros/store",
        "The store: blocks holds everything, index is a cache and may be deleted at any time.",
    ),
    (
        "~/.config/ouroboros/default.keyring",
        "The keyring of that store, under its passphrase. Without it, or the recovery phrase that `ouroboros keys phrase` \
         prints, everything in the store is lost.",
    ),
];

pub(super) fn run(session: &mut Session<'_>, args: ManArgs) -> Outcome {
    if let Some(dir) = args.dir {
        std::fs::create_dir_all(&dir).map_err(|e| Failure::file("make the directory", &dir, e))?;
        return pages(&dir).map_err(|e| Failure::file("write into", &dir, e));
    }
    let mut page = Vec::new();
    main_page(&mut page).map_err(|e| Failure::new(Exit::Failed, format!("cannot make the page: {e}")))?;
    session.out.bytes()?.write_all(&page).map_err(output::closed)
}

/// A page for each command, the main one among them.
fn pages(dir: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), dir)?;
    let mut page = Vec::new();
    main_page(&mut page)?;
    std::fs::write(dir.join("ouroboros.1"), page)
}

fn main_page(page: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = Man::new(command).manual("OuroborosDB");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    man.render_subcommands_section(page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["KEYS"]);
    roff.text([roman(
        "Keys are paths of bytes, up to 4096 of them; '/' separates, and NUL cannot stand in them. They are shown losslessly: \
         bytes that do not print stand as \\xNN, a backslash as \\x5c. With --escaped, keys on the command line are read in \
         that form too. In a list, what ends in '/' is not a key but stands for all keys below it.",
    )]);
    roff.control("SH", ["WITHOUT KEYS"]);
    roff.text([roman(
        "scrub, recode, compact, stats and doctor need no keys. Where there is no keyring, or nobody to ask for its passphrase, \
         they go on without and say so; with --no-keys they do not look for one. Names, lengths and the index are then not seen, \
         and what cannot be decided without keys is kept.",
    )]);
    let mut section = |name: &str, entries: &[(&str, &str)]| {
        roff.control("SH", [name]);
        for (term, text) in entries {
            roff.control("TP", []).text([bold(*term)]).text([roman(*text)]);
        }
    };
    section("EXIT STATUS", &EXIT_CODES);
    section("ENVIRONMENT", &ENVIRONMENT);
    section("FILES", &FILES);
    page.write_all(roff.render().as_bytes())?;
    man.render_version_section(page)
}
