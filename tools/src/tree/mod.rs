//! Trees of files, in and out: `walk` reads one, `entry` says what is kept of a file besides its bytes, `import` stores
//! it and `export` writes it anew.

#[cfg(test)]
mod carried;
pub(crate) mod entry;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod manifest;
mod place;
mod rooted;
pub(crate) mod snapshot;
mod sparse;
mod take;
pub(crate) mod walk;

use std::path::PathBuf;

/// Something that could not be carried. The rest goes on without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Whose.
    pub(crate) what: String,
    /// Why, and what was done about it.
    pub(crate) why: String,
    /// Whether the data itself is damaged beyond repair.
    pub(crate) damaged: bool,
}

impl Problem {
    fn at(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        Self::of(path.as_os_str().as_bytes(), why.to_string())
    }

    fn of(name: &[u8], why: String) -> Self {
        Self { what: crate::store::escape(name), why, damaged: false }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// Threads that carry files: enough to read while others wait for the store.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 8) + 1
}

/// How many threads write files: more than take them in, because each waits for its file's bytes most of the time.
fn writers() -> usize {
    4 * workers()
}

/// One directory or file to import, and the key it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// The key's bytes.
    pub(crate) key: Vec<u8>,
    /// Where it is.
    pub(crate) path: PathBuf,
}
