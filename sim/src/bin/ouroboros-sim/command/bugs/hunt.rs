//! The hunt itself.

use super::super::{BROKEN, FINE, USAGE, WorldArguments, last_panic};
use super::gate::{self, Rates};
use super::rate::Rate;
use super::{Hunt, print};
use ouroboros_engine::planted::{Bug, plant};
use ouroboros_sim::schedule::Schedule;
use ouroboros_sim::{Report, scenarios, shrink};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Hits that a comparison of rates should have, if they are as they were.
const HITS_TO_COMPARE: u64 = 12;
/// Within how many seeds half of all bugs are found, and how many choices half of all minimised schedules have, at most.
const MEDIAN_SEEDS: u64 = 50;
const MEDIAN_CHOICES: usize = 12;
/// Within how many seeds a planted nondeterminism shows.
const DISORDER_SEEDS: u64 = 10;
/// Seeds between two signs of life.
const SIGN_OF_LIFE: u64 = 16;

/// What became of one bug.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) how: How,
    /// Hits, found or not.
    pub(super) rate: Rate,
    /// How often which promise broke.
    pub(super) promises: BTreeMap<String, u64>,
}

/// How it was found.
#[derive(Debug)]
pub(super) enum How {
    /// By the world of a seed.
    World(Box<First>),
    /// By a scenario of its own alone, and what broke.
    Scenario(String),
    /// It was not.
    Not,
}

/// The first time it was found.
#[derive(Debug)]
pub(super) struct First {
    pub(super) seed: u64,
    /// How many it took.
    pub(super) seeds: u64,
    /// And how long.
    pub(super) time: Duration,
    pub(super) promise: String,
    pub(super) what: String,
    /// Choices that were not calm, of the run and of the smallest that breaks the same promise.
    pub(super) choices: usize,
    pub(super) least: usize,
    /// Slots of the smallest.
    pub(super) operations: u32,
    pub(super) runs: u64,
    pub(super) shrink_time: Duration,
}

impl Found {
    pub(super) fn first(&self) -> Option<&First> {
        match &self.how {
            How::World(first) => Some(first),
            How::Scenario(_) | How::Not => None,
        }
    }

    /// The promise that broke first.
    pub(super) fn fired(&self) -> String {
        self.first().map_or_else(|| "-".to_owned(), |first| first.promise.clone())
    }
}

/// Hunts every bug, prints a line for each, and fails if one is not found, or less often than it was.
pub(in super::super) fn bugs(hunt: &Hunt, world: &WorldArguments) -> u8 {
    let wanted = |bug: &&Bug| hunt.only.is_empty() || hunt.only.iter().any(|name| name == bug.name());
    let bugs: Vec<Bug> = Bug::ALL.iter().filter(wanted).copied().collect();
    if bugs.is_empty() || hunt.only.iter().any(|name| !bugs.iter().any(|bug| bug.name() == name)) {
        let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        eprintln!("there is no such bug; there are {}", names.join(", "));
        return USAGE;
    }
    let rates = match hunt.gate.as_deref().map(gate::read).transpose() {
        Ok(rates) => rates,
        Err(why) => {
            eprintln!("{why}");
            return USAGE;
        }
    };
    if let Some(folder) = &hunt.out
        && let Err(error) = std::fs::create_dir_all(folder)
    {
        eprintln!("{}: {error}", folder.display());
        return USAGE;
    }
    if !hunt.json {
        print::heading();
    }
    let all = hunt_all(&bugs, hunt, world, rates.as_ref());
    let disorder = hunt.only.is_empty().then(|| disorder(hunt, world));
    if let Some(seeds) = disorder {
        print::disorder(seeds, hunt.json);
    }
    print::summary(&all, hunt.json);
    if let Some(path) = &hunt.write_gate
        && let Err(error) = std::fs::write(path, gate::text(&all))
    {
        eprintln!("{} cannot be written: {error}", path.display());
        return USAGE;
    }
    let missed = all.iter().any(|(_, found)| matches!(found.how, How::Not));
    let mut wrong = rates.as_ref().map(|rates| gate::fallen(&all, rates)).unwrap_or_default();
    if rates.is_some() && hunt.only.is_empty() {
        let firsts = || all.iter().filter_map(|(_, found)| found.first());
        let seeds = print::median(firsts().map(|first| first.seeds).collect());
        let least = print::median(firsts().map(|first| first.least).collect());
        wrong.extend((seeds > MEDIAN_SEEDS).then(|| format!("half of the bugs take more than {seeds} seeds")));
        let long = hunt.shrink > 0 && least > MEDIAN_CHOICES;
        wrong.extend(long.then(|| format!("half of the minimised schedules have {least} choices and more")));
    }
    wrong.iter().for_each(|what| eprintln!("worse than it was: {what}"));
    if missed || disorder == Some(None) || !wrong.is_empty() { BROKEN } else { FINE }
}

/// How many seeds it takes until a run that depends on more than its seed differs from itself.
fn disorder(hunt: &Hunt, world: &WorldArguments) -> Option<u64> {
    let run = |seed| world.sim(seed).disorder(true).run().trace;
    (0..DISORDER_SEEDS).find(|tried| run(hunt.from + tried) != run(hunt.from + tried)).map(|tried| tried + 1)
}

fn hunt_all(bugs: &[Bug], hunt: &Hunt, world: &WorldArguments, rates: Option<&Rates>) -> Vec<(Bug, Found)> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = hunt_one(bug, hunt, world, rates.and_then(|rates| rates.get(bug.name())).copied());
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            match hunt.json {
                true => print::json(bug, &found),
                false => print::line(bug, &found),
            }
            all.push((bug, found));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..hunt.jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|(bug, _)| *bug);
    all
}

/// A run with the bug; none if the simulator itself does not survive what it sees, which is no finding.
fn run(bug: Bug, seed: u64, world: &WorldArguments) -> Option<Report> {
    let sim = world.sim(seed).planted(bug);
    std::panic::catch_unwind(|| sim.run())
        .inspect_err(|_| {
            eprintln!("seed {seed} with {}: the simulator itself {}", bug.name(), last_panic());
        })
        .ok()
}

/// redb panics at what it reads in a page that is another version's, and again while it unwinds from that: nobody catches this.
/// Its scenario alone is safe.
const fn ends_the_process(bug: Bug) -> bool {
    matches!(bug, Bug::StalePageBelieved)
}

/// Seeds that a comparison with a former rate takes: enough for some hits, and for none to be no chance.
fn seeds_to_compare(was: Rate) -> u64 {
    if was.hits == 0 {
        // What never showed cannot show less often: one look is enough, and then its scenario.
        return was.of.min(100);
    }
    (was.of * HITS_TO_COMPARE).div_ceil(was.hits).max(was.seeds_to_show())
}

fn hunt_one(bug: Bug, hunt: &Hunt, world: &WorldArguments, was: Option<Rate>) -> Found {
    let started = Instant::now();
    let most = if ends_the_process(bug) { 0 } else { hunt.seeds.max(hunt.rate) };
    let mut found = Found { how: How::Not, rate: Rate::default(), promises: BTreeMap::new() };
    let mut first = None;
    let enough = |rate: Rate| match was {
        // Of some fifty bugs one looks worse by chance: it is given as many seeds as the former rate is of.
        Some(was) => rate.of >= seeds_to_compare(was) && (rate.of >= was.of || !rate.has_fallen_from(was)),
        None => rate.of >= hunt.rate && rate.hits >= hunt.hits,
    };
    for tried in 0..most {
        if enough(found.rate) {
            break;
        }
        progress(bug, found.rate);
        found.rate.of += 1;
        let Some(report) = run(bug, hunt.from + tried, world) else { continue };
        let Some(violation) = &report.violation else { continue };
        // A seed that breaks a promise by itself proves nothing of the bug.
        if world.sim(report.seed).run().violation.is_some() {
            continue;
        }
        found.rate.hits += 1;
        *found.promises.entry(violation.promise.to_string()).or_default() += 1;
        if first.is_none() {
            first = Some((report.schedule.clone(), violation.clone(), tried + 1, started.elapsed()));
        }
    }
    clear_progress();
    found.how = match first {
        Some((schedule, violation, seeds, time)) => {
            let shrunk = shrink_one(&schedule, violation.promise, hunt);
            let first = First {
                seed: schedule.seed,
                seeds,
                time,
                promise: violation.promise.to_string(),
                what: violation.what,
                choices: schedule.choices.len(),
                least: shrunk.0.schedule.choices.len(),
                operations: shrunk.0.schedule.operations,
                runs: shrunk.0.runs,
                shrink_time: shrunk.1,
            };
            if let Some(folder) = &hunt.out {
                keep(folder, bug, &schedule, "schedule");
                keep(folder, bug, &shrunk.0.schedule, "min.schedule");
            }
            How::World(Box::new(first))
        }
        None => by_scenario(bug),
    };
    found
}

fn shrink_one(schedule: &Schedule, promise: ouroboros_sim::oracle::Promise, hunt: &Hunt) -> (shrink::Shrunk, Duration) {
    let started = Instant::now();
    let most = Duration::from_secs(hunt.shrink_seconds);
    let shrunk = shrink::shrink_while(schedule, promise, &mut |runs| runs < hunt.shrink && started.elapsed() < most);
    (shrunk, started.elapsed())
}

fn keep(folder: &Path, bug: Bug, schedule: &Schedule, ending: &str) {
    let path = folder.join(format!("{}.{ending}", bug.name()));
    if let Err(error) = std::fs::write(&path, schedule.to_string()) {
        eprintln!("{} cannot be written: {error}", path.display());
    }
}

/// What the worlds of seeds do not come to, a scenario of its own may.
fn by_scenario(bug: Bug) -> How {
    let Some(scenario) = scenarios::of(bug) else { return How::Not };
    let tried = || std::panic::catch_unwind(scenario).unwrap_or_else(|_| Err("it panics".to_owned()));
    if tried().is_err() {
        // It breaks without the bug, and proves nothing.
        return How::Not;
    }
    let planting = plant(bug);
    let outcome = tried();
    drop(planting);
    outcome.err().map_or(How::Not, How::Scenario)
}

fn progress(bug: Bug, rate: Rate) {
    if rate.of.is_multiple_of(SIGN_OF_LIFE) && std::io::stderr().is_terminal() {
        eprint!("\r{}: {} of {} seeds", bug.name(), rate.hits, rate.of);
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r{:60}\r", "");
    }
}
