//! Logarithms of likelihood ratios, in nats: added up event by event, and written bit by bit, because a decimal that is
//! read back one unit in the last place off would make a resumed rollout another one.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Nats of evidence.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Nats(pub f64);

impl From<u64> for Nats {
    fn from(bits: u64) -> Self {
        let value = f64::from_bits(bits);
        // What was not written by us is no evidence.
        Self(if value.is_finite() { value } else { 0.0 })
    }
}

impl From<Nats> for u64 {
    fn from(nats: Nats) -> Self {
        nats.0.to_bits()
    }
}

impl AddAssign<f64> for Nats {
    fn add_assign(&mut self, nats: f64) {
        self.0 += nats;
    }
}

impl Nats {
    /// Of this ratio.
    pub fn of(ratio: f64) -> Self {
        Self(ratio.max(f64::MIN_POSITIVE).ln())
    }

    /// The ratio.
    pub fn ratio(self) -> f64 {
        self.0.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_read_back_as_it_was() {
        for value in [0.1 + 0.2, -7.3e-11, f64::MIN_POSITIVE, 708.0] {
            let text = serde_json::to_string(&Nats(value)).expect("written");
            assert_eq!(serde_json::from_str::<Nats>(&text).expect("read"), Nats(value));
        }
        assert_eq!(Nats::from(f64::NAN.to_bits()), Nats(0.0));
    }
}
