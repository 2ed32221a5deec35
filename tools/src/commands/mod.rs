//! One file for each verb: its arguments, what it does, and what it reports.

pub(crate) mod at;
pub(crate) mod bench;
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod heads;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod log;
mod long;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod merge;
pub(crate) mod purge;
pub(crate) mod put;
pub(crate) mod recode;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod scrub;
pub(crate) mod snapshots;
pub(crate) mod stats;
mod versions;

use crate::args::{Cli, Command, Globals};
use crate::exit::{Failure, Outcome};
use crate::output::Output;
use crate::store::{Db, KeyName, Opened, Place, RESERVED, Steps, UpkeepArgs, escape, unescape};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// What every command works with.
pub(crate) struct Session<'a> {
    pub(crate) globals: Globals,
    pub(crate) out: &'a mut Output,
    /// How far the store has come with something long.
    pub(crate) steps: Steps,
}

impl Session<'_> {
    /// Where the store and its keyring are.
    pub(crate) fn place(&self) -> Outcome<Place> {
        Place::of(&self.globals)
    }

    /// The store, which must be there.
    pub(crate) fn open(&self) -> Outcome<Db> {
        self.place()?.open(&self.globals, &self.steps)
    }

    /// The store, which must be there, for what needs no keys.
    pub(crate) fn open_for_upkeep(&mut self, args: UpkeepArgs) -> Outcome<Opened> {
        self.place()?.open_for_upkeep(&self.globals, args.no_keys, self.out, &self.steps)
    }

    /// The store, made if it is not there.
    pub(crate) fn open_or_create(&mut self) -> Outcome<Db> {
        self.place()?.open_or_create(&self.globals, self.out, &self.steps)
    }

    /// A key, or the start of one, as it was typed.
    pub(crate) fn bytes(&self, typed: &OsStr) -> Outcome<Vec<u8>> {
        let bytes = typed.as_bytes();
        if !self.globals.escaped {
            return Ok(bytes.to_vec());
        }
        let text = std::str::from_utf8(bytes);
        unescape(text.map_err(|_| Failure::usage(format!("'{}' is no escaped key", typed.display())))?)
    }

    /// A key as it was typed.
    pub(crate) fn key(&self, typed: &OsStr) -> Outcome<KeyName> {
        let bytes = self.bytes(typed)?;
        KeyName::new(bytes.as_slice()).map_err(|e| Failure::usage(format!("'{}' is no key: {e}", quoted(&bytes))))
    }

    /// A key to write to, as it was typed.
    pub(crate) fn key_to_write(&self, typed: &OsStr) -> Outcome<KeyName> {
        let key = self.key(typed)?;
        if key.as_bytes().starts_with(RESERVED) {
            return Err(Failure::usage(format!("{key} is the store's own: keys below .ouroboros/ cannot be written"))
                .advise("choose another key"));
        }
        Ok(key)
    }
}

/// The start of what was typed, for a message.
fn quoted(bytes: &[u8]) -> String {
    const LONGEST: usize = 64;
    let rest = if bytes.len() > LONGEST { "…" } else { "" };
    escape(&bytes[..bytes.len().min(LONGEST)]) + rest
}

/// Does what the command line asks.
pub(crate) fn run(cli: Cli, out: &mut Output) -> Outcome {
    let mut session = Session { globals: cli.globals, out, steps: Steps::default() };
    let session = &mut session;
    match cli.command {
        Command::Init(args) => init::run(session, args),
        Command::Put(args) => put::run(session, args),
        Command::Get(args) => get::run(session, args),
        Command::Ls(args) => ls::run(session, args),
        Command::Log(args) => log::run(session, args),
        Command::Heads(args) => heads::run(session, args),
        Command::At(args) => at::run(session, args),
        Command::Diff(args) => diff::run(session, args),
        Command::Restore(args) => restore::run(session, args),
        Command::Merge(args) => merge::run(session, args),
        Command::Rm(args) => rm::run(session, args),
        Command::Purge(args) => purge::run(session, args),
        Command::Import(args) => import::run(session, args),
        Command::Snapshots(args) => snapshots::run(session, args),
        Command::Export(args) => export::run(session, args),
        Command::Scrub(args) => scrub::run(session, args),
        Command::Recode(args) => recode::run(session, args),
        Command::Compact(args) => compact::run(session, args),
        Command::Stats(args) => stats::run(session, args),
        Command::Doctor(args) => doctor::run(session, args),
        Command::Keys(args) => keys::run(session, args),
        Command::Bench(args) => bench::run(session, args),
        Command::Completions(args) => completions::run(session, args),
        Command::Man(args) => man::run(session, args),
    }
}
