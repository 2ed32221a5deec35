//! Ctrl-C: what it does depends on what the program is doing.
//!
//! Before a handler is asked for, it ends the program as it ends any other: nothing was begun then. A crash at any moment
//! loses nothing acknowledged, so that ending is always right; what [`watch`] adds is an orderly end and a message.

use crate::exit::{Exit, Failure, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// How long to wait for input before looking whether the user asked us to stop.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

static ASKED: AtomicBool = AtomicBool::new(false);
/// Whether the first Ctrl-C only sets the flag.
static GENTLE: AtomicBool = AtomicBool::new(false);
/// The terminal as it was before a prompt that hides what is typed.
static TERMINAL: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// From now on a first Ctrl-C (or SIGTERM, SIGHUP) only sets a flag; a second one ends the program.
pub(crate) fn watch() -> Outcome {
    GENTLE.store(true, Ordering::SeqCst);
    handle()
}

/// From now on a first Ctrl-C ends the program, whatever it waits for: for what only reads, and may be waiting for a reader
/// of its own.
pub(crate) fn end_at_once() -> Outcome {
    GENTLE.store(false, Ordering::SeqCst);
    handle()
}

/// Asks on the terminal for something that is not shown. Ctrl-C meanwhile ends the program, and leaves the terminal as it was.
pub(crate) fn hidden_prompt(text: &str) -> Outcome<String> {
    end_at_once()?;
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()
        .and_then(|tty| tcgetattr(&tty).ok().map(|state| (tty, state)));
    *TERMINAL.lock().unwrap_or_else(PoisonError::into_inner) = terminal;
    let answer = rpassword::prompt_password(text);
    *TERMINAL.lock().unwrap_or_else(PoisonError::into_inner) = None;
    answer.map_err(|error| match error.kind() {
        // The signal was here before the handler's thread.
        ErrorKind::Interrupted => Failure::interrupted("interrupted"),
        _ => Failure::new(Exit::Keys, format!("cannot ask on the terminal: {error}")),
    })
}

fn handle() -> Outcome {
    let handler = || {
        if !GENTLE.load(Ordering::SeqCst) || ASKED.swap(true, Ordering::SeqCst) {
            end();
        }
    };
    match ctrlc::set_handler(handler) {
        // The one that is there does the same.
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot watch for Ctrl-C: {error}"))),
    }
}

fn end() -> ! {
    if let Some((tty, state)) = TERMINAL.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // It is the user's again; if it is gone, nobody misses it.
        let _ = tcsetattr(&tty, OptionalActions::Now, &state);
        let _ = std::io::Write::write_all(&mut &tty, b"\n");
    }
    std::process::exit(i32::from(Exit::Interrupted as u8))
}

/// Waits until something can be read from `from` without waiting, or the user asked us to stop. What is no pipe, socket or
/// terminal never waits.
pub(crate) fn wait_for_input(from: &impl AsFd) -> std::io::Result<()> {
    while !asked() {
        let mut one = [PollFd::new(from, PollFlags::IN)];
        match rustix::event::poll(&mut one, Some(&GLANCE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether the user asked us to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// An error if the user asked us to stop.
pub(crate) fn check(message: &str) -> Outcome {
    if asked() { Err(Failure::interrupted(message)) } else { Ok(()) }
}
