//! The field: carriers with the kernel's own NAT, and the real binary behind them with the real monitor on its uplink.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flyball::lab::{Carrier, Device, Lab, Nat, SERVER, UPLINK};
use flyball_sdk::device::id::DeviceId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::child::{Reaped, wait_for};
use crate::support::flyball::{Home, follow};
use crate::support::http;

/// Where heartbeats go.
pub(crate) const PORT: u16 = 5783;
/// The lab's operators are answered inside of the server's namespace only.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5780);
const MASTER_KEY: &str = "1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
/// The same, as bytes.
pub(crate) const MASTER: [u8; 32] = {
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < 32 {
        bytes[i] = i as u8;
        i += 1;
    }
    bytes
};

const POLICY: &str = "policy: shop
signals:
  demand: {query: 'sum by (service) (rate(requests_total[1m]))', service_label: service}
  received: {query: 'sum(rate(received_total[1m]))', unit: spans}
  dropped: {query: 'sum(rate(dropped_total[1m]))'}
";

/// Devices of one household at most: its thread waits for all their sockets at once, which costs their number each time.
const HOUSEHOLD_MAX: u16 = 64;

/// Everything that runs.
pub(crate) struct Bed {
    pub(crate) lab: Lab,
    pub(crate) households: Vec<Household>,
    carriers: Vec<Carrier>,
    server: Reaped,
    log: Arc<Mutex<Vec<String>>>,
    home: Home,
}

/// Devices of one carrier: sockets in one namespace, each with a binding of its own.
pub(crate) struct Household {
    pub(crate) carrier: &'static str,
    pub(crate) device: Device,
    numbers: Range<u16>,
}

/// A carrier to be made: its name, its NAT, and how many devices it has.
pub(crate) struct Plan {
    pub(crate) carrier: &'static str,
    pub(crate) nat: Nat,
    /// How long the NAT keeps what a beat and its ack make.
    pub(crate) kept: Duration,
    pub(crate) devices: u16,
}

impl Bed {
    /// Carriers by `plans`, and the server with these fleet files.
    pub(crate) fn start(plans: &[Plan], fleets: &[(&str, &str)]) -> Self {
        let lab = Lab::start().expect("a lab");
        let carriers: Vec<Carrier> = plans.iter().map(|plan| lab.carrier(&plan.nat).expect("a carrier")).collect();
        let of = plans.iter().zip(&carriers);
        let households = of.clone().flat_map(|(plan, carrier)| households(&lab, carrier, plan)).collect();
        let home = Home::new("{scrape: {targets: ['http://127.0.0.1:1/metrics']}}", POLICY);
        home.write("keys", MASTER_KEY);
        let mut prefixes = "prefix,carrier,region\n".to_owned();
        of.for_each(|(plan, carrier)| prefixes += &format!("{},{},eu\n", carrier.prefix(), plan.carrier));
        home.write("prefixes.csv", &prefixes);
        home.configure(&format!(
            "monitor: {{interfaces: [{UPLINK}], key: heartbeat, ports: [{PORT}], gap: 1s, devices: 20000}}\n\
             fleet: {{heartbeat: '{SERVER}:{PORT}', master_key_file: keys, prefixes: prefixes.csv}}\n",
        ));
        fleets.iter().for_each(|(name, text)| home.write(&format!("policies/{name}.yaml"), text));
        let config = std::fs::read_to_string(home.path().join("flyball.yaml")).expect("written");
        home.write(
            "flyball.yaml",
            &config.replace("admin: {listen: '127.0.0.1:0'}", &format!("admin: {{listen: '{ADMIN}'}}")),
        );
        let mut child = lab.server().spawn(&mut home.command()).expect("flyball starts");
        let log = follow(child.stderr.take().expect("piped"));
        let bed = Self { lab, households, carriers, server: Reaped(child), log, home };
        wait_for("the server", Duration::from_secs(20), || bed.get("/readyz"));
        assert_eq!(
            bed.get("/readyz").expect("ready")["degraded"].as_array().map(|why| why.iter().any(|why| why == "monitor")),
            Some(false),
            "{}",
            bed.logged()
        );
        bed
    }

    /// Every NAT forgets its bindings.
    pub(crate) fn reboot_nats(&self) {
        self.carriers.iter().for_each(|carrier| carrier.reboot().expect("a carrier"));
    }

    /// Other fleet files from now on, by SIGHUP.
    pub(crate) fn reload(&self, fleets: &[(&str, &str)]) {
        fleets.iter().for_each(|(name, text)| self.home.write(&format!("policies/{name}.yaml"), text));
        kill(Pid::from_raw(self.server.0.id() as i32), Signal::SIGHUP).expect("signalled");
    }

    /// The rows of `/api/v1/cohorts`.
    pub(crate) fn cohorts(&self) -> Vec<serde_json::Value> {
        self.get("/api/v1/cohorts").and_then(|rows| rows.as_array().cloned()).unwrap_or_default()
    }

    /// What the server logged.
    pub(crate) fn logged(&self) -> String {
        self.log.lock().expect("not poisoned").join("\n")
    }

    /// The counters of heartbeats.
    pub(crate) fn counters(&self) -> String {
        let metrics = self.lab.server().enter(|| http::get(ADMIN, "/metrics")).expect("entered");
        let text = metrics.map(|(_, text)| text).unwrap_or_default();
        let lines = text.lines().filter(|line| {
            line.starts_with("flyball_heartbeat") && !line.ends_with(" 0") && !line.contains("gap_seconds")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn get(&self, path: &str) -> Option<serde_json::Value> {
        self.lab.server().enter(|| http::get_json(ADMIN, path)).expect("entered")
    }
}

impl Household {
    /// Its devices.
    pub(crate) fn ids(&self) -> impl Iterator<Item = DeviceId> {
        self.numbers.clone().map(|number| format!("{}-{number}", self.carrier).parse().expect("an id"))
    }
}

fn households<'a>(lab: &'a Lab, carrier: &'a Carrier, plan: &'a Plan) -> impl Iterator<Item = Household> + 'a {
    (0..plan.devices).step_by(usize::from(HOUSEHOLD_MAX)).map(move |first| {
        let numbers = first..plan.devices.min(first + HOUSEHOLD_MAX);
        Household { carrier: plan.carrier, device: lab.device(carrier).expect("a household"), numbers }
    })
}
