//! gRPC on every gRPC address: the sampling protocol and the push stream by hand, the rest through tonic.
//!
//! The answers are ready as framed bytes, so decoding into a generated type and encoding it again for each request
//! would be most of the work. What is left is small: read one message, give out bytes, end with `grpc-status`. Health
//! (and `UNIMPLEMENTED` for what nobody knows) is not on the hot path and stays tonic's.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::ServiceExt;

use super::counts::Open;
use super::desk::Desk;
use super::message::{self, Refusal};
use super::reply::{self, Content, Reply};
use super::stream::Watch;
use super::{DRAIN_MAX, report};
use crate::controller::answer;
use crate::proto::flyball_v1::WatchRequest;
use crate::proto::jaeger::SamplingStrategyParameters;
use crate::socket::idle::{Patience, Requests};

/// Largest request message: a service name and room for fields that this server does not know.
const REQUEST_MAX_BYTES: usize = 4 * 1024;

/// Largest head of a request, decompressed.
const HEAD_MAX_BYTES: u32 = 16 * 1024;

/// What a peer may send on one stream, and on one connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes that wait for a peer that does not read, for each stream: small, so that it then reads the newest strategy.
const SEND_BUFFER_BYTES: usize = 4 * 1024;

/// Streams that a peer may reset before we looked at them, and that we may reset, before its connection is ended.
const RESETS_MAX: usize = 64;

/// A peer that is gone without a word is noticed after this plus [`PING_TIMEOUT`].
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The first request must come soon, preface included. After that a connection waits longer than the slowest poller's
/// five minutes; an open stream is use.
const PATIENCE: Patience =
    Patience { first: Duration::from_secs(10), check: Duration::from_secs(330), drain: DRAIN_MAX };

/// What all gRPC connections share.
pub(super) struct Grpc {
    desk: Arc<Desk>,
    routes: Routes,
}

impl Grpc {
    pub(super) fn new(desk: Arc<Desk>, health: HealthReporter) -> Self {
        let health = HealthServer::new(HealthService::from_health_reporter(health));
        Self { desk, routes: Routes::new(health.max_decoding_message_size(REQUEST_MAX_BYTES)).prepare() }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        open: Requests,
    ) -> Result<Response<Reply>, Infallible> {
        Ok(match self.route(request).await {
            Ok(response) => response.map(|content| Reply::new(content, open)),
            Err(refusal) => {
                self.desk.grpc.invalid.inc();
                reply::refused(&Status::from(&refusal)).map(|content| Reply::new(content, open))
            }
        })
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Content>, Refusal> {
        let desk = &self.desk;
        match request.uri().path() {
            "/jaeger.api_v2.SamplingManager/GetSamplingStrategy" => {
                let asked: SamplingStrategyParameters = message::read(request, REQUEST_MAX_BYTES).await?;
                Ok(reply::one(desk.answer(&desk.grpc, &asked.service_name, |answer| &answer.grpc_frame)))
            }
            "/flyball.v1.Sampling/Watch" => {
                let asked: WatchRequest = message::read(request, REQUEST_MAX_BYTES).await?;
                Ok(reply::ok(Content::Watch(Box::new(Watch::open(desk, asked)?))))
            }
            "/flyball.v1.Sampling/Report" => {
                let told = message::read(request, report::REPORT_MAX_BYTES).await?;
                Ok(reply::one(answer::frame(&report::take(desk, told)?)))
            }
            _ => {
                let answered = message::in_time(self.routes.clone().oneshot(request)).await?;
                Ok(answered.unwrap_or_else(|never| match never {}).map(Content::Tonic))
            }
        }
    }
}

/// Answers one connection until it closes, idles too long, stops answering pings, or the server drains.
pub(super) async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + 'static, grpc: Arc<Grpc>) {
    let _open = Open::on(&grpc.desk.grpc.connections);
    let requests = Requests::default();
    let service = service_fn(|request| {
        let open = requests.open();
        Arc::clone(&grpc).answer(request, open)
    });
    let connection = builder(&grpc.desk).serve_connection(TokioIo::new(io), service);
    if let Err(error) = requests.answer(pin!(connection), &grpc.desk.drain, PATIENCE).await {
        tracing::debug!(%error, "a gRPC connection ended early");
    }
}

fn builder(desk: &Desk) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(desk.streams_per_connection_max)
        .max_header_list_size(HEAD_MAX_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX);
    builder
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
    use tokio::time::Instant;

    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// Seconds that a connection lives whose client sends `bytes` and then reads without ever answering.
    async fn seconds_served(bytes: &[u8]) -> u64 {
        let (client, server) = duplex(64 * 1024);
        let (mut output, mut input) = split(client);
        input.write_all(bytes).await.expect("room");
        tokio::spawn(async move { while output.read_u8().await.is_ok() {} });
        let start = Instant::now();
        serve(server, Arc::new(Grpc::new(Desk::for_test(), HealthReporter::new()))).await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_gives_its_slot_back() {
        let limit = (PATIENCE.first + DRAIN_MAX).as_secs();
        for bytes in [&b""[..], b"PRI * HTT", PREFACE] {
            assert!(seconds_served(bytes).await <= limit);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_no_ping_is_cut_even_with_a_request_open() {
        // HEADERS of stream 1 without END_STREAM: POST, http, path "/".
        let open = [PREFACE, b"\0\0\x03\x01\x04\0\0\0\x01\x83\x86\x84"].concat();
        assert!(seconds_served(&open).await <= (PING_INTERVAL + PING_TIMEOUT).as_secs() + 1);
    }
}
