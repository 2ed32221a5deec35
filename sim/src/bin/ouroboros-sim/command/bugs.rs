//! The planted bugs: how soon each is found, and how often.

/// What a hunt is given.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Hunt {
    /// Only these, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seeds for each bug until it counts as not found.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds over which the hit rate is taken, found or not.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Runs to shrink a schedule, at most; 0 leaves it as it is.
    #[arg(long, default_value_t = 600)]
    shrink: u64,
    /// Bugs that are hunted at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// Says how to build the command so that it has bugs to find.
#[cfg(not(feature = "planted"))]
pub(super) fn bugs(hunt: &Hunt, _world: &super::WorldArguments) -> u8 {
    let _ = (&hunt.only, hunt.seeds, hunt.from, hunt.rate, hunt.shrink, hunt.jobs);
    eprintln!("this build has no planted bugs, as it should; the one that has them is run by");
    eprintln!("    cargo run --profile sim -p ouroboros-sim --features planted -- bugs");
    super::USAGE
}

#[cfg(feature = "planted")]
pub(super) use planted::bugs;

#[cfg(feature = "planted")]
mod planted {
    use super::super::{BROKEN, FINE, USAGE, WorldArguments};
    use super::Hunt;
    use ouroboros_engine::planted::{Bug, plant};
    use ouroboros_sim::{Report, shrink};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// What became of one bug.
    struct Found {
        seeds: u64,
        time: Duration,
        hits: u64,
        /// The promise that broke, and the length of the shortest schedule that breaks it.
        broken: Option<(String, usize)>,
    }

    /// Hunts every bug, prints a line for each, and fails if one is not found.
    pub(in super::super) fn bugs(hunt: &Hunt, world: &WorldArguments) -> u8 {
        let wanted = |bug: &&Bug| hunt.only.is_empty() || hunt.only.iter().any(|name| name == bug.name());
        let bugs: Vec<Bug> = Bug::ALL.iter().filter(wanted).copied().collect();
        if bugs.is_empty() {
            eprintln!(
                "there is no such bug; there are {}",
                Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ")
            );
            return USAGE;
        }
        println!("{:<22} {:>7} {:>8} {:>9} {:>9}  breaks", "bug", "seeds", "seconds", "hit rate", "choices");
        let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = hunt_one(bug, hunt, world);
                print(bug, hunt, &found);
                if let Ok(mut all) = all.lock() {
                    all.push((bug, found));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..hunt.jobs.max(1) {
                scope.spawn(work);
            }
        });
        summarise(&all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn run(bug: Bug, seed: u64, world: &WorldArguments) -> Report {
        let planting = plant(bug);
        let report = world.sim(seed).run();
        drop(planting);
        report
    }

    fn hunt_one(bug: Bug, hunt: &Hunt, world: &WorldArguments) -> Found {
        let started = Instant::now();
        let mut found = Found { seeds: 0, time: Duration::ZERO, hits: 0, broken: None };
        let mut first = None;
        for tried in 0..hunt.seeds.max(hunt.rate) {
            if first.is_some() && tried >= hunt.rate || tried >= hunt.seeds && first.is_none() {
                break;
            }
            let report = run(bug, hunt.from + tried, world);
            let Some(violation) = &report.violation else { continue };
            found.hits += u64::from(tried < hunt.rate);
            // A seed that breaks a promise by itself proves nothing of the bug.
            if first.is_none() && world.sim(report.seed).run().violation.is_none() {
                (found.seeds, found.time) = (tried + 1, started.elapsed());
                first = Some((report.schedule.clone(), violation.promise));
            }
        }
        if let Some((schedule, promise)) = first {
            let planting = plant(bug);
            let least = shrink::shrink(&schedule, promise, hunt.shrink).schedule.choices.len();
            drop(planting);
            found.broken = Some((promise.to_string(), least));
        }
        found
    }

    fn print(bug: Bug, hunt: &Hunt, found: &Found) {
        let rate = found.hits * 1000 / hunt.rate.max(1);
        match &found.broken {
            Some((promise, choices)) => println!(
                "{:<22} {:>7} {:>8.2} {:>7}.{}% {:>9}  {promise}",
                bug.name(),
                found.seeds,
                found.time.as_secs_f64(),
                rate / 10,
                rate % 10,
                choices
            ),
            None => println!("{:<22} not found; {} (P{})", bug.name(), bug.oracle(), bug.promise()),
        }
    }

    fn summarise(all: &[(Bug, Found)]) -> u8 {
        let mut seeds: Vec<u64> = Vec::new();
        let mut choices: Vec<usize> = Vec::new();
        for (_, found) in all {
            if let Some((_, least)) = &found.broken {
                seeds.push(found.seeds);
                choices.push(*least);
            }
        }
        seeds.sort_unstable();
        choices.sort_unstable();
        println!(
            "{} of {} found; medians: {} seeds, {} choices",
            seeds.len(),
            all.len(),
            seeds.get(seeds.len() / 2).copied().unwrap_or_default(),
            choices.get(choices.len() / 2).copied().unwrap_or_default()
        );
        if seeds.len() == all.len() { FINE } else { BROKEN }
    }
}
