//! Claims about the whole governor, on a small plant with fake time: services with a demand, clients that adopt at
//! once, a backend of finite capacity without a queue, raw counters read every five seconds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::decision::{BudgetReason, PolicyDecision, Reason};
use super::governor::Governor;
use super::pattern::Pattern;
use super::policy::{Law, Mode, OperationRule, Pin, Policy, ServiceRule};
use super::probability::Probability;
use super::traffic::{Demand, Interval, Name, Rate, Traffic};
use crate::time::{MonoTime, Tick, WallTime};

const TICK: Duration = Duration::from_secs(5);
const START: i64 = 1_800_000_000_000;
const SPANS: f64 = 8.0;

struct Plant {
    governor: Governor,
    seconds: u64,
    demand: Vec<(&'static str, Option<&'static str>, f64)>,
    capacity: f64,
    /// Lost whatever the load.
    constant_loss: f64,
    /// Share of the traffic whose clients sample at 0.1 whatever they are told.
    ignoring: f64,
    last: Option<PolicyDecision>,
}

impl Plant {
    fn new(policy: Policy, demand: &[(&'static str, Option<&'static str>, f64)]) -> Self {
        Self {
            governor: Governor::new(at(0), Arc::new(policy), TICK),
            seconds: 0,
            demand: demand.to_vec(),
            capacity: f64::INFINITY,
            constant_loss: 0.0,
            ignoring: 0.0,
            last: None,
        }
    }

    fn served(&self, service: &str, operation: Option<&str>) -> f64 {
        self.last.as_ref().map_or(0.1, |last| served_by(last, (service, operation)))
    }

    fn offered(&self) -> f64 {
        let traces = |(s, o, d): &(&str, Option<&str>, f64)| {
            d * ((1.0 - self.ignoring) * self.served(s, *o) + self.ignoring * 0.1)
        };
        SPANS * self.demand.iter().map(traces).sum::<f64>()
    }

    fn traffic(&self) -> Traffic {
        let over = Interval::before(at(self.seconds).wall, TICK);
        let offered = self.offered();
        let dropped = (offered - self.capacity).max(0.0).max(self.constant_loss * offered);
        Traffic {
            demand: self.demand.iter().map(|(s, o, d)| Demand::new(s, *o, *d)).collect(),
            demand_over: Some(over),
            received: Rate::new(offered, over),
            dropped: Rate::new(dropped, over),
            age: Some(Duration::ZERO),
            scrape_interval: Some(TICK),
            is_partial: false,
        }
    }

    fn tick_with(&mut self, traffic: Option<&Traffic>) -> &PolicyDecision {
        self.seconds += TICK.as_secs();
        self.last.insert(self.governor.tick(at(self.seconds), traffic, &HashSet::new()))
    }

    fn tick(&mut self) -> &PolicyDecision {
        self.seconds += TICK.as_secs();
        let traffic = self.traffic();
        self.seconds -= TICK.as_secs();
        self.tick_with(Some(&traffic))
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds / TICK.as_secs() {
            self.tick();
        }
    }

    fn loss(&self) -> f64 {
        1.0 - (self.capacity / self.offered()).min(1.0)
    }

    fn last(&self) -> &PolicyDecision {
        self.last.as_ref().expect("a tick happened")
    }

    fn budget(&self) -> f64 {
        self.last().inputs.budget_spans_per_second.expect("a budget is known")
    }
}

/// What a client with such a root span uses.
fn served_by(decision: &PolicyDecision, (service, operation): (&str, Option<&str>)) -> f64 {
    let Some(own) = decision.services.iter().find(|s| &*s.service == service) else { return decision.stranger.get() };
    let listed = own.operations.iter().find(|o| Some(&*o.operation) == operation);
    listed.map_or(own.rate.served, |o| o.rate.served).get()
}

fn at(seconds: u64) -> Tick {
    let since = Duration::from_secs(seconds);
    Tick { mono: MonoTime::from_start(since), wall: WallTime::from_unix_ms(START).plus(since) }
}

fn p(value: f64) -> Probability {
    Probability::new(value).expect("a probability")
}

fn rule(pattern: &str) -> ServiceRule {
    ServiceRule::for_pattern(Pattern::new(pattern).expect("a pattern"))
}

fn policy() -> Policy {
    Policy::with_defaults("shop")
}

fn budgeted(spans_per_second: f64) -> Policy {
    let mut policy = policy();
    policy.budget.spans_per_second = Some(spans_per_second);
    policy.spans_per_trace = Some(SPANS);
    policy
}

#[test]
fn an_idle_backend_is_filled_by_slow_start_up_to_everything() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 100.0)]);
    plant.run(120);
    assert_eq!(plant.served("checkout", None), 1.0);
    assert_eq!(plant.last().services[0].rate.reason, Reason::AtMax);
    assert_eq!(plant.last().inputs.spans_per_trace, Some(SPANS));
}

#[test]
fn the_first_loss_ends_slow_start_just_under_the_capacity() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 10_000.0)]);
    plant.capacity = 20_000.0;
    plant.run(180);
    assert!(plant.loss() <= 0.01, "loss {}", plant.loss());
    assert!((0.9..=1.01).contains(&(plant.offered() / plant.capacity)), "offered {}", plant.offered());
}

#[test]
fn a_tenfold_surge_is_answered_in_the_tick_that_sees_it() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.capacity = 8_000.0;
    plant.run(600);
    let before = plant.served("checkout", None);
    plant.demand[0].2 = 10_000.0;
    plant.tick();
    assert!(plant.loss() <= 0.01, "loss {} after the tick", plant.loss());
    let ratio = |plant: &Plant| before / plant.served("checkout", None);
    // A rise is led, because it may have begun late in the interval; the next interval tells that it did not.
    assert!((9.0..=30.0).contains(&ratio(&plant)), "cut by {}", ratio(&plant));
    plant.run(20);
    assert!((9.0..=11.5).contains(&ratio(&plant)), "cut by {}", ratio(&plant));
}

#[test]
fn halved_capacity_is_found_and_used() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 10_000.0)]);
    plant.capacity = 8_000.0;
    plant.run(600);
    plant.capacity = 4_000.0;
    plant.run(15);
    assert!(plant.loss() <= 0.01, "loss {}", plant.loss());
    plant.run(600);
    assert!(plant.offered() >= 0.9 * 4_000.0, "offered {}", plant.offered());
}

#[test]
fn a_grown_capacity_is_found_slowly() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 10_000.0)]);
    plant.capacity = 4_000.0;
    plant.run(300);
    plant.capacity = 8_000.0;
    let before = plant.budget();
    plant.run(3_600);
    assert!(plant.budget() > 1.3 * before, "{} after {before}", plant.budget());
    assert!(plant.loss() <= 0.01);
}

#[test]
fn loss_that_does_not_depend_on_load_does_not_ratchet_the_budget() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.run(300);
    plant.constant_loss = 0.03;
    plant.run(60);
    assert_eq!(plant.last().inputs.budget_reason, BudgetReason::LossNotLoad);
    plant.run(3_600);
    assert!(plant.served("checkout", None) >= 0.8, "{}", plant.served("checkout", None));
}

#[test]
fn constant_loss_from_the_start_does_not_end_slow_start() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.constant_loss = 0.03;
    plant.run(600);
    assert!(plant.served("checkout", None) >= 0.8, "{}", plant.served("checkout", None));
}

#[test]
fn real_overload_beside_unavoidable_loss_is_still_cut() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.constant_loss = 0.03;
    plant.run(600);
    plant.capacity = 4_000.0;
    plant.run(120);
    assert!(plant.offered() <= 4_400.0, "offered {}", plant.offered());
}

#[test]
fn clients_that_ignore_us_are_paid_for_by_the_rest() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 10_000.0)]);
    plant.ignoring = 0.3;
    plant.capacity = 8_000.0;
    plant.run(900);
    assert!(plant.loss() <= 0.02, "loss {}", plant.loss());
    // 2,400 spans/s are beyond our reach; 5,600 are left for 7,000 requests/s.
    let right = 5_600.0 / (7_000.0 * SPANS);
    assert!(plant.served("checkout", None) >= 0.8 * right, "{} of {right}", plant.served("checkout", None));
}

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
fn a_dry_run_decides_and_serves_what_was_served_before() {
    let mut plant = Plant::new(Policy { mode: Mode::DryRun, ..budgeted(800.0) }, &[("web", None, 10_000.0)]);
    plant.run(60);
    let rate = plant.last().services[0].rate;
    assert!((rate.probability.get() - 0.01).abs() < 1e-9, "{rate:?}");
    assert_eq!(rate.served, p(0.1));
}

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

#[test]
fn requests_without_an_operation_are_the_services_own() {
    let mut plant = Plant::new(budgeted(800.0), &[("web", Some(""), 1_000.0), ("web", Some("GET /"), 1.0)]);
    plant.run(60);
    let names: Vec<_> = plant.last().services[0].operations.iter().map(|o| &*o.operation).collect();
    assert_eq!(names, ["GET /"]);
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
    /// causes; with the same load in both, one would have adopted the last command and the other not.
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
        let rate = |d: &PolicyDecision| served_by(d, NAMES[rows[which].0]);
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
