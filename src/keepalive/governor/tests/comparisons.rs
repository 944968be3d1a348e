//! An AB test of a fleet file: its plans go before what was learnt, and its end gives it back.

use std::sync::Arc;

use super::*;
use crate::keepalive::governor::Decided;
use crate::keepalive::observation::Beat;
use crate::keepalive::policy::{AbPlans, WaveGates, WaveQuery};
use crate::keepalive::wave::ab::{Plan, Side};
use crate::keepalive::wave::audit::{Event, What, Why};
use crate::keepalive::wave::metric::{Bad, MetricSpec, Sample};
use crate::keepalive::wave::spec::{Command, Evidence, State};

const A: Duration = Duration::from_secs(60);
const B: Duration = Duration::from_secs(90);
const DEVICES: u32 = 400;

fn plans() -> AbPlans {
    let plan = |group: &str, interval| Plan { groups: vec![group.into()], interval };
    AbPlans {
        name: "winter".into(),
        by: "region".into(),
        plans: [plan("north", A), plan("south", B)],
        hold_intervals: 3,
        max_hold: Duration::from_secs(24 * 3_600),
        gates: WaveGates::default(),
        queries: Vec::new(),
    }
}

fn compared() -> Fleet {
    Fleet { ab_tests: vec![plans()], cohort_by: vec!["region".into()], ..fleet() }
}

fn region(name: &str, transport: Transport) -> CohortEntry {
    let labels: Labels = [("region".into(), name.into())].into();
    let key = CohortKey { name: format!("region={name}").into(), transport };
    CohortEntry { key, labels, fleet: Some("gateways".into()) }
}

/// Two regions, a third that no plan names, and devices that beat at the pace of their cohort.
struct Regions {
    governor: Governor,
    second: u64,
    next: Vec<f64>,
    events: Vec<Event>,
    /// Beats at an interval above this fail.
    bears: Duration,
}

impl Regions {
    fn new(fleet: Fleet) -> Self {
        Self::over(fleet, Transport::Udp)
    }

    fn over(fleet: Fleet, transport: Transport) -> Self {
        let mut governor = Governor::new(Arc::new(Fleets { fleets: vec![Arc::new(fleet)] }));
        ["north", "south", "east"].iter().for_each(|name| governor.add_cohort(&region(name, transport)));
        let mut this =
            Self { governor, second: 0, next: vec![0.0; DEVICES as usize], events: Vec::new(), bears: Duration::MAX };
        this.arrive();
        this
    }

    fn arrive(&mut self) {
        for n in 0..DEVICES {
            self.tell(n, ObservationKind::Present { device: device(n), can_probe: false, has_own: false });
        }
    }

    fn tell(&mut self, n: u32, kind: ObservationKind) {
        let at = MonoTime::from_start(Duration::from_secs(self.second));
        self.governor.observe(&Observation { at, cohort: CohortIndex(n % 3), kind });
    }

    fn decide(&mut self) -> Decided {
        let decided = self.governor.decide(tick(self.second));
        self.events.extend(decided.events.iter().cloned());
        decided
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            let orders = self.decide().orders;
            for n in 0..DEVICES {
                let order = &orders.cohorts[n as usize % 3];
                if self.next[n as usize] > self.second as f64 {
                    continue;
                }
                let interval = order.pace.interval;
                self.next[n as usize] = self.second as f64 + interval.as_secs_f64() * 1.1;
                let is_confirmed = interval <= self.bears;
                if order.tell_beats.is_some() {
                    let device = device(n);
                    let beat = Beat { device, is_confirmed, gap_ratio: Some(0.9), is_reached: None, has_adopted: true };
                    self.tell(n, ObservationKind::Beat(beat));
                }
            }
        }
    }

    fn intervals(&self) -> [Duration; 3] {
        let reports = self.governor.reports();
        std::array::from_fn(|at| reports[at].pace.interval)
    }
}

fn device(n: u32) -> DeviceId {
    DeviceId(u128::from(n + 1).to_be_bytes())
}

#[test]
fn both_groups_have_one_interval_and_then_each_its_plan_and_others_what_the_law_says() {
    let mut regions = Regions::new(compared());
    regions.run(5);
    let floor = Duration::from_secs(15);
    assert_eq!(regions.intervals(), [A, A, floor]);
    assert_eq!(regions.governor.reports()[0].reason, Reason::AbTest);
    regions.run(2_000);
    assert_eq!(regions.intervals(), [A, B, floor]);
    let report = &regions.governor.rollouts()[0];
    assert_eq!((report.wave, report.devices[1], &*report.spec.cohort), ((2, 2), 133, "region=north | south"));
}

#[test]
fn a_plan_that_a_nat_does_not_bear_ends_the_test_and_all_go_back_to_the_law() {
    let mut regions = Regions::new(compared());
    regions.bears = Duration::from_secs(80);
    regions.run(3_000);
    let last = regions.events.last().expect("it ended");
    assert_eq!(last.what, What::RolledBack);
    assert!(matches!(&last.why, Why::Worse { plan: Side::B, .. }), "{:?}", last.why);
    assert_eq!(regions.intervals(), [Duration::from_secs(15); 3]);
    regions.run(5_000);
    assert_eq!(regions.governor.rollouts()[0].state, State::RolledBack, "it does not begin again");
}

#[test]
fn a_later_process_goes_on_in_the_same_wave_and_a_test_that_ended_stays_ended() {
    let mut regions = Regions::new(compared());
    regions.run(2_000);
    let text = serde_json::to_string(&regions.governor.memory()).expect("plain");
    let mut later = Regions::new(compared());
    later.second = regions.second;
    later.governor.remember(serde_json::from_str(&text).expect("as written"));
    later.run(3);
    assert_eq!(later.intervals()[..2], [A, B]);
    let [before, after] = [&regions, &later].map(|one| one.governor.rollouts()[0].clone());
    assert_eq!((before.spec.id, before.began, before.wave), (after.spec.id, after.began, after.wave));
}

#[test]
fn a_person_ends_it_and_a_file_without_it_does_too() {
    let mut regions = Regions::new(compared());
    regions.run(5);
    let id = Arc::clone(&regions.governor.rollouts()[0].spec.id);
    let (who, why) = ("ops".into(), "storm".into());
    let now = tick(regions.second).wall;
    regions.governor.command(&id, Command::Abort, (&who, &why), now).expect("it runs");
    regions.run(2);
    assert_eq!(regions.intervals(), [Duration::from_secs(15); 3]);
    let mut regions = Regions::new(compared());
    regions.run(5);
    regions
        .governor
        .set_fleets(Arc::new(Fleets { fleets: vec![Arc::new(Fleet { ab_tests: Vec::new(), ..compared() })] }));
    regions.run(2);
    assert_eq!(
        (regions.intervals(), regions.events.last().map(|event| event.what)),
        ([Duration::from_secs(15); 3], Some(What::RolledBack))
    );
}

#[test]
fn gateways_are_not_asked_what_only_datagrams_can_tell_and_come_to_an_end() {
    let mut regions = Regions::over(compared(), Transport::Tcp);
    regions.run(30_000);
    let report = &regions.governor.rollouts()[0];
    assert!(report.gates.iter().all(|gate| &*gate.name() != "coverage"), "{:?}", report.gates);
    let last = regions.events.last().expect("it is held");
    assert_eq!((last.what, &last.why), (What::Held, &Why::NeitherWorse));
}

#[test]
fn an_operators_query_ends_a_test_as_it_ends_a_rollout() {
    let spec = MetricSpec { name: "delay".into(), bad: Bad::AboveControl(1.1) };
    let query = WaveQuery { spec, treated: "delay_b".into(), control: Some("delay_a".into()) };
    let plans = AbPlans { queries: vec![query.clone()], ..plans() };
    let mut regions = Regions::new(Fleet { ab_tests: vec![plans], ..compared() });
    regions.run(5);
    let report = regions.governor.rollouts()[0].clone();
    assert_eq!(regions.governor.queries(&report.spec.id), [query]);
    let slow = Sample { treated: Some(2.0), control: Some(1.0) };
    for _ in 0..60 {
        regions.run(report.round.as_secs());
        regions.governor.sample(&report.spec.id, 0, slow, tick(regions.second).wall);
    }
    let last = regions.events.last().expect("it ended");
    assert_eq!((last.what, &last.why), (What::RolledBack, &Why::Worse { plan: Side::B, gate: "delay".into() }));
    assert!(last.wave == 2, "with one interval for both it says nothing of a plan");
}

#[test]
fn a_test_that_is_over_leaves_beats_to_rollouts() {
    let mut regions = Regions::new(compared());
    regions.run(5);
    let id = Arc::clone(&regions.governor.rollouts()[0].spec.id);
    let beat =
        Evidence { device: device(0), due: 1, confirmed: 1, gap_ratio: Some(0.9), is_reached: None, has_adopted: true };
    let now = tick(regions.second).wall;
    assert!(regions.governor.take_compared(0, &beat, now) && !regions.governor.take_compared(2, &beat, now));
    regions.governor.command(&id, Command::Abort, (&"ops".into(), &"storm".into()), now).expect("it runs");
    regions.run(2);
    assert!(!regions.governor.take_compared(0, &beat, now));
}

#[test]
fn a_pinned_cohort_is_in_no_test() {
    let cohort: Labels = [("region".into(), "south".into())].into();
    let nat_timeout = Duration::from_secs(120);
    let pin = Pin { cohort, nat_timeout, until: None, reason: "measured".into() };
    let mut regions = Regions::new(Fleet { pins: vec![pin], ..compared() });
    regions.run(100);
    assert!(regions.events.is_empty(), "one of the groups has nobody left");
    assert_eq!(regions.intervals()[1], B);
}
