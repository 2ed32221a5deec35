//! Turns: so many questions are with the engine at once, and who has another waits for an answer to one of them. The engine
//! would answer `Busy`.
//!
//! A turn ends when the engine answers, not when somebody takes the answer: whoever reads and writes at once may stand waiting to
//! write, and holds nothing that anybody waits for.

use event_listener::{Event, EventListener, IntoNotification, Listener as _};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Turns {
    count: usize,
    free: Mutex<usize>,
    given_back: Event,
}

/// One of them. Given back on drop.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Turns>);

impl Turns {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count: count.max(1), free: Mutex::new(count.max(1)), given_back: Event::new() })
    }

    /// How many nobody has.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take(self: &Arc<Self>) -> Option<Turn> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Turn(self.clone()))
    }

    /// One of them, or what to wait for before it is worth another attempt.
    fn take_or_listen(self: &Arc<Self>) -> Result<Turn, EventListener> {
        if let Some(turn) = self.try_take() {
            return Ok(turn);
        }
        let given_back = self.given_back.listen();
        // One that was given back before anybody listened.
        self.try_take().ok_or(given_back)
    }

    /// Waits for one on this thread.
    pub(crate) fn take(self: &Arc<Self>) -> Turn {
        loop {
            match self.take_or_listen() {
                Ok(turn) => return turn,
                Err(given_back) => given_back.wait(),
            }
        }
    }

    /// Waits for one without holding a thread.
    pub(crate) async fn take_async(self: &Arc<Self>) -> Turn {
        loop {
            match self.take_or_listen() {
                Ok(turn) => return turn,
                Err(given_back) => given_back.await,
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free += 1;
        // As many are told as can go on, beside those that were told before: one of these may be a future that nobody polls at
        // the moment, and the others do not wait for it. Nor do they if all who were told now are such, once nobody has a turn any
        // more.
        let told = if *free == self.0.count { usize::MAX } else { *free };
        drop(free);
        self.0.given_back.notify(told.additional());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn who_waits_gets_what_is_given_back_though_another_went_away() {
        let turns = Turns::new(2);
        let (first, second) = (turns.take(), turns.take());
        let mut gone = Box::pin(turns.take_async());
        let mut waits = Box::pin(turns.take_async());
        let mut waits_too = Box::pin(turns.take_async());
        block_on(async {
            assert!(poll_once(&mut gone).await.is_none());
            assert!(poll_once(&mut waits).await.is_none());
            assert!(poll_once(&mut waits_too).await.is_none());
        });
        drop((first, second));
        drop(gone);
        block_on(async { drop((waits.await, waits_too.await)) });
        assert_eq!(turns.free(), 2);
    }

    #[test]
    fn a_future_that_nobody_polls_costs_the_others_no_turn() {
        let turns = Turns::new(3);
        let (first, second, third) = (turns.take(), turns.take(), turns.take());
        let mut asleep = Box::pin(turns.take_async());
        let mut waits = Box::pin(turns.take_async());
        let mut waits_too = Box::pin(turns.take_async());
        block_on(async {
            for waiting in [&mut asleep, &mut waits, &mut waits_too] {
                assert!(poll_once(waiting).await.is_none());
            }
            // The one who sleeps is told, and another takes the turn.
            drop(first);
            let passing = turns.take();
            drop(passing);
            let taken = poll_once(&mut waits).await;
            assert!(taken.is_some(), "a turn is free, and nobody has it");
            // Two are free then: the one that the sleeper was told of, and this.
            drop(second);
            assert!(poll_once(&mut waits_too).await.is_some(), "a turn is free, and nobody has it");
        });
        drop(third);
    }
}
