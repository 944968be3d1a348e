//! Flyball's own laws, through the real governor and its guard.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Law, Seen, Told};
use crate::sampling::decision::{PolicyDecision, ServiceDecision};
use crate::sampling::governor::Governor;
use crate::sampling::policy::{self, Policy, ThresholdConstants};
use crate::sampling::traffic::Name;
use crate::simulate::scenario::{LawKind, Scenario};
use crate::time::Tick;

/// The margin that an operator keeps under a capacity that he knows.
const TARGET: f64 = 0.9;

/// The governor of one policy.
#[derive(Debug)]
pub(super) struct Governed {
    governor: Governor,
    services: HashMap<Name, usize>,
    operations: HashMap<Name, usize>,
}

impl Governed {
    /// Knows nothing yet.
    pub(super) fn new(kind: LawKind, scenario: &Scenario, start: Tick, capacity: f64) -> Self {
        let policy = Arc::new(policy_of(kind, scenario, capacity));
        let most = scenario.services.iter().map(|s| s.operations.len()).max().unwrap_or(0);
        Self {
            governor: Governor::new(start, policy, scenario.tick),
            services: scenario.services.iter().enumerate().map(|(i, s)| (s.name.clone(), i)).collect(),
            operations: (0..most).map(|i| (operation_name(i), i)).collect(),
        }
    }

    fn take_up(&self, decision: &PolicyDecision, told: &mut Told) {
        for service in &decision.services {
            let Some(index) = self.services.get(&service.service) else { continue };
            self.take_up_service(service, &mut told.probabilities[*index]);
            told.shares[*index] = service.local;
        }
        told.budget = decision.inputs.budget_spans_per_second;
    }

    fn take_up_service(&self, service: &ServiceDecision, told: &mut [f64]) {
        told.iter_mut().for_each(|p| *p = service.rate.served.get());
        for operation in &service.operations {
            let index = self.operations.get(&operation.operation);
            if let Some(p) = index.and_then(|i| told.get_mut(*i)) {
                *p = operation.rate.served.get();
            }
        }
    }
}

impl Law for Governed {
    fn tick(&mut self, seen: &Seen<'_>, told: &mut Told) {
        let decision = self.governor.tick(seen.now, seen.traffic, &HashSet::new());
        self.take_up(&decision, told);
    }
}

/// The name of a service's `i`-th operation.
pub(in crate::simulate) fn operation_name(i: usize) -> Name {
    format!("operation-{i}").into()
}

fn policy_of(kind: LawKind, scenario: &Scenario, capacity: f64) -> Policy {
    let law = match (kind, scenario.policy.law) {
        (LawKind::Adaptive, own @ policy::Law::Adaptive(_)) | (LawKind::Threshold, own @ policy::Law::Threshold(_)) => {
            own
        }
        (LawKind::Threshold, _) => policy::Law::Threshold(tuned(scenario, capacity)),
        (LawKind::Fixed, _) => policy::Law::Fixed,
        _ => policy::Law::Adaptive(Default::default()),
    };
    Policy { law, ..scenario.policy.clone() }
}

/// The paper's law, told each root's even part of the true capacity, less a margin.
fn tuned(scenario: &Scenario, capacity: f64) -> ThresholdConstants {
    let roots = || scenario.services.iter().filter(|s| s.is_root);
    let spans = roots().map(|s| s.spans_per_trace).fold(0.0, f64::max).max(1.0);
    let demand_per_second = TARGET * capacity / spans / roots().count().max(1) as f64;
    ThresholdConstants { demand_per_second, ..ThresholdConstants::default() }
}
