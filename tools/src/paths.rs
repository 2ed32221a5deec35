//! Where things are by default: the XDG base directories.

use crate::args::Globals;
use crate::exit::{Exit, Failure, Outcome};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The directory of XDG variable `variable`, or `fallback` in the home directory. Relative values are ignored, as the
/// XDG base directory specification (0.8) demands.
fn xdg(variable: &str, fallback: &str) -> Outcome<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(fallback));
    set.or_else(home).ok_or_else(|| {
        Failure::new(Exit::Failed, format!("neither {variable} nor HOME is set"))
            .advise("say where things are with --store DIR and --keyring FILE")
    })
}

/// The store's directory.
pub(crate) fn store(globals: &Globals) -> Outcome<PathBuf> {
    match &globals.store {
        Some(path) => absolute(path),
        None => default_store(),
    }
}

fn default_store() -> Outcome<PathBuf> {
    Ok(xdg("XDG_DATA_HOME", ".local/share")?.join("ouroboros").join("store"))
}

/// The keyring file of the store in `store`: named after the store's place, so that each store finds its own.
pub(crate) fn keyring(globals: &Globals, store: &Path) -> Outcome<PathBuf> {
    if let Some(path) = &globals.keyring {
        return absolute(path);
    }
    let directory = xdg("XDG_CONFIG_HOME", ".config")?.join("ouroboros");
    if globals.store.is_none() || default_store().is_ok_and(|default| default == store) {
        return Ok(directory.join("default.keyring"));
    }
    let hash = blake3::hash(store.as_os_str().as_bytes()).to_hex();
    let mut name: OsString = store.file_name().unwrap_or(OsStr::new("store")).to_owned();
    name.push(format!("-{}.keyring", &hash[..12]));
    Ok(directory.join(name))
}

/// `path` without symbolic links as far as it exists, so that one place has one name.
fn absolute(path: &Path) -> Outcome<PathBuf> {
    let full = std::path::absolute(path).map_err(|e| Failure::file("find", path, e))?;
    for ancestor in full.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), full.strip_prefix(ancestor)) {
            return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
        }
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_name_whether_or_not_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        std::os::unix::fs::symlink(real.join("a"), real.join("b")).unwrap();
        assert_eq!(absolute(&real.join("b/new/store")).unwrap(), real.join("a/new/store"));
        assert_eq!(absolute(&real.join("b")).unwrap(), real.join("a"));
    }
}
