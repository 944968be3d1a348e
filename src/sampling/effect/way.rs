//! How far a load has gone from what it was to what a command should make it, told from intervals that few traces arrive in.

use std::time::Duration;

use super::{Load, TOLERANCE, is_close};

/// Standard deviations by which the end of a way must differ from its middle.
const CONFIDENCE: f64 = 2.0;

/// Intervals taken together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Pool {
    /// Root traces that should be sampled.
    pub(super) traces: f64,
    /// Spans received.
    spans: f64,
}

/// From what is received while nobody adopts a command to what is when all do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Way {
    /// Spans a trace when all do.
    pub(super) spans_per_trace: f64,
    /// The difference, as a part of that; negative for a cut.
    pub(super) length: f64,
}

impl Pool {
    /// So much of the newest of a load.
    pub(super) fn of(load: Load, newest: Duration) -> Self {
        let seconds = newest.as_secs_f64();
        Self { traces: load.sampled * seconds, spans: load.received * seconds }
    }

    pub(super) fn with(self, other: &Self) -> Self {
        Self { traces: self.traces + other.traces, spans: self.spans + other.spans }
    }

    /// The same where fewer traces by this factor should be sampled.
    pub(super) fn at(self, fewer: f64) -> Self {
        Self { traces: self.traces / fewer, ..self }
    }

    /// Spans received for each trace that should be sampled.
    pub(super) fn ratio(self) -> f64 {
        if self.traces > 0.0 { self.spans / self.traces } else { 0.0 }
    }

    /// Relative standard deviation of it, by chance.
    pub(super) fn noise(self) -> f64 {
        1.0 / self.traces.max(1.0).sqrt()
    }
}

impl Way {
    /// The part of it that these intervals have gone.
    pub(super) fn gone(self, pool: Pool) -> f64 {
        1.0 - (1.0 - pool.ratio() / self.spans_per_trace) / self.length
    }

    /// Whether these are enough to tell its end from its middle.
    pub(super) fn is_told_by(self, pool: Pool) -> bool {
        CONFIDENCE * pool.noise() < 0.5 * self.length.abs()
    }

    /// Whether these are about what they should be, and past the middle of the way there.
    pub(super) fn is_gone(self, pool: Pool) -> bool {
        let ratio = pool.ratio() / self.spans_per_trace;
        self.gone(pool) > 0.5 && is_close(ratio, 1.0, TOLERANCE + 3.0 * pool.noise())
    }
}
