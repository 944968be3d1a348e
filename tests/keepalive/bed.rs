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
const MASTER: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

pub(crate) struct Bed {
    flyball: Flyball,
    told: Arc<Mutex<BTreeMap<usize, Duration>>>,
    stop: FleetHandle,
    running: Option<JoinHandle<()>>,
    _nat: Nat,
    _runtime: tokio::runtime::Runtime,
}

impl Bed {
    /// Devices that beat through a NAT to a server that knows nothing of it.
    pub(crate) fn start() -> Self {
        let home = Arc::new(Home::new("{scrape: {targets: ['http://127.0.0.1:9/metrics']}}", ""));
        std::fs::remove_file(home.path().join("policies/shop.yaml")).expect("there");
        home.write("policies/fleet.yaml", &fleet(FLOOR));
        let digits: String = MASTER.iter().map(|byte| format!("{byte:02x}")).collect();
        home.write("keys", &format!("1:{digits}\n"));
        home.configure("fleet: {heartbeat: '127.0.0.1:0', master_key_file: keys}\n");
        let flyball = Flyball::start_in(&home);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let rules = Rules { unreplied: KEPT, stream: KEPT, is_port_kept: false };
        let server = flyball.address("heartbeat");
        let nat = runtime.block_on(Nat::start(rules, Ipv4Addr::new(127, 84, 0, 1), server)).expect("a NAT");
        let mut fleet = UdpFleet::new((0..DEVICES).map(|i| device(i, nat.inside())).collect()).expect("sockets");
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
        Self { flyball, told, stop, running: Some(running), _nat: nat, _runtime: runtime }
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
        (0..DEVICES).map(|i| told.get(&i).copied().unwrap_or_default()).collect()
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

fn device(i: usize, to: SocketAddr) -> UdpDevice {
    let id: DeviceId = format!("device-{i}").parse().expect("an id");
    let bounds = Bounds::new(Duration::from_millis(400), Duration::from_secs(60)).expect("in order");
    let mut settings = Settings { bounds, ..Settings::new(id, 1) };
    settings.initial.interval = bounds.min();
    let machine = Machine::new(settings, Memory { boot: 1, pace: None }, Duration::ZERO);
    let labels: DeviceLabels = "carrier=a".parse().expect("labels");
    UdpDevice::new(Endpoint::new(machine, MacKey::new(&derive(&MASTER, 1, id)), &labels), to.to_string())
}
