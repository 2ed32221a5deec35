//! The definitions, spelled out without any thought of cost: what the algorithms are held against.

use super::{Ancestry, MemoryAncestry, Parents};
use crate::blob::sample::blob;
use crate::id::{BlobId, Hlc};
use core::cell::Cell;
use core::convert::Infallible;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Random graphs: stamps that respect ancestry or do not, holes, unknown parents, several roots.
pub(super) fn any_graph() -> impl Strategy<Value = MemoryAncestry> {
    let version = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        0u64..12,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    (prop::collection::vec(version, 0..24), any::<u64>(), any::<bool>()).prop_map(|(versions, salt, orderly)| {
        // Ids are shuffled, so that they say nothing of the order.
        let name = |n: usize| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&salt.to_le_bytes()).update(&n.to_le_bytes());
            BlobId::from_bytes(*hasher.finalize().as_bytes())
        };
        let mut graph = MemoryAncestry::new();
        for (n, (picks, stamp, purged, unknown, dangling)) in versions.iter().enumerate() {
            let mut ids: BTreeSet<BlobId> = picks.iter().filter(|_| n > 0).map(|pick| name(pick.index(n))).collect();
            if *dangling {
                ids.insert(name(1_000 + n));
            }
            let created = Hlc(if orderly { n as u64 * 2 } else { *stamp });
            if !*unknown {
                graph.insert(name(n), Parents { created, ids: ids.into_iter().collect(), purged: *purged });
            }
        }
        graph
    })
}

/// A straight line of versions 1 to `len`.
pub(super) fn chain(len: u32) -> MemoryAncestry {
    let mut graph = MemoryAncestry::new();
    for n in 1..=len {
        let ids = if n == 1 { Vec::new() } else { vec![blob(n - 1)] };
        graph.insert(blob(n), Parents { created: Hlc(u64::from(n)), ids, purged: false });
    }
    graph
}

pub(super) fn shuffle<T>(list: &mut [T], mut seed: u64) {
    for end in (1..list.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        list.swap(end, (seed >> 33) as usize % (end + 1));
    }
}

/// Counts look-ups, and does or does not trust stamps.
pub(super) struct Counting {
    pub(super) inner: MemoryAncestry,
    trusting: bool,
    count: Cell<usize>,
}

impl Counting {
    pub(super) fn new(inner: MemoryAncestry) -> Self {
        Self { inner, trusting: false, count: Cell::new(0) }
    }

    pub(super) fn trusting(inner: MemoryAncestry) -> Self {
        Self { inner, trusting: true, count: Cell::new(0) }
    }

    pub(super) fn look_ups(&self) -> usize {
        self.count.get()
    }
}

impl Ancestry for Counting {
    type Error = Infallible;

    fn parents(&self, id: BlobId) -> Result<Option<Parents>, Infallible> {
        self.count.set(self.count.get() + 1);
        self.inner.parents(id)
    }

    fn is_monotone(&self) -> bool {
        self.trusting
    }
}

/// A version and everything it descends from, known or not.
pub(super) fn ancestors(graph: &MemoryAncestry, id: BlobId) -> BTreeSet<BlobId> {
    let mut all = BTreeSet::from([id]);
    loop {
        let more: BTreeSet<BlobId> =
            all.iter().filter_map(|id| graph.parents(*id).unwrap()).flat_map(|parents| parents.ids).collect();
        let before = all.len();
        all.extend(more);
        if all.len() == before {
            return all;
        }
    }
}

fn maximal(graph: &MemoryAncestry, set: &BTreeSet<BlobId>) -> Vec<(Hlc, BlobId)> {
    let live = |id: &BlobId| graph.parents(*id).unwrap().filter(|parents| !parents.purged);
    let set: BTreeSet<BlobId> = set.iter().copied().filter(|id| live(id).is_some()).collect();
    let mut found: Vec<(Hlc, BlobId)> = set
        .iter()
        .filter(|id| !set.iter().any(|other| other != *id && ancestors(graph, *other).contains(id)))
        .map(|id| (live(id).unwrap().created, *id))
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

pub(super) fn heads(graph: &MemoryAncestry, versions: &[BlobId]) -> Vec<(Hlc, BlobId)> {
    maximal(graph, &versions.iter().copied().collect())
}

pub(super) fn merge_bases(graph: &MemoryAncestry, sides: &[BlobId]) -> Vec<(Hlc, BlobId)> {
    let mut common: Option<BTreeSet<BlobId>> = None;
    for side in sides {
        let below = ancestors(graph, *side);
        common = Some(common.map_or(below.clone(), |common| common.intersection(&below).copied().collect()));
    }
    maximal(graph, &common.unwrap_or_default())
}

/// The winner among what was there by `time`.
pub(super) fn version_at(graph: &MemoryAncestry, time: Hlc) -> Option<BlobId> {
    let there: BTreeSet<BlobId> =
        graph.iter().filter(|(_, parents)| !parents.purged && parents.created <= time).map(|(id, _)| id).collect();
    maximal(graph, &there).first().map(|(_, id)| *id)
}
