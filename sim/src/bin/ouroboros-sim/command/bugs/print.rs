//! What a hunt prints.

use super::hunt::{Found, How};
use ouroboros_engine::planted::Bug;

/// Parts per million as a percentage.
pub(super) fn percent(per_million: u64) -> String {
    format!("{}.{:02}%", per_million / 10_000, per_million % 10_000 / 100)
}

pub(super) fn heading() {
    println!(
        "{:<22} {:>6} {:>6} {:>7}  {:<26} {:<8} {:<10} {:>7} {:>5}  what broke",
        "bug", "seeds", "seed", "seconds", "hit rate", "expected", "fired", "choices", "least"
    );
}

pub(super) fn line(bug: Bug, found: &Found) {
    let expected = format!("P{}", bug.promise());
    match &found.how {
        How::World(first) => {
            let (low, high) = found.rate.interval();
            let rate = format!("{} ({} to {})", percent(found.rate.per_million()), percent(low), percent(high));
            let fired = match first.promise == expected {
                true => first.promise.clone(),
                false => format!("{} first!", first.promise),
            };
            println!(
                "{:<22} {:>6} {:>6} {:>7.2}  {rate:<26} {expected:<8} {fired:<10} {:>7} {:>5}  {:.90}",
                bug.name(),
                first.seeds,
                first.seed,
                first.time.as_secs_f64(),
                first.choices,
                first.least,
                first.what
            );
        }
        How::Scenario(what) => println!(
            "{:<22} {:>6} {:>6} {:>7}  {:<26} {expected:<8} {:<10} {:>7} {:>5}  {what:.90}",
            bug.name(),
            "-",
            "-",
            "-",
            format!("none of {} seeds", found.rate.of),
            "scenario",
            "-",
            "-"
        ),
        How::Not => {
            println!("{:<22} NOT FOUND in {} seeds; expected {expected}: {}", bug.name(), found.rate.of, bug.oracle())
        }
    }
}

pub(super) fn json(bug: Bug, found: &Found) {
    let (low, high) = found.rate.interval();
    let first = found.first();
    let object = serde_json::json!({
        "bug": bug.name(),
        "text": bug.text(),
        "expected": format!("P{}", bug.promise()),
        "oracle": bug.oracle(),
        "found": match &found.how { How::World(_) => "world", How::Scenario(_) => "scenario", How::Not => "no" },
        "hits": found.rate.hits,
        "of": found.rate.of,
        "rate_ppm": found.rate.per_million(),
        "rate_low_ppm": low,
        "rate_high_ppm": high,
        "fired": first.map(|first| first.promise.clone()),
        "fired_by_promise": found.promises,
        "as_expected": first.is_some_and(|first| first.promise == format!("P{}", bug.promise())),
        "what": first.map(|first| first.what.clone()),
        "seed": first.map(|first| first.seed),
        "seeds": first.map(|first| first.seeds),
        "seconds": first.map(|first| first.time.as_secs_f64()),
        "choices": first.map(|first| first.choices),
        "minimised": first.map(|first| first.least),
        "operations": first.map(|first| first.operations),
        "shrink_runs": first.map(|first| first.runs),
        "shrink_seconds": first.map(|first| first.shrink_time.as_secs_f64()),
    });
    println!("{object}");
}

/// What became of the planted nondeterminism, which is no bug of the engine's: the oracle asks in the order of a hash map.
pub(super) fn disorder(seeds: Option<u64>, as_json: bool) {
    match (as_json, seeds) {
        (true, seeds) => {
            println!("{}", serde_json::json!({ "nondeterminism": true, "expected": "P11", "seeds": seeds }))
        }
        (false, Some(seeds)) => {
            println!("a run that depends on more than its seed differs from itself after {seeds} seeds (P11)")
        }
        (false, None) => println!("NOT FOUND: a run that depends on more than its seed (P11)"),
    }
}

pub(super) fn median<T: Ord + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The sums: how many were found, and the medians.
pub(super) fn summary(all: &[(Bug, Found)], as_json: bool) {
    let firsts = || all.iter().filter_map(|(_, found)| found.first());
    let scenarios = all.iter().filter(|(_, found)| matches!(found.how, How::Scenario(_))).count();
    let seeds = median(firsts().map(|first| first.seeds).collect());
    let choices = median(firsts().map(|first| first.choices).collect());
    let least = median(firsts().map(|first| first.least).collect());
    let longest = firsts().map(|first| first.least).max().unwrap_or_default();
    let shrinking = median(firsts().map(|first| first.shrink_time).collect());
    let by_world = firsts().count();
    if as_json {
        let object = serde_json::json!({
            "bugs": all.len(),
            "found_by_world": by_world,
            "found_by_scenario": scenarios,
            "median_seeds": seeds,
            "median_choices": choices,
            "median_minimised": least,
            "max_minimised": longest,
            "median_shrink_seconds": shrinking.as_secs_f64(),
        });
        println!("{object}");
        return;
    }
    println!(
        "{} of {} found, {by_world} by the world and {scenarios} by a scenario; medians: {seeds} seeds, {choices} choices \
         minimised to {least} (at most {longest}) in {:.2} s",
        by_world + scenarios,
        all.len(),
        shrinking.as_secs_f64()
    );
}
