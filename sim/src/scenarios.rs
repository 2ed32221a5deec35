//! Scenarios of their own for planted bugs: a few calls and a few faults each, which break a promise for certain where a
//! world of a seed breaks it seldom.
//!
//! Each is a claim about a sound store, too: without its bug it must hold.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "scripts of calls that succeed on a sound store; who runs one catches panics"
)]

use crate::crypto::cheap_keyring;
use crate::disk::{CrashVariant, Damage, FaultPlan, FaultyDisk};
use crate::local::{Local, config};
use bytes::Bytes;
use ouroboros_engine::blob::BlobRecord;
use ouroboros_engine::env::{Disk, DiskFile, FileName, OpenMode, Volume};
use ouroboros_engine::id::{EngineRng, Epoch, Secret};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    DamageOutcome, Failure, Limits, Profile, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, RequestId, Select,
};
use ouroboros_engine::planted::Bug;
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding, Compression, ScopeKeys, Scratch, identify, seal};
use ouroboros_engine::store::index::IndexName;
use ouroboros_engine::store::log::{Log, LogOptions, RecordKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What broke.
pub type Broken = String;
/// Whether a scenario's promise held.
pub type Check = Result<(), Broken>;
type Node = Local<FaultyDisk>;

/// The scenario for a bug, if it has one.
#[must_use]
pub fn of(bug: Bug) -> Option<fn() -> Check> {
    Some(match bug {
        Bug::NameInClear => names_are_on_no_disk,
        Bug::KeyFromLength => no_two_seals_share_a_secret,
        Bug::UploadsUnlimited => too_many_uploads_are_refused,
        Bug::StreamsNeverWait => streams_wait_for_memory,
        Bug::DotsReused => dots_name_one_version_each,
        Bug::PurgeLeavesCopy => purged_bytes_go,
        Bug::StalePageBelieved => lost_writes_to_the_index_are_seen,
        Bug::TombstoneUncovered => a_deletion_outlives_one_rotten_sector,
        Bug::SlicesTogether => a_burst_costs_nothing,
        Bug::MendWritesNothing | Bug::ScrubSkipsSeals => a_scrub_leaves_no_rot,
        Bug::SlicesUnverified => one_rotten_slice_costs_nothing,
        Bug::SlicesMovedUnverified => rot_is_not_moved,
        Bug::PinsIgnored => what_a_put_has_found_stays,
        Bug::RotCovered => what_a_scrub_heals_stays_so,
        Bug::BacklogUnbounded => what_waits_for_a_full_index_is_bounded,
        Bug::AbandonedBatchKept => what_a_full_disk_refused_stays_away,
        Bug::LostSealReused => what_is_lost_is_stored_when_it_is_put_again,
        Bug::UntoldForgotten => what_is_lost_is_named_however_much_it_is,
        _ => return None,
    })
}

fn key(number: u32) -> KeyName {
    KeyName::new(format!("marker-name-{number}")).unwrap()
}

/// Bytes that do not compress: SplitMix64. The scenarios know where what is made of them comes to lie.
pub fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..len).map(|_| next()).collect::<Vec<u8>>().into()
}

/// What a small node may use.
pub fn limits() -> Limits {
    Limits {
        segment_len: 48 << 10,
        window_len: 32 << 10,
        replay_len: 24 << 10,
        index_overlay_len: 32 << 10,
        ..Profile::Background.limits()
    }
}

/// A new store on a disk.
pub fn create(disk: &FaultyDisk, limits: Limits) -> Node {
    let keys = Arc::new(cheap_keyring([3; 32]));
    let chunker = ChunkerParams { kind: ChunkerKind::Cdc1, min_len: 2048, avg_len: 4096, max_len: 8192 };
    Local::create(disk.clone(), config(&keys, Coding::new(2, 1).unwrap(), chunker), keys, limits, 1).unwrap()
}

fn open(disk: &FaultyDisk, limits: Limits) -> Result<Node, Broken> {
    let keys = Arc::new(cheap_keyring([3; 32]));
    Ok(Local::open(disk.clone(), keys, limits, 2).map_err(|error| format!("cannot open: {error}"))?.0)
}

/// An empty disk without faults.
pub fn fresh() -> FaultyDisk {
    FaultyDisk::new(FaultPlan::new(1))
}

/// Room for slices to lie apart.
fn roomy() -> Limits {
    Limits { segment_len: 1 << 20, window_len: 1 << 20, ..limits() }
}

/// Puts a value under the key of a number, and waits for it.
pub fn put(node: &mut Node, number: u32, content: &Bytes) {
    let source = PutSource::Value(content.clone());
    node.ask(Request::Put(vec![Put { key: key(number), source, options: PutOptions::default() }])).unwrap();
}

fn rest(node: &mut Node) {
    node.set_time(60_000_000_000, 1_000);
    node.settle();
}

fn read(node: &mut Node, number: u32) -> Result<Bytes, Broken> {
    let version = match node.ask(Request::Get(vec![(key(number), Select::Winner)])) {
        Ok(Reply::Got(mut got)) => got.pop().unwrap().map_err(|failure| failure.to_string())?.version,
        other => return Err(format!("{other:?}")),
    };
    let mut out = Vec::new();
    while (out.len() as u64) < version.len {
        let at = out.len() as u64;
        match node.ask(Request::Read { blob: version.id, range: at..at + 100_000 }) {
            Ok(Reply::Data(pieces)) => pieces.iter().for_each(|piece| out.extend_from_slice(piece)),
            other => return Err(format!("cannot read: {other:?}")),
        }
    }
    Ok(out.into())
}

fn expect(node: &mut Node, number: u32, content: &Bytes) -> Check {
    if read(node, number)? == *content { Ok(()) } else { Err("other bytes than were written".into()) }
}

fn last_segment(disk: &FaultyDisk) -> (FileName, u64) {
    disk.files(Volume::Blocks).pop().unwrap()
}

fn drop_index(disk: &FaultyDisk) {
    let _ = disk.remove(Volume::Index, &FileName::new(IndexName::Lasting.name()).unwrap());
}

fn what_waits_for_a_full_index_is_bounded() -> Check {
    const OVERLAY_LEN: usize = 8 << 10;
    let disk = fresh();
    let mut node = create(&disk, Limits { index_overlay_len: OVERLAY_LEN, ..limits() });
    put(&mut node, 0, &noise(0, 100));
    disk.set_index_capacity(Some(disk.used_bytes_of(Volume::Index)));
    for number in 1..300 {
        let (key, source) = (key(number), PutSource::Value(noise(number.into(), 100)));
        match node.ask(Request::Put(vec![Put { key, source, options: PutOptions::default() }])) {
            Ok(Reply::Put(results)) if results.iter().all(|result| *result == Err(Failure::Full)) => return Ok(()),
            Ok(Reply::Put(results)) if results.iter().all(Result::is_ok) => {}
            other => return Err(format!("{other:?}")),
        }
        let held = node.engine().held();
        if held.backlog_len > 2 * OVERLAY_LEN {
            return Err(format!("{} bytes wait for the index", held.backlog_len));
        }
    }
    Err("300 versions wait for the index".into())
}

fn names_are_on_no_disk() -> Check {
    let disk = fresh();
    let mut node = create(&disk, limits());
    put(&mut node, 1, &noise(1, 100));
    node.close().unwrap();
    for volume in [Volume::Blocks, Volume::Index] {
        for (name, _) in disk.files(volume) {
            let bytes = disk.contents(volume, &name).unwrap();
            if bytes.windows(11).any(|window| window == b"marker-name") {
                return Err(format!("{name} holds a key's name"));
            }
        }
    }
    Ok(())
}

fn no_two_seals_share_a_secret() -> Check {
    let keys = ScopeKeys::derive(&Secret::new([1; 32]), Epoch(0), b"");
    let sealed = |seed| {
        let plain = noise(seed, 3000);
        let coding = Coding::new(2, 1).unwrap();
        seal(&keys, &identify(&keys, &plain), &plain, Compression::Raw, coding, &mut Scratch::new())
    };
    if sealed(1).secret == sealed(2).secret { Err("two chunks have one key".into()) } else { Ok(()) }
}

fn stream(node: &mut Node, number: u32) -> (RequestId, Option<Reply>) {
    let put = Put { key: key(number), source: PutSource::Stream, options: PutOptions::default() };
    let id = node.send(Request::PutOpen(Box::new(put)));
    (id, node.take(id))
}

fn too_many_uploads_are_refused() -> Check {
    let mut node = create(&fresh(), Limits { uploads: 2, ..limits() });
    for number in 0..2 {
        assert!(matches!(stream(&mut node, number).1, Some(Reply::Ready)));
    }
    match stream(&mut node, 2).1 {
        Some(Reply::Failed(Failure::Busy)) => Ok(()),
        other => Err(format!("the third of two uploads is answered with {other:?}")),
    }
}

fn streams_wait_for_memory() -> Check {
    let mut node = create(&fresh(), Limits { inflight_len: 64 << 10, ..limits() });
    let (id, _) = stream(&mut node, 0);
    let data = node.send(Request::PutData { stream: id, data: noise(1, 100_000) });
    match node.take(data) {
        None => Ok(()),
        Some(reply) => Err(format!("beyond its memory a node says {reply:?}")),
    }
}

fn dots_name_one_version_each() -> Check {
    let disk = fresh();
    let mut node = create(&disk, Limits { replay_len: 1 << 20, ..limits() });
    put(&mut node, 0, &noise(1, 100));
    drop(node);
    disk.crash(CrashVariant::AllLost);
    let disk = disk.recover();
    let mut node = open(&disk, limits())?;
    put(&mut node, 0, &noise(2, 100));
    drop(node);
    let mut dots = BTreeMap::new();
    let mut twice = None;
    let mut rng = EngineRng::from_seed([0; 32]);
    Log::open(disk.snapshot(), LogOptions::default(), None, &mut rng, |_, _| true, &mut |record| {
        if record.kind == RecordKind::Blob
            && let Ok(blob) = BlobRecord::decode(&Bytes::copy_from_slice(record.payload))
            && let Some(other) =
                dots.insert(format!("{:?}", blob.dot), blob.header.id()).filter(|id| *id != blob.header.id())
        {
            twice = Some(other);
        }
        Ok(())
    })
    .unwrap();
    twice.map_or(Ok(()), |other| Err(format!("version {other} shares its dot")))
}

fn purged_bytes_go() -> Check {
    let disk = fresh();
    let mut node = create(&disk, limits());
    for number in 0..40 {
        put(&mut node, 0, &noise(number, 900));
    }
    node.ask(Request::Purge(PurgeTarget::Key(key(0)))).unwrap();
    for _ in 0..2 {
        node.ask(Request::Compact).unwrap();
    }
    let bytes: u64 = disk.files(Volume::Blocks).iter().map(|(_, len)| len).sum();
    if bytes < 90_000 { Ok(()) } else { Err(format!("{bytes} bytes are left of what was purged")) }
}

/// Pages of the index as they were before the last writes, one at a time, as a disk leaves them that lost a write.
fn lost_writes_to_the_index_are_seen() -> Check {
    let disk = fresh();
    let index = FileName::new(IndexName::Lasting.name()).unwrap();
    let mut node = create(&disk, limits());
    (0..20).for_each(|number| put(&mut node, number, &noise(u64::from(number), 60)));
    node.close().unwrap();
    let old = disk.contents(Volume::Index, &index).unwrap();
    let mut node = open(&disk, limits())?;
    (0..20).for_each(|number| put(&mut node, number, &noise(u64::from(number) + 100, 60)));
    node.close().unwrap();
    let (start, stride) = (20_480, 4_136);
    for page in 0..(old.len() - start) / stride {
        let disk = disk.snapshot();
        let at = start + page * stride;
        let file = disk.open(Volume::Index, &index, OpenMode::Write).unwrap();
        file.write_at(at as u64, &[&old[at..at + stride]]).unwrap();
        let mut node = open(&disk, limits())?;
        for number in 0..20 {
            expect(&mut node, number, &noise(u64::from(number) + 100, 60))?;
        }
    }
    Ok(())
}

fn a_deletion_outlives_one_rotten_sector() -> Check {
    let disk = fresh();
    let mut node = create(&disk, limits());
    put(&mut node, 0, &noise(1, 100));
    rest(&mut node);
    let before = last_segment(&disk).1;
    node.ask(Request::Purge(PurgeTarget::Key(key(0)))).unwrap();
    drop(node);
    let (name, len) = last_segment(&disk);
    // But for the last sector: a log whose end cannot be told from a torn one.
    for sector in before / 512..len / 512 - 1 {
        let disk = disk.after_crash(CrashVariant::AllLost);
        disk.damage(Volume::Blocks, &name, sector, Damage::Zeroed);
        drop_index(&disk);
        let mut node = open(&disk, limits())?;
        if read(&mut node, 0).is_ok() {
            return Err(format!("sector {sector} rots, and what was purged is back"));
        }
    }
    Ok(())
}

/// A store with one large value, whose slices lie apart, and at rest.
fn large(content: &Bytes) -> (FaultyDisk, Node) {
    let disk = fresh();
    let mut node = create(&disk, roomy());
    put(&mut node, 0, content);
    put(&mut node, 1, &noise(2, 3000));
    rest(&mut node);
    (disk, node)
}

fn a_burst_costs_nothing() -> Check {
    let content = noise(1, 300_000);
    let (disk, node) = large(&content);
    drop(node);
    let (name, len) = last_segment(&disk);
    for first in (32..len / 512 - 64).step_by(97) {
        let disk = disk.snapshot();
        for sector in first..first + 8 {
            disk.damage(Volume::Blocks, &name, sector, Damage::Zeroed);
        }
        expect(&mut open(&disk, roomy())?, 0, &content)?;
    }
    Ok(())
}

fn one_rotten_slice_costs_nothing() -> Check {
    let content = noise(1, 300_000);
    let (disk, node) = large(&content);
    drop(node);
    let (name, len) = last_segment(&disk);
    for sector in (32..len / 512 - 64).step_by(97) {
        let disk = disk.snapshot();
        disk.damage(Volume::Blocks, &name, sector, Damage::FlippedBit { bit: 77 });
        expect(&mut open(&disk, roomy())?, 0, &content)?;
    }
    Ok(())
}

fn a_scrub_leaves_no_rot() -> Check {
    let (disk, mut node) = large(&noise(1, 300_000));
    let name = last_segment(&disk).0;
    let mut named = 0;
    // Where nothing but slices lies.
    for sector in (100..700).step_by(97) {
        disk.damage(Volume::Blocks, &name, sector, Damage::FlippedBit { bit: 77 });
        match node.ask(Request::Scrub { repair: true }) {
            Ok(Reply::Scrubbed(report)) => named += report.damage.len(),
            other => return Err(format!("a scrub: {other:.200?}")),
        }
        // Another slice of the same seal may rot now: each must be whole again.
        match node.ask(Request::Scrub { repair: false }) {
            Ok(Reply::Scrubbed(report)) if report.damage.is_empty() => {}
            other => return Err(format!("sector {sector} is still rotten after a scrub: {other:.200?}")),
        }
    }
    if named > 0 { Ok(()) } else { Err("no scrub named any rot".into()) }
}

fn rot_is_not_moved() -> Check {
    let content = noise(1, 300_000);
    let (disk, node) = large(&content);
    drop(node);
    let name = last_segment(&disk).0;
    for sector in (100..700).step_by(97) {
        let disk = disk.snapshot();
        let mut node = open(&disk, roomy())?;
        node.ask(Request::Purge(PurgeTarget::Key(key(1)))).unwrap();
        disk.damage(Volume::Blocks, &name, sector, Damage::FlippedBit { bit: 77 });
        node.ask(Request::Compact).map_err(|failure| failure.to_string())?;
        // What was found rotten is mended after the next commit.
        put(&mut node, 2, &noise(5, 100));
        node.settle();
        match node.ask(Request::Scrub { repair: false }) {
            Ok(Reply::Scrubbed(report)) if report.damage.is_empty() => {}
            other => return Err(format!("rot was moved: {other:.200?}")),
        }
    }
    Ok(())
}

/// The last owner of a value goes while the same value comes in.
fn what_a_put_has_found_stays() -> Check {
    let content = noise(1, 40_000);
    let mut node = create(&fresh(), limits());
    put(&mut node, 0, &content);
    let (id, _) = stream(&mut node, 1);
    node.ask(Request::PutData { stream: id, data: content.clone() }).unwrap();
    node.settle();
    node.ask(Request::Purge(PurgeTarget::Key(key(0)))).unwrap();
    node.ask(Request::Compact).unwrap();
    node.ask(Request::PutEnd { stream: id }).unwrap();
    expect(&mut node, 1, &content)
}

/// A process is killed before a small value has parity, and a slice of it rots.
fn what_a_scrub_heals_stays_so() -> Check {
    let disk = fresh();
    let mut node = create(&disk, limits());
    let from = last_segment(&disk).1.div_ceil(512);
    put(&mut node, 0, &noise(1, 5000));
    let (name, len) = last_segment(&disk);
    // The last batch of all is read again, whole, by whoever opens it.
    put(&mut node, 1, &noise(2, 100));
    drop(node);
    for sector in from..len / 512 {
        let disk = disk.snapshot();
        disk.damage(Volume::Blocks, &name, sector, Damage::FlippedBit { bit: 77 });
        let mut node = open(&disk, limits())?;
        for _ in 0..2 {
            node.ask(Request::Scrub { repair: true }).map_err(|failure| failure.to_string())?;
            rest(&mut node);
        }
        match node.ask(Request::Scrub { repair: true }) {
            // Records that nothing covers yet may be lost.
            Ok(Reply::Scrubbed(report))
                if report.damage.iter().all(|damage| damage.outcome != DamageOutcome::Healed) => {}
            other => return Err(format!("sector {sector}, which was healed, is healed again: {other:.200?}")),
        }
    }
    Ok(())
}

fn what_a_full_disk_refused_stays_away() -> Check {
    for room in (0..6000).step_by(500) {
        let disk = fresh();
        let mut node = create(&disk, limits());
        put(&mut node, 0, &noise(1, 900));
        disk.set_capacity(Some(disk.used_bytes() + room));
        let source = PutSource::Value(noise(2, 3000));
        let refused = node.ask(Request::Put(vec![Put { key: key(1), source, options: PutOptions::default() }]));
        disk.set_capacity(None);
        let was_refused = matches!(refused, Ok(Reply::Put(results)) if results.iter().all(Result::is_err));
        put(&mut node, 2, &noise(3, 900));
        node.close().unwrap();
        drop_index(&disk);
        let mut node = open(&disk, limits())?;
        if was_refused && read(&mut node, 1).is_ok() {
            return Err(format!("with {room} B left a put was refused, and is there"));
        }
        expect(&mut node, 0, &noise(1, 900))?;
        expect(&mut node, 2, &noise(3, 900))?;
    }
    Ok(())
}

fn what_is_lost_is_stored_when_it_is_put_again() -> Check {
    let content = noise(1, 60_000);
    let disk = fresh();
    let mut node = create(&disk, roomy());
    put(&mut node, 0, &content);
    put(&mut node, 1, &noise(2, 100));
    rest(&mut node);
    let (name, _) = last_segment(&disk);
    for sector in 28..125 {
        disk.damage(Volume::Blocks, &name, sector, Damage::Zeroed);
    }
    let scrubbed = node.ask(Request::Scrub { repair: true });
    assert!(matches!(scrubbed, Ok(Reply::Scrubbed(report)) if report.lost.len() == 1), "more is damaged than can heal");
    node.ask(Request::Purge(PurgeTarget::Key(key(1)))).unwrap();
    // One slice of it is sound, and moves.
    node.ask(Request::Compact).unwrap();
    put(&mut node, 2, &content);
    expect(&mut node, 2, &content)
}

/// Of several segments nothing can be read, and of so many places just one is remembered.
fn what_is_lost_is_named_however_much_it_is() -> Check {
    let limits = Limits { damaged_places: 1, ..limits() };
    let disk = fresh();
    let mut node = create(&disk, limits.clone());
    (0..8).for_each(|number| put(&mut node, number, &noise(u64::from(number), 12_000)));
    rest(&mut node);
    node.close().unwrap();
    drop_index(&disk);
    let segments = disk.list(Volume::Blocks).unwrap();
    let spoilt = &segments[1..segments.len() - 1];
    assert!(spoilt.len() > 2, "{segments:?}");
    for name in spoilt {
        let len = disk.open(Volume::Blocks, name, OpenMode::Read).unwrap().len().unwrap();
        for sector in 16..len / 512 {
            disk.damage(Volume::Blocks, name, sector, Damage::Zeroed);
        }
    }
    for _ in 0..2 {
        // A process of its own each time, by the index that the last has left.
        let mut node = open(&disk, limits.clone())?;
        let report = match node.ask(Request::Scrub { repair: true }) {
            Ok(Reply::Scrubbed(report)) => report,
            other => return Err(format!("a scrub: {other:.200?}")),
        };
        for name in spoilt {
            let segment = format!("segment {}", name.as_str().trim_start_matches("seg-").trim_end_matches(".log"));
            let mut said = report.damage.iter().filter(|damage| damage.place.starts_with(&segment)).peekable();
            if said.peek().is_none() || said.any(|damage| damage.outcome != DamageOutcome::Lost) {
                return Err(format!("nobody was told that {segment} is lost: {:.300?}", report.damage));
            }
        }
        node.ask(Request::Compact).map_err(|failure| failure.to_string())?;
        for number in 0..8 {
            let got = node.ask(Request::Get(vec![(key(number), Select::Winner)]));
            let Ok(Reply::Got(got)) = got else { return Err(format!("{got:?}")) };
            if matches!(got[..], [Err(Failure::NoSuchKey(_))]) {
                return Err(format!("value {number} is said never to have been there"));
            }
        }
        // What is not named may be a version of it.
        match node.ask(Request::Purge(PurgeTarget::Key(key(0)))) {
            Err(Failure::Damaged { .. }) => {}
            other => return Err(format!("a deletion that may miss something: {other:?}")),
        }
        expect(&mut node, 0, &noise(0, 12_000))?;
        node.close().unwrap();
    }
    Ok(())
}
