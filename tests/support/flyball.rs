//! A running `flyball run`, configured in a folder of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::child::{Reaped, wait_for};
use super::http;

/// A running server, its addresses and what it logged.
pub struct Flyball {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    pub child: Reaped,
    pub log: Arc<Mutex<Vec<String>>>,
    home: Arc<Home>,
}

/// A folder with a configuration on free ports and its policies.
pub struct Home(tempfile::TempDir);

impl Home {
    /// With this source (YAML of the `source` key) and one policy.
    pub fn new(source: &str, policy: &str) -> Self {
        let home = Self(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(home.path().join("policies")).expect("made");
        home.configure(&format!(
            "source: {source}\nserve: {{http: '127.0.0.1:0', grpc: ['127.0.0.1:0']}}\nadmin: {{listen: '127.0.0.1:0'}}\n\
             log: {{format: json}}\n"
        ));
        home.write("policies/shop.yaml", policy);
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Replaces a file.
    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path().join(file), text).expect("written");
    }

    /// Adds lines to the configuration.
    pub fn configure(&self, lines: &str) {
        let file = self.path().join("flyball.yaml");
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(file, before + lines).expect("written");
    }

    /// `flyball run` with this configuration, not started yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command.arg("run").arg("--config").arg(self.path().join("flyball.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

impl Flyball {
    /// Starts it with this source (YAML of the `source` key) and one policy, on free ports.
    pub fn start(source: &str, policy: &str) -> Self {
        Self::start_in(&Arc::new(Home::new(source, policy)))
    }

    /// Starts it with the configuration of `home`.
    pub fn start_in(home: &Arc<Home>) -> Self {
        let mut child = home.command().spawn().expect("flyball starts");
        let log = follow(child.stderr.take().expect("piped"));
        let child = Reaped(child);
        let addresses = wait_for("flyball to listen", Duration::from_secs(20), || listening(&log));
        let [http, grpc, admin] = ["http", "grpc", "admin"].map(|protocol| addresses[protocol]);
        Self { http, grpc, admin, child, log, home: Arc::clone(home) }
    }

    /// Where it said that it listens for this protocol.
    pub fn address(&self, protocol: &str) -> SocketAddr {
        listening(&self.log).and_then(|addresses| addresses.get(protocol).copied()).expect("it said so")
    }

    /// The same, for who starts it again.
    #[allow(dead_code)]
    pub fn shared_home(&self) -> Arc<Home> {
        Arc::clone(&self.home)
    }

    /// Where its files are.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What a client of `service` is told.
    pub fn probability(&self, service: &str) -> Option<f64> {
        probability(self.http, service)
    }

    /// The inputs of the newest decision on `service`.
    pub fn inputs(&self, service: &str) -> Option<serde_json::Value> {
        let rows = http::get_json(self.admin, &format!("/api/v1/decisions/{service}"))?;
        rows.get(0)?.get("inputs").cloned()
    }

    /// Reasons for which it is degraded; `None` unless `/readyz` answers 200.
    pub fn degraded(&self) -> Option<Vec<String>> {
        serde_json::from_value(http::get_json(self.admin, "/readyz")?.get("degraded")?.clone()).ok()
    }
}

/// What a client of `service` is told at this address.
pub fn probability(http: SocketAddr, service: &str) -> Option<f64> {
    let answer = http::get_json(http, &format!("/sampling?service={service}"))?;
    answer.get("probabilisticSampling")?.get("samplingRate")?.as_f64()
}

/// What a child says, line by line.
pub fn follow(stderr: ChildStderr) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines.lock().expect("not poisoned").push(line);
        }
    });
    log
}

/// The addresses by protocol, once all are said.
fn listening(log: &Mutex<Vec<String>>) -> Option<HashMap<String, SocketAddr>> {
    let mut addresses = HashMap::new();
    for line in log.lock().expect("not poisoned").iter() {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let fields = event.get("fields").unwrap_or(&event);
        let text = |key: &str| fields.get(key).and_then(|v| v.as_str());
        if let (Some("listening"), Some(protocol), Some(address)) = (text("message"), text("protocol"), text("address"))
        {
            addresses.insert(protocol.to_owned(), address.parse().ok()?);
        }
    }
    ["http", "grpc", "admin"].iter().all(|p| addresses.contains_key(*p)).then_some(addresses)
}
