//! Crashes at every operation of a script, every disk that they may leave, and crashes of the recovery from it.

use super::{BROKEN, FINE, USAGE};
use ouroboros_sim::crash::{Crashes, Depth, Script, enumerate_crashes_while};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often it says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What an enumeration is given.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Enumeration {
    /// Decides the script: what clients ask for.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Stops after so long, wherever it is, and until then goes on with the seeds after it. Without it, one seed is tried to its end.
    #[arg(long)]
    minutes: Option<u64>,
    /// Crash points that are tried at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Where the index is. Each is a script of its own, played and tried by itself.
    #[arg(long, value_enum)]
    index: Option<IndexPlace>,
    /// Only this crash point, as it stands before a violation.
    #[arg(long, requires = "index", conflicts_with = "minutes")]
    point: Option<usize>,
    /// Goes on with the seeds after it until there were so many recoveries, and ends with 1, too, where time was over before.
    #[arg(long, default_value_t = 0, conflicts_with = "point")]
    least: u64,
    /// One JSON object a script, and one with the sum.
    #[arg(long)]
    json: bool,
}

/// Where an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum IndexPlace {
    /// In memory alone: each opening reads the whole log.
    Memory,
    /// In a file, which a crash spoils, too.
    File,
}

impl IndexPlace {
    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File => "file",
        }
    }
}

/// What came of all scripts so far.
#[derive(Default)]
struct Sum {
    scripts: u64,
    operations: u64,
    points: u64,
    disks: u64,
    recoveries: u64,
    violations: usize,
}

impl Sum {
    fn add(&mut self, found: &Crashes) {
        self.scripts += 1;
        self.operations += found.done.asked;
        self.points += found.tried;
        self.disks += found.disks;
        self.recoveries += found.recoveries;
        self.violations += found.violations.len();
    }
}

pub(super) fn crashes(wanted: &Enumeration) -> u8 {
    let started = Instant::now();
    let time = wanted.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let in_time = || time.is_none_or(|time| started.elapsed() < time);
    let mut sum = Sum::default();
    'all: for seed in wanted.seed..=u64::MAX {
        for place in [IndexPlace::Memory, IndexPlace::File] {
            if wanted.index.is_some_and(|index| index != place) {
                continue;
            }
            let since = Instant::now();
            // The first seed to its end, whatever is wanted of those after it.
            let lacking = wanted.least.saturating_sub(sum.recoveries);
            let is_wanted = |recoveries| seed == wanted.seed || time.is_some() || recoveries < lacking;
            if !is_wanted(0) {
                break 'all;
            }
            let goes_on = |so_far: &Crashes| in_time() && is_wanted(so_far.recoveries);
            let found = match one(wanted, seed, place, since, &goes_on) {
                Ok(found) => found,
                Err(why) => {
                    eprintln!("the script of seed {seed} cannot be played: {why}");
                    return BROKEN;
                }
            };
            sum.add(&found);
            if wanted.json {
                println!("{}", json(seed, place, &found, since.elapsed()));
            } else {
                println!("seed {seed}, index in {}: {found}\n{}", place.name(), rate(&found, since.elapsed()));
            }
            for violation in &found.violations {
                eprintln!("{violation}\n    try it alone: {}", alone(seed, place, violation.point));
            }
            if sum.violations > 0 || !in_time() {
                break 'all;
            }
        }
    }
    finish(wanted, &sum, started.elapsed())
}

/// Tries one script.
fn one(
    wanted: &Enumeration,
    seed: u64,
    place: IndexPlace,
    since: Instant,
    goes_on: &(dyn Fn(&Crashes) -> bool + Sync),
) -> Result<Crashes, String> {
    let script = Script::tiny(seed, place == IndexPlace::Memory);
    let depth = match place {
        IndexPlace::Memory => Depth::EXHAUSTIVE,
        IndexPlace::File => Depth::EXHAUSTIVE_WITH_INDEX,
    };
    let said = Mutex::new(Duration::ZERO);
    enumerate_crashes_while(&script, &depth, wanted.point, wanted.jobs, &|so_far| {
        let elapsed = since.elapsed();
        if let Ok(mut said) = said.lock()
            && elapsed - *said >= SAY_EVERY
        {
            *said = elapsed;
            let (rate, violations) = (rate(so_far, elapsed), so_far.violations.len());
            eprintln!("    {} of {} crash points, {rate}, {violations} violations", so_far.tried, so_far.points);
        }
        goes_on(so_far)
    })
}

fn finish(wanted: &Enumeration, sum: &Sum, elapsed: Duration) -> u8 {
    if wanted.json {
        println!(
            "{}",
            serde_json::json!({
                "scripts": sum.scripts,
                "operations": sum.operations,
                "points": sum.points,
                "disks": sum.disks,
                "recoveries": sum.recoveries,
                "seconds": elapsed.as_secs_f64(),
                "violations": sum.violations,
            })
        );
    } else {
        println!(
            "{} scripts, {} operations, {} crash points, {} disks, {} recoveries in {} s, {} violations",
            sum.scripts,
            sum.operations,
            sum.points,
            sum.disks,
            sum.recoveries,
            elapsed.as_secs(),
            sum.violations
        );
    }
    if sum.violations > 0 {
        return BROKEN;
    }
    if sum.recoveries == 0 && wanted.point.is_some() {
        eprintln!("there is no such crash point");
        return USAGE;
    }
    if sum.recoveries < wanted.least {
        eprintln!("fewer recoveries than {}", wanted.least);
        return BROKEN;
    }
    FINE
}

fn rate(found: &Crashes, elapsed: Duration) -> String {
    let millis = elapsed.as_millis().max(1);
    let per_second = u128::from(found.recoveries) * 1000 / millis;
    format!("{} recoveries in {}.{} s: {per_second} a second", found.recoveries, millis / 1000, millis / 100 % 10)
}

/// The command that tries one crash point alone.
fn alone(seed: u64, place: IndexPlace, point: usize) -> String {
    format!("ouroboros-sim crashes --seed {seed} --index {} --point {point}", place.name())
}

fn json(seed: u64, place: IndexPlace, found: &Crashes, elapsed: Duration) -> serde_json::Value {
    let violations: Vec<_> = found
        .violations
        .iter()
        .map(|violation| {
            serde_json::json!({
                "point": violation.point,
                "what": violation.text,
                "alone": alone(seed, place, violation.point),
            })
        })
        .collect();
    serde_json::json!({
        "seed": seed,
        "index": place.name(),
        "operations": found.done.asked,
        "puts": found.done.puts,
        "points": found.points,
        "tried": found.tried,
        "exhaustive": found.exhaustive,
        "most_units": found.most_units,
        "nested_points": found.nested_points,
        "twice_points": found.twice_points,
        "disks": found.disks,
        "recoveries": found.recoveries,
        "nested": found.nested,
        "twice": found.twice,
        "light": found.light(),
        "full": found.full,
        "deep": found.deep,
        "rebuilt": found.rebuilt,
        "torn": found.torn,
        "seconds": elapsed.as_secs_f64(),
        "violations": violations,
    })
}
