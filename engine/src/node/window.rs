//! The spread window: gathers sealed chunks so that the slices of each are written far apart.
//!
//! On a single disk the slices of one seal must not lie together, or a burst of bad sectors would take more of them
//! than the parity covers. The window therefore writes row by row: the first slices of all its seals, then the second
//! slices, and so on. A seal whose slices end up at least [`SPREAD_LEN`] apart is protected by its own parity; the
//! others (a small put that must be durable now) are marked for the log's group parity.

use crate::id::SealId;
use crate::planted::{Bug, planted};
use crate::seal::SealedSlice;
use std::collections::{BTreeMap, BTreeSet};

/// Least distance between the slices of a seal, in bytes, for which its own parity is trusted alone.
pub(super) const SPREAD_LEN: u64 = 64 << 10;

/// One sealed chunk that waits for its place.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) seal: SealId,
    pub(super) slices: Vec<SealedSlice>,
}

impl Waiting {
    fn is_whole(&self) -> bool {
        let Some(first) = self.slices.first() else { return false };
        let indexes: BTreeSet<u8> = self.slices.iter().map(|slice| slice.header.index().0).collect();
        let coding = first.header.coding();
        indexes.len() == usize::from(coding.data()) + usize::from(coding.parity())
    }
}

fn len_of(slices: &[SealedSlice]) -> usize {
    slices.iter().map(SealedSlice::record_len).sum()
}

/// Sealed chunks that wait for their places.
#[derive(Debug, Default)]
pub(super) struct Window {
    seals: Vec<Waiting>,
    members: BTreeMap<SealId, usize>,
    len: usize,
}

/// One slice in the order in which it is to be written.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) seal: SealId,
    pub(super) slice: &'a SealedSlice,
    /// Its siblings lie at least [`SPREAD_LEN`] away.
    pub(super) spread: bool,
}

/// What a record costs beyond its payload, near enough for distances.
const RECORD_OVERHEAD: u64 = 32;

fn record_len(slice: &SealedSlice) -> u64 {
    slice.record_len() as u64 + RECORD_OVERHEAD
}

impl Window {
    /// Bytes gathered.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.seals.is_empty()
    }

    pub(super) fn contains(&self, seal: &SealId) -> bool {
        self.members.contains_key(seal)
    }

    /// Whether all slices of a seal wait, and not just some that are on the move.
    pub(super) fn contains_whole(&self, seal: &SealId) -> bool {
        self.members.get(seal).is_some_and(|place| self.seals[*place].is_whole())
    }

    /// Adds all slices of a seal. They take the place of those that wait already, which may be of another coding, or some
    /// only, on the move.
    pub(super) fn add(&mut self, seal: SealId, slices: Vec<SealedSlice>) {
        let place = *self.members.entry(seal).or_insert(self.seals.len());
        if place == self.seals.len() {
            self.seals.push(Waiting { seal, slices: Vec::new() });
        }
        self.len += len_of(&slices);
        let before = std::mem::replace(&mut self.seals[place].slices, slices);
        self.len -= len_of(&before);
    }

    /// Adds slices that are on the move to others of their seal. Where the seal waits in another coding, or whole, they
    /// are dead.
    pub(super) fn add_moved(&mut self, seal: SealId, slices: Vec<SealedSlice>) {
        let Some(place) = self.members.get(&seal).copied() else { return self.add(seal, slices) };
        let waiting = &mut self.seals[place];
        let coding = waiting.slices.first().map(|slice| slice.header.coding());
        if waiting.is_whole() || slices.iter().any(|slice| coding != Some(slice.header.coding())) {
            return;
        }
        self.len += len_of(&slices);
        waiting.slices.extend(slices);
    }

    /// Empties the window and returns what waited.
    pub(super) fn take(&mut self) -> Vec<Waiting> {
        self.members.clear();
        self.len = 0;
        std::mem::take(&mut self.seals)
    }
}

/// The order in which `seals` are to be written.
pub(super) fn order(seals: &[Waiting]) -> Vec<Placed<'_>> {
    // PA
    let rows = seals.iter().map(|waiting| waiting.slices.len()).max().unwrap_or(0);
    let mut placed: Vec<(usize, &SealedSlice)> = Vec::with_capacity(seals.len() * rows);
    let mut ends: Vec<Option<u64>> = vec![None; seals.len()];
    let mut spread = vec![true; seals.len()];
    let mut at = 0;
    for row in 0..rows {
        for (column, waiting) in seals.iter().enumerate() {
            let Some(slice) = waiting.slices.get(row) else { continue };
            if ends[column].is_some_and(|end| at - end < SPREAD_LEN) {
                spread[column] = false;
            }
            at += record_len(slice);
            ends[column] = Some(at);
            placed.push((column, slice));
        }
    }
    if planted(Bug::SlicesTogether) {
        placed.sort_by_key(|(column, _)| *column);
        spread.fill(true);
    }
    placed
        .into_iter()
        .map(|(column, slice)| Placed { seal: seals[column].seal, slice, spread: spread[column] })
        .collect()
}
