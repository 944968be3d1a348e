//! What of a cohort's law goes out where longer intervals are released in waves.
//!
//! ```text
//!  the law's choice ─▶ wanted (the cohort), longest (any device of it) ─┐
//!                                        released ◀─ shorter: at once ──┤
//!                                           │        ◀─ Released ─┐     │ longer
//!  a device: min(its law, arm)  ◀───────────┴──── Old    New ◀─ Rollout ◀
//! ```
//!
//! The law decides as it does without waves, and what it decides is held back: nobody has a longer interval than
//! `released`, unless a rollout has put the device into the new arm; then it is `to`. So a rollout never lengthens what
//! a device has not earned, and never delays what is shorter. It releases the longest interval that the law would allow
//! *any* device of the cohort, because a cohort may be several boxes, and one rollout is enough for all of them.
//!
//! While one is under way the law may change its mind. Shorter than what there was before: the rollout is withdrawn.
//! Shorter than `to`: single devices have less, and no more than that is released in the end. Longer: it waits for a
//! rollout of its own. Neither begins the rollout anew, or a law that moves by a hair each minute would never end one.
//!
//! What was rolled back is not tried again before something is different: a bound that is shorter by more than 3 %, another
//! pin, other keys under `waves`, or, where the gates and not a person took it back, `max_hold` later, twice as long after
//! each time. A pin is a person's word: what failed by one waits for another one.
//!
//! Limits: one rollout a cohort; [`ROLLOUTS_MAX`] of all cohorts at a time, the others wait for their turn.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::cohort::Cohort;
use super::pacing::Choice;
use crate::keepalive::cohort::Transport;
use crate::keepalive::interval;
use crate::keepalive::policy::{Fleet, Waves};
use crate::keepalive::report::{Reason, RolloutBrief};
use crate::keepalive::wave::audit::{Event, What, Who};
use crate::keepalive::wave::gate::Gate;
use crate::keepalive::wave::plan::Arm;
use crate::keepalive::wave::rollout::Rollout;
use crate::keepalive::wave::spec::{Spec, State};
use crate::keepalive::wave::stake::Gates;
use crate::time::{Tick, WallTime};

/// Rollouts under way of all cohorts together: each is some 70 KiB in a file that is written every few seconds.
pub(super) const ROLLOUTS_MAX: usize = 64;
/// The back-off grows no further than to `max_hold` times two to this power: two months of the default.
const DOUBLINGS_MAX: u32 = 6;

/// A cohort's longer intervals on their way out.
#[derive(Debug)]
pub(super) struct Release {
    /// The longest interval that any device may have whom no rollout gave more.
    pub(super) released: Duration,
    /// What the law wants the cohort to have.
    pub(super) wanted: Duration,
    /// The longest that it would allow one device.
    pub(super) longest: Duration,
    /// Under way.
    pub(super) rollout: Option<Box<Rollout>>,
    /// The last one, where it was taken back.
    pub(super) tried: Option<Tried>,
}

/// A rollout that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tried {
    id: Arc<str>,
    to_ms: u64,
    wave: (usize, usize),
    /// Of the pin that asked for it.
    pin_ms: Option<u64>,
    /// How often in a row.
    times: u32,
    /// When it may be tried again as it is; `None` = when a person changes something.
    again_at_ms: Option<i64>,
}

/// What a later process needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ReleaseMemory {
    released_ms: u64,
    tried: Option<Tried>,
    rollout: Option<Box<Rollout>>,
}

impl Release {
    /// Of a cohort with this in force.
    pub(super) fn new(in_force: Duration) -> Self {
        Self { released: in_force, wanted: in_force, longest: in_force, rollout: None, tried: None }
    }

    /// The longest interval that a device may have now.
    pub(super) fn most(&self, device: DeviceId) -> Duration {
        let rollout = self.rollout.as_ref().filter(|rollout| rollout.arm(device) == Arm::New);
        rollout.map_or(self.released, |rollout| rollout.spec().to.max(self.released))
    }

    /// Whether a rollout has put the device into the new arm.
    pub(super) fn is_new(&self, device: DeviceId) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.arm(device) == Arm::New)
    }

    /// Why the cohort has what it has, where that is not the law's doing alone.
    fn reason(&self, pin_ms: Option<u64>, now: WallTime) -> Option<Reason> {
        match self.rollout.as_ref().map(|rollout| rollout.state()) {
            Some(State::Running) => Some(Reason::Rollout),
            Some(_) => Some(Reason::AwaitsRelease),
            None if !interval::is_worth_a_change(self.released, self.longest) => None,
            None if self.is_refused(pin_ms, now) => Some(Reason::RolledBack),
            None => Some(Reason::AwaitsRelease),
        }
    }

    fn is_refused(&self, pin_ms: Option<u64>, now: WallTime) -> bool {
        let Some(tried) = self.tried.as_ref() else { return false };
        let is_shorter = interval::is_worth_a_change(self.longest, Duration::from_millis(tried.to_ms));
        let is_time = tried.again_at_ms.is_some_and(|at| now.unix_ms() >= at);
        let is_other_pin = tried.pin_ms != pin_ms;
        !(is_other_pin || is_time || (is_shorter && self.longest.as_millis() < u128::from(tried.to_ms)))
    }

    /// Whether a rollout is to begin.
    pub(super) fn is_due(&self, pin_ms: Option<u64>, now: WallTime) -> bool {
        self.reason(pin_ms, now) == Some(Reason::AwaitsRelease) && self.rollout.is_none()
    }

    /// What events of its rollout mean for what is released.
    pub(super) fn follow(&mut self, events: &[Event], pin_ms: Option<u64>) {
        let Some(event) = events.last() else { return };
        match event.what {
            What::Released => {
                let to = self.rollout.take().map_or(self.released, |rollout| rollout.spec().to);
                self.released = self.released.max(to.min(self.longest));
                self.tried = None;
            }
            What::RolledBack => self.take_back(event, pin_ms),
            What::WaveBegan | What::Held | What::Paused | What::Resumed => {}
        }
    }

    fn take_back(&mut self, event: &Event, pin_ms: Option<u64>) {
        let Some(rollout) = self.rollout.take() else { return };
        if self.is_withdrawn() {
            return;
        }
        let times = self.tried.as_ref().map_or(0, |tried| tried.times).saturating_add(1);
        let hold = rollout.spec().policy.max_hold * 2_u32.pow((times - 1).min(DOUBLINGS_MAX));
        let by_law = event.who == Who::Law && pin_ms.is_none();
        let again_at_ms =
            by_law.then(|| event.at_ms.saturating_add(i64::try_from(hold.as_millis()).unwrap_or(i64::MAX)));
        let (id, wave) = (Arc::clone(&rollout.spec().id), rollout.wave());
        let to_ms = u64::try_from(rollout.spec().to.as_millis()).unwrap_or(u64::MAX);
        self.tried = Some(Tried { id, to_ms, wave, pin_ms, times, again_at_ms });
    }

    /// The law wants no longer interval than there is.
    pub(super) fn is_withdrawn(&self) -> bool {
        !interval::is_worth_a_change(self.released, self.longest) || self.longest < self.released
    }

    fn brief(&self, is_rolled_back: bool) -> Option<RolloutBrief> {
        if let Some(rollout) = &self.rollout {
            let spec = rollout.spec();
            let (id, to, wave) = (Arc::clone(&spec.id), spec.to, rollout.wave());
            return Some(RolloutBrief { id, to, wave, state: rollout.state(), again_at: None });
        }
        let tried = self.tried.as_ref().filter(|_| is_rolled_back)?;
        Some(RolloutBrief {
            id: Arc::clone(&tried.id),
            to: Duration::from_millis(tried.to_ms),
            wave: tried.wave,
            state: State::RolledBack,
            again_at: tried.again_at_ms.map(WallTime::from_unix_ms),
        })
    }
}

impl Cohort {
    /// What goes out of the law's choice.
    pub(super) fn gated(&mut self, law: Choice, now: Tick) -> Choice {
        if self.planned().is_some() {
            return law;
        }
        let (bounds, pin_ms) = (self.fleet.interval, self.pin_ms(now.wall));
        let longest = self.longest(&law, pin_ms.is_some());
        let Some(release) = &mut self.release else { return law };
        (release.wanted, release.longest) = (law.interval, longest);
        let least = interval::floor(&bounds);
        release.released = release.released.min(longest).max(least);
        let reason = release.reason(pin_ms, now.wall).unwrap_or(law.reason);
        Choice { interval: law.interval.min(release.released), reason, ..law }
    }

    /// The longest interval that the law would allow a device of the cohort: where the shortest of its boxes is proven,
    /// that of the longest one.
    fn longest(&self, law: &Choice, is_pinned: bool) -> Duration {
        let paced = |offer: &crate::keepalive::device::Offer| {
            interval::paced(&self.fleet.interval, offer.lower.silence()).interval
        };
        let (Some(first), Some(last)) = (self.offers.first().map(paced), self.offers.last().map(paced)) else {
            return law.interval;
        };
        let is_proven = !law.is_hostile && !is_pinned && !interval::is_worth_a_change(law.interval, first);
        if is_proven && law.interval >= first { law.interval.max(last) } else { law.interval }
    }

    /// The timeout of the pin that counts now.
    pub(super) fn pin_ms(&self, now: WallTime) -> Option<u64> {
        self.pin(now).map(|pin| u64::try_from(pin.nat_timeout.as_millis()).unwrap_or(u64::MAX))
    }

    /// What the law goes on from: what it wanted last, or what is told, which without waves is the same.
    pub(super) fn law_in_force(&self) -> Duration {
        self.release.as_ref().map_or(self.told.order.pace.interval, |release| release.wanted)
    }

    /// Other keys, or none any more. What is in force when waves begin to count is released.
    pub(super) fn set_waves(&mut self, before: &Fleet) -> Option<Box<Rollout>> {
        let longest = self.longest_in_force();
        match (&self.fleet.waves, &mut self.release) {
            (None, release) => release.take().and_then(|release| release.rollout),
            (Some(_), release @ None) => {
                *release = Some(Release { released: longest, ..Release::new(self.told.order.pace.interval) });
                None
            }
            (Some(waves), Some(release)) => {
                if Some(waves) != before.waves.as_ref() || self.fleet.pins != before.pins {
                    release.tried = None;
                }
                None
            }
        }
    }

    fn longest_in_force(&self) -> Duration {
        let told = self.told.order.pace.interval;
        let offered =
            self.offers.last().map(|offer| interval::paced(&self.fleet.interval, offer.lower.silence()).interval);
        if self.counts.own > 0 { offered.map_or(told, |offered| offered.max(told)) } else { told }
    }

    /// What is to be released next.
    pub(super) fn spec(&self, release: &Release, waves: &Waves, id: Arc<str>) -> Spec {
        let queries = waves.queries.iter().map(|query| query.spec.clone()).collect();
        // A connection is not sounded: what does not pass breaks it, and that is a beat that did not come.
        let is_asked = |gate: &Gate| *gate != Gate::Coverage || self.entry.key.transport == Transport::Udp;
        let devices: Vec<Gate> = waves.gates.0.iter().copied().filter(is_asked).collect();
        let devices = if devices.is_empty() { vec![Gate::Consistency] } else { devices };
        Spec {
            id,
            cohort: Arc::clone(&self.entry.key.name),
            from: release.released,
            to: release.longest,
            jitter: self.fleet.interval.jitter,
            policy: waves.policy.clone(),
            gates: Gates { devices, queries },
            usual_failures: self.loss_ratio(),
        }
    }

    /// For the report of the cohort.
    pub(super) fn rollout_brief(&self) -> Option<RolloutBrief> {
        self.release.as_ref()?.brief(self.told.reason == Reason::RolledBack)
    }

    /// What a later process needs to know.
    pub(super) fn release_memory(&self) -> Option<ReleaseMemory> {
        let release = self.release.as_ref()?;
        let released_ms = u64::try_from(release.released.as_millis()).unwrap_or(u64::MAX);
        Some(ReleaseMemory { released_ms, tried: release.tried.clone(), rollout: release.rollout.clone() })
    }

    /// Takes up what an earlier process knew; one that knew no waves has released what it knew.
    pub(super) fn remember_release(&mut self, memory: Option<&ReleaseMemory>) {
        let bounds = self.fleet.interval;
        let offered = self.offers.last().map(|offer| interval::paced(&bounds, offer.lower.silence()).interval);
        let Some(release) = &mut self.release else { return };
        match memory {
            Some(memory) => {
                release.released = Duration::from_millis(memory.released_ms);
                release.tried.clone_from(&memory.tried);
                release.rollout.clone_from(&memory.rollout);
            }
            None if self.is_remembered => release.released = offered.unwrap_or(release.released),
            None => {}
        }
        release.wanted = release.released.min(offered.unwrap_or(release.released));
        release.longest = release.rollout.as_ref().map_or(release.released, |rollout| rollout.spec().to);
    }
}
