//! What a cohort knows of one class of bindings, and which tests would tell more.
//!
//! At first a cohort is taken for one box: ladders on a few devices find its lifetime in two or three rounds. Then it is
//! asked, on many devices, whether it is one box at all. Outcomes go to both questions from the start; as soon as they
//! contradict each other, a single box is given up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{Cell, FLOWS_MAX, ProbeOrder};

use crate::keepalive::device::{APART_CELLS, Offer, at_least};
use crate::keepalive::lifetime::belief::{Belief, Evidence};
use crate::keepalive::lifetime::prior::{Known, Prior};
use crate::keepalive::lifetime::probe::Precision;
use crate::keepalive::lifetime::round;
use crate::keepalive::mixture::{BoxEstimate, Bracket, Estimate, Mixture, Outcome, SearchWeights, Who};

/// At which bounds are told and acted on.
pub(super) const CONFIDENCE: f64 = 0.999;
/// Expiries that are this likely to be false do not speak against a single box.
const CONTRADICTION_MAX: f64 = 0.01;
/// Tests that a lifetime takes of which nothing is known, about.
const TESTS_FROM_NOTHING: u32 = 12;
/// A box of less than this share is left to its devices.
const SHARE_MIN: f64 = 0.15;
/// A wheel is taken to begin where this part of the devices behind it has forgotten.
const EDGE_SHARE: f64 = 0.05;
/// A box is offered when it is known this well: 5 %.
const NARROW_CELLS: u16 = 10;
/// First rounds that are kept: of up to eight devices.
const FIRST_ROUNDS: usize = 9 * (FLOWS_MAX as usize + 1);
/// Offers nearer to each other than this are one.
pub(super) const SAME_CELLS: u16 = 6;
/// Outcomes this near to each other, in cells, are no contradiction: timer wheels.
const WHEEL_CELLS: u16 = 22;

/// What is believed before anything is seen: one for all cohorts of a fleet, for it is large.
#[derive(Debug)]
pub(super) struct Ground {
    prior: Prior,
    weights: Arc<SearchWeights>,
    precision: Precision,
    bounds: (Cell, Cell),
    quantiles: [Cell; 3],
    /// The first round of a search, by devices and flows: it is the same for all cohorts of which nothing is known.
    first_rounds: [OnceLock<Vec<ProbeOrder>>; FIRST_ROUNDS],
}

impl Ground {
    /// Of this prior, to be searched to this precision.
    pub(super) fn new(prior: Prior, precision: Precision) -> Self {
        let belief = Belief::new(&prior);
        let (bounds, quantiles) = (belief.credible(CONFIDENCE), [0.01, 0.5, 0.99].map(|q| belief.quantile(q)));
        let first_rounds = [const { OnceLock::new() }; FIRST_ROUNDS];
        Self { weights: Arc::new(SearchWeights::from(&prior)), prior, precision, bounds, quantiles, first_rounds }
    }

    /// What is believed where neighbours have this, by nearness; `None` where they have nothing.
    pub(super) fn shared(&self, neighbours: &[Vec<Known>]) -> Option<Prior> {
        neighbours.iter().any(|known| !known.is_empty()).then(|| self.prior.shared(neighbours))
    }

    /// Whether lifetimes are looked for in the same range.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.prior.first() == other.prior.first() && self.prior.last() == other.prior.last()
    }

    fn first_round(&self, belief: &Belief, devices: usize, flows: u8) -> Vec<ProbeOrder> {
        let at = devices * usize::from(FLOWS_MAX + 1) + usize::from(flows);
        let plan = || round::next(belief, devices, flows);
        self.first_rounds.get(at).map_or_else(plan, |known| known.get_or_init(plan).clone())
    }
}

/// The search for a single box.
#[derive(Debug)]
enum Search {
    /// Nothing is known but the prior.
    NotBegun,
    /// It goes on.
    Running(Box<Belief>),
    /// It was found, or it is not a single one.
    Ended,
}

/// What is known of one class of bindings.
#[derive(Debug)]
pub(super) struct Learning {
    ground: Arc<Ground>,
    search: Search,
    /// The single box, once found and as long as nothing speaks against it.
    found: Option<(Cell, Cell)>,
    mixture: Mixture,
    estimate: Estimate,
    is_stale: bool,
    is_learnt: bool,
    /// What the search began with, where neighbours told something.
    told: Option<Prior>,
    is_fresh: bool,
}

/// A test to be ordered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Planned {
    /// From whom; `None` = any device of which nothing is known.
    pub(super) who: Option<DeviceId>,
    /// Which.
    pub(super) order: ProbeOrder,
}

impl Learning {
    /// Of which only the prior is known.
    pub(super) fn new(ground: &Arc<Ground>) -> Self {
        let mixture = Mixture::new(Arc::clone(&ground.weights));
        let estimate = mixture.estimate(CONFIDENCE);
        Self {
            ground: Arc::clone(ground),
            search: Search::NotBegun,
            found: None,
            mixture,
            estimate,
            is_stale: false,
            is_learnt: false,
            told: None,
            is_fresh: true,
        }
    }

    /// What neighbours have learnt by now: the search goes on as if it had been known from the start.
    pub(super) fn hear(&mut self, told: Prior) {
        self.begin();
        if let Search::Running(belief) = &mut self.search {
            belief.rebase(self.told.as_ref().unwrap_or(&self.ground.prior), &told);
            self.told = Some(told);
        }
    }

    /// What neighbours may take up: where lifetimes are, once that is known.
    pub(super) fn known(&self) -> Vec<Known> {
        let is_narrow = |known: &Known| known.upper.number().saturating_sub(known.lower.number()) <= NARROW_CELLS;
        let single = self.found.map(|(lower, upper)| Known { lower, upper, share: 1.0 });
        let boxes =
            self.estimate.boxes.iter().map(|one| Known { lower: one.lower, upper: one.upper, share: one.share });
        match (&self.search, single) {
            (Search::Ended, Some(known)) => vec![known],
            (Search::Ended, None) => boxes.filter(is_narrow).collect(),
            _ => Vec::new(),
        }
    }

    fn begin(&mut self) {
        if let Search::NotBegun = self.search {
            let belief = Belief::new(&self.ground.prior).with_precision(self.ground.precision);
            self.search = Search::Running(Box::new(belief));
        }
    }

    /// What one silence of one device showed.
    pub(super) fn observe(&mut self, device: DeviceId, cell: Cell, outcome: Outcome) {
        self.begin();
        self.is_fresh = false;
        if let Search::Running(belief) = &mut self.search {
            belief.observe(cell, evidence(outcome));
            self.is_learnt = false;
        }
        self.mixture.observe(device, cell, outcome);
        self.is_stale = true;
    }

    /// Takes in what was observed since the last time: costs some work, so it is done once for many outcomes.
    pub(super) fn refresh(&mut self) {
        if std::mem::take(&mut self.is_stale) {
            self.estimate = self.mixture.estimate(CONFIDENCE);
            // Within a wheel's width devices do not contradict each other; but many of them that forget before what was
            // found on a few do.
            let is_refuted = self.found.is_some_and(|(lower, _)| self.estimate.upper <= lower);
            if is_refuted || !is_one_box(self.mixture.brackets()) {
                (self.search, self.found, self.told) = (Search::Ended, None, None);
            }
        }
    }

    /// The tests of the next round, at most one a device; none once it is known as well as the `offers` that stand ask for.
    pub(super) fn plan(&mut self, devices: usize, flows: u8, offers: &[Offer]) -> Vec<Planned> {
        self.refresh();
        self.begin();
        if let Search::Running(belief) = &self.search {
            let is_first = self.is_fresh && self.told.is_none();
            let round = if is_first {
                self.ground.first_round(belief, devices, flows)
            } else {
                round::next(belief, devices, flows)
            };
            if !round.is_empty() {
                return round.into_iter().map(|order| Planned { who: None, order }).collect();
            }
            if let Some(cell) = belief.next_probe() {
                return vec![Planned { who: None, order: ProbeOrder::one(cell) }];
            }
            let answer = belief.answer();
            self.found = Some((answer.lower, answer.upper));
            (self.search, self.told) = (Search::Ended, None);
        }
        let tests = self.mixture.next_tests(CONFIDENCE, self.enough(offers), devices);
        self.is_learnt = tests.is_empty();
        let planned = |who| match who {
            Who::Fresh => None,
            Who::Known(device) => Some(device),
        };
        tests.into_iter().map(|test| Planned { who: planned(test.who), order: ProbeOrder::one(test.cell) }).collect()
    }

    /// Of a single box that was found, the lower bound that `offers` pace for, or would: however much longer its devices turn
    /// out to live within the precision that it was looked for with, what is asked of them is whether that holds. Those
    /// that took the offer up have shown it already.
    fn enough(&self, offers: &[Offer]) -> Option<Cell> {
        let (lower, _) = self.found?;
        Some(offers.iter().map(|offer| offer.lower).find(|one| is_same(*one, lower)).unwrap_or(lower))
    }

    /// There is nobody left to ask: what is known is all that will be.
    pub(super) fn settle_for_this(&mut self) {
        self.is_learnt = true;
    }

    /// Whether tests of these silences, which began `waited` ago, are to be waited for.
    pub(super) fn is_worth_waiting(&self, running: &[Cell], waited: Duration) -> bool {
        let is_worth = |belief: &Belief| round::is_worth_waiting(belief, running.iter().copied(), waited);
        match &self.search {
            Search::Running(belief) => is_worth(belief),
            Search::NotBegun | Search::Ended => true,
        }
    }

    /// Whether no more tests are needed, for now.
    pub(super) const fn is_learnt(&self) -> bool {
        self.is_learnt
    }

    /// Whether a single box is still looked for.
    pub(super) const fn is_searching(&self) -> bool {
        !matches!(self.search, Search::Ended)
    }

    /// At least, and at most: the lowest lifetime that a fifth of the cohort has.
    pub(super) fn bounds(&self) -> (Cell, Cell) {
        match &self.search {
            Search::NotBegun => self.ground.bounds,
            Search::Running(belief) => belief.credible(CONFIDENCE),
            Search::Ended => self.found.unwrap_or((self.estimate.lower, self.estimate.upper)),
        }
    }

    /// The 1 %, 50 % and 99 % quantile of a device's lifetime.
    pub(super) fn quantiles(&self) -> [Cell; 3] {
        match &self.search {
            Search::NotBegun => self.ground.quantiles,
            Search::Running(belief) => [0.01, 0.5, 0.99].map(|q| belief.quantile(q)),
            Search::Ended => self.estimate.quantiles,
        }
    }

    /// Tests until it is known to the usual precision.
    pub(super) fn tests_to_be_surer(&self, offers: &[Offer]) -> u32 {
        match &self.search {
            Search::NotBegun => TESTS_FROM_NOTHING,
            Search::Running(belief) => belief.tests_to_be_surer(),
            Search::Ended => self.mixture.tests_to_be_surer(CONFIDENCE, self.enough(offers)),
        }
    }

    /// The lifetime that devices may try, and the most that it may be; nothing while it is searched for.
    pub(super) fn offer(&self) -> Option<Offer> {
        if self.is_searching() {
            return None;
        }
        let of_mixture = || lowest_box(&self.estimate.boxes).map(|one| (one.lower, one.upper));
        let is_last_word = self.is_learnt && self.estimate.lower.number() > 0;
        let of_bounds = || is_last_word.then_some((self.estimate.lower, self.estimate.upper));
        let (lower, upper) = self.found.or_else(of_mixture).or_else(of_bounds)?;
        Some(Offer { lower, upper })
    }

    /// Each device's own evidence, as far as it is kept.
    pub(super) fn brackets(&self) -> &[Bracket] {
        self.mixture.brackets()
    }
}

/// The box that the lowest of the cohort's devices end in, those of smaller boxes left out; nothing while it is not known
/// well. A wheel spreads its devices over many gaps, of which none is a box by itself: they are counted together, and what
/// hardly any device forgets before is taken.
fn lowest_box(boxes: &[BoxEstimate]) -> Option<&BoxEstimate> {
    let large = at_share(boxes, SHARE_MIN)?;
    let edge = large.lower.minus(APART_CELLS);
    let first = boxes.iter().position(|one| one.lower >= edge)?;
    let found = at_share(&boxes[first..], EDGE_SHARE)?;
    Some(found).filter(|one| one.upper.number().saturating_sub(one.lower.number()) <= NARROW_CELLS)
}

/// The box in which so large a part of the devices has forgotten.
fn at_share(boxes: &[BoxEstimate], share: f64) -> Option<&BoxEstimate> {
    let mut sum = 0.0;
    boxes.iter().find(|one| {
        sum += one.share;
        sum >= share
    })
}

fn evidence(outcome: Outcome) -> Evidence {
    match outcome {
        Outcome::Survived => Evidence::Survived,
        Outcome::Expired { false_probability } => Evidence::Expired { false_probability },
    }
}

/// Whether one lifetime explains all devices.
fn is_one_box(brackets: &[Bracket]) -> bool {
    let survived = brackets.iter().map(|bracket| bracket.survived).max().unwrap_or(0);
    let is_sure =
        |bracket: &&Bracket| bracket.has_expired() && f64::from(bracket.false_probability) < CONTRADICTION_MAX;
    let expired = brackets.iter().filter(is_sure).map(|bracket| bracket.expired).min();
    expired.is_none_or(|expired| survived < expired.saturating_add(WHEEL_CELLS))
}

/// Whether an offer of the one stands where the other would be offered.
pub(super) fn is_same(one: Cell, other: Cell) -> bool {
    one.number().abs_diff(other.number()) < SAME_CELLS
}

/// The range that lifetimes are looked for in.
pub(super) fn range(shortest: Duration, longest: Duration) -> (Cell, Cell) {
    let first = Cell::new(Cell::at_most(shortest).number().max(1));
    (first, at_least(longest).max(first.plus(2)))
}
