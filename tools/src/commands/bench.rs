//! `ouroboros bench`

use super::Session;
use crate::bench::{self, Measured};
use crate::exit::Outcome;
use crate::interrupt;
use crate::output::{Report, table};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

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

pub(super) fn run(session: &mut Session<'_>, args: BenchArgs) -> Outcome {
    interrupt::watch()?;
    let plan = bench::Plan { bytes: args.size << 20, values: args.values, directory: args.dir };
    let measured = if args.stages { bench::stages::measure(&plan)? } else { bench::whole::measure(&plan)? };
    if session.out.is_json() {
        return measured.iter().try_for_each(|measured| session.out.emit(&Line { measured }));
    }
    let rows = measured.iter().map(|m| [m.what.clone(), format!("{:.3}", m.seconds), m.rate(), m.remark.clone()]);
    session.out.say(table(["what", ">seconds", ">rate", ""], rows))
}
