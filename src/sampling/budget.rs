//! How many spans a second the roots may cause: as configured, or as the backend can bear.
//!
//! Nobody tells the capacity, but loss does: while spans are lost, what the backend *accepted* is its capacity, measured.
//! So the cut is absolute, to just under what was accepted, and cutting again on the same facts changes nothing. What
//! must not happen is to cut on facts from before the last cut, or to rise before the last command shows in the data.
//! Upwards there is no such measurement: slow start doubles until the first loss; later the budget returns to just under
//! the last known capacity, rests there, and probes beyond it slowly, as congestion control does. A failed probe
//! stretches the next rest.
//!
//! Loss that does not depend on load (a broken exporter, say) would ratchet the budget to its floor. Two cuts that did
//! lower the load and did not lower the loss in proportion end that: the loss is taken as unavoidable, the budget
//! returns, and only loss above it counts.

use std::time::Duration;

use super::decision::BudgetReason;
use super::effect::Visibility;
use super::policy;
use super::traffic::Interval;
use crate::time::{MonoTime, Tick, WallTime};

/// Rise back to the last known capacity, as a share of it, for each second.
const RETURN_PER_SECOND: f64 = 0.002;
/// Rise beyond the last known capacity, as a share of it, for each second. The overshoot when the loss is seen is about
/// sqrt(2 g Q) for a rise of g a second and a backend queue of Q seconds: 2 % for Q = 1 s.
const PROBE_PER_SECOND: f64 = 0.0002;
/// First rest before a probe.
const REST: Duration = Duration::from_secs(60);
/// How much a failed probe stretches the next rest.
const REST_STRETCH: f64 = 1.5;
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(20 * 60);
/// Longest time that one tick's rise accounts for: after a pause there is no jump.
const STEP_MAX: Duration = Duration::from_secs(15);
/// Slow start multiplies by this with each adopted command.
const SLOW_START: f64 = 2.0;
/// The budget is not raised while less of it than this is used: a probe that nobody drives proves nothing.
const USED_MIN: f64 = 0.85;
/// Cuts without a proportional fall in loss that end the cutting.
const FUTILE_CUTS: u32 = 2;
/// "In proportion": a cut under the capacity should end the loss; one that leaves this share of it was in vain.
const FUTILE_REMAINS: f64 = 0.5;

/// What one fresh tick saw of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pipeline {
    /// When it was measured.
    pub over: Interval,
    /// Spans/s offered.
    pub received: f64,
    /// Lost share of it.
    pub loss_ratio: f64,
    /// Whether the last command shows in it.
    pub visibility: Visibility,
    /// Spans/s that the served probabilities should cause; what is used of the budget.
    pub expected: f64,
    /// Whether more budget would raise any probability.
    pub is_wanted: bool,
    /// Whether anything forbids rises.
    pub may_rise: bool,
}

/// The budget of one policy over time.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetLoop {
    spans_per_second: Option<f64>,
    phase: Phase,
    reason: BudgetReason,
    last_cut: Option<Cut>,
    futile_cuts: u32,
    /// What to return to when cutting proves to be in vain.
    before_cuts: Option<(f64, Phase)>,
    unavoidable_loss: f64,
    stepped_at: MonoTime,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// No loss was ever seen.
    SlowStart,
    /// A capacity is known.
    Tracking { capacity: f64, rest: Duration, rested_since: MonoTime },
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Cut {
    at: WallTime,
    loss_ratio: f64,
    received: f64,
}

impl BudgetLoop {
    /// A configured budget, or none until something is measured.
    pub fn new(now: Tick, budget: &policy::Budget) -> Self {
        let configured = budget.spans_per_second.map(|b| b.clamp(budget.min, budget.max));
        let (phase, reason) = match configured {
            Some(capacity) => (Phase::tracking(capacity, now.mono), BudgetReason::Configured),
            None => (Phase::SlowStart, BudgetReason::None),
        };
        Self {
            spans_per_second: configured,
            phase,
            reason,
            last_cut: None,
            futile_cuts: 0,
            before_cuts: None,
            unavoidable_loss: 0.0,
            stepped_at: now.mono,
        }
    }

    /// Takes up what an earlier process knew: a budget, and the capacity if loss ever showed it. What was known under
    /// another configured number says nothing of this one.
    pub fn restore(&mut self, now: Tick, budget: &policy::Budget, memory: BudgetMemory) {
        if memory.configured != budget.spans_per_second {
            return;
        }
        let Some(spans_per_second) = memory.spans_per_second.filter(|b| b.is_finite() && *b > 0.0) else { return };
        self.spans_per_second = Some(clamp(spans_per_second, budget));
        if let Some(capacity) = memory.capacity.filter(|c| c.is_finite() && *c > 0.0) {
            self.phase = Phase::tracking(capacity, now.mono);
            let is_reached = budget.spans_per_second.is_some_and(|configured| spans_per_second >= configured);
            self.reason = if is_reached { BudgetReason::Configured } else { BudgetReason::Holding };
        }
    }

    /// What a later process needs to know; `budget` is the one in force.
    pub fn memory(&self, budget: &policy::Budget) -> BudgetMemory {
        let capacity = match self.phase {
            Phase::SlowStart => None,
            Phase::Tracking { capacity, .. } => Some(capacity),
        };
        BudgetMemory { configured: budget.spans_per_second, spans_per_second: self.spans_per_second, capacity }
    }

    /// Spans/s; `None` until something was measured.
    pub fn spans_per_second(&self) -> Option<f64> {
        self.spans_per_second
    }

    /// Why it is that.
    pub fn reason(&self) -> BudgetReason {
        self.reason
    }

    /// Takes one fresh tick's facts.
    pub fn step(&mut self, now: Tick, seen: &Pipeline, limits: &Limits) {
        let elapsed = now.mono.since(self.stepped_at).min(STEP_MAX);
        self.stepped_at = now.mono;
        if let Some(cut) = &mut self.last_cut {
            // A wall clock that went back would make every interval one from before the cut, for as long as it went.
            cut.at = cut.at.min(now.wall);
        }
        if seen.loss_ratio - self.unavoidable_loss > limits.loss_target {
            self.on_loss(now, seen, limits);
        } else {
            self.on_quiet(now, seen, limits, elapsed);
        }
        let cap = limits.budget.spans_per_second.unwrap_or(f64::INFINITY);
        self.spans_per_second = self.spans_per_second.map(|b| clamp(b.min(cap), &limits.budget));
    }

    fn on_loss(&mut self, now: Tick, seen: &Pipeline, limits: &Limits) {
        let accepted = seen.received * (1.0 - seen.loss_ratio) / (1.0 - self.unavoidable_loss).max(0.01);
        if self.last_cut.is_some_and(|cut| seen.over.from < cut.at) {
            return self.correct_upwards(now, accepted, limits);
        }
        if self.is_futile(seen) {
            self.futile_cuts += 1;
            if self.futile_cuts >= FUTILE_CUTS {
                return self.give_up_cutting(seen);
            }
        }
        self.cut(now, seen, accepted, limits);
    }

    /// The interval reaches back before the cut, whose cause explains the loss. But an onset interval mixes quiet time
    /// with loss and reads too low: a later one may show that more was accepted.
    fn correct_upwards(&mut self, now: Tick, accepted: f64, limits: &Limits) {
        if let Phase::Tracking { capacity, rest, .. } = self.phase
            && accepted > capacity
        {
            self.phase = Phase::Tracking { capacity: accepted, rest, rested_since: now.mono };
            self.spans_per_second = Some(limits.under(accepted));
        }
    }

    fn is_futile(&self, seen: &Pipeline) -> bool {
        self.last_cut.is_some_and(|cut| {
            let load_fell = seen.received < cut.received * (1.0 - 0.5 * cut.loss_ratio);
            load_fell && seen.loss_ratio > FUTILE_REMAINS * cut.loss_ratio
        })
    }

    fn give_up_cutting(&mut self, seen: &Pipeline) {
        if let Some((budget, phase)) = self.before_cuts.take() {
            self.spans_per_second = Some(budget);
            self.phase = phase;
        }
        self.unavoidable_loss = seen.loss_ratio;
        self.last_cut = None;
        self.futile_cuts = 0;
        self.reason = BudgetReason::LossNotLoad;
    }

    fn cut(&mut self, now: Tick, seen: &Pipeline, accepted: f64, limits: &Limits) {
        if self.last_cut.is_none() {
            // What was in force when the loss began: at most what was really offered.
            let offered = self.spans_per_second.unwrap_or(seen.received).min(seen.received.max(seen.expected));
            self.before_cuts = Some((offered, self.phase));
        }
        let rest = match self.phase {
            Phase::SlowStart => REST,
            Phase::Tracking { rest, .. } if self.reason == BudgetReason::Probing => {
                rest.mul_f64(REST_STRETCH).min(REST_MAX)
            }
            Phase::Tracking { rest, .. } => rest,
        };
        self.phase = Phase::Tracking { capacity: accepted, rest, rested_since: now.mono };
        self.spans_per_second = Some(limits.under(accepted));
        self.last_cut = Some(Cut { at: now.wall, loss_ratio: seen.loss_ratio, received: seen.received });
        self.reason = BudgetReason::Cut;
    }

    fn on_quiet(&mut self, now: Tick, seen: &Pipeline, limits: &Limits, elapsed: Duration) {
        if seen.visibility == Visibility::Before {
            return;
        }
        self.last_cut = None;
        self.before_cuts = None;
        self.futile_cuts = 0;
        if seen.loss_ratio < FUTILE_REMAINS * self.unavoidable_loss {
            self.unavoidable_loss = seen.loss_ratio;
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
        let step = |per_second: f64, of: f64| of * per_second * elapsed.as_secs_f64();
        match self.phase {
            Phase::SlowStart => {
                self.spans_per_second = Some(budget.max(SLOW_START * seen.received));
                if self.reason != BudgetReason::LossNotLoad {
                    self.reason = BudgetReason::SlowStart;
                }
            }
            Phase::Tracking { capacity, .. } if budget < limits.under(capacity) => {
                self.spans_per_second = Some((budget + step(RETURN_PER_SECOND, capacity)).min(limits.under(capacity)));
                self.reason = BudgetReason::Holding;
                self.phase = self.phase.resting_from(now.mono);
            }
            Phase::Tracking { rest, rested_since, .. } if now.mono.since(rested_since) < rest => {
                self.reason = limits.resting_reason(budget);
            }
            Phase::Tracking { capacity, .. } => {
                self.spans_per_second = Some(budget + step(PROBE_PER_SECOND, capacity));
                self.reason = limits.probing_reason(budget);
                self.phase = self.phase.proven(seen.received, limits);
            }
        }
    }
}

impl Phase {
    fn tracking(capacity: f64, now: MonoTime) -> Self {
        Self::Tracking { capacity, rest: REST, rested_since: now }
    }

    fn resting_from(self, now: MonoTime) -> Self {
        match self {
            Self::Tracking { capacity, rest, .. } => Self::Tracking { capacity, rest, rested_since: now },
            Self::SlowStart => self,
        }
    }

    /// More than the known capacity arrived and nothing was lost: the capacity is at least that.
    fn proven(self, received: f64, limits: &Limits) -> Self {
        match self {
            Self::Tracking { capacity, rested_since, .. } if limits.under(received) > capacity => {
                Self::Tracking { capacity: received, rest: REST, rested_since }
            }
            _ => self,
        }
    }
}

/// The policy's numbers that bound a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Configured value and bounds.
    pub budget: policy::Budget,
    /// Tolerated loss.
    pub loss_target: f64,
    /// Share of a measured capacity to stay below.
    pub headroom: f64,
}

impl Limits {
    fn under(&self, capacity: f64) -> f64 {
        (1.0 - self.headroom) * capacity
    }

    fn resting_reason(&self, budget: f64) -> BudgetReason {
        if self.is_configured(budget) { BudgetReason::Configured } else { BudgetReason::Holding }
    }

    fn probing_reason(&self, budget: f64) -> BudgetReason {
        if self.is_configured(budget) { BudgetReason::Configured } else { BudgetReason::Probing }
    }

    fn is_configured(&self, budget: f64) -> bool {
        self.budget.spans_per_second.is_some_and(|configured| budget >= configured)
    }
}

fn clamp(spans_per_second: f64, budget: &policy::Budget) -> f64 {
    spans_per_second.clamp(budget.min, budget.max)
}

/// What survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct BudgetMemory {
    /// The policy's own number at that time; `None` = learnt.
    #[serde(default)]
    pub configured: Option<f64>,
    /// The budget in force.
    pub spans_per_second: Option<f64>,
    /// The capacity that loss showed.
    pub capacity: Option<f64>,
}
