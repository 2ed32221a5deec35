//! What the command line asks for.

mod bugs;
mod faults;
mod many;
mod one;

use clap::{Parser, Subcommand};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

/// Nothing was found.
const FINE: u8 = 0;
/// A promise broke.
const BROKEN: u8 = 1;
/// The command line, or a file it names, makes no sense.
const USAGE: u8 = 2;

/// Runs whole stores of the real engine in virtual time under every fault there is a name for, and checks the promises.
///
/// Exit codes: 0 nothing found, 1 a promise broke, 2 usage.
#[derive(Debug, Parser)]
#[command(name = "ouroboros-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one seed or many; stops at the first that breaks a promise.
    Run {
        /// One seed.
        #[arg(long, required_unless_present = "seeds", conflicts_with = "seeds")]
        seed: Option<u64>,
        /// Seeds from A to B, without B.
        #[arg(long, value_name = "A..B", value_parser = range)]
        seeds: Option<Range<u64>>,
        /// Seeds that run at the same time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// One JSON object a seed.
        #[arg(long)]
        json: bool,
        /// Says what the seed is like before it runs.
        #[arg(long)]
        explain: bool,
        /// Prints what struck while a node did what.
        #[arg(long)]
        table: bool,
        /// Prints how often each state was reached that must be; exits with 1 if one never was.
        #[arg(long)]
        sometimes: bool,
        #[command(flatten)]
        world: WorldArguments,
    },
    /// Runs seeds for a while, from a number that differs each time unless it is given.
    Campaign {
        /// For how long.
        #[arg(long)]
        minutes: u64,
        /// Seeds that run at the same time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// The first seed.
        #[arg(long)]
        from: Option<u64>,
        /// One JSON object a seed, and one with the table at the end.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        world: WorldArguments,
    },
    /// Runs a schedule, and tells its story.
    Replay {
        /// The schedule.
        file: PathBuf,
        /// One JSON object instead of the story.
        #[arg(long)]
        json: bool,
    },
    /// Finds the fewest choices that break the same promise, and writes them beside.
    Shrink {
        /// The schedule.
        #[arg(required_unless_present = "seed", conflicts_with = "seed")]
        file: Option<PathBuf>,
        /// A seed instead of a schedule.
        #[arg(long)]
        seed: Option<u64>,
        /// Runs, at most.
        #[arg(long, default_value_t = 4000)]
        limit: u64,
        #[command(flatten)]
        world: WorldArguments,
    },
    /// Says what a seed is like: which faults it has, its sizes, its limits, what is asked.
    Explain {
        /// The seed.
        seed: u64,
    },
    /// Hunts the planted bugs: how soon each is found, and how often. For a build with the feature `planted`.
    Bugs {
        #[command(flatten)]
        hunt: bugs::Hunt,
        #[command(flatten)]
        world: WorldArguments,
    },
    /// Everything that can go wrong.
    ListFaults,
}

/// What is printed of runs.
#[derive(Clone, Copy, Debug, Default)]
struct Show {
    json: bool,
    table: bool,
    sometimes: bool,
}

/// What the world is given besides a seed.
#[derive(Clone, Debug, clap::Args)]
struct WorldArguments {
    /// Operations that clients ask for.
    #[arg(long, default_value_t = ouroboros_sim::OPERATIONS)]
    operations: u32,
    /// Destroy more than the promises allow for: then the only demand is a clear error, never wrong bytes.
    #[arg(long)]
    beyond: bool,
    /// Let the oracle take something right for a broken promise, to see that it is awake.
    #[arg(long)]
    canary: bool,
}

impl WorldArguments {
    const fn sim(&self, seed: u64) -> ouroboros_sim::Sim {
        ouroboros_sim::Sim::new(seed).operations(self.operations).beyond(self.beyond).canary(self.canary)
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is written A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("the range is empty".to_owned()) } else { Ok(range) }
}

pub(crate) fn main() -> ExitCode {
    // Panics of the engine are caught and told as broken promises.
    std::panic::set_hook(Box::new(|_| {}));
    let code = match Arguments::parse().command {
        Command::Run { seed, seeds, jobs, json, explain, table, sometimes, world } => {
            let show = Show { json, table, sometimes };
            match (seed, seeds) {
                (Some(seed), _) => one::run(seed, show, explain, &world),
                (None, Some(seeds)) => many::run(seeds, jobs, show, &world),
                (None, None) => USAGE,
            }
        }
        Command::Campaign { minutes, jobs, from, json, world } => many::campaign(minutes, jobs, from, json, &world),
        Command::Replay { file, json } => one::replay(&file, json),
        Command::Shrink { file, seed, limit, world } => one::shrink(file.as_deref(), seed, limit, &world),
        Command::Explain { seed } => one::explain(seed),
        Command::Bugs { hunt, world } => bugs::bugs(&hunt, &world),
        Command::ListFaults => faults::list_faults(),
    };
    ExitCode::from(code)
}
