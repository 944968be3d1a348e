//! What may be bet: how the allowance for false stops is spread over gates and waves.
//!
//! False stops are bounded for the rollout, not for each look, wave and gate: all gates of all waves bet from one stake
//! of 1, and what they have together reaches [`STOP`] with probability `1 / STOP` at most (Ville 1939; a sum of
//! martingales is one, however they depend on each other). Four fifths are bet in the first wave, where a bad release
//! is to be stopped; each later one goes on with what is left, and with its part of the reserve, so that a good first
//! wave cannot hide a bad second one.

use serde::{Deserialize, Serialize};

use super::gate::Gate;
use super::metric::MetricSpec;

/// What the stake of 1 has to become: the inverse of the probability of a false stop in a rollout.
pub const STOP: f64 = 1_000.0;
/// Part of the stake that is bet in the first wave, where there are others.
const FIRST_WAVE: f64 = 0.8;
/// Part of it for queries that are compared, where there are any.
const QUERIES: f64 = 0.1;

/// What is asked in every wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gates {
    /// Of devices.
    pub devices: Vec<Gate>,
    /// Of the operator.
    pub queries: Vec<MetricSpec>,
}

impl Gates {
    /// Part of the stake.
    pub(super) fn share(&self, gate: Gate) -> f64 {
        gate.share() / self.shares()
    }

    /// Part of it for each query that is compared.
    pub(super) fn share_of_a_query(&self) -> f64 {
        let compared = self.compared();
        if compared == 0 { 0.0 } else { QUERIES / self.shares() / compared as f64 }
    }

    fn shares(&self) -> f64 {
        let devices: f64 = self.devices.iter().map(|gate| gate.share()).sum();
        devices + if self.compared() > 0 { QUERIES } else { 0.0 }
    }

    fn compared(&self) -> usize {
        self.queries.iter().filter(|spec| spec.bad.is_compared()).count()
    }
}

/// Part of the stake that is new in a wave.
pub(super) fn reserve(wave: usize, waves: usize) -> f64 {
    match (wave, waves) {
        (_, 0 | 1) => 1.0,
        (0, _) => FIRST_WAVE,
        _ => (1.0 - FIRST_WAVE) / (waves - 1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepalive::wave::metric::Bad;

    #[test]
    fn no_more_than_one_is_bet_whatever_is_asked_in_however_many_waves() {
        let query = |bad| MetricSpec { name: "q".into(), bad };
        let compared = vec![query(Bad::AboveControl(1.0)), query(Bad::BelowControl(1.0)), query(Bad::Above(1.0))];
        for devices in [vec![], vec![Gate::Coverage], Gate::ALL.to_vec()] {
            for queries in [vec![], compared.clone(), vec![query(Bad::Below(1.0))]] {
                let gates = Gates { devices: devices.clone(), queries };
                let bet: f64 = gates.devices.iter().map(|gate| gates.share(*gate)).sum();
                let bet = bet + gates.compared() as f64 * gates.share_of_a_query();
                for waves in 1..6 {
                    let all = bet * (0..waves).map(|wave| reserve(wave, waves)).sum::<f64>();
                    assert!(all < 1.0 + 1e-12, "{all} in {waves} waves of {gates:?}");
                }
            }
        }
    }
}
