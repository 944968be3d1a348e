//! A sampling probability that cannot be wrong.

use std::fmt;

use serde::Serialize;

/// Share of root spans to sample: finite and in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Probability(f64);

impl Probability {
    /// Samples nothing.
    pub const ZERO: Self = Self(0.0);
    /// Samples everything.
    pub const ONE: Self = Self(1.0);

    /// `None` unless `value` is finite and in [0, 1].
    pub fn new(value: f64) -> Option<Self> {
        // `+ 0.0` turns -0.0 into 0.0, so that no client ever reads "-0".
        (0.0..=1.0).contains(&value).then_some(Self(value + 0.0))
    }

    /// The nearest probability; NaN becomes 0, because sampling too little is the safe side.
    pub fn saturating(value: f64) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) + 0.0 })
    }

    /// The number, finite and in [0, 1].
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The lower of two.
    pub fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }

    /// This value moved into [min, max]; `min` must not exceed `max`.
    pub fn clamp(self, min: Self, max: Self) -> Self {
        Self(self.0.clamp(min.0, max.0))
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_values_between_zero_and_one_are_probabilities() {
        for good in [0.0, 1e-300, 0.5, 1.0] {
            assert_eq!(Probability::new(good).map(Probability::get), Some(good));
        }
        for bad in [-1e-9, 1.000_000_1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Probability::new(bad), None);
        }
    }

    #[test]
    fn saturating_takes_the_safe_side_of_nonsense() {
        assert_eq!(Probability::saturating(f64::NAN), Probability::ZERO);
        assert_eq!(Probability::saturating(7.0), Probability::ONE);
        assert_eq!(Probability::saturating(-0.0).to_string(), "0");
    }
}
