//! Input that is old, absent, thin or from a clock that went back.

use std::collections::HashSet;
use std::time::Duration;

use super::{Plant, at, budgeted, p, policy};
use crate::sampling::decision::Reason;
use crate::sampling::traffic::{Interval, Rate, Traffic};
use crate::time::Tick;

#[test]
fn stale_input_holds_then_falls_back_and_comes_back_by_doubling() {
    let mut plant = Plant::new(budgeted(8_000.0), &[("web", None, 1_000.0)]);
    plant.run(60);
    assert_eq!(plant.served("web", None), 1.0);
    for _ in 0..3 {
        plant.tick_with(None);
    }
    assert_eq!((plant.served("web", None), plant.last().degraded), (1.0, Some(Reason::Stale)));
    while plant.last().inputs.age.expect("an age") <= Duration::from_secs(300) {
        plant.tick_with(None);
    }
    assert_eq!((plant.served("web", None), plant.last().degraded), (0.01, Some(Reason::Fallback)));
    assert_eq!(plant.last().stranger, p(0.01));
    let mut before = 0.01;
    for _ in 0..20 {
        plant.tick();
        let now = plant.served("web", None);
        assert!(now <= 2.0 * before * 1.000_001, "{now} after {before}");
        before = now;
    }
    assert_eq!((before, plant.last().degraded), (1.0, None));
}

#[test]
fn no_traffic_and_warming_series_never_raise() {
    let mut plant = Plant::new(budgeted(800.0), &[("web", None, 10_000.0)]);
    plant.run(60);
    let held = plant.served("web", None);
    plant.demand[0].2 = 0.0;
    plant.run(60);
    assert_eq!((plant.served("web", None), plant.last().services[0].rate.reason), (held, Reason::Idle));
    plant.demand[0].2 = 10.0;
    for _ in 0..6 {
        plant.seconds += 5;
        let mut warming = plant.traffic();
        plant.seconds -= 5;
        warming.demand[0].is_warming = true;
        plant.tick_with(Some(&warming));
    }
    assert_eq!(plant.served("web", None), held);
    assert_eq!(plant.last().services[0].rate.reason, Reason::Warming);
}

#[test]
fn demand_that_vanishes_holds_and_is_forgotten_after_max_age() {
    let mut plant = Plant::new(budgeted(800.0), &[("web", None, 10_000.0), ("api", None, 10.0)]);
    plant.run(60);
    let held = plant.served("web", None);
    plant.demand.remove(0);
    plant.run(60);
    assert_eq!(plant.served("web", None), held);
    let web = plant.last().services.iter().find(|s| &*s.service == "web").expect("held");
    assert_eq!(web.rate.reason, Reason::Vanished);
    plant.run(300);
    assert!(plant.last().services.iter().all(|s| &*s.service != "web"));
}

#[test]
fn a_wall_clock_that_goes_back_does_not_delay_a_cut() {
    let mut plant = Plant::new(policy(), &[("web", None, 10_000.0)]);
    plant.capacity = 8_000.0;
    plant.run(300);
    plant.capacity = 4_000.0;
    let back = |mut traffic: Traffic| {
        let hour = Duration::from_secs(3_600);
        let earlier = |i: Interval| Interval { from: i.from.minus(hour), to: i.to.minus(hour) };
        let rate = |r: Rate| Rate::new(r.per_second(), earlier(r.over())).expect("a rate");
        traffic.demand_over = traffic.demand_over.map(earlier);
        (traffic.received, traffic.dropped) = (traffic.received.map(rate), traffic.dropped.map(rate));
        traffic
    };
    for _ in 0..6 {
        plant.seconds += 5;
        let (traffic, now) = (back(plant.traffic()), at(plant.seconds));
        let now = Tick { wall: now.wall.minus(Duration::from_secs(3_600)), ..now };
        plant.last = Some(plant.governor.tick(now, Some(&traffic), &HashSet::new()));
    }
    assert!(plant.loss() <= 0.01, "loss {}", plant.loss());
}
