//! What the heartbeat server is told, and why it may not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use super::worker::WorkerError;

/// Most workers.
pub const WORKERS_MAX: usize = 8;
/// Devices that are known at most, unless told otherwise.
pub const DEVICES_DEFAULT: usize = 1_000_000;
/// Bytes that the kernel keeps for a worker that is behind; it doubles the number, and cuts it at `net.core.rmem_max`
/// where the process may not go beyond. 4 MiB hold 5,000 heartbeats (768 bytes each there), a sixtieth of a second of
/// what a core can answer.
pub const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// What the server is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where devices send to. On a machine with several addresses towards the devices, name one: acks leave from the
    /// address that the route back has, and a NAT lets no other in.
    pub address: SocketAddr,
    /// Threads, each with its socket and its part of the devices. `None` = as many as cores, at most [`WORKERS_MAX`].
    pub workers: Option<usize>,
    /// Devices that are known at most; one more is refused, and counted. 300 bytes each at most.
    pub devices: usize,
    /// Folder in which the registry is kept over restarts; `None` = it is not, and every device registers anew.
    pub state: Option<PathBuf>,
    /// Bytes that the kernel keeps for a worker that is behind.
    pub receive_buffer_bytes: usize,
}

impl Settings {
    /// Every default.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            workers: None,
            devices: DEVICES_DEFAULT,
            state: None,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        }
    }

    pub(super) fn worker_count(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cores).clamp(1, WORKERS_MAX)
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be bound.
    #[error("cannot take heartbeats on {address} (`fleet.heartbeat`): {}", advice(source.kind()))]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why the server ended before the shutdown.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A worker cannot go on.
    #[error("heartbeats are no longer answered")]
    Worker(#[source] WorkerError),
    /// The state folder cannot be used.
    #[error("cannot keep the registry of devices in {} (`state.path`)", path.display())]
    State {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A thread fell.
    #[error("a thread of the heartbeats fell")]
    Fallen,
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "another program has the port; stop it or choose another",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address; try 0.0.0.0 or 127.0.0.1",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one",
        _ => "the system refused it",
    }
}
