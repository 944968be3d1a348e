//! What changes is seen, and nothing else.

use super::*;

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
