//! One alarm of one cohort as the world is told of it: complete, and only read.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::keepalive::alarm::diagnosis::Diagnosis;
use crate::keepalive::alarm::health::DeviceHealth;
use crate::keepalive::alarm::watch::End;
use crate::keepalive::cohort::{CohortKey, Labels};
use crate::keepalive::report::{CohortReport, Verdict};
use crate::time::WallTime;

/// The one kind of alarm that there is.
pub const KIND: &str = "heartbeats_late";
/// A cohort of which this part is silent and does not answer is an emergency.
const CRITICAL_FROM: f64 = 0.5;

/// What receivers tell alarms apart by: one of a cohort at a time. Two fleets may each have a cohort of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlertKey(CohortKey, Option<Arc<str>>);

/// An alarm, open or over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Of this opening; stays until it is over.
    pub id: Arc<str>,
    /// Whose.
    pub key: CohortKey,
    /// The cohort's labels: what receivers are chosen by.
    pub labels: Labels,
    /// The fleet that its devices are of.
    pub fleet: Option<Arc<str>>,
    /// Who looks after the cohort's region.
    pub group: Arc<str>,
    /// Fixed when it opened: receivers tell alarms apart by it.
    pub severity: Severity,
    /// When it opened.
    pub opened_at: WallTime,
    /// When it was over.
    pub resolved_at: Option<WallTime>,
    /// Why it was over.
    pub end: Option<End>,
    /// The p99 of gap over intended wait, when it opened.
    pub p99_gap: f64,
    /// The ratio at which it opens.
    pub threshold: f64,
    /// What the scan found.
    pub diagnosis: Diagnosis,
    /// The devices that were scanned, the worst first.
    pub devices: Vec<DeviceHealth>,
    /// Devices that were not scanned.
    pub devices_more: u64,
    /// What was known of the cohort's NAT then.
    pub nat: Option<Nat>,
    /// When the scan began: what is told of the devices is as of then.
    pub scanned_at: WallTime,
}

/// What was known of the NAT that a cohort's devices are behind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Nat {
    /// In one word.
    pub verdict: Verdict,
    /// The lifetime of its bindings is above this,
    pub lower_bound: Duration,
    /// and below this.
    pub upper_bound: Duration,
    /// The interval that was in force.
    pub interval: Duration,
}

impl Nat {
    /// By a cohort's report.
    pub fn of(report: &CohortReport) -> Self {
        let (stream, interval) = (report.stream(), report.pace.interval);
        Self { verdict: report.verdict, lower_bound: stream.lower_bound, upper_bound: stream.upper_bound, interval }
    }
}

/// How soon somebody must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Within the day.
    Warning,
    /// Now: half of the cohort cannot be reached.
    Critical,
}

impl Severity {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// By what a scan found.
    pub fn of(diagnosis: &Diagnosis, devices: &[DeviceHealth]) -> Self {
        let unreachable = diagnosis.overdue.saturating_sub(diagnosis.reachable);
        let is_critical = unreachable > 0 && unreachable as f64 >= CRITICAL_FROM * devices.len() as f64;
        if is_critical { Self::Critical } else { Self::Warning }
    }
}

impl Alert {
    /// What tells it from others.
    pub fn key(&self) -> AlertKey {
        AlertKey(self.key.clone(), self.fleet.clone())
    }

    /// `firing` or `resolved`.
    pub const fn state(&self) -> &'static str {
        if self.resolved_at.is_some() { "resolved" } else { "firing" }
    }

    /// The same, over.
    pub fn resolved(&self, at: WallTime, end: End) -> Self {
        Self { resolved_at: Some(at), end: Some(end), ..self.clone() }
    }

    /// The same, as it was when it opened.
    pub fn firing(&self) -> Self {
        Self { resolved_at: None, end: None, ..self.clone() }
    }

    /// The cohort's region, where it has one.
    pub fn region(&self) -> Option<&str> {
        self.labels.get("region").map(AsRef::as_ref)
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let (cohort, transport) = (&self.key.name, self.key.transport);
        match self.end {
            Some(End::Recovered) => format!("{cohort} ({transport}): heartbeats come in time again"),
            Some(End::Gone) => format!("{cohort} ({transport}): none of its devices was heard for a day"),
            Some(End::NotWatched) => format!("{cohort} ({transport}): is not watched any more"),
            None => format!("{cohort} ({transport}): p99 heartbeat gap {:.1} x the intended wait", self.p99_gap),
        }
    }

    /// What a device is called by those who look for it.
    pub fn name_of(device: &DeviceHealth) -> String {
        device.serial.as_ref().map_or_else(|| device.device.to_string(), ToString::to_string)
    }
}
