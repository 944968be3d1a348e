//! As Datadog documents its agent's ingestion sampling: a target of sampled traces a second, divided evenly over the
//! services, corrected every few seconds from the traffic of the last interval; a rate rises by at most a fifth at a
//! time and falls at once. It knows of no loss: the operator tells it the target.
//! (docs.datadoghq.com, "Ingestion Mechanisms", section "In the Agent".)

use super::{Law, Roots, Seen, Told};

/// Largest rise in one correction.
const RISE_MAX: f64 = 1.2;
/// The operator's margin under the capacity at the start.
const TARGET: f64 = 0.9;

/// One target for all.
#[derive(Debug)]
pub(super) struct Datadog {
    roots: Roots,
    budget: f64,
}

impl Datadog {
    /// Told nine tenths of the true capacity.
    pub(super) fn new(roots: Roots, capacity: f64) -> Self {
        Self { roots, budget: TARGET * capacity }
    }
}

impl Law for Datadog {
    fn tick(&mut self, seen: &Seen<'_>, told: &mut Told) {
        let Some(traffic) = seen.traffic.filter(|_| seen.is_new) else { return };
        let demand = self.roots.demand(traffic);
        let wanted = self.roots.fair(&demand, self.budget);
        for (wanted, told) in wanted.iter().zip(&mut told.probabilities) {
            told.iter_mut().for_each(|p| *p = wanted.min(*p * RISE_MAX));
        }
        told.budget = Some(self.budget);
    }
}
