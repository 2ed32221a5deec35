//! Seals that cannot be had back: what is sealed anew does not refer to them.

use crate::id::SealId;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeSet;

/// Seals that are remembered as lost.
const LOST_LEN: usize = 4096;

/// Seals of which a look at all their slices has found too few. Part of the checkpoint.
///
/// There is no end to what can be lost, and there is one to what is remembered: where there is more, every seal may be lost
/// until a scrub has looked at all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Losses {
    seals: BTreeSet<SealId>,
    /// There are, or may be, more than are remembered.
    more: bool,
    /// So it was found since the scrub under way began.
    #[borsh(skip)]
    more_since: bool,
    /// A checkpoint would say more of it than the last.
    #[borsh(skip)]
    news: bool,
    /// Such a checkpoint could not be written.
    #[borsh(skip)]
    put_off: bool,
}

impl Losses {
    /// Too few slices of a seal can be read.
    pub(super) fn add(&mut self, seal: SealId) {
        // PA
        if !self.add_if_room(seal) && !self.seals.contains(&seal) {
            self.overlook();
        }
    }

    /// The same of one that nothing refers to now: where there is no room for it, that is not held against all others.
    pub(super) fn add_if_room(&mut self, seal: SealId) -> bool {
        // PA
        let has_room = self.seals.len() < LOST_LEN;
        if has_room {
            self.learnt(self.seals.contains(&seal));
            self.seals.insert(seal);
        }
        has_room
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.seals.len()
    }

    /// Something is lost, which was `known` or not.
    const fn learnt(&mut self, known: bool) {
        self.news |= !known;
        self.put_off &= known;
    }

    /// Whether something is lost that no checkpoint says, and none was tried.
    pub(super) const fn has_news(&self) -> bool {
        self.news && !self.put_off
    }

    /// No checkpoint can say it now: a later one will.
    pub(super) const fn put_off(&mut self) {
        self.put_off = true;
    }

    /// A checkpoint says all of it.
    pub(super) fn told(&mut self) {
        (self.news, self.put_off) = (false, false);
    }

    /// Enough of a seal can be read, or nobody needs it.
    pub(super) fn remove(&mut self, seal: &SealId) {
        self.seals.remove(seal);
    }

    /// Some seals may be lost and are not remembered. Whether that was not known.
    pub(super) fn overlook(&mut self) -> bool {
        // PA
        self.more_since = true;
        let is_new = !std::mem::replace(&mut self.more, true);
        self.learnt(!is_new);
        is_new
    }

    /// Whether a seal is lost, or may be.
    pub(super) fn may_include(&self, seal: &SealId) -> bool {
        // PA
        self.more || self.seals.contains(seal)
    }

    /// A scrub begins to look at all seals.
    pub(super) fn count(&mut self) {
        self.more_since = false;
    }

    /// It has looked at all of them: what is lost is remembered, unless there was too much.
    pub(super) fn counted(&mut self) {
        // PA
        self.more = self.more_since;
    }
}

#[cfg(test)]
mod tests {
    use super::{LOST_LEN, Losses};
    use crate::id::SealId;

    fn seal(number: usize) -> SealId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        SealId::from_bytes(bytes)
    }

    #[test]
    fn what_was_not_remembered_may_be_lost_until_a_scrub_has_counted_everything() {
        let mut losses = Losses::default();
        losses.count();
        (0..LOST_LEN).for_each(|number| losses.add(seal(number)));
        assert!(losses.has_news());
        losses.told();
        assert!(!losses.may_include(&seal(LOST_LEN)));
        losses.add(seal(LOST_LEN));
        assert!(losses.has_news());
        losses.told();
        losses.add(seal(LOST_LEN + 1));
        assert!(!losses.has_news(), "it is known that there are more");
        losses.remove(&seal(0));
        assert!(losses.may_include(&seal(LOST_LEN)), "one that was mended made it forget the others");
        losses.counted();
        assert!(losses.may_include(&seal(LOST_LEN)), "the scrub itself could not remember all");

        (0..100).for_each(|number| losses.remove(&seal(number)));
        losses.count();
        losses.add(seal(LOST_LEN));
        losses.counted();
        assert!(losses.may_include(&seal(LOST_LEN)) && !losses.may_include(&seal(LOST_LEN + 1)));
    }
}
