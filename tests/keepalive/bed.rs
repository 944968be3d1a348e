//! A server, a NAT and devices, all on loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::labels::DeviceLabels;
use flyball_sdk::device::machine::{Bounds, Event, Machine, Memory, Settings};
use flyball_sdk::device::udp::{FleetHandle, UdpDevice, UdpEvent, UdpFleet};

use crate::nat::{Nat, Rules};
use crate::support::flyball::{Flyball, Home};
use crate::support::http;

pub(crate) const DEVICES: usize = 12;
/// How long the NAT keeps a binding: 120 s in the field, 1:40.
pub(crate) const KEPT: Duration = Duration::from_millis(3_000);
/// The floor, at the same scale.
const FLOOR: &str = "400ms";
/// A source that never answers.
pub(crate) const SCRAPE: &str = "{scrape: {targets: ['http://127.0.0.1:9/metrics']}}";
const MASTER: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

/// What a bed is made of.
pub(crate) struct Plan {
    pub(crate) devices: usize,
    /// YAML of the `source` key.
    pub(crate) source: String,
    /// The fleet file.
    pub(crate) fleet: String,
    /// How long the NAT keeps a binding.
    pub(crate) kept: Duration,
    /// It has a state folder, and a port that another process can have again.
    pub(crate) is_durable: bool,
    /// The NAT's own address on loopback ends with this.
    pub(crate) host: u8,
}

pub(crate) struct Bed {
    flyball: Flyball,
    devices: usize,
    told: Arc<Mutex<BTreeMap<usize, Duration>>>,
    stop: FleetHandle,
    running: Option<JoinHandle<()>>,
    _nat: Nat,
    _runtime: tokio::runtime::Runtime,
}

impl Bed {
    /// Devices that beat through a NAT to a server that knows nothing of it.
    pub(crate) fn start() -> Self {
        let source = SCRAPE.to_owned();
        Self::with(&Plan { devices: DEVICES, source, fleet: fleet(FLOOR), kept: KEPT, is_durable: false, host: 1 })
    }

    pub(crate) fn with(plan: &Plan) -> Self {
        let home = Arc::new(Home::new(&plan.source, ""));
        std::fs::remove_file(home.path().join("policies/shop.yaml")).expect("there");
        home.write("policies/fleet.yaml", &plan.fleet);
        let digits: String = MASTER.iter().map(|byte| format!("{byte:02x}")).collect();
        home.write("keys", &format!("1:{digits}\n"));
        let port = if plan.is_durable { free_port() } else { 0 };
        home.configure(&format!("fleet: {{heartbeat: '127.0.0.1:{port}', master_key_file: keys}}\n"));
        if plan.is_durable {
            home.configure("state: {path: state}\n");
        }
        let flyball = Flyball::start_in(&home);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let rules = Rules { unreplied: plan.kept, stream: plan.kept, is_port_kept: plan.is_durable };
        let server = flyball.address("heartbeat");
        let nat = runtime.block_on(Nat::start(rules, Ipv4Addr::new(127, 84, 0, plan.host), server)).expect("a NAT");
        let mut fleet = UdpFleet::new((0..plan.devices).map(|i| device(i, nat.inside())).collect()).expect("sockets");
        let (stop, told) = (fleet.handle(), Arc::<Mutex<BTreeMap<usize, Duration>>>::default());
        let paces = Arc::clone(&told);
        let running = std::thread::spawn(move || {
            let ended = fleet.run(|i, event| {
                if let UdpEvent::Machine(Event::Pace(pace)) = event {
                    paces.lock().expect("not poisoned").insert(i, pace.interval);
                }
            });
            ended.expect("the devices run");
        });
        Self { flyball, devices: plan.devices, told, stop, running: Some(running), _nat: nat, _runtime: runtime }
    }

    pub(crate) fn heartbeat(&self) -> SocketAddr {
        self.flyball.address("heartbeat")
    }

    /// The cohort as the API tells it.
    pub(crate) fn cohort(&self, name: &str) -> Option<serde_json::Value> {
        let cohorts = http::get_json(self.flyball.admin, "/api/v1/cohorts")?;
        cohorts.as_array()?.iter().find(|cohort| cohort["cohort"] == name).cloned()
    }

    pub(crate) fn metrics(&self) -> String {
        http::get(self.flyball.admin, "/metrics").map(|(_, body)| body).unwrap_or_default()
    }

    /// What every device was told last, on the wire.
    pub(crate) fn intervals(&self) -> Vec<Duration> {
        let told = self.told.lock().expect("not poisoned");
        (0..self.devices).map(|i| told.get(&i).copied().unwrap_or_default()).collect()
    }

    /// SIGKILL, and another process in its place.
    pub(crate) fn is_killed_and_starts_again(&mut self) {
        let home = self.flyball.shared_home();
        self.flyball.child.0.kill().expect("it runs");
        self.flyball.child.0.wait().expect("it ends");
        self.flyball = Flyball::start_in(&home);
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.flyball.admin
    }

    /// Another fleet file, in force.
    pub(crate) fn replace_fleet(&self, fleet: &str) {
        self.flyball.home().write("policies/fleet.yaml", fleet);
        self.reload();
    }

    /// Another floor in the fleet file.
    pub(crate) fn write_fleet(&self, floor: &str) {
        self.flyball.home().write("policies/fleet.yaml", &fleet(floor));
    }

    pub(crate) fn reload(&self) {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(self.flyball.child.0.id()).expect("a pid")),
            nix::sys::signal::Signal::SIGHUP,
        )
        .expect("it runs");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

fn fleet(floor: &str) -> String {
    format!(
        "fleet: gateways\ncohort_by: [carrier]\ninterval: {{min: {floor}, max: 60s}}\nsecond_ack: 400ms\nprobes: {{packets_per_day: 100000}}\n"
    )
}

fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").port()
}

fn device(i: usize, to: SocketAddr) -> UdpDevice {
    let id: DeviceId = format!("device-{i}").parse().expect("an id");
    let bounds = Bounds::new(Duration::from_millis(400), Duration::from_secs(60)).expect("in order");
    let mut settings = Settings { bounds, ..Settings::new(id, 1) };
    settings.initial.interval = bounds.min();
    let machine = Machine::new(settings, Memory { boot: 1, pace: None }, Duration::ZERO);
    let region = if i.is_multiple_of(2) { "north" } else { "south" };
    let labels: DeviceLabels = format!("carrier=a,region={region}").parse().expect("labels");
    UdpDevice::new(Endpoint::new(machine, MacKey::new(&derive(&MASTER, 1, id)), &labels), to.to_string())
}
