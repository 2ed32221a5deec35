//! What is kept of a file besides its bytes, and how that stands in a version's attributes.

use crate::store::Attributes;
use borsh::{BorshDeserialize, BorshSerialize};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// The attribute that holds a file's [`Entry`].
pub(crate) const ATTRIBUTE: &[u8] = b"tree";

/// The encoding's version, its first byte.
const VERSION: u8 = 1;

/// A time of the file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct FileTime {
    /// Seconds since the Unix epoch; negative before.
    pub(crate) seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub(crate) nanos: u32,
}

/// A run of bytes that is not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Extent {
    /// Its first byte.
    pub(crate) offset: u64,
    /// How many.
    pub(crate) len: u64,
}

/// What kind of thing stands in the directory.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Kind {
    /// A regular file.
    File {
        /// Its length when it was opened, in bytes.
        size: u64,
        /// If it has several names: the key of the first of them in this import.
        group: Option<Vec<u8>>,
        /// If it has holes: what is not a hole, in order.
        extents: Option<Vec<Extent>>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points, whatever is there.
        target: Vec<u8>,
    },
}

/// A file, directory or symbolic link, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// When its bytes last changed.
    pub(crate) mtime: FileTime,
    /// When anything of it last changed; only compared, never restored.
    pub(crate) ctime: FileTime,
    /// Its inode number; only compared.
    pub(crate) inode: u64,
    /// The file system's number; for the record. It changes from boot to boot, so nothing is concluded from it.
    pub(crate) device: u64,
}

/// A fingerprint of what an entry is known by, without what its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    /// All of it.
    pub(crate) full: [u8; 16],
    /// Without inode and change time, for file systems that make them up.
    pub(crate) loose: [u8; 16],
}

impl Print {
    /// Whether nothing suggests that the file is another than `earlier`. Without `identity`, inode and change time are not
    /// looked at.
    pub(crate) fn is_unchanged_since(&self, earlier: &Self, identity: bool) -> bool {
        if identity { self.full == earlier.full } else { self.loose == earlier.loose }
    }
}

impl Entry {
    /// The entry of a file that was looked at.
    pub(crate) fn new(metadata: &Metadata, kind: Kind) -> Self {
        let nanos = |nanos: i64| u32::try_from(nanos).unwrap_or(0);
        Self {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: FileTime { seconds: metadata.mtime(), nanos: nanos(metadata.mtime_nsec()) },
            ctime: FileTime { seconds: metadata.ctime(), nanos: nanos(metadata.ctime_nsec()) },
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    /// What later imports know it by: restic's rule of size, modification time and inode, sharpened by the change time.
    pub(crate) fn print(&self) -> Print {
        let known_by = match &self.kind {
            Kind::File { size, group, .. } => (0u8, *size, group.as_deref().unwrap_or_default()),
            Kind::Directory => (1, 0, &[][..]),
            Kind::Symlink { target } => (2, 0, target.as_slice()),
        };
        let (mut loose, mut identity) = (Vec::with_capacity(128), Vec::with_capacity(32));
        let outside = (known_by, self.mode, self.uid, self.gid, self.mtime);
        // Of a directory and a link, nothing else is ever looked at.
        let inside = matches!(self.kind, Kind::File { .. }).then_some((self.inode, self.ctime));
        // Writing to memory does not fail.
        let _ = BorshSerialize::serialize(&outside, &mut loose);
        let _ = BorshSerialize::serialize(&inside, &mut identity);
        let short = |hasher: &blake3::Hasher| {
            let mut out = [0; 16];
            hasher.finalize_xof().fill(&mut out);
            out
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&loose);
        let loose = short(&hasher);
        hasher.update(&identity);
        Print { full: short(&hasher), loose }
    }

    /// As a version's attributes.
    pub(crate) fn to_attributes(&self) -> Attributes {
        let mut bytes = vec![VERSION];
        // Writing to memory does not fail, and the longest entry is a symlink's, of 4 KiB.
        let mut attributes = Attributes::new();
        if BorshSerialize::serialize(self, &mut bytes).is_ok() {
            let _ = attributes.set(ATTRIBUTE, bytes);
        }
        attributes
    }

    /// From a version's attributes; `None` if it came from no import, or from a later version of this program.
    pub(crate) fn from_attributes(attributes: &Attributes) -> Option<Self> {
        let (version, bytes) = attributes.get(ATTRIBUTE)?.split_first()?;
        let entry: Self = if *version == VERSION { borsh::from_slice(bytes).ok()? } else { return None };
        let times_are_sound = entry.mtime.nanos < 1_000_000_000 && entry.ctime.nanos < 1_000_000_000;
        (entry.mode <= 0o7777 && times_are_sound).then_some(entry)
    }

    /// A word for it.
    pub(crate) const fn word(&self) -> &'static str {
        match self.kind {
            Kind::File { .. } => "file",
            Kind::Directory => "directory",
            Kind::Symlink { .. } => "symlink",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(kind: Kind) -> Entry {
        let time = FileTime { seconds: -5, nanos: 999_999_999 };
        Entry { kind, mode: 0o4755, uid: 7, gid: 8, mtime: time, ctime: time, inode: 1 << 40, device: 3 }
    }

    fn file(size: u64) -> Entry {
        sample(Kind::File { size, group: None, extents: None })
    }

    #[test]
    fn an_entry_survives_its_attributes() {
        let extents = Some(vec![Extent { offset: 4096, len: 1 }]);
        for kind in [
            Kind::File { size: 9, group: Some(b"\xff/a".to_vec()), extents },
            Kind::Directory,
            Kind::Symlink { target: b"../\xfe".to_vec() },
        ] {
            let entry = sample(kind);
            assert_eq!(Entry::from_attributes(&entry.to_attributes()), Some(entry));
        }
    }

    #[test]
    fn foreign_truncated_and_extended_attributes_are_no_entry() {
        let good = file(1).to_attributes().get(ATTRIBUTE).unwrap().to_vec();
        let decode = |bytes: &[u8]| {
            let mut attributes = Attributes::new();
            attributes.set(ATTRIBUTE, bytes).unwrap();
            Entry::from_attributes(&attributes)
        };
        assert!(decode(&good).is_some());
        for end in 0..good.len() {
            assert!(decode(&good[..end]).is_none(), "cut at {end}");
        }
        assert!(decode(&[&good[..], b"x"].concat()).is_none());
        assert!(decode(&[&[2][..], &good[1..]].concat()).is_none());
        // A symlink that claims a target of 4 GiB.
        assert!(decode(&[1, 2, 0xff, 0xff, 0xff, 0xff]).is_none());
    }

    #[test]
    fn a_file_counts_as_changed_when_anything_it_is_known_by_changed() {
        let unchanged = |one: &Entry, identity| one.print().is_unchanged_since(&file(1).print(), identity);
        assert!(unchanged(&file(1), true) && unchanged(&file(1), false));
        let later = FileTime { seconds: 9, nanos: 0 };
        let changes = [
            file(2),
            Entry { inode: 4, ..file(1) },
            Entry { ctime: later, ..file(1) },
            Entry { mtime: later, ..file(1) },
            Entry { mode: 0o600, ..file(1) },
            sample(Kind::File { size: 1, group: Some(b"k".to_vec()), extents: None }),
            sample(Kind::Directory),
        ];
        for changed in &changes {
            assert!(!unchanged(changed, true), "{changed:?}");
        }
        assert!(unchanged(&changes[1], false) && unchanged(&changes[2], false) && !unchanged(&changes[3], false));
        assert!(unchanged(&Entry { device: 99, ..file(1) }, true));
    }
}
