//! Where the keyring's passphrase comes from.
//!
//! In this order: `--passphrase-file`, `--passphrase-fd`, `OUROBOROS_PASSPHRASE`, the terminal.

use crate::args::Globals;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt;
use crate::output::Output;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A passphrase: wiped when dropped.
pub(crate) type Passphrase = Zeroizing<Vec<u8>>;

/// The environment variable that may hold it.
pub(crate) const VARIABLE: &str = "OUROBOROS_PASSPHRASE";

/// Nobody's passphrase is longer, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Attempts at the terminal before giving up.
pub(crate) const ATTEMPTS: u32 = 3;

/// Whether a person can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

/// The passphrase from a file, a descriptor or the environment; `None` when none was named.
pub(crate) fn given(globals: &Globals) -> Outcome<Option<Passphrase>> {
    if let Some(path) = &globals.passphrase_file {
        return first_line(path).map(Some);
    }
    if let Some(number) = globals.passphrase_fd {
        return line_of(number).map(Some);
    }
    Ok(std::env::var_os(VARIABLE).map(|value| Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value))))
}

fn unreadable(path: &Path, error: io::Error) -> Failure {
    Failure { exit: Exit::Keys, ..Failure::file("read the passphrase from", path, error) }
}

/// The first line of a descriptor, and not a byte more: behind it may come a value, or nothing for ever.
fn line_of(number: u32) -> Outcome<Passphrase> {
    let path = PathBuf::from(format!("/dev/fd/{number}"));
    let failure = |e| unreadable(&path, e);
    let mut from = match number {
        // Opened anew, a file would be read from its beginning again by whoever reads the rest.
        0 => io::stdin().as_fd().try_clone_to_owned().map(File::from).map_err(failure)?,
        _ => File::open(&path).map_err(failure)?,
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    let mut byte = Zeroizing::new([0; 1]);
    while bytes.len() < LONGEST as usize {
        match from.read(byte.as_mut_slice()) {
            Ok(0) if bytes.is_empty() => return Err(failure(ErrorKind::UnexpectedEof.into())),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => bytes.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failure(error)),
        }
    }
    Ok(without_end(bytes))
}

fn first_line(path: &Path) -> Outcome<Passphrase> {
    let failure = |e| unreadable(path, e);
    let mut bytes = Zeroizing::new(Vec::with_capacity(256));
    File::open(path).map_err(failure)?.take(LONGEST).read_to_end(&mut bytes).map_err(failure)?;
    Ok(without_end(bytes))
}

fn without_end(mut bytes: Passphrase) -> Passphrase {
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let end = if bytes[..end].ends_with(b"\r") { end - 1 } else { end };
    bytes.truncate(end);
    bytes
}

/// Asks on the terminal for the passphrase of an existing keyring, `again` if the one before was wrong.
pub(crate) fn ask(keyring: &Path, again: bool) -> Outcome<Passphrase> {
    let wrong = if again { "Wrong. " } else { "" };
    prompt(&format!("{wrong}Passphrase for {}: ", keyring.display()))
}

fn prompt(text: &str) -> Outcome<Passphrase> {
    let typed = interrupt::hidden_prompt(text)?;
    Ok(Zeroizing::new(typed.into_bytes()))
}

/// The passphrase for a keyring that is about to be made: given, or typed twice.
pub(crate) fn for_new(globals: &Globals, out: &mut Output) -> Outcome<Passphrase> {
    let chosen = given(globals)?;
    choose(chosen, out)
}

/// The passphrase that replaces an older one: from `--new-passphrase-file`, or typed twice. The environment holds the
/// older one.
pub(crate) fn replacement(globals: &Globals, out: &mut Output) -> Outcome<Passphrase> {
    let chosen = globals.passphrase_file.as_deref().map(first_line).transpose()?;
    choose(chosen, out)
}

/// The passphrase for a new keyring: the one that was given, or typed twice.
pub(crate) fn choose(given: Option<Passphrase>, out: &mut Output) -> Outcome<Passphrase> {
    let chosen = match given {
        Some(passphrase) => passphrase,
        None if can_ask() => typed_twice(out)?,
        None => {
            return Err(Failure::new(Exit::Keys, "a new keyring needs a passphrase, and there is no terminal to ask on")
                .advise(format!(
                    "pass --passphrase-file FILE, --passphrase-fd N or {VARIABLE}; set {VARIABLE} to nothing to do without one"
                )));
        }
    };
    if chosen.is_empty() {
        out.warn("empty passphrase: whoever reads the keyring file can read everything in the store");
    }
    Ok(chosen)
}

fn typed_twice(out: &mut Output) -> Outcome<Passphrase> {
    for _ in 0..ATTEMPTS {
        let first = prompt("New passphrase for the keyring (empty for none): ")?;
        let second = prompt("The same again: ")?;
        if first == second {
            return Ok(first);
        }
        out.warn("the two are not the same");
    }
    Err(Failure::new(Exit::Keys, "the two passphrases were never the same").advise("run the command again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_file_gives_its_first_line_without_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p");
        for (content, expected) in
            [("secret\n", "secret"), ("secret", "secret"), (" a b \r\nmore\n", " a b "), ("", ""), ("\n", "")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(first_line(&path).unwrap().as_slice(), expected.as_bytes());
        }
    }
}
