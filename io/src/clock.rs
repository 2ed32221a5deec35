//! The machine's clocks.

use ouroboros_engine::env::{Instant, Now, WallTime};

/// Monotonic time since this clock was made, and wall time. Clones share the origin.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// The time. A wall clock set before 1970 reads as 1970.
    #[must_use]
    pub fn now(&self) -> Now {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Now { instant: Instant::from_nanos(nanos), wall: WallTime::from_unix_millis(millis) }
    }

    /// The moment of the standard library that `instant` means, for timers; none if it lies beyond what that can hold.
    #[must_use]
    pub fn to_std(&self, instant: Instant) -> Option<std::time::Instant> {
        self.origin.checked_add(std::time::Duration::from_nanos(instant.as_nanos()))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_the_wall_is_in_this_century() {
        let clock = SystemClock::new();
        let (first, second) = (clock.now(), clock.now());
        assert!(second.instant >= first.instant);
        assert!(first.wall.unix_millis() > 1_700_000_000_000);
        assert!(clock.to_std(second.instant).unwrap() <= std::time::Instant::now());
    }
}
