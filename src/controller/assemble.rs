//! From decisions to the next snapshot. Answers that did not change are carried over, with their bytes and their
//! generation; when none changed, the generation stays too.

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::{Answer, Strategy};
use super::snapshot::{Answers, Snapshot, Stranger};
use super::usage::Usage;
use crate::policy::PolicySet;
use crate::sampling::decision::{PolicyDecision, Reason, ServiceDecision};
use crate::sampling::local::LocalShare;
use crate::sampling::traffic::Name;
use crate::time::WallTime;

/// The snapshot after `previous`.
pub fn assemble(
    previous: &Snapshot,
    now: WallTime,
    policies: &PolicySet,
    decisions: Vec<Arc<PolicyDecision>>,
    usage: HashMap<Name, Arc<Usage>>,
) -> Snapshot {
    let next = next_generation(previous.generation, now);
    let services = services(previous, &decisions, next);
    let strangers = strangers(previous, policies, &decisions, next);
    let is_same = services.len() == previous.services.len()
        && services.values().all(|a| a.generation != next)
        && is_same_strangers(&strangers, &previous.strangers);
    Snapshot {
        generation: if is_same { previous.generation } else { next },
        published_at: now,
        decisions,
        policies: policies.policies.iter().map(|p| Arc::clone(&p.sampling)).collect(),
        usage,
        services,
        strangers,
        unclaimed: Arc::clone(&previous.unclaimed),
    }
}

/// `max(last + 1, unix milliseconds)`: a process that lost its state is still obeyed.
pub fn next_generation(last: u64, now: WallTime) -> u64 {
    (last + 1).max(u64::try_from(now.unix_ms()).unwrap_or(0))
}

fn services(previous: &Snapshot, decisions: &[Arc<PolicyDecision>], next: u64) -> Answers {
    let mut services = Answers::with_capacity_and_hasher(previous.services.len(), Default::default());
    let answered = decisions.iter().flat_map(|d| &d.services).filter(|s| s.rate.reason != Reason::Conflict);
    for decision in answered {
        let known = previous.services.get(&decision.service);
        let answer = match known.filter(|answer| is_same(&answer.strategy, decision)) {
            Some(answer) if LocalShare::is_close(answer.strategy.local, decision.local) => Arc::clone(answer),
            Some(answer) => Arc::new(answer.with_local(decision.local, next)),
            None => Arc::new(strategy(decision).into_answer(next)),
        };
        services.entry(decision.service.clone()).or_insert(answer);
    }
    services
}

fn is_same(strategy: &Strategy, decision: &ServiceDecision) -> bool {
    let operations = decision.operations.iter().map(|o| (&o.operation, o.rate.served));
    strategy.probability == decision.rate.served
        && strategy.operations.iter().map(|(name, p)| (name, *p)).eq(operations)
}

fn strategy(decision: &ServiceDecision) -> Strategy {
    let operations = decision.operations.iter().map(|o| (o.operation.clone(), o.rate.served));
    Strategy { probability: decision.rate.served, operations: operations.collect(), local: decision.local }
}

/// Every rule of every policy, in the order in which they are looked through; those told the same share one answer.
fn strangers(previous: &Snapshot, policies: &PolicySet, decisions: &[Arc<PolicyDecision>], next: u64) -> Vec<Stranger> {
    let key = |answer: &Arc<Answer>| (answer.strategy.probability.get().to_bits(), Arc::clone(answer));
    let mut answers: HashMap<u64, Arc<Answer>> = previous.strangers.iter().map(|s| key(&s.answer)).collect();
    let mut strangers = Vec::with_capacity(previous.strangers.len());
    for decision in decisions {
        let Some(policy) = policies.policies.iter().find(|p| p.sampling.name == decision.policy) else { continue };
        for rule in &policy.sampling.services {
            let told = decision.told_to_stranger(&policy.sampling, rule);
            let answer = answers.entry(told.get().to_bits());
            let answer = answer.or_insert_with(|| Arc::new(Strategy::uniform(told).into_answer(next)));
            strangers.push(Stranger { pattern: rule.pattern.clone(), answer: Arc::clone(answer) });
        }
    }
    strangers
}

fn is_same_strangers(a: &[Stranger], b: &[Stranger]) -> bool {
    let same = |(a, b): (&Stranger, &Stranger)| a.pattern == b.pattern && Arc::ptr_eq(&a.answer, &b.answer);
    a.len() == b.len() && a.iter().zip(b).all(same)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::time::Duration;

    use super::*;
    use crate::controller::governors::Governors;
    use crate::controller::memory::Memories;
    use crate::policy::LoadedPolicy;
    use crate::sampling::decision::Decided;
    use crate::sampling::pattern::Pattern;
    use crate::sampling::policy::{Pin, Policy, ServiceRule};
    use crate::sampling::probability::Probability;
    use crate::sampling::traffic::{Demand, Interval, Rate, Traffic};
    use crate::source::{DemandSignal, Query, Signals, Unit};
    use crate::time::{MonoTime, Tick};

    const TICK: Duration = Duration::from_secs(5);

    /// Policies by name, ticked with the same traffic.
    struct House {
        policies: PolicySet,
        governors: Governors,
        snapshot: Snapshot,
        ticks: u32,
    }

    impl House {
        fn of(policies: Vec<Policy>) -> Self {
            let loaded = |policy| LoadedPolicy { sampling: Arc::new(policy), signals: Arc::new(signals()) };
            let policies = PolicySet { policies: policies.into_iter().map(loaded).collect(), fleets: Vec::new() };
            let governors = Governors::new(at(0), TICK, &policies, &Memories::default());
            Self { policies, governors, snapshot: Snapshot::empty(1, at(0).wall), ticks: 0 }
        }

        fn tick(&mut self, demand: &[(&str, f64)]) -> &Snapshot {
            self.ticks += 1;
            let now = at(self.ticks);
            let names = self.policies.policies.iter().map(|p| p.sampling.name.clone());
            let traffic: BTreeMap<Name, Traffic> = names.map(|name| (name, traffic(self.ticks, demand))).collect();
            let decisions = self.governors.tick(now, &traffic);
            self.snapshot = assemble(&self.snapshot, now.wall, &self.policies, decisions, HashMap::new());
            &self.snapshot
        }

        fn told(&self, service: &str) -> f64 {
            self.snapshot.answer(service).strategy.probability.get()
        }
    }

    fn at(tick: u32) -> Tick {
        let since = TICK * tick;
        Tick { mono: MonoTime::from_start(since), wall: WallTime::from_unix_ms(1_800_000_000_000).plus(since) }
    }

    fn traffic(tick: u32, demand: &[(&str, f64)]) -> Traffic {
        let over = Interval::before(at(tick).wall, TICK);
        Traffic {
            demand: demand.iter().map(|(service, rate)| Demand::new(service, None, *rate)).collect(),
            demand_over: Some(over),
            received: Rate::new(0.0, over),
            age: Some(Duration::ZERO),
            ..Traffic::default()
        }
    }

    fn signals() -> Signals {
        let query = || Query::Opaque { promql: "x".into(), window: TICK };
        let demand =
            DemandSignal { query: query(), service_label: "service".into(), operation_label: None, is_adjusted: false };
        Signals { demand, received: query(), dropped: query(), freshness: None, unit: Unit::Spans }
    }

    fn threshold(name: &str) -> Policy {
        Policy { law: crate::sampling::policy::Law::Threshold(Default::default()), ..Policy::with_defaults(name) }
    }

    #[test]
    fn the_generation_grows_exactly_when_an_answer_changes() {
        let mut house = House::of(vec![threshold("shop")]);
        let first = house.tick(&[("web", 100.0)]).generation;
        let answer = Arc::clone(house.snapshot.answer("web"));
        assert_eq!(house.tick(&[("web", 120.0)]).generation, first);
        assert!(Arc::ptr_eq(&answer, house.snapshot.answer("web")), "carried over with its bytes");
        let second = house.tick(&[("web", 1_000.0)]).generation;
        assert!(second > first && house.snapshot.answer("web").generation == second);
        assert_eq!(house.told("web"), 0.5);
    }

    /// The snapshot after `previous`, with one service at a half.
    fn told(previous: &Snapshot, local: Option<(f64, f64)>) -> Snapshot {
        let half = Probability::new(0.5).expect("a probability");
        let share =
            |(expected, share)| LocalShare { expected_traces_per_second: expected, share_traces_per_second: share };
        let service = ServiceDecision {
            service: "web".into(),
            rate: Decided { probability: half, served: half, reason: Reason::Share },
            demand_per_second: Some(100.0),
            share_spans_per_second: None,
            local: local.map(share),
            operations: Vec::new(),
        };
        let decision = PolicyDecision {
            policy: "shop".into(),
            decided_at: at(1).wall,
            inputs: Default::default(),
            services: vec![service],
            stranger: half,
            degraded: None,
        };
        assemble(previous, at(1).wall, &PolicySet::default(), vec![Arc::new(decision)], HashMap::new())
    }

    #[test]
    fn a_local_share_is_told_anew_once_it_is_off_by_a_tenth_and_polling_clients_keep_their_bytes() {
        let first = told(&Snapshot::empty(1, at(0).wall), Some((50.0, 60.0)));
        let told_anew = |local| {
            let next = told(&first, local);
            let (before, after) = (first.answer("web"), next.answer("web"));
            assert_eq!((&before.json, &before.grpc_frame), (&after.json, &after.grpc_frame));
            assert_eq!(next.generation > first.generation, !Arc::ptr_eq(before, after));
            !Arc::ptr_eq(before, after)
        };
        let close = [(50.0, 60.0), (54.9, 60.0), (45.5, 60.0), (50.0, 65.0), (50.0, 54.6)];
        assert!(close.into_iter().all(|local| !told_anew(Some(local))));
        let off = [(55.5, 60.0), (45.0, 60.0), (50.0, 70.0), (50.0, 51.0)];
        assert!(off.into_iter().all(|local| told_anew(Some(local))));
        assert!(told_anew(None));
    }

    #[test]
    fn a_share_far_above_what_is_expected_and_a_trickle_are_told_less_exactly() {
        let first = told(&Snapshot::empty(1, at(0).wall), Some((10.0, 50.0)));
        let is_carried = |local| Arc::ptr_eq(first.answer("web"), told(&first, Some(local)).answer("web"));
        assert!(is_carried((10.0, 74.0)) && is_carried((10.9, 34.0)));
        assert!(!is_carried((10.0, 76.0)) && !is_carried((10.0, 33.0)));
        let trickle = told(&Snapshot::empty(1, at(0).wall), Some((0.1, 0.1)));
        assert!(Arc::ptr_eq(trickle.answer("web"), told(&trickle, Some((1.0, 1.0))).answer("web")));
    }

    #[test]
    fn the_first_policy_by_name_keeps_a_service_that_two_name() {
        let b = Policy { law: crate::sampling::policy::Law::Fixed, ..Policy::with_defaults("b") };
        let mut house = House::of(vec![threshold("a"), b]);
        house.tick(&[("web", 1_000.0)]);
        assert_eq!(house.told("web"), 0.5);
        let reasons: HashSet<_> = house.snapshot.decisions.iter().map(|d| d.services[0].rate.reason).collect();
        assert_eq!(reasons, [Reason::AboveDemand, Reason::Conflict].into());
    }

    #[test]
    fn strangers_get_the_lowest_root_a_pinned_pattern_its_pin_and_the_unclaimed_a_thousandth() {
        let rule = |pattern: &str| ServiceRule::for_pattern(Pattern::new(pattern).expect("a pattern"));
        let pin = Pin { probability: Probability::ONE, until: None, reason: "release".into() };
        let mut policy = threshold("shop");
        policy.services = vec![ServiceRule { pin: Some(pin), ..rule("batch*") }, rule("web*")];
        let mut house = House::of(vec![policy]);
        house.tick(&[]);
        assert_eq!((house.told("web-new"), house.told("batch-new"), house.told("else")), (0.1, 1.0, 0.001));
        house.tick(&[("web-a", 100.0), ("web-b", 1_000.0)]);
        assert_eq!((house.told("web-new"), house.told("batch-new"), house.told("web-a")), (0.5, 1.0, 1.0));
        assert!(!house.snapshot.knows("web-new"));
    }
}
