//! The real command: what it does and what it prints.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Home, on_a_terminal, same, text};
use std::path::PathBuf;

#[test]
fn a_value_is_put_found_read_and_removed() {
    let home = Home::new();
    let first = home.put("notes/today", b"first");
    assert_eq!((text(&first["type"]), text(&first["key"])), ("written", "notes/today"));
    home.put("notes/today", b"second");
    assert_eq!(home.run(&["get", "notes/today"]).stdout, b"second");
    assert_eq!(home.run(&["get", "notes/today", "--range", "2..4"]).stdout, b"co");
    let id = text(&first["version"]);
    assert_eq!(home.run(&["get", "notes/today", "--version", &id[..8]]).stdout, b"first");
    assert_eq!(home.json(&["log", "notes/today"]).len(), 2);
    assert_eq!(text(&home.json(&["ls"])[0]["key"]), "notes/");
    assert_eq!(text(&home.json(&["ls", "-R"])[0]["key"]), "notes/today");
    home.json(&["restore", "notes/today", &id[..8]]);
    assert_eq!(home.run(&["get", "notes/today"]).stdout, b"first");
    home.json(&["rm", "notes/today"]);
    assert_eq!(home.code(&["get", "notes/today"]), 3);
    assert_eq!(home.run(&["at", "now", "notes/today"]).status.code(), Some(3));
    assert_eq!(home.json(&["purge", "notes/today"])[0]["versions"], 4);
}

#[test]
fn a_first_write_says_where_things_are_and_what_must_not_be_lost() {
    let home = Home::new();
    std::fs::write(home.path("f"), "x").unwrap();
    let said = String::from_utf8(home.run(&["put", "k", "f"]).stderr).unwrap();
    let keyring = home.keyring();
    assert!(said.contains(&home.path(".local/share/ouroboros/store").display().to_string()), "{said}");
    assert!(said.contains(&format!("without the keyring ({})", keyring.display())), "{said}");
    assert!(said.contains("the data is lost"), "{said}");
    assert_eq!(String::from_utf8(home.run(&["put", "k", "f"]).stderr).unwrap(), "");
}

#[test]
fn keys_of_any_bytes_are_shown_and_taken_losslessly() {
    let home = Home::new();
    std::fs::write(home.path("f"), "x").unwrap();
    let written = home.json(&["--escaped", "put", "a\\xff\\x5cb\\x0a", "f"]).remove(0);
    assert_eq!(text(&written["key"]), "a\\xff\\x5cb\\x0a");
    assert_eq!(text(&home.json(&["ls"])[0]["key"]), "a\\xff\\x5cb\\x0a");
    assert_eq!(home.run(&["--escaped", "get", text(&written["key"])]).stdout, b"x");
    assert_eq!(home.code(&["--escaped", "get", "a\\q"]), 2);
}

fn tree(home: &Home, files: usize) -> PathBuf {
    let tree = home.path("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    for number in 0..files {
        std::fs::write(tree.join(format!("sub/{number}")), format!("file {number}")).unwrap();
    }
    tree
}

/// Two directories whose files have the same names, sizes and times.
#[test]
fn a_directory_is_not_taken_for_another_where_inodes_mean_nothing() {
    let home = Home::new();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for content in ["one", "two"] {
        let file = home.write(&format!("{content}/f"), content);
        std::fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }
    for content in ["one", "two"] {
        home.ok(&["import", "--ignore-inode", &format!("{content}/.")]);
        assert_eq!(home.ok(&["get", "f"]), content.as_bytes());
    }
    let again = home.json(&["import", "--ignore-inode", "two/."]).remove(0);
    assert_eq!(again["new"].as_u64(), Some(0), "{again}");
    assert_eq!(again["changed"].as_u64(), Some(0), "{again}");
}

#[test]
fn who_is_quiet_gives_results() {
    let home = Home::with_store();
    let [a, b] = ["one\n", "two\n"].map(|value| text(&home.put("k", value.as_bytes())["version"]).to_owned());
    for words in [&["log", "k"][..], &["heads", "k"], &["diff", "k", &a, &b]] {
        let loud = home.ok(words);
        assert!(!loud.is_empty());
        assert_eq!(home.ok(&[&["-q"], words].concat()), loud, "{words:?}");
    }
}

#[test]
fn a_tree_is_imported_told_of_and_exported() {
    let home = Home::new();
    let tree = tree(&home, 50);
    let first = home.json(&["import", "tree", "--prefix", "backup"]).remove(0);
    assert_eq!((first["entries"].as_u64(), first["new"].as_u64()), (Some(52), Some(52)));
    let second = home.json(&["import", "tree", "--prefix", "backup"]).remove(0);
    assert_eq!((second["unchanged"].as_u64(), second["stored_bytes"].as_u64()), (Some(52), Some(0)));
    let snapshots = home.json(&["snapshots"]);
    assert_eq!(snapshots.len(), 2);
    assert_eq!(snapshots[1]["snapshot"], second["snapshot"]);
    let exported = home.json(&["export", &text(&first["snapshot"])[..10], "out"]).remove(0);
    assert_eq!((exported["files"].as_u64(), exported["problems"].as_u64()), (Some(50), Some(0)));
    assert!(same(&tree, &home.path("out/backup/tree")));
    assert_eq!(home.code(&["export", "latest", "out"]), 1);
    assert_eq!(home.code(&["export", "latest", "out", "--overwrite"]), 0);
    home.json(&["export", "latest", "part", "--prefix", "backup/tree/sub/7"]);
    assert_eq!(std::fs::read_dir(home.path("part/backup/tree/sub")).unwrap().count(), 1);
    let doctor = common::text_of(&home.ok(&["doctor", "--quick"]));
    assert!(doctor.contains("52 keys with 52 versions and 2 snapshots"), "{doctor}");
    let value = home.json(&["get", "backup/tree/sub/7"]).remove(0);
    assert_eq!((text(&value["file"]["kind"]), value["len"].as_u64()), ("file", Some(6)));
}

#[test]
fn an_import_never_takes_the_store_itself() {
    let home = Home::new();
    tree(&home, 3);
    home.json(&["import", "."]);
    let keys: Vec<String> = home.json(&["ls", "-R"]).iter().map(|entry| text(&entry["key"]).to_owned()).collect();
    assert!(keys.contains(&"tree/sub/1".to_owned()));
    assert!(!keys.iter().any(|key| key.starts_with(".local/share/ouroboros/store")), "{keys:?}");
}

#[test]
fn damage_that_hides_a_version_from_a_lost_index_is_never_called_healable_after_a_repair() {
    let home = Home::with_store();
    for key in ["a", "b", "c"] {
        home.put(key, &common::noise(1, 3000));
    }
    // Every record of values that nothing but the log knows of, and the parity beside them; the last commit, which says
    // that there was something, stays.
    let segment = home.segments().remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.len();
    bytes[end / 4..end - 1024].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&segment, bytes).unwrap();
    std::fs::remove_dir_all(home.store().join("index")).unwrap();
    let said = home.fails(&["doctor"], 1);
    assert!(said.contains("the store is damaged"), "{said}");
    home.fails(&["scrub"], 1);
    let said = home.fails(&["scrub", "--repair"], 4);
    assert!(said.contains("damaged beyond repair"), "{said}");
    assert_eq!(home.code(&["get", "c"]), 4, "it may have been there");
}

#[test]
fn the_manual_has_a_page_for_each_command_and_all_that_a_script_must_know() {
    let home = Home::new();
    let main = common::text_of(&home.ok(&["man"]));
    for section in
        ["NAME", "SYNOPSIS", "OPTIONS", "SUBCOMMANDS", "KEYS", "EXIT STATUS", "ENVIRONMENT", "FILES", "VERSION"]
    {
        let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
        assert!(heading.iter().any(|heading| main.contains(heading)), "{section}");
    }
    assert!(main.contains("data damaged beyond repair") && main.contains("OUROBOROS_PASSPHRASE"), "{main}");
    home.ok(&["man", "pages"]);
    let help = common::text_of(&home.ok(&["--help"]));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(names.len() > 20, "{names:?}");
    for name in &names {
        let page = std::fs::read_to_string(home.path(&format!("pages/ouroboros-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert_eq!(std::fs::read_to_string(home.path("pages/ouroboros.1")).unwrap(), main);
    // What the completions of each shell know.
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = common::text_of(&home.ok(&["completions", shell]));
        for name in &names {
            assert!(script.contains(name), "{shell}: {name}");
        }
        assert!(script.contains("redundancy") && script.contains("resolver"), "{shell}");
    }
    // And bash really completes by them.
    let script = home.write("completions", home.ok(&["completions", "bash"]));
    let line = format!(
        ". {}; COMP_WORDS=(ouroboros re); COMP_CWORD=1; _ouroboros ouroboros re ouroboros; echo ${{COMPREPLY[@]}}",
        script.display()
    );
    let output = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(common::text_of(&output.stdout), "restore recode\n");
}

#[test]
fn one_version_is_purged_by_the_first_digits_of_its_id() {
    let home = Home::with_store();
    let first = text(&home.put("k", b"secret")["version"]).to_owned();
    home.put("k", b"public");
    home.put("other", b"x");
    assert_eq!(home.code(&["purge", "other", "--version", &first]), 3, "it is no version of that key");
    assert_eq!(home.json(&["purge", "k", "--version", &first[..10]])[0]["versions"], 1);
    assert_eq!(home.code(&["get", "k", "--version", &first]), 3);
    assert_eq!(home.ok(&["get", "k"]), b"public");
    let removed = home.json(&["rm", "k"]).remove(0);
    let removal = text(&removed["version"]);
    assert_eq!(home.code(&["purge", "k", "--version", &removal[..8]]), 1, "it would come back");
    assert_eq!(home.code(&["purge", removal]), 1, "it would come back");
    assert_eq!(home.code(&["get", "k"]), 3);
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let home = Home::with_store();
    home.put("a/b", b"x");
    let colourful = |words: &[&str], no_color: Option<&str>| {
        let mut command = home.command(words);
        no_color.into_iter().for_each(|value| {
            command.env("NO_COLOR", value);
        });
        let output = command.output().unwrap();
        [output.stdout, output.stderr].concat().contains(&0x1b)
    };
    assert!(!colourful(&["ls"], None), "no terminal");
    assert!(!colourful(&["get", "nothing"], None));
    assert!(colourful(&["--color", "always", "ls"], None));
    assert!(colourful(&["--color", "always", "get", "nothing"], None));
    assert!(!colourful(&["--color", "never", "ls"], None));
    let (screen, _) = on_a_terminal(&home, "$ouroboros ls; $ouroboros get nothing", &[]);
    assert!(screen.contains("\u{1b}[34ma/\u{1b}[0m") && screen.contains("\u{1b}[31merror:\u{1b}[0m"), "{screen}");
    let (screen, _) = on_a_terminal(&home, "export NO_COLOR=1; $ouroboros ls; $ouroboros get nothing", &[]);
    assert!(screen.contains("a/") && screen.contains("error:") && !screen.contains('\u{1b}'), "{screen}");
}

#[test]
fn what_takes_longer_than_a_second_shows_a_bar_to_whoever_watches() {
    let home = Home::with_store();
    let slow = "(echo one; sleep 1.3; echo two; sleep 0.2; echo three) |";
    let (screen, code) = on_a_terminal(&home, &format!("{slow} $ouroboros put k"), &[]);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("B/s"), "a bar with a rate: {screen}");
    for quiet in ["--json", "--quiet"] {
        let (screen, _) = on_a_terminal(&home, &format!("{slow} $ouroboros {quiet} put k"), &[]);
        assert!(!screen.contains("B/s"), "{screen}");
    }
    let (screen, _) = on_a_terminal(&home, &format!("{slow} $ouroboros put k 2> said; cat said"), &[]);
    assert!(!screen.contains("B/s"), "none when not a terminal: {screen}");
    let (screen, _) = on_a_terminal(&home, "$ouroboros put short f; $ouroboros scrub; $ouroboros get k", &[]);
    assert!(!screen.contains("B/s"), "nor for what is short: {screen}");
}
