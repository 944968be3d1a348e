//! What a cohort knows of its NATs' lifetimes. A cohort is not one box: its devices sit behind a few, some of which
//! forget anywhere in a range, and the mean of them serves nobody.

use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{CELLS, Cell};

mod evidence;

use evidence::Evidence;
pub use evidence::{Bracket, DEVICES_MAX};

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
        let _ = &self.weights;
        let (lower, upper) = (Cell::new(0), Cell::new(CELLS));
        Estimate { lower, upper, confidence, quantiles: [lower, lower, upper], boxes: Vec::new() }
    }

    /// The tests worth making next, at most `count`, to learn the cohort at this confidence; none once it is known.
    pub fn next_tests(&self, confidence: f64, count: usize) -> Vec<NextTest> {
        let _ = (confidence, count);
        Vec::new()
    }

    /// About how many tests are left until [`Mixture::next_tests`] asks for no more.
    pub fn tests_to_be_surer(&self, confidence: f64) -> u32 {
        let _ = confidence;
        0
    }

    /// Each device's own evidence.
    pub fn brackets(&self) -> &[Bracket] {
        self.evidence.brackets()
    }
}
