//! The gateways' server, as a process.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flyball::fleet::cohorts::CohortTable;
use flyball::fleet::grpc::{GatewayServer, GatewaySettings};
use flyball::fleet::keys::MasterKeys;
use flyball::fleet::wiring::{COMMANDS_QUEUE, OBSERVATIONS_QUEUE, Wiring};
use flyball::keepalive::cohort::{CohortKey, Transport};
use flyball::keepalive::order::{CohortOrder, Orders};
use flyball::time::Clock;
use flyball_sdk::device::jitter::Pace;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{FIRST, now};
use crate::fleet::MASTER;
use crate::thread;

/// Set in the environment of the server's process.
const ASKED_FOR: &str = "FLYBALL_BENCH_GATEWAYS";
/// As on a machine of two cores.
const WORKERS: usize = 2;

/// Whether this process is to be the server.
pub(crate) fn is_asked_for() -> bool {
    env::var_os(ASKED_FOR).is_some()
}

/// The other end of it; ended by its own id.
pub(super) struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(super) address: SocketAddr,
}

impl Server {
    pub(super) fn start() -> Self {
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.env(ASKED_FOR, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut output = BufReader::new(output);
        let address = line(&mut output).parse().expect("an address");
        Self { child, input, output, address }
    }

    /// Publishes an order of this generation; when.
    pub(super) fn publish(&mut self, generation: u64) -> Duration {
        writeln!(self.input, "{generation}").expect("the server reads");
        Duration::from_nanos(line(&mut self.output).parse().expect("a time"))
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        thread::memory_bytes(&self.child.id().to_string(), "VmRSS:")
    }

    /// Processor time so far, of all its threads.
    pub(super) fn processor(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it lives").flatten();
        tasks.map(|task| thread::spent(&task.path())).sum()
    }
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("the server answers");
    line.trim().to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's process: publishes what it reads, until its input ends.
pub(crate) fn run() {
    flyball::serve::raise_nofile_limit().expect("a limit on open files");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let orders = Arc::new(ArcSwap::from_pointee(orders(FIRST)));
        let (changed, changes) = watch::channel(FIRST);
        let (_commands, commands) = mpsc::channel(COMMANDS_QUEUE);
        let (observe, mut observations) = mpsc::channel(OBSERVATIONS_QUEUE);
        tokio::spawn(async move { while observations.recv().await.is_some() {} });
        let (cohorts, shared) = (Arc::new(CohortTable::new(Arc::default())), Arc::clone(&orders));
        let wiring = Wiring { orders: shared, changed: changes, commands, observations: observe, cohorts };
        let settings = GatewaySettings::on(SocketAddr::from(([127, 0, 0, 1], 0)));
        let keys = Arc::new(MasterKeys::one(1, MASTER));
        let server = GatewayServer::bind(settings, wiring, keys, Clock::start()).expect("a free port");
        println!("{}", server.local_addr());
        tokio::spawn(server.run(CancellationToken::new()));
        let publish = move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                let generation: u64 = line.trim().parse().expect("a generation");
                orders.store(Arc::new(self::orders(generation)));
                println!("{}", now().as_nanos());
                changed.send_replace(generation);
            }
        };
        tokio::task::spawn_blocking(publish).await.expect("it reads");
    });
}

fn orders(generation: u64) -> Orders {
    let interval = Duration::from_millis(80_000 + generation);
    let pace = Pace { generation, interval, jitter: 64, retry: 0, is_hostile: false };
    let key = CohortKey { name: "unknown".into(), transport: Transport::Tcp };
    let tell_silences_from = Duration::from_secs(10);
    let order = CohortOrder { key, pace, second_ack_after: None, tell_silences_from, tell_beats: None };
    Orders { generation, cohorts: vec![Arc::new(order)] }
}
