//! `/api/v1/cohorts`: what is known of each cohort's NATs and how its devices are paced, read off the last reports.

use std::collections::HashMap;

use serde::Serialize;

use super::because_cohort::because;
use crate::controller::keepalive::Cohorts;
use crate::keepalive::cohort::{CohortKey, UNKNOWN};
use crate::keepalive::report::{CohortReport, LifetimeReport};

/// A cohort. The contract's fields first.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    cohort: &'a str,
    transport: &'static str,
    lifetime_s: Quantiles,
    lower_bound_s: f64,
    upper_bound_s: f64,
    confidence: f64,
    interval_s: f64,
    /// The most that a device adds to the interval.
    jitter_s: f64,
    evidence: EvidenceRow,
    /// What the operator's pin says, where one is in force.
    nat_timeout_s: Option<f64>,
    devices: u32,
    verdict: &'static str,
    reason: &'static str,
    generation: u64,
    fleet: Option<&'a str>,
    /// Devices with a pace of their own.
    devices_own: u32,
    /// What the way loses.
    loss_ratio: f64,
    tests_to_be_surer: u32,
    /// Of bindings that nothing passed later than 2 s after their first packet; the fields above are of the others.
    unreplied: Lifetime,
    decided_at: String,
    /// The reason, in words.
    because: String,
}

#[derive(Serialize)]
struct Quantiles {
    p01: f64,
    p50: f64,
    p99: f64,
}

#[derive(Serialize)]
struct Lifetime {
    lifetime_s: Quantiles,
    lower_bound_s: f64,
    upper_bound_s: f64,
    confidence: f64,
}

#[derive(Serialize)]
struct EvidenceRow {
    survived: u64,
    expired: u64,
    lost: u64,
}

/// All cohorts, by name.
pub(super) fn rows(cohorts: &Cohorts) -> Vec<Row<'_>> {
    shown(cohorts).into_iter().map(row).collect()
}

/// One report a cohort, sorted by name and transport. After a fleet was renamed there are two, and the one with devices
/// counts; and nobody asks for the cohort of unknown devices while there is none.
pub(super) fn shown(cohorts: &Cohorts) -> Vec<&CohortReport> {
    let mut by_key: HashMap<&CohortKey, &CohortReport> = HashMap::new();
    for report in &cohorts.reports {
        let known = by_key.entry(&report.key).or_insert(report);
        if report.devices >= known.devices {
            *known = report;
        }
    }
    let is_there = |report: &&CohortReport| &*report.key.name != UNKNOWN || report.devices > 0 || has_evidence(report);
    let mut shown: Vec<&CohortReport> = by_key.into_values().filter(is_there).collect();
    shown.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    shown
}

fn has_evidence(report: &CohortReport) -> bool {
    let seen = &report.evidence;
    seen.survived + seen.expired + seen.lost > 0
}

fn row(report: &CohortReport) -> Row<'_> {
    let (stream, seen) = (report.stream(), &report.evidence);
    Row {
        cohort: &report.key.name,
        transport: report.key.transport.as_str(),
        lifetime_s: quantiles(stream),
        lower_bound_s: stream.lower_bound.as_secs_f64(),
        upper_bound_s: stream.upper_bound.as_secs_f64(),
        confidence: stream.confidence,
        interval_s: report.pace.interval.as_secs_f64(),
        jitter_s: report.pace.jitter_max().as_secs_f64(),
        evidence: EvidenceRow { survived: seen.survived, expired: seen.expired, lost: seen.lost },
        nat_timeout_s: report.pinned.map(|timeout| timeout.as_secs_f64()),
        devices: report.devices,
        verdict: report.verdict.as_str(),
        reason: report.reason.as_str(),
        generation: report.pace.generation,
        fleet: report.fleet.as_deref(),
        devices_own: report.devices_own,
        loss_ratio: report.loss_ratio,
        tests_to_be_surer: report.tests_to_be_surer,
        unreplied: lifetime(&report.lifetimes[1]),
        decided_at: report.decided_at.rfc3339(),
        because: because(report),
    }
}

fn lifetime(of: &LifetimeReport) -> Lifetime {
    Lifetime {
        lifetime_s: quantiles(of),
        lower_bound_s: of.lower_bound.as_secs_f64(),
        upper_bound_s: of.upper_bound.as_secs_f64(),
        confidence: of.confidence,
    }
}

fn quantiles(of: &LifetimeReport) -> Quantiles {
    let [p01, p50, p99] = of.quantiles.map(|quantile| quantile.as_secs_f64());
    Quantiles { p01, p50, p99 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;

    #[test]
    fn a_cohort_is_told_under_the_contracts_names() {
        let cohorts = Cohorts { generation: 9, reports: vec![sample::cohort("carrier=a,region=eu", 40)], revision: 0 };
        let json = serde_json::to_value(rows(&cohorts)).expect("JSON");
        let row = &json[0];
        assert_eq!(row["cohort"], "carrier=a,region=eu");
        assert_eq!(row["lifetime_s"], serde_json::json!({"p01": 111.0, "p50": 112.0, "p99": 113.0}));
        assert_eq!(row["evidence"], serde_json::json!({"survived": 60, "expired": 12, "lost": 3}));
        assert_eq!((row["interval_s"].as_f64(), row["jitter_s"].as_f64()), (Some(83.0), Some(20.75)));
        assert_eq!((row["verdict"].as_str(), row["reason"].as_str()), (Some("learnt"), Some("lower_bound")));
        assert_eq!(row["unreplied"]["upper_bound_s"], 31.0);
    }

    #[test]
    fn of_two_cohorts_of_one_name_the_one_with_devices_is_shown() {
        let [mut old, new] = [0, 40].map(|devices| sample::cohort("carrier=a", devices));
        old.fleet = Some("old".into());
        let unknown = sample::cohort_without_evidence(UNKNOWN);
        let cohorts = Cohorts { generation: 9, reports: vec![unknown, new, old], revision: 0 };
        let shown = shown(&cohorts);
        assert_eq!((shown.len(), shown[0].devices), (1, 40));
    }
}
