//! Downwards: loss measures the capacity.
//!
//! The cut is absolute, to just under what was accepted, and cutting again on the same facts changes nothing. That
//! holds for intervals *wholly* in loss. One in which the loss began or ended mixes: less was accepted than could have
//! been, or more, by what the backend's queue took. So an interval in which the load moved teaches nothing, unless it is
//! the third lossy one in a row; and the first lossy interval under a steady load, in which the capacity must have
//! fallen, is led: cut further than it shows, and corrected by the tail of that cut.

use super::rise::ROUGH_REST;
use super::{BudgetLoop, Limits, PROBED, Phase, Pipeline, Run, Track};
use crate::sampling::decision::BudgetReason;
use crate::sampling::effect::Adoption;
use crate::sampling::traffic::Interval;
use crate::time::Tick;

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

impl BudgetLoop {
    pub(super) fn on_loss(&mut self, now: Tick, seen: &Pipeline, limits: &Limits) {
        if self.run.over == Some(seen.over) {
            return;
        }
        let accepted = self.accepted(seen);
        self.run.extend(seen.over, accepted);
        let is_before = self.last_cut.is_some_and(|cut| seen.over.from < cut);
        let lossy = self.lossy(seen);
        if self.trial.is_failed(lossy, self.run.length) && self.last_cut.is_some() {
            return self.give_up_cutting(now, seen);
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
                false if !seen.is_wanted && self.run.length < 2 => self.lead(seen, accepted),
                false => accepted,
            });
        };
        let is_moving = self.is_moving(seen);
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
    pub(super) fn correct_lead(&mut self, now: Tick, seen: &Pipeline, limits: &Limits) {
        let accepted = self.accepted(seen);
        let is_lossy = seen.loss_ratio - self.belief.unavoidable_loss > limits.loss_target;
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
            self.last_cut = Some(now.wall);
        }
        self.reason = BudgetReason::Cut;
    }
}

impl Run {
    fn extend(&mut self, over: Interval, accepted: f64) {
        if self.length == 0 {
            self.lossy_since = over.to;
            (self.first, self.accepted, self.most) = (accepted, 0.0, 0.0);
        } else {
            self.most = self.accepted.max(accepted);
            self.accepted = accepted;
        }
        self.length += 1;
        self.is_joined = self.over.is_some_and(|before| over.from <= before.to);
        self.over = Some(over);
    }

    pub(super) fn end(&mut self, received: f64) {
        self.length = 0;
        self.quiet = received;
    }
}
