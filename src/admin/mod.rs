//! Edge out for operators: health, metrics, decisions and why they were taken, and the page that shows them.
//!
//! Everything here is read off the published snapshot, so that it cannot disagree with what SDKs are told. Reading is
//! open to whoever reaches the address (names of services are not secrets; the default address is loopback); the one
//! write, a reload, is not, see `access`. Readiness never turns false: a probe that fails would have an orchestrator
//! take away the fail-safe in the moment in which it is needed.

mod access;
mod alerts;
mod because;
mod because_cohort;
mod case;
mod cohort_table;
mod cohorts;
mod decisions;
mod events;
mod exposition;
mod monitored;
mod paced;
mod page;
mod process;
pub mod rollout_json;
mod rollout_rows;
mod rollout_table;
mod rollouts;
mod routes;
#[cfg(test)]
mod sample;
mod server;
mod status;
pub(crate) mod text;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use self::server::{Admin, BindError};
pub use self::tokens::TokenFileError;
use crate::alert::book::AlertBook;
use crate::alert::metrics::AlertMetrics;
use crate::controller::audit::AuditLog;
use crate::controller::keepalive::CohortReports;
use crate::controller::rollouts::{RolloutBoard, RolloutCommands};
use crate::controller::snapshot::Published;
use crate::fleet::down::DoorsDown;
use crate::fleet::grpc::GatewayCounts;
use crate::fleet::heartbeat::handle::Handle;
use crate::monitor::board::Board;
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// What the room reads, and the one thing that it can ask for.
#[derive(Debug, Clone)]
pub struct AdminState {
    /// The decisions in force.
    pub published: Arc<Published>,
    /// The second loop.
    pub fleet: FleetState,
    /// What the monitor sees.
    pub monitor: Board,
    /// The process's counters.
    pub metrics: Metrics,
    /// Asks for a reload of the policies.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Started when the process was: its zero is the start that `/status` and `/metrics` tell.
    pub clock: Clock,
    /// The program's version.
    pub version: &'static str,
    /// What `/status` tells of the configuration.
    pub paths: ConfigPaths,
}

/// What there is to tell of the second loop: nothing where it is off.
#[derive(Debug, Clone, Default)]
pub struct FleetState {
    /// What is known of the cohorts.
    pub cohorts: CohortReports,
    /// Rollouts: records, commands, the audit.
    pub rollouts: Option<RolloutDesk>,
    /// The heartbeats' door.
    pub heartbeats: Option<Handle>,
    /// The gateways' door.
    pub gateways: Option<GatewayCounts>,
    /// Doors that ended before the process did.
    pub down: DoorsDown,
    /// What is counted of alarms.
    pub alerts: AlertMetrics,
    /// The alarms that somebody still has to hear of.
    pub open_alerts: AlertBook,
}

/// What there is to tell of rollouts, and where commands about them go.
#[derive(Debug, Clone)]
pub struct RolloutDesk {
    /// Their records.
    pub board: RolloutBoard,
    /// To the loop.
    pub commands: RolloutCommands,
    /// What happened.
    pub audit: AuditLog,
}

/// A request to reload; answered with a report for people, or the errors for which the last good set stays.
pub type ReloadRequest = oneshot::Sender<Result<String, String>>;

/// Where the process's configuration lives.
#[derive(Debug, Clone, Default)]
pub struct ConfigPaths {
    /// The configuration file; `None` = defaults, environment and flags only.
    pub config: Option<PathBuf>,
    /// Folder of the policies.
    pub policies: PathBuf,
    /// Folder of what survives a restart; `None` = memory only.
    pub state: Option<PathBuf>,
}
