//! `ouroboros purge`

use super::{Session, versions};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Report, count};
use crate::store::{self, Error, PurgeTarget, Refusal, Select};
use clap::Args;
use ouroboros_engine::id::BlobId;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};

/// What `purge` takes.
#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// A key, or the full id of one version (64 hexadecimal digits).
    #[arg(value_name = "KEY|ID")]
    target: OsString,
    /// Only this version of the key, by its id or the first digits of it.
    #[arg(long, value_name = "ID")]
    version: Option<String>,
    /// Take it for a key even if it looks like an id.
    #[arg(long)]
    key: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct Purged {
    target: String,
    versions: u64,
}

impl Report for Purged {
    const TYPE: &'static str = "purged";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(
            page,
            "purged {} ({}); `ouroboros compact` gives the space back",
            self.target,
            count(self.versions, "version")
        )
    }
}

pub(super) fn run(session: &mut Session<'_>, args: PurgeArgs) -> Outcome {
    // PA
    let is_key = args.key || args.version.is_some();
    let id = args.target.to_str().and_then(BlobId::from_hex).filter(|_| !is_key);
    let key = if id.is_some() { None } else { Some(session.key(&args.target)?) };
    let db = session.open()?;
    let (purge, target, what) = match (id, key, &args.version) {
        (None, Some(key), None) => (PurgeTarget::Key(key.clone()), key.to_string(), "every version of "),
        (None, Some(key), Some(typed)) => {
            let id = versions::resolve(&db, &key, typed)?;
            // Says so when it is no version of this key. One that removes it is for the store to judge.
            match db.get(&key, Select::Version(id)) {
                Ok(_) | Err(Error::Request(Refusal::Gone { .. })) => {}
                Err(error) => return Err(error.into()),
            }
            (PurgeTarget::Version(id), id.to_string(), "version ")
        }
        (Some(id), ..) => (PurgeTarget::Version(id), id.to_string(), "version "),
        (None, None, _) => unreachable!("what is no id is a key"),
    };
    confirm(session, args.yes, &format!("destroy {what}{target} for ever? [y/N] "))?;
    let versions = db.purge(purge)?;
    store::close(&db)?;
    session.out.emit(&Purged { target, versions })
}

/// Asks where somebody can answer; a script has decided already.
fn confirm(session: &mut Session<'_>, yes: bool, question: &str) -> Outcome {
    let nobody = !io::stdin().is_terminal() || !io::stderr().is_terminal();
    if yes || nobody || session.out.is_json() {
        return Ok(());
    }
    session.out.ask(question);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|e| Failure::usage(format!("no answer: {e}")))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "nothing was purged"))
    }
}
