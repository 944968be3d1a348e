//! The owner of the second loop's state: observations come in, orders and commands go out.

mod devices;
pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::jitter::Pace;

use self::memory::Memory;
use super::cohort::CohortEntry;
use super::interval;
use super::observation::{BindingClass, Observation};
use super::order::{CohortOrder, DeviceCommand, Orders};
use super::policy::{Fleet, Fleets, SecondAck};
use super::report::{CohortReport, Evidence, LifetimeReport, Reason, Verdict};
use crate::time::{Tick, WallTime};

/// Decides how all devices are paced.
#[derive(Debug)]
pub struct Governor {
    fleets: Arc<Fleets>,
    strangers: Arc<Fleet>,
    cohorts: Vec<CohortEntry>,
    orders: Arc<Orders>,
    is_dirty: bool,
    decided_at: WallTime,
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
}

impl Governor {
    /// Knows no cohort yet.
    pub fn new(fleets: Arc<Fleets>) -> Self {
        Self {
            fleets,
            strangers: Arc::new(Fleet::named("")),
            cohorts: Vec::new(),
            orders: Arc::default(),
            is_dirty: true,
            decided_at: WallTime::default(),
        }
    }

    /// Other bounds, budgets and pins from now on; what was learnt stays.
    pub fn set_fleets(&mut self, fleets: Arc<Fleets>) {
        self.fleets = fleets;
        self.is_dirty = true;
    }

    /// One more cohort; its index is the number of those told before.
    pub fn add_cohort(&mut self, entry: &CohortEntry) {
        self.cohorts.push(entry.clone());
        self.is_dirty = true;
    }

    /// Takes in what an edge saw.
    pub fn observe(&mut self, _observation: &Observation) {}

    /// Decides anew. Costs what has changed since the last time, not what there is.
    pub fn decide(&mut self, now: Tick) -> Decided {
        let is_changed = std::mem::take(&mut self.is_dirty);
        if is_changed {
            let unix_ms = u64::try_from(now.wall.unix_ms()).unwrap_or(0);
            let generation = (self.orders.generation + 1).max(unix_ms);
            let cohorts = self.cohorts.iter().map(|entry| Arc::new(self.order(entry, generation))).collect();
            self.orders = Arc::new(Orders { generation, cohorts });
            self.decided_at = now.wall;
        }
        Decided { orders: Arc::clone(&self.orders), is_changed, commands: Vec::new() }
    }

    /// What is known and decided of each cohort.
    pub fn reports(&self) -> Vec<CohortReport> {
        let decided = self.cohorts.iter().zip(&self.orders.cohorts);
        decided.map(|(entry, order)| self.report(entry, order.pace)).collect()
    }

    /// What a later process needs to know.
    pub fn memory(&self) -> Memory {
        Memory { generation: self.orders.generation }
    }

    /// Takes up what an earlier process knew.
    pub fn remember(&mut self, memory: Memory) {
        let mut orders = Orders::clone(&self.orders);
        orders.generation = orders.generation.max(memory.generation);
        self.orders = Arc::new(orders);
        self.is_dirty = true;
    }

    fn fleet(&self, entry: &CohortEntry) -> &Fleet {
        let found = self.fleets.fleets.iter().find(|fleet| Some(&fleet.name) == entry.fleet.as_ref());
        found.unwrap_or(&self.strangers)
    }

    fn order(&self, entry: &CohortEntry, generation: u64) -> CohortOrder {
        let fleet = self.fleet(entry);
        let floor = interval::floor(&fleet.interval);
        let second_ack_after = match fleet.second_ack {
            SecondAck::After(least) => Some(least),
            SecondAck::Off => None,
        };
        let pace = interval::pace(&fleet.interval, floor, generation);
        CohortOrder { key: entry.key.clone(), pace, second_ack_after, tell_silences_from: floor }
    }

    fn report(&self, entry: &CohortEntry, pace: Pace) -> CohortReport {
        let lifetime = |class| LifetimeReport {
            class,
            quantiles: [Duration::from_secs(10), Duration::from_secs(90), Duration::from_secs(7_200)],
            lower_bound: Duration::from_secs(10),
            upper_bound: Duration::from_secs(7_200),
            confidence: 0.999,
        };
        CohortReport {
            key: entry.key.clone(),
            fleet: entry.fleet.clone(),
            lifetimes: [lifetime(BindingClass::Stream), lifetime(BindingClass::Unreplied)],
            pace,
            devices: 0,
            devices_own: 0,
            loss_ratio: 0.0,
            evidence: Evidence::default(),
            verdict: Verdict::Learning,
            reason: Reason::Prior,
            tests_to_be_surer: 12,
            decided_at: self.decided_at,
        }
    }
}
