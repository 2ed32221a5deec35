//! A walk over files in the byte order of their keys: the same tree gives the same walk.
//!
//! Key order is not directory order: `a-b` comes between `a` and `a/b`, because '-' is less than '/'. So a directory
//! stands twice in its parent's list, as `a` (itself) and as `a/` (what is in it).

use super::{Problem, Root};
use crate::exit::{Failure, Outcome};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType, Metadata};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

/// Something found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its key's bytes.
    pub(crate) key: Vec<u8>,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What the file system says of it, itself, not of what it points to.
    pub(crate) metadata: Metadata,
}

/// What must not be entered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// Directories (device, inode) that are left out: the store's own.
    pub(crate) excluded: BTreeSet<(u64, u64)>,
    /// Stay on the file systems of the roots.
    pub(crate) one_file_system: bool,
}

impl Limits {
    /// Leaves out these directories, as far as they exist.
    pub(crate) fn excluding(paths: &[PathBuf]) -> Self {
        let identity = |path: &PathBuf| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        Self { excluded: paths.iter().filter_map(identity).collect(), one_file_system: false }
    }
}

/// One line of a directory's list.
struct Child {
    /// The key's bytes; with a '/' at its end for what is in the directory.
    key: Vec<u8>,
    path: PathBuf,
    /// The device of the root it belongs to, once that is known.
    device: Option<u64>,
}

/// The walk: an iterator over what is found, and what could not be looked at.
pub(crate) struct Walk {
    /// Lists of the directories we are in, each sorted backwards.
    lists: Vec<Vec<Child>>,
    limits: Limits,
}

impl Walk {
    /// A walk over `roots`.
    pub(crate) fn new(roots: &[Root], limits: Limits) -> Self {
        let mut top = Vec::new();
        for root in roots {
            push_both(&mut top, root.key.clone(), root.path.clone(), None, true);
        }
        sort_backwards(&mut top);
        Self { lists: vec![top], limits }
    }

    fn visit(&mut self, child: Child) -> Option<Result<Found, Problem>> {
        if child.key.ends_with(b"/") {
            return self.enter(child).err().map(Err);
        }
        let metadata = match fs::symlink_metadata(&child.path) {
            Ok(metadata) => metadata,
            Err(error) => return Some(Err(Problem::at(&child.path, format_args!("left out: {error}")))),
        };
        let excluded = metadata.is_dir() && self.limits.excluded.contains(&(metadata.dev(), metadata.ino()));
        if excluded {
            return None;
        }
        if let Some(word) = special(metadata.file_type()) {
            return Some(Err(Problem::at(&child.path, format_args!("left out: it is a {word}"))));
        }
        Some(Ok(Found { key: child.key, path: child.path, metadata }))
    }

    fn enter(&mut self, child: Child) -> Result<(), Problem> {
        // The root may have turned out to be a file, and a directory may have been replaced since it was listed.
        let Ok(metadata) = fs::symlink_metadata(&child.path) else { return Ok(()) };
        let device = child.device.unwrap_or_else(|| metadata.dev());
        let elsewhere = self.limits.one_file_system && metadata.dev() != device;
        if !metadata.is_dir() || elsewhere || self.limits.excluded.contains(&(metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        let unreadable = |e| Problem::at(&child.path, format_args!("what is in it was left out: {e}"));
        let mut list = Vec::new();
        for entry in fs::read_dir(&child.path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let key = [child.key.as_slice(), entry.file_name().as_bytes()].concat();
            let may_be_directory = entry.file_type().is_ok_and(|t| t.is_dir());
            push_both(&mut list, key, entry.path(), Some(device), may_be_directory);
        }
        sort_backwards(&mut list);
        self.lists.push(list);
        Ok(())
    }
}

fn push_both(list: &mut Vec<Child>, key: Vec<u8>, path: PathBuf, device: Option<u64>, may_be_directory: bool) {
    if may_be_directory {
        let inside = [key.as_slice(), b"/"].concat();
        list.push(Child { key: inside, path: path.clone(), device });
    }
    list.push(Child { key, path, device });
}

fn sort_backwards(list: &mut [Child]) {
    list.sort_unstable_by(|a, b| b.key.cmp(&a.key));
}

impl Iterator for Walk {
    type Item = Result<Found, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.lists.last_mut()?.pop() {
                None => drop(self.lists.pop()),
                Some(child) => {
                    if let Some(step) = self.visit(child) {
                        return Some(step);
                    }
                }
            }
        }
    }
}

fn special(kind: FileType) -> Option<&'static str> {
    if kind.is_fifo() {
        Some("named pipe")
    } else if kind.is_socket() {
        Some("socket")
    } else if kind.is_block_device() || kind.is_char_device() {
        Some("device")
    } else {
        None
    }
}

/// The roots of an import: each path goes to its last name below `prefix`; of a path that ends in `.`, what is in it does.
pub(crate) fn roots(paths: &[PathBuf], prefix: &[u8]) -> Outcome<Vec<Root>> {
    let prefix = trim(prefix);
    if prefix.split(|b| *b == b'/').any(|part| part == b"." || part == b"..")
        || prefix.windows(2).any(|pair| pair == b"//")
    {
        return Err(Failure::usage("a prefix has no empty, '.' or '..' part"));
    }
    let mut roots = Vec::new();
    for path in paths {
        if takes_contents(path) {
            let list = fs::read_dir(path).map_err(|e| Failure::file("read the directory", path, e))?;
            for entry in list {
                let entry = entry.map_err(|e| Failure::file("read the directory", path, e))?;
                roots.push(Root { key: join(prefix, &entry.file_name()), path: entry.path() });
            }
        } else {
            fs::symlink_metadata(path).map_err(|e| Failure::file("look at", path, e))?;
            roots.push(Root { key: join(prefix, &name_of(path)?), path: path.clone() });
        }
    }
    roots.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    if let Some(pair) = roots.windows(2).find(|pair| pair[0].key == pair[1].key) {
        let (one, other) = (pair[0].path.display(), pair[1].path.display());
        return Err(Failure::usage(format!("{one} and {other} would go to the same key"))
            .advise("import them one after the other, each with its own --prefix"));
    }
    Ok(roots)
}

fn trim(mut prefix: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = prefix {
        prefix = rest;
    }
    while let [rest @ .., b'/'] = prefix {
        prefix = rest;
    }
    prefix
}

fn takes_contents(path: &Path) -> bool {
    // `Path::components` drops a trailing '.', so look at the bytes.
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    bytes.is_empty() || bytes == b"." || bytes.ends_with(b"/.")
}

fn name_of(path: &Path) -> Outcome<OsString> {
    if let Some(Component::Normal(name)) = path.components().next_back() {
        return Ok(name.to_owned());
    }
    let real = path.canonicalize().map_err(|e| Failure::file("look at", path, e))?;
    Ok(real.file_name().unwrap_or(OsStr::new("root")).to_owned())
}

fn join(prefix: &[u8], name: &OsStr) -> Vec<u8> {
    let name = name.to_owned().into_vec();
    if prefix.is_empty() { name } else { [prefix, b"/", &name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn keys(roots: &[Root], limits: Limits) -> (Vec<Vec<u8>>, Vec<Problem>) {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for step in Walk::new(roots, limits) {
            match step {
                Ok(f) => found.push(f.key),
                Err(p) => problems.push(p),
            }
        }
        (found, problems)
    }

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("t/a/c")).unwrap();
        fs::write(root.join("t/a/b"), "1").unwrap();
        fs::write(root.join("t/a-b"), "2").unwrap();
        fs::write(root.join("t/a0"), "3").unwrap();
        fs::write(root.join(OsStr::from_bytes(b"t/\xff\n")), "4").unwrap();
        symlink("/", root.join("t/link")).unwrap();
        directory
    }

    #[test]
    fn the_walk_follows_the_byte_order_of_keys_and_no_symlink() {
        let directory = tree();
        let roots = roots(&[directory.path().join("t")], b"").unwrap();
        let (found, problems) = keys(&roots, Limits::default());
        let expected: [&[u8]; 8] = [b"t", b"t/a", b"t/a-b", b"t/a/b", b"t/a/c", b"t/a0", b"t/link", b"t/\xff\n"];
        assert_eq!(found, expected);
        assert!(found.is_sorted() && problems.is_empty());
    }

    #[test]
    fn a_dot_takes_what_is_in_the_directory_and_a_prefix_goes_before() {
        let directory = tree();
        let roots = roots(&[directory.path().join("t/a/.")], b"/p/q/").unwrap();
        assert_eq!(keys(&roots, Limits::default()).0, [&b"p/q/b"[..], b"p/q/c"]);
    }

    #[test]
    fn equal_names_are_refused_rather_than_mixed() {
        let directory = tree();
        let paths = [directory.path().join("t/a"), directory.path().join("t/../t/a")];
        assert!(roots(&paths, b"").is_err());
        assert!(roots(&paths[..1], b"a/../b").is_err());
        assert!(roots(&[directory.path().join("missing")], b"").is_err());
    }

    #[test]
    fn the_store_is_left_out_and_special_files_are_named() {
        let directory = tree();
        let limits = Limits::excluding(&[directory.path().join("t/a")]);
        let socket = std::os::unix::net::UnixListener::bind(directory.path().join("t/socket")).unwrap();
        let roots = roots(&[directory.path().join("t")], b"").unwrap();
        let (found, problems) = keys(&roots, limits);
        drop(socket);
        assert!(!found.iter().any(|key| key == b"t/a" || key.starts_with(b"t/a/")));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].why.contains("socket"));
    }
}
