//! `ouroboros rm`

use super::{Session, versions};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::short;
use crate::store::{self, Db, KeyName, ListRequest, escape};
use clap::Args;
use std::ffi::OsString;

/// Keys fetched at a time.
const PAGE: usize = 1000;

/// What `rm` takes.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The keys.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
    /// Also everything below them.
    #[arg(short, long)]
    recursive: bool,
}

pub(super) fn run(session: &mut Session<'_>, args: RmArgs) -> Outcome {
    let keys = args.keys.iter().map(|key| session.key(key)).collect::<Outcome<Vec<_>>>()?;
    let db = session.open()?;
    interrupt::watch()?;
    for key in &keys {
        if args.recursive {
            below(session, &db, key)?;
        } else {
            one(session, &db, key)?;
        }
    }
    store::close(&db)
}

fn one(session: &mut Session<'_>, db: &Db, key: &KeyName) -> Outcome {
    let removed = |version| format!("{key} was removed already, by version {}", short(version));
    if let Some(winner) = db.heads(key)?.first().filter(|winner| winner.gone) {
        return Err(
            Failure::new(Exit::NotFound, removed(winner.id)).advise("`ouroboros purge KEY` destroys its history too")
        );
    }
    let put = db.remove(key)?;
    session.out.emit(&versions::Written::new("removed", key, &put))
}

fn below(session: &mut Session<'_>, db: &Db, key: &KeyName) -> Outcome {
    let mut removed = false;
    match one(session, db, key) {
        Ok(()) => removed = true,
        Err(failure) if failure.exit == Exit::NotFound => {}
        Err(failure) => return Err(failure),
    }
    let prefix = [key.as_bytes(), b"/"].concat();
    let mut after = None;
    loop {
        interrupt::check("interrupted; what was removed so far stays removed")?;
        let request = ListRequest { prefix: prefix.clone(), after, recursive: true, include_gone: false, limit: PAGE };
        let page = db.list(request)?;
        for entry in &page.entries {
            let name = KeyName::new(entry.name.as_slice())
                .map_err(|e| Failure::new(Exit::Failed, format!("{}: {e}", escape(&entry.name))))?;
            one(session, db, &name)?;
            removed = true;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if removed { Ok(()) } else { Err(Failure::new(Exit::NotFound, format!("there is nothing at or below {key}"))) }
}
