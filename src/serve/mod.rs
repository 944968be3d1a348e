//! Where SDKs are answered: the Jaeger remote-sampling protocol over HTTP and gRPC, and the push stream.
//!
//! Pollers have no jitter, so a rollout synchronises them: thousands of requests inside one second, from one address if
//! they sit behind a NAT or a proxy. A sampling answer is therefore never refused by rate. The answers are encoded when
//! they are published, and a request costs a look-up and the clone of a [`bytes::Bytes`]; a stranger's name costs a
//! look-up and leaves no trace.
//!
//! What is limited is what a client can hold: connections in all (the rest waits in the kernel's queue), streams of one
//! connection, bytes of a head or a message, and the time for which any of these may be held without use. Connections
//! are not counted by address, so a hostile client that spends a request every few minutes on each connection can
//! still take them all: who may connect is the network's decision.

mod counts;
mod desk;
mod grpc;
mod http;
mod message;
mod reply;
mod report;
mod stream;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use self::desk::Desk;
use self::grpc::Grpc;

use crate::config::ServeConfig;
use crate::controller::snapshot::Published;
use crate::controller::usage::UsageReport;
use crate::socket::listen::{self, Listeners};
pub use crate::socket::{BindError, raise_nofile_limit};
use crate::telemetry::metrics::Metrics;

/// Requests in flight get this long to end at a drain; then their connections are cut.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Names that gRPC health reports on; the empty one is the server as a whole.
const HEALTH_NAMES: [&str; 3] = ["", "jaeger.api_v2.SamplingManager", "flyball.v1.Sampling"];

/// Every socket bound and listening; nothing is answered before [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    addresses: LocalAddrs,
    desk: Arc<Desk>,
}

/// Where a [`Server`] listens, with the ports that were really taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAddrs {
    /// Jaeger remote sampling over HTTP.
    pub http: SocketAddr,
    /// gRPC, in the order of the configuration.
    pub grpc: Vec<SocketAddr>,
}

impl Server {
    /// Binds every address or none. Call [`raise_nofile_limit`] before: connections are bounded by what the limit on
    /// open files leaves, too. Must be called inside a Tokio runtime.
    pub fn bind(
        config: &ServeConfig,
        published: Arc<Published>,
        metrics: Metrics,
        usage: mpsc::Sender<UsageReport>,
    ) -> Result<Self, BindError> {
        let mut sockets = vec![listen::listen("serve.http", config.http)?];
        for address in &config.grpc {
            sockets.push(listen::listen("serve.grpc", *address)?);
        }
        let addresses =
            LocalAddrs::of(&sockets).map_err(|source| BindError { key: "serve.http", address: config.http, source })?;
        let slots = Arc::new(Semaphore::new(listen::connections_max(config.connections_max)));
        let desk = Desk::new(published, &metrics, usage, slots, config.streams_per_connection_max);
        Ok(Self { listeners: Listeners::new(sockets), addresses, desk: Arc::new(desk) })
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> LocalAddrs {
        self.addresses.clone()
    }

    /// Answers until `shutdown`; then stops accepting, tells health checks and streams, lets requests end for
    /// [`DRAIN_MAX`], cuts the rest and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let health = HealthReporter::new();
        report_health(&health, ServingStatus::Serving).await;
        let grpc = Arc::new(Grpc::new(Arc::clone(&self.desk), health.clone()));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = accept(self.listeners, &self.desk, &grpc, &connections) => {}
        }
        report_health(&health, ServingStatus::NotServing).await;
        self.desk.drain.cancel();
        connections.close();
        connections.wait().await;
    }
}

impl LocalAddrs {
    fn of(sockets: &[TcpListener]) -> io::Result<Self> {
        let addresses = sockets.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let (http, grpc) = addresses.split_first().expect("HTTP is bound first");
        Ok(Self { http: *http, grpc: grpc.to_vec() })
    }
}

/// Accepts for ever. The first socket speaks HTTP, the others gRPC.
async fn accept(mut listeners: Listeners, desk: &Arc<Desk>, grpc: &Arc<Grpc>, connections: &TaskTracker) {
    loop {
        let slot = Arc::clone(&desk.slots).acquire_owned().await.expect("the slots are never closed");
        let (stream, index) = listeners.accept().await;
        // Two kinds of task, so that each has the size of its own protocol's state.
        if index == 0 {
            connections.spawn(holding(slot, http::serve(stream, Arc::clone(desk))));
        } else {
            connections.spawn(holding(slot, grpc::serve(stream, Arc::clone(grpc))));
        }
    }
}

async fn holding(slot: OwnedSemaphorePermit, served: impl Future<Output = ()>) {
    served.await;
    drop(slot);
}

async fn report_health(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}
