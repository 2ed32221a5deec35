//! The store's description: where its two halves lie. A short text, so that a person can mend it.

use crate::disk::{read_whole, sync_names, uninterrupted, write_all};
use crate::env::{Files, Opening, RawFile};
use crate::error::Error;
use crate::planted::{Mistake, planted};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const FILE: &str = "ouroboros.toml";
const FORMAT: u32 = 1;

/// What the description says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layout {
    format: u32,
    /// The log. Relative to the store's directory, or absolute.
    blocks: PathBuf,
    /// The index. Relative to the store's directory, or absolute.
    index: PathBuf,
}

impl Layout {
    /// A description of a store whose halves lie here. Relative paths of the caller are made absolute.
    pub(crate) fn new(blocks: Option<&Path>, index: Option<&Path>) -> Result<Self, Error> {
        let resolve = |given: Option<&Path>, default: &str| match given {
            None => Ok(PathBuf::from(default)),
            Some(path) => {
                let path = std::path::absolute(path)
                    .map_err(|error| Error::io(format!("resolving {}", path.display()), error))?;
                // Said before anything is made: a log that no description can name would be nobody's.
                match path.to_str() {
                    Some(_) => Ok(path),
                    None => Err(Error::Description { file: path, why: "its name is no UTF-8".to_owned() }),
                }
            }
        };
        Ok(Self { format: FORMAT, blocks: resolve(blocks, "blocks")?, index: resolve(index, "index")? })
    }

    /// Whether a directory has a description.
    pub(crate) fn exists(files: &impl Files, directory: &Path) -> Result<bool, Error> {
        let file = directory.join(FILE);
        uninterrupted(|| files.exists(&file))
            .map_err(|error| Error::io(format!("looking for {}", file.display()), error))
    }

    pub(crate) fn blocks(&self, directory: &Path) -> PathBuf {
        directory.join(&self.blocks)
    }

    pub(crate) fn index(&self, directory: &Path) -> PathBuf {
        directory.join(&self.index)
    }

    /// Every directory of the store: its own, the log's and the index's.
    pub(crate) fn directories(&self, directory: &Path) -> [PathBuf; 3] {
        [directory.to_owned(), self.blocks(directory), self.index(directory)]
    }

    pub(crate) fn read(files: &impl Files, directory: &Path) -> Result<Self, Error> {
        let file = directory.join(FILE);
        let read = files.open(&file, Opening::Read).and_then(|file| read_whole(&file));
        let text = match read.and_then(|bytes| String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData.into())) {
            Ok(text) => text,
            // A link that leads nowhere is no missing description.
            Err(error) if error.kind() == ErrorKind::NotFound && !Self::exists(files, directory)? => {
                return Err(Error::NoStore(directory.to_owned()));
            }
            Err(error) => return Err(Error::io(format!("reading {}", file.display()), error)),
        };
        let why = |why: String| Error::Description { file: file.clone(), why };
        let layout: Self = toml::from_str(&text).map_err(|error| why(error.to_string()))?;
        if layout.format != FORMAT {
            return Err(why(format!("format {} is not known here; a newer ouroboros wrote it", layout.format)));
        }
        Ok(layout)
    }

    /// Writes the description in one step: it is there whole, or not at all.
    pub(crate) fn write(&self, files: &impl Files, directory: &Path) -> Result<(), Error> {
        // PA
        let text = toml::to_string(self)
            .map_err(|error| Error::Description { file: directory.join(FILE), why: error.to_string() })?;
        let write = || -> std::io::Result<()> {
            let draft = directory.join("ouroboros.toml.new");
            let file = files.open(&draft, Opening::Replace)?;
            let head = b"# Where this store keeps its log (the truth) and its index (a cache).\n";
            write_all(&file, 0, &[head, text.as_bytes()])?;
            if !planted(Mistake::RenamedUnsynced) {
                file.sync_all()?;
            }
            files.rename(&draft, &directory.join(FILE))?;
            if planted(Mistake::RenameNotSynced) { Ok(()) } else { sync_names(files, directory) }
        };
        write().map_err(|error| Error::io(format!("writing {}", directory.join(FILE).display()), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFiles;

    #[test]
    fn a_description_says_what_was_written_and_refuses_other_formats() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Layout::read(&RealFiles, directory.path()), Err(Error::NoStore(_))));
        let layout = Layout::new(Some(Path::new("/far/away")), None).unwrap();
        layout.write(&RealFiles, directory.path()).unwrap();
        assert_eq!(Layout::read(&RealFiles, directory.path()).unwrap(), layout);
        assert_eq!(layout.blocks(directory.path()), Path::new("/far/away"));
        assert_eq!(layout.index(directory.path()), directory.path().join("index"));
        std::fs::write(directory.path().join(FILE), "format = 9\nblocks = \"b\"\nindex = \"i\"\n").unwrap();
        assert!(matches!(Layout::read(&RealFiles, directory.path()), Err(Error::Description { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn only_what_is_not_there_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!Layout::exists(&RealFiles, directory.path()).unwrap());
        assert!(!Layout::exists(&RealFiles, &directory.path().join("nowhere")).unwrap());
        // A link in a circle: the system cannot say what is there.
        let circle = directory.path().join("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        assert!(matches!(Layout::exists(&RealFiles, &circle), Err(Error::Io { .. })));
        std::os::unix::fs::symlink("/nowhere/at/all", directory.path().join(FILE)).unwrap();
        assert!(Layout::exists(&RealFiles, directory.path()).unwrap());
        assert!(matches!(Layout::read(&RealFiles, directory.path()), Err(Error::Io { .. })));
    }

    #[test]
    fn a_description_that_is_not_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        Layout::new(None, None).unwrap().write(&RealFiles, directory.path()).unwrap();
        let good = std::fs::read(&file).unwrap();
        let cuts = (0..good.len() - 1).map(|len| good[..len].to_vec());
        let bytes = (0..good.len()).map(|at| {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            bad
        });
        let nested = [b"[".repeat(10_000), b"format = ".iter().chain(&b"[".repeat(10_000)).copied().collect()];
        let more = [good.clone(), b"more = 1\n".to_vec()].concat();
        let huge = b"format = 4294967297\nblocks = \"b\"\nindex = \"i\"\n".to_vec();
        for bad in cuts.chain(bytes).chain(nested).chain([more, huge]) {
            std::fs::write(&file, &bad).unwrap();
            let read = Layout::read(&RealFiles, directory.path());
            assert!(read.is_err(), "{:?} was read as {read:?}", String::from_utf8_lossy(&bad));
        }
    }
}
