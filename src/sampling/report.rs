//! Writes a governor's state out as one complete decision: pins, services that are no roots, operations that the policy
//! fixes by name, and the answer to strangers included.

use std::collections::HashSet;

use super::decision::{
    Decided, OPERATIONS_MAX, OperationDecision, PolicyDecision, PolicyInputs, Reason, ServiceDecision,
};
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
        roster.services().iter().map(|service| service_decision(now, policy, service, stranger)).collect();
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

fn service_decision(now: Tick, policy: &Policy, service: &Service, stranger: Probability) -> ServiceDecision {
    let rule = service.rule(policy);
    if let Some((probability, reason)) = set_apart(policy, service, stranger, now) {
        return ServiceDecision {
            service: service.name.clone(),
            rate: held_or(policy, service, probability, reason),
            demand_per_second: service.demand,
            share_spans_per_second: None,
            operations: Vec::new(),
        };
    }
    ServiceDecision {
        service: service.name.clone(),
        rate: service.rate,
        demand_per_second: service.demand,
        share_spans_per_second: service.share,
        operations: operations(policy, service, rule),
    }
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
        operations: Vec::new(),
    }
}
