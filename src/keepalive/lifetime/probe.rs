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

/// Running sums over the bins, of all planes together: entry `bin` is the mass below `bin`.
pub(super) struct Sums {
    /// Of the lifetimes.
    start: Vec<f64>,
    /// Of where the edge ends: the lifetime and the granularity.
    end: Vec<f64>,
    /// Of the middle between the two.
    middle: Vec<f64>,
}

impl Sums {
    pub(super) fn of(belief: &Belief) -> Self {
        let shifted = |part: fn(usize) -> usize| {
            let mut sums = vec![0.0; belief.bins() + 1];
            for (width, plane) in belief.planes() {
                let beyond = plane.len() - part(width);
                sums[1 + part(width)..].iter_mut().zip(&plane[..beyond]).for_each(|(sum, mass)| *sum += mass);
            }
            let mut sum = 0.0;
            for at in &mut sums {
                sum += *at;
                *at = sum;
            }
            sums
        };
        Self { start: shifted(|_| 0), end: shifted(|width| width), middle: shifted(|width| width / 2) }
    }

    /// Mass that an answer covering these bins is right for.
    fn covered(&self, low: usize, high: usize) -> f64 {
        self.start[high] - self.end[low]
    }

    /// The probability that a test between bin `at` and the next finds the binding gone.
    pub(super) fn gone(&self, at: usize) -> f64 {
        self.middle[at + 1]
    }

    /// The answer that covers most.
    pub(super) fn window(&self, belief: &Belief) -> Window {
        let last = belief.bins() - 1;
        let one = |bin| Window { low: bin, high: bin + 1, mass: self.covered(bin, bin + 1) };
        let ends = if one(last).mass > one(0).mass { one(last) } else { one(0) };
        let windows = (1..last).map(|low| (low, usize::from(belief.reaches[low])));
        windows.fold(ends, |best, (low, high)| {
            let mass = self.covered(low, high);
            if mass > best.mass { Window { low, high, mass } } else { best }
        })
    }

    /// The bin after which to split: the median, or the heavier side of the window that holds it.
    fn best_split(&self, window: Window) -> usize {
        let bins = self.start.len() - 1;
        let median = self.median(bins);
        let (below, above) = (window.low.checked_sub(1), (window.high < bins).then(|| window.high - 1));
        match (below, above) {
            (Some(below), _) if median <= below => median,
            (_, Some(above)) if median >= above => median,
            (Some(below), Some(above)) => {
                let (left, right) = (self.end[window.low], 1.0 - self.start[window.high]);
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

/// For each bin, the one before which the answer for it ends: some value is within the precision of both ends. The bins
/// outside the range have an answer of their own.
pub(super) fn reaches(first: Cell, bins: usize, precision: &Precision) -> Box<[u16]> {
    let seconds = |edge: usize| SECONDS[usize::from(first.plus(edge as u16).number())];
    let mut high = 0;
    let reach = |low: usize| {
        high = high.max(low + 1);
        let end = if low == 0 { 0.0 } else { precision.reach(seconds(low - 1)) };
        while high < bins - 1 && seconds(high) <= end {
            high += 1;
        }
        high as u16
    };
    (0..bins).map(reach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepalive::lifetime::belief::Evidence;
    use crate::keepalive::lifetime::prior::Prior;

    fn searched(lifetime: f64, mut belief: Belief) -> (Belief, u32) {
        let mut tests = 0;
        while let Some(cell) = belief.next_probe() {
            tests += 1;
            let is_alive = cell.silence().as_secs_f64() < lifetime;
            let evidence = if is_alive { Evidence::Survived } else { Evidence::Expired { false_probability: 1e-3 } };
            belief.observe(cell, evidence);
            assert!(tests < 30, "{lifetime} s is not found");
        }
        (belief, tests)
    }

    #[test]
    fn without_loss_every_lifetime_is_found_to_one_percent_or_half_a_second() {
        let flat = Prior::flat(Prior::default().first(), Prior::default().last());
        let (mut sum, mut most) = (0, 0);
        for step in 0..200 {
            let lifetime = 10.0 * 720_f64.powf(f64::from(step) / 200.0);
            let (belief, tests) = searched(lifetime, Belief::new(&flat));
            let answer = belief.answer();
            let precision = Precision::default();
            let off = (answer.lifetime.as_secs_f64() - lifetime).abs();
            assert!(off <= precision.tolerance(lifetime), "{lifetime}: {answer:?}");
            assert!(answer.probability >= precision.confidence && belief.tests_to_be_surer() == 0);
            (sum, most) = (sum + tests, most.max(tests));
        }
        // 8.4 bits less what half a second saves below 50 s, and one repetition of the last expiry.
        assert!(sum <= 200 * 10 && most <= 12, "{} {most}", f64::from(sum) / 200.0);
    }

    #[test]
    fn times_of_a_tenth_are_found_when_the_precision_is_scaled_too() {
        let range = [0.8, 40.0].map(|seconds| Cell::at_most(Duration::from_secs_f64(seconds)));
        let precision = Precision { absolute: Duration::from_millis(40), ..Precision::default() };
        let belief = Belief::new(&Prior::vendors(range[0], range[1])).with_precision(precision);
        let (belief, tests) = searched(9.0, belief);
        assert!((belief.answer().lifetime.as_secs_f64() - 9.0).abs() <= 0.09 && tests <= 14, "{tests}");
    }

    #[test]
    fn the_first_test_halves_a_flat_belief() {
        let belief = Belief::new(&Prior::flat(Cell::new(600), Cell::new(1_600)));
        let at = belief.next_probe().map_or(0, Cell::number);
        assert!((1_095..=1_105).contains(&at), "{at}");
    }

    #[test]
    fn an_expiry_that_the_answer_hangs_on_is_tested_again() {
        let mut belief = Belief::new(&Prior::default());
        let at = Cell::at_most(Duration::from_secs(1_000));
        belief.observe(at, Evidence::Survived);
        belief.observe(at.plus(4), Evidence::Expired { false_probability: 1e-3 });
        assert_eq!(belief.next_probe(), Some(at.plus(4)));
    }

    #[test]
    fn fewer_tests_are_foreseen_the_more_is_known() {
        let mut belief = Belief::new(&Prior::default());
        let mut foreseen = vec![belief.tests_to_be_surer()];
        while let Some(cell) = belief.next_probe() {
            let is_alive = cell.silence() < Duration::from_secs(500);
            belief.observe(
                cell,
                if is_alive { Evidence::Survived } else { Evidence::Expired { false_probability: 1e-3 } },
            );
            foreseen.push(belief.tests_to_be_surer());
        }
        assert!((8..=14).contains(&foreseen[0]) && foreseen.last() == Some(&0), "{foreseen:?}");
    }
}
