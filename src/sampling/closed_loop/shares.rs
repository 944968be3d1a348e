//! Who gets which share of the budget.

use std::collections::HashSet;

use super::{Plant, at, budgeted, p, policy, rule};
use crate::sampling::decision::Reason;
use crate::sampling::pattern::Pattern;
use crate::sampling::policy::{OperationRule, Pin, ServiceRule};
use crate::sampling::traffic::{Name, Traffic};

#[test]
fn weights_floors_and_roots_shape_the_shares() {
    let mut policy = budgeted(8_000.0);
    let inventory = ServiceRule { is_root: false, ..rule("inventory") };
    let rare = ServiceRule { floor_traces_per_second: 5.0, weight: 0.001, ..rule("rare") };
    policy.services = vec![ServiceRule { weight: 3.0, ..rule("checkout") }, inventory, rare, rule("*")];
    policy.probability.initial = p(0.001);
    let demand = [("checkout", None, 5_000.0), ("cart", None, 5_000.0), ("inventory", None, 9e9), ("rare", None, 50.0)];
    let mut plant = Plant::new(policy, &demand);
    // Traces of `inventory` begin elsewhere: its own demand causes no spans.
    // Nobody expected so much load: until it is known how fast clients adopt, a minute of rest is waited for.
    plant.run(120);
    let by_name = |name: &str| plant.last().services.iter().find(|s| &*s.service == name).expect("decided").clone();
    let (checkout, cart, rare) = (by_name("checkout"), by_name("cart"), by_name("rare"));
    assert!(
        (checkout.rate.probability.get() / cart.rate.probability.get() - 3.0).abs() < 0.01,
        "{checkout:?} {cart:?}"
    );
    assert_eq!((rare.rate.probability.get(), rare.rate.reason), (0.1, Reason::Floor));
    assert_eq!(by_name("inventory").rate.reason, Reason::NotRoot);
    assert_eq!(by_name("inventory").rate.served, plant.last().stranger);
}

#[test]
fn rare_operations_are_sampled_whole_and_fixed_ones_as_told() {
    let mut policy = budgeted(8_000.0);
    let health = OperationRule {
        pattern: Pattern::new("GET /health").expect("a pattern"),
        probability: Some(p(0.0001)),
        weight: 1.0,
    };
    policy.services = vec![ServiceRule { operations: vec![health], ..rule("*") }];
    let demand = [("shop", Some("hot"), 9_900.0), ("shop", Some("rare"), 1.0), ("shop", Some("GET /health"), 500.0)];
    let mut plant = Plant::new(policy, &demand);
    plant.run(60);
    assert_eq!(plant.served("shop", Some("rare")), 1.0);
    assert_eq!(plant.served("shop", Some("GET /health")), 0.0001);
    assert!(plant.offered() <= 8_000.0 * 1.001, "offered {}", plant.offered());
}

#[test]
fn an_operation_fixed_by_name_is_told_before_anyone_meets_it() {
    let mut policy = policy();
    let health = OperationRule {
        pattern: Pattern::new("GET /health").expect("a pattern"),
        probability: Some(p(0.5)),
        weight: 1.0,
    };
    policy.services = vec![ServiceRule { operations: vec![health], ..rule("*") }];
    let mut plant = Plant::new(policy, &[("shop", None, 10.0)]);
    plant.tick();
    assert_eq!(plant.last().services[0].operations[0].rate.reason, Reason::FixedOperation);
}

#[test]
fn a_pin_holds_until_its_date_and_its_load_is_taken_from_the_budget() {
    let mut policy = budgeted(8_000.0);
    let until = Some(at(100).wall);
    let pin = Pin { probability: p(0.05), until, reason: "incident 42".into() };
    policy.services = vec![ServiceRule { pin: Some(pin), ..rule("batch") }, rule("*")];
    let mut plant = Plant::new(policy, &[("batch", None, 10_000.0), ("web", None, 10_000.0)]);
    plant.run(95);
    assert_eq!((plant.served("batch", None), plant.last().services[0].rate.reason), (0.05, Reason::Pinned));
    assert!((plant.served("web", None) - 0.05).abs() < 0.005, "{}", plant.served("web", None));
    plant.run(60);
    assert_ne!(plant.last().services[0].rate.reason, Reason::Pinned);
}

#[test]
fn a_service_of_an_earlier_policy_is_a_conflict_and_gets_no_share() {
    let mut plant = Plant::new(budgeted(800.0), &[("web", None, 100.0), ("api", None, 100.0)]);
    let taken: HashSet<Name> = ["web".into()].into();
    plant.seconds = 5;
    let traffic = plant.traffic();
    let decision = plant.governor.tick(at(5), Some(&traffic), &taken);
    let reasons: Vec<_> = decision.services.iter().map(|s| (&*s.service, s.rate.reason)).collect();
    assert_eq!(reasons[1], ("web", Reason::Conflict));
    assert_eq!(decision.inputs.demand_per_second, Some(100.0));
}

#[test]
fn requests_without_an_operation_are_the_services_own() {
    let mut plant = Plant::new(budgeted(800.0), &[("web", Some(""), 1_000.0), ("web", Some("GET /"), 1.0)]);
    plant.run(60);
    let names: Vec<_> = plant.last().services[0].operations.iter().map(|o| &*o.operation).collect();
    assert_eq!(names, ["GET /"]);
}

#[test]
fn an_operation_that_was_away_for_a_tick_is_reckoned_with_its_service() {
    let mut plant = Plant::new(budgeted(20_000.0), &[("shop", Some("old"), 7_369.0)]);
    plant.run(60);
    assert!(plant.served("shop", Some("old")) < 0.4);
    plant.demand = vec![("shop", Some("new"), 600.0)];
    plant.tick();
    plant.demand = vec![("shop", Some("old"), 577.0)];
    plant.tick();
    assert_eq!(plant.served("shop", Some("old")), 1.0);
}

#[test]
fn a_service_that_is_new_holds_what_strangers_are_told_until_it_may_rise() {
    let mut policy = budgeted(8_000.0);
    policy.probability.initial = p(0.5);
    let mut plant = Plant::new(policy, &[("web", None, 10_000.0)]);
    plant.run(120);
    let stranger = plant.last().stranger;
    assert!(stranger.get() < 0.11, "{stranger:?}");
    plant.demand.push(("api", None, 10.0));
    plant.seconds += 5;
    let partial = Traffic { is_partial: true, ..plant.traffic() };
    plant.seconds -= 5;
    plant.tick_with(Some(&partial));
    assert_eq!(plant.served("api", None), stranger.get());
    plant.run(30);
    assert_eq!(plant.served("api", None), 1.0);
}

#[test]
fn requests_that_move_to_another_operation_are_no_surge() {
    let mut plant = Plant::new(budgeted(4_000.0), &[("shop", Some("a"), 500.0), ("shop", Some("b"), 500.0)]);
    plant.run(60);
    let before = plant.offered();
    plant.demand = vec![("shop", Some("a"), 100.0), ("shop", Some("b"), 900.0)];
    plant.tick();
    // A fifth of the fall is not believed at first sight.
    assert!(plant.offered() > 0.8 * before, "{} of {before}", plant.offered());
}
