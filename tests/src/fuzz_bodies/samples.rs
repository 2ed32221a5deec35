//! One valid value of every structure, the same at every run.

use bytes::Bytes;
use ouroboros_engine::blob::{
    Attributes, BlobKind, BlobRecord, Body, ChunkList, ChunkRef, Content, ContentKind, Header, RefPage, ScopeTag,
    SignedHeader, SnapshotEntry, SnapshotWriter, seal_body,
};
use ouroboros_engine::deletion::{Purged, SignedTombstone, Tombstone, TombstoneRecord};
use ouroboros_engine::id::{
    AuthorId, BlobId, ChunkId, Dot, EngineRng, Epoch, Hlc, Incarnation, KeyHash, NodeId, Partition, RealmId, RefPageId,
    SealId, Secret, Sequence, TombstoneId,
};
use ouroboros_engine::keys::{AuthorKey, Grant, GroupWrap, KdfParams, Keyring, MasterSecret, ReaderWrap, Vault};
use ouroboros_engine::names::{KeyName, SealedPath, seal_path};
use ouroboros_engine::node::{Note, Policy, StoreConfig};
use ouroboros_engine::seal::{ChunkerParams, Coding, Compression};
use ouroboros_engine::store::index::{
    BlobRow, Child, ChunkKey, ChunkRow, KeyRow, Owner, RefPageRow, Reference, SealRow, TableKey, Target, TombstoneRow,
    VersionKey,
};
use ouroboros_engine::store::{Location, SegmentId};

/// The passphrase of [`keyring_file`].
pub(super) const PASSPHRASE: &[u8] = b"passphrase";

pub(super) fn rng() -> EngineRng {
    EngineRng::from_seed([5; 32])
}

pub(super) fn master() -> MasterSecret {
    MasterSecret::new(Secret::new([1; 32]))
}

pub(super) fn keyring() -> Keyring {
    Keyring::from_master(master())
}

fn author() -> AuthorKey {
    AuthorKey::from_seed(&Secret::new([7; 32]))
}

pub(super) fn body_key() -> Secret {
    Secret::new([9; 32])
}

pub(super) fn dot() -> Dot {
    Dot {
        node: NodeId::from_bytes([0x11; 32]),
        incarnation: Incarnation(2),
        partition: Partition(3),
        sequence: Sequence(4),
    }
}

fn blob(n: u8) -> BlobId {
    BlobId::from_bytes([n; 32])
}

fn seal(n: u8) -> SealId {
    SealId::from_bytes([n; 32])
}

fn location() -> Location {
    Location { segment: SegmentId(1), offset: 8192, len: 100 }
}

pub(super) fn group_wrap() -> GroupWrap {
    GroupWrap { epoch: Epoch(1), salt: [2; 16], commitment: [3; 32], sealed: [4; 48] }
}

pub(super) fn header() -> Header {
    Header {
        kind: BlobKind::Merger,
        realm: RealmId::from_bytes([0x21; 32]),
        epoch: Epoch(1),
        key_hash: KeyHash::from_bytes([0x22; 32]),
        path: vec![vec![0x23; 33]],
        parents: vec![blob(0x24), blob(0x25)],
        created: Hlc(0x018b_cfe5_6800_0001),
        author: author().id(),
        scope: ScopeTag([0x26; 8]),
        seals: vec![seal(0x27)],
        ref_pages: vec![RefPageId::from_bytes([0x28; 32])],
        body_hash: [0x29; 32],
        body_len: 1000,
    }
}

pub(super) fn signed_header() -> SignedHeader {
    signed(header())
}

fn signed(header: Header) -> SignedHeader {
    match SignedHeader::sign(header, &author()) {
        Ok(signed) => signed,
        Err(error) => unreachable!("a valid header: {error}"),
    }
}

pub(super) fn body() -> Body {
    let mut attributes = Attributes::new();
    // Within every limit.
    let _ = attributes.set(*b"mode", *b"0644");
    Body {
        name: b"a/key".to_vec(),
        scope: vec![0],
        attributes,
        kind: ContentKind::Bytes,
        content: Content::Inline(Bytes::from_static(b"the value")),
    }
}

fn chunk(n: u8) -> ChunkRef {
    ChunkRef {
        chunk_id: ChunkId::from_bytes([n; 32]),
        seal_id: seal(n.wrapping_add(1)),
        secret: Secret::new([n.wrapping_add(2); 32]),
        len: 0x0004_0000,
    }
}

pub(super) fn body_of_chunks() -> Body {
    let chunks = vec![chunk(0x31), chunk(0x41)];
    Body { content: Content::Chunks { len: 0x0008_0000, depth: 1, chunks }, ..body() }
}

pub(super) fn chunk_list() -> ChunkList {
    ChunkList { depth: 0, chunks: vec![chunk(0x31)] }
}

pub(super) fn ref_page() -> RefPage {
    RefPage { seals: vec![seal(1), seal(2)] }
}

/// What [`sealed_body`] is bound to.
pub(super) const BINDING: [u8; 32] = [6; 32];

pub(super) fn sealed_body() -> Vec<u8> {
    sealed(&BINDING).to_vec()
}

fn sealed(binding: &[u8; 32]) -> Bytes {
    match seal_body(&body(), &body_key(), binding) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("a valid body: {error}"),
    }
}

pub(super) fn record() -> BlobRecord {
    let mut header = header();
    let body = sealed(&header.body_binding());
    header.body_hash = Header::hash_body(&body);
    header.body_len = body.len() as u32;
    BlobRecord { dot: dot(), header: signed(header), wrap: group_wrap(), body }
}

pub(super) fn tombstone() -> Tombstone {
    let purged = |n: u8| Purged { id: blob(n), dot: dot(), created: Hlc(1 << 16), parents: vec![blob(0x51)] };
    Tombstone {
        realm: RealmId::from_bytes([0x21; 32]),
        key_hash: KeyHash::from_bytes([0x22; 32]),
        author: author().id(),
        created: Hlc(2 << 16),
        versions: vec![purged(0x52), purged(0x53)],
    }
}

pub(super) fn signed_tombstone() -> SignedTombstone {
    match SignedTombstone::sign(tombstone(), &author()) {
        Ok(signed) => signed,
        Err(error) => unreachable!("a valid tombstone: {error}"),
    }
}

pub(super) fn tombstone_record() -> TombstoneRecord {
    TombstoneRecord { dot: dot(), signed: signed_tombstone() }
}

pub(super) fn snapshot_list() -> Vec<u8> {
    let mut writer = SnapshotWriter::new();
    let mut out = writer.start().to_vec();
    for (name, n) in [("a", 1), ("a/b", 2)] {
        // The names rise.
        let _ = writer.push(&SnapshotEntry { name: name.into(), id: blob(n) }, &mut out);
    }
    out
}

pub(super) fn note() -> Note {
    Note {
        node: NodeId::from_bytes([0x11; 32]),
        incarnation: Incarnation(2),
        clock: Hlc(0x018b_cfe5_6800_0001),
        removals: 3,
    }
}

pub(super) fn policy() -> Policy {
    Policy { created: Hlc(0x018b_cfe5_6800_0001), coding: Coding::default() }
}

pub(super) fn store_config() -> StoreConfig {
    StoreConfig {
        realm: RealmId::from_bytes([0x21; 32]),
        chunker: ChunkerParams::default(),
        compression: Compression::default(),
        coding: Coding::default(),
        partition_bits: StoreConfig::PERSONAL_PARTITION_BITS,
    }
}

pub(super) fn grant() -> Grant {
    let public = keyring().reader_public();
    match Grant::issue(&author(), blob(0x61), &public, &body_key(), Hlc(1 << 16), &mut rng()) {
        Ok(grant) => grant,
        Err(error) => unreachable!("a proper key: {error}"),
    }
}

pub(super) fn reader_wrap() -> ReaderWrap {
    match ReaderWrap::seal(&keyring().reader_public(), b"object", author().id(), &body_key(), &mut rng()) {
        Ok(wrap) => wrap,
        Err(error) => unreachable!("a proper key: {error}"),
    }
}

pub(super) fn phrase() -> String {
    master().phrase().as_str().to_owned()
}

pub(super) fn keyring_file() -> Vec<u8> {
    match Vault::seal(&keyring(), PASSPHRASE, KdfParams::TESTING, &mut rng()) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("8 KiB are to be had: {error}"),
    }
}

pub(super) fn key_name() -> KeyName {
    match KeyName::new("photos/\u{fc}.jpg") {
        Ok(name) => name,
        Err(error) => unreachable!("a valid name: {error}"),
    }
}

pub(super) fn sealed_path() -> SealedPath {
    seal_path(&keyring().name_keys(), &key_name())
}

pub(super) fn sealed_component() -> Vec<u8> {
    sealed_path().entries().next().map(|(_, component)| super::written(component)).unwrap_or_default()
}

pub(super) fn blob_row() -> BlobRow {
    BlobRow {
        location: location(),
        key_hash: KeyHash::from_bytes([0x22; 32]),
        created: Hlc(1 << 16),
        parents: vec![blob(0x24)],
        kind: 0,
        author: AuthorId::from_bytes([0x71; 32]),
        gone: false,
        len: 9,
        dot: dot(),
        purged: true,
    }
}

pub(super) fn key_row() -> KeyRow {
    KeyRow { name: b"a/key".to_vec(), heads: vec![(Hlc(1), blob(1)), (Hlc(2), blob(2))], winner_gone: false }
}

pub(super) fn seal_row() -> SealRow {
    SealRow { ciphertext_len: 4096, data: 1, parity: 1, slices: vec![Some(location()), None] }
}

pub(super) fn chunk_row() -> ChunkRow {
    ChunkRow { seal_id: seal(1), secret: Secret::new([2; 32]) }
}

pub(super) fn ref_page_row() -> RefPageRow {
    RefPageRow { location: location() }
}

pub(super) fn tombstone_row() -> TombstoneRow {
    TombstoneRow {
        tombstone: TombstoneId::from_bytes([0x72; 32]),
        location: location(),
        key_hash: KeyHash::from_bytes([0x22; 32]),
        dot: dot(),
        parents: vec![blob(0x24)],
        author: AuthorId::from_bytes([0x71; 32]),
        created: Hlc(1 << 16),
    }
}

/// The key of one reference; the other tables' keys are as long or shorter.
pub(super) fn index_keys() -> Vec<u8> {
    let reference = Reference { target: Target::Seal(seal(1)), owner: Owner::Blob(blob(2)) };
    reference.to_bytes().as_ref().to_vec()
}

/// Every fixed form of an index key reads back as it is written.
pub(super) fn index_key_forms(bytes: &[u8]) -> bool {
    fn same<K: TableKey>(bytes: &[u8]) -> bool {
        let Some(key) = K::from_bytes(bytes) else { return false };
        assert_eq!(key.to_bytes().as_ref(), bytes);
        true
    }
    // All of them get the bytes.
    same::<Reference>(bytes)
        | same::<Child>(bytes)
        | same::<VersionKey>(bytes)
        | same::<ChunkKey>(bytes)
        | same::<BlobId>(bytes)
}
