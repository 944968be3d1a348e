//! `flyball demo`: both loops on this machine with nothing to configure. Three services make real spans through the real
//! OpenTelemetry SDK, a backend of finite capacity really drops, all expose real metrics over HTTP; the real controller
//! reads them and serves the real endpoints, whose push stream the services follow. Beside them the SDK's own devices send
//! real heartbeats, through NATs in user space, to the real server.

mod backend;
mod carriers;
mod fleet;
mod meter;
mod nat;
mod peers;
mod pictures;
mod ports;
mod screen;
mod service;
mod story;
mod welcome;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use self::backend::Backend;
use self::fleet::DemoFleet;
use self::meter::Meter;
use self::peers::Peers;
use self::screen::Screen;
use self::service::Workload;
use crate::config::Config;
use crate::folder::Folder;
use crate::house::House;
use crate::monitor::room::Room;
use crate::policy::{self, SourceKinds};

pub use self::peers::NoPrometheus;

/// What the demo's controller is told: nothing that it cannot measure, but for one rule for health checks.
const POLICY: &str = include_str!("policy.yaml");

/// How the demo is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Ends after this many seconds; `None` = at Ctrl-C.
    pub seconds: Option<u64>,
    /// Plain lines.
    pub headless: bool,
    /// Through a real Prometheus server.
    pub prometheus: bool,
}

/// Runs the demo until its time is over or `shutdown`.
///
/// # Errors
/// No free port, or no Prometheus server where one is asked for.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    let stage = Stage::set(options, &shutdown);
    let Some(stage) = shutdown.run_until_cancelled(stage).await else { return Ok(()) };
    let Stage { started, backend, workloads, house, fleet, welcome, _kept } = stage?;
    let mut screen = Screen::new(options.headless);
    screen.say(&welcome);
    let published = house.published();
    let house = tokio::spawn(house.run());
    for workload in &workloads {
        tokio::spawn(Arc::clone(workload).run(started, shutdown.clone()));
    }
    tokio::spawn(Arc::clone(&fleet).look(shutdown.clone()));
    let mut meter = Meter::new(&workloads, &backend);
    let mut seconds = tokio::time::interval_at((started + Duration::from_secs(1)).into(), Duration::from_secs(1));
    while shutdown.run_until_cancelled(seconds.tick()).await.is_some() {
        let mut second = meter.read(&workloads, &backend);
        second.decision = published.load().decisions.first().cloned();
        second.carriers = fleet.read(second.at as f64);
        let at = second.at;
        screen.show(second);
        if options.seconds.is_some_and(|end| at >= end) {
            break;
        }
    }
    shutdown.cancel();
    house.await.context("the controller ended badly")?;
    screen.say(&screen::summary(screen.seconds(), meter::critical(&workloads)));
    Ok(())
}

/// Everything that takes part, before the first second.
struct Stage {
    started: Instant,
    backend: Arc<Backend>,
    workloads: Vec<Arc<Workload>>,
    house: House,
    fleet: Arc<DemoFleet>,
    welcome: String,
    /// What lives as long as the demo.
    _kept: (Peers, Folder),
}

impl Stage {
    async fn set(options: Options, shutdown: &CancellationToken) -> anyhow::Result<Self> {
        let started = Instant::now();
        let backend = Arc::new(Backend::new(started));
        let (addresses, held_ports) = ports::free_addresses()?;
        let grpc = format!("http://{}", addresses.config.serve.grpc[0]);
        let workload = |service| Workload::new(service, &grpc, Arc::clone(&backend)).map(Arc::new);
        let workloads: Vec<_> = story::SERVICES.iter().map(workload).collect::<anyhow::Result<_>>()?;
        let peers = Peers::start(&workloads, &backend, options.prometheus).await?;
        let folder = Folder::make("demo-policies")?;
        let files = [folder.write("demo.yaml", POLICY)?, folder.write("demo-fleet.yaml", fleet::FLEET_FILE)?];
        let doors = fleet::config(folder.path(), ports::free_udp(5783)?, addresses.fleet_grpc)?;
        let config = Config {
            source: peers.source().into(),
            policies: folder.path().to_owned(),
            fleet: Some(doors.clone()),
            ..addresses.config
        };
        let kinds = SourceKinds::of(&config.source);
        let policies = policy::load::load(&config.policies, kinds).map_err(anyhow::Error::msg)?;
        drop(held_ports);
        let house = House::build(config, None, policies, Room::off(), shutdown.clone())?;
        let heartbeat = house.fleet_addrs().first().map(|(_, address)| *address).context("no door for heartbeats")?;
        let fleet = Arc::new(DemoFleet::start(&doors, heartbeat, house.cohorts()).await?);
        let welcome = welcome::text(&house, &peers, &files, options);
        Ok(Self { started, backend, workloads, house, fleet, welcome, _kept: (peers, folder) })
    }
}
