//! The adapters of `io` under other people's simulators: the driver loop, the worker pool, the file disk and the futures of
//! `AsyncDb`, exactly as they are shipped, on a machine that is not one.
//!
//! [`World`] is what a simulator gives: an `Env` whose tasks can rest and draw lots. [`clients`] is what is done in every
//! world; `tests/turmoil.rs` adds power failures and a file system that forgets what was not synced, `tests/madsim.rs` random
//! task order. What each is for, and what it cannot see: `sim/README.md`.

pub mod clients;
pub mod known;
pub mod memory;

use core::future::Future;
use core::time::Duration;
use ouroborosdb::Builder;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::node::{Limits, Profile};
use ouroborosdb::engine::seal::Coding;
use ouroborosdb::env::Env;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// Streams that may be open at once in these stores: so few that one which is forgotten is missed.
pub const STREAMS: usize = 12;

/// A simulated machine.
pub trait World: Env {
    /// Lets virtual time pass.
    fn rest(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// A number below another, from the world's seed.
    fn draw(&self, below: u64) -> u64;

    /// What went wrong so far.
    fn wrong(&self) -> &Wrong;

    /// Waits for a future, but gives it up when patience is at its end.
    fn patient<T: Send>(
        &self,
        patience: Patience,
        future: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send {
        let at_the_end = async move {
            match patience {
                Patience::Endless => core::future::pending().await,
                Patience::Time(time) => self.rest(time).await,
                Patience::Turns(turns) => {
                    for _ in 0..turns {
                        futures_lite::future::yield_now().await;
                    }
                }
            }
            None
        };
        futures_lite::future::or(async { Some(future.await) }, at_the_end)
    }
}

/// How long somebody waits for something.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// For ever.
    Endless,
    /// For some time.
    Time(Duration),
    /// Until it was this task's turn so often: less than any clock can tell, and enough for others to go on in between.
    Turns(u64),
}

/// What went wrong in a world. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Wrong(Arc<Mutex<Vec<String>>>);

impl Wrong {
    /// Notes it.
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    /// The first that was noted.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }
}

/// Where the store of every world lies.
pub const DIRECTORY: &str = "/srv/data/store";

/// Says what the store of every world is like: small, so that little fills it.
#[must_use]
pub fn store() -> Builder {
    let limits = Limits { uploads: STREAMS, ..Profile::Background.limits() };
    let keyring = Keyring::generate(&mut EngineRng::from_seed([7; 32]));
    let coding = Coding::new(2, 1).unwrap_or_default();
    let three = NonZeroUsize::MIN.saturating_add(2);
    ouroborosdb::Db::builder().directory(DIRECTORY).keyring(keyring).limits(limits).coding(coding).threads(three)
}
