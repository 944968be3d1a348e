//! What a person reads of a simulation: a table a scenario, and one of all verdicts.

use std::fmt::Write;

use super::Verdict;
use crate::document::values::format_duration;
use crate::simulate::metrics::{Measured, RATIO};
use crate::simulate::plan::Plan;
use crate::simulate::scenario::Check;
use crate::simulate::verdict::{Judged, is_pass};

/// Failed checks that the closing table names for each scenario.
const FAILED_SHOWN: usize = 4;

/// The table of one scenario: of metrics that it has anything to say of, and those that it checks.
pub(super) fn scenario(plan: &Plan, seed: Option<u64>, verdict: &Verdict) -> String {
    let (of, column) = match seed {
        Some(seed) => (format!("seed {seed}"), "value"),
        None if plan.seeds() == 1 => ("seed 1".to_owned(), "value"),
        None => (format!("medians of {} seeds", plan.seeds()), "median"),
    };
    let (name, law, length) = (plan.name(), plan.law(), format_duration(plan.duration()));
    let mut text = format!("\n{name}: {law}, {of}, {length} each\n");
    let _ = writeln!(text, "  {:<24} {column:>10} {:>10}  {:<28} verdict", "metric", "x oracle", "allowed");
    let Measured { names, values, ratios } = &verdict.measured;
    for (i, metric) in names.iter().enumerate() {
        let (allowed, passed) = asked(metric, &verdict.judged);
        if passed.is_empty() && !plan.has(metric) {
            continue;
        }
        let line =
            format!("  {metric:<24} {:>10} {:>10}  {allowed:<28} {passed}", figure(values[i]), figure(ratios[i]));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "  verdict: {}", word(&verdict.judged));
    text
}

/// One line a scenario.
pub(super) fn summary(plans: &[Plan], verdicts: &[Verdict]) -> String {
    let longest = |of: fn(&Plan) -> usize, least| plans.iter().map(of).max().unwrap_or(0).max(least);
    let (width, law_width) = (longest(|plan| plan.name().len(), 8), longest(|plan| plan.law().len(), 9));
    let mut text = format!("\n{:<width$}  {:<law_width$}  verdict\n", "scenario", "law");
    for (plan, verdict) in plans.iter().zip(verdicts) {
        let judged = &verdict.judged;
        let shown = failures(judged);
        let line = format!("{:<width$}  {:<law_width$}  {}  {shown}", plan.name(), plan.law(), word(judged));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The checks that failed, in some words.
pub(in crate::cli) fn failures(judged: &[Judged]) -> String {
    let failed: Vec<String> = judged.iter().filter(|judged| !judged.pass).map(failure).collect();
    let mut shown = failed.iter().take(FAILED_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if failed.len() > FAILED_SHOWN {
        let _ = write!(shown, " and {} more", failed.len() - FAILED_SHOWN);
    }
    shown
}

/// What was asked of a metric and of its ratio, and whether it holds.
pub(in crate::cli) fn asked(metric: &str, judged: &[Judged]) -> (String, &'static str) {
    let about = |judged: &&Judged| judged.check.metric.strip_prefix(RATIO).unwrap_or(&judged.check.metric) == metric;
    let about: Vec<&Judged> = judged.iter().filter(about).collect();
    let allowed: Vec<String> = about.iter().map(|judged| range(&judged.check)).collect();
    let passed = match about.iter().all(|judged| judged.pass) {
        _ if about.is_empty() => "",
        true => "pass",
        false => "FAIL",
    };
    (allowed.join(", "), passed)
}

fn range(check: &Check) -> String {
    let of = if check.metric.starts_with(RATIO) { "ratio " } else { "" };
    match (check.min, check.max) {
        (Some(min), Some(max)) => format!("{of}{min} to {max}"),
        (Some(min), None) => format!("{of}>= {min}"),
        (None, Some(max)) => format!("{of}<= {max}"),
        (None, None) => of.to_owned(),
    }
}

pub(in crate::cli) fn failure(judged: &Judged) -> String {
    let bounds = match (judged.check.min, judged.check.max) {
        (Some(min), _) if judged.value < min => format!("< {min}"),
        (_, Some(max)) => format!("> {max}"),
        _ => "not measured".to_owned(),
    };
    format!("{} {} {bounds}", judged.check.metric, figure(judged.value))
}

pub(in crate::cli) fn word(judged: &[Judged]) -> &'static str {
    if is_pass(judged) { "pass" } else { "FAIL" }
}

/// Four figures; `-` for what is no number.
pub(in crate::cli) fn figure(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        size if size.is_infinite() => "inf".to_owned(),
        0.0 => "0".to_owned(),
        size if size >= 1000.0 => format!("{value:.0}"),
        size => {
            let decimals = (3.0 - size.log10().floor()).clamp(0.0, 7.0) as usize;
            format!("{value:.decimals$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn four_figures_are_enough_and_nothing_is_shown_as_not_a_number() {
        for (value, expected) in [
            (0.0, "0"),
            (0.000_123_46, "0.0001235"),
            (1.0, "1.000"),
            (39.444, "39.44"),
            (239.97, "240.0"),
            (123_456.7, "123457"),
            (-0.5, "-0.5000"),
            (f64::NAN, "-"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(figure(value), expected);
        }
    }
}
