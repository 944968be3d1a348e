//! What a cohort knows of its NATs' lifetimes. A cohort is not one box: its devices sit behind a few, some of which
//! forget anywhere in a range, and the mean of them serves nobody. What is asked is the lowest lifetime that at least a
//! fifth of the cohort has.
//!
//! ```text
//!  observe ─▶ evidence: a bracket a device ─┬▶ distribution: rungs, the best guess ─▶ design: the next tests
//!                                           └▶ claims: the bounds
//! ```
//!
//! The guess chooses tests and never a bound; a bound is claimed only by what distinct devices showed, with no model of how
//! many boxes there are or where. A device's own tests inform its own bracket, so that no device's word moves the cohort
//! by more than one device's weight.
//!
//! Bounds: [`DEVICES_MAX`] devices of 32 bytes, 8 KB a cohort; of a full table only an expiry takes a place, and the lower
//! bound errs to the short side. An outcome costs less than a microsecond, an estimate or a plan some microseconds, and
//! some hundred with a full table of brackets that have nothing in common.
//!
//! Where it is honest but wide: to show at 99.95 % that a share is not a fifth takes 7.6 nats: 34 devices where the box in
//! question has a half of the cohort, 73 at 40 %, 270 at 30 %, a thousand at 25 %, and none are enough at 20 %. Tests end
//! where 150 devices would not tell, and the interval then reaches from the box to the next that can be told, or has no
//! upper end. A wheel of a tenth takes 6 % to 20 %. Where it breaks: a wheel of just a fifth that begins 3 % before the
//! wheel of all others may be missed (1 wrong in 700 seen); three small boxes that only together hold 45 % may be taken
//! for one of a fifth; devices that are not drawn evenly from the cohort speak for those that are like them only.

use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{CELLS, Cell};

mod claims;
mod design;
mod distribution;
mod evidence;
pub mod trial;

use distribution::Rung;
pub use evidence::{Bracket, DEVICES_MAX};
use evidence::{Evidence, NEVER};

use super::lifetime::prior::Prior;

/// Part of the error that each of the two bounds may make.
const TAIL: f64 = 0.5;

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
        let boxes = rungs.iter().filter(|rung| rung.share > 0.005).map(|rung| BoxEstimate {
            lower: Cell::new(rung.survived),
            upper: Cell::new(rung.expired),
            share: rung.share,
        });
        Estimate {
            lower: Cell::new(claims::past_wheels(self.brackets(), &rungs, lower)),
            upper: Cell::new(upper),
            confidence,
            quantiles: [0.01, 0.5, 0.99].map(|part| self.quantile(&rungs, part)),
            boxes: boxes.collect(),
        }
    }

    /// The tests worth making next, at most `count`, to learn the cohort at this confidence; none once it is known. Where
    /// a lower bound of `enough` is all that will be used, none asks for a longer one.
    pub fn next_tests(&self, confidence: f64, enough: Option<Cell>, count: usize) -> Vec<NextTest> {
        let rungs = distribution::rungs(self.brackets());
        design::tests(self.step(&rungs, confidence, enough), self.brackets(), &self.weights, count)
    }

    /// About how many tests are left until [`Mixture::next_tests`] asks for no more.
    pub fn tests_to_be_surer(&self, confidence: f64, enough: Option<Cell>) -> u32 {
        let rungs = distribution::rungs(self.brackets());
        let step = self.step(&rungs, confidence, enough);
        design::tests_left(step, cap(enough), self.brackets(), &rungs, log_odds(confidence))
    }

    fn step(&self, rungs: &[Rung], confidence: f64, enough: Option<Cell>) -> design::Step {
        design::step(self.brackets(), rungs, self.bounds(rungs, confidence), cap(enough))
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

    /// Each device's own evidence.
    pub fn brackets(&self) -> &[Bracket] {
        self.evidence.brackets()
    }
}

/// What no lower bound need be longer than.
fn cap(enough: Option<Cell>) -> u16 {
    enough.map_or(NEVER, Cell::number)
}

/// What each bound has to be sure of: odds of this logarithm.
fn log_odds(confidence: f64) -> f64 {
    -(TAIL * (1.0 - confidence).clamp(1e-12, 1.0)).ln()
}

#[cfg(test)]
mod tests {
    use super::trial::{CONFIDENCE, Cohorts, FIELD, STRANGE, Tally};
    use super::*;
    use proptest::prelude::*;

    fn device(n: u64) -> DeviceId {
        DeviceId(u128::from(n).to_be_bytes())
    }

    fn new() -> Mixture {
        Mixture::new(Arc::new(SearchWeights::from(&Prior::default())))
    }

    fn tally(cohorts: &Cohorts, runs: u64) -> Tally {
        Tally::of((0..runs).map(|seed| cohorts.run(seed)).collect())
    }

    #[test]
    fn one_box_takes_sixty_tests_and_a_mixture_a_hundred_and_twenty() {
        for (cohorts, tests) in [(FIELD[0], 60.0), (FIELD[1], 60.0), (FIELD[2], 60.0), (FIELD[4], 120.0)] {
            let tally = tally(&cohorts, 150);
            let seen = (tally.wrong_ratio(), tally.width_quantile(0.5), tally.tests_quantile(0.5));
            assert!(seen.0 <= 0.007 && seen.1 <= 0.05 && seen.2 <= tests, "{}: {seen:?}", cohorts.name);
        }
    }

    #[test]
    fn the_truth_is_in_the_interval_of_cohorts_that_the_law_was_not_made_for() {
        for cohorts in STRANGE {
            let wrong = tally(&cohorts, 25).wrong_ratio();
            assert!(wrong <= 0.04, "{}: {wrong}", cohorts.name);
        }
    }

    #[test]
    fn nothing_is_claimed_of_what_was_not_seen() {
        let estimate = new().estimate(CONFIDENCE);
        assert_eq!((estimate.lower, estimate.upper), (Cell::new(0), Cell::new(CELLS)));
        let next = new().next_tests(CONFIDENCE, None, 4);
        assert!(next.len() == 4 && next.iter().all(|test| test.who == Who::Fresh));
        assert!(new().tests_to_be_surer(CONFIDENCE, None) >= 40);
    }

    #[test]
    fn one_devices_word_does_not_count_for_the_cohort() {
        let mut mixture = new();
        (0..200).for_each(|_| mixture.observe(device(1), Cell::new(900), Outcome::Survived));
        (0..200).for_each(|_| mixture.observe(device(1), Cell::new(910), Outcome::Expired { false_probability: 1e-3 }));
        let estimate = mixture.estimate(CONFIDENCE);
        assert_eq!((estimate.lower, estimate.upper), (Cell::new(0), Cell::new(CELLS)));
        assert_eq!(mixture.brackets().len(), 1);
    }

    #[test]
    fn heartbeats_of_a_learnt_fleet_hold_the_lower_bound_without_a_test() {
        let mut mixture = new();
        (0..100_000).for_each(|n| mixture.observe(device(n), Cell::new(1_000), Outcome::Survived));
        assert!(mixture.estimate(CONFIDENCE).lower >= Cell::new(999));
        assert_eq!(mixture.brackets().len(), DEVICES_MAX);
    }

    #[test]
    fn a_full_table_still_takes_an_expiry_in() {
        let mut mixture = new();
        (0..1_000).for_each(|n| mixture.observe(device(n), Cell::new(1_000), Outcome::Survived));
        let expired = Outcome::Expired { false_probability: 1e-3 };
        (1_000..1_100).for_each(|n| mixture.observe(device(n), Cell::new(950), expired));
        let estimate = mixture.estimate(CONFIDENCE);
        assert!(estimate.lower < Cell::new(950), "{estimate:?}");
        assert_eq!(mixture.brackets().len(), DEVICES_MAX);
    }

    #[test]
    fn no_test_is_made_for_a_bound_that_nobody_asks_for() {
        let mut mixture = new();
        let expired = Outcome::Expired { false_probability: 1e-3 };
        for n in 0..200 {
            mixture.observe(device(n), Cell::new(900), Outcome::Survived);
            mixture.observe(device(n), Cell::new(905), expired);
        }
        (200..203).for_each(|n| mixture.observe(device(n), Cell::new(904), Outcome::Survived));
        let longer = mixture.next_tests(CONFIDENCE, None, 300);
        assert!(longer.len() > 100 && longer.iter().all(|test| test.cell == Cell::new(903)), "{longer:?}");
        let enough = Some(Cell::new(900));
        assert_eq!(mixture.next_tests(CONFIDENCE, enough, 300), []);
        assert_eq!(mixture.tests_to_be_surer(CONFIDENCE, enough), 0);
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        let expired = (0.0..1.0).prop_map(|false_probability| Outcome::Expired { false_probability });
        prop_oneof![Just(Outcome::Survived), expired]
    }

    proptest! {
        #[test]
        fn whatever_is_told_the_interval_is_one_and_the_tests_are_of_known_devices(
            told in prop::collection::vec((0_u64..40, 0_u16..2_100, outcome()), 0..200),
            confidence in 0.5_f64..1.0,
            count in 0_usize..20,
            enough in prop::option::of((0_u16..2_100).prop_map(Cell::new)),
        ) {
            let mut mixture = new();
            for (n, cell, outcome) in told {
                mixture.observe(device(n), Cell::new(cell), outcome);
            }
            let estimate = mixture.estimate(confidence);
            prop_assert!(estimate.lower < estimate.upper);
            prop_assert!(estimate.quantiles.is_sorted());
            let shares: f64 = estimate.boxes.iter().map(|one| one.share).sum();
            prop_assert!((0.8..=1.001).contains(&shares), "{shares}");
            let tests = mixture.next_tests(confidence, enough, count);
            prop_assert!(tests.len() <= count);
            for (at, test) in tests.iter().enumerate() {
                prop_assert!(test.cell.number() > 0);
                if let Who::Known(device) = test.who {
                    prop_assert!(mixture.brackets().iter().any(|bracket| bracket.device == device));
                    prop_assert!(tests[..at].iter().all(|other| other.who != test.who), "one test a device");
                }
            }
            prop_assert!(mixture.tests_to_be_surer(confidence, enough) <= 300);
        }
    }
}
