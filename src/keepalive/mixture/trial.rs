//! The law tried out on cohorts whose boxes are known, thousands of times: what the tables of the tests and of
//! `benches/keepalive` are made by. Everything is drawn from a seed.

use std::collections::HashMap;
use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::claims::SHARE;
use super::{Estimate, Mixture, NextTest, Outcome, SearchWeights, Who};
use crate::keepalive::lifetime::prior::Prior;
use crate::keepalive::lifetime::trial::draw::{Boxes, NatBox};

/// At which a bound is asked for.
pub const CONFIDENCE: f64 = 0.999;
/// Tests after which a trial ends, whatever is still asked for.
const TESTS_MAX: usize = 400;
/// How near a bound must be to the edge: 1 %.
const TOLERANCE: f64 = 0.01;
/// Two boxes of a cohort are at least this far apart, as a ratio, where not said otherwise.
const APART: f64 = 1.06;
/// No expiry is told with a smaller probability of being false.
const FALSE_MIN: f64 = 5e-4;

/// What cohorts are drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cohorts {
    /// Their name in tables.
    pub name: &'static str,
    /// Each kind's weight, and the shares of its boxes.
    pub kinds: &'static [(f64, &'static [f64])],
    /// Where lifetimes come from.
    pub boxes: Boxes,
    /// Part of the boxes that are wheels of a tenth of their lifetime.
    pub wheels: f64,
    /// Devices of one box differ by up to this either way.
    pub spread: f64,
    /// Each box's lifetime relative to the one before; `None` = drawn.
    pub ratio: Option<f64>,
    /// Loss of a packet, at least and at most.
    pub loss: (f64, f64),
    /// Whether the search starts from where the box is not.
    pub is_prior_wrong: bool,
}

/// One box of a cohort.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    nat: NatBox,
    share: f64,
}

/// How one trial ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ended {
    /// Whether the truth was outside the interval by more than 1 %.
    pub is_wrong: bool,
    /// The upper bound relative to the lower one, less 1.
    pub width: f64,
    /// Tests made.
    pub tests: usize,
}

const ONE: &[(f64, &[f64])] = &[(1.0, &[1.0])];
const TWO: &[(f64, &[f64])] = &[(1.0, &[0.6, 0.4])];
/// One box, as the other rows differ from it.
const PLAIN: Cohorts = Cohorts {
    name: "one box",
    kinds: ONE,
    boxes: Boxes::Fleet,
    wheels: 0.0,
    spread: 0.0,
    ratio: None,
    loss: (0.01, 0.05),
    is_prior_wrong: false,
};

/// What the law was made for.
pub const FIELD: [Cohorts; 6] = [
    Cohorts {
        name: "a fleet in the field",
        kinds: &[(0.7, &[1.0]), (0.2, &[0.6, 0.4]), (0.1, &[0.5, 0.3, 0.2])],
        wheels: 0.15,
        ..PLAIN
    },
    PLAIN,
    Cohorts { name: "one box, wrong prior", is_prior_wrong: true, ..PLAIN },
    Cohorts { name: "one box, 10 s to 2 h", boxes: Boxes::Anywhere, ..PLAIN },
    Cohorts { name: "60:40", kinds: TWO, ..PLAIN },
    Cohorts {
        name: "two or three, wheels",
        kinds: &[(0.2, &[0.6, 0.4]), (0.1, &[0.5, 0.3, 0.2])],
        wheels: 0.15,
        ..PLAIN
    },
];

/// What it was not made for: here only the truth is asked for, at whatever width.
pub const STRANGE: [Cohorts; 33] = [
    Cohorts {
        name: "60:40, 10 s to 2 h, wrong prior",
        kinds: TWO,
        boxes: Boxes::Anywhere,
        is_prior_wrong: true,
        ..PLAIN
    },
    Cohorts { name: "5:95", kinds: &[(1.0, &[0.05, 0.95])], ..PLAIN },
    Cohorts { name: "10:90", kinds: &[(1.0, &[0.1, 0.9])], ..PLAIN },
    Cohorts { name: "15:85", kinds: &[(1.0, &[0.15, 0.85])], ..PLAIN },
    Cohorts { name: "19:81", kinds: &[(1.0, &[0.19, 0.81])], ..PLAIN },
    Cohorts { name: "20:80", kinds: &[(1.0, &[0.2, 0.8])], ..PLAIN },
    Cohorts { name: "25:75", kinds: &[(1.0, &[0.25, 0.75])], ..PLAIN },
    Cohorts { name: "15:15:70", kinds: &[(1.0, &[0.15, 0.15, 0.7])], ..PLAIN },
    Cohorts { name: "four of 25", kinds: &[(1.0, &[0.25, 0.25, 0.25, 0.25])], ..PLAIN },
    Cohorts { name: "one wheel", wheels: 1.0, ..PLAIN },
    Cohorts { name: "two wheels", kinds: TWO, wheels: 1.0, ..PLAIN },
    Cohorts { name: "50:50, 5 % apart", kinds: &[(1.0, &[0.5, 0.5])], ratio: Some(1.05), ..PLAIN },
    Cohorts { name: "15:85, 5 % apart", kinds: &[(1.0, &[0.15, 0.85])], ratio: Some(1.05), ..PLAIN },
    Cohorts { name: "spread by 10 %", spread: 0.1, ..PLAIN },
    Cohorts { name: "60:40, loss 20 %", kinds: TWO, loss: (0.2, 0.2), ..PLAIN },
    Cohorts { name: "21:79", kinds: &[(1.0, &[0.21, 0.79])], ..PLAIN },
    Cohorts { name: "five of 20", kinds: &[(1.0, &[0.2; 5])], ..PLAIN },
    Cohorts { name: "five of 20, wheels", kinds: &[(1.0, &[0.2; 5])], wheels: 1.0, ..PLAIN },
    Cohorts { name: "four of 25, wheels", kinds: &[(1.0, &[0.25; 4])], wheels: 1.0, ..PLAIN },
    Cohorts { name: "20:80, wheels", kinds: &[(1.0, &[0.2, 0.8])], wheels: 1.0, ..PLAIN },
    Cohorts { name: "10:90, wheels", kinds: &[(1.0, &[0.1, 0.9])], wheels: 1.0, ..PLAIN },
    Cohorts {
        name: "20:30:50, wheels, a third apart",
        kinds: &[(1.0, &[0.2, 0.3, 0.5])],
        wheels: 1.0,
        ratio: Some(1.3),
        ..PLAIN
    },
    Cohorts { name: "15:15:70, 10 % apart", kinds: &[(1.0, &[0.15, 0.15, 0.7])], ratio: Some(1.1), ..PLAIN },
    Cohorts { name: "60:40, 3 % apart", kinds: TWO, ratio: Some(1.03), ..PLAIN },
    Cohorts { name: "60:40, 3 % apart, wheels", kinds: TWO, ratio: Some(1.03), wheels: 1.0, ..PLAIN },
    Cohorts { name: "20:80, 3 % apart, wheels", kinds: &[(1.0, &[0.2, 0.8])], ratio: Some(1.03), wheels: 1.0, ..PLAIN },
    Cohorts { name: "four of 25, 3 % apart", kinds: &[(1.0, &[0.25; 4])], ratio: Some(1.03), ..PLAIN },
    Cohorts { name: "spread by 3 %", spread: 0.03, ..PLAIN },
    Cohorts { name: "60:40 from 12 s", kinds: TWO, boxes: Boxes::One(NatBox::exact(12.0)), ratio: Some(1.4), ..PLAIN },
    Cohorts {
        name: "60:40 to 7,000 s",
        kinds: TWO,
        boxes: Boxes::One(NatBox::exact(7_000.0)),
        ratio: Some(0.7),
        ..PLAIN
    },
    Cohorts { name: "60:40, loss 0", kinds: TWO, loss: (0.0, 0.0), ..PLAIN },
    Cohorts { name: "60:40, wheels, loss 30 %", kinds: TWO, wheels: 1.0, loss: (0.3, 0.3), ..PLAIN },
    Cohorts { name: "60:40, a tenth of the expiries false", kinds: TWO, loss: (0.464, 0.464), ..PLAIN },
];

impl Cohorts {
    /// One cohort, learnt from nothing by the tests that the law asks for, one after the other.
    pub fn run(&self, seed: u64) -> Ended {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let parts = self.draw(&mut random);
        let loss = self.loss.0 + (self.loss.1 - self.loss.0) * random.random::<f64>();
        let mut mixture = Mixture::new(Arc::new(self.weights(&mut random)));
        let mut fleet =
            Fleet { parts: &parts, spread: self.spread, false_probability: loss.powi(3), homes: HashMap::new() };
        let mut tests = 0;
        while let Some(test) = mixture.next_tests(CONFIDENCE, None, 1).first().filter(|_| tests < TESTS_MAX) {
            let (device, outcome) = fleet.test(*test, &mut random);
            mixture.observe(device, test.cell, outcome);
            tests += 1;
        }
        ended(&mixture.estimate(CONFIDENCE), &self.truths(&parts), tests)
    }

    fn draw(&self, random: &mut Pcg64Mcg) -> Vec<Part> {
        let total: f64 = self.kinds.iter().map(|(weight, _)| weight).sum();
        let mut at = random.random::<f64>() * total;
        let found = self.kinds.iter().find(|(weight, _)| {
            at -= weight;
            at < 0.0
        });
        let shares = found.unwrap_or(&self.kinds[0]).1;
        let mut parts: Vec<Part> = Vec::new();
        while let Some(share) = shares.get(parts.len()) {
            let before = parts.last().map(|part| part.nat.lifetime);
            let drawn = self
                .ratio
                .zip(before)
                .map_or_else(|| self.boxes.draw(random).lifetime, |(ratio, before)| ratio * before);
            let is_apart = |part: &Part| drawn.max(part.nat.lifetime) / drawn.min(part.nat.lifetime) >= APART;
            if self.ratio.is_some() || parts.iter().all(is_apart) {
                let granularity = if random.random::<f64>() < self.wheels { 0.1 * drawn } else { 0.0 };
                parts.push(Part { nat: NatBox { lifetime: drawn, granularity }, share: *share });
            }
        }
        parts
    }

    fn weights(&self, random: &mut Pcg64Mcg) -> SearchWeights {
        let usual = SearchWeights::from(&Prior::default());
        if !self.is_prior_wrong {
            return usual;
        }
        // Nine tenths of the belief are at a lifetime that has nothing to do with the cohort's.
        let wrong = flyball_sdk::device::probe::Cell::at_most(std::time::Duration::from_secs_f64(
            Boxes::Anywhere.draw(random).lifetime,
        ));
        let near = |cell: usize| if cell.abs_diff(usize::from(wrong.number())) <= 5 { 9.0 / 11.0 } else { 0.0 };
        SearchWeights::new(usual.parts().enumerate().map(|(cell, weight)| weight + near(cell)))
    }

    /// The lowest lifetime that a fifth of the cohort has, by either reading: that of the first box of at least a fifth,
    /// and that which a fifth of the devices have at most. Within a box that is spread, only the second is defined.
    fn truths(&self, parts: &[Part]) -> Vec<f64> {
        let mut parts = parts.to_vec();
        parts.sort_by(|a, b| a.nat.lifetime.total_cmp(&b.nat.lifetime));
        if self.spread > 0.0 {
            return vec![parts[0].nat.lifetime * (1.0 - self.spread * (1.0 - 2.0 * SHARE))];
        }
        let is_large = |part: &&Part| part.share >= SHARE - 1e-9;
        let mut sum = 0.0;
        let is_reached = |part: &&Part| {
            sum += part.share;
            sum >= SHARE - 1e-9
        };
        let found = [parts.iter().find(is_large), parts.iter().find(is_reached)];
        found.into_iter().flatten().map(|part| part.nat.lifetime).collect()
    }
}

/// Devices, each behind its box.
#[derive(Debug)]
struct Fleet<'a> {
    parts: &'a [Part],
    spread: f64,
    false_probability: f64,
    homes: HashMap<DeviceId, NatBox>,
}

impl Fleet<'_> {
    fn test(&mut self, test: NextTest, random: &mut Pcg64Mcg) -> (DeviceId, Outcome) {
        let device = match test.who {
            Who::Known(device) => device,
            Who::Fresh => self.fresh(random),
        };
        let is_alive = self.homes[&device].is_alive(test.cell.silence().as_secs_f64(), random);
        if is_alive && random.random::<f64>() >= self.false_probability {
            return (device, Outcome::Survived);
        }
        (device, Outcome::Expired { false_probability: self.false_probability.max(FALSE_MIN) })
    }

    fn fresh(&mut self, random: &mut Pcg64Mcg) -> DeviceId {
        let device = DeviceId((self.homes.len() as u128).to_be_bytes());
        let mut at = random.random::<f64>();
        let found = self.parts.iter().find(|part| {
            at -= part.share;
            at < 0.0
        });
        let mut home = found.unwrap_or(&self.parts[0]).nat;
        home.lifetime *= 1.0 + self.spread * (2.0 * random.random::<f64>() - 1.0);
        self.homes.insert(device, home);
        device
    }
}

fn ended(estimate: &Estimate, truths: &[f64], tests: usize) -> Ended {
    let (lower, upper) = (estimate.lower.silence().as_secs_f64(), estimate.upper.silence().as_secs_f64());
    let is_outside = |truth: &f64| lower > truth * (1.0 + TOLERANCE) || upper < truth * (1.0 - TOLERANCE);
    Ended { is_wrong: truths.iter().any(is_outside), width: upper / lower - 1.0, tests }
}

/// Many trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    ended: Vec<Ended>,
}

impl Tally {
    /// Of at least one.
    pub const fn of(ended: Vec<Ended>) -> Self {
        Self { ended }
    }

    /// Part of the cohorts whose truth was outside the interval.
    pub fn wrong_ratio(&self) -> f64 {
        self.ended.iter().filter(|ended| ended.is_wrong).count() as f64 / self.ended.len() as f64
    }

    /// Of the width of the interval.
    pub fn width_quantile(&self, q: f64) -> f64 {
        quantile(self.ended.iter().map(|ended| ended.width).collect(), q)
    }

    /// Of the tests made.
    pub fn tests_quantile(&self, q: f64) -> f64 {
        quantile(self.ended.iter().map(|ended| ended.tests as f64).collect(), q)
    }
}

fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q) as usize]
}
