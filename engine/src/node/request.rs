//! What clients ask of a node, and what it answers.

use crate::blob::{Attributes, BlobKind};
use crate::id::{AuthorId, BlobId, Hlc, SealId};
use crate::keys::DedupScope;
use crate::names::KeyName;
use crate::seal::Coding;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::Range;

/// Names one request until its last reply. Chosen by the client; must not be in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A peer's connection. Nobody is connected to a store of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// Which version a new one is based on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// The winner at the time the version is made; none for a new key.
    #[default]
    Winner,
    /// Exactly these versions.
    Versions(Vec<BlobId>),
}

/// How a value is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOptions {
    /// Metadata sealed beside the content.
    pub attributes: Attributes,
    /// What the new version follows.
    pub base: Base,
    /// Child, Merger or VersionVector.
    pub kind: BlobKind,
    /// The coding of chunks that are new; the store's own if absent.
    pub coding: Option<Coding>,
    /// Who may share chunks with this value.
    pub scope: DedupScope,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            attributes: Attributes::default(),
            base: Base::Winner,
            kind: BlobKind::Child,
            coding: None,
            scope: DedupScope::Realm,
        }
    }
}

/// Where a new version's content comes from.
#[derive(Clone, Debug)]
pub enum PutSource {
    /// The bytes themselves.
    Value(Bytes),
    /// [`Request::PutData`] pieces follow, then [`Request::PutEnd`].
    Stream,
    /// The content and attributes of a version of any key; nothing is copied.
    SameAs(BlobId),
    /// None: the key is gone from here on, its history stays.
    Gone,
}

/// One version to be written.
#[derive(Clone, Debug)]
pub struct Put {
    /// The key.
    pub key: KeyName,
    /// Its content.
    pub source: PutSource,
    /// How to store it.
    pub options: PutOptions,
}

/// Which version of a key is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The deterministic winner among the heads.
    #[default]
    Winner,
    /// This one.
    Version(BlobId),
    /// The winner among the versions stamped at or before this time.
    At(Hlc),
}

/// What to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeTarget {
    /// Every version of a key.
    Key(KeyName),
    /// One version. If it is a head, what it followed is one again. One that removed its key is refused with
    /// [`Failure::WouldReturn`] as long as what it removed is there, whatever was written since: purge that first.
    Version(BlobId),
}

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Request {
    /// Writes versions. One [`Reply::Put`] after all are durable.
    Put(Vec<Put>),
    /// Opens a stream; this request's id names it. [`Reply::Ready`] asks for data.
    PutOpen(Box<Put>),
    /// The next bytes of a stream. [`Reply::Ready`] when more is welcome: back-pressure.
    PutData {
        /// The id of the `PutOpen`.
        stream: RequestId,
        /// The bytes; large pieces (4 MiB) are best.
        data: Bytes,
    },
    /// The stream is complete. [`Reply::Put`] once it is durable.
    PutEnd {
        /// The id of the `PutOpen`.
        stream: RequestId,
    },
    /// Forgets a stream.
    PutAbort {
        /// The id of the `PutOpen`.
        stream: RequestId,
    },
    /// Finds and opens versions. One [`Reply::Got`], an entry for each.
    Get(Vec<(KeyName, Select)>),
    /// Says which versions are there: neither unknown nor purged. [`Reply::Exist`]; nothing is read but the index.
    Exist(Vec<BlobId>),
    /// Opens a version by id alone.
    GetVersion(BlobId),
    /// Reads bytes of a version. [`Reply::Data`]; at most [`crate::node::Limits::read_len`] bytes.
    Read {
        /// The version.
        blob: BlobId,
        /// Which bytes; cut to the content's length.
        range: Range<u64>,
    },
    /// The heads of a key, winner first. [`Reply::Versions`].
    Heads(KeyName),
    /// The versions of a key, newest first. [`Reply::Versions`].
    Log {
        /// The key.
        key: KeyName,
        /// Continue after this version.
        after: Option<(Hlc, BlobId)>,
        /// At most so many.
        limit: usize,
    },
    /// The best common ancestors of versions of one key. [`Reply::Versions`], or [`Failure::TooLarge`] where too many versions lie
    /// between.
    MergeBases(Vec<BlobId>),
    /// Which bytes differ between two versions. [`Reply::Diff`], or [`Failure::TooLarge`] where they have too many chunks.
    Diff {
        /// The older side.
        from: BlobId,
        /// The newer side.
        to: BlobId,
    },
    /// Keys in byte order. [`Reply::Listing`].
    List(ListRequest),
    /// Destroys versions for good. [`Reply::Purged`] once the tombstones are durable.
    Purge(PurgeTarget),
    /// Re-reads and re-hashes everything; heals if told to. [`Reply::Scrubbed`].
    Scrub {
        /// Rewrite what is rotten from parity.
        repair: bool,
    },
    /// Changes the coding of every seal, in place. [`Reply::Recoded`].
    Recode(Coding),
    /// Returns the space of dead records. [`Reply::Compacted`].
    Compact,
    /// Figures about the store. [`Reply::Stats`].
    Stats,
    /// Everything durable, indexed and protected by parity. [`Reply::Closed`]; nothing is accepted afterwards.
    Close,
}

/// Which keys to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only names that start with this.
    pub prefix: Vec<u8>,
    /// Continue after this name (a directory's name ends in '/').
    pub after: Option<Vec<u8>>,
    /// Descend into directories; otherwise each is one entry.
    pub recursive: bool,
    /// Include keys whose winner says "gone".
    pub include_gone: bool,
    /// At most so many entries.
    pub limit: usize,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key's name, or a directory's with a '/' at its end.
    pub name: Vec<u8>,
    /// What stands there.
    pub kind: EntryKind,
}

/// What a listing's line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Further names begin with this one.
    Directory,
    /// A key.
    Key {
        /// The winner.
        winner: BlobId,
        /// Its stamp.
        created: Hlc,
        /// Its content's length in bytes.
        len: u64,
        /// How many heads there are; more than one is a conflict.
        heads: u32,
        /// The winner says "gone".
        gone: bool,
    },
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries, in byte order of their names.
    pub entries: Vec<Entry>,
    /// Pass it as `after` for the next page; none when this was the last.
    pub next: Option<Vec<u8>>,
}

/// A version, as history shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: BlobId,
    /// Its stamp.
    pub created: Hlc,
    /// Who signed it.
    pub author: AuthorId,
    /// Child, Merger or VersionVector.
    pub kind: BlobKind,
    /// What it follows.
    pub parents: Vec<BlobId>,
    /// Its content's length in bytes.
    pub len: u64,
    /// It says "gone".
    pub gone: bool,
    /// No version follows it.
    pub is_head: bool,
}

/// A version that was found and opened.
#[derive(Clone, Debug)]
pub struct Got {
    /// What is known of it.
    pub version: Version,
    /// The key's other heads: not empty means a conflict.
    pub others: Vec<BlobId>,
    /// Its name.
    pub key: KeyName,
    /// The metadata sealed beside it.
    pub attributes: Attributes,
    /// The content, if it is small.
    pub inline: Option<Bytes>,
}

/// One version that is now durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The new version.
    pub id: BlobId,
    /// Its stamp.
    pub created: Hlc,
    /// The key's heads now.
    pub heads: Vec<BlobId>,
}

/// Ranges that differ between two versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffReply {
    /// Each pair: bytes of the older side that were replaced by bytes of the newer.
    pub ranges: Vec<(Range<u64>, Range<u64>)>,
}

/// What damage was found where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In words: the file, the offset and the record.
    pub place: String,
    /// What became of it.
    pub outcome: DamageOutcome,
}

/// What became of a damaged place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageOutcome {
    /// The exact bytes stand there again.
    Healed,
    /// It can be healed, or may be: nobody asked to, or the disk did not let it be written.
    Healable,
    /// Nothing that is alive depended on it.
    Harmless,
    /// More is damaged than the redundancy covers.
    Lost,
}

/// What a scrub saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Log records read.
    pub records: u64,
    /// Bytes of their payloads, each counted once, also where a slice was read again with its seal.
    pub bytes: u64,
    /// Seals whose slices were verified.
    pub seals: u64,
    /// Everything that was wrong.
    pub damage: Vec<Damage>,
    /// Versions that cannot be read back in full, with their keys where known.
    pub lost: BTreeSet<BlobId>,
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Segments removed.
    pub segments_removed: u64,
    /// Bytes on disk before.
    pub bytes_before: u64,
    /// Bytes on disk after.
    pub bytes_after: u64,
    /// Seals that nothing referenced any more.
    pub seals_collected: u64,
}

/// What a recode did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecodeReport {
    /// Seals now in the new coding.
    pub recoded: u64,
    /// Seals that were in it already.
    pub unchanged: u64,
    /// Seals that could not be read.
    pub damaged: Vec<SealId>,
}

/// Figures about a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys, gone ones included.
    pub keys: u64,
    /// Versions of all keys.
    pub versions: u64,
    /// Keys with more than one head.
    pub conflicts: u64,
    /// Live seals.
    pub seals: u64,
    /// Seals with fewer intact slices than their coding has.
    pub degraded_seals: u64,
    /// Ciphertext bytes of the live seals, before coding.
    pub sealed_bytes: u64,
    /// Bytes of all values, every version counted in full. Only the sealed bodies say; none without keys.
    pub logical_bytes: Option<u64>,
    /// Tombstones.
    pub tombstones: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Bytes of live records in it.
    pub live_bytes: u64,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no such key.
    #[error("there is no key {0}")]
    NoSuchKey(KeyName),
    /// The key's newest version says "gone"; its history is still there.
    #[error("{key} was removed; its history is still there (see `log`)")]
    Gone {
        /// The key.
        key: KeyName,
        /// The version that removed it.
        version: BlobId,
    },
    /// There is no such version, or it was purged.
    #[error("there is no version {0}")]
    NoSuchVersion(BlobId),
    /// A named version belongs to another key.
    #[error("version {version} is not one of {key}")]
    OtherKey {
        /// The version.
        version: BlobId,
        /// The key.
        key: KeyName,
    },
    /// Without the version that removed the key, the content that it removed would be back, at once or when what was
    /// written since is purged.
    #[error(
        "version {removal} removed its key, and purging it would bring version {version} back: purge that version first, or the key to destroy its history, or restore a version to bring it back"
    )]
    WouldReturn {
        /// The version that says "gone".
        removal: BlobId,
        /// A version that it removed, and that is there.
        version: BlobId,
    },
    /// Stored bytes are damaged beyond what the redundancy covers.
    #[error("damaged beyond repair: {place}")]
    Damaged {
        /// What, and where it lies.
        place: String,
    },
    /// The index ran into damage. It is a cache, and is made anew from the log before the next request.
    #[error("the index is damaged ({0}); it is made anew from the log: try again")]
    Index(String),
    /// The disk is full. Nothing was lost; free space and try again.
    #[error("the disk is full; nothing stored was lost: free some space and try again")]
    Full,
    /// The disk refused.
    #[error("the disk failed: {0}; writing stops until the store is opened anew")]
    Disk(String),
    /// The process or the machine has no more open files, or no more memory, to give; what is stored is as it was.
    #[error("{0}; nothing stored was lost: when there is more of it, try again")]
    Exhausted(String),
    /// Too much is under way.
    #[error("too many requests are under way; try again")]
    Busy,
    /// The store was opened without its keys.
    #[error("this needs the keyring, and the store was opened without it")]
    NoKeys,
    /// A limit of the format or the configuration.
    #[error("{what} is {found}, and may be at most {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// What was asked for.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

/// What the node answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// More data is welcome.
    Ready,
    /// These versions are durable, in the order asked; or why one is not.
    Put(Vec<Result<Written, Failure>>),
    /// These versions were found.
    Got(Vec<Result<Got, Failure>>),
    /// Whether each version is there, in the order asked.
    Exist(Vec<bool>),
    /// The bytes, in order, in pieces.
    Data(Vec<Bytes>),
    /// Versions.
    Versions(Vec<Version>),
    /// The differing ranges.
    Diff(DiffReply),
    /// A page of a listing.
    Listing(Page),
    /// So many versions were destroyed.
    Purged {
        /// Versions.
        versions: u64,
    },
    /// The scrub is done.
    Scrubbed(ScrubReport),
    /// The recode is done.
    Recoded(RecodeReport),
    /// The compaction is done.
    Compacted(CompactReport),
    /// Figures.
    Stats(Stats),
    /// The store is closed.
    Closed,
    /// It could not be done.
    Failed(Failure),
}

/// Something worth telling that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key has more than one head now.
    Diverged {
        /// The heads.
        heads: Vec<BlobId>,
    },
    /// Damage was found, and what became of it.
    Integrity(Damage),
    /// A long request goes on.
    Progress {
        /// The request.
        id: RequestId,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}
