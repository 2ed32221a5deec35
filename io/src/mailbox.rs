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
    /// When the loop is to turn again, whether anything arrives or not.
    due: Option<Instant>,
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

    /// Keeps the result of a job that was done by who turns the loop, and will take it without being woken.
    pub(crate) fn keep(&self, input: Input) {
        self.lock().finished.push_back(input);
    }

    /// Says until when [`Self::wait`] waits at most.
    pub(crate) fn set_due(&self, due: Option<Instant>) {
        let mut state = self.lock();
        let sooner = due.is_some_and(|due| state.due.is_none_or(|before| due < before));
        state.due = due;
        drop(state);
        if sooner {
            self.arrived.notify_one();
        }
    }

    /// Waits until something has arrived or is due, and takes nothing.
    pub(crate) fn wait(&self) {
        let mut state = self.lock();
        while state.requests.is_empty() && state.finished.is_empty() && !state.hung_up {
            match state.due {
                None => state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Whether a finished job waits.
    pub(crate) fn has_finished(&self) -> bool {
        !self.lock().finished.is_empty()
    }

    /// Everything that has arrived. Only for who turns the loop: what is taken is handled in the order in which it came.
    pub(crate) fn take(&self, inputs: &mut Vec<Input>) {
        let mut state = self.lock();
        // Finished jobs first: they free what requests wait for.
        inputs.extend(state.finished.drain(..));
        let full = state.requests.len() >= self.capacity;
        inputs.extend(state.requests.drain(..));
        drop(state);
        if full {
            self.space.notify(usize::MAX);
        }
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
