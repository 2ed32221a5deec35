//! What the command line asks for.

mod bugs;
mod crashes;
mod diverge;
mod faults;
mod many;
mod one;

use clap::{Parser, Subcommand};
use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Nothing was found.
const FINE: u8 = 0;
/// A promise broke.
const BROKEN: u8 = 1;
/// The command line, or a file it names, makes no sense.
const USAGE: u8 = 2;
/// What a shell says of a command that a closed pipe has ended.
const READER_GONE: i32 = 141;
/// The simulator itself is broken.
const PANICKED: u8 = 101;

/// Runs whole stores of the real engine in virtual time under every fault there is a name for, and checks the promises.
///
/// Exit codes: 0 nothing found, 1 a promise broke, 2 usage.
#[derive(Debug, Parser)]
#[command(name = "ouroboros-sim", version, arg_required_else_help = true)]
struct Arguments {
    /// Says what a seed is like, as `explain SEED` does.
    #[arg(long, value_name = "SEED", exclusive = true)]
    explain: Option<u64>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one seed or many; stops at the first that breaks a promise.
    Run {
        #[command(flatten)]
        which: Which,
        /// Seeds that run at the same time.
        #[arg(long, default_value_t = 1, conflicts_with = "seed")]
        jobs: usize,
        #[command(flatten)]
        shrinking: Shrinking,
        /// One JSON object a seed.
        #[arg(long)]
        json: bool,
        /// Says what the seed is like before it runs; of one seed.
        #[arg(long, conflicts_with_all = ["seeds", "json"])]
        explain: bool,
        /// Prints what struck while a node did what.
        #[arg(long)]
        table: bool,
        /// Prints how often each state was reached that must be; exits with 1 if one never was by many seeds.
        #[arg(long)]
        sometimes: bool,
        /// Writes the seed's story as a page.
        #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
        html: Option<PathBuf>,
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
        #[command(flatten)]
        shrinking: Shrinking,
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
        /// Writes the story as a page, too.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
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
        #[command(flatten)]
        world: WorldArguments,
    },
    /// Runs a seed twice, here and in another process, and names the first event at which the two part.
    Diverge {
        #[command(flatten)]
        wanted: diverge::Parting,
        #[command(flatten)]
        world: WorldArguments,
    },
    /// Hunts the planted bugs: how soon each is found, and how often. For a build with the feature `planted`.
    Bugs {
        #[command(flatten)]
        hunt: bugs::Hunt,
        #[command(flatten)]
        world: WorldArguments,
    },
    /// Plays a script on a tiny store, and recovers from every crash at every operation of it, and from crashes of the recovery.
    Crashes(crashes::Enumeration),
    /// Everything that can go wrong.
    ListFaults,
}

/// Which seeds run.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// One seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Seeds from A to B, without B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Range<u64>>,
}

/// What becomes of a schedule that breaks a promise.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Shrinking {
    /// Seconds for minimising the schedule of a seed that breaks a promise, at most; 0 leaves it as it was found.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    shrink_seconds: u64,
}

impl Shrinking {
    const fn time(self) -> Duration {
        Duration::from_secs(self.shrink_seconds)
    }
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
    /// Operations that clients ask for, of all nodes together.
    #[arg(long, default_value_t = ouroboros_sim::OPERATIONS)]
    operations: u32,
    /// How many nodes there are, each with a store of its own; A..B lets each seed draw a number, from A to B without B.
    #[arg(long, value_name = "N", default_value = "1", value_parser = nodes)]
    nodes: Nodes,
    /// Destroy more than the promises allow for: then the only demand is a clear error, never wrong bytes.
    #[arg(long)]
    beyond: bool,
    /// Let the oracle take something right for a broken promise, to see that it is awake.
    #[arg(long)]
    canary: bool,
}

impl Default for WorldArguments {
    fn default() -> Self {
        let operations = ouroboros_sim::OPERATIONS;
        Self { operations, nodes: Nodes::Exactly(1), beyond: false, canary: false }
    }
}

impl WorldArguments {
    fn sim(&self, seed: u64) -> ouroboros_sim::Sim {
        let sim = ouroboros_sim::Sim::new(seed).operations(self.operations);
        let sim = match self.nodes {
            Nodes::Exactly(nodes) => sim.nodes(nodes),
            Nodes::Drawn { least, most } => sim.any_nodes(least, most),
        };
        sim.beyond(self.beyond).canary(self.canary)
    }
}

/// How many nodes a world has.
#[derive(Clone, Copy, Debug)]
enum Nodes {
    Exactly(u8),
    Drawn { least: u8, most: u8 },
}

impl Nodes {
    const fn most(self) -> u8 {
        match self {
            Self::Exactly(nodes) | Self::Drawn { most: nodes, .. } => nodes,
        }
    }
}

impl core::fmt::Display for Nodes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Exactly(nodes) => write!(f, "{nodes}"),
            Self::Drawn { least, most } => write!(f, "{least}..{}", most + 1),
        }
    }
}

fn nodes(text: &str) -> Result<Nodes, String> {
    let number = |text: &str| match text.parse::<u8>() {
        Ok(number) if (1..=ouroboros_sim::MAX_NODES).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is no number from 1 to {}", ouroboros_sim::MAX_NODES)),
    };
    let Some((least, end)) = text.split_once("..") else { return Ok(Nodes::Exactly(number(text)?)) };
    let (least, end) = (number(least)?, end.parse::<u8>().map_err(|error| format!("{end:?}: {error}"))?);
    let most = number(&end.saturating_sub(1).to_string())?;
    if least > most { Err("the range is empty".to_owned()) } else { Ok(Nodes::Drawn { least, most }) }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is written A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("the range is empty".to_owned()) } else { Ok(range) }
}

thread_local! {
    /// See [`last_panic`].
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The last panic of this thread: of the engine it is caught and told as a broken promise, of the simulator itself it ends the
/// command.
fn last_panic() -> String {
    LAST_PANIC.with_borrow(String::clone)
}

pub(crate) fn main() -> ExitCode {
    let Arguments { explain, command } = Arguments::parse();
    // One of the two is there: without arguments there is help.
    let explained = |seed| Command::Explain { seed, world: WorldArguments::default() };
    let Some(command) = explain.map(explained).or(command) else {
        return ExitCode::from(USAGE);
    };
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        // Whoever read has gone, as after `| head`.
        if text.contains("failed printing to") && text.contains("Broken pipe") {
            std::process::exit(READER_GONE);
        }
        LAST_PANIC.set(text);
    }));
    match std::panic::catch_unwind(|| obey(command)) {
        Ok(code) => ExitCode::from(code),
        Err(_) => {
            eprintln!("the simulator itself {}", last_panic());
            ExitCode::from(PANICKED)
        }
    }
}

fn obey(command: Command) -> u8 {
    match command {
        Command::Run { which, jobs, shrinking, json, explain, table, sometimes, html, world } => {
            let show = Show { json, table, sometimes };
            let (html, shrinking) = (html.as_deref(), shrinking.time());
            match which {
                Which { seed: Some(seed), .. } => {
                    one::run(&one::Wanted { seed, show, explained: explain, html, shrinking }, &world)
                }
                Which { seeds: Some(seeds), .. } => many::run(seeds, &many::Pace { jobs, shrinking }, show, &world),
                Which { seed: None, seeds: None } => USAGE,
            }
        }
        Command::Campaign { minutes, jobs, shrinking, from, json, world } => {
            many::campaign(minutes, &many::Pace { jobs, shrinking: shrinking.time() }, from, json, &world)
        }
        Command::Replay { file, json, html } => one::replay(&file, json, html.as_deref()),
        Command::Shrink { file, seed, limit, world } => one::shrink(file.as_deref(), seed, limit, &world),
        Command::Explain { seed, world } => one::explain(seed, &world),
        Command::Diverge { wanted, world } => diverge::diverge(&wanted, &world),
        Command::Bugs { hunt, world } => bugs::bugs(&hunt, &world),
        Command::Crashes(wanted) => crashes::crashes(&wanted),
        Command::ListFaults => faults::list_faults(),
    }
}
