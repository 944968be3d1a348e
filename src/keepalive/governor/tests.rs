//! The governor against devices on fake time, second by second.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::probe::{ProbeOrder, ProbeOutcome};

use super::Governor;
use crate::keepalive::cohort::{CohortEntry, CohortIndex, CohortKey, Labels, Transport};
use crate::keepalive::observation::{BindingClass, Observation, ObservationKind, Probe, Silence};
use crate::keepalive::order::DeviceOrder;
use crate::keepalive::policy::{Fleet, Fleets, IntervalBounds, Pin};
use crate::keepalive::report::{Reason, Verdict};
use crate::time::{MonoTime, Tick, WallTime};

const START_MS: i64 = 1_700_000_000_000;

/// A device, its NAT, and what it was told.
struct Sim {
    id: DeviceId,
    lifetime: f64,
    own: Option<Pace>,
    beat_at: f64,
    wait: f64,
    sequence: u32,
    flows: Vec<(f64, f64, BindingClass)>,
    beats: u32,
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
        let mut world =
            Self { governor, devices: Vec::new(), second: 0, draws_ports: false, loss: 0.0, random: 7, commands: 0 };
        lifetimes.iter().for_each(|lifetime| world.join(*lifetime));
        world
    }

    fn join(&mut self, lifetime: f64) {
        let number = self.devices.len() as u128 + 1;
        let id = DeviceId(number.to_be_bytes());
        self.tell(ObservationKind::Present { device: id, can_probe: true });
        let beat_at = self.second as f64 + (number % 16) as f64;
        self.devices.push(Sim {
            id,
            lifetime,
            own: None,
            beat_at,
            wait: 15.0,
            sequence: 0,
            flows: Vec::new(),
            beats: 0,
            unreachable: 0.0,
            tests: 0,
        });
    }

    fn tell(&mut self, kind: ObservationKind) {
        let at = MonoTime::from_start(Duration::from_secs(self.second));
        self.governor.observe(&Observation { at, cohort: CohortIndex(0), kind });
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
                    DeviceOrder::Probe { order, class } => self.open(index, order, class),
                }
            }
            let pace = decided.orders.cohorts[0].pace;
            for index in 0..self.devices.len() {
                self.beat(index, pace);
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
        let now = self.second as f64;
        let device = &mut self.devices[index];
        if device.beat_at > now {
            return;
        }
        let (silence, lifetime) = (device.wait, device.lifetime);
        device.unreachable += (silence - lifetime).max(0.0);
        device.beats += 1;
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
        self.tell(ObservationKind::Silence(seen));
    }

    fn end_flows(&mut self, index: usize) {
        let now = self.second as f64;
        let (done, open) = self.devices[index].flows.iter().partition(|(from, silence, _)| from + silence <= now);
        self.devices[index].flows = open;
        let done: Vec<(f64, f64, BindingClass)> = done;
        for (_, silence, class) in done {
            let device = &self.devices[index];
            let (id, lifetime) = (device.id, if class == BindingClass::Stream { device.lifetime } else { 30.2 });
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
            self.tell(ObservationKind::Probe(probe));
        }
    }

    fn interval(&self, index: usize) -> f64 {
        let pace = self.devices[index].own.unwrap_or(self.governor.orders.cohorts[0].pace);
        pace.interval.as_secs_f64()
    }

    fn unreachable(&self) -> f64 {
        self.devices.iter().map(|device| device.unreachable).sum()
    }

    fn show(&self, title: &str) {
        let report = &self.governor.reports()[0];
        let beats: u32 = self.devices.iter().map(|device| device.beats).sum();
        let tests: u32 = self.devices.iter().map(|device| device.tests).sum();
        let n = self.devices.len() as f64;
        println!(
            "{title} t={} pace {:?} {:?} {:?} own {} offers {:?} counts {:?} learnt {} bounds {:?} beats {:.1} flows {:.1} commands {:.1} unreachable {:.1} unreplied {:?} to_be_surer {}",
            self.second,
            report.pace.interval,
            report.verdict,
            report.reason,
            report.devices_own,
            self.governor.cohorts[0].offers.iter().map(|c| c.silence().as_secs_f64()).collect::<Vec<_>>(),
            self.governor.cohorts[0].counts,
            self.governor.cohorts[0].paced().lowest().is_learnt(),
            (report.lifetimes[0].lower_bound, report.lifetimes[0].upper_bound),
            f64::from(beats) / n,
            f64::from(tests) / n,
            self.commands as f64 / n,
            self.unreachable(),
            (report.lifetimes[1].lower_bound, report.lifetimes[1].upper_bound),
            report.tests_to_be_surer,
        );
    }
}

#[test]
fn explore() {
    for (name, lifetimes) in [
        ("one box 117", vec![117.0; 100]),
        ("one box 30", vec![30.0; 100]),
        ("62 and 117", (0..100).map(|i| if i % 5 < 2 { 62.0 } else { 117.0 }).collect()),
        ("62 then 117", [vec![62.0; 40], vec![117.0; 60]].concat()),
        ("three", (0..150).map(|i| [30.0, 95.0, 300.0][i % 3]).collect()),
        ("1 % rare", [vec![31.0; 4], vec![117.0; 396]].concat()),
        ("300", vec![300.0; 50]),
        ("small", vec![95.0; 3]),
        ("hostile", vec![12.0; 30]),
    ] {
        let mut world = World::new(fleet(), &lifetimes);
        for _ in 0..12 {
            world.run(150);
            world.show(name);
        }
        world.run(7_200);
        world.show(name);
    }
    let _ = (Reason::Prior, Verdict::Learning, IntervalBounds::default(), None::<Pin>);
}
