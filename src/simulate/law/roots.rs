//! What every law but our own needs to know of a scenario: who the roots are, and how a budget is shared among them.

use crate::sampling::allocation::{Claim, share};
use crate::sampling::policy::{Law, Policy};
use crate::sampling::traffic::{Name, Traffic};
use crate::simulate::scenario::Scenario;

/// The services, in the scenario's order.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    policy: Policy,
    services: Vec<Service>,
}

#[derive(Debug, Clone)]
struct Service {
    name: Name,
    operations: usize,
    is_root: bool,
    spans_per_trace: f64,
    weight: f64,
    floor: f64,
}

impl Roots {
    /// Of a scenario.
    pub(super) fn of(scenario: &Scenario) -> Self {
        let service = |plan: &crate::simulate::scenario::ServicePlan| {
            let rule = scenario.policy.rule_for(&plan.name);
            Service {
                name: plan.name.clone(),
                operations: plan.operations.len(),
                is_root: plan.is_root,
                spans_per_trace: plan.spans_per_trace,
                weight: rule.map_or(1.0, |rule| rule.weight),
                floor: rule.map_or(0.0, |rule| rule.floor_traces_per_second),
            }
        };
        Self { policy: scenario.policy.clone(), services: scenario.services.iter().map(service).collect() }
    }

    /// Lowest and highest probability.
    pub(super) fn bounds(&self) -> (f64, f64) {
        (self.policy.probability.min.get(), self.policy.probability.max.get())
    }

    /// Which share of a capacity the policy leaves free.
    pub(super) fn headroom(&self) -> f64 {
        match self.policy.law {
            Law::Adaptive(constants) => constants.headroom,
            Law::Threshold(_) | Law::Fixed => 0.0,
        }
    }

    /// Smallest relative rise that is worth a command.
    pub(super) fn dead_band(&self) -> f64 {
        match self.policy.law {
            Law::Adaptive(constants) => constants.dead_band,
            Law::Threshold(_) | Law::Fixed => 0.0,
        }
    }

    /// Operations of all roots.
    pub(super) fn operations(&self) -> usize {
        self.services.iter().filter(|s| s.is_root).map(|s| s.operations).sum()
    }

    /// Spans a trace, over the roots by their `demand`.
    pub(super) fn spans_per_trace(&self, demand: &[f64]) -> f64 {
        let roots = || self.services.iter().zip(demand).filter(|(s, _)| s.is_root);
        let requests: f64 = roots().map(|(_, d)| d).sum();
        let spans: f64 = roots().map(|(s, d)| s.spans_per_trace * d).sum();
        if requests > 0.0 { spans / requests } else { self.services.first().map_or(1.0, |s| s.spans_per_trace) }
    }

    /// Requests/s of each service as the source shows them.
    pub(super) fn demand(&self, traffic: &Traffic) -> Vec<f64> {
        let of = |service: &Service| {
            traffic.demand.iter().filter(|row| row.service == service.name).map(|row| row.per_second).sum()
        };
        self.services.iter().map(of).collect()
    }

    /// Weighted max-min fair probabilities: `budget` spans/s for `demand` requests/s, by service; the services that are
    /// no roots get the lowest.
    pub(super) fn fair(&self, demand: &[f64], budget: f64) -> Vec<f64> {
        let (min, max) = self.bounds();
        let claim = |(service, demand): (&Service, &f64)| {
            let ceiling = if service.is_root { service.spans_per_trace * demand * max } else { 0.0 };
            let floor = (service.floor * service.spans_per_trace).max(min * ceiling).min(ceiling);
            Claim { weight: service.weight, floor, ceiling }
        };
        let claims: Vec<Claim> = self.services.iter().zip(demand).map(claim).collect();
        let shares = share(budget, &claims).0;
        let probability = |((service, demand), share): ((&Service, &f64), f64)| {
            let whole = service.spans_per_trace * demand;
            if whole > 0.0 { (share / whole).clamp(min, max) } else { max }
        };
        self.services.iter().zip(demand).zip(shares).map(probability).collect()
    }

    /// Writes one probability a service into all of its operations.
    pub(super) fn spread(&self, probabilities: &[f64], told: &mut [Vec<f64>]) {
        for (probability, told) in probabilities.iter().zip(told) {
            told.iter_mut().for_each(|p| *p = *probability);
        }
    }

    /// As [`Roots::spread`], but small rises are not worth a command.
    pub(super) fn spread_banded(&self, probabilities: &[f64], told: &mut [Vec<f64>]) {
        let (band, max) = (1.0 + self.dead_band(), self.bounds().1);
        for (probability, told) in probabilities.iter().zip(told) {
            for held in told.iter_mut() {
                if *probability <= *held || *probability >= max || *probability >= *held * band {
                    *held = *probability;
                }
            }
        }
    }
}
