//! A server whose alarms take seconds, and its devices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::labels::DeviceLabels;
use flyball_sdk::device::machine::{Bounds, Machine, Memory, Settings};
use flyball_sdk::device::udp::{FleetHandle, UdpDevice, UdpFleet};

use crate::support::child::wait_for;
use crate::support::flyball::{Flyball, Home};
use crate::support::http;

const MASTER: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
pub(crate) const COHORT: &str = "carrier=a,region=north";
/// The pace stays at the floor: nothing is tested.
const FLEET: &str = "fleet: gateways\ninterval: {min: 400ms, max: 60s}\nprobes: {flows: 0}\n";

/// A running server.
pub(crate) struct Bed {
    pub(crate) flyball: Flyball,
}

/// Devices that beat until they are dropped.
pub(crate) struct Devices {
    stop: FleetHandle,
    running: Option<JoinHandle<()>>,
}

impl Bed {
    /// With this `alerts` (YAML of the key), alarms after so long on end, and a secret in the file `secret`.
    pub(crate) fn start(alerts: &str, lasting: &str) -> Self {
        Self::start_at(alerts, lasting, "127.0.0.1:0".parse().expect("an address"))
    }

    /// The same with a state folder, where another process finds its devices again.
    pub(crate) fn start_durable(alerts: &str, lasting: &str) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        drop(socket);
        Self::start_at(alerts, lasting, address)
    }

    fn start_at(alerts: &str, lasting: &str, heartbeat: SocketAddr) -> Self {
        let home = Arc::new(Home::new("{scrape: {targets: ['http://127.0.0.1:9/metrics']}}", ""));
        std::fs::remove_file(home.path().join("policies/shop.yaml")).expect("there");
        home.write("policies/fleet.yaml", &format!("{FLEET}alarm: {{p99_gap: 1.5, for: {lasting}}}\n"));
        let digits: String = MASTER.iter().map(|byte| format!("{byte:02x}")).collect();
        home.write("keys", &format!("1:{digits}\n"));
        home.write("secret", "correct horse\n");
        home.configure(&format!("fleet: {{heartbeat: '{heartbeat}', master_key_file: keys}}\n"));
        if heartbeat.port() != 0 {
            home.configure("state: {path: state}\n");
        }
        home.configure(&format!("alerts: {alerts}\n"));
        Self { flyball: Flyball::start_in(&home) }
    }

    /// SIGKILL; what is returned starts another process in its place, after something else.
    pub(crate) fn kill(&mut self) -> Arc<Home> {
        self.flyball.child.0.kill().expect("it runs");
        self.flyball.child.0.wait().expect("it ends");
        self.flyball.shared_home()
    }

    /// The alarms that the API tells of.
    pub(crate) fn alerts(&self) -> Vec<serde_json::Value> {
        let alerts = http::get_json(self.flyball.admin, "/api/v1/alerts");
        alerts.and_then(|alerts| alerts.as_array().cloned()).unwrap_or_default()
    }

    /// Devices with these numbers at their `boot`-th start, that accept no interval under `least`.
    pub(crate) fn devices(&self, numbers: std::ops::Range<usize>, boot: u32, least: Duration) -> Devices {
        let server = self.flyball.address("heartbeat");
        let devices = numbers.map(|i| device(i, boot, least, server)).collect();
        let mut fleet = UdpFleet::new(devices).expect("sockets");
        let stop = fleet.handle();
        let running = std::thread::spawn(move || fleet.run(|_, _| {}).expect("the devices run"));
        Devices { stop, running: Some(running) }
    }

    /// Waits until so many are there, by the server's own count.
    pub(crate) fn wait_for_devices(&self, count: u64) {
        wait_for("the devices to be there", Duration::from_secs(30), || {
            let cohorts = http::get_json(self.flyball.admin, "/api/v1/cohorts")?;
            let cohort = cohorts.as_array()?.iter().find(|cohort| cohort["cohort"] == COHORT)?.clone();
            (cohort["devices"].as_u64() == Some(count)).then_some(())
        });
    }

    pub(crate) fn metrics(&self) -> String {
        http::get(self.flyball.admin, "/metrics").map(|(_, body)| body).unwrap_or_default()
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

fn device(i: usize, boot: u32, least: Duration, to: SocketAddr) -> UdpDevice {
    let id: DeviceId = format!("device-{i}").parse().expect("an id");
    let bounds = Bounds::new(least, Duration::from_secs(60)).expect("in order");
    let mut settings = Settings { bounds, ..Settings::new(id, 1) };
    settings.initial.interval = bounds.min();
    let machine = Machine::new(settings, Memory { boot, pace: None }, Duration::ZERO);
    let labels = format!("carrier=a,region=north,serial=SN-{i},firmware=4.{}", least.as_secs());
    let labels: DeviceLabels = labels.parse().expect("labels");
    UdpDevice::new(Endpoint::new(machine, MacKey::new(&derive(&MASTER, 1, id)), &labels), to.to_string())
}
