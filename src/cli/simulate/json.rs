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
        let mut map = serializer.serialize_map(Some(self.0.names.len() + 1))?;
        for (name, value) in self.0.names.iter().zip(&self.0.values) {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("ratio", &Named(self.0.names, &self.0.ratios))?;
        map.end()
    }
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// One seed of several: nothing is asked of it alone, so that its verdict says only that it ran.
pub(super) fn seed(job: &Job<'_>, measured: &Measured) -> String {
    line(job.plan, Some(job.seed), measured, &[])
}

/// The scenario's verdict: on the one seed, or on the medians, whose seed is `null`.
pub(super) fn verdict(plan: &Plan, seed: Option<u64>, verdict: &Verdict) -> String {
    line(plan, seed, &verdict.measured, &verdict.judged)
}

fn line(plan: &Plan, seed: Option<u64>, measured: &Measured, judged: &[Judged]) -> String {
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
        scenario: plan.name(),
        law: &plan.law(),
        seed,
        world: "simulate",
        metrics: Metrics(measured),
        checks,
        verdict: if is_pass(judged) { "pass" } else { "fail" },
    };
    serde_json::to_string(&line).expect("text and numbers are JSON")
}
