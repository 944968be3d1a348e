//! How many spans a second the roots may cause: as configured, or as the backend can bear.
//!
//! Nobody tells the capacity, but loss does: while spans are lost, what the backend *accepted* is its capacity, measured.
//! So the cut is absolute, to just under what was accepted, and cutting again on the same facts changes nothing. That
//! holds for intervals *wholly* in loss. One in which the loss began or ended mixes: less was accepted than could have
//! been, or more, by what the backend's queue took. So an interval in which the load moved teaches nothing, unless it is
//! the third lossy one in a row; and the first lossy interval under a steady load, in which the capacity must have
//! fallen, is led: cut further than it shows, and corrected by the tail of that cut.
//!
//! Upwards there is no such measurement: slow start doubles until the first loss; later the budget returns to just under
//! the last known capacity, rests there, and probes beyond it slowly, as congestion control does. A failed probe
//! stretches the next rest.
//!
//! Loss that does not depend on load (a broken exporter, say) would ratchet the budget to its floor. Two cuts that did
//! lower the load and did not lower the loss in proportion end that: the loss is taken as unavoidable, the budget
//! returns, and only loss above it counts.

use std::time::Duration;

use super::decision::BudgetReason;
use super::effect::{Adoption, Visibility};
use super::policy;
use super::traffic::Interval;
use crate::time::{MonoTime, Tick, WallTime};

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
const ROUGH_REST: Duration = Duration::from_secs(15);
/// How much a failed probe stretches the next rest.
const REST_STRETCH: f64 = 1.5;
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest time that one tick's rise accounts for: after a pause there is no jump.
const STEP_MAX: Duration = Duration::from_secs(15);
/// Load over the last one without loss that is taken for proven, before any loss was seen.
const PROVEN: f64 = 1.2;
/// Slow start multiplies by this with each adopted command.
const SLOW_START: f64 = 2.0;
/// The budget is not raised while less of it than this is used.
const USED_MIN: f64 = 0.85;
/// Nor probed while less than this arrives: what nobody sends proves nothing.
const PROBE_USED_MIN: f64 = 0.955;
/// What was accepted when a probe met the capacity, less what the queue took of it.
const PROBED: f64 = 0.985;
/// Share of the loss target that ends a probe.
const PROBE_LOSS: f64 = 0.1;
/// Relative fall of the load between two intervals from which a loss is its tail.
const MOVING: f64 = 0.1;
/// Lost share of a steady load from which the first cut reaches further than what was accepted.
const LED_LOSS: f64 = 0.1;
/// Share of what was accepted that a filling queue may have taken at the first loss: a second's worth in an interval of
/// five. So much of it is reckoned with: less overshoots, more leaves a part of the capacity unused until a probe.
const QUEUED_MAX: f64 = 0.2;
const QUEUED: f64 = 0.65;
/// A led cut leaves at least this share of the load.
const LED_MIN: f64 = 0.25;
/// Shortest part of an interval that a tail is reckoned with: below, noise decides.
const TAIL_MIN: f64 = 0.05;
/// Lossy intervals in a row, one of whose last two was wholly in loss, whatever the load did.
const LONG_RUN: u32 = 3;
/// A second measurement that falls by less than this behind the first, from before the first cut shows, is the same.
const SAME: f64 = 0.9;
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

#[derive(Debug, Clone, Copy, PartialEq)]
struct Cut {
    at: WallTime,
    loss_ratio: f64,
    received: f64,
}

/// Lossy intervals in a row, and what came before the newest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Run {
    over: Option<Interval>,
    length: u32,
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
            cut.at = cut.at.min(now.wall);
        }
        if self.run.over != Some(seen.over) && std::mem::take(&mut self.run.is_led) {
            self.correct_lead(now, seen, limits);
        }
        let loss_ratio = seen.loss_ratio - self.unavoidable_loss;
        if loss_ratio > limits.loss_target {
            self.on_loss(now, seen, limits);
        } else if self.reason == BudgetReason::Probing && loss_ratio > PROBE_LOSS * limits.loss_target {
            self.end_probe(now, seen, limits);
        } else {
            self.on_quiet(now, seen, limits, elapsed);
        }
        self.run.was_moving = seen.is_surging || seen.received < (1.0 - MOVING) * self.run.received_before;
        self.run.received_before = seen.received;
        let cap = limits.budget.spans_per_second.unwrap_or(f64::INFINITY);
        self.spans_per_second = self.spans_per_second.map(|b| clamp(b.min(cap), &limits.budget));
    }

    /// What was accepted, as if nothing but overload lost spans.
    fn accepted(&self, seen: &Pipeline) -> f64 {
        seen.received * (1.0 - seen.loss_ratio) / (1.0 - self.unavoidable_loss).max(0.01)
    }

    fn on_loss(&mut self, now: Tick, seen: &Pipeline, limits: &Limits) {
        if self.run.over == Some(seen.over) {
            return;
        }
        let accepted = self.accepted(seen);
        self.run.extend(seen.over, accepted);
        let is_before = self.last_cut.is_some_and(|cut| seen.over.from < cut.at);
        if !is_before && self.is_futile(seen) {
            self.futile_cuts += 1;
            if self.futile_cuts >= FUTILE_CUTS {
                return self.give_up_cutting(seen);
            }
        }
        if let Some(capacity) = self.measured(seen, accepted, is_before) {
            self.run.is_led = self.run.length == 1 && !seen.is_surging && capacity < PROBED * accepted;
            self.cut(now, seen, capacity, is_before, limits);
        }
    }

    /// The capacity that a lossy interval shows, if it shows one.
    fn measured(&self, seen: &Pipeline, accepted: f64, is_before: bool) -> Option<f64> {
        let Phase::Tracking(track) = self.phase else {
            // The filling queue took a part of it, up to what was more than before.
            return Some(match seen.is_surging {
                true => accepted - QUEUED * (accepted - self.run.quiet).clamp(0.0, QUEUED_MAX * accepted),
                // At the highest probability no command of ours moved the load.
                false if !seen.is_wanted => self.lead(seen, accepted),
                false => accepted,
            });
        };
        let is_moving = seen.is_surging || seen.received < (1.0 - MOVING) * self.run.received_before;
        if self.run.length < LONG_RUN && (is_moving || self.run.was_moving) {
            // The loss began or ended inside, so that less was accepted than could have been, or more, by what the
            // queue took.
            return None;
        }
        let measured = match self.run.length {
            1 if self.reason == BudgetReason::Probing && seen.loss_ratio <= LED_LOSS => PROBED * accepted,
            1 => self.lead(seen, accepted),
            length if length < LONG_RUN => accepted,
            _ => self.run.most,
        };
        (!is_before || measured < SAME * track.capacity || measured > track.capacity).then_some(measured)
    }

    /// A steady load, and loss: the capacity fell somewhere inside the interval. If it fell to a share `c` of the load at
    /// the fraction `f` before the end, the lost share is `x = f (1 - c)`; with both unknown and even, the median of `c`
    /// is `1 - sqrt(x)`. Too low a guess costs one interval, because the tail of the cut tells the capacity.
    fn lead(&self, seen: &Pipeline, accepted: f64) -> f64 {
        let lost = 1.0 - accepted / seen.received.max(f64::MIN_POSITIVE);
        if lost > LED_LOSS { seen.received * (1.0 - lost.sqrt()).max(LED_MIN) } else { accepted }
    }

    /// The interval after a led cut tells what the capacity is.
    fn correct_lead(&mut self, now: Tick, seen: &Pipeline, limits: &Limits) {
        let accepted = self.accepted(seen);
        let is_lossy = seen.loss_ratio - self.unavoidable_loss > limits.loss_target;
        let capacity = match seen.adoption {
            Some(Adoption::Prompt) => self.tail_capacity(seen, accepted),
            // The old load went on, for the most part.
            _ if is_lossy => accepted,
            _ => self.run.first,
        };
        let track = Track { is_rough: true, rest: ROUGH_REST, ..Track::known(capacity, now.mono) };
        self.phase = Phase::Tracking(track);
        self.spans_per_second = Some(limits.under(capacity));
    }

    /// The interval in which a led cut took effect. For a time `a` the old load went on, which what was received tells;
    /// what was lost meanwhile is `(old load - capacity) a`. Where the new load is still too much, more was lost than
    /// that, the equation gives less than the new load, and the whole interval was in loss.
    fn tail_capacity(&self, seen: &Pipeline, accepted: f64) -> f64 {
        let (old, new) = (self.run.received_before, seen.expected);
        let tail = ((seen.received - new) / (old - new).max(f64::MIN_POSITIVE)).clamp(TAIL_MIN, 1.0);
        let capacity = old - (seen.received - accepted) / tail;
        if capacity > new { capacity.min(self.run.first) } else { accepted }
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
        self.run.length = 0;
        self.reason = BudgetReason::LossNotLoad;
    }

    fn cut(&mut self, now: Tick, seen: &Pipeline, capacity: f64, is_before: bool, limits: &Limits) {
        if self.last_cut.is_none() {
            // What was in force when the loss began: at most what was really offered.
            let offered = self.spans_per_second.unwrap_or(seen.received).min(seen.received.max(seen.expected));
            self.before_cuts = Some((offered, self.phase));
        }
        let is_rough = self.run.length < 2 && self.reason != BudgetReason::Probing;
        self.phase = Phase::Tracking(Track {
            capacity,
            confirmed: capacity.max(if is_rough { self.run.first } else { 0.0 }),
            is_rough,
            rest: if is_rough { ROUGH_REST } else { self.next_rest() },
            rested_since: now.mono,
        });
        self.spans_per_second = Some(limits.under(capacity));
        if !is_before {
            self.last_cut = Some(Cut { at: now.wall, loss_ratio: seen.loss_ratio, received: seen.received });
        }
        self.reason = BudgetReason::Cut;
    }

    /// A probe that failed stretches the rest before the next; a capacity that changed by itself may change again.
    fn next_rest(&self) -> Duration {
        match self.phase {
            Phase::Tracking(track) if self.reason == BudgetReason::Probing => {
                track.rest.max(REST).mul_f64(REST_STRETCH).min(REST_MAX)
            }
            _ => REST,
        }
    }

    /// A little loss, and the probe caused it: the capacity is found.
    fn end_probe(&mut self, now: Tick, seen: &Pipeline, limits: &Limits) {
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

    fn on_quiet(&mut self, now: Tick, seen: &Pipeline, limits: &Limits, elapsed: Duration) {
        self.run.end(seen.received);
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
    fn known(capacity: f64, now: MonoTime) -> Self {
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

impl Run {
    fn extend(&mut self, over: Interval, accepted: f64) {
        if self.length == 0 {
            (self.first, self.accepted, self.most) = (accepted, 0.0, 0.0);
        } else {
            self.most = self.accepted.max(accepted);
            self.accepted = accepted;
        }
        self.length += 1;
        self.over = Some(over);
    }

    fn end(&mut self, received: f64) {
        self.length = 0;
        self.quiet = received;
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
