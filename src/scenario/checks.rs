//! The keys under `checks`: metrics that exist, with ranges that something can be in.

use std::collections::BTreeMap;

use super::raw::RawRange;
use crate::document::check::Check as Checker;
use crate::document::problem::Problem;
use crate::simulate::metrics::RATIO;
use crate::simulate::scenario::Check;

/// The checks in the order of the metrics, ratios after values.
pub(super) fn checks(
    raw: Option<BTreeMap<String, RawRange>>,
    metrics: &[&str],
    checker: &mut Checker<'_>,
) -> Vec<Check> {
    let mut raw = raw.unwrap_or_default();
    let values = metrics.iter().map(|metric| (*metric).to_owned());
    let ratios = metrics.iter().map(|metric| format!("{RATIO}{metric}"));
    let known = values.chain(ratios);
    let checks = known.filter_map(|metric| raw.remove_entry(&metric)).map(|(metric, raw)| check(metric, &raw, checker));
    let checks = checks.collect();
    for unknown in raw.into_keys() {
        let message = format!("no such metric; known are {}, and {RATIO} before each of them", metrics.join(", "));
        fail(&unknown, message, checker);
    }
    checks
}

fn check(metric: String, raw: &RawRange, checker: &mut Checker<'_>) -> Check {
    let is_number = |value: Option<f64>| value.is_none_or(f64::is_finite);
    if raw.min.is_none() && raw.max.is_none() {
        fail(&metric, "needs min, max or both".to_owned(), checker);
    } else if !is_number(raw.min) || !is_number(raw.max) {
        fail(&metric, "min and max must be finite".to_owned(), checker);
    } else if let (Some(min), Some(max)) = (raw.min, raw.max)
        && min > max
    {
        fail(&metric, format!("nothing is in [{min}, {max}]"), checker);
    }
    Check { metric, min: raw.min, max: raw.max }
}

/// Names contain dots, so their place is looked up by hand.
fn fail(metric: &str, message: String, checker: &mut Checker<'_>) {
    let root = checker.root();
    let entry = root.at("checks").and_then(|checks| checks.entry(metric));
    let place = entry.map_or_else(|| root.place_of("checks").clone(), |entry| entry.key_place.clone());
    checker.errors.push(Problem::new(place, format!("checks.{metric}"), message));
}
