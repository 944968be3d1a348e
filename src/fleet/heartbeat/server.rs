//! The server: binds, starts a thread a worker, hands commands on, and ends with the shutdown.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::handle::{Handle, Shared, Told};
use super::settings::{BindError, RunError, Settings};
use super::shard::{Parts, Shard};
use super::socket;
use super::worker::{Worker, WorkerError};
use crate::fleet::cohorts::CohortTable;
use crate::fleet::keys::MasterKeys;
use crate::fleet::prefixes::PrefixTable;
use crate::fleet::registry::entry::Stamp;
use crate::fleet::registry::save::{self, PARCELS_QUEUE, Parcel};
use crate::fleet::registry::{Registry, load};
use crate::fleet::wiring::Wiring;
use crate::keepalive::observation::Observation;
use crate::keepalive::order::Orders;
use crate::time::Clock;

/// What a worker may be told before it has looked: batches of commands, and passive gaps.
const TOLD_QUEUE: usize = 4_096;
/// Places in a worker's table that are made before devices come; beyond, it grows with a pause of some milliseconds.
const EXPECTED_MAX: usize = 1 << 20;

/// Bound, and not yet answering.
pub struct HeartbeatServer {
    sockets: Vec<UdpSocket>,
    told: Vec<Receiver<Told>>,
    handle: Handle,
    address: SocketAddr,
    settings: Settings,
    clock: Clock,
}

impl HeartbeatServer {
    /// Binds the address. Devices' datagrams wait in the kernel until [`run`](Self::run). `clock` is the process's: its
    /// times stand in the observations.
    ///
    /// # Errors
    /// The address cannot be bound, or the state folder not be used.
    pub fn bind(
        settings: &Settings,
        keys: Arc<MasterKeys>,
        prefixes: Arc<PrefixTable>,
        clock: Clock,
    ) -> Result<Self, BindError> {
        let sockets = socket::bind(settings)?;
        let address = sockets[0].local_addr();
        let address = address.map_err(|source| BindError::Bind { address: settings.address, source })?;
        let (workers, told): (Vec<_>, Vec<_>) = sockets.iter().map(|_| sync_channel(TOLD_QUEUE)).unzip();
        let shared = Shared {
            keys: ArcSwap::new(keys),
            prefixes: ArcSwap::new(prefixes),
            hello_epoch: AtomicU32::new(1),
            is_watched: AtomicBool::new(false),
            devices: AtomicUsize::new(0),
            counters: Counters::new(sockets.len()),
        };
        let handle = Handle { shared: Arc::new(shared), workers: workers.into() };
        Ok(Self { sockets, told, handle, address, settings: settings.clone(), clock })
    }

    /// Where devices send to.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many threads there will be.
    pub fn workers(&self) -> usize {
        self.sockets.len()
    }

    /// A handle on it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers devices until the shutdown; then what is to be remembered is written.
    ///
    /// # Errors
    /// A worker's socket cannot be received from, or the registry not be read: the others were stopped.
    pub async fn run(self, wiring: Wiring, shutdown: CancellationToken) -> Result<(), RunError> {
        let (handle, Wiring { orders, mut commands, observations, cohorts, .. }) = (self.handle.clone(), wiring);
        // Ends all threads when this ends, for whatever reason.
        let stop = shutdown.child_token();
        let guard = stop.clone().drop_guard();
        let joined = Joined { orders, observations, cohorts };
        let threads = tokio::task::spawn_blocking(move || self.work(&joined, &stop));
        let hand_on = async {
            while let Some(batch) = commands.recv().await {
                handle.command(batch);
            }
            // Nobody orders any more; devices are answered all the same.
            std::future::pending::<()>().await;
        };
        tokio::pin!(threads);
        let ended = tokio::select! {
            ended = &mut threads => ended,
            () = hand_on => unreachable!("it waits for ever"),
            () = shutdown.cancelled() => {
                drop(guard);
                threads.await
            }
        };
        ended.unwrap_or(Err(RunError::Fallen))
    }

    /// Everything that is not async: reads the registry, runs the workers, writes the registry.
    fn work(self, joined: &Joined, stop: &CancellationToken) -> Result<(), RunError> {
        let registries = self.load(&joined.cohorts)?;
        let folder = self.settings.state.clone();
        let workers = self.sockets.len();
        std::thread::scope(|scope| {
            let parcels = folder.as_deref().map(|folder| {
                let (parcels, received) = sync_channel(PARCELS_QUEUE);
                scope.spawn(move || save::keep(folder, &received, &joined.cohorts));
                parcels
            });
            let built = self.build(registries, joined, parcels, stop);
            let threads: Vec<_> = built.into_iter().map(|worker| scope.spawn(|| run(worker, stop))).collect();
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            ended.into_iter().try_for_each(|ended| ended.map_err(|_| RunError::Fallen)?.map_err(RunError::Worker))
        })?;
        if let Some(folder) = &folder {
            load::remove_strays(folder, workers);
            let marked = save::mark_clean(folder);
            marked.map_err(|source| RunError::State { path: folder.clone(), source })?;
        }
        Ok(())
    }

    fn load(&self, cohorts: &CohortTable) -> Result<Vec<Registry>, RunError> {
        let (workers, devices) = (self.sockets.len(), self.settings.devices);
        // Ids are spread evenly, but for luck.
        let expected = if workers == 1 { devices } else { devices / workers + devices / 16 };
        let mut registries: Vec<Registry> = (0..workers).map(|_| Registry::new(expected.min(EXPECTED_MAX))).collect();
        if let Some(folder) = &self.settings.state {
            let now = Stamp::of(self.clock.mono());
            let loaded = load::load(folder, &mut registries, devices, cohorts, now);
            let loaded = loaded.map_err(|source| RunError::State { path: folder.clone(), source })?;
            self.handle.shared.devices.store(loaded, Ordering::Relaxed);
        }
        Ok(registries)
    }

    fn build(
        self,
        registries: Vec<Registry>,
        joined: &Joined,
        parcels: Option<SyncSender<Parcel>>,
        stop: &CancellationToken,
    ) -> Vec<Worker> {
        let (workers, is_v6, mono) = (self.sockets.len(), self.address.is_ipv6(), self.clock.mono());
        let parts = self.sockets.into_iter().zip(self.told).zip(registries).enumerate();
        let worker = |(index, ((socket, told), registry))| {
            let shared = Arc::clone(&self.handle.shared);
            let cohorts = Arc::clone(&joined.cohorts);
            let parts = Parts { index, workers, devices_max: self.settings.devices, registry, shared, cohorts };
            Worker {
                socket,
                is_v6,
                shard: Shard::new(parts, mono),
                told,
                orders: Arc::clone(&joined.orders),
                observations: joined.observations.clone(),
                parcels: parcels.clone(),
                clock: self.clock,
                shutdown: stop.clone(),
            }
        };
        parts.map(worker).collect()
    }
}

/// What the workers share with the loop.
struct Joined {
    orders: Arc<ArcSwap<Orders>>,
    observations: mpsc::Sender<Vec<Observation>>,
    cohorts: Arc<CohortTable>,
}

/// A worker that ends, ends all: half of the devices unanswered is not what the house says it does.
fn run(worker: Worker, stop: &CancellationToken) -> Result<(), WorkerError> {
    let _stop = stop.clone().drop_guard();
    worker.run()
}
