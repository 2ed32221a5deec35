//! Measuring this machine with this program.

pub(crate) mod stages;
mod threads;
pub(crate) mod whole;

use crate::exit::{Failure, Outcome};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What to measure with.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Bytes of the large value.
    pub(crate) bytes: u64,
    /// Number of small values.
    pub(crate) values: u64,
    /// Where stores may be made.
    pub(crate) directory: Option<PathBuf>,
    /// What is being measured now.
    pub(crate) now: Arc<Mutex<String>>,
}

impl Plan {
    /// A fresh directory, gone with what is returned.
    fn scratch(&self) -> Outcome<Scratch> {
        let path = self.scratch_path();
        let parent = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::create_dir(&path))
            .map_err(|e| Failure::file("make the directory", &path, e))?;
        Ok(Scratch(path))
    }

    /// Where stores are made, for this process alone.
    fn scratch_path(&self) -> PathBuf {
        let parent = self.directory.clone().unwrap_or_else(std::env::temp_dir);
        parent.join(format!("ouroboros-bench-{}", std::process::id()))
    }

    /// Takes away what a measurement that was left alone has made.
    pub(crate) fn clear(&self) {
        drop(Scratch(self.scratch_path()));
    }

    /// Says what comes now.
    fn step(&self, what: &str) {
        what.clone_into(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// One figure.
#[derive(Clone, Debug, Default, Serialize)]
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
    /// Its share of the time of the whole, 1 being all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
}

impl Measured {
    /// The rate or share, for people.
    pub(crate) fn rate(&self) -> String {
        if let Some(share) = self.share {
            return format!("{:.1} %", 100.0 * share);
        }
        // Too short to be told from nothing.
        if self.seconds < 1e-6 {
            return String::new();
        }
        let per_second = |count: u64| count as f64 / self.seconds;
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
    Ok((Measured { what, seconds, bytes: Some(bytes), operations: None, remark: String::new(), share: None }, value))
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
