//! Where a store lies and how to open it.

use super::{Client, Db, Maintenance, Open};
use crate::claim;
use crate::disk::{FileDisk, RealFiles, create_directory, sync_old_names};
use crate::entropy::{NoEntropy, os_seed};
use crate::env::{Env, Files};
use crate::error::Error;
use crate::layout::Layout;
use crate::machine::Machine;
use crate::mailbox::Mailbox;
use crate::planted::{Mistake, planted};
use crate::runtime::{self, EventSink, Running, Waiting};
use crate::turns::Turns;
use ouroboros_engine::env::{Disk, DiskFailure, Volume};
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::node::{Access, Engine, Limits, OpenError, OpenOptions, Opened, Profile, StoreConfig};
use ouroboros_engine::seal::{ChunkerParams, Coding, Compression};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// Says where a store lies, what it is to be like, and how much it may use. Begin with [`Db::builder`].
#[derive(Default)]
pub struct Builder {
    directory: PathBuf,
    blocks: Option<PathBuf>,
    index: Option<PathBuf>,
    keyring: Option<Arc<Keyring>>,
    coding: Coding,
    chunker: ChunkerParams,
    compression: Compression,
    limits: Limits,
    threads: Option<NonZeroUsize>,
    events: Option<EventSink>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("directory", &self.directory)
            .field("coding", &self.coding)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The store's directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Where a new store keeps its log; `blocks` in its directory by default.
    #[must_use]
    pub fn blocks_directory(mut self, directory: Option<PathBuf>) -> Self {
        self.blocks = directory;
        self
    }

    /// Where a new store keeps its index; `index` in its directory by default. May be on a faster disk, and may be
    /// deleted at any time.
    #[must_use]
    pub fn index_directory(mut self, directory: Option<PathBuf>) -> Self {
        self.index = directory;
        self
    }

    /// The keys of the realm. Without them nothing stored can be read, by anybody.
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(Arc::new(keyring));
        self
    }

    /// How a new store codes its seals; 8+1 by default.
    #[must_use]
    pub fn coding(mut self, coding: Coding) -> Self {
        self.coding = coding;
        self
    }

    /// Where a new store cuts its contents.
    #[must_use]
    pub fn chunker(mut self, chunker: ChunkerParams) -> Self {
        self.chunker = chunker;
        self
    }

    /// How a new store compresses; zstd level 3 by default.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How much the node may use, by kind of machine.
    #[must_use]
    pub fn profile(self, profile: Profile) -> Self {
        self.limits(profile.limits())
    }

    /// How much the node may use, in detail.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Worker threads; as many as the machine has processors by default.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Is called with every event, on the engine's thread or a caller's, and must be quick; it must not use the store. If it
    /// panics, it is not called again.
    #[must_use]
    pub fn on_event(mut self, sink: impl FnMut(&ouroboros_engine::node::Event) + Send + 'static) -> Self {
        self.events = Some(Box::new(sink));
        self
    }

    /// Makes a new store.
    ///
    /// # Errors
    /// [`Error::StoreExists`], [`Error::LogExists`] and others.
    pub fn create(self) -> Result<Db, Error> {
        self.create_in(Machine::new())
    }

    /// Makes a new store elsewhere than on the machine.
    ///
    /// # Errors
    /// [`Error::StoreExists`], [`Error::LogExists`] and others.
    pub fn create_in<E: Env>(self, env: E) -> Result<Db, Error> {
        let this = self.pinned()?;
        this.make_directory(&env)?;
        let lock = env.lock(&this.directory)?;
        if Layout::exists(&env.files(), &this.directory)? {
            return Err(Error::StoreExists(this.directory));
        }
        this.make(env, lock, false)
    }

    /// Wherever the process goes later on, the store stays where it is now.
    fn pinned(mut self) -> Result<Self, Error> {
        // PA: a relative path would lead into whatever directory, or store, is current when a segment is made.
        let given = if self.directory.as_os_str().is_empty() { Path::new(".") } else { &self.directory };
        let absolute = std::path::absolute(given);
        self.directory = absolute.map_err(|error| Error::io(format!("resolving {}", given.display()), error))?;
        Ok(self)
    }

    /// Makes the store's own directory where it is missing.
    fn make_directory(&self, env: &impl Env) -> Result<(), Error> {
        create_directory(&env.files(), &self.directory, false)
            .map_err(|error| Error::io(format!("creating {}", self.directory.display()), error))
    }

    /// Makes the store, or, with `finish`, finishes one whose making was cut short before it had a description.
    fn make<E: Env>(self, env: E, lock: E::Lock, finish: bool) -> Result<Db, Error> {
        // PA: no log is adopted that may be another description's.
        let layout = Layout::new(self.blocks.as_deref(), self.index.as_deref())?;
        let keyring = self.keys()?;
        let files = env.files();
        let disk = FileDisk::create_in(files.clone(), layout.blocks(&self.directory), layout.index(&self.directory))?;
        let locks = self.lock_halves(&env, lock, &layout)?;
        let (own, blocks) = (canonical(&files, &self.directory)?, canonical(&files, disk.directory(Volume::Blocks))?);
        let inside = blocks.starts_with(&own);
        let ours = inside || claim::is_of(&files, &blocks, &own)?;
        if !ours && !claim::holds_log(&disk.list(Volume::Blocks)?) {
            claim::make(&files, &blocks, &own)?;
        }
        let config = StoreConfig {
            realm: keyring.realm_id(),
            chunker: self.chunker,
            compression: self.compression,
            coding: self.coding,
            partition_bits: StoreConfig::PERSONAL_PARTITION_BITS,
        };
        let options = OpenOptions { access: Access::Keys(keyring), limits: self.limits.clone(), seed: seed(&env)? };
        let (engine, opened) = match Engine::create(disk.clone(), config, options.clone(), env.now()) {
            Ok(engine) => (engine, Opened::default()),
            Err(OpenError::Exists) if finish && ours => Engine::open(disk, options, env.now())?,
            Err(OpenError::Exists) => return Err(Error::LogExists { blocks, store: self.directory }),
            Err(error) => return Err(error.into()),
        };
        // Last: only a whole store has a description.
        layout.write(&files, &self.directory)?;
        if !inside {
            claim::settle(&files, &blocks);
        }
        let directories = layout.directories(&self.directory);
        Ok(Db { client: self.start(engine, env, locks, opened, directories)? })
    }

    /// Locks the directories of the log and of the index too, unless they are the one that is locked already.
    fn lock_halves<E: Env>(&self, env: &E, own: E::Lock, layout: &Layout) -> Result<Vec<E::Lock>, Error> {
        // PA: two descriptions may name one log, and the locks beside them know nothing of each other.
        let files = env.files();
        let mut locked = vec![canonical(&files, &self.directory)?];
        let mut locks = vec![own];
        for directory in [layout.blocks(&self.directory), layout.index(&self.directory)] {
            let place = canonical(&files, &directory)?;
            if !locked.contains(&place) {
                locks.push(env.lock(&directory).map_err(|error| error.shared_by(&self.directory))?);
                locked.push(place);
            }
        }
        // They are given back in this order: whoever gets the store's own finds the others free.
        locks.reverse();
        Ok(locks)
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::LogMissing`], [`Error::InUse`] and others.
    pub fn open(self) -> Result<Db, Error> {
        self.open_in(Machine::new())
    }

    /// Opens a store elsewhere than on the machine.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::LogMissing`], [`Error::InUse`] and others.
    pub fn open_in<E: Env>(self, env: E) -> Result<Db, Error> {
        let access = Access::Keys(self.keys()?);
        Ok(Db { client: self.open_with(env, access)? })
    }

    /// Opens a store without its keys, for what needs none: to check and repair it, to change its coding, to give space back.
    /// A keyring that was given is not used. The next opening with keys reads the log anew where it must.
    ///
    /// ```
    /// # use ouroborosdb::engine::{id::EngineRng, keys::Keyring, names::KeyName, node::PutOptions, seal::Coding};
    /// # use ouroborosdb::Db;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let keyring = Keyring::generate(&mut EngineRng::from_seed(ouroborosdb::entropy::os_seed()?));
    /// # let db = Db::builder().directory(directory.path()).keyring(keyring).create()?;
    /// # db.put(&KeyName::new("a key")?, vec![7; 100_000], PutOptions::default())?;
    /// # db.close()?;
    /// let store = Db::builder().directory(directory.path()).open_keyless()?;
    /// assert!(store.scrub(true)?.damage.is_empty());
    /// assert_eq!(store.recode(Coding::new(4, 2)?)?.recoded, 1);
    /// store.compact()?;
    /// store.close()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::LogMissing`], [`Error::InUse`] and others.
    pub fn open_keyless(self) -> Result<Maintenance, Error> {
        Ok(Maintenance::new(self.open_with(Machine::new(), Access::Keyless)?))
    }

    fn open_with<E: Env>(self, env: E, access: Access) -> Result<Arc<Client>, Error> {
        self.pinned()?.open_pinned(env, access)
    }

    fn open_pinned<E: Env>(self, env: E, access: Access) -> Result<Arc<Client>, Error> {
        let files = env.files();
        if !Layout::exists(&files, &self.directory)? {
            return Err(Error::NoStore(self.directory));
        }
        let lock = env.lock(&self.directory)?;
        let layout = Layout::read(&files, &self.directory)?;
        // Whoever gave the description its name may have been killed before the sync.
        sync_old_names(&files, &self.directory)
            .map_err(|error| Error::io(format!("syncing {}", self.directory.display()), error))?;
        let blocks = layout.blocks(&self.directory);
        let missing = || Error::LogMissing { store: self.directory.clone(), blocks: blocks.clone() };
        let disk = match FileDisk::open_in(files, blocks.clone(), layout.index(&self.directory)) {
            Err(error) if (error.volume, &error.failure) == (Volume::Blocks, &DiskFailure::NotFound) => {
                return Err(missing());
            }
            opened => opened?,
        };
        // Nothing is to stand on a mount point, not even a lock.
        if !claim::holds_log(&disk.list(Volume::Blocks)?) {
            return Err(missing());
        }
        let locks = self.lock_halves(&env, lock, &layout)?;
        let options = OpenOptions { access, limits: self.limits.clone(), seed: seed(&env)? };
        let (engine, opened) = Engine::open(disk, options, env.now()).map_err(|error| match error {
            OpenError::NoStore => Error::LogUnreadable { store: self.directory.clone(), blocks: blocks.clone() },
            error => error.into(),
        })?;
        let directories = layout.directories(&self.directory);
        self.start(engine, env, locks, opened, directories)
    }

    /// Opens the store, or makes it if there is none. A store whose making was cut short by a crash is finished; a log outside of
    /// the store's directory that may be another store's is not taken for its own.
    ///
    /// # Errors
    /// [`Error::LogExists`], [`Error::InUse`] and others.
    pub fn open_or_create(self) -> Result<Db, Error> {
        let this = self.pinned()?;
        let env = Machine::new();
        if Layout::exists(&env.files(), &this.directory)? {
            return this.open();
        }
        this.make_directory(&env)?;
        let lock = env.lock(&this.directory)?;
        if Layout::exists(&env.files(), &this.directory)? {
            // Another process was faster, and has ended already.
            drop(lock);
            return this.open();
        }
        this.make(env, lock, true)
    }

    /// Whether there is a store in a directory.
    ///
    /// # Errors
    /// [`Error::Io`]: the system cannot say.
    pub fn is_store(directory: &Path) -> Result<bool, Error> {
        Layout::exists(&RealFiles, directory)
    }

    fn keys(&self) -> Result<Arc<Keyring>, Error> {
        self.keyring.clone().ok_or(Error::NoKeyring)
    }

    fn start<E: Env>(
        self,
        engine: Engine<FileDisk<E::Files>>,
        env: E,
        locks: Vec<E::Lock>,
        opened: Opened,
        directories: [PathBuf; 3],
    ) -> Result<Arc<Client>, Error> {
        // As the engine took them.
        let limits = engine.limits().clone();
        let mailbox = Arc::new(Mailbox::new(E::MAILBOX_LEN));
        let waiting = Arc::new(Waiting::default());
        let threads = match self.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        };
        let events = self.events.unwrap_or_else(|| Box::new(|_| {}));
        let Running { asked, ended, join } =
            runtime::start(engine, env, threads, mailbox.clone(), waiting.clone(), events)
                .map_err(|error| Error::io("starting the engine thread", error))?;
        let client = Client {
            mailbox,
            waiting,
            turns: Turns::new(limits.requests),
            shared_loop: asked,
            ended,
            may_block: E::THREADS,
            next: AtomicU64::new(1),
            open: Mutex::new(Some(Open { join, locks: Box::new(locks) })),
            pieces: super::stream::Pieces::new(&limits),
            ahead: super::stream::ReadsAhead::new(),
            limits,
            opened,
            directories,
        };
        Ok(Arc::new(client))
    }
}

/// The one name of a directory that is there.
fn canonical(files: &impl Files, directory: &Path) -> Result<PathBuf, Error> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // Some file systems have no such name; then the two may be one, and are taken for two.
    let canonical = files.canonical(directory).or_else(|_| std::path::absolute(directory));
    canonical.map_err(|error| Error::io(format!("looking for {}", directory.display()), error))
}

/// Where the engine's randomness begins.
fn seed(env: &impl Env) -> Result<[u8; 32], NoEntropy> {
    if planted(Mistake::OwnEntropy) { os_seed() } else { env.seed() }
}
