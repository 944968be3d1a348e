//! The socket: gRPC and HTTP on one port, told apart by the first bytes of a connection. Bound before anything is asked
//! of another source, bounded in connections, streams and time, drained at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::Door;
use crate::socket::idle::{Patience, Requests};
use crate::socket::listen::{self, BindError, Listeners};

/// Open connections; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 2_000;
/// Requests of one connection at once: an SDK needs one, a collector a handful.
const STREAMS_MAX: u32 = 16;
/// Largest head of a request.
const HEAD_MAX_BYTES: u32 = 16 * 1024;
/// What a peer may send before it is read, on one stream and on one connection.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Streams that a peer may reset before we looked at them, and that we may reset, before its connection is ended.
const RESETS_MAX: usize = 64;
/// A peer that is gone without a word is noticed after this plus [`PING_TIMEOUT`].
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// SDKs push once a minute: a connection waits longer than the slowest usual interval of five.
const PATIENCE: Patience =
    Patience { first: Duration::from_secs(10), check: Duration::from_secs(330), drain: DRAIN_MAX };
/// Requests in flight get this long to end at a drain.
const DRAIN_MAX: Duration = Duration::from_secs(4);

/// The socket that SDKs and collectors push to, bound; nothing is answered before [`OtlpReceiver::run`].
#[derive(Debug)]
pub struct OtlpReceiver {
    listeners: Listeners,
    address: SocketAddr,
    door: Arc<Door>,
}

impl OtlpReceiver {
    /// Binds the socket; inside a Tokio runtime.
    pub(super) fn bind(address: SocketAddr, door: Arc<Door>) -> Result<Self, BindError> {
        const KEY: &str = "source.otlp.listen";
        let socket = listen::listen(KEY, address)?;
        let bound = socket.local_addr().map_err(|source| BindError { key: KEY, address, source })?;
        Ok(Self { listeners: Listeners::new(vec![socket]), address: bound, door })
    }

    /// Where it listens, with the port that was really taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`; then stops accepting, lets requests end within a bounded time and returns.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let (connections, drain) = (TaskTracker::new(), CancellationToken::new());
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let slot = Arc::clone(&slots).acquire_owned();
            let accepted = shutdown.run_until_cancelled(async {
                let slot = slot.await.expect("the slots are never closed");
                (self.listeners.accept().await.0, slot)
            });
            let Some((stream, slot)) = accepted.await else { break };
            let (door, drain) = (Arc::clone(&self.door), drain.clone());
            connections.spawn(async move {
                serve(stream, door, drain).await;
                drop(slot);
            });
        }
        drop(self.listeners);
        drain.cancel();
        connections.close();
        connections.wait().await;
    }
}

/// Answers one connection until it closes, idles too long, stops answering pings, or the receiver drains.
async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, door: Arc<Door>, drain: CancellationToken) {
    let requests = Requests::default();
    let service = service_fn(|request| {
        let (door, open) = (Arc::clone(&door), requests.open());
        async move {
            let answer = door.answer(request).await;
            drop(open);
            Ok::<_, Infallible>(answer)
        }
    });
    let builder = builder();
    let connection = builder.serve_connection(TokioIo::new(io), service);
    if let Err(error) = requests.answer(pin!(connection), &drain, PATIENCE).await {
        tracing::debug!(%error, "an OTLP connection ended early");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE.check).max_buf_size(HEAD_MAX_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX);
    builder
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
    use tokio::time::Instant;

    use super::*;
    use crate::source::otlp::inbox::Inbox;
    use crate::telemetry::metrics::Metrics;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_gives_its_slot_back() {
        for sent in [&b""[..], b"PRI * HTT", b"POST /v1/met", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
            let (client, server) = duplex(64 * 1024);
            let (mut output, mut input) = split(client);
            input.write_all(sent).await.expect("room");
            tokio::spawn(async move { while output.read_u8().await.is_ok() {} });
            let door = Arc::new(Door::new(Arc::new(Inbox::default()), 65_536, Metrics::default()));
            let start = Instant::now();
            serve(server, door, CancellationToken::new()).await;
            assert!(start.elapsed() <= PATIENCE.first + PATIENCE.drain, "{sent:?}: {:?}", start.elapsed());
        }
    }
}
