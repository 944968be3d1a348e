use super::*;
use crate::device::machine::Bounds;

fn pace(generation: u64, interval: f64) -> Pace {
    Pace { generation, interval: secs(interval), ..PACE }
}

#[test]
fn a_newer_order_is_taken_and_an_older_one_is_not() {
    let mut rig = Rig::new();
    rig.ack_with(0, pace(10, 80.0), 0);
    assert_eq!(
        rig.events.last(),
        Some(&Event::Acked { sequence: 1, took: secs(0.0), tries: 1, next: pace(10, 80.0).wait(DEVICE, 1) })
    );
    assert!(rig.events.contains(&Event::Pace(pace(10, 80.0))));
    for (generation, interval) in [(9, 300.0), (10, 300.0), (0, 300.0)] {
        rig.ack_with(0, pace(generation, interval), 0);
        assert_eq!(rig.machine.pace(), pace(10, 80.0));
    }
    rig.ack_with(0, pace(11, 300.0), 0);
    assert_eq!(rig.machine.pace(), pace(11, 300.0));
    assert_eq!(rig.machine.deadline(), rig.now + pace(11, 300.0).wait(DEVICE, 1), "from the beat before");
}

#[test]
fn a_shorter_order_that_comes_another_way_is_in_force_at_once() {
    let mut rig = Rig::steady();
    rig.pass(secs(40.0));
    rig.machine.order(rig.now, pace(11, 20.0), &mut rig.out);
    rig.drain();
    assert_eq!((rig.beats().len(), rig.beats()[1].at, rig.beats()[1].request.generation), (2, secs(40.0), 11));
}

#[test]
fn the_devices_own_bounds_hold_for_every_order() {
    let bounds = Bounds::new(secs(30.0), secs(100.0)).expect("sound");
    let settings = Settings { bounds, ..Settings::new(DEVICE, 3) };
    let mut rig = Rig::of(settings, Memory { boot: 1, pace: None });
    assert_eq!(rig.machine.pace().interval, secs(30.0), "the initial one too");
    rig.ack_with(0, pace(11, 3_000.0), 0);
    assert_eq!(rig.machine.pace().longest(), secs(100.0));
    rig.ack_with(0, pace(12, 0.0), 0);
    assert_eq!(rig.machine.pace().interval, secs(30.0));
    assert_eq!(rig.machine.memory().pace, Some(pace(12, 0.0)), "kept as told: bounds may change");
}

#[test]
fn an_order_survives_a_restart_and_no_older_one_replaces_it() {
    let mut rig = Rig::new();
    rig.ack_with(0, pace(10, 80.0), 0);
    let kept = rig.kept.last().copied().expect("kept at once");
    assert_eq!(kept, Memory { boot: 1, pace: Some(pace(10, 80.0)) });
    let mut rig = Rig::with(Memory::for_next_boot(Memory::from_bytes(&kept.to_bytes()), 0));
    assert_eq!((rig.machine.pace(), rig.beats()[0].request.boot), (pace(10, 80.0), 2));
    assert_eq!(rig.beats()[0].request.generation, 10);
    rig.ack_with(0, pace(9, 20.0), 0);
    assert_eq!(rig.machine.pace(), pace(10, 80.0));
}

#[test]
fn a_memory_is_written_on_change_only_and_not_often() {
    let mut rig = Rig::new();
    for generation in 10..100 {
        rig.ack_with(0, pace(generation, 80.0), 0);
    }
    assert_eq!(rig.kept.len(), 1);
    for _ in 0..100 {
        rig.pass(secs(90.0));
        rig.ack_with(0, pace(1, 80.0), 0);
    }
    let generations: Vec<u64> = rig.kept.iter().filter_map(|kept| Some(kept.pace?.generation)).collect();
    assert_eq!(generations, [10, 99], "the first, and the last as it stayed");
}

#[test]
fn a_hostile_nat_is_told_when_it_begins_and_when_it_ends() {
    let mut rig = Rig::new();
    rig.ack_with(0, Pace { is_hostile: true, ..pace(10, 15.0) }, 0);
    rig.ack_with(0, Pace { is_hostile: true, ..pace(11, 16.0) }, 0);
    rig.ack_with(0, pace(12, 16.0), 0);
    let hostile: Vec<bool> =
        rig.events.iter().filter_map(|event| if let Event::Hostile(is) = event { Some(*is) } else { None }).collect();
    assert_eq!(hostile, [true, false]);
}

#[test]
fn a_retry_profile_is_told_and_never_below_the_shortest_gap() {
    let mut rig = Rig::with(Memory { boot: 1, pace: Some(Pace { retry: 12, ..PACE }) });
    rig.pass(secs(1.0));
    assert_eq!(rig.beats().len(), 5, "every 240 ms");
    let mut rig = Rig::with(Memory { boot: 1, pace: Some(Pace { retry: 1, ..PACE }) });
    rig.pass(secs(1.0));
    assert_eq!(rig.beats().len(), 6, "every 200 ms, not every 20");
}
