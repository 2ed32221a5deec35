//! Tests of a tree's whole way: imported, changed, imported again, exported.

use super::entry::{Entry, Extent, Kind};
use super::{export, import, snapshot, walk};
use crate::store::{BlobKind, Db, Got, KeyName, Keyring, PurgeTarget, PutOptions, Select};
use bytes::Bytes;
use ouroboros_engine::blob::{SnapshotEntry, SnapshotWriter};
use ouroboros_engine::id::EngineRng;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

struct World {
    directory: tempfile::TempDir,
    db: Db,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::generate(&mut EngineRng::from_seed([1; 32]));
        let db = Db::builder().directory(directory.path().join("store")).keyring(keyring).create().unwrap();
        fs::create_dir(directory.path().join("t")).unwrap();
        Self { directory, db }
    }

    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn import(&self, previous: Option<&Got>) -> (Got, import::Counts, Vec<String>) {
        let options = import::Options {
            roots: walk::roots(&[self.path("t")], b"").unwrap(),
            limits: walk::Limits::excluding(&[self.path("store")]),
            previous: previous.map(|got| got.version.parents[0]),
            identity: true,
        };
        let mut problems = Vec::new();
        let (entries, counts) = import::import(&self.db, &options, true, &mut |event| {
            if let import::Event::Problem(problem) = event {
                problems.push(problem.to_string());
            }
        })
        .unwrap();
        assert!(entries.is_sorted_by_key(|carried| &carried.key));
        let id = snapshot::make(&self.db, "t", &entries).unwrap();
        (self.db.get_version(id).unwrap(), counts, problems)
    }

    fn export(&self, snapshot: &Got, to: &str, overwrite: bool) -> (export::Counts, Vec<String>) {
        let directory = self.path(to);
        let options = export::Options { snapshot: snapshot.clone(), directory, prefix: Vec::new(), overwrite };
        let mut problems = Vec::new();
        let counts = export::export(&self.db, &options, &mut |event| {
            if let export::Event::Problem(problem) = event {
                problems.push(problem.to_string());
            }
        })
        .unwrap();
        (counts, problems)
    }

    /// A snapshot of entries that no import would make.
    fn forge(&self, entries: &[(&[u8], Option<Kind>, &'static [u8])]) -> Got {
        let mut named = Vec::new();
        for (number, (name, kind, content)) in entries.iter().enumerate() {
            // A list may say anything, also what is no key.
            let key = KeyName::new(*name).or_else(|_| KeyName::new(format!("forged/{number}"))).unwrap();
            let attributes = kind.clone().map(|kind| super::entry::tests::sample(kind).to_attributes());
            let options = PutOptions { attributes: attributes.unwrap_or_default(), ..PutOptions::default() };
            let id = self.db.put(&key, Bytes::from_static(content), options).unwrap().id;
            named.push(SnapshotEntry { name: name.to_vec(), id });
        }
        named.sort();
        let mut writer = SnapshotWriter::new();
        let mut list = writer.start().to_vec();
        named.iter().for_each(|entry| writer.push(entry, &mut list).unwrap());
        let options = PutOptions { kind: BlobKind::VersionVector, ..PutOptions::default() };
        let id = self.db.put(&KeyName::new("list").unwrap(), list, options).unwrap().id;
        self.db.get_version(id).unwrap()
    }
}

fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Everything that should come back, by path: kind, mode, time, size, content or target, and the count of names.
fn describe(root: &Path) -> Vec<String> {
    let roots = walk::roots(&[root.join(".")], b"").unwrap();
    let mut lines = Vec::new();
    for found in walk::Walk::new(&roots, walk::Limits::default()) {
        let found = found.unwrap();
        let m = &found.metadata;
        let content = if m.is_file() {
            blake3::hash(&fs::read(&found.path).unwrap()).to_string()
        } else if m.is_symlink() {
            format!("{:?}", fs::read_link(&found.path).unwrap())
        } else {
            String::new()
        };
        // The permissions of a symlink mean nothing, the size and names of a directory are the file system's business.
        let names = if m.is_dir() { 0 } else { m.nlink() };
        let size = if m.is_dir() { 0 } else { m.len() };
        let (key, mode) = (found.key.escape_ascii(), m.mode());
        lines.push(format!("{key} {mode:o} {}.{} {size} {names} {content}", m.mtime(), m.mtime_nsec()));
    }
    lines
}

fn plant(world: &World) {
    let t = world.path("t");
    fs::create_dir_all(t.join("a/deep/er")).unwrap();
    fs::create_dir(t.join("empty")).unwrap();
    fs::write(t.join("a/nothing"), "").unwrap();
    fs::write(t.join("a/small"), "hello").unwrap();
    fs::write(t.join("a-b"), vec![5; 3_000_000]).unwrap();
    fs::write(t.join(OsStr::from_bytes(b"a/\xff\xfe\n\\ \x01")), "odd").unwrap();
    fs::write(t.join("secret"), "s").unwrap();
    fs::set_permissions(t.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("../nowhere/\u{1F600}", t.join("a/dangling")).unwrap();
    symlink("/", t.join("root")).unwrap();
    fs::write(t.join("one"), "linked").unwrap();
    fs::hard_link(t.join("one"), t.join("a/two")).unwrap();
    fs::hard_link(t.join("one"), t.join("zzz")).unwrap();
    let sparse = fs::File::create(t.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    sparse.write_all_at(b"middle", 5 << 20).unwrap();
    drop(sparse);
    for (path, seconds) in [("a/small", 1_000_000_000), ("a/dangling", 7), ("sparse", -3), ("a/deep", 99), ("a", 5)] {
        set_mtime(&t.join(path), seconds, 123_456_789);
    }
    fs::set_permissions(t.join("empty"), fs::Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn a_tree_comes_back_as_it_went_in() {
    let world = World::new();
    plant(&world);
    let (snapshot, counts, problems) = world.import(None);
    assert_eq!((problems.len(), counts.changed, counts.unchanged), (0, 0, 0));
    let (written, problems) = world.export(&snapshot, "out", false);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(describe(&world.path("out/t")), describe(&world.path("t")));
    assert_eq!(written.hard_links, 2);
    let ino = |path: &str| fs::metadata(world.path(path)).unwrap().ino();
    assert_eq!(ino("out/t/one"), ino("out/t/zzz"));
    let blocks = |path: &str| fs::metadata(world.path(path)).unwrap().blocks();
    if blocks("t/sparse") * 512 < 1 << 20 {
        assert!(blocks("out/t/sparse") * 512 < 1 << 20, "the holes are holes again");
    }
    let left = walk::roots(&[world.path("out")], b"").unwrap();
    let parts = walk::Walk::new(&left, walk::Limits::default()).flatten().filter(|f| f.key.ends_with(b".part")).count();
    assert_eq!(parts, 0, "no temporary file stays");
}

#[test]
fn what_did_not_change_is_not_read_again_and_what_did_is() {
    let world = World::new();
    plant(&world);
    let (first, counts, _) = world.import(None);
    let all = counts.new;
    let (second, counts, _) = world.import(Some(&first));
    assert_eq!((counts.new, counts.changed, counts.unchanged, counts.stored_bytes), (0, 0, all, 0));
    fs::write(world.path("t/a/small"), "other").unwrap();
    fs::write(world.path("t/a/new"), "new").unwrap();
    fs::remove_file(world.path("t/secret")).unwrap();
    let (third, counts, _) = world.import(Some(&second));
    // Of what was there, the file and the two directories whose lists changed.
    assert_eq!((counts.new, counts.changed, counts.unchanged), (1, 3, all - 4));
    assert_eq!(counts.stored_bytes, 8);
    world.export(&third, "out", false);
    assert_eq!(describe(&world.path("out/t")), describe(&world.path("t")));
    world.export(&first, "old", false);
    assert_eq!(fs::read(world.path("old/t/a/small")).unwrap(), b"hello");
}

#[test]
fn a_version_purged_since_is_stored_again() {
    let world = World::new();
    fs::write(world.path("t/f"), "content").unwrap();
    let (first, ..) = world.import(None);
    world.db.purge(PurgeTarget::Key(KeyName::new("t/f").unwrap())).unwrap();
    let (second, counts, _) = world.import(Some(&first));
    assert_eq!((counts.changed, counts.unchanged), (1, 1));
    world.export(&second, "out", false);
    assert_eq!(fs::read(world.path("out/t/f")).unwrap(), b"content");
}

#[test]
fn names_that_lead_out_are_left_out_and_the_rest_is_written() {
    let world = World::new();
    let outside = world.path("outside");
    let file = || Some(Kind::File { size: 1, group: None, extents: None });
    let snapshot = world.forge(&[
        (b"/abs", file(), b"x"),
        (b"../outside", file(), b"x"),
        (b"ok/../../outside", None, b"x"),
        (b"ok/./f", None, b"x"),
        (b"double//slash", None, b"x"),
        (b"good", None, b"y"),
    ]);
    let (counts, problems) = world.export(&snapshot, "out", false);
    assert_eq!((counts.files, counts.problems), (1, 5), "{problems:?}");
    assert!(!outside.exists());
    assert_eq!(fs::read(world.path("out/good")).unwrap(), b"y");
}

#[test]
fn nothing_is_written_through_a_symlink_of_the_snapshot_or_of_the_directory() {
    let world = World::new();
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.as_os_str().as_bytes().to_vec();
    let snapshot = world.forge(&[
        (b"link", Some(Kind::Symlink { target }), b""),
        (b"link/evil", None, b"x"),
        (b"there/evil", None, b"x"),
        (b"link/dir", Some(Kind::Directory), b""),
    ]);
    fs::create_dir(world.path("out")).unwrap();
    symlink(&outside, world.path("out/there")).unwrap();
    let (counts, problems) = world.export(&snapshot, "out", true);
    // Which of `link` and `link/…` comes first is up to the workers; nothing gets out either way.
    assert!(counts.problems >= 2, "{problems:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_forged_group_links_to_nothing_that_the_export_did_not_write() {
    let world = World::new();
    fs::create_dir(world.path("out")).unwrap();
    fs::write(world.path("out/mine"), "mine").unwrap();
    let member = |group: &[u8]| Some(Kind::File { size: 5, group: Some(group.to_vec()), extents: None });
    let snapshot = world.forge(&[(b"a", member(b"mine"), b"first"), (b"b", member(b"mine"), b"first")]);
    let (counts, problems) = world.export(&snapshot, "out", true);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((counts.files, counts.hard_links), (1, 1));
    assert_eq!(fs::read(world.path("out/a")).unwrap(), b"first");
    assert_eq!(fs::metadata(world.path("out/mine")).unwrap().nlink(), 1);
}

#[test]
fn lying_extents_lose_no_byte() {
    let world = World::new();
    let extents = Some(vec![Extent { offset: 0, len: 1 }]);
    let unsound = Some(vec![Extent { offset: u64::MAX, len: 9 }]);
    let file = |extents| Some(Kind::File { size: 3, group: None, extents });
    let snapshot = world.forge(&[(b"a", file(extents), b"abc"), (b"b", file(unsound), b"abc")]);
    assert_eq!(world.export(&snapshot, "out", false).0.files, 2);
    assert_eq!(fs::read(world.path("out/a")).unwrap(), b"abc");
    assert_eq!(fs::read(world.path("out/b")).unwrap(), b"abc");
}

#[test]
fn a_directory_that_is_not_empty_is_left_alone_unless_told() {
    let world = World::new();
    let snapshot = world.forge(&[(b"f", None, b"new"), (b"dir", None, b"file now")]);
    fs::create_dir_all(world.path("out/dir/full")).unwrap();
    fs::write(world.path("out/f"), "old").unwrap();
    let (prefix, directory) = (Vec::new(), world.path("out"));
    let options = export::Options { snapshot: snapshot.clone(), directory, prefix, overwrite: false };
    assert!(export::export(&world.db, &options, &mut |_| {}).is_err());
    assert_eq!(fs::read(world.path("out/f")).unwrap(), b"old");
    let (counts, _) = world.export(&snapshot, "out", true);
    assert_eq!((counts.files, counts.problems), (1, 1));
    assert_eq!(fs::read(world.path("out/f")).unwrap(), b"new");
    assert!(world.path("out/dir/full").is_dir());
}

#[test]
fn the_set_user_id_bit_comes_back_only_with_its_owner() {
    let world = World::new();
    let snapshot = world.forge(&[(b"f", Some(Kind::File { size: 1, group: None, extents: None }), b"x")]);
    world.export(&snapshot, "out", false);
    let metadata = fs::metadata(world.path("out/f")).unwrap();
    let root = rustix::process::geteuid().is_root();
    assert_eq!(metadata.mode() & 0o7777, if root { 0o4755 } else { 0o755 });
    assert_eq!(metadata.uid() == 7, root);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
    let world = World::new();
    fs::write(world.path("t/f"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.path("t/socket")).unwrap();
    let (snapshot, counts, problems) = world.import(None);
    assert_eq!((counts.problems, problems.len(), counts.new), (1, 1, 2));
    assert!(problems[0].contains("socket"));
    let got = world.db.get(&KeyName::new("t/f").unwrap(), Select::Winner).unwrap();
    assert!(Entry::from_attributes(&got.attributes).is_some());
    assert_eq!(world.export(&snapshot, "out", false).0.files, 1);
}
