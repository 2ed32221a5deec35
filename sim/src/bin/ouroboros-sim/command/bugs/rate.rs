//! Hit rates, and what may be said of them. Integers only.

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) hits: u64,
    pub(super) of: u64,
}

impl Rate {
    /// In parts per million.
    pub(super) fn per_million(self) -> u64 {
        self.hits.saturating_mul(1_000_000) / self.of.max(1)
    }

    /// Where the true rate lies, 19 times of 20 (Wilson's interval), in parts per million.
    pub(super) fn interval(self) -> (u64, u64) {
        // z = 1.96, z² = 3.8416.
        let (hits, of) = (u128::from(self.hits), u128::from(self.of.max(1)));
        let middle = hits * 1_000_000 + 1_920_800;
        let spread = (hits * (of - hits.min(of)) * 1_000_000_000_000 / of + 960_400_000_000).isqrt() * 196 / 100;
        let bound = |part: u128| (part * 10_000 / (of * 10_000 + 38_416)) as u64;
        (bound(middle.saturating_sub(spread)), bound(middle + spread).min(1_000_000))
    }

    /// Seeds within which a bug of this rate shows 99 times of 100.
    pub(super) fn seeds_to_show(self) -> u64 {
        let (mut left, mut seeds) = (ONE, 0);
        while left > ONE / 100 && self.hits > 0 {
            left = left * u128::from(self.of - self.hits.min(self.of)) / u128::from(self.of.max(1));
            seeds += 1;
        }
        seeds
    }

    /// Whether this is a quarter of what it was, or less, and would come by chance less than once in a hundred times.
    pub(super) fn has_fallen_from(self, was: Self) -> bool {
        let quarter = u128::from(self.hits) * 4 * u128::from(was.of) <= u128::from(was.hits) * u128::from(self.of);
        quarter && self.chance_of_so_few(was) < ONE / 100
    }

    /// How probable so few hits or fewer are where the rate is what it was, in parts of [`ONE`].
    fn chance_of_so_few(self, was: Self) -> u128 {
        let (hits, of) = (u128::from(was.hits.min(was.of)), u128::from(was.of.max(1)));
        let missed = of - hits;
        if missed == 0 {
            return if self.hits < self.of { 0 } else { ONE };
        }
        let mut term = ONE;
        for _ in 0..self.of {
            term = term * missed / of;
        }
        let mut sum = term;
        for hit in 0..self.hits {
            let left = u128::from(self.of - hit);
            term = term * left / u128::from(hit + 1) * hits / missed;
            sum += term;
        }
        sum
    }
}

/// One, as a fixed-point number.
const ONE: u128 = 1 << 90;

#[cfg(test)]
mod tests {
    use super::*;

    const fn rate(hits: u64, of: u64) -> Rate {
        Rate { hits, of }
    }

    #[test]
    fn intervals_are_wilsons() {
        // 10 of 100: 5.52 % to 17.44 %; 0 of 20: 0 to 16.11 %; 50 of 50: 92.87 % to 100 %.
        assert_eq!(rate(10, 100).interval(), (55_228, 174_367));
        assert_eq!(rate(0, 20).interval().0, 0);
        assert!(rate(0, 20).interval().1.abs_diff(161_130) < 30);
        assert!(rate(50, 50).interval().0.abs_diff(928_652) < 30);
        assert_eq!(rate(50, 50).interval().1, 1_000_000);
    }

    #[test]
    fn a_bug_that_shows_once_in_two_hundred_seeds_shows_within_919() {
        // ln(0.01) / ln(1 - 1/200) = 918.7
        assert_eq!(rate(1, 200).seeds_to_show(), 919);
        assert_eq!(rate(1, 1).seeds_to_show(), 1);
    }

    #[test]
    fn a_rate_has_fallen_only_if_it_is_a_quarter_and_not_by_chance() {
        let was = rate(50, 1000);
        assert!(rate(0, 100).has_fallen_from(was), "0.95^100 is 0.6 %");
        assert!(!rate(0, 80).has_fallen_from(was), "0.95^80 is 1.7 %");
        assert!(rate(3, 400).has_fallen_from(was));
        assert!(!rate(10, 400).has_fallen_from(was), "that is half");
        assert!(!rate(1, 80).has_fallen_from(was), "one where four were to come");
        assert!(!rate(50, 1000).has_fallen_from(was));
        assert!(!rate(9, 10).has_fallen_from(rate(10, 10)), "nine of ten is no quarter");
        assert!(rate(2, 10).has_fallen_from(rate(10, 10)));
        assert!(!rate(0, 1000).has_fallen_from(rate(0, 1000)), "what never showed cannot fall");
    }
}
