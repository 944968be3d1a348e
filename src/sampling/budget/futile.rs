//! Is it load that loses spans? Loss that does not depend on load (a broken exporter, say) would ratchet the budget to
//! its floor, cut after cut. It is told from overload by what a fall of the load does to what is *accepted*:
//!
//! - If a capacity is the limit, accepted stays while received falls: the loss ratio becomes `1 - C / received`.
//! - If a constant part is lost, accepted falls in proportion to received: the loss ratio stays.
//!
//! So `(1 - accepted / accepted before) / (1 - received / received before)` is 0 for load and 1 for the other, however
//! far the load has come down. How much of the *loss ratio* remains is another question: where a load has come half way
//! down, or was cut half as far as it should be, much is lost still.
//!
//! Both hold between intervals *wholly* in loss only. Of one in which the loss began, the backend's queue took a part: as
//! much again as the capacity, where an interval is as short as the queue. In one that ends under the capacity the queue
//! drains, and as much is missing. So an interval is whole if the one before lost too and the load is at rest; or, one
//! interval later, if the load moved and loses still. A fall from any other interval is a suspicion and no proof.
//! Two falls in vain in a row, the last of them from one whole interval to another, end the cutting: the loss is taken
//! as unavoidable, the budget returns, and only loss above it counts.
//!
//! A capacity that falls as fast as it is followed looks like constant loss, and nothing tells them apart at the time.
//! So no such verdict is for good: after a rest what is unavoidable is forgotten, and the next loss is cut as any other.
//! Where it was right, a fall confirms it, and the next rest is twice as long.

use std::time::Duration;

use super::{BudgetLoop, Pipeline};
use crate::sampling::decision::BudgetReason;
use crate::sampling::effect::Adoption;
use crate::sampling::traffic::Interval;
use crate::time::{MonoTime, Tick};

/// Part of a fall of the load that shows in what is accepted, from which the loss is not of the load.
const FOLLOWS: f64 = 0.5;
/// Smallest relative fall of the load that tells anything: at all, as a part of the loss before it, and in standard
/// deviations of what a load at rest falls by chance. No more than a part of chance is waited for: a smaller load has
/// more of it, so that a budget that is cut in vain would never be told.
const FALL_MIN: f64 = 0.03;
const FALL_OF_LOSS: f64 = 0.5;
const FALL_OF_NOISE: f64 = 3.0;
const FALL_OF_NOISE_MAX: f64 = 0.1;
/// Falls in vain that end the cutting.
const IN_VAIN: u32 = 2;
/// Lossy intervals in a row, of which the last but one was wholly in loss, whatever the load did.
const CONFIRMED: u32 = 3;
/// Share of an unavoidable loss under which a smaller one takes its place.
const LESSENED: f64 = 0.5;
/// Shortest rest before an unavoidable loss is tried again: in time, in intervals, and in adoptions of slow clients. A trial
/// takes a few intervals and an adoption, and costs a part of the load as large as the loss.
const REST: Duration = Duration::from_secs(120);
const REST_INTERVALS: u32 = 60;
const REST_ADOPTIONS: u32 = 10;
/// Each confirmation stretches the next rest, up to so much.
const REST_STRETCH: u32 = 2;
const REST_MAX: Duration = Duration::from_secs(3_600);

/// A loss that cutting does not help against.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Belief {
    /// Lost share at any load; 0 while cutting is believed to help.
    pub unavoidable_loss: f64,
    confirmed_at: MonoTime,
    /// Zero where nothing was believed yet.
    rest: Duration,
}

/// Falls of the load under loss, so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Trial {
    /// What the next fall is measured from.
    before: Option<Lossy>,
    /// The newest lossy interval that is not known to be whole.
    newest: Option<Lossy>,
    in_vain: u32,
}

/// Spans/s in a lossy interval, the unavoidable part of the loss included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lossy {
    received: f64,
    accepted: f64,
    noise: f64,
    /// It began when loss was seen already.
    is_within: bool,
    /// It lost from its first moment to its last.
    is_whole: bool,
}

impl Belief {
    fn confirm(&mut self, now: MonoTime, seen: &Pipeline) {
        let adoption = match seen.adoption {
            Some(Adoption::Within(time)) => time,
            _ => Duration::ZERO,
        };
        let shortest = REST.max(seen.over.length() * REST_INTERVALS).max(adoption * REST_ADOPTIONS);
        let rest = (self.rest * REST_STRETCH).min(REST_MAX).max(shortest);
        *self = Self { unavoidable_loss: seen.loss_ratio, confirmed_at: now, rest };
    }

    /// A loss of no more than what is unavoidable or wanted, while the last command shows.
    pub(super) fn meet(&mut self, loss_ratio: f64, loss_target: f64) {
        if loss_ratio < LESSENED * self.unavoidable_loss {
            self.unavoidable_loss = loss_ratio;
        }
        if loss_ratio <= loss_target {
            self.rest = Duration::ZERO;
        }
    }

    fn is_due(&self, now: MonoTime) -> bool {
        self.unavoidable_loss > 0.0 && now.since(self.confirmed_at) >= self.rest
    }
}

impl Trial {
    /// Whether a lossy interval, the `length`-th in a row, shows that cutting is in vain.
    pub(super) fn is_failed(&mut self, lossy: Lossy, length: u32) -> bool {
        let before =
            self.newest.replace(lossy).filter(|before| length >= CONFIRMED && before.is_within && !before.is_whole);
        let is_failed = before.is_some_and(|before| self.judge(Lossy { is_whole: true, ..before }));
        // One that is not known to be whole is something to begin with.
        is_failed || if lossy.is_whole || self.before.is_none() { self.judge(lossy) } else { false }
    }

    fn judge(&mut self, lossy: Lossy) -> bool {
        let Some(before) = self.before else {
            self.before = Some(lossy);
            return false;
        };
        if !lossy.is_fallen(before) {
            if lossy.received > before.received || !before.is_whole {
                self.before = Some(lossy);
            }
            return false;
        }
        self.in_vain = if lossy.follows(before) > FOLLOWS { self.in_vain + 1 } else { 0 };
        self.before = Some(lossy);
        before.is_whole && self.in_vain >= IN_VAIN
    }
}

impl Lossy {
    fn is_fallen(self, before: Self) -> bool {
        let lost = fall(before.accepted, before.received);
        let by_chance = (FALL_OF_NOISE * self.noise.hypot(before.noise)).min(FALL_OF_NOISE_MAX);
        fall(self.received, before.received) >= by_chance.max(FALL_MIN).max(FALL_OF_LOSS * lost)
    }

    /// By how much of its fall against `before` the load took what is accepted with it.
    fn follows(self, before: Self) -> f64 {
        fall(self.accepted, before.accepted) / fall(self.received, before.received)
    }
}

fn fall(now: f64, before: f64) -> f64 {
    1.0 - now / before.max(f64::MIN_POSITIVE)
}

impl BudgetLoop {
    /// Forgets what is unavoidable when its time has come.
    pub(super) fn doubt(&mut self, now: Tick, seen: &Pipeline) {
        if !self.belief.is_due(now.mono) || self.last_cut.is_some() || self.is_moving(seen) {
            return;
        }
        self.belief.unavoidable_loss = 0.0;
        // It lost all the time: this interval is not the first, and is wholly in loss. One fall is enough to confirm it.
        self.run.length = 1;
        self.run.over = Some(Interval { to: seen.over.from, ..seen.over });
        self.run.lossy_since = seen.over.from;
        self.trial = Trial { in_vain: IN_VAIN - 1, ..Trial::default() };
    }

    /// What a lossy interval shows, the newest of the run.
    pub(super) fn lossy(&self, seen: &Pipeline) -> Lossy {
        let is_within = self.run.length > 1 && self.run.is_joined && seen.over.from >= self.run.lossy_since;
        Lossy {
            received: seen.received,
            accepted: seen.received * (1.0 - seen.loss_ratio),
            noise: seen.noise,
            is_within,
            is_whole: is_within && !self.is_moving(seen),
        }
    }

    pub(super) fn give_up_cutting(&mut self, now: Tick, seen: &Pipeline) {
        if let Some((budget, phase)) = self.before_cuts.take() {
            self.spans_per_second = Some(budget);
            self.phase = phase;
        }
        self.belief.confirm(now.mono, seen);
        self.last_cut = None;
        self.trial = Trial::default();
        self.run.length = 0;
        self.reason = BudgetReason::LossNotLoad;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: f64 = 4_000.0;

    fn at_rest(received: f64, accepted: f64) -> Lossy {
        Lossy { received, accepted, noise: 0.01, is_within: true, is_whole: true }
    }

    fn moving(received: f64, accepted: f64) -> Lossy {
        Lossy { is_whole: false, ..at_rest(received, accepted) }
    }

    fn first(received: f64, accepted: f64) -> Lossy {
        Lossy { is_within: false, ..moving(received, accepted) }
    }

    /// Which of the lossy intervals in a row ends the cutting.
    fn failed(run: &[Lossy]) -> Option<usize> {
        let mut trial = Trial::default();
        run.iter().zip(1..).position(|(lossy, length)| trial.is_failed(*lossy, length))
    }

    #[test]
    fn a_load_that_has_come_half_way_down_to_a_capacity_is_no_cut_in_vain() {
        let way = [16_000.0, 12_000.0, 9_000.0, 7_000.0, 5_500.0, 4_800.0, 4_300.0];
        assert_eq!(failed(&way.map(|received| at_rest(received, CAPACITY))), None);
        assert_eq!(failed(&way.map(|received| moving(received, CAPACITY))), None);
    }

    #[test]
    fn what_a_filling_queue_took_is_no_proof() {
        // Half of what the first interval accepted went into a queue of its length: accepted falls as received does.
        let run = [first(15_704.0, 8_000.0), at_rest(7_056.0, CAPACITY), at_rest(7_048.0, CAPACITY)];
        assert_eq!(failed(&run), None);
    }

    #[test]
    fn a_constant_share_is_told_by_the_second_fall_that_changes_nothing() {
        for share in [0.02_f64, 0.1, 0.4, 0.9] {
            let left: f64 = 1.0 - share;
            let run = |kind: fn(f64, f64) -> Lossy| {
                let load = |cuts: i32| 8_000.0 * (0.97 * left).powi(cuts);
                let rest = (1..5).map(|cuts| kind(load(cuts), left * load(cuts)));
                [first(8_000.0, 8_000.0 * (1.0 - share / 2.0))].into_iter().chain(rest).collect::<Vec<_>>()
            };
            assert!(failed(&run(at_rest)).is_some_and(|i| i <= 3), "{share} at rest: {:?}", failed(&run(at_rest)));
            assert!(failed(&run(moving)).is_some_and(|i| i <= 4), "{share}, moving: {:?}", failed(&run(moving)));
        }
    }

    #[test]
    fn a_load_that_moves_by_chance_tells_nothing() {
        let noisy = |received: f64, accepted: f64| Lossy { noise: 0.05, ..at_rest(received, accepted) };
        // A queue as short as the interval evens out what comes and goes near the capacity.
        let run = [(4_160.0, 4_016.0), (3_944.0, 3_888.0), (4_100.0, 4_000.0), (3_900.0, 3_850.0)];
        assert_eq!(failed(&run.map(|(received, accepted)| noisy(received, accepted))), None);
    }

    #[test]
    fn each_confirmation_doubles_the_rest_and_an_end_of_the_loss_forgets_it() {
        let seen = Pipeline {
            over: Interval::before(crate::time::WallTime::from_unix_ms(0), Duration::from_secs(1)),
            received: 1_000.0,
            noise: 0.01,
            loss_ratio: 0.3,
            visibility: crate::sampling::effect::Visibility::Adopted,
            adoption: Some(Adoption::Prompt),
            expected: 1_000.0,
            is_surging: false,
            is_wanted: true,
            may_rise: true,
        };
        let mut belief = Belief::default();
        let at = |seconds| MonoTime::from_start(Duration::from_secs(seconds));
        belief.confirm(at(0), &seen);
        assert!(!belief.is_due(at(119)) && belief.is_due(at(120)));
        belief.confirm(at(120), &seen);
        assert!(!belief.is_due(at(359)) && belief.is_due(at(360)));
        belief.meet(0.0, 0.01);
        assert!(!belief.is_due(at(10_000)), "there is nothing to try");
        belief.confirm(at(10_000), &seen);
        assert!(belief.is_due(at(10_120)));
        belief.confirm(at(10_120), &Pipeline { adoption: Some(Adoption::Within(Duration::from_secs(60))), ..seen });
        assert!(!belief.is_due(at(10_719)) && belief.is_due(at(10_720)), "slow clients need longer");
    }
}
