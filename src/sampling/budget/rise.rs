//! Upwards: slow start doubles until the first loss; later the budget returns to just under the last known capacity, rests
//! there, and probes beyond it slowly, as congestion control does. A failed probe stretches the next rest.

use std::time::Duration;

use super::futile::Trial;
use super::{BudgetLoop, Limits, PROBED, Phase, Pipeline, Track};
use crate::sampling::decision::BudgetReason;
use crate::sampling::effect::{Adoption, Visibility};
use crate::time::{MonoTime, Tick};

/// Rise back to the last known capacity, as a share of it, for each second.
const RETURN_PER_SECOND: f64 = 0.002;
/// Rise beyond the last known capacity, as a share of it, for each second. The overshoot when the loss is seen is about
/// sqrt(2 g Q) for a rise of g a second and a backend queue of Q seconds: 1.4 % for Q = 1 s.
const PROBE_PER_SECOND: f64 = 0.0001;
/// The same while the capacity is known from one interval only, in which loss began: 2 % for Q = 1 s, once.
const ROUGH_PROBE_PER_SECOND: f64 = 0.0002;
/// Where a probe has gone this far beyond the capacity that loss last showed, the capacity has grown, and the probe
/// hastens by this factor for each further whole of it.
const GROWN: f64 = 1.03;
const HASTE: f64 = 50.0;
/// No probe is faster: 3.5 % for Q = 1 s.
const PACE_MAX: f64 = 0.0006;
/// Largest rise of the budget while one command is adopted: what is on its way adds to the overshoot.
const RISE_PER_ADOPTION: f64 = 0.0015;
/// Adoption that is reckoned with until it is learnt: clients that poll once a minute.
const UNLEARNT_ADOPTION: Duration = Duration::from_secs(60);
/// First rest before a probe.
const REST: Duration = Duration::from_secs(60);
/// Rest before a probe while the capacity is known roughly.
pub(super) const ROUGH_REST: Duration = Duration::from_secs(15);
/// How much a failed probe stretches the next rest.
const REST_STRETCH: f64 = 1.5;
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(5 * 60);
/// Slow start multiplies by this with each adopted command.
const SLOW_START: f64 = 2.0;
/// The budget is not raised while less of it than this is used.
const USED_MIN: f64 = 0.85;
/// Nor probed while less than this arrives: what nobody sends proves nothing.
const PROBE_USED_MIN: f64 = 0.955;

impl BudgetLoop {
    /// A probe that failed stretches the rest before the next; a capacity that changed by itself may change again.
    pub(super) fn next_rest(&self) -> Duration {
        match self.phase {
            Phase::Tracking(track) if self.reason == BudgetReason::Probing => {
                track.rest.max(REST).mul_f64(REST_STRETCH).min(REST_MAX)
            }
            _ => REST,
        }
    }

    /// A little loss, and the probe caused it: the capacity is found.
    pub(super) fn end_probe(&mut self, now: Tick, seen: &Pipeline, limits: &Limits) {
        // Chance loses a little too, where the backend has no queue: that much must not lower what is known.
        let known = match self.phase {
            Phase::Tracking(track) => track.capacity,
            Phase::SlowStart => 0.0,
        };
        let capacity = known.max(PROBED * self.accepted(seen));
        let rest = self.next_rest();
        self.phase =
            Phase::Tracking(Track { capacity, confirmed: capacity, is_rough: false, rest, rested_since: now.mono });
        self.spans_per_second = Some(limits.under(capacity));
        self.reason = BudgetReason::Holding;
    }

    pub(super) fn on_quiet(&mut self, now: Tick, seen: &Pipeline, limits: &Limits, elapsed: Duration) {
        self.run.end(seen.received);
        if seen.visibility == Visibility::Before {
            return;
        }
        self.last_cut = None;
        self.before_cuts = None;
        self.trial = Trial::default();
        self.belief.meet(seen.loss_ratio, limits.loss_target);
        if self.reason == BudgetReason::LossNotLoad && self.belief.unavoidable_loss <= limits.loss_target {
            self.reason = match self.phase {
                Phase::SlowStart => BudgetReason::SlowStart,
                Phase::Tracking(_) => BudgetReason::Holding,
            };
        }
        if seen.visibility.is_visible() && seen.may_rise {
            self.rise(now, seen, limits, elapsed);
        }
    }

    fn rise(&mut self, now: Tick, seen: &Pipeline, limits: &Limits, elapsed: Duration) {
        let Some(budget) = self.spans_per_second else {
            // The first measurement: what flows now, without loss, is the ground to double from.
            self.spans_per_second = Some(seen.received.max(limits.budget.min));
            self.reason = BudgetReason::SlowStart;
            return;
        };
        if !seen.is_wanted || seen.received.max(seen.expected) < USED_MIN * budget {
            return;
        }
        match self.phase {
            Phase::SlowStart => {
                self.spans_per_second = Some(budget.max(SLOW_START * seen.received));
                if self.reason != BudgetReason::LossNotLoad {
                    self.reason = BudgetReason::SlowStart;
                }
            }
            Phase::Tracking(mut track) => {
                self.climb(now, seen, limits, elapsed, &mut track);
                self.phase = Phase::Tracking(track);
            }
        }
    }

    fn climb(&mut self, now: Tick, seen: &Pipeline, limits: &Limits, elapsed: Duration, track: &mut Track) {
        let budget = self.spans_per_second.unwrap_or(track.capacity);
        let under = limits.under(track.capacity);
        if budget < under {
            let step = RETURN_PER_SECOND * elapsed.as_secs_f64() * track.capacity;
            self.spans_per_second = Some((budget + step).min(under));
            self.reason = BudgetReason::Holding;
            track.rested_since = now.mono;
        } else if now.mono.since(track.rested_since) < track.rest {
            self.reason = limits.resting_reason(budget);
        } else if seen.received >= PROBE_USED_MIN * budget {
            let step = track.pace(budget, seen.adoption) * elapsed.as_secs_f64() * track.capacity;
            self.spans_per_second = Some(budget + step);
            self.reason = limits.probing_reason(budget);
            // More than the known capacity arrived and nothing was lost: the capacity is at least that. What arrived
            // beyond the budget may be a counter that jumped.
            let proven = seen.received.min(budget);
            if limits.under(proven) > track.capacity {
                track.capacity = proven;
            }
        }
    }
}

impl Track {
    pub(super) fn known(capacity: f64, now: MonoTime) -> Self {
        Self { capacity, confirmed: capacity, is_rough: false, rest: REST, rested_since: now }
    }

    /// Rise of a probe for each second, as a share of the capacity.
    fn pace(&self, budget: f64, adoption: Option<Adoption>) -> f64 {
        let base = if self.is_rough { ROUGH_PROBE_PER_SECOND } else { PROBE_PER_SECOND };
        let grown = (budget / self.confirmed - GROWN).max(0.0);
        let pace = (base * (1.0 + HASTE * grown)).min(PACE_MAX);
        match adoption {
            Some(Adoption::Prompt) => pace,
            Some(Adoption::Within(time)) => pace.min(RISE_PER_ADOPTION / time.as_secs_f64().max(1.0)),
            None => pace.min(RISE_PER_ADOPTION / UNLEARNT_ADOPTION.as_secs_f64()),
        }
    }
}
