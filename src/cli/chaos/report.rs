//! What a person reads of a run on a kernel: a table a scenario, and one of all verdicts.

use std::fmt::Write as _;

use super::super::simulate::report::{asked, failures, figure, word};
use crate::chaos::{Ran, World};
use crate::simulate::verdict::{Judged, is_pass};

/// What a scenario came to.
pub(super) struct Outcome<'p> {
    pub(super) plan: &'p World,
    pub(super) ran: Ran,
    pub(super) judged: Vec<Judged>,
}

impl Outcome<'_> {
    pub(super) fn is_pass(&self) -> bool {
        is_pass(&self.judged)
    }
}

/// The table of one scenario: what a kernel can measure, and the scenario has anything to say of or checks.
pub(super) fn scenario(outcome: &Outcome<'_>) -> String {
    let Outcome { plan, ran, judged } = outcome;
    let (name, beside, took) = (plan.name(), &ran.beside, ran.took.as_secs_f64());
    let mut text = format!("\n{name}: on this kernel, {beside}, {took:.1} s in all\n");
    let _ = writeln!(text, "  {:<24} {:>10}  {:<28} verdict", "metric", "value", "allowed");
    for (metric, value) in ran.measured.names.iter().zip(&ran.measured.values).filter(|(_, value)| !value.is_nan()) {
        let (allowed, passed) = asked(metric, judged);
        if passed.is_empty() && !plan.has(metric) {
            continue;
        }
        let line = format!("  {metric:<24} {:>10}  {allowed:<28} {passed}", figure(*value));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "  verdict: {}", word(judged));
    text
}

/// One line a scenario.
pub(super) fn summary(outcomes: &[Outcome<'_>]) -> String {
    let width = outcomes.iter().map(|outcome| outcome.plan.name().len()).max().unwrap_or(0).max(8);
    let mut text = format!("\n{:<width$}  verdict\n", "scenario");
    for outcome in outcomes {
        let (name, verdict) = (outcome.plan.name(), word(&outcome.judged));
        let line = format!("{name:<width$}  {verdict}  {}", failures(&outcome.judged));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
