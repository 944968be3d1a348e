//! What became of the local traces that were not sampled.

use std::sync::{Arc, Mutex};

use super::lock;

/// What was kept and what was given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Local traces kept because a span failed.
    pub kept_error: u64,
    /// Local traces kept because a span was slow, and none failed.
    pub kept_slow: u64,
    /// Local traces that were critical and found the budget spent.
    pub over_budget: u64,
    /// Local traces decided before their end, to make room. Raise the bounds if it grows.
    pub evicted_traces: u64,
    /// Spans let go because their local trace had too many already.
    pub spans_over_bound: u64,
    /// Spans that ended after their local trace was dropped, or long after it was kept.
    pub late_spans: u64,
}

/// Reads the [`Counts`] of an `AdaptiveSpanProcessor`, also once a provider owns it. Clones read the same.
#[derive(Debug, Clone, Default)]
pub struct AdaptiveCounts(Arc<Mutex<Counts>>);

impl AdaptiveCounts {
    /// Since the processor was built.
    pub fn read(&self) -> Counts {
        *lock(&self.0)
    }

    /// Most steps give nothing up, and take no lock then.
    pub(super) fn add(&self, more: Counts) {
        if more == Counts::default() {
            return;
        }
        let mut all = lock(&self.0);
        all.kept_error += more.kept_error;
        all.kept_slow += more.kept_slow;
        all.over_budget += more.over_budget;
        all.evicted_traces += more.evicted_traces;
        all.spans_over_bound += more.spans_over_bound;
        all.late_spans += more.late_spans;
    }
}
