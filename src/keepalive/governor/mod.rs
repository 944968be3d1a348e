//! The owner of the second loop's state: observations come in, orders and commands go out.
//!
//! ```text
//!  Observation ─▶ intake ─▶ learning (one box? several?) ─▶ pacing ─▶ Orders, and what devices are offered
//!                    └────▶ what the device showed ──▶ review ─▶ DeviceCommands: its own pace, its next test
//! ```
//!
//! The cohort's order is what a device may do of which nothing is known. It stays at the floor until nine devices in ten
//! have survived more; each that has is raised by itself before, each that has not is kept back by itself afterwards.
//! All of it is by level and not by edge: reviewing twice says the same. But what a device was told is taken for what it
//! has: that a command arrives in the end is for the edges, which keep the latest one of each device, and a test of which
//! nothing is heard is ordered again.
//!
//! A decision costs what has changed: cohorts are walked (at most 4,096), devices only where their evidence or their
//! cohort's offers changed, and [`review::COMMANDS_MAX`] of them at a time.

mod balancer;
mod boxes;
mod cohort;
pub mod comparisons;
mod decision;
mod devices;
mod due;
mod intake;
mod learning;
pub mod memory;
mod neighbours;
mod pacing;
mod release;
mod review;
mod roll;
pub mod rollouts;
mod rounds;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;

use self::cohort::Cohort;
use self::comparisons::Comparison;
use self::devices::{DEVICES_MAX, Devices, Slot};
use self::due::Due;
use self::learning::Ground;
use self::memory::{CohortMemory, LOWER_MAX, Memory};
use super::cohort::{CohortEntry, CohortIndex};
use super::device::Shown;
use super::observation::{Observation, ObservationKind};
use super::order::{DeviceCommand, Orders};
use super::policy::{Fleet, Fleets, IntervalBounds};
use super::report::{CohortReport, Reason, RolloutReport};
use super::wave::audit::Event;
use crate::time::{MonoTime, Tick};

/// Cohorts of an earlier process that are kept in mind until devices of them appear.
const REMEMBERED_MAX: usize = 4_096;

/// Decides how all devices are paced.
#[derive(Debug)]
pub struct Governor {
    fleets: Arc<Fleets>,
    strangers: Arc<Fleet>,
    cohorts: Vec<Cohort>,
    devices: Devices,
    due: Due,
    touched: Vec<Slot>,
    remembered: Vec<CohortMemory>,
    /// Devices that were worse off than their cohort, until they appear.
    worse_off: HashMap<DeviceId, Shown>,
    orders: Arc<Orders>,
    generation: u64,
    is_one_value: bool,
    next_swept: usize,
    ground: Option<(IntervalBounds, Arc<Ground>)>,
    /// Of the last decision.
    now: Tick,
    /// What happened to rollouts since then, and those that ended.
    events: Vec<Event>,
    ended: Vec<RolloutReport>,
    /// Those that end until the next one.
    ending: Vec<RolloutReport>,
    /// AB tests that the fleet files ask for.
    comparisons: Vec<Comparison>,
}

/// What one decision says.
#[derive(Debug, Clone)]
pub struct Decided {
    /// For all devices, by cohort.
    pub orders: Arc<Orders>,
    /// Whether the orders are others than the last ones.
    pub is_changed: bool,
    /// For single devices.
    pub commands: Vec<DeviceCommand>,
    /// What happened to rollouts since the last decision.
    pub events: Vec<Event>,
}

impl Governor {
    /// Knows no cohort yet.
    pub fn new(fleets: Arc<Fleets>) -> Self {
        let mut this = Self {
            fleets: Arc::clone(&fleets),
            strangers: Arc::new(Fleet::named("")),
            cohorts: Vec::new(),
            devices: Devices::new(DEVICES_MAX),
            due: Due::default(),
            touched: Vec::new(),
            remembered: Vec::new(),
            worse_off: HashMap::new(),
            orders: Arc::default(),
            generation: 0,
            is_one_value: false,
            next_swept: 0,
            ground: None,
            now: Tick::default(),
            events: Vec::new(),
            ended: Vec::new(),
            ending: Vec::new(),
            comparisons: Vec::new(),
        };
        this.set_comparisons(&fleets);
        this
    }

    /// Other bounds, budgets and pins from now on; what was learnt stays.
    pub fn set_fleets(&mut self, fleets: Arc<Fleets>) {
        self.set_comparisons(&fleets);
        self.fleets = fleets;
        for at in 0..self.cohorts.len() {
            let fleet = self.fleet_of(&self.cohorts[at].entry);
            let ground = self.ground_of(&fleet);
            let dropped = self.cohorts[at].set_fleet(fleet, &ground);
            dropped.into_iter().for_each(|rollout| self.release_at_once(rollout));
        }
    }

    /// One more cohort; its index is the number of those told before.
    pub fn add_cohort(&mut self, entry: &CohortEntry) {
        let index = CohortIndex(u32::try_from(self.cohorts.len()).unwrap_or(u32::MAX));
        let fleet = self.fleet_of(entry);
        let ground = self.ground_of(&fleet);
        let mut cohort = Cohort::new(index, entry.clone(), fleet, &ground);
        if let Some(at) = self.remembered.iter().position(|memory| memory.is_of(entry)) {
            cohort.remember(&self.remembered.swap_remove(at));
        }
        self.cohorts.push(cohort);
    }

    /// Takes in what an edge saw.
    pub fn observe(&mut self, observation: &Observation) {
        let Some(at) = self.place(observation.cohort) else { return };
        match observation.kind {
            ObservationKind::Present { device, can_probe, has_own } => self.arrive(at, device, (can_probe, has_own)),
            ObservationKind::Absent { device } => self.leave(device),
            ObservationKind::Beat(beat) => self.take_beat(at, &beat, observation.at),
            ObservationKind::Loss { sent, unanswered } => self.cohorts[at].take_loss(sent, unanswered),
            ObservationKind::Silence(seen) => {
                self.with(at, seen.device, |cohort, device| cohort.take_silence(device, &seen));
            }
            ObservationKind::Probe(probe) => {
                self.with(at, probe.device, |cohort, device| cohort.take_probe(device, &probe));
            }
            ObservationKind::Push { device, silence, is_confirmed } => {
                self.with(at, device, |cohort, device| cohort.take_push(device, silence, is_confirmed));
            }
        }
    }

    /// Decides anew. Costs what has changed since the last time, not what there is.
    pub fn decide(&mut self, now: Tick) -> Decided {
        let unix_ms = u64::try_from(now.wall.unix_ms()).unwrap_or(0);
        let generation = (self.generation + 1).max(unix_ms);
        let second = u32::try_from(now.mono.since(MonoTime::default()).as_secs()).unwrap_or(u32::MAX);
        self.end_silent_tests(second);
        self.step_comparisons(now);
        self.step_rollouts(now, generation);
        let is_changed = self.decide_cohorts(now, second, generation);
        let commands = self.decide_devices(now, second, generation);
        let is_changed = is_changed || self.orders.cohorts.len() != self.cohorts.len();
        if is_changed || !commands.is_empty() {
            self.generation = generation;
        }
        if is_changed {
            let cohorts = self.cohorts.iter().map(|cohort| Arc::clone(&cohort.told.order)).collect();
            self.orders = Arc::new(Orders { generation, cohorts });
        }
        self.ended = std::mem::take(&mut self.ending);
        let events = std::mem::take(&mut self.events);
        Decided { orders: Arc::clone(&self.orders), is_changed, commands, events }
    }

    /// What is known and decided of each cohort.
    pub fn reports(&self) -> Vec<CohortReport> {
        let is_asked_of_lifetimes =
            |reason| matches!(reason, Reason::LowerBound | Reason::Hysteresis | Reason::Shorter);
        let mut reports: Vec<CohortReport> = self.cohorts.iter().map(Cohort::report).collect();
        for report in reports.iter_mut().filter(|report| self.is_one_value && is_asked_of_lifetimes(report.reason)) {
            report.reason = Reason::OwnLoadBalancer;
        }
        reports
    }

    /// What a later process needs to know.
    pub fn memory(&self) -> Memory {
        let mut room = LOWER_MAX;
        let known = self.cohorts.iter().map(|cohort| cohort.memory(&self.devices, &mut room));
        let cohorts = known.chain(self.remembered.iter().cloned());
        let cohorts = cohorts.take(REMEMBERED_MAX).collect();
        Memory { generation: self.generation, cohorts, comparisons: self.comparisons.clone() }
    }

    /// Takes up what an earlier process knew.
    pub fn remember(&mut self, memory: Memory) {
        self.generation = self.generation.max(memory.generation);
        self.remember_comparisons(memory.comparisons);
        self.remembered = memory.cohorts;
        self.remembered.truncate(REMEMBERED_MAX);
        let worse_off = self.remembered.iter().flat_map(CohortMemory::worse_off);
        self.worse_off = worse_off.take(LOWER_MAX).collect();
        for cohort in &mut self.cohorts {
            if let Some(at) = self.remembered.iter().position(|memory| memory.is_of(&cohort.entry)) {
                cohort.remember(&self.remembered.swap_remove(at));
            }
        }
    }

    fn place(&self, cohort: CohortIndex) -> Option<usize> {
        let at = cohort.0 as usize;
        if at < self.cohorts.len() { Some(at) } else { (!self.cohorts.is_empty()).then_some(0) }
    }

    fn fleet_of(&self, entry: &CohortEntry) -> Arc<Fleet> {
        let found = self.fleets.fleets.iter().find(|fleet| Some(&fleet.name) == entry.fleet.as_ref());
        Arc::clone(found.unwrap_or(&self.strangers))
    }

    /// What is believed before anything is seen depends on the bounds alone; the last one made is mostly the next, too.
    fn ground_of(&mut self, fleet: &Fleet) -> Arc<Ground> {
        if let Some((_, ground)) = self.ground.as_ref().filter(|(bounds, _)| *bounds == fleet.interval) {
            return Arc::clone(ground);
        }
        let ground = Arc::new(cohort::ground(&fleet.interval));
        self.ground = Some((fleet.interval, Arc::clone(&ground)));
        ground
    }
}
