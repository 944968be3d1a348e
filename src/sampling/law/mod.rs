//! The laws: from demand, budget and loss to the probabilities that each service and operation should have. A law says
//! what it wants; what may rise and by how much is settled after it, the same for all laws.

pub mod adaptive;
pub mod threshold;

use super::decision::Reason;
use super::policy::{OperationRule, ServiceRule};
use super::probability::Probability;
use super::roster::{Operation, Service};

/// What a law wants for one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// For operations that are not listed.
    pub rate: Want,
    /// Its part of the budget, spans/s, where the law shares one.
    pub share: Option<f64>,
    /// Traces/s that it may cause before it takes from others, where the law shares a budget.
    pub share_alone: Option<f64>,
    /// Listed operations: index into `Service::operations`.
    pub operations: Vec<(usize, Want)>,
}

/// A probability and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Want {
    /// Within the policy's bounds, unless a rule fixes it.
    pub probability: Probability,
    /// Why.
    pub reason: Reason,
}

impl Wanted {
    /// One probability for the whole service; only operations that the policy fixes are listed.
    pub fn uniform(service: &Service, rule: &ServiceRule, probability: Probability, reason: Reason) -> Self {
        let operations = fixed_operations(service, rule);
        Self { rate: Want { probability, reason }, share: None, share_alone: None, operations }
    }
}

/// The operations whose probability the policy fixes.
pub(super) fn fixed_operations(service: &Service, rule: &ServiceRule) -> Vec<(usize, Want)> {
    if rule.operations.is_empty() {
        return Vec::new();
    }
    let fixed = |(i, operation): (usize, &Operation)| {
        let probability = rule.operation_rule(&operation.name)?.probability?;
        Some((i, Want { probability, reason: Reason::FixedOperation }))
    };
    service.operations.iter().enumerate().filter_map(fixed).collect()
}

/// The weight of an operation among its service's others.
pub(super) fn operation_weight(rule: &ServiceRule, operation: &str) -> f64 {
    rule.operation_rule(operation).map_or(1.0, |rule: &OperationRule| rule.weight)
}
