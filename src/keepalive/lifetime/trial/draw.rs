//! Which boxes the search is tried on.

use rand::RngExt;
use rand_distr::{Distribution, LogNormal, Normal};
use rand_pcg::Pcg64Mcg;

use crate::keepalive::lifetime::probe::Precision;

/// The shortest and the longest lifetime drawn, in seconds.
const RANGE: (f64, f64) = (10.0, 7_200.0);
/// Vendors' usual values, in seconds.
const VENDORS: [f64; 8] = [30.0, 60.0, 65.0, 90.0, 120.0, 180.0, 300.0, 600.0];
/// Standard deviation of a box around its vendor's value.
const VENDORS_SPREAD: f64 = 0.01;
/// A fleet in the field: weight, lifetime in seconds, and how far at most it is off.
const FLEET: [(f64, f64, f64); 9] = [
    (0.14, 30.0, 1.0),
    (0.07, 45.0, 5.0),
    (0.25, 62.5, 3.0),
    (0.08, 95.0, 6.0),
    (0.26, 117.0, 4.0),
    (0.08, 180.0, 2.0),
    (0.08, 300.0, 3.0),
    (0.02, 600.0, 5.0),
    (0.02, 1_800.0, 10.0),
];
/// The coarsest timer wheel drawn, relative to the lifetime.
const GRANULARITY_MAX: f64 = 0.05;

/// A box that forgets a binding somewhere in `[lifetime, lifetime + granularity]`, anew each time. Seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NatBox {
    /// No binding is forgotten sooner.
    pub lifetime: f64,
    /// Zero for a box with a timer a binding.
    pub granularity: f64,
}

/// Where boxes are drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Boxes {
    /// Vendors' usual values, 1 % off either way.
    Vendors,
    /// Evenly over the logarithm from 10 s to 2 h.
    Anywhere,
    /// As carriers and home routers are met in the field.
    Fleet,
    /// Around 65 s, as surveys of cellular networks find them.
    Cellular,
    /// Anywhere, with timer wheels of up to 5 % of the lifetime.
    Wheels,
    /// Always this one.
    One(NatBox),
}

impl NatBox {
    /// One with a timer a binding.
    pub const fn exact(lifetime: f64) -> Self {
        Self { lifetime, granularity: 0.0 }
    }

    /// Whether a binding lives after this silence.
    pub fn is_alive(self, silence: f64, random: &mut Pcg64Mcg) -> bool {
        silence < self.lifetime + self.granularity * random.random::<f64>()
    }

    /// Whether this answer is as near to the edge as asked.
    pub fn is_within(self, answer: f64, precision: &Precision) -> bool {
        let (low, high) = (self.lifetime, self.lifetime + self.granularity);
        answer >= low - precision.tolerance(low) && answer <= high + precision.tolerance(high)
    }
}

impl Boxes {
    /// Draws one.
    pub fn draw(self, random: &mut Pcg64Mcg) -> NatBox {
        match self {
            Self::Vendors => {
                let value = VENDORS[random.random_range(0..VENDORS.len())];
                NatBox::exact(value * Normal::new(1.0, VENDORS_SPREAD).expect("a spread").sample(random))
            }
            Self::Anywhere => NatBox::exact(anywhere(random)),
            Self::Fleet => NatBox::exact(fleet(random)),
            Self::Cellular => {
                let drawn: f64 = LogNormal::new(65_f64.ln(), 0.7).expect("a spread").sample(random);
                NatBox::exact(drawn.clamp(RANGE.0, RANGE.1))
            }
            Self::Wheels => {
                let lifetime = anywhere(random);
                NatBox { lifetime, granularity: lifetime * GRANULARITY_MAX * random.random::<f64>() }
            }
            Self::One(one) => one,
        }
    }
}

fn anywhere(random: &mut Pcg64Mcg) -> f64 {
    RANGE.0 * (RANGE.1 / RANGE.0).powf(random.random())
}

fn fleet(random: &mut Pcg64Mcg) -> f64 {
    let mut left: f64 = random.random();
    let row = FLEET.iter().find(|(weight, ..)| {
        left -= weight;
        left < 0.0
    });
    let (_, lifetime, off) = row.unwrap_or(&FLEET[0]);
    random.random_range(lifetime - off..lifetime + off)
}
