//! What is believed of one box's lifetime: a posterior on the grid of [`Cell`]s.
//!
//! The lifetime lies in a bin between two cells, below the first or above the last. NATs that look at their bindings only
//! now and then (timer wheels) forget anywhere in `[T, T + granularity]`, so there is one plane of bins for each of a few
//! granularities; without them a 99.9 % interval holds the truth in 98.3 to 99.0 % of cases.
//!
//! A silence that was survived proves `T > silence`, almost; one that was not is an expiry or a living binding that
//! looked like one, with a probability that the [channel](super::channel) knows.

use std::sync::LazyLock;

use flyball_sdk::device::probe::{CELLS, Cell};

use super::prior::Prior;
use super::probe::{Precision, reaches};

/// Granularities of timer wheels in cells, and how much each is believed before anything is seen: none, 1.5 %, 5 %.
pub(super) const EDGES: [(usize, f64); 3] = [(0, 0.85), (3, 0.10), (10, 0.05)];
/// That a binding which is gone looks alive: something else refreshed it, or a report was mistaken.
const FALSE_SURVIVAL: f64 = 1e-6;
/// No bin is ever held for less likely: evidence to the contrary, a hundred times over, must not become final.
const MASS_MIN: f64 = 1e-60;

/// Lengths of the cells in seconds.
pub(super) static SECONDS: LazyLock<Vec<f64>> =
    LazyLock::new(|| (0..CELLS).map(|number| Cell::new(number).silence().as_secs_f64()).collect());

/// What a test, or a silence of the device's own, says of a binding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Evidence {
    /// It outlived the silence.
    Survived,
    /// It did not, or looked so.
    Expired {
        /// Probability that a living binding looks so, relative to an expired one: [`super::channel::Channel::false_expiry`].
        false_probability: f64,
    },
}

/// The posterior. 32 KB at the default range.
#[derive(Debug, Clone, PartialEq)]
pub struct Belief {
    first: Cell,
    bins: usize,
    /// By granularity; all of them together sum to 1.
    planes: [Box<[f64]>; EDGES.len()],
    pub(super) precision: Precision,
    /// For each bin, the one before which an answer for it ends.
    pub(super) reaches: Box<[u16]>,
}

impl Belief {
    /// As believed before any test.
    pub fn new(prior: &Prior) -> Self {
        let plane = |share: f64| prior.masses().iter().map(|mass| (mass * share).max(MASS_MIN)).collect();
        let (first, bins, precision) = (prior.first(), prior.masses().len(), Precision::default());
        let reaches = reaches(first, bins, &precision);
        let mut belief = Self { first, bins, planes: EDGES.map(|(_, share)| plane(share)), precision, reaches };
        belief.normalise();
        belief
    }

    /// Searched to this precision instead of the default one.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.reaches = reaches(self.first, self.bins, &precision);
        self.precision = precision;
        self
    }

    /// The same evidence seen with another prior than the one that it was seen with; both of this belief's range.
    pub fn rebase(&mut self, from: &Prior, to: &Prior) {
        for plane in &mut self.planes {
            let ratios = from.masses().iter().zip(to.masses()).map(|(from, to)| to.max(MASS_MIN) / from.max(MASS_MIN));
            plane.iter_mut().zip(ratios).for_each(|(mass, ratio)| *mass *= ratio);
        }
        self.normalise();
    }

    /// Takes in what a silence of this length showed. A few microseconds.
    pub fn observe(&mut self, cell: Cell, evidence: Evidence) {
        let Some(at) = self.index_of(cell, evidence) else { return };
        let (gone, alive) = match evidence {
            Evidence::Survived => (FALSE_SURVIVAL, 1.0),
            Evidence::Expired { false_probability } => (1.0, false_probability.clamp(0.0, 1.0)),
        };
        for ((width, _), plane) in EDGES.iter().zip(&mut self.planes) {
            let ramp = (at + 1).saturating_sub(*width);
            scale(&mut plane[..ramp], gone);
            scale(&mut plane[at + 1..], alive);
            for (bin, mass) in plane[ramp..=at].iter_mut().enumerate() {
                // The lifetime is taken at the middle of its bin.
                let lives = (((ramp + bin + width - at) as f64 - 0.5) / *width as f64).clamp(0.0, 1.0);
                *mass *= lives * alive + (1.0 - lives) * gone;
            }
        }
        self.normalise();
    }

    /// The last bin of which a test of `cell` says "gone"; `None` where it says nothing within the range.
    fn index_of(&self, cell: Cell, evidence: Evidence) -> Option<usize> {
        let at = i32::from(cell.number()) - i32::from(self.first.number());
        let last = self.bins as i32 - 2;
        match evidence {
            Evidence::Survived if at < 0 => None,
            Evidence::Expired { .. } if at > last => None,
            _ => Some(at.clamp(0, last) as usize),
        }
    }

    /// The bin after which a test of this silence cuts; `None` outside the range.
    pub(super) fn index_of_test(&self, cell: Cell) -> Option<usize> {
        let at = cell.number().checked_sub(self.first.number())?;
        (usize::from(at) + 1 < self.bins).then_some(usize::from(at))
    }

    fn normalise(&mut self) {
        let scale = 1.0 / self.planes.iter().map(|plane| sum(plane)).sum::<f64>();
        for plane in &mut self.planes {
            plane.iter_mut().for_each(|mass| *mass = (*mass * scale).max(MASS_MIN));
        }
    }

    /// The interval that holds the lifetime with this probability, as much outside on either side: at least the first,
    /// less than the second.
    pub fn credible(&self, confidence: f64) -> (Cell, Cell) {
        let tail = 0.5 * (1.0 - confidence.clamp(0.0, 1.0));
        let mut above = 0.0;
        let upper = (0..self.bins).rev().find(|bin| {
            above += self.mass(*bin);
            above > tail
        });
        (self.quantile(tail), self.upper_edge(upper.unwrap_or(0)))
    }

    /// The longest cell that the lifetime is below with at most this probability.
    pub fn quantile(&self, q: f64) -> Cell {
        let mut below = 0.0;
        let bin = (0..self.bins).find(|bin| {
            below += self.mass(*bin);
            below > q
        });
        self.lower_edge(bin.unwrap_or(self.bins - 1))
    }

    /// The probability that the lifetime is at least `low` and less than `high`. Beyond the range only all is known.
    pub fn mass_within(&self, low: Cell, high: Cell) -> f64 {
        let is_within = |bin: &usize| self.lower_edge(*bin) >= low && self.upper_edge(*bin) <= high;
        (0..self.bins).filter(is_within).map(|bin| self.mass(bin)).sum()
    }

    /// One mass for what is below the range, one for each cell, one for what is above. They sum to 1.
    pub fn masses(&self) -> impl Iterator<Item = f64> {
        (0..self.bins).map(|bin| self.mass(bin))
    }

    /// The shortest cell of the range.
    pub const fn first(&self) -> Cell {
        self.first
    }

    /// The longest cell of the range.
    pub fn last(&self) -> Cell {
        self.first.plus(self.bins as u16 - 2)
    }

    pub(super) const fn bins(&self) -> usize {
        self.bins
    }

    pub(super) fn planes(&self) -> impl Iterator<Item = (usize, &[f64])> {
        EDGES.iter().zip(&self.planes).map(|((width, _), plane)| (*width, &**plane))
    }

    fn mass(&self, bin: usize) -> f64 {
        self.planes.iter().map(|plane| plane[bin]).sum()
    }

    /// The cell where a bin begins; the grid's first for what is below the range.
    pub(super) fn lower_edge(&self, bin: usize) -> Cell {
        if bin == 0 { Cell::new(0) } else { self.first.plus(bin as u16 - 1) }
    }

    /// The cell where a bin ends; the grid's last for what is above the range.
    pub(super) fn upper_edge(&self, bin: usize) -> Cell {
        if bin + 1 >= self.bins { Cell::new(CELLS - 1) } else { self.first.plus(bin as u16) }
    }
}

fn scale(masses: &mut [f64], factor: f64) {
    masses.iter_mut().for_each(|mass| *mass *= factor);
}

/// In eight lanes: one after the other, each addition would wait for the one before.
fn sum(masses: &[f64]) -> f64 {
    let (eights, rest) = masses.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for eight in eights {
        lanes.iter_mut().zip(eight).for_each(|(lane, mass)| *lane += mass);
    }
    lanes.iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn cell(seconds: f64) -> Cell {
        Cell::at_most(Duration::from_secs_f64(seconds))
    }

    fn expired(false_probability: f64) -> Evidence {
        Evidence::Expired { false_probability }
    }

    fn any_evidence() -> impl Strategy<Value = Vec<(u16, Evidence)>> {
        let evidence = prop_oneof![Just(Evidence::Survived), (0.0..=1.0).prop_map(expired)];
        prop::collection::vec((0..CELLS, evidence), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_seen_the_belief_sums_to_one_and_bounds_are_in_order(seen in any_evidence(), at in 0.0..1.0) {
            let mut belief = Belief::new(&Prior::default());
            seen.iter().for_each(|(number, evidence)| belief.observe(Cell::new(*number), *evidence));
            prop_assert!((belief.masses().sum::<f64>() - 1.0).abs() < 1e-9);
            let (lower, upper) = belief.credible(at);
            prop_assert!(lower < upper);
            prop_assert!(belief.quantile(at * 0.5) <= belief.quantile(at));
            let (wider_lower, wider_upper) = belief.credible(0.5 + 0.5 * at);
            prop_assert!(wider_lower <= lower && upper <= wider_upper);
            prop_assert!(belief.mass_within(lower, upper) >= at - 1e-9);
        }

        #[test]
        fn a_survival_never_lowers_a_bound_and_an_expiry_never_raises_one(seen in any_evidence(), number in 0..CELLS) {
            let mut before = Belief::new(&Prior::default());
            seen.iter().for_each(|(number, evidence)| before.observe(Cell::new(*number), *evidence));
            for q in [0.001, 0.5, 0.999] {
                let (mut more, mut less) = (before.clone(), before.clone());
                more.observe(Cell::new(number), Evidence::Survived);
                less.observe(Cell::new(number), expired(0.01));
                prop_assert!(more.quantile(q) >= before.quantile(q));
                prop_assert!(less.quantile(q) <= before.quantile(q));
            }
        }
    }

    #[test]
    fn a_prior_that_comes_late_says_the_same_as_one_that_came_first() {
        let (early, late) = (Prior::default(), Prior::flat(cell(9.0), cell(7_500.0)));
        let (mut rebased, mut direct) = (Belief::new(&early), Belief::new(&late));
        for belief in [&mut rebased, &mut direct] {
            belief.observe(cell(70.0), Evidence::Survived);
            belief.observe(cell(140.0), expired(1e-3));
        }
        rebased.rebase(&early, &late);
        assert!(rebased.masses().zip(direct.masses()).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn an_outcome_that_is_as_likely_either_way_changes_nothing() {
        let mut belief = Belief::new(&Prior::default());
        let before: Vec<f64> = belief.masses().collect();
        belief.observe(cell(100.0), expired(1.0));
        assert!(belief.masses().zip(before).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn a_lifetime_between_a_survival_and_an_expiry_is_known_to_lie_there() {
        let mut belief = Belief::new(&Prior::default());
        belief.observe(cell(110.0), Evidence::Survived);
        (0..3).for_each(|_| belief.observe(cell(112.0), expired(1e-3)));
        let (lower, upper) = belief.credible(0.9);
        assert!(lower >= cell(110.0) && upper <= cell(112.0), "{lower:?} {upper:?}");
        assert!((belief.answer().lifetime.as_secs_f64() - 111.0).abs() < 1.2);
    }

    #[test]
    fn a_wheel_that_answers_both_ways_is_not_taken_for_noise() {
        let mut belief = Belief::new(&Prior::default());
        for _ in 0..3 {
            belief.observe(cell(120.0), Evidence::Survived);
            belief.observe(cell(118.5), expired(1e-3));
        }
        let (lower, upper) = belief.credible(0.999);
        assert!(lower < cell(118.5) && lower > cell(112.0) && upper < cell(122.0), "{lower:?} {upper:?}");
    }

    #[test]
    fn lifetimes_outside_the_range_are_said_to_be_there() {
        let prior = Prior::default();
        let (mut short, mut long) = (Belief::new(&prior), Belief::new(&prior));
        (0..4).for_each(|_| short.observe(prior.first(), expired(1e-3)));
        (0..4).for_each(|_| long.observe(prior.last(), Evidence::Survived));
        assert!(short.next_probe().is_none() && short.credible(0.999).1 <= prior.first());
        // A wheel may begin to forget a little below the last silence that it was seen to survive.
        assert!(long.next_probe().is_none() && long.credible(0.999).0 >= prior.last().minus(10));
    }

    #[test]
    fn a_mistaken_survival_is_outweighed_in_the_end() {
        let mut belief = Belief::new(&Prior::default());
        belief.observe(cell(600.0), Evidence::Survived);
        (0..8).for_each(|_| belief.observe(cell(100.0), expired(1e-3)));
        assert!(belief.quantile(0.999) <= cell(100.0));
    }
}
