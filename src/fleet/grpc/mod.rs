//! Gateways: devices that hold a connection (`flyball.v1.Keepalive/Watch`).
//!
//! A session is what a device says in its first message, authenticated, and then one slot for each kind of message that
//! may wait for it. Nothing is queued for a device, so that ten thousand slow ones cost what ten thousand fast ones do.
//! A change goes out to all sessions that it concerns at a bounded rate, shorter intervals first.
//!
//! What is limited is what a client can hold: connections in all (the rest waits in the kernel's queue), streams of one
//! connection, bytes of a head or a message, devices in all, and the time until a hello. Who is not authenticated makes
//! no state, and learns nothing but that. Limits: without TLS in front, who listens on the way can steal a token (see
//! `flyball_sdk::device::session` for what that is good for).

mod connection;
mod counts;
mod desk;
mod frame;
mod handle;
mod hello;
mod post;
mod probes;
mod push;
mod refusal;
mod registry;
mod reply;
mod session;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::counts::{GatewayCounts, RefusedLabels};
use self::desk::Desk;
pub use self::handle::GatewayHandle;
use super::keys::MasterKeys;
use super::wiring::Wiring;
use crate::keepalive::observation::Observation;
use crate::keepalive::order::DeviceCommand;
use crate::socket::BindError;
use crate::socket::listen::{self, Listeners};
use crate::time::Clock;

/// Streams get this long to end at a drain; then their connections are cut.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What was seen goes to the loop this often, in one batch.
const HAND_ON_EVERY: Duration = Duration::from_millis(100);

/// Rounds of handing on between two looks for absent devices.
const SWEEP_ROUNDS: u32 = 10;

/// How the door is set up.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Most devices, those included that went away less than their patience ago. One on a
    /// connection of its own takes 23 KB, one of a hundred that a proxy joins 4 KB (`cargo bench --bench fleet --
    /// gateways`). A device of one more is refused with RESOURCE_EXHAUSTED. Default 100,000.
    pub sessions_max: usize,
    /// Most connections; more wait in the kernel's queue. Default 110,000.
    pub connections_max: usize,
    /// Most sessions of one connection, for gateways behind a proxy that joins them. Default 128.
    pub sessions_per_connection_max: u32,
    /// Orders pushed a second because of changes, a twentieth of them at once: one change to 10,000 devices takes 50 ms
    /// at the default of 100,000, as much as two cores can send. Higher does nothing but let one change crowd out the
    /// beats; lower spares the uplink, on which an order is about 100 bytes.
    pub pushes_per_second: NonZeroU32,
    /// On top of the longest wait of its order, until a device that says nothing is absent and its session ends.
    /// Default 60 s: its own retries, and a reconnect.
    pub patience: Duration,
    /// HTTP/2 pings from the server; `None`, the default, sends none: they refresh the binding that the beats measure,
    /// and wake the device's radio. For a proxy that ends idle streams sooner than the devices beat.
    pub ping_interval: Option<Duration>,
}

impl GatewaySettings {
    /// Every default.
    pub fn on(listen: SocketAddr) -> Self {
        Self {
            listen,
            sessions_max: 100_000,
            connections_max: 110_000,
            sessions_per_connection_max: 128,
            pushes_per_second: NonZeroU32::new(100_000).expect("not zero"),
            patience: Duration::from_secs(60),
            ping_interval: None,
        }
    }
}

/// The gateways' door: bound and listening; nothing is answered before [`GatewayServer::run`].
pub struct GatewayServer {
    listeners: Listeners,
    address: SocketAddr,
    desk: Arc<Desk>,
    changed: watch::Receiver<u64>,
    commands: mpsc::Receiver<Vec<DeviceCommand>>,
    observations: mpsc::Sender<Vec<Observation>>,
}

impl fmt::Debug for GatewayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl GatewayServer {
    /// Binds the address. `clock` is the loop's: observations carry its time. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn bind(
        settings: GatewaySettings,
        wiring: Wiring,
        keys: Arc<MasterKeys>,
        clock: Clock,
    ) -> Result<Self, BindError> {
        const KEY: &str = "fleet.grpc";
        let wanted = settings.listen;
        let socket = listen::listen(KEY, wanted)?;
        let address = socket.local_addr().map_err(|source| BindError { key: KEY, address: wanted, source })?;
        let Wiring { orders, changed, commands, observations, cohorts } = wiring;
        let desk = Arc::new(Desk::new(settings, keys, orders, cohorts, clock));
        Ok(Self { listeners: Listeners::new(vec![socket]), address, desk, changed, commands, observations })
    }

    /// Where it listens, with the port that was really taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle on it: keys, labels, counts.
    pub fn handle(&self) -> GatewayHandle {
        GatewayHandle(Arc::clone(&self.desk))
    }

    /// Serves until `shutdown`; then stops accepting, ends all streams, waits for them for [`DRAIN_MAX`], cuts the rest and
    /// returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let (desk, connections) = (self.desk, TaskTracker::new());
        let push = push::run(Arc::clone(&desk), self.changed, self.commands);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = accept(self.listeners, &desk, &connections) => {}
            () = push => tracing::debug!("the loop is gone: gateways hear no more"),
            () = hand_on(&desk, &self.observations) => {}
        }
        desk.registry.drain();
        desk.drain.cancel();
        connections.close();
        connections.wait().await;
        // The loop may be gone already.
        let _ = self.observations.try_send(desk.noted());
    }
}

/// Accepts for ever.
async fn accept(mut listeners: Listeners, desk: &Arc<Desk>, connections: &TaskTracker) {
    let slots = Arc::new(Semaphore::new(listen::connections_max(desk.settings.connections_max)));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the slots are never closed");
        let (stream, _) = listeners.accept().await;
        let Ok(peer) = stream.peer_addr() else { continue };
        let desk = Arc::clone(desk);
        connections.spawn(async move {
            desk.counts.connections.inc();
            connection::serve(stream, peer.ip(), Arc::clone(&desk)).await;
            desk.counts.connections.dec();
            drop(slot);
        });
    }
}

/// Hands on what was seen, and looks for absent devices. A loop that is slow makes it wait: the book is bounded.
async fn hand_on(desk: &Desk, observations: &mpsc::Sender<Vec<Observation>>) {
    let mut every = tokio::time::interval(HAND_ON_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u32.. {
        every.tick().await;
        if round % SWEEP_ROUNDS == 0 {
            desk.note(desk.registry.sweep(&desk.orders.load(), desk.now()));
        }
        let noted = desk.noted();
        if !noted.is_empty() && observations.send(noted).await.is_err() {
            return std::future::pending().await;
        }
    }
}
