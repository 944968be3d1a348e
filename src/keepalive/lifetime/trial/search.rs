//! One device, one test at a time, until the lifetime is known.

use flyball_sdk::device::probe::ProbeOutcome;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::draw::{Boxes, NatBox};
use super::link::Link;
use crate::keepalive::lifetime::belief::{Belief, Evidence};
use crate::keepalive::lifetime::channel::Channel;
use crate::keepalive::lifetime::prior::Prior;

/// Heartbeats in short gaps before the first test: a quarter of an hour at the floor.
const SHORT_GAPS: u32 = 60;
/// A search that takes more tests than this has failed.
const TESTS_MAX: u32 = 100;

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// The boxes.
    pub boxes: Boxes,
    /// The way to them.
    pub link: Link,
    /// What is believed of them before.
    pub guess: Guess,
}

/// Where the prior comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guess {
    /// Nowhere.
    Flat,
    /// From vendors' usual values.
    Vendors,
    /// From a neighbour whose box is known, and is one of these: right where they are the boxes looked for, else wrong.
    Neighbour(Boxes),
}

/// How one search ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Tests made, those that said nothing among them.
    pub tests: u32,
    /// The answer is as near as asked.
    pub is_right: bool,
    /// The 99.9 % interval holds the lifetime.
    pub is_covered: bool,
}

/// Many of them.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    tests: Vec<u32>,
    wrong: u32,
    uncovered: u32,
}

impl Trial {
    /// Searches once for a box drawn with this seed.
    pub fn run(&self, seed: u64) -> Found {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let nat = self.boxes.draw(&mut random);
        let mut belief = Belief::new(&self.guess.prior(&mut random));
        let mut channel = Channel::new();
        channel.short_gap(SHORT_GAPS, self.link.short_gaps(SHORT_GAPS, &mut random));
        let mut tests = 0;
        while let Some(cell) = belief.next_probe().filter(|_| tests < TESTS_MAX) {
            tests += 1;
            let (outcome, controls) = self.link.test(nat, cell.silence().as_secs_f64(), &mut random);
            if let Some(evidence) = evidence(&channel, outcome, controls) {
                channel.controls(controls);
                belief.observe(cell, evidence);
            }
        }
        found(&belief, nat, tests)
    }

    /// Searches for each seed.
    pub fn tally(&self, seeds: std::ops::Range<u64>) -> Tally {
        let mut tally = Tally::default();
        for found in seeds.map(|seed| self.run(seed)) {
            tally.tests.push(found.tests);
            tally.wrong += u32::from(!found.is_right);
            tally.uncovered += u32::from(!found.is_covered);
        }
        tally
    }
}

impl Guess {
    pub(super) fn prior(self, random: &mut Pcg64Mcg) -> Prior {
        let usual = Prior::default();
        match self {
            Self::Flat => Prior::flat(usual.first(), usual.last()),
            Self::Vendors => usual,
            Self::Neighbour(boxes) => Prior::shared(&[&known(boxes.draw(random), &usual)]),
        }
    }
}

/// A belief that has found its box.
fn known(nat: NatBox, prior: &Prior) -> Belief {
    let mut belief = Belief::new(prior);
    while let Some(cell) = belief.next_probe() {
        let is_alive = cell.silence().as_secs_f64() < nat.lifetime;
        belief.observe(cell, if is_alive { Evidence::Survived } else { Evidence::Expired { false_probability: 1e-3 } });
    }
    belief
}

/// What an outcome says; `None` for a test that was lost.
pub fn evidence(channel: &Channel, outcome: ProbeOutcome, controls: u8) -> Option<Evidence> {
    match outcome {
        ProbeOutcome::Survived => Some(Evidence::Survived),
        ProbeOutcome::Expired => Some(Evidence::Expired { false_probability: channel.false_expiry(controls) }),
        ProbeOutcome::Lost => None,
    }
}

pub(super) fn found(belief: &Belief, nat: NatBox, tests: u32) -> Found {
    let precision = belief.precision;
    let answer = belief.answer().lifetime.as_secs_f64();
    let (low, high) = belief.credible(precision.confidence);
    let holds = low.silence().as_secs_f64() <= nat.lifetime && nat.lifetime <= high.silence().as_secs_f64();
    let is_right = nat.is_within(answer, &precision);
    Found { tests, is_right, is_covered: holds }
}

impl Tally {
    /// Of two parts of the seeds.
    pub fn join(mut self, other: Self) -> Self {
        self.tests.extend(other.tests);
        Self { tests: self.tests, wrong: self.wrong + other.wrong, uncovered: self.uncovered + other.uncovered }
    }

    /// Tests of a search on average.
    pub fn mean(&self) -> f64 {
        f64::from(self.tests.iter().sum::<u32>()) / self.tests.len().max(1) as f64
    }

    /// Tests that this part of the searches did not exceed.
    pub fn quantile(&self, q: f64) -> u32 {
        let mut sorted = self.tests.clone();
        sorted.sort_unstable();
        sorted.get(((sorted.len() as f64 * q).ceil() as usize).saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Part of the searches whose answer was not as near as asked.
    pub fn wrong_ratio(&self) -> f64 {
        f64::from(self.wrong) / self.tests.len().max(1) as f64
    }

    /// Part of the searches whose 99.9 % interval did not hold the lifetime.
    pub fn uncovered_ratio(&self) -> f64 {
        f64::from(self.uncovered) / self.tests.len().max(1) as f64
    }
}
