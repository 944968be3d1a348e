//! What a cohort knows of its NATs' lifetimes. A cohort is not one box: its devices sit behind a few, some of which
//! forget anywhere in a range, and the mean of them serves nobody.

use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{CELLS, Cell};

mod claims;
mod design;
mod distribution;
mod evidence;

use distribution::Rung;
pub use evidence::{Bracket, DEVICES_MAX};
use evidence::{Evidence, NEVER};

use super::lifetime::prior::Prior;

/// Part of the error that each of the two bounds may make.
const TAIL: f64 = 0.5;
/// Cells that the lower bound is taken back by where devices forget in a range: a wheel that a fifth of them hit may be as
/// much as a fifth of its granularity past its beginning, or a third where devices were tested twice.
const EDGE_CELLS: u16 = 6;

/// How one test of one device ended, or one of its heartbeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The binding outlived the silence.
    Survived,
    /// It did not, or packets were lost.
    Expired {
        /// Probability of this outcome on a binding that lives: about `p^3` for a test of three packets.
        false_probability: f64,
    },
}

/// Where a lifetime may be before anything was seen: weights of cells, summed up. It chooses tests, and never a bound:
/// a wrong one costs tests.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchWeights {
    /// Sum of the weights of all cells below.
    sums: Vec<f64>,
}

/// What is known of a cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The lowest lifetime that at least a fifth of the cohort has is at least this, at `confidence`,
    pub lower: Cell,
    /// and at most this.
    pub upper: Cell,
    /// 0 to 1.
    pub confidence: f64,
    /// Best guess at the lifetime of a device of the cohort: its 1 %, 50 % and 99 % quantile.
    pub quantiles: [Cell; 3],
    /// The boxes told apart so far, shortest lifetime first.
    pub boxes: Vec<BoxEstimate>,
}

/// One box of a cohort.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxEstimate {
    /// Its lifetime is at least this,
    pub lower: Cell,
    /// and at most this.
    pub upper: Cell,
    /// Part of the cohort behind it, best guess.
    pub share: f64,
}

/// Whom to test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A device of which nothing is known.
    Fresh,
    /// This one.
    Known(DeviceId),
}

/// A test worth making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextTest {
    /// Whom.
    pub who: Who,
    /// Which silence.
    pub cell: Cell,
}

/// What is shown at a confidence: cells, 0 and [`NEVER`] where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    lower: u16,
    upper: u16,
}

/// A cohort.
#[derive(Debug, Clone)]
pub struct Mixture {
    weights: Arc<SearchWeights>,
    evidence: Evidence,
}

impl SearchWeights {
    /// From one weight a cell, from cell 0 on.
    pub fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let mut sums = vec![0.0];
        sums.extend(weights.into_iter().take(usize::from(CELLS)).map(|weight| {
            sum += weight.max(0.0);
            sum
        }));
        sums.resize(usize::from(CELLS) + 1, sum);
        Self { sums }
    }

    /// Each cell's weight, from cell 0 on.
    pub fn parts(&self) -> impl Iterator<Item = f64> {
        self.sums.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// The cell strictly between these two that leaves this part of the weights between them below it.
    fn split(&self, low: u16, high: u16, part: f64) -> u16 {
        let (first, last) = (low + 1, high.min(CELLS).max(low + 2) - 1);
        let sum = |cell: u16| self.sums[usize::from(cell.min(CELLS))];
        let target = sum(low) + part * (sum(high) - sum(low));
        let within = &self.sums[usize::from(first.min(CELLS))..=usize::from(last.min(CELLS))];
        if sum(high) <= sum(low) {
            return first + ((last - first) as f64 * part) as u16;
        }
        (first + within.partition_point(|sum| *sum < target) as u16).min(last)
    }
}

impl From<&Prior> for SearchWeights {
    /// What is below and above the prior's range lies at its ends.
    fn from(prior: &Prior) -> Self {
        let before = usize::from(prior.first().number()).saturating_sub(1);
        Self::new(std::iter::repeat_n(0.0, before).chain(prior.masses().iter().copied()))
    }
}

impl Mixture {
    /// Of which nothing is known.
    pub fn new(weights: Arc<SearchWeights>) -> Self {
        Self { weights, evidence: Evidence::default() }
    }

    /// Takes one outcome in. Cell 0 tells nothing.
    pub fn observe(&mut self, device: DeviceId, cell: Cell, outcome: Outcome) {
        self.evidence.take(device, cell, outcome);
    }

    /// What is known, at this confidence.
    pub fn estimate(&self, confidence: f64) -> Estimate {
        let rungs = distribution::rungs(self.brackets());
        let Bounds { lower, upper } = self.bounds(&rungs, confidence);
        let margin = if design::has_edge(&rungs, lower) { EDGE_CELLS } else { 0 };
        let boxes = rungs.iter().filter(|rung| rung.share > 0.005).map(|rung| BoxEstimate {
            lower: Cell::new(rung.survived),
            upper: Cell::new(rung.expired),
            share: rung.share,
        });
        Estimate {
            lower: Cell::new(lower.saturating_sub(margin)),
            upper: Cell::new(upper),
            confidence,
            quantiles: [0.01, 0.5, 0.99].map(|part| self.quantile(&rungs, part)),
            boxes: boxes.collect(),
        }
    }

    /// The tests worth making next, at most `count`, to learn the cohort at this confidence; none once it is known.
    pub fn next_tests(&self, confidence: f64, count: usize) -> Vec<NextTest> {
        let rungs = distribution::rungs(self.brackets());
        let step = design::step(self.brackets(), &rungs, self.bounds(&rungs, confidence));
        design::tests(step, self.brackets(), &self.weights, count)
    }

    /// About how many tests are left until [`Mixture::next_tests`] asks for no more.
    pub fn tests_to_be_surer(&self, confidence: f64) -> u32 {
        let rungs = distribution::rungs(self.brackets());
        let step = design::step(self.brackets(), &rungs, self.bounds(&rungs, confidence));
        design::tests_left(step, self.brackets(), &rungs, log_odds(confidence))
    }

    fn bounds(&self, rungs: &[Rung], confidence: f64) -> Bounds {
        let log_odds = log_odds(confidence);
        let brackets = self.brackets();
        let lower = claims::lower_bound(brackets, log_odds);
        let upper = claims::upper_bound(brackets, rungs, log_odds);
        Bounds { lower, upper: upper.max(lower + 1) }
    }

    fn quantile(&self, rungs: &[Rung], part: f64) -> Cell {
        let mut sum = 0.0;
        for rung in rungs {
            if sum + rung.share >= part {
                return Cell::new(self.weights.split(rung.survived, rung.expired, (part - sum) / rung.share));
            }
            sum += rung.share;
        }
        Cell::new(NEVER)
    }

    /// Forgets everything, after a change; looks here first from now on.
    pub fn restart(&mut self, weights: Arc<SearchWeights>) {
        *self = Self::new(weights);
    }

    /// Each device's own evidence.
    pub fn brackets(&self) -> &[Bracket] {
        self.evidence.brackets()
    }
}

/// What each bound has to be sure of: odds of this logarithm.
fn log_odds(confidence: f64) -> f64 {
    -(TAIL * (1.0 - confidence).clamp(1e-12, 1.0)).ln()
}
