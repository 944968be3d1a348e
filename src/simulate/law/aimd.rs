//! Additive increase, multiplicative decrease, as congestion control has it (Chiu and Jain, 1989): a budget that grows
//! by a fixed step each tick and is cut by a factor when loss is seen. Demand is fed forward, the dead band is ours.

use super::{Law, Roots, Seen, Told};

/// Growth in one tick, as a share of the capacity at the start.
const INCREASE: f64 = 0.01;
/// What a loss leaves of the budget.
const DECREASE: f64 = 0.7;
/// Loss ratio that counts as loss.
const LOSS: f64 = 0.01;

/// One budget for all.
#[derive(Debug)]
pub(super) struct Aimd {
    roots: Roots,
    budget: f64,
    step: f64,
}

impl Aimd {
    /// Starts at the true capacity.
    pub(super) fn new(roots: Roots, capacity: f64) -> Self {
        Self { roots, budget: capacity, step: INCREASE * capacity }
    }
}

impl Law for Aimd {
    fn tick(&mut self, seen: &Seen<'_>, told: &mut Told) {
        let Some(traffic) = seen.traffic.filter(|_| seen.is_new) else { return };
        let demand = self.roots.demand(traffic);
        let wanted: f64 = demand.iter().sum::<f64>() * self.roots.spans_per_trace(&demand);
        if traffic.loss_ratio().unwrap_or(0.0) > LOSS {
            self.budget *= DECREASE;
        } else if self.budget < wanted {
            self.budget += self.step;
        }
        self.roots.spread_banded(&self.roots.fair(&demand, self.budget), &mut told.probabilities);
        told.budget = Some(self.budget);
    }
}
