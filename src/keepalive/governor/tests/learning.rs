//! Boxes are learnt, by as few tests as it takes.

use super::*;

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
fn a_fleet_without_probes_stays_at_the_floor() {
    let probes = ProbeBudget { flows: 0, ..ProbeBudget::default() };
    let mut world = World::new(Fleet { probes, ..fleet() }, &[117.0; 40]);
    world.run(1_200);
    assert_eq!((world.interval(0), world.tests_each(), world.commands), (15.0, 0.0, 0));
}

#[test]
fn what_an_edge_kept_of_an_earlier_process_and_nobody_wants_any_more_is_taken_back() {
    let probes = ProbeBudget { flows: 0, ..ProbeBudget::default() };
    let mut world = World::new(Fleet { probes, ..fleet() }, &[117.0; 2]);
    world.devices[1].own = Some(crate::keepalive::interval::pace(&fleet().interval, Duration::from_secs(1_800), 7));
    let kind = ObservationKind::Present { device: world.devices[1].id, can_probe: true, has_own: true };
    world.tell(0, kind);
    world.run(2);
    assert_eq!((world.devices[1].own, world.commands), (None, 1));
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
fn carriers_that_all_show_one_value_make_the_load_balancer_suspect() {
    let mut world = World::new(fleet(), &[]);
    world.governor.add_cohort(&entry("b"));
    world.governor.add_cohort(&entry("c"));
    (0..120).for_each(|_| world.join(60.0));
    for (index, device) in world.devices.iter_mut().enumerate() {
        device.cohort = index as u32 % 3;
    }
    world.devices.iter().for_each(|device| {
        let kind = ObservationKind::Present { device: device.id, can_probe: true, has_own: false };
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
    world.tell(0, ObservationKind::Present { device: silent, can_probe: false, has_own: false });
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
    assert_paced(&world, 0.98);
}
