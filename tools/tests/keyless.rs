//! Upkeep of a store whose keyring is elsewhere, by the real command.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Home, lines, noise, text};
use serde_json::Value;

fn only(lines: &[Value], kind: &str) -> Value {
    let of_kind: Vec<&Value> = lines.iter().filter(|line| text(&line["type"]) == kind).collect();
    assert_eq!(of_kind.len(), 1, "{lines:?}");
    of_kind[0].clone()
}

/// Runs it without a keyring; the one line that says so is the only thing on standard error.
fn told(home: &Home, words: &[&str]) -> Vec<Value> {
    let output = home.run(&[&["--json"], words].concat());
    let said = lines(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said:?}");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(text(&said[0]["message"]).contains("going on without keys"), "{said:?}");
    lines(&output.stdout)
}

#[test]
fn a_store_is_recoded_healed_and_compacted_while_its_keyring_is_away() {
    let home = Home::with_store();
    let values: Vec<(String, Vec<u8>)> =
        (0..12).map(|n| (format!("dir/{n}"), noise(n, [10, 3_000, 70_000, 700_000][n as usize % 4]))).collect();
    for (key, value) in &values {
        home.put(key, b"an older version");
        home.put(key, value);
    }
    let secret = noise(77, 900_000);
    let purged = text(&home.put("secret", &secret)["version"]).to_owned();
    home.put("shares its chunks", &secret);
    home.put("removed", b"its history stays");
    home.ok(&["rm", "removed"]);
    home.ok(&["purge", "secret"]);
    home.ok(&["purge", "dir/3"]);

    std::fs::rename(home.keyring(), home.path("kept")).unwrap();
    assert!(home.fails(&["get", "dir/1"], 6).contains("cannot read the keyring"));
    let figures = only(&told(&home, &["stats"]), "stats");
    assert!(figures.get("logical_bytes").is_none() && figures.get("snapshots").is_none(), "{figures}");
    assert_eq!(figures["keys"], 13, "{figures}");

    let recoded = only(&told(&home, &["recode", "4+2"]), "recode");
    assert!(recoded["recoded"].as_u64().unwrap() > 10 && recoded["damaged"] == 0, "{recoded}");
    // What the recoding left of the old coding must not stand in for the new: it goes first.
    let compacted = only(&told(&home, &["compact"]), "compact");
    assert!(compacted["segments"].as_u64().unwrap() > 0 && compacted["chunks"].as_u64().unwrap() > 0, "{compacted}");

    // Two places far from each other: no more than the coding covers, be they in slices of one chunk.
    let segments = home.segments();
    let mut logs: Vec<Vec<u8>> = segments.iter().map(|segment| std::fs::read(segment).unwrap()).collect();
    let is_noise = |page: &&mut [u8]| page.iter().filter(|byte| **byte == 0).count() * 64 < page.len();
    let mut pages: Vec<&mut [u8]> =
        logs.iter_mut().flat_map(|log| log.chunks_exact_mut(8192)).filter(is_noise).collect();
    assert!(pages.len() > 300, "{} pages of slices", pages.len());
    let count = pages.len();
    pages[count / 3][4096] ^= 0xff;
    pages[count * 2 / 3][4096] ^= 0xff;
    segments.iter().zip(&logs).for_each(|(segment, log)| std::fs::write(segment, log).unwrap());
    let output = home.run(&["--json", "scrub", "--no-keys"]);
    assert_eq!(output.status.code(), Some(1), "there is damage, and nobody asked to heal it");
    assert!(text(&lines(&output.stderr)[0]["message"]).contains("damaged"), "asked for: not told again");
    let scrubbed = only(&told(&home, &["scrub", "--repair"]), "scrub");
    assert!(scrubbed["healed"].as_u64().unwrap() >= 2 && scrubbed["lost"] == 0, "{scrubbed}");
    assert_eq!(only(&told(&home, &["scrub"]), "scrub")["damaged"], 0);
    told(&home, &["compact"]);
    told(&home, &["doctor"]);

    std::fs::rename(home.path("kept"), home.keyring()).unwrap();
    for (key, value) in values.iter().filter(|(key, _)| key != "dir/3") {
        assert_eq!(&home.ok(&["get", key]), value, "{key}");
        assert_eq!(home.json(&["log", key]).len(), 2, "{key}");
    }
    assert_eq!(home.ok(&["get", "shares its chunks"]), secret);
    home.fails(&["get", "secret"], 3);
    home.fails(&["get", "shares its chunks", "--version", &purged], 3);
    home.fails(&["get", "dir/3"], 3);
    home.fails(&["get", "removed"], 3);
    assert_eq!(home.json(&["log", "removed"]).len(), 2);
    home.ok(&["doctor"]);
    home.put("new", &noise(5, 300_000));
    assert_eq!(home.json(&["stats"])[0]["degraded_chunks"], 0);
    assert_eq!(only(&home.json(&["recode", "4+2"]), "recode")["recoded"], 0, "new chunks follow the coding too");
}

#[test]
fn keys_that_are_wrong_are_not_taken_for_missing_and_keys_that_are_there_are_used() {
    let home = Home::with_store();
    home.put("k", &noise(1, 100_000));
    assert!(home.run(&["compact"]).stderr.is_empty());
    assert_eq!(home.json(&["stats"])[0]["logical_bytes"], 100_000);
    assert!(home.json(&["stats", "--no-keys"])[0].get("logical_bytes").is_none());
    let home = home.with_passphrase(Some("wrong"));
    assert!(home.fails(&["scrub"], 6).contains("--no-keys"));
    home.ok(&["scrub", "--no-keys"]);
    // Nobody is there to be asked.
    let home = home.with_passphrase(None);
    told(&home, &["scrub"]);
    let said = home.run(&["doctor"]);
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && out.contains("looked at without keys"), "{out}{err}");
    home.fails(&["ls"], 6);
}
