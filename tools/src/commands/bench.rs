//! `ouroboros bench`

use super::Session;
use super::long::TICK;
use crate::bench::{self, Measured, Plan};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::{Report, table};
use crate::progress::{Bar, Unit};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// What `bench` takes.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Measure each stage of the pipeline alone, and what the whole makes of them.
    #[arg(long)]
    stages: bool,
    /// Bytes to work on, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=65536))]
    size: u64,
    /// Small values to put and get.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    values: u64,
    /// Where to make the stores that are measured [default: the system's temporary directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    measured: &'a Measured,
}

impl Report for Line<'_> {
    const TYPE: &'static str = "bench";
    fn human(&self, _page: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Measures on a thread of its own, shows what is being measured, and takes the stores away when the user asks for an end.
fn watched(session: &Session<'_>, plan: &Plan, measure: fn(&Plan) -> Outcome<Vec<Measured>>) -> Outcome<Vec<Measured>> {
    interrupt::watch()?;
    let mut bar = Bar::new(session.out, "bench", Unit::Steps);
    let theirs = plan.clone();
    let measuring = std::thread::Builder::new().name("bench".into()).spawn(move || measure(&theirs));
    let measuring = measuring.map_err(|e| Failure::new(Exit::Failed, format!("cannot start a thread: {e}")))?;
    while !measuring.is_finished() {
        std::thread::sleep(TICK);
        bar.set(0, None);
        bar.tell(plan.now.lock().unwrap_or_else(PoisonError::into_inner).clone());
        if interrupt::asked() {
            plan.clear();
            return Err(Failure::interrupted("interrupted"));
        }
    }
    drop(bar);
    measuring.join().unwrap_or_else(|_| Err(Failure::new(Exit::Failed, "the measurement ended in a panic")))
}

pub(super) fn run(session: &mut Session<'_>, args: BenchArgs) -> Outcome {
    let plan = Plan { bytes: args.size << 20, values: args.values, directory: args.dir, now: Arc::default() };
    let measured = watched(session, &plan, if args.stages { bench::stages::measure } else { bench::whole::measure })?;
    if session.out.is_json() {
        return measured.iter().try_for_each(|measured| session.out.emit(&Line { measured }));
    }
    let rows = measured.iter().map(|m| [m.what.clone(), format!("{:.3}", m.seconds), m.rate(), m.remark.clone()]);
    session.out.say(table(["what", ">seconds", ">rate", ""], rows))
}
