//! The governor against devices on fake time, second by second.

mod bounds;
mod changes;
mod comparisons;
mod learning;
mod memory;
mod rollouts;

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::probe::{ProbeOrder, ProbeOutcome};

use super::Governor;
use crate::keepalive::cohort::{CohortEntry, CohortIndex, CohortKey, Labels, Transport};
use crate::keepalive::observation::{BindingClass, Observation, ObservationKind, Probe, Silence};
use crate::keepalive::order::DeviceOrder;
use crate::keepalive::policy::{Fleet, Fleets, IntervalBounds, Pin, ProbeBudget, SecondAck};
use crate::keepalive::report::{CohortReport, Reason, Verdict};
use crate::time::{MonoTime, Tick, WallTime};

const START_MS: i64 = 1_700_000_000_000;

/// A device, its NAT, and what it was told.
struct Sim {
    id: DeviceId,
    cohort: u32,
    lifetime: f64,
    own: Option<Pace>,
    beat_at: f64,
    wait: f64,
    sequence: u32,
    flows: Vec<(f64, f64, BindingClass)>,
    unreachable: f64,
    tests: u32,
}

/// One cohort of them.
struct World {
    governor: Governor,
    devices: Vec<Sim>,
    second: u64,
    draws_ports: bool,
    loss: f64,
    random: u64,
    commands: usize,
    unreplied_tests: usize,
}

fn fleet() -> Fleet {
    Fleet::named("gateways")
}

fn entry(name: &str) -> CohortEntry {
    let labels: Labels = [("carrier".into(), name.into())].into();
    let key = CohortKey { name: format!("carrier={name}").into(), transport: Transport::Udp };
    CohortEntry { key, labels, fleet: Some("gateways".into()) }
}

fn tick(second: u64) -> Tick {
    let wall = WallTime::from_unix_ms(START_MS + second as i64 * 1_000);
    Tick { mono: MonoTime::from_start(Duration::from_secs(second)), wall }
}

impl World {
    fn new(fleet: Fleet, lifetimes: &[f64]) -> Self {
        let mut governor = Governor::new(Arc::new(Fleets { fleets: vec![Arc::new(fleet)] }));
        governor.add_cohort(&entry("a"));
        let mut world = Self {
            governor,
            devices: Vec::new(),
            second: 0,
            draws_ports: false,
            loss: 0.0,
            random: 7,
            commands: 0,
            unreplied_tests: 0,
        };
        lifetimes.iter().for_each(|lifetime| world.join(*lifetime));
        world
    }

    /// The same devices over connections.
    fn over_tcp(fleet: Fleet, lifetimes: &[f64]) -> Self {
        let mut governor = Governor::new(Arc::new(Fleets { fleets: vec![Arc::new(fleet)] }));
        let entry = entry("a");
        governor.add_cohort(&CohortEntry { key: CohortKey { transport: Transport::Tcp, ..entry.key }, ..entry });
        let mut world = Self { governor, ..Self::new(self::fleet(), &[]) };
        lifetimes.iter().for_each(|lifetime| world.join(*lifetime));
        world
    }

    fn join(&mut self, lifetime: f64) {
        let number = self.devices.len() as u128 + 1;
        let id = DeviceId(number.to_be_bytes());
        self.tell(0, ObservationKind::Present { device: id, can_probe: true, has_own: false });
        let beat_at = self.second as f64 + (number % 16) as f64;
        self.devices.push(Sim {
            id,
            cohort: 0,
            lifetime,
            own: None,
            beat_at,
            wait: 0.0,
            sequence: 0,
            flows: Vec::new(),
            unreachable: 0.0,
            tests: 0,
        });
    }

    fn tell(&mut self, cohort: u32, kind: ObservationKind) {
        let at = MonoTime::from_start(Duration::from_secs(self.second));
        self.governor.observe(&Observation { at, cohort: CohortIndex(cohort), kind });
    }

    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            let decided = self.governor.decide(tick(self.second));
            self.commands += decided.commands.len();
            for command in decided.commands {
                let index = u128::from_be_bytes(command.device.0) as usize - 1;
                match command.order {
                    DeviceOrder::Own(pace) => self.devices[index].own = Some(pace),
                    DeviceOrder::Cohort => self.devices[index].own = None,
                    DeviceOrder::Probe { order, class } => {
                        self.unreplied_tests += usize::from(class == BindingClass::Unreplied);
                        self.open(index, order, class);
                    }
                }
            }
            for index in 0..self.devices.len() {
                let pace = decided.orders.cohorts[self.devices[index].cohort as usize].pace;
                while self.devices[index].beat_at <= self.second as f64 {
                    self.beat(index, pace);
                }
                self.end_flows(index);
            }
        }
    }

    fn open(&mut self, index: usize, order: ProbeOrder, class: BindingClass) {
        let from = self.devices[index].beat_at.max(self.second as f64) + 2.1;
        let device = &mut self.devices[index];
        device.flows = order.cells().map(|cell| (from, cell.silence().as_secs_f64(), class)).collect();
        device.tests += u32::from(order.flows);
    }

    fn beat(&mut self, index: usize, pace: Pace) {
        let device = &mut self.devices[index];
        let cohort = device.cohort;
        let (silence, lifetime) = (device.wait, device.lifetime);
        device.unreachable += (silence - lifetime).max(0.0);
        device.sequence += 1;
        device.wait = device.own.unwrap_or(pace).wait(device.id, device.sequence).as_secs_f64();
        device.beat_at += device.wait;
        let has_moved = silence > lifetime && self.draws_ports;
        let gap = Duration::from_secs_f64(silence);
        let seen = Silence {
            device: device.id,
            class: BindingClass::Stream,
            silence: gap,
            gap,
            has_moved,
            is_same_address: true,
            is_doubtful: false,
        };
        self.tell(cohort, ObservationKind::Silence(seen));
    }

    fn end_flows(&mut self, index: usize) {
        let now = self.second as f64;
        let (done, open) = self.devices[index].flows.iter().partition(|(from, silence, _)| from + silence <= now);
        self.devices[index].flows = open;
        let done: Vec<(f64, f64, BindingClass)> = done;
        for (_, silence, class) in done {
            let device = &self.devices[index];
            let lifetime = if class == BindingClass::Stream { device.lifetime } else { device.lifetime.min(30.2) };
            let (id, cohort) = (device.id, device.cohort);
            let is_false = self.chance() < self.loss;
            let outcome = if silence < lifetime && !is_false { ProbeOutcome::Survived } else { ProbeOutcome::Expired };
            let probe = Probe {
                device: id,
                class,
                silence: Duration::from_secs_f64(silence),
                outcome,
                controls: 3,
                is_port_kept: Some(!self.draws_ports),
            };
            self.tell(cohort, ObservationKind::Probe(probe));
        }
    }

    fn interval(&self, index: usize) -> f64 {
        let device = &self.devices[index];
        let pace = device.own.unwrap_or(self.governor.orders.cohorts[device.cohort as usize].pace);
        pace.interval.as_secs_f64()
    }

    fn unreachable(&self) -> f64 {
        self.devices.iter().map(|device| device.unreachable).sum()
    }

    fn report(&self) -> CohortReport {
        self.governor.reports().swap_remove(0)
    }

    fn tests_each(&self) -> f64 {
        f64::from(self.devices.iter().map(|device| device.tests).sum::<u32>()) / self.devices.len() as f64
    }

    /// That each device's longest wait is below each gap that it is known not to survive.
    fn check(&self) {
        for (index, device) in self.devices.iter().enumerate() {
            let slot = self.governor.devices.find(device.id).expect("it is known");
            let Some(expired) = self.governor.devices.get(slot).shown.expired() else { continue };
            let pace = device.own.unwrap_or(self.governor.orders.cohorts[device.cohort as usize].pace);
            let is_floor = pace.interval <= Duration::from_secs(15);
            assert!(is_floor || pace.longest() < expired.silence(), "device {index}: {pace:?}, {expired:?}");
        }
    }
}

/// Within which part of 0.75 x its lifetime a device's interval is.
fn assert_paced(world: &World, low: f64) {
    for (index, device) in world.devices.iter().enumerate() {
        let part = world.interval(index) / (0.75 * device.lifetime);
        assert!((low..=1.0).contains(&part), "device {index} of {}: {}", device.lifetime, world.interval(index));
    }
}
