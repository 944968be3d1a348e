//! The composition: every room built, joined and run until the shutdown. What `flyball run` and `flyball demo` share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, AdminState, ConfigPaths, ReloadRequest};
use crate::cluster::store::{Saver, Store};
use crate::config::Config;
use crate::controller::control::{Controller, Inlets};
use crate::controller::memory::Memories;
use crate::controller::snapshot::Published;
use crate::monitor::room::Room;
use crate::policy::SourceKinds;
use crate::policy::load::Loaded;
use crate::policy::watch::{PolicyWatcher, ReloadHandle, ReloadReport};
use crate::serve::{LocalAddrs, Server};
use crate::source::{self, OtlpReceiver, Source};
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// Reports of SDKs that wait for the controller; more are dropped, the next minute brings new ones.
const USAGE_QUEUE: usize = 1_024;
/// Requests to reload that wait; more wait at the door.
const RELOAD_QUEUE: usize = 16;

/// Everything bound and ready; nothing has been asked of the source.
pub struct House {
    source: Source,
    receiver: Option<OtlpReceiver>,
    controller: Controller,
    inlets: Inlets,
    server: Server,
    admin: Admin,
    monitor: Room,
    reload: ReloadHandle,
    reloads: mpsc::Receiver<ReloadRequest>,
    shutdown: CancellationToken,
}

impl House {
    /// Opens the state, binds every socket, publishes the first snapshot and starts to watch the policies. Inside a
    /// Tokio runtime; everything ends at `shutdown`.
    ///
    /// # Errors
    /// The source's settings, the state folder or an address cannot be used; the chain says which and why.
    pub fn build(
        config: Config,
        file: Option<PathBuf>,
        policies: Loaded,
        monitor: Room,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (clock, metrics) = (Clock::start(), Metrics::default());
        let source = source::connect(&config.source, metrics.clone()).context("source")?;
        let (memories, saver) = open_state(&config)?;
        let (usage_sender, usage) = mpsc::channel(USAGE_QUEUE);
        let (requests, reloads) = mpsc::channel(RELOAD_QUEUE);
        let kinds = SourceKinds::of(&config.source);
        let first = Arc::new(policies.set.clone());
        let folder = config.policies.clone();
        let (policies, reload) = PolicyWatcher::spawn(folder, kinds, policies, metrics.clone(), shutdown.clone());
        let controller = Controller::new(clock, source.interval(), first, &memories, saver, metrics.clone());
        let published = controller.published();
        let server = Server::bind(&config.serve, Arc::clone(&published), metrics.clone(), usage_sender)?;
        let receiver = source.listen()?;
        let paths = ConfigPaths { config: file, policies: config.policies, state: config.state };
        let version = env!("CARGO_PKG_VERSION");
        let board = monitor.board();
        let cohorts = crate::controller::keepalive::CohortReports::default();
        let state = AdminState { published, cohorts, monitor: board, metrics, reload: requests, clock, version, paths };
        let admin = Admin::bind(&config.admin, state)?;
        let inlets = Inlets { policies, usage };
        Ok(Self { source, receiver, controller, inlets, server, admin, monitor, reload, reloads, shutdown })
    }

    /// Where the snapshots appear.
    pub fn published(&self) -> Arc<Published> {
        self.controller.published()
    }

    /// Where SDKs are answered.
    pub fn serve_addrs(&self) -> LocalAddrs {
        self.server.local_addrs()
    }

    /// Where operators are answered.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Where counts are pushed to, if anywhere.
    pub fn otlp_addr(&self) -> Option<SocketAddr> {
        self.receiver.as_ref().map(OtlpReceiver::local_addr)
    }

    /// Runs every room until the shutdown; each drains in its own bounded time.
    pub async fn run(self) {
        let shutdown = self.shutdown;
        let mut rooms = JoinSet::new();
        rooms.spawn(self.server.run(shutdown.clone()));
        if let Some(receiver) = self.receiver {
            rooms.spawn(receiver.run(shutdown.clone()));
        }
        rooms.spawn(self.monitor.run(shutdown.clone()));
        rooms.spawn(run_admin(self.admin, shutdown.clone()));
        rooms.spawn(self.controller.run(self.source, self.inlets, shutdown.clone()));
        rooms.spawn(reload_on_hangup(self.reload.clone(), shutdown.clone()));
        rooms.spawn(reload_on_request(self.reloads, self.reload, shutdown.clone()));
        while let Some(ended) = rooms.join_next().await {
            if let Err(error) = ended {
                // One room fell: without it the house is not what it says, and a restart is better than a ruin.
                tracing::error!(%error, "a task ended badly: shutting down");
                shutdown.cancel();
            }
        }
    }
}

async fn run_admin(admin: Admin, shutdown: CancellationToken) {
    if let Err(error) = admin.run(shutdown).await {
        tracing::error!(%error, "operators are no longer answered; SDKs are");
    }
}

async fn reload_on_hangup(reload: ReloadHandle, shutdown: CancellationToken) {
    if let Err(error) = reload.reload_on_hangup(shutdown).await {
        tracing::warn!(%error, "SIGHUP will not reload the policies");
    }
}

/// Joins the operators' door to the policies: neither room knows the other.
async fn reload_on_request(
    mut requests: mpsc::Receiver<ReloadRequest>,
    reload: ReloadHandle,
    shutdown: CancellationToken,
) {
    while let Some(Some(request)) = shutdown.run_until_cancelled(requests.recv()).await {
        let outcome = reload.reload().await;
        // Whoever asked may be gone.
        let _ = request.send(outcome.map(|report| reload_text(&report)).map_err(|errors| errors.to_string()));
    }
}

fn reload_text(report: &ReloadReport) -> String {
    let what = if report.is_changed { "reloaded" } else { "nothing changed" };
    let warnings: String = report.warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect();
    format!("{what}: {} policies in force{warnings}", report.policies)
}

fn open_state(config: &Config) -> anyhow::Result<(Memories, Option<Saver<Memories>>)> {
    let Some(folder) = &config.state else { return Ok((Memories::default(), None)) };
    let store = Store::open(folder)?;
    let memories = store.load().context("what the last run learnt cannot be read")?;
    Ok((memories, Some(Saver::start(store, Store::save))))
}
