//! Listening sockets for bursts.
//!
//! A burst waits in the kernel's accept queue, not in ours: the queue is as long as the kernel allows, and a connection
//! is taken from it only when a slot is free. One loop accepts for all addresses: with a loop each, an idle address would
//! hold the slot that a busy one needs. Running out of file descriptors pauses the loop instead of spinning.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 16_384;

/// A peer that acknowledges nothing, or leaves its receive window closed, for this long is cut by the kernel.
#[cfg(target_os = "linux")]
const STALL_MAX: Duration = Duration::from_secs(20);

/// Pause after an accept that failed for want of a resource: long enough not to spin, short beside a client's timeout.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// File descriptors left to the rest of the process: sources, admin, state, logs.
const FILES_RESERVED: u64 = 256;

/// Why an address cannot be listened on, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (`{key}`): {}", advice(source.kind()))]
pub struct BindError {
    /// The configuration's key.
    pub key: &'static str,
    /// The address as configured.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => {
            "another program (or another key of this one) has the port; stop it or change the key"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address; try 0.0.0.0 or 127.0.0.1",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one",
        _ => "the system refused it",
    }
}

/// Raises the soft limit on open files to the hard limit; returns the limit now in force.
pub fn raise_nofile_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// As configured, unless the limit on open files allows fewer.
pub(crate) fn connections_max(configured: usize) -> usize {
    let files = nofile_limit().map_or(u64::MAX, |limit| limit.saturating_sub(FILES_RESERVED).max(1));
    let allowed = usize::try_from(files).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    if configured > allowed {
        tracing::warn!(configured, allowed, "the limit on open files allows fewer connections: raise it (ulimit -n)");
    }
    configured.clamp(1, allowed)
}

/// The limit on open files in force.
fn nofile_limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// Binds one address; `key` is the configuration's name for it. Must be called inside a Tokio runtime.
pub(crate) fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    socket(address).map_err(|source| BindError { key, address, source })
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// All listening sockets, accepted from in turn.
#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<TcpListener>,
    next: usize,
}

impl Listeners {
    pub(crate) fn new(sockets: Vec<TcpListener>) -> Self {
        Self { sockets, next: 0 }
    }

    /// The next connection and the index of the socket that it came by. Take a slot first.
    pub(crate) async fn accept(&mut self) -> (TcpStream, usize) {
        let mut has_failed = false;
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !has_failed {
                        tracing::warn!(%error, "cannot accept connections: pausing");
                    }
                    has_failed = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, usize)>> {
        let count = self.sockets.len();
        for index in (self.next..self.next + count).map(|i| i % count) {
            if let Poll::Ready(accepted) = self.sockets[index].poll_accept(cx) {
                // The one after it is asked first next time, so that a flood at one address cannot starve another.
                self.next = (index + 1) % count;
                let prepared = accepted.and_then(|(stream, _)| prepare(&stream).map(|()| stream));
                return Poll::Ready(prepared.map(|stream| (stream, index)));
            }
        }
        Poll::Pending
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(STALL_MAX))?;
    Ok(())
}

/// The peer gave up while it waited, which says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput | NotConnected
    )
}
