//! Ctrl-C, sent as a real signal to the real command at moments all along its work: it ends with 130 or has ended already,
//! nothing acknowledged is lost, and nothing half-made stays.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Home, noise, same, signal, text_of, wait};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Moments at which each command is interrupted, spread over its work.
const MOMENTS: u32 = 8;

/// Runs `words`, interrupts it at each moment, and shows each outcome to `check` with whether it had succeeded before.
fn interrupted(home: &Home, words: &[&str], input: Option<&[u8]>, mut check: impl FnMut(bool)) {
    let started = Instant::now();
    let whole = input.map_or_else(|| home.run(words), |input| home.fed(words, input));
    assert!(whole.status.success(), "{}", text_of(&whole.stderr));
    let whole = started.elapsed();
    check(true);
    for moment in 0..MOMENTS {
        let mut child = home.command(words).stdin(Stdio::piped()).spawn().unwrap();
        let feeder = input.map(|input| {
            let (mut pipe, input) = (child.stdin.take().unwrap(), input.to_vec());
            std::thread::spawn(move || drop(pipe.write_all(&input)))
        });
        std::thread::sleep(whole * moment / MOMENTS);
        signal(&child, Signal::INT);
        let status = wait(&mut child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        feeder.into_iter().for_each(|feeder| feeder.join().unwrap());
        use std::os::unix::process::ExitStatusExt as _;
        // Before it has anything to finish, it ends as any program does.
        let ended = status.success() || status.code() == Some(130) || status.signal() == Some(Signal::INT.as_raw());
        assert!(ended, "{words:?} at {moment} of {MOMENTS}: {status} {said}");
        assert!(!said.contains("panicked"), "{said}");
        check(status.success());
    }
    let findings = home.json(&["doctor"]);
    assert!(
        !findings.iter().any(|finding| finding["severity"] == "lost" || finding["severity"] == "warning"),
        "{findings:?}"
    );
}

#[test]
fn an_interrupted_import_keeps_what_was_there_and_makes_no_snapshot() {
    let home = Home::with_store();
    home.put("before", b"kept");
    let tree = home.tree(200);
    home.write("tree/large", noise(1, 8_000_000));
    let mut snapshots = 0;
    interrupted(&home, &["import", "--force", "tree"], None, |done| {
        snapshots += usize::from(done);
        assert!(home.json(&["snapshots"]).len() <= snapshots + 1, "acknowledged or at the very end");
        snapshots = home.json(&["snapshots"]).len();
        assert_eq!(home.ok(&["get", "before"]), b"kept");
    });
    home.ok(&["export", "latest", "out"]);
    assert!(same(&tree, &home.path("out/tree")));
}

#[test]
fn an_interrupted_put_stores_all_or_nothing() {
    let home = Home::with_store();
    let (old, new) = (noise(1, 5_000_000), noise(2, 6_000_000));
    home.put("k", &old);
    interrupted(&home, &["put", "k"], Some(&new), |done| {
        let value = home.ok(&["get", "k"]);
        assert!(value == new || (!done && value == old));
        home.put("k", &old);
    });
}

#[test]
fn an_interrupted_export_leaves_no_half_of_a_file() {
    let home = Home::with_store();
    let tree = home.tree(200);
    home.write("tree/large", noise(1, 8_000_000));
    home.ok(&["import", "tree"]);
    interrupted(&home, &["export", "--overwrite", "latest", "out"], None, |done| {
        let out = home.path("out/tree");
        if done {
            assert!(same(&tree, &out));
        } else if let Ok(large) = std::fs::read(out.join("large")) {
            assert!(large == noise(1, 8_000_000), "a file under its own name is whole");
        }
        drop(std::fs::remove_dir_all(home.path("out")));
    });
}

#[test]
fn a_get_ends_though_nobody_reads_it() {
    let home = Home::with_store();
    home.put("k", &noise(1, 3_000_000));
    let mut child = home.command(&["get", "k"]).spawn().unwrap();
    let mut first = [0; 1000];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    // The pipe is full now, and stays so.
    std::thread::sleep(Duration::from_millis(200));
    signal(&child, Signal::INT);
    assert_eq!(wait(&mut child).code(), Some(130));
    assert_eq!(first, noise(1, 1000)[..]);
}

#[test]
fn an_interrupted_get_leaves_the_older_file() {
    let home = Home::with_store();
    let value = noise(1, 20_000_000);
    home.put("k", &value);
    let out = home.write("out", b"older");
    interrupted(&home, &["get", "k", "-o", "out"], None, |done| {
        let content = std::fs::read(&out).unwrap();
        assert!(content == value || (!done && content == b"older"));
        std::fs::write(&out, b"older").unwrap();
        let parts = std::fs::read_dir(home.directory.path()).unwrap();
        let left =
            parts.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part")).count();
        assert_eq!(left, 0, "no temporary file stays");
    });
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let home = Home::with_store();
    home.put("k", &noise(1, 3_000_000));
    let mut child = home.command(&["get", "k"]).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    wait(&mut child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}
