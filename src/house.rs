//! The composition: every room built, joined and run until the shutdown. What `flyball run` and `flyball demo` share.

mod fleet;
mod keys;
mod reloads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::fleet::FleetRooms;
use self::reloads::Reloads;
use crate::admin::{Admin, AdminState, ConfigPaths, ReloadRequest};
use crate::cluster::store::{Saver, Store};
use crate::config::Config;
use crate::controller::control::{Controller, Inlets};
use crate::controller::keepalive::CohortReports;
use crate::controller::memory::Memories;
use crate::controller::snapshot::Published;
use crate::monitor::room::{OnGap, Room};
use crate::policy::SourceKinds;
use crate::policy::load::Loaded;
use crate::policy::watch::PolicyWatcher;
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
    on_gap: Option<OnGap>,
    fleet: Option<FleetRooms>,
    reloads: Reloads,
    requests: mpsc::Receiver<ReloadRequest>,
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
        let store = config.state.as_deref().map(Store::open).transpose()?;
        let (memories, saver) = remembered(store.as_ref())?;
        let (usage_sender, usage) = mpsc::channel(USAGE_QUEUE);
        let (sender, requests) = mpsc::channel(RELOAD_QUEUE);
        let kinds = SourceKinds::of(&config.source);
        let first = Arc::new(policies.set.clone());
        let fleet = config.fleet.as_ref();
        let fleet = fleet
            .map(|fleet| FleetRooms::build(fleet, &config, &first, store.as_ref(), (clock, metrics.clone())))
            .transpose()?;
        let on_gap = fleet.as_ref().and_then(|fleet| fleet.on_gap(&config, &monitor));
        let folder = config.policies.clone();
        let (policies, reload) = PolicyWatcher::spawn(folder, kinds, policies, metrics.clone(), shutdown.clone());
        let controller = Controller::new(clock, source.interval(), first, &memories, saver, metrics.clone());
        let published = controller.published();
        let server = Server::bind(&config.serve, Arc::clone(&published), metrics.clone(), usage_sender)?;
        let receiver = source.listen()?;
        let paths = ConfigPaths { config: file, policies: config.policies, state: config.state };
        let version = env!("CARGO_PKG_VERSION");
        let board = monitor.board();
        let state = AdminState {
            published,
            fleet: fleet.as_ref().map(FleetRooms::state).unwrap_or_default(),
            monitor: board,
            metrics,
            reload: sender,
            clock,
            version,
            paths,
        };
        let admin = Admin::bind(&config.admin, state)?;
        let inlets = Inlets { policies, usage };
        let reloads = Reloads { policies: reload, keys: fleet.as_ref().and_then(FleetRooms::keys) };
        Ok(Self {
            source,
            receiver,
            controller,
            inlets,
            server,
            admin,
            monitor,
            on_gap,
            fleet,
            reloads,
            requests,
            shutdown,
        })
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

    /// Where devices are answered, by what they speak.
    pub fn fleet_addrs(&self) -> Vec<(&'static str, SocketAddr)> {
        self.fleet.as_ref().map(FleetRooms::addrs).unwrap_or_default()
    }

    /// Where what is known of the cohorts appears; empty without the second loop.
    pub fn cohorts(&self) -> CohortReports {
        self.fleet.as_ref().map(|fleet| fleet.state().cohorts).unwrap_or_default()
    }

    /// Runs every room until the shutdown; each drains in its own bounded time.
    pub async fn run(self) {
        let shutdown = self.shutdown;
        let mut rooms = JoinSet::new();
        rooms.spawn(self.server.run(shutdown.clone()));
        if let Some(receiver) = self.receiver {
            rooms.spawn(receiver.run(shutdown.clone()));
        }
        if let Some(fleet) = self.fleet {
            fleet.spawn(&mut rooms, self.inlets.policies.clone(), &shutdown);
        }
        rooms.spawn(self.monitor.run(self.on_gap, shutdown.clone()));
        rooms.spawn(run_admin(self.admin, shutdown.clone()));
        rooms.spawn(self.controller.run(self.source, self.inlets, shutdown.clone()));
        rooms.spawn(self.reloads.clone().on_hangup(shutdown.clone()));
        rooms.spawn(self.reloads.on_request(self.requests, shutdown.clone()));
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

fn remembered(store: Option<&Store>) -> anyhow::Result<(Memories, Option<Saver<Memories>>)> {
    let Some(store) = store else { return Ok((Memories::default(), None)) };
    let memories = store.load().context("what the last run learnt cannot be read")?;
    Ok((memories, Some(Saver::start(store.clone(), Store::save))))
}
