//! What the fuzz targets do with their bytes, as plain functions, so that ordinary tests replay the same inputs.
//!
//! A decoder must refuse hostile bytes without panicking and without allocating more than they justify, and whatever it
//! accepts must be the one encoding of the value it found.

mod dag;
mod files;
mod records;
mod samples;
mod schedule;
mod seal;
mod seals;
mod store;
mod texts;

pub use dag::{History, dag};
pub use schedule::schedule;
pub use seal::{Sealing, seal};
pub use store::store;

use arbitrary::{Arbitrary, Unstructured};

use ouroboros_engine::blob::{Body, ChunkList, Header, RefPage, SignedHeader};
use ouroboros_engine::codec::Canonical;
use ouroboros_engine::deletion::{SignedTombstone, Tombstone, TombstoneRecord};
use ouroboros_engine::id::{Dot, Hlc};
use ouroboros_engine::keys::{GroupWrap, ReaderWrap, Signature};
use ouroboros_engine::names::{KeyName, SealedComponent};
use ouroboros_engine::node::{CHECKPOINT, Note, Policy, StoreConfig};
use ouroboros_engine::seal::{ChunkerParams, Coding, Compression};
use ouroboros_engine::store::index::{
    BlobRow, ChunkRow, KeyRow, RefPageRow, SealRow, StoredRow, Symbols, TombstoneRow,
};
use ouroboros_engine::store::log::structures;

/// One way in for bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// The structure.
    pub name: &'static str,
    /// Decodes; whether the bytes were accepted. Panics if what was accepted does not encode to the same bytes.
    pub accepts: fn(&[u8]) -> bool,
    /// Bytes that are accepted: where mutation starts, and a seed for the fuzzer.
    pub example: fn() -> Vec<u8>,
    /// What it may allocate whatever the input, in bytes: working memory of a fixed size.
    pub room: usize,
    /// At how many places of the example tests change it.
    pub places: usize,
}

impl Decoder {
    /// A decoder of one structure.
    const fn new(name: &'static str, accepts: fn(&[u8]) -> bool, example: fn() -> Vec<u8>) -> Self {
        Self { name, accepts, example, room: 16 << 10, places: 2048 }
    }

    /// One that needs working memory, or time: changed at fewer places.
    const fn heavy(self, room: usize, places: usize) -> Self {
        Self { room, places, ..self }
    }
}

/// Every decoder of one structure. A new one is a line here and, for the fuzzer's seed, `cargo test -p ouroboros-tests
/// --test fuzz_corpus -- --ignored write_seeds`.
pub const DECODERS: &[Decoder] = &[
    Decoder::new("blob-header", canonical::<Header>, || samples::header().encode()),
    Decoder::new("blob-id-hex", texts::blob_id_hex, || "a7".repeat(32).into_bytes()),
    Decoder::new("blob-record", records::blob_record, || samples::record().encode()),
    Decoder::new("blob-row", row::<BlobRow>, || samples::blob_row().store(&mut Symbols::default())),
    Decoder::new("body", canonical::<Body>, || samples::body().encode()),
    Decoder::new("body-of-chunks", canonical::<Body>, || samples::body_of_chunks().encode()),
    // A text in it may claim a megabyte before it is refused.
    Decoder::new("checkpoint", records::checkpoint, CHECKPOINT.example).heavy(2 << 20, 2048),
    Decoder::new("chunk-list", canonical::<ChunkList>, || samples::chunk_list().encode()),
    Decoder::new("chunk-row", fields::<ChunkRow>, || written(&samples::chunk_row())),
    Decoder::new("chunker-params", canonical::<ChunkerParams>, || ChunkerParams::default().encode()),
    Decoder::new("chunker-text", texts::chunker, || b"cdc1".to_vec()),
    Decoder::new("coding", fields::<Coding>, || written(&Coding::default())),
    Decoder::new("coding-text", texts::coding, || b"8+1".to_vec()),
    Decoder::new("commit", records::commit, structures::COMMIT.example),
    Decoder::new("commit-note", canonical::<Note>, || samples::note().encode()),
    Decoder::new("compression", fields::<Compression>, || written(&Compression::default())),
    Decoder::new("compression-text", texts::compression, || b"zstd:-7".to_vec()),
    Decoder::new("dot", fields::<Dot>, || written(&samples::dot())),
    Decoder::new("file-name", texts::file_name, || b"seg-0000000000000001.log".to_vec()),
    Decoder::new("grant", records::grant, || samples::grant().encode()),
    Decoder::new("group-wrap", fields::<GroupWrap>, || written(&samples::group_wrap())),
    Decoder::new("hlc", fields::<Hlc>, || written(&Hlc(0x0123_4567_89ab_cdef))),
    Decoder::new("index-keys", records::index_keys, samples::index_keys),
    Decoder::new("key-name", canonical::<KeyName>, || samples::key_name().encode()),
    Decoder::new("key-name-text", texts::key_name, || b"a/b\\x0ac".to_vec()),
    Decoder::new("key-row", fields::<KeyRow>, || written(&samples::key_row())),
    Decoder::new("keyring-file", records::keyring_file, samples::keyring_file).heavy(64 << 10, 2048),
    // The same, its checksum made to fit whatever the bytes: what a hostile writer can do and rot cannot.
    Decoder::new("keyring-file-forged", records::forged_keyring_file, samples::keyring_file).heavy(64 << 10, 2048),
    Decoder::new("parity-list", records::parity_list, structures::PARITY_LIST.example),
    Decoder::new("reader-wrap", fields::<ReaderWrap>, || written(&samples::reader_wrap())),
    Decoder::new("recovery-phrase", texts::recovery_phrase, || samples::phrase().into_bytes()).heavy(256 << 10, 2048),
    Decoder::new("ref-page", canonical::<RefPage>, || samples::ref_page().encode()),
    Decoder::new("ref-page-row", fields::<RefPageRow>, || written(&samples::ref_page_row())),
    Decoder::new("seal-row", row::<SealRow>, || samples::seal_row().store(&mut Symbols::default())),
    Decoder::new("sealed-body", records::sealed_body, samples::sealed_body),
    Decoder::new("sealed-component", fields::<SealedComponent>, samples::sealed_component),
    Decoder::new("sealed-path", records::sealed_path, || samples::sealed_path().encode()),
    Decoder::new("segment-footer", records::footer, structures::FOOTER.example),
    Decoder::new("segment-header", records::segment_header, structures::SEGMENT_HEADER.example),
    Decoder::new("segments", records::segments, structures::SEGMENTS.example),
    Decoder::new("signature", fields::<Signature>, || written(&Signature::from_bytes([9; 64]))),
    Decoder::new("signed-header", canonical::<SignedHeader>, || samples::signed_header().encode()),
    Decoder::new("signed-tombstone", canonical::<SignedTombstone>, || samples::signed_tombstone().encode()),
    Decoder::new("slice-header", seals::slice_header, seals::example_header),
    Decoder::new("slice-record", seals::slice_record, seals::example_record).heavy(64 << 10, 2048),
    // The same, the header's check made to fit whatever the bytes.
    Decoder::new("slice-record-forged", seals::forged_slice_record, seals::example_record).heavy(64 << 10, 2048),
    Decoder::new("slices", seals::slices, seals::example_slices).heavy(1 << 20, 512),
    Decoder::new("snapshot-list", records::snapshot_list, samples::snapshot_list),
    Decoder::new("storage-policy", canonical::<Policy>, || samples::policy().encode()),
    Decoder::new("store-config", canonical::<StoreConfig>, || samples::store_config().encode()),
    Decoder::new("tombstone", canonical::<Tombstone>, || samples::tombstone().encode()),
    Decoder::new("tombstone-record", canonical::<TombstoneRecord>, || samples::tombstone_record().encode()),
    Decoder::new("tombstone-row", fields::<TombstoneRow>, || written(&samples::tombstone_row())),
];

/// Every reader of a whole file: each opens the bytes as a file of a store. They cost more than [`DECODERS`].
pub const FILES: &[Decoder] = &[
    Decoder::new("index-file", files::index_file, Vec::new).heavy(64 << 20, 1),
    Decoder::new("index-file-edited", files::edited_index_file, files::example_index_edits).heavy(64 << 20, 60),
    Decoder::new("log-segment", files::log_segment, files::example_segment).heavy(8 << 20, 400),
    // The same, all checksums made to fit whatever the bytes: what a hostile writer can do and rot cannot.
    Decoder::new("log-segment-forged", files::forged_log_segment, files::example_segment).heavy(8 << 20, 400),
    Decoder::new("store-segment", files::store_segment, files::example_store_segment).heavy(64 << 20, 60),
    Decoder::new("store-segment-forged", files::forged_store_segment, files::example_store_segment).heavy(64 << 20, 60),
];

/// The body of the target `decode`: every decoder gets the same bytes.
pub fn decode(bytes: &[u8]) {
    for decoder in DECODERS {
        (decoder.accepts)(bytes);
    }
}

/// The body of the target `files`: the first byte names the reader, the rest is the file.
pub fn files(bytes: &[u8]) {
    if let Some((reader, file)) = bytes.split_first()
        && let Some(reader) = FILES.get(usize::from(*reader) % FILES.len())
    {
        (reader.accepts)(file);
    }
}

/// Makes a target's input of the fuzzer's bytes, as the fuzzer itself does, for those who have the bytes alone. Bytes that
/// make none are passed over there too.
pub fn structured<'a, T: Arbitrary<'a>>(bytes: &'a [u8], body: impl FnOnce(&T)) {
    if let Ok(input) = T::arbitrary_take_rest(Unstructured::new(bytes)) {
        body(&input);
    }
}

/// One change to valid bytes: where (modulo the length), what kind, and with what.
pub type Edit = (u16, u8, u8);

/// Valid bytes of one structure, and the changes to them.
#[derive(Debug, Arbitrary)]
pub struct Mutation {
    /// Which structure, modulo their number.
    pub decoder: u8,
    /// What is changed, in this order.
    pub edits: Vec<Edit>,
}

/// The body of the target `mutate`: valid bytes of one structure, changed in a few places, so that the decoder is reached
/// beyond its first checks.
pub fn mutate(mutation: &Mutation) {
    let Some(decoder) = DECODERS.get(usize::from(mutation.decoder) % DECODERS.len()) else { return };
    let mut bytes = (decoder.example)();
    for &(at, kind, value) in mutation.edits.iter().take(16) {
        apply(&mut bytes, usize::from(at), kind, value);
    }
    (decoder.accepts)(&bytes);
}

fn apply(bytes: &mut Vec<u8>, at: usize, kind: u8, value: u8) {
    if bytes.is_empty() {
        bytes.push(value);
        return;
    }
    let at = at % bytes.len();
    match kind % 6 {
        0 => bytes[at] = value,
        1 => bytes[at] ^= 1 << (value % 8),
        2 => bytes.insert(at, value),
        3 => {
            bytes.remove(at);
        }
        4 => bytes.truncate(at),
        // A count or a length, made hostile.
        _ => {
            let end = bytes.len().min(at + 4);
            bytes[at..end].fill(if value.is_multiple_of(2) { 0xff } else { 0x7f });
        }
    }
}

/// A [`Canonical`] structure: accepted bytes are its only encoding.
pub fn canonical<T: Canonical>(bytes: &[u8]) -> bool {
    let Ok(value) = T::decode(bytes) else { return false };
    assert_eq!(value.encode(), bytes, "{} accepts bytes that it would not write", T::WHAT);
    true
}

/// The fields of a structure that stands inside others, without a version byte of its own.
pub fn fields<T: borsh::BorshDeserialize + borsh::BorshSerialize>(bytes: &[u8]) -> bool {
    let Ok(value) = borsh::from_slice::<T>(bytes) else { return false };
    assert_eq!(written(&value), bytes, "{} accepts bytes that it would not write", core::any::type_name::<T>());
    true
}

/// A row of the index that names authors and origins by number.
pub fn row<T: StoredRow>(bytes: &[u8]) -> bool {
    let mut symbols = Symbols::default();
    let _ = samples::blob_row().store(&mut symbols);
    let Some(value) = T::load(bytes, &symbols) else { return false };
    assert_eq!(
        value.store(&mut symbols),
        bytes,
        "{} accepts bytes that it would not write",
        core::any::type_name::<T>()
    );
    true
}

fn written<T: borsh::BorshSerialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail.
    let _ = value.serialize(&mut bytes);
    bytes
}
