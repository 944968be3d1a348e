//! One decided probability with everything around it that an operator may ask about: the policy's inputs, its rules
//! where they are known, the service, and the operation if the row is one.

use std::time::Duration;

use crate::controller::snapshot::Snapshot;
use crate::controller::usage::Usage;
use crate::sampling::decision::{Decided, OPERATIONS_MAX, OperationDecision, PolicyDecision, ServiceDecision};
use crate::sampling::pattern::Pattern;
use crate::sampling::policy::{Law, Mode, Pin, Policy, ServiceRule};
use crate::time::WallTime;

/// A row of the decisions: a service, or one of its operations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) policy: &'a PolicyDecision,
    /// The policy's rules; `None` in a snapshot that was restored without them.
    pub(crate) rules: Option<&'a Policy>,
    pub(crate) service: &'a ServiceDecision,
    pub(crate) operation: Option<&'a OperationDecision>,
    /// What SDKs reported on the service; `None` where none does.
    pub(crate) usage: Option<&'a Usage>,
}

impl<'a> Case<'a> {
    /// The service's own row, and then its operations'.
    pub(crate) fn all(
        snapshot: &'a Snapshot,
        policy: &'a PolicyDecision,
        service: &'a ServiceDecision,
    ) -> impl Iterator<Item = Self> {
        let rules = snapshot.policy(&policy.policy);
        let usage = snapshot.usage.get(&service.service).map(AsRef::as_ref);
        let own = Case { policy, rules, service, operation: None, usage };
        let operations = service.operations.iter().map(move |operation| Case { operation: Some(operation), ..own });
        std::iter::once(own).chain(operations)
    }

    pub(crate) fn rate(&self) -> Decided {
        self.operation.map_or(self.service.rate, |operation| operation.rate)
    }

    pub(crate) fn demand_per_second(&self) -> Option<f64> {
        self.operation.map_or(self.service.demand_per_second, |operation| operation.demand_per_second)
    }

    /// Whether a root span of this operation was met; `None` for a service's own row, and where no SDK reports.
    pub(crate) fn matched(&self) -> Option<bool> {
        Some(self.usage?.matched.contains(&self.operation?.operation))
    }

    pub(crate) fn rule(&self) -> Option<&'a ServiceRule> {
        self.rules?.rule_for(&self.service.service)
    }

    /// The pin in force when this was decided.
    pub(crate) fn pin(&self) -> Option<&'a Pin> {
        self.rule()?.pin.as_ref().filter(|pin| pin.is_active(self.policy.decided_at))
    }

    /// Operation rules of the service that match none of its demand: a name in the policy that no metric carries.
    /// Empty where that cannot be told: demand is not known, or the list of operations is full.
    pub(crate) fn rules_without_demand(&self) -> impl Iterator<Item = &'a Pattern> {
        let operations = &self.service.operations;
        let can_tell = self.service.demand_per_second.is_some() && operations.len() < OPERATIONS_MAX;
        let rules = self.rule().filter(|_| can_tell).map_or(&[][..], |rule| &rule.operations);
        let is_met = |pattern: &&Pattern| {
            operations.iter().any(|met| met.demand_per_second.is_some() && pattern.matches(&met.operation))
        };
        rules.iter().map(|rule| &rule.pattern).filter(move |pattern| !is_met(pattern))
    }
}

/// How old a policy's input is at `now`, not when it was decided.
pub(crate) fn source_age(policy: &PolicyDecision, now: WallTime) -> Option<Duration> {
    Some(policy.inputs.age? + now.since(policy.decided_at))
}

/// The law's name in a policy file.
pub(crate) fn law_name(law: &Law) -> &'static str {
    match law {
        Law::Adaptive(_) => "adaptive",
        Law::Threshold(_) => "threshold",
        Law::Fixed => "fixed",
    }
}

/// The mode's name in a policy file.
pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Active => "active",
        Mode::DryRun => "dry_run",
    }
}
