//! The limit: it knows what the backend bears and what is demanded at the moment of each scrape, and has the dead time
//! only. It obeys the same policy: weights, floors, bounds and headroom. No law that moves probabilities by what it saw
//! can lose less at the same use.

use super::{Law, Roots, Seen, Told};

/// Knows everything but the future.
#[derive(Debug)]
pub(super) struct Oracle {
    roots: Roots,
}

impl Oracle {
    /// For these roots.
    pub(super) fn new(roots: Roots) -> Self {
        Self { roots }
    }
}

impl Law for Oracle {
    fn tick(&mut self, seen: &Seen<'_>, told: &mut Told) {
        if seen.traffic.is_none() || !seen.is_new {
            return;
        }
        let budget = seen.truth.capacity * (1.0 - self.roots.headroom());
        let demand: Vec<f64> = seen.truth.demand.iter().map(|by_operation| by_operation.iter().sum()).collect();
        self.roots.spread(&self.roots.fair(&demand, budget), &mut told.probabilities);
        told.budget = Some(budget);
    }
}
