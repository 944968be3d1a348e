//! The second loop's rooms: the loop, the doors that devices come in by, and what the monitor sees on its way there.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use crate::admin::{FleetState, RolloutDesk};
use crate::alert::book::AlertBook;
use crate::alert::{AlertRoom, Doors};
use crate::cluster::ledger::Ledger;
use crate::cluster::store::{Saver, Store};
use crate::config::{Config, FleetConfig, KeyFile};
use crate::controller::audit::AuditLog;
use crate::controller::keepalive::KeepaliveLoop;
use crate::error_chain::chain;
use crate::fleet::down::{Door, DoorsDown};
use crate::fleet::grpc::{GatewayHandle, GatewayServer, GatewaySettings};
use crate::fleet::heartbeat::server::HeartbeatServer;
use crate::fleet::heartbeat::settings::Settings as HeartbeatSettings;
use crate::fleet::passive::{Direct, Passive};
use crate::fleet::prefixes::PrefixTable;
use crate::fleet::wiring::Wiring;
use crate::keepalive::cohort::Transport;
use crate::monitor::clock::KernelClock;
use crate::monitor::key::Key;
use crate::monitor::room::{OnGap, Room};
use crate::policy::PolicySet;
use crate::source::Asker;
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// Connections beside the sessions: those that have not said hello yet, or that end.
const CONNECTIONS_BESIDE: usize = 1_024;

/// Everything of the second loop, bound and ready.
pub(super) struct FleetRooms {
    keepalive: KeepaliveLoop,
    heartbeat: Option<(HeartbeatServer, Wiring)>,
    gateways: Option<GatewayServer>,
    state: FleetState,
    keys: Option<Keys>,
    alerts: AlertRoom,
    clock: Clock,
}

impl FleetRooms {
    /// Binds the doors; nothing is answered yet. Inside a Tokio runtime.
    pub(super) fn build(
        fleet: &FleetConfig,
        config: &Config,
        policies: &PolicySet,
        store: Option<&Store>,
        (clock, metrics): (Clock, Metrics),
    ) -> anyhow::Result<Self> {
        let memory = store.map(Store::load_keepalive).transpose().context("what the second loop learnt")?;
        let saver = store.map(|store| Saver::start(store.clone(), Store::save_keepalive));
        let mut keepalive = KeepaliveLoop::new(clock, policies, memory.unwrap_or_default(), saver);
        let written = store.map(Store::load_ledger).transpose().context("the audit of the second loop")?;
        let (written, ledger) = (written.unwrap_or_default(), store.cloned().map(Ledger::start));
        let audit = AuditLog::new(written.entries, ledger.clone(), clock.now().wall);
        let asker = Asker::new(&config.source, metrics).context("source")?;
        let open_alerts = AlertBook::new(&written.alarms, ledger.clone());
        keepalive.set_books(audit.clone(), &written.rollouts, ledger, asker);
        let (rollouts, commands) = keepalive.rollouts();
        let rollouts = Some(RolloutDesk { board: rollouts, commands, audit: audit.clone() });
        let mut state = FleetState { cohorts: keepalive.reports(), rollouts, open_alerts, ..FleetState::default() };
        let (mut heartbeat, mut gateways, mut keys) = (None, None, None);
        let mut doors = Doors { cohorts: keepalive.reports(), heartbeats: None, gateways: None };
        if let Some(file) = &fleet.keys {
            heartbeat = heartbeats(fleet, file, config, clock, &mut keepalive)?;
            state.heartbeats = heartbeat.as_ref().map(|(server, _)| server.handle());
            gateways = self::gateways(fleet, file, clock, &mut keepalive)?;
            let handle = gateways.as_ref().map(GatewayServer::handle);
            state.gateways = handle.as_ref().map(GatewayHandle::counts);
            doors.gateways = handle.clone();
            keys = Some(Keys::new(file.clone(), state.heartbeats.clone(), handle));
        }
        doors.heartbeats = state.heartbeats.clone();
        let (to, counts) = (config.alerts.as_ref(), state.alerts.clone());
        let alerts =
            AlertRoom::build(to, doors, counts, (audit, state.open_alerts.clone()), clock).context("alerts")?;
        Ok(Self { keepalive, heartbeat, gateways, state, keys, alerts, clock })
    }

    /// What operators are told.
    pub(super) fn state(&self) -> FleetState {
        self.state.clone()
    }

    /// What a reload reads again.
    pub(super) fn keys(&self) -> Option<Keys> {
        self.keys.clone()
    }

    /// Where devices are answered, by what they speak.
    pub(super) fn addrs(&self) -> Vec<(&'static str, SocketAddr)> {
        let heartbeat = self.heartbeat.as_ref().map(|(server, _)| ("heartbeat", server.local_addr()));
        let gateways = self.gateways.as_ref().map(|server| ("gateways", server.local_addr()));
        heartbeat.into_iter().chain(gateways).collect()
    }

    /// Where the monitor's silences go: to the server whose devices they are of, else straight to the loop.
    pub(super) fn on_gap(&self, config: &Config, monitor: &Room) -> Option<OnGap> {
        let settings = config.monitor.as_ref().filter(|_| monitor.is_open())?;
        let is_ours = |port: u16| settings.key == Key::Heartbeat && settings.ports.contains(&port);
        let server = self.heartbeat.as_ref().filter(|(server, _)| is_ours(server.local_addr().port()));
        let passive = match server {
            Some((server, _)) => Passive::watching(server.handle()),
            None => {
                let (observations, cohorts) = self.keepalive.inlet();
                Passive::Loop(Direct { observations, cohorts, clock: KernelClock::start(&self.clock) })
            }
        };
        Some(Box::new(move |gap| passive.take(gap)))
    }

    /// Runs every room until the shutdown. The loop ends last, so that what the doors saw is kept.
    pub(super) fn spawn(
        self,
        rooms: &mut JoinSet<()>,
        policies: watch::Receiver<Arc<PolicySet>>,
        shutdown: &CancellationToken,
    ) {
        let (down, doors_closed) = (self.state.down, CancellationToken::new());
        let mut doors = JoinSet::new();
        if let Some((server, wiring)) = self.heartbeat {
            doors.spawn(noted(server.run(wiring, shutdown.clone()), Door::Heartbeat, down.clone(), shutdown.clone()));
        }
        if let Some(server) = self.gateways {
            let serving = server.run(shutdown.clone());
            let serving = async move {
                serving.await;
                Ok::<(), Infallible>(())
            };
            doors.spawn(noted(serving, Door::Gateways, down, shutdown.clone()));
        }
        rooms.spawn(self.alerts.run(policies.clone(), shutdown.clone()));
        rooms.spawn(self.keepalive.run(policies, doors_closed.clone()));
        rooms.spawn(close(doors, shutdown.clone(), doors_closed));
    }
}

fn heartbeats(
    fleet: &FleetConfig,
    keys: &KeyFile,
    config: &Config,
    clock: Clock,
    keepalive: &mut KeepaliveLoop,
) -> anyhow::Result<Option<(HeartbeatServer, Wiring)>> {
    let Some(address) = fleet.heartbeat else { return Ok(None) };
    let settings = HeartbeatSettings {
        workers: fleet.workers,
        devices: fleet.devices as usize,
        state: config.state.clone(),
        ..HeartbeatSettings::new(address)
    };
    let prefixes = Arc::new(PrefixTable::new(&fleet.prefixes));
    let server = HeartbeatServer::bind(&settings, Arc::clone(&keys.keys), prefixes, clock)?;
    keepalive.set_heartbeats(server.handle());
    Ok(Some((server, keepalive.wiring(Transport::Udp))))
}

fn gateways(
    fleet: &FleetConfig,
    keys: &KeyFile,
    clock: Clock,
    keepalive: &mut KeepaliveLoop,
) -> anyhow::Result<Option<GatewayServer>> {
    let Some(address) = fleet.grpc else { return Ok(None) };
    let settings = GatewaySettings {
        sessions_max: fleet.sessions_max,
        connections_max: fleet.sessions_max.saturating_add(CONNECTIONS_BESIDE),
        ..GatewaySettings::on(address)
    };
    let server = GatewayServer::bind(settings, keepalive.wiring(Transport::Tcp), Arc::clone(&keys.keys), clock)?;
    server.handle().set_prefixes(Arc::new(PrefixTable::new(&fleet.prefixes)));
    keepalive.set_gateways(server.handle());
    Ok(Some(server))
}

/// Runs a door; one that ends before the shutdown is told.
async fn noted<E: Error + 'static>(
    door: impl Future<Output = Result<(), E>>,
    which: Door,
    down: DoorsDown,
    shutdown: CancellationToken,
) {
    let why = door.await.err().map(|error| chain(&error));
    if !shutdown.is_cancelled() {
        tracing::error!(door = ?which, error = why, "devices are no longer answered here; everything else runs");
        down.note(which);
    }
}

/// Lets the loop end once every door is closed; a door that fell takes the house down, as any room does.
async fn close(mut doors: JoinSet<()>, shutdown: CancellationToken, closed: CancellationToken) {
    while let Some(ended) = doors.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a door for devices ended badly: shutting down");
            shutdown.cancel();
        }
    }
    shutdown.cancelled().await;
    closed.cancel();
}
