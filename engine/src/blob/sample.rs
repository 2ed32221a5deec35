//! Samples for tests, here and in the modules above.

use super::{
    Attributes, BlobKind, BlobRecord, Body, ChunkRef, Content, ContentKind, Header, ScopeTag, SignedHeader, seal_body,
};
use crate::id::{
    AuthorId, BlobId, ChunkId, Dot, Epoch, Hlc, Incarnation, KeyHash, NodeId, Partition, RealmId, RefPageId, SealId,
    Secret, Sequence,
};
use crate::keys::{AuthorKey, GroupWrap};
use bytes::Bytes;
use proptest::prelude::*;

fn numbered(n: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// Blob ids that rise with their number.
pub(crate) fn blob(n: u32) -> BlobId {
    BlobId::from_bytes(numbered(n))
}

/// Seal ids that rise with their number.
pub(crate) fn seal(n: u32) -> SealId {
    SealId::from_bytes(numbered(n))
}

/// Page ids that rise with their number.
pub(crate) fn ref_page(n: u32) -> RefPageId {
    RefPageId::from_bytes(numbered(n))
}

/// References to chunks of these lengths.
pub(crate) fn chunks(lens: &[u64]) -> Vec<ChunkRef> {
    lens.iter()
        .enumerate()
        .map(|(n, len)| ChunkRef {
            chunk_id: ChunkId::from_bytes(numbered(n as u32 + 1)),
            seal_id: seal(n as u32),
            secret: Secret::new(numbered(n as u32 + 2)),
            len: *len,
        })
        .collect()
}

pub(crate) fn author_key() -> AuthorKey {
    AuthorKey::from_seed(&Secret::new([7; 32]))
}

pub(crate) fn dot(n: u64) -> Dot {
    Dot {
        node: NodeId::from_bytes([4; 32]),
        incarnation: Incarnation(5),
        partition: Partition(6),
        sequence: Sequence(n),
    }
}

pub(crate) fn header() -> Header {
    Header {
        kind: BlobKind::Merger,
        realm: RealmId::from_bytes([1; 32]),
        epoch: Epoch(2),
        key_hash: KeyHash::from_bytes([3; 32]),
        path: vec![vec![0xaa; 32], vec![0xbb; 48]],
        parents: vec![blob(1), blob(2)],
        created: Hlc(0x0123_4567_89ab_cdef),
        author: author_key().id(),
        scope: ScopeTag([8; 8]),
        seals: vec![seal(5)],
        ref_pages: vec![ref_page(9)],
        body_hash: [0xcc; 32],
        body_len: 1_000,
    }
}

pub(crate) fn largest_header() -> Header {
    Header {
        path: (0..2_048).map(|_| vec![1; 36]).collect(),
        parents: (0..64).map(blob).collect(),
        seals: (0..1_024).map(seal).collect(),
        ref_pages: (0..Header::MAX_REF_PAGES as u32).map(ref_page).collect(),
        ..header()
    }
}

pub(crate) fn signed_header() -> SignedHeader {
    SignedHeader::sign(header(), &author_key()).unwrap()
}

pub(crate) fn body() -> Body {
    let mut attributes = Attributes::new();
    attributes.set(*b"mode", *b"0644").unwrap();
    Body {
        name: b"a/key".to_vec(),
        scope: vec![0],
        attributes,
        kind: ContentKind::Bytes,
        content: Content::Inline(Bytes::from_static(b"the value")),
    }
}

pub(crate) fn record() -> BlobRecord {
    let mut header = header();
    let sealed = seal_body(&body(), &Secret::new([9; 32]), &header.body_binding()).unwrap();
    header.body_hash = Header::hash_body(&sealed);
    header.body_len = sealed.len() as u32;
    BlobRecord {
        dot: dot(7),
        header: SignedHeader::sign(header, &author_key()).unwrap(),
        wrap: GroupWrap { epoch: Epoch(3), salt: [1; 16], commitment: [2; 32], sealed: [3; 48] },
        body: sealed,
    }
}

prop_compose! {
    pub(crate) fn any_header()(
        kind in prop_oneof![Just(BlobKind::Child), Just(BlobKind::Merger), Just(BlobKind::VersionVector)],
        path in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..4),
        parents in prop::collection::btree_set(any::<u32>(), 2..5),
        seals in prop::collection::btree_set(any::<u32>(), 0..4),
        pages in prop::collection::btree_set(any::<u32>(), 0..3),
        fixed in any::<[[u8; 32]; 5]>(),
        numbers in any::<(u32, u64, [u8; 8])>(),
        body_len in 0..=Header::MAX_BODY_LEN,
    ) -> Header {
        let mut parents: Vec<BlobId> = parents.into_iter().map(blob).collect();
        if kind == BlobKind::Child {
            parents.truncate(1);
        }
        Header {
            kind, path, parents, body_len,
            realm: RealmId::from_bytes(fixed[0]),
            key_hash: KeyHash::from_bytes(fixed[1]),
            author: AuthorId::from_bytes(fixed[2]),
            body_hash: fixed[3],
            epoch: Epoch(numbers.0),
            created: Hlc(numbers.1),
            scope: ScopeTag(numbers.2),
            seals: seals.into_iter().map(seal).collect(),
            ref_pages: pages.into_iter().map(ref_page).collect(),
        }
    }
}

fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Gone),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| Content::Inline(bytes.into())),
        (prop::collection::vec(any::<u8>(), 0..60), 1u32..1000)
            .prop_map(|(frame, more)| Content::Packed { len: frame.len() as u32 + more, frame: frame.into() }),
        (prop::collection::vec(1u64..1 << 50, 1..4), 0u8..=5).prop_map(|(lens, depth)| Content::Chunks {
            len: lens.iter().sum(),
            depth,
            chunks: chunks(&lens)
        }),
    ]
}

prop_compose! {
    pub(crate) fn any_body()(
        name in prop::collection::vec(any::<u8>(), 0..30),
        scope in prop::collection::vec(any::<u8>(), 0..=33),
        pairs in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..9), 0..4),
        kind in prop_oneof![Just(ContentKind::Bytes), Just(ContentKind::Snapshot)],
        content in any_content(),
    ) -> Body {
        let mut attributes = Attributes::new();
        for (name, value) in pairs {
            attributes.set(name, value).unwrap();
        }
        Body { name, scope, attributes, kind, content }
    }
}
