//! The demo's second loop: devices of three carriers behind NATs that keep a binding for different times, and the real
//! heartbeat server. Everything is 12.5 times faster than in the field, so that a minute shows a quarter of an hour: a NAT
//! of 120 s is one of 9.6 s here, and the least interval is 1.2 s. The 2 s after which Linux counts a binding as a stream,
//! and the second ack that serves it, keep their length.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::labels::DeviceLabels;
use flyball_sdk::device::machine::{Bounds, Event, Machine, Memory, Settings};
use flyball_sdk::device::udp::{FleetHandle, UdpDevice, UdpEvent, UdpFleet};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::nat::{Nat, Rules};
use super::story::{CARRIERS, Carrier};
use crate::config::{FleetConfig, KeyFile};
use crate::controller::keepalive::CohortReports;
use crate::fleet::keys::MasterKeys;
use crate::keepalive::report::CohortReport;
use crate::monitor::prefixes::Prefixes;

/// Devices of each carrier.
pub(super) const DEVICES_EACH: usize = 14;
/// How often each device is asked whether a packet to it would pass.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The one master key of the demo, which nobody else has: it is drawn at each start.
const KEY_ID: u16 = 1;
/// The floor, scaled.
const INTERVAL_MIN: Duration = Duration::from_millis(1_200);
const INTERVAL_MAX: Duration = Duration::from_secs(120);

/// How the devices of the demo may be paced.
pub(super) const FLEET_FILE: &str = include_str!("fleet.yaml");

/// Where the demo's devices are answered, and who they are: a carrier by its addresses.
pub(super) fn config(folder: &Path, heartbeat: SocketAddr, grpc: SocketAddr) -> anyhow::Result<FleetConfig> {
    let file = folder.join("prefixes.csv");
    let rows: String = CARRIERS.iter().enumerate().map(|(i, c)| format!("{}/24,{},demo\n", net(i), c.name)).collect();
    std::fs::write(&file, format!("prefix,carrier,region\n{rows}"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let keys = KeyFile { path: folder.join("keys"), keys: Arc::new(MasterKeys::one(KEY_ID, rand::random())) };
    Ok(FleetConfig {
        heartbeat: Some(heartbeat),
        grpc: Some(grpc),
        keys: Some(keys),
        prefixes: Prefixes::read(&file).map_err(anyhow::Error::msg)?,
        devices: 1_000,
        workers: Some(1),
        sessions_max: 100,
    })
}

/// The addresses that the server sees of a carrier: loopback, as everything of the demo.
fn net(carrier: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 83, u8::try_from(carrier).expect("few carriers"), 0)
}

fn public(carrier: usize) -> Ipv4Addr {
    Ipv4Addr::from(net(carrier).to_bits() + 1)
}

/// What is seen of one carrier in one second.
#[derive(Debug, Clone)]
pub(super) struct CarrierSecond {
    pub(super) name: &'static str,
    /// How long its NATs keep a binding in truth.
    pub(super) truth: Duration,
    /// What is known of that: from, to.
    pub(super) learnt: Option<(Duration, Duration)>,
    /// What its devices were told: the median, on the wire.
    pub(super) interval: Duration,
    /// Why the cohort's interval is what it is.
    pub(super) why: &'static str,
    /// Share of its devices, over this second, to which a packet would have passed.
    pub(super) reachable: f64,
}

/// Devices, and the NATs before them.
pub(super) struct DemoFleet {
    carriers: Vec<Running>,
    cohorts: CohortReports,
    stop: FleetHandle,
}

/// One carrier.
struct Running {
    carrier: &'static Carrier,
    nat: Nat,
    devices: Arc<Mutex<Seen>>,
    looks: AtomicU64,
    passes: AtomicU64,
}

/// What a carrier's devices say.
#[derive(Default)]
struct Seen {
    /// Their main sockets.
    addresses: Vec<SocketAddr>,
    /// Their intervals.
    intervals: BTreeMap<usize, Duration>,
}

impl DemoFleet {
    /// Starts the NATs and the devices, which beat until this is dropped.
    pub(super) async fn start(
        config: &FleetConfig,
        server: SocketAddr,
        cohorts: CohortReports,
    ) -> anyhow::Result<Self> {
        let keys = &config.keys.as_ref().expect("the demo makes keys").keys;
        let mut carriers = Vec::new();
        let (mut devices, mut of) = (Vec::new(), Vec::new());
        for (i, carrier) in CARRIERS.iter().enumerate() {
            let nat = Nat::start(rules(carrier, 0.0), public(i), server).await.context("no NAT for the demo")?;
            for n in 0..DEVICES_EACH {
                devices.push(device(&format!("{}-{n}", carrier.name), keys, nat.inside()));
                of.push(i);
            }
            let (looks, passes) = Default::default();
            carriers.push(Running { carrier, nat, devices: Arc::default(), looks, passes });
        }
        let seen: Vec<_> = of.into_iter().map(|i| Arc::clone(&carriers[i].devices)).collect();
        let mut fleet = UdpFleet::new(devices).context("no sockets for the demo's devices")?;
        let stop = fleet.handle();
        std::thread::Builder::new().name("flyball-devices".to_owned()).spawn(move || {
            let ended = fleet.run(|i, event| seen[i].lock().expect("no holder panics").take(i, &event));
            ended.unwrap_or_else(|error| tracing::warn!(%error, "the demo's devices ended"));
        })?;
        Ok(Self { carriers, cohorts, stop })
    }

    /// Asks again and again who could be reached, until `shutdown`.
    pub(super) async fn look(self: Arc<Self>, shutdown: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
            self.carriers.iter().for_each(Running::look);
        }
    }

    /// What was seen since the last time; `t` is the second of the demo.
    pub(super) fn read(&self, t: f64) -> Vec<CarrierSecond> {
        let cohorts = self.cohorts.load();
        let second = |running: &Running| {
            let name = format!("carrier={}", running.carrier.name);
            running.read(t, cohorts.reports.iter().find(|report| *report.key.name == *name))
        };
        self.carriers.iter().map(second).collect()
    }
}

impl Drop for DemoFleet {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl Seen {
    fn take(&mut self, device: usize, event: &UdpEvent) {
        match event {
            UdpEvent::Connected { local, .. } => {
                self.addresses.push(*local);
                self.intervals.insert(device, INTERVAL_MIN);
            }
            UdpEvent::Machine(Event::Pace(pace)) => drop(self.intervals.insert(device, pace.interval)),
            _ => {}
        }
    }

    fn median(&self) -> Duration {
        let mut intervals: Vec<Duration> = self.intervals.values().copied().collect();
        intervals.sort_unstable();
        intervals.get(intervals.len() / 2).copied().unwrap_or(INTERVAL_MIN)
    }
}

impl Running {
    fn look(&self) {
        let Seen { addresses, .. } = &*self.devices.lock().expect("no holder panics");
        let passes = addresses.iter().filter(|device| self.nat.is_reachable(**device)).count();
        self.looks.fetch_add(addresses.len() as u64, Ordering::Relaxed);
        self.passes.fetch_add(passes as u64, Ordering::Relaxed);
    }

    /// The story goes on with it: the carrier's NAT is what it is at `t`.
    fn read(&self, t: f64, report: Option<&CohortReport>) -> CarrierSecond {
        self.nat.set_rules(rules(self.carrier, t));
        let (looks, passes) = (self.looks.swap(0, Ordering::Relaxed), self.passes.swap(0, Ordering::Relaxed));
        CarrierSecond {
            name: self.carrier.name,
            truth: self.carrier.lifetime(t),
            learnt: report.map(|report| (report.stream().lower_bound, report.stream().upper_bound)),
            interval: self.devices.lock().expect("no holder panics").median(),
            why: report.map_or("-", |report| report.reason.as_str()),
            reachable: if looks > 0 { passes as f64 / looks as f64 } else { 0.0 },
        }
    }
}

fn rules(carrier: &Carrier, t: f64) -> Rules {
    let stream = carrier.lifetime(t);
    Rules { unreplied: carrier.unreplied.unwrap_or(stream).min(stream), stream, is_port_kept: carrier.is_port_kept }
}

fn device(name: &str, keys: &MasterKeys, to: SocketAddr) -> UdpDevice {
    let id: DeviceId = name.parse().expect("a name is an id");
    let bounds = Bounds::new(INTERVAL_MIN, INTERVAL_MAX).expect("in order");
    let mut settings = Settings { bounds, ..Settings::new(id, KEY_ID) };
    settings.initial.interval = INTERVAL_MIN;
    let machine = Machine::new(settings, Memory { boot: 1, pace: None }, Duration::ZERO);
    let key = keys.device(KEY_ID, id).expect("the demo's own key");
    UdpDevice::new(Endpoint::new(machine, key, &DeviceLabels::default()), to.to_string())
}
