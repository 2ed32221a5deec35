use super::*;
use ouroboros_engine::env::conformance;
use std::fs::{self, OpenOptions};

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn disk() -> (tempfile::TempDir, FileDisk) {
    let root = tempfile::tempdir().unwrap();
    let disk = FileDisk::create(root.path().join("deep/blocks"), root.path().join("index")).unwrap();
    (root, disk)
}

#[test]
fn real_files_keep_the_claims_of_every_disk() {
    let mut roots = Vec::new();
    conformance::check(|| {
        let (root, disk) = disk();
        roots.push(root);
        disk
    });
}

#[test]
fn another_disk_over_the_same_directories_finds_everything() {
    let (root, first) = disk();
    first.open(Volume::Index, &name("a"), OpenMode::CreateNew).unwrap().write_at(0, &[b"bytes"]).unwrap();
    drop(first);
    let second = FileDisk::create(root.path().join("deep/blocks"), root.path().join("index")).unwrap();
    let mut bytes = [0; 5];
    second.open(Volume::Index, &name("a"), OpenMode::Read).unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"bytes");
}

#[test]
fn foreign_names_and_directories_are_not_listed() {
    let (_root, disk) = disk();
    for foreign in ["UPPER", ".hidden", "with space"] {
        fs::write(disk.directory(Volume::Blocks).join(foreign), b"").unwrap();
    }
    fs::create_dir(disk.directory(Volume::Blocks).join("directory")).unwrap();
    fs::write(disk.directory(Volume::Blocks).join("seg-1.log"), b"").unwrap();
    assert_eq!(disk.list(Volume::Blocks).unwrap(), [name("seg-1.log")]);
}

#[test]
fn offsets_beyond_every_file_are_the_end_to_read_and_refused_to_write() {
    let (_root, disk) = disk();
    let file = disk.open(Volume::Blocks, &name("a"), OpenMode::CreateNew).unwrap();
    assert_eq!(file.read_at(u64::MAX, &mut [0; 4]).unwrap(), 0);
    let error = file.write_at(u64::MAX, &[b"x", b"y"]).unwrap_err();
    assert_eq!(error.failure, DiskFailure::Full);
    assert_eq!(error.to_string(), "write blocks/a: the disk is full");
}

#[test]
fn errors_say_what_to_do() {
    assert_eq!(failure(&ErrorKind::StorageFull.into()), DiskFailure::Full);
    assert_eq!(failure(&ErrorKind::QuotaExceeded.into()), DiskFailure::Full);
    #[cfg(unix)]
    {
        let error = |errno: rustix::io::Errno| failure(&errno.into());
        assert_eq!(error(rustix::io::Errno::NOSPC), DiskFailure::Full);
        assert_eq!(error(rustix::io::Errno::DQUOT), DiskFailure::Full);
        assert_eq!(error(rustix::io::Errno::FBIG), DiskFailure::Full);
        assert!(matches!(error(rustix::io::Errno::MFILE), DiskFailure::Exhausted(text) if text.contains("ulimit -n")));
        assert!(matches!(error(rustix::io::Errno::NFILE), DiskFailure::Exhausted(_)));
        assert!(matches!(error(rustix::io::Errno::NOMEM), DiskFailure::Exhausted(_)));
        assert!(matches!(error(rustix::io::Errno::IO), DiskFailure::Io(_)));
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_what_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let (root, disk) = disk();
    disk.open(Volume::Blocks, &name("a"), OpenMode::CreateNew).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&disk.directory(Volume::Blocks).join("a")), 0o600);
    assert_eq!(mode(disk.directory(Volume::Blocks)), 0o700);
    assert_eq!(mode(disk.directory(Volume::Index)), 0o700);
    assert_eq!(mode(&root.path().join("deep")), 0o700, "what had to be made above is private too");
}

#[cfg(unix)]
#[test]
fn a_file_where_a_directory_should_be_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("index"), b"").unwrap();
    let error = FileDisk::create(root.path().join("blocks"), root.path().join("index")).unwrap_err();
    assert_eq!((error.operation, error.volume), ("open", Volume::Index));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_reported_as_full() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = write_all(&full, 0, &[b"a", b"b"]).unwrap_err();
    assert_eq!(failure(&error), DiskFailure::Full);
}

#[test]
fn short_and_interrupted_writes_are_taken_up_where_they_stopped() {
    let bytes: Vec<u8> = (0..=255).cycle().take(2_000).map(|byte: u16| byte as u8).collect();
    let parts = [&bytes[..700], &[], &bytes[700..701], &bytes[701..1_990], &[], &bytes[1_990..]];
    for step in [1, 2, 3, 7, 699, 700, 701, 1_989, 2_000, 5_000] {
        let mut written = Vec::new();
        let mut calls = 0;
        positioned::write_through(100, &parts, |at, first, rest| {
            calls += 1;
            if calls % 3 == 0 {
                return Err(ErrorKind::Interrupted.into());
            }
            assert_eq!(at, 100 + written.len() as u64);
            let offered: Vec<u8> = std::iter::once(first).chain(rest.iter().copied()).flatten().copied().collect();
            let count = offered.len().min(step);
            written.extend_from_slice(&offered[..count]);
            Ok(count)
        })
        .unwrap();
        assert_eq!(written, bytes);
    }
    let stuck = positioned::write_through(0, &[b"x"], |_, _, _| Ok(0)).unwrap_err();
    assert_eq!(stuck.kind(), ErrorKind::WriteZero);
}
