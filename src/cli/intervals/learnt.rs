//! What a Flyball has learnt: asked of one that runs, or read from the state that one left.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde::Deserialize;

use super::known::{Certainty, Known};
use crate::cli::Failure;
use crate::cli::admin::Admin;
use crate::cluster::store::{self, StoreError};
use crate::keepalive::cohort::{CohortKey, Transport};
use crate::keepalive::governor::Governor;
use crate::keepalive::governor::memory::Memory;
use crate::keepalive::policy::Fleets;
use crate::keepalive::report::{CohortReport, Verdict};
use crate::time::{MonoTime, Tick, WallTime};

/// What of `/api/v1/cohorts` is needed.
#[derive(Debug, Deserialize)]
pub(super) struct CohortRow {
    cohort: Arc<str>,
    transport: String,
    lower_bound_s: f64,
    upper_bound_s: f64,
    confidence: f64,
    interval_s: f64,
    jitter_s: f64,
    verdict: String,
    reason: String,
    #[serde(default)]
    nat_timeout_s: Option<f64>,
    evidence: Evidence,
}

#[derive(Debug, Deserialize)]
struct Evidence {
    survived: u64,
    expired: u64,
}

/// The cohorts of the Flyball whose admin API is there.
pub(super) fn of_server(admin: &Admin) -> anyhow::Result<Vec<Known>> {
    let rows: Vec<CohortRow> = admin.ask(&["cohorts"], "a list of cohorts")?;
    Ok(rows.into_iter().filter_map(known).collect())
}

/// What the last process left. One that runs now has its file: it is to be asked.
pub(super) fn of_state(folder: &Path, admin: &SocketAddr) -> Result<Memory, Failure> {
    match store::peek_keepalive(folder) {
        Ok(memory) => Ok(memory.unwrap_or_default()),
        Err(StoreError::InUse { .. }) => {
            let folder = folder.display();
            let hint =
                format!("the state in {folder} is in use by a running Flyball: ask that one, --admin http://{admin}");
            Err(Failure::Runtime(anyhow!(hint)))
        }
        Err(error) => Err(Failure::Runtime(error.into())),
    }
}

/// The cohorts of a memory, as a Flyball would tell them that takes it up. Those of fleets that are no more are left out.
pub(super) fn cohorts(memory: Memory, fleets: &Arc<Fleets>, now: WallTime) -> Vec<Known> {
    let is_fleet = |name: &Option<Arc<str>>| fleets.fleets.iter().any(|fleet| Some(&fleet.name) == name.as_ref());
    let (entries, devices): (Vec<_>, Vec<_>) = memory
        .cohorts
        .iter()
        .map(|cohort| (cohort.entry(), cohort.devices()))
        .filter(|(entry, devices)| is_fleet(&entry.fleet) && *devices > 0)
        .unzip();
    let mut governor = Governor::new(Arc::clone(fleets));
    governor.remember(memory);
    entries.iter().for_each(|entry| governor.add_cohort(entry));
    governor.decide(Tick { mono: MonoTime::default(), wall: now });
    let reports = governor.reports();
    reports.iter().zip(devices).filter_map(|(report, devices)| of_report(report, devices)).collect()
}

fn of_report(report: &CohortReport, devices: usize) -> Option<Known> {
    let certainty = match report.verdict {
        Verdict::Learning => Certainty::Learning,
        Verdict::Learnt => Certainty::Learnt,
        Verdict::Hostile => Certainty::Hostile,
        // Pins are read from the fleet files themselves.
        Verdict::Pinned => return None,
    };
    let stream = report.stream();
    Some(Known {
        cohort: report.key.name.to_string(),
        labels: labels(&report.key)?,
        transport: Some(report.key.transport),
        certainty,
        lower: stream.lower_bound,
        upper: stream.upper_bound,
        evidence: format!("{devices} devices' evidence, {} sure", percent(stream.confidence)),
    })
}

/// A row of the API; `None` where nothing was seen, or the name says no labels.
fn known(row: CohortRow) -> Option<Known> {
    let transport = if row.transport == Transport::Tcp.as_str() { Transport::Tcp } else { Transport::Udp };
    let key = CohortKey { name: row.cohort, transport };
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    let (mut lower, mut upper) = (seconds(row.lower_bound_s)?, seconds(row.upper_bound_s)?);
    let certainty = match row.verdict.as_str() {
        "learnt" => Certainty::Learnt,
        "hostile" => Certainty::Hostile,
        "pinned" => {
            // What it tells its devices is within the pin, in any case.
            lower = row.nat_timeout_s.and_then(seconds).or_else(|| seconds(row.interval_s + row.jitter_s))?;
            upper = lower;
            Certainty::Pinned
        }
        _ if row.reason == "prior" => return None,
        _ => Certainty::Learning,
    };
    let Evidence { survived, expired } = row.evidence;
    let evidence = match certainty {
        Certainty::Pinned => "a pin there".to_owned(),
        _ => format!("{survived} survived, {expired} expired, {} sure", percent(row.confidence)),
    };
    Some(Known {
        labels: labels(&key)?,
        cohort: key.name.to_string(),
        transport: Some(transport),
        certainty,
        lower,
        upper,
        evidence,
    })
}

fn labels(key: &CohortKey) -> Option<crate::keepalive::cohort::Labels> {
    Some(key.labels()).filter(|labels| !labels.is_empty())
}

fn percent(part: f64) -> String {
    crate::admin::text::percent(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(verdict: &str, reason: &str, nat_timeout_s: Option<f64>) -> Option<Known> {
        let row = serde_json::json!({
            "cohort": "carrier=a,region=eu", "transport": "udp", "lower_bound_s": 111.0, "upper_bound_s": 113.0,
            "confidence": 0.999, "interval_s": 83.0, "jitter_s": 20.0, "verdict": verdict, "reason": reason,
            "nat_timeout_s": nat_timeout_s, "evidence": {"survived": 60, "expired": 12, "lost": 3}, "later": 1,
        });
        known(serde_json::from_value(row).expect("a row"))
    }

    #[test]
    fn a_cohort_of_the_api_is_what_it_says() {
        let learnt = row("learnt", "lower_bound", None).expect("known");
        assert_eq!((learnt.lower.as_secs(), learnt.certainty), (111, Certainty::Learnt));
        assert_eq!(learnt.evidence, "60 survived, 12 expired, 99.9 % sure");
        assert_eq!(row("pinned", "pin", Some(90.0)).expect("known").lower.as_secs(), 90);
        assert_eq!(row("pinned", "pin", None).expect("known").lower.as_secs(), 103, "of an older Flyball");
        assert_eq!(row("learning", "prior", None), None);
        assert_eq!(row("learning", "searching", None).expect("known").certainty, Certainty::Learning);
    }
}
