//! Many runs, on threads; each run is single-threaded and knows nothing of the others.

use super::one::{hand_over, json, network_json, table_json};
use super::{BROKEN, FINE, PANICKED, Show, WorldArguments, last_panic};
use ouroboros_sim::network::NetworkCounts;
use ouroboros_sim::sometimes::{Sometimes, SometimesCounts};
use ouroboros_sim::table::FaultTable;
use ouroboros_sim::{ProbeCounts, Report};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A year of 365.25 days, in nanoseconds.
const YEAR_NS: u128 = 31_557_600_000_000_000;

#[derive(Default)]
struct Tally {
    seeds: u64,
    operations: u64,
    events: u64,
    virtual_ns: u128,
    table: FaultTable,
    sometimes: SometimesCounts,
    network: NetworkCounts,
    probe: ProbeCounts,
    counts: BTreeMap<&'static str, u64>,
    failure: Option<Report>,
    said: Duration,
}

impl Tally {
    fn add(&mut self, report: Report, as_json: bool, started: Instant) {
        self.seeds += 1;
        self.operations += report.operations;
        self.events += report.events;
        self.virtual_ns += u128::from(report.virtual_ns);
        self.table.add(&report.table);
        self.sometimes.add(&report.sometimes);
        self.network.add(&report.network);
        self.probe.add(&report.probe);
        for (name, count) in &report.counts {
            *self.counts.entry(name).or_default() += count;
        }
        if as_json {
            println!("{}", json(&report));
        }
        let elapsed = started.elapsed();
        if elapsed - self.said >= Duration::from_secs(10) {
            self.said = elapsed;
            eprintln!("{}", self.line(elapsed));
        }
        // The lowest of those that fail at the same time, so that the same range names the same seed.
        let lower = self.failure.as_ref().is_none_or(|other| other.seed > report.seed);
        if report.violation.is_some() && lower {
            self.failure = Some(report);
        }
    }

    fn print(&self, show: Show, never: &[Sometimes]) {
        let counts = self.counts.iter().map(|(name, count)| format!("{name} {count}"));
        println!("done: {}", counts.collect::<Vec<_>>().join(", "));
        if self.network.sent > 0 {
            println!("network: {}\nprobes: {}", self.network, self.probe);
        }
        if show.table {
            println!("{}{}", self.table, self.table.gaps_in_words());
        }
        if show.sometimes {
            println!("{}", self.sometimes);
            never.iter().for_each(|what| println!("it never came to this: {}", what.text()));
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let millis = elapsed.as_millis().max(1);
        let per_second = |count: u64| u128::from(count) * 1000 / millis;
        format!(
            "{} seeds in {}.{} s: {} seeds/s, {} events/s, {} operations, {} virtual years",
            self.seeds,
            millis / 1000,
            millis / 100 % 10,
            per_second(self.seeds),
            per_second(self.events),
            self.operations,
            self.virtual_ns / YEAR_NS
        )
    }
}

/// How many are run, and what becomes of one that breaks a promise.
pub(super) struct Pace {
    /// Seeds at the same time.
    pub(super) jobs: usize,
    /// How long a schedule may be shrunk.
    pub(super) shrinking: Duration,
}

pub(super) fn run(seeds: Range<u64>, pace: &Pace, show: Show, world: &WorldArguments) -> u8 {
    many(seeds, None, pace, show, world)
}

pub(super) fn campaign(minutes: u64, pace: &Pace, from: Option<u64>, json: bool, world: &WorldArguments) -> u8 {
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let from = from.unwrap_or_else(|| clock() << 20);
    eprintln!("from seed {from}");
    let show = Show { json, table: true, sometimes: false };
    many(from..u64::MAX, Some(Duration::from_secs(minutes * 60)), pace, show, world)
}

fn many(seeds: Range<u64>, time: Option<Duration>, pace: &Pace, show: Show, world: &WorldArguments) -> u8 {
    let (next, stop, started) = (AtomicU64::new(seeds.start), AtomicBool::new(false), Instant::now());
    let tally = Mutex::new(Tally::default());
    let panicked: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let work = || {
        while !stop.load(Ordering::Relaxed) && time.is_none_or(|time| started.elapsed() < time) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            // A defect of the simulator's own ends the others, too, and is told with the seed that shows it.
            let Ok(report) = catch_unwind(|| world.sim(seed).run()) else {
                stop.store(true, Ordering::Relaxed);
                panicked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((seed, last_panic()));
                return;
            };
            if report.violation.is_some() {
                stop.store(true, Ordering::Relaxed);
            }
            if let Ok(mut tally) = tally.lock() {
                tally.add(report, show.json, started);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..pace.jobs.max(1) {
            scope.spawn(work);
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = started.elapsed();
    let found = tally.failure.as_ref().and_then(|report| hand_over(report, pace.shrinking));
    eprintln!("{}", tally.line(took));
    let never: Vec<Sometimes> = tally.sometimes.never(world.nodes.most()).collect();
    if show.json {
        if show.table {
            let (table, network) = (table_json(&tally.table), network_json(&tally.network));
            println!("{}", serde_json::json!({ "seeds": tally.seeds, "table": table, "network": network }));
        }
        if show.sometimes {
            let never: Vec<&str> = never.iter().map(|what| what.text()).collect();
            println!("{}", serde_json::json!({ "seeds": tally.seeds, "never": never }));
        }
    } else {
        tally.print(show, &never);
    }
    if let Some((seed, text)) = panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
        eprintln!("the simulator itself {text}, with seed {seed}");
        return PANICKED;
    }
    match found {
        Some(text) => {
            eprint!("{text}");
            BROKEN
        }
        None if show.sometimes && !never.is_empty() => BROKEN,
        None => FINE,
    }
}
