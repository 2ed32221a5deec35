//! Work that the store does by itself for a long time: a bar meanwhile, and an end when the user wants one.

use super::Session;
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::progress::{Bar, Unit};
use crate::store::{Error, Maintenance};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often we look whether the user wants an end, and move the bar.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Does `work` on a thread of its own and waits for it. When the user asks us to stop, the work is left where it is, as a
/// crash would leave it: every step of it stands on its own, so that nothing is lost and the next run goes on.
pub(super) fn run<T: Send + 'static>(
    session: &Session<'_>,
    store: &Maintenance,
    what: &'static str,
    stopped: &'static str,
    work: impl FnOnce(&Maintenance) -> Result<T, Error> + Send + 'static,
) -> Outcome<T> {
    interrupt::watch()?;
    let mut bar = Bar::new(session.out, what, Unit::Bytes);
    let (sender, receiver) = mpsc::channel();
    let worker = store.clone();
    let spawned = std::thread::Builder::new().name(what.into()).spawn(move || {
        // Nobody listens any more when the user has asked us to stop.
        let _ = sender.send(work(&worker));
    });
    spawned.map_err(|e| Failure::new(crate::exit::Exit::Failed, format!("cannot start a thread: {e}")))?;
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(result) => return Ok(result?),
            Err(RecvTimeoutError::Timeout) => {
                let (done, total) = session.steps.get();
                bar.set(done, total);
            }
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed.into()),
        }
        if interrupt::asked() {
            // Closing would wait for the work to end.
            std::mem::forget(store.clone());
            return Err(Failure::interrupted(stopped));
        }
    }
}
