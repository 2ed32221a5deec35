//! Disks that were judged already: many crashes leave the very same bytes.

use crate::disk::FaultyDisk;
use std::collections::BTreeSet;

/// Of all names, lengths and bytes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// A number that follows from the disk, another for each purpose.
    pub(super) fn number(&self, purpose: u64) -> u64 {
        let bytes = self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        // The multiplier of splitmix64: what is a multiple for one purpose is not for another.
        (bytes ^ (bytes >> 29)).wrapping_add(purpose).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8
    }

    /// Whether this disk is one of every `every`; none is when that is 0.
    pub(super) fn is_one_in(&self, every: u64, purpose: u64) -> bool {
        every > 0 && self.number(purpose).is_multiple_of(every)
    }
}

/// The disks so far, of one moment: at another, other promises had been given.
#[derive(Debug, Default)]
pub(super) struct Images {
    left: BTreeSet<Digest>,
    /// And those that crashed, of which the very same are left.
    crashed: BTreeSet<Digest>,
}

impl Images {
    /// Whether this is the first disk of these bytes.
    pub(super) fn is_new(&mut self, digest: Digest) -> bool {
        self.left.insert(digest)
    }

    /// Whether this is the first disk of which a crash leaves what it does, of those with the same number.
    pub(super) fn is_new_crash(&mut self, disk: &FaultyDisk, number: u8) -> bool {
        let mut digest = disk.digest_of_remains();
        digest[31] = number;
        self.crashed.insert(Digest(digest))
    }
}

pub(super) fn digest(disk: &FaultyDisk) -> Digest {
    Digest(disk.digest())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::FaultPlan;
    use ouroboros_engine::env::{Disk, DiskFile, FileName, OpenMode, Volume};

    #[test]
    fn a_disk_is_new_unless_all_names_lengths_and_bytes_are_the_same() {
        let mut images = Images::default();
        let disk = FaultyDisk::new(FaultPlan::new(1));
        let file = disk.open(Volume::Blocks, &FileName::new("a").unwrap(), OpenMode::CreateNew).unwrap();
        assert!(images.is_new(digest(&disk)));
        assert!(!images.is_new(digest(&disk.snapshot())));
        file.write_at(3, &[b"x"]).unwrap();
        assert!(images.is_new(digest(&disk)));
        file.truncate(9).unwrap();
        assert!(images.is_new(digest(&disk)));
        disk.rename(Volume::Blocks, &FileName::new("a").unwrap(), &FileName::new("b").unwrap()).unwrap();
        assert!(images.is_new(digest(&disk)));
    }

    #[test]
    fn a_crash_is_new_unless_what_is_durable_and_what_is_undecided_are_the_same() {
        let mut images = Images::default();
        let disk = FaultyDisk::new(FaultPlan::new(1));
        let mut is_new = |disk: &FaultyDisk| images.is_new_crash(disk, 1);
        assert!(is_new(&disk));
        let name = |name: &str| FileName::new(name).unwrap();
        let file = disk.open(Volume::Blocks, &name("a"), OpenMode::CreateNew).unwrap();
        assert!(is_new(&disk) && !is_new(&disk.snapshot()));
        file.write_at(3, &[b"x"]).unwrap();
        assert!(is_new(&disk));
        // The same bytes, and one more unit that may be lost or not.
        file.write_at(3, &[b"x"]).unwrap();
        assert!(is_new(&disk));
        file.sync().unwrap();
        assert!(is_new(&disk));
        disk.sync_directory(Volume::Blocks).unwrap();
        assert!(is_new(&disk));
        file.truncate(2).unwrap();
        assert!(is_new(&disk));
        disk.rename(Volume::Blocks, &name("a"), &name("b")).unwrap();
        assert!(is_new(&disk));
        disk.remove(Volume::Blocks, &name("b")).unwrap();
        assert!(is_new(&disk) && !is_new(&disk.snapshot()));
        assert!(images.is_new_crash(&disk, 2));
    }

    #[test]
    fn one_in_so_many_disks_is_chosen_and_others_for_another_purpose() {
        let digests: Vec<Digest> = (0..4000_u64).map(|n| Digest(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
        let chosen = |purpose| digests.iter().filter(|digest| digest.is_one_in(40, purpose)).collect::<BTreeSet<_>>();
        let (one, other) = (chosen(1), chosen(2));
        assert!((70..140).contains(&one.len()) && (70..140).contains(&other.len()), "{} {}", one.len(), other.len());
        assert!(one.intersection(&other).count() < 20);
        assert!(!digests.iter().any(|digest| digest.is_one_in(0, 1)));
    }
}
