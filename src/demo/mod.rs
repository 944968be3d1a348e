//! `flyball demo`: the whole loop on this machine with nothing to configure. Three services make real spans through the
//! real OpenTelemetry SDK, a backend of finite capacity really drops, all expose real metrics over HTTP; the real
//! controller reads them and serves the real endpoints, whose push stream the services follow.

mod backend;
mod carriers;
mod fleet;
mod folder;
mod nat;
mod peers;
mod screen;
mod service;
mod story;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use self::backend::{Backend, Totals};
use self::fleet::DemoFleet;
use self::folder::Folder;
use self::peers::Peers;
use self::screen::{Critical, Screen, Second};
use self::service::Workload;
use crate::config::{AdminConfig, Config, LogConfig, LogFormat, ServeConfig};
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
    let started = Instant::now();
    let mut screen = Screen::new(options.headless);
    let backend = Arc::new(Backend::new(started));
    let (addresses, held_ports) = free_addresses()?;
    let serve = addresses.config;
    let grpc = format!("http://{}", serve.serve.grpc[0]);
    let workloads: Vec<Arc<Workload>> = story::SERVICES
        .iter()
        .map(|service| Workload::new(service, &grpc, Arc::clone(&backend)).map(Arc::new))
        .collect::<anyhow::Result<_>>()?;
    let peers = Peers::start(&workloads, &backend, options.prometheus);
    let Some(peers) = shutdown.run_until_cancelled(peers).await else { return Ok(()) };
    let peers = peers?;
    let folder = Folder::make("policies")?;
    let file = folder.path().join("demo.yaml");
    std::fs::write(&file, POLICY).with_context(|| format!("cannot write {}", file.display()))?;
    let fleet_file = folder.path().join("demo-fleet.yaml");
    std::fs::write(&fleet_file, fleet::FLEET_FILE).with_context(|| format!("cannot write {}", fleet_file.display()))?;
    let doors = fleet::config(folder.path(), free_udp(5783)?, addresses.fleet_grpc)?;
    let config = Config {
        source: peers.source().into(),
        policies: folder.path().to_owned(),
        fleet: Some(doors.clone()),
        ..serve
    };
    let policies = policy::load::load(&config.policies, SourceKinds::of(&config.source)).map_err(anyhow::Error::msg)?;
    drop(held_ports);
    let house = House::build(config, None, policies, Room::off(), shutdown.clone())?;
    let published = house.published();
    let heartbeat = house.fleet_addrs().first().map(|(_, address)| *address).context("no door for heartbeats")?;
    let fleet = Arc::new(DemoFleet::start(&doors, heartbeat, house.cohorts()).await?);
    screen.say(&welcome(&house, &peers, &file, options));
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
    screen.say(&screen::summary(screen.seconds(), critical(&workloads)));
    Ok(())
}

/// What the plant did in each second, measured by itself.
struct Meter {
    at: u64,
    read: Instant,
    requests: Vec<u64>,
    totals: Totals,
}

impl Meter {
    fn new(workloads: &[Arc<Workload>], backend: &Backend) -> Self {
        let requests = workloads.iter().map(|w| w.requests()).collect();
        Self { at: 0, read: Instant::now(), requests, totals: backend.totals() }
    }

    fn read(&mut self, workloads: &[Arc<Workload>], backend: &Backend) -> Second {
        let (now, totals) = (Instant::now(), backend.totals());
        let length = now.duration_since(self.read).as_secs_f64().max(1e-3);
        let requests: Vec<u64> = workloads.iter().map(|w| w.requests()).collect();
        let rates: Vec<f64> = requests.iter().zip(&self.requests).map(|(a, b)| (a - b) as f64 / length).collect();
        let services = workloads.iter().zip(&rates);
        let second = Second {
            at: self.at + 1,
            demand: rates.iter().sum(),
            received: (totals.received - self.totals.received) as f64 / length,
            lost: (totals.dropped - self.totals.dropped) as f64 / length,
            capacity: story::capacity(self.at as f64 + 0.5),
            decision: None,
            carriers: Vec::new(),
            services: services.map(|(w, rate)| (w.service.name, *rate, w.sampler.status().probability)).collect(),
        };
        *self = Self { at: self.at + 1, read: now, requests, totals };
        second
    }
}

fn critical(workloads: &[Arc<Workload>]) -> Critical {
    workloads.iter().fold(Critical::default(), |sum, workload| {
        let kept = workload.kept.read();
        Critical {
            failed: sum.failed + workload.failed(),
            errors: sum.errors + kept.kept_error,
            slow: sum.slow + kept.kept_slow,
        }
    })
}

fn welcome(house: &House, peers: &Peers, policy: &Path, options: Options) -> String {
    let (serve, admin) = (house.serve_addrs(), house.admin_addr());
    let end = match options.seconds {
        Some(seconds) => format!("It ends after {seconds} s; Ctrl-C ends it before."),
        None => "Ctrl-C ends it.".to_owned(),
    };
    let grpc: Vec<String> = serve.grpc.iter().map(ToString::to_string).collect();
    format!(
        "Flyball demo: three services, a tracing backend of finite capacity, and the controller between them.\n{end}\n\n\
         Measured from   {}\n\
         Served at       http://{}/sampling and gRPC {}\n\
         Try it          curl 'http://{}/sampling?service=checkout'\n\
         \u{20}               curl 'http://{admin}/api/v1/decisions/checkout'\n\
         \u{20}               flyball explain checkout --admin http://{admin}\n\
         The page        http://{admin}/\n\
         The policy      {} (edit it while the demo runs)\n",
        peers.describe(),
        serve.http,
        grpc.join(", "),
        serve.http,
        policy.display(),
    )
}

/// Where the demo listens.
struct Addresses {
    /// Without a source, policies and a fleet.
    config: Config,
    /// Where gateways are answered.
    fleet_grpc: SocketAddr,
}

/// The usual ports, or the next free ones where they are taken. They are held until the controller binds them, so that
/// a second demo that starts meanwhile takes others.
fn free_addresses() -> anyhow::Result<(Addresses, Vec<TcpListener>)> {
    let mut held = Vec::new();
    let mut free = |port: u16| -> anyhow::Result<SocketAddr> {
        let bound = (port..port.saturating_add(1_000)).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        let bound = bound.with_context(|| format!("no free port between {port} and {}", port.saturating_add(1_000)))?;
        let address = bound.local_addr()?;
        held.push(bound);
        Ok(address)
    };
    let (http, grpc, admin) = (free(5778)?, vec![free(5779)?, free(14250)?], free(5780)?);
    let fleet_grpc = free(5784)?;
    let config = Config {
        source: Peers::no_source().into(),
        monitor: None,
        fleet: None,
        policies: std::path::PathBuf::new(),
        serve: ServeConfig { http, grpc, connections_max: 1_024, streams_per_connection_max: 128 },
        admin: AdminConfig { listen: admin, token_file: None },
        state: None,
        log: LogConfig { filter: "warn".to_owned(), format: LogFormat::Text },
    };
    Ok((Addresses { config, fleet_grpc }, held))
}

/// The same for heartbeats. Not held: who takes it in the moment between is told.
fn free_udp(port: u16) -> anyhow::Result<SocketAddr> {
    let bound = (port..port.saturating_add(1_000)).find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok());
    let bound = bound.with_context(|| format!("no free port between {port} and {}", port.saturating_add(1_000)))?;
    Ok(bound.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_demos_at_once_take_different_ports() {
        let (Addresses { config: first, .. }, _held) = free_addresses().expect("ports");
        let (Addresses { config: second, .. }, _also_held) = free_addresses().expect("other ports");
        assert_ne!(first.serve.http, second.serve.http);
        assert_ne!(first.admin.listen, second.admin.listen);
        assert!(first.serve.grpc.iter().all(|grpc| !second.serve.grpc.contains(grpc)));
    }
}
