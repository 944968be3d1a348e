//! What part of its service an instance usually is.

use std::time::Duration;

use super::{LocalLimitSettings, with_noise};

/// The part is learnt in steps of at least this: shorter ones are all noise.
const STEP: Duration = Duration::from_secs(1);
/// A part that stands on fewer root spans is not known.
const ROOTS_MIN: f64 = 20.0;
/// The first part is the greatest of so many means: who starts slowly must not be limited by its start.
const MEANS: u32 = 3;

/// What a step is judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// Of the whole service, traces/s.
    pub(super) expected: f64,
    /// Traces that a root span is worth.
    pub(super) grain: f64,
    pub(super) is_followed: bool,
    pub(super) settings: LocalLimitSettings,
}

/// Its own traces/s over those that are expected of the whole service.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnPart {
    known: Option<f64>,
    trial: Option<Trial>,
    step_since: Duration,
    step_traces: f64,
    /// For how long the rate has been above the usual while the controller could see it.
    above_for: Duration,
}

/// What is seen until the part is known.
#[derive(Debug, Clone, Copy, Default)]
struct Trial {
    length: Duration,
    roots: f64,
    mean_length: Duration,
    /// Parts of the service times seconds.
    mean_sum: f64,
    greatest: f64,
}

impl OwnPart {
    pub(super) fn known(&self) -> Option<f64> {
        self.known
    }

    /// What came before belongs to another strategy.
    pub(super) fn start_step(&mut self, now: Duration) {
        (self.step_since, self.step_traces) = (now, 0.0);
    }

    pub(super) fn add(&mut self, now: Duration, traces: f64, around: Surroundings) {
        self.step_traces += traces;
        let length = now.saturating_sub(self.step_since);
        if length < STEP {
            return;
        }
        let rate = self.step_traces / length.as_secs_f64();
        self.start_step(now);
        if length > around.settings.time_constant {
            *self = Self { step_since: now, ..Self::default() };
        } else if let Some(part) = self.known {
            self.known = self.follow(part, rate, length, around);
        } else {
            self.attempt(rate, length, around);
        }
    }

    /// One step of the moving average, or `None` where too little is left to stand on.
    fn follow(&mut self, part: f64, rate: f64, length: Duration, around: Surroundings) -> Option<f64> {
        let Surroundings { expected, grain, settings, .. } = around;
        let usual = part * expected;
        let high = with_noise(settings.k * usual, grain, length);
        let low = usual / settings.k - (high - settings.k * usual);
        self.note(rate > high, length, around.is_followed);
        let is_usual = around.is_followed && self.above_for > settings.patience;
        let believed = if is_usual { rate } else { rate.min(high) }.max(low);
        let weight = 1.0 - (-length.as_secs_f64() / settings.time_constant.as_secs_f64()).exp();
        let next = part + (believed / expected - part) * weight;
        let roots = next * expected * settings.time_constant.as_secs_f64() / grain;
        (roots >= ROOTS_MIN).then_some(next)
    }

    fn note(&mut self, is_above: bool, length: Duration, is_followed: bool) {
        if !is_above {
            self.above_for = Duration::ZERO;
        } else if is_followed {
            self.above_for += length;
        }
    }

    /// A step towards the first part. Starts with the first root span.
    fn attempt(&mut self, rate: f64, length: Duration, around: Surroundings) {
        if self.trial.is_none() && rate == 0.0 {
            return;
        }
        let trial = self.trial.get_or_insert_default();
        trial.add(rate, length, around);
        if trial.length < around.settings.learning || !trial.mean_length.is_zero() {
            return;
        }
        self.known = (trial.roots >= ROOTS_MIN).then_some(trial.greatest);
        self.trial = None;
        self.above_for = Duration::ZERO;
    }
}

impl Trial {
    fn add(&mut self, rate: f64, length: Duration, around: Surroundings) {
        let seconds = length.as_secs_f64();
        self.length += length;
        self.roots += if around.grain > 0.0 { rate * seconds / around.grain } else { 0.0 };
        self.mean_length += length;
        self.mean_sum += rate / around.expected * seconds;
        if self.mean_length * MEANS >= around.settings.learning {
            self.close_mean(around);
        }
    }

    /// A load that still rises is no usual one: the trial starts again with it.
    fn close_mean(&mut self, around: Surroundings) {
        let mean = self.mean_sum / self.mean_length.as_secs_f64();
        let is_first = self.mean_length == self.length;
        let high = with_noise(around.settings.k * self.greatest * around.expected, around.grain, self.mean_length);
        if !is_first && mean * around.expected > high {
            self.length = self.mean_length;
            self.roots = self.mean_sum * around.expected / around.grain;
        }
        self.greatest = self.greatest.max(mean);
        (self.mean_length, self.mean_sum) = (Duration::ZERO, 0.0);
    }
}
