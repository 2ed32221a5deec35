//! The search for what must be on no disk.

use super::{Broken, Promise};
use crate::disk::FaultyDisk;
use crate::workload::{NAME_MARKER, SECRET_BYTE, VALUE_MARKER};
use memchr::memmem::Finder;
use ouroboros_engine::env::Volume;

/// Looks for markers in all files of a disk.
#[derive(Debug)]
pub(crate) struct Plaintext {
    finders: [(&'static str, Finder<'static>); 3],
}

impl Default for Plaintext {
    fn default() -> Self {
        Self {
            finders: [
                ("a value", Finder::new(VALUE_MARKER)),
                ("a key's name", Finder::new(NAME_MARKER)),
                ("the master secret", Finder::new(&[SECRET_BYTE; 32])),
            ],
        }
    }
}

impl Plaintext {
    /// # Errors
    /// P8, with the file and what stands in it.
    pub(crate) fn check(&self, disk: &FaultyDisk) -> Result<(), Broken> {
        for volume in [Volume::Blocks, Volume::Index] {
            for (name, _) in disk.files(volume) {
                let bytes = disk.contents(volume, &name).unwrap_or_default();
                for (what, finder) in &self.finders {
                    if let Some(at) = finder.find(&bytes) {
                        return Err(Broken::new(Promise::P8, format!("{what} stands in {volume}/{name} at {at}")));
                    }
                }
            }
        }
        Ok(())
    }
}
