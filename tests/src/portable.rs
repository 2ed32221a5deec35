//! One run of the engine whose every byte is the same on every machine: native, wasm32, debug, release.
//!
//! `tools/wasm-build.sh` links it for wasm32-unknown-unknown, demands that the module imports nothing, and runs it.

use ouroboros_engine::env::{Disk, DiskError, DiskFile, FileName, MemoryDisk, OpenMode, Volume, WallTime};
use ouroboros_engine::id::{Domain, EngineRng, Hlc, Secret};
use ouroboros_engine::keys::{AuthorKey, verify};

/// What [`digest`] gives everywhere. It changes only when the run or a format does.
pub const EXPECTED: &str = "0812466e5269548a77d5ccaa9095dba91a59a43ab7a630028d94e3d0e23d609f";

/// Runs the engine in memory and folds everything that it produced into one hash.
///
/// # Errors
/// Text that says what failed.
pub fn digest() -> Result<String, String> {
    let mut trace = Domain::new("ouroborosdb v1 test portable").hasher();
    let mut rng = EngineRng::from_seed([7; 32]);

    let author = AuthorKey::from_seed(&Secret::new(rng.bytes()));
    let domain = Domain::new("ouroborosdb v1 test portable signature");
    let signature = author.sign(domain, b"text");
    verify(author.id(), domain, b"text", &signature).map_err(|error| error.to_string())?;
    trace.part(author.id().as_bytes()).part(signature.as_bytes());

    let stamp = Hlc::at(WallTime::from_unix_millis(1_700_000_000_000));
    trace.part(&stamp.0.to_le_bytes());

    let content = on_a_memory_disk(&rng.bytes::<4096>()).map_err(|error| error.to_string())?;
    trace.part(&content);

    Ok(trace.finish().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn on_a_memory_disk(content: &[u8]) -> Result<Vec<u8>, DiskError> {
    let disk = MemoryDisk::new();
    let mut back = vec![0; content.len()];
    if let Ok(name) = FileName::new("portable") {
        let file = disk.open(Volume::Blocks, &name, OpenMode::CreateNew)?;
        file.write_at(0, &[content])?;
        file.sync()?;
        let read = file.read_at(0, &mut back)?;
        back.truncate(read);
    }
    Ok(back)
}
