//! A decided policy for the tests of this room.

use std::sync::Arc;
use std::time::Duration;

use super::{AdminState, ConfigPaths, FleetState};
use crate::controller::snapshot::{Published, Snapshot};
use crate::keepalive::cohort::Transport;
use crate::keepalive::report::{CohortReport, Evidence};
use crate::monitor::board::Board;
use crate::sampling::decision::{
    BudgetReason, Decided, OperationDecision, PolicyDecision, PolicyInputs, Reason, ServiceDecision,
};
use crate::sampling::local::LocalShare;
use crate::sampling::probability::Probability;
use crate::telemetry::metrics::Metrics;
use crate::time::{Clock, WallTime};

#[path = "../../tests/support/cohort.rs"]
mod learnt;

/// Every reason there is.
pub(crate) const REASONS: [Reason; 27] = [
    Reason::Initial,
    Reason::Restored,
    Reason::Fixed,
    Reason::WithinThresholds,
    Reason::AboveDemand,
    Reason::AboveLoss,
    Reason::Share,
    Reason::AtMax,
    Reason::AtMin,
    Reason::Floor,
    Reason::DeadBand,
    Reason::AwaitingEffect,
    Reason::LearningSpansPerTrace,
    Reason::Warming,
    Reason::Idle,
    Reason::Pinned,
    Reason::FixedOperation,
    Reason::NotRoot,
    Reason::Conflict,
    Reason::Vanished,
    Reason::Stale,
    Reason::DemandAbsent,
    Reason::Outage,
    Reason::Partial,
    Reason::PipelineAbsent,
    Reason::Recovering,
    Reason::Fallback,
];

/// A room that shows `snapshot`, and nobody answers its reloads.
pub(crate) fn state(snapshot: Snapshot) -> AdminState {
    AdminState {
        published: Arc::new(Published::new(snapshot)),
        fleet: FleetState::default(),
        monitor: Board::default(),
        metrics: Metrics::default(),
        reload: tokio::sync::mpsc::channel(1).0,
        clock: Clock::start(),
        version: "1.2.3",
        paths: ConfigPaths::default(),
    }
}

/// `shop`, with one service `checkout` at 500 requests/s and one operation.
pub(crate) fn policy() -> PolicyDecision {
    let rate = Decided {
        probability: Probability::saturating(0.25),
        served: Probability::saturating(0.25),
        reason: Reason::Share,
    };
    let operation = OperationDecision { operation: "GET /cart".into(), rate, demand_per_second: Some(100.0) };
    PolicyDecision {
        policy: "shop".into(),
        decided_at: WallTime::from_unix_ms(1_795_000_000_000),
        inputs: PolicyInputs {
            demand_per_second: Some(500.0),
            received_per_second: Some(1000.0),
            loss_ratio: Some(0.002),
            budget_spans_per_second: Some(6000.0),
            budget_reason: BudgetReason::Holding,
            spans_per_trace: Some(8.0),
            age: Some(Duration::from_secs(3)),
        },
        services: vec![ServiceDecision {
            service: "checkout".into(),
            rate,
            demand_per_second: Some(500.0),
            share_spans_per_second: Some(1000.0),
            local: Some(LocalShare { expected_traces_per_second: 125.0, share_traces_per_second: 150.0 }),
            operations: vec![operation],
        }],
        stranger: Probability::saturating(0.1),
        degraded: None,
    }
}

/// What a tick sees before anything was measured.
pub(crate) fn unknown_inputs() -> PolicyInputs {
    PolicyInputs {
        demand_per_second: None,
        received_per_second: None,
        loss_ratio: None,
        budget_spans_per_second: None,
        budget_reason: BudgetReason::None,
        spans_per_trace: None,
        age: None,
    }
}

/// A cohort of `devices` behind NATs of 112 s, learnt.
pub(crate) fn cohort(name: &str, devices: u32) -> CohortReport {
    CohortReport { devices, ..learnt::cohort(name, Transport::Udp) }
}

/// A cohort of which nothing was seen.
pub(crate) fn cohort_without_evidence(name: &str) -> CohortReport {
    CohortReport { evidence: Evidence::default(), ..cohort(name, 0) }
}
