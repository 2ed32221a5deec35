//! One direction between two nodes, and what the run's network is like.

use super::fault::NetworkFault;

/// What the network of a run is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// The least time a frame takes, in nanoseconds.
    pub latency: u64,
    /// How much longer it may take; frames overtake each other by it.
    pub jitter: u64,
    /// Each fault's rate in parts per million: of the frames, or of the slots for those that strike links.
    pub rates: [u32; NetworkFault::COUNT],
}

impl Weather {
    /// The time that a frame takes at most while nothing is wrong, in nanoseconds: the unit of everything that takes long.
    #[must_use]
    pub const fn unit(&self) -> u64 {
        let longest = self.latency + self.jitter;
        if longest == 0 { 1 } else { longest }
    }
}

/// Up and down by turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flap {
    pub(super) since: u64,
    pub(super) period: u64,
    /// The slot with which it ends.
    pub(super) ends: u32,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Nothing gets through until this slot.
    pub(super) cut: Option<u32>,
    pub(super) flap: Option<Flap>,
    /// Frames wait until this moment.
    pub(super) clogged_until: u64,
    /// How much longer every frame takes.
    pub(super) slow: u64,
    /// Frames that were sent: each frame's number on the tape.
    pub(super) sent: u64,
    pub(super) in_flight: usize,
}

impl Link {
    /// Whether a frame that is sent now gets nowhere.
    pub(super) const fn is_down(&self, now: u64) -> bool {
        let flapped = match self.flap {
            // It begins with being down.
            Some(Flap { since, period, .. }) => (now.saturating_sub(since) / period).is_multiple_of(2),
            None => false,
        };
        self.cut.is_some() || flapped
    }

    /// What was to last until this slot is over.
    pub(super) fn expire(&mut self, slot: u32) {
        self.cut = self.cut.filter(|ends| *ends > slot);
        self.flap = self.flap.filter(|flap| flap.ends > slot);
    }

    /// All faults are over; frames under way stay under way.
    pub(super) const fn heal(&mut self) {
        (self.cut, self.flap, self.clogged_until, self.slow) = (None, None, 0, 0);
    }
}
