//! Which numbers of a session were heard: as a window over the last of them.

/// Numbers behind the highest that are told apart.
pub(super) const WIDTH: u64 = 64;

/// See the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// One more than the highest that was heard.
    next: u64,
    /// Bit k: whether the one k before the highest was.
    heard: u64,
}

impl Window {
    /// Whether a number is heard for the first time, as far as that is known: what is older than the window is not.
    pub(super) const fn take(&mut self, number: u64) -> bool {
        if number >= self.next {
            let ahead = number.saturating_add(1) - self.next;
            self.heard = if ahead >= WIDTH { 0 } else { self.heard << ahead };
            self.heard |= 1;
            self.next = number.saturating_add(1);
            return true;
        }
        let behind = self.next - 1 - number;
        if behind >= WIDTH || self.heard >> behind & 1 == 1 {
            return false;
        }
        self.heard |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_taken_once_in_any_order_and_none_that_is_too_old() {
        let mut window = Window::default();
        assert!([3, 0, 5, 1, 70].into_iter().all(|number| window.take(number)));
        assert!(![70, 5, 3, 0].into_iter().any(|number| window.take(number)));
        assert!(window.take(69) && window.take(7) && !window.take(6), "6 is 64 behind");
        assert!(window.take(1_000_000) && !window.take(70) && !window.take(1_000_000));
        assert!(window.take(u64::MAX - 1) && !window.take(u64::MAX - 1));
    }
}
