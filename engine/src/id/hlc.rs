//! Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", OPODIS 2014).

use crate::env::WallTime;
use crate::planted::{Bug, planted};
use borsh::{BorshDeserialize, BorshSerialize};

/// Bits of the logical counter below the milliseconds.
const COUNTER_BITS: u32 = 16;

/// A hybrid timestamp: 48 bits of milliseconds since the Unix epoch, then a 16-bit counter.
/// Orders versions for display and for the winner; appears in no safety rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first timestamp of a wall-clock millisecond.
    #[must_use]
    pub const fn at(wall: WallTime) -> Self {
        let limit = u64::MAX >> COUNTER_BITS;
        let millis = if wall.unix_millis() > limit { limit } else { wall.unix_millis() };
        Self(millis << COUNTER_BITS)
    }

    /// The last timestamp of a wall-clock millisecond: everything stamped at or before it.
    #[must_use]
    pub const fn end_of(wall: WallTime) -> Self {
        Self(Self::at(wall).0 | ((1 << COUNTER_BITS) - 1))
    }

    /// The wall-clock part, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn wall(self) -> WallTime {
        WallTime::from_unix_millis(self.0 >> COUNTER_BITS)
    }
}

/// A timestamp from elsewhere lies too far in the future to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "timestamp lies {ahead_ms} ms ahead of this node's clock, more than the {limit_ms} ms allowed; check both clocks"
)]
pub struct ClockAhead {
    /// How far ahead, in milliseconds.
    pub ahead_ms: u64,
    /// What is tolerated, in milliseconds.
    pub limit_ms: u64,
}

/// The clock that stamps new versions: always above everything it issued or observed, whatever the wall clock does.
#[derive(Clone, Copy, Debug, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// How far ahead of our wall clock a foreign timestamp may lie, in milliseconds: 10 minutes.
    pub const MAX_AHEAD_MS: u64 = 10 * 60 * 1000;

    /// A clock that continues after `last`, the highest timestamp found in the log.
    #[must_use]
    pub const fn after(last: Hlc) -> Self {
        Self { last }
    }

    /// The highest timestamp issued or observed.
    #[must_use]
    pub const fn last(&self) -> Hlc {
        self.last
    }

    /// Issues the next timestamp. A wall clock that stands still or jumps back only moves the counter; one that jumped
    /// forward is followed, and stays followed.
    pub fn issue(&mut self, now: WallTime) -> Hlc {
        self.last = Hlc::at(now).max(Hlc(self.last.0.saturating_add(1)));
        if planted(Bug::ClockGoesBack) {
            self.last = Hlc(Hlc::at(now).0 | (self.last.0.wrapping_add(1) & 0xffff));
        }
        self.last
    }

    /// Takes note of a timestamp that was recovered from our own log: believed whatever the wall clock says.
    pub fn recover(&mut self, stamp: Hlc) {
        self.last = self.last.max(stamp);
    }

    /// Takes note of a timestamp from another node.
    ///
    /// # Errors
    /// [`ClockAhead`] when it lies more than [`Self::MAX_AHEAD_MS`] ahead; the clock is unchanged.
    pub fn observe(&mut self, stamp: Hlc, now: WallTime) -> Result<(), ClockAhead> {
        let ahead_ms = stamp.wall().unix_millis().saturating_sub(now.unix_millis());
        if ahead_ms > Self::MAX_AHEAD_MS {
            return Err(ClockAhead { ahead_ms, limit_ms: Self::MAX_AHEAD_MS });
        }
        self.recover(stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(millis: u64) -> WallTime {
        WallTime::from_unix_millis(millis)
    }

    #[test]
    fn stamps_rise_whichever_way_the_wall_clock_jumps() {
        let mut clock = HlcClock::default();
        let mut previous = Hlc::default();
        for now in [1_000, 1_000, 5, 9_000_000, 7, 9_000_000, 9_000_001, 0, u64::MAX, 3] {
            let stamp = clock.issue(wall(now));
            assert!(stamp > previous, "{stamp:?} after {previous:?} at {now}");
            previous = stamp;
        }
    }

    #[test]
    fn a_stamp_from_the_far_future_is_refused_and_moves_nothing() {
        let mut clock = HlcClock::default();
        let now = wall(1_000_000);
        let near = Hlc::at(wall(1_000_000 + HlcClock::MAX_AHEAD_MS));
        let far = Hlc::at(wall(1_000_001 + HlcClock::MAX_AHEAD_MS));
        assert!(clock.observe(far, now).is_err());
        assert_eq!(clock.last(), Hlc::default());
        clock.observe(near, now).expect("exactly at the limit");
        assert!(clock.issue(now) > near);
    }
}
