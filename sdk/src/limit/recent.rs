//! An instance's own rate over about the last second.
//!
//! An exponential window: it needs no buckets, and with a time constant of half a second it has the noise of a whole
//! second and sees two thirds of a surge in half of it.

use std::time::Duration;

use super::Roots;

/// Half of the window whose noise it has.
const TIME_CONSTANT: f64 = 0.5;
/// The plain window with the same noise.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// Time constant of the mean worth of a root span, in seconds: longer, because a rare operation with a high probability
/// must not look like noise that comes and goes.
const GRAIN_TIME_CONSTANT: f64 = 5.0;

#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    at: Duration,
    roots_per_second: f64,
    traces_per_second: f64,
    /// Decaying sums of traces and of squares.
    traces: f64,
    squares: f64,
    grain: f64,
    is_priced_anew: bool,
}

impl Recent {
    /// Root traces/s that the strategy would sample.
    pub(super) fn traces_per_second(&self) -> f64 {
        self.traces_per_second
    }

    /// Traces that a root span is worth, weighted by what they are worth: the variance of a Poisson stream over its mean.
    pub(super) fn grain(&self) -> f64 {
        self.grain
    }

    /// The probabilities changed: the root spans of the last second are worth what the next ones are.
    pub(super) fn price_anew(&mut self) {
        self.is_priced_anew = true;
    }

    pub(super) fn add(&mut self, now: Duration, roots: Roots) {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        if self.is_priced_anew && roots.count > 0.0 {
            self.is_priced_anew = false;
            self.traces_per_second = self.roots_per_second * roots.traces / roots.count;
            (self.traces, self.squares) = (0.0, 0.0);
        }
        let kept = (-seconds / TIME_CONSTANT).exp();
        // Spread evenly over the time since the last call.
        let weight = if seconds > 0.0 { (1.0 - kept) / seconds } else { 1.0 / TIME_CONSTANT };
        self.roots_per_second = self.roots_per_second * kept + roots.count * weight;
        self.traces_per_second = self.traces_per_second * kept + roots.traces * weight;
        self.weigh(seconds, roots);
    }

    fn weigh(&mut self, seconds: f64, roots: Roots) {
        let kept = (-seconds / GRAIN_TIME_CONSTANT).exp();
        self.traces = self.traces * kept + roots.traces;
        self.squares = self.squares * kept + roots.squares;
        if self.traces > 0.0 {
            self.grain = self.squares / self.traces;
        }
    }
}
