//! Passphrases and keyrings: where they come from, what they protect, and how a lost one is made anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Home, on_a_terminal, text, text_of};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

#[test]
fn a_passphrase_is_asked_for_on_a_terminal_and_not_shown() {
    let home = Home::new().with_passphrase(None);
    home.write("f", b"value");
    let asked = [
        ("New passphrase", "abc\n"),
        ("The same again", "abd\n"),
        ("New passphrase", "abc\n"),
        ("The same again", "abc\n"),
    ];
    let (screen, code) = on_a_terminal(&home, "$ouroboros put k f", &asked);
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains("abc") && screen.contains("the two are not the same"), "{screen}");
    assert!(screen.contains("data is lost"), "{screen}");
    let (screen, code) =
        on_a_terminal(&home, "$ouroboros get k", &[("Passphrase for", "wrong\n"), ("Wrong. Passphrase", "abc\n")]);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.ends_with("value"), "{screen}");
    let wrong = [("Passphrase", "1\n"), ("Wrong. Passphrase", "2\n"), ("Wrong. Passphrase", "3\n")];
    let (screen, code) = on_a_terminal(&home, "$ouroboros get k", &wrong);
    assert_eq!(code, 6, "{screen}");
    assert!(screen.contains("keys recover"), "{screen}");
    // Ctrl-C at the prompt.
    let (screen, code) = on_a_terminal(&home, "$ouroboros get k", &[("Passphrase", "\u{3}")]);
    assert_eq!(code, 130, "{screen}");
}

#[test]
fn an_empty_passphrase_is_warned_of_and_never_asked_for() {
    let home = Home::new().with_passphrase(None);
    home.write("f", b"value");
    let (screen, code) =
        on_a_terminal(&home, "$ouroboros put k f", &[("New passphrase", "\n"), ("The same again", "\n")]);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("empty passphrase: whoever reads the keyring file can read everything"), "{screen}");
    assert_eq!(home.ok(&["get", "k"]), b"value");
    let home = Home::new().with_passphrase(Some(""));
    let said = text_of(&home.fed(&["put", "k"], b"v").stderr);
    assert!(said.contains("empty passphrase"), "{said}");
    assert_eq!(home.with_passphrase(None).ok(&["get", "k"]), b"v");
}

#[test]
fn a_new_keyring_without_terminal_or_passphrase_says_what_to_pass() {
    let home = Home::new().with_passphrase(None);
    home.write("f", b"value");
    let said = home.fails(&["put", "k", "f"], 6);
    assert!(said.contains("--passphrase-file") && said.contains("OUROBOROS_PASSPHRASE"), "{said}");
    assert!(!home.path(".local").exists() && !home.path(".config").exists());
}

#[test]
fn a_passphrase_comes_from_a_file_or_a_descriptor_and_can_be_changed() {
    let home = Home::with_store();
    home.put("k", b"v");
    home.write("new", "another\n");
    let said = home.json(&["keys", "passphrase", "--new-passphrase-file", "new"]);
    assert_eq!(said.len(), 1);
    home.fails(&["get", "k"], 6);
    assert_eq!(home.ok(&["--passphrase-file", "new", "get", "k"]), b"v");
    let mut shell = Command::new("sh");
    shell.env_clear().env("HOME", home.directory.path()).current_dir(home.directory.path());
    let line = format!("{} --passphrase-fd 7 get k 7<new", env!("CARGO_BIN_EXE_ouroboros"));
    assert_eq!(shell.args(["-c", &line]).output().unwrap().stdout, b"v");
    // What follows the line on the same descriptor is the value, in a pipe and in a file.
    home.write("both", "another\nthe value\n");
    let command = env!("CARGO_BIN_EXE_ouroboros");
    for (line, stored) in [
        (format!("cat both | {command} --passphrase-fd 0 put piped"), "piped"),
        (format!("{command} --passphrase-fd 0 put read <both"), "read"),
    ] {
        let mut shell = Command::new("sh");
        shell.env_clear().env("HOME", home.directory.path()).current_dir(home.directory.path());
        assert!(shell.args(["-c", &line]).status().unwrap().success(), "{line}");
        assert_eq!(home.ok(&["--passphrase-file", "new", "get", stored]), b"the value\n", "{line}");
    }
    // Nothing at all is no empty passphrase.
    home.fails(&["--passphrase-fd", "0", "get", "k"], 6);
    // A file wins over the environment, which holds the older one.
    home.write("wrong", "no\n");
    home.fails(&["--passphrase-file", "wrong", "get", "k"], 6);
}

#[test]
fn a_keyring_is_private_and_its_worries_are_told() {
    let home = Home::with_store();
    let mode = || std::fs::metadata(home.keyring()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    home.write("new", "another\n");
    home.ok(&["keys", "passphrase", "--new-passphrase-file", "new"]);
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(home.keyring(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = text_of(&home.ok(&["--passphrase-file", "new", "doctor"]));
    assert!(said.contains("can be read by others") && said.contains("chmod 600"), "{said}");
    assert!(said.contains("without the keyring"), "{said}");
}

#[test]
fn the_recovery_phrase_makes_a_lost_keyring_anew() {
    let home = Home::with_store();
    home.put("k", b"v");
    let shown = home.json(&["keys", "show"]).remove(0);
    let phrase = home.json(&["keys", "phrase"]).remove(0);
    let phrase = text(&phrase["phrase"]).to_owned();
    let printed = home.ok(&["keys", "phrase"]);
    assert!(home.fails(&["keys", "recover"], 1).contains("is there already"));
    std::fs::remove_file(home.keyring()).unwrap();
    let said = home.fails(&["get", "k"], 6);
    assert!(said.contains("keys recover"), "{said}");

    // A word that is wrong makes no keyring.
    let wrong: Vec<&str> = phrase.split(' ').rev().collect();
    let output = home.fed(&["keys", "recover"], wrong.join(" ").as_bytes());
    assert_eq!(output.status.code(), Some(6), "{}", text_of(&output.stderr));
    assert!(!home.keyring().exists());

    assert!(home.fed(&["keys", "recover"], phrase.as_bytes()).status.success());
    assert_eq!(home.ok(&["get", "k"]), b"v");
    assert_eq!(home.json(&["keys", "show"])[0]["author"], shown["author"], "the same keys");
    home.put("k", b"again");
    // As it was printed, with numbers and in rows, it is read as well.
    std::fs::remove_file(home.keyring()).unwrap();
    assert!(home.fed(&["keys", "recover"], &printed).status.success());
    assert_eq!(home.ok(&["get", "k"]), b"again");
    // And behind a passphrase.
    std::fs::remove_file(home.keyring()).unwrap();
    let both = [b"another\n".as_slice(), &printed].concat();
    assert!(home.fed(&["--passphrase-fd", "0", "keys", "recover"], &both).status.success());
    home.fails(&["get", "k"], 6);
    home.write("new", "another\n");
    assert_eq!(home.ok(&["--passphrase-file", "new", "get", "k"]), b"again");
}

#[test]
fn what_is_no_keyring_is_not_asked_a_passphrase_for() {
    let home = Home::with_store();
    home.put("k", b"v");
    std::fs::write(home.keyring(), b"something else").unwrap();
    let home = home.with_passphrase(None);
    let (screen, code) = on_a_terminal(&home, "$ouroboros get k", &[]);
    assert_eq!(code, 6, "{screen}");
    assert!(screen.contains("is no whole keyring"), "{screen}");
}
