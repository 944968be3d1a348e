//! The servers that are compared, each on a thread of its own.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flyball::config::ServeConfig;
use flyball::controller::answer::Strategy;
use flyball::controller::snapshot::{Published, Snapshot};
use flyball::proto::jaeger;
use flyball::proto::jaeger::sampling_manager_server::{SamplingManager, SamplingManagerServer};
use flyball::sampling::probability::Probability;
use flyball::serve::Server;
use flyball::telemetry::metrics::Metrics;
use flyball::time::WallTime;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

/// Services in force; the clients ask for each in turn.
pub(crate) const SERVICES: usize = 1000;

/// Operations of each.
const OPERATIONS: usize = 8;

/// A server; dropped, its thread ends.
pub(crate) struct Running {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl Running {
    /// Processor time of the server's thread so far.
    pub(crate) fn cpu(&self) -> Duration {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread's usage is known");
            let spent = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
            sender.send(Duration::from_micros(u64::try_from(spent).expect("time is not negative"))).expect("awaited");
        });
        receiver.recv().expect("the server's thread lives")
    }
}

pub(crate) fn flyball() -> Running {
    run("flyball", || async {
        let snapshot = Snapshot::empty(1, WallTime::from_unix_ms(1));
        let answers = (0..SERVICES).map(|i| (name(i).into(), strategy()));
        let published = Arc::new(Published::new(snapshot.with_answers(answers)));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config =
            ServeConfig { http: any, grpc: vec![any], connections_max: 10_000, streams_per_connection_max: 128 };
        let (usage, _) = mpsc::channel(1);
        let server = Server::bind(&config, published, Metrics::default(), usage).expect("free ports");
        let addresses = server.local_addrs();
        tokio::spawn(server.run(CancellationToken::new()));
        (addresses.http, addresses.grpc[0])
    })
}

pub(crate) fn bare_hyper() -> Running {
    run("bare_hyper", || async {
        let bytes = strategy().into_answer(1).json;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("a socket option");
                let bytes = bytes.clone();
                let service = service_fn(move |_| ready(Ok::<_, Infallible>(same(bytes.clone()))));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (address, address)
    })
}

fn same(bytes: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn bare_tonic() -> Running {
    run("bare_tonic", || async {
        let framed = strategy().into_answer(1).grpc_frame;
        let message = jaeger::SamplingStrategyResponse::decode(&framed[5..]).expect("our own message");
        let incoming = tonic::transport::server::TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .expect("a free port")
            .with_nodelay(Some(true));
        let address = incoming.local_addr().expect("bound");
        let service = SamplingManagerServer::new(Same(message));
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        (address, address)
    })
}

struct Same(jaeger::SamplingStrategyResponse);

#[tonic::async_trait]
impl SamplingManager for Same {
    async fn get_sampling_strategy(
        &self,
        _: Request<jaeger::SamplingStrategyParameters>,
    ) -> Result<tonic::Response<jaeger::SamplingStrategyResponse>, Status> {
        Ok(tonic::Response::new(self.0.clone()))
    }
}

/// Names of one length, so that requests for any of them are of one length.
pub(crate) fn name(i: usize) -> String {
    format!("service-{i:04}")
}

fn strategy() -> Strategy {
    let probability = |value| Probability::new(value).expect("a probability");
    let operations = (0..OPERATIONS).map(|i| (format!("GET /operation/{i}").into(), probability(0.125))).collect();
    Strategy { operations, ..Strategy::uniform(probability(0.25)) }
}

/// Runs a server on a thread of its own, named for a profiler.
fn run<F: Future<Output = (SocketAddr, SocketAddr)>>(
    name: &str,
    start: impl FnOnce() -> F + Send + 'static,
) -> Running {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (_stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let body = move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (http, grpc) = start().await;
            sender.send((http, grpc, Handle::current())).expect("awaited");
            let _ = stopped.await;
        });
    };
    thread.spawn(body).expect("a thread");
    let (http, grpc, runtime) = receiver.recv().expect("the server starts");
    Running { http, grpc, runtime, _stop }
}
