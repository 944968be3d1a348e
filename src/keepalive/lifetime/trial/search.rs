//! One device, one test at a time, until the lifetime is known.

use flyball_sdk::device::probe::ProbeOutcome;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::draw::{Boxes, NatBox};
use super::link::Link;
use crate::keepalive::lifetime::belief::{Belief, Evidence};
use crate::keepalive::lifetime::channel::Channel;
use crate::keepalive::lifetime::prior::{Known, Prior};

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
    /// Sorted.
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
}

impl Guess {
    pub(super) fn prior(self, random: &mut Pcg64Mcg) -> Prior {
        let usual = Prior::default();
        match self {
            Self::Flat => Prior::flat(usual.first(), usual.last()),
            Self::Vendors => usual,
            Self::Neighbour(boxes) => usual.shared(&[vec![known(boxes.draw(random), &usual)]]),
        }
    }
}

/// What a neighbour says that has found its box.
fn known(nat: NatBox, prior: &Prior) -> Known {
    let mut belief = Belief::new(prior);
    while let Some(cell) = belief.next_probe() {
        let is_alive = cell.silence().as_secs_f64() < nat.lifetime;
        belief.observe(cell, if is_alive { Evidence::Survived } else { Evidence::Expired { false_probability: 1e-3 } });
    }
    let answer = belief.answer();
    Known { lower: answer.lower, upper: answer.upper, share: 1.0 }
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
    /// Of these.
    pub fn of(all: impl IntoIterator<Item = Found>) -> Self {
        let mut tally = Self::default();
        for found in all {
            tally.tests.push(found.tests);
            tally.wrong += u32::from(!found.is_right);
            tally.uncovered += u32::from(!found.is_covered);
        }
        tally.tests.sort_unstable();
        tally
    }

    /// Tests of a search on average.
    pub fn mean(&self) -> f64 {
        f64::from(self.tests.iter().sum::<u32>()) / self.tests.len().max(1) as f64
    }

    /// Tests that this part of the searches did not exceed.
    pub fn quantile(&self, q: f64) -> u32 {
        let rank = (self.tests.len() as f64 * q).ceil() as usize;
        self.tests.get(rank.saturating_sub(1)).copied().unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the bench asks with 20,000 runs, with fewer and some slack for chance.
    #[test]
    fn lifetimes_are_found_in_as_many_tests_as_asked_and_are_right() {
        let rows = [
            (Boxes::Anywhere, Guess::Vendors, 0.05, 12.0, 15),
            (Boxes::Fleet, Guess::Vendors, 0.2, 14.0, 19),
            (Boxes::Anywhere, Guess::Neighbour(Boxes::Anywhere), 0.05, 15.0, 18),
            (Boxes::Wheels, Guess::Neighbour(Boxes::Vendors), 0.2, 16.0, 22),
        ];
        for (boxes, guess, loss, mean, p95) in rows {
            let trial = Trial { boxes, link: Link::independent(loss), guess };
            let tally = Tally::of((0..800).map(|seed| trial.run(seed)));
            let seen = (tally.mean(), tally.quantile(0.95), tally.wrong_ratio(), tally.uncovered_ratio());
            assert!(seen.0 <= mean && seen.1 <= p95 && seen.2 <= 0.005 && seen.3 <= 0.005, "{trial:?}: {seen:?}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_search_again() {
        let trial = Trial { boxes: Boxes::Wheels, link: Link::bursts(), guess: Guess::Vendors };
        assert_eq!(trial.run(7), trial.run(7));
    }
}
