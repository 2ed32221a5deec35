//! The machine itself: its clocks, entropy, threads and files.

use crate::clock::SystemClock;
use crate::disk::RealFiles;
use crate::entropy::{NoEntropy, os_seed};
use crate::env::{Env, Notice, Task};
use crate::lock::{LockError, StoreLock};
use core::future::{Future, ready};
use ouroboros_engine::env::{Clock, Instant, Now};
use std::path::Path;
use std::thread::JoinHandle;

/// The machine that this process runs on. Clones share the origin of its clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    clock: SystemClock,
}

impl Machine {
    /// The machine; its monotonic clock begins now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Clock for Machine {
    fn now(&self) -> Now {
        self.clock.now()
    }
}

impl Env for Machine {
    type Files = RealFiles;
    type Lock = StoreLock;
    type Task = JoinHandle<()>;

    fn files(&self) -> RealFiles {
        RealFiles
    }

    fn lock(&self, directory: &Path) -> Result<StoreLock, LockError> {
        StoreLock::acquire(directory)
    }

    fn seed(&self) -> Result<[u8; 32], NoEntropy> {
        os_seed()
    }

    fn spawn(&self, name: String, task: impl Future<Output = ()> + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(name).spawn(move || futures_lite::future::block_on(task))
    }

    fn wait(&self, notice: Notice, due: Option<Instant>) -> impl Future<Output = ()> + Send {
        // A time beyond what timers can hold never comes.
        notice.block(due.and_then(|due| self.clock.to_std(due)));
        ready(())
    }
}

impl Task for JoinHandle<()> {
    fn join(self) -> bool {
        // The last owner of a worker may be a delivery, on that worker: a thread cannot wait for itself.
        self.thread().id() == std::thread::current().id() || Self::join(self).is_ok()
    }
}
