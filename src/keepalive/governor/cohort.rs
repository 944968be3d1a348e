//! A cohort's state: what is known of it, who is of it, what is under way, and what it is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::probe::Cell;

use super::boxes::Boxes;
use super::comparisons::Planned;
use super::devices::{Device, Devices, Slot};
use super::learning::{self, Ground};
use super::pacing::Told;
use super::release::Release;
use super::rounds::Round;
use crate::keepalive::change::{Change, Watch};
use crate::keepalive::cohort::{CohortEntry, CohortIndex, Transport};
use crate::keepalive::device::Offer;
use crate::keepalive::interval;
use crate::keepalive::lifetime::channel::Channel;
use crate::keepalive::lifetime::prior::Prior;
use crate::keepalive::lifetime::probe::Precision;
use crate::keepalive::observation::BindingClass;
use crate::keepalive::policy::{Fleet, IntervalBounds, SecondAck};
use crate::keepalive::ports::Ports;
use crate::keepalive::report::Evidence;
use crate::keepalive::wave::rollout::Rollout;

/// A floor under this part of the field's is that of a lab or a demonstration, where all timeouts are shorter alike.
const LAB_SCALE: f64 = 1.0 / 3.0;
/// Lifetimes looked for, as multiples of the floor: 10 s to 2 h for 15 s.
const RANGE_PER_FLOOR: (f64, f64) = (2.0 / 3.0, 480.0);
/// Survivals of distinct devices that exclude a box of 1 % at 99.9 %: ln 0.001 / ln 0.99. A cohort of which so many are
/// known, and none that is worse off, is trusted with devices that have shown nothing yet.
const TRUSTED_SURVIVALS: u32 = 688;

/// A cohort.
#[derive(Debug)]
pub(super) struct Cohort {
    /// Its place.
    pub(super) index: CohortIndex,
    /// What it is.
    pub(super) entry: CohortEntry,
    /// Whose bounds, budgets and pins count.
    pub(super) fleet: Arc<Fleet>,
    /// By class of binding.
    pub(super) boxes: [Boxes; 2],
    /// How often a living binding looks expired.
    pub(super) channel: Channel,
    /// Datagrams in short gaps, and those of them that had to be sent again.
    pub(super) sent: [u64; 2],
    /// Whether ports are kept.
    pub(super) ports: Ports,
    /// For changes.
    pub(super) watch: Watch,
    /// One that was found, and not acted on yet.
    pub(super) change: Option<Change>,
    /// Since the start or the last change.
    pub(super) evidence: Evidence,
    /// Who is of it.
    pub(super) members: Vec<Slot>,
    /// How many of them are what.
    pub(super) counts: Counts,
    /// Lifetimes that devices may try and be paced for, shortest first.
    pub(super) offers: Vec<Offer>,
    /// An earlier process knew it, and its devices are paced by what that knew.
    pub(super) is_remembered: bool,
    /// What it is told.
    pub(super) told: Told,
    /// Its longer intervals on their way out; `None` = they need none.
    pub(super) release: Option<Release>,
    /// What an AB test has it do.
    pub(super) planned: Option<Planned>,
    /// Devices that wait for a test.
    pub(super) waiting: VecDeque<Slot>,
    /// Members that are still to be looked at since the offers or the order changed.
    pub(super) sweep: usize,
    /// The round of tests under way.
    pub(super) round: Round,
    /// Something was seen, or set, that may change what it is told.
    pub(super) is_dirty: bool,
}

/// How many members are what; those that are away do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// There.
    pub(super) present: u32,
    /// That make tests.
    pub(super) probing: u32,
    /// That make tests, and survived the shortest offer.
    pub(super) proven: u32,
    /// That did not survive it.
    pub(super) lower: u32,
    /// With a pace of their own.
    pub(super) own: u32,
    /// Of these, with the same one that the cohort has.
    pub(super) same: u32,
    /// That are testing.
    pub(super) testing: u32,
    /// Whom a rollout has given the new interval,
    pub(super) new: u32,
    /// and those of them that confirmed it.
    pub(super) adopted: u32,
}

impl Cohort {
    /// Of which nothing is known.
    pub(super) fn new(index: CohortIndex, entry: CohortEntry, fleet: Arc<Fleet>, ground: &Arc<Ground>) -> Self {
        let fresh = || Boxes::new(Arc::clone(ground));
        Self {
            index,
            boxes: [fresh(), fresh()],
            channel: Channel::new(),
            sent: [0; 2],
            ports: Ports::default(),
            watch: Watch::default(),
            change: None,
            evidence: Evidence::default(),
            members: Vec::new(),
            counts: Counts::default(),
            offers: Vec::new(),
            is_remembered: false,
            told: Told::new(&entry.key, &fleet),
            release: fleet.waves.is_some().then(|| Release::new(interval::floor(&fleet.interval))),
            planned: None,
            waiting: VecDeque::new(),
            sweep: 0,
            round: Round::default(),
            is_dirty: true,
            entry,
            fleet,
        }
    }

    /// Which bindings the pace is made for: without a second ack those that carry messages may be unreplied ones. A
    /// connection never is one: it begins with an answer.
    pub(super) fn paced_class(&self) -> BindingClass {
        let may_be_unreplied = self.has_unreplied() && self.fleet.second_ack == SecondAck::Off;
        if may_be_unreplied { BindingClass::Unreplied } else { BindingClass::Stream }
    }

    /// Whether its devices have bindings that nothing was answered over.
    pub(super) fn has_unreplied(&self) -> bool {
        self.entry.key.transport == Transport::Udp
    }

    /// What is known of a class.
    pub(super) fn of(&mut self, class: BindingClass) -> &mut Boxes {
        &mut self.boxes[place(class)]
    }

    /// What is known of the bindings that the pace is made for.
    pub(super) fn paced(&self) -> &Boxes {
        &self.boxes[place(self.paced_class())]
    }

    /// What the floor serves in any case.
    pub(super) fn lowest(&self) -> Cell {
        Cell::at_most(interval::floor_lifetime(&self.fleet.interval))
    }

    /// Whether devices that have shown nothing yet may go by the cohort.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_remembered || (self.counts.proven >= TRUSTED_SURVIVALS && self.counts.lower == 0)
    }

    /// Whether a device has shown as much as the shortest offer asks for.
    pub(super) fn is_proven(&self, device: &Device) -> bool {
        let Some(first) = self.offers.first() else { return false };
        first.lower <= self.lowest() || device.shown.survived().is_some_and(|survived| survived >= first.lower)
    }

    /// Whether a device has shown that it cannot do with the shortest offer.
    pub(super) fn is_lower(&self, device: &Device) -> bool {
        let Some(first) = self.offers.first() else { return false };
        device.shown.expired().is_some_and(|expired| expired <= first.lower)
    }

    /// Takes a device into the list of members.
    pub(super) fn join(&mut self, devices: &mut Devices, slot: Slot) {
        devices.get_mut(slot).position = u32::try_from(self.members.len()).expect("as bounded as the devices");
        self.members.push(slot);
    }

    /// Takes a device out of it.
    pub(super) fn part(&mut self, devices: &mut Devices, slot: Slot) {
        let position = devices.get(slot).position as usize;
        self.members.swap_remove(position);
        if let Some(moved) = self.members.get(position) {
            devices.get_mut(*moved).position = position as u32;
        }
        self.sweep = self.sweep.min(self.members.len());
    }

    /// Begins to learn a class anew.
    pub(super) fn forget(&mut self, class: BindingClass) {
        self.boxes[place(class)].forget();
        self.round = Round::default();
        self.watch.restart();
        self.is_dirty = true;
    }

    /// Another fleet's, or other, bounds, budgets and pins. A rollout comes out where waves do not count any more.
    pub(super) fn set_fleet(&mut self, fleet: Arc<Fleet>, ground: &Arc<Ground>) -> Option<Box<Rollout>> {
        let is_other_range = fleet.interval != self.fleet.interval;
        let before = std::mem::replace(&mut self.fleet, fleet);
        if is_other_range {
            // Lifetimes are looked for within the bounds. Devices keep what they have shown.
            self.boxes = std::array::from_fn(|_| Boxes::new(Arc::clone(ground)));
            self.round = Round::default();
        }
        self.is_dirty = true;
        self.look_at_all();
        self.set_waves(&before)
    }

    /// The shortest interval.
    pub(super) fn floor(&self) -> Duration {
        interval::floor(&self.fleet.interval)
    }

    /// Has all members looked at again.
    pub(super) fn look_at_all(&mut self) {
        self.sweep = self.members.len();
    }

    /// Devices that may test at the same time, when this part of those that can may.
    pub(super) fn devices_at_a_time(&self, part: f64) -> u32 {
        let devices = (f64::from(self.counts.probing) * part.clamp(0.0, 1.0)).ceil();
        (devices as u32).max(1)
    }
}

/// Where a class is in arrays of both.
pub(super) const fn place(class: BindingClass) -> usize {
    match class {
        BindingClass::Stream => 0,
        BindingClass::Unreplied => 1,
    }
}

/// What lifetimes may be for a fleet of these bounds. Longer ones than its ceiling asks for are all alike.
pub(super) fn ground(bounds: &IntervalBounds) -> Ground {
    let floor = interval::floor(bounds);
    let (shortest, longest) = (floor.mul_f64(RANGE_PER_FLOOR.0), floor.mul_f64(RANGE_PER_FLOOR.1));
    let (first, last) = learning::range(shortest, longest.min(ceiling_lifetime(bounds).mul_f64(1.1)));
    let (usual, scale) = (Precision::default(), interval::scale(bounds));
    let precision = Precision { absolute: usual.absolute.mul_f64(scale.min(1.0)), ..usual };
    let prior = Prior::vendors_scaled(first, last, if scale < LAB_SCALE { scale } else { 1.0 });
    Ground::new(prior, precision)
}

/// The shortest lifetime that allows the ceiling.
pub(super) fn ceiling_lifetime(bounds: &IntervalBounds) -> Duration {
    interval::ceiling(bounds).div_f64(bounds.safety.clamp(0.05, 1.0))
}
