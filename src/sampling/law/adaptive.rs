//! Budget over demand, absolute: a service's probability is its fair share of the budget over what its unsampled demand
//! would cost. Nothing is multiplied onto the last probability, so that dead time cannot compound.
//!
//! Two levels, both weighted max-min fair: services share the budget, then a service's operations share its part, so
//! that a rare operation is sampled whole while a hot one pays for it. Operations beyond those that clients accept, and
//! names that clients see otherwise, take the service's own probability.

use crate::sampling::allocation::{Claim, share};
use crate::sampling::decision::{OPERATIONS_MAX, Reason};
use crate::sampling::policy::{Bounds, Policy, ServiceRule};
use crate::sampling::probability::Probability;
use crate::sampling::roster::{Operation, Service};

use super::{Want, Wanted, fixed_operations, operation_weight};

/// What clients multiply their part of a share with, for their own noise. What is entitled to besides its own use needs
/// no such margin.
const CLIENT_MARGIN: f64 = 1.25;
/// Relative distance within which a share counts as being at a bound.
const AT_BOUND: f64 = 1e-9;

/// One root's part in the sharing, in traces/s.
#[derive(Debug, Clone, Copy)]
struct Root<'a> {
    service: &'a Service,
    rule: &'a ServiceRule,
    /// Caused by operations whose probability the policy fixes.
    fixed: f64,
    /// Demand of the rest.
    free: f64,
}

/// What is shared.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    /// Spans/s.
    pub budget: f64,
    /// Spans/s of it that no load has proven yet: nobody's local share counts on them.
    pub unproven: f64,
    /// Spans that one sampled root causes.
    pub spans_per_trace: f64,
}

/// Shares a budget among `services`, each a root with demand. In their order.
pub fn allocate(policy: &Policy, services: &[&Service], shared: Shared) -> Vec<Wanted> {
    let Shared { budget, unproven, spans_per_trace } = shared;
    let bounds = &policy.probability;
    let fixed: Vec<Vec<(usize, Want)>> = services.iter().map(|s| fixed_operations(s, s.rule(policy))).collect();
    let roots: Vec<Root<'_>> = services.iter().zip(&fixed).map(|(s, f)| Root::new(s, s.rule(policy), f)).collect();
    let claims: Vec<Claim> = roots.iter().map(|root| root.claim(bounds)).collect();
    let (shares, room) = share(budget / spans_per_trace, &claims);
    let room = room.less(unproven / spans_per_trace);
    let parts = roots.iter().zip(fixed).zip(shares.iter().zip(&claims));
    let split = |((root, fixed), (traces, claim)): ((&Root<'_>, _), (&f64, &Claim))| {
        let wanted = root.split(bounds, fixed, *traces, claim, spans_per_trace);
        Wanted { share_alone: Some((room.alone(claim, *traces) / CLIENT_MARGIN).max(*traces)), ..wanted }
    };
    parts.map(split).collect()
}

impl<'a> Root<'a> {
    fn new(service: &'a Service, rule: &'a ServiceRule, fixed: &[(usize, Want)]) -> Self {
        let demand_of = |i: usize| service.operations[i].forecast.get();
        let fixed_demand: f64 = fixed.iter().map(|(i, _)| demand_of(*i)).sum();
        Self {
            service,
            rule,
            fixed: fixed.iter().map(|(i, want)| demand_of(*i) * want.probability.get()).sum(),
            free: (service.expected_per_second() - fixed_demand).max(0.0),
        }
    }

    fn claim(&self, bounds: &Bounds) -> Claim {
        let ceiling = self.fixed + bounds.max.get() * self.free;
        let floor = (self.fixed + bounds.min.get() * self.free).max(self.rule.floor_traces_per_second).min(ceiling);
        Claim { weight: self.rule.weight, floor, ceiling }
    }

    fn split(&self, bounds: &Bounds, fixed: Vec<(usize, Want)>, traces: f64, claim: &Claim, spans: f64) -> Wanted {
        let free = (traces - self.fixed).max(0.0);
        let probability = even(bounds, self.free, free);
        let rate = Want { probability, reason: self.reason(bounds, probability, traces, claim) };
        let operations = self.split_operations(bounds, fixed, free, rate);
        Wanted { rate, share: Some(traces * spans), share_alone: None, operations }
    }

    fn reason(&self, bounds: &Bounds, probability: Probability, traces: f64, claim: &Claim) -> Reason {
        let is_at_floor = traces <= claim.floor * (1.0 + AT_BOUND);
        match probability {
            p if p >= bounds.max => Reason::AtMax,
            p if p <= bounds.min => Reason::AtMin,
            _ if is_at_floor && self.rule.floor_traces_per_second >= claim.floor => Reason::Floor,
            _ => Reason::Share,
        }
    }

    /// The hottest operations share what the others, at the service's own probability, leave.
    fn split_operations(
        &self,
        bounds: &Bounds,
        mut listed: Vec<(usize, Want)>,
        free: f64,
        rate: Want,
    ) -> Vec<(usize, Want)> {
        listed.truncate(OPERATIONS_MAX);
        let hottest = self.hottest(&listed, OPERATIONS_MAX - listed.len());
        let hot_demand: f64 = hottest.iter().map(|(_, o)| o.forecast.get()).sum();
        let rest = (self.free - hot_demand).max(0.0) * rate.probability.get();
        let claim = |(_, operation): &(usize, &Operation)| {
            let demand = operation.forecast.get();
            let weight = operation_weight(self.rule, &operation.name);
            Claim { weight, floor: bounds.min.get() * demand, ceiling: bounds.max.get() * demand }
        };
        let claims: Vec<Claim> = hottest.iter().map(claim).collect();
        for ((i, operation), traces) in hottest.iter().zip(share((free - rest).max(0.0), &claims).0) {
            listed.push((*i, want_of(bounds, operation.forecast.get(), traces)));
        }
        listed
    }

    fn hottest(&self, fixed: &[(usize, Want)], count: usize) -> Vec<(usize, &'a Operation)> {
        let is_free = |i: usize| fixed.binary_search_by_key(&i, |(f, _)| *f).is_err();
        let has_demand = |o: &Operation| o.demand.is_some_and(|d| d > 0.0);
        let operations = self.service.operations.iter().enumerate();
        let mut free: Vec<_> = operations.filter(|(i, o)| has_demand(o) && is_free(*i)).collect();
        if free.len() > count {
            let hotter = |a: &(usize, &Operation), b: &(usize, &Operation)| {
                b.1.demand.unwrap_or(0.0).total_cmp(&a.1.demand.unwrap_or(0.0)).then_with(|| a.1.name.cmp(&b.1.name))
            };
            free.select_nth_unstable_by(count, hotter);
            free.truncate(count);
        }
        free
    }
}

fn want_of(bounds: &Bounds, demand: f64, traces: f64) -> Want {
    let probability = even(bounds, demand, traces);
    let reason = match probability {
        p if p >= bounds.max => Reason::AtMax,
        p if p <= bounds.min => Reason::AtMin,
        _ => Reason::Share,
    };
    Want { probability, reason }
}

/// What spreads `traces` over `demand`, both a second. What lacks of the highest by rounding is none: a sum of large
/// demands rounds by more than a small one has.
fn even(bounds: &Bounds, demand: f64, traces: f64) -> Probability {
    if traces >= bounds.max.get() * demand * (1.0 - AT_BOUND) {
        return bounds.max;
    }
    Probability::saturating(traces / demand).clamp(bounds.min, bounds.max)
}
