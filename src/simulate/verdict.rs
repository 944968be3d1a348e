//! Checks against what was measured.

use super::metrics::Measured;
use super::scenario::Check;

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What was asked.
    pub check: Check,
    /// What was measured.
    pub value: f64,
    /// Whether the value is in the range; what could not be measured is in none.
    pub pass: bool,
}

/// Every check judged, in its order.
pub fn judge(checks: &[Check], measured: &Measured) -> Vec<Judged> {
    let judged = |check: &Check| {
        let value = measured.get(&check.metric).unwrap_or(f64::NAN);
        let pass =
            !value.is_nan() && check.min.is_none_or(|min| value >= min) && check.max.is_none_or(|max| value <= max);
        Judged { check: check.clone(), value, pass }
    };
    checks.iter().map(judged).collect()
}

/// Whether all of them passed; true without any.
pub fn is_pass(judged: &[Judged]) -> bool {
    judged.iter().all(|judged| judged.pass)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::metrics::METRICS;

    fn measured(value: f64) -> Measured {
        let values = METRICS.map(|_| value);
        Measured { names: &METRICS, values: values.to_vec(), ratios: values.map(|value| value * 2.0).to_vec() }
    }

    fn passes(value: f64, metric: &str, min: Option<f64>, max: Option<f64>) -> bool {
        is_pass(&judge(&[Check { metric: metric.to_owned(), min, max }], &measured(value)))
    }

    #[test]
    fn a_range_includes_its_ends() {
        assert!(passes(1.0, "commands", Some(1.0), Some(1.0)));
        assert!(!passes(1.01, "commands", None, Some(1.0)));
        assert!(!passes(0.99, "commands", Some(1.0), None));
    }

    #[test]
    fn a_ratio_is_judged_by_its_own_name() {
        assert!(passes(1.0, "ratio.commands", Some(2.0), Some(2.0)));
    }

    #[test]
    fn what_was_not_measured_passes_no_check() {
        assert!(!passes(f64::NAN, "commands", None, Some(1.0)));
        assert!(!passes(f64::INFINITY, "commands", None, Some(1.0)));
        assert!(!passes(1.0, "unknown", Some(0.0), None));
    }
}
