//! The same seed gives the same run, byte for byte: in one process, in two, in another environment, and as it always was.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ouroboros_sim::{Report, Sim};
use std::fmt::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

/// Seeds whose traces are kept.
const SEEDS: u64 = 64;
/// From this on they are of worlds of three nodes.
const CLUSTERS: u64 = 48;
/// Few operations, so that every `cargo test` can afford them.
const OPERATIONS: u32 = 20;

fn run(seed: u64) -> Report {
    Sim::new(seed).nodes(nodes_of(seed)).operations(OPERATIONS).run()
}

const fn nodes_of(seed: u64) -> u8 {
    if seed < CLUSTERS { 1 } else { 3 }
}

fn golden() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_traces.txt")
}

/// A line for each seed.
fn traces() -> Vec<String> {
    let line = |seed| {
        let report = run(seed);
        let nodes = nodes_of(seed);
        assert_eq!(report.violation, None, "ouroboros-sim run --seed {seed} --nodes {nodes} --operations {OPERATIONS}");
        format!("{seed} {nodes} {} {}", report.events, report.trace)
    };
    (0..SEEDS).map(line).collect()
}

#[test]
fn golden_traces_are_what_they_were() {
    let kept = std::fs::read_to_string(golden()).unwrap();
    let kept: Vec<&str> = kept.lines().filter(|line| !line.starts_with('#')).collect();
    let now = traces();
    let changed: Vec<&String> = now.iter().filter(|line| !kept.contains(&line.as_str())).collect();
    assert!(
        changed.is_empty() && kept.len() == now.len(),
        "{} of {SEEDS} traces are not what they were; the first is now {:?}.\n\
         If you have changed what happens in a run (a choice, the order of the engine's disk operations, a question of the \
         oracle), that is to be expected: look at the change once more, and rewrite the file with\n    \
         cargo test -p ouroboros-sim --test determinism write_golden_traces -- --ignored\n\
         If you have not, something depends on the machine, the compiler or a dependency: save the events where the trace is \
         right, and compare:\n    \
         ouroboros-sim diverge SEED --nodes NODES --operations {OPERATIONS} --save FILE\n    \
         ouroboros-sim diverge SEED --nodes NODES --operations {OPERATIONS} --against FILE",
        changed.len(),
        changed.first()
    );
}

#[test]
#[ignore = "writes tests/golden_traces.txt"]
fn write_golden_traces() {
    let mut text = format!(
        "# The traces of {SEEDS} seeds with {OPERATIONS} operations each: seed, nodes, events, hash. Written by\n\
         # cargo test -p ouroboros-sim --test determinism write_golden_traces -- --ignored\n"
    );
    for line in traces() {
        writeln!(text, "{line}").unwrap();
    }
    std::fs::write(golden(), text).unwrap();
}

/// Seeds that processes of their own run, of one node and of three.
const PLAYED: [Range<u64>; 2] = [0..16, CLUSTERS..CLUSTERS + 8];

/// The traces that the command prints, started in its own way.
fn of_processes(start: impl Fn(&mut Command)) -> Vec<(u64, String)> {
    PLAYED.into_iter().flat_map(|seeds| of_a_process(&seeds, &start)).collect()
}

fn of_a_process(seeds: &Range<u64>, start: &impl Fn(&mut Command)) -> Vec<(u64, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ouroboros-sim"));
    command.args(["run", "--json", "--operations"]).arg(OPERATIONS.to_string());
    command.arg("--seeds").arg(format!("{}..{}", seeds.start, seeds.end));
    command.arg("--nodes").arg(nodes_of(seeds.start).to_string());
    start(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        (value["seed"].as_u64().unwrap(), value["trace"].as_str().unwrap().to_owned())
    };
    let mut lines: Vec<(u64, String)> = String::from_utf8(output.stdout).unwrap().lines().map(line).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn two_processes_in_different_environments_and_this_one_agree() {
    let one = of_processes(|command| {
        command.env("TZ", "America/St_Johns").env("LANG", "tr_TR.UTF-8").current_dir("/");
    });
    let other = of_processes(|command| {
        let long = "x".repeat(70_000);
        command.env_clear().env("TZ", "Pacific/Kiritimati").env("SOMETHING_LONG", long).args(["--jobs", "2"]);
        command.current_dir(std::env::temp_dir());
    });
    let traces = || PLAYED.into_iter().flatten().map(|seed| (seed, run(seed).trace.to_string()));
    let here: Vec<(u64, String)> = traces().collect();
    let again: Vec<(u64, String)> = traces().collect();
    assert_eq!(here, again);
    assert_eq!(here, one);
    assert_eq!(here, other);
}

#[test]
fn checkpoints_and_events_say_where_two_runs_part() {
    let report = Sim::new(3).operations(OPERATIONS).logged(true).run();
    assert_eq!(report.log.len() as u64, report.events);
    assert_eq!(report.checkpoints.len() as u64, report.events / ouroboros_sim::world::CHECKPOINT);
    let same = Sim::new(3).operations(OPERATIONS).logged(true).run();
    assert_eq!(report.log, same.log);
    assert_eq!(report.trace, run(3).trace, "keeping events changes none");
    // Another run from the seventh choice on: from the first event that differs on, all do.
    let mut schedule = report.schedule.clone();
    let (last, _) = schedule.choices.iter().next_back().map(|(key, value)| (*key, *value)).unwrap();
    schedule.choices.remove(&last);
    let other = Sim::replay(&schedule).logged(true).run();
    let first = report.log.iter().zip(&other.log).position(|(one, two)| one.so_far != two.so_far);
    let first = first.expect("without one of its choices it is another run");
    assert!(report.log.iter().zip(&other.log).skip(first).all(|(one, two)| one.so_far != two.so_far));
}
