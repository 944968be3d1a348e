//! One connection: HTTP/2 with small bounds, and its calls.
//!
//! The server sends no HTTP/2 pings of its own unless it is told to: a ping refreshes the binding whose lifetime is to be
//! known, and wakes the device's radio between its beats. A peer that is gone is noticed by its missing beat, and by the
//! kernel as soon as something is sent to it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tonic::Status;

use super::DRAIN_MAX;
use super::desk::Desk;
use super::frame::Inbound;
use super::hello::Hello;
use super::refusal::{HELLO_MAX, Refusal};
use super::reply::{self, Reply};
use super::session::Session;
use crate::keepalive::cohort::Transport;
use crate::socket::idle::{Patience, Requests};

const WATCH: &str = "/flyball.v1.Keepalive/Watch";

/// Largest head of a request, decompressed.
const HEAD_MAX_BYTES: u32 = 8 * 1024;

/// What a peer may send on one stream, and on one connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 16 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024;

/// Bytes that wait for a peer that does not read, for each stream.
const SEND_BUFFER_BYTES: usize = 1_024;

/// Streams that a peer may reset before we looked at them, and that we may reset, before its connection is ended.
const RESETS_MAX: usize = 64;

/// For the answer to a ping, where pings are wanted.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The first call must come soon, preface included; a connection without a session ends within a minute.
const PATIENCE: Patience =
    Patience { first: Duration::from_secs(10), check: Duration::from_secs(30), drain: DRAIN_MAX };

/// Answers one connection until it closes, idles too long, or the server drains.
pub(super) async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + 'static, peer: IpAddr, desk: Arc<Desk>) {
    let requests = Requests::default();
    let service = service_fn(|request| {
        let open = requests.open();
        answer(request, peer, Arc::clone(&desk), open)
    });
    let connection = builder(&desk).serve_connection(TokioIo::new(io), service);
    if let Err(error) = requests.answer(pin!(connection), &desk.drain, PATIENCE).await {
        tracing::debug!(%error, "a gateway's connection ended early");
    }
}

fn builder(desk: &Desk) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(desk.settings.ping_interval)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(desk.settings.sessions_per_connection_max)
        .max_header_list_size(HEAD_MAX_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX);
    builder
}

async fn answer(
    request: Request<Incoming>,
    peer: IpAddr,
    desk: Arc<Desk>,
    open: Requests,
) -> Result<Response<Reply>, Infallible> {
    // Boxed: a stream's task is as large as its largest state, and this one lasts a moment.
    let begun = Box::pin(begin(request, peer, &desk)).await;
    Ok(match begun {
        Ok((post, inbound)) => reply::session(Session::new(desk, post, inbound, open)),
        Err(why) => {
            desk.counts.refuse(&why);
            reply::refused(&Status::from(&why))
        }
    })
}

async fn begin(
    request: Request<Incoming>,
    peer: IpAddr,
    desk: &Desk,
) -> Result<(Arc<super::post::Post>, Inbound), Refusal> {
    check(&request)?;
    let mut inbound = Inbound::new(request.into_body());
    let first = timeout(HELLO_MAX, poll_fn(|cx| inbound.poll_message(cx))).await;
    let first = first.map_err(|_| Refusal::NoHello)??.ok_or(Refusal::Truncated)?;
    let mut hello = Hello::read(first, peer, &desk.keys.load())?;
    desk.prefixes.load().complete(&mut hello.labels, peer);
    let cohort = desk.cohorts.resolve(&hello.labels, Transport::Tcp);
    let entered = desk.registry.enter(&hello, cohort, &desk.orders, desk.now())?;
    desk.note(entered.seen);
    Ok((entered.post, inbound))
}

fn check(request: &Request<Incoming>) -> Result<(), Refusal> {
    let is_grpc = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if request.method() != Method::POST || !request.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Err(Refusal::NotGrpc);
    }
    if request.uri().path() != WATCH {
        return Err(Refusal::Method);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
    use tokio::time::Instant;

    use super::*;
    use crate::fleet::cohorts::CohortTable;
    use crate::fleet::grpc::GatewaySettings;
    use crate::time::Clock;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// HEADERS of stream 1 without END_STREAM: POST, http, the method's path, gRPC's content type.
    fn call() -> Vec<u8> {
        let mut head = vec![0x83, 0x86];
        for (name, value) in [(&[0x04][..], WATCH), (&[0x0f, 0x10], "application/grpc")] {
            head.extend_from_slice(name);
            head.push(u8::try_from(value.len()).expect("short"));
            head.extend_from_slice(value.as_bytes());
        }
        let length = u8::try_from(head.len()).expect("short");
        [PREFACE, &[0, 0, length, 1, 4, 0, 0, 0, 1], &head].concat()
    }

    /// Seconds that a connection lives whose client sends `bytes` and then reads without ever answering.
    async fn seconds_served(bytes: &[u8]) -> (u64, Arc<Desk>) {
        let settings = GatewaySettings::on(SocketAddr::from((NOBODY, 0)));
        let cohorts = Arc::new(CohortTable::new(Arc::default()));
        let desk = Arc::new(Desk::new(settings, Arc::default(), Arc::default(), cohorts, Clock::start()));
        let (client, server) = duplex(64 * 1024);
        let (mut output, mut input) = split(client);
        input.write_all(bytes).await.expect("room");
        tokio::spawn(async move { while output.read_u8().await.is_ok() {} });
        let start = Instant::now();
        serve(server, NOBODY, Arc::clone(&desk)).await;
        (start.elapsed().as_secs(), desk)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_gives_its_slot_back() {
        for bytes in [&b""[..], b"PRI * HTT", PREFACE] {
            assert!(seconds_served(bytes).await.0 <= (PATIENCE.first + DRAIN_MAX).as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_hello_is_refused_in_time_and_its_connection_ends() {
        let (seconds, desk) = seconds_served(&call()).await;
        assert!(seconds <= (PATIENCE.first + PATIENCE.check * 2 + DRAIN_MAX).as_secs(), "{seconds} s");
        let reason = super::super::RefusedLabels { reason: "no_hello" };
        assert_eq!(desk.counts.refused.get_or_create(&reason).get(), 1);
    }
}
