//! A live admin socket over snapshots made by hand, and the few HTTP words that the tests speak.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use flyball::admin::{Admin, AdminState, ConfigPaths, FleetState};
use flyball::config::AdminConfig;
use flyball::controller::keepalive::CohortReports;
use flyball::controller::snapshot::{Published, Snapshot};
use flyball::fleet::down::DoorsDown;
use flyball::sampling::decision::{
    BudgetReason, Decided, OperationDecision, PolicyDecision, PolicyInputs, Reason, ServiceDecision,
};
use flyball::sampling::local::LocalShare;
use flyball::sampling::policy::Policy;
use flyball::sampling::probability::Probability;
use flyball::telemetry::metrics::Metrics;
use flyball::time::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A name that breaks whatever does not escape it.
pub(crate) const HOSTILE: &str = "\"><script>alert(1)</script>\\\n{x=\"y\"} 1\u{1b}[2J\u{202e}'&é/..%2f";

pub(crate) struct Bed {
    pub(crate) published: Arc<Published>,
    pub(crate) cohorts: CohortReports,
    pub(crate) doors: DoorsDown,
    pub(crate) metrics: Metrics,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Bed {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self::with_token_file(snapshot, None)
    }

    pub(crate) fn with_token_file(snapshot: Snapshot, token_file: Option<PathBuf>) -> Self {
        Self::with_fleet(snapshot, FleetState::default(), token_file)
    }

    /// Its reloads fail while a policy named `broken` is published, and else succeed.
    pub(crate) fn with_fleet(snapshot: Snapshot, fleet: FleetState, token_file: Option<PathBuf>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (reload, mut requests) = mpsc::channel::<flyball::admin::ReloadRequest>(1);
        let published = Arc::new(Published::new(snapshot));
        let state = AdminState {
            fleet,
            monitor: flyball::monitor::board::Board::default(),
            published: Arc::clone(&published),
            metrics: Metrics::default(),
            reload,
            clock: Clock::start(),
            version: "1.2.3-test",
            paths: ConfigPaths { policies: "policies".into(), ..ConfigPaths::default() },
        };
        let metrics = state.metrics.clone();
        let (cohorts, doors) = (state.fleet.cohorts.clone(), state.fleet.down.clone());
        let config = AdminConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), token_file };
        let admin = Admin::bind(&config, state).expect("a free port");
        let (address, stop) = (admin.local_addr(), CancellationToken::new());
        runtime.spawn(admin.run(stop.clone()));
        let current = Arc::clone(&published);
        runtime.spawn(async move {
            while let Some(reply) = requests.recv().await {
                let is_broken = current.load().decisions.iter().any(|policy| &*policy.policy == "broken");
                let result = if is_broken { Err("broken.yaml:3: no".to_owned()) } else { Ok("2 policies".to_owned()) };
                reply.send(result).expect("the admin room waits");
            }
        });
        Self { published, cohorts, doors, metrics, address, stop, runtime: Some(runtime) }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[])
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        ask(self.address, method, path, headers).expect("an answer")
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address).expect("the admin socket listens")
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One request on a connection of its own; `Host` is the address unless given.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<Reply> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut stream = connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(Reply::parse(&bytes))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let split = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..split].to_vec()).expect("an ASCII head").to_lowercase();
        let body = &bytes[split + 4..];
        let body = if head.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_vec() };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head, body: String::from_utf8(body).expect("a UTF-8 body") }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).expect("ASCII"), 16).expect("hex");
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
}

/// `flyball explain` with these arguments, without the environment's opinions.
pub(crate) fn explain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flyball"))
        .arg("explain")
        .args(arguments)
        .env_remove("FLYBALL_ADMIN")
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .expect("the binary runs")
}

pub(crate) fn snapshot(decisions: Vec<PolicyDecision>) -> Snapshot {
    let mut snapshot = Snapshot::empty(1_795_000_000_000, Clock::start().now().wall);
    snapshot.policies = decisions.iter().map(|policy| Arc::new(Policy::with_defaults(&policy.policy))).collect();
    snapshot.decisions = decisions.into_iter().map(Arc::new).collect();
    snapshot
}

pub(crate) fn shop() -> Snapshot {
    let services = vec![service("checkout", 0.25, Reason::Share), service("search", 0.1, Reason::DeadBand)];
    snapshot(vec![policy("shop", services)])
}

pub(crate) fn hostile() -> Snapshot {
    let mut hostile = service(HOSTILE, 0.5, Reason::AtMax);
    hostile.operations[0].operation = HOSTILE.into();
    snapshot(vec![policy("shop", vec![hostile])])
}

pub(crate) fn policy(name: &str, services: Vec<ServiceDecision>) -> PolicyDecision {
    PolicyDecision {
        policy: name.into(),
        decided_at: Clock::start().now().wall,
        inputs: PolicyInputs {
            demand_per_second: Some(4_120.0),
            received_per_second: Some(6_020.0),
            loss_ratio: Some(0.0021),
            budget_spans_per_second: Some(6_000.0),
            budget_reason: BudgetReason::Probing,
            spans_per_trace: Some(8.1),
            age: Some(Duration::from_secs(3)),
        },
        services,
        stranger: Probability::saturating(0.1),
        degraded: None,
    }
}

pub(crate) fn service(name: &str, probability: f64, reason: Reason) -> ServiceDecision {
    let rate = rate(probability, reason);
    ServiceDecision {
        service: name.into(),
        rate,
        demand_per_second: Some(500.0),
        share_spans_per_second: Some(1_012.0),
        local: Some(LocalShare { expected_traces_per_second: 125.0, share_traces_per_second: 150.0 }),
        operations: vec![
            OperationDecision { operation: "GET /cart/{id}".into(), rate, demand_per_second: Some(400.0) },
            OperationDecision { operation: "POST /order".into(), rate, demand_per_second: Some(100.0) },
        ],
    }
}

pub(crate) fn rate(probability: f64, reason: Reason) -> Decided {
    let probability = Probability::saturating(probability);
    Decided { probability, served: probability, reason }
}
