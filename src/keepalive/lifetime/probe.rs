//! Which silence to test next, and when to stop.
//!
//! The question is not where the lifetime lies to the last cell, but which *answer* is right: one within 1 % (or 0.5 s) of
//! the lifetime. So the window of bins that one answer covers, where it holds most of the belief, counts as one symbol,
//! and a test is worth what it tells about the symbol. Information is convex in the channel for a given input (Cover and
//! Thomas, theorem 2.7.4), and a test inside the window is a mixture of the tests at its two edges: it is never the best.
//! Outside the window a test tells most where it splits the belief in half. So the best test is the median of the belief,
//! or, where that lies in the window, the window's edge beyond which more belief is left: bisection first, and then,
//! without a rule of its own, the repetition of the expiry that the answer hangs on.
//!
//! It ends when the window holds the confidence asked for. For a timer wheel an answer counts that is that near to any
//! point of `[T, T + granularity]`.

use std::time::Duration;

use flyball_sdk::device::probe::Cell;

use super::belief::{Belief, SECONDS};

/// What an expiry is taken to be worth when tests are counted ahead.
const TYPICAL_FALSE_EXPIRY: f64 = 0.01;

/// When a lifetime counts as known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// The answer is this near to the lifetime, relative to it,
    pub relative: f64,
    /// or this near, whichever is wider,
    pub absolute: Duration,
    /// with this probability.
    pub confidence: f64,
}

/// The answer that is the likeliest, and how likely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The lifetime is at least this,
    pub lower: Cell,
    /// and less than this.
    pub upper: Cell,
    /// The value between the two that is as near as asked to both.
    pub lifetime: Duration,
    /// The probability that this is so.
    pub probability: f64,
}

/// Bins from `low` to before `high` that one answer covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) mass: f64,
}

impl Default for Precision {
    fn default() -> Self {
        Self { relative: 0.01, absolute: Duration::from_millis(500), confidence: 0.999 }
    }
}

impl Precision {
    /// How far an answer may be from this lifetime, in seconds.
    pub fn tolerance(&self, seconds: f64) -> f64 {
        (self.relative * seconds).max(self.absolute.as_secs_f64())
    }

    /// The longest lifetime that shares an answer with this one, in seconds.
    fn reach(&self, seconds: f64) -> f64 {
        let answer = seconds + self.tolerance(seconds);
        (answer / (1.0 - self.relative)).max(answer + self.absolute.as_secs_f64())
    }

    /// Between the longest answer that is right for `low` and the shortest for `high`.
    fn middle(&self, low: f64, high: f64) -> f64 {
        0.5 * (low + self.tolerance(low) + high - self.tolerance(high))
    }
}

impl Belief {
    /// The silence whose test tells most; `None` where the lifetime is known.
    pub fn next_probe(&self) -> Option<Cell> {
        let sums = Sums::of(self);
        let window = sums.window(self);
        (window.mass < self.precision.confidence).then(|| self.upper_edge(sums.best_split(window)))
    }

    /// The likeliest answer.
    pub fn answer(&self) -> Answer {
        let window = Sums::of(self).window(self);
        let (lower, upper) = (self.lower_edge(window.low), self.upper_edge(window.high - 1));
        let lifetime = self.precision.middle(lower.silence().as_secs_f64(), upper.silence().as_secs_f64());
        Answer { lower, upper, lifetime: Duration::from_secs_f64(lifetime), probability: window.mass }
    }

    /// Tests still to be made until [`Belief::next_probe`] is `None`, about: one for each bit that is open about the
    /// answer, and the repetitions that make an expiry sure.
    pub fn tests_to_be_surer(&self) -> u32 {
        let window = Sums::of(self).window(self);
        let open = (1.0 - window.mass).max(0.0);
        let allowed = 1.0 - self.precision.confidence;
        if open <= allowed {
            return 0;
        }
        let covered = (window.high - window.low) as f64;
        let entropy: f64 = self.masses().map(|mass| -mass * mass.max(f64::MIN_POSITIVE).log2()).sum();
        let bits = (entropy - covered.log2()).max(0.0);
        let repeats = (allowed / open.min(0.5)).ln() / TYPICAL_FALSE_EXPIRY.ln();
        (bits + repeats).ceil().max(1.0) as u32
    }
}

/// Running sums of each plane: `sums[bin]` is the mass below `bin`.
pub(super) struct Sums {
    planes: Vec<(usize, Vec<f64>)>,
}

impl Sums {
    pub(super) fn of(belief: &Belief) -> Self {
        let running = |plane: &[f64]| {
            let mut sum = 0.0;
            let mut sums = Vec::with_capacity(plane.len() + 1);
            sums.push(0.0);
            sums.extend(plane.iter().map(|mass| {
                sum += mass;
                sum
            }));
            sums
        };
        Self { planes: belief.planes().map(|(width, plane)| (width, running(plane))).collect() }
    }

    /// Mass of bins below `bin`, each plane shifted up by this part of its granularity.
    fn below(&self, bin: usize, shift: f64) -> f64 {
        self.planes.iter().map(|(width, sums)| sums[bin.saturating_sub((shift * *width as f64) as usize)]).sum()
    }

    /// Mass that an answer covering these bins is right for.
    fn covered(&self, low: usize, high: usize) -> f64 {
        self.below(high, 0.0) - self.below(low, 1.0)
    }

    /// The probability that a test between bin `at` and the next finds the binding gone.
    pub(super) fn gone(&self, at: usize) -> f64 {
        self.below(at + 1, 0.5)
    }

    /// For each test, the longest one that an answer above the first still covers.
    pub(super) fn reaches(belief: &Belief) -> Vec<usize> {
        let mut high = 0;
        let reach_after = |at| {
            high = reach(belief, at + 1, high.max(at + 1));
            high - 1
        };
        (0..belief.bins() - 1).map(reach_after).collect()
    }

    /// The answer that covers most.
    pub(super) fn window(&self, belief: &Belief) -> Window {
        let last = belief.bins() - 1;
        let one = |bin| Window { low: bin, high: bin + 1, mass: self.covered(bin, bin + 1) };
        let mut best = if one(last).mass > one(0).mass { one(last) } else { one(0) };
        let mut high = 2;
        for low in 1..last {
            high = reach(belief, low, high.max(low + 1));
            let mass = self.covered(low, high);
            if mass > best.mass {
                best = Window { low, high, mass };
            }
        }
        best
    }

    /// The bin after which to split: the median, or the heavier side of the window that holds it.
    fn best_split(&self, window: Window) -> usize {
        let bins = self.planes[0].1.len() - 1;
        let median = self.median(bins);
        let (below, above) = (window.low.checked_sub(1), (window.high < bins).then(|| window.high - 1));
        match (below, above) {
            (Some(below), _) if median <= below => median,
            (_, Some(above)) if median >= above => median,
            (Some(below), Some(above)) => {
                let (left, right) = (self.below(window.low, 1.0), 1.0 - self.below(window.high, 0.0));
                if left > right { below } else { above }
            }
            (below, above) => below.or(above).unwrap_or(median),
        }
    }

    /// The bin after which a test is as likely to find the binding gone as not.
    fn median(&self, bins: usize) -> usize {
        let (mut low, mut high) = (0, bins - 2);
        while low < high {
            let middle = (low + high) / 2;
            if self.gone(middle) < 0.5 { low = middle + 1 } else { high = middle }
        }
        if low > 0 && 0.5 - self.gone(low - 1) < self.gone(low) - 0.5 { low - 1 } else { low }
    }
}

/// The bin before which an answer for `low` ends: some value is within the precision of both ends.
fn reach(belief: &Belief, low: usize, mut high: usize) -> usize {
    let end = belief.precision.reach(seconds(belief, low - 1));
    while high < belief.bins() - 1 && seconds(belief, high) <= end {
        high += 1;
    }
    high
}

/// Seconds of the edge after `bin`.
fn seconds(belief: &Belief, bin: usize) -> f64 {
    SECONDS[usize::from(belief.upper_edge(bin).number())]
}
