//! The engine's mailbox: bounded for requests (back-pressure on clients), unbounded for finished jobs, whose
//! number the engine itself bounds. Two bounded queues in a ring could wait for each other for ever.

use crate::env::{Env, Notice};
use crate::planted::{Mistake, planted};
use event_listener::{Event, Listener};
use ouroboros_engine::env::{Input, Instant};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Listened to by the engine's task alone.
    arrived: Event,
    space: Event,
    capacity: usize,
}

/// The engine thread has ended.
#[derive(Debug)]
pub(crate) struct Closed;

impl Mailbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), arrived: Event::new(), space: Event::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock can leave a queue half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room without holding a thread. Others may be faster to take it.
    pub(crate) async fn room(&self) -> Result<(), Closed> {
        let is_there = || {
            let state = self.lock();
            if state.closed { Err(Closed) } else { Ok(state.requests.len() < self.capacity) }
        };
        while !is_there()? {
            let listener = self.space.listen();
            if is_there()? {
                break;
            }
            listener.await;
        }
        Ok(())
    }

    /// Puts a request in, or gives it back when the mailbox is full.
    pub(crate) fn offer(&self, input: Input) -> Result<Option<Input>, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        if state.requests.len() >= self.capacity {
            return Ok(Some(input));
        }
        state.requests.push_back(input);
        drop(state);
        self.arrived.notify(1);
        Ok(None)
    }

    /// Puts in what makes room elsewhere and so must not wait for any; there are no more of these than streams are open.
    pub(crate) fn push(&self, input: Input) -> Result<(), Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.requests.push_back(input);
        drop(state);
        self.arrived.notify(1);
        Ok(())
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
        self.arrived.notify(1);
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
            self.arrived.notify(1);
        }
    }

    /// Waits until something has arrived or is due, and takes nothing.
    pub(crate) async fn wait(&self, env: &impl Env) {
        while let Some((notice, due)) = self.nothing_yet(env) {
            env.wait(notice, due).await;
        }
    }

    /// What to wait for, and until when, if nothing has arrived and nothing is due.
    fn nothing_yet(&self, env: &impl Env) -> Option<(Notice, Option<Instant>)> {
        let state = self.lock();
        let arrived = !state.requests.is_empty() || !state.finished.is_empty() || state.hung_up;
        if arrived || state.due.is_some_and(|due| due <= env.now().instant) {
            return None;
        }
        // Under the lock: what arrives from here on is noticed.
        Some((Notice(self.arrived.listen()), state.due))
    }

    /// Whether a finished job waits.
    pub(crate) fn has_finished(&self) -> bool {
        !self.lock().finished.is_empty()
    }

    /// Wakes the engine's task, for what was kept or left by who turned the loop and goes on no more.
    pub(crate) fn wake(&self) {
        self.arrived.notify(1);
    }

    /// Hears of what the engine's task would.
    #[cfg(test)]
    pub(crate) fn listen(&self) -> event_listener::EventListener {
        self.arrived.listen()
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
            self.space.notify(if planted(Mistake::OneIsTold) { 1 } else { usize::MAX });
        }
    }

    /// The clients are gone: the engine is to end as it is.
    pub(crate) fn hang_up(&self) {
        self.lock().hung_up = true;
        self.arrived.notify(1);
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
