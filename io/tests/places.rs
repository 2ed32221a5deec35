//! Where the halves of a store lie, and who may use them.
#![allow(clippy::unwrap_used)]

use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::PutOptions;
use ouroborosdb::lock::LockError;
use ouroborosdb::{Builder, Db, Error};
use std::fs;
use std::path::{Path, PathBuf};

const DESCRIPTION: &str = "ouroboros.toml";

fn builder(store: &Path) -> Builder {
    Db::builder().directory(store).keyring(Keyring::generate(&mut EngineRng::from_seed([5; 32])))
}

fn key() -> KeyName {
    KeyName::new("a key").unwrap()
}

/// A place for stores, with a large disk for their logs.
struct Places {
    root: tempfile::TempDir,
    large: PathBuf,
}

impl Places {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let large = root.path().join("large/blocks");
        Self { root, large }
    }

    fn store(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// How to make or open a store whose log is on the large disk.
    fn on_large(&self, name: &str) -> Builder {
        builder(&self.store(name)).blocks_directory(Some(self.large.clone()))
    }

    /// What a crash leaves of the making of a store that was about to get its description.
    fn cut_short(&self, name: &str, building: Builder) {
        let in_the_way = self.store(name).join("ouroboros.toml.new");
        fs::create_dir_all(&in_the_way).unwrap();
        assert!(matches!(building.create(), Err(Error::Io { .. })));
        fs::remove_dir(in_the_way).unwrap();
    }
}

/// The directory that a store does not get because another store has it.
fn shared(opened: Result<Db, Error>) -> PathBuf {
    match opened {
        Err(Error::InUse(LockError::Shared { directory, process, .. })) => {
            assert_eq!(process, Some(std::process::id()));
            directory
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_stores_over_one_log_are_never_open_at_once() {
    let places = Places::new();
    let first = places.on_large("first").create().unwrap();
    fs::create_dir(places.store("copy")).unwrap();
    fs::copy(places.store("first").join(DESCRIPTION), places.store("copy").join(DESCRIPTION)).unwrap();
    assert_eq!(shared(builder(&places.store("copy")).open()), places.large);
    assert_eq!(shared(places.on_large("new").create()), places.large);
    assert_eq!(shared(places.on_large("new").open_or_create()), places.large);
    // An acknowledged write stays, whoever opens the log next.
    first.put(&key(), "value", PutOptions::default()).unwrap();
    first.close().unwrap();
    assert_eq!(builder(&places.store("copy")).open().unwrap().get_bytes(&key()).unwrap(), "value");
}

#[test]
fn two_stores_over_one_index_are_never_open_at_once() {
    let places = Places::new();
    let fast = places.store("fast");
    let with_index = |name| builder(&places.store(name)).index_directory(Some(fast.clone()));
    let _first = with_index("first").create().unwrap();
    assert_eq!(shared(with_index("second").create()), fast);
}

#[test]
fn a_directory_that_is_everything_is_locked_once() {
    let places = Places::new();
    let store = places.store("store");
    let halves = [store.clone(), store.join("..").join("store")];
    let [blocks, index] = halves.map(Some);
    builder(&store).blocks_directory(blocks).index_directory(index).create().unwrap().close().unwrap();
    let db = builder(&store).open().unwrap();
    db.put(&key(), "value", PutOptions::default()).unwrap();
    assert!(matches!(builder(&store).open(), Err(Error::InUse(LockError::InUse { .. }))));
}

#[test]
fn a_log_of_another_store_is_not_adopted() {
    let places = Places::new();
    let first = places.on_large("first").create().unwrap();
    first.put(&key(), "value", PutOptions::default()).unwrap();
    first.close().unwrap();
    for made in [places.on_large("second").open_or_create(), places.on_large("second").create()] {
        let refused = made.unwrap_err();
        assert!(matches!(&refused, Error::LogExists { blocks, .. } if blocks.ends_with("large/blocks")), "{refused}");
        assert!(!Builder::is_store(&places.store("second")).unwrap());
    }
    assert_eq!(builder(&places.store("first")).open().unwrap().get_bytes(&key()).unwrap(), "value");
}

#[test]
fn a_store_whose_making_was_cut_short_is_finished_wherever_its_log_is() {
    let places = Places::new();
    let building = |name: &str| if name == "far" { places.on_large(name) } else { builder(&places.store(name)) };
    for name in ["near", "far"] {
        places.cut_short(name, building(name));
        assert!(!Builder::is_store(&places.store(name)).unwrap());
        let db = building(name).open_or_create().unwrap();
        db.put(&key(), name, PutOptions::default()).unwrap();
        db.close().unwrap();
        assert_eq!(builder(&places.store(name)).open().unwrap().get_bytes(&key()).unwrap(), name);
    }
    assert!(!places.large.join("making").exists(), "a store that is made says so no more");
}

#[test]
fn a_store_whose_making_was_cut_short_is_nobody_elses() {
    let places = Places::new();
    places.cut_short("first", places.on_large("first"));
    assert!(matches!(places.on_large("second").open_or_create(), Err(Error::LogExists { .. })));
    places.on_large("first").open_or_create().unwrap();
}

/// A store on a disk that is not mounted, or where only the place to mount it at is there.
#[test]
fn a_log_that_is_not_there_is_no_missing_store_and_nothing_is_made_in_its_place() {
    let places = Places::new();
    let db = places.on_large("store").create().unwrap();
    db.put(&key(), "value", PutOptions::default()).unwrap();
    db.close().unwrap();
    let (disk, elsewhere) = (places.store("large"), places.store("elsewhere"));
    fs::rename(&disk, &elsewhere).unwrap();
    let missing = |opened: Result<Db, Error>| {
        let refused = opened.unwrap_err();
        assert!(matches!(&refused, Error::LogMissing { blocks, .. } if *blocks == places.large), "{refused}");
        assert!(refused.to_string().contains("may not be mounted"), "{refused}");
    };
    let store = places.store("store");
    missing(builder(&store).open());
    missing(builder(&store).open_or_create());
    assert!(!disk.exists());
    fs::create_dir_all(&places.large).unwrap();
    missing(builder(&store).open());
    // A file on a mount point, and nothing can be mounted there.
    assert_eq!(fs::read_dir(&places.large).unwrap().count(), 0);
    fs::write(places.large.join("seg-0000000000000001.log"), [0; 9000]).unwrap();
    let unreadable = builder(&store).open().unwrap_err();
    assert!(matches!(unreadable, Error::LogUnreadable { .. }), "{unreadable}");
    fs::remove_dir_all(&disk).unwrap();
    fs::rename(&elsewhere, &disk).unwrap();
    // The index is a cache, wherever it lay.
    fs::remove_dir_all(store.join("index")).unwrap();
    assert_eq!(builder(&store).open().unwrap().get_bytes(&key()).unwrap(), "value");
}

/// The description lies elsewhere, behind a link, and cannot be read just now.
#[cfg(unix)]
#[test]
fn a_description_that_cannot_be_read_is_not_replaced() {
    let places = Places::new();
    let store = places.store("store");
    builder(&store).create().unwrap().close().unwrap();
    let (description, elsewhere) = (store.join(DESCRIPTION), places.store("elsewhere"));
    fs::rename(&description, &elsewhere).unwrap();
    std::os::unix::fs::symlink(places.store("not mounted"), &description).unwrap();
    let unreadable = |opened: Result<Db, Error>| assert!(matches!(opened, Err(Error::Io { .. })), "{opened:?}");
    unreadable(builder(&store).open());
    unreadable(builder(&store).open_or_create());
    assert!(matches!(builder(&store).create(), Err(Error::StoreExists(_))));
    assert!(fs::symlink_metadata(&description).unwrap().is_symlink());
    fs::remove_file(&description).unwrap();
    fs::rename(&elsewhere, &description).unwrap();
    builder(&store).open().unwrap();
}

/// A log that no description can name is not made.
#[cfg(unix)]
#[test]
fn a_place_that_cannot_be_written_down_is_refused_before_anything_is_made() {
    use std::os::unix::ffi::OsStrExt;
    let places = Places::new();
    let odd = places.root.path().join(std::ffi::OsStr::from_bytes(b"log \xff"));
    let made = builder(&places.store("store")).blocks_directory(Some(odd.clone())).create();
    assert!(matches!(made, Err(Error::Description { ref file, .. }) if *file == odd), "{made:?}");
    assert!(!odd.exists());
    builder(&places.store("store")).open_or_create().unwrap().close().unwrap();
}
