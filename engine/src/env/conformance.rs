//! The claims that every [`Disk`] must keep while nothing goes wrong, for the tests of its implementations.
//!
//! What a disk keeps after a crash cannot be asked of a real one; the simulator's disk is tested for that by itself.

#![allow(clippy::expect_used, clippy::missing_panics_doc)]

use super::disk::{Disk, DiskError, DiskFailure, DiskFile, FileName, OpenMode, Volume};
use std::collections::BTreeSet;

const BOTH: [Volume; 2] = [Volume::Blocks, Volume::Index];

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a valid name")
}

fn create<D: Disk>(disk: &D, text: &str) -> D::File {
    disk.open(Volume::Blocks, &name(text), OpenMode::CreateNew).expect("a new file")
}

fn contents<F: DiskFile>(file: &F) -> Vec<u8> {
    let len = usize::try_from(file.len().expect("a length")).expect("a small file");
    // More room than the file has bytes: the read must stop at the end.
    let mut bytes = vec![0xee; len + 7];
    let count = file.read_at(0, &mut bytes).expect("readable");
    assert_eq!(count, len, "a read goes on to the end of the file");
    assert!(bytes[count..].iter().all(|byte| *byte == 0xee), "a read leaves what lies beyond its count alone");
    bytes.truncate(count);
    bytes
}

fn failure<T>(result: Result<T, DiskError>) -> DiskFailure {
    result.err().expect("an error").failure
}

/// Runs every claim, each on a fresh, empty disk from `make`.
pub fn check<D: Disk>(mut make: impl FnMut() -> D) {
    a_file_keeps_what_was_written(&make());
    parts_are_written_one_after_the_other(&make());
    many_parts_are_written_whole(&make());
    gaps_and_extensions_read_as_zeros(&make());
    what_was_cut_off_does_not_come_back(&make());
    reads_stop_at_the_end(&make());
    modes_are_kept(&make());
    handles_see_the_same_file(&make());
    names_are_listed_sorted_and_apart(&make());
    a_rename_replaces(&make());
    a_removed_file_lives_on_in_its_handles(&make());
    synced_files_are_found_again(&make());
    clones_share_the_disk(&make());
    errors_name_the_operation_and_the_file(&make());
    random_operations_agree_with_a_vector(&make());
}

/// Bytes written come back, overwritten ones as the last writer left them.
pub fn a_file_keeps_what_was_written<D: Disk>(disk: &D) {
    let file = create(disk, "a");
    assert!(file.is_empty().expect("a length"));
    file.write_at(0, &[b"hello world"]).expect("written");
    file.write_at(6, &[b"earth"]).expect("written");
    assert_eq!(contents(&file), b"hello earth");
    assert_eq!(file.len().expect("a length"), 11);
    assert!(!file.is_empty().expect("a length"));
}

/// The parts of one write lie one after the other; empty ones and no parts at all are fine.
pub fn parts_are_written_one_after_the_other<D: Disk>(disk: &D) {
    let file = create(disk, "a");
    file.write_at(2, &[b"ab", b"", b"cde", b"f"]).expect("written");
    assert_eq!(contents(&file), b"\0\0abcdef");
    file.write_at(100, &[]).expect("written");
    file.write_at(100, &[b"", b""]).expect("written");
    assert_eq!(file.len().expect("a length"), 8, "writing nothing changes nothing");
}

/// More parts than a system call takes at once, of all sizes.
pub fn many_parts_are_written_whole<D: Disk>(disk: &D) {
    let file = create(disk, "a");
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut parts = Vec::new();
    let mut rest = bytes.as_slice();
    for i in 0.. {
        let (part, tail) = rest.split_at(rest.len().min(i % 151));
        parts.push(part);
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    assert!(parts.len() > 3_000);
    file.write_at(5, &parts).expect("written");
    assert_eq!(contents(&file)[5..], bytes);
}

/// What was never written reads as zeros.
pub fn gaps_and_extensions_read_as_zeros<D: Disk>(disk: &D) {
    let file = create(disk, "a");
    file.write_at(10_000, &[b"x"]).expect("written");
    file.truncate(20_000).expect("extended");
    let bytes = contents(&file);
    assert_eq!(bytes.len(), 20_000);
    assert_eq!(bytes[10_000], b'x');
    assert!(bytes.iter().enumerate().all(|(i, byte)| i == 10_000 || *byte == 0));
}

/// Bytes that were cut off are zeros when the file grows over their place again.
pub fn what_was_cut_off_does_not_come_back<D: Disk>(disk: &D) {
    let file = create(disk, "a");
    file.write_at(0, &[&[7; 9_000]]).expect("written");
    file.truncate(700).expect("cut");
    assert_eq!(contents(&file), [7; 700]);
    file.write_at(8_000, &[b"x"]).expect("written");
    let bytes = contents(&file);
    assert!(bytes[700..8_000].iter().all(|byte| *byte == 0));
    file.truncate(0).expect("cut");
    assert_eq!(contents(&file), b"");
}

/// A read beyond the end returns 0 bytes, one across the end fewer, an empty one none.
pub fn reads_stop_at_the_end<D: Disk>(disk: &D) {
    let file = create(disk, "a");
    file.write_at(0, &[b"0123456789"]).expect("written");
    let mut buffer = [0; 4];
    assert_eq!(file.read_at(8, &mut buffer).expect("readable"), 2);
    assert_eq!(&buffer[..2], b"89");
    assert_eq!(file.read_at(10, &mut buffer).expect("readable"), 0);
    assert_eq!(file.read_at(1 << 40, &mut buffer).expect("readable"), 0);
    assert_eq!(file.read_at(0, &mut []).expect("readable"), 0);
}

/// `CreateNew` refuses a file that is there, the others one that is not, and `Read` refuses to write.
pub fn modes_are_kept<D: Disk>(disk: &D) {
    let a = name("a");
    assert_eq!(failure(disk.open(Volume::Blocks, &a, OpenMode::Read)), DiskFailure::NotFound);
    assert_eq!(failure(disk.open(Volume::Blocks, &a, OpenMode::Write)), DiskFailure::NotFound);
    create(disk, "a").write_at(0, &[b"kept"]).expect("written");
    assert_eq!(failure(disk.open(Volume::Blocks, &a, OpenMode::CreateNew)), DiskFailure::AlreadyExists);
    let writer = disk.open(Volume::Blocks, &a, OpenMode::Write).expect("there");
    assert_eq!(contents(&writer), b"kept", "opening for writing cuts nothing");
    let reader = disk.open(Volume::Blocks, &a, OpenMode::Read).expect("there");
    assert!(reader.write_at(0, &[b"x"]).is_err());
    assert!(reader.truncate(0).is_err());
    assert_eq!(contents(&writer), b"kept");
}

/// What one handle writes, another reads at once.
pub fn handles_see_the_same_file<D: Disk>(disk: &D) {
    let first = create(disk, "a");
    let second = disk.open(Volume::Blocks, &name("a"), OpenMode::Write).expect("there");
    first.write_at(0, &[b"one"]).expect("written");
    second.write_at(3, &[b"two"]).expect("written");
    assert_eq!(contents(&first), b"onetwo");
    second.truncate(1).expect("cut");
    assert_eq!(contents(&first), b"o");
}

/// Each directory lists its own names, in order.
pub fn names_are_listed_sorted_and_apart<D: Disk>(disk: &D) {
    for text in ["seg-b.log", "seg-a.log", "z_9", "0"] {
        create(disk, text);
    }
    disk.open(Volume::Index, &name("index"), OpenMode::CreateNew).expect("a new file");
    let listed = |volume| -> Vec<String> {
        disk.list(volume).expect("listed").iter().map(|name| name.as_str().to_owned()).collect()
    };
    assert_eq!(listed(Volume::Blocks), ["0", "seg-a.log", "seg-b.log", "z_9"]);
    assert_eq!(listed(Volume::Index), ["index"]);
}

/// A rename moves the file, handles included, over what had the new name.
pub fn a_rename_replaces<D: Disk>(disk: &D) {
    let new = create(disk, "new");
    new.write_at(0, &[b"new"]).expect("written");
    let old = create(disk, "old");
    old.write_at(0, &[b"old"]).expect("written");
    drop(old);
    disk.rename(Volume::Blocks, &name("new"), &name("old")).expect("renamed");
    assert_eq!(disk.list(Volume::Blocks).expect("listed"), [name("old")]);
    let found = disk.open(Volume::Blocks, &name("old"), OpenMode::Read).expect("there");
    assert_eq!(contents(&found), b"new");
    new.write_at(0, &[b"N"]).expect("the handle goes on working");
    assert_eq!(contents(&found), b"New");
    disk.rename(Volume::Blocks, &name("old"), &name("old")).expect("a rename onto itself does nothing");
    assert_eq!(contents(&found), b"New");
    assert_eq!(failure(disk.rename(Volume::Blocks, &name("new"), &name("x"))), DiskFailure::NotFound);
}

/// A removed file is gone by name; open handles go on.
pub fn a_removed_file_lives_on_in_its_handles<D: Disk>(disk: &D) {
    let file = create(disk, "a");
    file.write_at(0, &[b"still"]).expect("written");
    disk.remove(Volume::Blocks, &name("a")).expect("removed");
    assert_eq!(failure(disk.remove(Volume::Blocks, &name("a"))), DiskFailure::NotFound);
    assert!(disk.list(Volume::Blocks).expect("listed").is_empty());
    disk.sync_directory(Volume::Blocks).expect("synced");
    assert_eq!(contents(&file), b"still");
    let second = create(disk, "a");
    assert_eq!(contents(&second), b"", "a new file of the same name is a new file");
    assert_eq!(contents(&file), b"still");
}

/// Syncing works in every state of a file and a directory, and what was synced is found by name.
pub fn synced_files_are_found_again<D: Disk>(disk: &D) {
    for volume in BOTH {
        disk.sync_directory(volume).expect("an empty directory can be synced");
        let file = disk.open(volume, &name("a"), OpenMode::CreateNew).expect("a new file");
        file.sync().expect("an empty file can be synced");
        file.write_at(0, &[b"bytes"]).expect("written");
        file.truncate(3).expect("cut");
        file.sync().expect("synced");
        file.sync().expect("synced again");
        disk.sync_directory(volume).expect("synced");
        drop(file);
        let file = disk.open(volume, &name("a"), OpenMode::Read).expect("there");
        assert_eq!(contents(&file), b"byt");
    }
}

/// A clone is the same disk.
pub fn clones_share_the_disk<D: Disk>(disk: &D) {
    let clone = disk.clone();
    create(disk, "a").write_at(0, &[b"shared"]).expect("written");
    let found = clone.open(Volume::Blocks, &name("a"), OpenMode::Read).expect("there");
    assert_eq!(contents(&found), b"shared");
}

/// An error says which operation failed, in which directory and on which file.
pub fn errors_name_the_operation_and_the_file<D: Disk>(disk: &D) {
    let error = disk.open(Volume::Index, &name("absent"), OpenMode::Read).err().expect("an error");
    assert_eq!((error.operation, error.volume, error.file.as_str()), ("open", Volume::Index, "absent"));
    assert_eq!(error.to_string(), "open index/absent: no such file");
    let error = disk.remove(Volume::Blocks, &name("absent")).expect_err("an error");
    assert_eq!((error.operation, error.volume, error.file.as_str()), ("remove", Volume::Blocks, "absent"));
}

/// A long run of drawn operations on a few files agrees with plain vectors after every step.
pub fn random_operations_agree_with_a_vector<D: Disk>(disk: &D) {
    let mut rng = crate::id::EngineRng::from_seed([42; 32]);
    let mut below = |limit: u64| rng.next_u64() % limit;
    let names = [name("0"), name("1"), name("2")];
    let mut files: [Option<(D::File, Vec<u8>)>; 3] = [None, None, None];
    for _ in 0..600 {
        let which = below(3) as usize;
        let place = &mut files[which];
        let Some((file, model)) = place else {
            let file = disk.open(Volume::Blocks, &names[which], OpenMode::CreateNew).expect("a new file");
            *place = Some((file, Vec::new()));
            continue;
        };
        match below(10) {
            0..=5 => {
                let start = below(6_000) as usize;
                let bytes = vec![below(256) as u8; below(3_000) as usize];
                if bytes.is_empty() {
                    continue;
                }
                file.write_at(start as u64, &[&bytes[..bytes.len() / 3], &bytes[bytes.len() / 3..]]).expect("written");
                model.resize(model.len().max(start + bytes.len()), 0);
                model[start..start + bytes.len()].copy_from_slice(&bytes);
            }
            6 | 7 => {
                let len = below(9_000);
                file.truncate(len).expect("cut or extended");
                model.resize(len as usize, 0);
            }
            8 => file.sync().expect("synced"),
            _ => {
                disk.remove(Volume::Blocks, &names[which]).expect("removed");
                *place = None;
                continue;
            }
        }
        assert_eq!(contents(file), *model);
        let listed: BTreeSet<FileName> = disk.list(Volume::Blocks).expect("listed").into_iter().collect();
        let expected = names.iter().zip(&files).filter(|(_, file)| file.is_some()).map(|(name, _)| name.clone());
        assert_eq!(listed, expected.collect());
    }
}
