//! What a cohort is told, and what its devices are offered.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::probe::{CELLS, Cell, SETTLE};

use super::boxes::Boxes;
use super::cohort::{Cohort, ceiling_lifetime, place};
use super::learning::{SAME_CELLS, is_same};
use crate::keepalive::cohort::CohortKey;
use crate::keepalive::device::{Offer, at_least};
use crate::keepalive::interval::{self, Limit};
use crate::keepalive::observation::BindingClass;
use crate::keepalive::order::CohortOrder;
use crate::keepalive::policy::{Fleet, Pin, SecondAck};
use crate::keepalive::report::{Evidence, Reason, Verdict};
use crate::time::{Tick, WallTime};

/// Survivals of distinct devices that exclude a box of a fifth of the cohort at 99.9 %: ln 0.001 / ln 0.8.
const SURVIVALS_MIN: u32 = 31;
/// The cohort's own order rises when this part of the devices that can test has survived what it asks for: until then
/// each that has is raised by itself, afterwards each that has not is kept back by itself.
const PROVEN_MIN: f64 = 0.9;
/// While a box is still searched for, devices are offered its lower bound from this many floors on: where a round of
/// tests takes so long, a test more is cheaper than the beats.
const OFFER_EARLY_FLOORS: u32 = 8;
/// An order is given anew when more than one device in this many has the same pace as its own,
const RENEW_SHARE: u32 = 10;
/// and the last one is so many floors old: ten minutes.
const RENEW_AFTER_FLOORS: u32 = 40;
/// A bound that falls below this part of itself is a lifetime that fell; less is the bound being learnt.
const FALL: f64 = 0.95;
/// Bindings of up to so many times what a second ack adds to them, 42 s, are short.
const SHORT_SETTLES: u32 = 20;

/// What a cohort is told, and why.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// The order.
    pub(super) order: Arc<CohortOrder>,
    /// In one word.
    pub(super) verdict: Verdict,
    /// Why.
    pub(super) reason: Reason,
    /// Why the law wants what it wants, which may wait for its release.
    pub(super) law: Reason,
    /// When the pace was changed.
    pub(super) at: WallTime,
    /// The same, in seconds since the start.
    pub(super) second: u32,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    pub(super) interval: Duration,
    pub(super) verdict: Verdict,
    pub(super) reason: Reason,
    pub(super) is_hostile: bool,
}

impl Told {
    /// The floor.
    pub(super) fn new(key: &CohortKey, fleet: &Fleet) -> Self {
        let floor = interval::floor(&fleet.interval);
        let pace = interval::pace(&fleet.interval, floor, 0);
        let order =
            CohortOrder { key: key.clone(), pace, second_ack_after: None, tell_silences_from: floor, tell_beats: None };
        Self {
            order: Arc::new(order),
            verdict: Verdict::Learning,
            reason: Reason::Prior,
            law: Reason::Prior,
            at: WallTime::default(),
            second: 0,
        }
    }
}

impl Cohort {
    /// Decides what to offer and to tell; whether the order changed. `generation` is for an order that does.
    pub(super) fn decide(&mut self, now: Tick, second: u32, generation: u64) -> bool {
        self.boxes.iter_mut().for_each(Boxes::refresh);
        let offers = self.offered();
        if offers != self.offers {
            self.offers = offers;
            self.look_at_all();
        }
        let law = self.choice(now);
        let choice = self.gated(law, now);
        self.told.law = law.reason;
        self.tell(choice, now, second, generation)
    }

    /// The pin that counts now.
    pub(super) fn pin(&self, now: WallTime) -> Option<&Pin> {
        let is_ours = |pin: &&Pin| pin.cohort.iter().all(|(key, value)| self.entry.labels.get(key) == Some(value));
        self.fleet.pins.iter().find(|pin| is_ours(pin) && pin.until.is_none_or(|until| now < until))
    }

    /// The interval that an AB test has the cohort have.
    pub(super) fn planned(&self) -> Option<Duration> {
        self.planned.and_then(|planned| planned.interval)
    }

    fn tell(&mut self, choice: Choice, now: Tick, second: u32, generation: u64) -> bool {
        let bounds = &self.fleet.interval;
        let hostile = choice.is_hostile.then(|| self.paced().lowest().bounds().1);
        let lifetime = hostile
            .or(self.offers.first().map(|offer| offer.lower))
            .filter(|_| self.pin(now.wall).is_none() && self.planned().is_none());
        let mut pace = match lifetime {
            Some(lifetime) => interval::pace_for(bounds, choice.interval, lifetime.silence(), 0),
            None => interval::pace(bounds, choice.interval, 0),
        };
        pace.is_hostile = choice.is_hostile;
        let before = &self.told.order;
        pace.generation = before.pace.generation;
        let is_renewed = self.is_to_be_renewed(second);
        let is_other_pace = pace != before.pace || pace.generation == 0 || is_renewed;
        if is_other_pace {
            pace.generation = generation;
        }
        let order = CohortOrder {
            key: before.key.clone(),
            pace,
            second_ack_after: self.second_ack_after(),
            tell_silences_from: interval::floor(&self.fleet.interval),
            tell_beats: self.tell_beats(),
        };
        let is_changed = order != **before;
        if is_other_pace {
            (self.told.at, self.told.second) = (now.wall, second);
            self.look_at_all();
        }
        if is_changed {
            self.told.order = Arc::new(order);
        }
        (self.told.verdict, self.told.reason) = (choice.verdict, choice.reason);
        is_changed
    }

    /// A device refuses an order that is older than its own, so those that came to the cohort's pace by themselves keep it
    /// as their own. When they are many, the cohort's order is given anew, and they go by it.
    fn is_to_be_renewed(&self, second: u32) -> bool {
        let after = interval::floor(&self.fleet.interval) * RENEW_AFTER_FLOORS;
        let is_time = u64::from(second.saturating_sub(self.told.second)) >= after.as_secs();
        is_time && self.sweep == 0 && self.counts.same > self.counts.present / RENEW_SHARE
    }

    fn choice(&self, now: Tick) -> Choice {
        let bounds = &self.fleet.interval;
        if let Some(pin) = self.pin(now.wall) {
            let interval = interval::paced(bounds, pin.nat_timeout).interval;
            let is_hostile = interval::is_hostile(bounds, pin.nat_timeout);
            return Choice { interval, verdict: Verdict::Pinned, reason: Reason::Pin, is_hostile };
        }
        if let Some(interval) = self.planned() {
            let interval = interval.clamp(interval::floor(bounds), interval::ceiling(bounds));
            return Choice { interval, verdict: Verdict::Pinned, reason: Reason::AbTest, is_hostile: false };
        }
        let floor = interval::floor(bounds);
        if interval::is_hostile(bounds, self.paced().lowest().bounds().1.silence()) {
            return Choice { interval: floor, verdict: Verdict::Hostile, reason: Reason::Hostile, is_hostile: true };
        }
        let Some(offer) = self.offers.first() else {
            let reason = if floor < self.law_in_force() { Reason::Shorter } else { self.unproven() };
            return Choice { interval: floor, verdict: Verdict::Learning, reason, is_hostile: false };
        };
        let verdict = if self.paced().lowest().is_learnt() { Verdict::Learnt } else { Verdict::Learning };
        let (interval, reason) = self.within(interval::paced(bounds, offer.lower.silence()));
        Choice { interval, verdict, reason, is_hostile: false }
    }

    /// From what is in force to what the bound asks for: down at once, up when that is proven, released and worth it.
    fn within(&self, next: interval::Paced) -> (Duration, Reason) {
        let bounds = &self.fleet.interval;
        let in_force = self.law_in_force().clamp(interval::floor(bounds), interval::ceiling(bounds));
        let by_limit = match next.limit {
            Limit::Lifetime => Reason::LowerBound,
            Limit::Floor => Reason::Floor,
            Limit::Ceiling => Reason::Ceiling,
        };
        if next.interval < in_force {
            let is_fall = next.interval < in_force.mul_f64(FALL);
            return (next.interval, if is_fall { Reason::Shorter } else { by_limit });
        }
        if next.interval == in_force {
            let is_news = self.told.law != Reason::Shorter;
            return (in_force, if is_news { by_limit } else { Reason::Shorter });
        }
        if !self.fleet.is_longer_released {
            return (in_force, Reason::AwaitsRelease);
        }
        if !self.is_rise_proven() {
            return (in_force, self.unproven());
        }
        if interval::is_worth_a_change(in_force, next.interval) {
            (next.interval, by_limit)
        } else {
            (in_force, Reason::Hysteresis)
        }
    }

    /// Why the pace is what it is while a longer one is not proven: nothing is known yet, or a lifetime fell.
    fn unproven(&self) -> Reason {
        let is_unseen = self.evidence == Evidence::default();
        match self.told.law {
            Reason::Shorter => Reason::Shorter,
            _ if !self.offers.is_empty() => Reason::Proving,
            _ if is_unseen => Reason::Prior,
            _ => Reason::Searching,
        }
    }

    /// Whether so many devices outlived what the shortest offer asks for that the whole cohort may have it.
    fn is_rise_proven(&self) -> bool {
        let counts = self.counts;
        let is_enough = counts.proven >= SURVIVALS_MIN || counts.proven == counts.present;
        let is_most = f64::from(counts.proven) >= PROVEN_MIN * f64::from(counts.probing.saturating_sub(counts.lower));
        // What was counted before the offers changed does not count.
        self.is_remembered || (self.sweep == 0 && counts.proven > 0 && is_enough && is_most)
    }

    /// Lifetimes that devices may try. An offer stands until what replaces it is worth a test of every device.
    fn offered(&self) -> Vec<Offer> {
        let known = self.paced().lowest();
        let mut boxes = self.paced().offers();
        if known.offer().is_none() {
            if !self.offers.is_empty() && !known.is_learnt() {
                let is_possible = |offer: &&Offer| offer.lower < known.bounds().1;
                return self.offers.iter().filter(is_possible).copied().collect();
            }
            let early = Cell::at_most(interval::floor(&self.fleet.interval) * OFFER_EARLY_FLOORS);
            let lower = Some(known.bounds().0).filter(|lower| known.is_searching() && *lower >= early);
            boxes.extend(lower.map(|lower| Offer { lower, upper: Cell::new(CELLS) }));
        }
        let most = at_least(ceiling_lifetime(&self.fleet.interval));
        let mut offers: Vec<Offer> = boxes.into_iter().map(|one| self.standing(one, most)).collect();
        offers.sort_unstable();
        offers.dedup_by(|next, kept| next.lower.number() < kept.lower.number() + SAME_CELLS);
        offers
    }

    /// What stands, where what is known now does not speak against it and asks for little else.
    fn standing(&self, offer: Offer, most: Cell) -> Offer {
        let lower = offer.lower.min(most);
        let is_standing = |old: &&Offer| is_same(old.lower, lower) && old.lower < offer.upper && old.lower <= most;
        Offer { lower: self.offers.iter().find(is_standing).map_or(lower, |old| old.lower), ..offer }
    }

    /// Beats that ended a shorter silence than this cannot have made a new binding. It is the least that the fleet says
    /// unless every device, or so many that no box of a fifth can be hidden, has shown a longer one by itself: a box that
    /// was never asked would be trapped, and where ports are kept nobody would see it. Where bindings are so short that the
    /// second ack's own refreshing is a good part of them, it is worth its packet after every beat: it halves what holes
    /// in the coverage cost there.
    fn second_ack_after(&self) -> Option<Duration> {
        let SecondAck::After(least) = self.fleet.second_ack else { return None };
        let unreplied = self.boxes[place(BindingClass::Unreplied)].lowest();
        let lower = unreplied.bounds().0;
        let survived = unreplied.brackets().iter().filter(|one| one.survived >= lower.number()).count();
        let is_shown = survived > 0 && survived >= self.counts.present.min(SURVIVALS_MIN) as usize;
        let is_known = is_shown && !unreplied.is_searching() && lower.silence() > SETTLE * SHORT_SETTLES;
        Some(if is_known { lower.silence().max(least) } else { least })
    }
}
