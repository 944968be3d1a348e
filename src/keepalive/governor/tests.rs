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
        self.tell(0, ObservationKind::Present { device: id, can_probe: true });
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

#[test]
fn one_box_is_learnt_in_minutes_for_few_tests_and_no_message() {
    for lifetime in [30.0, 62.5, 117.0, 300.0] {
        let mut world = World::new(fleet(), &[lifetime; 100]);
        world.run(400 + 4 * lifetime as u64);
        assert_paced(&world, 0.98);
        assert_eq!((world.unreachable(), world.report().reason), (0.0, Reason::LowerBound));
        assert!(world.tests_each() < 6.0, "{lifetime}: {}", world.tests_each());
        let bounds = *world.report().stream();
        assert!(bounds.lower_bound.as_secs_f64() <= lifetime && lifetime <= bounds.upper_bound.as_secs_f64());
    }
}

#[test]
fn each_box_of_a_mixture_keeps_its_own_interval() {
    for boxes in [&[62.0, 117.0, 117.0][..], &[30.0, 95.0, 300.0], &[45.0, 180.0]] {
        let lifetimes: Vec<f64> = (0..120).map(|i| boxes[i % boxes.len()]).collect();
        let mut world = World::new(fleet(), &lifetimes);
        for _ in 0..90 {
            world.run(60);
            world.check();
        }
        assert_paced(&world, 0.95);
        assert_eq!(world.unreachable(), 0.0);
        assert!(world.tests_each() < 8.0, "{boxes:?}: {}", world.tests_each());
    }
}

#[test]
fn a_rare_box_loses_nothing_and_costs_the_others_nothing() {
    let lifetimes: Vec<f64> = (0..400).map(|i| if i % 100 == 7 { 31.0 } else { 117.0 }).collect();
    let mut world = World::new(fleet(), &lifetimes);
    world.run(1_800);
    assert_paced(&world, 0.93);
    assert_eq!(world.unreachable(), 0.0);
    assert!(world.report().devices_own < 40, "most go by the cohort: {}", world.report().devices_own);
}

#[test]
fn a_few_devices_are_learnt_too() {
    for count in [1, 3] {
        let mut world = World::new(fleet(), &[95.0].repeat(count));
        world.run(2_400);
        assert_paced(&world, 0.95);
        assert_eq!(world.unreachable(), 0.0);
    }
}

#[test]
fn false_expiries_cost_tests_and_no_interval() {
    let mut world = World::new(fleet(), &[117.0; 100]);
    world.loss = 0.01;
    world.run(2_400);
    assert_paced(&world, 0.90);
    assert_eq!(world.unreachable(), 0.0);
}

#[test]
fn a_nat_that_forgets_too_soon_is_told() {
    let mut world = World::new(fleet(), &[12.0; 30]);
    world.run(900);
    let report = world.report();
    assert_eq!((report.verdict, report.reason, report.pace.is_hostile), (Verdict::Hostile, Reason::Hostile, true));
    assert_eq!(report.pace.interval, Duration::from_secs(15));
}

#[test]
fn a_halved_lifetime_is_seen_where_ports_are_drawn_anew_within_two_intervals() {
    let mut world = World::new(fleet(), &[117.0; 100]);
    world.draws_ports = true;
    world.run(1_200);
    world.devices.iter_mut().for_each(|device| device.lifetime = 58.0);
    world.run(220);
    assert!((0..100).all(|index| world.interval(index) <= 0.75 * 58.0));
    world.run(900);
    assert_paced(&world, 0.95);
}

#[test]
fn a_halved_lifetime_is_seen_by_the_watch_where_ports_are_kept() {
    let mut world = World::new(fleet(), &[117.0; 100]);
    world.run(1_200);
    world.devices.iter_mut().for_each(|device| device.lifetime = 58.0);
    world.run(1_200);
    assert!((0..100).all(|index| world.interval(index) <= 0.75 * 58.0), "{:?}", world.report());
    world.run(900);
    assert_paced(&world, 0.95);
}

#[test]
fn a_doubled_lifetime_is_found_by_the_watch_and_costs_no_message() {
    let mut world = World::new(fleet(), &[62.0; 200]);
    world.run(1_200);
    world.devices.iter_mut().for_each(|device| device.lifetime = 124.0);
    world.run(4 * 3_600);
    assert_paced(&world, 0.95);
    assert_eq!(world.unreachable(), 0.0);
}

#[test]
fn a_device_s_own_expiry_acts_within_one_decision() {
    let mut world = World::new(fleet(), &[117.0; 100]);
    world.run(1_200);
    let device = world.devices[3].id;
    let gap = Duration::from_secs(90);
    world.tell(
        0,
        ObservationKind::Silence(Silence {
            device,
            class: BindingClass::Stream,
            silence: gap,
            gap,
            has_moved: true,
            is_same_address: true,
            is_doubtful: false,
        }),
    );
    world.run(1);
    assert_eq!(world.interval(3), 15.0);
    assert!(world.interval(4) > 80.0);
}

#[test]
fn what_says_nothing_changes_nothing() {
    let mut world = World::new(fleet(), &[117.0; 40]);
    world.run(1_200);
    let before = world.interval(3);
    for (is_same_address, is_doubtful) in [(false, false), (true, true)] {
        let (device, gap) = (world.devices[3].id, Duration::from_secs(60));
        world.tell(
            0,
            ObservationKind::Silence(Silence {
                device,
                class: BindingClass::Stream,
                silence: gap,
                gap,
                has_moved: true,
                is_same_address,
                is_doubtful,
            }),
        );
    }
    world.run(1);
    assert_eq!(world.interval(3), before);
}

#[test]
fn a_pin_wins_until_it_ends() {
    let until = WallTime::from_unix_ms(START_MS + 600_000);
    let cohort: Labels = [("carrier".into(), "a".into())].into();
    let pin = Pin { cohort, nat_timeout: Duration::from_secs(40), until: Some(until), reason: "told so".into() };
    let mut world = World::new(Fleet { pins: vec![pin], ..fleet() }, &[117.0; 40]);
    world.run(500);
    assert_eq!((world.interval(0), world.report().verdict), (30.0, Verdict::Pinned));
    world.run(1_200);
    assert!(world.interval(0) > 80.0 && world.report().verdict != Verdict::Pinned);
}

#[test]
fn nothing_longer_goes_out_before_it_is_released() {
    let mut world = World::new(Fleet { is_longer_released: false, ..fleet() }, &[117.0; 40]);
    world.run(1_200);
    assert!((0..40).all(|index| world.interval(index) == 15.0));
    assert_eq!(world.report().reason, Reason::AwaitsRelease);
}

#[test]
fn a_fleet_without_probes_stays_at_the_floor() {
    let probes = ProbeBudget { flows: 0, ..ProbeBudget::default() };
    let mut world = World::new(Fleet { probes, ..fleet() }, &[117.0; 40]);
    world.run(1_200);
    assert_eq!((world.interval(0), world.tests_each(), world.commands), (15.0, 0.0, 0));
}

#[test]
fn a_laboratory_is_learnt_in_its_own_time() {
    let interval = IntervalBounds { min: Duration::from_millis(1_200), ..IntervalBounds::default() };
    let mut world = World::new(Fleet { interval, ..fleet() }, &[9.0; 40]);
    world.run(240);
    assert_paced(&world, 0.95);
    assert_eq!(world.unreachable(), 0.0);
}

#[test]
fn a_laboratory_of_450_devices_has_its_pace_within_ninety_seconds_and_again_after_a_change() {
    for draws_ports in [false, true] {
        let interval = IntervalBounds { min: Duration::from_millis(1_200), ..IntervalBounds::default() };
        let mut world = World::new(Fleet { interval, ..fleet() }, &[9.0; 450]);
        world.draws_ports = draws_ports;
        world.run(90);
        let are_within = |world: &World, low, high| (0..450).all(|one| (low..=high).contains(&world.interval(one)));
        assert!(are_within(&world, 6.0, 6.75) && world.unreachable() == 0.0, "{:?}", world.report());
        if draws_ports {
            world.devices.iter_mut().for_each(|device| device.lifetime = 4.5);
            world.run(30);
            assert_eq!(world.report().reason, Reason::Shorter);
            world.run(60);
            assert!(are_within(&world, 3.0, 3.375), "{:?}", world.report());
        }
    }
}

#[test]
fn a_later_process_goes_on_where_this_one_was() {
    let mut world = World::new(fleet(), &[117.0; 60]);
    world.run(1_500);
    let written = serde_json::to_string(&world.governor.memory()).expect("it can be written");
    let (interval, generation) = (world.interval(0), world.governor.orders.generation);
    let mut next = World::new(fleet(), &[117.0; 0]);
    next.governor.remember(serde_json::from_str(&written).expect("and read"));
    (0..60).for_each(|_| next.join(117.0));
    next.run(2);
    assert!((0..60).all(|index| next.interval(index) == interval), "{interval}: {:?}", next.report());
    assert!(next.governor.orders.generation > generation);
    next.run(3_600);
    assert_paced(&next, 0.95);
    assert_eq!(next.unreachable(), 0.0);
    assert_eq!(next.governor.memory().generation, next.governor.generation);
}

#[test]
fn carriers_that_all_show_one_value_make_the_load_balancer_suspect() {
    let mut world = World::new(fleet(), &[]);
    world.governor.add_cohort(&entry("b"));
    world.governor.add_cohort(&entry("c"));
    (0..120).for_each(|_| world.join(60.0));
    for (index, device) in world.devices.iter_mut().enumerate() {
        device.cohort = index as u32 % 3;
    }
    world.devices.iter().for_each(|device| {
        let kind = ObservationKind::Present { device: device.id, can_probe: true };
        world.governor.observe(&Observation { at: MonoTime::default(), cohort: CohortIndex(device.cohort), kind });
    });
    world.run(1_500);
    let reasons: Vec<Reason> = world.governor.reports().iter().map(|report| report.reason).collect();
    assert_eq!(reasons, [Reason::OwnLoadBalancer; 3]);
    for device in world.devices.iter_mut().filter(|device| device.cohort == 2) {
        device.lifetime = 30.0;
    }
    world.draws_ports = true;
    world.run(2_400);
    assert!(world.governor.reports().iter().all(|report| report.reason != Reason::OwnLoadBalancer));
}

#[test]
fn devices_that_make_no_tests_go_by_those_that_do() {
    let mut world = World::new(fleet(), &[117.0; 60]);
    let silent = DeviceId([0xff; 16]);
    world.tell(0, ObservationKind::Present { device: silent, can_probe: false });
    world.run(1_200);
    let slot = world.governor.devices.find(silent).expect("known");
    assert_eq!(world.governor.devices.get(slot).own, 0);
    assert!(world.governor.orders.cohorts[0].pace.interval > Duration::from_secs(80));
}

#[test]
fn a_connection_is_no_unreplied_binding_whatever_the_second_ack() {
    let mut world = World::over_tcp(Fleet { second_ack: SecondAck::Off, ..fleet() }, &[120.0; 24]);
    world.run(4 * 3_600);
    assert!(world.devices.iter().any(|device| device.tests > 0));
    assert_eq!(world.report().verdict, Verdict::Learnt);
    assert_eq!(world.unreplied_tests, 0);
    assert_paced(&world, 120.0);
}

#[test]
fn a_governor_without_cohorts_decides_nothing() {
    let mut governor = Governor::new(Arc::default());
    let kind = ObservationKind::Loss { sent: 1, unanswered: 2 };
    governor.observe(&Observation { at: MonoTime::default(), cohort: CohortIndex(9), kind });
    let decided = governor.decide(tick(1));
    assert!(!decided.is_changed && decided.commands.is_empty() && governor.reports().is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_observations_leave_every_pace_within_its_bounds(
        seen in proptest::collection::vec((0_u8..9, 0_u8..6, 0_u64..10_000, 0_u32..4, proptest::bool::ANY), 0..400),
    ) {
        let interval = IntervalBounds { max: Duration::from_secs(300), ..IntervalBounds::default() };
        let mut governor = Governor::new(Arc::new(Fleets { fleets: vec![Arc::new(Fleet { interval, ..fleet() })] }));
        governor.add_cohort(&entry("a"));
        governor.add_cohort(&entry("b"));
        for (second, (what, device, seconds, cohort, flag)) in seen.into_iter().enumerate() {
            let device = DeviceId([device; 16]);
            let silence = Duration::from_secs(seconds);
            let class = if seconds % 2 == 0 { BindingClass::Stream } else { BindingClass::Unreplied };
            let outcome = [ProbeOutcome::Survived, ProbeOutcome::Expired, ProbeOutcome::Lost][usize::from(what) % 3];
            let kind = match what {
                0 => ObservationKind::Present { device, can_probe: flag },
                1 => ObservationKind::Absent { device },
                2 => ObservationKind::Push { device, silence, is_confirmed: flag },
                3 => ObservationKind::Loss { sent: seconds as u32, unanswered: cohort },
                4 | 5 => ObservationKind::Silence(Silence {
                    device, class, silence, gap: silence, has_moved: flag, is_same_address: true, is_doubtful: false,
                }),
                _ => ObservationKind::Probe(Probe {
                    device, class, silence, outcome, controls: cohort as u8, is_port_kept: Some(flag),
                }),
            };
            let at = MonoTime::from_start(Duration::from_secs(second as u64));
            governor.observe(&Observation { at, cohort: CohortIndex(cohort), kind });
            let decided = governor.decide(tick(second as u64 * 7));
            let owns = decided.commands.iter().filter_map(|command| match command.order {
                DeviceOrder::Own(pace) => Some(pace),
                _ => None,
            });
            for pace in owns.chain(decided.orders.cohorts.iter().map(|order| order.pace)) {
                let is_within = pace.interval >= interval.min && pace.longest() <= interval.max;
                proptest::prop_assert!(is_within && pace.generation > 0, "{:?}", pace);
            }
            for report in governor.reports() {
                proptest::prop_assert!(report.lifetimes.iter().all(|one| one.lower_bound <= one.upper_bound));
            }
        }
    }
}
