//! Evidence that one arm does worse than the other, where all that one device does may have one cause.
//!
//! Beats of one device are not independent: a bad antenna fails beat after beat, and a test that counts beats takes
//! three bad antennas in the wrong arm for a bad release. What *is* random is which device is in which arm, because a
//! hash that knows nothing of devices drew it. So the question at a device's first failure is not how likely the
//! failure was, but in which arm the device is: if the release does nothing, the device is drawn blindly from an urn of
//! those that have not failed yet, `t` treated among `t + c`. Under a release that makes failures `r` times as frequent
//! it is a treated one with probability `r t / (r t + c)`. The product of
//!
//! ```text
//! r (t + c) / (r t + c)  for a treated device,   (t + c) / (r t + c)  for one of the control
//! ```
//!
//! is Cox's partial likelihood ratio, and a martingale under "the release does nothing", whatever devices are like: by
//! Ville's inequality (1939) it reaches `1 / alpha` with probability `alpha` at most, *ever*, looked at as often as one
//! likes. This is the safe logrank test (ter Schure, Pérez-Ortiz, Ly and Grünwald, "The Anytime-Valid Logrank Test",
//! arXiv:2011.06931); drawing without replacement makes it exact by randomisation (Fisher) instead of by a model, at
//! any correlation within a device. A release that does good makes it a supermartingale.
//!
//! The price: a device tells once. Where beats fail often the first failures are soon used up, so a part of the stake
//! waits for the 4th and the 12th failure, in urns of their own. A weighted sum of martingales is one, so the
//! strategies share the stake, and no one has to know the ratio.
//!
//! Limits: an arm in which beats are due more often would fail more often: the caller takes one outcome a bucket and
//! round from either arm. With `t` treated of `n`, at most `C(n, t)` can be won, however bad it is: five of fifty are
//! enough.

use serde::{Deserialize, Serialize};

use super::nats::Nats;

/// Failures of one bucket at which it tells.
pub const LEVELS: [u8; 3] = [1, 4, 12];
/// How the stake is spread. Most is on what a canary is expected to show (99.90 % against 99.98 %), on first failures;
/// a share of `s` costs `ln (1/s)` of evidence, 10 % of it at 0.5.
pub const STRATEGIES: [Strategy; 5] = [
    Strategy { level: 1, ratio: DESIGN_RATIO, share: 0.72 },
    Strategy { level: 1, ratio: 25.0, share: 0.08 },
    Strategy { level: 1, ratio: 2.0, share: 0.08 },
    Strategy { level: 4, ratio: 5.0, share: 0.06 },
    Strategy { level: 12, ratio: 5.0, share: 0.06 },
];
/// Failures of a release that must not pass, as a multiple of the control's: (1 - 0.9990) / (1 - 0.9998).
pub const DESIGN_RATIO: f64 = 5.0;

/// A bet on devices of one level.
#[derive(Debug, Clone, Copy)]
pub struct Strategy {
    /// On the how-manieth failure.
    pub level: u8,
    /// How much more frequent failures are thought to be.
    pub ratio: f64,
    /// Part of the stake.
    pub share: f64,
}

/// One gate's evidence in one wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Urn {
    /// By level: treated and control buckets that have not told yet.
    left: [[u32; 2]; LEVELS.len()],
    /// Logarithm of what each strategy has.
    logs: [Nats; STRATEGIES.len()],
    /// Logarithm of the likelihood of [`DESIGN_RATIO`] over that of 1, from the wave's start.
    design: Nats,
    /// How many times as likely a treated bucket is drawn as one of the control, if the release does nothing.
    odds: Nats,
}

impl Urn {
    /// Of so many treated and control buckets. `stake` is what the gate may lose: the rest of the last wave's, and its
    /// part of the reserve.
    pub fn new(treated: u32, control: u32, stake: f64) -> Self {
        Self {
            left: [[treated, control]; LEVELS.len()],
            logs: STRATEGIES.map(|strategy| Nats::of(stake * strategy.share)),
            design: Nats::default(),
            odds: Nats::default(),
        }
    }

    /// Where nobody drew the arms, and the treated may fail up to so many times as often without being worse for it. The
    /// product stays a supermartingale at any ratio up to that, as its factors rise with the treated's part of the urn.
    #[must_use]
    pub fn with_odds(self, odds: f64) -> Self {
        Self { odds: Nats::of(odds), ..self }
    }

    /// One more bucket, of a device that is new.
    pub fn join(&mut self, is_treated: bool) {
        for left in &mut self.left {
            left[usize::from(!is_treated)] += 1;
        }
    }

    /// A bucket failed, for the `failures`-th time.
    pub fn fail(&mut self, is_treated: bool, failures: u8) {
        let Some(level) = LEVELS.iter().position(|level| *level == failures) else { return };
        let [treated, control] = self.left[level];
        let own = usize::from(!is_treated);
        if self.left[level][own] == 0 {
            return;
        }
        let weighed = f64::from(treated) * self.odds.ratio();
        let share = weighed / (weighed + f64::from(control));
        for (log, strategy) in self.logs.iter_mut().zip(&STRATEGIES).filter(|(_, one)| one.level == failures) {
            *log += step(strategy.ratio, share, is_treated);
        }
        if level == 0 {
            self.design += step(DESIGN_RATIO, share, is_treated);
        }
        self.left[level][own] -= 1;
    }

    /// What the stake has become: an e-value times the stake.
    pub fn capital(&self) -> f64 {
        self.logs.iter().map(|log| log.ratio()).sum()
    }

    /// Logarithm of how much likelier what was seen is under a release [`DESIGN_RATIO`] times as bad: far below zero,
    /// it is not that bad.
    pub fn design(&self) -> f64 {
        self.design.0
    }
}

/// Logarithm of the likelihood ratio of one draw.
fn step(ratio: f64, share_treated: f64, is_treated: bool) -> f64 {
    let all = 1.0 + (ratio - 1.0) * share_treated;
    if is_treated { ratio.ln() - all.ln() } else { -all.ln() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(treated: u32, control: u32, drawn: u32, urn: &Urn) -> f64 {
        if drawn == 0 || treated + control == 0 {
            return urn.capital();
        }
        let all = f64::from(treated + control);
        let one = |is_treated: bool, left: u32| {
            if left == 0 {
                return 0.0;
            }
            let mut next = urn.clone();
            next.fail(is_treated, 1);
            let rest = [treated - u32::from(is_treated), control - u32::from(!is_treated)];
            f64::from(left) / all * expectation(rest[0], rest[1], drawn - 1, &next)
        };
        one(true, treated) + one(false, control)
    }

    #[test]
    fn blind_draws_neither_win_nor_lose_whatever_the_urn() {
        for (treated, control, drawn) in [(1, 1, 2), (2, 5, 4), (5, 2, 7), (3, 9, 9), (7, 1, 8)] {
            let mean = expectation(treated, control, drawn, &Urn::new(treated, control, 0.5));
            assert!((mean - 0.5).abs() < 1e-9, "{treated} of {}: {mean}", treated + control);
        }
    }

    #[test]
    fn five_of_fifty_that_fail_alone_are_enough() {
        let mut urn = Urn::new(5, 45, 0.3);
        (0..5).for_each(|_| urn.fail(true, 1));
        assert!(urn.capital() > 1_000.0, "{}", urn.capital());
    }

    #[test]
    fn one_device_that_fails_for_ever_is_no_evidence() {
        let mut urn = Urn::new(50, 950, 0.5);
        (1..=255).for_each(|failures| urn.fail(true, failures));
        assert!(urn.capital() < 10.0, "{}", urn.capital());
    }

    #[test]
    fn draws_from_an_empty_urn_change_nothing() {
        let mut urn = Urn::new(0, 0, 0.5);
        let before = urn.clone();
        urn.fail(true, 1);
        urn.fail(false, 4);
        urn.fail(true, 0);
        assert_eq!(urn, before);
    }

    proptest::proptest! {
        #[test]
        fn capital_is_finite_and_never_negative(
            treated in 0_u32..200, control in 0_u32..200, drawn in proptest::collection::vec(proptest::bool::ANY, 0..500),
        ) {
            let mut urn = Urn::new(treated, control, 1e-3);
            for is_treated in drawn {
                urn.fail(is_treated, 1);
                proptest::prop_assert!(urn.capital().is_finite() && urn.capital() >= 0.0);
            }
        }
    }
}
