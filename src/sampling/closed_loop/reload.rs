//! Other policies and laws, and restarts.

use std::sync::Arc;

use super::{Plant, at, budgeted, p, policy, rule};
use crate::sampling::decision::Reason;
use crate::sampling::policy::{Law, Mode, Pin, Policy, ServiceRule};

#[test]
fn a_dry_run_decides_and_serves_what_was_served_before() {
    let mut plant = Plant::new(Policy { mode: Mode::DryRun, ..budgeted(800.0) }, &[("web", None, 10_000.0)]);
    plant.run(60);
    let rate = plant.last().services[0].rate;
    assert!((rate.probability.get() - 0.01).abs() < 1e-9, "{rate:?}");
    assert_eq!(rate.served, p(0.1));
}

#[test]
fn what_was_learnt_survives_a_restart_and_rises_only_by_doubling() {
    let mut plant = Plant::new(policy(), &[("web", None, 10_000.0)]);
    plant.capacity = 8_000.0;
    plant.run(300);
    let (memory, held) = (plant.governor.memory(), plant.served("web", None));
    let mut again = Plant::new(policy(), &[("web", None, 10_000.0)]);
    again.capacity = 8_000.0;
    again.governor.restore(at(0), &memory);
    again.tick_with(None);
    assert_eq!((again.served("web", None), again.last().services[0].rate.reason), (held, Reason::Restored));
    again.run(60);
    assert!(again.loss() <= 0.01, "loss {}", again.loss());
}

#[test]
fn a_policy_reload_keeps_what_was_learnt() {
    let mut plant = Plant::new(policy(), &[("web", None, 10_000.0)]);
    plant.capacity = 8_000.0;
    plant.run(300);
    let before = plant.budget();
    let mut changed = policy();
    changed.probability.max = p(0.05);
    plant.governor.replace_policy(at(300), Arc::new(changed));
    plant.tick();
    assert!((plant.budget() / before - 1.0).abs() < 0.02);
    assert_eq!(plant.served("web", None), 0.05);
}

#[test]
fn new_bounds_hold_at_once_even_without_input() {
    let mut plant = Plant::new(budgeted(8_000.0), &[("web", None, 100.0)]);
    plant.run(60);
    let mut changed = budgeted(8_000.0);
    changed.probability.max = p(0.5);
    plant.governor.replace_policy(at(60), Arc::new(changed));
    plant.tick_with(None);
    assert_eq!(plant.served("web", None), 0.5);
}

#[test]
fn another_configured_budget_is_in_force_at_once_after_a_restart_too() {
    let mut plant = Plant::new(budgeted(800.0), &[("web", None, 1_000.0)]);
    plant.run(60);
    let memory = plant.governor.memory();
    for (configured, expected) in [(Some(4_000.0), 0.5), (Some(80.0), 0.01)] {
        let mut policy = budgeted(800.0);
        policy.budget.spans_per_second = configured;
        let mut again = Plant::new(policy, &[("web", None, 1_000.0)]);
        again.governor.restore(at(0), &memory);
        again.run(60);
        assert!((again.served("web", None) / expected - 1.0).abs() < 0.01, "{}", again.served("web", None));
    }
}

#[test]
fn a_budget_that_was_configured_is_no_measured_capacity() {
    let mut plant = Plant::new(budgeted(800.0), &[("web", None, 1_000.0)]);
    plant.run(60);
    let mut auto = budgeted(800.0);
    auto.budget.spans_per_second = None;
    plant.governor.replace_policy(at(60), Arc::new(auto));
    plant.run(120);
    assert_eq!(plant.served("web", None), 1.0);
}

#[test]
fn the_fixed_law_needs_no_input() {
    let mut plant = Plant::new(budgeted(800.0), &[("web", None, 1_000.0), ("idle", None, 0.0)]);
    plant.run(60);
    let mut fixed = Policy { law: Law::Fixed, ..policy() };
    fixed.probability.initial = p(0.25);
    plant.governor.replace_policy(at(60), Arc::new(fixed));
    for _ in 0..100 {
        plant.tick_with(None);
    }
    let rates: Vec<_> = plant.last().services.iter().map(|s| (s.rate.served.get(), s.rate.reason)).collect();
    assert_eq!(rates, [(0.25, Reason::Fixed), (0.25, Reason::Fixed)]);
    assert_eq!((plant.last().stranger, plant.last().degraded), (p(0.25), Some(Reason::Stale)));
}

#[test]
fn a_dry_run_of_another_law_changes_no_answer_and_ends_with_its_law() {
    let pin = Pin { probability: p(0.0005), until: None, reason: "incident 42".into() };
    let mut active = budgeted(8_000.0);
    active.services = vec![
        ServiceRule { pin: Some(pin), ..rule("batch") },
        ServiceRule { is_root: false, ..rule("inventory") },
        rule("*"),
    ];
    let hot_and_rare = [("web", Some("hot"), 20_000.0), ("web", Some("rare"), 1.0)];
    let apart = [("batch", None, 10.0), ("inventory", None, 10.0)];
    let mut plant = Plant::new(active.clone(), &[hot_and_rare, apart].concat());
    plant.run(60);
    let served = |plant: &Plant| plant.demand.iter().map(|(s, o, _)| plant.served(s, *o)).collect::<Vec<f64>>();
    let before = served(&plant);
    let law = Law::Threshold(Default::default());
    let dry = Policy { law, mode: Mode::DryRun, ..active.clone() };
    plant.governor.replace_policy(at(60), Arc::new(dry.clone()));
    plant.tick_with(None);
    assert_eq!(served(&plant), before);
    plant.run(60);
    assert_eq!(served(&plant), before);
    plant.governor.replace_policy(at(120), Arc::new(Policy { mode: Mode::Active, ..dry }));
    plant.run(60);
    assert_eq!(plant.served("web", Some("hot")), plant.served("web", Some("rare")));
    assert_eq!(plant.served("batch", None), 0.0005);
}
