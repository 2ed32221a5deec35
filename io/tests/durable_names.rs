//! Which directories are synced, on a machine that writes it down.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use ouroborosdb::disk::RealFiles;
use ouroborosdb::engine::env::{Clock, Instant, Now};
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{Limits, PutOptions};
use ouroborosdb::entropy::NoEntropy;
use ouroborosdb::env::{Env, Files, Notice, Opening};
use ouroborosdb::lock::{LockError, StoreLock};
use ouroborosdb::{Builder, Db, Error, Machine};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The machine's files, and which directories were synced.
#[derive(Clone, Debug, Default)]
struct Watched {
    machine: Machine,
    synced: Arc<Mutex<Vec<PathBuf>>>,
    /// The directory that refuses to be synced, and how.
    refuses: Arc<Mutex<Option<(PathBuf, ErrorKind)>>>,
    /// No directory can be opened any more: the process has too many files open.
    too_many: Arc<AtomicBool>,
}

impl Watched {
    /// Whether a directory was synced.
    fn has_synced(&self, directory: &Path) -> bool {
        self.synced.lock().unwrap().iter().any(|synced| synced == directory)
    }

    fn refuse(&self, directory: &Path, how: ErrorKind) {
        *self.refuses.lock().unwrap() = Some((directory.to_owned(), how));
    }
}

impl Files for Watched {
    type File = File;
    type Directory = (PathBuf, File);

    fn open(&self, path: &Path, how: Opening) -> io::Result<File> {
        RealFiles.open(path, how)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        RealFiles.names(directory)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealFiles.exists(path)
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        RealFiles.is_directory(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        RealFiles.canonical(path)
    }

    fn create_directory(&self, path: &Path, private: bool) -> io::Result<()> {
        RealFiles.create_directory(path, private)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFiles.remove(path)
    }

    fn open_directory(&self, path: &Path) -> io::Result<(PathBuf, File)> {
        if self.too_many.load(Ordering::SeqCst) {
            return Err(io::Error::other("too many open files"));
        }
        Ok((path.to_owned(), File::open(path)?))
    }

    fn sync_directory(&self, (path, directory): &(PathBuf, File)) -> io::Result<()> {
        if let Some((directory, how)) = &*self.refuses.lock().unwrap()
            && directory == path
        {
            return Err((*how).into());
        }
        directory.sync_all()?;
        self.synced.lock().unwrap().push(path.clone());
        Ok(())
    }
}

impl Clock for Watched {
    fn now(&self) -> Now {
        self.machine.now()
    }
}

impl Env for Watched {
    type Files = Self;
    type Lock = StoreLock;
    type Task = JoinHandle<()>;

    fn files(&self) -> Self {
        self.clone()
    }

    fn lock(&self, directory: &Path) -> Result<StoreLock, LockError> {
        self.machine.lock(directory)
    }

    fn seed(&self) -> Result<[u8; 32], NoEntropy> {
        self.machine.seed()
    }

    fn spawn(&self, name: String, task: impl Future<Output = ()> + Send + 'static) -> io::Result<JoinHandle<()>> {
        self.machine.spawn(name, task)
    }

    fn wait(&self, notice: Notice, due: Option<Instant>) -> impl Future<Output = ()> + Send {
        self.machine.wait(notice, due)
    }
}

/// A store in three places, each some way below a directory that there is.
struct Places {
    _root: tempfile::TempDir,
    root: PathBuf,
    directories: [PathBuf; 3],
}

impl Places {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        let directories = ["own/of/store", "large/of/blocks", "fast/of/index"].map(|place| root.join(place));
        Self { _root: directory, root, directories }
    }

    fn builder(&self) -> Builder {
        let [own, blocks, index] = self.directories.clone();
        let keyring = Keyring::generate(&mut EngineRng::from_seed([5; 32]));
        Db::builder().directory(own).blocks_directory(Some(blocks)).index_directory(Some(index)).keyring(keyring)
    }

    /// Every directory with a name on the way to one of the store's.
    fn above(&self) -> impl Iterator<Item = &Path> {
        let above = |directory: &'_ PathBuf| directory.ancestors().count() - self.root.ancestors().count();
        self.directories.iter().flat_map(move |directory| directory.ancestors().skip(1).take(above(directory)))
    }
}

#[test]
fn every_name_on_the_way_to_a_new_store_is_made_durable_also_where_it_is_there() {
    for made in [false, true] {
        let places = Places::new();
        if made {
            // Whoever made them was killed before the sync.
            places.directories.iter().for_each(|directory| fs::create_dir_all(directory).unwrap());
        }
        let machine = Watched::default();
        places.builder().create_in(machine.clone()).unwrap().close().unwrap();
        assert_eq!(places.above().count(), 9);
        for directory in places.above() {
            assert!(machine.has_synced(directory), "{} (made before: {made})", directory.display());
        }
    }
}

#[test]
fn a_description_is_durable_once_its_store_is_open() {
    let places = Places::new();
    places.builder().create().unwrap().close().unwrap();
    let machine = Watched::default();
    places.builder().open_in(machine.clone()).unwrap().close().unwrap();
    assert!(machine.has_synced(&places.directories[0]));
}

#[test]
fn only_what_others_made_may_refuse_to_be_synced() {
    let parent_of_all = |places: &Places| places.root.parent().unwrap().to_owned();
    let parent_of_own = |places: &Places| places.directories[0].parent().unwrap().to_owned();
    let denied = ErrorKind::PermissionDenied;
    let made = |directory: PathBuf, how, places: &Places| {
        let machine = Watched::default();
        machine.refuse(&directory, how);
        places.builder().create_in(machine).map(|db| db.close().unwrap())
    };
    let places = Places::new();
    made(parent_of_all(&places), denied, &places).unwrap();
    let places = Places::new();
    let failed = made(parent_of_all(&places), ErrorKind::Other, &places);
    assert!(matches!(failed, Err(Error::Io { .. })), "a disk that fails is no directory of others");
    let places = Places::new();
    assert!(matches!(made(parent_of_own(&places), denied, &places), Err(Error::Io { .. })));
}

/// The names of new segments are made durable also when the process may open nothing more than it has.
#[test]
fn too_many_open_files_keep_no_segment_from_being_made_durable() {
    let places = Places::new();
    let machine = Watched::default();
    let limits = Limits { segment_len: 1 << 20, ..Limits::default() };
    let db = places.builder().limits(limits).create_in(machine.clone()).unwrap();
    machine.too_many.store(true, Ordering::SeqCst);
    machine.synced.lock().unwrap().clear();
    let mut rng = EngineRng::from_seed([6; 32]);
    for number in 0..8 {
        let value: Vec<u8> = (0..128).flat_map(|_| rng.bytes::<4096>()).collect();
        db.put(&KeyName::new(format!("key {number}")).unwrap(), value, PutOptions::default()).unwrap();
    }
    let blocks = &places.directories[1];
    let segments = fs::read_dir(blocks).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|extension| extension == "log")
    });
    assert!(segments.count() > 2);
    assert!(machine.has_synced(blocks));
    db.close().unwrap();
}
