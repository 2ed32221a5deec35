//! The tables, their keys and their order.
//!
//! Keys are byte strings whose order is the order wanted: fixed arrays, numbers big-endian. Values are [`StoredRow`], without a
//! version byte of their own: the file's superblock carries the version of all of them, and an index of another version
//! is rebuilt, never migrated.

use super::rows::{BlobRow, ChunkRow, KeyRow, RefPageRow, SealRow, TombstoneRow};
use super::stored::StoredRow;
use crate::id::{BlobId, ChunkId, Hlc, ID_LEN, KeyHash, RefPageId, SealId};

/// How many tables there are.
pub(super) const TABLES: usize = 12;

/// A typed table.
pub trait Table {
    /// What rows are found by.
    type Key: TableKey;
    /// What is stored.
    type Value: StoredRow;
    /// The table's name in the file.
    const NAME: &'static str;
    /// The table's place among all; see [`TableId`].
    const ID: TableId;
}

/// A row of a table: key and value.
pub type Row<T> = (<T as Table>::Key, <T as Table>::Value);

/// The place of a table among all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableId(pub(super) usize);

/// A key with one byte form, whose byte order is its order.
pub trait TableKey: Sized {
    /// The byte form.
    type Bytes<'a>: AsRef<[u8]>
    where
        Self: 'a;

    /// The bytes under which a row is stored.
    fn to_bytes(&self) -> Self::Bytes<'_>;

    /// Reads what [`Self::to_bytes`] wrote.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident($place:literal, $text:literal): $key:ty => $value:ty;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl Table for $name {
                type Key = $key;
                type Value = $value;
                const NAME: &'static str = $text;
                const ID: TableId = TableId($place);
            }
        )*

        /// The names in the file, by [`TableId`].
        pub(super) const NAMES: [&str; TABLES] = [$($text),*];
    };
}

tables! {
    /// Every version that the log holds, or that was purged.
    Blobs(0, "blobs"): BlobId => BlobRow;
    /// Every key, by its keyed hash.
    Keys(1, "keys"): KeyHash => KeyRow;
    /// Key names in byte order.
    Names(2, "names"): Vec<u8> => KeyHash;
    /// The versions of each key that are not among its heads, oldest first.
    Versions(3, "versions"): VersionKey => ();
    /// Where the slices of each seal lie.
    Seals(4, "seals"): SealId => SealRow;
    /// Which seal holds a chunk's plaintext, for deduplication.
    Chunks(5, "chunks"): ChunkKey => ChunkRow;
    /// What was deleted.
    Tombstones(6, "tombstones"): BlobId => TombstoneRow;
    /// Pages of seal references.
    RefPages(7, "ref-pages"): RefPageId => RefPageRow;
    /// Whatever else belongs to a checkpoint, by name.
    Meta(8, "meta"): Vec<u8> => Vec<u8>;
    /// Which versions are based on a version.
    Children(9, "children"): Child => ();
    /// Who refers to a seal or to a page of references.
    References(10, "references"): Reference => ();
    /// What rows name by a number.
    SymbolTable(11, "symbols"): SymbolNumber => Vec<u8>;
}

/// One version of one key. Orders by key, then by time, then by id: the last of a key is its newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionKey {
    /// The key.
    pub key_hash: KeyHash,
    /// When the version was made.
    pub created: Hlc,
    /// The version.
    pub blob: BlobId,
}

/// A chunk within a deduplication scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkKey {
    /// Tag of the scope.
    pub scope: [u8; 8],
    /// The chunk.
    pub chunk: ChunkId,
}

/// An edge of the version graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Child {
    /// The version that is followed.
    pub parent: BlobId,
    /// The version that follows it.
    pub child: BlobId,
}

/// What can be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A seal.
    Seal(SealId),
    /// A page of references.
    Page(RefPageId),
}

/// Who can refer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A version.
    Blob(BlobId),
    /// A page of references.
    Page(RefPageId),
}

/// One reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// What is referred to.
    pub target: Target,
    /// By whom.
    pub owner: Owner,
}

/// The number of a symbol, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SymbolNumber(pub u64);

impl Target {
    /// The bytes that the keys of all references to it start with.
    #[must_use]
    pub fn prefix(&self) -> [u8; 1 + ID_LEN] {
        match self {
            Self::Seal(id) => tagged(0, id.as_bytes()),
            Self::Page(id) => tagged(1, id.as_bytes()),
        }
    }
}

fn tagged(tag: u8, id: &[u8; ID_LEN]) -> [u8; 1 + ID_LEN] {
    let mut out = [tag; 1 + ID_LEN];
    out[1..].copy_from_slice(id);
    out
}

fn untagged(bytes: &[u8]) -> Option<(u8, [u8; ID_LEN])> {
    let (&tag, id) = bytes.split_first()?;
    Some((tag, id.try_into().ok()?))
}

impl TableKey for Child {
    type Bytes<'a> = [u8; 2 * ID_LEN];

    fn to_bytes(&self) -> Self::Bytes<'_> {
        let mut out = [0; 2 * ID_LEN];
        out[..ID_LEN].copy_from_slice(self.parent.as_bytes());
        out[ID_LEN..].copy_from_slice(self.child.as_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // PA
        let (parent, child) = bytes.split_first_chunk::<ID_LEN>()?;
        Some(Self { parent: BlobId::from_bytes(*parent), child: BlobId::from_bytes(child.try_into().ok()?) })
    }
}

impl TableKey for Reference {
    type Bytes<'a> = [u8; 2 * (1 + ID_LEN)];

    fn to_bytes(&self) -> Self::Bytes<'_> {
        let owner = match &self.owner {
            Owner::Blob(id) => tagged(0, id.as_bytes()),
            Owner::Page(id) => tagged(1, id.as_bytes()),
        };
        let mut out = [0; 2 * (1 + ID_LEN)];
        out[..1 + ID_LEN].copy_from_slice(&self.target.prefix());
        out[1 + ID_LEN..].copy_from_slice(&owner);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // PA
        let (target, owner) = bytes.split_at_checked(1 + ID_LEN)?;
        let target = match untagged(target)? {
            (0, id) => Target::Seal(SealId::from_bytes(id)),
            (1, id) => Target::Page(RefPageId::from_bytes(id)),
            _ => return None,
        };
        let owner = match untagged(owner)? {
            (0, id) => Owner::Blob(BlobId::from_bytes(id)),
            (1, id) => Owner::Page(RefPageId::from_bytes(id)),
            _ => return None,
        };
        Some(Self { target, owner })
    }
}

macro_rules! id_key {
    ($($id:ident),*) => {
        $(impl TableKey for $id {
            type Bytes<'a> = [u8; ID_LEN];

            fn to_bytes(&self) -> Self::Bytes<'_> {
                *self.as_bytes()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                // PA
                bytes.try_into().ok().map(Self::from_bytes)
            }
        })*
    };
}

id_key!(BlobId, KeyHash, RefPageId, SealId);

impl TableKey for SymbolNumber {
    type Bytes<'a> = [u8; 8];

    fn to_bytes(&self) -> Self::Bytes<'_> {
        self.0.to_be_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // PA
        bytes.try_into().ok().map(u64::from_be_bytes).map(Self)
    }
}

impl TableKey for Vec<u8> {
    type Bytes<'a> = &'a [u8];

    fn to_bytes(&self) -> Self::Bytes<'_> {
        self
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // PA
        Some(bytes.to_vec())
    }
}

impl TableKey for VersionKey {
    type Bytes<'a> = [u8; 2 * ID_LEN + 8];

    fn to_bytes(&self) -> Self::Bytes<'_> {
        let mut out = [0; 2 * ID_LEN + 8];
        out[..ID_LEN].copy_from_slice(self.key_hash.as_bytes());
        out[ID_LEN..ID_LEN + 8].copy_from_slice(&self.created.0.to_be_bytes());
        out[ID_LEN + 8..].copy_from_slice(self.blob.as_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // PA
        let (key_hash, rest) = bytes.split_first_chunk::<ID_LEN>()?;
        let (created, blob) = rest.split_first_chunk::<8>()?;
        Some(Self {
            key_hash: KeyHash::from_bytes(*key_hash),
            created: Hlc(u64::from_be_bytes(*created)),
            blob: BlobId::from_bytes(blob.try_into().ok()?),
        })
    }
}

impl TableKey for ChunkKey {
    type Bytes<'a> = [u8; ID_LEN + 8];

    fn to_bytes(&self) -> Self::Bytes<'_> {
        let mut out = [0; ID_LEN + 8];
        out[..8].copy_from_slice(&self.scope);
        out[8..].copy_from_slice(self.chunk.as_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // PA
        let (scope, chunk) = bytes.split_first_chunk::<8>()?;
        Some(Self { scope: *scope, chunk: ChunkId::from_bytes(chunk.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = VersionKey> {
        (0..3u8, any::<u64>(), any::<[u8; ID_LEN]>()).prop_map(|(key, created, blob)| VersionKey {
            key_hash: KeyHash::from_bytes([key; ID_LEN]),
            created: Hlc(created),
            blob: BlobId::from_bytes(blob),
        })
    }

    proptest! {
        #[test]
        fn keys_survive_and_their_bytes_keep_their_order(a in version(), b in version(), m: u64, n: u64) {
            prop_assert_eq!(VersionKey::from_bytes(&a.to_bytes()), Some(a));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            let chunk = ChunkKey { scope: m.to_be_bytes(), chunk: ChunkId::from_bytes([n as u8; ID_LEN]) };
            prop_assert_eq!(ChunkKey::from_bytes(&chunk.to_bytes()), Some(chunk));
        }
    }
}
