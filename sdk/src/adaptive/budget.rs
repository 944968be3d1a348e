//! A rate limit without a lock (the generic cell rate algorithm): one number, the time at which the bucket would be
//! full again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Takes that a full bucket allows at once, in seconds of its rate.
const BURST_SECONDS: f64 = 1.0;

/// So many a second, and a burst of one second's worth, at least one.
#[derive(Debug)]
pub(super) struct Budget {
    /// Time that one take costs, in nanoseconds; `None` allows nothing.
    cost: Option<u64>,
    /// How far ahead of now takes may reach, in nanoseconds.
    ahead_max: u64,
    /// In nanoseconds since the caller's zero.
    full_at: AtomicU64,
}

/// A budget, and how much of it may be used now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance<'a> {
    pub(super) budget: &'a Budget,
    /// In (0, 1].
    pub(super) factor: f64,
}

impl Allowance<'_> {
    /// Whether one more is allowed `now`. Takes it if so.
    pub(super) fn try_take(self, now: Duration) -> bool {
        self.budget.try_take(now, self.factor)
    }
}

impl Budget {
    /// Zero, negative and NaN allow nothing.
    pub(super) fn per_second(rate: f64) -> Self {
        let cost = (rate > 0.0).then(|| ((1e9 / rate) as u64).max(1));
        let burst = (rate * BURST_SECONDS).max(1.0);
        let ahead_max = cost.map_or(0, |cost| ((burst - 1.0) * cost as f64) as u64);
        Self { cost, ahead_max, full_at: AtomicU64::new(0) }
    }

    /// `now` never goes back. What one take costs grows as `factor` falls, which lowers the burst too.
    fn try_take(&self, now: Duration, factor: f64) -> bool {
        let Some(cost) = self.cost else { return false };
        let cost = (cost as f64 / factor) as u64;
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let take = |full_at: u64| {
            let from = full_at.max(now);
            (from - now <= self.ahead_max).then(|| from.saturating_add(cost))
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &Budget, at: Duration, tries: u32) -> usize {
        (0..tries).filter(|_| budget.try_take(at, 1.0)).count()
    }

    #[test]
    fn a_burst_is_one_seconds_worth_and_then_the_rate_holds() {
        let budget = Budget::per_second(10.0);
        let at = Duration::from_millis;
        assert_eq!([0, 0, 100, 150, 1_150].map(|ms| taken(&budget, at(ms), 100)), [10, 0, 1, 0, 10]);
    }

    #[test]
    fn a_factor_lowers_the_rate_and_the_burst() {
        let budget = Budget::per_second(10.0);
        let taken = |second| (0..100).filter(|_| budget.try_take(Duration::from_secs(second), 0.25)).count();
        assert_eq!([0, 10, 11, 12, 13].map(taken), [3, 3, 2, 3, 2]);
    }

    #[test]
    fn less_than_one_a_second_still_allows_one_at_a_time() {
        let budget = Budget::per_second(0.1);
        assert_eq!([0, 9, 10, 11].map(|s| taken(&budget, Duration::from_secs(s), 3)), [1, 0, 1, 0]);
    }

    #[test]
    fn zero_and_nonsense_allow_nothing_and_infinity_everything() {
        for nothing in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(taken(&Budget::per_second(nothing), Duration::from_secs(9), 3), 0);
        }
        assert_eq!(taken(&Budget::per_second(f64::INFINITY), Duration::from_secs(9), 1_000), 1_000);
        assert_eq!(taken(&Budget::per_second(1e-300), Duration::from_secs(9), 3), 1);
    }

    #[test]
    fn threads_together_take_no_more_than_the_burst() {
        let budget = Budget::per_second(50.0);
        let count = || taken(&budget, Duration::from_secs(1), 1_000);
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(total, 50);
    }
}
