//! The keyring's file: mode 0600, replaced atomically, synced before anything depends on it.

use crate::exit::{Exit, Failure, Outcome};
use crate::store::{KdfParams, Keyring, Vault, VaultError};
use ouroboros_engine::id::EngineRng;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// More than any keyring is long, in bytes: nothing larger is read.
const LONGEST: u64 = 64 * 1024;

/// Whether there is a keyring file.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Reads and opens the keyring, or says why not.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    let metadata = fs::metadata(path).map_err(|error| {
        let failure = Failure::new(Exit::Keys, format!("cannot read the keyring {}: {error}", path.display()));
        failure.advise(
            "if the store was moved, pass its keyring with --keyring FILE; if the keyring is lost, make it anew from the \
             recovery phrase: `ouroboros keys recover`",
        )
    })?;
    if metadata.len() > LONGEST {
        return Err(Failure::new(Exit::Keys, format!("{} is too large to be a keyring", path.display())));
    }
    fs::read(path).map_err(|e| Failure { exit: Exit::Keys, ..Failure::file("read", path, e) })
}

/// What trying one passphrase on the keyring at `path` costs.
pub(crate) fn cost(path: &Path) -> Outcome<KdfParams> {
    Vault::params(&read(path)?).map_err(|e| {
        Failure::new(Exit::Keys, format!("{} is no whole keyring: {e}", path.display()))
            .advise("restore the file from a backup, or `ouroboros keys recover --force` from the recovery phrase")
    })
}

/// Opens sealed keyring bytes that were read from `path`.
pub(crate) fn unseal(path: &Path, sealed: &[u8], passphrase: &[u8]) -> Outcome<Keyring> {
    // PA
    Vault::open(sealed, passphrase).map_err(|error| {
        let failure = Failure::new(Exit::Keys, format!("cannot open the keyring {}: {error}", path.display()));
        match error {
            VaultError::WrongPassphrase => failure
                .advise("try the passphrase again; if it is lost, `ouroboros keys recover` makes the keyring anew from the recovery phrase"),
            _ => failure.advise("restore the file from a backup, or `ouroboros keys recover` from the recovery phrase"),
        }
    })
}

/// Seals the keyring under a passphrase and puts it at `path`, durably, in one step. An older file is replaced only
/// when `replace` says so.
pub(crate) fn write(path: &Path, keyring: &Keyring, passphrase: &[u8], kdf: KdfParams, replace: bool) -> Outcome {
    // PA
    let mut rng = EngineRng::from_seed(crate::store::entropy()?);
    let sealed = Vault::seal(keyring, passphrase, kdf, &mut rng)
        .map_err(|e| Failure::new(Exit::Keys, format!("cannot seal the keyring: {e}")))?;
    place(path, &sealed, replace).map_err(|e| Failure::file("write the keyring", path, e))
}

/// Sees to it that the name of a keyring that was found is durable before anything depends on it: who made it may have been
/// killed before the sync.
pub(crate) fn make_sure(path: &Path) -> std::io::Result<()> {
    // PA
    use std::io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    for place in on_the_way(path)? {
        match File::open(place).and_then(|file| file.sync_all()) {
            // Made long ago, by somebody else.
            Err(error)
                if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported) => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// A file, wherever links lead, and every directory that it stands in.
fn on_the_way(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    Ok(fs::canonicalize(path)?.ancestors().map(Path::to_path_buf).collect())
}

fn place(path: &Path, bytes: &[u8], replace: bool) -> std::io::Result<()> {
    // PA
    // A link stays one: what is replaced is the keyring that it leads to.
    let resolved = if replace && path.exists() { Some(fs::canonicalize(path)?) } else { None };
    let path = resolved.as_deref().unwrap_or(path);
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let ancestors = parent.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty());
    let made: Vec<&Path> = ancestors.take_while(|ancestor| !ancestor.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    // A directory whose name was not synced takes the keyring with it.
    for above in made.iter().rev().filter_map(|directory| directory.parent()) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        File::open(above)?.sync_all()?;
    }
    let mut name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = parent.join(name);
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        if replace {
            fs::rename(&temporary, path)?;
        } else {
            // A link, unlike a rename, never replaces: two processes that start at once cannot lose each other's keyring.
            fs::hard_link(&temporary, path)?;
            fs::remove_file(&temporary)?;
        }
        File::open(parent)?.sync_all()
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// What is wrong with the file's whereabouts, in plain words with advice; nothing, usually.
pub(crate) fn worries(path: &Path, store: &Path) -> Vec<(String, String)> {
    let mut worries = Vec::new();
    if let Ok(metadata) = fs::metadata(path) {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            worries.push((
                format!("the keyring {} can be read by others (mode {mode:04o})", path.display()),
                format!("chmod 600 {}", path.display()),
            ));
        }
    }
    if path.starts_with(store) {
        worries.push((
            format!("the keyring {} lies inside the store", path.display()),
            "move it elsewhere and pass it with --keyring: who takes the store should not have the keys with it".into(),
        ));
    }
    worries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_file_is_private_and_is_not_replaced_unasked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config/ouroboros/k.keyring");
        place(&path, b"first", false).unwrap();
        assert!(place(&path, b"second", false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        place(&path, b"third", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_keyring_that_a_link_leads_to_is_replaced_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (link, real) = (directory.path().join("config/k.keyring"), directory.path().join("stick/k.keyring"));
        place(&real, b"first", false).unwrap();
        fs::create_dir(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        place(&link, b"second", true).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"second");
        assert_eq!(fs::read_dir(link.parent().unwrap()).unwrap().count(), 1);
        let way = on_the_way(&link).unwrap();
        assert_eq!(way[..2], [fs::canonicalize(&real).unwrap(), fs::canonicalize(real.parent().unwrap()).unwrap()]);
        assert_eq!(way.last().map(PathBuf::as_path), Some(Path::new("/")));
        make_sure(&link).unwrap();
    }
}
