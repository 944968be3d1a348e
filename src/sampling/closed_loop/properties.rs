//! What holds for any demand, any law and any answer of the backend.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{SPANS, TICK, at, budgeted, p, policy, rate_of, rule, served_by};
use crate::sampling::decision::{PolicyDecision, Reason};
use crate::sampling::governor::Governor;
use crate::sampling::policy::{Law, Policy, ServiceRule};
use crate::sampling::traffic::{Demand, Interval, Rate, Traffic};

fn law() -> impl Strategy<Value = Law> {
    prop_oneof![Just(Law::Adaptive(Default::default())), Just(Law::Threshold(Default::default())), Just(Law::Fixed)]
}

fn row() -> impl Strategy<Value = (usize, f64, bool)> {
    (0..6usize, prop_oneof![Just(0.0), 0.01..1e4f64, 1e4..1e300f64], any::<bool>())
}

const NAMES: [(&str, Option<&str>); 6] =
    [("a", None), ("b", Some("x")), ("b", Some("y")), ("c", Some("x")), ("d", None), ("e", Some("z"))];

fn traffic_of(rows: &[(usize, f64, bool)], seconds: u64, received: f64, dropped: f64) -> Traffic {
    let over = Interval::before(at(seconds).wall, TICK);
    let row = |(name, per_second, is_warming): &(usize, f64, bool)| {
        let (service, operation) = NAMES[*name];
        Demand { is_warming: *is_warming, ..Demand::new(service, operation, *per_second) }
    };
    Traffic {
        demand: rows.iter().map(row).collect(),
        demand_over: Some(over),
        received: Rate::new(received, over),
        dropped: Rate::new(dropped, over),
        age: Some(Duration::ZERO),
        scrape_interval: Some(TICK),
        is_partial: false,
    }
}

proptest! {
    #[test]
    fn every_probability_is_finite_and_within_its_bounds(
        law in law(),
        ticks in prop::collection::vec(
            (prop::collection::vec(row(), 0..8), 0.0..1e12f64, 0.0..1e12f64, any::<bool>()), 1..30),
        min in 0.0001..0.1f64, max in 0.2..1.0f64,
    ) {
        let mut policy = Policy { law, ..policy() };
        (policy.probability.min, policy.probability.max) = (p(min), p(max));
        let mut governor = Governor::new(at(0), Arc::new(policy), TICK);
        for (i, (rows, received, dropped, answers)) in (1..).zip(&ticks) {
            let traffic = traffic_of(rows, 5 * i, *received, *dropped);
            let decision = governor.tick(at(5 * i), answers.then_some(&traffic), &HashSet::new());
            let rates = decision.services.iter().flat_map(|s| {
                std::iter::once(s.rate).chain(s.operations.iter().map(|o| o.rate))
            });
            for rate in rates {
                prop_assert!((min..=max).contains(&rate.served.get()), "{rate:?}");
            }
        }
    }

    /// All else equal: the budget, and that the fleet obeys. So each of the two worlds receives what its own demand
    /// causes; with the same load in both, one would have adopted the last command and the other not. And what is known of
    /// the last command: fewer traces tell less of it, and while it is not known to show, nothing rises.
    #[test]
    fn a_probability_never_rises_when_its_demand_rises(
        law in law(),
        history in prop::collection::vec(prop::collection::vec((0..6usize, 0.1..1e4f64), 1..8), 0..12),
        now in prop::collection::vec((0..6usize, 0.1..1e4f64), 1..6),
        which in 0..6usize, factor in 1.0..100.0f64,
        budget in 100.0..1e5f64,
        loss in 0.0..0.5f64,
    ) {
        // Under the adaptive law loss measures the capacity, and with it the budget: not all else equal.
        let loss = if matches!(law, Law::Adaptive(_)) { 0.0 } else { loss };
        let policy = Policy { law, ..budgeted(budget) };
        let mut governor = Governor::new(at(0), Arc::new(policy), TICK);
        let sane = |rows: &[(usize, f64)]| rows.iter().map(|(n, d)| (*n, *d, false)).collect::<Vec<_>>();
        let mut last: Option<PolicyDecision> = None;
        let caused = |last: &Option<PolicyDecision>, rows: &[(usize, f64, bool)]| -> f64 {
            let served = |name: usize| last.as_ref().map_or(0.1, |d| served_by(d, NAMES[name]));
            rows.iter().map(|(name, demand, _)| SPANS * demand * served(*name)).sum()
        };
        for (i, rows) in (1..).zip(&history) {
            let rows = sane(rows);
            let traffic = traffic_of(&rows, 5 * i, caused(&last, &rows), 0.0);
            last = Some(governor.tick(at(5 * i), Some(&traffic), &HashSet::new()));
        }
        let seconds = 5 * (history.len() as u64 + 1);
        let rows = sane(&now);
        let which = which % rows.len();
        let mut risen = rows.clone();
        risen[which].1 *= factor;
        let decide = |rows: &[(usize, f64, bool)]| {
            let received = caused(&last, rows);
            let traffic = traffic_of(rows, seconds, received, loss * received);
            governor.clone().tick(at(seconds), Some(&traffic), &HashSet::new())
        };
        let (low, high) = (decide(&rows), decide(&risen));
        let name = NAMES[rows[which].0];
        let is_awaited = |d: &PolicyDecision| rate_of(d, name).is_some_and(|r| r.reason == Reason::AwaitingEffect);
        if is_awaited(&low) && !is_awaited(&high) {
            return Ok(());
        }
        let rate = |d: &PolicyDecision| served_by(d, name);
        prop_assert!(rate(&high) <= rate(&low) * (1.0 + 1e-9), "{} after {}", rate(&high), rate(&low));
    }

    #[test]
    fn the_allocated_spans_stay_within_the_budget(
        rows in prop::collection::vec((0..6usize, 0.1..1e4f64), 1..12),
        budget in 50.0..1e6f64, floor in 0.0..10.0f64,
    ) {
        let mut policy = budgeted(budget);
        policy.probability.min = p(1e-6);
        policy.services = vec![ServiceRule { floor_traces_per_second: floor, ..rule("*") }];
        let mut governor = Governor::new(at(0), Arc::new(policy), TICK);
        let rows: Vec<_> = rows.iter().map(|(n, d)| (*n, *d, false)).collect();
        let mut decision = None;
        for i in 1..4 {
            decision = Some(governor.tick(at(5 * i), Some(&traffic_of(&rows, 5 * i, 1_000.0, 0.0)), &HashSet::new()));
        }
        let shares: f64 = decision.iter().flat_map(|d| &d.services).filter_map(|s| s.share_spans_per_second).sum();
        let floors = 5.0 * floor * SPANS;
        prop_assert!(shares <= (budget.max(floors)) * (1.0 + 1e-6), "{shares} of {budget}");
    }
}
