//! Structures whose decoder is not a [`Canonical`](ouroboros_engine::codec::Canonical) one, or does more than decode.

use super::samples;
use bytes::Bytes;
use ouroboros_engine::blob::{BlobRecord, SnapshotReader, SnapshotWriter, open_body, seal_body};
use ouroboros_engine::codec::Canonical;
use ouroboros_engine::id::Domain;
use ouroboros_engine::keys::{Grant, Vault};
use ouroboros_engine::names::{SealedPath, open_path, seal_path};
use ouroboros_engine::node::CHECKPOINT;
use ouroboros_engine::store::log::structures::{self, Structure};

/// A version's record. What is accepted is also verified, which must not panic whatever it says.
pub(super) fn blob_record(bytes: &[u8]) -> bool {
    let Ok(record) = BlobRecord::decode(&Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(record.encode(), bytes, "a blob record accepts bytes that it would not write");
    let _ = record.verify();
    true
}

/// A structure of the store's own.
fn structure(structure: &Structure, bytes: &[u8]) -> bool {
    let Some(again) = (structure.recode)(bytes) else { return false };
    assert_eq!(again, bytes, "a structure of the store accepts bytes that it would not write");
    true
}

pub(super) fn checkpoint(bytes: &[u8]) -> bool {
    structure(&CHECKPOINT, bytes)
}

pub(super) fn commit(bytes: &[u8]) -> bool {
    structure(&structures::COMMIT, bytes)
}

pub(super) fn footer(bytes: &[u8]) -> bool {
    structure(&structures::FOOTER, bytes)
}

pub(super) fn parity_list(bytes: &[u8]) -> bool {
    structure(&structures::PARITY_LIST, bytes)
}

pub(super) fn segment_header(bytes: &[u8]) -> bool {
    structure(&structures::SEGMENT_HEADER, bytes)
}

pub(super) fn segments(bytes: &[u8]) -> bool {
    structure(&structures::SEGMENTS, bytes)
}

/// A sealed body under its key: whatever opens is what was sealed.
pub(super) fn sealed_body(bytes: &[u8]) -> bool {
    let Ok(body) = open_body(bytes, &samples::body_key(), &samples::BINDING) else { return false };
    assert_eq!(
        seal_body(&body, &samples::body_key(), &samples::BINDING).as_deref(),
        Ok(bytes),
        "a sealed body has two forms"
    );
    true
}

/// A snapshot list, fed in one piece and in small ones.
pub(super) fn snapshot_list(bytes: &[u8]) -> bool {
    let mut pieces = SnapshotReader::new();
    let in_pieces = bytes.chunks(7).try_for_each(|piece| pieces.feed(piece).map(drop)).and_then(|()| pieces.finish());
    let mut reader = SnapshotReader::new();
    let entries = reader.feed(bytes).and_then(|entries| reader.finish().map(|()| entries));
    assert_eq!(in_pieces.is_ok(), entries.is_ok(), "a snapshot list depends on how it is cut");
    let Ok(entries) = entries else { return false };
    let mut writer = SnapshotWriter::new();
    let mut out = writer.start().to_vec();
    for entry in &entries {
        assert_eq!(writer.push(entry, &mut out), Ok(()));
    }
    assert_eq!(out, bytes, "a snapshot list accepts bytes that it would not write");
    true
}

/// A grant; what is accepted is opened.
pub(super) fn grant(bytes: &[u8]) -> bool {
    let Ok(grant) = Grant::decode(bytes) else { return false };
    assert_eq!(grant.encode(), bytes, "a grant accepts bytes that it would not write");
    if let Ok(key) = grant.open(samples::keyring().reader()) {
        assert!(key == samples::body_key(), "a grant gives another key than was granted");
    }
    true
}

/// A sealed path; what opens is what was sealed.
pub(super) fn sealed_path(bytes: &[u8]) -> bool {
    let Ok(path) = SealedPath::decode(bytes) else { return false };
    assert_eq!(path.encode(), bytes, "a sealed path accepts bytes that it would not write");
    let keys = samples::keyring().name_keys();
    if let Ok(name) = open_path(&keys, &path) {
        assert_eq!(seal_path(&keys, &name), path, "a name has two sealed forms");
    }
    true
}

/// A keyring file under its passphrase.
pub(super) fn keyring_file(bytes: &[u8]) -> bool {
    // A file may ask for a gigabyte, within its bounds; that is slow and proves nothing.
    match Vault::params(bytes) {
        Ok(params) if params.memory_kib() <= 64 && params.passes() <= 4 => {
            Vault::open(bytes, samples::PASSPHRASE).is_ok()
        }
        _ => false,
    }
}

const CHECKSUM: Domain = Domain::new("ouroborosdb v1 vault checksum");

pub(super) fn forged_keyring_file(bytes: &[u8]) -> bool {
    let mut forged = bytes.to_vec();
    if let Some(at) = forged.len().checked_sub(16) {
        let (content, checksum) = forged.split_at_mut(at);
        checksum.copy_from_slice(&CHECKSUM.hash(&[content])[..16]);
    }
    keyring_file(&forged)
}

pub(super) fn index_keys(bytes: &[u8]) -> bool {
    samples::index_key_forms(bytes)
}
