//! How many spans a second the roots may cause: as configured, or as the backend can bear.
//!
//! Nobody tells the capacity, but loss does: while spans are lost, what the backend *accepted* is its capacity, measured
//! (see `cut`). Upwards there is no such measurement: the budget feels its way (see `rise`).

mod cut;
mod futile;
mod rise;

use std::time::Duration;

use self::futile::{Belief, Trial};
use crate::sampling::decision::BudgetReason;
use crate::sampling::effect::{Adoption, Visibility};
use crate::sampling::policy;
use crate::sampling::traffic::Interval;
use crate::time::{MonoTime, Tick, WallTime};

/// Longest time that one tick's rise accounts for: after a pause there is no jump.
const STEP_MAX: Duration = Duration::from_secs(15);
/// Load over the last one without loss that is taken for proven, before any loss was seen.
const PROVEN: f64 = 1.2;
/// What was accepted when a probe met the capacity, less what the queue took of it.
const PROBED: f64 = 0.985;
/// Share of the loss target that ends a probe.
const PROBE_LOSS: f64 = 0.1;
/// Relative fall of the load between two intervals from which a loss is its tail.
const MOVING: f64 = 0.1;

/// What one fresh tick saw of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pipeline {
    /// When it was measured.
    pub over: Interval,
    /// Spans/s offered.
    pub received: f64,
    /// Relative standard deviation of it by chance: traces come as they come, each with all its spans.
    pub noise: f64,
    /// Lost share of it.
    pub loss_ratio: f64,
    /// Whether the last command shows in it.
    pub visibility: Visibility,
    /// How fast clients adopt, once known.
    pub adoption: Option<Adoption>,
    /// Spans/s that the served probabilities should cause; what is used of the budget.
    pub expected: f64,
    /// Demand rose in it, more than by chance.
    pub is_surging: bool,
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
    run: Run,
    last_cut: Option<WallTime>,
    trial: Trial,
    belief: Belief,
    /// What to return to when cutting proves to be in vain.
    before_cuts: Option<(f64, Phase)>,
    stepped_at: MonoTime,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// No loss was ever seen.
    SlowStart,
    /// A capacity is known.
    Tracking(Track),
}

/// What is known of a capacity.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Track {
    capacity: f64,
    /// What loss last showed it to be.
    confirmed: f64,
    /// From one interval in which the loss began.
    is_rough: bool,
    rest: Duration,
    rested_since: MonoTime,
}

/// Lossy intervals in a row, and what came before the newest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Run {
    over: Option<Interval>,
    length: u32,
    /// When its first interval ended.
    lossy_since: WallTime,
    /// Its newest interval began where the one before it ended, or earlier.
    is_joined: bool,
    /// What was accepted in its first interval.
    first: f64,
    /// The load moved in the interval before.
    was_moving: bool,
    /// The cut on its first interval reached further than what was accepted.
    is_led: bool,
    /// What was accepted in the last interval but its first, and the most of that and the one before.
    accepted: f64,
    most: f64,
    /// Spans/s received in the interval before.
    received_before: f64,
    /// Spans/s received in the last interval without loss.
    quiet: f64,
}

impl BudgetLoop {
    /// A configured budget, or none until something is measured.
    pub fn new(now: Tick, budget: &policy::Budget) -> Self {
        let configured = budget.spans_per_second.map(|b| b.clamp(budget.min, budget.max));
        let (phase, reason) = match configured {
            Some(capacity) => (Phase::Tracking(Track::known(capacity, now.mono)), BudgetReason::Configured),
            None => (Phase::SlowStart, BudgetReason::None),
        };
        Self {
            spans_per_second: configured,
            phase,
            reason,
            run: Run::default(),
            last_cut: None,
            trial: Trial::default(),
            before_cuts: None,
            belief: Belief::default(),
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
            self.phase = Phase::Tracking(Track::known(capacity, now.mono));
            let is_reached = budget.spans_per_second.is_some_and(|configured| spans_per_second >= configured);
            self.reason = if is_reached { BudgetReason::Configured } else { BudgetReason::Holding };
        }
    }

    /// What a later process needs to know; `budget` is the one in force.
    pub fn memory(&self, budget: &policy::Budget) -> BudgetMemory {
        let capacity = match self.phase {
            Phase::SlowStart => None,
            Phase::Tracking(track) => Some(track.capacity),
        };
        BudgetMemory { configured: budget.spans_per_second, spans_per_second: self.spans_per_second, capacity }
    }

    /// Spans/s; `None` until something was measured.
    pub fn spans_per_second(&self) -> Option<f64> {
        self.spans_per_second
    }

    /// By how much of the budget the load may exceed it unheeded: what is left of the headroom, and no more than `most`
    /// of it. None under a configured budget, which is a promise, nor before a capacity is known.
    pub fn slack(&self, limits: &Limits, most: f64) -> f64 {
        let (Phase::Tracking(track), Some(budget)) = (self.phase, self.spans_per_second) else { return 0.0 };
        if limits.budget.spans_per_second.is_some() {
            return 0.0;
        }
        ((1.0 - most * limits.headroom) * track.capacity / budget - 1.0).clamp(0.0, most * limits.headroom)
    }

    /// What of the budget no load has proven: slow start reckons with a capacity that nobody has met.
    pub fn unproven(&self) -> f64 {
        match self.phase {
            Phase::SlowStart => (self.spans_per_second.unwrap_or(0.0) - PROVEN * self.run.quiet).max(0.0),
            Phase::Tracking(_) => 0.0,
        }
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
            *cut = (*cut).min(now.wall);
        }
        self.run.lossy_since = self.run.lossy_since.min(now.wall).min(seen.over.to);
        self.doubt(now, seen);
        if self.run.over != Some(seen.over) && std::mem::take(&mut self.run.is_led) {
            self.correct_lead(now, seen, limits);
        }
        let loss_ratio = seen.loss_ratio - self.belief.unavoidable_loss;
        if loss_ratio > limits.loss_target {
            self.on_loss(now, seen, limits);
        } else if self.reason == BudgetReason::Probing && loss_ratio > PROBE_LOSS * limits.loss_target {
            self.end_probe(now, seen, limits);
        } else {
            self.on_quiet(now, seen, limits, elapsed);
        }
        self.run.was_moving = self.is_moving(seen);
        self.run.received_before = seen.received;
        let cap = limits.budget.spans_per_second.unwrap_or(f64::INFINITY);
        self.spans_per_second = self.spans_per_second.map(|b| clamp(b.min(cap), &limits.budget));
    }

    /// The load changes inside this interval, or did just before it.
    fn is_moving(&self, seen: &Pipeline) -> bool {
        seen.is_surging || seen.received < (1.0 - MOVING) * self.run.received_before
    }

    /// What was accepted, as if nothing but overload lost spans.
    fn accepted(&self, seen: &Pipeline) -> f64 {
        seen.received * (1.0 - seen.loss_ratio) / (1.0 - self.belief.unavoidable_loss).max(0.01)
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
