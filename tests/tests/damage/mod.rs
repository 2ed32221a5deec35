//! What tests do to the files of a store, and how they look at them.
#![allow(dead_code, reason = "each test uses some of it")]

use ouroboros_engine::env::{Disk, DiskFile, FileName, MemoryDisk, OpenMode, Volume};
use ouroboros_engine::store::log::RecordKind;
use std::ops::Range;

/// Changes a byte in the payload of every slice.
pub(crate) fn rot_slices<D: Disk>(disk: &D) {
    files_of(disk, Volume::Blocks).into_iter().for_each(|file| rot_slices_of(disk, file, 0..usize::MAX));
}

/// Changes a byte in the payload of the last slice but one, where each seal has three side by side: it is one that is read.
pub(crate) fn rot_newest_data<D: Disk>(disk: &D) {
    let mut files = files_of(disk, Volume::Blocks);
    files.retain(|(_, bytes)| !slices_in(bytes).is_empty());
    rot_slices_of(disk, files.pop().unwrap(), 1..2);
}

fn slices_in(bytes: &[u8]) -> Vec<usize> {
    let marks = [b"oRec".as_slice(), &[RecordKind::Slice as u8]].concat();
    (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(&marks)).collect()
}

fn rot_slices_of<D: Disk>(disk: &D, (name, mut bytes): (FileName, Vec<u8>), newest: Range<usize>) {
    let chosen = slices_in(&bytes).into_iter().rev().skip(newest.start).take(newest.len());
    chosen.for_each(|at| bytes[at + 400] ^= 1);
    let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    file.write_at(0, &[&bytes]).unwrap();
}

pub(crate) fn files_of<D: Disk>(disk: &D, volume: Volume) -> Vec<(FileName, Vec<u8>)> {
    let read = |name: FileName| {
        let file = disk.open(volume, &name, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        (name, bytes)
    };
    disk.list(volume).unwrap().into_iter().map(read).collect()
}

pub(crate) fn spoil(disk: &MemoryDisk, file: usize, start: u64, len: usize) {
    let name = disk.list(Volume::Blocks).unwrap().remove(file);
    let file = disk.open(Volume::Blocks, &name, OpenMode::Write).unwrap();
    file.write_at(start, &[&vec![0xa5; len]]).unwrap();
}
