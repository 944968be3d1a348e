//! What one process knew, the next one knows; what one cohort knows, its neighbour begins with.

use super::*;

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
fn devices_that_were_worse_off_are_paced_by_what_they_had_shown_after_a_restart() {
    let lifetimes: Vec<f64> = (0..80).map(|i| if i % 20 == 3 { 45.0 } else { 117.0 }).collect();
    let mut world = World::new(fleet(), &lifetimes);
    world.run(1_800);
    let written = serde_json::to_string(&world.governor.memory()).expect("it can be written");
    let mut next = World::new(fleet(), &[]);
    next.governor.remember(serde_json::from_str(&written).expect("and read"));
    lifetimes.iter().for_each(|lifetime| next.join(*lifetime));
    next.run(3);
    assert!(next.interval(3) > 30.0 && next.interval(3) <= 0.75 * 45.0, "{}", next.interval(3));
    assert!(next.interval(4) > 80.0, "{}", next.interval(4));
    next.run(1_800);
    assert_eq!(next.unreachable(), 0.0);
}

#[test]
fn a_region_that_joins_a_known_carrier_is_learnt_by_fewer_tests() {
    let tests = |carrier: &str| {
        let mut world = World::new(fleet(), &[76.5; 40]);
        world.run(1_200);
        let mut entry = entry(carrier);
        entry.key.name = format!("carrier={carrier},region=south").into();
        entry.labels.insert("region".into(), "south".into());
        world.governor.add_cohort(&entry);
        for _ in 0..8 {
            world.join(76.5);
            let device = world.devices.last_mut().expect("it joined");
            device.cohort = 1;
            let kind = ObservationKind::Present { device: device.id, can_probe: true, has_own: device.own.is_some() };
            world.tell(1, kind);
        }
        world.run(1_200);
        assert_paced(&world, 0.95);
        world.devices[40..].iter().map(|device| device.tests).sum::<u32>()
    };
    let (known, stranger) = (tests("a"), tests("b"));
    assert!(known < stranger, "{known} {stranger}");
}
