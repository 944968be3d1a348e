//! Ties the local limit to root spans that start on many threads: they count themselves and read a factor; ten times a
//! second the one that comes first settles the count. Nobody waits: who finds another settling goes on with the factor
//! there is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limit::{LocalLimit, LocalLimitSettings, LocalShare};
use crate::strategy::Strategy;

/// Between two settlements: a surge passes unlimited for so long at most.
const SETTLE_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Meter {
    zero: Instant,
    /// In nanoseconds since `zero`.
    settle_at: AtomicU64,
    /// The bits of an `f64`.
    factor: AtomicU64,
    limit: Mutex<LocalLimit>,
}

impl Meter {
    pub(crate) fn new(settings: LocalLimitSettings) -> Self {
        Self {
            zero: Instant::now(),
            settle_at: AtomicU64::new(0),
            factor: AtomicU64::new(1.0_f64.to_bits()),
            limit: Mutex::new(LocalLimit::new(settings)),
        }
    }

    /// What the probability of a root span that starts now is multiplied with. The span is counted in `strategy`, which
    /// has a share.
    pub(crate) fn factor_now(&self, strategy: &Strategy) -> f64 {
        let now = self.zero.elapsed();
        if nanos(now) >= self.settle_at.load(Ordering::Relaxed)
            && let Ok(mut limit) = self.limit.try_lock()
        {
            self.settle_at.store(nanos(now + SETTLE_EVERY), Ordering::Relaxed);
            self.put(limit.observe_many(now, strategy.take_roots()));
        }
        self.factor()
    }

    /// What it was at the last root span.
    pub(crate) fn factor(&self) -> f64 {
        f64::from_bits(self.factor.load(Ordering::Relaxed))
    }

    /// A strategy with this share was put in force.
    pub(crate) fn adopt(&self, share: Option<LocalShare>) {
        let mut limit = self.lock();
        limit.adopt(self.zero.elapsed(), share);
        self.put(limit.factor());
    }

    pub(crate) fn lose_stream(&self) {
        self.lock().lose_stream();
    }

    fn put(&self, factor: f64) {
        self.factor.store(factor.to_bits(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, LocalLimit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    fn strategy() -> Strategy {
        Strategy::from_push(proto::Strategy {
            generation: 1,
            probability: 0.5,
            expected_traces_per_second: 10.0,
            share_traces_per_second: 10.0,
            ..proto::Strategy::default()
        })
        .expect("valid")
    }

    #[test]
    fn a_root_span_does_not_wait_for_one_that_settles() {
        let (meter, strategy) = (Meter::new(LocalLimitSettings::default()), strategy());
        let held = meter.limit.lock().expect("not poisoned");
        strategy.rate_of("GET /");
        assert_eq!(meter.factor_now(&strategy), 1.0); // would deadlock, were it to wait
        drop(held);
        assert_eq!(strategy.take_roots().count, 1.0, "left for the next");
    }

    #[test]
    fn the_first_root_span_of_a_slot_settles_for_all() {
        let (meter, strategy) = (Meter::new(LocalLimitSettings::default()), strategy());
        meter.adopt(strategy.share());
        for _ in 0..3 {
            strategy.rate_of("GET /");
        }
        meter.factor_now(&strategy);
        assert_eq!(strategy.take_roots().count, 0.0);
        let settled_at = meter.settle_at.load(Ordering::Relaxed);
        strategy.rate_of("GET /");
        meter.factor_now(&strategy);
        assert!(strategy.take_roots().count == 1.0 || meter.settle_at.load(Ordering::Relaxed) > settled_at);
    }
}
