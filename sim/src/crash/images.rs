//! Disks that were judged already: many crashes leave the very same bytes.

use super::model::Moment;
use crate::disk::FaultyDisk;
use ouroboros_engine::env::Volume;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// What a verdict depends on: every byte on the disk, what had been promised by then, and what is tried: how much, and
/// whether a process without keys comes first.
type Case = ([u8; 32], Moment, (bool, bool));

/// The cases so far.
#[derive(Debug, Default)]
pub(super) struct Images(Mutex<BTreeSet<Case>>);

impl Images {
    /// Whether this is the first disk of these bytes and promises.
    pub(super) fn is_new(&self, disk: &FaultyDisk, at: Moment, (deep, keyless): (bool, bool)) -> bool {
        let case = (digest(disk), at, (deep, keyless));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(case)
    }
}

/// Of all names, lengths and bytes.
fn digest(disk: &FaultyDisk) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for volume in [Volume::Blocks, Volume::Index] {
        for (name, len) in disk.files(volume) {
            let bytes = disk.contents(volume, &name).unwrap_or_default();
            // A name has no slash, so that names and lengths cannot run into each other.
            hasher.update(format!("{volume}/{name}/{len}/").as_bytes()).update(&bytes);
        }
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::FaultPlan;
    use ouroboros_engine::env::{Disk, DiskFile, FileName, OpenMode};

    #[test]
    fn a_disk_is_new_unless_bytes_promises_and_depth_are_the_same() {
        let images = Images::default();
        let disk = FaultyDisk::new(FaultPlan::new(1));
        let file = disk.open(Volume::Blocks, &FileName::new("a").unwrap(), OpenMode::CreateNew).unwrap();
        assert!(images.is_new(&disk, 1, (false, false)));
        assert!(!images.is_new(&disk.snapshot(), 1, (false, false)));
        assert!(images.is_new(&disk, 2, (false, false)));
        assert!(images.is_new(&disk, 1, (true, false)));
        assert!(images.is_new(&disk, 1, (false, true)));
        file.write_at(3, &[b"x"]).unwrap();
        assert!(images.is_new(&disk, 1, (false, false)));
        file.truncate(9).unwrap();
        assert!(images.is_new(&disk, 1, (false, false)));
        disk.rename(Volume::Blocks, &FileName::new("a").unwrap(), &FileName::new("b").unwrap()).unwrap();
        assert!(images.is_new(&disk, 1, (false, false)));
    }
}
