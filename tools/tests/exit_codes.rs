//! How a run ends, for scripts: each exit code from a run of the real command that deserves it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Home, lines, noise, signal, text, wait};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

#[test]
fn code_0_done() {
    let home = Home::with_store();
    home.put("k", b"v");
    assert_eq!(home.ok(&["get", "k"]), b"v");
}

#[test]
fn code_1_failed() {
    let home = Home::new();
    assert!(home.fails(&["ls"], 1).contains("`ouroboros init` makes one"));
    assert!(home.fails(&["put", "k", "missing"], 1).contains("missing"));
    assert!(!home.path(".local").exists(), "a put that fails makes no store");
    home.put("k", b"v");
    assert!(home.fails(&["init"], 1).contains("holds a store already"));
    assert_eq!(home.code(&["get", "k", "-o", "no/such/directory/f"]), 1);
    assert_eq!(home.code(&["import", "missing"]), 1);
}

#[test]
fn code_2_usage() {
    let home = Home::with_store();
    home.put("k", b"v");
    for words in [
        &["put"][..],
        &["frobnicate"],
        &["get", "k", "--range", "5..2"],
        &["get", "k", "--range", "7..9"],
        &["get", "k", "--version", "no id"],
        &["put", "a//b", "/dev/null"],
        &["put", ".ouroboros/mine", "/dev/null"],
        &["--escaped", "get", "a\\q"],
        &["recode", "0+1"],
        &["at", "some day", "k"],
        &["ls", "--passphrase-file", "a", "--passphrase-fd", "3"],
    ] {
        home.fails(words, 2);
    }
}

#[test]
fn code_3_no_such_key_or_version() {
    let home = Home::with_store();
    home.put("k", b"v");
    home.put("gone", b"v");
    home.ok(&["rm", "gone"]);
    for words in [
        &["get", "other"][..],
        &["get", "k", "--version", "abcdef"],
        &["get", "gone"],
        &["log", "other"],
        &["heads", "other"],
        &["diff", "k", "abcd", "abcd"],
        &["restore", "k", "abcd"],
        &["merge", "other"],
        &["rm", "other"],
        &["rm", "gone"],
        &["purge", "other"],
        &["ls", "other"],
        &["at", "2001-01-01", "k"],
        &["export", "latest", "out"],
        &["export", "abcdef", "out"],
    ] {
        home.fails(words, 3);
    }
    assert!(!home.path("out").exists());
}

#[test]
fn code_4_data_damaged_beyond_repair() {
    let home = Home::with_store_of(&["--redundancy", "1+1"]);
    home.put("before", b"small");
    home.write("tree/a", "whole");
    home.write("tree/large", noise(1, 200_000));
    home.json(&["import", "tree"]);
    home.put("after", b"small");
    // Both slices of every chunk of the large value, and nothing of what stands before and after them.
    assert!(home.damage_noise() > 40, "two times 200,000 bytes");

    let said = home.fails(&["get", "tree/large", "-o", "out"], 4);
    assert!(said.contains("damaged beyond repair") && said.contains("scrub --repair"), "{said}");
    assert!(!home.path("out").exists(), "no half of a value stays");
    assert_eq!(home.ok(&["get", "before"]), b"small");
    assert_eq!(home.ok(&["get", "tree/a"]), b"whole");
    assert_eq!(home.ok(&["get", "after"]), b"small");
    let output = home.run(&["--json", "doctor"]);
    assert_eq!(output.status.code(), Some(4));
    let lost = lines(&output.stdout).into_iter().find(|finding| finding["severity"] == "lost").unwrap();
    assert!(text(&lost["text"]).contains("tree/large"), "{lost}");
    home.fails(&["scrub"], 4);
    assert!(home.fails(&["scrub", "--repair"], 4).contains("beyond repair"));
    let said = home.fails(&["export", "latest", "exported"], 4);
    assert!(said.contains("tree/large"), "{said}");
    assert_eq!(std::fs::read(home.path("exported/tree/a")).unwrap(), b"whole");
    assert!(!home.path("exported/tree/large").exists(), "no half of a file stays");
    home.fails(&["recode", "2+1"], 4);
}

#[test]
fn code_5_store_in_use() {
    let home = Home::with_store();
    home.put("k", b"v");
    let mut first = home.command(&["put", "held"]).stdin(Stdio::piped()).spawn().unwrap();
    home.until_held_by(&first);
    let said = home.fails(&["get", "k"], 5);
    assert!(said.contains(&format!("process {}", first.id())), "{said}");
    for words in [&["put", "k", "/dev/null"][..], &["ls"], &["doctor"], &["scrub"], &["import", "."], &["stats"]] {
        home.fails(words, 5);
    }
    // The keys are not the store.
    home.ok(&["keys", "show"]);
    drop(first.stdin.take());
    assert!(wait(&mut first).success());
    assert_eq!(home.ok(&["get", "k"]), b"v");
}

#[test]
fn code_6_wrong_or_missing_keys() {
    let home = Home::with_store();
    home.put("k", b"v");
    home.fails(&["get", "k", "--passphrase-file", "missing"], 6);
    let home = home.with_passphrase(Some("wrong"));
    assert!(home.fails(&["get", "k"], 6).contains("keys recover"));
    let home = home.with_passphrase(None);
    assert!(home.fails(&["get", "k"], 6).contains("--passphrase-file"));
    std::fs::rename(home.keyring(), home.path("kept")).unwrap();
    home.fails(&["get", "k"], 6);
    let output = home.run(&["--json", "get", "k"]);
    let error = &lines(&output.stderr)[0];
    assert_eq!((text(&error["type"]), error["exit"].as_u64()), ("error", Some(6)));
    assert!(text(&error["advice"]).contains("keys recover"));

    // Another store's keyring, with the right passphrase.
    let home = home.with_passphrase(Some("correct horse"));
    home.ok(&["--store", "other", "--keyring", "others", "init", "--kdf", "testing"]);
    let said = home.fails(&["--keyring", "others", "get", "k"], 6);
    assert!(said.contains("belongs to realm"), "{said}");
    std::fs::write(home.keyring(), b"no keyring").unwrap();
    home.fails(&["get", "k"], 6);
    std::fs::rename(home.path("kept"), home.keyring()).unwrap();
    assert_eq!(home.ok(&["get", "k"]), b"v", "a keyring of another realm harms nothing");
}

#[test]
fn code_130_interrupted() {
    let home = Home::with_store();
    let mut child = home.command(&["put", "k"]).stdin(Stdio::piped()).spawn().unwrap();
    home.until_held_by(&child);
    signal(&child, rustix::process::Signal::INT);
    // The pipe is never closed: it is the signal that ends it. One that comes before anybody watches for it does so itself,
    // which a shell calls 130, too.
    let ended = wait(&mut child);
    assert_eq!(ended.code().or(ended.signal().map(|number| 128 + number)), Some(130), "{ended:?}");
    home.fails(&["get", "k"], 3);
}
