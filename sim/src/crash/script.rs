//! What clients ask: drawn from a seed and from what the model says is there.

use super::model::Model;
use super::store::Store;
use crate::disk::Stream;
use bytes::Bytes;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::Request;
use ouroboros_engine::seal::Coding;
use std::collections::BTreeSet;

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Stages. Between two of them the store is closed, or its process killed, and opened again.
    pub stages: usize,
    /// Groups of requests in a stage; the requests of a group are under way together.
    pub groups: usize,
    /// How many keys there are.
    pub keys: usize,
    /// The longest value, in bytes.
    pub longest: u64,
    /// After each stage a process without keys opens the store, codes it anew, compacts and scrubs it.
    pub keyless: bool,
    /// What it is played on.
    pub store: Store,
}

/// In a tiny store, a key is purged from so many versions on: what each opening reads stays little.
const CROWDED: usize = 11;

/// The bytes of a new version.
#[derive(Clone)]
pub(super) enum Value {
    Bytes(Bytes),
    SameAs(BlobId),
    Gone,
}

impl core::fmt::Debug for Value {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::SameAs(id) => write!(f, "as {id}"),
            Self::Gone => f.write_str("gone"),
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Put { key: usize, value: Value, base: Option<Vec<BlobId>>, pieces: usize },
    PurgeKey(usize),
    PurgeVersion(BlobId),
    Compact,
    Recode(Coding),
    Scrub,
}

impl Script {
    /// The least that asks for 300 operations of everything there is, on a store so small that it can be recovered a million
    /// times.
    #[must_use]
    pub const fn tiny(seed: u64, index_in_memory: bool) -> Self {
        let store = Store::Tiny { index_in_memory };
        Self { seed, stages: 6, groups: 25, keys: 6, longest: 9_000, keyless: false, store }
    }

    /// The draws of one stage.
    pub(super) fn stream(&self, stage: usize) -> Stream {
        Stream::new(self.seed.wrapping_mul(1_000_003).wrapping_add(stage as u64), "script")
    }

    /// Requests that are under way together.
    pub(super) fn group(&self, stream: &mut Stream, model: &Model) -> Vec<Ask> {
        let mut asks = Vec::new();
        let mut busy = BTreeSet::new();
        if self.store.is_tiny()
            && model.live().len() >= CROWDED
            && let Some(key) = (0..self.keys).max_by_key(|key| model.live_of(*key).len())
        {
            busy.insert(key);
            asks.push(Ask::PurgeKey(key));
        }
        if self.store.is_tiny() && stream.below(7) == 0 {
            asks.push(Ask::Compact);
        }
        match stream.below(100) {
            0..5 => asks.push(Ask::Compact),
            5..8 => asks.push(Ask::Recode(coding(stream))),
            8 => asks.push(Ask::Scrub),
            9..14 => self.purge_key(stream, model, &mut busy, &mut asks),
            14..24 => self.purge_version(stream, model, &mut busy, &mut asks),
            _ => {}
        }
        let puts = if stream.below(5) < 2 { 1 } else { 1 + stream.below(5) };
        for _ in 0..puts {
            let key = stream.below(self.keys as u64) as usize;
            if !busy.contains(&key) {
                asks.push(self.put(stream, model, key, &busy));
            }
        }
        asks
    }

    fn purge_key(&self, stream: &mut Stream, model: &Model, busy: &mut BTreeSet<usize>, asks: &mut Vec<Ask>) {
        let key = stream.below(self.keys as u64) as usize;
        if !busy.contains(&key) && !model.live_of(key).is_empty() {
            busy.insert(key);
            asks.push(Ask::PurgeKey(key));
        }
    }

    fn purge_version(&self, stream: &mut Stream, model: &Model, busy: &mut BTreeSet<usize>, asks: &mut Vec<Ask>) {
        let live: Vec<BlobId> = model.live().into_iter().collect();
        if let Some(id) = pick(stream, &live)
            && let Some(version) = model.versions.get(&id)
            && !busy.contains(&version.key)
            // Refused as long as what it removed is there.
            && !(version.content.is_none() && model.hides(id))
        {
            busy.insert(version.key);
            asks.push(Ask::PurgeVersion(id));
        }
    }

    fn put(&self, stream: &mut Stream, model: &Model, key: usize, busy: &BTreeSet<usize>) -> Ask {
        let versions = model.live_of(key);
        let heads = model.heads_of(key);
        let base = match stream.below(10) {
            0 | 1 => pick(stream, &versions).map(|id| vec![id]),
            2..5 if heads.len() > 1 => Some(heads),
            _ => None,
        };
        let others: Vec<BlobId> = model
            .live()
            .into_iter()
            .filter(|id| model.versions.get(id).is_some_and(|v| !busy.contains(&v.key)))
            .collect();
        let value = match stream.below(20) {
            0 if !versions.is_empty() => Value::Gone,
            1 | 2 => match pick(stream, &others) {
                Some(id) => Value::SameAs(id),
                None => Value::Gone,
            },
            _ => Value::Bytes(self.content(stream)),
        };
        let pieces = if matches!(value, Value::Bytes(_)) && stream.below(4) == 0 { 1 + stream.below(4) } else { 0 };
        Ask::Put { key, value, base, pieces: pieces as usize }
    }

    fn content(&self, stream: &mut Stream) -> Bytes {
        if self.store.is_tiny() {
            let len = match stream.below(20) {
                0 => 0,
                1..15 => stream.below(200),
                15..19 => stream.below(1200),
                // Up to 4 KiB the bytes are in the version itself, beyond in chunks.
                _ => 4097 + stream.below(self.longest.saturating_sub(4096)),
            };
            return content(len as usize, stream.below(40));
        }
        let len = match stream.below(20) {
            0 => 0,
            1..8 => stream.below(4097),
            8..15 => 4000 + stream.below(12_000),
            15..19 => stream.below(60_000),
            _ => self.longest / 2 + stream.below(self.longest / 2 + 1),
        };
        // Few seeds, so that values share chunks with each other.
        let seed = stream.below(40);
        content(len.min(self.longest) as usize, seed)
    }
}

/// What a process without keys asks after a stage, one after the other.
pub(super) fn keyless_asks(stage: usize) -> Vec<Request> {
    let codings = [(4, 2), (8, 1), (2, 1)];
    let (data, parity) = codings[stage % codings.len()];
    vec![
        Request::Recode(Coding::new(data, parity).unwrap_or_default()),
        Request::Compact,
        Request::Scrub { repair: true },
        Request::Compact,
    ]
}

fn coding(stream: &mut Stream) -> Coding {
    let (data, parity) = [(8, 1), (4, 2), (2, 1), (3, 0)][stream.below(4) as usize];
    Coding::new(data, parity).unwrap_or_default()
}

pub(super) fn pick(stream: &mut Stream, from: &[BlobId]) -> Option<BlobId> {
    from.get(stream.below(from.len() as u64) as usize).copied()
}

/// Bytes of which every third kind can be compressed. Contents of one seed begin alike.
pub(super) fn content(len: usize, seed: u64) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    if seed.is_multiple_of(3) {
        out.iter_mut().for_each(|byte| *byte = b"abcdefgh"[usize::from(*byte % 8)]);
    }
    out.into()
}
