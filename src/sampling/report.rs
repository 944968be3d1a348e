//! Writes a governor's state out as one complete decision: pins, services that are no roots, operations that the policy
//! fixes by name, and the answer to strangers included.

use std::collections::HashSet;

use super::decision::{
    Decided, OPERATIONS_MAX, OperationDecision, PolicyDecision, PolicyInputs, Reason, ServiceDecision,
};
use super::local::LocalShare;
use super::policy::{Mode, Pin, Policy, ServiceRule};
use super::probability::Probability;
use super::roster::{Operation, Roster, Service};
use super::traffic::Name;
use crate::time::Tick;

/// The pin that holds for a service now.
pub(super) fn active_pin<'a>(policy: &'a Policy, service: &Service, now: Tick) -> Option<&'a Pin> {
    service.rule(policy).active_pin(now.wall)
}

/// What is told, and why, to a service that no law decides on: it is pinned, or it is no root.
pub(super) fn set_apart(
    policy: &Policy,
    service: &Service,
    stranger: Probability,
    now: Tick,
) -> Option<(Probability, Reason)> {
    match active_pin(policy, service, now) {
        Some(pin) => Some((pin.probability, Reason::Pinned)),
        None => (!service.rule(policy).is_root).then_some((stranger, Reason::NotRoot)),
    }
}

pub(super) fn decision(
    now: Tick,
    policy: &Policy,
    roster: &Roster,
    inputs: PolicyInputs,
    degraded: Option<Reason>,
    taken: &HashSet<Name>,
) -> PolicyDecision {
    let stranger = stranger(policy, roster, degraded);
    let mut services: Vec<ServiceDecision> =
        roster.services().iter().map(|service| service_decision(now, policy, service, stranger, degraded)).collect();
    let conflicts = roster.conflicts().iter().filter(|name| taken.contains(*name));
    services.extend(conflicts.map(|name| conflict(name, stranger)));
    services.sort_unstable_by(|a, b| a.service.cmp(&b.service));
    PolicyDecision { policy: policy.name.clone(), decided_at: now.wall, inputs, services, stranger, degraded }
}

/// The lowest probability of a root that was decided on; `initial` until then.
pub(super) fn stranger(policy: &Policy, roster: &Roster, degraded: Option<Reason>) -> Probability {
    let is_decided_root = |s: &&Service| s.rule(policy).is_root && s.rate.reason != Reason::Initial;
    let decided = roster.services().iter().filter(is_decided_root).map(|s| s.rate.served);
    let lowest = decided.reduce(Probability::min).unwrap_or(policy.probability.initial);
    let is_fallen_back = degraded == Some(Reason::Fallback) && policy.mode == Mode::Active;
    if is_fallen_back { lowest.min(policy.probability.fallback) } else { lowest }
}

fn service_decision(
    now: Tick,
    policy: &Policy,
    service: &Service,
    stranger: Probability,
    degraded: Option<Reason>,
) -> ServiceDecision {
    let rule = service.rule(policy);
    if let Some((probability, reason)) = set_apart(policy, service, stranger, now) {
        return ServiceDecision {
            service: service.name.clone(),
            rate: held_or(policy, service, probability, reason),
            demand_per_second: service.demand,
            share_spans_per_second: None,
            local: None,
            operations: Vec::new(),
        };
    }
    ServiceDecision {
        service: service.name.clone(),
        rate: service.rate,
        demand_per_second: service.demand,
        share_spans_per_second: service.share,
        local: local(policy, service).filter(|_| degraded.is_none()),
        operations: operations(policy, service, rule),
    }
}

/// A dry run limits nobody, and what is held is no measure of what clients may do now.
fn local(policy: &Policy, service: &Service) -> Option<LocalShare> {
    let is_limited = policy.mode == Mode::Active && service.rate.reason.is_measured();
    service.local.filter(|local| is_limited && local.expected_traces_per_second > 0.0)
}

/// A probability that no law decided; a dry run goes on serving what was served.
fn held_or(policy: &Policy, service: &Service, probability: Probability, reason: Reason) -> Decided {
    let served = if policy.mode == Mode::DryRun { service.rate.served } else { probability };
    Decided { probability, served, reason }
}

/// The listed operations, the hottest first; those that the policy fixes by their plain name are always among them,
/// because clients may meet them though the demand query does not name them.
fn operations(policy: &Policy, service: &Service, rule: &ServiceRule) -> Vec<OperationDecision> {
    let mut operations: Vec<OperationDecision> =
        service.operations.iter().filter(|o| o.is_listed).map(listed).collect();
    operations.sort_by(|a, b| {
        let demand = |o: &OperationDecision| o.demand_per_second.unwrap_or(0.0);
        demand(b).total_cmp(&demand(a)).then_with(|| a.operation.cmp(&b.operation))
    });
    let unmet = fixed_by_name(policy, service, rule, &operations);
    operations.truncate(OPERATIONS_MAX - unmet.len());
    operations.extend(unmet);
    operations
}

fn listed(operation: &Operation) -> OperationDecision {
    OperationDecision { operation: operation.name.clone(), rate: operation.rate, demand_per_second: operation.demand }
}

fn fixed_by_name(
    policy: &Policy,
    service: &Service,
    rule: &ServiceRule,
    listed: &[OperationDecision],
) -> Vec<OperationDecision> {
    if policy.mode == Mode::DryRun {
        return Vec::new();
    }
    let unmet = |name: &str| !listed.iter().any(|o| &*o.operation == name);
    let fixed = rule.operations.iter().filter_map(|r| Some((r.pattern.as_literal()?, r.probability?)));
    let first_matching = |name: &str, p: Probability| rule.operation_rule(name).and_then(|r| r.probability) == Some(p);
    let of = |(name, probability): (&str, Probability)| OperationDecision {
        operation: service.operation(name).map_or_else(|| name.into(), |o| o.name.clone()),
        rate: Decided { probability, served: probability, reason: Reason::FixedOperation },
        demand_per_second: service.operation(name).and_then(|o| o.demand),
    };
    fixed.filter(|(name, p)| unmet(name) && first_matching(name, *p)).take(OPERATIONS_MAX).map(of).collect()
}

fn conflict(name: &Name, stranger: Probability) -> ServiceDecision {
    ServiceDecision {
        service: name.clone(),
        rate: Decided { probability: stranger, served: stranger, reason: Reason::Conflict },
        demand_per_second: None,
        share_spans_per_second: None,
        local: None,
        operations: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::sampling::governor::Governor;
    use crate::sampling::pattern::Pattern;
    use crate::sampling::policy::Law;
    use crate::sampling::traffic::{Demand, Interval, Rate, Traffic};
    use crate::time::{MonoTime, WallTime};

    const TICK: Duration = Duration::from_secs(5);
    const SPANS: f64 = 8.0;

    fn at(tick: u32) -> Tick {
        let since = TICK * tick;
        Tick { mono: MonoTime::from_start(since), wall: WallTime::from_unix_ms(1_800_000_000_000).plus(since) }
    }

    /// A budget of 100 traces/s.
    fn policy() -> Policy {
        let mut policy = Policy { spans_per_trace: Some(SPANS), ..Policy::with_defaults("shop") };
        policy.budget.spans_per_second = Some(100.0 * SPANS);
        policy
    }

    /// The decision after ten ticks of a fleet that obeys, and one tick without an answer from the source if told so.
    fn decided(policy: Policy, demand: &[(&str, f64)], is_source_gone: bool) -> PolicyDecision {
        let mut governor = Governor::new(at(0), Arc::new(policy), TICK);
        let mut last: Option<PolicyDecision> = None;
        for tick in 1..=10 {
            let over = Interval::before(at(tick).wall, TICK);
            let served = |name: &str| {
                let own = last.iter().flat_map(|d| &d.services).find(|s| &*s.service == name);
                own.map_or(0.1, |s| s.rate.served.get())
            };
            let received = SPANS * demand.iter().map(|(name, d)| d * served(name)).sum::<f64>();
            let traffic = Traffic {
                demand: demand.iter().map(|(service, d)| Demand::new(service, None, *d)).collect(),
                demand_over: Some(over),
                received: Rate::new(received, over),
                dropped: Rate::new(0.0, over),
                age: Some(Duration::ZERO),
                ..Traffic::default()
            };
            last = Some(governor.tick(at(tick), Some(&traffic), &HashSet::new()));
        }
        match is_source_gone {
            true => (11..=20).map(|tick| governor.tick(at(tick), None, &HashSet::new())).last().expect("ten ticks"),
            false => last.expect("ten ticks"),
        }
    }

    fn local(decision: &PolicyDecision, service: &str) -> Option<(f64, f64)> {
        let own = decision.services.iter().find(|s| &*s.service == service).expect("decided on");
        own.local.map(|local| (local.expected_traces_per_second.round(), local.share_traces_per_second.round()))
    }

    #[test]
    fn a_limited_service_may_cause_its_share_and_a_small_one_what_it_would_get_if_it_surged() {
        let decision = decided(policy(), &[("hot", 1_000.0), ("small", 10.0)], false);
        assert_eq!((local(&decision, "hot"), local(&decision, "small")), (Some((90.0, 90.0)), Some((10.0, 40.0))));
        // The spare 20 by weight, because a surge seldom comes alone, and less what clients add for their own noise.
        let spare = decided(policy(), &[("a", 30.0), ("b", 50.0)], false);
        assert_eq!((local(&spare, "a"), local(&spare, "b")), (Some((30.0, 32.0)), Some((50.0, 50.0))));
    }

    #[test]
    fn there_is_no_local_share_where_nothing_measured_stands_behind_it() {
        let demand = [("web", 1_000.0)];
        let with = |change: fn(&mut Policy)| {
            let mut policy = policy();
            change(&mut policy);
            local(&decided(policy, &demand, false), "web")
        };
        let pin = |policy: &mut Policy| {
            let rule = ServiceRule::for_pattern(Pattern::everything());
            let pin = Pin { probability: Probability::ONE, until: None, reason: "x".into() };
            policy.services = vec![ServiceRule { pin: Some(pin), ..rule }];
        };
        let no_root = |policy: &mut Policy| {
            policy.services = vec![ServiceRule { is_root: false, ..ServiceRule::for_pattern(Pattern::everything()) }];
        };
        assert!(with(|_| ()).is_some());
        assert_eq!(with(|policy| policy.mode = Mode::DryRun), None);
        assert_eq!(with(|policy| policy.law = Law::Fixed), None);
        assert_eq!(with(|policy| policy.law = Law::Threshold(Default::default())), None);
        assert_eq!([with(pin), with(no_root)], [None, None]);
        assert_eq!(local(&decided(policy(), &demand, true), "web"), None);
        assert_eq!(local(&decided(policy(), &[("web", 0.0)], false), "web"), None);
    }
}
