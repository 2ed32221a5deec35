//! The engine thread's mailbox: bounded for requests (back-pressure on clients), unbounded for finished jobs, whose
//! number the engine itself bounds. Two bounded queues in a ring could wait for each other for ever.

use event_listener::{Event, Listener};
use ouroboros_engine::env::Input;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Input>,
    finished: VecDeque<Input>,
    closed: bool,
    hung_up: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    arrived: Condvar,
    space: Event,
    capacity: usize,
}

/// The engine thread has ended.
#[derive(Debug)]
pub(crate) struct Closed;

impl Mailbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), space: Event::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock can leave a queue half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request in, or gives it back when the mailbox is full.
    fn offer(&self, input: Input) -> Result<Option<Input>, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        if state.requests.len() >= self.capacity {
            return Ok(Some(input));
        }
        state.requests.push_back(input);
        drop(state);
        self.arrived.notify_one();
        Ok(None)
    }

    /// Sends a request, waiting for room on this thread.
    pub(crate) fn send(&self, mut input: Input) -> Result<(), Closed> {
        loop {
            let Some(back) = self.offer(input)? else { return Ok(()) };
            let listener = self.space.listen();
            let Some(back) = self.offer(back)? else { return Ok(()) };
            listener.wait();
            input = back;
        }
    }

    /// Sends a request, waiting for room without holding a thread.
    pub(crate) async fn send_async(&self, mut input: Input) -> Result<(), Closed> {
        loop {
            let Some(back) = self.offer(input)? else { return Ok(()) };
            let listener = self.space.listen();
            let Some(back) = self.offer(back)? else { return Ok(()) };
            listener.await;
            input = back;
        }
    }

    /// Delivers a finished job; never waits.
    pub(crate) fn finish(&self, input: Input) {
        self.lock().finished.push_back(input);
        self.arrived.notify_one();
    }

    /// Everything that has arrived, waiting for the first input until `deadline`, if there is one.
    pub(crate) fn take(&self, deadline: Option<Instant>, inputs: &mut Vec<Input>) {
        let mut state = self.lock();
        while state.requests.is_empty() && state.finished.is_empty() && !state.hung_up {
            match deadline {
                None => state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        // Finished jobs first: they free what requests wait for.
        inputs.extend(state.finished.drain(..));
        inputs.extend(state.requests.drain(..));
        drop(state);
        self.space.notify(usize::MAX);
    }

    /// The clients are gone: the engine thread is to end as it is.
    pub(crate) fn hang_up(&self) {
        self.lock().hung_up = true;
        self.arrived.notify_one();
    }

    /// Whether [`Self::hang_up`] was called.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.lock().hung_up
    }

    /// Refuses everything from here on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.space.notify(usize::MAX);
    }
}
