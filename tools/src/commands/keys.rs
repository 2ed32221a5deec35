//! `ouroboros keys`

use super::Session;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Report;
use crate::store::{KdfParams, Keyring, MasterSecret};
use crate::{interrupt, keyring_file, passphrase};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::{self, IsTerminal as _, Read as _, Write};
use zeroize::Zeroizing;

/// What `keys` takes.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the keyring's public names; nothing secret.
    Show,
    /// Change the passphrase. The keys stay the same, and so does every older copy of the file with its passphrase.
    Passphrase {
        /// Read the new passphrase from the first line of this file.
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<std::path::PathBuf>,
    },
    /// Print the recovery phrase. Whoever has it can read everything in the store.
    Phrase,
    /// Make the keyring anew from the recovery phrase, typed or on standard input.
    Recover {
        /// Replace a keyring file that is there.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Serialize)]
struct Shown {
    keyring: String,
    realm: String,
    author: String,
}

impl Report for Shown {
    const TYPE: &'static str = "keys";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "keyring  {}\nrealm    {}\nauthor   {}", self.keyring, self.realm, self.author)
    }
}

#[derive(Serialize)]
struct Phrase {
    phrase: String,
}

impl Report for Phrase {
    const TYPE: &'static str = "phrase";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let words: Vec<&str> = self.phrase.split_whitespace().collect();
        for (row, four) in words.chunks(4).enumerate() {
            let cells: Vec<String> =
                four.iter().enumerate().map(|(i, word)| format!("{:>2} {word:<10}", row * 4 + i + 1)).collect();
            writeln!(page, "{}", cells.join(" ").trim_end())?;
        }
        Ok(())
    }
}

pub(super) fn run(session: &mut Session<'_>, args: KeysArgs) -> Outcome {
    match args.verb {
        Verb::Show => show(session),
        Verb::Passphrase { new_passphrase_file } => change(session, new_passphrase_file),
        Verb::Phrase => phrase(session),
        Verb::Recover { force } => recover(session, force),
    }
}

fn show(session: &mut Session<'_>) -> Outcome {
    let place = session.place()?;
    let keyring = place.open_keyring(&session.globals)?;
    report(session, &keyring, &place)
}

fn report(session: &mut Session<'_>, keyring: &Keyring, place: &crate::store::Place) -> Outcome {
    session.out.emit(&Shown {
        keyring: place.keyring.display().to_string(),
        realm: keyring.realm_id().to_string(),
        author: keyring.author().to_string(),
    })
}

fn change(session: &mut Session<'_>, new_file: Option<std::path::PathBuf>) -> Outcome {
    // PA
    let place = session.place()?;
    let keyring = place.open_keyring(&session.globals)?;
    // What was given on the command line or in the environment was the old one.
    let mut globals = session.globals.clone();
    globals.passphrase_file = new_file;
    globals.passphrase_fd = None;
    let chosen = passphrase::replacement(&globals, session.out)?;
    // As dear as it was.
    let kdf = keyring_file::cost(&place.keyring)?;
    keyring_file::write(&place.keyring, &keyring, &chosen, kdf, true)?;
    session.out.note("the passphrase is changed; copies of the old file still open with the old one");
    report(session, &keyring, &place)
}

fn phrase(session: &mut Session<'_>) -> Outcome {
    let keyring = session.place()?.open_keyring(&session.globals)?;
    session.out.warn("whoever has this phrase can read everything in the store: write it down, and show it to nobody");
    session.out.emit(&Phrase { phrase: keyring.phrase().as_str().to_owned() })
}

fn recover(session: &mut Session<'_>, force: bool) -> Outcome {
    // PA
    let place = session.place()?;
    if keyring_file::exists(&place.keyring) && !force {
        return Err(Failure::new(Exit::Failed, format!("{} is there already", place.keyring.display()))
            .advise("keep it, or move it away, or name another with --keyring; --force replaces it"));
    }
    // Before the phrase, which may follow it on standard input.
    let given = passphrase::given(&session.globals)?;
    let mut typed = Zeroizing::new(String::new());
    if io::stdin().is_terminal() {
        *typed = interrupt::hidden_prompt("Recovery phrase (24 words, not shown): ")?;
    } else {
        io::stdin().take(4096).read_to_string(&mut typed).map_err(|e| Failure::usage(format!("no phrase: {e}")))?;
    }
    let words: Vec<&str> = typed.split_whitespace().filter(|word| word.parse::<u32>().is_err()).collect();
    let master = MasterSecret::from_phrase(&words.join(" ")).map_err(|e| {
        Failure::new(Exit::Keys, format!("this is no recovery phrase: {e}")).advise("check each word and their order")
    })?;
    let keyring = Keyring::from_master(master);
    let chosen = passphrase::choose(given, session.out)?;
    keyring_file::write(&place.keyring, &keyring, &chosen, KdfParams::DEFAULT, force)?;
    session.out.note(format_args!("made the keyring {} anew", place.keyring.display()));
    report(session, &keyring, &place)
}
