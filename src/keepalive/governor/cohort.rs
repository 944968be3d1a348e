//! A cohort's state: what is known of it, who is of it, what is under way, and what it is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::probe::Cell;

use super::boxes::Boxes;
use super::devices::{Device, Devices, Slot};
use super::learning;
use super::pacing::Told;
use super::rounds::Round;
use crate::keepalive::change::{Change, Watch};
use crate::keepalive::cohort::{CohortEntry, CohortIndex};
use crate::keepalive::device::Offer;
use crate::keepalive::interval;
use crate::keepalive::lifetime::channel::Channel;
use crate::keepalive::lifetime::prior::Prior;
use crate::keepalive::lifetime::probe::Precision;
use crate::keepalive::observation::BindingClass;
use crate::keepalive::policy::{Fleet, IntervalBounds, SecondAck};
use crate::keepalive::ports::Ports;
use crate::keepalive::report::Evidence;

/// Lifetimes looked for, as multiples of the floor: 10 s to 2 h for 15 s.
const RANGE_PER_FLOOR: (f64, f64) = (2.0 / 3.0, 480.0);
/// Survivals of distinct devices that exclude a box of 1 % at 99.9 %: ln 0.001 / ln 0.99. A cohort of which so many are
/// known, and none that is worse off, is trusted with devices that have shown nothing yet.
const TRUSTED_SURVIVALS: u32 = 688;

/// A cohort.
#[derive(Debug)]
pub struct Cohort {
    /// Its place.
    pub index: CohortIndex,
    /// What it is.
    pub entry: CohortEntry,
    /// Whose bounds, budgets and pins count.
    pub fleet: Arc<Fleet>,
    /// By class of binding.
    pub boxes: [Boxes; 2],
    /// How often a living binding looks expired.
    pub channel: Channel,
    /// Datagrams in short gaps, and those of them that had to be sent again.
    pub sent: [u64; 2],
    /// Whether ports are kept.
    pub ports: Ports,
    /// For changes.
    pub watch: Watch,
    /// One that was found, and not acted on yet.
    pub change: Option<Change>,
    /// Since the start or the last change.
    pub evidence: Evidence,
    /// Who is of it.
    pub members: Vec<Slot>,
    /// How many of them are what.
    pub counts: Counts,
    /// Lifetimes that devices may try and be paced for, shortest first.
    pub offers: Vec<Offer>,
    /// An earlier process knew it, and its devices are paced by what that knew.
    pub is_remembered: bool,
    /// What it is told.
    pub told: Told,
    /// Devices that wait for a test.
    pub waiting: VecDeque<Slot>,
    /// Members that are still to be looked at since the offers or the order changed.
    pub sweep: usize,
    /// The round of tests under way.
    pub round: Round,
    /// Something was seen, or set, that may change what it is told.
    pub is_dirty: bool,
}

/// How many members are what; those that are away do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// There.
    pub present: u32,
    /// That make tests.
    pub probing: u32,
    /// That make tests, and survived the shortest offer.
    pub proven: u32,
    /// That did not survive it.
    pub lower: u32,
    /// With a pace of their own.
    pub own: u32,
    /// Of these, with the same one that the cohort has.
    pub same: u32,
    /// That are testing.
    pub testing: u32,
}

impl Cohort {
    /// Of which nothing is known but what neighbours have.
    pub fn new(index: CohortIndex, entry: CohortEntry, fleet: Arc<Fleet>) -> Self {
        let fresh = || unknown(&fleet.interval);
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
            waiting: VecDeque::new(),
            sweep: 0,
            round: Round::default(),
            is_dirty: true,
            entry,
            fleet,
        }
    }

    /// Which bindings the pace is made for: without a second ack those that carry messages may be unreplied ones.
    pub fn paced_class(&self) -> BindingClass {
        if self.fleet.second_ack == SecondAck::Off { BindingClass::Unreplied } else { BindingClass::Stream }
    }

    /// What is known of a class.
    pub fn of(&mut self, class: BindingClass) -> &mut Boxes {
        &mut self.boxes[place(class)]
    }

    /// What is known of the bindings that the pace is made for.
    pub fn paced(&self) -> &Boxes {
        &self.boxes[place(self.paced_class())]
    }

    /// What the floor serves in any case.
    pub fn lowest(&self) -> Cell {
        Cell::at_most(interval::floor_lifetime(&self.fleet.interval))
    }

    /// Whether devices that have shown nothing yet may go by the cohort.
    pub fn is_trusted(&self) -> bool {
        self.is_remembered || (self.counts.proven >= TRUSTED_SURVIVALS && self.counts.lower == 0)
    }

    /// Whether a device has shown as much as the shortest offer asks for.
    pub fn is_proven(&self, device: &Device) -> bool {
        let Some(first) = self.offers.first() else { return false };
        first.lower <= self.lowest() || device.shown.survived().is_some_and(|survived| survived >= first.lower)
    }

    /// Whether a device has shown that it cannot do with the shortest offer.
    pub fn is_lower(&self, device: &Device) -> bool {
        let Some(first) = self.offers.first() else { return false };
        device.shown.expired().is_some_and(|expired| expired <= first.lower)
    }

    /// Takes a device into the list of members.
    pub fn join(&mut self, devices: &mut Devices, slot: Slot) {
        devices.get_mut(slot).position = u32::try_from(self.members.len()).expect("as bounded as the devices");
        self.members.push(slot);
    }

    /// Takes a device out of it.
    pub fn part(&mut self, devices: &mut Devices, slot: Slot) {
        let position = devices.get(slot).position as usize;
        self.members.swap_remove(position);
        if let Some(moved) = self.members.get(position) {
            devices.get_mut(*moved).position = position as u32;
        }
        self.sweep = self.sweep.min(self.members.len());
    }

    /// Begins to learn a class anew.
    pub fn forget(&mut self, class: BindingClass) {
        self.boxes[place(class)] = unknown(&self.fleet.interval);
        self.round = Round::default();
        self.watch.restart();
        self.is_dirty = true;
    }

    /// Another fleet's, or other, bounds, budgets and pins.
    pub fn set_fleet(&mut self, fleet: Arc<Fleet>) {
        let is_other_range = fleet.interval != self.fleet.interval;
        self.fleet = fleet;
        if is_other_range {
            // Lifetimes are looked for within the bounds. Devices keep what they have shown.
            self.boxes = std::array::from_fn(|_| unknown(&self.fleet.interval));
            self.round = Round::default();
        }
        self.is_dirty = true;
        self.look_at_all();
    }

    /// The shortest interval.
    pub fn floor(&self) -> Duration {
        interval::floor(&self.fleet.interval)
    }

    /// Has all members looked at again.
    pub fn look_at_all(&mut self) {
        self.sweep = self.members.len();
    }

    /// Devices that may test at the same time, when this part of those that can may.
    pub fn devices_at_a_time(&self, part: f64) -> u32 {
        let devices = (f64::from(self.counts.probing) * part.clamp(0.0, 1.0)).ceil();
        (devices as u32).max(1)
    }
}

/// Where a class is in arrays of both.
pub const fn place(class: BindingClass) -> usize {
    match class {
        BindingClass::Stream => 0,
        BindingClass::Unreplied => 1,
    }
}

/// What lifetimes may be for a fleet of these bounds. Longer ones than its ceiling asks for are all alike.
fn unknown(bounds: &IntervalBounds) -> Boxes {
    let floor = interval::floor(bounds);
    let (shortest, longest) = (floor.mul_f64(RANGE_PER_FLOOR.0), floor.mul_f64(RANGE_PER_FLOOR.1));
    let (first, last) = learning::range(shortest, longest.min(ceiling_lifetime(bounds).mul_f64(1.1)));
    let usual = Precision::default();
    let precision = Precision { absolute: usual.absolute.mul_f64(interval::scale(bounds).min(1.0)), ..usual };
    Boxes::new(Prior::vendors(first, last), precision)
}

/// The shortest lifetime that allows the ceiling.
pub fn ceiling_lifetime(bounds: &IntervalBounds) -> Duration {
    interval::ceiling(bounds).div_f64(bounds.safety.clamp(0.05, 1.0))
}
