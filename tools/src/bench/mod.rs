//! Measuring this machine with this program.

pub(crate) mod stages;
pub(crate) mod whole;

use crate::exit::{Failure, Outcome};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// What to measure with.
pub(crate) struct Plan {
    /// Bytes of the large value.
    pub(crate) bytes: u64,
    /// Number of small values.
    pub(crate) values: u64,
    /// Where stores may be made.
    pub(crate) directory: Option<PathBuf>,
}

impl Plan {
    /// A fresh directory, gone with what is returned.
    fn scratch(&self) -> Outcome<Scratch> {
        let parent = self.directory.clone().unwrap_or_else(std::env::temp_dir);
        let path = parent.join(format!("ouroboros-bench-{}", std::process::id()));
        std::fs::create_dir_all(&parent)
            .and_then(|()| std::fs::create_dir(&path))
            .map_err(|e| Failure::file("make the directory", &path, e))?;
        Ok(Scratch(path))
    }
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// What was done.
    pub(crate) what: String,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Bytes worked on, if bytes count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Operations done, if they count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operations: Option<u64>,
    /// What to think of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) remark: String,
}

impl Measured {
    /// The rate, for people.
    pub(crate) fn rate(&self) -> String {
        let per_second = |count: u64| count as f64 / self.seconds.max(1e-9);
        match (self.bytes, self.operations) {
            (Some(bytes), _) => format!("{:.0} MB/s", per_second(bytes) / 1e6),
            (None, Some(operations)) => {
                format!("{}/s", crate::output::thousands(per_second(operations).round() as u64))
            }
            (None, None) => String::new(),
        }
    }
}

/// Does `work`, and says how long it took on bytes.
fn time_bytes<T>(what: &str, bytes: u64, work: impl FnOnce() -> Outcome<T>) -> Outcome<(Measured, T)> {
    let started = Instant::now();
    let value = work()?;
    let seconds = started.elapsed().as_secs_f64();
    let what = what.to_owned();
    Ok((Measured { what, seconds, bytes: Some(bytes), operations: None, remark: String::new() }, value))
}

/// Does `work`, and says how long it took for so many operations.
fn time_operations<T>(what: &str, operations: u64, work: impl FnOnce() -> Outcome<T>) -> Outcome<(Measured, T)> {
    let (measured, value) = time_bytes(what, 0, work)?;
    Ok((Measured { bytes: None, operations: Some(operations), ..measured }, value))
}

/// Bytes that do not compress: a ChaCha20 stream, the same in every run.
fn random_bytes(seed: u8, len: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    let mut bytes = vec![0; len];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
