//! Ctrl-C: asked once, we finish what is in flight; asked twice, we stop at once.

use crate::exit::{Exit, Failure, Outcome};
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on a first Ctrl-C (or SIGTERM, SIGHUP) only sets a flag. Call it after the passphrase was typed, so that
/// Ctrl-C at that prompt still ends the program.
pub(crate) fn watch() -> Outcome {
    let handler = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(Exit::Interrupted as u8));
        }
    };
    match ctrlc::set_handler(handler) {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot watch for Ctrl-C: {error}"))),
    }
}

/// Whether the user asked us to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// An error if the user asked us to stop.
pub(crate) fn check(message: &str) -> Outcome {
    if asked() { Err(Failure::interrupted(message)) } else { Ok(()) }
}
