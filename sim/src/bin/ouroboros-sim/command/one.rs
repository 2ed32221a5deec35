//! One run.

use super::{BROKEN, FINE, Show, USAGE, WorldArguments};
use ouroboros_sim::network::NetworkCounts;
use ouroboros_sim::schedule::Schedule;
use ouroboros_sim::shrink;
use ouroboros_sim::swarm::Swarm;
use ouroboros_sim::table::FaultTable;
use ouroboros_sim::{Report, Sim, story};
use std::path::{Path, PathBuf};

/// The report as one line of JSON.
pub(super) fn json(report: &Report) -> String {
    let violation = report.violation.as_ref();
    let node = violation.map(|violation| violation.node);
    serde_json::json!({
        "seed": report.seed,
        "trace": report.trace.to_string(),
        "nodes": report.nodes,
        "operations": report.operations,
        "events": report.events,
        "virtual_ns": report.virtual_ns,
        "violation": violation.map(|violation| violation.promise.to_string()),
        "what": violation.map(|violation| violation.what.clone()),
        "at_virtual_ns": violation.map(|violation| violation.at_virtual_ns),
        "node": node,
        "network": network_json(&report.network),
        "table": table_json(&report.table),
    })
    .to_string()
}

/// Writes the schedule of a failure beside, and says how to see it again.
pub(super) fn tell_failure(report: &Report) {
    let Some(violation) = &report.violation else { return };
    eprintln!("seed {} breaks {violation}", report.seed);
    let path = PathBuf::from(format!("seed-{}.schedule", report.seed));
    match std::fs::write(&path, report.schedule.to_string()) {
        Ok(()) => eprintln!("ouroboros-sim replay {0}    ouroboros-sim shrink {0}", path.display()),
        Err(error) => eprintln!("{} cannot be written: {error}", path.display()),
    }
}

fn verdict(report: &Report) -> u8 {
    if report.violation.is_some() { BROKEN } else { FINE }
}

/// Writes a page beside; a page that cannot be written is a matter of usage.
fn write_page(report: &Report, html: Option<&Path>) -> Result<(), u8> {
    let Some(path) = html else { return Ok(()) };
    std::fs::write(path, story::page(report)).map_err(|error| {
        eprintln!("{} cannot be written: {error}", path.display());
        USAGE
    })
}

pub(super) fn run(seed: u64, show: Show, explained: bool, html: Option<&Path>, world: &WorldArguments) -> u8 {
    if explained {
        print_swarm(seed, &world.sim(seed).swarm());
    }
    let report = world.sim(seed).told(html.is_some()).run();
    if let Err(code) = write_page(&report, html) {
        return code;
    }
    if show.json {
        println!("{}", json(&report));
    } else {
        print_summary(&report);
        if show.table {
            print!("{}", report.table);
        }
        if show.sometimes {
            print!("{}", report.sometimes);
        }
    }
    tell_failure(&report);
    verdict(&report)
}

/// What became of frames, as JSON; the faults that struck by name.
pub(super) fn network_json(counts: &NetworkCounts) -> serde_json::Value {
    let faults: serde_json::Map<_, _> =
        counts.iter().map(|(fault, count)| (fault.name().to_owned(), count.into())).collect();
    let NetworkCounts { sent, delivered, overflowed, .. } = counts;
    serde_json::json!({ "sent": sent, "delivered": delivered, "overflowed": overflowed, "faults": faults })
}

/// A table as JSON: by cause, by state, the cells that are not empty.
pub(super) fn table_json(table: &FaultTable) -> serde_json::Value {
    let mut causes = serde_json::Map::new();
    for (cause, state, count) in table.iter() {
        let states = causes.entry(cause.name()).or_insert_with(|| serde_json::Value::Object(serde_json::Map::new()));
        states[state.name()] = count.into();
    }
    causes.into()
}

fn print_summary(report: &Report) {
    println!(
        "seed {}: {} operations, {} events, {}.{:03} virtual seconds, {} choices, trace {}",
        report.seed,
        report.operations,
        report.events,
        report.virtual_ns / 1_000_000_000,
        report.virtual_ns / 1_000_000 % 1000,
        report.schedule.choices.len(),
        report.trace
    );
    for (fault, count) in report.faults.iter() {
        println!("    {count} x {fault}");
    }
    if report.nodes > 1 {
        println!("    network: {}\n    probes: {}", report.network, report.probe);
    }
}

fn read(file: &Path) -> Result<Schedule, u8> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        eprintln!("{}: {error}", file.display());
        USAGE
    })?;
    let schedule = Schedule::parse(&text).map_err(|error| {
        eprintln!("{}: {error}", file.display());
        USAGE
    })?;
    if let (Some(bug), false) = (&schedule.planted, cfg!(feature = "planted")) {
        eprintln!(
            "{}: it breaks with the planted bug {bug}, which a build with `--features planted` has",
            file.display()
        );
        return Err(USAGE);
    }
    Ok(schedule)
}

pub(super) fn replay(file: &Path, as_json: bool, html: Option<&Path>) -> u8 {
    let schedule = match read(file) {
        Ok(schedule) => schedule,
        Err(code) => return code,
    };
    let report = Sim::replay(&schedule).told(!as_json || html.is_some()).run();
    if let Err(code) = write_page(&report, html) {
        return code;
    }
    if as_json {
        println!("{}", json(&report));
        return verdict(&report);
    }
    for entry in &report.story {
        println!("{entry}");
    }
    print_summary(&report);
    match &report.violation {
        Some(violation) => println!("breaks {violation}"),
        None => println!("breaks no promise"),
    }
    verdict(&report)
}

pub(super) fn shrink(file: Option<&Path>, seed: Option<u64>, limit: u64, world: &WorldArguments) -> u8 {
    let (schedule, path) = match (file, seed) {
        (Some(file), _) => match read(file) {
            Ok(schedule) => (schedule, file.with_extension("min.schedule")),
            Err(code) => return code,
        },
        (None, seed) => {
            let seed = seed.unwrap_or_default();
            (world.sim(seed).run().schedule, PathBuf::from(format!("seed-{seed}.min.schedule")))
        }
    };
    let Some(violation) = Sim::replay(&schedule).run().violation else {
        eprintln!("this breaks no promise: there is nothing to shrink");
        return FINE;
    };
    let before = schedule.choices.len();
    let shrunk = shrink::shrink(&schedule, violation.promise, limit);
    let left = shrunk.schedule.choices.len();
    println!("{before} choices are now {left}, after {} runs: {}", shrunk.runs, violation.promise);
    match std::fs::write(&path, shrunk.schedule.to_string()) {
        Ok(()) => println!("ouroboros-sim replay {}", path.display()),
        Err(error) => eprintln!("{} cannot be written: {error}", path.display()),
    }
    BROKEN
}

pub(super) fn explain(seed: u64, nodes: u8) -> u8 {
    print_swarm(seed, &Sim::new(seed).nodes(nodes).swarm());
    FINE
}

fn print_swarm(seed: u64, swarm: &Swarm) {
    print!("seed {seed}\n{swarm}");
}
