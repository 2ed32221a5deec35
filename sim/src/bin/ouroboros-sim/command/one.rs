//! One run.

use super::{BROKEN, FINE, Show, USAGE, WorldArguments};
use ouroboros_engine::planted::Bug;
use ouroboros_sim::network::NetworkCounts;
use ouroboros_sim::schedule::Schedule;
use ouroboros_sim::shrink;
use ouroboros_sim::table::FaultTable;
use ouroboros_sim::{Report, Sim, story};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// The last lines of the story of the shrunk schedule.
const LAST_LINES: usize = 30;

/// A failure: its schedule is written here, minimised and written beside. What there is to say of it: that it is found does not
/// depend on anybody who reads.
pub(super) fn hand_over(report: &Report, shrinking: Duration) -> Option<String> {
    let violation = report.violation.as_ref()?;
    let mut text = format!("seed {} breaks {violation}\n", report.seed);
    let whole = PathBuf::from(format!("{}.schedule", name(&report.schedule)));
    let small = whole.with_extension("min.schedule");
    let written = write_schedule(&whole, &report.schedule);
    if let Err(error) = &written {
        text += &format!("{error}\n");
    }
    if shrinking.is_zero() {
        // One that is there already may be of another program.
        let _none = std::fs::remove_file(&small);
        if written.is_ok() {
            text += &format!("ouroboros-sim replay {0}    ouroboros-sim shrink {0}\n", whole.display());
        }
        return Some(text);
    }
    let started = Instant::now();
    let shrunk =
        shrink::shrink_while(&report.schedule, violation.promise, &mut |_| started.elapsed() < shrinking).schedule;
    let replayed = write_schedule(&small, &shrunk);
    let (before, after) = (report.schedule.choices.len(), shrunk.choices.len());
    let seconds = started.elapsed().as_secs_f64();
    text += &format!("{before} choices are now {after}, in {seconds:.1} s. The end of its story:\n");
    let story = Sim::replay(&shrunk).told(true).run().story;
    let lines: Vec<_> = story.iter().filter(|entry| !entry.is_plain_frame()).collect();
    for entry in &lines[lines.len().saturating_sub(LAST_LINES)..] {
        text += &format!("    {entry}\n");
    }
    match replayed {
        Ok(()) => {
            let (small, whole) = (small.display(), whole.display());
            text += &format!("ouroboros-sim replay {small} [--html FILE]    as it was found: {whole}\n");
        }
        Err(error) => text += &format!("{error}\n"),
    }
    Some(text)
}

/// What a run's files are called: its seed, and what else is not as it is without options.
fn name(schedule: &Schedule) -> String {
    let mut name = format!("seed-{}", schedule.seed);
    if schedule.nodes > 1 {
        name += &format!("-nodes-{}", schedule.nodes);
    }
    if schedule.operations != ouroboros_sim::OPERATIONS {
        name += &format!("-operations-{}", schedule.operations);
    }
    for (is_so, word) in [(schedule.beyond, "-beyond"), (schedule.canary, "-canary")] {
        if is_so {
            name += word;
        }
    }
    name
}

fn write_schedule(path: &Path, schedule: &Schedule) -> Result<(), String> {
    std::fs::write(path, schedule.to_string()).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

fn verdict(report: &Report) -> u8 {
    if report.violation.is_some() { BROKEN } else { FINE }
}

/// Writes a page beside. A page that cannot be written is a matter of usage, unless there is something worse.
fn write_page(report: &Report, html: Option<&Path>) -> u8 {
    let written = html.map_or(Ok(()), |path| {
        std::fs::write(path, story::page(report))
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))
    });
    match (written, verdict(report)) {
        (Err(error), code) => {
            eprintln!("{error}");
            if code == BROKEN { BROKEN } else { USAGE }
        }
        (Ok(()), code) => code,
    }
}

/// What is asked for of one seed.
pub(super) struct Wanted<'a> {
    pub(super) seed: u64,
    pub(super) show: Show,
    pub(super) explained: bool,
    pub(super) html: Option<&'a Path>,
    pub(super) shrinking: Duration,
}

pub(super) fn run(wanted: &Wanted<'_>, world: &WorldArguments) -> u8 {
    let Wanted { seed, show, html, .. } = *wanted;
    if wanted.explained {
        print_swarm(&world.sim(seed), seed, world.beyond);
    }
    let report = world.sim(seed).told(html.is_some()).run();
    let found = hand_over(&report, wanted.shrinking);
    let code = write_page(&report, html);
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
    eprint!("{}", found.unwrap_or_default());
    code
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
    if let Some(bug) = &schedule.planted
        && !Bug::ALL.iter().any(|known| known.name() == bug)
    {
        eprintln!("{}: no bug is called {bug}", file.display());
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
    let code = write_page(&report, html);
    if as_json {
        println!("{}", json(&report));
        return code;
    }
    for entry in report.story.iter().filter(|entry| !entry.is_plain_frame()) {
        println!("{entry}");
    }
    print_summary(&report);
    match &report.violation {
        Some(violation) => println!("breaks {violation}"),
        None => println!("breaks no promise"),
    }
    code
}

pub(super) fn shrink(file: Option<&Path>, seed: Option<u64>, limit: u64, world: &WorldArguments) -> u8 {
    let (schedule, path) = match (file, seed) {
        (Some(file), _) => match read(file) {
            Ok(schedule) => (schedule, file.with_extension("min.schedule")),
            Err(code) => return code,
        },
        (None, seed) => {
            let schedule = world.sim(seed.unwrap_or_default()).run().schedule;
            let path = PathBuf::from(format!("{}.min.schedule", name(&schedule)));
            (schedule, path)
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
    match write_schedule(&path, &shrunk.schedule) {
        Ok(()) => println!("ouroboros-sim replay {}", path.display()),
        Err(error) => eprintln!("{error}"),
    }
    BROKEN
}

pub(super) fn explain(seed: u64, world: &WorldArguments) -> u8 {
    print_swarm(&world.sim(seed), seed, world.beyond);
    FINE
}

fn print_swarm(sim: &Sim, seed: u64, beyond: bool) {
    let drifts = sim.drifts_ppm();
    println!(
        "seed {seed}{}",
        if beyond { ", beyond the budget: more may be destroyed than can be healed" } else { "" }
    );
    match &drifts[..] {
        [_] => println!("1 node"),
        _ => println!("{} nodes, their clocks {drifts:?} ppm off", drifts.len()),
    }
    print!("{}", sim.swarm());
}
