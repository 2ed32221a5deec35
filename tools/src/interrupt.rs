//! Ctrl-C: asked once, we finish what is in flight; asked twice, we stop at once.

use crate::exit::{Exit, Failure, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long to wait for input before looking whether the user asked us to stop.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on a first Ctrl-C (or SIGTERM, SIGHUP) only sets a flag. Call it after the passphrase was typed, so that
/// Ctrl-C at that prompt still ends the program.
pub(crate) fn watch() -> Outcome {
    handle(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            end();
        }
    })
}

/// From now on a first Ctrl-C ends the program, whatever it waits for: for what only reads, and may be waiting for a reader
/// of its own.
pub(crate) fn end_at_once() -> Outcome {
    handle(|| end())
}

fn end() -> ! {
    std::process::exit(i32::from(Exit::Interrupted as u8))
}

fn handle(handler: impl Fn() + Send + 'static) -> Outcome {
    match ctrlc::set_handler(handler) {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot watch for Ctrl-C: {error}"))),
    }
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
