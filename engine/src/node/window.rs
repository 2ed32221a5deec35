//! The spread window: gathers sealed chunks so that the slices of each are written far apart.
//!
//! On a single disk the slices of one seal must not lie together, or a burst of bad sectors would take more of them
//! than the parity covers. The window therefore writes row by row: the first slices of all its seals, then the second
//! slices, and so on. A seal whose slices end up at least [`SPREAD_LEN`] apart is protected by its own parity; the
//! others (a small put that must be durable now) are marked for the log's group parity.

use crate::id::SealId;
use crate::planted::{Bug, planted};
use crate::seal::SealedSlice;
use crate::store::log;
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
    /// Whether these are all slices of the seal.
    pub(super) fn is_whole(&self) -> bool {
        let Some(first) = self.slices.first() else { return false };
        let indexes: BTreeSet<u8> = self.slices.iter().map(|slice| slice.header.index().0).collect();
        let coding = first.header.coding();
        indexes.len() == usize::from(coding.data()) + usize::from(coding.parity())
    }

    /// Whether there are slices that make good the loss of others.
    fn has_parity(&self) -> bool {
        self.slices.first().is_some_and(|slice| slice.header.coding().parity() > 0)
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
    places: Places,
}

/// One slice in the order in which it is to be written.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) seal: SealId,
    pub(super) slice: &'a SealedSlice,
    /// Its siblings, which make good its loss, lie at least [`SPREAD_LEN`] away.
    pub(super) spread: bool,
}

/// Bytes on disk of a slice's record.
fn record_len(slice: &SealedSlice) -> u64 {
    log::record_len(u32::try_from(slice.record_len()).unwrap_or(u32::MAX))
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

    /// Where its slices have gone.
    pub(super) const fn places(&mut self) -> &mut Places {
        &mut self.places
    }

    /// What waited is given up, and so is what was placed in the same batch: distances are counted anew.
    pub(super) fn give_up(&mut self) {
        let places = Places { least: self.places.least, ..Places::default() };
        *self = Self { places, ..Self::default() };
    }

    /// Empties the window and returns what waited.
    pub(super) fn take(&mut self) -> Vec<Waiting> {
        self.members.clear();
        self.len = 0;
        std::mem::take(&mut self.seals)
    }
}

/// Where slices were placed lately. Slices on the move come one by one, and one of them may be written at the end of a
/// window, and its sibling at the beginning of the next.
#[derive(Debug)]
pub(super) struct Places {
    /// Least distance at which siblings are trusted alone: [`SPREAD_LEN`] but for a whim.
    least: u64,
    /// Bytes that were placed, of slices alone; others only add to the distances.
    at: u64,
    /// Where the last slice of a seal ends that its siblings protect alone, as far back as it matters.
    ends: BTreeMap<SealId, u64>,
}

impl Default for Places {
    fn default() -> Self {
        Self { least: SPREAD_LEN, at: 0, ends: BTreeMap::new() }
    }
}

impl Places {
    /// See [`super::Whims::spread_len`].
    pub(super) const fn set_least(&mut self, least: u64) {
        self.least = least;
    }

    /// The order in which `seals` are to be written.
    pub(super) fn order<'a>(&mut self, seals: &'a [Waiting]) -> Vec<Placed<'a>> {
        // PA
        let rows = seals.iter().map(|waiting| waiting.slices.len()).max().unwrap_or(0);
        let mut placed: Vec<(usize, &SealedSlice)> = Vec::with_capacity(seals.len() * rows);
        let begin = self.at;
        let mut ends: Vec<Option<u64>> = seals.iter().map(|waiting| self.last_end(waiting)).collect();
        let mut spread: Vec<bool> = seals.iter().map(Waiting::has_parity).collect();
        for row in 0..rows {
            for (column, waiting) in seals.iter().enumerate() {
                let Some(slice) = waiting.slices.get(row) else { continue };
                if ends[column].is_some_and(|end| self.at - end < self.least) {
                    spread[column] = false;
                }
                self.at += record_len(slice);
                ends[column] = Some(self.at);
                placed.push((column, slice));
            }
        }
        if planted(Bug::SlicesTogether) {
            placed.sort_by_key(|(column, _)| *column);
            spread.fill(true);
        }
        for (column, waiting) in seals.iter().enumerate().filter(|(column, _)| spread[*column]) {
            if let Some(end) = ends[column].filter(|end| *end > begin) {
                self.ends.insert(waiting.seal, end);
            }
        }
        let (at, least) = (self.at, self.least);
        self.ends.retain(|_, end| at - *end < least);
        placed
            .into_iter()
            .map(|(column, slice)| Placed { seal: seals[column].seal, slice, spread: spread[column] })
            .collect()
    }

    /// Where the slice before ends; of a seal of which only some move, one may stand right before everything that was placed.
    fn last_end(&self, waiting: &Waiting) -> Option<u64> {
        self.ends.get(&waiting.seal).copied().or_else(|| (!waiting.is_whole()).then_some(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::seal::Compression;
    use crate::seal::fixtures::{coding, noise, sealed};

    /// Found by the simulator (seed 59051559): nothing covered a slice of a seal without parity.
    #[test]
    fn slices_that_have_siblings_and_no_parity_are_covered_wherever_they_lie() {
        let mut window = Window::default();
        for (number, code) in ["1+0", "2+0", "2+1"].iter().cycle().take(90).enumerate() {
            let sealed = sealed(&noise(number as u8, 6000).into(), Compression::Raw, coding(code));
            window.add(sealed.seal_id, sealed.slices);
        }
        let seals = window.take();
        for placed in window.places().order(&seals) {
            assert_eq!(placed.spread, placed.slice.header.coding().parity() > 0, "{:?}", placed.slice.header.coding());
        }
    }

    #[test]
    fn slices_that_move_one_by_one_are_covered_where_they_come_to_lie_together() {
        // Found by the simulator (seed 80010039): what counts is how long records are on disk, to the byte.
        for code in ["1+1", "2+1", "2+2", "2+3", "2+4", "4+2"] {
            slices_move_one_by_one(code);
        }
    }

    fn slices_move_one_by_one(code: &str) {
        let sealed = sealed(&noise(5, 3000).into(), Compression::Raw, coding(code));
        let mut window = Window::default();
        let mut flags = Vec::new();
        for _ in 0..40 {
            // Each time the window is flushed with one slice in it.
            for slice in &sealed.slices {
                window.add_moved(sealed.seal_id, vec![slice.clone()]);
                let waiting = window.take();
                flags.extend(window.places().order(&waiting).iter().map(|placed| placed.spread));
            }
        }
        let spread: Vec<usize> =
            flags.iter().enumerate().filter(|(_, spread)| **spread).map(|(place, _)| place).collect();
        // As docs/FORMAT.md has it: a header of 24 bytes, and padding to a multiple of 8.
        let len = (24 + sealed.slices[0].record_len()).next_multiple_of(8);
        assert!(spread.windows(2).all(|pair| (pair[1] - pair[0] - 1) * len >= SPREAD_LEN as usize), "{spread:?}");
        assert!(spread.first().is_some_and(|first| first * len >= SPREAD_LEN as usize), "{spread:?}");
    }
}
