//! `/status` and `/readyz`: how it is, for people and probes.

use std::path::Path;

use serde::Serialize;

use super::case::{law_name, mode_name, source_age};
use super::cohorts::shown;
use super::page::revision;
use super::process::started_at;
use super::{AdminState, FleetState};
use crate::controller::snapshot::Snapshot;
use crate::fleet::heartbeat::handle::Handle;
use crate::monitor::board::Watch;
use crate::sampling::decision::PolicyDecision;
use crate::sampling::policy::Policy;
use crate::time::{MonoTime, Tick};

/// The reason that is told where the monitor should see and does not.
pub(super) const MONITOR: &str = "monitor";

/// Body of `/readyz`.
#[derive(Serialize)]
pub(super) struct Readiness {
    ready: bool,
    degraded: Vec<&'static str>,
}

/// Body of `/status`.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    started_at: String,
    uptime_seconds: f64,
    generation: u64,
    /// Changes with whatever the page shows.
    revision: String,
    published_at: String,
    degraded: Vec<&'static str>,
    monitor: MonitorStatus,
    fleet: FleetStatus,
    policies: Vec<PolicyStatus>,
    paths: Paths,
}

#[derive(Serialize)]
struct PolicyStatus {
    policy: String,
    law: Option<&'static str>,
    mode: Option<&'static str>,
    services: usize,
    decided_at: String,
    source_age_seconds: Option<f64>,
    demand_per_second: Option<f64>,
    received_per_second: Option<f64>,
    loss_ratio: Option<f64>,
    budget_spans_per_second: Option<f64>,
    budget_reason: &'static str,
    spans_per_trace: Option<f64>,
    degraded: Option<&'static str>,
}

#[derive(Serialize)]
struct MonitorStatus {
    /// `off` (not configured), `seeing` or `blind`.
    state: &'static str,
    /// Of `blind`.
    why: Option<String>,
    /// That the map holds, once they were counted.
    devices: Option<u32>,
}

#[derive(Serialize)]
struct FleetStatus {
    cohorts: usize,
    /// Of the orders in force; 0 where the second loop is off.
    generation: u64,
    /// Devices that the heartbeats' door knows; `null` where there is none.
    heartbeat_devices: Option<usize>,
    /// Sessions at the gateways' door; `null` where there is none.
    gateway_sessions: Option<i64>,
}

#[derive(Serialize)]
struct Paths {
    config: Option<String>,
    policies: String,
    state: Option<String>,
}

/// Ready whenever a snapshot can be served, which is always; what is wrong with it is told beside.
pub(super) fn readiness(state: &AdminState, snapshot: &Snapshot) -> Readiness {
    Readiness { ready: true, degraded: degraded(state, snapshot) }
}

/// Everything about the process but its decisions.
pub(super) fn status(state: &AdminState, snapshot: &Snapshot) -> Status {
    let now = state.clock.now();
    let of = |policy: &PolicyDecision| policy_status(policy, snapshot.policy(&policy.policy), now);
    Status {
        version: state.version,
        started_at: started_at(state.clock).rfc3339(),
        uptime_seconds: now.mono.since(MonoTime::default()).as_secs_f64(),
        generation: snapshot.generation,
        revision: revision(snapshot, &state.fleet.cohorts.load(), state.fleet.open_alerts.revision()),
        published_at: snapshot.published_at.rfc3339(),
        degraded: degraded(state, snapshot),
        monitor: monitor(&state.monitor.read()),
        fleet: fleet(&state.fleet),
        policies: snapshot.decisions.iter().map(|policy| of(policy)).collect(),
        paths: Paths {
            config: state.paths.config.as_deref().map(text),
            policies: text(&state.paths.policies),
            state: state.paths.state.as_deref().map(text),
        },
    }
}

fn degraded(state: &AdminState, snapshot: &Snapshot) -> Vec<&'static str> {
    let of_policies = snapshot.degraded().into_iter().map(|reason| reason.as_str());
    let doors = state.fleet.down.all().into_iter().filter(|(_, is_down)| *is_down).map(|(door, _)| door);
    of_policies.chain(state.monitor.is_blind().then_some(MONITOR)).chain(doors).collect()
}

fn monitor(watch: &Watch) -> MonitorStatus {
    let status = |state, why, devices| MonitorStatus { state, why, devices };
    match watch {
        Watch::Off => status("off", None, None),
        Watch::Blind(why) => status("blind", Some(why.clone()), None),
        Watch::Seeing(view) => status("seeing", None, view.census().map(|census| census.devices)),
    }
}

fn fleet(fleet: &FleetState) -> FleetStatus {
    let cohorts = fleet.cohorts.load();
    FleetStatus {
        cohorts: shown(&cohorts).len(),
        generation: cohorts.generation,
        heartbeat_devices: fleet.heartbeats.as_ref().map(Handle::devices),
        gateway_sessions: fleet.gateways.as_ref().map(|counts| counts.sessions.get()),
    }
}

fn policy_status(policy: &PolicyDecision, rules: Option<&Policy>, now: Tick) -> PolicyStatus {
    PolicyStatus {
        policy: policy.policy.to_string(),
        law: rules.map(|rules| law_name(&rules.law)),
        mode: rules.map(|rules| mode_name(rules.mode)),
        services: policy.services.len(),
        decided_at: policy.decided_at.rfc3339(),
        source_age_seconds: source_age(policy, now.wall).map(|age| age.as_secs_f64()),
        demand_per_second: policy.inputs.demand_per_second,
        received_per_second: policy.inputs.received_per_second,
        loss_ratio: policy.inputs.loss_ratio,
        budget_spans_per_second: policy.inputs.budget_spans_per_second,
        budget_reason: policy.inputs.budget_reason.as_str(),
        spans_per_trace: policy.inputs.spans_per_trace,
        degraded: policy.degraded.map(|reason| reason.as_str()),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;
    use crate::monitor::board::Watch;
    use crate::time::WallTime;

    #[test]
    fn a_monitor_that_sees_nothing_degrades_and_readiness_stays() {
        let snapshot = || Snapshot::empty(7, WallTime::from_unix_ms(0));
        let state = sample::state(snapshot());
        let told = |state: &AdminState| serde_json::to_value(readiness(state, &snapshot())).expect("JSON");
        assert_eq!(told(&state), serde_json::json!({"ready": true, "degraded": []}));
        state.monitor.show(Watch::Blind("needs CAP_BPF".to_owned()));
        assert_eq!(told(&state), serde_json::json!({"ready": true, "degraded": ["monitor"]}));
        let status = serde_json::to_value(status(&state, &snapshot())).expect("JSON");
        assert_eq!(status["monitor"], serde_json::json!({"state": "blind", "why": "needs CAP_BPF", "devices": null}));
    }
}
