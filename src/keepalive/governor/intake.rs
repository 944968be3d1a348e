//! What an observation says: of the device, of its cohort's NATs, of the way, of a change.
//!
//! | seen | said |
//! |---|---|
//! | a test passed, a push confirmed | the lifetime is longer |
//! | a test expired, control alive | it is shorter, or three packets were lost on one flow only |
//! | another port, same address | it is shorter than the gap |
//! | the same port | it is longer, where NATs draw ports anew; else nothing |
//! | another address, a restart | nothing: the device changed networks, the silence may be another |
//! | a push not confirmed | shorter, or the push or its answer was lost: a reason to test |

use std::time::Duration;

use flyball_sdk::device::probe::{Cell, ProbeOrder, ProbeOutcome};

use super::cohort::Cohort;
use super::devices::Device;
use crate::keepalive::change::Change;
use crate::keepalive::device::{APART_CELLS, at_least};
use crate::keepalive::interval;
use crate::keepalive::mixture::Outcome;
use crate::keepalive::observation::{BindingClass, Probe, Silence};

/// A port that changed although the binding lived: a NAT that was restarted, a socket that was made anew.
const FALSE_MOVE: f64 = 0.005;
/// A report's silence may be this many cells beside the one ordered.
const CELLS_BESIDE: u16 = 2;
/// A timer's wheel forgets up to a turn late: only what was outlived by more than the widest turn, in cells (32 %), is a
/// lifetime that became longer.
const TURN_CELLS: u16 = APART_CELLS;

/// One silence and how it ended.
#[derive(Debug, Clone, Copy)]
struct Seen {
    class: BindingClass,
    silence: Duration,
    outcome: Outcome,
    /// Whether the device's own bracket takes it in.
    is_own: bool,
}

impl Cohort {
    /// A test on a side flow.
    pub(super) fn take_probe(&mut self, device: &mut Device, probe: &Probe) {
        device.silent_tests = 0;
        self.close_flow(device, probe.silence);
        let outcome = match probe.outcome {
            ProbeOutcome::Lost => {
                self.evidence.lost += 1;
                return;
            }
            ProbeOutcome::Survived => Outcome::Survived,
            ProbeOutcome::Expired => {
                probe.is_port_kept.inspect(|is_kept| self.ports.observe(*is_kept));
                // A test that passes ends with its first try: only one that did not has made all three.
                self.channel.controls(probe.controls);
                Outcome::Expired { false_probability: self.channel.false_expiry(probe.controls) }
            }
        };
        self.take(device, Seen { class: probe.class, silence: probe.silence, outcome, is_own: true });
    }

    /// A silence of the binding that carries messages.
    pub(super) fn take_silence(&mut self, device: &mut Device, seen: &Silence) {
        let says_nothing = seen.is_doubtful || (seen.has_moved && !seen.is_same_address);
        if says_nothing {
            return;
        }
        if seen.has_moved {
            let outcome = Outcome::Expired { false_probability: FALSE_MOVE };
            self.take(device, Seen { class: seen.class, silence: seen.gap, outcome, is_own: true });
        } else if self.ports.are_drawn_anew() {
            // A few in a hundred of these are none: good for the watch, not good enough to raise a device by.
            let seen = Seen { class: seen.class, silence: seen.silence, outcome: Outcome::Survived, is_own: false };
            self.take(device, seen);
        }
    }

    /// A push that the server made unasked.
    pub(super) fn take_push(&mut self, device: &mut Device, silence: Duration, is_confirmed: bool) {
        let class = self.paced_class();
        if is_confirmed {
            self.take(device, Seen { class, silence, outcome: Outcome::Survived, is_own: true });
        } else {
            let outcome = Outcome::Expired { false_probability: self.channel.false_expiry(1) };
            self.take(device, Seen { class, silence, outcome, is_own: false });
        }
    }

    /// Exchanges in short gaps.
    pub(super) fn take_loss(&mut self, sent: u32, unanswered: u32) {
        self.channel.short_gap(sent, unanswered);
        self.sent[0] += u64::from(sent);
        self.sent[1] += u64::from(unanswered.min(sent));
    }

    fn take(&mut self, device: &mut Device, seen: Seen) {
        let is_survival = seen.outcome == Outcome::Survived;
        let count = if is_survival { &mut self.evidence.survived } else { &mut self.evidence.expired };
        *count += 1;
        if seen.class == self.paced_class() {
            self.look_for_change(device, &seen);
        }
        let cell = if is_survival { Cell::at_most(seen.silence) } else { at_least(seen.silence) };
        let is_news = seen.is_own || !is_survival || device.shown.survived().is_none_or(|survived| survived < cell);
        if seen.is_own && seen.class == self.paced_class() {
            if is_survival { device.shown.survive(seen.silence) } else { device.shown.expire(seen.silence) }
        }
        if is_news {
            self.of(seen.class).observe(device.id, &device.shown, cell, seen.outcome);
            self.is_dirty = true;
        }
    }

    /// A binding that does not outlive the longest wait that its device's pace allows, or one that outlives what it did
    /// not, is a sign of a change. An expiry above that wait is none: a timer's wheel forgets earlier one time than the
    /// other, and what follows from that is a bound a little lower, not a search from the start. Nor is that of a device whose
    /// pace is by its own survival alone: it may have been the end of a wheel.
    fn look_for_change(&mut self, device: &Device, seen: &Seen) {
        let is_survival = seen.outcome == Outcome::Survived;
        let error = match seen.outcome {
            Outcome::Survived => self.channel.false_expiry(3),
            Outcome::Expired { false_probability } => false_probability,
        };
        let cell = Cell::at_most(seen.silence);
        let is_of_a_box = device.shown.supported(&self.offers).is_some_and(|one| self.is_offered(one));
        let is_within_pace = is_of_a_box && self.longest_wait(device).is_some_and(|wait| cell <= wait);
        let is_above_box = self.offers.len() == 1 && cell > self.paced().lowest().bounds().1.plus(TURN_CELLS);
        let was_expired = device.shown.expired().map_or(is_above_box, |expired| cell >= expired.plus(TURN_CELLS));
        let found = if is_within_pace {
            self.watch.at_interval(device.id, is_survival, error)
        } else if was_expired && self.paced().lowest().is_learnt() {
            self.watch.above(device.id, is_survival, error)
        } else {
            None
        };
        let was_outlived = device.shown.survived().is_some_and(|survived| cell <= survived);
        if if is_survival { was_expired } else { is_within_pace || was_outlived } {
            self.round.call_witnesses();
        }
        if found.is_some() {
            self.is_dirty = true;
        }
        // What shortens the pace is acted on first.
        self.change = if self.change == Some(Change::Shorter) { self.change } else { found.or(self.change) };
    }

    fn is_offered(&self, lifetime: Cell) -> bool {
        self.offers.iter().any(|offer| offer.lower == lifetime)
    }

    /// The longest silence that the lifetime which a device has shown lets its pace ask of the NAT.
    pub(super) fn longest_wait(&self, device: &Device) -> Option<Cell> {
        let lifetime = device.shown.supported(&self.offers)?;
        let bounds = &self.fleet.interval;
        let wait = interval::longest(bounds, interval::paced(bounds, lifetime.silence()).interval);
        Some(at_least(wait).min(lifetime))
    }

    fn close_flow(&mut self, device: &mut Device, silence: Duration) {
        let Some(order) = ProbeOrder::from_bits(device.testing) else { return };
        let told = Cell::at_most(silence).number();
        if order.cells().any(|cell| cell.number().abs_diff(told) <= CELLS_BESIDE) {
            device.flows_open = device.flows_open.saturating_sub(1);
        }
        if device.flows_open == 0 {
            self.end_test(device);
        }
    }
}
