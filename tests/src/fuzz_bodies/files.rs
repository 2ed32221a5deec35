//! Whole files of a store, opened as the store opens them.

use super::samples;
use ouroboros_engine::blob::{BlobRecord, RefPage};
use ouroboros_engine::codec::Canonical;
use ouroboros_engine::deletion::TombstoneRecord;
use ouroboros_engine::env::{Disk, DiskFile, FileName, MemoryDisk, OpenMode, Volume};
use ouroboros_engine::id::{BlobId, Secret};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    Limits, ListRequest, Policy, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, Select,
};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding, SealedSlice, SliceHeader};
use ouroboros_engine::store::index::{Blobs, Direction, Index, IndexName, IndexOptions, Keys, Names};
use ouroboros_engine::store::log::{Log, LogOptions, RecordFlags, RecordKind, StoreId};
use ouroboros_sim::local::{self, Local};
use std::ops::{Bound, ControlFlow};
use std::sync::OnceLock;

const SEGMENT: &str = "seg-0000000000000001.log";

/// A name that is one.
fn file_name(text: &str) -> FileName {
    match FileName::new(text) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

/// A disk that holds one file. Memory refuses nothing.
fn disk_with(volume: Volume, name: &str, bytes: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    if let Ok(file) = disk.open(volume, &file_name(name), OpenMode::CreateNew) {
        let _ = file.write_at(0, &[bytes]);
    }
    disk
}

fn contents(disk: &MemoryDisk, volume: Volume, name: &str) -> Vec<u8> {
    let Ok(file) = disk.open(volume, &file_name(name), OpenMode::Read) else { return Vec::new() };
    let mut bytes = vec![0; file.len().map_or(0, |len| len as usize)];
    let _ = file.read_at(0, &mut bytes);
    bytes
}

// ---- The log ---------------------------------------------------------------------------------------------------------

fn log_options() -> LogOptions {
    LogOptions {
        segment_len: 64 << 10,
        write_buffer_len: 4 << 10,
        parity_group_len: 4 << 10,
        open_files: 4,
        leave_end: false,
        damaged_places: 4096,
        proven: None,
    }
}

/// The smallest log with every part: one note in one batch.
pub(super) fn example_segment() -> Vec<u8> {
    let disk = MemoryDisk::new();
    let config = samples::store_config().encode();
    let created = Log::create(disk.clone(), log_options(), StoreId([0x81; 32]), &config, &mut samples::rng(), verify);
    let Ok(mut log) = created else { return Vec::new() };
    let appended = log.append(RecordKind::Note, RecordFlags::NONE, &[&samples::policy().encode()]);
    let committed = appended.and_then(|_| log.commit(&samples::note().encode()));
    assert!(committed.is_ok(), "{committed:?}");
    contents(&disk, Volume::Blocks, SEGMENT)
}

fn verify(kind: RecordKind, payload: &[u8]) -> bool {
    kind != RecordKind::Slice
        || SealedSlice::from_record(payload.to_vec().into()).is_ok_and(|slice| slice.verify().is_ok())
}

/// Opens the log, reads all of it, repairs it, and writes to it.
pub(super) fn log_segment(bytes: &[u8]) -> bool {
    let disk = disk_with(Volume::Blocks, SEGMENT, bytes);
    let mut seen = 0;
    let opened = Log::open(disk, log_options(), None, &mut samples::rng(), verify, &mut |record| {
        seen += 1;
        decode_payload(record.kind, record.payload);
        Ok(())
    });
    let Ok((mut log, _)) = opened else { return false };
    for segment in log.segments() {
        let _ = log.scan(segment.id, 0, &mut |record| {
            if let Ok(payload) = log.read(record.location) {
                assert_eq!(payload, record.payload, "a record reads in two ways");
            }
            ControlFlow::Continue(())
        });
        let _ = log.repair(segment.id);
    }
    // Whatever stood there, the log takes a batch, and gives it back.
    let location = log.append(RecordKind::Note, RecordFlags::NONE, &[b"after"]);
    let committed = location.and_then(|location| log.commit(b"note").map(|_| location));
    assert!(
        committed.as_ref().is_ok_and(|location| log.read(*location).is_ok_and(|payload| payload == b"after"[..])),
        "{committed:?}"
    );
    seen > 0
}

fn decode_payload(kind: RecordKind, payload: &[u8]) {
    match kind {
        RecordKind::Slice => drop(SliceHeader::decode(payload)),
        RecordKind::Blob => drop(BlobRecord::decode(&payload.to_vec().into())),
        RecordKind::RefPage => drop(RefPage::decode(payload)),
        RecordKind::Tombstone => drop(TombstoneRecord::decode(payload)),
        RecordKind::Note => drop(Policy::decode(payload)),
        _ => {}
    }
}

/// Makes every checksum of a segment fit its bytes: of both header blocks, and of whatever looks like a record.
fn forge(bytes: &mut [u8]) {
    for at in [0, 4096] {
        let Some(block) = bytes.get_mut(at..at + 4096) else { return };
        let crc = crc32fast::hash(&block[12..]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
    }
    // Version, store id, segment id, salt: what binds a record to its segment follows the version.
    let binding = bytes[17..65].to_vec();
    let mut at = 8192;
    while let Some(head) = bytes.get(at..at + 24) {
        let number = |from: usize| u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let (len, checked) = (number(8) as usize, number(12) as usize);
        let end = (at + 24).saturating_add(checked);
        if !head.starts_with(b"oRec") || end > bytes.len() {
            at += 8;
            continue;
        }
        let crc = crc32fast::hash(&bytes[at + 24..end]);
        bytes[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
        let mut bound = crc32fast::Hasher::new();
        bound.update(&binding);
        bound.update(&(at as u32).to_le_bytes());
        bound.update(&bytes[at..at + 20]);
        bytes[at + 20..at + 24].copy_from_slice(&bound.finalize().to_le_bytes());
        let next = at.saturating_add(24).saturating_add(len).next_multiple_of(8);
        at = if next <= bytes.len() { next } else { at + 8 };
    }
}

pub(super) fn forged_log_segment(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    forge(&mut bytes);
    log_segment(&bytes)
}

// ---- The store -------------------------------------------------------------------------------------------------------

pub(super) fn limits() -> Limits {
    Limits {
        segment_len: 64 << 10,
        batch_len: 1 << 20,
        window_len: 64 << 10,
        inflight_len: 1 << 20,
        body_cache_len: 64 << 10,
        index_cache_len: 256 << 10,
        index_overlay_len: 64 << 10,
        upkeep_step_len: 64 << 10,
        ..Limits::default()
    }
}

pub(super) fn coding(data: u8, parity: u8) -> Coding {
    Coding::new(data, parity).unwrap_or_default()
}

/// Chunks as small as they may be.
pub(super) const CHUNKER: ChunkerParams =
    ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 1024, avg_len: 4096, max_len: 16384 };

pub(super) fn key(text: &str) -> KeyName {
    match KeyName::new(text) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

/// A store with one record of every kind but the grant.
pub(super) fn example_store_segment() -> Vec<u8> {
    let disk = MemoryDisk::new();
    let keys = local::keyring(1);
    let config = local::config(&keys, coding(2, 1), CHUNKER);
    let Ok(mut node) = Local::create(disk.clone(), config, keys, limits(), 7) else { return Vec::new() };
    let mut ask = |request| {
        let answer = node.ask(request);
        assert!(answer.is_ok(), "{answer:?}");
    };
    let put = |name: &str, len: usize| {
        let source = PutSource::Value(vec![len as u8; len].into());
        Request::Put(vec![Put { key: key(name), source, options: PutOptions::default() }])
    };
    ask(put("a/small", 20));
    ask(put("a/large", 6000));
    ask(put("gone", 10));
    ask(Request::Purge(PurgeTarget::Key(key("gone"))));
    ask(Request::Recode(coding(2, 1)));
    drop(node);
    contents(&disk, Volume::Blocks, SEGMENT)
}

/// Opens a store whose log is one file, without an index, and does all that can be done with it.
pub(super) fn store_segment(bytes: &[u8]) -> bool {
    let disk = disk_with(Volume::Blocks, SEGMENT, bytes);
    let Ok((mut node, _)) = Local::open(disk, local::keyring(1), limits(), 8) else { return false };
    let listed = node.ask(Request::List(ListRequest { recursive: true, limit: 100, ..ListRequest::default() }));
    let Ok(Reply::Listing(page)) = listed else { return false };
    let mut read = 0;
    for entry in page.entries {
        let Ok(name) = KeyName::new(entry.name) else { continue };
        let Ok(Reply::Got(found)) = node.ask(Request::Get(vec![(name, Select::Winner)])) else { continue };
        for got in found.into_iter().flatten() {
            let range = 0..got.version.len.min(1 << 20);
            read += usize::from(node.ask(Request::Read { blob: got.version.id, range }).is_ok());
        }
    }
    for request in [Request::Scrub { repair: true }, Request::Recode(coding(1, 1)), Request::Compact, Request::Stats] {
        let _ = node.ask(request);
    }
    let _ = node.close();
    read > 0
}

pub(super) fn forged_store_segment(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    forge(&mut bytes);
    store_segment(&bytes)
}

// ---- The index -------------------------------------------------------------------------------------------------------

const INDEX: &str = IndexName::Lasting.name();
const INDEX_OPTIONS: IndexOptions =
    IndexOptions { file: IndexName::Lasting, cache_bytes: 256 << 10, overlay_bytes: 64 << 10, in_memory: false };

fn index_secret() -> Secret {
    Secret::new([0x91; 32])
}

fn blob_ids() -> impl Iterator<Item = BlobId> {
    (0..50).map(|n| BlobId::from_bytes([n; 32]))
}

/// A small index, closed in an orderly way.
fn example_index() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let disk = MemoryDisk::new();
        let Ok(mut index) = Index::create(&disk, INDEX_OPTIONS, &index_secret(), &mut samples::rng()) else {
            return Vec::new();
        };
        for id in blob_ids() {
            index.put::<Blobs>(&id, &samples::blob_row());
        }
        let row = samples::key_row();
        let hash = samples::blob_row().key_hash;
        index.put::<Names>(&row.name, &hash);
        index.put::<Keys>(&hash, &row);
        let closed = index.flush(b"checkpoint").and_then(|()| index.close());
        assert!(closed.is_ok(), "{closed:?}");
        contents(&disk, Volume::Index, INDEX)
    })
}

/// Opens the bytes as an index. Rows that it gives are rows that were written.
fn open_index(bytes: &[u8]) -> bool {
    let disk = disk_with(Volume::Index, INDEX, bytes);
    let Ok(mut index) = Index::open(&disk, INDEX_OPTIONS, &index_secret(), &mut samples::rng()) else { return false };
    assert_eq!(index.checkpoint(), b"checkpoint", "an index with another checkpoint was believed");
    let mut count = 0;
    let scanned = index.scan::<Blobs>(Bound::Unbounded, Bound::Unbounded, Direction::Forward, &mut |_, row| {
        assert_eq!(row, samples::blob_row(), "an index gave a row that was never written");
        count += 1;
        true
    });
    if scanned.is_ok() {
        assert_eq!(count, blob_ids().count(), "an index lost rows and did not say so");
    }
    for id in blob_ids() {
        if let Ok(row) = index.get::<Blobs>(&id) {
            assert_eq!(row, Some(samples::blob_row()), "an index lost a row and did not say so");
        }
    }
    index.remove::<Blobs>(&BlobId::from_bytes([0; 32]));
    let _ = index.flush(b"later");
    scanned.is_ok()
}

/// Any bytes as an index file: without its key nobody writes one that is believed. True when they are refused.
pub(super) fn index_file(bytes: &[u8]) -> bool {
    !open_index(bytes)
}

/// Edits to the example: kind, `u32` place, value each.
const EDIT_LEN: usize = 6;

/// One edit that changes nothing.
pub(super) fn example_index_edits() -> Vec<u8> {
    vec![1, 0, 0, 0, 0, 0]
}

pub(super) fn edited_index_file(edits: &[u8]) -> bool {
    let mut bytes = example_index().to_vec();
    for edit in edits.as_chunks::<EDIT_LEN>().0.iter().take(16) {
        let &[kind, a, b, c, d, value] = edit;
        if bytes.is_empty() {
            break;
        }
        let at = u32::from_le_bytes([a, b, c, d]) as usize % bytes.len();
        let sector = at - at % 512..bytes.len().min(at - at % 512 + 512);
        match kind % 5 {
            0 => bytes[at] = value,
            1 => bytes[at] ^= value,
            2 => bytes.truncate(at),
            3 => bytes[sector].fill(value),
            // Another sector in its place.
            _ => {
                let from = usize::from(value) * 512 % bytes.len();
                let len = sector.len().min(bytes.len() - from);
                bytes.copy_within(from..from + len, sector.start);
            }
        }
    }
    open_index(&bytes)
}
