//! The socket: bound before anything is asked of a source, bounded in connections and time, drained at the end.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::tokens::{TokenFileError, Tokens};
use super::{AdminState, routes};
use crate::config::AdminConfig;

/// Open connections at most; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;

/// A request's head must arrive within this, and a connection without requests is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer must begin within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection is closed after this, so that readers that never finish cannot take them all for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);

/// After a stop, or its lifetime, a connection may finish its answer within this. The contract: at most 5 s.
const DRAIN: Duration = Duration::from_secs(4);

/// Pause after a failed accept, which is a lack of file descriptors in most cases.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Largest head of a request: a path with a service's name, and a browser's headers.
const HEAD_MAX_BYTES: usize = 16 << 10;

/// The admin socket, bound.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    local_addr: SocketAddr,
    router: Router,
}

/// Why the admin socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be bound.
    #[error("`admin.listen`: cannot listen on {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No write could be authorised.
    #[error("`admin.token_file`: {}", path.display())]
    TokenFile {
        /// As configured.
        path: PathBuf,
        /// Why.
        #[source]
        source: TokenFileError,
    },
}

/// Who is at the other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Admin {
    /// Binds the socket; the kernel queues connections until [`Admin::run`].
    pub fn bind(config: &AdminConfig, state: AdminState) -> Result<Self, BindError> {
        if let Some(path) = &config.token_file {
            Tokens::read(path).map_err(|source| BindError::TokenFile { path: path.clone(), source })?;
        }
        let (listener, local_addr) =
            listen(config.listen).map_err(|source| BindError::Listen { address: config.listen, source })?;
        Ok(Self { listener, local_addr, router: routes::router(config.token_file.clone(), state) })
    }

    /// The address that was bound, its port known.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers until `stop`, then lets open requests end for at most 5 s. Fails only if the runtime takes no socket.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let connections = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Some((stream, peer)) = accept(&listener, &slots, &stop).await {
            let (router, stop) = (self.router.clone(), stop.clone());
            let slot = Arc::clone(&slots).try_acquire_owned();
            connections.spawn(async move {
                serve(stream, Peer(peer), router, stop).await;
                drop(slot);
            });
        }
        drop(listener);
        connections.close();
        connections.wait().await; // Each ends by itself within `DRAIN`.
        Ok(())
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let local_addr = listener.local_addr()?;
    Ok((listener, local_addr))
}

/// The next connection once there is a free slot; `None` after `stop`. This task alone takes slots, so that one seen
/// free here still is when the caller takes it.
async fn accept(
    listener: &tokio::net::TcpListener,
    slots: &Semaphore,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    let next = async {
        drop(slots.acquire().await.expect("the semaphore is never closed"));
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, "admin: a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(next).await
}

async fn serve(stream: TcpStream, peer: Peer, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request| answer(router.clone(), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return, // Its end is the client's business, also where it is an error.
        () = stop.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(timeout(DRAIN, connection).await); // What is not done by then is cut.
}

async fn answer(router: Router, peer: Peer, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(peer);
    match timeout(ANSWER_TIMEOUT, router.oneshot(request)).await {
        Ok(answered) => answered,
        Err(_) => Ok(routes::too_slow()),
    }
}
