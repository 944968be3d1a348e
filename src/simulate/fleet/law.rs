//! The laws that can be run on a fleet: the real governor, one interval for all, and the limit that knows every NAT.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;

use super::scenario::{FleetLaw, Nat};
use crate::keepalive::cohort::{CohortEntry, CohortIndex};
use crate::keepalive::governor::{Decided, Governor};
use crate::keepalive::interval;
use crate::keepalive::observation::Observation;
use crate::keepalive::order::{CohortOrder, DeviceCommand, DeviceOrder, Orders};
use crate::keepalive::policy::{Fleet, Fleets};
use crate::keepalive::report::RolloutReport;
use crate::keepalive::wave::spec::Command;
use crate::time::{Tick, WallTime};

/// A law under test.
#[derive(Debug)]
pub(super) enum Law {
    Adaptive(Box<Governor>),
    Fixed(Arc<Orders>),
    Oracle(Oracle),
}

/// Each device at what its own NAT bears, from the moment it does.
#[derive(Debug)]
pub(super) struct Oracle {
    policy: Arc<Fleet>,
    orders: Arc<Orders>,
    told: Vec<Duration>,
    generation: u64,
}

/// What is true, for those who may know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth<'a> {
    pub(super) nats: &'a [Nat],
    /// Device, its cohort and its NAT.
    pub(super) devices: &'a [(DeviceId, CohortIndex, u32)],
    /// Whether a NAT has changed since the last tick.
    pub(super) is_changed: bool,
}

/// From this silence on a heartbeat is acked twice, where the law does not know better.
const SECOND_ACK_AFTER: Duration = Duration::from_secs(15);

impl Law {
    /// The law of a kind for these cohorts.
    pub(super) fn new(kind: FleetLaw, policy: &Arc<Fleet>, cohorts: &[CohortEntry]) -> Self {
        match kind {
            FleetLaw::Adaptive => {
                let mut governor = Governor::new(fleets(policy));
                cohorts.iter().for_each(|cohort| governor.add_cohort(cohort));
                Self::Adaptive(Box::new(governor))
            }
            FleetLaw::Fixed { seconds, has_second_acks } => {
                let interval = Duration::from_secs(u64::from(seconds));
                let pace = Pace { generation: 1, interval, jitter: 0, retry: 0, is_hostile: false };
                Self::Fixed(orders(cohorts, pace, has_second_acks))
            }
            FleetLaw::Oracle => {
                let floor = interval::pace(&policy.interval, interval::floor(&policy.interval), 1);
                let orders = orders(cohorts, floor, true);
                Self::Oracle(Oracle { policy: Arc::clone(policy), orders, told: Vec::new(), generation: 1 })
            }
        }
    }

    /// One tick: what was seen, and what follows.
    pub(super) fn tick(&mut self, now: Tick, seen: &mut Vec<Observation>, truth: &Truth<'_>) -> Decided {
        let always = |orders: &Arc<Orders>, commands| Decided {
            orders: Arc::clone(orders),
            is_changed: false,
            commands,
            events: Vec::new(),
        };
        match self {
            Self::Adaptive(governor) => {
                seen.drain(..).for_each(|observation| governor.observe(&observation));
                governor.decide(now)
            }
            Self::Fixed(orders) => {
                seen.clear();
                always(orders, Vec::new())
            }
            Self::Oracle(oracle) => {
                seen.clear();
                let commands = if truth.is_changed { oracle.commands(truth) } else { Vec::new() };
                always(&oracle.orders, commands)
            }
        }
    }

    /// Another policy is in force.
    pub(super) fn follows(&mut self, policy: &Arc<Fleet>) {
        match self {
            Self::Adaptive(governor) => governor.set_fleets(fleets(policy)),
            Self::Oracle(oracle) => {
                oracle.policy = Arc::clone(policy);
                oracle.told.clear();
            }
            Self::Fixed(_) => {}
        }
    }

    /// The operator says this of the rollouts of these cohorts; how many obey.
    pub(super) fn command(&mut self, cohorts: &[&str], command: Command, now: WallTime) -> usize {
        let Self::Adaptive(governor) = self else { return 0 };
        let theirs = governor.rollouts().into_iter().filter(|rollout| cohorts.contains(&&*rollout.spec.cohort));
        let (who, why) = ("operator".into(), "scenario".into());
        theirs.filter(|rollout| governor.command(&rollout.spec.id, command, (&who, &why), now).is_ok()).count()
    }

    /// Rollouts, as operators are told.
    pub(super) fn rollouts(&self) -> Vec<RolloutReport> {
        if let Self::Adaptive(governor) = self { governor.rollouts() } else { Vec::new() }
    }

    /// Devices are behind other NATs than they were.
    pub(super) fn forgets_what_it_told(&mut self) {
        if let Self::Oracle(oracle) = self {
            oracle.told.clear();
        }
    }

    /// The process ends; another one begins with what was stored.
    pub(super) fn restarts(&mut self, policy: &Arc<Fleet>, cohorts: &[CohortEntry]) {
        if let Self::Adaptive(governor) = self {
            let memory = governor.memory();
            let mut next = Governor::new(fleets(policy));
            cohorts.iter().for_each(|cohort| next.add_cohort(cohort));
            next.remember(memory);
            **governor = next;
        }
        self.forgets_what_it_told();
    }
}

impl Oracle {
    fn commands(&mut self, truth: &Truth<'_>) -> Vec<DeviceCommand> {
        self.told.resize(truth.nats.len(), Duration::ZERO);
        let mut is_new = vec![false; truth.nats.len()];
        for (i, nat) in truth.nats.iter().enumerate() {
            is_new[i] = std::mem::replace(&mut self.told[i], nat.stream) != nat.stream;
        }
        self.generation += 1;
        let bounds = &self.policy.interval;
        let command = |&(device, cohort, nat): &(DeviceId, CohortIndex, u32)| {
            let interval = interval::paced(bounds, self.told[nat as usize]).interval;
            let order = DeviceOrder::Own(interval::pace(bounds, interval, self.generation));
            DeviceCommand { device, cohort, order, is_urgent: false }
        };
        truth.devices.iter().filter(|(_, _, nat)| is_new[*nat as usize]).map(command).collect()
    }
}

fn fleets(policy: &Arc<Fleet>) -> Arc<Fleets> {
    Arc::new(Fleets { fleets: vec![Arc::clone(policy)] })
}

fn orders(cohorts: &[CohortEntry], pace: Pace, has_second_acks: bool) -> Arc<Orders> {
    let order = |cohort: &CohortEntry| {
        Arc::new(CohortOrder {
            key: cohort.key.clone(),
            pace,
            second_ack_after: has_second_acks.then_some(SECOND_ACK_AFTER),
            tell_silences_from: Duration::MAX,
            tell_beats: None,
        })
    };
    Arc::new(Orders { generation: 1, cohorts: cohorts.iter().map(order).collect() })
}
