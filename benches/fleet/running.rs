//! Something that answers, on one thread, on one core.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use flyball::fleet::cohorts::CohortTable;
use flyball::fleet::heartbeat::counters::Count;
use flyball::fleet::heartbeat::handle::Handle;
use flyball::fleet::heartbeat::server::HeartbeatServer;
use flyball::fleet::heartbeat::settings::Settings;
use flyball::fleet::keys::MasterKeys;
use flyball::fleet::wiring::{COMMANDS_QUEUE, OBSERVATIONS_QUEUE, Wiring};
use flyball::keepalive::order::{CohortOrder, Orders};
use flyball::time::Clock;
use flyball_sdk::device::jitter::Pace;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::fleet::MASTER;
use crate::thread;

enum Counted {
    Bare(Arc<AtomicU64>),
    Server(Handle),
}

pub(crate) struct Running {
    address: SocketAddr,
    thread: i32,
    counted: Counted,
    /// Those in force; a bare echo has none.
    orders: Arc<ArcSwap<Orders>>,
    shutdown: CancellationToken,
    driver: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn bare(address: SocketAddr, thread: i32, handled: Arc<AtomicU64>) -> Self {
        let counted = Counted::Bare(handled);
        Self { address, thread, counted, orders: Arc::default(), shutdown: CancellationToken::new(), driver: None }
    }

    /// One worker, a loop that reads all it is told, and an order for everybody.
    pub(crate) fn server(devices: usize) -> Self {
        Self::with(Settings { devices, ..settings() })
    }

    /// One that keeps its devices over restarts.
    pub(crate) fn kept(devices: usize, state: PathBuf) -> Self {
        Self::with(Settings { devices, state: Some(state), ..settings() })
    }

    fn with(settings: Settings) -> Self {
        let keys = Arc::new(MasterKeys::one(1, MASTER));
        let server = HeartbeatServer::bind(&settings, keys, Arc::default(), Clock::start()).expect("bound");
        let (address, handle, shutdown) = (server.local_addr(), server.handle(), CancellationToken::new());
        let (stop, wiring) = (shutdown.clone(), wiring());
        let orders = Arc::clone(&wiring.0.orders);
        let driver = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let (wiring, mut observations) = wiring;
            runtime.spawn(async move { while observations.recv().await.is_some() {} });
            runtime.block_on(server.run(wiring, stop)).expect("it runs until the end");
        });
        let thread = thread::named("heartbeat-0");
        thread::pin(thread, 0);
        Self { address, thread, counted: Counted::Server(handle), orders, shutdown, driver: Some(driver) }
    }

    /// From now on each heartbeat is acked once more.
    pub(crate) fn ack_twice(&self) {
        let mut orders = Orders::clone(&self.orders.load());
        for order in &mut orders.cohorts {
            *order = Arc::new(CohortOrder { second_ack_after: Some(Duration::ZERO), ..CohortOrder::clone(order) });
        }
        self.orders.store(Arc::new(orders));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn thread(&self) -> i32 {
        self.thread
    }

    /// Heartbeats that were taken and answered.
    pub(crate) fn handled(&self) -> u64 {
        match &self.counted {
            Counted::Bare(handled) => handled.load(Ordering::Relaxed),
            Counted::Server(handle) => handle.counters().get(Count::Accepted),
        }
    }

    /// Datagrams of a server that were counted as this.
    pub(crate) fn counted(&self, count: Count) -> u64 {
        match &self.counted {
            Counted::Bare(_) => 0,
            Counted::Server(handle) => handle.counters().get(count),
        }
    }

    pub(crate) fn second_acks(&self) -> u64 {
        self.counted(Count::SecondAcked)
    }

    pub(crate) fn devices(&self) -> usize {
        match &self.counted {
            Counted::Bare(_) => 0,
            Counted::Server(handle) => handle.devices(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.driver.take().into_iter().for_each(|driver| driver.join().expect("it ended in order"));
    }
}

fn settings() -> Settings {
    Settings { workers: Some(1), ..Settings::new(SocketAddr::from(([127, 0, 0, 1], 0))) }
}

type Observed = mpsc::Receiver<Vec<flyball::keepalive::observation::Observation>>;

fn wiring() -> (Wiring, Observed) {
    let cohorts = Arc::new(CohortTable::new(Arc::default()));
    let interval = Duration::from_secs(90);
    let pace = Pace { generation: 1_795_000_000_000, interval, jitter: 64, retry: 0, is_hostile: false };
    let key = cohorts.since(0)[0].key.clone();
    let order = CohortOrder {
        key,
        pace,
        second_ack_after: None,
        tell_silences_from: Duration::from_secs(15),
        tell_beats: None,
    };
    let orders = Orders { generation: pace.generation, cohorts: vec![Arc::new(order)] };
    let (sender, observations) = mpsc::channel(OBSERVATIONS_QUEUE);
    // The loop's end of the commands may close: devices are answered all the same.
    let (_, commands) = mpsc::channel(COMMANDS_QUEUE);
    let (_, changed) = watch::channel(0);
    let orders = Arc::new(ArcSwap::from_pointee(orders));
    (Wiring { orders, changed, commands, observations: sender, cohorts }, observations)
}
