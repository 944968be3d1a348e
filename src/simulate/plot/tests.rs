use std::time::Duration;

use super::*;
use crate::sampling::policy::Policy;
use crate::simulate::scenario::{Adoption, Backend, Clients, Fault, FaultKind, LawKind, ReadingKind, Scrape};
use crate::simulate::score::Score;

fn scenario() -> Scenario {
    Scenario {
        name: "s".into(),
        about: "".into(),
        law: LawKind::Adaptive,
        policy: Policy::with_defaults("s"),
        policy_written: "{}".into(),
        duration: Duration::from_secs(600),
        warmup: Duration::from_secs(120),
        event_at: Duration::from_secs(300),
        fairness_window: None,
        seeds: 1,
        services: Vec::new(),
        clients: Clients {
            instances: 1,
            adoption: Adoption::Stream { delay: Duration::ZERO },
            has_local_limit: false,
            ignoring: 0.0,
            ignoring_probability: 1.0,
            restart_every: None,
            skew: 0.0,
        },
        scrape: Scrape {
            interval: Duration::from_secs(5),
            missed: 0.0,
            is_spread: false,
            visible_after: Duration::ZERO,
            reading: ReadingKind::Raw,
            is_locked: true,
        },
        tick: Duration::from_secs(5),
        backend: Backend { capacity: Vec::new(), queue: Duration::ZERO, has_drop_counter: true },
        faults: Vec::new(),
        checks: Vec::new(),
    }
}

fn run(seconds: Vec<Second>) -> Run {
    let score = Score {
        loss_ratio: 0.0,
        worst_60s_loss: 0.0,
        lost_capacity_seconds: 0.0,
        unused_capacity_seconds: 0.0,
        utilization: 1.0,
        settle_seconds: 0.0,
        episodes: 0.0,
        overshoot: 0.0,
        oscillation: 0.0,
        fairness: 1.0,
        others_share: 1.0,
        coverage_min: 0.0,
        commands: 0.0,
        probability_ratio_min: 1.0,
        rise_max: 1.0,
        rise_while_blind: 1.0,
    };
    Run { score, seconds }
}

fn second(offered: f64, lost: f64) -> Second {
    Second { demand: 200.0, capacity: 100.0, offered, lost, probability: 0.5, ..Second::default() }
}

#[test]
fn a_lost_second_of_a_day_is_in_the_picture() {
    let mut seconds = vec![second(90.0, 0.0); 86_400];
    seconds[40_000] = second(180.0, 80.0);
    assert_eq!(svg(&scenario(), 1, &run(seconds)).matches("<rect class=\"lost\" x").count(), 2, "it and the legend");
}

#[test]
fn the_picture_of_a_month_is_no_longer_than_that_of_an_hour() {
    let long = svg(&scenario(), 1, &run(vec![second(90.0, 10.0); 31 * 86_400]));
    assert!(long.len() < 300_000, "{} bytes", long.len());
}

#[test]
fn an_extreme_survives_thinning() {
    let mut seconds = vec![second(90.0, 0.0); 10_000];
    seconds[5_003].offered = 700.0;
    let columns = thin::columns(&seconds, 100);
    assert_eq!(columns.len(), 100);
    assert_eq!(columns[50].offered, thin::Range { first: 90.0, min: 90.0, max: 700.0, last: 90.0 });
}

#[test]
fn nothing_and_zero_and_no_number_are_drawn_as_well_formed_pictures() {
    let nothing = Second { demand: f64::NAN, ..Second::default() };
    for seconds in [vec![], vec![Second::default()], vec![nothing; 3]] {
        let picture = svg(&scenario(), 1, &run(seconds));
        assert!(picture.ends_with("</svg>\n"));
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }
}

#[test]
fn names_of_services_cannot_break_out_of_the_picture() {
    let mut scenario = scenario();
    let kind = FaultKind::DemandTimes { service: "<script>&".into(), factor: 2.0 };
    scenario.faults = vec![Fault { at: Duration::from_secs(60), lasts: None, kind }];
    let picture = svg(&scenario, 1, &run(vec![second(90.0, 0.0); 600]));
    assert!(picture.contains("&lt;script&gt;&amp; x 2") && !picture.contains("<script"));
}
