//! Gateways: what a session costs the server, and how soon one change is with all of them.
//!
//! The server is a process of its own (this program again), so that its memory is its own; the clients are one thread
//! here that speaks just enough HTTP/2. Two shapes: each session on a connection of its own, as gateways come, and a
//! hundred on a connection, as a proxy in front joins them.
//!
//! Budget: <= 30 KB of the server's memory a session (its resident set, with sessions less without, by sessions; what the
//! kernel takes for a socket is not in it); one change to 10,000 sessions: p99 <= 150 ms on two cores, from publication
//! to the order's arrival in the client, with the push rate out of the way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flyball::fleet::cohorts::CohortTable;
use flyball::fleet::grpc::{GatewayServer, GatewaySettings};
use flyball::fleet::keys::MasterKeys;
use flyball::fleet::wiring::Wiring;
use flyball::keepalive::cohort::{CohortKey, Transport};
use flyball::keepalive::order::{CohortOrder, Orders};
use flyball::proto::flyball_v1::{Ack, DeviceMessage, Hello, ServerMessage, device_message, server_message};
use flyball::serve::raise_nofile_limit;
use flyball::time::Clock;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::session::token;
use nix::time::{ClockId, clock_gettime};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Set in the environment of the server's process.
pub(crate) const SERVER: &str = "FLYBALL_BENCH_GATEWAYS";

const SESSIONS: usize = 10_000;
const CHANGES: usize = 10;
const SESSION_MAX_BYTES: f64 = 30_000.0;
const CHANGE_MAX: Duration = Duration::from_millis(150);

const MASTER: [u8; 32] = *b"a master key of thirty-two bytes";
const FIRST: u64 = 100;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const FRAME_HEAD_BYTES: usize = 9;

/// Both shapes.
pub(crate) fn run() {
    raise_nofile_limit().expect("a limit on open files");
    for sessions_per_connection in [1, 100] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(row(sessions_per_connection));
    }
}

async fn row(sessions_per_connection: usize) {
    let mut server = Server::start();
    // The first session brings what all share.
    let (told, mut orders) = mpsc::unbounded_channel();
    connect(server.address, &[SESSIONS], &told).await;
    arrivals(&mut orders, FIRST, 1).await;
    let before = server.memory_bytes();
    let numbers: Vec<usize> = (0..SESSIONS).collect();
    for numbers in numbers.chunks(sessions_per_connection) {
        connect(server.address, numbers, &told).await;
    }
    arrivals(&mut orders, FIRST, SESSIONS).await;
    let bytes = (server.memory_bytes() - before) / SESSIONS as f64;
    let mut slowest = Vec::new();
    let mut all = Vec::new();
    let cpu = server.cpu();
    for change in 1..=CHANGES {
        let generation = FIRST + change as u64;
        let published = server.publish(generation);
        let mut took: Vec<Duration> = arrivals(&mut orders, generation, SESSIONS + 1).await;
        took.iter_mut().for_each(|at| *at = at.saturating_sub(published));
        took.sort();
        slowest.push(took[SESSIONS * 99 / 100]);
        all.append(&mut took);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let cpu = (server.cpu() - cpu) / CHANGES as f64;
    all.sort();
    slowest.sort();
    let (p50, p99) = (all[all.len() / 2], slowest[CHANGES / 2]);
    println!(
        "gateways  {SESSIONS} sessions, {sessions_per_connection} a connection: {:.1} KB a session; one change to all: \
         p50 {:.0} ms, p99 {:.0} ms (median of {CHANGES}; best {:.0}, worst {:.0}), {:.0} ms of processor",
        bytes / 1e3,
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        slowest[0].as_secs_f64() * 1e3,
        slowest[CHANGES - 1].as_secs_f64() * 1e3,
        cpu * 1e3,
    );
    let verdict = |is_within| if is_within { "within" } else { "MISSES" };
    println!(
        "          {} the budget of {:.0} KB a session",
        verdict(bytes <= SESSION_MAX_BYTES),
        SESSION_MAX_BYTES / 1e3
    );
    println!("          {} the budget of {} ms", verdict(p99 <= CHANGE_MAX), CHANGE_MAX.as_millis());
}

/// When each of `count` sessions received this generation.
async fn arrivals(
    orders: &mut mpsc::UnboundedReceiver<(u64, Duration)>,
    generation: u64,
    count: usize,
) -> Vec<Duration> {
    let mut came = Vec::with_capacity(count);
    while came.len() < count {
        let (told, at) = orders.recv().await.expect("the connections live");
        if told == generation {
            came.push(at);
        }
    }
    came
}

/// The same clock in both processes.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock").into()
}

/// The server's process; ended by its own id.
struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.env(SERVER, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).expect("the server says where it is");
        let address = line.trim().parse().expect("an address");
        Self { child, input, output, address }
    }

    /// Publishes an order of this generation; when.
    fn publish(&mut self, generation: u64) -> Duration {
        writeln!(self.input, "{generation}").expect("the server reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the server answers");
        Duration::from_nanos(line.trim().parse().expect("a time"))
    }

    fn memory_bytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident set");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1_024.0
    }

    /// Seconds of processor time so far.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it lives");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks: f64 = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<f64>().expect("ticks")).sum();
        ticks / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's process: publishes what it reads, until its input ends.
pub(crate) fn serve() {
    raise_nofile_limit().expect("a limit on open files");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let orders = Arc::new(ArcSwap::from_pointee(orders(FIRST)));
        let (changed, changes) = tokio::sync::watch::channel(FIRST);
        let (_commands, commanded) = mpsc::channel(1);
        let (observe, mut observations) = mpsc::channel(1_024);
        tokio::spawn(async move { while observations.recv().await.is_some() {} });
        let (cohorts, shared) = (Arc::new(CohortTable::new(Arc::default())), Arc::clone(&orders));
        let wiring = Wiring { orders: shared, changed: changes, commands: commanded, observations: observe, cohorts };
        let pushes_per_second = NonZeroU32::new(100_000_000).expect("not zero");
        let settings = GatewaySettings::on(SocketAddr::from(([127, 0, 0, 1], 0)));
        let settings = GatewaySettings { pushes_per_second, ..settings };
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
    let order = CohortOrder { key, pace, second_ack_after: None, tell_silences_from };
    Orders { generation, cohorts: vec![Arc::new(order)] }
}

/// Opens a connection with a session for each number, and leaves a task that acks their orders.
async fn connect(server: SocketAddr, numbers: &[usize], told: &mpsc::UnboundedSender<(u64, Duration)>) {
    let mut stream = TcpStream::connect(server).await.expect("the server listens");
    stream.set_nodelay(true).expect("an option");
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    frame(&mut out, WINDOW_UPDATE, 0, 0, &((1_u32 << 31) - 65_536).to_be_bytes());
    for (nth, number) in numbers.iter().enumerate() {
        let stream = u32::try_from(2 * nth + 1).expect("few streams");
        frame(&mut out, HEADERS, END_HEADERS, stream, &request_head());
        message(&mut out, stream, device_message::Kind::Hello(hello(*number)));
    }
    stream.write_all(&out).await.expect("written");
    tokio::spawn(follow(stream, told.clone()));
}

async fn follow(mut stream: TcpStream, told: mpsc::UnboundedSender<(u64, Duration)>) {
    let (mut input, mut out) = (Vec::with_capacity(4_096), Vec::new());
    while let Ok(1..) = stream.read_buf(&mut input).await {
        let at = now();
        let used = take(&input, &mut out, |generation| {
            // Whoever counted has ended.
            let _ = told.send((generation, at));
        });
        input.drain(..used);
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

/// Bytes of whole frames; tells the orders in them and acks what must be.
fn take(input: &[u8], out: &mut Vec<u8>, mut tell: impl FnMut(u64)) -> usize {
    let mut used = 0;
    while let Some(head) = input.get(used..used + FRAME_HEAD_BYTES) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let Some(payload) = input.get(used + FRAME_HEAD_BYTES..used + FRAME_HEAD_BYTES + length) else { break };
        match (head[3], head[4]) {
            (DATA, _) => {
                let message = ServerMessage::decode(&payload[5..]).expect("one message a frame");
                let Some(server_message::Kind::Order(order)) = message.kind else { panic!("an order: {message:?}") };
                tell(order.generation);
                self::message(out, stream, device_message::Kind::Ack(Ack { generation: order.generation }));
            }
            (SETTINGS, 0) => frame(out, SETTINGS, ACK, 0, &[]),
            (GOAWAY, _) => panic!("the server refuses: {payload:?}"),
            _ => {}
        }
        used += FRAME_HEAD_BYTES + length;
    }
    used
}

fn hello(number: usize) -> Hello {
    let device = DeviceId((number as u128 + 1).to_be_bytes());
    let token = token(&MacKey::new(&derive(&MASTER, 1, device)), device, 1).to_vec();
    let labels = BTreeMap::from([("carrier", "a"), ("region", "eu-west"), ("model", "gateway-3")]);
    let labels = labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let device_id = device.0.to_vec();
    Hello { device_id, key_id: 1, boot: 1, token, labels, ..Hello::default() }
}

fn message(out: &mut Vec<u8>, stream: u32, kind: device_message::Kind) {
    let message = DeviceMessage { kind: Some(kind) }.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    frame(out, DATA, 0, stream, &[&[0][..], &length, &message].concat());
}

/// An HPACK block (RFC 7541) of indexed fields and literals that touch no dynamic table.
fn request_head() -> Vec<u8> {
    let mut head = vec![0x83, 0x86]; // :method POST, :scheme http
    literal(&mut head, &[0x04], "/flyball.v1.Keepalive/Watch");
    literal(&mut head, &[0x01], "localhost");
    literal(&mut head, &[0x0f, 0x10], "application/grpc");
    literal(&mut head, b"\x00\x02te", "trailers");
    head
}

fn literal(head: &mut Vec<u8>, name: &[u8], value: &str) {
    head.extend_from_slice(name);
    head.push(u8::try_from(value.len()).expect("a short value"));
    head.extend_from_slice(value.as_bytes());
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short payload");
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
