//! One run of the engine whose every byte is the same on every machine: native, wasm32, debug, release.
//!
//! The run is that of the [golden store](crate::golden): a node on a disk in memory takes values of all kinds, merges,
//! purges, changes its coding, is closed and opened again, and everything is read back. `tools/wasm-build.sh` links it for
//! wasm32-unknown-unknown, demands that the module imports nothing, and runs it.

use crate::golden;

/// What [`digest`] gives everywhere: a hash over every segment of the log and every value that was read back. It is
/// written with the golden store, and changes only when the run or the format does.
pub const EXPECTED: &str = include_str!("../golden/v1/digest");

/// Runs the engine in memory and folds everything that it produced into one hash.
///
/// # Errors
/// Text that says what failed.
pub fn digest() -> Result<String, String> {
    let files = golden::write()?;
    let digest = files.get(golden::DIGEST).ok_or("the run gave no digest")?;
    String::from_utf8(digest.clone()).map_err(|error| error.to_string())
}
