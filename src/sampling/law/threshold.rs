//! The design paper's law, exactly: start at 1, cut for loss, cut for demand, round, clamp. It looks at each service
//! alone and does not know the capacity: the baseline to beat.

use crate::sampling::decision::Reason;
use crate::sampling::policy::{Bounds, ThresholdConstants};
use crate::sampling::probability::Probability;

use super::Want;

/// `p = 1`; where loss > 0.01, `p *= max(0.1, 1 - 50 x loss)`; where demand > 500/s, `p *= max(0.1, 500 / demand)`;
/// rounded half to even at 3 decimals, then clamped. (The numbers are the default constants.)
pub fn threshold(constants: &ThresholdConstants, bounds: &Bounds, demand: f64, loss_ratio: f64) -> Want {
    let mut p = 1.0;
    let mut reason = Reason::WithinThresholds;
    if demand > constants.demand_per_second {
        p *= (constants.demand_per_second / demand).max(constants.floor);
        reason = Reason::AboveDemand;
    }
    if loss_ratio > constants.loss {
        p *= (1.0 - constants.gain * loss_ratio).max(constants.floor);
        reason = Reason::AboveLoss;
    }
    let rounded = (p * 1000.0).round_ties_even() / 1000.0;
    Want { probability: Probability::saturating(rounded).clamp(bounds.min, bounds.max), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_table_holds() {
        let table = [
            // demand, loss, probability
            (100.0, 0.0, 1.0, Reason::WithinThresholds),
            (500.0, 0.01, 1.0, Reason::WithinThresholds),
            (1000.0, 0.0, 0.5, Reason::AboveDemand),
            (100_000.0, 0.0, 0.1, Reason::AboveDemand),
            (100.0, 0.012, 0.4, Reason::AboveLoss),
            (100.0, 0.5, 0.1, Reason::AboveLoss),
            (1000.0, 0.012, 0.2, Reason::AboveLoss),
            (100_000.0, 1.0, 0.01, Reason::AboveLoss),
            (3000.0, 0.0, 0.167, Reason::AboveDemand),
        ];
        for (demand, loss, probability, reason) in table {
            let want = threshold(&ThresholdConstants::default(), &Bounds::default(), demand, loss);
            assert_eq!((want.probability.get(), want.reason), (probability, reason), "{demand}/s, loss {loss}");
        }
    }

    #[test]
    fn half_goes_to_even_and_the_clamp_comes_last() {
        let constants = ThresholdConstants { floor: 0.0, ..ThresholdConstants::default() };
        // 500 / 8000 = 0.0625 -> 0.062, not 0.063.
        let want = threshold(&constants, &Bounds::default(), 8000.0, 0.0);
        assert_eq!(want.probability.get(), 0.062);
        let bounds = Bounds { min: Probability::saturating(0.2), ..Bounds::default() };
        assert_eq!(threshold(&constants, &bounds, 8000.0, 0.0).probability.get(), 0.2);
    }
}
