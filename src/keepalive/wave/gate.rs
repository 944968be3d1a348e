//! One gate in one wave: what it counts, what it has seen of both arms, and whether that is enough.
//!
//! Two questions, two tests. *Is the release worse than the control?* is the [`Urn`]'s, and false alarms are bounded
//! for the rollout as a whole. *Is it good enough to go on?* is Wald's (1945, "Sequential Tests of Statistical
//! Hypotheses"): the likelihood ratio against a release that must not pass has to fall to [`MISSED`], for one of two
//! such releases: one whose failures are [`DESIGN_RATIO`](super::urn::DESIGN_RATIO) times the control's (first
//! failures, as in the urn), or one whose beats fail at the rate that is not tolerated ([`Gate::rates`]; all beats, as
//! Bernoulli trials), so that a cohort where nothing ever fails can pass. Without an outcome in both arms nothing
//! passes.
//!
//! Limits: the second question's absolute half takes beats as independent: a bad release whose failures sit in a few
//! devices of a large wave may pass it, and meets the next wave's gate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::nats::Nats;
use super::urn::{LEVELS, Urn};

/// Probability with which a wave passes a release that must not pass. It costs heartbeats: 0.01 some 9,600 of the
/// treated where 99.98 % are confirmed, 0.05 some 6,300.
pub const MISSED: f64 = 0.01;
/// Failures of one bucket that are told apart.
const FAILURES_MAX: u8 = LEVELS[LEVELS.len() - 1];

/// What a device's beats are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// `online_status_consistency_rate`: the device was where the registry says; a beat due came, and was confirmed.
    Consistency,
    /// `p99_heartbeat_gap_ms` as a ratio to the interval that was intended: a gap beyond what 99 of 100 are.
    Gap,
    /// A packet to the last address passed the NAT.
    Coverage,
}

/// What is said of a gate, and of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As good as the control, or good enough.
    Pass,
    /// Worse than the control.
    Fail,
    /// Not known yet.
    Inconclusive,
    /// What it asks for cannot be had.
    Error,
}

/// What one arm showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArmFigures {
    /// Outcomes, at most one a device and round.
    pub outcomes: u64,
    /// Of these, failures.
    pub failures: u64,
    /// Buckets (nearly: devices) that failed at least once.
    pub buckets_failed: u32,
}

/// The evidence of one gate in one wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    gate: Gate,
    urn: Urn,
    /// Of buckets that failed.
    failures: BTreeMap<u32, u8>,
    /// Logarithm of the likelihood of the tolerable rate over the intolerable one.
    tolerable: Nats,
    treated: ArmFigures,
    control: ArmFigures,
}

impl Gate {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Consistency, Self::Gap, Self::Coverage];

    /// Part of the rollout's allowance for false stops. The rest is for queries.
    pub const fn share(self) -> f64 {
        match self {
            Self::Consistency => 0.7,
            Self::Gap => 0.12,
            Self::Coverage => 0.08,
        }
    }

    /// Failures among outcomes: as they should be, and as they must not be.
    pub const fn rates(self) -> (f64, f64) {
        match self {
            Self::Consistency | Self::Coverage => (0.000_2, 0.001),
            Self::Gap => (0.01, 0.05),
        }
    }

    /// The name in logs, reports and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consistency => "online_status_consistency_rate",
            Self::Gap => "p99_heartbeat_gap_ms",
            Self::Coverage => "coverage",
        }
    }
}

impl Trial {
    /// With so many treated and control buckets, and this stake.
    pub fn new(gate: Gate, [treated, control]: [u32; 2], stake: f64) -> Self {
        Self {
            gate,
            urn: Urn::new(treated, control, stake),
            failures: BTreeMap::new(),
            tolerable: Nats::default(),
            treated: ArmFigures::default(),
            control: ArmFigures::default(),
        }
    }

    /// See [`Urn::with_odds`].
    #[must_use]
    pub fn with_odds(self, odds: f64) -> Self {
        Self { urn: self.urn.with_odds(odds), ..self }
    }

    /// One more bucket.
    pub fn join(&mut self, is_treated: bool) {
        self.urn.join(is_treated);
    }

    /// Beats that did not fail.
    pub fn succeed(&mut self, is_treated: bool, outcomes: u64) {
        self.arm(is_treated).outcomes += outcomes;
        if is_treated {
            let (good, bad) = self.gate.rates();
            self.tolerable += outcomes as f64 * ((1.0 - good) / (1.0 - bad)).ln();
        }
    }

    /// One that did.
    pub fn fail(&mut self, bucket: u32, is_treated: bool) {
        let count = self.failures.entry(bucket).or_default();
        *count = count.saturating_add(1);
        let (count, is_first) = (*count, *count == 1);
        let arm = self.arm(is_treated);
        arm.outcomes += 1;
        arm.failures += 1;
        arm.buckets_failed += u32::from(is_first);
        if is_treated {
            let (good, bad) = self.gate.rates();
            self.tolerable += (good / bad).ln();
        }
        if count <= FAILURES_MAX {
            self.urn.fail(is_treated, count);
        }
    }

    /// Whether it counts enough, in both arms, to say that the release is not one that must not pass.
    pub fn is_passed(&self) -> bool {
        let is_seen = self.treated.outcomes > 0 && self.control.outcomes > 0;
        is_seen && (self.urn.design() <= MISSED.ln() || self.tolerable.0 >= -MISSED.ln())
    }

    /// What the stake has become.
    pub fn capital(&self) -> f64 {
        self.urn.capital()
    }

    /// Which gate.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Of the treated, and of the control.
    pub fn figures(&self) -> (ArmFigures, ArmFigures) {
        (self.treated, self.control)
    }

    fn arm(&mut self, is_treated: bool) -> &mut ArmFigures {
        if is_treated { &mut self.treated } else { &mut self.control }
    }
}

impl ArmFigures {
    /// Part of the outcomes that were no failures; `None` without one.
    pub fn ratio(&self) -> Option<f64> {
        (self.outcomes > 0).then(|| 1.0 - self.failures as f64 / self.outcomes as f64)
    }
}

impl Verdict {
    /// The name in logs and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial() -> Trial {
        Trial::new(Gate::Consistency, [50, 950], 0.5)
    }

    #[test]
    fn no_data_never_passes() {
        assert!(!trial().is_passed());
        let mut trial = trial();
        trial.succeed(true, 1_000_000);
        assert!(!trial.is_passed(), "there is no control");
    }

    #[test]
    fn a_cohort_where_nothing_fails_passes_after_five_thousand_beats() {
        let mut trial = trial();
        trial.succeed(false, 100_000);
        trial.succeed(true, 5_700);
        assert!(!trial.is_passed());
        trial.succeed(true, 100);
        assert!(trial.is_passed());
    }

    #[test]
    fn a_lossy_cohort_passes_by_its_control() {
        let mut trial = trial();
        // Every twentieth bucket that fails is a treated one, as the urn has them.
        for bucket in 0..60 {
            trial.fail(bucket, bucket % 20 == 0);
        }
        assert!(trial.is_passed() && trial.capital() < 1.0, "{trial:?}");
    }

    #[test]
    fn failures_beyond_the_last_level_are_counted_and_tell_nothing() {
        let mut trial = trial();
        (0..1_000).for_each(|_| trial.fail(7, true));
        let (treated, _) = trial.figures();
        assert_eq!(treated, ArmFigures { outcomes: 1_000, failures: 1_000, buckets_failed: 1 });
        assert!(trial.capital() < 10.0);
    }
}
