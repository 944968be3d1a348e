//! A server in this process and the ways to talk to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flyball::config::ServeConfig;
use flyball::controller::answer::Strategy;
use flyball::controller::snapshot::{Published, Snapshot};
use flyball::controller::usage::UsageReport;
use flyball::sampling::probability::Probability;
use flyball::serve::{LocalAddrs, Server};
use flyball::telemetry::metrics::Metrics;
use flyball::time::WallTime;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::ServiceExt;

/// Bound on what must happen soon, generous for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A running server. Dropped, it drains.
pub(crate) struct Peer {
    pub(crate) addresses: LocalAddrs,
    pub(crate) published: Arc<Published>,
    pub(crate) metrics: Metrics,
    pub(crate) usage: mpsc::Receiver<UsageReport>,
    pub(crate) running: JoinHandle<()>,
    pub(crate) shutdown: DropGuard,
}

/// Starts a server at generation 1 that knows `checkout` at 0.25.
pub(crate) fn start() -> Peer {
    start_with(config(1000))
}

pub(crate) fn config(connections_max: usize) -> ServeConfig {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    ServeConfig { http: any, grpc: vec![any, any], connections_max, streams_per_connection_max: 100 }
}

pub(crate) fn start_with(config: ServeConfig) -> Peer {
    let published = Arc::new(Published::new(snapshot(1, 0.25)));
    let (metrics, (sender, usage)) = (Metrics::default(), mpsc::channel(4));
    let server = Server::bind(&config, Arc::clone(&published), metrics.clone(), sender).expect("free ports");
    let (addresses, shutdown) = (server.local_addrs(), CancellationToken::new());
    let running = tokio::spawn(server.run(shutdown.clone()));
    Peer { addresses, published, metrics, usage, running, shutdown: shutdown.drop_guard() }
}

/// `checkout` at a probability, everyone else unclaimed.
pub(crate) fn snapshot(generation: u64, probability: f64) -> Snapshot {
    let strategy = Strategy::uniform(Probability::new(probability).expect("a probability"));
    Snapshot::empty(generation, WallTime::from_unix_ms(1)).with_answers([("checkout".into(), strategy)])
}

impl Peer {
    /// Sends a request head over a new connection that is closed behind the answer.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.http(&format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
    }

    pub(crate) async fn http(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.addresses.http).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("written");
        read_answer(&mut stream).await
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.endpoint().connect().await.expect("a gRPC connection")
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.addresses.grpc[0])).expect("a URL")
    }
}

/// Reads until the server closes.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    read.expect("no reset");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 0 where the server closed without an answer.
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A unary call.
pub(crate) async fn call<Q, A>(channel: &Channel, path: &'static str, message: Q) -> Result<A, Status>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("a connection");
    let path = http::uri::PathAndQuery::from_static(path);
    client.unary(Request::new(message), path, ProstCodec::<Q, A>::default()).await.map(tonic::Response::into_inner)
}

/// A call that is answered with a stream.
pub(crate) async fn stream<Q, A>(channel: &Channel, path: &'static str, message: Q) -> Result<Streaming<A>, Status>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("a connection");
    let path = http::uri::PathAndQuery::from_static(path);
    let codec = ProstCodec::<Q, A>::default();
    client.server_streaming(Request::new(message), path, codec).await.map(tonic::Response::into_inner)
}

/// Posts any bytes as a gRPC request; the status that comes back, and the headers.
pub(crate) async fn post(channel: &Channel, path: &str, body: Vec<u8>) -> (i32, http::HeaderMap) {
    let request = http::Request::post(path).header("content-type", "application/grpc");
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
    let request = request.body(tonic::body::Body::new(body)).expect("a request");
    let (parts, body) = channel.clone().oneshot(request).await.expect("an answer").into_parts();
    let trailers = body.collect().await.expect("a whole answer").trailers().cloned().unwrap_or_default();
    let status = parts.headers.get("grpc-status").or(trailers.get("grpc-status"));
    (status.and_then(|s| s.to_str().ok()?.parse().ok()).expect("a status"), parts.headers)
}
