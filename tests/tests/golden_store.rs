//! A store that was written when the format was set is read to the last byte, and written again to the last byte: no
//! change of the format passes unnoticed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ouroboros_engine::keys::Vault;
use ouroboros_tests::golden::{self, DIGEST, MANIFEST, PASSPHRASE, VersionLine};
use ouroborosdb::engine::id::BlobId;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{Failure, ListRequest, Select};
use ouroborosdb::{Db, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What the repository bears, in bytes. Half of it is the index, which is that long however little is in it.
const LIMIT: usize = 400 << 10;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

/// Every file below a directory, by its path in there.
fn read_tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(directory.join(&below)).expect("tests/golden/v1 is there") {
            let path = below.join(entry.unwrap().file_name());
            if directory.join(&path).is_dir() {
                open.push(path);
            } else {
                found.insert(path.to_str().unwrap().to_owned(), fs::read(directory.join(&path)).unwrap());
            }
        }
    }
    found
}

fn write_tree(directory: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Rewrites `tests/golden/v1`: `cargo test -p ouroboros-tests --test golden_store -- --ignored write_golden_store`.
#[test]
#[ignore = "writes the golden store anew, after a change of the format that is meant"]
fn write_golden_store() {
    let files = golden::write().unwrap();
    let size: usize = files.values().map(Vec::len).sum();
    assert!(size < LIMIT, "{size} bytes are too many to keep");
    let _ = fs::remove_dir_all(directory());
    write_tree(&directory(), &files);
}

#[test]
fn the_store_is_written_again_to_the_last_byte() {
    let kept = read_tree(&directory());
    let written = golden::write().unwrap();
    let stable = |files: &BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        // The index is a cache: its format need not be kept, and a new version of its library may change it.
        files.iter().filter(|(path, _)| !path.starts_with("index/")).map(|(p, b)| (p.clone(), b.clone())).collect()
    };
    let (kept, written) = (stable(&kept), stable(&written));
    assert_eq!(kept.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (path, bytes) in &kept {
        let differs = bytes.iter().zip(&written[path]).position(|(kept, written)| kept != written);
        assert!(
            bytes == &written[path],
            "{path} is written differently, from byte {differs:?} on ({} bytes were {}). If the format was meant to \
             change, see \"Changing the format\" in docs/MAINTAINING.md",
            written[path].len(),
            bytes.len(),
        );
    }
}

/// What the manifest says, as lines; those of purged versions apart.
fn manifest(files: &BTreeMap<String, Vec<u8>>) -> (BTreeSet<String>, Vec<(KeyName, BlobId)>) {
    let text = std::str::from_utf8(&files[MANIFEST]).unwrap();
    let mut lines = BTreeSet::new();
    let mut purged = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("purged ") {
            Some(line) => {
                let mut words = line.split(' ');
                let key = KeyName::new(words.next().unwrap()).unwrap();
                purged.push((key, BlobId::from_hex(words.next().unwrap()).unwrap()));
            }
            // A key without heads has nothing left.
            None => assert!(line == "heads purged" || lines.insert(line.to_owned())),
        }
    }
    (lines, purged)
}

/// Opens a copy with the library, as any program would, and holds everything that it shows against the manifest.
fn reads_back(lose_index: bool) {
    let mut files = read_tree(&directory());
    let (expected, purged) = manifest(&files);
    if lose_index {
        files.retain(|path, _| !path.starts_with("index/"));
    }
    let copy = tempfile::tempdir().unwrap();
    write_tree(copy.path(), &files);
    fs::create_dir_all(copy.path().join("index")).unwrap();
    let keyring = Vault::open(&files["keyring"], PASSPHRASE).unwrap();
    let db = Db::builder().directory(copy.path()).keyring(keyring).open().unwrap();
    assert_eq!((db.opened().index_rebuilt, &db.opened().damaged), (lose_index, &Vec::new()));

    let every_key = ListRequest { recursive: true, include_gone: true, limit: 1000, ..ListRequest::default() };
    let mut found = BTreeSet::new();
    for entry in db.list(every_key).unwrap().entries {
        let key = KeyName::new(entry.name).unwrap();
        let log = db.log(&key, None, 100).unwrap();
        assert!(log.is_sorted_by(|newer, older| (newer.created, newer.id) > (older.created, older.id)), "{log:?}");
        let heads: Vec<String> = db.heads(&key).unwrap().iter().map(|head| format!(" {}", head.id)).collect();
        found.insert(format!("heads {}{}", key.as_bytes().escape_ascii(), heads.concat()));
        for version in log {
            let got = db.get_version(version.id).unwrap();
            assert_eq!((&got.version, &got.key), (&version, &key));
            let content = (!version.gone).then(|| db.read(&got, 0..version.len).unwrap());
            let line = VersionLine {
                key: key.as_bytes(),
                id: version.id,
                created: version.created.0,
                kind: version.kind,
                parents: &version.parents,
                content: content.as_deref(),
                attributes: &got.attributes,
            };
            found.insert(format!("version {line}"));
        }
    }
    assert_eq!(found, expected);
    for (key, id) in purged {
        assert!(
            matches!(
                db.get(&key, Select::Version(id)),
                Err(Error::Request(Failure::NoSuchVersion(_) | Failure::NoSuchKey(_)))
            ),
            "{key} {id} was purged"
        );
        assert_eq!(db.exist(vec![id]).unwrap(), [false]);
    }
    let scrubbed = db.scrub(false).unwrap();
    assert_eq!((scrubbed.damage, scrubbed.lost), (Vec::new(), BTreeSet::new()));
    db.close().unwrap();
}

#[test]
fn every_version_of_the_store_reads_back() {
    reads_back(false);
}

#[test]
fn every_version_reads_back_without_the_index() {
    reads_back(true);
}

#[test]
fn the_store_holds_what_it_is_meant_to_hold() {
    let files = read_tree(&directory());
    let log: Vec<&Vec<u8>> = files.iter().filter(|(path, _)| path.starts_with("blocks/")).map(|(_, b)| b).collect();
    let holds = |what: &[u8]| log.iter().any(|bytes| bytes.windows(what.len()).any(|window| window == what));
    assert!(log.len() > 1, "several segments, so that some have footers");
    // A short ciphertext has fewer data shards than its coding says: these are of 8+1, 8+1 and 2+2.
    for (data, parity) in [(4, 1), (2, 1), (2, 2)] {
        // A slice's magic, version and index 0; then the coding.
        assert!(holds(&[b'O', b'S', b'L', b'C', 1, 0, data, parity]), "slices coded {data}+{parity}");
    }
    for kind in [1u8, 2, 4, 6, 16, 17, 18, 19, 20] {
        assert!(holds(&[b'o', b'R', b'e', b'c', kind]), "a record of kind {kind}");
    }
    assert!(files.contains_key(DIGEST) && files.keys().any(|path| path.starts_with("index/")));
    assert!(files.values().map(Vec::len).sum::<usize>() < LIMIT);
}
