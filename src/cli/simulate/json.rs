//! The JSON lines of a simulation. A number that is none, as a ratio to nothing, is `null`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Verdict;
use super::runs::Job;
use crate::simulate::metrics::Measured;
use crate::simulate::plan::Plan;
use crate::simulate::verdict::{Judged, is_pass};

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    law: &'a str,
    seed: Option<u64>,
    world: &'a str,
    metrics: Metrics<'a>,
    checks: Vec<CheckLine<'a>>,
    verdict: &'a str,
}

#[derive(Serialize)]
struct CheckLine<'a> {
    name: &'a str,
    value: f64,
    min: Option<f64>,
    max: Option<f64>,
    pass: bool,
}

/// The values by name, and `ratio` with the same names.
struct Metrics<'a>(&'a Measured);

/// Numbers by the metrics' names, in their order.
struct Named<'a>(&'a [&'a str], &'a [f64]);

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let Measured { names, values, ratios } = self.0;
        // What this world cannot measure is not there; where there is no oracle, neither is a ratio to it.
        for (name, value) in names.iter().zip(values).filter(|(_, value)| !value.is_nan()) {
            map.serialize_entry(name, value)?;
        }
        if ratios.iter().any(|ratio| !ratio.is_nan()) {
            map.serialize_entry("ratio", &Named(names, ratios))?;
        }
        map.end()
    }
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// Of what a line is.
pub(in crate::cli) struct Head<'a> {
    pub(in crate::cli) scenario: &'a str,
    pub(in crate::cli) law: &'a str,
    /// `None` = medians.
    pub(in crate::cli) seed: Option<u64>,
    pub(in crate::cli) world: &'a str,
}

/// One seed of several: nothing is asked of it alone, so that its verdict says only that it ran.
pub(super) fn seed(job: &Job<'_>, measured: &Measured) -> String {
    of_plan(job.plan, Some(job.seed), measured, &[])
}

/// The scenario's verdict: on the one seed, or on the medians, whose seed is `null`.
pub(super) fn verdict(plan: &Plan, seed: Option<u64>, verdict: &Verdict) -> String {
    of_plan(plan, seed, &verdict.measured, &verdict.judged)
}

fn of_plan(plan: &Plan, seed: Option<u64>, measured: &Measured, judged: &[Judged]) -> String {
    line(&Head { scenario: plan.name(), law: &plan.law(), seed, world: "simulate" }, measured, judged)
}

/// A line.
pub(in crate::cli) fn line(head: &Head<'_>, measured: &Measured, judged: &[Judged]) -> String {
    let checks = judged
        .iter()
        .map(|judged| CheckLine {
            name: &judged.check.metric,
            value: judged.value,
            min: judged.check.min,
            max: judged.check.max,
            pass: judged.pass,
        })
        .collect();
    let line = Line {
        scenario: head.scenario,
        law: head.law,
        seed: head.seed,
        world: head.world,
        metrics: Metrics(measured),
        checks,
        verdict: if is_pass(judged) { "pass" } else { "fail" },
    };
    serde_json::to_string(&line).expect("text and numbers are JSON")
}
