//! A gate of the operator's own: values of a query.
//!
//! With one value for each arm, only the sign is believed: a sample is *worse* or not, ties are not, and while the
//! release does nothing a sample is worse at most every other time. A bettor who stakes a part `f` of what he has on
//! *worse* has a martingale (Shafer and Vovk 2019, "Game-Theoretic Foundations for Probability and Finance"); half of
//! the stake bets 0.5, half 0.9. With a limit instead of a control, the operator's word is taken: three values beyond
//! it in a row.
//!
//! Limits: one sample a round counts, and values of consecutive rounds are taken as independent; a query over a long
//! window makes them not so, and two arms that differ by chance from the start look worse for ever. Its share of the
//! allowance bounds false stops only as far as that holds. A value that is missing three times in a row is an error.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::gate::Verdict;
use super::nats::Nats;

const BETS: [f64; 2] = [0.5, 0.9];
/// A release that must not pass is worse in so many of the samples.
const DESIGN_WORSE: f64 = 0.8;
/// Probability with which it passes anyway: 13 samples on average where both arms are alike, 4 where the new one is
/// better.
const MISSED: f64 = 0.05;
/// Values in a row, beyond a limit or missing.
const IN_A_ROW: u32 = 3;
/// Queries a rollout.
pub const METRICS_MAX: usize = 16;

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSpec {
    /// Its name in reports.
    pub name: Arc<str>,
    /// What is bad.
    pub bad: Bad,
}

/// When a sample is bad.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bad {
    /// The treated have more than so many times the control's.
    AboveControl(f64),
    /// The treated have less than so many times the control's.
    BelowControl(f64),
    /// The value is above this.
    Above(f64),
    /// The value is below this.
    Below(f64),
}

impl Bad {
    /// Whether it has a control; else it has a limit.
    pub fn is_compared(self) -> bool {
        matches!(self, Self::AboveControl(_) | Self::BelowControl(_))
    }
}

/// One evaluation of a query. `None`, infinite and NaN are a value that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Of the treated, or of all.
    pub treated: Option<f64>,
    /// Of the control, where it is compared.
    pub control: Option<f64>,
}

/// The evidence of one query in one wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricTrial {
    spec: MetricSpec,
    logs: [Nats; BETS.len()],
    /// Logarithm of the likelihood of one half over [`DESIGN_WORSE`].
    tolerable: Nats,
    bad_in_a_row: u32,
    good_in_a_row: u32,
    missing_in_a_row: u32,
    samples: u32,
    bad: u32,
    last_round: Option<u64>,
    last: Option<Sample>,
}

impl MetricTrial {
    /// With this stake.
    pub fn new(spec: MetricSpec, stake: f64) -> Self {
        let log = Nats::of(stake / BETS.len() as f64);
        Self {
            spec,
            logs: [log; BETS.len()],
            tolerable: Nats::default(),
            bad_in_a_row: 0,
            good_in_a_row: 0,
            missing_in_a_row: 0,
            samples: 0,
            bad: 0,
            last_round: None,
            last: None,
        }
    }

    /// One sample; a second one in the same round does not count.
    pub fn take(&mut self, round: u64, sample: Sample) {
        if self.last_round.replace(round) == Some(round) {
            return;
        }
        self.last = Some(sample);
        let Some(is_bad) = self.is_bad(sample) else {
            self.missing_in_a_row += 1;
            return;
        };
        self.missing_in_a_row = 0;
        self.samples += 1;
        self.bad += u32::from(is_bad);
        self.bad_in_a_row = if is_bad { self.bad_in_a_row + 1 } else { 0 };
        self.good_in_a_row = if is_bad { 0 } else { self.good_in_a_row + 1 };
        for (log, bet) in self.logs.iter_mut().zip(BETS) {
            *log += (1.0 + if is_bad { bet } else { -bet }).ln();
        }
        self.tolerable += (0.5 / if is_bad { DESIGN_WORSE } else { 1.0 - DESIGN_WORSE }).ln();
    }

    /// What the stake has become; what it was, where a limit and not a control is asked for.
    pub fn capital(&self) -> f64 {
        if self.spec.bad.is_compared() { self.logs.iter().map(|log| log.ratio()).sum() } else { 0.0 }
    }

    /// By itself: a comparison fails only by [`Self::capital`], together with all gates.
    pub fn verdict(&self) -> Verdict {
        let is_good =
            if self.spec.bad.is_compared() { self.tolerable.0 >= -MISSED.ln() } else { self.good_in_a_row >= IN_A_ROW };
        if self.missing_in_a_row >= IN_A_ROW {
            Verdict::Error
        } else if !self.spec.bad.is_compared() && self.bad_in_a_row >= IN_A_ROW {
            Verdict::Fail
        } else if is_good && self.missing_in_a_row == 0 {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }

    /// What is asked.
    pub fn spec(&self) -> &MetricSpec {
        &self.spec
    }

    /// Samples, and those that were bad.
    pub fn figures(&self) -> (u32, u32) {
        (self.samples, self.bad)
    }

    /// The latest sample.
    pub fn last(&self) -> Option<Sample> {
        self.last
    }

    fn is_bad(&self, sample: Sample) -> Option<bool> {
        let treated = sample.treated.filter(|value| value.is_finite())?;
        let control = sample.control.filter(|value| value.is_finite());
        match self.spec.bad {
            Bad::AboveControl(times) => control.map(|control| treated > control * times),
            Bad::BelowControl(times) => control.map(|control| treated < control * times),
            Bad::Above(limit) => Some(treated > limit),
            Bad::Below(limit) => Some(treated < limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(bad: Bad) -> MetricTrial {
        MetricTrial::new(MetricSpec { name: "errors".into(), bad }, 0.1)
    }

    fn fed(bad: Bad, samples: &[(f64, f64)]) -> MetricTrial {
        let mut trial = trial(bad);
        for (round, (treated, control)) in samples.iter().enumerate() {
            trial.take(round as u64, Sample { treated: Some(*treated), control: Some(*control) });
        }
        trial
    }

    #[test]
    fn a_query_that_is_worse_each_time_wins_more_than_a_rollout_may_lose() {
        let trial = fed(Bad::AboveControl(1.1), &[(2.0, 1.0); 17]);
        assert!(trial.capital() > 1_000.0, "{}", trial.capital());
        assert!(fed(Bad::BelowControl(1.0), &[(1.0, 2.0); 17]).capital() > 1_000.0);
    }

    #[test]
    fn a_tie_is_not_worse_and_passes() {
        let trial = fed(Bad::AboveControl(1.0), &[(1.0, 1.0); 5]);
        assert_eq!((trial.verdict(), trial.capital() < 0.1), (Verdict::Pass, true));
    }

    #[test]
    fn a_limit_is_the_operators_word() {
        assert_eq!(fed(Bad::Above(5.0), &[(6.0, 0.0); 2]).verdict(), Verdict::Inconclusive);
        assert_eq!(fed(Bad::Above(5.0), &[(6.0, 0.0); 3]).verdict(), Verdict::Fail);
        assert_eq!(fed(Bad::Below(5.0), &[(6.0, 0.0); 3]).verdict(), Verdict::Pass);
    }

    #[test]
    fn values_that_are_missing_are_an_error_and_never_a_pass() {
        let mut trial = trial(Bad::Above(5.0));
        assert_eq!(trial.verdict(), Verdict::Inconclusive);
        for round in 0..3 {
            trial.take(round, Sample { treated: Some(f64::NAN), control: None });
        }
        assert_eq!(trial.verdict(), Verdict::Error);
    }

    #[test]
    fn one_sample_a_round_counts() {
        let mut trial = trial(Bad::AboveControl(1.0));
        (0..100).for_each(|_| trial.take(3, Sample { treated: Some(2.0), control: Some(1.0) }));
        assert_eq!(trial.figures(), (1, 1));
    }
}
