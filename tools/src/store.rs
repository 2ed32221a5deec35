//! The one place where the command meets the library: it opens stores, and renames what it uses.

pub(crate) use crate::db_standin::{
    Coding, Db, Entry, Error, Got, KdfParams, KeyName, Keyring, ListOptions, MasterSecret, MergeStrategy, Put,
    PutOptions, ScrubOptions, Severity, SnapshotInfo, Stats, Vault, VaultError, Version, VersionKind, VersionSelector,
};

use crate::args::Globals;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::passphrase::{self, Passphrase};
use crate::{keyring_file, paths};
use ouroboros_engine::id::{EngineRng, RealmId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Bytes as text without loss: what does not print stands as `\xNN`, a backslash as `\x5c`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    crate::db_standin::escape(bytes).to_string()
}

/// The bytes that [`escape`] showed.
pub(crate) fn unescape(text: &str) -> Outcome<Vec<u8>> {
    crate::db_standin::unescape(text)
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

/// Where a store keeps its two halves, when not in its own directory. Written by `init`, read by every later command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// The index's directory.
    pub(crate) index_dir: Option<PathBuf>,
    /// The log's directory.
    pub(crate) blocks_dir: Option<PathBuf>,
    /// The coding of new data.
    pub(crate) redundancy: Option<String>,
}

impl Layout {
    /// The file that holds it, in the store's directory.
    const FILE: &'static str = "ouroboros.json";

    fn read(store: &Path) -> Outcome<Self> {
        let path = store.join(Self::FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                Failure::file("understand", &path, e)
                    .advise("restore the file, or write it anew: {\"index_dir\":…,\"blocks_dir\":…}")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::file("read", &path, error)),
        }
    }

    fn write(&self, store: &Path) -> Outcome {
        let path = store.join(Self::FILE);
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(store)?;
            let temporary = store.join(format!("{}.new", Self::FILE));
            std::fs::write(&temporary, serde_json::to_vec(self)?)?;
            std::fs::File::open(&temporary)?.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            std::fs::File::open(store)?.sync_all()
        };
        write().map_err(|e| Failure::file("write", &path, e))
    }
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

    /// Whether there is a store, finished or not.
    pub(crate) fn has_store(&self) -> bool {
        std::fs::read_dir(&self.store).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Opens the keyring with the passphrase that is given, typed, or empty.
    pub(crate) fn open_keyring(&self, globals: &Globals) -> Outcome<Keyring> {
        let sealed = keyring_file::read(&self.keyring)?;
        if let Some(passphrase) = passphrase::given(globals)? {
            return keyring_file::unseal(&self.keyring, &sealed, &passphrase);
        }
        // An empty passphrase is nobody's secret: where it fits, nobody is asked.
        match (keyring_file::unseal(&self.keyring, &sealed, b""), passphrase::can_ask()) {
            (Ok(keyring), _) => return Ok(keyring),
            (Err(_), false) => {
                let message = format!("the keyring {} needs its passphrase", self.keyring.display());
                return Err(Failure::new(Exit::Keys, message).advise(format!(
                    "there is no terminal to ask on: pass --passphrase-file FILE, --passphrase-fd N or {}",
                    passphrase::VARIABLE
                )));
            }
            (Err(_), true) => {}
        }
        let mut attempt = 1;
        loop {
            let typed = passphrase::ask(&self.keyring)?;
            match keyring_file::unseal(&self.keyring, &sealed, &typed) {
                Err(_) if attempt < passphrase::ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Makes a keyring file with fresh keys.
    fn new_keyring(&self, globals: &Globals, out: &mut Output) -> Outcome<Keyring> {
        // PA
        let chosen: Passphrase = passphrase::for_new(globals, out)?;
        let mut rng = EngineRng::from_seed(entropy()?);
        let keyring = Keyring::generate(&mut rng);
        keyring_file::write(&self.keyring, &keyring, &chosen, false)?;
        Ok(keyring)
    }

    /// Opens the store.
    pub(crate) fn open(&self, globals: &Globals) -> Outcome<Db> {
        if !self.has_store() {
            return Err(Failure::new(Exit::Failed, format!("there is no store in {}", self.store.display())).advise(
                "`ouroboros init` makes one, and so does a first put or import; or say where yours is: --store DIR",
            ));
        }
        let layout = Layout::read(&self.store)?;
        let keyring = self.open_keyring(globals)?;
        Ok(self.builder(&layout, keyring)?.open()?)
    }

    /// Opens the store, or makes it and says so. A store whose making was cut short is finished.
    pub(crate) fn open_or_create(&self, globals: &Globals, out: &mut Output) -> Outcome<Db> {
        if !self.has_store() {
            return self.create(globals, &Layout::default(), out).map(|(db, _)| db);
        }
        let layout = Layout::read(&self.store)?;
        let keyring = self.open_keyring(globals)?;
        Ok(self.builder(&layout, keyring)?.open_or_create()?)
    }

    /// Makes the store, and the keyring if there is none yet, and says where both are.
    pub(crate) fn create(&self, globals: &Globals, layout: &Layout, out: &mut Output) -> Outcome<(Db, RealmId)> {
        // PA
        if self.has_store() {
            return Err(Failure::new(Exit::Failed, format!("{} is not empty", self.store.display()))
                .advise("use the store that is there, or choose another place: --store DIR"));
        }
        let found = keyring_file::exists(&self.keyring);
        // Keys first, then where the halves are, then the store: cut short anywhere, the next write finishes the work.
        let keyring = if found { self.open_keyring(globals)? } else { self.new_keyring(globals, out)? };
        let realm = keyring.realm_id();
        layout.write(&self.store)?;
        let db = self.builder(layout, keyring)?.open_or_create()?;
        out.created(&self.store, &self.keyring, found);
        Ok((db, realm))
    }

    fn builder(&self, layout: &Layout, keyring: Keyring) -> Outcome<crate::db_standin::Builder> {
        let mut builder = Db::builder().store_dir(&self.store).keyring(keyring);
        if let Some(path) = &layout.index_dir {
            builder = builder.index_dir(path);
        }
        if let Some(path) = &layout.blocks_dir {
            builder = builder.blocks_dir(path);
        }
        if let Some(text) = &layout.redundancy {
            builder = builder.redundancy(text.parse::<Coding>().map_err(|e| Failure::usage(e.to_string()))?);
        }
        Ok(builder)
    }

    /// Remembers another coding for new data.
    pub(crate) fn remember_redundancy(&self, coding: Coding) -> Outcome {
        let layout = Layout::read(&self.store)?;
        Layout { redundancy: Some(coding.to_string()), ..layout }.write(&self.store)
    }

    /// Every directory that belongs to the store.
    pub(crate) fn directories(&self) -> Outcome<Vec<PathBuf>> {
        let layout = Layout::read(&self.store)?;
        Ok([Some(self.store.clone()), layout.index_dir, layout.blocks_dir].into_iter().flatten().collect())
    }
}

/// The figures of a store, each with its name and whether it counts bytes.
pub(crate) fn figures(stats: &Stats) -> Vec<(&'static str, u64, bool)> {
    vec![
        ("keys", stats.keys, false),
        ("versions", stats.versions, false),
        ("snapshots", stats.snapshots, false),
        ("bytes", stats.bytes, true),
    ]
}
