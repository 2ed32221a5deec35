//! The planted bugs: how soon each is found, how often, by which oracle, and by how small a story.

#[cfg(feature = "planted")]
mod gate;
#[cfg(feature = "planted")]
mod hunt;
#[cfg(feature = "planted")]
mod print;
#[cfg(feature = "planted")]
mod rate;

use std::path::PathBuf;

/// What a hunt is given.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Hunt {
    /// Only these, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seeds for each bug until it counts as not found, and over which a rare one's hit rate is taken.
    #[arg(long, default_value_t = 5000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds over which the hit rate is taken; more, up to --seeds, until there are --hits.
    #[arg(long, default_value_t = 400)]
    rate: u64,
    /// Hits after which a rate is known well enough.
    #[arg(long, default_value_t = 20)]
    hits: u64,
    /// Runs to shrink a schedule, at most; 0 leaves it as it is.
    #[arg(long, default_value_t = 4000)]
    shrink: u64,
    /// Seconds to shrink a schedule, at most.
    #[arg(long, default_value_t = 20)]
    shrink_seconds: u64,
    /// Bugs that are hunted at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// One JSON object a bug, and one with the sums.
    #[arg(long)]
    json: bool,
    /// Writes each bug's schedule there, as it was found and minimised.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compares with the rates in a file: fails where one fell to a quarter or less, and not by chance.
    #[arg(long, value_name = "FILE", conflicts_with = "write_gate")]
    gate: Option<PathBuf>,
    /// Writes the rates into a file.
    #[arg(long, value_name = "FILE")]
    write_gate: Option<PathBuf>,
}

/// Says how to build the command so that it has bugs to find.
#[cfg(not(feature = "planted"))]
pub(super) fn bugs(hunt: &Hunt, _world: &super::WorldArguments) -> u8 {
    let _ = (&hunt.only, hunt.seeds, hunt.from, hunt.rate, hunt.hits, hunt.shrink, hunt.shrink_seconds, hunt.jobs);
    let _ = (hunt.json, &hunt.out, &hunt.gate, &hunt.write_gate);
    eprintln!("this build has no planted bugs, as it should; the one that has them is run by");
    eprintln!("    cargo run --profile sim -p ouroboros-sim --features planted -- bugs");
    super::USAGE
}

#[cfg(feature = "planted")]
pub(super) use hunt::bugs;
