//! The follower against real sockets: a small server whose behaviour each test scripts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::Timing;
use crate::proto::server::sampling_server::{Sampling, SamplingServer};
use crate::proto::server::{Operation, Strategy, UsageReply, UsageReport, WatchRequest};
use crate::{Connection, FlyballSampler, FlyballSamplerBuilder};

const DEADLINE: Duration = Duration::from_secs(20);

/// The defaults at a hundredth of the time, but patient enough for a busy machine.
fn quick() -> Timing {
    Timing {
        pause_min: Duration::from_millis(1),
        pause_first: Duration::from_millis(10),
        pause_max: Duration::from_millis(100),
        poll_interval: Duration::from_millis(100),
        report_interval: Duration::from_millis(50),
        patience: Duration::from_secs(5),
        ..Timing::default()
    }
}

fn strategy(generation: u64, probability: f64) -> Strategy {
    Strategy { generation, probability, ..Strategy::default() }
}

async fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn eventually_at(sampler: &FlyballSampler, connection: Connection, probability: f64) {
    let is_there = || sampler.status().connection == connection && sampler.status().probability == probability;
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < DEADLINE, "not {connection:?} at {probability}: {:?}", sampler.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A push server: says `first` to everyone who comes, then what is pushed.
#[derive(Debug, Default)]
struct Script {
    first: Mutex<Option<Strategy>>,
    is_unimplemented: AtomicBool,
    streams: Mutex<Vec<mpsc::Sender<Result<Strategy, Status>>>>,
    requests: Mutex<Vec<WatchRequest>>,
    reports: Mutex<Vec<UsageReport>>,
}

impl Script {
    fn push(&self, strategy: Strategy) {
        *self.first.lock().expect("lock") = Some(strategy.clone());
        for stream in self.streams.lock().expect("lock").iter() {
            stream.try_send(Ok(strategy.clone())).expect("an open stream");
        }
    }

    fn break_streams(&self) {
        self.streams.lock().expect("lock").clear();
    }

    fn open_streams(&self) -> usize {
        self.streams.lock().expect("lock").iter().filter(|stream| !stream.is_closed()).count()
    }

    fn request_count(&self) -> usize {
        self.requests.lock().expect("lock").len()
    }
}

struct Fake(Arc<Script>);

#[tonic::async_trait]
impl Sampling for Fake {
    type WatchStream = ReceiverStream<Result<Strategy, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if self.0.is_unimplemented.load(Ordering::SeqCst) {
            return Err(Status::unimplemented("no such service"));
        }
        let (sender, receiver) = mpsc::channel(16);
        if let Some(first) = self.0.first.lock().expect("lock").clone() {
            sender.try_send(Ok(first)).expect("room");
        }
        self.0.streams.lock().expect("lock").push(sender);
        self.0.requests.lock().expect("lock").push(request.into_inner());
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn report(&self, request: Request<UsageReport>) -> Result<Response<UsageReply>, Status> {
        self.0.reports.lock().expect("lock").push(request.into_inner());
        Ok(Response::new(UsageReply {}))
    }
}

struct PushServer {
    script: Arc<Script>,
    address: SocketAddr,
    _task: JoinHandle<()>,
}

impl PushServer {
    async fn start(first: Option<Strategy>) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), first).await
    }

    async fn start_at(address: SocketAddr, first: Option<Strategy>) -> Self {
        let script = Arc::new(Script { first: Mutex::new(first), ..Script::default() });
        let incoming = TcpIncoming::bind(address).expect("a free port");
        let address = incoming.local_addr().expect("bound");
        let service = SamplingServer::new(Fake(Arc::clone(&script)));
        let serving = async {
            Server::builder().add_service(service).serve_with_incoming(incoming).await.expect("serves");
        };
        Self { script, address, _task: tokio::spawn(serving) }
    }

    fn sampler(&self) -> FlyballSamplerBuilder {
        sampler_of(self.address)
    }
}

fn sampler_of(push: SocketAddr) -> FlyballSamplerBuilder {
    let nowhere = "http://127.0.0.1:9/sampling"; // the discard port: nothing listens there
    FlyballSampler::builder("shop")
        .endpoint(format!("http://{push}"))
        .polling_endpoint(nowhere)
        .initial_probability(0.125)
        .timing(quick())
}

/// Answers every request with the same bytes, and counts.
struct PollServer {
    url: String,
    answer: Arc<Mutex<Vec<u8>>>,
    polls: Arc<AtomicUsize>,
    first_lines: Arc<Mutex<Vec<String>>>,
}

impl PollServer {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/sampling", listener.local_addr().expect("bound"));
        let server =
            Self { url, answer: Arc::new(Mutex::new(answer)), polls: Arc::default(), first_lines: Arc::default() };
        let (answer, polls) = (Arc::clone(&server.answer), Arc::clone(&server.polls));
        let first_lines = Arc::clone(&server.first_lines);
        tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                let request = read_head(&mut peer).await;
                first_lines.lock().expect("lock").push(request.lines().next().unwrap_or_default().to_owned());
                let bytes = answer.lock().expect("lock").clone();
                let _ = peer.write_all(&bytes).await;
                polls.fetch_add(1, Ordering::SeqCst);
            }
        });
        server
    }

    fn set(&self, answer: Vec<u8>) {
        *self.answer.lock().expect("lock") = answer;
    }

    async fn two_more_polls(&self) {
        let before = self.polls.load(Ordering::SeqCst);
        eventually("two more polls", || self.polls.load(Ordering::SeqCst) >= before + 2).await;
    }
}

async fn read_head(peer: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match peer.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn uniform(probability: f64) -> Vec<u8> {
    http(
        "200 OK",
        &format!(r#"{{"strategyType":"PROBABILISTIC","probabilisticSampling":{{"samplingRate":{probability}}}}}"#),
    )
}

fn decide(sampler: &FlyballSampler, name: &str) -> bool {
    let result = sampler.should_sample(None, TraceId::from(rand::random::<u128>()), name, &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

#[tokio::test]
async fn a_pushed_strategy_is_in_force_at_once() {
    let server = PushServer::start(Some(strategy(1, 0.5))).await;
    let sampler = server.sampler().build().expect("valid");
    eventually_at(&sampler, Connection::Stream, 0.5).await;
    let pushed = Instant::now();
    server.script.push(Strategy {
        operations: vec![Operation { name: "GET /".to_owned(), probability: 1.0 }],
        ..strategy(2, 0.0)
    });
    eventually_at(&sampler, Connection::Stream, 0.0).await;
    assert!(pushed.elapsed() < Duration::from_secs(5), "{:?}", pushed.elapsed());
    assert_eq!((decide(&sampler, "GET /"), decide(&sampler, "GET")), (true, false));
    assert_eq!((sampler.status().generation, sampler.status().operations), (2, 1));
}

#[tokio::test]
async fn until_a_server_answers_the_initial_probability_is_in_force() {
    let server = PushServer::start(None).await;
    let sampler = server.sampler().build().expect("valid");
    eventually("a request", || server.script.request_count() == 1).await;
    let status = sampler.status();
    assert_eq!((status.connection, status.generation, status.probability), (Connection::Never, 0, 0.125));
    assert_eq!(
        server.script.requests.lock().expect("lock")[0],
        WatchRequest { service: "shop".to_owned(), generation: 0 }
    );
}

#[tokio::test]
async fn a_broken_stream_keeps_the_strategy_and_is_opened_again() {
    let server = PushServer::start(Some(strategy(7, 0.5))).await;
    let sampler = server.sampler().build().expect("valid");
    eventually_at(&sampler, Connection::Stream, 0.5).await;
    *server.script.first.lock().expect("lock") = None; // connected, and silent from now on
    server.script.break_streams();
    eventually("a second request", || server.script.request_count() == 2).await;
    eventually_at(&sampler, Connection::Lost, 0.5).await;
    assert_eq!(server.script.requests.lock().expect("lock")[1].generation, 7);
    assert!(sampler.status().last_error.is_some_and(|error| error.contains("ended the stream")));
    server.script.push(strategy(8, 0.25));
    eventually_at(&sampler, Connection::Stream, 0.25).await;
}

#[tokio::test]
async fn an_older_generation_and_nonsense_are_refused_and_the_stream_stays() {
    let server = PushServer::start(Some(strategy(7, 0.5))).await;
    let sampler = server.sampler().build().expect("valid");
    eventually_at(&sampler, Connection::Stream, 0.5).await;
    let last_error = || sampler.status().last_error.unwrap_or_default();
    for (refused, reason) in [(strategy(6, 1.0), "older"), (strategy(8, f64::NAN), "not a number")] {
        server.script.push(refused);
        eventually(reason, || last_error().contains(reason)).await;
        let status = sampler.status();
        assert_eq!((status.connection, status.generation, status.probability), (Connection::Stream, 7, 0.5));
    }
    server.script.push(strategy(7, 0.75));
    eventually_at(&sampler, Connection::Stream, 0.75).await;
    assert_eq!(server.script.request_count(), 1);
}

#[tokio::test]
async fn a_server_without_the_stream_is_polled_until_it_has_one() {
    let server = PushServer::start(Some(strategy(7, 0.5))).await;
    server.script.is_unimplemented.store(true, Ordering::SeqCst);
    let polled = PollServer::start(uniform(0.25)).await;
    let sampler = server.sampler().polling_endpoint(&polled.url).build().expect("valid");
    eventually_at(&sampler, Connection::Polling, 0.25).await;
    assert_eq!(polled.first_lines.lock().expect("lock")[0], "GET /sampling?service=shop HTTP/1.1");
    polled.set(uniform(0.375));
    eventually_at(&sampler, Connection::Polling, 0.375).await;
    server.script.is_unimplemented.store(false, Ordering::SeqCst);
    eventually_at(&sampler, Connection::Stream, 0.5).await;
}

#[tokio::test]
async fn an_unreachable_stream_is_replaced_by_polling_until_it_is_back() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = reserved.local_addr().expect("bound");
    drop(reserved);
    let polled = PollServer::start(uniform(0.25)).await;
    let sampler = sampler_of(address).polling_endpoint(&polled.url).build().expect("valid");
    eventually_at(&sampler, Connection::Polling, 0.25).await;
    let server = PushServer::start_at(address, Some(strategy(7, 0.5))).await;
    eventually_at(&sampler, Connection::Stream, 0.5).await;
    server.script.push(strategy(8, 0.75));
    eventually_at(&sampler, Connection::Stream, 0.75).await;
}

#[tokio::test]
async fn a_poll_that_fails_in_any_way_keeps_the_last_strategy() {
    let server = PushServer::start(None).await;
    server.script.is_unimplemented.store(true, Ordering::SeqCst);
    let polled = PollServer::start(uniform(0.25)).await;
    let sampler = server.sampler().polling_endpoint(&polled.url).build().expect("valid");
    eventually_at(&sampler, Connection::Polling, 0.25).await;
    let too_long = format!(r#"{{"x":"{}"}}"#, "x".repeat(5 << 20));
    for (answer, reason) in [
        (http("500 Internal Server Error", "oops"), "answered 500"),
        (http("200 OK", "<html>"), "not the JSON"),
        (http("200 OK", "{}"), "names no probability"),
        (http("200 OK", &too_long), "longer than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_vec(), "breaks off"),
        (Vec::new(), "cannot ask"),
    ] {
        polled.set(answer);
        polled.two_more_polls().await;
        eventually(reason, || sampler.status().last_error.is_some_and(|error| error.contains(reason))).await;
        let status = sampler.status();
        assert_eq!((status.connection, status.probability), (Connection::Lost, 0.25), "{reason}");
    }
    polled.set(uniform(0.5));
    eventually_at(&sampler, Connection::Polling, 0.5).await;
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = mute.local_addr().expect("bound");
    let polled = PollServer::start(uniform(0.25)).await;
    let timing = Timing { patience: Duration::from_millis(300), ..quick() };
    let sampler = sampler_of(address).polling_endpoint(&polled.url).timing(timing).build().expect("valid");
    eventually_at(&sampler, Connection::Polling, 0.25).await;
    eventually("the reason", || sampler.status().last_error.is_some_and(|error| error.contains("within"))).await;
    drop(mute);
}

#[tokio::test]
async fn a_dead_peer_is_noticed_by_its_missing_pings() {
    let server = PushServer::start(Some(strategy(7, 0.5))).await;
    let wire = Wire::to(server.address).await;
    let keepalive = Duration::from_millis(200);
    let timing =
        Timing { keepalive_interval: keepalive, keepalive_patience: keepalive, stream_tries: u32::MAX, ..quick() };
    let sampler = sampler_of(wire.address).timing(timing).build().expect("valid");
    eventually_at(&sampler, Connection::Stream, 0.5).await;
    wire.cut.send(true).expect("the wire is there");
    eventually_at(&sampler, Connection::Lost, 0.5).await;
    wire.cut.send(false).expect("the wire is there");
    eventually_at(&sampler, Connection::Stream, 0.5).await;
}

/// Forwards to a server; while cut, it swallows everything and closes nothing, as a dead route does.
struct Wire {
    address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Wire {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(upstream) = TcpStream::connect(server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), upstream.into_split());
                tokio::spawn(carry(from_client, to_server, is_cut.clone()));
                tokio::spawn(carry(from_server, to_client, is_cut.clone()));
            }
        });
        Self { address, cut }
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    is_cut: watch::Receiver<bool>,
) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !*is_cut.borrow() && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn the_follower_ends_with_the_last_clone() {
    let server = PushServer::start(Some(strategy(7, 0.5))).await;
    let sampler = server.sampler().build().expect("valid");
    let clone = sampler.clone();
    eventually_at(&sampler, Connection::Stream, 0.5).await;
    drop(sampler);
    server.script.push(strategy(8, 0.25));
    eventually_at(&clone, Connection::Stream, 0.25).await;
    assert_eq!(server.script.open_streams(), 1);
    drop(clone);
    eventually("no stream is open", || server.script.open_streams() == 0).await;
}

#[tokio::test]
async fn what_root_spans_were_named_is_reported() {
    let listed = ["GET /", "never"].map(|name| Operation { name: name.to_owned(), probability: 1.0 });
    let server = PushServer::start(Some(Strategy { operations: listed.to_vec(), ..strategy(7, 0.5) })).await;
    let sampler = server.sampler().build().expect("valid");
    eventually_at(&sampler, Connection::Stream, 0.5).await;
    for _ in 0..1_000 {
        decide(&sampler, "GET /");
        decide(&sampler, "POST");
    }
    eventually("a report", || !server.script.reports.lock().expect("lock").is_empty()).await;
    let reports = server.script.reports.lock().expect("lock").clone();
    let all = |names: fn(&UsageReport) -> &Vec<String>| {
        let names: std::collections::BTreeSet<String> =
            reports.iter().flat_map(|report| names(report).clone()).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    assert!(reports.iter().all(|report| report.service == "shop"));
    assert_eq!(
        (all(|report| &report.matched), all(|report| &report.unlisted)),
        (vec!["GET /".to_owned()], vec!["POST".to_owned()])
    );
}

#[test]
fn without_a_runtime_the_follower_has_a_thread_of_its_own() {
    let servers = tokio::runtime::Runtime::new().expect("a runtime");
    let server = servers.block_on(PushServer::start(Some(strategy(7, 0.5))));
    let sampler = server.sampler().build().expect("valid");
    servers.block_on(eventually_at(&sampler, Connection::Stream, 0.5));
    drop(sampler);
    servers.block_on(eventually("no stream is open", || server.script.open_streams() == 0));
}

#[test]
fn a_runtime_that_ends_first_leaves_the_strategy_and_says_so() {
    let servers = tokio::runtime::Runtime::new().expect("a runtime");
    let server = servers.block_on(PushServer::start(Some(strategy(7, 0.5))));
    let short_lived = tokio::runtime::Runtime::new().expect("a runtime");
    let sampler = short_lived.block_on(async {
        let sampler = server.sampler().build().expect("valid");
        eventually_at(&sampler, Connection::Stream, 0.5).await;
        sampler
    });
    drop(short_lived);
    assert_eq!((sampler.status().connection, sampler.status().probability), (Connection::Stopped, 0.5));
}
