//! The one place where the command meets the library: it opens stores, and names what it uses.

pub(crate) use ouroboros_engine::blob::{Attributes, BlobKind};
pub(crate) use ouroboros_engine::keys::{KdfParams, Keyring, MasterSecret, Vault, VaultError};
pub(crate) use ouroboros_engine::names::KeyName;
pub(crate) use ouroboros_engine::node::{
    Base, DamageOutcome, Entry, EntryKind, Event, Failure as Refusal, Got, ListRequest, OpenError, PurgeTarget, Put,
    PutOptions, PutSource, ScrubReport, Select, Stats, Version, Written,
};
pub(crate) use ouroboros_engine::seal::Coding;
pub(crate) use ouroborosdb::lock::{LOCK_FILE, LockError};
pub(crate) use ouroborosdb::{Builder, Db, Error, Maintenance, SNAPSHOTS};

use crate::args::Globals;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::passphrase::{self, Passphrase};
use crate::{keyring_file, paths};
use ouroboros_engine::env::DiskFailure;
use ouroboros_engine::id::{EngineRng, RealmId};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys that begin so are the store's own: snapshots, and whatever else is to come.
pub(crate) const RESERVED: &[u8] = b".ouroboros/";

/// Bytes as text without loss: what does not print stands as `\xNN`, a backslash as `\x5c`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    ouroboros_engine::names::escape(bytes).to_string()
}

/// The bytes that [`escape`] showed.
pub(crate) fn unescape(text: &str) -> Outcome<Vec<u8>> {
    ouroboros_engine::names::unescape(text)
        .map_err(|e| Failure::usage(format!("'{text}' is no escaped key: {e}")).advise("write \\x5c for a backslash"))
}

/// `N` bytes from the operating system.
pub(crate) fn entropy<const N: usize>() -> Outcome<[u8; N]> {
    // PA
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::new(Exit::Failed, format!("the operating system gives no random bytes: {e}")))?;
    Ok(bytes)
}

/// A store's two places, before either is opened.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The store's directory.
    pub(crate) store: PathBuf,
    /// The keyring's file.
    pub(crate) keyring: PathBuf,
}

impl Place {
    /// Where the options say they are.
    pub(crate) fn of(globals: &Globals) -> Outcome<Self> {
        let store = paths::store(globals)?;
        let keyring = paths::keyring(globals, &store)?;
        Ok(Self { store, keyring })
    }

    /// Whether there is a store.
    pub(crate) fn has_store(&self) -> Outcome<bool> {
        Ok(Builder::is_store(&self.store)?)
    }

    /// Whether something is in the store's place, where there is no store. What a crash left of the making of a store is nothing else.
    fn is_taken(&self) -> bool {
        let own = [LOCK_FILE, "blocks", "index", "ouroboros.toml.new"];
        let foreign = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.is_ok_and(|entry| !own.iter().any(|name| entry.file_name() == *name))
        };
        std::fs::read_dir(&self.store).is_ok_and(|mut entries| entries.any(foreign))
    }

    /// Opens the keyring with the passphrase that is given, typed, or empty.
    pub(crate) fn open_keyring(&self, globals: &Globals) -> Outcome<Keyring> {
        self.try_keyring(globals)?.ok_or_else(|| {
            let message = format!("the keyring {} needs its passphrase", self.keyring.display());
            Failure::new(Exit::Keys, message).advise(format!(
                "there is no terminal to ask on: pass --passphrase-file FILE, --passphrase-fd N or {}",
                passphrase::VARIABLE
            ))
        })
    }

    /// The same; none if nobody is there to be asked.
    fn try_keyring(&self, globals: &Globals) -> Outcome<Option<Keyring>> {
        let sealed = keyring_file::read(&self.keyring)?;
        // No passphrase opens what is no keyring, so that none is asked for.
        keyring_file::cost(&self.keyring)?;
        if let Some(passphrase) = passphrase::given(globals)? {
            return keyring_file::unseal(&self.keyring, &sealed, &passphrase).map(Some);
        }
        // An empty passphrase is nobody's secret: where it fits, nobody is asked.
        match (keyring_file::unseal(&self.keyring, &sealed, b""), passphrase::can_ask()) {
            (Ok(keyring), _) => return Ok(Some(keyring)),
            (Err(_), false) => return Ok(None),
            (Err(_), true) => {}
        }
        let mut attempt = 1;
        loop {
            let typed = passphrase::ask(&self.keyring, attempt > 1)?;
            match keyring_file::unseal(&self.keyring, &sealed, &typed) {
                Err(_) if attempt < passphrase::ATTEMPTS => attempt += 1,
                result => return result.map(Some),
            }
        }
    }

    /// Makes a keyring file with fresh keys.
    fn new_keyring(&self, globals: &Globals, kdf: KdfParams, out: &mut Output) -> Outcome<Keyring> {
        // PA
        let chosen: Passphrase = passphrase::for_new(globals, out)?;
        let mut rng = EngineRng::from_seed(entropy()?);
        let keyring = Keyring::generate(&mut rng);
        keyring_file::write(&self.keyring, &keyring, &chosen, kdf, false)?;
        Ok(keyring)
    }

    /// Opens the store.
    pub(crate) fn open(&self, globals: &Globals, steps: &Steps) -> Outcome<Db> {
        self.need_store()?;
        let keyring = self.open_keyring(globals)?;
        Ok(self.builder(steps).keyring(keyring).open()?)
    }

    /// Opens the store for what needs no keys: with them if they are at hand, else, or if so asked, without. A keyring or a
    /// passphrase that is wrong is no missing one.
    pub(crate) fn open_for_upkeep(
        &self,
        globals: &Globals,
        without: bool,
        out: &mut Output,
        steps: &Steps,
    ) -> Outcome<Opened> {
        self.need_store()?;
        let keyring = if without {
            None
        } else if !keyring_file::exists(&self.keyring) {
            out.note(format!("there is no keyring {}: going on without keys", self.keyring.display()));
            None
        } else {
            let found = self.try_keyring(globals).map_err(|failure| {
                let advice = failure.advice.clone().unwrap_or_default();
                failure.advise(format!("{advice}; or go on without: --no-keys"))
            })?;
            if found.is_none() {
                let keyring = self.keyring.display();
                out.note(format!("the keyring {keyring} needs a passphrase that nobody gave: going on without keys"));
            }
            found
        };
        let builder = self.builder(steps);
        Ok(match keyring {
            Some(keyring) => {
                let db = builder.keyring(keyring).open()?;
                Opened { store: db.maintenance(), db: Some(db) }
            }
            None => Opened { store: builder.open_keyless()?, db: None },
        })
    }

    fn need_store(&self) -> Outcome {
        if self.has_store()? {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, format!("there is no store in {}", self.store.display())).advise(
            "`ouroboros init` makes one, and so does a first put or import; or say where yours is: --store DIR",
        ))
    }

    /// Opens the store, or makes it and says so. A store whose making was cut short is finished.
    pub(crate) fn open_or_create(&self, globals: &Globals, out: &mut Output, steps: &Steps) -> Outcome<Db> {
        if self.has_store()? {
            return self.open(globals, steps);
        }
        self.create(globals, NewStore::default(), out, steps).map(|(db, _)| db)
    }

    /// Makes the store, and the keyring if there is none yet, and says where both are.
    pub(crate) fn create(
        &self,
        globals: &Globals,
        new: NewStore,
        out: &mut Output,
        steps: &Steps,
    ) -> Outcome<(Db, RealmId)> {
        // PA
        let has_store = self.has_store()?;
        if has_store || self.is_taken() {
            let what = if has_store { "holds a store already" } else { "is not empty" };
            return Err(Failure::new(Exit::Failed, format!("{} {what}", self.store.display()))
                .advise("use the store that is there, or choose another place: --store DIR"));
        }
        let found = keyring_file::exists(&self.keyring);
        // Keys first, then the store: cut short anywhere, the next write finishes the work.
        let keyring = if found { self.open_keyring(globals)? } else { self.new_keyring(globals, new.kdf, out)? };
        if found {
            let failure = |e| Failure::file("make sure of the keyring", &self.keyring, e);
            keyring_file::make_sure(&self.keyring).map_err(failure)?;
        }
        let realm = keyring.realm_id();
        let builder = self.builder(steps).keyring(keyring);
        let builder = builder.blocks_directory(new.blocks).index_directory(new.index).coding(new.coding);
        let db = builder.open_or_create()?;
        out.created(&self.store, &self.keyring, found);
        Ok((db, realm))
    }

    fn builder(&self, steps: &Steps) -> Builder {
        let steps = steps.clone();
        Db::builder().directory(&self.store).on_event(move |event| steps.note(event))
    }
}

/// A store that is open for upkeep.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What can be done to it with keys or without.
    pub(crate) store: Maintenance,
    /// The whole of it, if there are keys.
    pub(crate) db: Option<Db>,
}

/// What commands take that need no keys.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct UpkeepArgs {
    /// Do not open the keyring: everything sealed can be checked, repaired and moved without it.
    #[arg(long)]
    pub(crate) no_keys: bool,
}

/// What a new store is to be like.
#[derive(Clone, Debug)]
pub(crate) struct NewStore {
    /// The log's directory, if not in the store's own.
    pub(crate) blocks: Option<PathBuf>,
    /// The index's directory, if not in the store's own.
    pub(crate) index: Option<PathBuf>,
    /// The coding of what is stored.
    pub(crate) coding: Coding,
    /// What trying a passphrase on the keyring is to cost.
    pub(crate) kdf: KdfParams,
}

impl Default for NewStore {
    fn default() -> Self {
        Self { blocks: None, index: None, coding: Coding::default(), kdf: KdfParams::DEFAULT }
    }
}

/// How far the store has come with something long: told on the engine's thread, read on ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps(Arc<(AtomicU64, AtomicU64)>);

impl Steps {
    fn note(&self, event: &Event) {
        if let Event::Progress { done, total, .. } = event {
            self.0.0.store(*done, Ordering::Relaxed);
            self.0.1.store(*total, Ordering::Relaxed);
        }
    }

    /// Bytes done, and bytes in all if that is known.
    pub(crate) fn get(&self) -> (u64, Option<u64>) {
        let total = self.0.1.load(Ordering::Relaxed);
        (self.0.0.load(Ordering::Relaxed), (total > 0).then_some(total))
    }
}

/// Closes the store. That there is no room for what closing writes is no failure: it only spares the next opening some
/// reading, and everything is acknowledged already.
pub(crate) fn close(db: &Db) -> Outcome {
    close_upkeep(&db.maintenance())
}

/// The same for a store that may be open without keys.
pub(crate) fn close_upkeep(store: &Maintenance) -> Outcome {
    match store.close() {
        Err(error) if !is_full(&error) => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether an error says that a disk is full.
pub(crate) fn is_full(error: &Error) -> bool {
    match error {
        Error::Request(Refusal::Full) => true,
        Error::Disk(disk) => disk.failure == DiskFailure::Full,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
        _ => false,
    }
}

/// The figures of a store, each with its name and whether it counts bytes.
///
/// Those that only keys can tell are left out where there are none.
pub(crate) fn figures(stats: &Stats, snapshots: Option<u64>) -> Vec<(&'static str, u64, bool)> {
    let figures = [
        ("keys", Some(stats.keys), false),
        ("versions", Some(stats.versions), false),
        ("snapshots", snapshots, false),
        ("conflicts", Some(stats.conflicts), false),
        ("tombstones", Some(stats.tombstones), false),
        ("chunks", Some(stats.seals), false),
        ("degraded_chunks", Some(stats.degraded_seals), false),
        ("logical_bytes", stats.logical_bytes, true),
        ("sealed_bytes", Some(stats.sealed_bytes), true),
        ("live_bytes", Some(stats.live_bytes), true),
        ("log_bytes", Some(stats.log_bytes), true),
        ("segments", Some(stats.segments), false),
    ];
    figures.into_iter().filter_map(|(name, value, is_bytes)| Some((name, value?, is_bytes))).collect()
}
