//! A running `flyball run`, configured in a folder of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::child::{Reaped, wait_for};
use super::http;

/// A running server, its addresses and what it logged.
pub struct Flyball {
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub child: Reaped,
    pub log: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

impl Flyball {
    /// Starts it with this source (YAML of the `source` key) and one policy, on free ports.
    pub fn start(source: &str, policy: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "source: {source}\nserve: {{http: '127.0.0.1:0', grpc: ['127.0.0.1:0']}}\nadmin: {{listen: '127.0.0.1:0'}}\n\
             log: {{format: json}}\n"
        );
        std::fs::write(folder.path().join("flyball.yaml"), config).expect("written");
        std::fs::create_dir(folder.path().join("policies")).expect("made");
        std::fs::write(folder.path().join("policies/shop.yaml"), policy).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_flyball"))
            .arg("run")
            .arg("--config")
            .arg(folder.path().join("flyball.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("flyball starts");
        let log = follow(child.stderr.take().expect("piped"));
        let child = Reaped(child);
        let addresses = wait_for("flyball to listen", Duration::from_secs(20), || listening(&log));
        Self { http: addresses["http"], admin: addresses["admin"], child, log, _folder: folder }
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

fn follow(stderr: ChildStderr) -> Arc<Mutex<Vec<String>>> {
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
