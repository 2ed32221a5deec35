//! The command, as it is used.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the command in a folder of its own.
fn sim(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ouroboros-sim")).args(arguments).current_dir(folder).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_seed_that_breaks_nothing_ends_with_0_and_prints_one_line_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let output = sim(folder.path(), &["run", "--seed", "3", "--operations", "8", "--json"]);
    assert_eq!(code(&output), 0);
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line["seed"], 3);
    assert_eq!(line["trace"].as_str().unwrap().len(), 64);
    for field in ["operations", "events", "virtual_ns"] {
        assert!(line[field].is_u64(), "{field}");
    }
    assert!(line["violation"].is_null() && line["table"].is_object());
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn many_seeds_print_an_object_each_and_then_their_table() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--seeds", "0..6", "--operations", "4", "--jobs", "2", "--json", "--table"];
    let output = sim(folder.path(), &arguments);
    assert_eq!(code(&output), 0);
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut seeds: Vec<u64> = lines[..6].iter().map(|line| line["seed"].as_u64().unwrap()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [0, 1, 2, 3, 4, 5]);
    assert_eq!(lines[6]["seeds"], 6);
    assert!(lines[6]["table"].is_object());
    let output = sim(folder.path(), &["run", "--seeds", "0..2", "--operations", "4", "--table", "--sometimes"]);
    assert_eq!(code(&output), 1, "two seeds do not reach everything that must be reached");
    let table = text(&output.stdout);
    assert!(table.contains("a closed") && table.contains("possible cells are filled"), "{table}");
    assert!(table.contains("it never came to this: "), "{table}");
}

#[test]
fn a_broken_promise_ends_with_1_and_its_schedule_can_be_replayed_shrunk_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let output = sim(folder.path(), &["run", "--seeds", "0..50", "--canary"]);
    assert_eq!(code(&output), 1);
    let told = text(&output.stderr);
    let line = told.lines().find(|line| line.starts_with("ouroboros-sim replay ")).expect("how to see it again");
    let file = line.split_ascii_whitespace().nth(2).unwrap();
    // It was minimised, and the end of its story is there to be read at once.
    assert!(file.ends_with(".min.schedule") && told.contains("BROKEN: P7 canary"), "{told}");
    let whole = file.replace(".min.", ".");
    let choices = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap().lines().count();
    assert!(choices(file) < choices(&whole), "{told}");

    // A page that cannot be written takes nothing of that away.
    let seed = whole.trim_start_matches("seed-").trim_end_matches("-canary.schedule");
    std::fs::remove_file(folder.path().join(&whole)).unwrap();
    let output = sim(folder.path(), &["run", "--seed", seed, "--canary", "--html", "no/folder.html"]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("no/folder.html cannot be written"));
    assert!(folder.path().join(&whole).exists());
    assert_eq!(code(&sim(folder.path(), &["replay", file, "--html", "no/folder.html"])), 1);

    let output = sim(folder.path(), &["replay", file, "--html", "story.html"]);
    assert_eq!(code(&output), 1);
    let story = text(&output.stdout);
    assert!(story.contains("BROKEN: P7 canary") && story.contains("breaks P7"), "{story}");
    let page = std::fs::read_to_string(folder.path().join("story.html")).unwrap();
    assert!(page.len() < 500_000 && page.contains("breaks P7"));

    let output = sim(folder.path(), &["replay", file, "--json"]);
    let line: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!((code(&output), &line["violation"]), (1, &Value::from("P7")));

    let output = sim(folder.path(), &["shrink", file, "--limit", "40"]);
    assert_eq!(code(&output), 1);
    let small = text(&output.stdout).lines().last().unwrap().split_ascii_whitespace().nth(2).unwrap().to_owned();
    assert_eq!(code(&sim(folder.path(), &["replay", &small])), 1);
}

#[test]
fn what_makes_no_sense_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("no.schedule"), "nothing of the kind").unwrap();
    let senseless: [&[&str]; 14] = [
        &[],
        &["run"],
        &["run", "--seed", "x"],
        &["run", "--seeds", "5..5"],
        &["run", "--seeds", "0..2", "--html", "a.html"],
        &["run", "--seed", "1", "--jobs", "2"],
        &["run", "--seed", "1", "--html", "no/folder.html"],
        &["run", "--seed", "1", "--nodes", "0"],
        &["run", "--seed", "1", "--nodes", "3..3"],
        &["run", "--seed", "1", "--nodes", "2..99"],
        &["replay", "not there"],
        &["replay", "no.schedule"],
        &["shrink", "no.schedule"],
        &["diverge", "1", "--against", "not there"],
    ];
    for arguments in senseless {
        let output = sim(folder.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_kind_of_fault_is_listed_with_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let output = sim(folder.path(), &["list-faults"]);
    assert_eq!(code(&output), 0);
    let list = text(&output.stdout);
    let kinds = list.lines().filter(|line| line.starts_with("    ")).count();
    assert!(kinds >= 36 && list.contains(&format!("{kinds} kinds")), "{list}");
    let of_machines =
        ["crash", "lying-sync", "rot-garbage", "power-tears-sectors", "kill", "tight-disk", "clock-drift"];
    let of_several = ["pause", "gone-for-long", "reinstall", "lose-disk", "roll-back-disk"];
    let of_links = ouroboros_sim::network::NetworkFault::ALL.map(|fault| fault.name());
    for name in of_machines.into_iter().chain(of_several).chain(of_links) {
        let line = list
            .lines()
            .find(|line| line.split_ascii_whitespace().next().map(|word| word.trim_end_matches('*')) == Some(name));
        assert!(line.is_some_and(|line| line.split_ascii_whitespace().count() > 3), "{name}");
    }
}

#[test]
fn several_nodes_are_run_explained_replayed_and_drawn_with_a_lane_each() {
    let folder = tempfile::tempdir().unwrap();
    let three = ["--nodes", "3"];
    let output = sim(folder.path(), &[&["run", "--seed", "3", "--operations", "12", "--json"], &three[..]].concat());
    assert_eq!(code(&output), 0);
    let line: Value = serde_json::from_str(text(&output.stdout).trim()).unwrap();
    assert_eq!(line["nodes"], 3);
    assert!(line["network"]["sent"].as_u64().unwrap() > 0 && line["network"]["faults"].is_object());
    let flag = sim(folder.path(), &["--explain", "3"]);
    assert_eq!(flag.stdout, sim(folder.path(), &["explain", "3"]).stdout);
    assert!(!flag.stdout.is_empty() && flag.status.success());
    let output = sim(folder.path(), &[&["explain", "3"], &three[..]].concat());
    assert!(text(&output.stdout).contains("frames take "), "{}", text(&output.stdout));
    let arguments = [&["run", "--seed", "3", "--operations", "12", "--html", "story.html"], &three[..]].concat();
    assert_eq!(code(&sim(folder.path(), &arguments)), 0);
    let page = std::fs::read_to_string(folder.path().join("story.html")).unwrap();
    assert!((0..3).all(|node| page.contains(&format!(">client {node}<")) && page.contains(&format!(">disk {node}<"))));
    let wanted = ["run", "--seeds", "0..50", "--canary", "--shrink-seconds", "0"];
    let output = sim(folder.path(), &[&wanted, &three[..]].concat());
    assert_eq!(code(&output), 1);
    let told = text(&output.stderr);
    let line = told.lines().find(|line| line.starts_with("ouroboros-sim replay ")).expect("how to see it again");
    let file = line.split_ascii_whitespace().nth(2).unwrap();
    assert!(std::fs::read_to_string(folder.path().join(file)).unwrap().contains("\nnodes 3\n"));
    assert_eq!(code(&sim(folder.path(), &["replay", file])), 1);
    assert_eq!(code(&sim(folder.path(), &["run", "--seed", "1", "--nodes", "99"])), 2);
}

#[test]
fn seeds_draw_how_many_nodes_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--seeds", "0..12", "--operations", "4", "--nodes", "2..5", "--json"];
    let output = sim(folder.path(), &arguments);
    assert_eq!(code(&output), 0);
    let nodes = |line: &str| serde_json::from_str::<Value>(line).unwrap()["nodes"].as_u64().unwrap();
    let drawn: std::collections::BTreeSet<u64> = text(&output.stdout).lines().map(nodes).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn a_campaign_runs_for_its_time_and_ends_with_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let output = sim(folder.path(), &["campaign", "--minutes", "0", "--from", "9", "--operations", "4"]);
    assert_eq!(code(&output), 0);
    assert!(text(&output.stderr).contains("from seed 9"));
    assert!(text(&output.stdout).contains("possible cells are filled"));
}

#[test]
fn two_runs_of_a_seed_part_nowhere_and_where_they_do_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--operations", "6"];
    for nodes in ["1", "3"] {
        let output = sim(folder.path(), &[&["diverge", "4", "--nodes", nodes], &small[..]].concat());
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    assert_eq!(code(&sim(folder.path(), &[&["diverge", "4", "--save", "events"], &small[..]].concat())), 0);
    let saved = std::fs::read_to_string(folder.path().join("events")).unwrap();
    assert_eq!(code(&sim(folder.path(), &[&["diverge", "4", "--against", "events"], &small[..]].concat())), 0);
    // From the tenth event on it is another run.
    let other: Vec<String> = saved
        .lines()
        .enumerate()
        .map(|(at, line)| {
            let digit = if line.starts_with('f') { '0' } else { 'f' };
            if at < 10 { line.to_owned() } else { format!("{digit}{}", &line[1..]) }
        })
        .collect();
    std::fs::write(folder.path().join("events"), other.join("\n")).unwrap();
    let output = sim(folder.path(), &[&["diverge", "4", "--against", "events"], &small[..]].concat());
    assert_eq!(code(&output), 1);
    let told = text(&output.stdout);
    assert!(told.contains("part at event 10 "), "{told}");
}

#[test]
fn crashes_of_one_point_are_recovered_from_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["crashes", "--seed", "7", "--index", "memory", "--json", "--point"];
    let with = |more: &[&str]| sim(folder.path(), &[&arguments, more].concat());
    let output = with(&["40"]);
    assert_eq!(code(&output), 0);
    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [script, sum] = &lines[..] else { panic!("{lines:?}") };
    assert!(script["operations"].as_u64().unwrap() >= 300 && script["points"].as_u64().unwrap() > 1000);
    let number = |field: &str| script[field].as_u64().unwrap();
    assert!(
        number("tried") == 1 && number("nested") > 0 && number("twice") > 0 && number("disks") > number("recoveries")
    );
    assert_eq!(number("recoveries"), number("light") + number("full") + number("deep"));
    assert_eq!(sum["recoveries"], script["recoveries"]);
    assert_eq!(sum["violations"], 0);
    assert_eq!(code(&with(&["40", "--least", "1000000"])), 2, "one point has as many as it has");
    let cut = ["crashes", "--index", "memory", "--minutes", "0", "--least", "1000000"];
    assert_eq!(code(&sim(folder.path(), &cut)), 1, "fewer than were asked for");
    assert_eq!(code(&with(&["1000000"])), 2, "there is no such crash point");
    assert_eq!(code(&sim(folder.path(), &["crashes", "--point", "1"])), 2, "of which script?");
}
