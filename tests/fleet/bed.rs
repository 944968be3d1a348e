//! A server on a free port, with a loop that is the test.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use flyball::fleet::cohorts::CohortTable;
use flyball::fleet::heartbeat::counters::Count;
use flyball::fleet::heartbeat::handle::Handle;
use flyball::fleet::heartbeat::server::HeartbeatServer;
use flyball::fleet::heartbeat::settings::Settings;
use flyball::fleet::keys::MasterKeys;
use flyball::fleet::prefixes::PrefixTable;
use flyball::fleet::wiring::{COMMANDS_QUEUE, OBSERVATIONS_QUEUE, Wiring};
use flyball::keepalive::cohort::{CohortIndex, Labels, Transport};
use flyball::keepalive::observation::{Observation, ObservationKind};
use flyball::keepalive::order::{CohortOrder, DeviceCommand, DeviceOrder, Orders};
use flyball::keepalive::policy::{Fleet, Fleets};
use flyball::time::Clock;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::device::MASTER;

/// Waits that end when what is waited for comes; a machine under load may take its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// More than any test has: all are ordered the same.
const COHORTS: usize = 16;
/// Of the cohorts' first orders: a real one, in milliseconds since 1970.
pub(crate) const GENERATION: u64 = 1_795_000_000_000;

pub(crate) struct Bed {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    pub(crate) orders: Arc<ArcSwap<Orders>>,
    pub(crate) cohorts: Arc<CohortTable>,
    commands: mpsc::Sender<Vec<DeviceCommand>>,
    observations: mpsc::Receiver<Vec<Observation>>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    runtime: Runtime,
}

/// What a test wants otherwise.
pub(crate) struct Plan<'a> {
    pub(crate) workers: usize,
    pub(crate) devices: usize,
    pub(crate) state: Option<&'a Path>,
    pub(crate) address: &'a str,
    pub(crate) order: CohortOrder,
    pub(crate) prefixes: PrefixTable,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        let prefixes = PrefixTable::default();
        Self { workers: 1, devices: 1_000, state: None, address: "127.0.0.1:0", order: order(), prefixes }
    }
}

/// 84.2 s, no second acks, and no silence told.
pub(crate) fn order() -> CohortOrder {
    let cohorts = CohortTable::new(Arc::default());
    CohortOrder {
        key: cohorts.since(0)[0].key.clone(),
        pace: pace(GENERATION, 84_200),
        second_ack_after: None,
        tell_silences_from: Duration::from_secs(3_600),
        tell_beats: None,
    }
}

fn for_all(order: CohortOrder) -> Vec<Arc<CohortOrder>> {
    let order = Arc::new(order);
    vec![order; COHORTS]
}

pub(crate) fn pace(generation: u64, interval_ms: u64) -> Pace {
    Pace { generation, interval: Duration::from_millis(interval_ms), jitter: 64, retry: 1, is_hostile: false }
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(Plan::default())
    }

    pub(crate) fn with(plan: Plan<'_>) -> Self {
        let settings = Settings {
            workers: Some(plan.workers),
            devices: plan.devices,
            state: plan.state.map(Path::to_owned),
            ..Settings::new(plan.address.parse().expect("an address"))
        };
        let keys = Arc::new(MasterKeys::one(1, MASTER));
        let server = HeartbeatServer::bind(&settings, keys, Arc::new(plan.prefixes), Clock::start()).expect("bound");
        let orders = Orders { generation: GENERATION, cohorts: for_all(plan.order) };
        let orders = Arc::new(ArcSwap::from_pointee(orders));
        let fleets = Fleets { fleets: vec![Arc::new(Fleet::named("all"))] };
        let cohorts = Arc::new(CohortTable::new(Arc::new(fleets)));
        let (commands, received) = mpsc::channel(COMMANDS_QUEUE);
        let (sender, observations) = mpsc::channel(OBSERVATIONS_QUEUE);
        let (_, changed) = watch::channel(0);
        let wiring = Wiring {
            orders: Arc::clone(&orders),
            changed,
            commands: received,
            observations: sender,
            cohorts: Arc::clone(&cohorts),
        };
        let (address, handle, shutdown) = (server.local_addr(), server.handle(), CancellationToken::new());
        let runtime = Runtime::new().expect("a runtime");
        let run = server.run(wiring, shutdown.clone());
        let running = Some(runtime.spawn(async { run.await.expect("it runs until the end") }));
        Self { address, handle, orders, cohorts, commands, observations, shutdown, running, runtime }
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.handle.counters().get(count)
    }

    /// Waits until as many were counted.
    pub(crate) fn await_count(&self, count: Count, n: u64) {
        wait_for(&format!("{count:?} to be {n}"), || (self.count(count) >= n).then_some(()));
        assert_eq!(self.count(count), n, "{count:?}");
    }

    /// The cohort of devices that have said these labels.
    pub(crate) fn cohort(&self, labels: &[(&str, &str)]) -> CohortIndex {
        let labels: Labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.cohorts.resolve(&labels, Transport::Udp)
    }

    /// Orders something of a device that has said no labels.
    pub(crate) fn command(&self, device: DeviceId, order: DeviceOrder) {
        self.command_all(vec![DeviceCommand { device, cohort: self.cohort(&[]), order, is_urgent: false }]);
    }

    pub(crate) fn command_all(&self, commands: Vec<DeviceCommand>) {
        self.commands.blocking_send(commands).expect("the server runs");
    }

    /// Other orders for everybody.
    pub(crate) fn set_order(&self, order: CohortOrder) {
        let orders = Orders { generation: order.pace.generation, cohorts: for_all(order) };
        self.orders.store(Arc::new(orders));
    }

    /// The next observation that `wanted` takes; others are passed over.
    pub(crate) fn observed<T>(&mut self, what: &str, mut wanted: impl FnMut(&Observation) -> Option<T>) -> T {
        let observations = &mut self.observations;
        wait_for(what, || {
            let batch = observations.try_recv().ok()?;
            batch.iter().find_map(&mut wanted)
        })
    }

    /// Everything observed so far.
    pub(crate) fn all_observed(&mut self) -> Vec<ObservationKind> {
        let mut all = Vec::new();
        while let Ok(batch) = self.observations.try_recv() {
            all.extend(batch.into_iter().map(|observation| observation.kind));
        }
        all
    }

    /// Ends in order: what is to be remembered is written.
    pub(crate) fn end(mut self) {
        self.shutdown.cancel();
        let running = self.running.take().expect("it runs");
        self.runtime.block_on(running).expect("it ended in order");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            let _ = self.runtime.block_on(running);
        }
    }
}

/// Asks until there is something; panics at the deadline.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
