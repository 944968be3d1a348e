//! One wave being judged: its rounds, its gates, and the verdict on all of them together.
//!
//! A round is as long as the longest wait under the *new* interval, and a bucket tells once in each: a device with the
//! old interval beats more often, and must not have more chances to fail. Which of its beats tells is drawn too: in
//! each round a bucket is called at a random moment, and tells with the next beat. Were it the first one of the round,
//! those with the old interval would tell earlier in it, and an outage of seconds late in the round would befall the
//! treated alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audit::{GateReport, Why};
use super::buckets::Buckets;
use super::control::ControlWatch;
use super::gaps::Gaps;
use super::gate::{ArmFigures, Gate, Trial, Verdict};
use super::metric::{MetricTrial, Sample};
use super::nats::Nats;
use super::spec::Evidence;
use super::stake::{Gates, STOP, reserve};

/// Part of the treated outcomes that have to be those of devices that confirmed the new interval. At 0.8 a release five
/// times as bad still looks more than four times as bad.
const ADOPTED_MIN: f64 = 0.8;

/// Longest waits after a wave began in which nothing counts: one until a device hears of it, one until its first wait
/// under the new interval is over.
const SETTLE_ROUNDS: u64 = 2;
/// Beyond this no jitter is added: the wire says 6,553.5 s at most.
const INTERVAL_MAX: Duration = Duration::from_secs(7_000);

/// One outcome of a bucket: what is `None` was not seen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Outcome {
    pub(super) is_missed: Option<bool>,
    pub(super) gap_ratio: Option<f32>,
    pub(super) is_reached: Option<bool>,
    pub(super) has_adopted: bool,
}

/// A wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stage {
    pub(super) wave: usize,
    pub(super) began_ms: i64,
    /// See [`Beginning::odds`].
    odds: Nats,
    round: u64,
    /// That told when they were called in this round, and in the one before.
    told: Buckets,
    told_before: Buckets,
    is_told: bool,
    /// Rounds in which treated devices told something.
    pub(super) rounds_told: u32,
    /// Outcomes of treated devices, and those of devices that have the new interval.
    adopted: [u64; 2],
    trials: Vec<Trial>,
    queries: Vec<MetricTrial>,
    gaps: Gaps,
    pub(super) control: ControlWatch,
}

/// What a wave begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beginning {
    pub(super) wave: usize,
    pub(super) waves: usize,
    pub(super) at_ms: i64,
    /// Treated and control buckets that are not empty.
    pub(super) population: [u32; 2],
    /// Failures of the control that are usual.
    pub(super) usual: f64,
    /// How many times as often the treated may fail as the control without being worse for it: 1 where a hash drew them.
    pub(super) odds: f64,
}

impl Outcome {
    /// One of the beats, by a uniform draw where there are several: each device has one chance to fail a round.
    pub(super) fn drawn(evidence: &Evidence, draw: f64) -> Self {
        let missed = evidence.due.saturating_sub(evidence.confirmed);
        let is_missed = (evidence.due > 0).then(|| draw * f64::from(evidence.due) < f64::from(missed));
        let gap_ratio = evidence.gap_ratio.filter(|ratio| ratio.is_finite() && *ratio >= 0.0);
        Self { is_missed, gap_ratio, is_reached: evidence.is_reached, has_adopted: evidence.has_adopted }
    }
}

/// How long a round is: a device with this interval beats at least once in it.
pub(super) fn longest_wait(interval: Duration, jitter: f64) -> Duration {
    let part = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
    let added = interval.min(INTERVAL_MAX).mul_f64(part);
    interval.saturating_add(added).max(Duration::from_millis(1))
}

impl Stage {
    /// Goes on with what `before` left.
    pub(super) fn new(gates: &Gates, beginning: Beginning, before: Option<&Self>) -> Self {
        let is_again = before.is_some_and(|before| before.wave == beginning.wave);
        let reserve = if is_again { 0.0 } else { reserve(beginning.wave, beginning.waves) };
        let kept = |share: f64, left: Option<f64>| left.unwrap_or(0.0) + share * reserve;
        let trials = gates.devices.iter().enumerate().map(|(at, gate)| {
            let left = before.and_then(|before| before.trials.get(at)).map(Trial::capital);
            Trial::new(*gate, beginning.population, kept(gates.share(*gate), left)).with_odds(beginning.odds)
        });
        let queries = gates.queries.iter().enumerate().map(|(at, spec)| {
            let left = before.and_then(|before| before.queries.get(at)).map(MetricTrial::capital);
            MetricTrial::new(spec.clone(), kept(gates.share_of_a_query(), left))
        });
        Self {
            wave: beginning.wave,
            began_ms: beginning.at_ms,
            odds: Nats::of(beginning.odds),
            round: 0,
            told: Buckets::default(),
            told_before: Buckets::default(),
            is_told: false,
            rounds_told: 0,
            adopted: [0; 2],
            trials: trials.collect(),
            queries: queries.collect(),
            gaps: Gaps::new(before.and_then(|before| before.gaps.limit())),
            control: before
                .map_or_else(|| ControlWatch::new(beginning.usual), |before| before.control.clone())
                .begin(beginning.population[1]),
        }
    }

    /// The round that it is then, where outcomes count, and the part of it that has passed; ends those before.
    pub(super) fn round_at(&mut self, now_ms: i64, length: Duration) -> Option<(u64, f64)> {
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
        let held = self.held_ms(now_ms);
        let round = (held / length).checked_sub(SETTLE_ROUNDS)?;
        self.enter(round);
        Some((round, (held % length) as f64 / length as f64))
    }

    /// See [`Beginning::odds`].
    pub(super) fn odds(&self) -> f64 {
        self.odds.ratio()
    }

    /// Since the wave began.
    pub(super) fn held_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms.saturating_sub(self.began_ms)).unwrap_or(0)
    }

    /// What a gate has seen of the treated, and of the control.
    pub(super) fn figures(&self, gate: Gate) -> Option<(ArmFigures, ArmFigures)> {
        self.trials.iter().find(|trial| trial.gate() == gate).map(Trial::figures)
    }

    /// Ends the rounds before this one.
    fn enter(&mut self, round: u64) {
        if round <= self.round {
            return;
        }
        let is_next = round == self.round + 1;
        self.round = round;
        self.rounds_told += u32::from(std::mem::take(&mut self.is_told));
        std::mem::swap(&mut self.told, &mut self.told_before);
        self.told.clear();
        if !is_next {
            self.told_before.clear();
        }
        self.control.end_round();
        self.gaps.calibrate();
    }

    /// One more bucket.
    pub(super) fn join(&mut self, is_treated: bool) {
        self.trials.iter_mut().for_each(|trial| trial.join(is_treated));
    }

    /// Whether a bucket is to tell. `is_called` says whether the moment of its call in this round has passed; before
    /// it, the call of the last round still stands, where there was one and nothing was told.
    pub(super) fn is_asked(&mut self, bucket: u32, is_called: bool) -> bool {
        if is_called { self.told.insert(bucket) } else { self.round > 0 && self.told_before.insert(bucket) }
    }

    /// What a bucket showed; whether something failed.
    pub(super) fn take(&mut self, bucket: u32, is_treated: bool, outcome: Outcome) -> bool {
        let limit = self.gaps.limit();
        if let Some(ratio) = outcome.gap_ratio {
            self.gaps.take(is_treated, ratio, 1);
        }
        let mut has_failed = false;
        for trial in &mut self.trials {
            let is_failure = match trial.gate() {
                Gate::Consistency => outcome.is_missed,
                Gate::Gap => limit.zip(outcome.gap_ratio).map(|(limit, ratio)| ratio > limit),
                Gate::Coverage => outcome.is_reached.map(|is_reached| !is_reached),
            };
            match is_failure {
                Some(true) => trial.fail(bucket, is_treated),
                Some(false) => trial.succeed(is_treated, 1),
                None => {}
            }
            has_failed |= is_failure == Some(true);
        }
        if is_treated {
            self.is_told = true;
            self.adopted[0] += 1;
            self.adopted[1] += u64::from(outcome.has_adopted);
        }
        if !is_treated && let Some(is_missed) = outcome.is_missed {
            self.control.take(1, u32::from(is_missed));
        }
        has_failed
    }

    /// Many buckets at once of which nothing failed, each with this gap: for simulations, where most devices are alike.
    pub(super) fn succeed(&mut self, is_treated: bool, buckets: u32, gap_ratio: f32) {
        let has_limit = self.gaps.limit().is_some();
        self.gaps.take(is_treated, gap_ratio, buckets);
        for trial in self.trials.iter_mut().filter(|trial| trial.gate() != Gate::Gap || has_limit) {
            trial.succeed(is_treated, u64::from(buckets));
        }
        if is_treated {
            self.is_told |= buckets > 0;
            self.adopted = self.adopted.map(|outcomes| outcomes + u64::from(buckets));
        } else {
            self.control.take(buckets, 0);
        }
    }

    /// A sample of the query in this place.
    pub(super) fn sample(&mut self, query: usize, sample: Sample) {
        if let Some(trial) = self.queries.get_mut(query) {
            trial.take(self.round, sample);
        }
    }

    /// All gates together, and which one decides it.
    pub(super) fn verdict(&self) -> (Verdict, Why) {
        let reports = || self.reports().into_iter();
        if let Some(failed) = reports().find(|report| report.verdict() == Verdict::Fail) {
            return (Verdict::Fail, Why::Failed(failed.name()));
        }
        if self.is_failed() {
            let most = reports().max_by(|a, b| a.evidence().total_cmp(&b.evidence()));
            return (Verdict::Fail, Why::Failed(most.map_or_else(|| "".into(), |report| report.name())));
        }
        if let Some(error) = reports().find(|report| report.verdict() == Verdict::Error) {
            return (Verdict::Error, Why::NoValue(error.name()));
        }
        match reports().find(|report| report.verdict() != Verdict::Pass) {
            Some(open) => (Verdict::Inconclusive, Why::Undecided(open.name())),
            None if self.trials.is_empty() => (Verdict::Inconclusive, Why::Undecided("".into())),
            None if (self.adopted[1] as f64) < ADOPTED_MIN * self.adopted[0] as f64 => {
                (Verdict::Inconclusive, Why::NotAdopted)
            }
            None => (Verdict::Pass, Why::Passed),
        }
    }

    /// Whether the verdict is `fail`, without saying why.
    pub(super) fn is_failed(&self) -> bool {
        self.capital() >= STOP || self.queries.iter().any(|query| query.verdict() == Verdict::Fail)
    }

    /// What all have together of the rollout's stake of 1.
    pub(super) fn capital(&self) -> f64 {
        let devices: f64 = self.trials.iter().map(Trial::capital).sum();
        devices + self.queries.iter().map(MetricTrial::capital).sum::<f64>()
    }

    /// What each gate shows.
    pub(super) fn reports(&self) -> Vec<GateReport> {
        let devices = self.trials.iter().map(|trial| self.report(trial));
        devices.chain(self.queries.iter().map(query_report)).collect()
    }

    fn report(&self, trial: &Trial) -> GateReport {
        let (treated, control) = trial.figures();
        let evidence = trial.capital();
        let verdict = match (evidence >= STOP, trial.is_passed()) {
            (true, _) => Verdict::Fail,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Inconclusive,
        };
        let gap_ratio_p99 = (trial.gate() == Gate::Gap).then(|| self.gaps.p99()).flatten();
        GateReport::Devices { gate: trial.gate(), verdict, treated, control, evidence, gap_ratio_p99 }
    }
}

fn query_report(trial: &MetricTrial) -> GateReport {
    let (samples, bad) = trial.figures();
    GateReport::Query {
        spec: trial.spec().clone(),
        verdict: trial.verdict(),
        samples,
        bad,
        last: trial.last(),
        evidence: trial.capital(),
    }
}
