//! A server, and devices of it as child processes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use flyball::fleet::cohorts::CohortTable;
use flyball::fleet::heartbeat::server::HeartbeatServer;
use flyball::fleet::heartbeat::settings::Settings;
use flyball::fleet::keys::MasterKeys;
use flyball::fleet::wiring::Wiring;
use flyball::keepalive::cohort::{CohortKey, Labels, Transport, UNKNOWN};
use flyball::keepalive::observation::Observation;
use flyball::keepalive::order::{CohortOrder, DeviceCommand, DeviceOrder, Orders};
use flyball::time::Clock;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::key::derive;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::support::child::{Reaped, wait_for};

/// What every device is told.
pub(super) const INTERVAL: Duration = Duration::from_millis(2_400);
/// For anything to happen.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

const MASTER: [u8; 32] = *b"a master key of thirty-two bytes";
const ID: &str = "gateway-1";

/// A server that runs until this is dropped.
pub(super) struct Bench {
    server: SocketAddr,
    folder: tempfile::TempDir,
    cohorts: Arc<CohortTable>,
    commands: mpsc::Sender<Vec<DeviceCommand>>,
    observations: mpsc::Receiver<Vec<Observation>>,
    seen: Vec<Observation>,
    _runtime: tokio::runtime::Runtime,
    _shutdown: tokio_util::sync::DropGuard,
    _changed: watch::Sender<u64>,
}

/// A device, and what it said.
pub(super) struct Device {
    child: Reaped,
    lines: Arc<Mutex<Vec<serde_json::Value>>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let settings = Settings { workers: Some(1), ..Settings::new("127.0.0.1:0".parse().expect("an address")) };
        let keys = Arc::new(MasterKeys::one(3, MASTER));
        let server = HeartbeatServer::bind(&settings, keys, Arc::default(), Clock::start()).expect("bound");
        let (commands, ordered) = mpsc::channel(16);
        let (told, observations) = mpsc::channel(1_024);
        let (changed, watched) = watch::channel(0);
        let cohorts = Arc::new(CohortTable::new(Arc::default()));
        let wiring = Wiring {
            orders: Arc::new(ArcSwap::from_pointee(orders())),
            changed: watched,
            commands: ordered,
            observations: told,
            cohorts: Arc::clone(&cohorts),
        };
        let (address, shutdown) = (server.local_addr(), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("made");
        runtime.spawn(server.run(wiring, shutdown.clone()));
        let folder = tempfile::tempdir().expect("a folder");
        let key: String =
            derive(&MASTER, 3, ID.parse().expect("an id")).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(folder.path().join("key"), format!("3:{key}\n")).expect("written");
        Self {
            server: address,
            folder,
            cohorts,
            commands,
            observations,
            seen: Vec::new(),
            _runtime: runtime,
            _shutdown: shutdown.drop_guard(),
            _changed: changed,
        }
    }

    /// Where its devices keep their memory.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Starts the device.
    pub(super) fn device(&self, more: &[&str]) -> Device {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command.args(["device", "--json", "--id", ID, "--min", "200ms", "--server", &self.server.to_string()]);
        command.arg("--key-file").arg(self.folder.path().join("key")).arg("--state").arg(self.state()).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("flyball starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                said.lock().expect("not poisoned").push(serde_json::from_str(&line).expect("a JSON line"));
            }
        });
        Device { child: Reaped(child), lines }
    }

    /// Orders something of the device, which is of the one cohort that there is without fleets.
    pub(super) fn command(&self, order: DeviceOrder) {
        let device: DeviceId = ID.parse().expect("an id");
        let cohort = self.cohorts.resolve(&Labels::new(), Transport::Udp);
        let command = DeviceCommand { device, cohort, order, is_urgent: false };
        self.commands.try_send(vec![command]).expect("room for it");
    }

    /// Everything that the loop was told so far.
    pub(super) fn observed(&mut self) -> Vec<Observation> {
        while let Ok(batch) = self.observations.try_recv() {
            self.seen.extend(batch);
        }
        self.seen.clone()
    }
}

impl Device {
    /// Events of this name so far.
    pub(super) fn count(&self, event: &str) -> usize {
        self.lines.lock().expect("not poisoned").iter().filter(|line| line["event"] == event).count()
    }

    /// The first event of this name.
    pub(super) fn find(&self, event: &str) -> Option<serde_json::Value> {
        self.lines.lock().expect("not poisoned").iter().find(|line| line["event"] == event).cloned()
    }

    /// Ends it by SIGTERM, and gives its status.
    pub(super) fn stop(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(self.child.0.id().try_into().expect("a process id"));
        kill(pid, Signal::SIGTERM).expect("it runs");
        wait_for("the device to end", LIMIT, || self.child.0.try_wait().expect("a child")).code()
    }
}

fn orders() -> Orders {
    let generation = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
    let generation = u64::try_from(generation).expect("soon enough");
    let pace = Pace { generation, interval: INTERVAL, jitter: 64, retry: 25, is_hostile: false };
    let order = CohortOrder {
        key: CohortKey { name: UNKNOWN.into(), transport: Transport::Udp },
        pace,
        second_ack_after: Some(Duration::from_millis(100)),
        tell_silences_from: Duration::ZERO,
        tell_beats: None,
    };
    Orders { generation, cohorts: vec![Arc::new(order)] }
}
