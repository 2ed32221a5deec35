//! The machine as the adapters see it: directories, time, entropy, tasks and how they wait.
//!
//! There is one [`Machine`](crate::Machine), which everybody gets who does not ask for another. Simulators put another in its
//! place (`sim/adapters`), and so run the very driver loop, worker pool, files and futures of the product: under random
//! task order, on virtual time, on a file system that forgets what was not synced. The seam is as thin as it can be: below
//! it lies what the system does in one call, and nothing here decides anything.

use crate::entropy::NoEntropy;
use crate::lock::LockError;
use core::future::{Future, ready};
use core::pin::Pin;
use core::task::{Context, Poll};
use event_listener::{EventListener, Listener};
use ouroboros_engine::env::{Clock, Instant};
use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// What the adapters need of the machine they run on. Its [`Clock`] gives the time.
pub trait Env: Clock + Clone + Debug + Send + Sync + 'static {
    /// Its directories and files.
    type Files: Files;
    /// The right to be the only one that uses a directory for a store, until it is dropped.
    type Lock: Debug + Send + 'static;
    /// A task that was started.
    type Task: Task;

    /// Whether tasks have threads of their own, so that a thread may stand still until a task has done something. Where they
    /// have none, only the asynchronous forms may be used, and a store that nobody holds any more is left as it is instead of
    /// being closed.
    const THREADS: bool = true;
    /// Requests that may wait for the engine before clients are made to wait.
    const MAILBOX_LEN: usize = 1024;

    /// The directories and files.
    fn files(&self) -> Self::Files;

    /// Makes sure that nobody else uses a directory for a store. Asked for each directory of a store, and never twice for the same.
    ///
    /// # Errors
    /// [`LockError`].
    fn lock(&self, directory: &Path) -> Result<Self::Lock, LockError>;

    /// A seed for the engine's random stream.
    ///
    /// # Errors
    /// [`NoEntropy`].
    fn seed(&self) -> Result<[u8; 32], NoEntropy>;

    /// Starts a task that runs beside its caller.
    ///
    /// # Errors
    /// What the system says when it refuses.
    fn spawn(&self, name: String, task: impl Future<Output = ()> + Send + 'static) -> io::Result<Self::Task>;

    /// Waits for a notice, and until `due` at most. Called in a task of [`Self::spawn`] alone: where each has a thread of its
    /// own, it may block.
    fn wait(&self, notice: Notice, due: Option<Instant>) -> impl Future<Output = ()> + Send;

    /// What passes before a worker begins a job: nothing, unless jobs have to be given a duration.
    fn before_job(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// A task that was started.
pub trait Task: Send + 'static {
    /// Waits for its end, if tasks have threads; whether it ended without a panic, as far as that is known.
    fn join(self) -> bool;
}

/// What a task waits for: resolves when somebody has something for it.
#[derive(Debug)]
pub struct Notice(pub(crate) EventListener);

impl Notice {
    /// Holds the thread until the notice comes, or the time does.
    pub fn block(self, until: Option<std::time::Instant>) {
        match until {
            None => self.0.wait(),
            Some(until) => {
                let _none_if_the_time_came = self.0.wait_deadline(until);
            }
        }
    }
}

impl Future for Notice {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// One that is there, to read.
    Read,
    /// One that is there, to read and write.
    Write,
    /// One that is not there yet, to read and write, for its owner alone.
    New,
    /// One that may be there, and is emptied, to write.
    Replace,
}

/// The system's directories and files. Each method is one call of the system; when it is interrupted it says so.
pub trait Files: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: RawFile;
    /// An open directory.
    type Directory: Debug + Send + Sync + 'static;

    /// Opens a file.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path, how: Opening) -> io::Result<Self::File>;

    /// The names of a directory's plain files, in any order.
    ///
    /// # Errors
    /// The system's.
    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>>;

    /// Whether there is anything at a path, be it a link that leads nowhere.
    ///
    /// # Errors
    /// The system's, unless it says that there is nothing: a disk that does not answer is no proof of that.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Whether there is a directory at a path, or where a link there leads.
    ///
    /// # Errors
    /// As for [`Self::exists`].
    fn is_directory(&self, path: &Path) -> io::Result<bool>;

    /// The one absolute path of something that is there, however it was called: without links and dots.
    ///
    /// # Errors
    /// The system's.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;

    /// Makes a directory in one that is there, for its owner alone if `private`.
    ///
    /// # Errors
    /// The system's.
    fn create_directory(&self, path: &Path, private: bool) -> io::Result<()>;

    /// Gives a file another name, in place of what had it.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Opens a directory, to sync it.
    ///
    /// # Errors
    /// The system's.
    fn open_directory(&self, path: &Path) -> io::Result<Self::Directory>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_directory(&self, directory: &Self::Directory) -> io::Result<()>;
}

/// An open file of [`Files`]. Each method is one call of the system, and does as little of what it was asked as that may.
pub trait RawFile: Debug + Send + Sync + 'static {
    /// The length, in bytes.
    ///
    /// # Errors
    /// The system's.
    fn size(&self) -> io::Result<u64>;

    /// Reads some bytes at a place; 0 at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes some bytes of `first`, and then of `rest`, at a place.
    ///
    /// # Errors
    /// The system's.
    fn write_some(&self, offset: u64, first: &[u8], rest: &[&[u8]]) -> io::Result<usize>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes durable, and of the rest what it takes to read them.
    ///
    /// # Errors
    /// The system's.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes everything about the file durable, but for its name.
    ///
    /// # Errors
    /// The system's.
    fn sync_all(&self) -> io::Result<()>;
}
