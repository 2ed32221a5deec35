//! A directory that nothing written through it can leave, whatever the names say.
//!
//! Every step down is taken from an open directory, never follows a symbolic link, and goes by one plain name.

use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// Directories held open on the way down; below that each is opened when needed.
const MOST_OPEN: usize = 64;

/// Why a key cannot be a path below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameRefused {
    #[error("its name is absolute or has an empty part")]
    Empty,
    #[error("its name has a '.' or '..' part")]
    Dots,
    #[error("a part of its name is longer than 255 bytes")]
    Long,
}

/// The parts of a key, if it may be a path below a directory.
pub(crate) fn parts(key: &[u8]) -> Result<Vec<&[u8]>, NameRefused> {
    // PA
    let parts: Vec<&[u8]> = key.split(|byte| *byte == b'/').collect();
    for part in &parts {
        match *part {
            b"" => return Err(NameRefused::Empty),
            b"." | b".." => return Err(NameRefused::Dots),
            part if part.len() > 255 => return Err(NameRefused::Long),
            _ => {}
        }
    }
    Ok(parts)
}

/// One plain name, for the calls that take a path.
pub(crate) fn name(part: &[u8]) -> &OsStr {
    OsStr::from_bytes(part)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory, with the way to where we last were.
pub(crate) struct Rooted {
    root: Arc<OwnedFd>,
    way: Vec<(Vec<u8>, OwnedFd)>,
    /// Directories that were made, as keys.
    made: Vec<Vec<u8>>,
}

impl Rooted {
    /// Everything below an open directory.
    pub(crate) fn new(root: Arc<OwnedFd>) -> Self {
        Self { root, way: Vec::new(), made: Vec::new() }
    }

    /// Directories made since last asked.
    pub(crate) fn take_made(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.made)
    }

    /// The directory that `parts` leads to, made where it is missing, for the owner alone so far.
    pub(crate) fn directory<T>(
        &mut self,
        parts: &[&[u8]],
        act: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        // PA
        let kept = self.way.iter().zip(parts).take_while(|((held, _), part)| held == *part).count();
        self.way.truncate(kept);
        let mut beyond: Option<OwnedFd> = None;
        for depth in kept..parts.len() {
            let last = beyond.as_ref().or(self.way.last().map(|(_, fd)| fd)).unwrap_or(&self.root);
            let (next, made) = step(last.as_fd(), parts[depth])?;
            if made {
                self.made.push(parts[..=depth].join(&b'/'));
            }
            if depth < MOST_OPEN {
                self.way.push((parts[depth].to_vec(), next));
            } else {
                beyond = Some(next);
            }
        }
        let last = beyond.as_ref().or(self.way.last().map(|(_, fd)| fd)).unwrap_or(&self.root);
        act(last.as_fd())
    }
}

fn step(from: BorrowedFd<'_>, part: &[u8]) -> Result<(OwnedFd, bool), Errno> {
    // PA
    match fs::openat(from, name(part), DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {}
        result => return result.map(|fd| (fd, false)),
    }
    let made = match fs::mkdirat(from, name(part), Mode::RWXU) {
        Ok(()) => true,
        // Another worker was quicker, or something else took the place: opening tells.
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    Ok((fs::openat(from, name(part), DIRECTORY, Mode::empty())?, made))
}

/// Gives what stands under a temporary name its own. Without `replace`, nothing that is there is touched.
pub(crate) fn settle(parent: BorrowedFd<'_>, temporary: &OsStr, to: &OsStr, replace: bool) -> Result<(), Errno> {
    // PA
    let result = if replace {
        fs::renameat(parent, temporary, parent, to)
    } else {
        match fs::renameat_with(parent, temporary, parent, to, RenameFlags::NOREPLACE) {
            // Not every file system knows how; a hard link does not replace either.
            Err(Errno::INVAL | Errno::NOSYS) => fs::linkat(parent, temporary, parent, to, AtFlags::empty()),
            result => result,
        }
    };
    // After a link, and after a rename onto a link to the same file, the temporary name is still there.
    match fs::unlinkat(parent, temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => result,
        Err(error) => result.and(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for key in ["/etc/passwd", "a//b", "a/", "", ".", "..", "../a", "a/../b", "a/./b", "a/.."] {
            assert!(parts(key.as_bytes()).is_err(), "{key}");
        }
        assert_eq!(parts(b"a/...\xff/ b"), Ok(vec![&b"a"[..], b"...\xff", b" b"]));
        assert!(parts(&[b'x'; 256]).is_err());
    }

    #[test]
    fn a_symlink_is_never_a_step() {
        let directory = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), directory.path().join("link")).unwrap();
        let root = Arc::new(OwnedFd::from(std::fs::File::open(directory.path()).unwrap()));
        let mut rooted = Rooted::new(root);
        assert!(rooted.directory(&[b"link"], |_| Ok(())).is_err());
        assert!(rooted.directory(&[b"link", b"new"], |_| Ok(())).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        rooted.directory(&[b"a", b"b"], |_| Ok(())).unwrap();
        rooted.directory(&[b"a", b"c"], |_| Ok(())).unwrap();
        assert_eq!(rooted.take_made(), [&b"a"[..], b"a/b", b"a/c"]);
    }

    #[test]
    fn a_very_deep_way_needs_few_open_files() {
        let directory = tempfile::tempdir().unwrap();
        let root = Arc::new(OwnedFd::from(std::fs::File::open(directory.path()).unwrap()));
        let mut rooted = Rooted::new(root);
        let parts = vec![&b"d"[..]; 1500];
        rooted.directory(&parts, |_| Ok(())).unwrap();
        assert!(rooted.way.len() <= MOST_OPEN);
        assert_eq!(rooted.take_made().len(), 1500);
    }
}
