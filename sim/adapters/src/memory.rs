//! Files in memory, which lose nothing: for worlds that have no file system of their own. They know who has what open.

use ouroborosdb::env::{Files, Opening, RawFile};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Content = Arc<Mutex<Vec<u8>>>;

#[derive(Debug, Default)]
struct Tree {
    directories: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Content>,
}

/// A file system in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    tree: Arc<Mutex<Tree>>,
    open: Arc<AtomicUsize>,
}

/// An open file of [`MemoryFiles`].
#[derive(Debug)]
pub struct MemoryHandle {
    content: Content,
    open: Arc<AtomicUsize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryFiles {
    /// How many files are open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for MemoryHandle {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Files for MemoryFiles {
    type File = MemoryHandle;
    type Directory = ();

    fn open(&self, path: &Path, how: Opening) -> io::Result<MemoryHandle> {
        let mut tree = locked(&self.tree);
        let content = match (tree.files.get(path), how) {
            (Some(_), Opening::New) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(content), _) => content.clone(),
            (None, Opening::Read | Opening::Write) => return Err(ErrorKind::NotFound.into()),
            (None, Opening::New | Opening::Replace) => {
                let content = Content::default();
                tree.files.insert(path.to_owned(), content.clone());
                content
            }
        };
        if how == Opening::Replace {
            locked(&content).clear();
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(MemoryHandle { content, open: self.open.clone() })
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let tree = locked(&self.tree);
        let inside = tree.files.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| path.file_name().map(ToOwned::to_owned)).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.is_directory(path)? || locked(&self.tree).files.contains_key(path))
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(path.parent().is_none() || locked(&self.tree).directories.contains(path))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn create_directory(&self, path: &Path, _private: bool) -> io::Result<()> {
        if locked(&self.tree).directories.insert(path.to_owned()) {
            Ok(())
        } else {
            Err(ErrorKind::AlreadyExists.into())
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = locked(&self.tree);
        let content = tree.files.remove(from).ok_or(ErrorKind::NotFound)?;
        tree.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.tree).files.remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn open_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, (): &()) -> io::Result<()> {
        Ok(())
    }
}

impl RawFile for MemoryHandle {
    fn size(&self) -> io::Result<u64> {
        Ok(locked(&self.content).len() as u64)
    }

    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = locked(&self.content);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let count = buffer.len().min(content.len() - start);
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn write_some(&self, offset: u64, first: &[u8], _rest: &[&[u8]]) -> io::Result<usize> {
        let mut content = locked(&self.content);
        let start = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let end = start.checked_add(first.len()).ok_or(ErrorKind::FileTooLarge)?;
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(first);
        Ok(first.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| ErrorKind::FileTooLarge)?;
        locked(&self.content).resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}
